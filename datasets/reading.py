"""Read recordings for a loader: from memory where they are kept, transformed, mixed, and put into bins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from snntrace.datasets.binning import ranks
from snntrace.datasets.counting import Placed, joined, placed, together
from snntrace.datasets.protocol import SpikeDataset
from snntrace.datasets.ragged import EventList
from snntrace.datasets.transforms.composing import Mix, Transform
from snntrace.events.steps import step_of

TRANSFORMING, MIXING = 2, 3
"""What tells the random numbers of transforms and mixes from those of the order."""
AT_ONCE = 32
NO_LABEL = -1


class Read(NamedTuple):
    """Recordings in their bins.

    Attributes
    ----------
    placed : Placed
        Where their events go.
    partners : int32 array of shape (n,), or None
        Class of the recording that each was mixed with.
    weights : float32 array of shape (n,), or None
        Weight of its own class.
    """

    placed: Placed
    partners: NDArray[np.int32] | None = None
    weights: NDArray[np.float32] | None = None


@dataclass
class Reader:
    """What a loader does with a recording before it is in a batch.

    Attributes
    ----------
    dataset : SpikeDataset
        The recordings.
    dt : float, in s
        Bin width.
    count : int or None
        Events of a bin, in place of `dt`.
    pool : int
        Neighbouring units that are counted together.
    n_units : int
        Units after the transform.
    n_steps : int
        Later events are given this step.
    seed : int
        With the number of the epoch and that of the recording, it fixes what transforms and mixes draw.
    transform : callable or None
        Applied to each recording.
    mix : callable or None
        Applied to each recording and a partner.
    partners : int64 array
        The recordings that partners are drawn from.
    keep : bool
        Keep in memory what was read.
    """

    dataset: SpikeDataset
    dt: float
    count: int | None
    pool: int
    n_units: int
    n_steps: int
    seed: int
    transform: Transform | None
    mix: Mix | None
    partners: NDArray[np.int64]
    keep: bool
    _kept: dict[int, tuple[NDArray[Any], NDArray[Any]]] = field(default_factory=dict)

    def read(self, rows: NDArray[np.int64], epoch: int) -> Read:
        """Read recordings.

        Parameters
        ----------
        rows : int64 array of shape (n,)
            Their numbers.
        epoch : int
            Number of the epoch.

        Returns
        -------
        Read
            The recordings.
        """
        if self.mix is not None:
            return self._mixed(rows, epoch, self.mix)
        if self.transform is not None:
            return Read(self._place(self._transformed(rows, epoch)))
        if not self.keep:
            # Not all at once: what is read is let go before more is, so that its memory is used again.
            return Read(
                together(
                    [
                        self._place(events_of(self.dataset, rows[start : start + AT_ONCE]))
                        for start in range(0, len(rows), AT_ONCE)
                    ]
                )
            )
        new = [int(row) for row in rows if int(row) not in self._kept]
        found = self._place(events_of(self.dataset, new))
        # One step too far stands for all that are, so the length stays right.
        steps = found.steps.astype(np.min_scalar_type(self.n_steps))
        channels = found.channels.astype(np.min_scalar_type(self.n_units // self.pool))
        for row, start, stop in zip(new, found.starts[:-1], found.starts[1:], strict=True):
            self._kept[row] = steps[start:stop], channels[start:stop]
        return Read(joined([self._kept[int(row)] for row in rows]))

    def _mixed(self, rows: NDArray[np.int64], epoch: int, mix: Mix) -> Read:
        rngs = [np.random.default_rng([self.seed, epoch, int(row), MIXING]) for row in rows]
        others = np.array([self.partners[rng.integers(len(self.partners))] for rng in rngs], np.int64)
        first, second = self._transformed(rows, epoch), self._transformed(others, epoch)
        mixed = [mix(*both) for both in zip(first, second, rngs, strict=True)]
        return Read(
            self._place([events for events, _ in mixed]),
            self.dataset.labels[others].astype(np.int32),
            np.array([weight for _, weight in mixed], np.float32),
        )

    def _transformed(self, rows: NDArray[np.int64], epoch: int) -> Sequence[EventList]:
        found = self._as_they_are(rows)
        if self.transform is None:
            return found
        rngs = [np.random.default_rng([self.seed, epoch, int(row), TRANSFORMING]) for row in rows]
        return [self.transform(events, rng) for events, rng in zip(found, rngs, strict=True)]

    def _as_they_are(self, rows: NDArray[np.int64]) -> Sequence[EventList]:
        if not self.keep:
            return events_of(self.dataset, rows)
        new = [int(row) for row in rows if int(row) not in self._kept]
        for row, (times, units) in zip(new, events_of(self.dataset, new), strict=True):
            self._kept[row] = times, units.astype(np.min_scalar_type(self.dataset.n_units))
        kept = [self._kept[int(row)] for row in rows]
        # Copies: a transform of one's own may write to what it is given.
        return [(times.copy(), units.astype(np.int64)) for times, units in kept]

    def _place(self, recordings: Sequence[EventList]) -> Placed:
        found = placed(recordings, n_units=self.n_units, dt=self.dt, pool=self.pool, n_steps=self.n_steps)
        if self.count is None:
            return found
        steps = [np.minimum(ranks(np.asarray(times)) // self.count, self.n_steps) for times, _ in recordings]
        return found._replace(steps=np.concatenate([np.zeros(0, np.int32), *steps]).astype(np.int32))


def events_of(dataset: SpikeDataset, rows: Sequence[int] | NDArray[np.int64]) -> Sequence[EventList]:
    """Read several recordings, at once where the data set can.

    Parameters
    ----------
    dataset : SpikeDataset
        Where they are. If it has a method ``events_of(rows)``, that is called.
    rows : sequence of int
        Their numbers.

    Returns
    -------
    sequence of (times, units)
        The recordings.
    """
    numbers = rows.tolist() if isinstance(rows, np.ndarray) else [int(row) for row in rows]
    several = getattr(dataset, "events_of", None)
    found: Sequence[EventList] = (
        [dataset.events(row) for row in numbers] if several is None else several(numbers)
    )
    return found


def steps_of(
    dataset: SpikeDataset, rows: NDArray[np.int64], dt: float, count: int | None
) -> NDArray[np.int64]:
    """Return how many steps recordings have.

    Parameters
    ----------
    dataset : SpikeDataset
        Where they are. Its attribute ``durations`` (or ``lengths``, for bins of events) is used if it has
        one; else they are read.
    rows : int64 array of shape (n,)
        Their numbers.
    dt : float, in s
        Bin width.
    count : int or None
        Events of a bin, in place of `dt`.

    Returns
    -------
    int64 array of shape (n,)
        Steps up to and including the last event, at least 1.
    """
    known = getattr(dataset, "durations" if count is None else "lengths", None)
    if known is not None:
        sizes = np.asarray(known, np.float64)[rows]
    else:
        found = (times for row in rows for times, _ in events_of(dataset, [row]))
        sizes = np.array(
            [times.max(initial=0.0) if count is None else times.size for times in found], np.float64
        )
    if count is None:
        return step_of(sizes, dt) + 1
    return np.maximum(1, -(-sizes.astype(np.int64) // count))
