"""The minimal recurrent network."""

from typing import Any, final

import jax

from snntrace.nn.cell import Activation, RecurrentCell, checked_input


@final
class MinimalRNNCell(RecurrentCell):
    r"""Minimal recurrent network: the input is encoded without the state; one hidden state `h`.

    .. math::

        z^t &= \phi(x^t W_x + b_x) \\
        u^t &= \sigma(h^{t-1} U_h + z^t U_z + b_u) \\
        h^t &= u^t h^{t-1} + (1 - u^t) z^t

    Parameters
    ----------
    num_in : int
        The number of inputs.
    num_out : int
        The number of units.
    w_init : callable or array of shape (num_in, num_out) or (num_out, num_out)
        Weights of the encoder and of the gate, a callable or a number if the two sizes differ;
        ``brainstate.nn.init.Orthogonal()`` if left out.
    b_init : callable or array of shape (num_out,) or None
        Biases; None for none.
    state_init : callable or float or array of shape (num_out,)
        The state before the first step.
    activation : str or callable
        The encoder's: name in ``jax.nn`` or ``jax.numpy``, or an elementwise function.
    name : str, optional
        Name of the module.

    Raises
    ------
    ValueError
        If a size is not positive, or the activation or a shape unknown.

    References
    ----------
    M. Chen, "MinimalRNN: toward more interpretable and trainable recurrent neural networks",
    arXiv:1711.06788, 2017.

    Examples
    --------
    >>> import brainstate
    >>> import jax.numpy as jnp
    >>> from snntrace.nn import MinimalRNNCell
    >>> cell = MinimalRNNCell(3, 4)
    >>> _ = brainstate.nn.init_all_states(cell, batch_size=2)
    >>> cell(jnp.ones((2, 3))).shape
    (2, 4)
    """

    def __init__(
        self,
        num_in: int,
        num_out: int,
        w_init: Any = None,
        b_init: Any = 0.0,
        state_init: Any = 0.0,
        activation: str | Activation = "tanh",
        name: str | None = None,
    ) -> None:
        super().__init__(num_in, num_out, state_init, activation, name)
        self.Wx = self.gate(self.num_in, w_init, b_init)
        self.Uh = self.gate(self.num_out, w_init, None)
        self.Uz = self.gate(self.num_out, w_init, b_init)

    def update(self, x: Any) -> jax.Array:
        """Advance by one step.

        Parameters
        ----------
        x : array of shape (..., num_in)
            The input.

        Returns
        -------
        array of shape (..., num_out)
            The new hidden state.
        """
        h: jax.Array = self.h.value
        z = self.activation(self.Wx(checked_input(self, x, h)))
        u = jax.nn.sigmoid(self.Uh(h) + self.Uz(z))
        new = u * h + (1.0 - u) * z
        self.h.value = new
        return new
