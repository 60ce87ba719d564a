"""Physical quantities at the border: times become floats in ms, voltages floats in mV."""

from typing import Any

import brainstate
import brainunit as u
import numpy as np

Plain = float | tuple[float, ...]
"""A number, or one number a unit; tuples rather than arrays keep a module's graph definition hashable."""

DEFAULT_DT_MS = 1.0


def _plain(who: str, name: str, value: Any, unit: Any, kind: str, n: int | None) -> Plain:
    example = f"{name}=20 * brainunit.{unit}"
    if not isinstance(value, u.Quantity):
        raise TypeError(
            f"{who}: {name} must be a {kind} with a unit, got {name}={value!r}. Write `{example}`."
        )
    try:
        number = np.asarray(value.to_decimal(unit), dtype=np.float64)
    except u.UnitMismatchError:
        raise TypeError(f"{who}: {name} must be a {kind}, got {name}={value}. Write `{example}`.") from None
    return _shaped(who, name, value, number, kind, n)


def _shaped(who: str, name: str, value: Any, number: Any, kind: str, n: int | None) -> Plain:
    shapes: tuple[tuple[int, ...], ...] = ((),) if n is None else ((), (n,))
    if number.shape not in shapes:
        allowed = " or ".join(str(shape) for shape in shapes)
        raise ValueError(
            f"{who}: {name} must have shape {allowed}, got {name} of shape {number.shape}. "
            f"Give one value{' for all units, or one a unit' if n is not None else ''}."
        )
    if not np.isfinite(number).all():
        raise ValueError(f"{who}: {name} must be finite, got {name}={value}. Give a finite {kind}.")
    return float(number) if number.ndim == 0 else tuple(number.tolist())


def time_in_ms(who: str, name: str, value: Any, n: int | None = None, *, zero: bool = False) -> Plain:
    """Check a time and convert it to milliseconds.

    Parameters
    ----------
    who : str
        The class that asks, for the error message.
    name : str
        The argument's name, for the error message.
    value : quantity of shape () or (n,), in units of time
        The time.
    n : int, optional
        The number of units; None allows one value only.
    zero : bool
        Whether zero is allowed.

    Returns
    -------
    float or tuple of n floats, in ms
        The time.

    Raises
    ------
    TypeError
        If `value` is not a quantity, or not a time.
    ValueError
        If the shape is wrong, or a time is not positive and finite.
    """
    plain = _plain(who, name, value, u.ms, "time", n)
    smallest = float(np.min(plain))
    if smallest < 0 or (smallest == 0 and not zero):
        bound = "at least 0 ms" if zero else "above 0 ms"
        raise ValueError(f"{who}: {name} must be {bound}, got {name}={value}. Give a longer time.")
    return plain


def voltage_in_mv(who: str, name: str, value: Any, n: int | None = None) -> Plain:
    """Check a voltage and convert it to millivolts.

    Parameters
    ----------
    who : str
        The class that asks, for the error message.
    name : str
        The argument's name, for the error message.
    value : quantity of shape () or (n,), in units of voltage
        The voltage.
    n : int, optional
        The number of units; None allows one value only.

    Returns
    -------
    float or tuple of n floats, in mV
        The voltage.

    Raises
    ------
    TypeError
        If `value` is not a quantity, or not a voltage.
    ValueError
        If the shape is wrong or a voltage is not finite.
    """
    return _plain(who, name, value, u.mV, "voltage", n)


def plain_number(who: str, name: str, value: Any, n: int | None = None) -> Plain:
    """Check a number without a unit.

    Parameters
    ----------
    who : str
        The class that asks, for the error message.
    name : str
        The argument's name, for the error message.
    value : float or array of shape (n,)
        The number.
    n : int, optional
        The number of units; None allows one value only.

    Returns
    -------
    float or tuple of n floats
        The number.

    Raises
    ------
    TypeError
        If `value` has a unit or is not a number.
    ValueError
        If the shape is wrong or a number is not finite.
    """
    try:
        number = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        number = None
    if number is None or isinstance(value, u.Quantity):
        raise TypeError(
            f"{who}: {name} must be a number without a unit, got {name}={value!r}. Write `{name}=1.0`."
        )
    return _shaped(who, name, value, number, "number", n)


def step_in_ms(who: str, dt: float | None) -> float:
    """Return the time step: the module's own, else the environment's, else 1 ms.

    Parameters
    ----------
    who : str
        The class that asks, for the error message.
    dt : float or None, in ms
        The module's own time step.

    Returns
    -------
    float, in ms
        The time step.

    Raises
    ------
    TypeError
        If ``brainstate.environ`` holds a ``dt`` that is not a time.
    ValueError
        If ``brainstate.environ`` holds a ``dt`` that is not positive.
    """
    if dt is not None:
        return dt
    environment = brainstate.environ.get("dt", default=None)
    if environment is None:
        return DEFAULT_DT_MS
    return scalar_time_in_ms(who, "dt", environment)


def scalar_time_in_ms(who: str, name: str, value: Any, *, zero: bool = False) -> float:
    """Check one time, the same for all units, and convert it to milliseconds.

    Parameters
    ----------
    who : str
        The class that asks, for the error message.
    name : str
        The argument's name, for the error message.
    value : quantity of shape (), in units of time
        The time.
    zero : bool
        Whether zero is allowed.

    Returns
    -------
    float, in ms
        The time.

    Raises
    ------
    TypeError
        If `value` is not a quantity, or not a time.
    ValueError
        If `value` is not one positive, finite time.
    """
    return float(np.asarray(time_in_ms(who, name, value, zero=zero)))
