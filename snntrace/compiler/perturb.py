"""The step as plain JAX functions that can be differentiated where the rules need it.

Nothing is cut out of the model. One interpreter evaluates its equations, and at chosen places replaces a
value or adds a zero that a derivative can be taken along:

* `forward` runs the step and records the products' outputs;
* `local` is a group's transition with those outputs held: its derivatives are D and Df;
* `spatial` is the step's result as a function of the new states, everything recorded held: its
  derivatives are the learning signals and what the step gives each parameter directly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from snntrace.compiler.graph import Graph, Group
from snntrace.compiler.relations import Dense, Elementwise
from snntrace.compiler.sites import Site, find_sites
from snntrace.errors import CompileError
from snntrace.jaxprs import Constant, Equation, Variable, read

Array = Any
Arrays = tuple[Array, ...]
Use = tuple[Equation, int]


class Weights(NamedTuple):
    """Values of the weight chains: what parameters become before they meet anything else."""

    floats: Arrays
    others: Arrays


class Point(NamedTuple):
    """Where a step was evaluated: its inputs, new states and the products' outputs."""

    args: Arrays
    old: Arrays
    new: Arrays
    others: Arrays
    products: Arrays


class Signals(NamedTuple):
    """Zeros to differentiate along, one for each place."""

    new: Arrays
    old: Arrays
    relations: Arrays


class Stepped(NamedTuple):
    """What one step gives."""

    results: Arrays
    new: Arrays
    others: Arrays
    products: Arrays


@jax.custom_jvp
def pin(value: Array, carrier: Array) -> Array:
    """Return a recorded value that differentiates like the computation that made it."""
    return value


@pin.defjvp
def _pin_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    return primals[0], tangents[1]


class StepFunctions:
    """The functions that the executors call, made from a graph.

    Parameters
    ----------
    graph : Graph
        What the compiler found.
    cut : sequence of bool
        For each group, whether the loss's own signal stops at its states.
    outputs : sequence of Variable or None
        For each group, the unit's output if signals are projected onto it.
    """

    def __init__(
        self,
        graph: Graph,
        cut: Sequence[bool] | None = None,
        outputs: Sequence[Variable | None] | None = None,
    ) -> None:
        self.graph = graph
        self.cut = tuple(cut) if cut is not None else (False,) * len(graph.groups)
        self.outputs = tuple(outputs) if outputs is not None else (None,) * len(graph.groups)
        step = graph.step
        self.products = tuple(r for r in graph.temporal if isinstance(r, Dense))
        self.product_slot = {id(r): i for i, r in enumerate(self.products)}
        self.by_equation = {r.equation: r for r in self.products}
        everything = (*step.results, *(leaf.new for leaf in (*step.hidden, *step.others)))
        used = step.program.slice(everything)
        chain = set(graph.relations.chain)
        self.chain = tuple(e for e in used if e in chain)
        self.body = tuple(e for e in used if e not in chain)
        wanted = [v for e in self.body for v in e.inputs] + list(everything)
        made = {out for e in self.chain for out in e.outputs} | {leaf.old for leaf in step.params}
        chain_vars = list(dict.fromkeys(v for v in wanted if isinstance(v, Variable) and v in made))
        self.float_vars = tuple(v for v in chain_vars if v.is_float)
        self.other_vars = tuple(v for v in chain_vars if not v.is_float)
        self.float_slot = {v: i for i, v in enumerate(self.float_vars)}
        self.sites = find_sites(graph)
        self.order = self._order_groups()

    def _order_groups(self) -> tuple[Group, ...]:
        remaining, done = list(self.graph.groups), []
        blockers = {
            g.index: {v for e in self.graph.closure(g) for v in e.inputs if v in self.graph.new_elsewhere(g)}
            for g in remaining
        }
        available: set[Variable] = set()
        while remaining:
            ready = [g for g in remaining if blockers[g.index] <= available]
            if not ready:
                names = "; ".join(g.name for g in remaining)
                raise CompileError(
                    "compile: hidden groups must be updated one after another within a step, "
                    f"got groups that need each other's new states: {names}. "
                    "Let one of them read the other's state before its update."
                )
            for g in ready:
                available.update(leaf.new for leaf in g.leaves)
                remaining.remove(g)
                done.append(g)
        return tuple(done)

    # Weight chains -----------------------------------------------------------------------------

    def weights(self, params: Arrays) -> Weights:
        """Evaluate the weight chains."""
        step = self.graph.step
        env = dict(step.program.constants)
        env.update(zip((leaf.old for leaf in step.params), params, strict=True))
        run(self.chain, env)
        return Weights(tuple(env[v] for v in self.float_vars), tuple(env[v] for v in self.other_vars))

    def pull_back(self, params: Arrays, gradients: Sequence[Array]) -> Arrays:
        """Bring gradients at the weight chains' ends back to the parameters."""
        _, vjp = jax.vjp(lambda p: self.weights(p).floats, params)
        (result,) = vjp(tuple(gradients))
        return tuple(result)

    # Environments ------------------------------------------------------------------------------

    def environment(
        self, weights: Weights, args: Arrays, old: Arrays, others: Arrays
    ) -> dict[Variable, Array]:
        """Start an evaluation: constants, weights, arguments and old states."""
        step = self.graph.step
        env = dict(step.program.constants)
        env.update(zip(self.float_vars, weights.floats, strict=True))
        env.update(zip(self.other_vars, weights.others, strict=True))
        env.update(zip(step.arguments, args, strict=True))
        env.update(zip((leaf.old for leaf in step.hidden), old, strict=True))
        env.update(zip((leaf.old for leaf in step.others), others, strict=True))
        return env

    def _held_operands(self, weights: Weights, deltas: Mapping[int, Array]) -> dict[Use, Array]:
        """Stop temporal parameters' own gradient where they act, and add the perturbations."""
        held: dict[Use, Array] = {}
        for relation in self.graph.temporal:
            if isinstance(relation, Elementwise):
                w = jax.lax.stop_gradient(weights.floats[self.float_slot[relation.weight]])
                if id(relation) in deltas:
                    w = relation.spread(w) + deltas[id(relation)]
                held.update(dict.fromkeys(relation.uses, w))
        return held

    # The step ----------------------------------------------------------------------------------

    def forward(self, weights: Weights, args: Arrays, old: Arrays, others: Arrays) -> Stepped:
        """Run the step."""
        step = self.graph.step
        env = self.environment(weights, args, old, others)
        run(self.body, env)
        return Stepped(
            tuple(read(env, a) for a in step.results),
            tuple(read(env, leaf.new) for leaf in step.hidden),
            tuple(read(env, leaf.new) for leaf in step.others),
            tuple(env[r.output] for r in self.products),
        )

    @cached_property
    def local_equations(self) -> dict[int, tuple[Equation, ...]]:
        """For each group, the equations of its transition with all products held."""
        held = {r.output for r in self.products}
        return {
            g.index: self.graph.step.program.slice(
                (leaf.new for leaf in g.leaves), self.graph.new_elsewhere(g) | held
            )
            for g in self.graph.groups
        }

    def local(
        self, group: Group, weights: Weights, point: Point, old: Arrays, deltas: Mapping[Site, Array]
    ) -> Arrays:
        """Compute a group's new states from its old ones, with the outputs of all products held."""
        env = self.environment(weights, point.args, point.old, point.others)
        env.update(zip((leaf.old for leaf in group.leaves), old, strict=True))
        for leaf, value in zip(self.graph.step.hidden, point.new, strict=True):
            if leaf not in group.leaves:
                env[leaf.new] = value
        for relation, value in zip(self.products, point.products, strict=True):
            out = relation.output
            env[out] = value + deltas[out] if out in deltas else value
        equations = [e for e in self.local_equations[group.index] if e not in self.chain_set]
        held = {id(site): delta for site, delta in deltas.items() if isinstance(site, Elementwise)}
        added = {site: delta for site, delta in deltas.items() if isinstance(site, Variable)}
        run(equations, env, self._held_operands(weights, held), added=added)
        return tuple(read(env, leaf.new) for leaf in group.leaves)

    @cached_property
    def chain_set(self) -> frozenset[Equation]:
        """Equations of the weight chains, which are evaluated once."""
        return frozenset(self.chain)

    def coefficients(
        self, group: Group, weights: Weights, point: Point
    ) -> tuple[list[list[Array]], dict[Site, list[Array]]]:
        """Differentiate a group's transition.

        Returns
        -------
        D : list of list of array of the group's shape
            ``D[s][q][i] = d h_s^t[i] / d h_q^(t-1)[i]``.
        Df : dict of list of array
            For each site, ``Df[s][k] = d h_s^t / d y^t[k]`` in the shape of the output there.
        """
        sites = self.sites_of(group)
        old = tuple(point.old[leaf.slot] for leaf in group.leaves)

        def local(old: Arrays, values: Arrays) -> Arrays:
            return self.local(group, weights, point, old, dict(zip(sites, values, strict=True)))

        zeros = tuple(
            jnp.zeros(s.shape, s.weight.dtype if isinstance(s, Elementwise) else s.dtype) for s in sites
        )
        new, vjp = jax.vjp(local, old, zeros)
        d_rows, df_rows = [], []
        for s in range(group.n_states):
            d_row, df_row = vjp(
                tuple(jnp.ones_like(v) if q == s else jnp.zeros_like(v) for q, v in enumerate(new))
            )
            d_rows.append(list(d_row))
            df_rows.append(df_row)
        return d_rows, {site: [row[i] for row in df_rows] for i, site in enumerate(sites)}

    def sites_of(self, group: Group) -> tuple[Site, ...]:
        """Sites of the relations that reach a group."""
        found = [self.sites[id(r.relation)] for r in self.graph.routes if r.group is group]
        return tuple(dict.fromkeys(found))

    def _dtype(self, relation: Dense | Elementwise) -> Any:
        return (relation.output if isinstance(relation, Dense) else relation.weight).dtype

    def operand(self, relation: Dense, weights: Weights, point: Point) -> Array:
        """Compute the presynaptic operand of a product from what was recorded."""
        if isinstance(relation.operand, Constant):
            return relation.operand.value
        env = self.environment(weights, point.args, point.old, point.others)
        env.update(zip((leaf.new for leaf in self.graph.step.hidden), point.new, strict=True))
        for product, value in zip(self.products, point.products, strict=True):
            env[product.output] = value
        stops = self.graph.new_states | {r.output for r in self.products}
        equations = self.graph.step.program.slice([relation.operand], stops)
        run([e for e in equations if e not in self.chain_set], env)
        return env[relation.operand]

    # Learning signals --------------------------------------------------------------------------

    @cached_property
    def side_relations(self) -> tuple[Dense | Elementwise, ...]:
        """Temporal relations that a step's own gradient also reaches beside the group's states."""
        stops = self.graph.new_states
        extra = self.graph.step.program.slice([v for v in self.outputs if v is not None], stops)
        inside = set(extra)
        beside = set(self.graph.beside)
        for group in self.graph.groups:
            beside |= self.graph.cascaded(group)
        beside |= {id(r) for r in self.graph.temporal if any(e in inside for e, _ in r.uses)}
        return tuple(r for r in self.graph.temporal if id(r) in beside)

    def zero_signals(self) -> Signals:
        """Return zeros at every place where a signal is asked for."""
        hidden = self.graph.step.hidden
        read_before = {
            leaf.slot
            for group, flag in zip(self.graph.groups, self.graph.read_before, strict=True)
            for leaf in group.leaves
            if flag
        }
        return Signals(
            tuple(jnp.zeros(leaf.old.shape, leaf.old.dtype) for leaf in hidden),
            tuple(
                jnp.zeros(leaf.old.shape if leaf.slot in read_before else (), leaf.old.dtype)
                for leaf in hidden
            ),
            tuple(jnp.zeros(r.shape, self._dtype(r)) for r in self.side_relations),
        )

    def spatial(
        self, weights: Weights, point: Point, zeros: Signals
    ) -> tuple[Arrays, Arrays, tuple[Array | None, ...]]:
        """Compute the step's result from what was recorded, open along every path inside the step.

        Returns
        -------
        results : tuple of array
            The result of `update`.
        states : tuple of array
            The new hidden states (before any cut), for signals that are given from outside.
        outputs : tuple of array or None
            Each group's output, where signals are projected onto it.
        """
        step = self.graph.step
        deltas = {id(r): z for r, z in zip(self.side_relations, zeros.relations, strict=True)}
        hats: dict[Variable, Array] = {}
        passed: dict[Variable, Array] = {}
        olds = list(point.old)
        for group, flag in zip(self.graph.groups, self.graph.read_before, strict=True):
            for leaf in group.leaves:
                if flag:
                    value = point.old[leaf.slot] + zeros.old[leaf.slot]
                    olds[leaf.slot] = jax.lax.stop_gradient(value) if self.cut[group.index] else value
        for group in self.order:
            computed = self._group_in_space(group, weights, point, olds, passed, deltas)
            for leaf, value in zip(group.leaves, computed, strict=True):
                hat = pin(point.new[leaf.slot], value) + zeros.new[leaf.slot]
                hats[leaf.new] = hat
                passed[leaf.new] = jax.lax.stop_gradient(hat) if self.cut[group.index] else hat
        env = self.environment(weights, point.args, tuple(olds), point.others) | passed
        self._run_in_space(self.graph.readout, env, weights, point, deltas)
        outputs: list[Array | None] = []
        for variable in self.outputs:
            if variable is None:
                outputs.append(None)
                continue
            inner = self.environment(weights, point.args, tuple(olds), point.others) | hats
            equations = step.program.slice([variable], self.graph.new_states)
            self._run_in_space(equations, inner, weights, point, deltas)
            outputs.append(inner[variable])
        return (
            tuple(read(env, a) for a in step.results),
            tuple(hats[leaf.new] for leaf in step.hidden),
            tuple(outputs),
        )

    def _group_in_space(
        self,
        group: Group,
        weights: Weights,
        point: Point,
        olds: Sequence[Array],
        passed: Mapping[Variable, Array],
        deltas: Mapping[int, Array],
    ) -> Arrays:
        """Compute a group's new states, its own old ones and the direct way of products held."""
        own = {leaf.slot for leaf in group.leaves}
        old = tuple(
            jax.lax.stop_gradient(point.old[i]) if i in own else value for i, value in enumerate(olds)
        )
        base = self.environment(weights, point.args, old, point.others) | {
            v: passed[v] for v in self.graph.new_elsewhere(group) if v in passed
        }
        equations = self.graph.closure(group)
        env = dict(base)
        source = None
        if self.graph.cascaded(group):
            source = dict(base)
            self._run_in_space(equations, source, weights, point, deltas)
        self._run_in_space(equations, env, weights, point, {}, source)
        return tuple(read(env, leaf.new) for leaf in group.leaves)

    def _run_in_space(
        self,
        equations: Iterable[Equation],
        env: dict[Variable, Array],
        weights: Weights,
        point: Point,
        deltas: Mapping[int, Array],
        operands: Mapping[Variable, Array] | None = None,
    ) -> None:
        def product(relation: Dense, env: Mapping[Variable, Array]) -> Array:
            x = read(operands if operands is not None else env, relation.operand)
            w = jax.lax.stop_gradient(weights.floats[self.float_slot[relation.weight]])
            value = point.products[self.product_slot[id(relation)]]
            y = pin(value, relation.apply(x, w))
            return y + deltas[id(relation)] if id(relation) in deltas else y

        products = {e: lambda env, r=r: product(r, env) for e, r in self.by_equation.items()}
        body = [e for e in equations if e not in self.chain_set]
        run(body, env, self._held_operands(weights, deltas), products)


def run(
    equations: Iterable[Equation],
    env: dict[Variable, Array],
    replaced: Mapping[Use, Array] | None = None,
    products: Mapping[Equation, Callable[[Mapping[Variable, Array]], Array]] | None = None,
    added: Mapping[Variable, Array] | None = None,
) -> None:
    """Run equations in an environment; values that are already there stay.

    `replaced` gives operands other values, `products` computes equations in another way, and `added` adds
    to what an equation gives.
    """
    replaced, products, added = replaced or {}, products or {}, added or {}
    for equation in equations:
        if all(out in env for out in equation.outputs):
            continue
        if equation in products:
            env[equation.outputs[0]] = products[equation](env)
            continue
        values = [
            replaced[equation, i] if (equation, i) in replaced else read(env, atom)
            for i, atom in enumerate(equation.inputs)
        ]
        for out, value in zip(equation.outputs, equation.bind(values), strict=True):
            env.setdefault(out, value + added[out] if out in added else value)
