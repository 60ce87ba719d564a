"""What work costs on this machine: kinds of work, seconds for each, and the file that keeps them."""

from __future__ import annotations

import json
import os
import platform
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax

from snntrace.datasets.unpack import cache_folder
from snntrace.events.native import n_threads

FILE = "crossover.json"
VERSION = 2
SATURATED = 1 / 3
"""Rate above which spiking units seldom get, however active their inputs are."""
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
    visits : float
        Rows of weights that events visit, ``T B sum(a p)``.
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
    visits: float
    operations: float
    weights: float
    listed: float
    written: float

    @property
    def event(self) -> tuple[float, ...]:
        """What the event path's time is a sum of."""
        shared = (self.units, self.visits, self.operations, self._outgrown * self.operations)
        active = self.operations / max(self.products, 1.0)
        return (
            1.0, *(x / self.threads for x in shared), self.weights, self.listed, active * self.listed
        )  # fmt: skip

    @property
    def _outgrown(self) -> float:
        """How far the weights outgrow the caches, 0 to 1."""
        return min(1.0, self.weights / CACHED)

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
    event=(3.0e-4, 6.0e-9, 7.0e-9, 7.0e-11, 2.0e-10, 5.0e-10, 8.0e-10, 7.0e-9),
    dense=(1.0e-3, 7.3e-7, 2.7e-9, 2.3e-11, 1.9e-9),
    source="not measured on this machine: run `snntrace bench --calibrate`",
)
"""Costs of a machine with two cores."""


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
    inside = min(rate, SATURATED)
    weights = float(n_in * n + n * n + n * n_out)
    n_rows = float(steps * batch)
    return Work(
        steps=float(steps),
        threads=float(max(min(n_threads(), batch), 1)),
        units=n_rows * n,
        products=n_rows * weights,
        visits=n_rows * (rate * n_in + inside * n * (1 + (n_out > 0))),
        operations=n_rows * (rate * n_in * n + inside * n * (n + n_out)),
        weights=weights,
        listed=0.0,
        written=n_rows * n_in,
    )


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


class Known(NamedTuple):
    """What was measured on this machine.

    Attributes
    ----------
    costs : Costs
        Costs, or assumed ones.
    trials : mapping of str to {'event', 'dense'}
        The faster path for kinds of sequences that were tried (see `snntrace.trials`).
    """

    costs: Costs
    trials: Mapping[str, str]


def store(costs: Costs, trials: Mapping[str, str] | None = None) -> Path:
    """Keep costs for this machine.

    Parameters
    ----------
    costs : Costs
        What was measured.
    trials : mapping of str to {'event', 'dense'}, optional
        What was tried with these costs.

    Returns
    -------
    Path
        The file.
    """
    path = costs_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    with os.fdopen(handle, "w") as file:
        json.dump(
            {"machine": machine(), "costs": asdict(costs), "trials": dict(trials or {})}, file, indent=1
        )
    Path(name).replace(path)
    _read.clear()
    return path


def keep_trial(key: str, way: str) -> None:
    """Keep which path a trial found faster, beside the costs that were measured on this machine.

    Parameters
    ----------
    key : str
        The kind of sequence.
    way : {'event', 'dense'}
        The faster path.
    """
    known = known_measurements()
    store(known.costs, {**known.trials, key: way})


_read: dict[tuple[Path, int], Known] = {}
ASSUMED = Known(DEFAULT, {})


def known_costs() -> Costs:
    """Return the costs that were measured last on this machine, or assumed ones.

    Returns
    -------
    Costs
        The costs.
    """
    return known_measurements().costs


def known_measurements() -> Known:
    """Return what was measured on this machine, or `ASSUMED`.

    Returns
    -------
    Known
        Costs and trials.
    """
    path = costs_file()
    try:
        key = (path, path.stat().st_mtime_ns)
        if key not in _read:
            _read[key] = _parse(json.loads(path.read_text()))
        return _read[key]
    except (OSError, ValueError, KeyError, TypeError):
        # Whatever is not readable as ours is as good as none: it can be measured again at any time.
        return ASSUMED


def _parse(stored: Mapping[str, Any]) -> Known:
    if stored["machine"] != machine():
        return ASSUMED
    event, dense = (tuple(map(float, stored["costs"][name])) for name in ("event", "dense"))
    if len(event) != len(DEFAULT.event) or len(dense) != len(DEFAULT.dense):
        return ASSUMED
    trials = {str(key): str(way) for key, way in stored["trials"].items() if way in ("event", "dense")}
    return Known(Costs(event, dense, str(stored["costs"]["source"])), trials)
