"""The two forms of a recording that transforms take: a pair of arrays, and tonic's records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from snntrace.datasets.files.events import MICROSECOND

Pair = tuple[NDArray[Any], NDArray[Any]]
"""Times in s, and units."""
Recording = TypeVar("Recording", bound="Pair | NDArray[Any]")
"""A pair, or an array of records with the fields ``t`` (in us), ``x`` and maybe ``y`` and ``p``."""
Places = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]
"""Columns, rows and polarities."""
Sensor = tuple[int, int, int]


def checked(who: str, events: Recording) -> Recording:
    """Return a recording in one of the two forms.

    Parameters
    ----------
    who : str
        Name of the transform, for the messages.
    events : (times, units), or structured array
        The recording.

    Returns
    -------
    (float64 array, int64 array), or structured array
        The recording; not a copy where it need not be one.

    Raises
    ------
    TypeError
        If it is neither.
    ValueError
        If times and units differ in number.
    """
    if isinstance(events, np.ndarray) and events.dtype.names is not None:
        if not {"t", "x"} <= set(events.dtype.names) or events.ndim != 1:
            raise TypeError(
                f"{who}: events must be records with the fields t and x, got the fields {events.dtype.names} "
                f"in the shape {events.shape}. Give the events of one recording."
            )
        return events
    if not isinstance(events, Sequence) or len(events) != 2:
        raise TypeError(
            f"{who}: events must be a pair (times, units) or an array of records with the fields t and x, "
            f"got {type(events).__name__}. Give one recording, before it is binned."
        )
    times, units = np.asarray(events[0], np.float64), np.asarray(events[1])
    if units.size and units.dtype.kind not in "iu":
        raise TypeError(
            f"{who}: units must be integers, got dtype={units.dtype}. Convert them with .astype(int)."
        )
    if times.ndim != 1 or times.shape != units.shape:
        raise ValueError(
            f"{who}: times and units must be two lists of one length, got times.shape={times.shape} and "
            f"units.shape={units.shape}. Give one unit for each time."
        )
    return cast("Recording", (times, units.astype(np.int64)))


def seconds(events: Pair | NDArray[Any]) -> NDArray[np.float64]:
    """Return the times of a checked recording.

    Parameters
    ----------
    events : (times, units), or structured array
        The recording.

    Returns
    -------
    float64 array of shape (n_events,), in s
        The times.
    """
    if isinstance(events, tuple):
        return events[0]
    return events["t"].astype(np.float64) * MICROSECOND


def selected(events: Recording, index: NDArray[Any]) -> Recording:
    """Return some of a recording's events.

    Parameters
    ----------
    events : (times, units), or structured array
        The recording.
    index : int or bool array
        Which events, in which order.

    Returns
    -------
    (times, units), or structured array
        These events.
    """
    if isinstance(events, tuple):
        return cast("Recording", (events[0][index], events[1][index]))
    return cast("Recording", cast("NDArray[Any]", events)[index])


def retimed(events: Recording, times: NDArray[np.float64]) -> Recording:
    """Return a recording with other times, in their order; simultaneous events keep theirs.

    Parameters
    ----------
    events : (times, units), or structured array
        The recording.
    times : float64 array of shape (n_events,), in s
        New times. Records with whole microseconds get the nearest ones.

    Returns
    -------
    (times, units), or structured array
        The recording.
    """
    order = np.arange(times.size)
    if not (times[1:] >= times[:-1]).all():
        order = np.argsort(times, kind="stable")
    moved, times = selected(events, order), times[order]
    if isinstance(moved, tuple):
        return cast("Recording", (times, moved[1]))
    records = cast("NDArray[Any]", moved)
    records["t"] = stored_times(records, times)
    return moved


def stored_times(records: NDArray[Any], times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return times as records hold them: in us, whole ones if the field is of integers.

    Parameters
    ----------
    records : structured array
        Tells the type of the field.
    times : float64 array, in s
        The times.

    Returns
    -------
    float64 array, in us
        The times.
    """
    found = times / MICROSECOND
    return np.rint(found) if records.dtype["t"].kind in "iu" else found


def places(who: str, events: Pair | NDArray[Any], sensor: Sensor) -> Places:
    """Return column, row and polarity of each event.

    Parameters
    ----------
    who : str
        Name of the transform, for the messages.
    events : (times, units), or structured array
        The recording. Unit ``(p * height + y) * width + x`` is polarity `p` at column `x` and row `y`.
    sensor : (int, int, int)
        Width, height and polarities. With one polarity, that of records is not looked at.

    Returns
    -------
    x, y, p : int64 arrays of shape (n_events,)
        The places.

    Raises
    ------
    ValueError
        If an event is not on the sensor.
    """
    width, height, polarities = sensor
    if isinstance(events, tuple):
        row, x = np.divmod(events[1], width)
        p, y = np.divmod(row, height)
    else:
        nothing = np.zeros(len(events), np.int64)
        fields = events.dtype.names or ()
        x = events["x"].astype(np.int64)
        y = events["y"].astype(np.int64) if "y" in fields else nothing
        p = events["p"].astype(np.int64) if "p" in fields and polarities > 1 else nothing
    outside = np.zeros(x.size, np.bool_)
    for column, side in ((x, width), (y, height), (p, polarities)):
        outside |= (column < 0) | (column >= side)
    if outside.any():
        i = int(outside.argmax())
        what = f"unit={events[1][i]}" if isinstance(events, tuple) else f"x={x[i]}, y={y[i]} and p={p[i]}"
        raise ValueError(
            f"{who}: events must lie on the sensor of {width} x {height} pixels and {polarities} "
            f"polarities, got {what}. Give sensor=(width, height, polarities) of these events."
        )
    return x, y, p


def moved(events: Recording, where: Places, sensor: Sensor) -> Recording:
    """Return a recording with its events at other places.

    Parameters
    ----------
    events : (times, units), or structured array
        The recording.
    where : (x, y, p)
        New places. Records without a field for one, and with a single polarity, keep what they have.
    sensor : (int, int, int)
        Width, height and polarities of the new places.

    Returns
    -------
    (times, units), or structured array
        The recording.
    """
    x, y, p = where
    if isinstance(events, tuple):
        return cast("Recording", (events[0], units_of(where, sensor)))
    records = cast("NDArray[Any]", events).copy()
    fields = records.dtype.names or ()
    records["x"] = x
    if "y" in fields:
        records["y"] = y
    if "p" in fields and sensor[2] > 1:
        records["p"] = p
    return cast("Recording", records)


def units_of(where: Places, sensor: Sensor) -> NDArray[np.int64]:
    """Return the unit of each place.

    Parameters
    ----------
    where : (x, y, p)
        The places.
    sensor : (int, int, int)
        Width, height and polarities.

    Returns
    -------
    int64 array of shape (n_events,)
        The units.
    """
    x, y, p = where
    return (p * sensor[1] + y) * sensor[0] + x


def made(like: Recording, times: NDArray[np.float64], where: Places, sensor: Sensor) -> Recording:
    """Return new events in the form of a recording.

    Parameters
    ----------
    like : (times, units), or structured array
        A recording of the wanted form.
    times : float64 array of shape (n_events,), in s
        When.
    where : (x, y, p)
        Where.
    sensor : (int, int, int)
        Width, height and polarities.

    Returns
    -------
    (times, units), or structured array
        The events; other fields of records are 0.
    """
    if isinstance(like, tuple):
        return cast("Recording", (times, units_of(where, sensor)))
    records = np.zeros(times.size, cast("NDArray[Any]", like).dtype)
    records["t"] = stored_times(records, times)
    return cast("Recording", moved(records, where, sensor))


def together(who: str, first: Recording, second: Recording) -> Recording:
    """Return the events of two recordings in the order of their times.

    Parameters
    ----------
    who : str
        Name of the transform, for the messages.
    first, second : (times, units), or structured arrays
        The recordings. Of simultaneous events, those of the first come first.

    Returns
    -------
    (times, units), or structured array
        All events.

    Raises
    ------
    TypeError
        If they are of different forms.
    """
    if isinstance(first, tuple) and isinstance(second, tuple):
        both: Any = tuple(np.concatenate(pair) for pair in zip(first, second, strict=True))
    else:
        forms = [getattr(events, "dtype", "a pair") for events in (first, second)]
        if forms[0] != forms[1]:
            raise TypeError(
                f"{who}: both recordings must be of one form, got {forms[0]} and {forms[1]}. Give two pairs, "
                f"or records with the same fields."
            )
        both = np.concatenate([cast("NDArray[Any]", first), cast("NDArray[Any]", second)])
    return cast("Recording", selected(both, np.argsort(seconds(both), kind="stable")))
