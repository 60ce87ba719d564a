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
    nets = [*results["activity"].values(), *results["wide"].values()]
    parts += _proportionality(nets)
    for measured in nets:
        parts += _activity(measured)
    for kind, points in results["hidden"].items():
        parts += _hidden(kind, points)
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


def _name(m: dict[str, Any]) -> str:
    return f"{m['kind']}, {m['silent']['n_in']:,} inputs"


def _proportionality(nets: list[dict[str, Any]]) -> list[str]:
    rows = [
        [
            f"{_name(m)}, above {what}",
            milliseconds(m[key]["fixed_s"]) if m[key]["fixed_s"] > 0 else "none",
            m[key]["seen"],
            _number(m[key]["exponent"]),
            m[key]["bound"],
            _number(m[key]["slope"]),
        ]
        for m in nets
        for what, key in (("the fitted part", "fit"), ("a silent net", "above_silent"))
    ]
    header = ["", "fixed, ms", "points", "exponent", "points > 80 %", "exponent there"]
    return [
        "## How near to proportional",
        "The time above a fixed part, against synaptic operations: over the points at which events take at "
        "least a fifth of the time, and over those where they take more than four fifths. Exponents are "
        "fitted within each repeat, and the median is taken. The fixed part is a of t = a + b operations, or "
        "the time of a silent net, which is measured and which the targets are about. Below the events' "
        "dominance exponents are less than one also because an event of a hidden unit takes longer than one "
        "of an input. 700 inputs dominate only when a third of them spike, where dense products are about as "
        "fast; 4,096 inputs do with one in twenty.",
        table(header, rows),
    ]


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
    fixed, slope = m["fit"]["fixed_s"], m["seconds_per_operation"]
    silent = m["silent"]["times"]["event"]["median_s"]
    return [
        f"## {_name(m)}: time against activity",
        "`drive` scales the input weights so that the hidden units spike as often at each rate. An operation "
        "is one event times one weight of its unit; each counts once forward and once backward. *Share of "
        "events* is what the time is above the fitted part; the exponent is that of this difference, from "
        "the row above. Forward and backward are compiled apart, without the loss between them. Dense "
        "products do not depend on the spikes and are measured at some rates.",
        table(header, rows),
        f"Least squares of relative errors give t = {1e3 * fixed:.2f} ms + {1e12 * slope:.1f} ps for each "
        f"operation, {1e-9 / slope:.1f} G operations/s. The silent net takes {milliseconds(silent)} ms, "
        f"{1e9 * silent / m['silent']['unit_steps']:.1f} ns for each unit and step.",
    ]


def _hidden(kind: str, points: list[dict[str, Any]]) -> list[str]:
    rows = [
        [
            f"{p['activity']:.1%}",
            f"{p['drive']:.2f}",
            f"{p['operations'] / 1e6:,.0f}",
            _ms(p, "event"),
            f"{1e12 * p['seconds_per_operation']:.0f}" if "seconds_per_operation" in p else "",
        ]
        for p in points
    ]
    return [
        f"## {kind}: time against the hidden activity",
        f"With {points[0]['input_rate']:.1%} input spikes. The last column is what each further operation "
        "takes, from the row above.",
        table(["hidden", "drive", "operations, M", "events, ms", "ps an operation"], rows),
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
                for cell in (_ms(p, name), _number(p["times"].get(name, {}).get("exponent", math.nan)))
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
