"""The current-based leaky integrate-and-fire neuron."""

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
    time_constant,
    value_of,
    voltage,
)
from snntrace.neurons.quantities import scalar_time_in_ms
from snntrace.neurons.spiking import SpikingNeuron, Surrogate, firing, reset_voltage


@final
class CurrentLIF(SpikingNeuron):
    r"""Current-based ("CUBA") leaky integrate-and-fire neuron: input feeds a synaptic current that decays.

    Two hidden states, the current `i` and the voltage `v`; the new current acts in the same step:

    .. math::

        i^t &= \alpha_{syn} i^{t-1} + x^t, \qquad \alpha_{syn} = e^{-\Delta t / \tau_{syn}} \\
        V^t &= V_{rest} + \alpha (\mathrm{reset}(V^{t-1}, z^{t-1}) - V_{rest}) + c i^t \\
        z^t &= S(V^t - V_{th})

    One unit of input adds up to :math:`c / (1 - \alpha_{syn})` units at the membrane, so weights are smaller
    than those of a `LIF`. A held unit keeps its voltage while its current goes on.

    Parameters
    ----------
    n : int or tuple of int
        The number of units; or the shape of a map, such as ``(height, width, channels)``, whose
        parameters have one value a channel in place of one a unit.
    tau_mem : quantity of shape () or (n,), in ms
        Membrane time constant; 20 ms if left out.
    tau_syn : quantity of shape () or (n,), in ms
        Time constant of the synaptic current; 5 ms if left out.
    v_th, v_rest, v_reset, reset, detach_reset, t_ref, drive, dt, surrogate
        As for `LIF`.
    learn : tuple of str
        Parameters to learn, of ``"tau_mem"``, ``"v_th"`` and ``"tau_syn"``, as for `LIF`.
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
    E. O. Neftci, H. Mostafa, F. Zenke, "Surrogate gradient learning in spiking neural networks", IEEE Signal
    Processing Magazine 36, 51-63, 2019.

    Examples
    --------
    >>> import brainunit as u
    >>> import jax.numpy as jnp
    >>> from snntrace.neurons import CurrentLIF
    >>> neuron = CurrentLIF(1, tau_syn=5 * u.ms)
    >>> neuron.init_state()
    >>> [float(neuron(jnp.array([x]))[0]) for x in (0.5, 0.0, 0.0, 0.0)]
    [0.0, 0.0, 1.0, 0.0]
    """

    LEARNABLE: ClassVar[tuple[str, ...]] = ("tau_mem", "v_th", "tau_syn")
    tau_syn: Parameter
    i: brainstate.HiddenState

    def __init__(
        self,
        n: int | tuple[int, ...],
        tau_mem: Any = 20.0 * u.ms,
        tau_syn: Any = 5.0 * u.ms,
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
        self.tau_syn = time_constant(who, "tau_syn", tau_syn, self.channels, names)
        self.v_rest = voltage(who, "v_rest", v_rest, self.channels)
        self.v_reset = reset_voltage(who, reset, v_reset, self.v_rest, v_th, self.channels)
        self.v_th = voltage(who, "v_th", v_th, self.channels, names)

    def at_rest(self, shape: tuple[int, ...]) -> dict[str, jax.Array]:
        """Return the resting voltage and no current.

        Parameters
        ----------
        shape : tuple of int
            ``size`` or ``(batch, *size)``.

        Returns
        -------
        dict of array of that shape, in mV
            ``v`` and ``i``.
        """
        return {"v": self.resting_voltage(shape), "i": jnp.zeros(shape, brainstate.environ.dftype())}

    def fluctuation(self) -> float:
        r"""Return the standard deviation of the voltage under white noise of unit variance, without spikes.

        .. math::

            \sqrt{\textstyle\sum_t k_t^2}, \quad
            k_t = c \, \frac{\alpha^{t+1} - \alpha_{syn}^{t+1}}{\alpha - \alpha_{syn}}

        Returns
        -------
        float
            The standard deviation, in mV for an input in mV.
        """
        fast = float(np.mean(decay(self.tau_syn, self.step_ms())))
        slow = float(np.mean(decay(self.tau_mem, self.step_ms())))
        both = (1.0 + fast * slow) / ((1.0 - fast * slow) * (1.0 - fast**2))
        return super().fluctuation() * math.sqrt(both)

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
            The input, which adds to the synaptic current.

        Returns
        -------
        array of shape (..., n)
            The spikes at the end of the step.
        """
        current = self.checked_input(current)
        z = self.spikes()
        self.i.value = decay(self.tau_syn, self.step_ms()) * self.i.value + current
        self.advance_membrane(z, self.i.value)
        return self.spikes()
