"""Transforms that mirror a recording."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from snntrace.datasets.transforms.arguments import geometry, number
from snntrace.datasets.transforms.kinds import Recording, checked, moved, places


def flip_left_right(
    events: Recording, rng: np.random.Generator, *, sensor: Sequence[int], probability: float = 0.5
) -> Recording:
    """Mirror the columns, or, on a sensor of one row, the channels.

    Parameters
    ----------
    events : (times, units), or structured array
        A recording.
    rng : numpy.random.Generator
        Draws what is random.
    sensor : (int, int, int)
        Width, height and polarities.
    probability : float, default 0.5
        How often it is done.

    Returns
    -------
    (times, units), or structured array
        All events.

    Examples
    --------
    >>> import numpy as np
    >>> from snntrace.datasets.transforms import flip_left_right
    >>> rng = np.random.default_rng(0)
    >>> flip_left_right(([0.1, 0.2], [0, 1]), rng, sensor=(4, 3, 2), probability=1)
    (array([0.1, 0.2]), array([3, 2]))
    """
    return _flipped("flip_left_right", events, rng, sensor, probability, 0)


def flip_up_down(
    events: Recording, rng: np.random.Generator, *, sensor: Sequence[int], probability: float = 0.5
) -> Recording:
    """Mirror the rows.

    Parameters
    ----------
    events, rng, sensor, probability
        As of `flip_left_right`.

    Returns
    -------
    (times, units), or structured array
        All events.

    Examples
    --------
    >>> import numpy as np
    >>> from snntrace.datasets.transforms import flip_up_down
    >>> rng = np.random.default_rng(0)
    >>> flip_up_down(([0.1, 0.2], [0, 5]), rng, sensor=(4, 3, 2), probability=1)
    (array([0.1, 0.2]), array([8, 5]))
    """
    return _flipped("flip_up_down", events, rng, sensor, probability, 1)


def flip_polarity(
    events: Recording, rng: np.random.Generator, *, sensor: Sequence[int], probability: float = 0.5
) -> Recording:
    """Make ON events OFF events, and the other way round.

    Parameters
    ----------
    events, rng, probability
        As of `flip_left_right`.
    sensor : (int, int, int)
        Width, height and polarities, of which there are two or more.

    Returns
    -------
    (times, units), or structured array
        All events.

    Raises
    ------
    ValueError
        If there is one polarity.

    Examples
    --------
    >>> import numpy as np
    >>> from snntrace.datasets.transforms import flip_polarity
    >>> rng = np.random.default_rng(0)
    >>> flip_polarity(([0.1, 0.2], [0, 13]), rng, sensor=(4, 3, 2), probability=1)
    (array([0.1, 0.2]), array([12,  1]))
    """
    if geometry("flip_polarity", sensor)[2] == 1:
        raise ValueError(
            f"flip_polarity: the sensor must have two polarities, got sensor={sensor!r}. Leave it out."
        )
    return _flipped("flip_polarity", events, rng, sensor, probability, 2)


def _flipped(
    who: str,
    events: Recording,
    rng: np.random.Generator,
    sensor: Sequence[int],
    probability: float,
    axis: int,
) -> Recording:
    events, sides = checked(who, events), geometry(who, sensor)
    where = list(places(who, events, sides))
    if rng.random() >= number(who, "probability", probability, most=1.0):
        return events
    where[axis] = sides[axis] - 1 - where[axis]
    return moved(events, (where[0], where[1], where[2]), sides)
