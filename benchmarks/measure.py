"""Timing side by side, memory, the machine's description, and tables."""

import math
import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax

RUNS = 3
PACKAGES = ("snntrace", "jax", "jaxlib", "brainstate", "brainunit", "braintools", "numpy")


@dataclass
class Timing:
    """Seconds of one contestant, by repeat: on the clock, and of all cores of this process."""

    wall: dict[int, float] = field(default_factory=dict)
    cpu: dict[int, float] = field(default_factory=dict)

    @property
    def median(self) -> float:
        return statistics.median(self.wall.values())

    def ratio(self, other: "Timing") -> float:
        """Return the median, over the repeats both ran in, of this time over the other's in that repeat."""
        common = self.wall.keys() & other.wall.keys()
        return statistics.median(self.wall[i] / other.wall[i] for i in common)

    def cpu_ratio(self, other: "Timing") -> float:
        """Return the same for the time on all cores."""
        common = self.cpu.keys() & other.cpu.keys()
        return statistics.median(self.cpu[i] / other.cpu[i] for i in common)

    def as_dict(self) -> dict[str, Any]:
        return {"wall_s": list(self.wall.values()), "cpu_s": list(self.cpu.values()), "median_s": self.median}


def interleaved(
    contestants: dict[str, Callable[[], Any]],
    repeats: int,
    after: Callable[[int], None] = lambda repeat: None,
) -> dict[str, Timing]:
    """Run all contestants in every repeat, beginning with another one each time, then call `after`.

    What slows the machine down for a while slows all of them, so the ratios within a repeat hold. What stops
    it for an instant does not: a repeat's time is the shortest of `RUNS` runs.
    """
    for run in contestants.values():
        jax.block_until_ready(run())
    timings = {name: Timing() for name in contestants}
    names = list(contestants)
    for i in range(repeats):
        shift = i % len(names)
        for name in names[shift:] + names[:shift]:
            runs = [_seconds(contestants[name]) for _ in range(RUNS)]
            timings[name].wall[i] = min(wall for wall, _ in runs)
            timings[name].cpu[i] = min(cpu for _, cpu in runs)
        after(i)
    return timings


def _seconds(run: Callable[[], Any]) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    jax.block_until_ready(run())
    return time.perf_counter() - wall, time.process_time() - cpu


def wait_until_quiet(limit: float, patience: float) -> float:
    """Wait until a minute's load average is below `limit`, at most `patience` seconds; return the load."""
    end = time.monotonic() + patience
    while (load := os.getloadavg()[0]) >= limit and time.monotonic() < end:
        time.sleep(5.0)
    return load


def peak_rss_mib() -> float:
    """Return the most memory this process ever held, in MiB."""
    # Linux hands the peak of a parent on to ru_maxrss of its children; VmHWM begins anew with the program.
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 1024


def relative_difference(a: Any, b: Any) -> float:
    """Return the largest absolute difference over the largest absolute value of `b`."""
    return float(abs(a - b).max() / abs(b).max())


def environment() -> dict[str, Any]:
    """Describe the machine and the software."""
    return {
        "date": time.strftime("%Y-%m-%d %H:%M %Z"),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "backend": jax.default_backend(),
        "XLA_FLAGS": os.environ.get("XLA_FLAGS", ""),
        "packages": {name: version(name) for name in PACKAGES},
    }


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Write a Markdown table: the first column to the left, the others to the right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def milliseconds(seconds: float) -> str:
    """Write a time with three significant digits, in ms."""
    value = 1e3 * seconds
    return f"{value:,.{max(0, 2 - math.floor(math.log10(value)))}f}"
