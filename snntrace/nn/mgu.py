"""The minimal gated unit."""

from typing import Any, final

import jax

from snntrace.nn.cell import Activation, RecurrentCell, with_state


@final
class MGUCell(RecurrentCell):
    r"""Minimal gated unit: a GRU whose one gate both resets and updates; one hidden state `h`.

    .. math::

        f^t &= \sigma([x^t, h^{t-1}] W_f + b_f) \\
        \tilde h^t &= \phi([x^t, f^t h^{t-1}] W_h + b_h) \\
        h^t &= (1 - f^t) h^{t-1} + f^t \tilde h^t

    Parameters
    ----------
    num_in : int
        The number of inputs.
    num_out : int
        The number of units.
    w_init : callable or array of shape (num_in + num_out, num_out)
        Weights of each gate and of the candidate, rows of the input first;
        ``brainstate.nn.init.Orthogonal()`` if left out.
    b_init : callable or array of shape (num_out,) or None
        Biases; None for none.
    state_init : callable or float or array of shape (num_out,)
        The state before the first step.
    activation : str or callable
        The candidate's: name in ``jax.nn`` or ``jax.numpy``, or an elementwise function.
    name : str, optional
        Name of the module.

    Raises
    ------
    ValueError
        If a size is not positive, or the activation or a shape unknown.

    References
    ----------
    G.-B. Zhou, J. Wu, C.-L. Zhang, Z.-H. Zhou, "Minimal gated unit for recurrent neural networks",
    International Journal of Automation and Computing 13, 226-234, 2016.

    Examples
    --------
    >>> import brainstate
    >>> import jax.numpy as jnp
    >>> from snntrace.nn import MGUCell
    >>> cell = MGUCell(3, 4)
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
        self.Wh = self.gate(both, w_init, b_init)

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
        f = jax.nn.sigmoid(self.Wf(with_state(self, x, h)))
        new = (1.0 - f) * h + f * self.activation(self.Wh(with_state(self, x, f * h)))
        self.h.value = new
        return new
