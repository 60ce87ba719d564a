"""Measure what both paths cost on this machine, once: ``snntrace bench --calibrate``."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import brainstate
import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import nnls

import snntrace
from snntrace.costs import Costs, Work
from snntrace.crossover import Given, work_of
from snntrace.events import Spikes
from snntrace.neurons import ALIF, LIF, Recurrent
from snntrace.nn import Linear

Array = Any
RUNS = 5
N_OUT = 10


class Net(NamedTuple):
    """Sizes of a recurrent layer that is measured, and the rates of its input."""

    neuron: Callable[..., Any]
    n_in: int
    n: int
    batch: int
    steps: int
    rates: tuple[float, ...]


NETS = (
    Net(LIF, 700, 256, 64, 100, (0.01, 0.1, 0.3, 0.6)),
    Net(LIF, 700, 256, 8, 100, (0.02, 0.3, 0.6)),
    Net(LIF, 700, 256, 1, 100, (0.02, 0.3, 0.6)),
    Net(LIF, 700, 256, 8, 20, (0.02, 0.5)),
    Net(LIF, 2000, 100, 64, 50, (0.02, 0.2, 0.6)),
    Net(LIF, 100, 1000, 32, 50, (0.02, 0.2, 0.5)),
    Net(LIF, 2000, 1000, 16, 50, (0.02, 0.2, 0.4)),
    Net(ALIF, 200, 64, 8, 100, (0.02, 0.3, 0.7)),
    Net(ALIF, 700, 512, 16, 100, (0.02, 0.3, 0.6)),
)
"""Enough sizes to tell apart what time is spent on."""


class Layer(brainstate.nn.Module):
    """A recurrent layer and its read-out."""

    def __init__(self, net: Net) -> None:
        super().__init__()
        with brainstate.random.seed_context(0):
            self.recurrent = Recurrent(net.n_in, net.neuron(net.n))
            self.readout = Linear(net.n, N_OUT)

    def update(self, x: Array) -> Array:
        """Run one step."""
        return self.readout(self.recurrent(x))


class Measured(NamedTuple):
    """A sequence's sizes, and the seconds it took by events and dense."""

    work: Work
    event: float
    dense: float


def calibrate(progress: Callable[[int, int], None] = lambda done, of: None) -> tuple[Costs, float]:
    """Measure both paths on a few nets, and fit their costs.

    It takes one to two minutes, and is worth most on a machine that does nothing else.

    Parameters
    ----------
    progress : callable
        ``progress(done, of)`` is called after each net.

    Returns
    -------
    costs : Costs
        Seconds for each kind of work.
    error : float
        The median of the relative differences of the fit from what was measured.
    """
    found: list[Measured] = []
    for k, net in enumerate(NETS):
        found += measure(net)
        progress(k + 1, len(NETS))
    costs = Costs(fit(found, "event"), fit(found, "dense"), f"measured here on {time.strftime('%Y-%m-%d')}")
    estimates = np.array([costs.seconds(m.work) for m in found])
    measured = np.array([(m.event, m.dense) for m in found])
    return costs, float(np.median(np.abs(estimates / measured - 1.0)))


def measure(net: Net) -> Iterator[Measured]:
    """Time a net's loss and gradients on both paths, with the input as lists and as an array.

    Parameters
    ----------
    net : Net
        The net.

    Yields
    ------
    Measured
        One for each rate and form.
    """
    x0 = jnp.zeros((net.batch, net.n_in))
    event, dense = (
        snntrace.compile(Layer(net), snntrace.D_RTRL, x0, batch_size=net.batch, path=path)
        for path in ("event", "dense")
    )
    run_event, run_dense = event.value_and_grad(_loss), dense.value_and_grad(_loss)
    rng = np.random.default_rng(0)
    of_array = 0.0
    for rate in net.rates:
        raster = rng.random((net.steps, net.batch, net.n_in)) < rate
        lists: Spikes = jax.tree.map(jnp.asarray, Spikes.from_dense(raster))
        array = jnp.asarray(raster, jnp.float32)
        # How many elements are zero makes no difference to the dense path.
        of_array = of_array or shortest(partial(run_dense, array))
        for x, dense_s in ((lists, shortest(partial(run_dense, lists))), (array, of_array)):
            given = [Given(rate, isinstance(x, Spikes))]
            work = work_of(event.engine, net.steps, net.batch, given)
            yield Measured(work, shortest(partial(run_event, x)), dense_s)


def _loss(outs: Array) -> Array:
    return jnp.mean(outs * outs)


def shortest(run: Callable[[], Any]) -> float:
    """Return the shortest of some runs, in s."""
    _finish(run())
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        _finish(run())
        times.append(time.perf_counter() - start)
    return min(times)


def _finish(value: Any) -> None:
    jax.block_until_ready(value)  # type: ignore[no-untyped-call]


def fit(found: list[Measured], path: str) -> tuple[float, ...]:
    """Fit costs that are not negative to relative times; most closely where both paths take equally long.

    Parameters
    ----------
    found : list of Measured
        Sizes and times.
    path : {'event', 'dense'}
        Whose costs.

    Returns
    -------
    tuple of float, in s
        For each kind of work.
    """
    kinds = np.array([getattr(m.work, path) for m in found])
    seconds = np.array([getattr(m, path) for m in found])
    closeness = np.exp(-np.abs(np.log([m.event / m.dense for m in found])))
    costs, _ = nnls(kinds / seconds[:, None] * closeness[:, None], closeness)
    return tuple(map(float, costs))
