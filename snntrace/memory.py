"""What a learner would need to allocate, estimated before it does."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from snntrace.executors.engine import Engine
from snntrace.executors.factored import FactoredLayout

SHARE = 0.5
"""Part of the device's memory that traces, or a sequence's tape, may take by default."""

CGROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def device_memory() -> int:
    """Return the memory of the device that arrays are made on, in bytes.

    Returns
    -------
    int
        That of the first GPU or TPU; on a CPU the machine's, or what a container may use of it.
    """
    stats = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" in stats:
        return int(stats["bytes_limit"])
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for name in CGROUPS:
        text = Path(name).read_text().strip() if Path(name).exists() else ""
        total = min(total, int(text)) if text.isdigit() else total
    return total


def written(n_bytes: float) -> str:
    """Write a number of bytes with a unit."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if n_bytes < 1024:
            return f"{n_bytes:.3g} {unit}"
        n_bytes /= 1024
    return f"{n_bytes:.3g} TiB"


class Memory:
    """The memory of traces and of a sequence's tape, with a limit for each.

    Parameters
    ----------
    engine : Engine
        The graph under a rule.
    window : int, optional
        Steps of a window.
    limit : float, optional
        Bytes that traces, or a tape, may take; half of the device's memory if None.
    """

    def __init__(self, engine: Engine, window: int | None, limit: float | None) -> None:
        self.engine = engine
        self.window = window
        self.limit = SHARE * device_memory() if limit is None else float(limit)

    @property
    def traces(self) -> int:
        """Bytes of all traces."""
        return sum(layout.n_bytes for layout in self.engine.layouts)

    @property
    def step(self) -> int:
        """Bytes that one step of a sequence leaves on the tape.

        They are hidden states, products, results, and the postsynaptic factors of factored traces.
        """
        step = self.engine.graph.step
        kept = [*(leaf.new for leaf in step.hidden), *(r.output for r in self.engine.functions.products)]
        sizes = [(a.shape, a.dtype) for a in kept]
        sizes += [(a.shape, getattr(a, "dtype", np.dtype(np.float32))) for a in step.results]
        posts = {
            (x.route.group.index, x.site): ((x.shape[1]), x.dtype)
            for x in self.engine.layouts
            if isinstance(x, FactoredLayout)
        }
        sizes += posts.values()
        return sum(int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize for shape, dtype in sizes)

    @property
    def fits(self) -> bool:
        """Whether the traces are within the limit."""
        return self.traces <= self.limit

    def __str__(self) -> str:
        """Say what traces and a sequence's steps take."""
        over = "" if self.fits else f", above the limit of {written(self.limit)}"
        return f"traces {written(self.traces)}{over}; each step of a sequence {written(self.step)}"

    def check_traces(self) -> None:
        """Refuse traces that are above the limit.

        Raises
        ------
        MemoryError
            With the cheaper choices.
        """
        if not self.fits:
            raise MemoryError(self._refusal(self.traces, "its traces"))

    def check_stream(self, path: Any) -> None:
        """Refuse a stream, which keeps every trace whole unless ``path='dense'``.

        Parameters
        ----------
        path : str
            The stream's path.

        Raises
        ------
        MemoryError
            With the cheaper choices.
        """
        self.check_traces()
        whole = sum(replace(layout, collapsed=False).n_bytes for layout in self.engine.layouts)
        if path != "dense" and whole > self.limit:
            raise MemoryError(
                f"{self._refusal(whole, 'the traces of a stream')} stream(path='dense') and update share "
                f"traces between units where that is exact: {written(self.traces)}."
            )

    def check_sequence(self, length: int) -> None:
        """Refuse a sequence whose tape is above the limit.

        Parameters
        ----------
        length : int
            Steps of the sequence.

        Raises
        ------
        MemoryError
            With the cheaper choices.
        """
        steps = length if self.window is None else min(length, self.window)
        needed = steps * self.step
        if needed <= self.limit:
            return
        most = int(self.limit // self.step)
        choice = f"Compile with window={most} or less, or" if most else "Compile"
        raise MemoryError(
            f"{self.engine.rule.name}: a sequence's tape must fit memory_limit={written(self.limit)}, got "
            f"{written(needed)} for {steps} steps. {choice} with a smaller batch, or, if there is room, with "
            "a higher memory_limit."
        )

    def _refusal(self, needed: int, what: str) -> str:
        layouts = sorted(self.engine.layouts, key=lambda layout: -layout.n_bytes)
        labels = {leaf.old: leaf.label for leaf in self.engine.graph.step.params}
        largest = layouts[0]
        names = ", ".join(labels[v] for v in labels if v in largest.relation.sources)
        group = largest.route.group
        batch = group.shape[0] if group.n_row_axes else 1
        smaller = int(batch * self.limit / needed)
        rule = self.engine.rule
        whole = rule.decays is None and any(x.relation.mixing and not x.collapsed for x in layouts)
        choices = [
            "run whole sequences, which need none: value_and_grad(f)(xs), or unroll(xs, carry=False)",
            f"compile with batch_size={smaller} or less" if smaller >= 1 and group.n_row_axes else "",
            "let traces be shared by all units where that is exact (see learner.explain)"
            if not all(x.collapsed or not x.relation.mixing for x in layouts) and rule.decays is None
            else "",
            "keep them in two factors, which is an approximation: snntrace.pp_prop" if whole else "",
            "raise memory_limit, if there is room",
        ]
        return (
            f"{self.engine.rule.name}: {what} must fit memory_limit={written(self.limit)}, got "
            f"{written(needed)}, the largest for {names}: {tuple(largest.shape)}. Choose one of: "
            f"{'; '.join(c for c in choices if c)}."
        )
