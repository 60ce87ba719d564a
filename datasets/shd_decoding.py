"""Kernels that read a recording in SHD's layout: from its number types to seconds and units, and checks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snntrace.datasets.ragged import Ragged
from snntrace.events.rows import compiled

HALVES = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float64)
"""Each number of half precision, by its bits."""
HALVES.setflags(write=False)


@compiled
def read_numbers(stored: Any, stored_units: Any, starts: Any, n_units: int, times: Any, units: Any) -> bool:
    """Write times and units of recordings; tell whether all of them can be."""
    for row in range(starts.size - 1):
        last = 0.0
        for i in range(np.uint64(starts[row]), np.uint64(starts[row + 1])):
            time, unit = float(stored[i]), stored_units[i]
            if not last <= time < math.inf or unit >= n_units:
                return False
            times[i], units[i] = time, unit
            last = time
    return True


@compiled
def read_halves(
    stored: Any, stored_units: Any, halves: Any, starts: Any, n_units: int, times: Any, units: Any
) -> bool:
    """Do the same for times in half precision, given as bits, which the compiler does not know."""
    for row in range(starts.size - 1):
        last = 0.0
        for i in range(np.uint64(starts[row]), np.uint64(starts[row + 1])):
            time, unit = halves[stored[i]], stored_units[i]
            if not last <= time < math.inf or unit >= n_units:
                return False
            times[i], units[i] = time, unit
            last = time
    return True


def read_events(stored: NDArray[Any], stored_units: NDArray[Any], n_units: int, found: Ragged) -> bool:
    """Read the events of recordings, which follow each other.

    Parameters
    ----------
    stored, stored_units : arrays of shape (n_events,)
        What is in the file.
    n_units : int
        Number of units.
    found : Ragged
        Recordings of the right lengths; their events are written.

    Returns
    -------
    bool
        False if an event cannot be: its unit is out of range, or its time is negative, before that of the
        event before it, or not finite.

    Examples
    --------
    >>> found = Ragged.empty([2, 1])
    >>> read_events(np.array([2.5, 3.5, 3.0], "f2"), np.array([0, 1, 2], "u2"), 9, found), found[0]
    (True, (array([2.5, 3.5]), array([0, 1])))
    >>> read_events(np.array([2.5, 2.0, 3.0], "f2"), np.array([0, 1, 2], "u2"), 9, found)
    False
    """
    events = found.starts, n_units, found.times, found.units
    if stored.dtype == np.float16:
        return bool(read_halves(stored.view(np.uint16), stored_units, HALVES, *events))
    return bool(read_numbers(stored, stored_units, *events))
