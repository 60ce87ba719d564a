"""Batches of binned recordings, epoch by epoch."""

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from snntrace.datasets.binning import lengths_of, n_channels
from snntrace.datasets.counting import Placed, counted, listed, placed
from snntrace.datasets.fetching import Waiting, fetched
from snntrace.datasets.order import Order, Plan
from snntrace.datasets.protocol import SpikeDataset

Events = tuple[NDArray[np.float64], NDArray[np.int64]]
Transform = Callable[
    [NDArray[np.float64], NDArray[np.int64], np.random.Generator], tuple[ArrayLike, ArrayLike]
]
TRANSFORMING = 2
SAME = ("seed", "shuffle", "batch_size", "shard", "indices")
NO_LABEL = -1
AT_ONCE = 16


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
        Steps of the longest batch; of every batch, unless there are buckets.
    n_channels : int
        Channels of every batch.
    next_epoch : int
        Number of the epoch that the next iteration gives; set it to resume.
    waiting : Waiting
        How long batches were waited for: ``waiting.idle``, ``waiting.busy`` (in s) and ``waiting.share``.
    """

    def __init__(
        self,
        dataset: SpikeDataset,
        order: Order,
        *,
        dt: float,
        pool: int,
        binary: bool,
        cache: bool,
        layout: str,
        prefetch: int,
        workers: int,
        transform: Transform | None,
    ) -> None:
        self.n_steps = int(order.steps.max())
        self.n_channels = n_channels(dataset.n_units, pool, "batches")
        self.next_epoch = 0
        self.waiting = Waiting()
        self._dataset = dataset
        self._order = order
        self._dt = dt
        self._pool = pool
        self._binary = binary
        self._layout = layout
        self._prefetch = prefetch
        self._workers = workers
        self._transform = transform
        self._cache: dict[int, tuple[NDArray[Any], NDArray[Any]]] | None = {} if cache else None
        self._given = (0, 0)
        self._first = 0

    def __len__(self) -> int:
        """Return the number of batches of an epoch.

        Returns
        -------
        int
            The number.
        """
        return len(self._order)

    def __iter__(self) -> Iterator[Batch]:
        """Iterate over the next epoch, or over the rest of one after `restore`.

        Returns
        -------
        iterator of Batch
            The batches of epoch `next_epoch`, which is raised by one.
        """
        number, first = self.next_epoch, self._first
        self.next_epoch, self._first = number + 1, 0
        self._given = (number, first)
        return self._counting(number, first)

    def order(self, number: int) -> NDArray[np.int64]:
        """Return the recordings in the order of one epoch.

        Parameters
        ----------
        number : int
            Number of the epoch, from 0.

        Returns
        -------
        int64 array
            Numbers of the recordings, of all processes, before they are put in batches.
        """
        return self._order.rows(number)

    def epoch(self, number: int, first: int = 0) -> Iterator[Batch]:
        """Iterate over one epoch.

        Parameters
        ----------
        number : int
            Number of the epoch, from 0. It and the seed fix the order.
        first : int, default 0
            Leave out the batches before this one.

        Yields
        ------
        Batch
            The next batch.
        """
        plans = self._order.plans(number)[first:]
        make = partial(self._batch, number)
        yield from fetched(plans, make, ahead=self._prefetch, workers=self._workers, waiting=self.waiting)

    def state(self) -> dict[str, Any]:
        """Return how far the iteration is, counted in batches that were handed out.

        Returns
        -------
        dict
            Numbers, lists and None; it can be written as JSON.

        Examples
        --------
        >>> import brainunit as u
        >>> from snntrace.datasets import SaccadeDigits, batches
        >>> loader = batches(SaccadeDigits(), range(100), 20, 4 * u.ms)
        >>> for batch in loader:
        ...     break
        >>> state = loader.state()
        >>> state["epoch"], state["batch"]
        (0, 1)
        """
        epoch, batch = self._given
        if batch >= len(self):
            epoch, batch = epoch + 1, 0
        order = self._order
        return {
            "epoch": epoch,
            "batch": batch,
            "seed": order.seed,
            "shuffle": order.shuffle,
            "batch_size": order.batch_size,
            "shard": list(order.shard),
            "indices": zlib.crc32(order.indices.tobytes() + order.bucket.tobytes()),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where another loader was, at its next batch.

        Parameters
        ----------
        state : dict
            What `state` gave, of a loader with the same recordings, batches and seed.

        Raises
        ------
        ValueError
            If it is the state of another loader.
        """
        mine = self.state()
        for name in SAME:
            if state.get(name) != mine[name]:
                raise ValueError(
                    f"Batches.restore: state must be of a loader with the same {name}, got "
                    f"{name}={state.get(name)} for {mine[name]}. Make the loader as the first one was made."
                )
        epoch, batch = state.get("epoch"), state.get("batch")
        if not (isinstance(epoch, int) and isinstance(batch, int) and epoch >= 0 and 0 <= batch < len(self)):
            raise ValueError(
                f"Batches.restore: state must name an epoch and one of {len(self)} batches, got "
                f"epoch={epoch} and batch={batch}. Give what state() returned."
            )
        self.next_epoch, self._first = epoch, batch
        self._given = (epoch, batch)

    def _counting(self, number: int, first: int) -> Iterator[Batch]:
        for done, batch in enumerate(self.epoch(number, first), first + 1):
            self._given = (number, done)
            yield batch

    def _batch(self, epoch: int, plan: Plan) -> Batch:
        rows, n_steps = plan.rows, plan.n_steps
        events = self._placed(rows, epoch)
        labels = self._dataset.labels[rows].astype(np.int32)
        missing = self._order.batch_size - len(rows) if self._order.pad_last else 0
        silence = np.zeros(0, np.int32)
        x, lengths, mask = self._binned(events + [(silence, silence)] * missing, n_steps)
        if missing:
            lengths[len(rows) :] = 0
            mask[:, len(rows) :] = False
            filler = np.full(missing, NO_LABEL)
            labels, rows = np.append(labels, filler.astype(np.int32)), np.append(rows, filler)
        return Batch(x, labels, lengths, mask, rows)

    def _binned(self, events: list[Placed], n_steps: int) -> tuple[Any, NDArray[np.int64], NDArray[np.bool_]]:
        total, lengths = lengths_of(events, n_steps)
        mask = np.arange(total)[:, None] < lengths
        if self._layout == "dense":
            return counted(events, total, self.n_channels, self._binary), lengths, mask
        return listed(events, total, self.n_channels, self._binary), lengths, mask

    def _placed(self, rows: NDArray[np.int64], epoch: int) -> list[Placed]:
        if self._transform is not None:
            return [
                self._place(self._transformed(times, units, epoch, int(row)))
                for row, (times, units) in zip(rows, self._read(rows), strict=True)
            ]
        if self._cache is None:
            # Not all at once: what is read is let go before more is, so that its memory is used again.
            return [
                self._place(events)
                for start in range(0, len(rows), AT_ONCE)
                for events in events_of(self._dataset, rows[start : start + AT_ONCE])
            ]
        new = [int(row) for row in rows if int(row) not in self._cache]
        for row, events in zip(new, events_of(self._dataset, new), strict=True):
            steps, channels = self._place(events)
            # One step too far stands for all that are, so the length stays right.
            self._cache[row] = (
                steps.astype(np.min_scalar_type(self.n_steps)),
                channels.astype(np.min_scalar_type(self.n_channels)),
            )
        return [self._cache[int(row)] for row in rows]

    def _read(self, rows: NDArray[np.int64]) -> list[Events]:
        """Return recordings as they are, from memory where they are kept."""
        if self._cache is None:
            return events_of(self._dataset, rows)
        new = [int(row) for row in rows if int(row) not in self._cache]
        for row, (times, units) in zip(new, events_of(self._dataset, new), strict=True):
            self._cache[row] = times, units.astype(np.min_scalar_type(self._dataset.n_units))
        kept = [self._cache[int(row)] for row in rows]
        return [(times.copy(), units.astype(np.int64)) for times, units in kept]

    def _transformed(self, times: Any, units: Any, epoch: int, row: int) -> Events:
        if self._transform is None:
            return times, units
        rng = np.random.default_rng([self._order.seed, epoch, row, TRANSFORMING])
        new_times, new_units = self._transform(times, units, rng)
        return np.asarray(new_times, np.float64), np.asarray(new_units)

    def _place(self, events: Events) -> Placed:
        times, units = events
        return placed(
            times, units, n_units=self._dataset.n_units, dt=self._dt, pool=self._pool, n_steps=self.n_steps
        )


def events_of(dataset: SpikeDataset, rows: Sequence[int] | NDArray[np.int64]) -> list[Events]:
    """Read several recordings, at once where the data set can.

    Parameters
    ----------
    dataset : SpikeDataset
        Where they are. If it has a method ``events_of(rows)``, that is called.
    rows : sequence of int
        Their numbers.

    Returns
    -------
    list of (times, units)
        The recordings.
    """
    several = getattr(dataset, "events_of", None)
    if several is None:
        return [dataset.events(int(row)) for row in rows]
    found: list[Events] = several([int(row) for row in rows])
    return found


def ends_of(dataset: SpikeDataset, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the time of the last event of recordings.

    Parameters
    ----------
    dataset : SpikeDataset
        Where they are. Its attribute ``durations`` is used if it has one; else they are read.
    rows : int64 array of shape (n,)
        Their numbers.

    Returns
    -------
    float64 array of shape (n,), in s
        The times; 0 for a recording without events.
    """
    known = getattr(dataset, "durations", None)
    if known is not None:
        return np.asarray(known, np.float64)[rows]
    return np.array([dataset.events(int(row))[0].max(initial=0.0) for row in rows])
