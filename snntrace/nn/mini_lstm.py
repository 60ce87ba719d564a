"""The minimal LSTM without recurrent weights."""

from typing import ClassVar, final

import jax

from snntrace.nn.gated import GatedCell
from snntrace.nn.linear import Linear


@final
class MiniLSTMCell(GatedCell):
    r"""Minimal LSTM without recurrent weights, with one hidden state `h`.

    .. math::

        f^t, i^t &= \sigma(x^t W_f + b_f), \; \sigma(x^t W_i + b_i) \\
        h^t &= \frac{f^t}{f^t + i^t} h^{t-1} + \frac{i^t}{f^t + i^t} (x^t W_h + b_h)

    Gates and candidate see the input alone, so that units do not act on each other: the trace's gradient is
    that of backpropagation through time.

    Parameters
    ----------
    w_init : callable or array of shape (num_in, num_out)
        Weights of each gate and of the candidate; ``brainstate.nn.init.Orthogonal()`` if left out.
    num_in, num_out, b_init, state_init, name
        As for `GRUCell`.

    Raises
    ------
    ValueError
        If a size is not positive, or a shape unknown.

    References
    ----------
    L. Feng, F. Tung, M. O. Ahmed, Y. Bengio, H. Hajimirsadeghi, "Were RNNs all we needed?",
    arXiv:2410.01201, 2024. (minLSTM, with gates that sum to one)

    Examples
    --------
    >>> import brainstate
    >>> import jax.numpy as jnp
    >>> from snntrace.nn import MiniLSTMCell
    >>> cell = MiniLSTMCell(3, 4)
    >>> _ = brainstate.nn.init_all_states(cell, batch_size=2)
    >>> cell(jnp.ones((2, 3))).shape
    (2, 4)
    """

    GATES: ClassVar[dict[str, str]] = {"Wf": "x", "Wi": "x", "Wh": "x"}
    Wf: Linear
    Wi: Linear
    Wh: Linear

    def step(self, x: jax.Array, h: jax.Array) -> jax.Array:
        """Compute the equation; see `RecurrentCell.step`."""
        f, i = jax.nn.sigmoid(self.Wf(x)), jax.nn.sigmoid(self.Wi(x))
        share = f / (f + i)
        new: jax.Array = share * h + (1.0 - share) * self.Wh(x)
        return new
