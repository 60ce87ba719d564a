"""A peer: another library in an environment and a process of its own, driven over a pipe.

Each side runs when it is told to, so that one run of a benchmark can interleave them.
"""

import json
import os
import select
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

WORKERS = Path(__file__).parent / "workers"
# What would change the computation is taken out of the environment.
LEFT_OUT = ("XLA_FLAGS", "PYTHONPATH", "OMP_NUM_THREADS", "OMP_WAIT_POLICY")
# OpenMP's threads wait for each other by spinning, for so long by default that anything else that runs makes
# torch many times slower; with this it is as fast as by default on a quiet machine, and bears some load.
SPINS = {"GOMP_SPINCOUNT": "10000"}


class PeerError(RuntimeError):
    """A peer is not installed, refused the problem, took too long or ended."""


@dataclass(frozen=True)
class Program:
    """How to start a peer, and how far its net is the one of `nets.Net`.

    Attributes
    ----------
    name : str
        Name in tables.
    variable : str
        Environment variable with the path of the interpreter that has the peer installed.
    worker : str
        Script in `workers`.
    mode : str
        What the script is to do, where it has several modes.
    kinds : tuple of str
        Kinds of units the peer has.
    same_spikes : tuple of str
        Kinds of units for which the hidden spikes and the loss are those of `nets.Net`.
    gradient : str
        The method here whose gradients, for those kinds, are the peer's; empty if there is none.
    differences : str
        What makes net or gradient another.
    """

    name: str
    variable: str
    worker: str
    mode: str = ""
    kinds: tuple[str, ...] = ("LIF",)
    same_spikes: tuple[str, ...] = ()
    gradient: str = ""
    differences: str = ""

    def missing(self) -> str:
        """Return why the peer cannot be started; an empty string if it can."""
        path = os.environ.get(self.variable, "")
        if not path:
            return f"not installed: {self.variable} is not set"
        return "" if os.access(path, os.X_OK) else f"not installed: {self.variable}={path} is no program"

    def start(self, limit_s: float = 300.0) -> "Peer":
        """Start the worker; no answer may take it longer than `limit_s`."""
        if reason := self.missing():
            raise PeerError(f"{self.name}: {reason}. Follow benchmarks/peers/README.md.")
        return Peer(self, limit_s)


class Peer:
    """A worker that runs: prepare it once, then time it on demand."""

    def __init__(self, program: Program, limit_s: float) -> None:
        self.program, self.limit_s = program, limit_s
        self.folder = tempfile.TemporaryDirectory()
        self.messages = Path(self.folder.name) / "messages"
        env = {name: value for name, value in os.environ.items() if name not in LEFT_OUT} | SPINS
        command = [os.environ[program.variable], str(WORKERS / program.worker), program.mode]
        with self.messages.open("w") as messages:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=messages,
                text=True,
                env=env,
            )
        try:
            self.versions = self._answer()
        except PeerError:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _answer(self) -> dict[str, Any]:
        pipe = self.process.stdout
        if pipe is None or not select.select([pipe], [], [], self.limit_s)[0]:
            self.process.kill()
            raise PeerError(f"{self.program.name}: an answer must come within {self.limit_s:g} s, got none.")
        if not (line := pipe.readline()):
            raise PeerError(f"{self.program.name}: the worker ended, {self._last_words()}")
        answer = dict(json.loads(line))
        if "error" in answer:
            raise PeerError(f"{self.program.name}: {answer['error']}")
        return answer

    def _last_words(self) -> str:
        status = self.process.wait(timeout=60)
        lines = self.messages.read_text().strip().splitlines()
        return f"status {status}: {lines[-1] if lines else 'without a message'}"

    def _ask(self, do: str, **arguments: str) -> dict[str, Any]:
        if self.process.stdin is None:
            raise PeerError(f"{self.program.name}: the worker must have an input.")
        try:
            print(json.dumps({"do": do} | arguments), file=self.process.stdin, flush=True)
        except BrokenPipeError:
            raise PeerError(f"{self.program.name}: the worker ended, {self._last_words()}") from None
        return self._answer()

    def prepare(self, kind: str, weights: Path, raster: Path, labels: Path) -> dict[str, float]:
        """Load a problem (see the README for the files) and run it once, which compiles it.

        Returns
        -------
        dict of float
            ``activity``, the share of steps in which a hidden unit spikes; ``loss``; ``first_s``, the seconds
            of the first run; ``peak_mib``, the peak memory after it.
        """
        return self._ask("prepare", kind=kind, weights=str(weights), raster=str(raster), labels=str(labels))

    def run(self) -> float:
        """Run the batch and return its seconds, measured inside the worker."""
        return float(self._ask("run")["wall_s"])

    def gradients(self) -> dict[str, np.ndarray]:
        """Return what the last run gave, by the weight's name, (pre, post)."""
        path = Path(self.folder.name) / "gradients.npz"
        self._ask("gradients", path=str(path))
        with np.load(path) as stored:
            return dict(stored)

    def peak_mib(self) -> float:
        """Return the most memory the worker ever held, in MiB."""
        return float(self._ask("peak")["peak_mib"])

    def close(self) -> None:
        """End the process; without this it ends when its input does."""
        if self.process.stdin:
            self.process.stdin.close()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()
        self.folder.cleanup()
