"""Mix two recordings into one, and say how much of the first is left."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from snntrace.datasets.transforms.arguments import geometry, number
from snntrace.datasets.transforms.drops import in_rectangle, rectangle
from snntrace.datasets.transforms.kinds import Recording, Sensor, checked, places, seconds, selected, together

GRID = 16
"""Points along each axis at which a mask is evaluated to find its level."""


def cut_mix(
    first: Recording,
    second: Recording,
    rng: np.random.Generator,
    *,
    sensor: Sequence[int],
    share: float | None = None,
    alpha: float = 1.0,
) -> tuple[Recording, float]:
    r"""Replace a rectangle of one recording, or a band of channels, by that of another.

    With the rectangle's part :math:`s` of the area, :math:`s \sim \mathrm{Beta}(\alpha, \alpha)` before it is
    rounded to whole pixels, the loss of the result is meant to be

    .. math:: w L(c_1) + (1 - w) L(c_2), \qquad w = 1 - s.

    Parameters
    ----------
    first, second : (times, units), or structured arrays
        The recordings, of one form.
    rng : numpy.random.Generator
        Draws what is random.
    sensor : (int, int, int)
        Width, height and polarities.
    share : float, optional
        Part of the area, 0 to 1. Default: drawn.
    alpha : float, default 1.0
        The distribution's parameter.

    Returns
    -------
    events : (times, units), or structured array
        Events of the first outside of the rectangle and of the second inside, in the order of their times.
    weight : float
        Weight :math:`w` of the first one's label.

    References
    ----------
    S. Yun, D. Han, S. J. Oh, et al., "CutMix: Regularization Strategy to Train Strong Classifiers with
    Localizable Features", ICCV, 6023-6032 (2019).

    Examples
    --------
    >>> import numpy as np
    >>> from snntrace.datasets.transforms import cut_mix
    >>> first, second = (np.arange(8) / 8, np.arange(8)), (np.arange(8) / 8 + 0.01, np.arange(8))
    >>> (times, units), weight = cut_mix(
    ...     first, second, np.random.default_rng(0), sensor=(8, 1, 1), share=0.25
    ... )
    >>> times, weight
    (array([0.   , 0.125, 0.25 , 0.375, 0.5  , 0.635, 0.76 , 0.875]), 0.75)
    """
    who = "cut_mix"
    first, second, sides = checked(who, first), checked(who, second), geometry(who, sensor)
    where = rectangle(rng, sides, drawn_share(who, rng, share, alpha))
    outside, inside = ~in_rectangle(who, first, sides, where), in_rectangle(who, second, sides, where)
    mixed = together(who, selected(first, outside), selected(second, inside))
    return mixed, 1.0 - where[2] * where[3] / (sides[0] * sides[1])


def blend(
    first: Recording,
    second: Recording,
    rng: np.random.Generator,
    *,
    share: float | None = None,
    alpha: float = 1.0,
) -> tuple[Recording, float]:
    r"""Take each event of one recording with a probability, and each of another with the rest of it.

    With :math:`s \sim \mathrm{Beta}(\alpha, \alpha)`, an event of the first is kept with probability
    :math:`w = 1 - s`, one of the second with :math:`s`.

    Parameters
    ----------
    first, second : (times, units), or structured arrays
        The recordings, of one form.
    rng : numpy.random.Generator
        Draws what is random.
    share : float, optional
        Part :math:`s`, 0 to 1. Default: drawn.
    alpha : float, default 1.0
        The distribution's parameter.

    Returns
    -------
    events : (times, units), or structured array
        The events in the order of their times.
    weight : float
        Weight :math:`w` of the first one's label.

    References
    ----------
    T. Nowotny, J. P. Turner, J. C. Knight, "Loss shaping enhances exact gradient learning with Eventprop in
    spiking neural networks", arXiv:2212.01232 (2022), who blend recordings of one word.

    Examples
    --------
    >>> import numpy as np
    >>> from snntrace.datasets.transforms import blend
    >>> first, second = (np.arange(100) / 100, np.zeros(100, int)), (np.arange(100) / 100, np.ones(100, int))
    >>> (times, units), weight = blend(first, second, np.random.default_rng(0), share=0.25)
    >>> weight, int((units == 0).sum()), int((units == 1).sum())
    (0.75, 78, 22)
    """
    who = "blend"
    first, second = checked(who, first), checked(who, second)
    part = drawn_share(who, rng, share, alpha)
    kept = rng.random(seconds(first).size) >= part
    taken = rng.random(seconds(second).size) < part
    return together(who, selected(first, kept), selected(second, taken)), 1.0 - part


def event_mix(
    first: Recording,
    second: Recording,
    rng: np.random.Generator,
    *,
    sensor: Sequence[int],
    share: float | None = None,
    alpha: float = 1.0,
    components: int = 3,
) -> tuple[Recording, float]:
    r"""Mix two recordings along a random surface in space and time.

    With a density :math:`g` on the recording's columns, rows and time, a mixture of Gaussians at random
    places,

    .. math:: g(z) = \sum_k \exp\left(-\tfrac12 (z - \mu_k)^\top \Sigma_k^{-1} (z - \mu_k)\right),

    the second recording's events are taken where :math:`g` is above a level, the first one's elsewhere. The
    level is such that the part :math:`s \sim \mathrm{Beta}(\alpha, \alpha)` of the volume is the second's.
    The label's weight counts events, for they are not spread evenly.

    Parameters
    ----------
    first, second : (times, units), or structured arrays
        The recordings, of one form.
    rng : numpy.random.Generator
        Draws what is random.
    sensor : (int, int, int)
        Width, height and polarities.
    share : float, optional
        Part of the volume, 0 to 1. Default: drawn.
    alpha : float, default 1.0
        The distribution's parameter.
    components : int, default 3
        Number of Gaussians; their widths are 0.1 to 0.5 of the recording's extent.

    Returns
    -------
    events : (times, units), or structured array
        The events in the order of their times.
    weight : float
        Number of the first one's events over that of all; ``1 - share`` if there are none.

    Raises
    ------
    ValueError
        If there is not at least one component.

    References
    ----------
    G. Shen, D. Zhao, Y. Zeng, "EventMix: An efficient data augmentation strategy for event-based learning",
    Information Sciences 644, 119170 (2023).

    Examples
    --------
    >>> import numpy as np
    >>> from snntrace.datasets.transforms import event_mix
    >>> first, second = (np.arange(800) / 800, np.arange(800) % 8), (np.arange(80) / 80, np.arange(80) % 8)
    >>> (times, units), weight = event_mix(
    ...     first, second, np.random.default_rng(0), sensor=(4, 2, 1), share=0.5
    ... )
    >>> 100 < len(times) < 800, 0.5 < weight < 1
    (True, True)
    """
    who = "event_mix"
    first, second, sides = checked(who, first), checked(who, second), geometry(who, sensor)
    if components < 1:
        raise ValueError(f"{who}: components must be at least 1, got components={components}. Give e.g. 3.")
    part = drawn_share(who, rng, share, alpha)
    centres, widths = rng.random((components, 3)), rng.uniform(0.1, 0.5, (components, 3))
    along = (np.arange(GRID) + 0.5) / GRID
    grid = np.stack(np.meshgrid(along, along, along, indexing="ij"), -1).reshape(-1, 3)
    level = np.quantile(density(grid, centres, widths), 1 - part) if 0 < part < 1 else np.inf * (0.5 - part)
    end = max(float(seconds(events).max(initial=0.0)) for events in (first, second))
    above = [density(cube(who, events, sides, end), centres, widths) > level for events in (first, second)]
    kept, taken = selected(first, ~above[0]), selected(second, above[1])
    n_kept, n_taken = int((~above[0]).sum()), int(above[1].sum())
    return together(who, kept, taken), n_kept / (n_kept + n_taken) if n_kept + n_taken else 1.0 - part


def density(
    points: NDArray[np.float64], centres: NDArray[np.float64], widths: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Evaluate a sum of Gaussians whose axes are those of space and time.

    Parameters
    ----------
    points : float64 array of shape (n, 3)
        Where.
    centres, widths : float64 arrays of shape (components, 3)
        The Gaussians.

    Returns
    -------
    float64 array of shape (n,)
        The density, at most the number of components.
    """
    distance = (((points[:, None] - centres) / widths) ** 2).sum(-1)
    found: NDArray[np.float64] = np.exp(-0.5 * distance).sum(-1)
    return found


def cube(who: str, events: object, sides: Sensor, end: float) -> NDArray[np.float64]:
    """Return column, row and time of events, each from 0 to 1.

    Parameters
    ----------
    who : str
        Name of the transform, for the messages.
    events : (times, units), or structured array
        A checked recording.
    sides : (int, int, int)
        Width, height and polarities of the sensor.
    end : float, in s
        The time that is 1.

    Returns
    -------
    float64 array of shape (n_events, 3)
        The places.
    """
    x, y, _ = places(who, events, sides)  # type: ignore[arg-type]
    time = seconds(events) / (end or 1.0)  # type: ignore[arg-type]
    return np.stack([(x + 0.5) / sides[0], (y + 0.5) / sides[1], time], -1)


def drawn_share(who: str, rng: np.random.Generator, share: float | None, alpha: float) -> float:
    """Return how much is to be of the second recording.

    Parameters
    ----------
    who : str
        Name of the transform, for the messages.
    rng : numpy.random.Generator
        Draws it, if it is not given.
    share : float, optional
        What was given.
    alpha : float
        Parameter of the distribution.

    Returns
    -------
    float
        The part, 0 to 1.

    Raises
    ------
    ValueError
        If `share` or `alpha` is out of range.
    """
    if share is not None:
        return number(who, "share", share, most=1.0)
    if not number(who, "alpha", alpha) > 0:
        raise ValueError(f"{who}: alpha must be above 0, got alpha={alpha}. Give e.g. 1.0.")
    return float(rng.beta(alpha, alpha))
