"""The value of what units do to themselves through weights, added to the diagonal D of a step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from snntrace.compiler.coupling import Coupling, OneProduct
from snntrace.compiler.graph import Group
from snntrace.compiler.perturb import Point, StepFunctions, Weights, run
from snntrace.compiler.relations import Dense, Operation
from snntrace.compiler.sites import Site
from snntrace.jaxprs import Atom, Variable, read

Array = Any
Prepared = tuple[list[Array], list[Array], list[Array]]


def prepare(functions: StepFunctions, coupling: Coupling, weights: Weights) -> Prepared:
    """Pick the weights' parts that the recursion needs; they are constant within a window."""

    def value(relation: Operation) -> Array:
        return weights.floats[functions.float_slot[relation.weight]]

    def matrix(relation: Dense) -> Array:
        return relation.matrix(value(relation))

    single = []
    for term in coupling.single:
        pre, post, used = term.pre[None], term.post, (term.pre >= 0)[None] & (term.slots >= 0)
        pre, post, used = (_one_row_if_alike(a, term.relation.sizes[0]) for a in (pre, post, used))
        picked = matrix(term.relation)[np.maximum(pre, 0), np.maximum(post, 0)]
        single.append(jnp.where(used, picked, 0))
    double = []
    for two in coupling.double:
        w1, w2 = matrix(two.first.relation), matrix(two.second.relation)
        width = two.first.pre.size // two.first.relation.sizes[0]
        pre, post = two.first.pre[:width], two.second.post[:, :width]
        ahead = jnp.where((pre >= 0)[:, None], w1[np.maximum(pre, 0)], 0)  # (unit, middle)
        back = jnp.where((two.link >= 0)[:, None], w2[np.maximum(two.link, 0)], 0)  # (middle, k)
        double.append(jnp.stack([jnp.where(p >= 0, ahead.T * back[:, np.maximum(p, 0)], 0) for p in post]))
    return single, double, [way.pick(value(way.relation)) for way in coupling.operations]


def _one_row_if_alike(values: np.ndarray, rows: int) -> np.ndarray:
    """Reshape (slots, flat) to (slots, rows, width), and keep one row where all are the same."""
    shaped = values.reshape(values.shape[0], rows, -1)
    return shaped[:, :1] if np.array_equal(shaped, np.broadcast_to(shaped[:, :1], shaped.shape)) else shaped


def add_coupling(
    functions: StepFunctions,
    coupling: Coupling,
    prepared: Prepared,
    weights: Weights,
    point: Point,
    diagonal: list[list[Array]],
    df: dict[Site, list[Array]],
) -> list[list[Array]]:
    """Add to D what a unit does to itself through weights."""
    group = coupling.group
    result = [list(row) for row in diagonal]

    def add(term: OneProduct, factor: Array, feed: Sequence[Array]) -> None:
        """Add ``sum_slots Df[slot] factor[slot] . feed``; factor is (slots, rows, width)."""
        for s in range(group.n_states):
            gains = _pick(df[functions.sites[id(term.relation)]][s], term.slots, term.relation.sizes[0])
            gain = (gains * factor).sum(0).reshape(group.shape)
            for q in range(group.n_states):
                result[s][q] = result[s][q] + gain * feed[q]

    for term, w in zip(coupling.single, prepared[0], strict=True):
        feed, _ = _operand_derivatives(functions, group, term.relation.operand, weights, point, None)
        add(term, w, feed)
    for two, m in zip(coupling.double, prepared[1], strict=True):
        first = two.first.relation
        feed, _ = _operand_derivatives(functions, group, first.operand, weights, point, None)
        _, middle = _operand_derivatives(functions, group, two.second.relation.operand, weights, point, first)
        add(two.second, jnp.einsum("fm,amk->afk", first.columns(middle), m), feed)
    for way, w in zip(coupling.operations, prepared[2], strict=True):
        feed, _ = _operand_derivatives(functions, group, way.operand, weights, point, None)
        for s, values in enumerate(df[functions.sites[id(way.relation)]]):
            gain = way.gain(w, values, group.shape)
            for q in range(group.n_states):
                result[s][q] = result[s][q] + gain * feed[q]
    return result


def _pick(values: Array, slots: np.ndarray, rows: int) -> Array:
    """Lay a value in a product's output shape out as (slots, rows, width) of the group."""
    if slots.shape[0] == 1 and np.array_equal(slots[0], np.arange(values.size)):
        return values.reshape(1, rows, -1)
    picked = jnp.where(slots >= 0, values.reshape(-1)[np.maximum(slots, 0)], 0)
    return picked.reshape(slots.shape[0], rows, -1)


def _operand_derivatives(
    functions: StepFunctions,
    group: Group,
    operand: Atom,
    weights: Weights,
    point: Point,
    through: Dense | None,
) -> tuple[list[Array], Array]:
    """Differentiate an operand along the group's old states and along another product."""
    graph = functions.graph
    stops = {r.output for r in functions.products} | graph.new_elsewhere(group)
    equations = [e for e in graph.step.program.slice([operand], stops) if e not in functions.chain_set]

    def held(product: Dense, env: Mapping[Variable, Array], delta: Array) -> Array:
        w = weights.floats[functions.float_slot[product.weight]]
        y = jax.lax.stop_gradient(product.apply((read(env, product.operand),), w))
        return y + delta if product is through else y

    def value(old: tuple[Array, ...], delta: Array) -> Array:
        env = functions.environment(weights, point.args, point.old, point.others)
        env.update(zip((leaf.old for leaf in group.leaves), old, strict=True))
        for leaf, value in zip(graph.step.hidden, point.new, strict=True):
            if leaf not in group.leaves:
                env[leaf.new] = value
        for product, value in zip(functions.products, point.products, strict=True):
            env[product.output] = value + delta if product is through else value
        hooks = {
            r.equation: (lambda e, r=r: held(r, e, delta))
            for r in graph.relations.dense
            if r not in functions.products
        }
        run(equations, env, None, hooks)
        return read(env, operand)

    old = tuple(point.old[leaf.slot] for leaf in group.leaves)
    shape = through.shape if through is not None else ()
    dtype = through.output.dtype if through is not None else group.leaves[0].old.dtype
    x, vjp = jax.vjp(value, old, jnp.zeros(shape, dtype))
    along_old, along_product = vjp(jnp.ones_like(x))
    return list(along_old), along_product
