"""Files of N-MNIST and N-Caltech101 (.bin): five bytes an event."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snntrace.datasets.files.contents import contents, damaged
from snntrace.datasets.files.events import MICROSECOND, Events
from snntrace.datasets.ragged import Ragged, starts_of
from snntrace.datasets.whole_files import names_of, read_files
from snntrace.events.rows import compiled

BYTES = 5
NMNIST = (34, 34)
NCALTECH101 = (240, 180)
OVERFLOW_ROW = 240
OVERFLOW = 1 << 13
WHO = "read_nmnist_bin"

FINE, OUTSIDE, BACKWARDS = 0, 1, 2


@compiled
def event_at(raw: Any, i: int) -> Any:
    """Return column, row, polarity and time of the event that starts at byte `i`."""
    # Unsigned places, for numba would test each signed one for being negative.
    j, column = np.uint64(i), np.int64(raw[np.uint64(i)])
    row, high = np.int64(raw[j + np.uint64(1)]), np.int64(raw[j + np.uint64(2)])
    middle, low = np.int64(raw[j + np.uint64(3)]), np.int64(raw[j + np.uint64(4)])
    return column, row, high >> 7, (high & 127) << 16 | middle << 8 | low


@compiled
def decode(raw: Any, width: int, height: int, ordered: bool, t: Any, x: Any, y: Any, p: Any) -> Any:
    """Write the events to four arrays; return their number, the fault and the byte it is at."""
    n, late, last = 0, 0, -1
    for i in range(0, raw.size - 4, 5):
        column, row, polarity, time = event_at(raw, i)
        if row == OVERFLOW_ROW:
            late += OVERFLOW
            continue
        if column >= width or row >= height:
            return n, OUTSIDE, i
        time += late
        if ordered and time < last:
            return n, BACKWARDS, i
        last = time
        t[n], x[n], y[n], p[n] = time, column, row, polarity
        n += 1
    return n, FINE, raw.size


@compiled
def decode_units(raw: Any, starts: Any, width: int, height: int, times: Any, units: Any) -> int:
    """Write all events as seconds and units, without a branch; return a negative number if one needs care."""
    five, doubtful = np.uint64(5), 0
    for file in range(starts.size - 1):
        last = 0
        for k in range(np.uint64(starts[file]), np.uint64(starts[file + 1])):
            column, row, polarity, time = event_at(raw, k * five)
            doubtful |= (width - 1 - column) | (height - 1 - row) | (time - last)
            last = time
            times[k] = time * MICROSECOND
            units[k] = (polarity * height + row) * width + column
    return doubtful


@compiled
def read_units(names: Any, n: int, width: int, height: int) -> Any:
    """Read files and decode them; tell whether all of them could be, and return starts, times and units."""
    could, raw, starts = read_files(names, n)
    whole = could == n
    for file in range(n + 1):
        whole &= starts[file] % 5 == 0
        starts[file] //= 5
    size = starts[n] if whole else 0
    times, units = np.empty(size), np.empty(size, np.int64)
    fine = whole and decode_units(raw, starts, width, height, times, units) >= 0
    return fine, starts, times, units


def read_nmnist_bin(
    path: str | os.PathLike[str], *, sensor: tuple[int, int] = NMNIST, ordered: bool = True
) -> Events:
    """Read a recording of N-MNIST or N-Caltech101.

    An event is 40 bits, the highest first: 8 of the column, 8 of the row, 1 of the polarity and 23 of the
    time in us. Row 240 marks an overflow of the time: all later times are 2**13 us later. The file has no
    header, so what is checked is its length, that all events lie on the sensor, and that time does not go
    backwards.

    Parameters
    ----------
    path : str or path
        The file.
    sensor : (int, int), default (34, 34), in pixels
        Width and height. The recordings of N-Caltech101 are smaller than ``(240, 180)``.
    ordered : bool, default True
        Refuse a file in which time goes backwards. False: keep its events as they are.

    Returns
    -------
    Events
        The events.

    Raises
    ------
    DataFileError
        If the file is empty, cut off or damaged.
    OSError
        If it cannot be read.

    References
    ----------
    G. Orchard, A. Jayawant, G. K. Cohen, N. Thakor, "Converting Static Image Datasets to Spiking Neuromorphic
    Datasets Using Saccades", Frontiers in Neuroscience 9, 437 (2015).

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from snntrace.datasets.files import read_nmnist_bin
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "00001.bin"
    >>> _ = path.write_bytes(bytes([3, 33, 0x80, 1, 0, 5, 6, 0, 2, 0]))
    >>> events = read_nmnist_bin(path)
    >>> events.t, events.x, events.p
    (array([256, 512]), array([3, 5], dtype=uint16), array([1, 0], dtype=uint8))
    """  # noqa: DOC502
    return decoded(WHO, path, contents(path, WHO), sensor, ordered)


def decoded(
    who: str,
    path: str | os.PathLike[str],
    raw: NDArray[np.uint8],
    sensor: tuple[int, int],
    ordered: bool,
) -> Events:
    """Return the events of a file's bytes.

    Parameters
    ----------
    who : str
        Name of the caller, for the messages.
    path : str or path
        The file, for the messages.
    raw : uint8 array
        Its bytes.
    sensor : (int, int), in pixels
        Width and height.
    ordered : bool
        Refuse a file in which time goes backwards.

    Returns
    -------
    Events
        The events.
    """
    size = raw.size // BYTES
    t, p = np.empty(size, np.int64), np.empty(size, np.uint8)
    x, y = np.empty(size, np.uint16), np.empty(size, np.uint16)
    n, fault, byte = decode(raw, sensor[0], sensor[1], ordered, t, x, y, p)
    refuse_fault(who, path, raw, sensor, fault, byte)
    return Events(t[:n], x[:n], y[:n], p[:n], sensor)


def read_units_of(who: str, paths: Sequence[str], sensor: tuple[int, int], ordered: bool) -> Ragged:
    """Read several files.

    Parameters
    ----------
    who : str
        Name of the caller, for the messages.
    paths : sequence of str
        The files.
    sensor : (int, int), in pixels
        Width and height.
    ordered : bool
        Refuse a file in which time goes backwards.

    Returns
    -------
    Ragged
        Their events; units as `Events.units` counts them.
    """
    names = names_of(paths)
    if names is not None:
        fine, starts, times, units = read_units(names, len(paths), sensor[0], sensor[1])
        if fine:
            return Ragged(starts, times, units)
    # Once more, for what is wrong has its own message.
    pieces = [contents(path, who) for path in paths]
    raw = np.concatenate([np.zeros(0, np.uint8), *pieces])
    return units_of(who, paths, raw, starts_of(map(len, pieces)), sensor, ordered)


def units_of(
    who: str,
    paths: Sequence[str],
    raw: NDArray[np.uint8],
    starts: NDArray[np.int64],
    sensor: tuple[int, int],
    ordered: bool,
) -> Ragged:
    """Return the events of several files as times and units.

    Parameters
    ----------
    who : str
        Name of the caller, for the messages.
    paths : sequence of str
        The files, for the messages.
    raw : uint8 array
        Their bytes, one file after the other.
    starts : int64 array of shape (n_files + 1,)
        Where the bytes of each start, and where the last ones end.
    sensor : (int, int), in pixels
        Width and height.
    ordered : bool
        Refuse a file in which time goes backwards.

    Returns
    -------
    Ragged
        The events; units as `Events.units` counts them.
    """
    places = starts // BYTES
    if (places * BYTES == starts).all():
        found = Ragged(places, np.empty(places[-1]), np.empty(places[-1], np.int64))
        if decode_units(raw, places, sensor[0], sensor[1], found.times, found.units) >= 0:
            return found
    parts = [raw[start:stop] for start, stop in zip(starts[:-1], starts[1:], strict=True)]
    both = zip(paths, parts, strict=True)
    each = [decoded(who, path, part, sensor, ordered) for path, part in both]
    return Ragged.joined([(events.seconds, events.units()) for events in each])


def refuse_fault(
    who: str,
    path: str | os.PathLike[str],
    raw: NDArray[np.uint8],
    sensor: tuple[int, int],
    fault: int,
    byte: int,
) -> None:
    """Refuse what a kernel found to be wrong, and a last event that is cut off.

    Parameters
    ----------
    who : str
        Name of the caller.
    path : str or path
        The file.
    raw : uint8 array
        Its bytes.
    sensor : (int, int), in pixels
        Width and height.
    fault : int
        What the kernel found.
    byte : int
        Where.
    """
    if fault == OUTSIDE:
        damaged(
            who, path, byte, f"events must lie on the {sensor[0]} x {sensor[1]} sensor",
            f"x={raw[byte]} and y={raw[byte + 1]}",
            f"Download or copy the file again, or give its sensor (N-Caltech101: sensor={NCALTECH101}).",
        )  # fmt: skip
    if fault == BACKWARDS:
        damaged(
            who, path, byte, "time must not go backwards",
            f"the time {event_at.py_func(raw, byte)[3]} us after a later one",
            "Download or copy the file again, or give ordered=False to keep its events as they are.",
        )  # fmt: skip
    if extra := raw.size % BYTES:
        damaged(
            who, path, raw.size - extra, f"each event must have {BYTES} bytes",
            f"{extra} byte{'s' * (extra > 1)} of a last one",
        )  # fmt: skip
