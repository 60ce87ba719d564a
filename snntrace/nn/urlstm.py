"""The LSTM with a refined forget gate."""

from typing import Any, ClassVar, final

import brainstate
import jax
import jax.numpy as jnp
import numpy as np

from snntrace.nn.cell import Activation, RecurrentCell, with_state


@final
class URLSTMCell(RecurrentCell):
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
    num_in : int
        The number of inputs.
    num_out : int
        The number of units.
    w_init : callable or array of shape (num_in + num_out, num_out)
        Weights of each gate and of the candidate, rows of the input first;
        ``brainstate.nn.init.Orthogonal()`` if left out.
    b_init : callable or array of shape (num_out,) or None
        Biases of output gate and candidate; None for none.
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
        self.Wf = self.gate(both, w_init, None)
        self.Wr = self.gate(both, w_init, None)
        self.Wu = self.gate(both, w_init, b_init)
        self.Wo = self.gate(both, w_init, b_init)
        edge = 1.0 / max(self.num_out, 2)
        kept = np.asarray(brainstate.random.uniform(edge, 1.0 - edge, (self.num_out,)), np.float64)
        bias = jnp.asarray(np.log(kept) - np.log1p(-kept), brainstate.environ.dftype())
        self.forget_bias = brainstate.ParamState(bias)

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
        bias = self.forget_bias.value
        f, r, o = (jax.nn.sigmoid(a) for a in (self.Wf(xh) + bias, self.Wr(xh) - bias, self.Wo(xh)))
        g = 2.0 * r * f + (1.0 - 2.0 * r) * f**2
        c = g * self.c.value + (1.0 - g) * self.activation(self.Wu(xh))
        self.c.value = c
        new = o * self.activation(c)
        self.h.value = new
        return new
