"""The linear recurrent unit."""

import math
from typing import Any, ClassVar, final

import brainstate
import jax
import jax.numpy as jnp
import numpy as np

from snntrace.neurons.parameters import unit_count
from snntrace.neurons.weights import initial_array
from snntrace.nn.cell import RecurrentCell
from snntrace.nn.linear import Linear


@final
class LRUCell(RecurrentCell):
    r"""Linear recurrent unit: complex leaks, one for each unit, between two matrices.

    .. math::

        \lambda &= \exp(-e^{\nu} + i e^{\theta}) \\
        s^t &= \lambda s^{t-1} + e^{\gamma} \, x^t B, \qquad B = B_{re} + i B_{im} \\
        y^t &= \mathrm{Re}(s^t C) + x^t D, \qquad C = C_{re} + i C_{im}

    The state's real and imaginary part are the hidden states `re` and `im`. Units do not act on each other:
    the trace's gradient is that of backpropagation through time, that of :math:`\nu, \theta, \gamma` too.

    Parameters
    ----------
    num_in : int
        The number of inputs.
    num_out : int
        The number of outputs.
    num_hidden : int, optional
        The number of complex units; `num_out` if left out.
    r_min, r_max : float
        Between which :math:`|\lambda|` is drawn, uniformly over the ring.
    max_phase : float
        Up to which the phase of :math:`\lambda` is drawn.
    state_init : callable or float or array of shape (num_hidden,)
        Real and imaginary part before the first step; a callable is given their shape,
        ``(batch, num_hidden)`` with a batch axis.
    name : str, optional
        Name of the module.

    Raises
    ------
    ValueError
        If a size is not positive, or not ``0 <= r_min < r_max <= 1`` or ``0 < max_phase <= 2 pi``.

    References
    ----------
    A. Orvieto, S. L. Smith, A. Gu, A. Fernando, C. Gulcehre, R. Pascanu, S. De, "Resurrecting recurrent
    neural networks for long sequences", ICML, 2023.

    N. Zucchet, R. Meier, S. Schug, A. Mujika, J. Sacramento, "Online learning of long-range dependencies",
    NeurIPS, 2023. (its exact online gradient)

    Examples
    --------
    >>> import brainstate
    >>> import jax.numpy as jnp
    >>> from snntrace.nn import LRUCell
    >>> cell = LRUCell(3, 4, num_hidden=8)
    >>> _ = brainstate.nn.init_all_states(cell, batch_size=2)
    >>> cell(jnp.ones((2, 3))).shape
    (2, 4)
    """

    STATES: ClassVar[tuple[str, ...]] = ("re", "im")
    re: brainstate.HiddenState
    im: brainstate.HiddenState

    def __init__(
        self,
        num_in: int,
        num_out: int,
        num_hidden: int | None = None,
        r_min: float = 0.0,
        r_max: float = 1.0,
        max_phase: float = 2 * math.pi,
        state_init: Any = 0.0,
        name: str | None = None,
    ) -> None:
        super().__init__(num_in, num_out, state_init, name=name)
        hidden = self.num_out if num_hidden is None else num_hidden
        self.num_hidden = unit_count("LRUCell", hidden, "num_hidden")
        if not 0 <= r_min < r_max <= 1 or not 0 < max_phase <= 2 * math.pi + 1e-9:
            raise ValueError(
                "LRUCell: leaks must be drawn from 0 <= r_min < r_max <= 1 and 0 < max_phase <= 2 pi, "
                f"got r_min={r_min}, r_max={r_max}, max_phase={max_phase}. Leave them out for the whole disc."
            )
        n, dtype = self.num_hidden, brainstate.environ.dftype()
        self.n_units = n
        # Drawn away from 0 and 1, where the logarithms end.
        ring, turn = np.asarray(brainstate.random.uniform(1e-4, 1.0 - 1e-4, (2, n)), np.float64)
        radius = np.sqrt(ring * (r_max**2 - r_min**2) + r_min**2)
        self.nu = brainstate.ParamState(jnp.asarray(np.log(-np.log(radius)), dtype))
        self.theta = brainstate.ParamState(jnp.asarray(np.log(max_phase * turn), dtype))
        self.gamma = brainstate.ParamState(jnp.asarray(0.5 * np.log1p(-(radius**2)), dtype))

        def normal(name: str, rows: int, columns: int, scale: float) -> brainstate.ParamState:
            init = brainstate.nn.init.Normal(scale)
            return brainstate.ParamState(initial_array("LRUCell", name, init, (rows, columns)))

        self.B_re = normal("B_re", self.num_in, n, math.sqrt(0.5 / self.num_in))
        self.B_im = normal("B_im", self.num_in, n, math.sqrt(0.5 / self.num_in))
        self.C_re = normal("C_re", n, self.num_out, math.sqrt(1.0 / n))
        self.C_im = normal("C_im", n, self.num_out, math.sqrt(1.0 / n))
        self.D = Linear(self.num_in, self.num_out, b_init=None)

    def step(self, x: jax.Array, re: jax.Array, im: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Compute the state's equation; see `RecurrentCell.step`."""
        radius, phase = jnp.exp(-jnp.exp(self.nu.value)), jnp.exp(self.theta.value)
        by_re, by_im = radius * jnp.cos(phase), radius * jnp.sin(phase)
        gain = jnp.exp(self.gamma.value)
        new_re = by_re * re - by_im * im + gain * (x @ self.B_re.value)
        new_im = by_im * re + by_re * im + gain * (x @ self.B_im.value)
        return new_re, new_im

    def update(self, x: Any) -> jax.Array:
        """Advance by one step.

        Parameters
        ----------
        x : array of shape (..., num_in)
            The input.

        Returns
        -------
        array of shape (..., num_out)
            The output.
        """
        super().update(x)
        y: jax.Array = self.re.value @ self.C_re.value - self.im.value @ self.C_im.value + self.D(x)
        return y
