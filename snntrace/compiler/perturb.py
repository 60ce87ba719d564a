"""The step as plain JAX functions that can be differentiated where the rules need it.

Nothing is cut out of the model. One interpreter evaluates its equations, and at chosen places replaces a
value or adds a zero that a derivative can be taken along:

* `StepFunctions.forward` runs the step and records the products' outputs;
* `StepFunctions.local` is a group's transition with those outputs held: its derivatives are D and Df;
* `snntrace.compiler.spatial.Spatial` is the step's result as a function of the new states, everything
  recorded held: its derivatives are the learning signals and what the step gives each parameter directly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from snntrace.compiler.graph import Graph, Group
from snntrace.compiler.relations import Elementwise, Operation, Temporal
from snntrace.compiler.sites import Site, find_sites
from snntrace.jaxprs import Equation, Variable, read

Array = Any
Arrays = tuple[Array, ...]
Use = tuple[Equation, int]


class Weights(NamedTuple):
    """Values of the weight chains: what parameters become before they meet anything else."""

    floats: Arrays
    others: Arrays


class Point(NamedTuple):
    """Where a step was evaluated: its inputs, new states and the products' outputs.

    `fresh` says for each sample whether it began anew, so that its old states are no function of the past;
    None if no sample did.
    """

    args: Arrays
    old: Arrays
    new: Arrays
    others: Arrays
    products: Arrays
    fresh: Array | None = None

    def past(self, values: Array) -> Array:
        """Set what would go to the past to zero where a sample began anew.

        Parameters
        ----------
        values : array (batch, ...)
            Derivatives with respect to old states, or signals at them.

        Returns
        -------
        array
            What goes on to the step before.
        """
        if self.fresh is None:
            return values
        fresh = self.fresh.reshape(*self.fresh.shape, *(1,) * (values.ndim - self.fresh.ndim))
        return jnp.where(fresh, jnp.zeros_like(values), values)


class Stepped(NamedTuple):
    """What one step gives."""

    results: Arrays
    new: Arrays
    others: Arrays
    products: Arrays


class StepFunctions:
    """The functions that the executors call, made from a graph.

    Parameters
    ----------
    graph : Graph
        What the compiler found.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        step = graph.step
        self.products = tuple(r for r in graph.temporal if isinstance(r, Operation))
        self.product_slot = {id(r): i for i, r in enumerate(self.products)}
        self.by_equation: dict[Equation, tuple[Operation, ...]] = {}
        for r in self.products:
            self.by_equation[r.equation] = (*self.by_equation.get(r.equation, ()), r)
        everything = (*step.results, *(leaf.new for leaf in (*step.hidden, *step.others)))
        used = step.program.slice(everything)
        chain = set(graph.relations.chain)
        self.chain = tuple(e for e in used if e in chain)
        self.body = tuple(e for e in used if e not in chain)
        wanted = [v for e in self.body for v in e.inputs] + list(everything)
        made = {out for e in self.chain for out in e.outputs} | {leaf.old for leaf in step.params}
        chain_vars = list(dict.fromkeys(v for v in wanted if isinstance(v, Variable) and v in made))
        trained = set(graph.relations.chain_values)
        self.float_vars = tuple(v for v in chain_vars if v.is_float and v in trained)
        self.other_vars = tuple(v for v in chain_vars if not (v.is_float and v in trained))
        self.float_slot = {v: i for i, v in enumerate(self.float_vars)}
        self.sites = find_sites(graph)

    # Weight chains -----------------------------------------------------------------------------

    def weights(self, params: Arrays) -> Weights:
        """Evaluate the weight chains."""
        step = self.graph.step
        env = dict(step.program.constants)
        env.update(zip((leaf.old for leaf in step.params), params, strict=True))
        run(self.chain, env)
        return Weights(tuple(env[v] for v in self.float_vars), tuple(env[v] for v in self.other_vars))

    def no_gradients(self) -> list[Array]:
        """Return zeros to sum gradients at the weight chains' ends in: as precise as what weights act on."""
        types = {v: v.dtype for v in self.float_vars}
        for relation in self.graph.temporal:
            types[relation.weight] = jnp.result_type(types[relation.weight], self.dtype_of(relation))
        return [jnp.zeros(v.shape, types[v]) for v in self.float_vars]

    def pull_back(self, params: Arrays, gradients: Sequence[Array]) -> Arrays:
        """Bring gradients at the weight chains' ends back to the parameters."""
        floats, vjp = jax.vjp(lambda p: self.weights(p).floats, params)
        (result,) = vjp(tuple(g.astype(v.dtype) for g, v in zip(gradients, floats, strict=True)))
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

    def held_operands(self, weights: Weights, deltas: Mapping[int, Array]) -> dict[Use, Array]:
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
        run(equations, env, self.held_operands(weights, held), added=added)
        return tuple(read(env, leaf.new) for leaf in group.leaves)

    @cached_property
    def chain_set(self) -> frozenset[Equation]:
        """Equations of the weight chains, which are evaluated once."""
        return frozenset(self.chain)

    def coefficients(
        self, group: Group, weights: Weights, point: Point, sites: Sequence[Site] | None = None
    ) -> tuple[list[list[Array]], dict[Site, list[Array]]]:
        """Differentiate a group's transition, at the sites that reach it unit by unit if no others are given.

        Returns
        -------
        D : list of list of array of the group's shape
            ``D[s][q][i] = d h_s^t[i] / d h_q^(t-1)[i]``.
        Df : dict of list of array
            For each site, ``Df[s][k] = d h_s^t / d y^t[k]`` in the shape of the output there.
        """
        sites = self.sites_of(group) if sites is None else sites
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
        """Sites of the relations that reach a group unit by unit."""
        found = [self.sites[id(r.relation)] for r in self.graph.routes if r.group is group and not r.whole]
        return tuple(dict.fromkeys(found))

    def direct_sites(self, group: Group) -> tuple[Site, ...]:
        """Sites of the relations that act on a group without another weight between, be it on others too."""
        found = [self.sites[id(r.relation)] for r in self.graph.routes if r.group is group and r.direct]
        return tuple(dict.fromkeys(found))

    def dtype_of(self, relation: Temporal) -> Any:
        """Return the number type of a relation's output."""
        return (relation.output if isinstance(relation, Operation) else relation.weight).dtype

    def operands(self, relation: Operation, weights: Weights, point: Point) -> Arrays:
        """Compute the operands of an operation from what was recorded."""
        env = self.environment(weights, point.args, point.old, point.others)
        env.update(zip((leaf.new for leaf in self.graph.step.hidden), point.new, strict=True))
        for product, value in zip(self.products, point.products, strict=True):
            env[product.output] = value
        stops = self.graph.new_states | {r.output for r in self.products}
        equations = self.graph.step.program.slice(relation.operands, stops)
        run([e for e in equations if e not in self.chain_set], env)
        return tuple(read(env, a) for a in relation.operands)


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
