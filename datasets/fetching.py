"""Make batches on other threads, a bounded number of them ahead."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

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


def fetched(
    plans: Iterable[Plan], make: Callable[[Plan], Made], *, ahead: int, workers: int, waiting: Waiting
) -> Iterator[Made]:
    """Make one thing of each plan, in the order of the plans.

    Parameters
    ----------
    plans : iterable
        What is to be made.
    make : callable
        Makes it; called on other threads if `ahead` is not 0.
    ahead : int
        How many are made, or being made, before they are asked for. 0: each when it is asked for.
    workers : int
        Threads.
    waiting : Waiting
        Told how long the one who asks waits.

    Yields
    ------
    object
        What was made. An error of `make` is raised where its result would have come.
    """
    left: float | None = None
    for made in _prefetched(plans, make, ahead, workers) if ahead else _one_by_one(plans, make):
        start = time.perf_counter()
        if left is not None:
            waiting.busy += start - left
        result = made()
        left = time.perf_counter()
        waiting.idle += left - start
        yield result


def _one_by_one(plans: Iterable[Plan], make: Callable[[Plan], Made]) -> Iterator[Callable[[], Made]]:
    for plan in plans:
        yield lambda plan=plan: make(plan)  # type: ignore[misc]


def _prefetched(
    plans: Iterable[Plan], make: Callable[[Plan], Made], ahead: int, workers: int
) -> Iterator[Callable[[], Made]]:
    pool = ThreadPoolExecutor(workers, thread_name_prefix="snntrace-batches")
    queue: deque[Future[Made]] = deque()
    try:
        for plan in plans:
            queue.append(pool.submit(make, plan))
            if len(queue) > ahead:
                yield queue.popleft().result
        while queue:
            yield queue.popleft().result
    finally:
        # Also when the iteration is broken off: what is not begun yet is not made any more.
        pool.shutdown(wait=True, cancel_futures=True)
