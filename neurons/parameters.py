"""Parameters of a neuron: fixed numbers, or ParamStates with one value a unit."""

from collections.abc import Iterable
from typing import Any, TypeAlias

import brainstate
import jax
import jax.numpy as jnp
import numpy as np

from snntrace.neurons.quantities import Plain, plain_number, time_in_ms, voltage_in_mv

Parameter: TypeAlias = float | tuple[float, ...] | brainstate.ParamState


def unit_count(who: str, n: Any, name: str = "n") -> int:
    """Check a number of units.

    Parameters
    ----------
    who : str
        The class that asks, for the error message.
    n : int
        The number of units.
    name : str
        The argument's name, for the error message.

    Returns
    -------
    int
        The number of units.

    Raises
    ------
    TypeError
        If `n` is not an int.
    ValueError
        If `n` is not positive.
    """
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)):
        raise TypeError(f"{who}: {name} must be an int, got {name}={n!r}. Give the number of units.")
    if n < 1:
        raise ValueError(f"{who}: {name} must be positive, got {name}={n}. Give the number of units.")
    return int(n)


def unit_shape(who: str, n: Any) -> tuple[int, ...]:
    """Check how units are arranged.

    Parameters
    ----------
    who : str
        The class that asks, for the error message.
    n : int or tuple of int
        The number of units, or the shape of their map, channels last.

    Returns
    -------
    tuple of int
        The shape; ``(n,)`` for a number.

    Raises
    ------
    ValueError
        If the tuple is empty, or an entry is not a positive int.
    """
    if not isinstance(n, (tuple, list)):
        return (unit_count(who, n),)
    if not n:
        raise ValueError(f"{who}: n must name a number of units, got n={n!r}. Write n=(8, 8, 4), or n=256.")
    return tuple(unit_count(who, size, f"n[{axis}]") for axis, size in enumerate(n))


def one_of(who: str, name: str, value: Any, allowed: tuple[str, ...]) -> str:
    """Check that an option is one of the names allowed.

    Parameters
    ----------
    who : str
        The class that asks, for the error message.
    name : str
        The option's name.
    value : str
        What was given.
    allowed : tuple of str
        What may be given.

    Returns
    -------
    str
        `value`.

    Raises
    ------
    ValueError
        If `value` is not allowed.
    """
    names = " or ".join(repr(each) for each in allowed)
    if value not in allowed:
        raise ValueError(f"{who}: {name} must be {names}, got {name}={value!r}. Choose one of them.")
    return str(value)


def learnable_names(who: str, learn: Iterable[str], allowed: tuple[str, ...]) -> frozenset[str]:
    """Check the names in `learn`.

    Parameters
    ----------
    who : str
        The class that asks, for the error message.
    learn : iterable of str
        The parameters to learn.
    allowed : tuple of str
        The parameters that can be learnt.

    Returns
    -------
    frozenset of str
        The parameters to learn.

    Raises
    ------
    TypeError
        If `learn` is one string rather than several.
    ValueError
        If a name is unknown.
    """
    if isinstance(learn, str):
        raise TypeError(
            f"{who}: learn must be a tuple of names, got learn={learn!r}. Write `learn=({learn!r},)`."
        )
    names = tuple(learn)
    for name in names:
        if name not in allowed:
            raise ValueError(
                f"{who}: learn must name parameters among {allowed}, got learn={names!r}. "
                f"Take {name!r} out, or pass it as a fixed value."
            )
    return frozenset(names)


def _per_unit(value: Plain, n: int) -> jax.Array:
    return jnp.broadcast_to(jnp.asarray(value, brainstate.environ.dftype()), (n,))


def time_constant(who: str, name: str, value: Any, n: int, learn: frozenset[str]) -> Parameter:
    """Make a time constant: a fixed number in ms, or the state that learns its logarithm.

    Parameters
    ----------
    who : str
        The class that asks, for the error message.
    name : str
        The parameter's name.
    value : quantity of shape () or (n,), in units of time
        The time constant, or where learning starts.
    n : int
        The number of units, of a map its channels.
    learn : frozenset of str
        The parameters to learn.

    Returns
    -------
    float, tuple of n floats (both in ms), or ParamState of shape (n,)
        The state holds ``ln(tau / ms)``, so that a gradient step cannot make the time constant negative.
    """
    plain = time_in_ms(who, name, value, n)
    return brainstate.ParamState(jnp.log(_per_unit(plain, n))) if name in learn else plain


def voltage(who: str, name: str, value: Any, n: int, learn: frozenset[str] = frozenset()) -> Parameter:
    """Make a voltage: a fixed number in mV, or the state that learns it.

    Parameters
    ----------
    who : str
        The class that asks, for the error message.
    name : str
        The parameter's name.
    value : quantity of shape () or (n,), in units of voltage
        The voltage, or where learning starts.
    n : int
        The number of units, of a map its channels.
    learn : frozenset of str
        The parameters to learn.

    Returns
    -------
    float, tuple of n floats, or ParamState of shape (n,), all in mV
        The voltage.
    """
    plain = voltage_in_mv(who, name, value, n)
    return brainstate.ParamState(_per_unit(plain, n)) if name in learn else plain


def ratio(who: str, name: str, value: Any, n: int, learn: frozenset[str]) -> Parameter:
    """Make a parameter without a unit: a fixed number, or the state that learns it.

    Parameters
    ----------
    who : str
        The class that asks, for the error message.
    name : str
        The parameter's name.
    value : float or array of shape (n,)
        The number, or where learning starts.
    n : int
        The number of units, of a map its channels.
    learn : frozenset of str
        The parameters to learn.

    Returns
    -------
    float, tuple of n floats, or ParamState of shape (n,)
        The number.
    """
    plain = plain_number(who, name, value, n)
    return brainstate.ParamState(_per_unit(plain, n)) if name in learn else plain


def value_of(parameter: Parameter) -> float | jax.Array:
    """Read a voltage, in mV, or a ratio.

    Parameters
    ----------
    parameter : float, tuple of float or ParamState
        What `voltage` or `ratio` made.

    Returns
    -------
    float or array of shape (n,), in mV or without a unit
        A float stays a float, so that a traced step holds it as a literal.
    """
    if isinstance(parameter, brainstate.ParamState):
        return jnp.asarray(parameter.value)
    if isinstance(parameter, tuple):
        return jnp.asarray(parameter, brainstate.environ.dftype())
    return parameter


def decay(tau: Parameter, dt: float) -> float | jax.Array:
    r"""Return the factor :math:`\alpha = e^{-\Delta t / \tau}` of one exact step of a leak.

    Parameters
    ----------
    tau : float, tuple of float (both in ms) or ParamState of ``ln(tau / ms)``
        What `time_constant` made.
    dt : float, in ms
        The time step.

    Returns
    -------
    float or array of shape (n,)
        The factor, between 0 and 1; a float where tau is one fixed number.
    """
    if isinstance(tau, brainstate.ParamState):
        return jnp.exp(-dt * jnp.exp(-tau.value))
    if isinstance(tau, tuple):
        return jnp.asarray(np.exp(-dt / np.asarray(tau)), brainstate.environ.dftype())
    return float(np.exp(-dt / tau))
