"""What a unit does to itself through weights: the rest of the diagonal of a step's true Jacobian.

The diagonal recursion holds the products. Through one product, ``h_i -> x_j -> y_k -> h_i`` adds
``Df[i] W[j, k] P[i]`` with ``P = dx/dh``; through two in a row (a gate that multiplies the operand of
another product) it adds ``Df[i] sum_m W2[m, k] C[m] W1[j, m] P[i]`` with ``C = dx2/dy1``, one product of
a matrix that does not change within a window.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import numpy as np

from snntrace.compiler.graph import Graph, Group, Route
from snntrace.compiler.own_ways import OneOperation, own_way
from snntrace.compiler.positions import IDENTITY, Mixed, PositionMap, act_on, as_array
from snntrace.compiler.relations import Dense, Elementwise, Operation
from snntrace.errors import CompileError
from snntrace.jaxprs import Atom, Variable


@dataclass(frozen=True, eq=False)
class OneProduct:
    """Group to itself through one product.

    `pre` holds for each flat group position the presynaptic column j (-1: none); `slots` the flat
    positions of the output that act on it (-1: none), and `post` their columns k.
    """

    relation: Dense
    pre: np.ndarray
    slots: np.ndarray
    post: np.ndarray


@dataclass(frozen=True, eq=False)
class TwoProducts:
    """Group to itself through two products in a row.

    `link` holds for each column of the first product's output the presynaptic column of the second.
    """

    first: OneProduct
    second: OneProduct
    link: np.ndarray


@dataclass(frozen=True, eq=False)
class Coupling:
    """All ways of a group to its own diagonal through weights."""

    group: Group
    single: tuple[OneProduct, ...]
    double: tuple[TwoProducts, ...]
    operations: tuple[OneOperation, ...] = ()

    def __bool__(self) -> bool:
        """Whether there is such a way."""
        return bool(self.single or self.double or self.operations)


def find_coupling(graph: Graph, group: Group) -> Coupling:
    """Find the closed form of a group's diagonal.

    Returns
    -------
    Coupling
        The ways of the group to itself.

    Raises
    ------
    CompileError
        If the operand of a product does not follow the group position by position, or if three
        products follow each other within one step.
    """
    direct = [r for r in graph.routes if r.group is group and r.direct]
    into = [(r.relation, r) for r in direct if isinstance(r.relation, Dense)]
    single: dict[int, OneProduct] = {}
    double = []
    for relation, route in into:
        reached = _behind_operand(graph, group, relation, relation.operand)
        pre = _own_positions(graph, group, relation, reached)
        if pre is not None:
            single[id(relation)] = _one_product(relation, route.positions, pre)
        for first in graph.relations.operations:
            positions = reached.get(first.output)
            if positions is None or not _depends_on(graph, group, first):
                continue
            if not isinstance(first, Dense):
                raise CompileError(_no_closed_form(group, first))
            double.append(_two_products(graph, group, first, relation, route.positions, positions))
    others = (_through_operation(graph, group, r) for r in direct if not isinstance(r.relation, Dense))
    operations = tuple(way for way in others if way is not None)
    return Coupling(group, tuple(single.values()), tuple(double), operations)


def _through_operation(graph: Graph, group: Group, route: Route) -> OneOperation | None:
    """Find a group's way to itself through an operation that is not a plain product.

    Returns
    -------
    OneOperation or None
        None if there is no such way.

    Raises
    ------
    CompileError
        If there is one without a closed form.
    """
    relation = route.relation
    if isinstance(relation, Elementwise) or not _depends_on(graph, group, relation):
        return None
    way = None
    moving = [a for a in relation.operands if _follows(graph, group, a)]
    if len(moving) == 1:
        reached = _behind_operand(graph, group, relation, moving[0])
        inner = [r for r in graph.relations.operations if r.output in reached]
        feeds = (
            None
            if any(_depends_on(graph, group, r) for r in inner)
            else _own_positions(graph, group, relation, reached)
        )
        if feeds is not None:
            constant = graph.step.program.constant
            way = own_way(relation, moving[0], route.positions, feeds, constant)
    if way is None:
        raise CompileError(_no_closed_form(group, relation))
    return way


def _no_closed_form(group: Group, relation: Operation) -> str:
    return (
        "coupled recursion: a group must act on itself through matrix products, or through one operation of "
        f"another kind whose operand follows its units, got a {relation.kind} at {relation.equation.where} "
        f"from {group.name!r} to itself. Use the diagonal recursion (D_RTRL)."
    )


def _behind_operand(
    graph: Graph, group: Group, relation: Operation, operand: Atom
) -> dict[Variable, PositionMap]:
    if not isinstance(operand, Variable):
        return {}
    stops = {r.output for r in graph.relations.operations} | graph.new_elsewhere(group)
    reached, _ = act_on(graph.step.program.equations, {operand: IDENTITY}, operand.shape, stops)
    old = {leaf.old for leaf in group.leaves}
    for variable in reached:
        if variable in graph.new_elsewhere(group) and _reads(graph, variable, old):
            raise CompileError(
                f"coupled recursion: a group must not act on itself through another group within one step, "
                f"got group={group.name!r} in {relation.equation.name!r} at {relation.equation.where}. "
                "Use the diagonal recursion (D_RTRL)."
            )
    return reached


def _reads(graph: Graph, variable: Variable, old: set[Variable]) -> bool:
    return any(v in old for e in graph.step.program.slice([variable]) for v in e.inputs)


def _follows(graph: Graph, group: Group, atom: Atom) -> bool:
    old = {leaf.old for leaf in group.leaves}
    return isinstance(atom, Variable) and (atom in old or _reads(graph, atom, old))


def _depends_on(graph: Graph, group: Group, relation: Operation) -> bool:
    return any(_follows(graph, group, a) for a in relation.operands)


def _own_positions(
    graph: Graph, group: Group, relation: Operation, reached: dict[Variable, PositionMap]
) -> np.ndarray | None:
    """Return for each flat group position the flat operand position that it feeds, or -1."""
    joined: np.ndarray | None = None
    for leaf in group.leaves:
        positions = reached.get(leaf.old)
        if positions is None:
            continue
        if isinstance(positions, Mixed):
            raise CompileError(
                f"coupled recursion: a product's operand must follow the group's states position by "
                f"position, got {positions.equation.name!r} at {positions.equation.where} before the product "
                f"at {relation.equation.where}. Use the diagonal recursion (D_RTRL)."
            )
        array = as_array(positions, leaf.old.shape).reshape(-1)
        if joined is not None and np.any((joined >= 0) & (array >= 0) & (joined != array)):
            raise CompileError(
                f"coupled recursion: every state of a unit must feed one presynaptic position, "
                f"got several for group={group.name!r} in {relation.equation.name!r} at "
                f"{relation.equation.where}. "
                "Use the diagonal recursion (D_RTRL)."
            )
        joined = array if joined is None else np.where(joined >= 0, joined, array)
    return joined


def _columns(positions: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Translate flat positions into columns; -1 stays."""
    return np.where(positions >= 0, index.reshape(-1)[np.maximum(positions, 0)], -1)


def _one_product(relation: Dense, positions: np.ndarray | None, feeds: np.ndarray) -> OneProduct:
    rows, n_pre, n_post = relation.sizes
    x_shape = relation.operand.shape
    with jax.ensure_compile_time_eval():
        x_index = np.arange(np.prod(x_shape, dtype=int)).reshape(x_shape)
        order = np.asarray(relation.rows(x_index)).reshape(-1)
        y_order = np.asarray(relation.columns(np.arange(rows * n_post).reshape(relation.shape))).reshape(-1)
    x_column, x_row = np.empty(order.size, int), np.empty(order.size, int)
    x_column[order], x_row[order] = np.tile(np.arange(n_pre), rows), np.repeat(np.arange(rows), n_pre)
    y_column, y_row = np.empty(y_order.size, int), np.empty(y_order.size, int)
    y_column[y_order], y_row[y_order] = np.tile(np.arange(n_post), rows), np.repeat(np.arange(rows), n_post)

    size = feeds.size
    targets = np.arange(size) if positions is None else positions.reshape(-1)
    slots = _invert(targets, size)
    pre = _columns(feeds, x_column)
    pre_row = _columns(feeds, x_row)
    post, post_row = _columns(slots, y_column), _columns(slots, y_row)
    return OneProduct(relation, pre, np.where((post_row == pre_row) | (pre_row < 0), slots, -1), post)


def _invert(targets: np.ndarray, size: int) -> np.ndarray:
    """List for each target the sources that point to it, padded with -1."""
    counts = np.bincount(targets[targets >= 0], minlength=size)
    slots = np.full((max(int(counts.max(initial=0)), 1), size), -1, int)
    filled = np.zeros(size, int)
    for source in np.flatnonzero(targets >= 0):
        target = targets[source]
        slots[filled[target], target] = source
        filled[target] += 1
    return slots


def _two_products(
    graph: Graph,
    group: Group,
    first: Dense,
    second: Dense,
    targets: np.ndarray | None,
    positions: PositionMap,
) -> TwoProducts:
    behind = _behind_operand(graph, group, first, first.operand)
    deeper = [r for r in graph.relations.operations if r.output in behind and _depends_on(graph, group, r)]
    if isinstance(positions, Mixed) or deeper:
        raise CompileError(
            f"coupled recursion: at most two products may follow each other within one step, each keeping "
            f"positions, got a longer way to {second.equation.name!r} at {second.equation.where}. "
            "Use the diagonal recursion (D_RTRL)."
        )
    feeds = _own_positions(graph, group, first, behind)
    if feeds is None:
        feeds = np.full(int(np.prod(group.shape, dtype=int)), -1, int)
    rows, n_mid = first.sizes[0], first.sizes[2]
    x_shape = second.operand.shape
    with jax.ensure_compile_time_eval():
        order = np.asarray(second.rows(np.arange(np.prod(x_shape, dtype=int)).reshape(x_shape)))
        mid = np.asarray(first.columns(as_array(positions, first.shape)))
    column = np.empty(order.size, int)
    column[order.reshape(-1)] = np.tile(np.arange(second.sizes[1]), second.sizes[0])
    link = _columns(mid.reshape(-1), column).reshape(rows, n_mid)
    if np.any(link != link[:1]) or first.sizes[0] != second.sizes[0]:
        raise CompileError(
            f"coupled recursion: two products in a row must treat every row alike, got differing rows in "
            f"{second.equation.name!r} at {second.equation.where}. Use the diagonal recursion (D_RTRL)."
        )
    nowhere = np.full(first.shape, -1, np.int32)
    return TwoProducts(
        _one_product(first, nowhere, feeds), _one_product(second, targets, np.full_like(feeds, -1)), link[0]
    )
