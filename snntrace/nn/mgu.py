"""The minimal gated unit."""

from typing import ClassVar, final

import jax

from snntrace.nn.gated import ActivatedCell, beside
from snntrace.nn.linear import Linear


@final
class MGUCell(ActivatedCell):
    r"""Minimal gated unit: a GRU whose one gate both resets and updates; one hidden state `h`.

    .. math::

        f^t &= \sigma([x^t, h^{t-1}] W_f + b_f) \\
        \tilde h^t &= \phi([x^t, f^t h^{t-1}] W_h + b_h) \\
        h^t &= (1 - f^t) h^{t-1} + f^t \tilde h^t

    Parameters
    ----------
    num_in, num_out, w_init, b_init, state_init, activation, name
        As for `GRUCell`.

    Raises
    ------
    ValueError
        If a size is not positive, or the activation or a shape unknown.

    References
    ----------
    G.-B. Zhou, J. Wu, C.-L. Zhang, Z.-H. Zhou, "Minimal gated unit for recurrent neural networks",
    International Journal of Automation and Computing 13, 226-234, 2016.

    Examples
    --------
    >>> import brainstate
    >>> import jax.numpy as jnp
    >>> from snntrace.nn import MGUCell
    >>> cell = MGUCell(3, 4)
    >>> _ = brainstate.nn.init_all_states(cell, batch_size=2)
    >>> cell(jnp.ones((2, 3))).shape
    (2, 4)
    """

    GATES: ClassVar[dict[str, str]] = {"Wf": "xh", "Wh": "xh"}
    Wf: Linear
    Wh: Linear

    def step(self, x: jax.Array, h: jax.Array) -> jax.Array:
        """Compute the equation; see `RecurrentCell.step`."""
        f = jax.nn.sigmoid(self.Wf(beside(x, h)))
        return (1.0 - f) * h + f * self.activation(self.Wh(beside(x, f * h)))
