"""The minimal recurrent network."""

from typing import ClassVar, final

import jax

from snntrace.nn.gated import ActivatedCell
from snntrace.nn.linear import Linear


@final
class MinimalRNNCell(ActivatedCell):
    r"""Minimal recurrent network: the input is encoded without the state; one hidden state `h`.

    .. math::

        z^t &= \phi(x^t W_x + b_x) \\
        u^t &= \sigma(h^{t-1} U_h + z^t U_z + b_u) \\
        h^t &= u^t h^{t-1} + (1 - u^t) z^t

    Parameters
    ----------
    w_init : callable or array of shape (num_in, num_out) or (num_out, num_out)
        Weights of the encoder and of the gate, a callable or a number if the two sizes differ;
        ``brainstate.nn.init.Orthogonal()`` if left out.
    activation : str or callable
        The encoder's: name in ``jax.nn`` or ``jax.numpy``, or an elementwise function.
    num_in, num_out, b_init, state_init, name
        As for `GRUCell`.

    Raises
    ------
    ValueError
        If a size is not positive, or the activation or a shape unknown.

    References
    ----------
    M. Chen, "MinimalRNN: toward more interpretable and trainable recurrent neural networks",
    arXiv:1711.06788, 2017.

    Examples
    --------
    >>> import brainstate
    >>> import jax.numpy as jnp
    >>> from snntrace.nn import MinimalRNNCell
    >>> cell = MinimalRNNCell(3, 4)
    >>> _ = brainstate.nn.init_all_states(cell, batch_size=2)
    >>> cell(jnp.ones((2, 3))).shape
    (2, 4)
    """

    GATES: ClassVar[dict[str, str]] = {"Wx": "x", "Uh": "h", "Uz": "h"}
    WITHOUT_BIAS: ClassVar[tuple[str, ...]] = ("Uh",)
    Wx: Linear
    Uh: Linear
    Uz: Linear

    def step(self, x: jax.Array, h: jax.Array) -> jax.Array:
        """Compute the equation; see `RecurrentCell.step`."""
        z = self.activation(self.Wx(x))
        u = jax.nn.sigmoid(self.Uh(h) + self.Uz(z))
        return u * h + (1.0 - u) * z
