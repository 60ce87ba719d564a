"""The event path's growth as a page of tables."""

import math
from typing import Any

from measure import milliseconds, table
from report import conditions

AXES = {"steps": "steps", "batch": "samples", "n": "hidden units", "n_in": "input units"}


def markdown(results: dict[str, Any]) -> str:
    """Write all results as Markdown."""
    parts = [
        "# How the cost of learning by events grows",
        "Written by `python benchmarks/event_growth.py`.",
        conditions(
            results, f"{results['net']}, where nothing else is said; float32; {results['repeats']} repeats"
        ),
        "## Targets",
        table(
            ["", "wanted", "measured", "met"],
            [[t["what"], t["wanted"], t["got"], "yes" if t["met"] else "**no**"] for t in results["targets"]],
        ),
        "![Time against activity and sizes, and synaptic operations below the roofs](event_growth.svg)",
    ]
    for measured in results["activity"].values():
        parts += _activity(measured)
    for kind, axes in results["axes"].items():
        for axis, points in axes.items():
            parts += _axis(kind, axis, points)
    parts += _roofline(results)
    return "\n\n".join(parts) + "\n"


def _ms(point: dict[str, Any], name: str) -> str:
    times = point["times"].get(name)
    return milliseconds(times["median_s"]) if times else ""


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.2f}"


def _activity(m: dict[str, Any]) -> list[str]:
    rows = [
        [
            f"{p['input_rate']:.1%}",
            f"{p['activity']:.1%}",
            f"{p['drive']:.2f}",
            f"{p['operations'] / 1e6:,.0f}",
            *(_ms(p, name) for name in ("event", "forward", "backward")),
            f"{p['share']:.0%}" if "share" in p else "",
            _number(p.get("exponent", math.nan)),
            _ms(p, "dense"),
            _ms(p, "BPTT"),
        ]
        for p in (m["silent"], *m["points"])
    ]
    header = ["input spikes", "hidden", "drive", "operations, M", "events, ms", "forward", "backward"]
    header += ["share of events", "exponent", "dense, ms", "BPTT, ms"]
    fixed, slope = m["fit"]["fixed_s"], m["fit"]["seconds_per_operation"]
    each = m["silent_s"] / m["silent"]["unit_steps"]
    return [
        f"## {m['kind']}: time against activity",
        "`drive` scales the input weights so that the hidden units spike as often at each rate. An operation "
        "is one event times one weight of its unit; each counts once forward and once backward. *Share of "
        "events* is what the time is above that of the silent net; the exponent is that of this difference, "
        "from the row above. Forward and backward are compiled apart, without the loss between them. Dense "
        "products do not depend on the spikes and are measured at some rates.",
        table(header, rows),
        f"The silent net takes {milliseconds(m['silent_s'])} ms, {1e9 * each:.1f} ns for each unit and step. "
        f"Least squares of relative errors give t = {1e3 * fixed:.2f} ms + {1e12 * slope:.1f} ps for each "
        f"operation, {1e-9 / slope:.1f} G operations/s. The exponent over all points at which events take "
        f"at least a fifth of the time is {m['exponent']:.3f}.",
    ]


def _axis(kind: str, axis: str, points: list[dict[str, Any]]) -> list[str]:
    rows = [
        [
            f"{p[axis]:,}",
            f"{p['operations'] / 1e6:,.0f}",
            f"{p['activity']:.1%}",
            *(
                cell
                for name in ("event", "dense", "BPTT")
                for cell in (_ms(p, name), _number(p["times"][name]["exponent"]))
            ),
        ]
        for p in points
    ]
    header = [AXES[axis], "operations, M", "hidden", "events, ms", "exponent", "dense, ms", "exponent"]
    return [
        f"## {kind}: time against {AXES[axis]}",
        table([*header, "BPTT, ms", "exponent"], rows),
    ]


def _roofline(results: dict[str, Any]) -> list[str]:
    roofs = [[r["name"], f"{r['operations_per_s'] / 1e9:.1f}", *_bandwidth(r)] for r in results["roofs"]]
    rows = [
        [
            f"{r['kind']}, {r['way']}",
            f"{r['operations_per_s'] / 1e9:.1f}",
            f"{r['bytes_per_operation']:g}",
            f"{r['operations_per_s'] * r['bytes_per_operation'] / 1e9:.0f}",
            f"{r['of_stream']:.0%}",
            f"{r['of_rows']:.0%}",
            f"{r['of_arithmetic']:.0%}",
        ]
        for r in results["roofline"]
    ]
    header = ["", "G operations/s", "bytes each", "GB/s", "of the cache's stream", "of random rows"]
    return [
        "## Synaptic operations a second, and what the machine allows",
        "Rates of the events alone, from the slopes of the ways forward and backward over the activity. An "
        "operation reads a weight forward (4 bytes) and reads and writes a number of the gradient backward "
        "(8 bytes); the row that is summed up or added stays in the first cache, and an event's index is 4 "
        "bytes for a whole row. The matrices fit in the second cache.",
        table([*header, "of the arithmetic"], rows),
        "The roofs, on all threads; the best of three measurements in the course of the run. One operation "
        "is one number summed up, updated or added, or one lane of a multiply-add.",
        table(["", "G operations/s", "bytes each", "GB/s"], roofs),
    ]


def _bandwidth(roof: dict[str, Any]) -> list[str]:
    each = roof["bytes_per_operation"]
    return [f"{each:g}", f"{roof['bytes_per_s'] / 1e9:.0f}"] if each else ["", ""]
