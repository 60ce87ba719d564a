"""Put transforms together, and give them their random numbers."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from snntrace.datasets.transforms.arguments import number

Transform = Callable[[Any, np.random.Generator], Any]
"""From a recording and a generator to a recording."""
Mix = Callable[[Any, Any, np.random.Generator], tuple[Any, float]]
"""From two recordings and a generator to a recording, and the weight of the first one's label."""


@dataclass(frozen=True)
class Composed:
    """Transforms one after the other, made by `compose`.

    Attributes
    ----------
    transforms : tuple of callable
        The transforms.
    """

    transforms: tuple[Transform, ...]

    def __call__(self, events: Any, rng: np.random.Generator) -> Any:
        """Apply all of them.

        Parameters
        ----------
        events : (times, units), or structured array
            A recording.
        rng : numpy.random.Generator
            Draws what is random, for one after the other.

        Returns
        -------
        (times, units), or structured array
            The result of the last one.
        """
        for transform in self.transforms:
            events = transform(events, rng)
        return events


@dataclass(frozen=True)
class Sometimes:
    """A transform that is applied with a probability, made by `sometimes`.

    Attributes
    ----------
    transform : callable
        The transform.
    probability : float
        How often.
    """

    transform: Transform
    probability: float

    def __call__(self, events: Any, rng: np.random.Generator) -> Any:
        """Apply it or not.

        Parameters
        ----------
        events : (times, units), or structured array
            A recording.
        rng : numpy.random.Generator
            Draws what is random.

        Returns
        -------
        (times, units), or structured array
            The transform's result, or the recording itself.
        """
        return self.transform(events, rng) if rng.random() < self.probability else events


@dataclass
class Seeded:
    """A transform with random numbers of its own, made by `seeded`.

    Attributes
    ----------
    transform : callable
        The transform.
    seed : int
        Fixes what is drawn.
    calls : int
        How often it was called.
    """

    transform: Transform
    seed: int = 0
    calls: int = field(default=0, init=False)

    def __call__(self, events: Any) -> Any:
        """Apply the transform.

        Parameters
        ----------
        events : (times, units), or structured array
            A recording.

        Returns
        -------
        (times, units), or structured array
            The transform's result.
        """
        parts = events if isinstance(events, tuple) else (events,)
        content = 0
        for part in parts:
            content = zlib.crc32(np.ascontiguousarray(part).tobytes(), content)
        rng = np.random.default_rng([self.seed, self.calls, content])
        self.calls += 1
        return self.transform(events, rng)


def compose(*transforms: Transform) -> Composed:
    """Make one transform of several, which are applied in their order.

    Parameters
    ----------
    *transforms : callable
        Each is called with a recording and a `numpy.random.Generator` and returns a recording. Fix the
        options of the functions here with `functools.partial`.

    Returns
    -------
    Composed
        A transform.

    Raises
    ------
    TypeError
        If one cannot be called.

    Examples
    --------
    >>> from functools import partial
    >>> import brainunit as u, numpy as np
    >>> from snntrace.datasets.transforms import compose, crop_time, drop_events, jitter_time
    >>> augment = compose(
    ...     partial(crop_time, stop=300 * u.ms),
    ...     partial(jitter_time, sigma=2 * u.ms),
    ...     partial(drop_events, probability=0.5),
    ... )
    >>> times, units = augment((np.linspace(0, 1, 100), np.arange(100)), np.random.default_rng(0))
    >>> len(times)
    13
    """
    for transform in transforms:
        if not callable(transform):
            raise TypeError(
                f"compose: transforms must be callable, got {transform!r}. Write e.g. "
                f"partial(drop_events, probability=0.1)."
            )
    return Composed(transforms)


def sometimes(transform: Transform, probability: float) -> Sometimes:
    """Make a transform that is applied with a probability.

    Parameters
    ----------
    transform : callable
        The transform.
    probability : float
        How often, 0 to 1.

    Returns
    -------
    Sometimes
        A transform.

    Examples
    --------
    >>> from functools import partial
    >>> import numpy as np
    >>> from snntrace.datasets.transforms import drop_events, sometimes
    >>> maybe, rng = sometimes(partial(drop_events, probability=1), 0.5), np.random.default_rng(0)
    >>> [len(maybe(([0.1], [0]), rng)[0]) for _ in range(6)]
    [1, 0, 0, 1, 1, 1]
    """
    return Sometimes(transform, number("sometimes", "probability", probability, most=1.0))


def seeded(transform: Transform, seed: int = 0) -> Seeded:
    """Make a function of the events alone, as tonic's pipelines call it.

    What is drawn is fixed by the seed, the recording and the number of calls before. Where worker processes
    share the recordings, it therefore depends on how they do; `snntrace.datasets.batches` gives each
    recording of each epoch a generator of its own and does not depend on it.

    Parameters
    ----------
    transform : callable
        Called with a recording and a `numpy.random.Generator`.
    seed : int, default 0
        The seed.

    Returns
    -------
    Seeded
        A function of a recording.

    Raises
    ------
    ValueError
        If the seed is negative.

    Examples
    --------
    >>> from functools import partial
    >>> import numpy as np
    >>> from snntrace.datasets.transforms import drop_events, seeded
    >>> records = np.zeros(100, [("x", "i2"), ("y", "i2"), ("t", "i8"), ("p", "?")])
    >>> thinned = seeded(partial(drop_events, probability=0.5), seed=1)
    >>> len(thinned(records)), thinned(records).dtype == records.dtype
    (50, True)
    """
    if seed < 0:
        raise ValueError(f"seeded: seed must not be negative, got seed={seed}. Give 0 or more.")
    return Seeded(transform, seed)
