"""Stages: the hidden groups of a step that can run one after another, each over a whole window.

A group is a stage if its transition acts unit by unit on its own states and on the outputs of products, and
if every operand of those products is an input, the group's own units before the step, or the units of one
group below after it. Groups that feed back to groups below are no stages: they need the step as a whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from snntrace.compiler.graph import Group
from snntrace.compiler.perturb import StepFunctions
from snntrace.compiler.relations import Dense, Operation
from snntrace.compiler.spatial import order_groups
from snntrace.executors.engine import Engine
from snntrace.fused.units import NotFusable, UnitCode
from snntrace.jaxprs import Constant, Equation, Variable


@dataclass(eq=False)
class Port:
    """A unit-wise value of a group's states that products take: usually its spikes.

    `code` and `result` are written for states named ``a0``, ``a1``, ...; `equations` make `variable` of
    `states` (the old or the new ones).
    """

    group: Group
    variable: Variable
    states: tuple[Variable, ...]
    equations: tuple[Equation, ...]
    code: tuple[str, ...]
    result: str
    params: tuple[Variable, ...]
    outgoing: list[Dense] = field(default_factory=list)

    @property
    def binary(self) -> bool:
        """Whether the value is 0 or 1 by construction."""
        made = dict(line.split(" = ", 1) for line in self.code)
        return made.get(self.result, "").startswith("F(1) if ") and "else F(0)" in made[self.result]

    @property
    def key(self) -> tuple[object, ...]:
        """What tells ports apart."""
        return (self.group.index, self.code, self.result, self.params)


@dataclass(frozen=True, eq=False)
class Incoming:
    """A product into a group.

    `port` is where its operand comes from: a port of the group itself (`own`) or of a lower group; None where
    the step's input makes it.
    """

    relation: Dense
    port: Port | None
    own: bool


@dataclass(eq=False)
class Stage:
    """A hidden group with what goes into and out of it."""

    group: Group
    incoming: tuple[Incoming, ...]
    params: tuple[Variable, ...]
    ports: list[Port] = field(default_factory=list)
    readouts: set[Dense] = field(default_factory=set)
    kept: set[int] = field(default_factory=set)

    @property
    def width(self) -> int:
        """Units of the group."""
        return self.group.width

    @property
    def own(self) -> tuple[Incoming, ...]:
        """Recurrent products."""
        return tuple(i for i in self.incoming if i.own)


class Stages:
    """The stages of a graph under a rule, and the read-out behind them.

    Parameters
    ----------
    engine : Engine
        The graph under a rule.

    Raises
    ------
    NotFusable
        If the step has no such stages; the message says why.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.functions: StepFunctions = engine.functions
        self.graph = graph = engine.graph
        self._ports: dict[tuple[object, ...], Port] = {}
        self._check()
        self.stages = tuple(self._stage(g) for g in order_groups(graph))
        self.of_group = {s.group.index: s for s in self.stages}
        self.readouts = self._readouts()
        held = graph.new_states | {r.output for r in self.readouts}
        rest = graph.step.program.slice(graph.step.results, held)
        self.rest = tuple(e for e in rest if e not in self.functions.chain_set)
        used = {v for e in self.rest for v in e.inputs} | set(graph.step.results)
        for stage in self.stages:
            stage.kept |= {q for q, leaf in enumerate(stage.group.leaves) if leaf.new in used}
        for port in self._ports.values():
            self.of_group[port.group.index].ports.append(port)

    def _check(self) -> None:
        graph, engine = self.graph, self.engine
        if engine.rule.recursion == "full":
            raise NotFusable("a rule without traces")
        if engine.rule.decays is not None:
            raise NotFusable("a rule with factored traces")
        if graph.step.others:
            raise NotFusable(f"the state {graph.step.others[0].label!r}, which is not hidden")
        if any(graph.read_before):
            raise NotFusable("a state that is read before its update")
        if engine.signals.through is not None:
            raise NotFusable("a layer with the loss's own signal below one with a projected signal")
        if graph.beside or any(graph.cascaded(g) for g in graph.groups):
            raise NotFusable("a weight that acts beside the hidden states")
        for group in graph.groups:
            dtypes = {np.dtype(leaf.old.dtype) for leaf in group.leaves}
            if len(dtypes) > 1 or dtypes.pop() not in (np.dtype("float32"), np.dtype("float64")):
                raise NotFusable(f"the number types of {group.name!r}")
        if len({leaf.old.dtype for leaf in graph.step.hidden}) > 1:
            raise NotFusable("groups of different number types")

    # Groups ------------------------------------------------------------------------------------

    @cached_property
    def _chain_values(self) -> frozenset[Variable]:
        functions = self.functions
        constants = self.graph.step.program.constants
        return frozenset((*functions.float_vars, *functions.other_vars, *constants))

    def _stage(self, group: Group) -> Stage:
        functions = self.functions
        equations = self.equations(group)
        read = {v for e in equations for v in e.inputs if isinstance(v, Variable)}
        read |= {leaf.new for leaf in group.leaves}
        relations = [r for r in functions.products if r.output in read]
        routed = {id(r.relation): r for r in self.graph.routes if r.group is group}
        for relation in relations:
            route = routed.get(id(relation))
            if route is None or route.positions is not None or relation.shape != group.shape:
                raise NotFusable(f"a product that reaches {group.name!r} other than unit by unit")
        for site in functions.sites_of(group):
            if site.shape != group.shape:
                raise NotFusable(f"a parameter of shape {site.shape} in {group.name!r}")
        params = self._params(equations, group)
        names = {leaf.old: "0" for leaf in group.leaves} | dict.fromkeys(params, "0")
        names |= {r.output: "0" for r in relations}
        UnitCode(group.shape, names, "c").run(equations)
        return Stage(group, tuple(self._incoming(group, r) for r in relations), params)

    def equations(self, group: Group) -> tuple[Equation, ...]:
        """Return a group's transition, products held."""
        return tuple(
            e for e in self.functions.local_equations[group.index] if e not in self.functions.chain_set
        )

    def _params(self, equations: Iterable[Equation], group: Group) -> tuple[Variable, ...]:
        """Collect the parameters that equations read: one number, or one for each unit."""
        found = dict.fromkeys(
            v for e in equations for v in e.inputs if isinstance(v, Variable) and v in self._chain_values
        )
        for variable in found:
            size = int(np.prod(variable.shape, dtype=int))
            by_unit = bool(variable.shape) and variable.shape[-1] == group.width == size
            if size != 1 and not by_unit:
                raise NotFusable(f"a parameter of shape {variable.shape} in {group.name!r}")
        return tuple(found)

    def _incoming(self, group: Group, product: Operation) -> Incoming:
        relation = check_layout(product)
        operand = relation.operand
        if isinstance(operand, Constant):
            raise NotFusable("a product with a constant")
        held = {r.output for r in self.graph.relations.dense}
        equations = self._between(operand, self.graph.new_states | held)
        read = self._sources(operand, equations)
        if read <= set(self.graph.step.arguments):
            return Incoming(relation, None, False)
        old = tuple(leaf.old for leaf in group.leaves)
        if read <= set(old):
            return Incoming(relation, self._port(group, operand, old, equations, None), True)
        return Incoming(relation, self._lower(operand, equations, read, relation), False)

    def _lower(
        self, operand: Variable, equations: Sequence[Equation], read: set[Variable], relation: Dense
    ) -> Port:
        for below in self.graph.groups:
            new = tuple(leaf.new for leaf in below.leaves)
            if read <= set(new):
                return self._port(below, operand, new, equations, relation)
        raise NotFusable(f"a product whose operand mixes several sources at {relation.equation.where}")

    def _port(
        self,
        group: Group,
        operand: Variable,
        states: tuple[Variable, ...],
        equations: Sequence[Equation],
        outgoing: Dense | None,
    ) -> Port:
        if operand.shape != group.shape:
            raise NotFusable(f"an operand of shape {operand.shape} for units of shape {group.shape}")
        params = self._params(equations, group)
        names = {v: f"a{q}" for q, v in enumerate(states)} | {v: f"b{m}" for m, v in enumerate(params)}
        code = UnitCode(group.shape, names, "z")
        code.run(equations)
        port = Port(group, operand, states, tuple(equations), tuple(code.lines), code.read(operand), params)
        port = self._ports.setdefault(port.key, port)
        if states[0] in self.graph.new_states:
            # The same value of the old states may have been met first; derivatives are taken at the new ones.
            port.variable, port.states, port.equations = operand, states, tuple(equations)
        if outgoing is not None:
            port.outgoing.append(outgoing)
        return port

    def add_port(self, stage: Stage, output: Variable) -> Port:
        """Make a port of a value of a group's new states that nothing takes as it is.

        Returns
        -------
        Port
            The port.

        Raises
        ------
        NotFusable
            If the value is no unit-wise function of these states.
        """
        group = stage.group
        new = tuple(leaf.new for leaf in group.leaves)
        equations = self._between(output, self.graph.new_states)
        if not self._sources(output, equations) <= set(new):
            raise NotFusable(f"the output of {group.name!r}")
        port = self._port(group, output, new, equations, None)
        if port not in stage.ports:
            stage.ports.append(port)
        return port

    def _between(self, value: Variable, stops: Iterable[Variable]) -> list[Equation]:
        """List the equations behind a value, parameters' own aside."""
        chain = self.functions.chain_set
        return [e for e in self.graph.step.program.slice([value], stops) if e not in chain]

    def _sources(self, value: Variable, equations: Iterable[Equation]) -> set[Variable]:
        """Collect what a value is made of, parameters aside."""
        equations = list(equations)
        read = {v for e in equations for v in e.inputs if isinstance(v, Variable)} | {value}
        return read - {out for e in equations for out in e.outputs} - self._chain_values

    # Read-out ----------------------------------------------------------------------------------

    def _readouts(self) -> tuple[Dense, ...]:
        """Find products of units in the read-out: they are taken from the spikes, too."""
        found = []
        inside = set(self.graph.readout)
        for relation in self.graph.relations.dense:
            if relation.equation not in inside:
                continue
            try:
                check_layout(relation)
                operand = relation.operand
                equations = self._between(operand, self.graph.new_states)
                port = self._lower(operand, equations, self._sources(operand, equations), relation)
            except NotFusable:
                continue
            self.of_group[port.group.index].readouts.add(relation)
            found.append(relation)
        return tuple(found)


def check_layout(relation: Operation) -> Dense:
    """Refuse what is not a product of rows (time, batch) and a matrix.

    Returns
    -------
    Dense
        The product.

    Raises
    ------
    NotFusable
        If it is another operation, or the axes are others.
    """
    if not isinstance(relation, Dense):
        raise NotFusable(f"a {relation.kind} at {relation.equation.where}")
    contracted, _ = relation.equation.params["dimension_numbers"]
    x_in = tuple(contracted[1 - relation.weight_side])
    rows = relation.sizes[0]
    last = x_in == (len(relation.operand.shape) - 1,)
    if len(relation.weight.shape) != 2 or not last or (relation.weight_side == 0 and rows > 1):
        raise NotFusable(f"a product of other axes at {relation.equation.where}")
    return relation
