"""The minimal GRU without recurrent weights."""

from typing import ClassVar, final

import jax

from snntrace.nn.gated import GatedCell
from snntrace.nn.linear import Linear


@final
class MiniGRUCell(GatedCell):
    r"""Minimal GRU without recurrent weights, with one hidden state `h`.

    .. math::

        z^t &= \sigma(x^t W_z + b_z) \\
        h^t &= (1 - z^t) h^{t-1} + z^t (x^t W_h + b_h)

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
    arXiv:2410.01201, 2024. (minGRU)

    Examples
    --------
    >>> import brainstate
    >>> import jax.numpy as jnp
    >>> from snntrace.nn import MiniGRUCell
    >>> cell = MiniGRUCell(3, 4)
    >>> _ = brainstate.nn.init_all_states(cell, batch_size=2)
    >>> cell(jnp.ones((2, 3))).shape
    (2, 4)
    """

    GATES: ClassVar[dict[str, str]] = {"Wz": "x", "Wh": "x"}
    Wz: Linear
    Wh: Linear

    def step(self, x: jax.Array, h: jax.Array) -> jax.Array:
        """Compute the equation; see `RecurrentCell.step`."""
        z = jax.nn.sigmoid(self.Wz(x))
        new: jax.Array = (1.0 - z) * h + z * self.Wh(x)
        return new
