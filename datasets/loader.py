"""Batches of binned recordings, in an order that one seed fixes."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from snntrace.datasets.binning import lengths_of, n_channels, scatter
from snntrace.datasets.protocol import SpikeDataset
from snntrace.events import Spikes
from snntrace.events.steps import checked_n_steps, in_seconds, place_events, step_of

Placed = tuple[NDArray[Any], NDArray[Any]]
NO_LABEL = -1
LAYOUTS = ("dense", "events")


@dataclass(frozen=True)
class Batch:
    """Some recordings, binned.

    Attributes
    ----------
    x : float32 array of shape (time, batch, channel), or Spikes of that shape
        Events in each bin.
    labels : int32 array of shape (batch,)
        Class of each recording; -1 for a row that only fills the batch.
    lengths : int64 array of shape (batch,)
        Steps up to and including the last event; 0 for a row that only fills the batch.
    mask : bool array of shape (time, batch)
        True for the steps before `lengths`.
    indices : int64 array of shape (batch,)
        Number of each recording in the data set; -1 for a row that only fills the batch.
    """

    x: Any
    labels: NDArray[np.int32]
    lengths: NDArray[np.int64]
    mask: NDArray[np.bool_]
    indices: NDArray[np.int64]


class Batches:
    """An iterable of `Batch`, made by `batches`.

    Each time it is iterated over, the next epoch's order is used; `epoch` gives any epoch by its number.

    Attributes
    ----------
    n_steps : int
        Steps of every batch.
    n_channels : int
        Channels of every batch.
    next_epoch : int
        Number of the epoch that the next iteration gives; set it to resume.
    """

    def __init__(
        self,
        dataset: SpikeDataset,
        indices: NDArray[np.int64],
        *,
        batch_size: int,
        dt: float,
        n_steps: int,
        pool: int,
        binary: bool,
        seed: int,
        shuffle: bool,
        drop_last: bool,
        pad_last: bool,
        cache: bool,
        layout: str,
    ) -> None:
        self.n_steps = n_steps
        self.n_channels = n_channels(dataset.n_units, pool, "batches")
        self.next_epoch = 0
        self._dataset = dataset
        self._indices = indices
        self._batch_size = batch_size
        self._dt = dt
        self._pool = pool
        self._binary = binary
        self._seed = seed
        self._shuffle = shuffle
        self._drop_last = drop_last
        self._pad_last = pad_last
        self._layout = layout
        self._cache: dict[int, Placed] | None = {} if cache else None

    def __len__(self) -> int:
        """Return the number of batches of an epoch.

        Returns
        -------
        int
            The number.
        """
        full, rest = divmod(len(self._indices), self._batch_size)
        return full if self._drop_last or rest == 0 else full + 1

    def __iter__(self) -> Iterator[Batch]:
        """Iterate over the next epoch.

        Returns
        -------
        iterator of Batch
            The batches of epoch `next_epoch`, which is raised by one.
        """
        number = self.next_epoch
        self.next_epoch += 1
        return self.epoch(number)

    def order(self, number: int) -> NDArray[np.int64]:
        """Return the recordings in the order of one epoch.

        Parameters
        ----------
        number : int
            Number of the epoch, from 0.

        Returns
        -------
        int64 array
            Numbers of the recordings.
        """
        if not self._shuffle:
            return self._indices.copy()
        return np.random.default_rng([self._seed, number]).permutation(self._indices)

    def epoch(self, number: int) -> Iterator[Batch]:
        """Iterate over one epoch.

        Parameters
        ----------
        number : int
            Number of the epoch, from 0. It and the seed fix the order.

        Yields
        ------
        Batch
            The next batch.
        """
        order = self.order(number)
        for start in range(0, len(self) * self._batch_size, self._batch_size):
            yield self._batch(order[start : start + self._batch_size])

    def _batch(self, rows: NDArray[np.int64]) -> Batch:
        placed = [self._placed(int(row)) for row in rows]
        labels = self._dataset.labels[rows].astype(np.int32)
        missing = self._batch_size - len(rows) if self._pad_last else 0
        silence = np.zeros(0, np.int64)
        x, lengths, mask = self._binned(placed + [(silence, silence)] * missing)
        if missing:
            lengths[len(rows) :] = 0
            mask[:, len(rows) :] = False
            filler = np.full(missing, NO_LABEL)
            labels, rows = np.append(labels, filler.astype(np.int32)), np.append(rows, filler)
        return Batch(x, labels, lengths, mask, rows)

    def _binned(self, placed: list[Placed]) -> tuple[Any, NDArray[np.int64], NDArray[np.bool_]]:
        if self._layout == "dense":
            return scatter(placed, n_steps=self.n_steps, channels=self.n_channels, binary=self._binary)
        total, lengths = lengths_of(placed, self.n_steps)
        spikes = Spikes.from_steps(placed, n_units=self.n_channels, n_steps=total, binary=self._binary)
        return spikes, lengths, np.arange(total)[:, None] < lengths

    def _placed(self, row: int) -> Placed:
        if self._cache is not None and row in self._cache:
            return self._cache[row]
        times, units = self._dataset.events(row)
        steps, channels = place_events(
            times, units, n_units=self._dataset.n_units, dt=self._dt, pool=self._pool, who="batches"
        )
        if self._cache is None:
            return steps, channels
        # One step too far stands for all that are: it is dropped as they are, and the length stays right.
        late = np.minimum(steps, self.n_steps)
        small = (
            late.astype(np.min_scalar_type(self.n_steps)),
            channels.astype(np.min_scalar_type(self.n_channels)),
        )
        self._cache[row] = small
        return small


def batches(
    dataset: SpikeDataset,
    indices: ArrayLike,
    batch_size: int,
    dt: Any,
    *,
    n_steps: int | None = None,
    pool: int = 1,
    binary: bool = False,
    seed: int = 0,
    shuffle: bool = True,
    drop_last: bool = False,
    pad_last: bool = False,
    cache: bool = False,
    layout: str = "dense",
) -> Batches:
    """Bin recordings of a data set batch by batch.

    Every batch has the same number of steps, so a compiled function is compiled once. The last batch of an
    epoch can be smaller than the others, be left out (`drop_last`, usual in training) or be filled up with
    silent rows (`pad_last`, for evaluation at a fixed batch size).

    Parameters
    ----------
    dataset : SpikeDataset
        Where the recordings are.
    indices : int array of shape (n,)
        Which of them.
    batch_size : int
        Recordings a batch.
    dt : scalar quantity of time, such as ``4 * u.ms``
        Bin width.
    n_steps : int, optional
        Steps a batch; events at or after ``n_steps * dt`` are dropped. Default: enough for every event of the
        data set (for a file, the first use of its `duration` reads all times).
    pool : int, default 1
        Number of neighbouring units that are counted together.
    binary : bool, default False
        Give 1 for a bin with events, in place of their number.
    seed : int, default 0
        Seed of the order; together with the number of the epoch it fixes it.
    shuffle : bool, default True
        Draw a new order each epoch. False: as in `indices`.
    drop_last : bool, default False
        Leave out the recordings that do not fill a batch.
    pad_last : bool, default False
        Fill the last batch with rows without events, of label -1, length 0 and mask False.
    cache : bool, default False
        Keep the place of each event in memory after its first use, for 2 to 4 bytes an event (120 to 250 MB
        for the 61 million events of 8,156 recordings in SHD's layout), in place of reading it again each
        epoch.
    layout : {'dense', 'events'}, default 'dense'
        Give `Batch.x` as an array, or as `snntrace.Spikes`, whose memory and work are those of the events.
        Its capacity is one of few sizes, so that a function is compiled for few shapes.

    Returns
    -------
    Batches
        The iterable.

    Raises
    ------
    TypeError
        If `dt` is not a time with a unit.
    ValueError
        If an argument is out of range, or there would be no batch.

    Examples
    --------
    >>> import brainunit as u
    >>> from snntrace.datasets import SaccadeDigits, batches
    >>> loader = batches(SaccadeDigits(), range(100), 32, 4 * u.ms, drop_last=True)
    >>> len(loader), next(iter(loader)).x.shape
    (3, (76, 32, 512))
    """
    step = in_seconds(dt, "batches")
    limit = checked_n_steps(n_steps, "batches")
    chosen = np.asarray(indices, dtype=np.int64).ravel()
    if chosen.size and not (chosen.min() >= 0 and chosen.max() < len(dataset)):
        wrong = chosen.min() if chosen.min() < 0 else chosen.max()
        raise ValueError(
            f"batches: indices must be in 0 .. {len(dataset) - 1}, got index={wrong}. Choose existing "
            f"recordings."
        )
    if drop_last and pad_last:
        raise ValueError(
            "batches: the last batch must be dropped or filled, got drop_last=True and pad_last=True. Choose "
            "one."
        )
    if seed < 0:
        raise ValueError(f"batches: seed must not be negative, got seed={seed}. Give 0 or more.")
    if layout not in LAYOUTS:
        raise ValueError(f"batches: layout must be one of {LAYOUTS}, got layout={layout!r}. Choose one.")
    most = chosen.size if drop_last else math.inf
    if chosen.size == 0 or not 1 <= batch_size <= most:
        raise ValueError(
            f"batches: there must be at least one batch, got {chosen.size} recordings, "
            f"batch_size={batch_size} and drop_last={drop_last}. Give more recordings or another batch size."
        )
    if limit is None:
        limit = int(step_of(np.array([dataset.duration]), step)[0]) + 1
    return Batches(
        dataset,
        chosen,
        batch_size=batch_size,
        dt=step,
        n_steps=limit,
        pool=pool,
        binary=binary,
        seed=seed,
        shuffle=shuffle,
        drop_last=drop_last,
        pad_last=pad_last,
        cache=cache,
        layout=layout,
    )
