"""The long short-term memory."""

from typing import ClassVar, final

import brainstate
import jax

from snntrace.nn.gated import ActivatedCell, beside
from snntrace.nn.linear import Linear


@final
class LSTMCell(ActivatedCell):
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
    GATES: ClassVar[dict[str, str]] = {"Wi": "xh", "Wg": "xh", "Wf": "xh", "Wo": "xh"}
    c: brainstate.HiddenState
    h: brainstate.HiddenState
    Wi: Linear
    Wg: Linear
    Wf: Linear
    Wo: Linear

    def step(self, x: jax.Array, c: jax.Array, h: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Compute the equation; see `RecurrentCell.step`."""
        xh = beside(x, h)
        i, f, o = (jax.nn.sigmoid(a) for a in (self.Wi(xh), self.Wf(xh) + 1.0, self.Wo(xh)))
        c = f * c + i * self.activation(self.Wg(xh))
        return c, o * self.activation(c)
