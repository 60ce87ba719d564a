"""A group's transition, differentiated as a whole: never written out, but applied forward and backward."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from snntrace.compiler.graph import Group
from snntrace.compiler.perturb import Arrays, Point, StepFunctions, Weights, run
from snntrace.compiler.relations import Elementwise, Operation
from snntrace.compiler.sites import Site
from snntrace.compiler.spatial import pin
from snntrace.jaxprs import Variable, read

Array = Any


@dataclass(frozen=True, eq=False)
class Reach:
    """What sites do to a group's new states within a step, on every way, through other weights too."""

    functions: StepFunctions
    group: Group
    weights: Weights
    point: Point

    def _new_states(self, deltas: Mapping[Site, Array]) -> Arrays:
        functions, point = self.functions, self.point
        env = functions.environment(self.weights, point.args, point.old, point.others)
        for leaf in functions.graph.step.hidden:
            if leaf not in self.group.leaves:
                env[leaf.new] = point.new[leaf.slot]

        def product(relations: Sequence[Operation], env: Mapping[Variable, Array]) -> Array:
            equation, out = relations[0].equation, relations[0].output
            again = equation.bind([read(env, a) for a in equation.inputs])[0]
            y = pin(point.products[functions.product_slot[id(relations[0])]], again)
            return y + deltas[out] if out in deltas else y

        products = {e: lambda env, rs=rs: product(rs, env) for e, rs in functions.by_equation.items()}
        held = {id(site): delta for site, delta in deltas.items() if isinstance(site, Elementwise)}
        added = {site: delta for site, delta in deltas.items() if isinstance(site, Variable)}
        equations = [e for e in functions.graph.closure(self.group) if e not in functions.chain_set]
        run(equations, env, functions.held_operands(self.weights, held), products, added)
        return tuple(read(env, leaf.new) for leaf in self.group.leaves)

    def _function(self, sites: Sequence[Site]) -> tuple[Callable[[Arrays], Arrays], Arrays]:
        def new_states(values: Arrays) -> Arrays:
            return self._new_states(dict(zip(sites, values, strict=True)))

        return new_states, zeros_at(sites)

    def push(self, site: Site, values: Array) -> Arrays:
        """Carry what moves a site to the new states."""
        function, zeros = self._function([site])
        return tuple(jax.jvp(function, (zeros,), ((values,),))[1])

    def pull(self, lam: Arrays, sites: Sequence[Site]) -> dict[Site, Array]:
        """Carry a signal at the new states to sites."""
        if not sites:
            return {}
        function, zeros = self._function(sites)
        (posts,) = jax.vjp(function, zeros)[1](tuple(lam))
        return dict(zip(sites, posts, strict=True))


@dataclass(frozen=True, eq=False)
class Jacobian:
    """A group's transition at a point, to be differentiated as a whole, products held."""

    functions: StepFunctions
    group: Group
    weights: Weights
    point: Point

    @property
    def reach(self) -> Reach:
        """What sites do to the new states."""
        return Reach(self.functions, self.group, self.weights, self.point)

    def _transition(self) -> tuple[Callable[[Arrays], Arrays], Arrays]:
        def local(old: Arrays) -> Arrays:
            return self.functions.local(self.group, self.weights, self.point, old, {})

        return local, tuple(self.point.old[leaf.slot] for leaf in self.group.leaves)

    def pull(self, lam: Arrays, sites: Mapping[Site, Any]) -> tuple[Arrays, Arrays]:
        """Carry a signal one step back, to the old states and to the sites."""
        local, old = self._transition()
        (mu,) = jax.vjp(local, old)[1](tuple(lam))
        posts = self.reach.pull(lam, list(sites))
        return tuple(map(self.point.past, mu)), tuple(posts[site] for site in sites)

    def push(self, past: Arrays, site: Site, values: Array) -> Arrays:
        """Carry what moves the old states and a site to the new states."""
        local, old = self._transition()
        _, kept = jax.jvp(local, (old,), (tuple(map(self.point.past, past)),))
        return tuple(a + b for a, b in zip(kept, self.reach.push(site, values), strict=True))


def zeros_at(sites: Sequence[Site]) -> Arrays:
    """Return zeros to differentiate along, one for each site."""
    return tuple(jnp.zeros(s.shape, s.weight.dtype if isinstance(s, Elementwise) else s.dtype) for s in sites)
