"""Hidden groups, and the routes by which relations reach them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from snntrace.compiler.folding import fold_products
from snntrace.compiler.positions import IDENTITY, Mixed, PositionMap, act_on, merge
from snntrace.compiler.primitives import is_structural
from snntrace.compiler.relations import Elementwise, Opaque, Relation, Relations, Temporal, find_relations
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
    """A relation whose output acts on a group position by position: it has an eligibility trace.

    `positions` gives for each position of the relation's output the flat position in the group, or
    -1; None is the identity. They mean nothing for a group that is not position-diagonal.
    """

    relation: Temporal
    group: Group
    positions: np.ndarray | None


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

    def closure(self, group: Group) -> tuple[Equation, ...]:
        """Return the equations that make a group's new states from everything else."""
        return self.step.program.slice((leaf.new for leaf in group.leaves), self.new_elsewhere(group))

    def operands(self, group: Group) -> tuple[Equation, ...]:
        """Return the equations behind the operands of the operations in a group's closure."""
        inner = set(self.closure(group))
        operands = [a for r in self.relations.mixing if r.equation in inner for a in r.operands]
        return self.step.program.slice(operands, self.new_elsewhere(group))

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
        """Temporal relations (by id) that also reach the result without passing a hidden state."""
        return self._used_in(self.readout)

    def cascaded(self, group: Group) -> frozenset[int]:
        """Return the temporal relations (by id) that also act on a group through another weight."""
        return self._used_in(self.operands(group))

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
        Whether units may act on each other without a weight.

    Returns
    -------
    Graph
        What the compiler found.

    Raises
    ------
    CompileError
        If the model has no hidden state, or if a group's transition is not position-diagonal.
    """
    step = fold_products(trace_step(model, args))
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
        found, reads_groups, diagonal = _routes_into(step, relations, leaves, shape, mixing)
        seen.append({i for i, other in enumerate(members) if any(v in reads_groups for v in _ends(other))})
        rows = 1 if batched else _count_row_axes(found, shape)
        reads = _who_reads_whom(step, relations, leaves)
        group = Group(index, leaves, shape, 0 if batched is False else rows, reads, diagonal)
        groups.append(group)
        routes += [Route(relation, group, positions) for relation, positions in found]
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


def _held(relations: Relations) -> set[Variable]:
    """Collect the outputs of mixing relations: the recursion looks no further."""
    return {out for r in relations.mixing for out in r.equation.outputs}


def _join_states(step: StepProgram, relations: Relations) -> list[tuple[StateLeaf, ...]]:
    """Partition hidden states into groups: those that touch position by position."""
    parent = list(range(len(step.hidden)))

    def root(i: int) -> int:
        while parent[i] != i:
            i = parent[i]
        return i

    held = _held(relations)
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
    stops = _held(relations) | {leaf.new for leaf in step.hidden if leaf.new not in own}
    table = []
    for leaf in leaves:
        reached, _ = act_on(step.program.equations, {leaf.new: IDENTITY}, leaf.old.shape, stops)
        table.append(tuple(other.old in reached for other in leaves))
    return tuple(table)


def _routes_into(
    step: StepProgram,
    relations: Relations,
    leaves: tuple[StateLeaf, ...],
    shape: tuple[int, ...],
    mixing: bool,
) -> tuple[list[tuple[Temporal, np.ndarray | None]], set[Variable], bool]:
    own = {leaf.new for leaf in leaves}
    elsewhere = {leaf.new for leaf in step.hidden} - own
    uses = [use for r in relations.elementwise for use in r.uses]
    reached, operands = act_on(
        step.program.equations,
        dict.fromkeys(own, IDENTITY),
        shape,
        _held(relations) | elsewhere,
        uses,
    )
    diagonal = True
    for leaf in leaves:
        positions = reached.get(leaf.old)
        if positions is not None and positions is not IDENTITY:
            diagonal = False
            if not mixing:
                raise _not_diagonal(step, leaf, positions)
    found: list[tuple[Temporal, np.ndarray | None]] = []
    for relation in relations.all:
        positions = _positions_of(relation, reached, operands, shape)
        if positions is None:
            continue
        if isinstance(relation, Opaque):
            raise CompileError(_no_trace(step, relation))
        if isinstance(positions, Mixed):
            diagonal = False
            if not mixing:
                raise CompileError(_mixed_weight(step, relation, positions.equation))
        found.append((relation, positions if isinstance(positions, np.ndarray) else None))
    return found, set(reached), diagonal


def _positions_of(
    relation: Relation,
    reached: dict[Variable, PositionMap],
    operands: dict[tuple[Equation, int], PositionMap],
    shape: tuple[int, ...],
) -> PositionMap | None:
    if not isinstance(relation, Elementwise):
        return next((reached[out] for out in relation.equation.outputs if out in reached), None)
    joined: PositionMap | None = None
    for use in relation.uses:
        if use in operands:
            joined = merge(joined, operands[use], relation.shape, shape, use[0])
    return joined


def _count_row_axes(routes: list[tuple[Temporal, np.ndarray | None]], shape: tuple[int, ...]) -> int:
    counts = [r.n_row_axes for r, _ in routes if len(r.shape) == len(shape)]
    return min([*counts, max(len(shape) - 1, 0)]) if counts else 0


def _labels(step: StepProgram, relation: Relation) -> str:
    return ", ".join(repr(leaf.label) for leaf in step.params if leaf.old in relation.sources)


def _not_diagonal(step: StepProgram, leaf: StateLeaf, positions: PositionMap) -> CompileError:
    if isinstance(positions, Mixed):
        how = f"{positions.equation.name!r} at {positions.equation.where} mixes its positions"
    else:
        behind = step.program.depending_on([leaf.old])
        moving = [
            e for e in step.program.equations if is_structural(e) and any(v in behind for v in e.inputs)
        ]
        place = f" by {moving[0].name!r} at {moving[0].where}" if moving else ""
        how = f"its positions are moved{place} (a roll, a flip or a transpose)"
    return CompileError(
        f"compile: the old value of a hidden state must act on its own unit only, or through a ParamState, "
        f"got state={leaf.label!r}, where {how}. "
        "Make the recurrent matrix a ParamState, put jax.lax.stop_gradient around the operand, or compile "
        "with nondiagonal='exact' where the whole Jacobian fits."
    )


def _no_trace(step: StepProgram, relation: Opaque) -> str:
    equation = relation.equation
    if equation.name in ("scan", "cond"):
        return (
            f"compile: a parameter on the way to a hidden state must act in a short loop or in none, "
            f"got {_labels(step, relation)} in {equation.name!r} at {equation.where}. "
            "Make the loop shorter, or let the parameter act in front of it or behind it."
        )
    why = f" ({relation.reason})" if relation.reason else ""
    return (
        f"compile: a parameter must reach a hidden state through an operation that has traces, or position "
        f"by position, got {_labels(step, relation)} in {relation.equation.name!r} at "
        f"{relation.equation.where}{why}. Write it as one of the operations in docs/operations.md, register "
        "yours with snntrace.register_operation, or keep it out of the hidden path."
    )


def _mixed_weight(step: StepProgram, relation: Relation, equation: Equation) -> str:
    return (
        f"compile: between a parameter and a hidden state every operation must keep positions, "
        f"got {equation.name!r} at {equation.where} after {_labels(step, relation)}. "
        "Move that operation before the product, put a trainable product behind it, or compile with "
        "nondiagonal='exact' where the whole Jacobian fits."
    )
