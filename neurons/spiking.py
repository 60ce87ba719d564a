"""Threshold, reset and refractory period, shared by all neurons that spike."""

import abc
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import brainstate
import braintools
import jax
import jax.numpy as jnp
import numpy as np

from snntrace.neurons.base import Neuron
from snntrace.neurons.parameters import Parameter, one_of, value_of, voltage
from snntrace.neurons.quantities import scalar_time_in_ms, voltage_in_mv

RESETS = ("soft", "hard", "none")
Surrogate = Callable[[jax.Array], jax.Array]


@dataclass(frozen=True)
class Firing:
    """How a unit fires, as `firing` checked it.

    Attributes
    ----------
    reset : str
        ``"soft"``, ``"hard"`` or ``"none"``.
    detach_reset : bool
        Whether the reset is a constant to the gradient.
    t_ref : float, in ms
        The refractory period.
    surrogate : callable
        The spike function: a step with a surrogate derivative.
    """

    reset: str
    detach_reset: bool
    t_ref: float
    surrogate: Surrogate


def firing(who: str, reset: str, detach_reset: bool, t_ref: Any, surrogate: Surrogate | None) -> Firing:
    """Check how a unit fires.

    Parameters
    ----------
    who : str
        The class that asks, for the error message.
    reset : str
        The kind of reset.
    detach_reset : bool
        Whether the reset is a constant to the gradient.
    t_ref : quantity of shape () or None, in units of time
        The refractory period; None for none.
    surrogate : callable or None
        The spike function; None for ``braintools.surrogate.ReluGrad(alpha=0.3, width=1.0)``.

    Returns
    -------
    Firing
        The options, checked.

    Raises
    ------
    TypeError
        If `surrogate` cannot be called, or `t_ref` is not a time.
    ValueError
        If `reset` is unknown, or `t_ref` negative.
    """
    one_of(who, "reset", reset, RESETS)
    if surrogate is None:
        surrogate = braintools.surrogate.ReluGrad(alpha=0.3, width=1.0)
    if not callable(surrogate):
        raise TypeError(
            f"{who}: surrogate must be a function of v - v_th, got surrogate={surrogate!r}. "
            "Write `surrogate=braintools.surrogate.ReluGrad()`."
        )
    period = 0.0 if t_ref is None else scalar_time_in_ms(who, "t_ref", t_ref, zero=True)
    return Firing(reset, bool(detach_reset), period, surrogate)


def reset_voltage(who: str, reset: str, v_reset: Any, v_rest: Parameter, v_th: Any, n: int) -> Parameter:
    """Check where a hard reset goes, and that the threshold lies above reset and rest.

    Parameters
    ----------
    who : str
        The class that asks, for the error message.
    reset : str
        The kind of reset.
    v_reset : quantity of shape () or (n,) or None, in units of voltage
        Where a hard reset puts the voltage; None for the resting voltage.
    v_rest : float or tuple of n floats, in mV
        The resting voltage.
    v_th : quantity of shape () or (n,), in units of voltage
        The threshold.
    n : int
        The number of units, of a map its channels.

    Returns
    -------
    float or tuple of n floats, in mV
        The voltage after a hard reset.

    Raises
    ------
    ValueError
        If `v_reset` is given for another kind of reset, or the threshold is not above it or above rest.
    """
    if v_reset is not None and reset != "hard":
        raise ValueError(
            f"{who}: v_reset must go with reset='hard', got v_reset={v_reset} and reset={reset!r}. "
            "Leave v_reset out, or write `reset='hard'`."
        )
    after = v_rest if v_reset is None else voltage(who, "v_reset", v_reset, n)
    threshold = np.asarray(voltage_in_mv(who, "v_th", v_th, n))
    for name, level in (("v_rest", v_rest), ("v_reset", after)):
        if np.any(threshold <= np.asarray(value_of(level))):
            raise ValueError(
                f"{who}: v_th must be above {name}, got v_th={v_th} and {name} of {level} mV. "
                "Raise the threshold."
            )
    return after


class SpikingNeuron(Neuron):
    r"""A neuron with a threshold, a reset and a refractory period.

    The reset by the last spike :math:`z` opens the step, the leak and the input follow, and the new spike
    closes it:

    .. math::

        \text{soft: } V \leftarrow V - (V_{th} - V_{rest}) z \qquad
        \text{hard: } V \leftarrow V + (V_{reset} - V) z

    The spike is a function of the states, so it is not a state itself: `spikes` recomputes it.

    A unit that spikes is then held for :math:`\lceil t_{ref} / \Delta t \rceil` steps: its voltage stays
    where the reset put it, its input is ignored, and it emits nothing.
    """

    firing: Firing
    v_th: Parameter
    v_reset: Parameter
    held: brainstate.ShortTermState

    @abc.abstractmethod
    def above_threshold(self) -> jax.Array:
        """Return how far the voltage is above the threshold in force.

        Returns
        -------
        array of shape (..., n), in mV
            The argument of the surrogate.
        """

    def init_state(self, batch_size: int | None = None, **kwargs: Any) -> None:
        """Make the states, at rest, and the counter of the refractory period where there is one.

        Parameters
        ----------
        batch_size : int, optional
            The number of samples; None for states without a batch axis.
        **kwargs
            Taken for the sake of ``brainstate.nn.init_all_states``, which passes on what it gets.
        """
        super().init_state(batch_size)
        if self.firing.t_ref > 0:
            self.held = brainstate.ShortTermState(jnp.zeros(self.state_shape(batch_size), jnp.int32))

    def reset_state(self, batch_size: int | None = None, **kwargs: Any) -> None:
        """Put the states back to rest, and end every refractory period.

        Parameters
        ----------
        batch_size : int, optional
            The number of samples; None for states without a batch axis.
        **kwargs
            Taken for the sake of ``brainstate.nn.reset_all_states``, which passes on what it gets.
        """
        super().reset_state(batch_size)
        if self.firing.t_ref > 0:
            self.held.value = jnp.zeros(self.state_shape(batch_size), jnp.int32)

    def spikes(self) -> jax.Array:
        """Return the spikes of the current state: what a recurrent synapse reads before a step.

        Returns
        -------
        array of shape (..., n)
            1 where a unit spikes, else 0; its derivative is the surrogate's.
        """
        self.require_states()
        z = self.firing.surrogate(self.above_threshold())
        if self.firing.t_ref > 0:
            z = jnp.where(self.held.value > 0, jnp.zeros_like(z), z)
        return z

    def advance_membrane(self, z: jax.Array, current: jax.Array) -> None:
        """Reset by the last spikes, then leak and take the input, except where a unit is held.

        Parameters
        ----------
        z : array of shape (..., n)
            The spikes of the state before the step.
        current : array of shape (..., n), in mV
            The input.
        """
        v = self._after_reset(self.v.value, z)
        new = self.leaked(v, current)
        if self.firing.t_ref > 0:
            steps = math.ceil(self.firing.t_ref / self.step_ms() - 1e-9)
            self.held.value = jnp.where(z > 0, steps, jnp.maximum(self.held.value - 1, 0))
            new = jnp.where(self.held.value > 0, v, new)
        self.v.value = new

    def _after_reset(self, v: jax.Array, z: jax.Array) -> jax.Array:
        if self.firing.detach_reset:
            z = jax.lax.stop_gradient(z)
        if self.firing.reset == "soft":
            return v - (value_of(self.v_th) - value_of(self.v_rest)) * z
        if self.firing.reset == "hard":
            return v + z * (value_of(self.v_reset) - v)
        return v
