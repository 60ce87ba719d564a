"""Who feeds whom: the arrows of a report's picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from snntrace.compiler.graph import Graph
from snntrace.jaxprs import Equation, Variable

if TYPE_CHECKING:
    from snntrace.report.report import Report

INPUT, OUTPUT = -1, -2
"""Places beside the hidden groups, which are known by their numbers."""


@dataclass(frozen=True)
class Wire:
    """An arrow from one place to another.

    Attributes
    ----------
    source, target : int
        A hidden group's number, `INPUT` or `OUTPUT`.
    late : bool
        Whether it carries what the source was one step before.
    label : str
        The parameters on it; empty for a way without any.
    route : str
        How these are trained.
    """

    source: int
    target: int
    late: bool
    label: str
    route: str


def wires_of(report: Report) -> list[Wire]:
    """List the arrows of a compiled model.

    Parameters
    ----------
    report : Report
        Its report.

    Returns
    -------
    list of Wire
        Products first, in program order, then ways without a parameter.
    """
    graph = report.graph
    found: list[Wire] = []
    for relation in graph.relations.mixing:
        equation, index = relation.uses[0]
        operands = [a for i, a in enumerate(equation.inputs) if i != index and isinstance(a, Variable)]
        label = report.approximations.names(relation.sources)
        traced = {r.group.index for r in graph.routes if r.relation is relation}
        for target in sorted(_targets(graph, equation) | traced):
            route = "temporal" if target in traced else "instantaneous"
            found += [Wire(s, target, late, label, route) for s, late in _sources(graph, operands)]
    joined = {(w.source, w.target) for w in found}
    held = {out for r in graph.relations.mixing for out in r.uses[0][0].outputs}
    for target, ends in _ends(graph):
        bare = _sources(graph, ends, held - set(ends), own=target)
        for source, late in bare:
            if source != target and (source, target) not in joined:
                found.append(Wire(source, target, late, "", ""))
    return list(dict.fromkeys(found))


def _ends(graph: Graph) -> list[tuple[int, list[Variable]]]:
    results = [a for a in graph.step.results if isinstance(a, Variable)]
    return [*((g.index, [leaf.new for leaf in g.leaves]) for g in graph.groups), (OUTPUT, results)]


def _targets(graph: Graph, equation: Equation) -> set[int]:
    """Find the places that an equation acts on within the step."""
    found = {g.index for g in graph.groups if equation in graph.closure(g)}
    return found | ({OUTPUT} if equation in graph.readout else set())


def _sources(
    graph: Graph, values: list[Variable], held: set[Variable] | None = None, own: int | None = None
) -> list[tuple[int, bool]]:
    """Find the places that values come from, each with whether they are a step old."""
    stops = (held or set()) | (graph.new_states - set(values if own is not None else []))
    inside = graph.step.program.slice(values, stops)
    read = {a for e in inside for a in e.inputs if isinstance(a, Variable)}
    read |= set(values) if own is None or own == OUTPUT else set()
    found: list[tuple[int, bool]] = []
    if read & set(graph.step.arguments):
        found.append((INPUT, False))
    for group in graph.groups:
        if read & {leaf.new for leaf in group.leaves}:
            found.append((group.index, False))
        elif read & {leaf.old for leaf in group.leaves}:
            found.append((group.index, True))
    return found
