"""braintrace in an environment and a process of its own, because its dependencies pin other releases."""

import json
import os
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
RELEASE = "0.2.6"
NATIVE = "native batch"
STEPWISE = (NATIVE, "vmap")
WINDOWED = "windows of 10"


def environment_python(folder: Path) -> Path:
    """Make the environment if it is not there, with the same jax as here; return its interpreter."""
    python, stamp = folder / "bin" / "python", folder / "installed"
    wanted = [f"braintrace=={RELEASE}", *(f"{name}=={version(name)}" for name in ("jax", "jaxlib"))]
    if stamp.exists() and stamp.read_text().split() == wanted:
        return python
    print(f"installing {' '.join(wanted)} into {folder}", flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    quiet = ["--quiet", "--disable-pip-version-check"]
    subprocess.run([str(python), "-m", "pip", "install", *quiet, *wanted], check=True)
    stamp.write_text("\n".join(wanted))
    return python


class Braintrace:
    """A process that waits for the name of a mode and answers with the seconds of a batch."""

    def __init__(self, problem: dict[str, np.ndarray]) -> None:
        python = environment_python(HERE / ".venvs" / f"braintrace-{RELEASE}")
        self.folder = tempfile.TemporaryDirectory()
        path = Path(self.folder.name) / "problem.npz"
        np.savez(path, **problem)
        # XLA as it comes; only what would change the computation is taken out of the environment.
        env = {k: v for k, v in os.environ.items() if k not in ("XLA_FLAGS", "PYTHONPATH")}
        self.process = subprocess.Popen(
            [str(python), str(HERE / "braintrace_worker.py"), str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=env,
        )
        self.versions = self._answer()

    def _answer(self) -> dict[str, Any]:
        line = self.process.stdout.readline() if self.process.stdout else ""
        if not line:
            raise RuntimeError(
                "braintrace's process must answer, got the end of its output with "
                f"status {self.process.poll()}. Read its own message above."
            )
        return dict(json.loads(line))

    def _ask(self, line: str) -> dict[str, Any]:
        if self.process.stdin:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
        return self._answer()

    def seconds(self, mode: str) -> float:
        """Run one batch in `mode`; the first time, compile before the clock starts."""
        return float(self._ask(mode)["wall_s"])

    def gradients(self) -> dict[str, np.ndarray]:
        """Return what the last batch gave, by the parameter's name."""
        path = Path(self.folder.name) / "gradients.npz"
        self._ask(f"save to {path}")
        with np.load(path) as stored:
            return dict(stored)

    def close(self) -> None:
        """End the process; without this it ends when its input does."""
        if self.process.stdin:
            self.process.stdin.close()
        self.process.wait(timeout=60)
        self.folder.cleanup()
