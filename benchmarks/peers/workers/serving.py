"""What every worker shares: the problem, the pipe, the limits. Needs numpy and the standard library only.

A worker is started with its mode as the only argument. It reads commands from standard input and answers each
on standard output, one JSON object a line, beginning with the versions of its packages.
"""

import json
import os
import resource
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, TextIO

import numpy as np

THREADS = 2
MEMORY_GIB = 20
TAU_MEM = 20.0
TAU_ADAPT = 200.0
BETA = 0.2
V_TH = 1.0
SURROGATE_HEIGHT = 0.3
ALPHA = float(np.exp(-1.0 / TAU_MEM))
RHO = float(np.exp(-1.0 / TAU_ADAPT))


@dataclass(frozen=True)
class Problem:
    """A recurrent layer of units of one kind, its input (T, batch, n_in) and its labels (T, batch)."""

    kind: str
    mode: str
    w_in: np.ndarray
    w_rec: np.ndarray
    w_out: np.ndarray
    xs: np.ndarray
    labels: np.ndarray

    @property
    def batch(self) -> int:
        return int(self.labels.shape[1])

    def only(self, *kinds: str) -> None:
        """Refuse the kinds of units that the peer does not have."""
        if self.kind not in kinds:
            raise ValueError(f"the units must be {' or '.join(kinds)}, got kind={self.kind}.")


@dataclass(frozen=True)
class Training:
    """A batch, ready to run.

    Attributes
    ----------
    run : callable
        Returns loss and gradients, in the peer's own types, once they are there.
    activity : callable
        Returns the share of steps in which a hidden unit spikes.
    named : callable
        Makes arrays named as the weights of `Problem`, (pre, post), of the gradients of `run`.
    """

    run: Callable[[], tuple[Any, Any]]
    activity: Callable[[], float]
    named: Callable[[Any], dict[str, np.ndarray]]


Build = Callable[[Problem], Training]


def load(kind: str, mode: str, weights: str, raster: str, labels: str) -> Problem:
    """Read a problem; its events become a dense raster."""
    with np.load(weights) as stored:
        w_in, w_rec, w_out = (stored[name].astype(np.float32) for name in ("w_in", "w_rec", "w_out"))
    steps = np.load(labels).astype(np.int32)
    xs = np.zeros((*steps.shape, w_in.shape[0]), np.float32)
    with np.load(raster) as events:
        xs[events["time"], events["sample"], events["channel"]] = 1.0
    return Problem(kind, mode, w_in, w_rec, w_out, xs, steps)


def peak_mib() -> float:
    """Return the most memory this process ever held, in MiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("the system must tell the peak memory of a process in /proc/self/status.")


class Session:
    """Answers the commands `prepare`, `run`, `gradients` and `peak`."""

    def __init__(self, build: Build, mode: str) -> None:
        self.build, self.mode = build, mode
        self.training: Training | None = None
        self.found: tuple[Any, Any] | None = None

    def ready(self) -> Training:
        if self.training is None:
            raise ValueError("a problem must be prepared first.")
        return self.training

    def timed(self) -> float:
        start = time.perf_counter()
        self.found = self.ready().run()
        return time.perf_counter() - start

    def prepare(self, **files: str) -> dict[str, Any]:
        self.found = self.training = None
        self.training = self.build(load(mode=self.mode, **files))
        first = self.timed()
        loss = float(self.found[0]) if self.found else 0.0
        return {"first_s": first, "loss": loss, "peak_mib": peak_mib(), "activity": self.training.activity()}

    def run(self) -> dict[str, Any]:
        return {"wall_s": self.timed()}

    def gradients(self, path: str) -> dict[str, Any]:
        if self.found is None:
            raise ValueError("a batch must run first.")
        np.savez(path, **self.ready().named(self.found[1]))
        return {}

    def peak(self) -> dict[str, Any]:
        return {"peak_mib": peak_mib()}

    def answer(self, command: dict[str, Any]) -> dict[str, Any]:
        """Carry out a command; say what went wrong rather than end."""
        name = command.pop("do")
        commands = {"prepare": self.prepare, "run": self.run, "gradients": self.gradients, "peak": self.peak}
        try:
            return dict(commands[name](**command))
        except Exception as error:  # whatever a peer raises is its result
            traceback.print_exc()
            return {"error": f"{type(error).__name__}: {error}"}


def private_output() -> TextIO:
    """Return the pipe to the driver; what libraries print goes to standard error from now on."""
    pipe = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return pipe


def limit_resources() -> None:
    """Keep this process to `THREADS` cores and `MEMORY_GIB` of memory."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[:THREADS])
    limit = MEMORY_GIB * 2**30
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def serve(build: Build, packages: tuple[str, ...]) -> None:
    """Answer until standard input ends."""
    pipe = private_output()
    limit_resources()
    session = Session(build, sys.argv[1])
    print(json.dumps({name: version(name) for name in packages}), file=pipe, flush=True)
    for line in sys.stdin:
        print(json.dumps(session.answer(json.loads(line))), file=pipe, flush=True)
