"""What a rule leaves out of a gradient: by which equation, written where, and what to write instead."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from snntrace.compiler.graph import Graph, Group, Route
from snntrace.compiler.relations import Operation, Relation, Temporal
from snntrace.executors.exact import FullLayout
from snntrace.executors.factored import FactoredLayout
from snntrace.jaxprs import Equation, Variable
from snntrace.memory import written

if TYPE_CHECKING:
    from snntrace.executors.engine import Engine

BPTT = "snntrace.BPTT has all of it"


@dataclass(frozen=True)
class Approximation:
    """A part of the exact gradient that a rule leaves out.

    Attributes
    ----------
    what : str
        The part.
    primitive : str
        The operation through which it would go; empty where the rule itself, not the model, leaves it out.
    where : str
        The line that made that operation.
    instead : str
        What to write to have it.
    """

    what: str
    primitive: str
    where: str
    instead: str

    @property
    def place(self) -> str:
        """The operation and its line."""
        return f"{self.primitive} at {self.where}" if self.primitive else "the rule"


class Approximations:
    """Finds what a rule leaves out.

    Parameters
    ----------
    engine : Engine
        The graph under a rule.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.graph: Graph = engine.graph
        self.rule = engine.rule

    def of_parameter(self, leaves: Iterable[Variable]) -> tuple[Approximation, ...]:
        """List what is left out of a parameter's gradient; nothing if it is exact.

        Parameters
        ----------
        leaves : iterable of Variable
            The parameter's arrays.

        Returns
        -------
        tuple of Approximation
            Each part once.
        """
        if self.rule.recursion == "full":
            return ()
        mine = set(leaves)
        found: list[Approximation] = []
        for group in self.graph.groups:
            if any(mine & self._trained(r.relation) for r in self.graph.routes if r.group is group):
                found += [*self.of_group(group), *self._of_factors(group, mine)]
        for equation, sources in self.uses:
            if mine & sources:
                found += [*self._through_a_weight(equation, mine), *self._into_other_states(equation)]
        return tuple(dict.fromkeys(found))

    def of_group(self, group: Group) -> tuple[Approximation, ...]:
        """List what traces into a group leave out of what the group's states do later.

        Parameters
        ----------
        group : Group
            The group.

        Returns
        -------
        tuple of Approximation
            Each part once.
        """
        if self.rule.recursion == "full":
            return ()
        parts = (
            self._of_rule(group),
            self._among_units(group),
            self._to_groups(group),
            self._to_others(group),
        )
        return tuple(dict.fromkeys(part for found in parts for part in found))

    # Where parameters act ----------------------------------------------------------------------

    @cached_property
    def uses(self) -> tuple[tuple[Equation, frozenset[Variable]], ...]:
        """Every equation in which parameters meet something else, with those that it gives a gradient."""
        chain, values = set(self.graph.relations.chain), self.graph.relations.trained
        found = []
        for equation in self.graph.step.program.equations:
            sources = [values[a] for a in equation.inputs if isinstance(a, Variable) and a in values]
            together = frozenset().union(*sources)
            if together and equation not in chain and not equation.stops:
                found.append((equation, together))
        return tuple(found)

    def _trained(self, relation: Temporal) -> frozenset[Variable]:
        """Return the parameters that a relation gives a gradient."""
        return self.graph.relations.trained[relation.weight]

    def names(self, sources: Iterable[Variable]) -> str:
        """Name parameters."""
        wanted, step = set(sources), self.graph.step
        found = [step.param_paths[leaf.state] for leaf in step.params if leaf.old in wanted]
        return ", ".join(".".join(map(str, path)) for path in dict.fromkeys(found))

    def _makers(self, relation: Relation) -> tuple[Equation, tuple[Variable, ...]]:
        """Return a relation's equation, and what it takes beside the weight."""
        equation, index = relation.uses[0]
        others = [a for i, a in enumerate(equation.inputs) if i != index and isinstance(a, Variable)]
        return equation, tuple(others)

    def _reads(self, values: Iterable[Variable], sources: set[Variable]) -> bool:
        """Whether a gradient flows from values to some sources within the step."""
        wanted = list(values)
        inside = self.graph.step.program.slice(wanted, gradient=True)
        return any(v in sources for v in wanted) or any(a in sources for e in inside for a in e.inputs)

    def _products_that_read(self, group: Group, sources: set[Variable]) -> Iterator[Relation]:
        """List the products in a group's step that give some values a gradient."""
        closure = set(self._closure(group))
        for relation in self.graph.relations.mixing:
            equation, others = self._makers(relation)
            if equation in closure and self._reads(others, sources):
                yield relation

    def _closure(self, group: Group) -> tuple[Equation, ...]:
        """Return the equations through which a gradient flows from a group's new states."""
        new = (leaf.new for leaf in group.leaves)
        return self.graph.step.program.slice(new, self.graph.new_elsewhere(group), gradient=True)

    # Parts -------------------------------------------------------------------------------------

    def _of_rule(self, group: Group) -> Iterator[Approximation]:
        if self.rule.recursion == "scalar":
            yield Approximation(
                f"the dynamics of {group.name}: a fixed leak of {self.rule.leak} stands in for them",
                "",
                "",
                "snntrace.D_RTRL takes the model's own",
            )
        if self.rule.recursion == "none":
            yield Approximation(
                f"all that {group.name} kept from earlier steps", "", "", "snntrace.D_RTRL has it"
            )
        if self.engine.signals.cut[group.index]:
            given = "the target" if self.rule.signal == "target" else "the error at the output"
            yield Approximation(
                f"the loss's gradient at {group.name}: a fixed projection of {given} stands in for it",
                "",
                "",
                "B_list with None for this group, or snntrace.D_RTRL",
            )

    def _of_factors(self, group: Group, mine: set[Variable]) -> Iterator[Approximation]:
        """List the operations of some parameters whose traces into a group are factored."""
        if self.rule.decays is None:
            return
        pre, post = self.rule.decays
        for layout in self.engine.layouts:
            relation = layout.relation
            if (
                isinstance(layout, FactoredLayout)
                and isinstance(relation, Operation)
                and layout.route.group is group
                and mine & self._trained(relation)
            ):
                yield Approximation(
                    f"which input met which state of {group.name}: the product of both pasts, smoothed by "
                    f"{pre:.4g} and {post:.4g}, stands in for the sum over time of products",
                    relation.equation.name,
                    relation.equation.where,
                    "snntrace.D_RTRL keeps a trace for each synapse",
                )

    def _among_units(self, group: Group) -> Iterator[Approximation]:
        for relation in self._products_that_read(group, {leaf.old for leaf in group.leaves}):
            equation, _ = self._makers(relation)
            names = self.names(relation.sources)
            if self.rule.recursion == "coupled":
                what, instead = f"what units of {group.name} did to other units through {names}", BPTT
            else:
                what = f"what units of {group.name} did to each other and to themselves through {names}"
                instead = f"snntrace.OSTLRecurrent has what a unit did to itself; {BPTT}"
            yield Approximation(what, equation.name, equation.where, instead)

    def _to_groups(self, group: Group) -> Iterator[Approximation]:
        mine = {v for leaf in group.leaves for v in (leaf.old, leaf.new)}
        for other in self.graph.groups:
            closure = self._closure(other)
            readers = [e for e in closure if any(a in mine for a in e.inputs)]
            if other is group or not readers or not self._remembers(other):
                continue
            what = f"what {group.name} did to later states of {other.name}"
            products = list(self._products_that_read(other, mine))
            for relation in products:
                equation, _ = self._makers(relation)
                yield Approximation(
                    f"{what} through {self.names(relation.sources)}", equation.name, equation.where, BPTT
                )
            if not products:
                yield Approximation(what, readers[0].name, readers[0].where, BPTT)

    def _remembers(self, group: Group) -> bool:
        """Whether anything reads a group's old states."""
        old = {leaf.old for leaf in group.leaves}
        own = any(a in old for e in self._closure(group) for a in e.inputs)
        return own or self.graph.read_before[group.index]

    def _to_others(self, group: Group) -> Iterator[Approximation]:
        mine = {v for leaf in group.leaves for v in (leaf.old, leaf.new)}
        for equation in self.graph.step.program.equations:
            if any(a in mine for a in equation.inputs):
                yield from self._into_other_states(equation)

    def _into_other_states(self, equation: Equation) -> Iterator[Approximation]:
        """List the states without a derivative through time that an equation acts on."""
        stops = self.graph.new_states
        for leaf in self.graph.step.others:
            inside = self.graph.step.program.slice([leaf.new], stops, gradient=True)
            if leaf.new.is_float and equation in inside:
                yield Approximation(
                    f"what went through {leaf.label}, which carries no gradient from step to step",
                    equation.name,
                    equation.where,
                    f"make {leaf.label} a brainstate.HiddenState",
                )

    def _through_a_weight(self, equation: Equation, mine: set[Variable]) -> Iterator[Approximation]:
        """List the groups on which an equation acts through another weight's operand."""
        for group in self.graph.groups:
            if equation not in self.graph.operands(group) or self._traced_through(equation, group):
                continue
            traced = any(mine & self._trained(r.relation) for r in self.graph.routes)
            behind = "" if traced else "let it act behind it, `gate * (h @ w)` for `(gate * h) @ w`; "
            for relation in self.graph.relations.mixing:
                product, others = self._makers(relation)
                elsewhere = self.graph.new_elsewhere(group)
                inside = self.graph.step.program.slice(others, elsewhere, gradient=True)
                if product is not equation and equation in inside and product in self._closure(group):
                    names = self.names(relation.sources)
                    yield Approximation(
                        f"what it did to earlier values of {group.name} through {names}",
                        product.name,
                        product.where,
                        behind + self._whole_trace(equation, group) + BPTT,
                    )

    def _traced_through(self, equation: Equation, group: Group) -> bool:
        """Whether traces hold what an equation's parameters do to a group through another weight."""
        return any(
            use[0] is equation
            for route in self.graph.routes
            if route.group is group and route.through
            for use in route.relation.uses
        )

    def _whole_trace(self, equation: Equation, group: Group) -> str:
        """Say what the exact trace of an equation's parameter takes."""
        relations: list[Temporal] = [*self.graph.relations.operations, *self.graph.relations.elementwise]
        acting = [r for r in relations if any(use[0] is equation for use in r.uses)]
        if not acting:
            return ""
        n_bytes = sum(FullLayout(Route(r, group, None, True), r.weight, False).n_bytes for r in acting)
        return f"compile with nondiagonal='exact', a trace of {written(n_bytes)}; "
