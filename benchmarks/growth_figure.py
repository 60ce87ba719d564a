"""The event path's growth as one picture."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

STYLES: dict[str, dict[str, Any]] = {
    "event": {"label": "events", "color": "C0", "marker": "o"},
    "dense": {"label": "dense", "color": "C1", "marker": "s"},
    "BPTT": {"label": "BPTT", "color": "C2", "marker": "^"},
}
TITLES = {"steps": "steps", "batch": "samples", "n": "hidden units", "n_in": "input units"}


def draw(results: dict[str, Any], path: Path) -> None:
    """Draw all sweeps and the roofs, both axes logarithmic."""
    with mpl.rc_context({"font.size": 8, "svg.hashsalt": "growth", "lines.markersize": 3.5}):
        figure = Figure(figsize=(12, 5.6), layout="constrained")
        axes = figure.subplots(2, 4)
        for ax, measured in zip(axes[0], results["activity"].values(), strict=False):
            _activity(ax, measured)
        _operations(axes[0, 2], results["activity"])
        _roofs(axes[0, 3], results)
        (sweeps,) = results["axes"].values()
        for ax, (axis, points) in zip(axes[1], sweeps.items(), strict=True):
            for name in STYLES:
                _curve(ax, [p[axis] for p in points], points, name)
            ax.set(xlabel=TITLES[axis], ylabel="ms", title=f"LIF: {TITLES[axis]}")
        for ax in axes.flat:
            ax.set(xscale="log", yscale="log")
            ax.grid(visible=True, which="major", alpha=0.3)
        axes[0, 0].legend()
        figure.savefig(path, metadata={"Date": None})


def _curve(ax: Any, xs: list[float], points: list[dict[str, Any]], name: str) -> None:
    found = [
        (x, 1e3 * p["times"][name]["median_s"]) for x, p in zip(xs, points, strict=True) if name in p["times"]
    ]
    ax.plot(*zip(*found, strict=True), **STYLES[name])


def _silent(m: dict[str, Any]) -> float:
    return float(m["silent"]["times"]["event"]["median_s"])


def _activity(ax: Any, m: dict[str, Any]) -> None:
    for name in STYLES:
        _curve(ax, [100 * p["input_rate"] for p in m["points"]], m["points"], name)
    ax.axhline(1e3 * _silent(m), color="C0", linestyle=":", label="silent net")
    ax.set(xlabel="input spikes, %", ylabel="ms", title=f"{m['kind']}: activity")


def _operations(ax: Any, activity: dict[str, Any]) -> None:
    """Draw the time above a silent net's, and the proportional line through the last point."""
    for color, m in zip(("C0", "C3"), activity.values(), strict=False):
        x = np.array([p["operations"] for p in m["points"]], float)
        y = 1e3 * np.array([p["times"]["event"]["median_s"] - _silent(m) for p in m["points"]])
        ax.plot(x[y > 0], y[y > 0], color=color, marker="o", label=m["kind"])
        ax.plot(x, y[-1] * x / x[-1], color=color, linestyle=":")
    ax.set(xlabel="synaptic operations", ylabel="ms above a silent net", title="dotted: proportional")
    ax.legend()


def _roofs(ax: Any, results: dict[str, Any]) -> None:
    """Draw operations a second against operations a byte."""
    intensity = np.geomspace(0.04, 1.0, 50)
    roofs = {r["name"]: r for r in results["roofs"]}
    peak = next(r["operations_per_s"] for name, r in roofs.items() if name.startswith("multiply"))
    shown = {"memory": "C7", "second cache": "C8"}
    for where, color in shown.items():
        best = max(r["bytes_per_s"] for name, r in roofs.items() if name.startswith(where))
        ax.plot(intensity, np.minimum(best * intensity, peak) / 1e9, color=color, label=where)
    for row, style in zip(results["roofline"], ("C0o", "C0s", "C3o", "C3s"), strict=False):
        ax.plot(
            1 / row["bytes_per_operation"],
            row["operations_per_s"] / 1e9,
            style,
            label=f"{row['kind']}, {row['way']}",
        )
    ax.set(xlabel="operations a byte", ylabel="G operations/s", title="roofs")
    ax.legend()
