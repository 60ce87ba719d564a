"""The leaky integrate-and-fire neuron with an adaptive threshold."""

from collections.abc import Iterable
from typing import Any, ClassVar, final

import brainstate
import brainunit as u
import jax
import jax.numpy as jnp

from snntrace.neurons.base import DRIVES
from snntrace.neurons.parameters import (
    Parameter,
    decay,
    learnable_names,
    one_of,
    time_constant,
    value_of,
    voltage,
)
from snntrace.neurons.quantities import scalar_time_in_ms
from snntrace.neurons.spiking import SpikingNeuron, Surrogate, firing, reset_voltage


@final
class ALIF(SpikingNeuron):
    r"""Leaky integrate-and-fire neuron whose threshold rises with its own spikes.

    Two hidden states, the voltage `v` and the adaptation `a`:

    .. math::

        z^{t-1} &= S(V^{t-1} - V_{th} - \beta a^{t-1}) \\
        a^t &= \rho a^{t-1} + z^{t-1}, \qquad \rho = e^{-\Delta t / \tau_{adapt}} \\
        V^t &= V_{rest} + \alpha (\mathrm{reset}(V^{t-1}, z^{t-1}) - V_{rest}) + c I^t \\
        z^t &= S(V^t - V_{th} - \beta a^t)

    The adaptation keeps a trace of past spikes for `tau_adapt`, much longer than the membrane does; the
    gradient follows it, also where the reset is detached. A soft reset subtracts the base threshold. A held
    unit keeps its voltage while its adaptation goes on decaying.

    Parameters
    ----------
    n : int or tuple of int
        The number of units; or the shape of a map, such as ``(height, width, channels)``, whose
        parameters have one value a channel in place of one a unit.
    tau_mem : quantity of shape () or (n,), in ms
        Membrane time constant; 20 ms if left out.
    tau_adapt : quantity of shape () or (n,), in ms
        Time constant of the adaptation; 200 ms if left out.
    beta : quantity of shape () or (n,), in mV
        By how much a spike raises the threshold; 0.2 mV if left out.
    v_th, v_rest, v_reset, reset, detach_reset, t_ref, drive, dt, surrogate
        As for `LIF`.
    learn : tuple of str
        Parameters to learn, of ``"tau_mem"``, ``"v_th"``, ``"tau_adapt"`` and ``"beta"``, as for `LIF`.
    name : str, optional
        Name of the module.

    Raises
    ------
    TypeError
        If a time or a voltage comes without its unit.
    ValueError
        If a value is out of its range or an option unknown.

    References
    ----------
    G. Bellec, F. Scherr, A. Subramoney, E. Hajek, D. Salaj, R. Legenstein, W. Maass, "A solution to the
    learning dilemma for recurrent networks of spiking neurons", Nature Communications 11, 3625, 2020.

    Examples
    --------
    >>> import brainunit as u
    >>> import jax.numpy as jnp
    >>> from snntrace.neurons import ALIF
    >>> neuron = ALIF(1, beta=0.5 * u.mV)
    >>> neuron.init_state()
    >>> [int(neuron(jnp.array([0.6]))[0]) for _ in range(10)]
    [0, 1, 0, 0, 1, 0, 0, 1, 0, 1]
    """

    LEARNABLE: ClassVar[tuple[str, ...]] = ("tau_mem", "v_th", "tau_adapt", "beta")
    tau_adapt: Parameter
    beta: Parameter
    a: brainstate.HiddenState

    def __init__(
        self,
        n: int | tuple[int, ...],
        tau_mem: Any = 20.0 * u.ms,
        tau_adapt: Any = 200.0 * u.ms,
        beta: Any = 0.2 * u.mV,
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
        self.dt = None if dt is None else scalar_time_in_ms(who, "dt", dt)
        self.tau_mem = time_constant(who, "tau_mem", tau_mem, self.channels, names)
        self.tau_adapt = time_constant(who, "tau_adapt", tau_adapt, self.channels, names)
        self.beta = voltage(who, "beta", beta, self.channels, names)
        self.v_rest = voltage(who, "v_rest", v_rest, self.channels)
        self.v_reset = reset_voltage(who, reset, v_reset, self.v_rest, v_th, self.channels)
        self.v_th = voltage(who, "v_th", v_th, self.channels, names)

    def at_rest(self, shape: tuple[int, ...]) -> dict[str, jax.Array]:
        """Return the resting voltage and no adaptation.

        Parameters
        ----------
        shape : tuple of int
            ``size`` or ``(batch, *size)``.

        Returns
        -------
        dict of array of that shape
            ``v``, in mV, and ``a``.
        """
        return {"v": self.resting_voltage(shape), "a": jnp.zeros(shape, brainstate.environ.dftype())}

    def above_threshold(self) -> jax.Array:
        """Return how far the voltage is above the adapted threshold.

        Returns
        -------
        array of shape (..., n), in mV
            The argument of the surrogate.
        """
        return jnp.asarray(self.v.value - value_of(self.v_th) - value_of(self.beta) * self.a.value)

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
        z = self.spikes()
        self.a.value = decay(self.tau_adapt, self.step_ms()) * self.a.value + z
        self.advance_membrane(z, current)
        return self.spikes()
