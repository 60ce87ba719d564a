"""Hidden groups, and the routes by which relations reach them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from snntrace.compiler.folding import fold_products
from snntrace.compiler.positions import IDENTITY, act_on
from snntrace.compiler.relations import Relations, Temporal, find_relations
from snntrace.compiler.routing import count_row_axes, held_outputs, routes_into, through_weights
from snntrace.compiler.spreading import spread_products
from snntrace.compiler.step import StateLeaf, StepProgram, trace_step
from snntrace.errors import CompileError
from snntrace.jaxprs import Equation, Variable


@dataclass(frozen=True, eq=False)
class Group:
    """A hidden group: states of one shape that belong to the same units.

    ``reads[s][q]`` tells whether state s's new value depends on state q's old one, products held;
    `diagonal` whether units act on themselves only.
    """

    index: int
    leaves: tuple[StateLeaf, ...]
    shape: tuple[int, ...]
    n_row_axes: int
    reads: tuple[tuple[bool, ...], ...]
    diagonal: bool = True

    @property
    def n_states(self) -> int:
        """States of a unit, S."""
        return len(self.leaves)

    @property
    def width(self) -> int:
        """Units of the group."""
        return int(np.prod(self.shape[self.n_row_axes :], dtype=int))

    @property
    def name(self) -> str:
        """The paths of the group's states."""
        return ", ".join(leaf.label for leaf in self.leaves)


@dataclass(frozen=True, eq=False)
class Route:
    """A relation whose output acts on a group: it has an eligibility trace.

    `positions` gives for each position of the relation's output the flat position in the group, or
    -1; None is the identity. They mean nothing where the trace is `whole`. `direct` tells whether the output
    acts on the group without another weight between, `through` whether it does with one.
    """

    relation: Temporal
    group: Group
    positions: np.ndarray | None
    through: bool = False
    direct: bool = True

    @property
    def whole(self) -> bool:
        """Whether the trace is the sensitivity of every unit to every weight."""
        return self.through or not self.group.diagonal


@dataclass(frozen=True, eq=False)
class Graph:
    """What the compiler found in a step."""

    step: StepProgram
    relations: Relations
    groups: tuple[Group, ...]
    routes: tuple[Route, ...]

    @cached_property
    def temporal(self) -> tuple[Temporal, ...]:
        """Relations with at least one trace, in program order."""
        found = {id(route.relation) for route in self.routes}
        candidates: list[Temporal] = [*self.relations.operations, *self.relations.elementwise]
        return tuple(r for r in candidates if id(r) in found)

    @property
    def rows(self) -> tuple[int, ...]:
        """The samples side by side, ``(batch,)``; nothing without a batch axis."""
        batches = {g.shape[:1] if g.n_row_axes else () for g in self.groups}
        return batches.pop() if len(batches) == 1 else ()

    @cached_property
    def new_states(self) -> frozenset[Variable]:
        """The new value of every hidden state."""
        return frozenset(leaf.new for leaf in self.step.hidden)

    def new_elsewhere(self, group: Group) -> frozenset[Variable]:
        """Return the new hidden states of all other groups."""
        return self.new_states - {leaf.new for leaf in group.leaves}

    @cached_property
    def readout(self) -> tuple[Equation, ...]:
        """Equations between the new states and the step's result."""
        return self.step.program.slice(self.step.results, self.new_states)

    @cached_property
    def whole(self) -> str:
        """Why some traces hold the sensitivity of every unit to every weight; empty if none does."""
        if not all(group.diagonal for group in self.groups):
            return "units act on each other without a weight"
        if any(route.through for route in self.routes):
            return "a weight that acts through another one has its exact trace"
        return ""

    def closure(self, group: Group) -> tuple[Equation, ...]:
        """Return the equations that make a group's new states from everything else."""
        return self.step.program.slice((leaf.new for leaf in group.leaves), self.new_elsewhere(group))

    def operands(self, group: Group) -> tuple[Equation, ...]:
        """Return the equations through whose operations' operands a gradient flows from a group."""
        new, elsewhere = [leaf.new for leaf in group.leaves], self.new_elsewhere(group)
        inner = set(self.step.program.slice(new, elsewhere, gradient=True))
        operands = [a for r in self.relations.mixing if r.equation in inner for a in r.operands]
        return self.step.program.slice(operands, elsewhere, gradient=True)

    @cached_property
    def heard(self) -> frozenset[int]:
        """Groups (by index) that the result depends on within steps, be it through other groups."""
        found: set[int] = set()
        reads = {v for e in self.readout for v in e.inputs} | set(self.step.results)
        while True:
            more = [
                g for g in self.groups if g.index not in found and any(v in reads for v in _ends(g.leaves))
            ]
            if not more:
                return frozenset(found)
            found |= {g.index for g in more}
            reads |= {v for g in more for e in self.closure(g) for v in e.inputs}

    @cached_property
    def beside(self) -> frozenset[int]:
        """Temporal relations (by id) that the result's gradient also reaches beside the hidden states."""
        return self._used_in(self.step.program.slice(self.step.results, self.new_states, gradient=True))

    def cascaded(self, group: Group) -> frozenset[int]:
        """Return the temporal relations (by id) that act on a group through another weight, untraced."""
        traced = {id(r.relation) for r in self.routes if r.group is group and r.through}
        return self._used_in(self.operands(group)) - traced

    def _used_in(self, equations: Sequence[Equation]) -> frozenset[int]:
        inside = set(equations)
        return frozenset(id(r) for r in self.temporal if any(e in inside for e, _ in r.uses))

    @cached_property
    def read_before(self) -> tuple[bool, ...]:
        """For each group, whether its old states are read by the result or by other groups."""
        flags = []
        for group in self.groups:
            old = {leaf.old for leaf in group.leaves}
            places = [(self.readout, self.step.results)]
            places += [(self.closure(g), ()) for g in self.groups if g is not group]
            flags.append(
                any(
                    any(v in old for e in equations for v in e.inputs) or any(a in old for a in atoms)
                    for equations, atoms in places
                )
            )
        return tuple(flags)


def compile_graph(
    model: Any, args: Sequence[Any], batched: bool | None = None, mixing: bool = False
) -> Graph:
    """Find the hidden groups, the relations and the routes of a model's step.

    Parameters
    ----------
    model : brainstate.nn.Module
        A model whose states are initialised.
    args : sequence of pytrees
        Example arguments of `update`.
    batched : bool, optional
        Whether the first axis of every hidden state is the batch; found from the products if None.
    mixing : bool
        Whether traces may be whole: where units act on each other without a weight, and where a weight acts
        through another one.

    Returns
    -------
    Graph
        What the compiler found.

    Raises
    ------
    CompileError
        If the model has no hidden state, or if a group's transition is not position-diagonal.
    """
    step = spread_products(fold_products(trace_step(model, args)))
    if not step.hidden:
        raise CompileError(
            f"compile: the model must have a brainstate.HiddenState of floating type that `update` uses, "
            f"got model={type(model).__name__} with none. "
            "Initialise its states first (brainstate.nn.init_all_states), or train it without traces."
        )
    relations = find_relations(step)
    members = _join_states(step, relations)
    groups: list[Group] = []
    routes: list[Route] = []
    seen: list[set[int]] = []
    for index, leaves in enumerate(members):
        shape = leaves[0].old.shape
        found, reads_groups, diagonal = routes_into(step, relations, leaves, shape, mixing)
        seen.append({i for i, other in enumerate(members) if any(v in reads_groups for v in _ends(other))})
        rows = 1 if batched else count_row_axes(found, shape)
        reads = _who_reads_whom(step, relations, leaves)
        group = Group(index, leaves, shape, 0 if batched is False else rows, reads, diagonal)
        groups.append(group)
        through = through_weights(step, relations, leaves, shape) if mixing else []
        direct = {id(relation) for relation, _ in found}
        found += [(relation, None) for relation in through if id(relation) not in direct]
        routes += [
            Route(relation, group, positions, relation in through, id(relation) in direct)
            for relation, positions in found
        ]
    _check_loops(step, groups, seen)
    return Graph(step, relations, tuple(groups), tuple(routes))


def _ends(leaves: tuple[StateLeaf, ...]) -> list[Variable]:
    return [v for leaf in leaves for v in (leaf.old, leaf.new)]


def _check_loops(step: StepProgram, groups: list[Group], seen: list[set[int]]) -> None:
    """Refuse groups that act on each other without a weight: no trace of either would be complete.

    Raises
    ------
    CompileError
        If there are such groups.
    """
    for group in groups:
        behind: set[int] = set()
        front = seen[group.index] - {group.index}
        while front:
            behind |= front
            front = set().union(*(seen[i] for i in front)) - behind
        if group.index in behind:
            other = next(groups[i] for i in sorted(behind) if i != group.index)
            read = set(_ends(other.leaves))
            own = step.program.slice(leaf.new for leaf in group.leaves)
            reader = next(e for e in own if any(v in read for v in e.inputs))
            raise CompileError(
                "compile: states that act on each other without a weight must have one shape and keep their "
                f"positions, got {group.name!r} {group.shape} and {other.name!r} {other.shape}, joined by "
                f"{reader.name!r} at {reader.where}. "
                "Give both the same shape (and mask what is not used), or join them by a ParamState."
            )


def _join_states(step: StepProgram, relations: Relations) -> list[tuple[StateLeaf, ...]]:
    """Partition hidden states into groups: those that touch position by position."""
    parent = list(range(len(step.hidden)))

    def root(i: int) -> int:
        while parent[i] != i:
            i = parent[i]
        return i

    held = held_outputs(relations)
    for leaf in step.hidden:
        reached, _ = act_on(step.program.equations, {leaf.new: IDENTITY}, leaf.old.shape, held)
        for other in step.hidden:
            touches = (reached.get(other.old), reached.get(other.new))
            if other.old.shape == leaf.old.shape and any(m is IDENTITY for m in touches):
                parent[max(root(leaf.slot), root(other.slot))] = min(root(leaf.slot), root(other.slot))
    members: dict[int, list[StateLeaf]] = {}
    for leaf in step.hidden:
        members.setdefault(root(leaf.slot), []).append(leaf)
    return [tuple(leaves) for leaves in members.values()]


def _who_reads_whom(
    step: StepProgram, relations: Relations, leaves: tuple[StateLeaf, ...]
) -> tuple[tuple[bool, ...], ...]:
    own = {leaf.new for leaf in leaves}
    stops = held_outputs(relations) | {leaf.new for leaf in step.hidden if leaf.new not in own}
    table = []
    for leaf in leaves:
        reached, _ = act_on(step.program.equations, {leaf.new: IDENTITY}, leaf.old.shape, stops)
        table.append(tuple(other.old in reached for other in leaves))
    return tuple(table)
