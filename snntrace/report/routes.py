"""The route of each parameter's gradient: a trace, the step's own gradient, both, or none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from snntrace.jaxprs import Atom, Equation, Variable
from snntrace.report.approximation import Approximation, Approximations

if TYPE_CHECKING:
    from snntrace.executors.engine import Engine


@dataclass(frozen=True)
class ParameterRoute:
    """How a parameter gets its gradient, and what is left out of it."""

    path: tuple[Any, ...]
    route: str
    reason: str
    approximations: tuple[Approximation, ...] = ()


class Routes:
    """Finds how parameters get their gradients.

    Parameters
    ----------
    engine : Engine
        The graph under a rule.
    approximations : Approximations
        What the rule leaves out.
    initial : mapping of str to str
        Hidden states with the parameters that they begin with.
    """

    def __init__(self, engine: Engine, approximations: Approximations, initial: Mapping[str, str]) -> None:
        self.engine = engine
        self.graph = engine.graph
        self.rule = engine.rule
        self.approximations = approximations
        self.initial = initial

    @cached_property
    def _plain(self) -> list[tuple[Equation, frozenset[Variable]]]:
        """Uses of parameters that the step's own gradient reaches, each with the parameters."""
        graph, step = self.graph, self.graph.step
        traced = {use for r in graph.temporal for use in r.uses}
        beside = {use for r in self.engine.signals.spatial.side_relations for use in r.uses}
        reaching = set(step.program.slice(self._ends, gradient=True))
        trained = graph.relations.trained
        found = []
        for equation, _ in self.approximations.uses:
            sources = [
                trained[a]
                for i, a in enumerate(equation.inputs)
                if a in trained and ((equation, i) not in traced or (equation, i) in beside)
            ]
            if equation in reaching and sources:
                found.append((equation, frozenset().union(*sources)))
        return found

    @property
    def _ends(self) -> list[Atom]:
        """The step's results and new hidden states."""
        return [*self.graph.step.results, *(leaf.new for leaf in self.graph.step.hidden)]

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

    def arrays_of(self, path: Sequence[Any]) -> set[Variable]:
        """Return the arrays of a parameter in the step's program; none if the step does not read it."""
        step = self.graph.step
        known = {p: i for i, p in enumerate(step.param_paths)}
        index = known.get(tuple(path), -1)
        return {leaf.old for leaf in step.params if leaf.state == index}

    def of_parameters(self) -> tuple[ParameterRoute, ...]:
        """List the routes of all parameters, those that the step reads first."""
        step = self.graph.step
        temporal = {leaf for r in self.graph.temporal for leaf in self.graph.relations.trained[r.weight]}
        found = []
        for path in step.param_paths:
            leaves = self.arrays_of(path)
            through_trace, directly = bool(leaves & temporal), bool(self.plain_uses(leaves))
            left_out = self.approximations.of_parameter(leaves)
            full = self.rule.recursion == "full"
            unheard = "" if directly or full else self._unheard(leaves)
            if unheard:
                found.append(ParameterRoute(path, "unreached", unheard, left_out))
                continue
            route, reason = _describe(through_trace, directly, full, exact=not left_out)
            if route == "unreached":
                reason = self._stopped(leaves) or reason
            found.append(ParameterRoute(path, route, reason, left_out))
        found += [ParameterRoute(path, "unreached", "update does not read it") for path in step.unread_paths]
        return tuple(self._with_beginnings(route) for route in found)

    def _stopped(self, leaves: set[Variable]) -> str:
        """Name the operation that keeps a parameter's gradient back; empty if nothing depends on it."""
        program = self.graph.step.program
        behind = program.depending_on(leaves)
        for equation in program.slice(self._ends):
            if equation.stops and any(a in behind for a in equation.inputs):
                return f"no gradient passes {equation.name!r} at {equation.where}, through which it acts"
        return ""

    def _unheard(self, leaves: set[Variable]) -> str:
        """Name the states without a gradient through which alone a parameter's groups are heard."""
        trained = self.graph.relations.trained
        groups = [r.group for r in self.graph.routes if leaves & trained[r.relation.weight]]
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
