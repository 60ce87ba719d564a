"""Kernels of the loader: events to steps and channels, and these to counts. They hold no lock."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snntrace.events.rows import compiled
from snntrace.events.steps import BORDER, place_events

Placed = tuple[NDArray[Any], NDArray[Any]]


def placed(
    times: NDArray[np.float64], units: NDArray[np.int64], *, n_units: int, dt: float, pool: int, n_steps: int
) -> Placed:
    """Return the step and the channel of each event, as `place_events` does.

    Parameters
    ----------
    times : float64 array of shape (n_events,), in s
        Event times.
    units : int64 array of shape (n_events,)
        Event units.
    n_units : int
        Number of units.
    dt : float, in s
        Bin width.
    pool : int
        Neighbouring units a channel.
    n_steps : int
        Steps that count; all later ones are given as this number.

    Returns
    -------
    steps, channels : int32 arrays of shape (n_events,)
        Where each event goes.
    """
    steps, channels = np.empty(times.size, np.int32), np.empty(times.size, np.int32)
    if times.shape != units.shape or not place(times, units, n_units, dt, pool, n_steps, steps, channels):
        # For its errors.
        late, where = place_events(times, units, n_units=n_units, dt=dt, pool=pool, who="batches")
        return np.minimum(late, n_steps).astype(np.int32), where.astype(np.int32)
    return steps, channels


@compiled
def place(
    times: Any, units: Any, n_units: int, dt: float, pool: int, n_steps: int, steps: Any, channels: Any
) -> bool:
    """Write steps and channels; tell whether all times and units are possible."""
    for i in range(times.size):
        time, unit = times[i], units[i]
        if not 0 <= time < math.inf or unit < 0 or unit >= n_units:
            return False
        steps[i] = min(math.floor(time / dt + BORDER), float(n_steps))
        channels[i] = unit // pool
    return True


@compiled
def count(x: Any, row: int, steps: Any, channels: Any, binary: bool) -> None:
    """Add the events of one recording to ``x[:, row]``, those of steps beyond `x` left out."""
    for i in range(steps.size):
        if steps[i] < x.shape[0]:
            if binary:
                x[steps[i], row, channels[i]] = 1
            else:
                x[steps[i], row, channels[i]] += 1


def counted(recordings: list[Placed], n_steps: int, channels: int, binary: bool) -> NDArray[np.float32]:
    """Count placed events of several recordings into one dense array.

    Parameters
    ----------
    recordings : list of (steps, channels)
        Events of each.
    n_steps : int
        Number of steps; later events are left out.
    channels : int
        Number of channels.
    binary : bool
        At most one event a bin.

    Returns
    -------
    float32 array of shape (time, batch, channel)
        The counts.
    """
    x = np.zeros((n_steps, len(recordings), channels), np.float32)
    for row, (steps, where) in enumerate(recordings):
        count(x, row, steps, where, binary)
    return x
