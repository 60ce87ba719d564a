"""Transforms of where events are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from snntrace.datasets.transforms.arguments import geometry, two
from snntrace.datasets.transforms.kinds import Places, Recording, Sensor, checked, moved, places, selected


def jitter_space(
    events: Recording,
    rng: np.random.Generator,
    *,
    sigma: float | Sequence[float],
    sensor: Sequence[int],
) -> Recording:
    r"""Move each event in space.

    .. math:: x_i' = x_i + \mathrm{round}(\xi_i), \qquad \xi_i \sim \mathcal{N}(0, \sigma^2)

    and so for the rows.

    Parameters
    ----------
    events : (times, units), or structured array
        A recording.
    rng : numpy.random.Generator
        Draws what is random.
    sigma : float or (float, float), in pixels
        Standard deviation of both axes, or along columns and rows.
    sensor : (int, int, int)
        Width, height and polarities.

    Returns
    -------
    (times, units), or structured array
        The events that are still on the sensor.

    Examples
    --------
    >>> import numpy as np
    >>> from snntrace.datasets.transforms import jitter_space
    >>> jitter_space(([0.1, 0.2], [300, 400]), np.random.default_rng(0), sigma=10, sensor=(700, 1, 1))
    (array([0.1, 0.2]), array([301, 406]))
    """
    who = "jitter_space"
    events, sides = checked(who, events), geometry(who, sensor)
    x, y, p = places(who, events, sides)
    columns, rows = two(who, "sigma", sigma, sides)
    steps = np.rint(rng.normal(0.0, 1.0, (x.size, 2)) * (columns, rows)).astype(np.int64)
    return _kept_on(events, (x + steps[:, 0], y + steps[:, 1], p), sides)


def shift_space(
    events: Recording,
    rng: np.random.Generator,
    *,
    most: float | Sequence[float],
    sensor: Sequence[int],
) -> Recording:
    """Move the whole recording in space, by whole pixels.

    Parameters
    ----------
    events : (times, units), or structured array
        A recording.
    rng : numpy.random.Generator
        Draws what is random.
    most : int or (int, int), in pixels
        The largest shift of both axes, or along columns and rows, either way.
    sensor : (int, int, int)
        Width, height and polarities.

    Returns
    -------
    (times, units), or structured array
        The events that are still on the sensor.

    References
    ----------
    T. Nowotny, J. P. Turner, J. C. Knight, "Loss shaping enhances exact gradient learning with Eventprop in
    spiking neural networks", arXiv:2212.01232 (2022), for spoken words.

    Examples
    --------
    >>> import numpy as np
    >>> from snntrace.datasets.transforms import shift_space
    >>> shift_space(([0.1, 0.2], [300, 699]), np.random.default_rng(0), most=40, sensor=(700, 1, 1))
    (array([0.1]), array([328]))
    """
    who = "shift_space"
    events, sides = checked(who, events), geometry(who, sensor)
    x, y, p = places(who, events, sides)
    limits = np.array(two(who, "most", most, sides)).astype(np.int64)
    step = rng.integers(-limits, limits, endpoint=True)
    return _kept_on(events, (x + step[0], y + step[1], p), sides)


def _kept_on(events: Recording, where: Places, sides: Sensor) -> Recording:
    x, y, p = where
    inside = (x >= 0) & (x < sides[0]) & (y >= 0) & (y < sides[1])
    return moved(selected(events, inside), (x[inside], y[inside], p[inside]), sides)


def crop_space(
    events: Recording,
    rng: np.random.Generator | None = None,
    *,
    sensor: Sequence[int],
    size: Sequence[int],
    corner: Sequence[int] | Literal["centre", "random"] = "centre",
) -> Recording:
    """Keep a rectangle of the sensor, and number its pixels anew.

    Parameters
    ----------
    events : (times, units), or structured array
        A recording.
    rng : numpy.random.Generator, optional
        Draws the corner, if it is ``'random'``.
    sensor : (int, int, int)
        Width, height and polarities.
    size : (int, int), in pixels
        Width and height of the rectangle. With the polarities, it is the sensor of the result.
    corner : (int, int), 'centre' or 'random', default 'centre'
        Its first column and row.

    Returns
    -------
    (times, units), or structured array
        The events in the rectangle.

    Raises
    ------
    ValueError
        If the rectangle is not on the sensor, or `rng` is missing.

    Examples
    --------
    >>> from snntrace.datasets.transforms import crop_space
    >>> crop_space(([0.1, 0.2], [0, 5]), sensor=(4, 3, 2), size=(2, 2), corner=(1, 1))
    (array([0.2]), array([0]))
    """
    who = "crop_space"
    events, sides = checked(who, events), geometry(who, sensor)
    width, height = int(size[0]), int(size[1])
    spare = (sides[0] - width, sides[1] - height)
    if corner == "random":
        if rng is None:
            raise ValueError(f"{who}: rng must be given with corner='random', got none. Give a generator.")
        left, top = (int(rng.integers(max(0, room), endpoint=True)) for room in spare)
    elif isinstance(corner, str):
        left, top = spare[0] // 2, spare[1] // 2
    else:
        left, top = int(corner[0]), int(corner[1])
    if min(width, height) < 1 or not (0 <= left <= spare[0] and 0 <= top <= spare[1]):
        raise ValueError(
            f"{who}: the rectangle must lie on the sensor, got size={tuple(size)} and corner={corner!r} for "
            f"sensor={tuple(sensor)}. Make it smaller."
        )
    x, y, p = places(who, events, sides)
    return _kept_on(events, (x - left, y - top, p), (width, height, sides[2]))


def pooled_sensor(sensor: Sequence[int], factor: int | Sequence[int]) -> Sensor:
    r"""Return the sensor that `pool_space` makes.

    .. math:: W' = \lceil W / f_x \rceil, \qquad H' = \lceil H / f_y \rceil

    Parameters
    ----------
    sensor : (int, int, int)
        Width, height and polarities.
    factor : int or (int, int)
        Pixels of each axis that become one; one number stands for every axis of more than one pixel.

    Returns
    -------
    (int, int, int)
        Width, height and polarities.

    Raises
    ------
    ValueError
        If a factor is not a positive whole number.

    Examples
    --------
    >>> from snntrace.datasets.transforms import pooled_sensor
    >>> pooled_sensor((34, 34, 2), 2), pooled_sensor((700, 1, 1), 5)
    ((17, 17, 2), (140, 1, 1))
    """
    sides = geometry("pool_space", sensor)
    columns, rows = _factors(sides, factor)
    return -(-sides[0] // columns), -(-sides[1] // rows), sides[2]


def pool_space(
    events: Recording,
    rng: np.random.Generator | None = None,
    *,
    sensor: Sequence[int],
    factor: int | Sequence[int],
) -> Recording:
    r"""Join neighbouring pixels, or channels, to one.

    .. math:: x_i' = \lfloor x_i / f_x \rfloor, \qquad y_i' = \lfloor y_i / f_y \rfloor

    Parameters
    ----------
    events : (times, units), or structured array
        A recording.
    rng : numpy.random.Generator, optional
        Not used: nothing is random.
    sensor : (int, int, int)
        Width, height and polarities.
    factor : int or (int, int)
        Pixels of each axis that become one; one number stands for every axis of more than one pixel.

    Returns
    -------
    (times, units), or structured array
        All events, on the sensor ``pooled_sensor(sensor, factor)``.

    Examples
    --------
    >>> from snntrace.datasets.transforms import pool_space
    >>> pool_space(([0.1, 0.2], [4, 699]), sensor=(700, 1, 1), factor=5)
    (array([0.1, 0.2]), array([  0, 139]))
    """
    who = "pool_space"
    events, sides = checked(who, events), geometry(who, sensor)
    x, y, p = places(who, events, sides)
    columns, rows = _factors(sides, factor)
    return moved(events, (x // columns, y // rows, p), pooled_sensor(sides, factor))


def _factors(sides: Sensor, factor: int | Sequence[int]) -> tuple[int, int]:
    given = two("pool_space", "factor", factor, sides)
    if any(part != int(part) for part in given) or (np.ndim(factor) and min(given) < 1) or max(given) < 1:
        raise ValueError(
            f"pool_space: factor must be one or two whole numbers of at least 1, got factor={factor!r}. Give "
            f"e.g. 2."
        )
    return max(1, int(given[0])), max(1, int(given[1]))


def merge_polarities(
    events: Recording, rng: np.random.Generator | None = None, *, sensor: Sequence[int]
) -> Recording:
    """Make all events of one polarity, 0.

    Parameters
    ----------
    events : (times, units), or structured array
        A recording.
    rng : numpy.random.Generator, optional
        Not used: nothing is random.
    sensor : (int, int, int)
        Width, height and polarities. That of the result has one polarity.

    Returns
    -------
    (times, units), or structured array
        All events.

    Examples
    --------
    >>> from snntrace.datasets.transforms import merge_polarities
    >>> merge_polarities(([0.1, 0.2], [1, 13]), sensor=(4, 3, 2))
    (array([0.1, 0.2]), array([1, 1]))
    """
    who = "merge_polarities"
    events, sides = checked(who, events), geometry(who, sensor)
    x, y, p = places(who, events, sides)
    # Two polarities for `moved`, so that it writes them; no unit depends on the number.
    return moved(events, (x, y, np.zeros_like(p)), (sides[0], sides[1], 2))
