"""The gated recurrent unit."""

from typing import Any, final

import jax

from snntrace.nn.cell import Activation, RecurrentCell, with_state


@final
class GRUCell(RecurrentCell):
    r"""Gated recurrent unit, with one hidden state `h`.

    .. math::

        z^t &= \sigma([x^t, h^{t-1}] W_z + b_z) \\
        r^t &= \sigma([x^t, h^{t-1}] W_r + b_r) \\
        \tilde h^t &= \phi([x^t, r^t h^{t-1}] W_h + b_h) \\
        h^t &= (1 - z^t) h^{t-1} + z^t \tilde h^t

    With `reset_after`, the reset gate acts behind the recurrent product, as in cuDNN,

    .. math:: \tilde h^t = \phi(x^t W_h + b_h + r^t (h^{t-1} U_h + c_h))

    and so meets its own unit's state directly: it has an eligibility trace, where a gate in front of the
    product gets what it does within a step.

    Parameters
    ----------
    num_in : int
        The number of inputs.
    num_out : int
        The number of units.
    w_init : callable or array of shape (num_in + num_out, num_out)
        Weights of each gate and of the candidate, rows of the input first;
        ``brainstate.nn.init.Orthogonal()`` if left out. With `reset_after`, a callable or a number, since the
        candidate has two matrices.
    b_init : callable or array of shape (num_out,) or None
        Biases; None for none.
    state_init : callable or float or array of shape (num_out,)
        The state before the first step.
    activation : str or callable
        The candidate's: name in ``jax.nn`` or ``jax.numpy``, or an elementwise function.
    name : str, optional
        Name of the module.
    reset_after : bool
        Whether the reset gate acts behind the candidate's recurrent product.

    Raises
    ------
    ValueError
        If a size is not positive, or the activation or a shape unknown.

    References
    ----------
    K. Cho, B. van Merrienboer, C. Gulcehre, D. Bahdanau, F. Bougares, H. Schwenk, Y. Bengio, "Learning phrase
    representations using RNN encoder-decoder for statistical machine translation", EMNLP, 2014.

    S. Chetlur, C. Woolley, P. Vandermersch, J. Cohen, J. Tran, B. Catanzaro, E. Shelhamer, "cuDNN: efficient
    primitives for deep learning", arXiv:1410.0759, 2014. (reset behind the product)

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
        *,
        reset_after: bool = False,
    ) -> None:
        super().__init__(num_in, num_out, state_init, activation, name)
        self.reset_after = bool(reset_after)
        both = self.num_in + self.num_out
        self.Wz = self.gate(both, w_init, b_init)
        self.Wr = self.gate(both, w_init, b_init)
        if reset_after:
            self.Wh = self.gate(self.num_in, w_init, b_init)
            self.Uh = self.gate(self.num_out, w_init, b_init)
        else:
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
        xh = with_state(self, x, h)
        z = jax.nn.sigmoid(self.Wz(xh))
        r = jax.nn.sigmoid(self.Wr(xh))
        if self.reset_after:
            candidate = self.activation(self.Wh(x) + r * self.Uh(h))
        else:
            candidate = self.activation(self.Wh(with_state(self, x, r * h)))
        new = (1.0 - z) * h + z * candidate
        self.h.value = new
        return new
