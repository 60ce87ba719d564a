"""Kernels of the loader: events to steps and channels, and these to counts. They hold no lock."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snntrace.datasets.room import Room
from snntrace.events.lists import checked_capacity
from snntrace.events.rows import compiled, keep_distinct
from snntrace.events.spikes import Spikes
from snntrace.events.steps import BORDER, place_events

Placed = tuple[NDArray[Any], NDArray[Any]]


def placed(
    times: NDArray[Any], units: NDArray[Any], *, n_units: int, dt: float, pool: int, n_steps: int
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
    # The kernel is compiled for one type of each; a transform of one's own may give others.
    known = times.dtype == np.float64 and units.dtype == np.int64 and times.shape == units.shape
    if not known or not place(times, units, n_units, dt, pool, n_steps, steps, channels):
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
def group_rows(steps: Any, channels: Any, n_steps: int, start: int, pointers: Any, grouped: Any) -> None:
    """Write the channels of one recording's events by step, from place `start` on."""
    pointers[:] = 0
    for i in range(steps.size):
        if steps[i] < n_steps:
            pointers[steps[i] + 1] += 1
    pointers[0] = start
    for t in range(n_steps):
        pointers[t + 1] += pointers[t]
    place = pointers[:n_steps].copy()
    for i in range(steps.size):
        if steps[i] < n_steps:
            grouped[place[steps[i]]] = channels[i]
            place[steps[i]] += 1


@compiled
def write_rows(x: Any, pointers: Any, grouped: Any, binary: bool) -> None:
    """Clear `x` and count events, row after row: each is still in the cache when its events are counted."""
    for t in range(x.shape[0]):
        for b in range(x.shape[1]):
            row = x[t, b]
            row[:] = 0
            for e in range(pointers[b, t], pointers[b, t + 1]):
                if binary:
                    row[grouped[e]] = 1
                else:
                    row[grouped[e]] += 1


def counted(
    recordings: list[Placed], n_steps: int, channels: int, binary: bool, room: Room
) -> NDArray[np.float32]:
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
    room : Room
        Where the array's memory is from.

    Returns
    -------
    float32 array of shape (time, batch, channel)
        The counts.
    """
    x = room.empty((n_steps, len(recordings), channels))
    pointers = np.empty((len(recordings), n_steps + 1), np.int64)
    grouped = np.empty(sum(steps.size for steps, _ in recordings), np.int32)
    start = 0
    for row, (steps, where) in enumerate(recordings):
        group_rows(steps, where, n_steps, start, pointers[row], grouped)
        start += steps.size
    write_rows(x, pointers, grouped, binary)
    return x


@compiled
def sort_rows(
    steps: Any, channels: Any, n_steps: int, n_channels: int, start: int, pointers: Any, indices: Any
) -> None:
    """Write the events of one recording by step and channel, from place `start` on.

    The events are put in the order of their channels first, and then in that of their steps, each in time
    proportional to their number; a comparison of channels within each step takes several times as long.
    """
    by_channel = np.zeros(n_channels + 1, np.int32)
    pointers[:] = 0
    for i in range(steps.size):
        if steps[i] < n_steps:
            by_channel[channels[i] + 1] += 1
            pointers[steps[i] + 1] += 1
    pointers[0] = start
    for c in range(n_channels):
        by_channel[c + 1] += by_channel[c]
    for t in range(n_steps):
        pointers[t + 1] += pointers[t]
    # Step and channel side by side, so that the second pass reads from one end to the other.
    pairs = np.empty((by_channel[n_channels], 2), np.int32)
    for i in range(steps.size):
        if steps[i] < n_steps:
            row = by_channel[channels[i]]
            pairs[row, 0] = steps[i]
            pairs[row, 1] = channels[i]
            by_channel[channels[i]] += 1
    place = pointers[:n_steps].copy()
    for row in range(pairs.shape[0]):
        step = pairs[row, 0]
        indices[place[step]] = pairs[row, 1]
        place[step] += 1


def listed(recordings: list[Placed], n_steps: int, channels: int, binary: bool) -> Spikes:
    """List placed events of several recordings, as `Spikes.from_steps` does.

    Parameters
    ----------
    recordings : list of (steps, channels)
        Events of each, possible ones.
    n_steps : int
        Number of steps; later events are left out.
    channels : int
        Number of channels.
    binary : bool
        At most one event a bin.

    Returns
    -------
    Spikes
        The events.
    """
    size = checked_capacity("batches", None, sum(steps.size for steps, _ in recordings))
    pointers = np.empty((len(recordings), n_steps + 1), np.int32)
    indices = np.zeros(size, np.int32)
    start = 0
    for row, (steps, where) in enumerate(recordings):
        sort_rows(steps, where, n_steps, channels, start, pointers[row], indices)
        start += steps.size
    if binary:
        keep_distinct(pointers, indices)
    return Spikes(pointers, indices, None, channels)
