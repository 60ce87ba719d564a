"""Products by events inside any step: XLA computes the dynamics, kernels the products with spikes.

A product whose operand is an input that came as `Spikes` takes the lists; any other is scanned for what is
not zero. The numbers are those of dense products.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from snntrace.compiler.operands import operand_of
from snntrace.compiler.perturb import Point, Weights
from snntrace.compiler.relations import Dense, Operation
from snntrace.events.matmul import event_matmul, event_outer
from snntrace.events.samples import event_outer_each
from snntrace.events.spikes import Spikes
from snntrace.executors.engine import Engine
from snntrace.jaxprs import Equation, Variable, read

Array = Any


class Inputs(NamedTuple):
    """A sequence's inputs, one entry for each argument of the step.

    `arrays` are (T, ...), or None where nothing but products by events reads an argument; `lists` are
    `Spikes`, or None for arguments that came as arrays. `fresh` (T, batch) says which samples begin anew;
    None if none does.
    """

    arrays: tuple[Array | None, ...]
    lists: tuple[Spikes | None, ...]
    fresh: Array | None = None

    @property
    def length(self) -> int:
        """Number of steps."""
        first = next(x for x in (*self.arrays, *self.lists) if x is not None)
        return int(first.shape[0])


class EventProducts:
    """The products of a step that go by events.

    Parameters
    ----------
    engine : Engine
        The graph under a rule.
    by_events : iterable of int
        These products, by id; the others stay dense.
    """

    def __init__(self, engine: Engine, by_events: Iterable[int] = ()) -> None:
        self.engine = engine
        chosen = frozenset(by_events)
        products = [r for r in engine.functions.products if isinstance(r, Dense)]
        self.relations = tuple(r for r in products if id(r) in chosen)
        self.chosen = frozenset(id(r) for r in self.relations)
        self.argument = {id(r): operand_of(engine.graph, r).argument for r in self.relations}
        listed = {r.equation for r in self.relations if self.argument[id(r)] is not None}
        step, body = engine.graph.step, engine.functions.body
        elsewhere = {v for e in body if e not in listed for v in e.inputs} | set(step.results)
        within = {v for e in listed for v in e.inputs}
        self.read_dense = tuple(v in elsewhere or v not in within for v in step.arguments)

    def inputs(self, xs: Sequence[Any]) -> Inputs:
        """Write lists out as arrays where something else than products by events reads them."""
        arrays: list[Array | None] = []
        lists: list[Spikes | None] = []
        for x, variable, dense in zip(xs, self.engine.graph.step.arguments, self.read_dense, strict=True):
            if not isinstance(x, Spikes):
                arrays.append(x)
                lists.append(None)
                continue
            values = None if x.values is None else jnp.asarray(x.values, variable.dtype)
            arrays.append(x.dense(variable.dtype) if dense else None)
            lists.append(replace(x, values=values))
        return Inputs(tuple(arrays), tuple(lists))

    def spikes(self, relation: Operation, xs: Inputs) -> Spikes | None:
        """Return the lists that a product takes, if it takes lists."""
        argument = self.argument.get(id(relation))
        return None if argument is None else xs.lists[argument]

    # Forward -----------------------------------------------------------------------------------

    def listed(self, weights: Weights, xs: Inputs) -> dict[Variable, Array]:
        """Compute the products with lists for many steps at once, (T, *shape) each."""
        found = {}
        for relation in self.relations:
            spikes = self.spikes(relation, xs)
            if spikes is not None:
                value = event_matmul(spikes, self._matrix(weights, relation))
                found[relation.output] = value.reshape(-1, *relation.shape)
        return found

    def scanned(self, weights: Weights) -> dict[Equation, Callable[[Mapping[Variable, Array]], Array]]:
        """Return for each product by events how it is computed from an array."""

        def product(relation: Dense, env: Mapping[Variable, Array]) -> Array:
            x = relation.rows(read(env, relation.operand))
            return event_matmul(x, self._matrix(weights, relation)).reshape(relation.shape)

        return {r.equation: partial(product, r) for r in self.relations}

    def _matrix(self, weights: Weights, relation: Dense) -> Array:
        return relation.matrix(weights.floats[self.engine.functions.float_slot[relation.weight]])

    # Backward ----------------------------------------------------------------------------------

    def gradient(
        self, relation: Operation, weights: Weights, xs: Inputs, points: Point, post: Array
    ) -> Array:
        """Sum an operation's gradient over steps.

        Parameters
        ----------
        relation : Operation
            The operation.
        weights : Weights
            The weight chains' values.
        xs : Inputs
            The inputs of the steps.
        points : Point
            Their points, time leading.
        post : array of shape (T, *output shape)
            The gradient at the operation's output.

        Returns
        -------
        array of the weight's shape
            The sum.
        """
        if not isinstance(relation, Dense):
            return self._transposed(relation, weights, points, post)
        y = jax.vmap(relation.columns)(post)
        spikes = self.spikes(relation, xs)
        if spikes is not None:
            return relation.unmatrix(event_outer(spikes, y))
        x = self._rows(relation, weights, points)
        if id(relation) in self.chosen:
            return relation.unmatrix(event_outer(x, y))
        return relation.unmatrix(x.reshape(-1, x.shape[-1]).T @ y.reshape(-1, y.shape[-1]))

    def _transposed(self, relation: Operation, weights: Weights, points: Point, post: Array) -> Array:
        """Apply the operation's transpose once, all steps side by side."""
        functions = self.engine.functions

        def run(w: Array) -> Array:
            return jax.vmap(lambda p: relation.apply(functions.operands(relation, weights, p), w))(points)

        _, vjp = jax.vjp(run, weights.floats[functions.float_slot[relation.weight]])
        (gradient,) = vjp(post)
        return gradient

    def outer_each(
        self, relation: Operation, weights: Weights, xs: Inputs, points: Point, ys: Sequence[Array]
    ) -> list[Array]:
        """Sum outer products over steps only, for several sets of rows (T, a, f, k); each (a, f, j, k)."""
        if not isinstance(relation, Dense):
            return self._grown(relation, weights, points, ys)
        spikes = self.spikes(relation, xs)
        if spikes is None:
            x = self._rows(relation, weights, points)
            if id(relation) not in self.chosen:
                return [jnp.einsum("tfj,tfk->fjk", x, y) for y in ys]
            spikes = Spikes.from_dense(x)
        return [event_outer_each(spikes, y) for y in ys]

    def _grown(
        self, relation: Operation, weights: Weights, points: Point, ys: Sequence[Array]
    ) -> list[Array]:
        """Sum step by step: the rows of all steps together can be far larger than the trace."""

        def add(sums: list[Array], now: tuple[Point, list[Array]]) -> tuple[list[Array], None]:
            point, columns = now
            x = self.engine.operand_rows(relation, weights, point)
            return [s + x[..., None] * y[..., None, :] for s, y in zip(sums, columns, strict=True)], None

        *lead, _ = relation.sizes
        zeros = [jnp.zeros((*lead, y.shape[-1]), y.dtype) for y in ys]
        return jax.lax.scan(add, zeros, (points, list(ys)))[0]

    def _rows(self, relation: Dense, weights: Weights, points: Point) -> Array:
        return jax.vmap(lambda p: self.engine.operand_rows(relation, weights, p))(points)
