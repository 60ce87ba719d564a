"""The chaos-free network."""

from typing import ClassVar, final

import jax

from snntrace.nn.gated import ActivatedCell, beside
from snntrace.nn.linear import Linear


@final
class CFNCell(ActivatedCell):
    r"""Chaos-free network: without input its state dies out; one hidden state `h`.

    .. math::

        \theta^t &= \sigma([x^t, h^{t-1}] W_f + b_f) \\
        \eta^t &= \sigma([x^t, h^{t-1}] W_i + b_i) \\
        h^t &= \theta^t \, \phi(h^{t-1}) + \eta^t \, \phi(x^t W_h)

    Parameters
    ----------
    w_init : callable or array of shape (num_in + num_out, num_out)
        Weights of each gate, rows of the input first, a callable or a number, since the input's own matrix
        has num_in rows; ``brainstate.nn.init.Orthogonal()`` if left out.
    activation : str or callable
        The state's and the input's: name in ``jax.nn`` or ``jax.numpy``, or an elementwise function.
    num_in, num_out, b_init, state_init, name
        As for `GRUCell`.

    Raises
    ------
    ValueError
        If a size is not positive, or the activation or a shape unknown.

    References
    ----------
    T. Laurent, J. von Brecht, "A recurrent neural network without chaos", ICLR, 2017.

    Examples
    --------
    >>> import brainstate
    >>> import jax.numpy as jnp
    >>> from snntrace.nn import CFNCell
    >>> cell = CFNCell(3, 4)
    >>> _ = brainstate.nn.init_all_states(cell, batch_size=2)
    >>> cell(jnp.ones((2, 3))).shape
    (2, 4)
    """

    GATES: ClassVar[dict[str, str]] = {"Wf": "xh", "Wi": "xh", "Wh": "x"}
    WITHOUT_BIAS: ClassVar[tuple[str, ...]] = ("Wh",)
    Wf: Linear
    Wi: Linear
    Wh: Linear

    def step(self, x: jax.Array, h: jax.Array) -> jax.Array:
        """Compute the equation; see `RecurrentCell.step`."""
        xh = beside(x, h)
        forget, take = jax.nn.sigmoid(self.Wf(xh)), jax.nn.sigmoid(self.Wi(xh))
        return forget * self.activation(h) + take * self.activation(self.Wh(x))
