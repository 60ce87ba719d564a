"""A report as plain data, as text and as tables."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from snntrace.compiler.relations import Operation
from snntrace.report.approximation import Approximation
from snntrace.report.collapse import why_collapsed
from snntrace.report.tables import Section

if TYPE_CHECKING:
    from snntrace.report.report import Report


def data_of(report: Report) -> dict[str, Any]:
    """Write a report as plain data."""
    names = report.approximations.names
    return {
        "model": report.model_name,
        "rule": report.rule.name,
        "path": report.path,
        "groups": [
            {
                "index": g.index,
                "states": [leaf.label for leaf in g.leaves],
                "shape": g.shape,
                "width": g.width,
            }
            for g in report.graph.groups
        ],
        "traces": [
            {
                "parameters": names(layout.relation.sources).split(", "),
                "kind": layout.relation.kind if isinstance(layout.relation, Operation) else "elementwise",
                "primitive": layout.relation.uses[0][0].name,
                "where": layout.relation.uses[0][0].where,
                "group": layout.route.group.index,
                "shape": layout.shape,
                "form": layout.form,
                "collapsed": layout.collapsed,
                "why": why_collapsed(report.engine, layout),
                "bytes": layout.n_bytes,
            }
            for layout in report.layouts
        ],
        "parameters": {
            ".".join(map(str, p.path)): {
                "route": p.route,
                "reason": p.reason,
                "left_out": [asdict(a) for a in p.approximations],
            }
            for p in report.parameters
        },
        "memory": {
            "traces": report.memory.traces,
            "tape_per_step": report.memory.step,
            "limit": report.memory.limit,
        },
        "products": [
            {"parameters": list(p.parameters), "path": p.way, "reason": p.reason} for p in report.products
        ],
    }


def text_of(report: Report) -> str:
    """Write a report as text."""
    data = data_of(report)
    lines = [f"{data['model']} under {data['rule']}", "", "Hidden groups"]
    for group in data["groups"]:
        lines.append(f"  {group['index']}: {', '.join(group['states'])}  shape {group['shape']}")
    lines += ["", "Traces"]
    for trace in data["traces"]:
        lines.append(
            f"  {', '.join(trace['parameters'])} -> group {trace['group']}: {trace['kind']}, "
            f"shape {trace['shape']} ({trace['form']}), {trace['bytes'] / 2**20:.2f} MiB"
        )
    lines += ["", "Parameters"]
    width = max((len(path) for path in data["parameters"]), default=0)
    for path, entry in data["parameters"].items():
        lines.append(f"  {path:<{width}}  {entry['route']:<13}  {entry['reason']}")
    left_out = _left_out(report)
    if left_out:
        lines += ["", "Left out of their gradients"]
    for part, names in left_out.items():
        lines += [
            f"  {part.what}",
            f"    of {', '.join(names)}; by {part.place}",
            f"    instead: {part.instead}",
        ]
    lines += ["", f"Memory: {report.memory}", "", f"Path: {data['path']}"]
    labels = [", ".join(product["parameters"]) for product in data["products"]]
    width = max(map(len, labels), default=0)
    for label, product in zip(labels, data["products"], strict=True):
        lines.append(f"  {label:<{width}}  {product['path']:<5}  {product['reason']}")
    return "\n".join(lines)


def sections_of(report: Report) -> list[Section]:
    """Lay a report out as tables."""
    data = data_of(report)
    groups = [(str(g["index"]), ", ".join(g["states"]), str(g["shape"])) for g in data["groups"]]
    traces = [
        (
            ", ".join(t["parameters"]), str(t["group"]), f"{t['primitive']} at {t['where']}",
            str(t["shape"]), f"{t['bytes'] / 2**20:.2f}",
            f"{'yes' if t['collapsed'] else 'no'}: {t['why']}",
        )
        for t in data["traces"]
    ]  # fmt: skip
    routes = [(name, e["route"], e["reason"]) for name, e in data["parameters"].items()]
    left_out = [(p.what, ", ".join(names), p.place, p.instead) for p, names in _left_out(report).items()]
    ways = [(", ".join(p["parameters"]), p["path"], p["reason"]) for p in data["products"]]
    tables = [
        Section("Hidden groups", ("group", "states", "shape"), groups),
        Section("Traces", ("of", "group", "operation", "shape", "MiB", "one for all units"), traces),
        Section("Parameters", ("name", "route", "reason"), routes),
        Section("Left out of their gradients", ("what", "of", "operation", "instead"), left_out),
        Section("Ways of products where inputs are Spikes", ("of", "way", "reason"), ways),
    ]
    return [table for table in tables if table.rows]


def _left_out(report: Report) -> dict[Approximation, list[str]]:
    """List every approximation with the parameters that it concerns."""
    found: dict[Approximation, list[str]] = {}
    for p in report.parameters:
        for part in p.approximations:
            found.setdefault(part, []).append(".".join(map(str, p.path)))
    return found
