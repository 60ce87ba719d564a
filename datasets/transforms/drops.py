"""Transforms that leave events out, and one that adds some."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import brainunit as u
import numpy as np

from snntrace.datasets.transforms.arguments import geometry, number, quantity
from snntrace.datasets.transforms.kinds import (
    Recording,
    Sensor,
    checked,
    made,
    places,
    seconds,
    selected,
    together,
)


def drop_events(events: Recording, rng: np.random.Generator, *, probability: float) -> Recording:
    """Leave each event out with a probability.

    Parameters
    ----------
    events : (times, units), or structured array
        A recording.
    rng : numpy.random.Generator
        Draws what is random.
    probability : float
        How likely an event is left out, 0 to 1.

    Returns
    -------
    (times, units), or structured array
        The other events.

    References
    ----------
    F. Gu, W. Sng, X. Hu, F. Yu, "EventDrop: Data Augmentation for Event-based Learning", IJCAI, 700-707
    (2021).

    Examples
    --------
    >>> import numpy as np
    >>> from snntrace.datasets.transforms import drop_events
    >>> drop_events(([0.1, 0.2, 0.3], [7, 3, 5]), np.random.default_rng(0), probability=0.5)
    (array([0.1]), array([7]))
    """
    who = "drop_events"
    events = checked(who, events)
    return selected(
        events, rng.random(seconds(events).size) >= number(who, "probability", probability, most=1.0)
    )


def drop_time(events: Recording, rng: np.random.Generator, *, share: float) -> Recording:
    """Leave out all events of a span of time at a random place.

    Parameters
    ----------
    events : (times, units), or structured array
        A recording; times in s, or the field ``t`` in us.
    rng : numpy.random.Generator
        Draws what is random.
    share : float
        Length of the span, as a part of the time from 0 to the last event, 0 to 1.

    Returns
    -------
    (times, units), or structured array
        The other events.

    References
    ----------
    F. Gu, W. Sng, X. Hu, F. Yu, "EventDrop: Data Augmentation for Event-based Learning", IJCAI, 700-707
    (2021).

    Examples
    --------
    >>> import numpy as np
    >>> from snntrace.datasets.transforms import drop_time
    >>> events = np.linspace(0, 1, 11), np.arange(11)
    >>> drop_time(events, np.random.default_rng(0), share=0.5)[1]
    array([ 0,  1,  2,  3,  9, 10])
    """
    who = "drop_time"
    events, part = checked(who, events), number(who, "share", share, most=1.0)
    times = seconds(events)
    # A little later than the last event, which a share of 1 leaves out, too.
    end = float(np.nextafter(times.max(initial=0.0), np.inf))
    start = rng.random() * (1 - part) * end
    return selected(events, (times < start) | (times >= start + part * end))


def drop_area(
    events: Recording, rng: np.random.Generator, *, share: float, sensor: Sequence[int]
) -> Recording:
    """Leave out all events in a rectangle at a random place, or, with one row, in a band of channels.

    Parameters
    ----------
    events : (times, units), or structured array
        A recording.
    rng : numpy.random.Generator
        Draws what is random.
    share : float
        Part of the sensor's area, 0 to 1. The rectangle has the sensor's proportions.
    sensor : (int, int, int)
        Width, height and polarities.

    Returns
    -------
    (times, units), or structured array
        The other events.

    References
    ----------
    F. Gu, W. Sng, X. Hu, F. Yu, "EventDrop: Data Augmentation for Event-based Learning", IJCAI, 700-707
    (2021).

    Examples
    --------
    >>> import numpy as np
    >>> from snntrace.datasets.transforms import drop_area
    >>> events = np.linspace(0, 1, 10), np.arange(10)
    >>> drop_area(events, np.random.default_rng(0), share=0.5, sensor=(10, 1, 1))[1]
    array([0, 1, 2, 3, 4])
    """
    who = "drop_area"
    events, sides = checked(who, events), geometry(who, sensor)
    inside = in_rectangle(who, events, sides, rectangle(rng, sides, number(who, "share", share, most=1.0)))
    return selected(events, ~inside)


def rectangle(rng: np.random.Generator, sides: Sensor, share: float) -> tuple[int, int, int, int]:
    """Draw a rectangle of a share of a sensor's area, in its proportions.

    Parameters
    ----------
    rng : numpy.random.Generator
        Draws where it is.
    sides : (int, int, int)
        Width, height and polarities of the sensor.
    share : float
        Part of the area.

    Returns
    -------
    left, top, width, height : int
        The rectangle.
    """
    axes = max(1, (sides[0] > 1) + (sides[1] > 1))
    size = [round(side * share ** (1 / axes)) if side > 1 else int(share > 0) for side in sides[:2]]
    left, top = (
        int(rng.integers(side - part, endpoint=True)) for side, part in zip(sides[:2], size, strict=True)
    )
    return left, top, size[0], size[1]


def in_rectangle(who: str, events: Any, sides: Sensor, where: tuple[int, int, int, int]) -> Any:
    """Tell which events lie in a rectangle.

    Parameters
    ----------
    who : str
        Name of the transform, for the messages.
    events : (times, units), or structured array
        A checked recording.
    sides : (int, int, int)
        Width, height and polarities of the sensor.
    where : (int, int, int, int)
        What `rectangle` gave.

    Returns
    -------
    bool array of shape (n_events,)
        True inside.
    """
    x, y, _ = places(who, events, sides)
    left, top, width, height = where
    return (x >= left) & (x < left + width) & (y >= top) & (y < top + height)


def add_noise(
    events: Recording, rng: np.random.Generator, *, rate: Any, sensor: Sequence[int], duration: Any = None
) -> Recording:
    r"""Add events at random times and places.

    .. math:: n \sim \mathrm{Poisson}(r N T)

    of them on :math:`N` units in the time :math:`T`.

    Parameters
    ----------
    events : (times, units), or structured array
        A recording; times in s, or the field ``t`` in us.
    rng : numpy.random.Generator
        Draws what is random.
    rate : scalar quantity, such as ``1 * u.Hz``
        Events a unit and second.
    sensor : (int, int, int)
        Width, height and polarities; their product is the number of units.
    duration : scalar quantity of time, optional
        Time from 0 on in which they are added. Default: to the last event.

    Returns
    -------
    (times, units), or structured array
        All events in the order of their times. Fields of records other than ``t, x, y, p`` are 0 in new ones.

    Examples
    --------
    >>> import brainunit as u, numpy as np
    >>> from snntrace.datasets.transforms import add_noise
    >>> rng = np.random.default_rng(0)
    >>> times, units = add_noise(([0.1, 0.5], [7, 3]), rng, rate=2 * u.Hz, sensor=(4, 1, 2))
    >>> len(times), (np.diff(times) >= 0).all()
    (5, np.True_)
    """
    who = "add_noise"
    events, sides = checked(who, events), geometry(who, sensor)
    frequency = quantity(who, "rate", rate, u.Hz)
    last = float(seconds(events).max(initial=0.0))
    length = last if duration is None else quantity(who, "duration", duration, u.ms)
    n = int(rng.poisson(frequency * sides[0] * sides[1] * sides[2] * length))
    times = np.sort(rng.random(n)) * length
    x, y, p = (rng.integers(side, size=n) for side in sides)
    return together(who, events, made(events, times, (x, y, p), sides))
