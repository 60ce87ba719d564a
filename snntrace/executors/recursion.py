"""D and Df of every group under a rule's recursion."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp

from snntrace.compiler.coupling import add_coupling, find_coupling, prepare
from snntrace.compiler.graph import Group
from snntrace.compiler.perturb import Point, StepFunctions, Weights
from snntrace.rules.rule import Rule

Array = Any


class Coefficients(NamedTuple):
    """D as an array (S, S, *group shape), Df for each route's relation (by id) as (S, *output shape)."""

    d: Array
    df: dict[int, Array]


class Recursion:
    """The choice of D.

    ``diagonal``: inside the unit, products held. ``coupled``: the unit's own block of the step's true
    Jacobian. ``scalar``: a fixed leak on the unit's block. ``none``: no memory.
    """

    def __init__(self, functions: StepFunctions, rule: Rule) -> None:
        self.functions = functions
        self.rule = rule
        self.couplings = (
            {g.index: find_coupling(functions.graph, g) for g in functions.graph.groups}
            if rule.recursion == "coupled"
            else {}
        )

    def prepare(self, weights: Weights) -> dict[int, Any]:
        """Compute what is constant within a window."""
        return {index: prepare(self.functions, c, weights) for index, c in self.couplings.items()}

    def __call__(
        self, group: Group, weights: Weights, point: Point, prepared: dict[int, Any]
    ) -> Coefficients:
        """Compute D and Df at a point."""
        d, df = self.functions.coefficients(group, weights, point)
        if self.rule.recursion == "coupled":
            coupling = self.couplings[group.index]
            d = add_coupling(self.functions, coupling, prepared[group.index], weights, point, d, df)
        elif self.rule.recursion == "scalar":
            d = [
                [jnp.full_like(v, self.rule.leak if s == q else 0.0) for q, v in enumerate(row)]
                for s, row in enumerate(d)
            ]
        elif self.rule.recursion == "none":
            d = [[jnp.zeros_like(v) for v in row] for row in d]
        return Coefficients(
            jnp.stack([jnp.stack(row) for row in d]), {key: jnp.stack(v) for key, v in df.items()}
        )
