"""Event Stream 2 (.es): a byte of time and flags before each event."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snntrace.datasets.files.checks import checked_events
from snntrace.datasets.files.contents import contents, damaged
from snntrace.datasets.files.events import Events
from snntrace.events.rows import compiled

WHO = "read_es"
MAGIC = b"Event Stream"
KINDS = {0: "generic", 1: "dvs", 2: "atis", 4: "color"}
HEADER = 16
INTEGER: Any = np.int64
"""Any to the type checker, which would hold a kernel's variable to the type of its first value."""

GENERIC, DVS, ATIS, COLOR = 0, 1, 2, 4
BYTES = {GENERIC: 2, DVS: 5, ATIS: 5, COLOR: 8}
"""Least number of bytes of an event."""


@dataclass(frozen=True, eq=False)
class EventStream:
    """What an Event Stream file holds, of any of its kinds.

    Attributes
    ----------
    kind : {'generic', 'dvs', 'atis', 'color'}
        What the events are.
    sensor : (int, int) or None, in pixels
        Width and height; None for generic events, which have no place.
    t : int64 array of shape (n_events,), in us
        When.
    x, y : uint16 arrays of shape (n_events,), in pixels
        Where; empty for generic events. Row 0 is the lowest.
    flags : uint8 array of shape (n_events,)
        ``dvs``: polarity. ``atis``: 1 for a threshold crossing of an exposure, + 2 for polarity. Else 0.
    payload : tuple of bytes, or uint8 array of shape (n_events, 3)
        ``generic``: the content of each event. ``color``: red, green and blue. Else empty.
    """

    kind: str
    sensor: tuple[int, int] | None
    t: NDArray[np.int64]
    x: NDArray[np.uint16]
    y: NDArray[np.uint16]
    flags: NDArray[np.uint8]
    payload: Any


@compiled
def decode(  # noqa: C901
    raw: Any, start: int, kind: int, limit: int, t: Any, flags: Any, places: Any, sizes: Any
) -> Any:
    """Write up to `limit` events; return their number and the end, less than the file's if one is cut off."""
    n, i, time = 0, start, 0
    while i < raw.size and n < limit:
        first, begin = INTEGER(raw[i]), i
        i += 1
        if kind == DVS:
            if first >> 1 == 127:
                time += 127 * (first & 1)
                continue
            step, flag = first >> 1, first & 1
        elif kind == ATIS:
            if first >> 2 == 63:
                time += 63 * (first & 3)
                continue
            step, flag = first >> 2, first & 3
        else:
            if first >= 254:
                time += 254 * (first & 1)
                continue
            step, flag = first, 0
        time += step
        size, shift, more = INTEGER(4), 0, kind == GENERIC
        if kind == COLOR:
            size = 7
        elif kind == GENERIC:
            size = 0
        while more:
            if i >= raw.size or shift > 56:
                return n, begin
            size |= (INTEGER(raw[i]) >> 1) << shift
            more = raw[i] & 1 == 1
            shift += 7
            i += 1
        if size > raw.size - i:
            return n, begin
        t[n], flags[n], places[n], sizes[n] = time, flag, i, size
        n += 1
        i += size
    return n, i


def read_es(path: str | os.PathLike[str]) -> Events:
    """Read the events of an Event Stream file of a DVS or an ATIS.

    Parameters
    ----------
    path : str or path
        The file.

    Returns
    -------
    Events
        The events; of an ATIS, those that are changes of light. Row 0 is the lowest.

    Raises
    ------
    DataFileError
        If the file is of another kind or version, cut off or damaged.
    OSError
        If it cannot be read.
    """  # noqa: DOC502
    stream, byte_of = parsed(path)
    if stream.sensor is None or stream.kind == "color":
        damaged(
            WHO, path, HEADER - 1, "events must have polarities (dvs or atis)", stream.kind,
            "Read it with read_event_stream.",
        )  # fmt: skip
    keep = np.arange(stream.t.size)
    p = stream.flags
    if stream.kind == "atis":
        keep = np.flatnonzero(stream.flags & 1 == 0)
        p = (stream.flags >> 1).astype(np.uint8)
    columns = (stream.t[keep], stream.x[keep], stream.y[keep], p[keep])
    return checked_events(WHO, path, columns, stream.sensor, True, lambda i: int(byte_of[keep[i]]))


def read_event_stream(path: str | os.PathLike[str]) -> EventStream:
    """Read an Event Stream file of any kind: generic, dvs, atis or color.

    Parameters
    ----------
    path : str or path
        The file.

    Returns
    -------
    EventStream
        Its content.

    Raises
    ------
    DataFileError
        If the file is of another version, cut off or damaged.
    OSError
        If it cannot be read.
    """  # noqa: DOC502
    stream, byte_of = parsed(path)
    if stream.sensor is not None and stream.t.size:
        # For its checks; the polarity does not matter to them.
        columns = (stream.t, stream.x, stream.y, stream.flags)
        checked_events(WHO, path, columns, stream.sensor, True, lambda i: int(byte_of[i]))
    return stream


def parsed(path: str | os.PathLike[str]) -> tuple[EventStream, NDArray[np.int64]]:
    """Return a file's content and the place of each event's.

    Parameters
    ----------
    path : str or path
        The file.

    Returns
    -------
    stream : EventStream
        The content.
    places : int64 array of shape (n_events,)
        The byte after each event's first ones.
    """
    raw = contents(path, WHO)
    if bytes(raw[: len(MAGIC)]) != MAGIC:
        got = f"{bytes(raw[: len(MAGIC)])!r}"
        damaged(WHO, path, 0, f"an Event Stream file must start with {MAGIC.decode()!r}", got)
    if raw.size < HEADER or raw[12] != 2 or int(raw[15]) not in KINDS:
        got = f"{bytes(raw[12:HEADER]).hex(' ')}"
        damaged(
            WHO, path, 12, "version 2 and the kind 0, 1, 2 or 4 must follow", got,
            "Convert the file to Event Stream 2.",
        )  # fmt: skip
    kind = int(raw[15])
    start, sensor = HEADER, None
    if kind != GENERIC:
        start = HEADER + 4
        sides = raw[HEADER:start].copy()
        sensor = tuple(sides.view("<u2").tolist()) if sides.size == 4 else None
        if sensor is None or 0 in sensor:
            damaged(WHO, path, HEADER, "width and height must follow the kind", f"{bytes(sides).hex(' ')}")
    most = max(raw.size - start, 0) // BYTES[kind]
    t, places, sizes = (np.empty(most, np.int64) for _ in range(3))
    flags = np.empty(most, np.uint8)
    n, end = decode(raw, start, kind, most + 1, t, flags, places, sizes)
    if end < raw.size:
        damaged(WHO, path, end, "events must be whole", f"{raw.size - end} bytes of a last one")
    t, places, flags = t[:n], places[:n], flags[:n]
    if kind == GENERIC:
        none = np.zeros(0, np.uint16)
        data, ends = raw.tobytes(), (places + sizes[:n]).tolist()
        payload = tuple(data[i:end] for i, end in zip(places.tolist(), ends, strict=True))
        return EventStream(KINDS[kind], None, t, none, none, flags, payload), places
    bytes_at = raw[places[:, None] + np.arange(7 if kind == COLOR else 4)]
    wide = bytes_at.astype(np.uint16)
    x, y = wide[:, 0] | wide[:, 1] << 8, wide[:, 2] | wide[:, 3] << 8
    return EventStream(KINDS[kind], sensor, t, x, y, flags, bytes_at[:, 4:]), places
