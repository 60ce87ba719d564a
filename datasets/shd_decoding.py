"""Kernels that read a recording in SHD's layout: from its number types to seconds and units, and checks."""

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
def read_numbers(stored: Any, stored_units: Any, n_units: int, times: Any, units: Any) -> int:
    """Write times and units; return the first event that cannot be, -1 if there is none."""
    last = 0.0
    for i in range(stored.size):
        time, unit = float(stored[i]), stored_units[i]
        if not last <= time < math.inf or unit >= n_units:
            return i
        times[i], units[i] = time, unit
        last = time
    return -1


@compiled
def read_halves(stored: Any, stored_units: Any, halves: Any, n_units: int, times: Any, units: Any) -> int:
    """Do the same for times in half precision, given as bits, which the compiler does not know."""
    last = 0.0
    for i in range(stored.size):
        time, unit = halves[stored[i]], stored_units[i]
        if not last <= time < math.inf or unit >= n_units:
            return i
        times[i], units[i] = time, unit
        last = time
    return -1


def read_events(
    stored: NDArray[Any],
    stored_units: NDArray[Any],
    n_units: int,
    times: NDArray[np.float64],
    units: NDArray[np.int64],
) -> int:
    """Read the events of a recording.

    Parameters
    ----------
    stored, stored_units : arrays of shape (n_events,)
        What is in the file.
    n_units : int
        Number of units.
    times, units : float64 (in s) and int64 arrays of shape (n_events,)
        Results.

    Returns
    -------
    int
        Number of the first event that cannot be: its unit is out of range, or its time is negative, before
        that of the event before it, or not finite. -1 if there is none.

    Examples
    --------
    >>> times, units = np.empty(3), np.empty(3, np.int64)
    >>> read_events(np.array([2.5, 3.5, 3.0], "f2"), np.array([0, 1, 2], "u2"), 9, times, units)
    2
    >>> times[:2]
    array([2.5, 3.5])
    """
    if stored.dtype == np.float16:
        return int(read_halves(stored.view(np.uint16), stored_units, HALVES, n_units, times, units))
    return int(read_numbers(stored, stored_units, n_units, times, units))
