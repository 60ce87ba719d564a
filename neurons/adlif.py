"""The leaky integrate-and-fire neuron with an adaptation current."""

import math
from collections.abc import Iterable
from typing import Any, ClassVar, final

import brainstate
import brainunit as u
import jax
import jax.numpy as jnp
import numpy as np

from snntrace.neurons.base import DRIVES
from snntrace.neurons.parameters import (
    Parameter,
    decay,
    learnable_names,
    one_of,
    ratio,
    time_constant,
    value_of,
    voltage,
)
from snntrace.neurons.quantities import scalar_time_in_ms
from snntrace.neurons.spiking import SpikingNeuron, Surrogate, firing, reset_voltage

SCHEMES = ("euler", "symplectic")


@final
class AdLIF(SpikingNeuron):
    r"""Leaky integrate-and-fire neuron with an adaptation current ("adLIF"), which can oscillate.

    Two hidden states, the voltage `v` and the adaptation current `w`, which follows the voltage and jumps
    with each spike:

    .. math::

        w^t &= \rho_w w^{t-1} + (1 - \rho_w) \, a \, (V^{t-1} - V_{rest}) + b z^{t-1} \\
        V^t &= V_{rest} + \alpha (\mathrm{reset}(V^{t-1}, z^{t-1}) - V_{rest}) + c I^t
            - (1 - \alpha) w^{t-1} \\
        z^t &= S(V^t - V_{th}), \qquad \rho_w = e^{-\Delta t / \tau_w}

    With ``scheme="symplectic"``, :math:`w^t` stands in the place of :math:`w^{t-1}` in the second line. Each
    state is integrated exactly while the other is held over the step. Without spikes, the unit is stable for
    :math:`-1 < a < (1 - \alpha \rho_w) / ((1 - \alpha)(1 - \rho_w))` under ``"euler"``, which shrinks as the
    time step grows, and up to :math:`(1 + \alpha)(1 + \rho_w) / ((1 - \alpha)(1 - \rho_w))` under
    ``"symplectic"``: take that for large `a`, as fast oscillations need. Learning may carry `a` out of these
    bounds; nothing holds it back.

    Others write the factors differently: the code of Bittar and Garner has :math:`(1 - \rho_w) a` as its a,
    and takes :math:`w^t` for the voltage; Baronig et al. have :math:`b / (1 - \rho_w)` as their b, and their
    `w` sees the voltage after the reset.
    A held unit keeps its voltage while its adaptation current goes on.

    Parameters
    ----------
    n : int or tuple of int
        The number of units; or the shape of a map, such as ``(height, width, channels)``, whose
        parameters have one value a channel in place of one a unit.
    tau_mem : quantity of shape () or (n,), in ms
        Membrane time constant; 20 ms if left out.
    tau_w : quantity of shape () or (n,), in ms
        Time constant of the adaptation current; 100 ms if left out.
    a : float or array of shape (n,)
        How strongly the adaptation current follows the voltage, above -1; 1 if left out.
    b : quantity of shape () or (n,), in mV
        By how much a spike raises the adaptation current; 0.2 mV if left out.
    scheme : {"euler", "symplectic"}
        Whether the voltage takes the adaptation current of before or of after the step.
    v_th, v_rest, v_reset, reset, detach_reset, t_ref, drive, dt, surrogate
        As for `LIF`.
    learn : tuple of str
        Parameters to learn, of ``"tau_mem"``, ``"v_th"``, ``"tau_w"``, ``"a"`` and ``"b"``, as for `LIF`.
    name : str, optional
        Name of the module.

    Raises
    ------
    TypeError
        If a time or a voltage comes without its unit, or `a` with one.
    ValueError
        If a value is out of its range or an option unknown.

    References
    ----------
    A. Bittar, P. N. Garner, "A surrogate gradient spiking baseline for speech command recognition", Frontiers
    in Neuroscience 16, 865897, 2022.

    M. Baronig, R. Ferrand, S. Sabathiel, R. Legenstein, "Advancing spatio-temporal processing through
    adaptation in spiking neural networks", Nature Communications 16, 2025,
    doi:10.1038/s41467-025-60878-z: the symplectic scheme.

    Examples
    --------
    >>> import brainunit as u
    >>> import jax.numpy as jnp
    >>> from snntrace.neurons import AdLIF
    >>> neuron = AdLIF(1, a=0.0, b=4 * u.mV)
    >>> neuron.init_state()
    >>> [int(neuron(jnp.array([0.6]))[0]) for _ in range(10)]
    [0, 1, 0, 1, 0, 0, 0, 1, 0, 0]
    """

    LEARNABLE: ClassVar[tuple[str, ...]] = ("tau_mem", "v_th", "tau_w", "a", "b")
    RATIOS: ClassVar[tuple[str, ...]] = ("a",)
    scheme: str
    tau_w: Parameter
    a: Parameter
    b: Parameter
    w: brainstate.HiddenState

    def __init__(
        self,
        n: int | tuple[int, ...],
        tau_mem: Any = 20.0 * u.ms,
        tau_w: Any = 100.0 * u.ms,
        a: Any = 1.0,
        b: Any = 0.2 * u.mV,
        scheme: str = "euler",
        v_th: Any = 1.0 * u.mV,
        v_rest: Any = 0.0 * u.mV,
        v_reset: Any = None,
        reset: str = "soft",
        detach_reset: bool = True,
        t_ref: Any = None,
        drive: str = "delta",
        dt: Any = None,
        surrogate: Surrogate | None = None,
        learn: Iterable[str] = (),
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        who = type(self).__name__
        self.set_size(n)
        names = learnable_names(who, learn, self.LEARNABLE)
        self.firing = firing(who, reset, detach_reset, t_ref, surrogate)
        self.drive = one_of(who, "drive", drive, DRIVES)
        self.scheme = one_of(who, "scheme", scheme, SCHEMES)
        self.dt = None if dt is None else scalar_time_in_ms(who, "dt", dt)
        self.tau_mem = time_constant(who, "tau_mem", tau_mem, self.channels, names)
        self.tau_w = time_constant(who, "tau_w", tau_w, self.channels, names)
        self.a = ratio(who, "a", a, self.channels, names)
        if np.min(a) <= -1.0:
            raise ValueError(
                f"{who}: a must be above -1, or the voltage runs away from rest, got a={a}. Give a larger a."
            )
        self.b = voltage(who, "b", b, self.channels, names)
        self.v_rest = voltage(who, "v_rest", v_rest, self.channels)
        self.v_reset = reset_voltage(who, reset, v_reset, self.v_rest, v_th, self.channels)
        self.v_th = voltage(who, "v_th", v_th, self.channels, names)

    def at_rest(self, shape: tuple[int, ...]) -> dict[str, jax.Array]:
        """Return the resting voltage and no adaptation current.

        Parameters
        ----------
        shape : tuple of int
            ``size`` or ``(batch, *size)``.

        Returns
        -------
        dict of array of that shape, in mV
            ``v`` and ``w``.
        """
        return {"v": self.resting_voltage(shape), "w": jnp.zeros(shape, brainstate.environ.dftype())}

    def fluctuation(self) -> float:
        r"""Return the standard deviation of the voltage under white noise of unit variance, without spikes.

        .. math::

            \sigma_k = \sqrt{P_{vv}}, \quad
            P = A P A^\top + \begin{pmatrix} c^2 & 0 \\ 0 & 0 \end{pmatrix}

        with A the step of (v, w) without spikes.

        Returns
        -------
        float
            The standard deviation, in mV for an input in mV.

        Raises
        ------
        ValueError
            If the states grow without bound at this time step.
        """
        alpha = float(np.mean(decay(self.tau_mem, self.step_ms())))
        rho = float(np.mean(decay(self.tau_w, self.step_ms())))
        a = float(np.mean(value_of(self.a)))
        new_w = np.array([(1.0 - rho) * a, rho])
        acting = new_w if self.scheme == "symplectic" else np.array([0.0, 1.0])
        step = np.stack([np.array([alpha, 0.0]) - (1.0 - alpha) * acting, new_w])
        if np.abs(np.linalg.eigvals(step)).max() >= 1.0:
            raise ValueError(
                f"{type(self).__name__}: the states must stay bounded, got a={a} and dt={self.step_ms()} ms. "
                "Write `scheme='symplectic'`, or give a smaller a or dt."
            )
        variance = np.linalg.solve(np.eye(4) - np.kron(step, step), [1.0, 0.0, 0.0, 0.0])[0]
        return float(np.mean(self.drive_factor())) * math.sqrt(variance)

    def above_threshold(self) -> jax.Array:
        """Return how far the voltage is above the threshold.

        Returns
        -------
        array of shape (..., n), in mV
            The argument of the surrogate.
        """
        return jnp.asarray(self.v.value - value_of(self.v_th))

    def update(self, current: Any) -> jax.Array:
        """Advance by one step.

        Parameters
        ----------
        current : array of shape (..., n), in mV
            The input.

        Returns
        -------
        array of shape (..., n)
            The spikes at the end of the step.
        """
        current = self.checked_input(current)
        z, old = self.spikes(), self.w.value
        rho = decay(self.tau_w, self.step_ms())
        pull = value_of(self.a) * (self.v.value - value_of(self.v_rest))
        self.w.value = rho * old + (1.0 - rho) * pull + value_of(self.b) * z
        acting = old if self.scheme == "euler" else self.w.value
        self.advance_membrane(z, current - self._hold_factor() * acting)
        return self.spikes()

    def _hold_factor(self) -> float | jax.Array:
        # The adaptation current is constant over a step also where the input is a train of pulses.
        return 1.0 if self.drive == "current" else 1.0 - decay(self.tau_mem, self.step_ms())
