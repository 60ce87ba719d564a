"""Kernels of the loader: events to steps and channels, and these to counts. They hold no lock."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from snntrace.datasets.past_cache import LARGE, LINE, shift_of, store
from snntrace.datasets.ragged import EventList, Ragged, starts_of
from snntrace.datasets.room import Room
from snntrace.events.lists import checked_capacity
from snntrace.events.rows import compiled, keep_distinct
from snntrace.events.spikes import Spikes
from snntrace.events.steps import BORDER, place_events


class Placed(NamedTuple):
    """Where the events of some recordings go, which follow each other.

    Attributes
    ----------
    starts : int64 array of shape (n_recordings + 1,)
        Recording ``i`` is events ``starts[i] .. starts[i + 1] - 1``.
    steps, channels : int32 arrays of shape (n_events,)
        Step and channel of each event.
    """

    starts: NDArray[np.int64]
    steps: NDArray[np.int32]
    channels: NDArray[np.int32]

    def lengths(self) -> NDArray[np.int64]:
        """Return the number of steps up to and including the last event of each recording, at least 1."""
        ends = np.empty(len(self.starts) - 1, np.int64)
        last_steps(self.starts, self.steps, ends)
        return np.maximum(ends + 1, 1)

    def padded(self, missing: int) -> Placed:
        """Return the same with some recordings more, which have no events."""
        return self._replace(starts=np.append(self.starts, np.full(missing, self.starts[-1])))


def joined(parts: Sequence[tuple[NDArray[Any], NDArray[Any]]]) -> Placed:
    """Put recordings one after the other.

    Parameters
    ----------
    parts : sequence of (steps, channels)
        Integer arrays.

    Returns
    -------
    Placed
        The recordings.
    """
    none = np.zeros(0, np.int32)
    return Placed(
        starts_of(steps.size for steps, _ in parts),
        np.concatenate([none, *(steps for steps, _ in parts)], dtype=np.int32, casting="unsafe"),
        np.concatenate([none, *(channels for _, channels in parts)], dtype=np.int32, casting="unsafe"),
    )


def together(parts: Sequence[Placed]) -> Placed:
    """Put several lists of recordings one after the other.

    Parameters
    ----------
    parts : sequence of Placed
        The lists.

    Returns
    -------
    Placed
        All of their recordings.
    """
    if len(parts) == 1:
        return parts[0]
    before, none = starts_of(part.steps.size for part in parts), np.zeros(0, np.int32)
    starts = [part.starts[:-1] + start for part, start in zip(parts, before[:-1], strict=True)]
    return Placed(
        np.concatenate([*starts, before[-1:]]),
        np.concatenate([none, *(part.steps for part in parts)]),
        np.concatenate([none, *(part.channels for part in parts)]),
    )


def placed(recordings: Sequence[EventList], *, n_units: int, dt: float, pool: int, n_steps: int) -> Placed:
    """Return the step and the channel of each event, as `place_events` does.

    Parameters
    ----------
    recordings : sequence of (times, units)
        Times in s.
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
    Placed
        Where each event goes.
    """
    if not isinstance(recordings, Ragged) and all(is_plain(*events) for events in recordings):
        recordings = Ragged.joined(recordings)
    if isinstance(recordings, Ragged):
        steps, channels = (np.empty(recordings.times.size, np.int32) for _ in range(2))
        if place(recordings.times, recordings.units, n_units, dt, pool, n_steps, steps, channels):
            return Placed(recordings.starts, steps, channels)
    each = [
        place_events(times, units, n_units=n_units, dt=dt, pool=pool, who="batches")
        for times, units in recordings
    ]
    return joined([(np.minimum(steps, n_steps), channels) for steps, channels in each])


def is_plain(times: Any, units: Any) -> bool:
    """Tell whether a recording is of the types that kernels read; a user's transform may give others."""
    arrays = isinstance(times, np.ndarray) and isinstance(units, np.ndarray)
    return arrays and (times.dtype, units.dtype, times.shape) == (np.float64, np.int64, (units.size,))


@compiled
def place(
    times: Any, units: Any, n_units: int, dt: float, pool: int, n_steps: int, steps: Any, channels: Any
) -> bool:
    """Write steps and channels; tell whether all times and units are possible."""
    # Without a branch, so that several events are placed at a time.
    doubtful, finite, top = 0, True, float(n_steps)
    for i in range(times.size):
        time, unit = times[i], units[i]
        finite &= (time >= 0) & (time < math.inf)
        doubtful |= unit | (n_units - 1 - unit)
        # The smaller one first, for an integer of a time that is far beyond has any sign.
        steps[i] = math.floor(min(time / dt + BORDER, top))
        channels[i] = unit
    if pool > 1:
        for i in range(times.size):
            channels[i] = channels[i] // np.int32(pool)
    return finite and doubtful >= 0


@compiled
def last_steps(starts: Any, steps: Any, ends: Any) -> None:
    """Write the last step of each recording; -1 where there is no event."""
    for b in range(ends.size):
        # A part, whose places start at 0: numba would test each other one for being negative.
        last, own = np.int32(-1), steps[starts[b] : starts[b + 1]]
        for i in range(own.size):
            last = max(last, own[i])
        ends[b] = last


@compiled
def find_rows(own: Any, first: int, pointers: Any) -> bool:
    """Write where each step of one recording begins; tell whether its events are in the order of steps."""
    n_steps, t = pointers.size - 1, 0
    for i in range(own.size):
        if own[i] < t - 1:
            return False
        while t <= min(own[i], n_steps):
            pointers[t] = first + i
            t += 1
    pointers[t:] = first + own.size
    return True


@compiled
def group_rows(starts: Any, steps: Any, channels: Any, pointers: Any, grouped: Any) -> None:
    """Write the channels of each recording's events by step."""
    n_steps = pointers.shape[1] - 1
    for b in range(starts.size - 1):
        first, last = starts[b], starts[b + 1]
        own, where = steps[first:last], channels[first:last]
        if find_rows(own, first, pointers[b]):
            grouped[first:last] = where
            continue
        place = count_rows(own, first, n_steps)
        pointers[b] = place
        for i in range(own.size):
            if own[i] < n_steps:
                grouped[place[own[i]]] = where[i]
                place[own[i]] += 1


@compiled
def count_rows(own: Any, first: int, n_steps: int) -> Any:
    """Return where each step of one recording begins, and where the last one ends."""
    place = np.zeros(n_steps + 1, np.int64)
    for i in range(own.size):
        if own[i] < n_steps:
            place[own[i] + 1] += 1
    place[0] = first
    for t in range(n_steps):
        place[t + 1] += place[t]
    return place


@compiled
def count(row: Any, shift: int, grouped: Any, first: int, last: int, binary: bool) -> bool:
    """Count events in a cleared row that begins at `shift`; tell whether a number was too large."""
    full = False
    # Unsigned places, for numba would test each signed one for being negative.
    for e in range(np.uint64(first), np.uint64(last)):
        place = np.uint64(shift + grouped[e])
        row[place] = 1 if binary else row[place] + 1
        # After the largest integer comes the smallest.
        full |= row[place] <= 0
    return full


@compiled
def write_rows(x: Any, pointers: Any, grouped: Any, channels: int, binary: bool, spare: Any) -> bool:
    """Count events, row after row; tell whether all numbers can be."""
    full, large, start = False, x.size * x.itemsize > LARGE, 0
    for t in range(pointers.shape[1] - 1):
        for b in range(pointers.shape[0]):
            first, last = pointers[b, t], pointers[b, t + 1]
            if large:
                spare[:] = 0
                shift = shift_of(spare, x, start)
                full |= count(spare, shift, grouped, first, last, binary)
                store(spare, shift, x, start, channels)
            else:
                x[start : start + channels] = 0
                full |= count(x, start, grouped, first, last, binary)
            start += channels
    return not full


def counted(
    events: Placed, n_steps: int, channels: int, *, binary: bool, dtype: np.dtype[Any], room: Room
) -> NDArray[Any]:
    """Count placed events of several recordings into one dense array.

    Parameters
    ----------
    events : Placed
        Events of each.
    n_steps : int
        Number of steps; later events are left out.
    channels : int
        Number of channels.
    binary : bool
        At most one event a bin.
    dtype : dtype
        Number type of the array.
    room : Room
        Where the array's memory is from.

    Returns
    -------
    array of shape (time, batch, channel)
        The counts.

    Raises
    ------
    ValueError
        If a number is too large for its type.
    """
    batch = len(events.starts) - 1
    x = room.empty((n_steps, batch, channels), dtype)
    pointers = np.empty((batch, n_steps + 1), np.int64)
    grouped = np.empty(events.steps.size, np.int32)
    group_rows(events.starts, events.steps, events.channels, pointers, grouped)
    spare = np.empty(channels + 2 * LINE // dtype.itemsize, dtype)
    if not write_rows(x.ravel(), pointers, grouped, channels, binary, spare):
        raise ValueError(
            f"batches: dtype must hold the events of each bin, got dtype={dtype} and more than "
            f"{np.iinfo(dtype).max} of them. Give dtype='float32', or binary=True."
        )
    return x


@compiled
def sort_rows(starts: Any, steps: Any, channels: Any, n_channels: int, pointers: Any, indices: Any) -> None:
    """Write the events of each recording by step and channel.

    The events are put in the order of their channels first, and then in that of their steps, each in time
    proportional to their number; a comparison of channels within each step takes several times as long.
    """
    n_steps, longest = pointers.shape[1] - 1, 0
    for b in range(starts.size - 1):
        longest = max(longest, starts[b + 1] - starts[b])
    # Step and channel side by side, so that the second pass reads from one end to the other.
    pairs, by_channel = np.empty((longest, 2), np.int32), np.empty(n_channels + 1, np.int32)
    for b in range(starts.size - 1):
        first, last = starts[b], starts[b + 1]
        own, where = steps[first:last], channels[first:last]
        by_channel[:] = 0
        for i in range(own.size):
            if own[i] < n_steps:
                by_channel[where[i] + 1] += 1
        for c in range(n_channels):
            by_channel[c + 1] += by_channel[c]
        kept = by_channel[n_channels]
        for i in range(own.size):
            if own[i] < n_steps:
                row = by_channel[where[i]]
                pairs[row, 0] = own[i]
                pairs[row, 1] = where[i]
                by_channel[where[i]] += 1
        place = count_rows(own, first, n_steps)
        pointers[b] = place
        for row in range(kept):
            step = pairs[row, 0]
            indices[place[step]] = pairs[row, 1]
            place[step] += 1


def listed(events: Placed, n_steps: int, channels: int, binary: bool) -> Spikes:
    """List placed events of several recordings, as `Spikes.from_steps` does.

    Parameters
    ----------
    events : Placed
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
    size = checked_capacity("batches", None, events.steps.size)
    pointers = np.empty((len(events.starts) - 1, n_steps + 1), np.int32)
    indices = np.zeros(size, np.int32)
    sort_rows(events.starts, events.steps, events.channels, channels, pointers, indices)
    if binary:
        keep_distinct(pointers, indices)
    return Spikes(pointers, indices, None, channels)
