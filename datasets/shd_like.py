"""Generated words with the statistics of SHD, for where the real ones are not at hand."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from snntrace.datasets.about import ABOUT
from snntrace.datasets.asked import row_of
from snntrace.datasets.generated import Generated, at_least
from snntrace.datasets.ragged import EventList

UNITS = 700
STRIPES = 3
FRAMES = 64
SPEAKERS = {"train": 10, "test": 12}
MEAN_EVENTS = 7_500.0
MEAN_DURATION = 0.725
CENTRE, BREADTH = 560.0, 130.0


class Word(NamedTuple):
    """What the recordings of a class have in common: stripes of activity over time and units.

    Attributes
    ----------
    duration : float, in s
        How long the word is.
    places : float64 array of shape (STRIPES, 3)
        Mean unit, and amplitudes of a half and of a whole wave around it, of each stripe.
    widths : float64 array of shape (STRIPES,), in units
        Standard deviation of each stripe.
    peaks : float64 array of shape (STRIPES, 2)
        When each stripe is strongest, and for how long, in parts of the duration.
    """

    duration: float
    places: NDArray[np.float64]
    widths: NDArray[np.float64]
    peaks: NDArray[np.float64]


class SHDLike(Generated):
    r"""Generated words with rates, durations, units, classes and speakers as those of SHD.

    A class is a word: three stripes that wander over the 700 units while it is spoken, as the formants of
    speech do. In recording `n`, unit `u` spikes as an inhomogeneous Poisson process with the rate

    .. math::

        r(u, t) \propto 0.1 \, h(u) + \sum_{k=1}^{3} a_k(t / T_n)
        \exp\left(-\frac{(u - p_k(t / T_n) - s_n)^2}{2 w_k^2}\right), \qquad
        h(u) = \exp\left(-\frac{(u - 560)^2}{2 \cdot 130^2}\right)

    where the stripes lie about where SHD has most spikes, near unit 560, the speaker shifts the units by
    :math:`s_n` and changes the duration :math:`T_n`, and each take of a word varies around that. The expected
    number of spikes is 7,500 for a mean word, as in SHD.

    Not for results: how accurate a network is here says nothing of real speech.

    Parameters
    ----------
    split : {'train', 'test'}, optional
        Which recordings to draw. Two speakers are only in the test part, as in SHD. Default: ``'train'``.
    n_per_class : int, default 50
        Recordings of each of the 20 classes.
    seed : int, default 0
        Seed of words, speakers and recordings. One seed always gives the same ones.

    Attributes
    ----------
    labels : int64 array of shape (n_recordings,)
        The word.
    groups : int64 array of shape (n_recordings,)
        The speaker.
    class_names : tuple of str
        ``"word 0"`` to ``"word 19"``.
    n_units : int
        700.
    duration : float, in s
        No event is later.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Examples
    --------
    >>> from snntrace.datasets import SHDLike
    >>> words = SHDLike(n_per_class=2)
    >>> words, 1000 < len(words.events(0)[0]) < 30_000
    (SHDLike(train: 40 recordings, 700 units, 20 classes), True)
    """

    n_units = UNITS
    class_names = ABOUT["shd_like"].class_names
    licence = ABOUT["shd_like"].licence
    duration = 1.4

    def __init__(self, split: str | None = None, *, n_per_class: int = 50, seed: int = 0) -> None:
        super().__init__(split, seed)
        at_least("SHDLike", n_per_class=n_per_class)
        classes = len(self.class_names)
        self.labels: NDArray[np.int64] = np.tile(np.arange(classes), n_per_class)
        # Each speaker says each word before any of them says one again.
        self.groups: NDArray[np.int64] = (np.arange(len(self.labels)) // classes) % SPEAKERS[self.split]
        for array in (self.labels, self.groups):
            array.setflags(write=False)
        self._words = [word(np.random.default_rng([seed, 0, c])) for c in range(classes)]

    def events(self, index: int) -> EventList:
        """Return the events of one recording.

        Parameters
        ----------
        index : int
            Number of the recording, ``0 .. len(self) - 1``.

        Returns
        -------
        times : float64 array of shape (n_events,), in s
            When, ascending.
        units : int64 array of shape (n_events,)
            Which unit.

        Raises
        ------
        IndexError
            If there is no such recording.
        """  # noqa: DOC502
        row = row_of("SHDLike", index, len(self))
        said = self._words[self.labels[row]]
        voice = np.random.default_rng([self.seed, 1, int(self.groups[row])])
        shift, speed = 20.0 * voice.standard_normal(), np.exp(0.12 * voice.standard_normal())
        rng = np.random.default_rng([self.seed, 2, self.splits.index(self.split), row])
        shift += 8.0 * rng.standard_normal()
        duration = float(np.clip(said.duration * speed * np.exp(0.08 * rng.standard_normal()), 0.2, 1.37))
        strength = MEAN_EVENTS * np.exp(0.2 * rng.standard_normal()) * said.duration / MEAN_DURATION
        rates = activity(said, shift)
        counts = rng.poisson(rates * (strength / rates.sum()))
        unit, frame = np.nonzero(counts)
        times_in = counts[unit, frame]
        units = np.repeat(unit, times_in)
        times = (np.repeat(frame, times_in) + rng.random(units.size)) * (duration / FRAMES)
        order = np.argsort(times, kind="stable")
        return times[order], units[order]


def word(rng: np.random.Generator) -> Word:
    """Draw a class.

    Parameters
    ----------
    rng : numpy Generator
        What draws it.

    Returns
    -------
    Word
        The word.
    """
    places = np.stack(
        [
            rng.normal(CENTRE, 0.8 * BREADTH, STRIPES).clip(100, 660),
            rng.uniform(-100, 100, STRIPES),
            rng.uniform(-50, 50, STRIPES),
        ],
        axis=1,
    )
    peaks = np.stack([rng.uniform(0.1, 0.9, STRIPES), rng.uniform(0.12, 0.4, STRIPES)], axis=1)
    return Word(rng.uniform(0.52, 0.93), places, rng.uniform(15, 60, STRIPES), peaks)


def activity(said: Word, shift: float) -> NDArray[np.float64]:
    """Return how active each unit is in each part of a word.

    Parameters
    ----------
    said : Word
        The word.
    shift : float, in units
        What the speaker adds to the places.

    Returns
    -------
    float64 array of shape (UNITS, FRAMES)
        Relative rates.
    """
    time = (np.arange(FRAMES) + 0.5) / FRAMES
    units = np.arange(UNITS)[:, None]
    rates = np.repeat(0.1 * np.exp(-0.5 * ((units - CENTRE) / BREADTH) ** 2), FRAMES, axis=1)
    for (mean, half, whole), width, (peak, length) in zip(said.places, said.widths, said.peaks, strict=True):
        place = mean + half * np.sin(np.pi * (time - 0.5)) + whole * np.sin(2 * np.pi * time) + shift
        strength = np.exp(-0.5 * ((time - peak) / length) ** 2)
        rates += 6.0 * strength * np.exp(-0.5 * ((units - place) / width) ** 2)
    return rates
