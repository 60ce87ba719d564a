"""Prophesee's .raw files: the sensor's own words, in the encodings EVT 2 and EVT 3."""

from __future__ import annotations

import os
import re
from typing import Any

import numpy as np

from snntrace.datasets.files.checks import checked_events
from snntrace.datasets.files.contents import contents, damaged, header, whole_records
from snntrace.datasets.files.events import Columns, Events
from snntrace.datasets.files.prophesee_dat import MARK, named_size
from snntrace.events.rows import compiled

WHO = "read_raw"

SENSORS = (
    (r"gen3|gen31", (640, 480)),
    (r"gen4|gen41|imx636|imx646", (1280, 720)),
    (r"genx320", (320, 320)),
)
"""Sizes of the sensors by what the line ``plugin_name`` holds."""

INTEGER: Any = np.int64
"""Any to the type checker, which would hold a kernel's variable to the type of its first value."""

FAR = 60_000
"""A column beyond every sensor, past which the base of vectors does not move."""


@compiled
def decode_evt2(words: Any, limit: int, t: Any, x: Any, y: Any, p: Any) -> Any:
    """Write up to `limit` events; return their number, where it stopped, and the first unknown type or -1."""
    n, high, i = 0, -1, 0
    while i < words.size and n < limit:
        word = INTEGER(words[i])
        kind = word >> 28
        if kind <= 1:
            # Before the first word of the high bits, the time is not known.
            if high >= 0:
                t[n] = high << 6 | (word >> 22 & 63)
                x[n], y[n], p[n] = word >> 11 & 0x7FF, word & 0x7FF, kind
                n += 1
        elif kind == 8:
            high = word & 0xFFFFFFF
        elif kind != 10 and kind < 14:
            return n, i, kind
        i += 1
    return n, i, -1


@compiled
def count_evt3(words: Any) -> int:
    """Return the greatest number of events that the words can hold."""
    n = 0
    for i in range(words.size):
        word = INTEGER(words[i])
        kind = word >> 12
        if kind == 2:
            n += 1
        elif kind == 4 or kind == 5:
            for k in range(12 if kind == 4 else 8):
                n += word >> k & 1
    return n


@compiled
def decode_evt3(words: Any, limit: int, t: Any, x: Any, y: Any, p: Any, count_falls: bool) -> Any:  # noqa: C901
    """Write at least `limit` events; return their number, where it stopped, and an unknown type or -1."""
    n, i = 0, 0
    high, low, wraps, falls, row, base, polarity = -1, 0, 0, 0, -1, 0, 0
    while i < words.size and n < limit:
        word = INTEGER(words[i])
        kind = word >> 12
        if kind == 0:
            row = word & 0x7FF
        elif kind == 2:
            if high >= 0 and row >= 0:
                t[n] = (wraps << 24) + (high + falls << 12) + low
                x[n], y[n], p[n] = word & 0x7FF, row, word >> 11 & 1
                n += 1
        elif kind == 3:
            base, polarity = word & 0x7FF, word >> 11 & 1
        elif kind == 4 or kind == 5:
            width = 12 if kind == 4 else 8
            if high >= 0 and row >= 0:
                for k in range(width):
                    if word >> k & 1:
                        t[n] = (wraps << 24) + (high + falls << 12) + low
                        x[n], y[n], p[n] = base + k, row, polarity
                        n += 1
            base = min(base + width, FAR)
        elif kind == 6:
            new = word & 0xFFF
            falls += count_falls and new < low
            low = new
        elif kind == 8:
            new = word & 0xFFF
            # The 24 bits start again every 16.8 s.
            wraps += high >= 0xF00 and new < 0x100
            if new != high and not count_falls:
                low = 0
            high = new
        elif kind != 7 and kind != 10 and kind < 14:
            return n, i, kind
        i += 1
    return n, i, -1


WORDS: dict[int, np.dtype[Any]] = {2: np.dtype("<u4"), 3: np.dtype("<u2")}
"""Number types of the words of EVT 2 and EVT 3."""

FALLS = ("ignore", "count")


def read_raw(
    path: str | os.PathLike[str],
    *,
    sensor: tuple[int, int] | None = None,
    ordered: bool = True,
    low_falls: str = "ignore",
) -> Events:
    """Read a Prophesee .raw recording in EVT 2.0 or EVT 3.0.

    Lines that start with ``%`` name the encoding and the sensor. EVT 2 has one word of 32 bits an event, and
    others for the high bits of the time. EVT 3 has words of 16 bits that change the row, the time, or tell
    which of 8 or 12 neighbouring pixels changed. Triggers and other words that are no events of pixels are
    left out, and so are the events before the first word that tells the time's high bits (EVT 3: and the
    row), because nobody can know when they were.

    Parameters
    ----------
    path : str or path
        The file.
    sensor : (int, int), optional, in pixels
        Width and height. Default: what the file's first lines say.
    ordered : bool, default True
        Refuse a file in which time goes backwards. False: keep its events as they are.
    low_falls : {'ignore', 'count'}, default 'ignore'
        What a word of EVT 3's low 12 bits of the time means that is less than the one before it.
        ``'ignore'``: nothing, the words of the high bits alone tell how much time has passed, as in the
        maker's own decoder (OpenEB). ``'count'``: 4,096 us have passed, whatever the high bits say; such is
        the time of expelliarmus. As the low bits also start again with each word of new high bits, a
        recording lasts more than twice as long by it: take it only to compare with what that program has
        decoded.

    Returns
    -------
    Events
        The events. EVT 3's 24 bits of time are continued beyond 16.8 s.

    Raises
    ------
    DataFileError
        If the file is in another encoding, cut off or damaged, or does not name its sensor.
    OSError
        If it cannot be read.
    ValueError
        If there is no such way to take falls.
    """  # noqa: DOC502
    if low_falls not in FALLS:
        raise ValueError(
            f"{WHO}: low_falls must be one of {', '.join(FALLS)}, got low_falls={low_falls!r}. Choose one."
        )
    raw = contents(path, WHO)
    lines, start = header(raw, MARK)
    version = encoding(lines)
    if version is None or version not in WORDS:
        damaged(
            WHO, path, 0, "a .raw file must start with lines of '% ' that name EVT 2.0 or EVT 3.0",
            f"{'no encoding' if version is None else f'EVT {version:g}'}", "Convert the file to EVT 2 or 3.",
        )  # fmt: skip
    size = sensor or sensor_of(lines)
    if size is None:
        damaged(
            WHO,
            path,
            0,
            "the first lines must name the sensor",
            f"{lines}",
            "Give its sensor=(width, height).",
        )
    kind = WORDS[int(version)]
    whole_records(WHO, path, raw, start, kind.itemsize)
    # A copy, for the text before them can have any length.
    words = raw[start:].copy().view(kind).astype(kind.newbyteorder("="), copy=False)
    columns = buffers(words.size if version == 2 else count_evt3(words))

    def decode(limit: int) -> Any:
        if version == 2:
            return decode_evt2(words, limit, *columns)
        return decode_evt3(words, limit, *columns, low_falls == "count")

    n, place, unknown = decode(words.size * 12)
    if unknown >= 0:
        damaged(
            WHO, path, start + place * kind.itemsize, f"words must be of a type that EVT {version:g} has",
            f"type {unknown}",
        )  # fmt: skip

    def byte_of(i: int) -> int:
        return int(start + (decode(i + 1)[1] - 1) * kind.itemsize)

    t, x, y, p = columns
    return checked_events(WHO, path, (t[:n], x[:n], y[:n], p[:n]), size, ordered, byte_of)


def buffers(size: int) -> Columns:
    """Return empty arrays for times, columns, rows and polarities.

    Parameters
    ----------
    size : int
        Number of events.

    Returns
    -------
    t, x, y, p : arrays of shape (size,)
        Not filled.
    """
    return (
        np.empty(size, np.int64), np.empty(size, np.uint16), np.empty(size, np.uint16),
        np.empty(size, np.uint8),
    )  # fmt: skip


def encoding(lines: list[str]) -> float | None:
    """Return the version of EVT that a header names.

    Parameters
    ----------
    lines : list of str
        The header.

    Returns
    -------
    float or None
        Such as 2.0 or 2.1; None if it names none.
    """
    for line in lines:
        if match := re.fullmatch(r"(?:evt|format\s+EVT)\s*(\d(?:\.\d)?)(?:;.*)?", line, re.IGNORECASE):
            return float(match[1])
    return None


def sensor_of(lines: list[str]) -> tuple[int, int] | None:
    """Return the size of the sensor that a header names, itself or by the camera's plug-in.

    Parameters
    ----------
    lines : list of str
        The header.

    Returns
    -------
    (int, int) or None
        Width and height.
    """
    for line in lines:
        if match := re.fullmatch(r"geometry\s+([1-9]\d{0,4})x([1-9]\d{0,4})", line):
            return int(match[1]), int(match[2])
        sides = dict(re.findall(r";(height|width)=([1-9]\d{0,4})(?=;|$)", line))
        if len(sides) == 2:
            return int(sides["width"]), int(sides["height"])
    if size := named_size(lines):
        return size
    for line in lines:
        for pattern, size in SENSORS:
            if line.startswith("plugin_name") and re.search(rf"(?:^|_|\s)(?:{pattern})(?:_|$)", line):
                return size
    return None
