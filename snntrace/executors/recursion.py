"""D and Df of every group under a rule's recursion."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax.numpy as jnp

from snntrace.compiler.coupled_diagonal import add_coupling, prepare
from snntrace.compiler.coupling import find_coupling
from snntrace.compiler.graph import Group
from snntrace.compiler.perturb import Arrays, Point, StepFunctions, Weights
from snntrace.compiler.sites import Site
from snntrace.executors.jacobian import Jacobian, Reach
from snntrace.rules.rule import Rule

if TYPE_CHECKING:
    from snntrace.executors.layout import Layout

Array = Any


class Coefficients(NamedTuple):
    """D and Df at one step.

    ``d[s][q]`` is in the group's shape, or None where it is zero by structure; ``df[site][s]`` in the
    shape of a relation's output. They are not stacked, so that the compiler can fuse each into its use.
    `reach` has what sites without an entry in `df` do to the group: those that act through another weight.
    """

    d: list[list[Array | None]]
    df: dict[Site, list[Array]]
    reach: Reach

    def pull(self, lam: Arrays, sites: Mapping[Site, Layout]) -> tuple[Arrays, Arrays]:
        """Carry a signal one step back, to the old states and to the sites."""
        posts = self.reach.pull(lam, [site for site in sites if site not in self.df])
        for site in [site for site in sites if site in self.df]:
            df = self.df[site]
            at = [sites[site].at_output(values) for values in lam]
            posts[site] = total([a * b for a, b in zip(df, at, strict=True)], df[0])
        return self.back(lam), tuple(posts[site] for site in sites)

    def push(self, past: Arrays, site: Site, values: Array) -> Arrays:
        """Carry what moves the old states and a site to the new states."""

        def rows() -> Iterator[Array]:
            for row, new in zip(self.d, self.reach.push(site, values), strict=True):
                kept = [d * past[q] for q, d in enumerate(row) if d is not None]
                yield total([*kept, new], new)

        return tuple(rows())

    def back(self, lam: Sequence[Array]) -> tuple[Array, ...]:
        """Carry a signal one step back, ``D^T lam``."""
        n = len(self.d)
        return tuple(
            total([self.d[s][q] * lam[s] for s in range(n) if self.d[s][q] is not None], lam[q])
            for q in range(n)
        )


def total(terms: Sequence[Array], like: Array) -> Array:
    """Sum terms; none give zero."""
    return functools.reduce(jnp.add, terms) if terms else jnp.zeros_like(like)


class Recursion:
    """The choice of D.

    ``diagonal``: inside the unit, products held. ``coupled``: the unit's own block of the step's true
    Jacobian. ``scalar``: a fixed leak on the unit's block. ``none``: no memory.
    """

    def __init__(self, functions: StepFunctions, rule: Rule) -> None:
        self.functions = functions
        self.rule = rule
        self.couplings = (
            {g.index: find_coupling(functions.graph, g) for g in functions.graph.groups if g.diagonal}
            if rule.recursion == "coupled"
            else {}
        )

    def prepare(self, weights: Weights) -> dict[int, Any]:
        """Compute what is constant within a window."""
        return {index: prepare(self.functions, c, weights) for index, c in self.couplings.items()}

    def __call__(
        self, group: Group, weights: Weights, point: Point, prepared: dict[int, Any]
    ) -> Coefficients | Jacobian:
        """Compute D and Df at a point; the whole Jacobian of a group whose units act on each other."""
        if not group.diagonal:
            return Jacobian(self.functions, group, weights, point)
        coupled_recursion = self.rule.recursion == "coupled"
        sites = self.functions.direct_sites(group) if coupled_recursion else None
        found, direct = self.functions.coefficients(group, weights, point, sites)
        # Sites that also act through another weight have their whole reach.
        df = {site: direct[site] for site in self.functions.sites_of(group)}
        n = range(group.n_states)
        d: list[list[Array | None]]
        if coupled_recursion:
            coupling, ready = self.couplings[group.index], prepared[group.index]
            coupled = add_coupling(self.functions, coupling, ready, weights, point, found, direct)
            d = [[coupled[s][q] if group.reads[s][q] or self.couples(group) else None for q in n] for s in n]
        elif self.rule.recursion == "scalar":
            leak = self.rule.leak or 0.0
            d = [[jnp.full_like(found[s][q], leak) if s == q else None for q in n] for s in n]
        elif self.rule.recursion == "none":
            d = [[None for _ in n] for _ in n]
        else:
            d = [[found[s][q] if group.reads[s][q] else None for q in n] for s in n]
        reach = Reach(self.functions, group, weights, point)
        return Coefficients([[None if e is None else point.past(e) for e in row] for row in d], df, reach)

    def couples(self, group: Group) -> bool:
        """Tell whether a group acts on itself through weights under this recursion."""
        coupling = self.couplings.get(group.index)
        return bool(coupling)
