"""The minimal GRU without recurrent weights."""

from typing import Any, final

import jax

from snntrace.nn.cell import RecurrentCell, checked_input


@final
class MiniGRUCell(RecurrentCell):
    r"""Minimal GRU without recurrent weights, with one hidden state `h`.

    .. math::

        z^t &= \sigma(x^t W_z + b_z) \\
        h^t &= (1 - z^t) h^{t-1} + z^t (x^t W_h + b_h)

    Gates and candidate see the input alone, so that units do not act on each other: the trace's gradient is
    that of backpropagation through time.

    Parameters
    ----------
    num_in : int
        The number of inputs.
    num_out : int
        The number of units.
    w_init : callable or array of shape (num_in, num_out)
        Weights of each gate and of the candidate; ``brainstate.nn.init.Orthogonal()`` if left out.
    b_init : callable or array of shape (num_out,) or None
        Biases; None for none.
    state_init : callable or float or array of shape (num_out,)
        The state before the first step.
    name : str, optional
        Name of the module.

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

    def __init__(
        self,
        num_in: int,
        num_out: int,
        w_init: Any = None,
        b_init: Any = 0.0,
        state_init: Any = 0.0,
        name: str | None = None,
    ) -> None:
        super().__init__(num_in, num_out, state_init, "tanh", name)
        self.Wz = self.gate(self.num_in, w_init, b_init)
        self.Wh = self.gate(self.num_in, w_init, b_init)

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
        array = checked_input(self, x, h)
        z = jax.nn.sigmoid(self.Wz(array))
        new: jax.Array = (1.0 - z) * h + z * self.Wh(array)
        self.h.value = new
        return new
