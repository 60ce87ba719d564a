"""The order of an epoch: shuffled, in batches, by length, divided among processes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SHUFFLING_BATCHES = 1


@dataclass(frozen=True)
class Plan:
    """What a batch will hold.

    Attributes
    ----------
    rows : int64 array of shape (n,)
        Numbers of the recordings; fewer than the batch's size in the last one.
    n_steps : int
        Steps of the batch.
    """

    rows: NDArray[np.int64]
    n_steps: int


@dataclass(frozen=True)
class Order:
    """What fixes the batches of every epoch.

    Attributes
    ----------
    indices : int64 array of shape (n,)
        The recordings.
    batch_size : int
        Recordings a batch.
    seed : int
        With the number of the epoch, it fixes the order.
    shuffle : bool
        Draw a new order each epoch.
    drop_last, pad_last : bool
        Whether a batch that is not full is left out, or will be filled.
    shard : (int, int)
        Which of how many processes this one is.
    steps : int64 array of shape (k,)
        Steps of the batches of each bucket, ascending.
    bucket : int64 array of shape (n,)
        Bucket of each entry of `indices`.
    """

    indices: NDArray[np.int64]
    batch_size: int
    seed: int
    shuffle: bool
    drop_last: bool
    pad_last: bool
    shard: tuple[int, int]
    steps: NDArray[np.int64]
    bucket: NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of batches of an epoch, of this process.

        Returns
        -------
        int
            The number.
        """
        full, rest = np.divmod(np.bincount(self.bucket, minlength=len(self.steps)), self.batch_size)
        total = int(full.sum() if self.drop_last else full.sum() + (rest > 0).sum())
        mine, of = self.shard
        if self.drop_last:
            return total // of
        return -(-total // of) if self.pad_last else len(range(mine, total, of))

    def rows(self, number: int) -> NDArray[np.int64]:
        """Return all recordings in the order of one epoch.

        Parameters
        ----------
        number : int
            Number of the epoch.

        Returns
        -------
        int64 array
            Numbers of the recordings.
        """
        return self.indices[self._places(number)]

    def plans(self, number: int) -> list[Plan]:
        """Return the batches of one epoch, of this process.

        Parameters
        ----------
        number : int
            Number of the epoch.

        Returns
        -------
        list of Plan
            As many as `len` says.
        """
        places, size = self._places(number), self.batch_size
        plans: list[Plan] = []
        for bucket, steps in enumerate(self.steps):
            rows = self.indices[places[self.bucket[places] == bucket]]
            last = len(rows) - len(rows) % size if self.drop_last else len(rows)
            plans += [Plan(rows[start : start + size], int(steps)) for start in range(0, last, size)]
        if self.shuffle and len(self.steps) > 1:
            rng = np.random.default_rng([self.seed, number, SHUFFLING_BATCHES])
            plans = [plans[i] for i in rng.permutation(len(plans))]
        mine, of = self.shard
        silent = Plan(np.zeros(0, np.int64), int(self.steps[0]))
        return (plans[mine::of] + [silent])[: len(self)]

    def _places(self, number: int) -> NDArray[np.int64]:
        if not self.shuffle:
            return np.arange(len(self.indices))
        return np.random.default_rng([self.seed, number]).permutation(len(self.indices))


def buckets_of(lengths: NDArray[np.int64], number: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Divide recordings into buckets of about equal size by their length.

    Parameters
    ----------
    lengths : int array of shape (n,)
        Steps of each recording, at least 1.
    number : int
        Buckets; there are fewer if lengths repeat.

    Returns
    -------
    steps : int64 array of shape (k,)
        Steps of the longest recording of each bucket, ascending.
    bucket : int64 array of shape (n,)
        Bucket of each recording.

    Examples
    --------
    >>> import numpy as np
    >>> buckets_of(np.array([3, 9, 4, 8]), 2)
    (array([4, 9]), array([0, 1, 0, 1]))
    """
    ends = np.arange(1, number + 1) * len(lengths) // number - 1
    steps = np.unique(np.sort(lengths)[np.maximum(ends, 0)])
    return steps, np.searchsorted(steps, lengths)
