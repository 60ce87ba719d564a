"""The long short-term memory."""

from typing import Any, ClassVar, final

import brainstate
import jax

from snntrace.nn.cell import Activation, RecurrentCell, with_state


@final
class LSTMCell(RecurrentCell):
    r"""Long short-term memory, with two hidden states: the cell `c` and the output `h`.

    .. math::

        i^t, f^t, o^t &= \sigma([x^t, h^{t-1}] W_i + b_i), \;
            \sigma([x^t, h^{t-1}] W_f + b_f + 1), \; \sigma([x^t, h^{t-1}] W_o + b_o) \\
        c^t &= f^t c^{t-1} + i^t \, \phi([x^t, h^{t-1}] W_g + b_g) \\
        h^t &= o^t \, \phi(c^t)

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
        Both states before the first step.
    activation : str or callable
        The candidate's and the output's: name in ``jax.nn`` or ``jax.numpy``, or an elementwise function.
    name : str, optional
        Name of the module.

    Raises
    ------
    ValueError
        If a size is not positive, or the activation or a shape unknown.

    References
    ----------
    S. Hochreiter, J. Schmidhuber, "Long short-term memory", Neural Computation 9(8), 1735-1780, 1997.

    F. A. Gers, J. Schmidhuber, F. Cummins, "Learning to forget: continual prediction with LSTM", Neural
    Computation 12(10), 2451-2471, 2000. (forget gate)

    Examples
    --------
    >>> import brainstate
    >>> import jax.numpy as jnp
    >>> from snntrace.nn import LSTMCell
    >>> cell = LSTMCell(3, 4)
    >>> _ = brainstate.nn.init_all_states(cell, batch_size=2)
    >>> cell(jnp.ones((2, 3))).shape
    (2, 4)
    """

    STATES: ClassVar[tuple[str, ...]] = ("c", "h")
    c: brainstate.HiddenState

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
        self.Wi = self.gate(both, w_init, b_init)
        self.Wg = self.gate(both, w_init, b_init)
        self.Wf = self.gate(both, w_init, b_init)
        self.Wo = self.gate(both, w_init, b_init)

    def update(self, x: Any) -> jax.Array:
        """Advance by one step.

        Parameters
        ----------
        x : array of shape (..., num_in)
            The input.

        Returns
        -------
        array of shape (..., num_out)
            The new output `h`.
        """
        h: jax.Array = self.h.value
        xh = with_state(self, x, h)
        i, f, o = (jax.nn.sigmoid(a) for a in (self.Wi(xh), self.Wf(xh) + 1.0, self.Wo(xh)))
        c = f * self.c.value + i * self.activation(self.Wg(xh))
        self.c.value = c
        new = o * self.activation(c)
        self.h.value = new
        return new
