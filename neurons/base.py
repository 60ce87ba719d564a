"""What all neurons share: states, time step, and the leak of the membrane."""

import abc
import math
from typing import Any, ClassVar

import brainstate
import brainunit as u
import jax
import jax.numpy as jnp
import numpy as np

from snntrace.neurons.parameters import Parameter, decay, unit_shape, value_of
from snntrace.neurons.quantities import step_in_ms

DRIVES = ("delta", "current")


class Neuron(brainstate.nn.Module):
    r"""A layer of units without weights, whose membrane leaks towards a resting voltage.

    .. math:: V^t = V_{rest} + \alpha (V^{t-1} - V_{rest}) + c I^t, \quad \alpha = e^{-\Delta t / \tau_{mem}}

    This is the exact solution over one step. With ``drive="delta"``, :math:`c = 1`: the input is a train of
    delta pulses, each of which makes the voltage jump. With ``drive="current"``, :math:`c = 1 - \alpha`: the
    input is constant over the step and the membrane has resistance 1.

    Subclasses set the fields named here, and say what their states are at rest.

    The units stand in a row, ``size = (n,)``, or on a map whose last axis are its channels. A parameter has
    one value for all, or one a channel; in a row, each unit is a channel of its own.
    """

    LEARNABLE: ClassVar[tuple[str, ...]]
    RATIOS: ClassVar[tuple[str, ...]] = ()
    n: int
    channels: int
    size: tuple[int, ...]
    dt: float | None
    drive: str
    tau_mem: Parameter
    v_rest: Parameter
    v: brainstate.HiddenState

    def set_size(self, n: int | tuple[int, ...]) -> None:
        """Set how many units there are, and how they are arranged.

        Parameters
        ----------
        n : int or tuple of int
            The number of units, or the shape of their map, channels last.
        """
        self.size = unit_shape(type(self).__name__, n)
        self.n, self.channels = math.prod(self.size), self.size[-1]
        self.in_size = self.out_size = self.size

    @abc.abstractmethod
    def at_rest(self, shape: tuple[int, ...]) -> dict[str, jax.Array]:
        """Return the value at rest of every hidden state, by name.

        Parameters
        ----------
        shape : tuple of int
            ``size`` or ``(batch, *size)``.

        Returns
        -------
        dict of array of that shape
            The values, in mV where they are voltages.
        """

    def init_state(self, batch_size: int | None = None, **kwargs: Any) -> None:
        """Make the states, at rest.

        Parameters
        ----------
        batch_size : int, optional
            The number of samples; None for states without a batch axis.
        **kwargs
            Taken for the sake of ``brainstate.nn.init_all_states``, which passes on what it gets.
        """
        for name, value in self.at_rest(self.state_shape(batch_size)).items():
            setattr(self, name, brainstate.HiddenState(value))

    def reset_state(self, batch_size: int | None = None, **kwargs: Any) -> None:
        """Put the states back to rest.

        Parameters
        ----------
        batch_size : int, optional
            The number of samples; None for states without a batch axis.
        **kwargs
            Taken for the sake of ``brainstate.nn.reset_all_states``, which passes on what it gets.
        """
        for name, value in self.at_rest(self.state_shape(batch_size)).items():
            getattr(self, name).value = value

    def state_shape(self, batch_size: int | None) -> tuple[int, ...]:
        """Return the shape of every state.

        Parameters
        ----------
        batch_size : int, optional
            The number of samples.

        Returns
        -------
        tuple of int
            ``size`` or ``(batch_size, *size)``.
        """
        return self.size if batch_size is None else (batch_size, *self.size)

    def resting_voltage(self, shape: tuple[int, ...]) -> jax.Array:
        """Return the resting voltage of every unit.

        Parameters
        ----------
        shape : tuple of int
            ``size`` or ``(batch, *size)``.

        Returns
        -------
        array of that shape, in mV
            The voltage.
        """
        rest = jnp.asarray(value_of(self.v_rest), brainstate.environ.dftype())
        return jnp.broadcast_to(rest, shape)

    def step_ms(self) -> float:
        """Return the time step: this neuron's ``dt``, else ``brainstate.environ``'s, else 1 ms.

        Returns
        -------
        float, in ms
            The time step.
        """
        return step_in_ms(type(self).__name__, self.dt)

    def parameter(self, name: str) -> Any:
        """Read a learnable parameter, fixed or learnt, as a quantity.

        Parameters
        ----------
        name : str
            One of the class's ``LEARNABLE``.

        Returns
        -------
        quantity of shape () or (channels,)
            In ms for a time constant (also where a state learns its logarithm), in mV for a voltage, without
            a unit for one of the class's ``RATIOS``.

        Raises
        ------
        ValueError
            If the neuron has no such parameter.

        Examples
        --------
        >>> import brainunit as u
        >>> from snntrace.neurons import LIF
        >>> print(LIF(3, tau_mem=10 * u.ms).parameter("tau_mem"))
        10. ms
        """
        if name not in self.LEARNABLE:
            raise ValueError(
                f"{type(self).__name__}: name must be one of {self.LEARNABLE}, got name={name!r}. "
                "Choose one of them."
            )
        parameter: Parameter = getattr(self, name)
        value = value_of(parameter)
        if name in self.RATIOS:
            return u.Quantity(value)
        if not name.startswith("tau_"):
            return value * u.mV
        return (jnp.exp(value) if isinstance(parameter, brainstate.ParamState) else value) * u.ms

    def require_states(self) -> None:
        """Refuse to go on without states.

        Raises
        ------
        RuntimeError
            If there are none yet.
        """
        if not hasattr(self, "v"):
            raise RuntimeError(
                f"{type(self).__name__}: the states must be made before a step, got none. "
                "Call `brainstate.nn.init_all_states(model, batch_size=...)`."
            )

    def checked_input(self, current: Any) -> jax.Array:
        """Check the input of one step against the states.

        Parameters
        ----------
        current : array that broadcasts to the states' shape, in mV
            The input.

        Returns
        -------
        array
            The input.

        Raises
        ------
        TypeError
            If the input carries a unit.
        ValueError
            If the input's shape does not fit the states'.
        """
        who = type(self).__name__
        self.require_states()
        if isinstance(current, u.Quantity):
            raise TypeError(
                f"{who}: current must be a plain array, in mV, got current={current}. "
                "Write `current.to_decimal(brainunit.mV)`."
            )
        array = jnp.asarray(current)
        shape = self.v.value.shape
        try:
            fits = jnp.broadcast_shapes(array.shape, shape) == shape
        except ValueError:
            fits = False
        if not fits:
            raise ValueError(
                f"{who}: current must have the states' shape {shape}, got current of shape {array.shape}. "
                "Pass one value a unit, or make the states with the input's batch size."
            )
        return array

    def drive_factor(self) -> float | jax.Array:
        """Return what one unit of input adds to the voltage in a step, the c of the equation.

        Returns
        -------
        float or array of shape (n,)
            1, or 1 - alpha.
        """
        return 1.0 if self.drive == "delta" else 1.0 - decay(self.tau_mem, self.step_ms())

    def fluctuation(self) -> float:
        r"""Return the standard deviation of the voltage under white noise of unit variance, without spikes.

        .. math:: \sqrt{\textstyle\sum_t k_t^2}, \quad k_t = c \, \alpha^t

        Layers divide their initial weights by it. Where time constants differ, their mean factor counts.

        Returns
        -------
        float
            The standard deviation, in mV for an input in mV.
        """
        alpha = float(np.mean(decay(self.tau_mem, self.step_ms())))
        return float(np.mean(self.drive_factor())) / math.sqrt(1.0 - alpha**2)

    def leaked(self, v: jax.Array, current: jax.Array) -> jax.Array:
        """Return the voltage after one step of leak and input.

        Parameters
        ----------
        v : array of shape (..., n), in mV
            The voltage before the step.
        current : array of shape (..., n), in mV
            The input.

        Returns
        -------
        array of shape (..., n), in mV
            The voltage after the step.
        """
        alpha = decay(self.tau_mem, self.step_ms())
        rest = value_of(self.v_rest)
        leaked = alpha * v + (current if self.drive == "delta" else self.drive_factor() * current)
        at_zero = isinstance(rest, float) and rest == 0.0
        return leaked if at_zero else leaked + (1.0 - alpha) * rest
