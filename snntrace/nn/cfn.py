"""The chaos-free network."""

from typing import Any, final

import jax

from snntrace.nn.cell import Activation, RecurrentCell, with_state


@final
class CFNCell(RecurrentCell):
    r"""Chaos-free network: without input its state dies out; one hidden state `h`.

    .. math::

        \theta^t &= \sigma([x^t, h^{t-1}] W_f + b_f) \\
        \eta^t &= \sigma([x^t, h^{t-1}] W_i + b_i) \\
        h^t &= \theta^t \, \phi(h^{t-1}) + \eta^t \, \phi(x^t W_h)

    Parameters
    ----------
    num_in : int
        The number of inputs.
    num_out : int
        The number of units.
    w_init : callable or array of shape (num_in + num_out, num_out)
        Weights of each gate, rows of the input first, a callable or a number, since the input's own matrix
        has num_in rows; ``brainstate.nn.init.Orthogonal()`` if left out.
    b_init : callable or array of shape (num_out,) or None
        Biases; None for none.
    state_init : callable or float or array of shape (num_out,)
        The state before the first step.
    activation : str or callable
        The state's and the input's: name in ``jax.nn`` or ``jax.numpy``, or an elementwise function.
    name : str, optional
        Name of the module.

    Raises
    ------
    ValueError
        If a size is not positive, or the activation or a shape unknown.

    References
    ----------
    T. Laurent, J. von Brecht, "A recurrent neural network without chaos", ICLR, 2017.

    Examples
    --------
    >>> import brainstate
    >>> import jax.numpy as jnp
    >>> from snntrace.nn import CFNCell
    >>> cell = CFNCell(3, 4)
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
        both = self.num_in + self.num_out
        self.Wf = self.gate(both, w_init, b_init)
        self.Wi = self.gate(both, w_init, b_init)
        self.Wh = self.gate(self.num_in, w_init, None)

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
        xh = with_state(self, x, h)
        forget, take = jax.nn.sigmoid(self.Wf(xh)), jax.nn.sigmoid(self.Wi(xh))
        new = forget * self.activation(h) + take * self.activation(self.Wh(x))
        self.h.value = new
        return new
