"""The vanilla recurrent cell."""

from typing import Any, final

import brainstate
import jax

from snntrace.nn.cell import RecurrentCell
from snntrace.nn.gated import Activation, activation_function, beside
from snntrace.nn.linear import Linear


@final
class VanillaRNNCell(RecurrentCell):
    r"""Elman's recurrent cell, with one hidden state `h`.

    .. math:: h^t = \phi([x^t, h^{t-1}] W + b)

    `ValinaRNNCell`, the name this cell has in brainstate, is an alias.

    Parameters
    ----------
    num_in : int
        The number of inputs.
    num_out : int
        The number of units.
    state_init : callable or float or array of shape (num_out,)
        The state before the first step.
    w_init : callable or array of shape (num_in + num_out, num_out)
        Weights, rows of the input first; ``brainstate.nn.init.XavierNormal()`` if left out.
    b_init : callable or array of shape (num_out,) or None
        Bias; None for none.
    activation : str or callable
        Name in ``jax.nn`` or ``jax.numpy``, or an elementwise function.
    name : str, optional
        Name of the module.

    Raises
    ------
    ValueError
        If a size is not positive, or the activation or a shape unknown.

    References
    ----------
    J. L. Elman, "Finding structure in time", Cognitive Science 14, 179-211, 1990.

    Examples
    --------
    >>> import brainstate
    >>> import jax.numpy as jnp
    >>> from snntrace.nn import VanillaRNNCell
    >>> cell = VanillaRNNCell(3, 4, activation="tanh")
    >>> _ = brainstate.nn.init_all_states(cell, batch_size=2)
    >>> cell(jnp.ones((2, 3))).shape
    (2, 4)
    """

    def __init__(
        self,
        num_in: int,
        num_out: int,
        state_init: Any = 0.0,
        w_init: Any = None,
        b_init: Any = 0.0,
        activation: str | Activation = "relu",
        name: str | None = None,
    ) -> None:
        super().__init__(num_in, num_out, state_init, name)
        self.activation = activation_function("VanillaRNNCell", activation)
        init = brainstate.nn.init.XavierNormal() if w_init is None else w_init
        self.W = Linear(self.num_in + self.num_out, self.num_out, w_init=init, b_init=b_init)

    def step(self, x: jax.Array, h: jax.Array) -> jax.Array:
        """Compute the equation; see `RecurrentCell.step`."""
        return self.activation(self.W(beside(x, h)))


ValinaRNNCell = VanillaRNNCell
