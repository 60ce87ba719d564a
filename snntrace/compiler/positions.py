"""Positions: which unit of a hidden group each position of a value acts on.

A backward pass from the new states of a group. Every value that reaches them is given, for each of its
positions, the one position of the group that it acts on; a value that acts on several is *mixed*.
The pass stops where the caller says so (at the outputs of mixing relations, which the recursion holds).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from snntrace.compiler.loops import body_of
from snntrace.compiler.primitives import REDUCTIONS, is_elementwise, is_structural, moved_positions
from snntrace.jaxprs import Atom, Equation, Program, Variable, from_closed_jaxpr


class Identity:
    """Position p acts on position p."""


IDENTITY = Identity()


@dataclass(frozen=True, eq=False)
class Mixed:
    """A position acts on several positions, because of an equation."""

    equation: Equation


PositionMap = Identity | Mixed | np.ndarray
"""An int array holds for each position of a value the flat position it acts on, or -1 for none."""


def as_array(positions: PositionMap, shape: tuple[int, ...]) -> np.ndarray:
    """Write a map as an int array."""
    if isinstance(positions, np.ndarray):
        return positions
    return np.arange(np.prod(shape, dtype=int), dtype=np.int32).reshape(shape)


def simplify(positions: np.ndarray, target_shape: tuple[int, ...]) -> PositionMap:
    """Recognise the identity."""
    if positions.shape == target_shape and np.array_equal(
        positions.reshape(-1), np.arange(positions.size, dtype=np.int32)
    ):
        return IDENTITY
    return positions


def merge(
    one: PositionMap | None,
    two: PositionMap,
    shape: tuple[int, ...],
    target_shape: tuple[int, ...],
    equation: Equation,
) -> PositionMap:
    """Join what two uses of one value say."""
    if one is None or isinstance(two, Mixed):
        return two
    if isinstance(one, Mixed) or (one is IDENTITY and two is IDENTITY):
        return one
    a, b = as_array(one, shape), as_array(two, shape)
    if np.any((a >= 0) & (b >= 0) & (a != b)):
        return Mixed(equation)
    return simplify(np.where(a >= 0, a, b), target_shape)


def act_on(
    equations: Iterable[Equation],
    starts: Mapping[Variable, PositionMap],
    target_shape: tuple[int, ...],
    stops: Iterable[Variable],
    keep: Iterable[tuple[Equation, int]] = (),
) -> tuple[dict[Variable, PositionMap], dict[tuple[Equation, int], PositionMap]]:
    """Carry position maps backward through equations.

    Parameters
    ----------
    equations : iterable of Equation
        The program, in order.
    starts : mapping of Variable to PositionMap
        The values whose positions are asked about.
    target_shape : tuple of int
        Shape of the space of positions.
    stops : iterable of Variable
        Values behind which the pass does not look.
    keep : iterable of (Equation, int)
        Operands of equations to report on separately, and not to follow.

    Returns
    -------
    values : dict of Variable to PositionMap
        The map of every value reached.
    operands : dict of (Equation, int) to PositionMap
        The map of every operand in `keep`, in the shape that the equation broadcasts it to.
    """
    reached: dict[Variable, PositionMap] = dict(starts)
    operands: dict[tuple[Equation, int], PositionMap] = {}
    stopped, kept = set(stops), set(keep)

    def reach(equation: Equation, index: int, atom: Atom, positions: PositionMap) -> None:
        if (equation, index) in kept:
            shape = (
                equation.outputs[0].shape
                if is_elementwise(equation) and isinstance(positions, np.ndarray)
                else atom.shape
            )
            operands[equation, index] = merge(
                operands.get((equation, index)), positions, shape, target_shape, equation
            )
        elif isinstance(atom, Variable) and atom.is_float:
            reached[atom] = merge(reached.get(atom), positions, atom.shape, target_shape, equation)

    for equation in reversed(list(equations)):
        outs = [(o, v) for o, v in enumerate(equation.outputs) if v in reached and v not in stopped]
        if outs and equation.name != "stop_gradient":
            found = [(o, reached[v]) for o, v in outs]
            for i, positions in enumerate(_through(equation, found, kept, target_shape)):
                if positions is not None:
                    reach(equation, i, equation.inputs[i], positions)
    return reached, operands


def _through(
    equation: Equation,
    found: list[tuple[int, PositionMap]],
    kept: set[tuple[Equation, int]],
    target_shape: tuple[int, ...],
) -> Sequence[PositionMap | None]:
    """Carry maps from an equation's outputs to each of its operands; None for those that do not act."""
    atoms = list(enumerate(equation.inputs))
    if equation.name == "scan":
        body = from_closed_jaxpr(equation.params["jaxpr"])
        first, n_carry = equation.params["num_consts"], equation.params["num_carry"]
        return _through_loop(equation, body, first, n_carry, found, target_shape)
    if equation.name == "while":
        body, lead = body_of(equation)
        first, n_carry = equation.params["body_nconsts"], len(equation.outputs)
        return [None] * lead + _through_loop(equation, body, first, n_carry, found, target_shape)
    if equation.name in REDUCTIONS:
        return [_through_reduction(equation, found[0][1])]
    if is_elementwise(equation):
        return [_through_elementwise(equation, i, atom, found, kept) for i, atom in atoms]
    if is_structural(equation):
        table = moved_positions(equation)
        return [_through_structure(equation, table, i, atom, found, target_shape) for i, atom in atoms]
    return [Mixed(equation) for _ in atoms]


def _through_loop(
    equation: Equation,
    body: Program,
    first: int,
    n_carry: int,
    found: list[tuple[int, PositionMap]],
    target_shape: tuple[int, ...],
) -> list[PositionMap | None]:
    """Carry maps through a loop, whose body takes `first` shared values, `n_carry` carried ones, and rows."""
    behind: dict[int, PositionMap] = {}  # what a carried value acts on must be the same at every turn
    for o, positions in found:
        # A row of what a loop stacks acts on what this turn's value acts on.
        behind[o] = positions if o < n_carry else _every_row(positions, equation.outputs[o].shape, equation)
    while True:
        starts: dict[Variable, PositionMap] = {}
        for o, positions in behind.items():
            out = body.outputs[o]
            if isinstance(out, Variable):
                starts[out] = merge(starts.get(out), positions, out.shape, target_shape, equation)
        reached, _ = act_on(body.equations, starts, target_shape, ())
        before = dict(behind)
        for k in range(n_carry):
            turned = reached.get(body.inputs[first + k])
            if turned is not None:
                shape = body.inputs[first + k].shape
                behind[k] = merge(behind.get(k), turned, shape, target_shape, equation)
        if all(k in before and _alike(before[k], m) for k, m in behind.items()):
            break
    maps: list[PositionMap | None] = [reached.get(v) for v in body.inputs]
    for i in range(first + n_carry, len(maps)):
        row = maps[i]
        if row is not None and not isinstance(row, Mixed):
            shape = equation.inputs[i].shape
            maps[i] = np.broadcast_to(as_array(row, shape[1:]), shape)
    return maps


def _through_reduction(equation: Equation, positions: PositionMap) -> PositionMap:
    """Give everything that is joined what the join acts on."""
    if isinstance(positions, Mixed):
        return Mixed(equation)
    (operand,), (out,) = equation.inputs, equation.outputs
    kept = np.expand_dims(as_array(positions, out.shape), tuple(equation.params["axes"]))
    return np.broadcast_to(kept, operand.shape)


def _every_row(positions: PositionMap, shape: tuple[int, ...], equation: Equation) -> PositionMap:
    """Return what all rows of a stacked value act on."""
    if isinstance(positions, Mixed):
        return positions
    rows = as_array(positions, shape)
    joined: np.ndarray = rows.max(axis=0)
    if np.any((rows >= 0) & (rows != joined)):
        return Mixed(equation)
    return joined


def _alike(one: PositionMap, two: PositionMap) -> bool:
    if isinstance(one, np.ndarray) and isinstance(two, np.ndarray):
        return np.array_equal(one, two)
    return one is two or (isinstance(one, Mixed) and isinstance(two, Mixed))


def _through_elementwise(
    equation: Equation,
    index: int,
    atom: Atom,
    found: list[tuple[int, PositionMap]],
    kept: set[tuple[Equation, int]],
) -> PositionMap:
    (_, positions), *more = found
    shape = equation.outputs[0].shape
    if more or isinstance(positions, Mixed) or (equation, index) in kept or atom.shape == shape:
        return positions if not more else Mixed(equation)
    return _gather_back(
        np.broadcast_to(np.arange(np.prod(atom.shape, dtype=int), dtype=np.int32).reshape(atom.shape), shape),
        as_array(positions, shape),
        atom.shape,
        equation,
    )


def _gather_back(
    origin: np.ndarray, positions: np.ndarray, shape: tuple[int, ...], equation: Equation
) -> PositionMap:
    """Give each operand position what its copies act on; several targets mean mixing."""
    result = np.full(int(np.prod(shape, dtype=int)), -1, np.int32)
    used = (origin >= 0) & (positions >= 0)
    result[origin[used]] = positions[used]
    if np.any(result[origin[used]] != positions[used]):
        return Mixed(equation)
    return result.reshape(shape)


def _through_structure(
    equation: Equation,
    table: list[list[np.ndarray]],
    index: int,
    atom: Atom,
    found: list[tuple[int, PositionMap]],
    target_shape: tuple[int, ...],
) -> PositionMap:
    joined: PositionMap | None = None
    for o, positions in found:
        if isinstance(positions, Mixed):
            return positions
        back = _gather_back(
            table[o][index], as_array(positions, equation.outputs[o].shape), atom.shape, equation
        )
        joined = merge(joined, back, atom.shape, target_shape, equation)
    if isinstance(joined, np.ndarray):
        return simplify(joined, target_shape)
    return joined if joined is not None else Mixed(equation)
