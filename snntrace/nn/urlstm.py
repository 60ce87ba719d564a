"""The LSTM with a refined forget gate."""

from typing import Any, ClassVar, final

import brainstate
import jax
import jax.numpy as jnp
import numpy as np

from snntrace.nn.gated import ActivatedCell, Activation, beside
from snntrace.nn.linear import Linear


@final
class URLSTMCell(ActivatedCell):
    r"""LSTM with a refine gate and uniform gate initialisation; two hidden states, cell `c` and output `h`.

    .. math::

        f^t, r^t, o^t &= \sigma([x^t, h^{t-1}] W_f + b_f), \;
            \sigma([x^t, h^{t-1}] W_r - b_f), \; \sigma([x^t, h^{t-1}] W_o + b_o) \\
        g^t &= 2 r^t f^t + (1 - 2 r^t) (f^t)^2 \\
        c^t &= g^t c^{t-1} + (1 - g^t) \, \phi([x^t, h^{t-1}] W_u + b_u) \\
        h^t &= o^t \, \phi(c^t)

    The forget bias is drawn so that :math:`\sigma(b_f)` is uniform between 1/n and 1 - 1/n: the units begin
    with time constants of all scales.

    Parameters
    ----------
    b_init : callable or array of shape (num_out,) or None
        Biases of output gate and candidate; None for none.
    num_in, num_out, w_init, state_init, activation, name
        As for `LSTMCell`.

    Raises
    ------
    ValueError
        If a size is not positive, or the activation or a shape unknown.

    References
    ----------
    A. Gu, C. Gulcehre, T. Paine, M. Hoffman, R. Pascanu, "Improving the gating mechanism of recurrent neural
    networks", ICML, 2020.

    Examples
    --------
    >>> import brainstate
    >>> import jax.numpy as jnp
    >>> from snntrace.nn import URLSTMCell
    >>> cell = URLSTMCell(3, 4)
    >>> _ = brainstate.nn.init_all_states(cell, batch_size=2)
    >>> cell(jnp.ones((2, 3))).shape
    (2, 4)
    """

    STATES: ClassVar[tuple[str, ...]] = ("c", "h")
    GATES: ClassVar[dict[str, str]] = {"Wf": "xh", "Wr": "xh", "Wu": "xh", "Wo": "xh"}
    WITHOUT_BIAS: ClassVar[tuple[str, ...]] = ("Wf", "Wr")
    c: brainstate.HiddenState
    h: brainstate.HiddenState
    Wf: Linear
    Wr: Linear
    Wu: Linear
    Wo: Linear

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
        super().__init__(num_in, num_out, w_init, b_init, state_init, activation, name)
        edge = 1.0 / max(self.num_out, 2)
        kept = np.asarray(brainstate.random.uniform(edge, 1.0 - edge, (self.num_out,)), np.float64)
        bias = jnp.asarray(np.log(kept) - np.log1p(-kept), brainstate.environ.dftype())
        self.forget_bias = brainstate.ParamState(bias)

    def step(self, x: jax.Array, c: jax.Array, h: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Compute the equation; see `RecurrentCell.step`."""
        xh, bias = beside(x, h), self.forget_bias.value
        f, r, o = (jax.nn.sigmoid(a) for a in (self.Wf(xh) + bias, self.Wr(xh) - bias, self.Wo(xh)))
        g = 2.0 * r * f + (1.0 - 2.0 * r) * f**2
        c = g * c + (1.0 - g) * self.activation(self.Wu(xh))
        return c, o * self.activation(c)
