"""The gated recurrent unit."""

from typing import Any, ClassVar, final

import jax

from snntrace.nn.gated import ActivatedCell, Activation, beside
from snntrace.nn.linear import Linear


@final
class GRUCell(ActivatedCell):
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

    GATES: ClassVar[dict[str, str]] = {"Wz": "xh", "Wr": "xh"}
    Wz: Linear
    Wr: Linear

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
        super().__init__(num_in, num_out, w_init, b_init, state_init, activation, name)
        self.reset_after = bool(reset_after)
        self.Wh = self.gate("x" if reset_after else "xh", w_init, b_init)
        if reset_after:
            self.Uh = self.gate("h", w_init, b_init)

    def step(self, x: jax.Array, h: jax.Array) -> jax.Array:
        """Compute the equation; see `RecurrentCell.step`."""
        xh = beside(x, h)
        z, r = jax.nn.sigmoid(self.Wz(xh)), jax.nn.sigmoid(self.Wr(xh))
        if self.reset_after:
            candidate = self.activation(self.Wh(x) + r * self.Uh(h))
        else:
            candidate = self.activation(self.Wh(beside(x, r * h)))
        return (1.0 - z) * h + z * candidate
