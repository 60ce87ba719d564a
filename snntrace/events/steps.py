"""From event times to steps: the one rule by which recordings are binned."""

from __future__ import annotations

from typing import Any

import brainunit as u
import numpy as np
from numpy.typing import ArrayLike, NDArray

from snntrace.events.lists import check_units

BORDER = 1e-9
MOST_STEPS = np.iinfo(np.int32).max - 1
LAST = 2.0**62
"""The step of all times that are so far away that no integer counts their steps."""


def in_seconds(dt: Any, who: str) -> float:
    """Return a step width in s.

    Parameters
    ----------
    dt : scalar quantity of time, such as ``4 * u.ms``
        The step.
    who : str
        Name of the caller, for the message.

    Returns
    -------
    float
        The step in s, in double precision.

    Raises
    ------
    TypeError
        If `dt` has no unit, or one that is not a time.
    ValueError
        If `dt` is not one positive finite number.
    """
    if not isinstance(dt, u.Quantity) or dt.unit.dim != u.second.dim:
        raise TypeError(
            f"{who}: dt must be a time with a unit, got dt={dt!r}. Write for example dt=4 * u.ms."
        )
    if (
        np.size(dt.mantissa) != 1
        or not np.all(np.isfinite(dt.mantissa))
        or not np.all(np.asarray(dt.mantissa) > 0)
    ):
        raise ValueError(
            f"{who}: dt must be one positive finite time, got dt={dt!r}. Write for example dt=4 * u.ms."
        )
    # Not `dt.to_decimal`: the product is wanted in double precision whatever the mantissa's type is.
    return float(dt.mantissa) * float(dt.unit.magnitude)


def step_of(times: NDArray[np.float64], dt: float) -> NDArray[np.int64]:
    r"""Return the bin of each time.

    .. math:: k = \lfloor t / \Delta t + 10^{-9} \rfloor

    so that bin ``k`` holds ``k dt <= t < (k + 1) dt`` and an event on a border belongs to the later bin. The
    small term keeps that true where the quotient of two exact multiples falls just short of an integer (``0.3
    / 0.1``).

    Parameters
    ----------
    times : float64 array, in s
        Event times.
    dt : float, in s
        Bin width.

    Returns
    -------
    int64 array of the shape of `times`
        Bin numbers.
    """
    steps: NDArray[np.int64] = np.floor(np.minimum(times / dt + BORDER, LAST)).astype(np.int64)
    return steps


def checked_n_steps(n_steps: int | None, who: str) -> int | None:
    """Return `n_steps` when it is None or at least 1.

    Parameters
    ----------
    n_steps : int or None
        Number of steps.
    who : str
        Name of the caller, for the message.

    Returns
    -------
    int or None
        `n_steps`.

    Raises
    ------
    ValueError
        If `n_steps` is less than 1, or steps need more than 32 bits.
    """
    if n_steps is not None and n_steps < 1:
        raise ValueError(
            f"{who}: n_steps must be at least 1, got n_steps={n_steps}. Leave it out to keep all events."
        )
    if n_steps is not None and n_steps > MOST_STEPS:
        raise ValueError(
            f"{who}: n_steps must be at most {MOST_STEPS}, got n_steps={n_steps}. Give a smaller number, and "
            f"leave later events out so."
        )
    return n_steps


def place_events(
    times: ArrayLike, units: ArrayLike, *, n_units: int, dt: float, pool: int, who: str
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the step and the channel of each event.

    Parameters
    ----------
    times : array of shape (n_events,), in s
        Event times.
    units : int array of shape (n_events,)
        Event units.
    n_units : int
        Number of units.
    dt : float, in s
        Bin width.
    pool : int
        Neighbouring units a channel.
    who : str
        Name of the caller, for the messages.

    Returns
    -------
    steps, channels : int64 arrays of shape (n_events,)
        Where each event goes.

    Raises
    ------
    TypeError
        If the units are not integers.
    ValueError
        If the two lists do not match, or hold a time or a unit that cannot be.
    """
    when = np.asarray(times).astype(np.float64)
    where = np.asarray(units)
    if where.size and where.dtype.kind not in "iu":
        raise TypeError(
            f"{who}: units must be integers, got dtype={where.dtype}. Convert them with .astype(int)."
        )
    where = where.astype(np.int64)
    check_units(who, n_units)
    if when.ndim != 1 or when.shape != where.shape:
        raise ValueError(
            f"{who}: times and units must be two lists of one length, got times.shape={when.shape} and "
            f"units.shape={where.shape}. Give one unit for each time."
        )
    if when.size == 0:
        return np.zeros(0, np.int64), where
    if not np.isfinite(when).all() or when.min() < 0:
        wrong = when[~np.isfinite(when) | (when < 0)][0]
        raise ValueError(
            f"{who}: times must be finite and not negative, got time={wrong}. "
            f"Convert half-precision times to float64 before computing with them."
        )
    if where.min() < 0 or where.max() >= n_units:
        wrong = where.min() if where.min() < 0 else where.max()
        raise ValueError(f"{who}: units must be in 0 .. {n_units - 1}, got unit={wrong}. Correct n_units.")
    return step_of(when, dt), where // pool
