"""A raster of events in letters, for terminals."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

SHADES = " ░▒▓█"
LONG = 10.0
"""From this many seconds on, times are told in s."""


def text_raster(
    times: ArrayLike,
    units: ArrayLike,
    *,
    n_units: int | None = None,
    duration: float | None = None,
    width: int = 72,
    height: int = 14,
) -> str:
    """Draw the density of events: time to the right, units upwards, darker where there are more.

    Parameters
    ----------
    times : array of shape (n_events,), in s
        When.
    units : int array of shape (n_events,)
        Which unit.
    n_units : int, optional
        Number of units. Default: up to the last that has an event.
    duration : float, in s, optional
        Time that is shown. Default: up to the last event.
    width, height : int, default 72 and 14
        Letters across and lines down.

    Returns
    -------
    str
        The picture, with a frame that names the last unit and the last time.

    Raises
    ------
    ValueError
        If the lists do not match, or the picture has no size.

    Examples
    --------
    >>> print(text_raster([0.0, 0.1, 0.1], [0, 3, 3], width=8, height=2))
    3 |       █|
    0 |▓       |
       0 100 ms
    """
    when, where = matched("text_raster", times, units)
    if min(width, height) < 1:
        raise ValueError(
            f"text_raster: width and height must be at least 1, got width={width} and height={height}. Give "
            f"a larger size."
        )
    top = int(where.max(initial=0)) + 1 if n_units is None else n_units
    end = float(when.max(initial=0.0)) if duration is None else duration
    rows = min(height, top)
    inside = (when >= 0) & (when <= end) & (where >= 0) & (where < top)
    column = np.minimum((when[inside] * (width / max(end, 1e-12))).astype(np.int64), width - 1)
    row = where[inside] * rows // top
    counts = np.bincount(row * width + column, minlength=rows * width).reshape(rows, width)
    # By the root, for a few busy cells would leave all others white.
    level = np.ceil(np.sqrt(counts / max(counts.max(), 1)) * (len(SHADES) - 1)).astype(int)
    lines = ["".join(SHADES[k] for k in line) for line in level[::-1]]
    margin = len(str(top - 1))
    names = [str(top - 1), *[""] * (rows - 2), "0"] if rows > 1 else ["0"]
    drawn = [f"{name:>{margin}} |{line}|" for name, line in zip(names, lines, strict=True)]
    return "\n".join([*drawn, f"{'':{margin}}  0{told_time(end):>{width - 1}}"])


def time_scale(end: float) -> tuple[float, str]:
    """Return how many of which unit of time a second is, so that the last time has a few figures.

    Parameters
    ----------
    end : float, in s
        The last time.

    Returns
    -------
    factor : float
        1,000 or 1.
    unit : str
        ``'ms'``, or ``'s'`` from 10 s on.
    """
    return (1e3, "ms") if end < LONG else (1.0, "s")


def told_time(time: float, end: float | None = None) -> str:
    """Return a time in words.

    Parameters
    ----------
    time : float, in s
        The time.
    end : float, in s, optional
        The last time, which sets the unit. Default: the time itself.

    Returns
    -------
    str
        The time, in ms or s.

    Examples
    --------
    >>> told_time(0.3), told_time(0.3, 40.0)
    ('300 ms', '0.3 s')
    """
    factor, unit = time_scale(time if end is None else end)
    return f"{factor * time:.{0 if unit == 'ms' else 1}f} {unit}"


def matched(who: str, times: ArrayLike, units: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return times and units as two lists of one length.

    Parameters
    ----------
    who : str
        Name of the caller, for the message.
    times : array of shape (n_events,), in s
        When.
    units : int array of shape (n_events,)
        Which unit.

    Returns
    -------
    times : float64 array
        When.
    units : int64 array
        Which unit.

    Raises
    ------
    ValueError
        If they are not.
    """
    when, where = np.asarray(times, np.float64), np.asarray(units, np.int64)
    if when.ndim != 1 or when.shape != where.shape:
        raise ValueError(
            f"{who}: times and units must be two lists of one length, got times.shape={when.shape} and "
            f"units.shape={where.shape}. Give one unit for each time."
        )
    return when, where
