"""Run both paths where their estimates are too close to tell which is faster: part of ``path='auto'``.

An estimate is off by some ten per cent, and by more for nets that are unlike those it was fitted to. Where
two are within a factor of `CLOSE` of each other, the first sequence of its kind runs both ways, and the
faster way is kept with the machine's costs, so that a machine tries each kind of sequence once.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

from snntrace.crossover import Given
from snntrace.executors.engine import Engine

CLOSE = 2.0
"""Ratio of two estimates up to which the faster path is found by running both."""
ROUNDS, RUNS = 4, 3
STEP = 1.25
"""Ratio of two activities that are tried apart."""


def is_close(event: float, dense: float) -> bool:
    """Tell whether two estimates are too close to choose by.

    Parameters
    ----------
    event, dense : float, in s
        The estimates.

    Returns
    -------
    bool
        Whether their ratio is below `CLOSE`.

    Examples
    --------
    >>> is_close(0.9, 1.1), is_close(0.1, 1.1)
    (True, False)
    """
    return max(event, dense) < CLOSE * min(event, dense)


def signature(engine: Engine, steps: int, batch: int, given: Sequence[Given]) -> str:
    """Name a kind of sequence: all that its time depends on, with activities rounded.

    Parameters
    ----------
    engine : Engine
        The graph under a rule.
    steps, batch : int
        Steps, and samples side by side.
    given : sequence of Given
        The inputs.

    Returns
    -------
    str
        The name.
    """
    graph = engine.graph
    groups = "+".join(f"{g.width}x{g.n_states}" for g in graph.groups)
    products = "+".join("x".join(map(str, r.sizes[1:])) for r in graph.relations.dense)
    inputs = "+".join(f"{'lists' if g.listed else 'array'}@{_rounded(g.rate)}" for g in given)
    return f"{engine.rule.name} {groups} {products} T{steps} B{batch} {inputs}"


def _rounded(rate: float | None) -> str:
    if rate is None or rate <= 0.0:
        return "none" if rate is None else "0"
    return f"{STEP ** round(math.log(rate, STEP)):.2g}"


def faster(runs: Mapping[str, Callable[[], Any]]) -> str:
    """Run some functions in turn, the first time to compile them, and return the name of the fastest.

    Parameters
    ----------
    runs : mapping of str to callable
        The functions, which return arrays.

    Returns
    -------
    str
        The name of the one whose shortest run is shortest.
    """
    times = {name: math.inf for name in runs}
    for run in runs.values():
        _finish(run())
    for _ in range(ROUNDS):
        for name, run in runs.items():
            # Several in a row, as in training: right after the other path, its threads are still in the way.
            for _ in range(RUNS):
                start = time.perf_counter()
                _finish(run())
                times[name] = min(times[name], time.perf_counter() - start)
    return min(times, key=times.__getitem__)


def _finish(value: Any) -> None:
    jax.block_until_ready(value)  # type: ignore[no-untyped-call]
