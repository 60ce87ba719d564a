"""What holds of every recording: places on the sensor, and time that does not go backwards."""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np

from snntrace.datasets.files.contents import AGAIN, damaged
from snntrace.datasets.files.events import Columns, Events

OTHER_SENSOR = "Download or copy the file again, or give the width and height of its sensor=."
KEEP_ORDER = "Download or copy the file again, or give ordered=False to keep its events as they are."


def checked_sensor(who: str, sensor: tuple[int, int]) -> tuple[int, int]:
    """Return the width and height of a sensor.

    Parameters
    ----------
    who : str
        Name of the reader.
    sensor : (int, int), in pixels
        Width and height.

    Returns
    -------
    (int, int)
        The same.

    Raises
    ------
    ValueError
        If they are not two numbers from 1 to 65536.
    """
    if len(sensor) != 2 or not all(1 <= side <= 1 << 16 for side in sensor):
        raise ValueError(
            f"{who}: sensor must be a width and a height from 1 to 65536, got sensor={sensor}. Give the "
            f"sensor's own, such as (640, 480)."
        )
    return int(sensor[0]), int(sensor[1])


def checked_events(
    who: str,
    path: str | os.PathLike[str],
    columns: Columns,
    sensor: tuple[int, int],
    ordered: bool,
    byte_of: Callable[[int], int],
) -> Events:
    """Return decoded events, if they can be.

    Parameters
    ----------
    who : str
        Name of the reader.
    path : str or path
        The file.
    columns : (t, x, y, p)
        The events.
    sensor : (int, int), in pixels
        Width and height.
    ordered : bool
        Refuse a file in which time goes backwards.
    byte_of : callable
        Gives the place in the file of an event's number.

    Returns
    -------
    Events
        The events.
    """
    t, x, y, _ = columns
    width, height = checked_sensor(who, sensor)
    if t.size == 0:
        damaged(who, path, 0, "the file must hold events", "none", AGAIN)
    if x.max() >= width or y.max() >= height:
        i = int(np.argmax((x >= width) | (y >= height)))
        on = f"events must lie on the {width} x {height} sensor"
        damaged(who, path, byte_of(i), on, f"x={x[i]} and y={y[i]}", OTHER_SENSOR)
    if ordered:
        later = t[1:] >= t[:-1]
        if not later.all():
            i = int(np.argmin(later)) + 1
            got = f"{t[i]} us after {t[i - 1]} us"
            damaged(who, path, byte_of(i), "time must not go backwards", got, KEEP_ORDER)
    return Events(*columns, (width, height))
