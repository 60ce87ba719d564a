"""AEDAT 3.1, the files of cAER and of DVS128 Gesture: packets of events."""

from __future__ import annotations

import os
import re

import numpy as np
from numpy.typing import NDArray

from snntrace.datasets.files.checks import checked_events
from snntrace.datasets.files.contents import contents, damaged, header
from snntrace.datasets.files.events import Events

WHO = "read_aedat3"
MAGIC = "!AER-DAT3.1"
SENSORS = {"dvs128": (128, 128), "davis240": (240, 180), "davis346": (346, 260)}
PACKET = np.dtype(
    [
        ("kind", "<u2"), ("source", "<u2"), ("size", "<u4"), ("t_offset", "<u4"), ("t_overflow", "<u4"),
        ("capacity", "<u4"), ("number", "<u4"), ("valid", "<u4"),
    ]
)  # fmt: skip
RECORD = np.dtype([("data", "<u4"), ("t", "<u4")])
SIZE = RECORD.itemsize
POLARITY = 1
KINDS = 13
HEADER = PACKET.itemsize

Packets = NDArray[np.int64]
"""One row a packet of polarity events: place of its first event, number of events, overflows of its time."""


def read_aedat3(
    path: str | os.PathLike[str], *, sensor: tuple[int, int] | None = None, ordered: bool = True
) -> Events:
    """Read an AEDAT 3.1 recording.

    Lines that start with ``#`` are followed by packets. Of each packet of polarity events, an event has 32
    bits of data (bit 0: valid, 1: polarity, 2 to 16: row, 17 to 31: column) and 31 of time in us, the lowest
    byte first; the packet tells how often the time has overflowed. Other packets and events that are not
    valid are left out.

    Parameters
    ----------
    path : str or path
        The file.
    sensor : (int, int), optional, in pixels
        Width and height. Default: that of the camera which the line ``Source`` names.
    ordered : bool, default True
        Refuse a file in which time goes backwards. False: keep its events as they are.

    Returns
    -------
    Events
        The events.

    Raises
    ------
    DataFileError
        If the file is of another version, cut off or damaged, or names no known camera.
    OSError
        If it cannot be read.
    """  # noqa: DOC502
    raw = contents(path, WHO)
    packets, named = index_packets(WHO, path, raw)
    size = sensor or named
    if size is None:
        known = ", ".join(SENSORS)
        must = f"the line Source must name a camera of {known}"
        damaged(WHO, path, 0, must, "another", "Give its sensor=(width, height).")
    return events_of(WHO, path, raw, packets, size, ordered)


def index_packets(
    who: str, path: str | os.PathLike[str], raw: NDArray[np.uint8]
) -> tuple[Packets, tuple[int, int] | None]:
    """Find the packets of polarity events.

    Parameters
    ----------
    who : str
        Name of the reader.
    path : str or path
        The file.
    raw : uint8 array
        Its bytes.

    Returns
    -------
    packets : int64 array of shape (n_packets, 3)
        Place of the first event, number of events, overflows of the time.
    sensor : (int, int) or None
        Width and height of the camera that the file names.
    """
    lines, place = header(raw, b"#")
    if not lines or not lines[0].startswith(MAGIC):
        damaged(who, path, 0, f"an AEDAT 3.1 file must start with '#{MAGIC}'", f"{bytes(raw[:12])!r}")
    found = []
    while place < raw.size:
        if raw.size - place < HEADER:
            damaged(who, path, place, f"a packet's header must have {HEADER} bytes", f"{raw.size - place}")
        packet = raw[place : place + HEADER].view(PACKET)[0]
        kind, size, number, capacity = (int(packet[name]) for name in ("kind", "size", "number", "capacity"))
        first = place + HEADER
        if kind >= KINDS or size == 0 or number > capacity or int(packet["valid"]) > number:
            damaged(
                who, path, place, "a packet must be of a known type and hold no more than it has room for",
                f"type {kind}, {packet['valid']} valid of {number} events of {size} bytes in {capacity}",
            )  # fmt: skip
        if first + capacity * size > raw.size:
            damaged(
                who, path, place, f"a packet's {capacity} events of {size} bytes must follow it",
                f"{raw.size - first} bytes",
            )  # fmt: skip
        if kind == POLARITY:
            if size != RECORD.itemsize or int(packet["t_offset"]) != 4:
                damaged(who, path, place, "polarity events must have 8 bytes", f"{size}")
            found.append((first, number, int(packet["t_overflow"])))
        place = first + capacity * size
    return np.array(found, np.int64).reshape(-1, 3), sensor_of(lines)


def events_of(
    who: str,
    path: str | os.PathLike[str],
    raw: NDArray[np.uint8],
    packets: Packets,
    sensor: tuple[int, int],
    ordered: bool,
) -> Events:
    """Return the valid events of packets.

    Parameters
    ----------
    who : str
        Name of the reader.
    path : str or path
        The file.
    raw : uint8 array
        Its bytes.
    packets : int64 array of shape (n_packets, 3)
        Some of the file's, as `index_packets` finds them.
    sensor : (int, int), in pixels
        Width and height.
    ordered : bool
        Refuse time that goes backwards.

    Returns
    -------
    Events
        The events.
    """
    ends = np.cumsum(packets[:, 1])
    records = np.empty(int(ends[-1]) if len(ends) else 0, RECORD)
    high = np.repeat(packets[:, 2] << 31, packets[:, 1])
    for (first, number, _), end in zip(packets.tolist(), ends.tolist(), strict=True):
        records[end - number : end] = raw[first : first + number * SIZE].view(RECORD)
    data = records["data"].astype(np.uint32)
    valid = np.flatnonzero(data & 1)
    data = data[valid]
    columns = (
        high[valid] + (records["t"][valid] & 0x7FFFFFFF).astype(np.int64),
        (data >> 17 & 0x7FFF).astype(np.uint16), (data >> 2 & 0x7FFF).astype(np.uint16),
        (data >> 1 & 1).astype(np.uint8),
    )  # fmt: skip

    def byte_of(i: int) -> int:
        row = int(np.searchsorted(ends, valid[i], side="right"))
        inside = int(valid[i] - (ends[row] - packets[row, 1]))
        return int(packets[row, 0]) + inside * RECORD.itemsize

    return checked_events(who, path, columns, sensor, ordered, byte_of)


def sensor_of(lines: list[str]) -> tuple[int, int] | None:
    """Return the size of the camera that a header names.

    Parameters
    ----------
    lines : list of str
        The header.

    Returns
    -------
    (int, int) or None
        Width and height; None for an unknown camera.
    """
    for line in lines:
        if match := re.match(r"Source \d+:\s*([A-Za-z]+\d+)", line):
            return SENSORS.get(match[1].lower())
    return None
