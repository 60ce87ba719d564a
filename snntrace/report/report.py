"""What the compiler found and decided, in words and as data."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snntrace.compiler.relations import Operation
from snntrace.compiler.uniform import can_collapse
from snntrace.executors.factored import FactoredLayout
from snntrace.jaxprs import Equation, Variable
from snntrace.report.approximation import Approximation, Approximations
from snntrace.report.drawing import draw_report
from snntrace.report.explanation import Explanation, explain
from snntrace.report.tables import Section, html_of, rich_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from snntrace.executors.engine import Engine
    from snntrace.executors.layout import Layout
    from snntrace.memory import Memory

ROUTES = ("temporal", "instantaneous", "both", "unreached")


@dataclass(frozen=True)
class ParameterRoute:
    """How a parameter gets its gradient, and what is left out of it."""

    path: tuple[Any, ...]
    route: str
    reason: str
    approximations: tuple[Approximation, ...] = ()


@dataclass(frozen=True)
class ProductPath:
    """Which way a product goes in sequences of `Spikes`: ``'dense'`` or ``'event'``, and why."""

    parameters: tuple[str, ...]
    way: str
    reason: str


class Report:
    """Groups, relations, the route of every parameter, and what is left out of its gradient.

    Print it, `rich.print` it or let a notebook show it; `as_dict` is the same as data, `figure` a picture.

    Parameters
    ----------
    model : brainstate.nn.Module
        The model.
    engine : Engine
        The compiled engine.
    path : str
        How sequences run.
    products : tuple of ProductPath
        Which way each product goes.
    memory : Memory
        What traces and sequences take.
    initial : mapping of str to str, optional
        Hidden states with the parameters that they begin with.
    """

    def __init__(
        self,
        model: Any,
        engine: Engine,
        path: str,
        products: tuple[ProductPath, ...],
        memory: Memory,
        initial: Mapping[str, str] | None = None,
    ) -> None:
        self.memory = memory
        self.initial = dict(initial or {})
        self.path = path
        self.products = products
        self.engine = engine
        self.rule = engine.rule
        self.graph = engine.graph
        self.layouts = engine.layouts
        self.model_name = type(model).__name__
        self.approximations = Approximations(engine)
        self.parameters = self._routes()

    # Routes ------------------------------------------------------------------------------------

    @cached_property
    def _plain(self) -> list[tuple[Equation, frozenset[Variable]]]:
        """Uses of parameters that the step's own gradient reaches, each with the parameters."""
        graph, step = self.graph, self.graph.step
        traced = {use for r in graph.temporal for use in r.uses}
        beside = {use for r in self.engine.signals.spatial.side_relations for use in r.uses}
        reaching = set(step.program.slice([*step.results, *(leaf.new for leaf in step.hidden)]))
        found = []
        for equation, _ in self.approximations.uses:
            sources = [
                graph.relations.chain_values[a]
                for i, a in enumerate(equation.inputs)
                if a in graph.relations.chain_values
                and ((equation, i) not in traced or (equation, i) in beside)
            ]
            if equation in reaching and sources:
                found.append((equation, frozenset().union(*sources)))
        return found

    def plain_uses(self, leaves: Iterable[Variable]) -> list[Equation]:
        """List the equations in which the step's own gradient reaches some parameters.

        Parameters
        ----------
        leaves : iterable of Variable
            The parameters' arrays.

        Returns
        -------
        list of Equation
            In program order.
        """
        mine = set(leaves)
        return [equation for equation, sources in self._plain if sources & mine]

    def leaves_of(self, path: Sequence[Any]) -> set[Variable]:
        """Return the arrays of a parameter in the step's program; none if the step does not read it."""
        step = self.graph.step
        known = {p: i for i, p in enumerate(step.param_paths)}
        index = known.get(tuple(path), -1)
        return {leaf.old for leaf in step.params if leaf.state == index}

    def _routes(self) -> tuple[ParameterRoute, ...]:
        step = self.graph.step
        temporal = {leaf for r in self.graph.temporal for leaf in r.sources}
        found = []
        for path in step.param_paths:
            leaves = self.leaves_of(path)
            through_trace, directly = bool(leaves & temporal), bool(self.plain_uses(leaves))
            left_out = self.approximations.of_parameter(leaves)
            full = self.rule.recursion == "full"
            unheard = "" if directly or full else self._unheard(leaves)
            if unheard:
                found.append(ParameterRoute(path, "unreached", unheard, left_out))
                continue
            route, reason = _describe(through_trace, directly, full, exact=not left_out)
            found.append(ParameterRoute(path, route, reason, left_out))
        found += [ParameterRoute(path, "unreached", "update does not read it") for path in step.unread_paths]
        return tuple(self._with_beginnings(route) for route in found)

    def _unheard(self, leaves: set[Variable]) -> str:
        """Name the states without a gradient through which alone a parameter's groups are heard."""
        groups = [r.group for r in self.graph.routes if leaves & r.relation.sources]
        signals = self.engine.signals
        if not groups or any(g.index in self.graph.heard or signals.cut[g.index] for g in groups):
            return ""
        mine = {v for g in groups for leaf in g.leaves for v in (leaf.old, leaf.new)}
        program = self.graph.step.program
        between = [
            leaf.label
            for leaf in self.graph.step.others
            if any(v in mine for e in program.slice([leaf.new]) for v in e.inputs)
        ]
        if not between:
            return ""
        return (
            f"the result depends on {groups[0].name} through {', '.join(between)} alone, "
            "which carries no gradient from step to step"
        )

    def _with_beginnings(self, route: ParameterRoute) -> ParameterRoute:
        """Add that a parameter is what a state begins with."""
        states = [s for s, name in self.initial.items() if name == ".".join(map(str, route.path))]
        if not states:
            return route
        begins = f"what {', '.join(states)} begins with, in value_and_grad without carry"
        if route.route == "unreached":
            return ParameterRoute(route.path, "temporal", begins, self._left_out_at_the_beginning(states))
        left_out = (*route.approximations, *self._left_out_at_the_beginning(states))
        both = "temporal" if route.route == "temporal" else "both"
        reason = f"{route.reason}; and {begins}"
        return ParameterRoute(route.path, both, reason, tuple(dict.fromkeys(left_out)))

    def _left_out_at_the_beginning(self, states: list[str]) -> tuple[Approximation, ...]:
        groups = [g for g in self.graph.groups if any(leaf.label in states for leaf in g.leaves)]
        return tuple(dict.fromkeys(a for g in groups for a in self.approximations.of_group(g)))

    def why_collapsed(self, layout: Layout) -> str:
        """Say why one trace serves all units, or why not.

        Parameters
        ----------
        layout : Layout
            The trace.

        Returns
        -------
        str
            The reason.
        """
        group, engine = layout.route.group, self.engine
        if isinstance(layout, FactoredLayout):
            return "the rule keeps what came in and what units made of it apart"
        if layout.collapsed:
            return "D and D_f are the same for all units"
        if not group.diagonal:
            return "units act on each other without a weight: every state has a sensitivity to every weight"
        if layout.route.through:
            return "it acts through another weight: every state has a sensitivity to each of its elements"
        if not layout.relation.mixing:
            return "each element of the parameter has its own"
        if not can_collapse(layout.route):
            return "it acts on a part of the group"
        if engine.recursion.couples(group):
            return "what a unit does to itself through its recurrent weight differs from unit to unit"
        if group.index not in engine.uniform:
            return "fast_solve=False"
        uniform, labels = engine.uniform[group.index], [leaf.label for leaf in group.leaves]
        uneven = [
            f"d {labels[s]} / d {labels[q]} of the step before"
            for s, row in enumerate(uniform.d)
            for q, same in enumerate(row)
            if not same
        ]
        if self.rule.recursion not in ("diagonal", "coupled"):
            uneven = []
        uneven += [
            f"d {labels[s]} / d its input" for s, same in enumerate(uniform.df[layout.site]) if not same
        ]
        return f"{' and '.join(uneven)} {'differs' if len(uneven) == 1 else 'differ'} from unit to unit"

    def explain(self, path: str | Sequence[Any]) -> Explanation:
        """Explain one parameter.

        Parameters
        ----------
        path : str or tuple
            The parameter's name, or its path in ``model.states(brainstate.ParamState)``.

        Returns
        -------
        Explanation
            Its route and traces, what they leave out, and what to write instead.
        """
        return explain(self, path)

    # Forms -------------------------------------------------------------------------------------

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain data."""
        return {
            "model": self.model_name,
            "rule": self.rule.name,
            "path": self.path,
            "groups": [
                {
                    "index": g.index,
                    "states": [leaf.label for leaf in g.leaves],
                    "shape": g.shape,
                    "width": g.width,
                }
                for g in self.graph.groups
            ],
            "traces": [
                {
                    "parameters": self._sources(layout),
                    "kind": layout.relation.kind if isinstance(layout.relation, Operation) else "elementwise",
                    "primitive": layout.relation.uses[0][0].name,
                    "where": layout.relation.uses[0][0].where,
                    "group": layout.route.group.index,
                    "shape": layout.shape,
                    "form": layout.form,
                    "collapsed": layout.collapsed,
                    "why": self.why_collapsed(layout),
                    "bytes": layout.n_bytes,
                }
                for layout in self.layouts
            ],
            "parameters": {
                ".".join(map(str, p.path)): {
                    "route": p.route,
                    "reason": p.reason,
                    "left_out": [asdict(a) for a in p.approximations],
                }
                for p in self.parameters
            },
            "memory": {
                "traces": self.memory.traces,
                "tape_per_step": self.memory.step,
                "limit": self.memory.limit,
            },
            "products": [
                {"parameters": list(p.parameters), "path": p.way, "reason": p.reason} for p in self.products
            ],
        }

    def _sources(self, layout: Layout) -> list[str]:
        return self.approximations.names(layout.relation.sources).split(", ")

    def _left_out(self) -> dict[Approximation, list[str]]:
        """List every approximation with the parameters that it concerns."""
        found: dict[Approximation, list[str]] = {}
        for p in self.parameters:
            for part in p.approximations:
                found.setdefault(part, []).append(".".join(map(str, p.path)))
        return found

    def __str__(self) -> str:
        """Write the report as text."""
        data = self.as_dict()
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
        left_out = self._left_out()
        if left_out:
            lines += ["", "Left out of their gradients"]
        for part, names in left_out.items():
            lines += [
                f"  {part.what}",
                f"    of {', '.join(names)}; by {part.place}",
                f"    instead: {part.instead}",
            ]
        lines += ["", f"Memory: {self.memory}", "", f"Path: {data['path']}"]
        labels = [", ".join(product["parameters"]) for product in data["products"]]
        width = max(map(len, labels), default=0)
        for label, product in zip(labels, data["products"], strict=True):
            lines.append(f"  {label:<{width}}  {product['path']:<5}  {product['reason']}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        """Write the report as text."""
        return str(self)

    def sections(self) -> list[Section]:
        """Lay the report out as tables."""
        data = self.as_dict()
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
        left_out = [(p.what, ", ".join(names), p.place, p.instead) for p, names in self._left_out().items()]
        ways = [(", ".join(p["parameters"]), p["path"], p["reason"]) for p in data["products"]]
        tables = [
            Section("Hidden groups", ("group", "states", "shape"), groups),
            Section("Traces", ("of", "group", "operation", "shape", "MiB", "one for all units"), traces),
            Section("Parameters", ("name", "route", "reason"), routes),
            Section("Left out of their gradients", ("what", "of", "operation", "instead"), left_out),
            Section("Ways of products where inputs are Spikes", ("of", "way", "reason"), ways),
        ]
        return [table for table in tables if table.rows]

    def _foot(self) -> str:
        return f"Memory: {self.memory}. Path: {self.path}"

    def __rich__(self) -> Any:
        """Show the report as tables in a terminal."""
        return rich_of(f"{self.model_name} under {self.rule.name}", self.sections(), self._foot())

    def _repr_html_(self) -> str:
        """Show the report as tables in a notebook."""
        return html_of(f"{self.model_name} under {self.rule.name}", self.sections(), self._foot())

    def figure(self) -> Figure:
        """Draw groups as boxes, weights as arrows between them, and routes as colours.

        Returns
        -------
        matplotlib.figure.Figure
            The picture.
        """
        return draw_report(self)

    def draw(self, path: str | os.PathLike[str]) -> None:
        """Write the picture to a file; its ending says the format, such as ``.png`` or ``.svg``.

        Parameters
        ----------
        path : path
            The file.
        """
        target = Path(path)
        partial = target.with_name(f".{target.stem}.partial{target.suffix}")
        try:
            self.figure().savefig(partial, dpi=200, bbox_inches="tight")
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)


def _describe(temporal: bool, plain: bool, full: bool, exact: bool) -> tuple[str, str]:
    if full and (temporal or plain):
        return "temporal" if temporal else "instantaneous", "backpropagation through time"
    if temporal and plain:
        return "both", "through its trace, and through the step's own gradient"
    if temporal:
        return "temporal", "through its trace"
    if plain and exact:
        return "instantaneous", "through the step's own gradient, which is all there is"
    if plain:
        return "instantaneous", "through the step's own gradient; what it did to earlier states is not traced"
    return "unreached", "neither the result nor a hidden state depends on it"
