"""A group's transition, differentiated as a whole: never written out, but applied forward and backward."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from snntrace.compiler.graph import Group
from snntrace.compiler.perturb import Arrays, Point, StepFunctions, Weights
from snntrace.compiler.relations import Elementwise
from snntrace.compiler.sites import Site

Array = Any


@dataclass(frozen=True, eq=False)
class Jacobian:
    """A group's transition at a point, to be differentiated as a whole."""

    functions: StepFunctions
    group: Group
    weights: Weights
    point: Point

    def _transition(self, sites: Sequence[Site]) -> tuple[Any, tuple[Arrays, Arrays]]:
        old = tuple(self.point.old[leaf.slot] for leaf in self.group.leaves)
        zeros = tuple(
            jnp.zeros(s.shape, s.weight.dtype if isinstance(s, Elementwise) else s.dtype) for s in sites
        )

        def local(old: Arrays, values: Arrays) -> Arrays:
            deltas = dict(zip(sites, values, strict=True))
            return self.functions.local(self.group, self.weights, self.point, old, deltas)

        return local, (old, zeros)

    def pull(self, lam: Arrays, sites: Mapping[Site, Any]) -> tuple[Arrays, Arrays]:
        """Carry a signal one step back, to the old states and to the sites."""
        local, primals = self._transition(list(sites))
        _, vjp = jax.vjp(local, *primals)
        mu, posts = vjp(tuple(lam))
        return tuple(map(self.point.past, mu)), posts

    def push(self, past: Arrays, site: Site, values: Array) -> Arrays:
        """Carry what moves the old states and a site to the new states."""
        local, primals = self._transition([site])
        _, new = jax.jvp(local, primals, (tuple(map(self.point.past, past)), (values,)))
        return tuple(new)
