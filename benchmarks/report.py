"""The measured numbers as a page of tables."""

import math
from typing import Any

from measure import milliseconds, table

GRADIENTS = ("w_in", "w_rec", "bias")
MEMORY = {
    "streaming": "D_RTRL, update by update",
    "windows": "D_RTRL, windows of 100, carried",
    "bptt": "BPTT",
}


def markdown(results: dict[str, Any]) -> str:
    """Write all results as Markdown."""
    parts = [
        "# Trace gradients against backpropagation through time",
        "Written by `python benchmarks/versus_bptt.py`.",
        conditions(results, f"{results['net']}; float32; {results['repeats']} repeats"),
        "## Targets",
        table(
            ["", "wanted", "measured", "met"],
            [[t["what"], t["wanted"], t["got"], "yes" if t["met"] else "**no**"] for t in results["targets"]],
        ),
    ]
    for kind, measured in results["nets"].items():
        parts += _times(kind, measured)
    parts += _braintrace(results["nets"]["LIF"])
    parts += _memory(results["memory"])
    return "\n\n".join(parts) + "\n"


def conditions(results: dict[str, Any], what: str) -> str:
    """Say what was measured, on which machine, with which software, and how busy it was."""
    machine = results["environment"]
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    flags = machine["XLA_FLAGS"] or "none"
    return "\n".join(
        [
            f"- Measured: {what}.",
            f"- Machine: {machine['cpu']}, {machine['cores']} cores, {machine['system']}, "
            f"backend {machine['backend']}, XLA_FLAGS {flags}.",
            f"- Software: Python {machine['python']}, {packages}.",
            f"- Date: {machine['date']}. Load average of a minute: {results['load_before']:.2f} before, "
            f"{results['load_after']:.2f} after.",
        ]
    )


def _times(kind: str, measured: dict[str, Any]) -> list[str]:
    rows = [
        [
            name,
            milliseconds(times["median_s"]),
            milliseconds(min(times["wall_s"])),
            f"{times['ratio']:.2f}",
            f"{times['cpu_ratio']:.2f}",
        ]
        for name, times in measured["times"].items()
    ]
    return [
        f"## {kind}: loss and gradients of one batch",
        f"Hidden units spike in {measured['activity']:.1%} of the steps. Load average at the end: "
        f"{measured['load']:.2f}. A ratio is the median of the repeats' ratios; the last column compares "
        "time summed over the cores.",
        table(["", "median, ms", "fastest, ms", "ratio to BPTT", "ratio of core time"], rows),
    ]


def _braintrace(lif: dict[str, Any]) -> list[str]:
    if "braintrace" not in lif:
        return []
    rival = lif["braintrace"]
    versions = ", ".join(f"{name} {version}" for name, version in rival["versions"].items())
    left_out = ", ".join(f"`{name}`" for name in rival["left_out"])
    rows = [
        [
            f"D_RTRL, {mode}",
            f"{times['median_s']:.2f}",
            f"{min(times['wall_s']):.2f}",
            len(times["wall_s"]),
            f"{times['speedup']:.1f}",
            *(f"{rival['difference'][mode].get(name, math.nan):.1e}" for name in GRADIENTS),
        ]
        for mode, times in rival["modes"].items()
    ]
    header = ["", "median, s", "fastest, s", "repeats", "times D_RTRL here"]
    return [
        "## braintrace on the LIF net",
        f"In its own environment and process ({versions}), the same weights and data, in some of the "
        "repeats above. The first two modes work step by step; the faster of them is what counts. The "
        "windows estimate another gradient, backpropagated inside a window. On the right, the largest "
        "difference of its gradients from D_RTRL's here over the largest gradient. "
        + (f"It gives no gradient for {left_out}." if left_out else ""),
        table([*header, *(f"`{name}`" for name in GRADIENTS)], rows),
    ]


def _memory(memory: list[dict[str, Any]]) -> list[str]:
    rows = [
        [
            MEMORY[m["method"]],
            f"{m['steps']:,}",
            f"{m['peak_mib']:.0f}",
            f"{m['peak_mib'] - m['before_mib']:.0f}",
            milliseconds(m["step_s"]),
        ]
        for m in memory
    ]
    return [
        "## Peak memory against the length of the sequence, LIF",
        "Each row is a process of its own. Input is made inside the loop and never stored; the times include "
        "making it. *Above start* leaves out what the process held before it compiled and ran.",
        table(["", "T", "peak, MiB", "above start, MiB", "ms a step"], rows),
    ]
