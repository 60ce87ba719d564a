"""Transforms of when events are."""

from __future__ import annotations

import operator
from typing import Any

import brainunit as u
import numpy as np

from snntrace.datasets.transforms.arguments import number, quantity
from snntrace.datasets.transforms.kinds import Recording, checked, retimed, seconds, selected

SACCADE = 105 * u.ms
"""How long N-MNIST's camera takes for each of its three saccades."""
SACCADES = 3


def jitter_time(events: Recording, rng: np.random.Generator, *, sigma: Any) -> Recording:
    r"""Move each event in time.

    .. math:: t_i' = |t_i + \xi_i|, \qquad \xi_i \sim \mathcal{N}(0, \sigma^2)

    Parameters
    ----------
    events : (times, units), or structured array
        A recording; times in s, or the field ``t`` in us.
    rng : numpy.random.Generator
        Draws what is random.
    sigma : scalar quantity of time, such as ``2 * u.ms``
        Standard deviation.

    Returns
    -------
    (times, units), or structured array
        All events in the order of their new times. Those that would lie before 0 are reflected there.

    Examples
    --------
    >>> import brainunit as u, numpy as np
    >>> from snntrace.datasets.transforms import jitter_time
    >>> times, units = jitter_time(([0.1, 0.2], [7, 3]), np.random.default_rng(0), sigma=2 * u.ms)
    >>> times.round(4), units
    (array([0.1003, 0.1997]), array([7, 3]))
    """
    who = "jitter_time"
    events, width = checked(who, events), quantity(who, "sigma", sigma, u.ms)
    times = seconds(events)
    return retimed(events, np.abs(times + rng.normal(0.0, 1.0, times.size) * width))


def shift_time(events: Recording, rng: np.random.Generator, *, most: Any) -> Recording:
    r"""Move the whole recording in time.

    .. math:: t_i' = t_i + \xi, \qquad \xi \sim \mathcal{U}(-m, m)

    Parameters
    ----------
    events : (times, units), or structured array
        A recording; times in s, or the field ``t`` in us.
    rng : numpy.random.Generator
        Draws what is random.
    most : scalar quantity of time, such as ``20 * u.ms``
        The largest shift :math:`m`, either way.

    Returns
    -------
    (times, units), or structured array
        The events whose new times are not before 0.

    Examples
    --------
    >>> import brainunit as u, numpy as np
    >>> from snntrace.datasets.transforms import shift_time
    >>> times, units = shift_time(([0.1, 0.2], [7, 3]), np.random.default_rng(0), most=20 * u.ms)
    >>> times.round(4)
    array([0.1055, 0.2055])
    """
    who = "shift_time"
    events, width = checked(who, events), quantity(who, "most", most, u.ms)
    times = seconds(events) + rng.uniform(-1.0, 1.0) * width
    return retimed(selected(events, times >= 0), times[times >= 0])


def stretch_time(events: Recording, rng: np.random.Generator, *, low: float, high: float) -> Recording:
    r"""Make a recording slower or faster.

    .. math:: t_i' = a t_i, \qquad a \sim \mathcal{U}(a_{low}, a_{high})

    Parameters
    ----------
    events : (times, units), or structured array
        A recording; times in s, or the field ``t`` in us.
    rng : numpy.random.Generator
        Draws what is random.
    low, high : float
        The least and the most that times are multiplied by.

    Returns
    -------
    (times, units), or structured array
        All events.

    Raises
    ------
    ValueError
        If it is not the case that ``0 < low <= high``.

    Examples
    --------
    >>> import numpy as np
    >>> from snntrace.datasets.transforms import stretch_time
    >>> stretch_time(([0.1, 0.2], [7, 3]), np.random.default_rng(0), low=2, high=2)
    (array([0.2, 0.4]), array([7, 3]))
    """
    who = "stretch_time"
    events = checked(who, events)
    if not 0 < number(who, "low", low) <= number(who, "high", high):
        raise ValueError(
            f"{who}: low must be above 0 and not above high, got low={low} and high={high}. Give e.g. "
            f"low=0.9 and high=1.1."
        )
    return retimed(events, seconds(events) * rng.uniform(low, high))


def crop_time(
    events: Recording, rng: np.random.Generator | None = None, *, start: Any = None, stop: Any = None
) -> Recording:
    r"""Keep a span of time, and count times from its start.

    .. math:: t_i' = t_i - t_{start} \quad \text{for} \quad t_{start} \le t_i < t_{stop}

    Parameters
    ----------
    events : (times, units), or structured array
        A recording; times in s, or the field ``t`` in us.
    rng : numpy.random.Generator, optional
        Not used: nothing is random.
    start, stop : scalar quantities of time, optional
        The span. Default: from 0, and to the end.

    Returns
    -------
    (times, units), or structured array
        The events of the span.

    Raises
    ------
    ValueError
        If the span is empty.

    Examples
    --------
    >>> import brainunit as u
    >>> from snntrace.datasets.transforms import crop_time
    >>> crop_time(([0.125, 0.25, 0.375], [7, 3, 5]), start=125 * u.ms, stop=300 * u.ms)
    (array([0.   , 0.125]), array([7, 3]))
    """
    who = "crop_time"
    events = checked(who, events)
    begin = 0.0 if start is None else quantity(who, "start", start, u.ms)
    end = np.inf if stop is None else quantity(who, "stop", stop, u.ms)
    if begin >= end:
        raise ValueError(
            f"{who}: start must be before stop, got start={start} and stop={stop}. Exchange them, or leave "
            f"one out."
        )
    return _span(events, begin, end)


def random_crop_time(events: Recording, rng: np.random.Generator, *, length: Any) -> Recording:
    r"""Keep a span of time at a random place, and count times from its start.

    The start is drawn evenly from :math:`0` to :math:`\max(0, t_{last} - l)`.

    Parameters
    ----------
    events : (times, units), or structured array
        A recording; times in s, or the field ``t`` in us.
    rng : numpy.random.Generator
        Draws what is random.
    length : scalar quantity of time, such as ``100 * u.ms``
        Length :math:`l` of the span. A recording that is not longer is kept as it is.

    Returns
    -------
    (times, units), or structured array
        The events of the span.

    Examples
    --------
    >>> import brainunit as u, numpy as np
    >>> from snntrace.datasets.transforms import random_crop_time
    >>> events = np.linspace(0, 1, 101), np.arange(101)
    >>> times, units = random_crop_time(events, np.random.default_rng(0), length=100 * u.ms)
    >>> len(times), units[0]
    (10, np.int64(58))
    """
    who = "random_crop_time"
    events, width = checked(who, events), quantity(who, "length", length, u.ms)
    last = float(seconds(events).max(initial=0.0))
    begin = rng.uniform(0.0, 1.0) * max(0.0, last - width)
    return events if width >= last else _span(events, begin, begin + width)


def _span(events: Recording, begin: float, end: float) -> Recording:
    times = seconds(events)
    inside = (times >= begin) & (times < end)
    return retimed(selected(events, inside), times[inside] - begin)


def saccade(
    events: Recording,
    rng: np.random.Generator | None = None,
    *,
    which: int | None = None,
    width: Any = SACCADE,
) -> Recording:
    """Keep one of the three saccades of N-MNIST and N-Caltech101, and count times from its start.

    The third one goes on to the end of the recording.

    Parameters
    ----------
    events : (times, units), or structured array
        A recording; times in s, or the field ``t`` in us.
    rng : numpy.random.Generator, optional
        Draws the saccade, if `which` is left out.
    which : {0, 1, 2}, optional
        The saccade. Default: one at random.
    width : scalar quantity of time, default ``105 * u.ms``
        How long a saccade takes.

    Returns
    -------
    (times, units), or structured array
        The events of the saccade.

    Raises
    ------
    ValueError
        If there is no such saccade, or neither `which` nor `rng` is given.

    References
    ----------
    G. Orchard, A. Jayawant, G. K. Cohen, N. Thakor, "Converting Static Image Datasets to Spiking Neuromorphic
    Datasets Using Saccades", Frontiers in Neuroscience 9, 437 (2015).

    Examples
    --------
    >>> from snntrace.datasets.transforms import saccade
    >>> times, units = saccade(([0.05, 0.125, 0.25], [7, 3, 5]), which=1)
    >>> times.round(3), units
    (array([0.02]), array([3]))
    """
    who = "saccade"
    events, length = checked(who, events), quantity(who, "width", width, u.ms)
    if which is None:
        if rng is None:
            raise ValueError(f"{who}: rng must be given where which is not, got neither. Give one of them.")
        which = int(rng.integers(SACCADES))
    place = operator.index(which)
    if not 0 <= place < SACCADES:
        raise ValueError(f"{who}: which must be 0, 1 or 2, got which={which}. There are three saccades.")
    return _span(events, place * length, np.inf if place == SACCADES - 1 else (place + 1) * length)
