"""Which relations act on a group of hidden states, and how: unit by unit, or not at all."""

from __future__ import annotations

import numpy as np

from snntrace.compiler.positions import IDENTITY, Mixed, PositionMap, act_on, merge
from snntrace.compiler.primitives import is_structural
from snntrace.compiler.relations import Elementwise, Opaque, Relation, Relations, Temporal
from snntrace.compiler.step import StateLeaf, StepProgram
from snntrace.errors import CompileError
from snntrace.jaxprs import Equation, Variable


def held_outputs(relations: Relations) -> set[Variable]:
    """Collect the outputs of mixing relations: the recursion looks no further."""
    return {out for r in relations.mixing for out in r.equation.outputs}


def routes_into(
    step: StepProgram,
    relations: Relations,
    leaves: tuple[StateLeaf, ...],
    shape: tuple[int, ...],
    mixing: bool,
) -> tuple[list[tuple[Temporal, np.ndarray | None]], set[Variable], bool]:
    """Find the relations that act on a group without another weight between.

    Parameters
    ----------
    step : StepProgram
        The step.
    relations : Relations
        Its relations.
    leaves : tuple of StateLeaf
        The group's states.
    shape : tuple of int
        Their shape.
    mixing : bool
        Whether units may act on each other.

    Returns
    -------
    found : list of (Temporal, array or None)
        The relations with the positions of their outputs in the group.
    reached : set of Variable
        Every value that acts on the group, products held.
    diagonal : bool
        Whether the group's units keep apart.

    Raises
    ------
    CompileError
        If they do not and may not, or if a parameter acts in an operation without traces.
    """
    own = {leaf.new for leaf in leaves}
    elsewhere = {leaf.new for leaf in step.hidden} - own
    uses = [use for r in relations.elementwise for use in r.uses]
    reached, operands = act_on(
        step.program.equations,
        dict.fromkeys(own, IDENTITY),
        shape,
        held_outputs(relations) | elsewhere,
        uses,
    )
    diagonal = True
    for leaf in leaves:
        positions = reached.get(leaf.old)
        if positions is not None and positions is not IDENTITY:
            diagonal = False
            if not mixing:
                raise CompileError(_not_diagonal(step, leaf, positions))
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


def through_weights(
    step: StepProgram, relations: Relations, leaves: tuple[StateLeaf, ...], shape: tuple[int, ...]
) -> list[Temporal]:
    """List the relations that act on a group through the operand of another weight, within a step."""
    own = {leaf.new for leaf in leaves}
    elsewhere = {leaf.new for leaf in step.hidden} - own
    uses = [use for r in relations.elementwise for use in r.uses]
    equations = step.program.equations
    everything, _ = act_on(equations, dict.fromkeys(own, IDENTITY), shape, elsewhere, uses)
    starts = {
        a: Mixed(r.equation)
        for r in relations.mixing
        if any(out in everything for out in r.equation.outputs)
        for a in r.operands
        if isinstance(a, Variable) and a.is_float
    }
    reached, operands = act_on(equations, starts, shape, elsewhere, uses)
    return [
        *(r for r in relations.operations if r.output in reached),
        *(r for r in relations.elementwise if any(use in operands for use in r.uses)),
    ]


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


def count_row_axes(routes: list[tuple[Temporal, np.ndarray | None]], shape: tuple[int, ...]) -> int:
    """Count the leading axes of a group that all relations into it share weights along."""
    counts = [r.n_row_axes for r, _ in routes if len(r.shape) == len(shape)]
    return min([*counts, max(len(shape) - 1, 0)]) if counts else 0


def _labels(step: StepProgram, relation: Relation) -> str:
    return ", ".join(repr(leaf.label) for leaf in step.params if leaf.old in relation.sources)


def _not_diagonal(step: StepProgram, leaf: StateLeaf, positions: PositionMap) -> str:
    if isinstance(positions, Mixed):
        how = f"{positions.equation.name!r} at {positions.equation.where} mixes its positions"
    else:
        behind = step.program.depending_on([leaf.old])
        moving = [
            e for e in step.program.equations if is_structural(e) and any(v in behind for v in e.inputs)
        ]
        place = f" by {moving[0].name!r} at {moving[0].where}" if moving else ""
        how = f"its positions are moved{place} (a roll, a flip or a transpose)"
    return (
        "compile: the old value of a hidden state must act on its own unit only, or through a ParamState, "
        f"got state={leaf.label!r}, where {how}. "
        "Make the recurrent matrix a ParamState, put jax.lax.stop_gradient around the operand, or compile "
        "with nondiagonal='exact' where the whole Jacobian fits."
    )


def _no_trace(step: StepProgram, relation: Opaque) -> str:
    equation = relation.equation
    if equation.name in ("scan", "cond", "while"):
        return (
            f"compile: a parameter on the way to a hidden state must act in a short loop or in none, "
            f"got {_labels(step, relation)} in {equation.name!r} at {equation.where}. "
            "Write a shorter loop of fixed length (fori_loop or scan with a static count), or let the "
            "parameter act in front of it or behind it."
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
