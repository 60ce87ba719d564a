"""Prophesee's .dat files: eight bytes an event."""

from __future__ import annotations

import os
import re

import numpy as np

from snntrace.datasets.files.checks import checked_events
from snntrace.datasets.files.contents import contents, damaged, header, whole_records
from snntrace.datasets.files.events import Events

WHO = "read_dat"
MARK = b"% "
TYPES = {0x00: "2D events", 0x0C: "contrast detections", 0x28: "contrast detections"}
SIZE = 8
RECORD = np.dtype([("t", "<u4"), ("place", "<u4")])
ATIS = (304, 240)


def read_dat(
    path: str | os.PathLike[str], *, sensor: tuple[int, int] | None = None, ordered: bool = True
) -> Events:
    """Read a Prophesee .dat recording.

    Lines that start with ``%`` are followed by one byte of the events' type, one of their size (8), and for
    each event the time in us (32 bits, the lowest byte first) and 14 bits of the column, 14 of the row and 4
    of the polarity, from the lowest.

    Parameters
    ----------
    path : str or path
        The file.
    sensor : (int, int), optional, in pixels
        Width and height. Default: what the file's lines ``Width`` and ``Height`` say, else ATIS's
        ``(304, 240)``, of which files without these lines are.
    ordered : bool, default True
        Refuse a file in which time goes backwards, such as one that is longer than the 71 minutes of 32 bits.
        False: keep its events as they are.

    Returns
    -------
    Events
        The events.

    Raises
    ------
    DataFileError
        If the file is no .dat file, cut off or damaged.
    OSError
        If it cannot be read.
    """  # noqa: DOC502
    raw = contents(path, WHO)
    lines, start = header(raw, MARK)
    if not lines:
        damaged(WHO, path, 0, "a .dat file must start with a line of '% '", f"{bytes(raw[:2])!r}")
    if raw.size < start + 2:
        damaged(
            WHO, path, raw.size, "the type and size of events must follow the text", "the end of the file"
        )
    kind, size = int(raw[start]), int(raw[start + 1])
    if kind not in TYPES or size != SIZE:
        damaged(
            WHO, path, start, f"events must be of type 0, 12 or 40 and {SIZE} bytes",
            f"type {kind} and {size} bytes", "Give a file of contrast detections.",
        )  # fmt: skip
    start += 2
    whole_records(WHO, path, raw, start, SIZE)
    records = raw[start:].view(RECORD)
    place = records["place"]
    p = (place >> 28).astype(np.uint8)
    if p.max() > 1:
        i = int(np.argmax(p > 1))
        damaged(WHO, path, start + i * SIZE, "polarities must be 0 or 1", f"p={p[i]}")
    columns = (
        records["t"].astype(np.int64), (place & 0x3FFF).astype(np.uint16),
        (place >> 14 & 0x3FFF).astype(np.uint16), p,
    )  # fmt: skip
    chosen = sensor or named_size(lines) or ATIS
    return checked_events(WHO, path, columns, chosen, ordered, lambda i: start + i * SIZE)


def named_size(lines: list[str]) -> tuple[int, int] | None:
    """Return the width and height that a header's lines ``Width 640`` and ``Height 480`` name.

    Parameters
    ----------
    lines : list of str
        The header.

    Returns
    -------
    (int, int) or None
        None if a line is missing, or not such a number.
    """
    found = {}
    for line in lines:
        if match := re.fullmatch(r"(width|height)\s+([1-9]\d{0,4})", line, re.IGNORECASE):
            found[match[1].lower()] = int(match[2])
    return (found["width"], found["height"]) if len(found) == 2 else None
