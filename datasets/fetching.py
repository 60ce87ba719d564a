"""Make batches on other threads, a bounded number of them ahead."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

Plan = TypeVar("Plan")
Made = TypeVar("Made")


@dataclass
class Waiting:
    """How long batches were waited for.

    Attributes
    ----------
    idle : float, in s
        Time in which whoever asked for a batch waited for it.
    busy : float, in s
        Time in which whoever asked for batches did something else with them.
    """

    idle: float = 0.0
    busy: float = 0.0

    @property
    def share(self) -> float:
        """Part of the time that was spent waiting, 0 to 1."""
        return self.idle / max(self.idle + self.busy, 1e-12)


class Line(Generic[Plan, Made]):
    """Things that are made in the order of their plans, some of them ahead.

    Parameters
    ----------
    plans : iterator
        What is to be made; it may be endless.
    make : callable
        Makes it; called on other threads if `ahead` is not 0.
    ahead : int
        How many are made, or being made, before they are asked for. 0: each when it is asked for.
    workers : int
        Threads.

    Attributes
    ----------
    process : int
        The process that the threads are of: there are none after a fork.
    """

    def __init__(
        self, plans: Iterator[Plan], make: Callable[[Plan], Made], *, ahead: int, workers: int
    ) -> None:
        self.process = os.getpid()
        self._plans = plans
        self._make = make
        self._ahead = ahead
        self._pool = ThreadPoolExecutor(workers, "snntrace-batches") if ahead else None
        self._queue: deque[Future[Made]] = deque()

    def take(self) -> Made:
        """Return the next thing.

        Returns
        -------
        object
            What was made. An error of `make` is raised in its place.
        """
        if self._pool is None:
            return self._make(next(self._plans))
        while len(self._queue) <= self._ahead:
            try:
                self._queue.append(self._pool.submit(self._make, next(self._plans)))
            except StopIteration:
                break
        return self._queue.popleft().result()

    def close(self) -> None:
        """End the threads; what is not begun yet is not made any more."""
        if self._pool is not None and self.process == os.getpid():
            self._pool.shutdown(wait=True, cancel_futures=True)


def clocked(take: Callable[[], Made], number: int, waiting: Waiting) -> Iterator[Made]:
    """Take things one after the other, and tell how long they were waited for.

    Parameters
    ----------
    take : callable
        Returns the next one.
    number : int
        How many.
    waiting : Waiting
        Told how long the one who asks waits.

    Yields
    ------
    object
        The next one.
    """
    left: float | None = None
    for _ in range(number):
        start = time.perf_counter()
        if left is not None:
            waiting.busy += start - left
        result = take()
        left = time.perf_counter()
        waiting.idle += left - start
        yield result
