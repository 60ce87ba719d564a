r"""How long each path takes on this machine: the model behind ``path='auto'``.

For a sequence of T steps and B samples, layers of n units and products of p presynaptic and q postsynaptic
units whose operands are active with rate a,

.. math::
    t_{event} &= c_0 + c_1 \frac{T B \sum n}{h} + (c_2 + c_3 m) \frac{T B \sum a p q}{h} + c_4 \sum p q, \\
    t_{dense} &= d_0 + d_1 T + d_2 T B \sum n + d_3 T B \sum p q,

with h the threads that share a batch, and m from 0 to 1 as the matrices outgrow the caches. Who does not find
the input in the form that it takes pays for making it. ``snntrace bench --calibrate`` measures the constants;
without, those of a machine with two cores hold.
"""

from __future__ import annotations

import json
import math
import os
import platform
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax

from snntrace.compiler.operands import operand_of
from snntrace.compiler.relations import Dense
from snntrace.datasets.unpack import cache_folder
from snntrace.events.native import n_threads
from snntrace.executors.engine import Engine

FILE = "crossover.json"
VERSION = 1
GRADED = 1.0
"""Rate of an operand that is seldom zero."""
CACHED = 1 << 22
"""Weights that no cache next to a core holds."""


class Work(NamedTuple):
    """What a sequence asks for.

    Attributes
    ----------
    steps : float
        Steps T.
    threads : float
        Threads that share the batch on the event path.
    units : float
        Updates of units, ``T B sum(n)``.
    products : float
        Products of dense matrices, ``T B sum(p q)``.
    operations : float
        Synaptic operations: weights that events touch, ``T B sum(a p q)``.
    weights : float
        Weights, ``sum(p q)``.
    listed : float
        Elements of inputs that are arrays, and must be listed for the event path.
    written : float
        Elements of inputs that are lists, and must be written out for the dense path.
    """

    steps: float
    threads: float
    units: float
    products: float
    operations: float
    weights: float
    listed: float
    written: float

    @property
    def event(self) -> tuple[float, ...]:
        """What the event path's time is a sum of."""
        operations = self.operations / self.threads
        outgrown = min(1.0, self.weights / CACHED)
        active = self.operations / max(self.products, 1.0)
        listing = (self.listed, active * self.listed)
        return (1.0, self.units / self.threads, operations, outgrown * operations, self.weights, *listing)

    @property
    def dense(self) -> tuple[float, ...]:
        """What the dense path's time is a sum of."""
        return (1.0, self.steps, self.units, self.products, self.written)


@dataclass(frozen=True)
class Costs:
    """Seconds for each kind of work.

    Attributes
    ----------
    event, dense : tuple of float, in s
        For each entry of `Work.event` and of `Work.dense`.
    source : str
        Where they come from, for reports.
    """

    event: tuple[float, ...]
    dense: tuple[float, ...]
    source: str

    def seconds(self, work: Work) -> tuple[float, float]:
        """Estimate the time of a sequence's loss and gradients.

        Parameters
        ----------
        work : Work
            Its sizes.

        Returns
        -------
        tuple of float, in s
            By events, and dense.
        """
        event = sum(c * x for c, x in zip(self.event, work.event, strict=True))
        dense = sum(c * x for c, x in zip(self.dense, work.dense, strict=True))
        return event, dense


DEFAULT = Costs(
    event=(3.1e-4, 4.7e-9, 9.3e-11, 9.5e-11, 9.9e-11, 8e-10, 9.7e-9),
    dense=(1.0e-3, 7.3e-7, 2.7e-9, 2.3e-11, 1.9e-9),
    source="not measured on this machine: run `snntrace bench --calibrate`",
)
"""Costs of a machine with two cores."""


class Given(NamedTuple):
    """An argument of a step.

    Attributes
    ----------
    rate : float or None
        The share of its elements that are not zero, at most; None if it is not known.
    listed : bool
        Whether it comes as `Spikes`.
    """

    rate: float | None
    listed: bool


def work_of(engine: Engine, steps: int, batch: int, given: Sequence[Given]) -> Work:
    """Size up a sequence.

    Units inside are taken to be as active as the inputs on average.

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
    Work
        The sizes.
    """
    graph = engine.graph
    rates = rates_of(engine, given)
    arguments = graph.step.arguments
    n_rows = steps * batch
    elements = [float(steps * math.prod(v.shape)) for v in arguments]
    pairs = {r: float(r.sizes[1] * r.sizes[2]) for r in graph.relations.dense}
    return Work(
        steps=float(steps),
        threads=float(max(min(n_threads(), batch), 1)),
        units=float(n_rows * sum(g.width for g in graph.groups)),
        products=n_rows * sum(pairs.values()),
        operations=n_rows * sum(rates[r] * pair for r, pair in pairs.items()),
        weights=sum(pairs.values()),
        listed=sum(n for n, g in zip(elements, given, strict=True) if g.rate is not None and not g.listed),
        written=sum(n for n, g in zip(elements, given, strict=True) if g.listed),
    )


def sizes(steps: int, batch: int, n_in: int, n: int, n_out: int, rate: float) -> Work:
    """Size up a recurrent layer with a read-out whose input comes as `Spikes`.

    Parameters
    ----------
    steps, batch, n_in, n, n_out : int
        Steps, samples side by side, and units.
    rate : float
        The share of inputs that are active.

    Returns
    -------
    Work
        The sizes.
    """
    weights = float(n_in * n + n * n + n * n_out)
    n_rows = float(steps * batch)
    return Work(
        steps=float(steps),
        threads=float(max(min(n_threads(), batch), 1)),
        units=n_rows * n,
        products=n_rows * weights,
        operations=n_rows * rate * weights,
        weights=weights,
        listed=0.0,
        written=n_rows * n_in,
    )


def rates_of(engine: Engine, given: Sequence[Given]) -> dict[Dense, float]:
    """Estimate how active the operand of each product is.

    Parameters
    ----------
    engine : Engine
        The graph under a rule.
    given : sequence of Given
        The inputs.

    Returns
    -------
    dict of Dense to float
        The rates.
    """
    known = [g.rate for g in given if g.rate is not None]
    inside = sum(known) / len(known) if known else GRADED
    rates = {}
    for relation in engine.graph.relations.dense:
        operand = operand_of(engine.graph, relation)
        if operand.argument is not None:
            rate = given[operand.argument].rate
            rates[relation] = GRADED if rate is None else rate
        else:
            rates[relation] = inside if operand.kind == "spikes" else GRADED
    return rates


def choose(
    engine: Engine, steps: int, batch: int, given: Sequence[Given], staged: bool, costs: Costs | None = None
) -> dict[Dense, str]:
    """Choose dense or event products, for what the user leaves open.

    Where whole layers can run in kernels, the two estimates are compared. Elsewhere each product goes by
    events if its own part of them is less.

    Parameters
    ----------
    engine : Engine
        The graph under a rule.
    steps, batch : int
        Steps, and samples side by side.
    given : sequence of Given
        The inputs.
    staged : bool
        Whether whole layers can run in kernels.
    costs : Costs, optional
        This machine's; those that were measured last, by default.

    Returns
    -------
    dict of Dense to str
        ``'dense'`` or ``'event'`` for every product of the step.
    """
    relations = engine.graph.relations.dense
    if all(g.rate is None for g in given):
        return dict.fromkeys(relations, "dense")
    costs = costs or known_costs()
    if staged:
        event, dense = costs.seconds(work_of(engine, steps, batch, given))
        return dict.fromkeys(relations, "event" if event <= dense else "dense")
    rates, threads = rates_of(engine, given), max(min(n_threads(), batch), 1)
    ways = {}
    for relation in relations:
        operand = operand_of(engine.graph, relation)
        listed = operand.argument is not None and given[operand.argument].listed
        inside = operand.kind == "spikes" and any(g.listed for g in given)
        cheap = sum(costs.event[2:4]) * rates[relation] / threads <= costs.dense[3]
        ways[relation] = "event" if cheap and (listed or inside) else "dense"
    return ways


def highest_rate(engine: Engine, steps: int, batch: int, listed: bool, costs: Costs | None = None) -> float:
    """Return the rate of inputs up to which the event path is estimated to be faster.

    Parameters
    ----------
    engine : Engine
        The graph under a rule, whose layers can run in kernels.
    steps, batch : int
        Steps, and samples side by side.
    listed : bool
        Whether inputs come as `Spikes`, not as arrays.
    costs : Costs, optional
        This machine's.

    Returns
    -------
    float
        Between 0 (never) and 1 (always).
    """
    costs = costs or known_costs()
    arguments = engine.graph.step.arguments

    def gain(rate: float) -> float:
        given = [Given(rate, listed) if len(v.shape) == 2 else Given(None, False) for v in arguments]
        event, dense = costs.seconds(work_of(engine, steps, batch, given))
        return dense - event

    # Both estimates are linear in the rate.
    low, high = gain(0.0), gain(1.0)
    if low <= 0:
        return 0.0
    return 1.0 if high >= 0 else low / (low - high)


# The file --------------------------------------------------------------------------------------


def machine() -> dict[str, Any]:
    """Describe what the costs depend on.

    Returns
    -------
    dict
        The processor, threads and releases.
    """
    return {
        "version": VERSION,
        "processor": _processor(),
        "threads": n_threads(),
        "jax": jax.__version__,
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def costs_file() -> Path:
    """Return where costs are kept: ``$SNNTRACE_COSTS``, else a file of the cache folder.

    Returns
    -------
    Path
        The file; it need not exist.
    """
    chosen = os.environ.get("SNNTRACE_COSTS")
    return Path(chosen).expanduser() if chosen else cache_folder() / FILE


def store(costs: Costs) -> Path:
    """Keep costs for this machine.

    Parameters
    ----------
    costs : Costs
        What was measured.

    Returns
    -------
    Path
        The file.
    """
    path = costs_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    with os.fdopen(handle, "w") as file:
        json.dump({"machine": machine(), "costs": asdict(costs)}, file, indent=1)
    Path(name).replace(path)
    _read.clear()
    return path


_read: dict[tuple[Path, int], Costs] = {}


def known_costs() -> Costs:
    """Return the costs that were measured last on this machine, or assumed ones.

    Returns
    -------
    Costs
        The costs.
    """
    path = costs_file()
    try:
        key = (path, path.stat().st_mtime_ns)
        if key not in _read:
            _read[key] = _parse(json.loads(path.read_text()))
        return _read[key]
    except (OSError, ValueError, KeyError, TypeError):
        # Whatever is not readable as ours is as good as none: it can be measured again at any time.
        return DEFAULT


def _parse(stored: Mapping[str, Any]) -> Costs:
    if stored["machine"] != machine():
        return DEFAULT
    event, dense = (tuple(map(float, stored["costs"][name])) for name in ("event", "dense"))
    if len(event) != len(DEFAULT.event) or len(dense) != len(DEFAULT.dense):
        return DEFAULT
    return Costs(event, dense, str(stored["costs"]["source"]))
