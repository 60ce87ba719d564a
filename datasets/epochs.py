"""Epochs: things made of recordings in an order that one seed fixes, made ahead, and gone on with later."""

from __future__ import annotations

import operator
import os
import zlib
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from snntrace.datasets.fetching import Line, Waiting, clocked
from snntrace.datasets.order import Order, Plan

Item = TypeVar("Item")
SAME = ("seed", "shuffle", "batch_size", "shard", "indices")


class Epochs(Generic[Item]):
    """An iterable over epochs, each in an order of its own.

    Each time it is iterated over, the next epoch's order is used; `epoch` gives any epoch by its number. With
    `prefetch`, the first batches of the next epoch are made while the last ones of an epoch are used.

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
        self.waiting = Waiting()
        self._who = who
        self._order = order
        self._make = make
        self._prefetch = prefetch
        self._workers = workers
        self.next_epoch = 0
        self._begun: tuple[int, Line[tuple[int, Plan], Item]] | None = None

    @property
    def next_epoch(self) -> int:
        """Number of the epoch that the next iteration gives, from its first batch on if it is set."""
        return self._next

    @next_epoch.setter
    def next_epoch(self, number: int) -> None:
        self._next, self._first = operator.index(number), 0
        self._given = self._next, 0

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without what was made ahead.

        Returns
        -------
        dict
            The state.
        """
        return self.__dict__ | {"_begun": None}

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
        number, first = self._next, self._first
        self._next, self._first = number + 1, 0
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
        line = self._line((number, plan) for plan in self._order.plans(number)[first:])
        try:
            yield from clocked(line.take, len(self) - first, self.waiting)
        finally:
            line.close()

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
            "seed": int(order.seed),
            "shuffle": bool(order.shuffle),
            "batch_size": int(order.batch_size),
            "shard": [int(number) for number in order.shard],
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
        self._next, self._first = self._given = (epoch, batch)

    def _counting(self, number: int, first: int) -> Iterator[Item]:
        line = self._going_on(number, first)
        try:
            for done, batch in enumerate(clocked(line.take, len(self) - first, self.waiting), first + 1):
                self._given = (number, done)
                yield batch
        except BaseException:
            # Also when the iteration is broken off.
            line.close()
            raise
        # The first batches of the next epoch are being made.
        if self._begun is not None:
            self._begun[1].close()
        self._begun = number + 1, line

    def _going_on(self, number: int, first: int) -> Line[tuple[int, Plan], Item]:
        """Return what is making an epoch's batches since the epoch before, or begin with it."""
        begun, self._begun = self._begun, None
        if begun is not None:
            if begun[0] == number and first == 0 and begun[1].process == os.getpid():
                return begun[1]
            begun[1].close()
        return self._line(
            (epoch, plan)
            for epoch in count(number)
            for plan in self._order.plans(epoch)[first if epoch == number else 0 :]
        )

    def _line(self, plans: Iterator[tuple[int, Plan]]) -> Line[tuple[int, Plan], Item]:
        return Line(plans, self._of, ahead=self._prefetch, workers=self._workers)

    def _of(self, plan: tuple[int, Plan]) -> Item:
        return self._make(*plan)
