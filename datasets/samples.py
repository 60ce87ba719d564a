"""Recordings one at a time, each as long as it is, for learning from one step after the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from snntrace.datasets.binning import width_of
from snntrace.datasets.counting import listed
from snntrace.datasets.epochs import Epochs
from snntrace.datasets.loader import checked_indices, checked_units, checked_work
from snntrace.datasets.order import Order, Plan
from snntrace.datasets.protocol import SpikeDataset
from snntrace.datasets.reading import Reader
from snntrace.datasets.transforms.composing import Transform
from snntrace.events.spikes import Spikes
from snntrace.events.steps import checked_n_steps

NO_LIMIT = np.iinfo(np.int32).max - 1


@dataclass(frozen=True)
class Sample:
    """A recording in steps.

    Attributes
    ----------
    x : Spikes of shape (time, 1, channel)
        Its events; `Stream.run` takes it. The last step is that of the last event.
    label : int
        Its class.
    index : int
        Its number in the data set.
    """

    x: Spikes
    label: int
    index: int

    def steps(self) -> Iterator[tuple[int, NDArray[np.int32]]]:
        """Iterate over the steps, also those without events.

        Yields
        ------
        t : int
            Number of the step, from 0.
        units : int32 array of shape (n_events,)
            Its channels, ascending; `Stream.step` takes them as ``units``.
        """
        pointers, indices = np.asarray(self.x.pointers[0]), np.asarray(self.x.indices)
        for t in range(len(pointers) - 1):
            yield t, indices[pointers[t] : pointers[t + 1]]


class Streams(Epochs[Sample]):
    """An iterable of `Sample`, made by `streams`.

    Each time it is iterated over, the next epoch's order is used; `epoch` gives any epoch by its number.

    Attributes
    ----------
    n_channels : int
        Channels of every recording.
    next_epoch : int
        Number of the epoch that the next iteration gives; set it to resume.
    waiting : Waiting
        How long recordings were waited for: ``waiting.idle``, ``waiting.busy`` (in s) and ``waiting.share``.
    """

    def __init__(self, order: Order, reader: Reader, *, binary: bool, prefetch: int, workers: int) -> None:
        super().__init__("Streams", order, self._sample, prefetch=prefetch, workers=workers)
        self.n_channels = reader.n_units // reader.pool
        self._reader = reader
        self._binary = binary

    def _sample(self, epoch: int, plan: Plan) -> Sample:
        events = self._reader.read(plan.rows, epoch).placed
        # One step too far stands for all later ones, which are left out.
        steps = min(int(events.lengths()[0]), self._reader.n_steps)
        x = listed(events, steps, self.n_channels, self._binary)
        row = int(plan.rows[0])
        return Sample(x, int(self._reader.dataset.labels[row]), row)


def streams(
    dataset: SpikeDataset,
    indices: ArrayLike,
    dt: Any = None,
    *,
    count: int | None = None,
    n_steps: int | None = None,
    pool: int = 1,
    binary: bool = False,
    seed: int = 0,
    shuffle: bool = True,
    shard: tuple[int, int] = (0, 1),
    prefetch: int = 0,
    workers: int = 1,
    transform: Transform | None = None,
    n_units: int | None = None,
) -> Streams:
    """Give recordings of a data set one by one, each with as many steps as it has.

    Nothing is padded, and no more than ``prefetch + 1`` recordings are in memory. What is random is fixed as
    it is for `batches`.

    Parameters
    ----------
    dataset : SpikeDataset
        Where the recordings are.
    indices : int array of shape (n,)
        Which of them.
    dt : scalar quantity of time, such as ``1 * u.ms``
        Width of a step.
    count : int, optional
        In place of `dt`: events of a step, in the order of time.
    n_steps : int, optional
        Most steps of a recording; later events are left out. Default: all are kept.
    pool : int, default 1
        Number of neighbouring units that are counted together.
    binary : bool, default False
        Give a channel once in a step, in place of once for each of its events.
    seed : int, default 0
        Seed of the order; together with the number of the epoch it fixes it.
    shuffle : bool, default True
        Draw a new order each epoch. False: as in `indices`.
    shard : (int, int), default (0, 1)
        ``(i, n)``: every n-th recording of the epoch, from the i-th on.
    prefetch : int, default 0
        Recordings that are made ahead, on other threads. 0: each when it is asked for.
    workers : int, default 1
        Threads, with `prefetch`.
    transform : callable, optional
        Called with each recording, a pair of times (in s) and units, and a `numpy.random.Generator`; returns
        a pair. See `snntrace.datasets.transforms`.
    n_units : int, optional
        Number of units after the transform. Default: the data set's.

    Returns
    -------
    Streams
        The iterable.

    Raises
    ------
    TypeError
        If `dt` is not a time with a unit.
    ValueError
        If an argument is out of range, not exactly one of `dt` and `count` is given, or there is no
        recording.

    Examples
    --------
    >>> import brainunit as u
    >>> from snntrace.datasets import SaccadeDigits, streams
    >>> for sample in streams(SaccadeDigits(), range(3), 4 * u.ms, shuffle=False):
    ...     print(sample.label, sample.x.shape, sum(len(units) for _, units in sample.steps()))
    0 (75, 1, 512) 1129
    1 (75, 1, 512) 915
    2 (75, 1, 512) 996
    """
    step, per_step = width_of(dt, count, "streams")
    limit = checked_n_steps(n_steps, "streams") or NO_LIMIT
    chosen = checked_indices(indices, dataset, "streams")
    units = checked_units(dataset, n_units, pool, "streams")
    part = checked_work(shard, 1, prefetch, workers, "streams")
    if seed < 0:
        raise ValueError(f"streams: seed must not be negative, got seed={seed}. Give 0 or more.")
    one, same = np.array([limit]), np.zeros(chosen.size, np.int64)
    order = Order(chosen, 1, seed, shuffle, False, False, part, one, same)
    if len(order) == 0:
        raise ValueError(
            f"streams: there must be at least one recording, got {chosen.size} of them and shard={shard}. "
            f"Give more, or fewer processes."
        )
    reader = Reader(dataset, step, per_step, pool, units, limit, seed, transform, None, chosen, False)
    return Streams(order, reader, binary=binary, prefetch=prefetch, workers=workers)
