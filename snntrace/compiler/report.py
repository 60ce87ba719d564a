"""What the compiler found and decided, in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from snntrace.compiler.relations import Dense

if TYPE_CHECKING:
    from snntrace.executors.engine import Engine

ROUTES = ("temporal", "instantaneous", "both", "unreached")


@dataclass(frozen=True)
class ParameterRoute:
    """How a parameter gets its gradient."""

    path: tuple[Any, ...]
    route: str
    reason: str


@dataclass(frozen=True)
class ProductPath:
    """Which way a product goes in sequences of `Spikes`: ``'dense'`` or ``'event'``, and why."""

    parameters: tuple[str, ...]
    way: str
    reason: str


class Report:
    """Groups, relations, and the route of every parameter.

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
    """

    def __init__(self, model: Any, engine: Engine, path: str, products: tuple[ProductPath, ...] = ()) -> None:
        self.path = path
        self.products = products
        self.rule = engine.rule
        self.graph = engine.graph
        self.layouts = engine.layouts
        self.model_name = type(model).__name__
        self.parameters = self._routes(engine)

    def _routes(self, engine: Engine) -> tuple[ParameterRoute, ...]:
        graph, step = engine.graph, engine.graph.step
        temporal = {leaf for r in graph.temporal for leaf in r.sources}
        uses = {use for r in graph.temporal for use in r.uses}
        reaching = step.program.slice([*step.results, *(leaf.new for leaf in step.hidden)])
        chain = set(graph.relations.chain)
        plain: set[Any] = set()
        for equation in reaching:
            if equation in chain:
                continue
            for i, atom in enumerate(equation.inputs):
                if atom in graph.relations.chain_values and (equation, i) not in uses:
                    plain |= graph.relations.chain_values[atom]
        for relation in engine.signals.spatial.side_relations:
            plain |= relation.sources
        by_state: dict[int, list[Any]] = {}
        for leaf in step.params:
            by_state.setdefault(leaf.state, []).append(leaf)
        found = []
        for index, path in enumerate(step.param_paths):
            leaves = by_state.get(index, [])
            through_trace = any(leaf.old in temporal for leaf in leaves)
            directly = any(leaf.old in plain for leaf in leaves)
            route, reason = _describe(through_trace, directly, engine.rule.recursion == "full")
            found.append(ParameterRoute(path, route, reason))
        found += [ParameterRoute(path, "unreached", "update does not read it") for path in step.unread_paths]
        return tuple(found)

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
                    "kind": "product" if isinstance(layout.relation, Dense) else "elementwise",
                    "group": layout.route.group.index,
                    "shape": layout.shape,
                    "collapsed": layout.collapsed,
                    "bytes": layout.n_bytes,
                }
                for layout in self.layouts
            ],
            "parameters": {
                ".".join(map(str, p.path)): {"route": p.route, "reason": p.reason} for p in self.parameters
            },
            "products": [
                {"parameters": list(p.parameters), "path": p.way, "reason": p.reason} for p in self.products
            ],
        }

    def _sources(self, layout: Any) -> list[str]:
        return [leaf.label for leaf in self.graph.step.params if leaf.old in layout.relation.sources]

    def __str__(self) -> str:
        """Write the report as text."""
        data = self.as_dict()
        lines = [f"{data['model']} under {data['rule']}", "", "Hidden groups"]
        for group in data["groups"]:
            lines.append(f"  {group['index']}: {', '.join(group['states'])}  shape {group['shape']}")
        lines += ["", "Traces"]
        for trace in data["traces"]:
            form = "one for all units, exact" if trace["collapsed"] else "one for each synapse or unit"
            lines.append(
                f"  {', '.join(trace['parameters'])} -> group {trace['group']}: {trace['kind']}, "
                f"shape {trace['shape']} ({form}), {trace['bytes'] / 2**20:.2f} MiB"
            )
        lines += ["", "Parameters"]
        width = max((len(path) for path in data["parameters"]), default=0)
        for path, entry in data["parameters"].items():
            lines.append(f"  {path:<{width}}  {entry['route']:<13}  {entry['reason']}")
        lines += ["", f"Path: {data['path']}"]
        labels = [", ".join(product["parameters"]) for product in data["products"]]
        width = max(map(len, labels), default=0)
        for label, product in zip(labels, data["products"], strict=True):
            lines.append(f"  {label:<{width}}  {product['path']:<5}  {product['reason']}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        """Write the report as text."""
        return str(self)


def _describe(temporal: bool, plain: bool, full: bool) -> tuple[str, str]:
    if full and (temporal or plain):
        return "temporal" if temporal else "instantaneous", "backpropagation through time"
    if temporal and plain:
        return "both", "through its trace, and through the step's own gradient"
    if temporal:
        return "temporal", "through its trace"
    if plain:
        return "instantaneous", "through the step's own gradient; what it did to earlier states is not traced"
    return "unreached", "neither the result nor a hidden state depends on it"
