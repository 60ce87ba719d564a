"""The leaky integrate-and-fire neuron."""

from collections.abc import Iterable
from typing import Any, ClassVar, final

import brainunit as u
import jax
import jax.numpy as jnp

from snntrace.neurons.base import DRIVES
from snntrace.neurons.parameters import learnable_names, one_of, time_constant, value_of, voltage
from snntrace.neurons.quantities import scalar_time_in_ms
from snntrace.neurons.spiking import SpikingNeuron, Surrogate, firing, reset_voltage


@final
class LIF(SpikingNeuron):
    r"""Leaky integrate-and-fire neuron, with one hidden state, the voltage `v`.

    .. math::

        z^{t-1} &= S(V^{t-1} - V_{th}) \\
        V^t &= V_{rest} + \alpha (\mathrm{reset}(V^{t-1}, z^{t-1}) - V_{rest}) + c I^t \\
        z^t &= S(V^t - V_{th}), \qquad \alpha = e^{-\Delta t / \tau_{mem}}

    The integration is exact, so a time step longer than `tau_mem` is stable. Use `CurrentLIF` where the
    synaptic current outlasts a step, and `ALIF` where memory beyond `tau_mem` is needed.

    Parameters
    ----------
    n : int or tuple of int
        The number of units; or the shape of a map, such as ``(height, width, channels)``, whose
        parameters have one value a channel in place of one a unit.
    tau_mem : quantity of shape () or (n,), in ms
        Membrane time constant; 20 ms if left out.
    v_th : quantity of shape () or (n,), in mV
        Threshold; 1 mV if left out.
    v_rest : quantity of shape () or (n,), in mV
        Resting voltage, where the states start; 0 mV if left out.
    v_reset : quantity of shape () or (n,), in mV
        Where a hard reset puts the voltage; `v_rest` if left out.
    reset : {"soft", "hard", "none"}
        Subtract the distance from rest to threshold, jump to `v_reset`, or do nothing after a spike.
    detach_reset : bool
        Whether the gradient takes the reset for a constant. Without a reset it has nothing to act on.
    t_ref : quantity of shape (), in ms
        Refractory period, rounded up to whole steps; none if left out.
    drive : {"delta", "current"}
        Whether input makes the voltage jump (c = 1), or is constant over a step (c = 1 - alpha).
    dt : quantity of shape (), in ms
        Time step. If left out: ``dt`` of ``brainstate.environ`` at each step, else 1 ms.
    surrogate : callable
        Spike function of the voltage above threshold, in mV;
        ``braintools.surrogate.ReluGrad(alpha=0.3, width=1.0)`` if left out.
    learn : tuple of str
        Parameters to learn, of ``"tau_mem"`` and ``"v_th"``. Each becomes a ParamState of shape (n,); that of
        a time constant holds ``ln(tau / ms)``, which keeps it positive. `parameter` reads the value itself.
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
    W. Gerstner, W. M. Kistler, R. Naud, L. Paninski, "Neuronal Dynamics", Cambridge University Press, 2014,
    chapter 1.3.

    Examples
    --------
    >>> import brainunit as u
    >>> import jax.numpy as jnp
    >>> from snntrace.neurons import LIF
    >>> neuron = LIF(3, tau_mem=20 * u.ms, v_th=1 * u.mV)
    >>> neuron.init_state()
    >>> neuron(jnp.array([0.5, 1.0, 2.0])).tolist()
    [0.0, 1.0, 1.0]
    """

    LEARNABLE: ClassVar[tuple[str, ...]] = ("tau_mem", "v_th")

    def __init__(
        self,
        n: int | tuple[int, ...],
        tau_mem: Any = 20.0 * u.ms,
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
        self.v_rest = voltage(who, "v_rest", v_rest, self.channels)
        self.v_reset = reset_voltage(who, reset, v_reset, self.v_rest, v_th, self.channels)
        self.v_th = voltage(who, "v_th", v_th, self.channels, names)

    def at_rest(self, shape: tuple[int, ...]) -> dict[str, jax.Array]:
        """Return the resting voltage.

        Parameters
        ----------
        shape : tuple of int
            ``size`` or ``(batch, *size)``.

        Returns
        -------
        dict of array of that shape
            ``v``, in mV.
        """
        return {"v": self.resting_voltage(shape)}

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
        self.advance_membrane(self.spikes(), current)
        return self.spikes()
