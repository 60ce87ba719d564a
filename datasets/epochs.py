"""Epochs: things made of recordings in an order that one seed fixes, made ahead, and gone on with later."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from snntrace.datasets.fetching import Waiting, fetched
from snntrace.datasets.order import Order, Plan

Item = TypeVar("Item")
SAME = ("seed", "shuffle", "batch_size", "shard", "indices")


class Epochs(Generic[Item]):
    """An iterable over epochs, each in an order of its own.

    Each time it is iterated over, the next epoch's order is used; `epoch` gives any epoch by its number.

    Parameters
    ----------
    who : str
        Name of the class, for the messages.
    order : Order
        Fixes what is in an epoch, and in which order.
    make : callable
        Makes one thing from the number of the epoch and a `Plan`.
    prefetch : int
        How many are made ahead, on other threads.
    workers : int
        Threads.

    Attributes
    ----------
    next_epoch : int
        Number of the epoch that the next iteration gives; set it to resume.
    waiting : Waiting
        How long batches were waited for: ``waiting.idle``, ``waiting.busy`` (in s) and ``waiting.share``.
    """

    def __init__(
        self, who: str, order: Order, make: Callable[[int, Plan], Item], *, prefetch: int, workers: int
    ) -> None:
        self.next_epoch = 0
        self.waiting = Waiting()
        self._who = who
        self._order = order
        self._make = make
        self._prefetch = prefetch
        self._workers = workers
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

    def __iter__(self) -> Iterator[Item]:
        """Iterate over the next epoch, or over the rest of one after `restore`.

        Returns
        -------
        iterator
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

    def epoch(self, number: int, first: int = 0) -> Iterator[Item]:
        """Iterate over one epoch.

        Parameters
        ----------
        number : int
            Number of the epoch, from 0. It and the seed fix the order.
        first : int, default 0
            Leave out the batches before this one.

        Yields
        ------
        object
            The next batch.
        """
        plans = self._order.plans(number)[first:]
        make = partial(self._make, number)
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
                    f"{self._who}.restore: state must be of a loader with the same {name}, got "
                    f"{name}={state.get(name)} for {mine[name]}. Make the loader as the first one was made."
                )
        epoch, batch = state.get("epoch"), state.get("batch")
        if not (isinstance(epoch, int) and isinstance(batch, int) and epoch >= 0 and 0 <= batch < len(self)):
            raise ValueError(
                f"{self._who}.restore: state must name an epoch and one of {len(self)} batches, got "
                f"epoch={epoch} and batch={batch}. Give what state() returned."
            )
        self.next_epoch, self._first = epoch, batch
        self._given = (epoch, batch)

    def _counting(self, number: int, first: int) -> Iterator[Item]:
        for done, batch in enumerate(self.epoch(number, first), first + 1):
            self._given = (number, done)
            yield batch
