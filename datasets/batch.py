"""Batches of binned recordings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snntrace.datasets.counting import Placed, counted, listed
from snntrace.datasets.epochs import Epochs
from snntrace.datasets.order import Order, Plan
from snntrace.datasets.reading import NO_LABEL, Reader
from snntrace.datasets.room import Room


@dataclass(frozen=True)
class Batch:
    """Some recordings, binned.

    Attributes
    ----------
    x : array of shape (time, batch, channel), or Spikes of that shape
        Events in each bin; float32 unless the loader was asked for another type.
    labels : int32 array of shape (batch,)
        Class of each recording; -1 for a row that only fills the batch.
    lengths : int64 array of shape (batch,)
        Steps up to and including the last event; 0 for a row that only fills the batch.
    mask : bool array of shape (time, batch)
        True for the steps before `lengths`.
    indices : int64 array of shape (batch,)
        Number of each recording in the data set; -1 for a row that only fills the batch.
    partners : int32 array of shape (batch,), or None
        Of a loader that mixes recordings, the class of the one that each was mixed with; -1 for a row that
        only fills the batch.
    weights : float32 array of shape (batch,), or None
        Of a loader that mixes recordings, the weight of `labels` in the loss; that of `partners` is one less
        it. 1 for a row that only fills the batch.
    """

    x: Any
    labels: NDArray[np.int32]
    lengths: NDArray[np.int64]
    mask: NDArray[np.bool_]
    indices: NDArray[np.int64]
    partners: NDArray[np.int32] | None = None
    weights: NDArray[np.float32] | None = None


class Batches(Epochs[Batch]):
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
        order: Order,
        reader: Reader,
        *,
        binary: bool,
        layout: str,
        dtype: np.dtype[Any],
        prefetch: int,
        workers: int,
    ) -> None:
        super().__init__("Batches", order, self._batch, prefetch=prefetch, workers=workers)
        self.n_steps = reader.n_steps
        self.n_channels = reader.n_units // reader.pool
        self._reader = reader
        self._binary = binary
        self._layout = layout
        self._dtype = dtype
        # Of what is made ahead, what is in use, and what the user has not let go yet.
        self._room = Room(prefetch + workers + 1)

    def _batch(self, epoch: int, plan: Plan) -> Batch:
        rows = plan.rows
        read = self._reader.read(rows, epoch)
        labels = self._reader.dataset.labels[rows].astype(np.int32)
        missing = self._order.batch_size - len(rows) if self._order.pad_last else 0
        events = read.placed.padded(missing)
        lengths = np.minimum(events.lengths(), plan.n_steps)
        lengths[len(rows) :] = 0
        x, mask = self._binned(events, plan.n_steps), np.arange(plan.n_steps)[:, None] < lengths
        return Batch(
            x, filled(labels, missing), lengths, mask, filled(rows, missing),
            None if read.partners is None else filled(read.partners, missing),
            None if read.weights is None else filled(read.weights, missing, 1),
        )  # fmt: skip

    def _binned(self, events: Placed, n_steps: int) -> Any:
        if self._layout == "dense":
            return counted(
                events, n_steps, self.n_channels, binary=self._binary, dtype=self._dtype, room=self._room
            )
        return listed(events, n_steps, self.n_channels, self._binary)


def filled(column: NDArray[Any], missing: int, value: int = NO_LABEL) -> NDArray[Any]:
    """Return a column with entries for rows that only fill the batch.

    Parameters
    ----------
    column : array of shape (n,)
        Entries of the recordings.
    missing : int
        Number of rows without a recording.
    value : int, default -1
        Their entry.

    Returns
    -------
    array of shape (n + missing,)
        All entries, of the same type.
    """
    return np.append(column, np.full(missing, value, column.dtype)) if missing else column
