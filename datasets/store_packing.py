"""How a recording is packed in a spike store: in as many bits as its units and the steps of its times need.

The words of a recording are its widths, one byte each, filled up with zeros to whole words; its first time;
the steps from each time to the next, the first of which is 0, in groups of 256; and its units, in such groups
too. The numbers of a group have the width of its largest. They are dealt out to four lanes in turn; in a lane
they follow each other from the lowest bit of its first word on, and the words of the four lanes take turns.
Four lanes, because four numbers are then shifted alike, which takes half the time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from snntrace.datasets.ragged import Ragged
from snntrace.datasets.shd_decoding import HALVES
from snntrace.events.rows import compiled

GROUP, LANES = 256, 4
PACKING = f"widths, first time, steps of time, units; {GROUP} numbers in {LANES} lanes"
"""What a file says of it."""

HOW = {"u4": 0, "f2": 1, "f4": 2, "f8": 3}
SCALED, LOOKED_UP, SINGLE, DOUBLE = HOW.values()
FAULTS = ("", "size", "times", "units", "end")
FINE, SIZE, TIMES, UNITS, END = range(len(FAULTS))
LIMITS = {
    np.dtype(kind): int(np.array(last, kind).view(f"<u{kind[2]}"))
    for kind, last in (
        ("<f2", np.finfo("<f2").max), ("<f4", np.finfo("<f4").max), ("<f8", np.finfo("<f8").max),
        ("<u4", np.iinfo("<u4").max),
    )
}  # fmt: skip
"""The last possible number of each type, by its bits."""

ZERO, ONE, TWO, SIX, BITS = np.uint64(0), np.uint64(1), np.uint64(2), np.uint64(6), np.uint64(63)
STRIDE, WORD, ALL = np.uint64(LANES), np.uint64(64), np.uint64(0xFFFFFFFFFFFFFFFF)
HALF = (1 << 16) - 1


@compiled
def width_of(number: Any) -> int:
    """Return how many bits a number needs."""
    width = 0
    while number:
        number >>= ONE
        width += 1
    return width


@compiled
def words_of(width: int, n: int) -> int:
    """Return how many words some numbers of a width take."""
    return (((n + LANES - 1) // LANES * width + 63) >> 6) * LANES


@compiled
def pack_column(numbers: Any, widths: Any, words: Any) -> int:
    """Write a column's widths and words (cleared ones); return the number of words."""
    place = 0
    for group in range(widths.size):
        start, stop = group * GROUP, min((group + 1) * GROUP, numbers.size)
        together = ZERO
        for i in range(start, stop):
            together |= numbers[i]
        width = width_of(together)
        widths[group] = width
        for k in range(stop - start):
            bit = k // LANES * width
            word, shift = place + (bit >> 6) * LANES + k % LANES, np.uint64(bit & 63)
            number = numbers[start + k]
            if number:
                words[word] |= number << shift
                if shift and number >> (WORD - shift):
                    words[word + LANES] |= number >> (WORD - shift)
        place += words_of(width, stop - start)
    return place


@compiled
def unpack_column(words: Any, widths: Any, first: int, numbers: Any) -> int:
    """Write the numbers of a column whose words start at a place; return where they end."""
    place = first
    for group in range(widths.size):
        width, start = np.int64(widths[group]), group * GROUP
        stop = min(start + GROUP, numbers.size)
        size = words_of(width, stop - start)
        if width == 0:
            numbers[start:stop] = 0
            continue
        # Unsigned places, for numba would test each signed one for being negative.
        bit, step, mask = ZERO, np.uint64(width), ALL >> (WORD - np.uint64(width))
        begin, last, i = np.uint64(place), np.uint64(place + size - LANES), np.uint64(start)
        for _ in range((stop - start) // LANES):
            word, shift = begin + ((bit >> SIX) << TWO), bit & BITS
            # The last word of a lane stands for the one after it, from which nothing is taken then.
            after, up = min(word + STRIDE, last), BITS - shift
            for lane in range(LANES):
                j = np.uint64(lane)
                low, high = words[word + j] >> shift, (words[after + j] << ONE) << up
                numbers[i + j] = np.int64((low | high) & mask)
            i += STRIDE
            bit += step
        word, shift = begin + ((bit >> SIX) << TWO), bit & BITS
        after, up = min(word + STRIDE, last), BITS - shift
        for lane in range((stop - start) % LANES):
            j = np.uint64(lane)
            low, high = words[word + j] >> shift, (words[after + j] << ONE) << up
            numbers[i + j] = np.int64((low | high) & mask)
        place += size
    return place


@compiled
def add_up(steps: Any, how: int, scale: float, halves: Any, first: int, limit: int, times: Any) -> bool:
    """Write the times, to the memory of the steps; tell whether all of them can be."""
    # A sign bit: of a number that is negative, or larger than the limit.
    time, doubtful, singles = first, first | (limit - first), times.view(np.float32)
    for i in range(steps.size):
        step = steps[i]
        time += step
        doubtful |= step | time | (limit - time)
        if how == SCALED:
            times[i] = time * scale
        elif how == LOOKED_UP:
            times[i] = halves[time & HALF]
        else:
            steps[i] = time
            if how == SINGLE:
                # The lower half of the number, which is not written to before it is read.
                times[i] = singles[2 * i]
    return doubtful >= 0


@compiled
def first_beyond(steps: Any, first: int, limit: int) -> Any:
    """Return the first event whose time is negative or beyond the limit."""
    time = first
    for i in range(steps.size):
        if steps[i] < 0 or not 0 <= time <= limit or steps[i] > limit - time:
            return i
        time += steps[i]
    return steps.size


@compiled
def first_outside(units: Any, n_units: int) -> Any:
    """Return the first event whose unit is out of range."""
    doubtful = 0
    for i in range(units.size):
        doubtful |= units[i] | (n_units - 1 - units[i])
    if doubtful < 0:
        for i in range(units.size):
            if not 0 <= units[i] < n_units:
                return i
    return units.size


@compiled
def unpack_both(
    words: Any, how: int, scale: float, halves: Any, limit: int, n_units: int, times: Any, units: Any
) -> Any:
    """Write the events; return what is wrong, and at which event."""
    if times.size == 0:
        return (FINE if words.size == 0 else SIZE), 0
    groups = (times.size + GROUP - 1) // GROUP
    start = (2 * groups + 7) // 8
    if words.size <= start:
        return SIZE, 0
    widths = words[:start].view(np.uint8)
    middle = stop = start + 1
    for group in range(2 * groups):
        width = np.int64(widths[group])
        if width > 64:
            return SIZE, 0
        stop += words_of(width, min(GROUP, times.size - group % groups * GROUP))
        if group == groups - 1:
            middle = stop
    if stop != words.size:
        return SIZE, 0
    first, steps = np.int64(words[start]), times.view(np.int64)
    unpack_column(words, widths[:groups], start + 1, steps)
    if not add_up(steps, how, scale, halves, first, limit, times):
        unpack_column(words, widths[:groups], start + 1, steps)
        return TIMES, first_beyond(steps, first, limit)
    unpack_column(words, widths[groups : 2 * groups], middle, units)
    event = first_outside(units, n_units)
    return (UNITS if event < units.size else FINE), event


@compiled
def unpack_each(
    words: Any,
    places: Any,
    starts: Any,
    how: int,
    scale: float,
    halves: Any,
    limit: int,
    n_units: int,
    ends: Any,
    times: Any,
    units: Any,
) -> Any:
    """Write the events of several recordings; return which one is wrong, what is, and at which event."""
    for row in range(starts.size - 1):
        first, last = starts[row], starts[row + 1]
        fault, event = unpack_both(
            words[places[row] : places[row + 1]],
            how,
            scale,
            halves,
            limit,
            n_units,
            times[first:last],
            units[first:last],
        )
        if fault:
            return row, fault, event
        end = times[last - 1] if last > first else 0.0
        if end != ends[row]:
            return row, END, last - first
    return starts.size - 1, FINE, 0


def pack(times: NDArray[Any], units: NDArray[Any]) -> NDArray[np.uint64]:
    """Pack a recording.

    Parameters
    ----------
    times : array of shape (n_events,)
        As they are stored: unsigned integers or floating-point numbers, which do not decrease and are not
        negative.
    units : unsigned integer array of shape (n_events,)
        The units.

    Returns
    -------
    uint64 array
        The words.

    Examples
    --------
    >>> pack(np.array([5, 7], "<u4"), np.array([3, 0], "<u2"))
    array([514,   5,   0,   2,   0,   0,   3,   0,   0,   0], dtype=uint64)
    """
    if times.size == 0:
        return np.zeros(0, np.uint64)
    groups = -(-times.size // GROUP)
    start = -(-2 * groups // 8)
    words = np.zeros(start + 1 + 2 * (GROUP + LANES) * groups, np.uint64)
    widths = words[:start].view(np.uint8)
    # Numbers that are not negative have the order of their bits.
    bits = times.view(f"u{times.itemsize}").astype(np.uint64)
    words[start] = bits[0]
    steps = np.diff(bits, prepend=bits[:1])
    middle = start + 1 + pack_column(steps, widths[:groups], words[start + 1 :])
    stop = middle + pack_column(units.astype(np.uint64), widths[groups : 2 * groups], words[middle:])
    return words[:stop]


def unpack(
    words: NDArray[np.uint64],
    places: NDArray[np.int64],
    dtype: np.dtype[Any],
    scale: float,
    n_units: int,
    ends: NDArray[np.float64],
    found: Ragged,
) -> tuple[int, str, int]:
    """Unpack recordings, and check them.

    Parameters
    ----------
    words : uint64 array
        What `pack` gave for each, one after the other.
    places : int64 array of shape (n_recordings + 1,)
        The words of recording ``i`` are ``places[i] .. places[i + 1] - 1``.
    dtype : dtype
        How times are stored.
    scale : float, in s
        What a stored time of 1 stands for; of integers.
    n_units : int
        Number of units.
    ends : float64 array of shape (n_recordings,), in s
        Time of the last event of each; 0 if there is none.
    found : Ragged
        Recordings of the right lengths; their events are written.

    Returns
    -------
    row : int
        Which recording is wrong.
    fault : {'', 'size', 'times', 'units', 'end'}
        What is wrong.
    event : int
        Where: times and units must be of their type, times finite, not negative and not decreasing.

    Examples
    --------
    >>> words = pack(np.array([5, 7], "<u4"), np.array([3, 0], "<u2"))
    >>> found, places = Ragged.empty([2]), np.array([0, len(words)])
    >>> unpack(words, places, np.dtype("<u4"), 0.5, 4, np.array([3.5]), found), found[0]
    ((1, '', 0), (array([2.5, 3.5]), array([3, 0])))
    >>> unpack(words, places, np.dtype("<u4"), 0.5, 3, np.array([3.5]), found)
    (0, 'units', 0)
    """
    how, limit = HOW[dtype.str[1:]], LIMITS[dtype]
    row, fault, event = unpack_each(
        words, places, found.starts, how, scale, HALVES, limit, n_units, ends, found.times, found.units
    )
    return row, FAULTS[fault], event
