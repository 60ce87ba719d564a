"""Kernels that read stored events: from their number types to seconds and units, and whether they can be."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snntrace.events.rows import compiled

HALVES = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float64)
"""Each number of half precision, by its bits."""
HALVES.setflags(write=False)


@compiled
def join_planes(planes: Any, numbers: Any) -> None:
    """Write numbers whose lowest bytes follow each other in `planes`, then all next ones, and so on."""
    numbers[:] = planes[: numbers.size]
    for k in range(1, planes.size // numbers.size):
        start, shift = k * numbers.size, np.uint64(8 * k)
        for i in range(numbers.size):
            numbers[i] |= np.uint64(planes[start + i]) << shift


@compiled
def read_numbers(
    stored: Any, stored_units: Any, seconds: float, n_units: int, last: float, times: Any, units: Any
) -> int:
    """Write times and units; return the first event that cannot be, -1 if there is none."""
    for i in range(stored.size):
        time, unit = stored[i] * seconds, stored_units[i]
        if not last <= time < math.inf or unit >= n_units:
            return i
        times[i], units[i] = time, unit
        last = time
    return -1


@compiled
def read_halves(
    stored: Any, stored_units: Any, halves: Any, n_units: int, last: float, times: Any, units: Any
) -> int:
    """Do the same for times in half precision, given as bits, which the compiler does not know."""
    for i in range(stored.size):
        time, unit = halves[stored[i]], stored_units[i]
        if not last <= time < math.inf or unit >= n_units:
            return i
        times[i], units[i] = time, unit
        last = time
    return -1


def read_part(
    stored: NDArray[Any],
    stored_units: NDArray[Any],
    seconds: float,
    n_units: int,
    last: float,
    times: NDArray[np.float64],
    units: NDArray[np.int64],
) -> int:
    """Read events that follow each other.

    Parameters
    ----------
    stored, stored_units : arrays of shape (n_events,)
        What is in the file.
    seconds : float, in s
        What a stored time of 1 stands for.
    n_units : int
        Number of units.
    last : float, in s
        Time of the event before them.
    times, units : float64 (in s) and int64 arrays of shape (n_events,)
        Results.

    Returns
    -------
    int
        Number of the first event that cannot be: its unit is out of range, or its time before `last` or that
        of the event before it, or not finite. -1 if there is none.

    Examples
    --------
    >>> times, units = np.empty(3), np.empty(3, np.int64)
    >>> read_part(np.array([5, 7, 6], "u4"), np.array([0, 1, 2], "u2"), 0.5, 9, 0.0, times, units)
    2
    >>> times[:2]
    array([2.5, 3.5])
    """
    if stored.dtype == np.float16:
        return int(read_halves(stored.view(np.uint16), stored_units, HALVES, n_units, last, times, units))
    return int(read_numbers(stored, stored_units, seconds, n_units, last, times, units))
