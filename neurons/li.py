"""The leaky integrator, a read-out that does not spike."""

from collections.abc import Iterable
from typing import Any, ClassVar, final

import brainunit as u
import jax

from snntrace.neurons.base import DRIVES, Neuron
from snntrace.neurons.parameters import learnable_names, one_of, time_constant, voltage
from snntrace.neurons.quantities import scalar_time_in_ms


@final
class LI(Neuron):
    r"""Leaky integrator without spikes, with one hidden state, the voltage `v`, which is its output.

    .. math:: V^t = \alpha V^{t-1} + c I^t, \qquad \alpha = e^{-\Delta t / \tau_{mem}}

    Parameters
    ----------
    n : int or tuple of int
        The number of units; or the shape of a map, such as ``(height, width, channels)``, whose
        parameters have one value a channel in place of one a unit.
    tau_mem : quantity of shape () or (n,), in ms
        Membrane time constant; 20 ms if left out.
    drive : {"delta", "current"}
        Whether input makes the voltage jump (c = 1), or is constant over a step (c = 1 - alpha).
    dt : quantity of shape (), in ms
        Time step. If left out: ``dt`` of ``brainstate.environ`` at each step, else 1 ms.
    learn : tuple of str
        Parameters to learn: ``("tau_mem",)`` or none. The ParamState holds ``ln(tau / ms)``.
    name : str, optional
        Name of the module.

    Raises
    ------
    TypeError
        If a time comes without its unit.
    ValueError
        If a value is out of its range or an option unknown.

    Examples
    --------
    >>> import brainunit as u
    >>> import jax.numpy as jnp
    >>> from snntrace.neurons import LI
    >>> readout = LI(2, tau_mem=20 * u.ms)
    >>> readout.init_state()
    >>> readout(jnp.array([1.0, -2.0])).tolist()
    [1.0, -2.0]
    """

    LEARNABLE: ClassVar[tuple[str, ...]] = ("tau_mem",)

    def __init__(
        self,
        n: int | tuple[int, ...],
        tau_mem: Any = 20.0 * u.ms,
        drive: str = "delta",
        dt: Any = None,
        learn: Iterable[str] = (),
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        who = type(self).__name__
        self.set_size(n)
        names = learnable_names(who, learn, self.LEARNABLE)
        self.drive = one_of(who, "drive", drive, DRIVES)
        self.dt = None if dt is None else scalar_time_in_ms(who, "dt", dt)
        self.tau_mem = time_constant(who, "tau_mem", tau_mem, self.channels, names)
        self.v_rest = voltage(who, "v_rest", 0.0 * u.mV, self.channels)

    def at_rest(self, shape: tuple[int, ...]) -> dict[str, jax.Array]:
        """Return no voltage.

        Parameters
        ----------
        shape : tuple of int
            ``size`` or ``(batch, *size)``.

        Returns
        -------
        dict of array of that shape, in mV
            ``v``.
        """
        return {"v": self.resting_voltage(shape)}

    def update(self, current: Any) -> jax.Array:
        """Advance by one step.

        Parameters
        ----------
        current : array of shape (..., n), in mV
            The input.

        Returns
        -------
        array of shape (..., n), in mV
            The voltage at the end of the step.
        """
        current = self.checked_input(current)
        v = self.leaked(self.v.value, current)
        self.v.value = v
        return v
