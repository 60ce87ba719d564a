"""The gated recurrent unit."""

from typing import Any, final

import brainstate
import jax

from snntrace.nn.cell import Activation, RecurrentCell, activation_function, cell_sizes, with_state
from snntrace.nn.linear import Linear


@final
class GRUCell(RecurrentCell):
    r"""Gated recurrent unit, with one hidden state `h`.

    .. math::

        z^t &= \sigma([x^t, h^{t-1}] W_z + b_z) \\
        r^t &= \sigma([x^t, h^{t-1}] W_r + b_r) \\
        \tilde h^t &= \phi([x^t, r^t h^{t-1}] W_h + b_h) \\
        h^t &= (1 - z^t) h^{t-1} + z^t \tilde h^t

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
    K. Cho, B. van Merrienboer, C. Gulcehre, D. Bahdanau, F. Bougares, H. Schwenk, Y. Bengio, "Learning phrase
    representations using RNN encoder-decoder for statistical machine translation", EMNLP, 2014.

    Examples
    --------
    >>> import brainstate
    >>> import jax.numpy as jnp
    >>> from snntrace.nn import GRUCell
    >>> cell = GRUCell(3, 4)
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
        super().__init__(name=name)
        self.num_in, self.num_out = cell_sizes("GRUCell", num_in, num_out)
        self.in_size, self.out_size = (self.num_in,), (self.num_out,)
        self.state_init = state_init
        self.activation = activation_function("GRUCell", activation)
        init = brainstate.nn.init.Orthogonal() if w_init is None else w_init
        both = self.num_in + self.num_out
        self.Wz = Linear(both, self.num_out, w_init=init, b_init=b_init)
        self.Wr = Linear(both, self.num_out, w_init=init, b_init=b_init)
        self.Wh = Linear(both, self.num_out, w_init=init, b_init=b_init)

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
        z = jax.nn.sigmoid(self.Wz(xh))
        r = jax.nn.sigmoid(self.Wr(xh))
        candidate = self.activation(self.Wh(with_state(self, x, r * h)))
        new = (1.0 - z) * h + z * candidate
        self.h.value = new
        return new
