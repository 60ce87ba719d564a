"""Proof that a group's coefficients are the same for every unit, so that its traces collapse.

If D and Df do not depend on the unit, neither does the trace: one number for each presynaptic
position instead of one for each synapse, exactly.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import numpy as np

from snntrace.compiler.graph import Group, Route
from snntrace.compiler.perturb import Point, StepFunctions, Weights
from snntrace.compiler.primitives import is_elementwise
from snntrace.compiler.relations import Operation
from snntrace.compiler.sites import Site
from snntrace.jaxprs import Atom, Constant, Program, Variable, trace_program

SPREADING = frozenset({"broadcast_in_dim", "reshape", "squeeze", "expand_dims", "slice", "transpose"})


def uniform_outputs(program: Program, uniform_inputs: list[bool]) -> list[bool]:
    """Tell which outputs have one value at all positions.

    Scalars are uniform; so is what elementwise and spreading operations make of uniform values.

    Returns
    -------
    list of bool
        One for each output.
    """
    uniform: dict[Variable, bool] = dict(zip(program.inputs, uniform_inputs, strict=True))
    for variable, value in program.constants.items():
        uniform[variable] = not isinstance(value, jax.core.Tracer) and bool(
            np.all(np.asarray(value) == np.asarray(value).reshape(-1)[:1])
        )

    def known(atom: Atom) -> bool:
        return isinstance(atom, Constant) or uniform[atom]

    for equation in program.equations:
        keeps = is_elementwise(equation) or equation.name in SPREADING
        same = keeps and all(known(a) for a in equation.inputs)
        uniform.update((out, same) for out in equation.outputs)
    return [known(a) for a in program.outputs]


class Uniformity(NamedTuple):
    """Which entries of a group's D, ``d[s][q]``, and Df, ``df[site][s]``, are the same for every unit."""

    d: list[list[bool]]
    df: dict[Site, list[bool]]


def find_uniform(functions: StepFunctions, group: Group, weights: Weights, point: Point) -> Uniformity:
    """Tell which coefficients of a group are the same for every unit.

    `weights` and `point` may be shapes only.

    Returns
    -------
    Uniformity
        What is proven.
    """
    sites = functions.sites_of(group)

    def coefficients(weights: Weights, point: Point) -> tuple[Any, Any]:
        d, df = functions.coefficients(group, weights, point)
        return d, [df[site] for site in sites]

    program = trace_program(coefficients, weights, point)
    flags = uniform_outputs(program, [v.shape == () for v in program.inputs])
    n = group.n_states
    rows = [flags[i : i + n] for i in range(0, len(flags), n)]
    return Uniformity(rows[:n], dict(zip(sites, rows[n:], strict=True)))


def can_collapse(route: Route) -> bool:
    """Whether a relation is an operation with postsynaptic axes whose every output belongs to one unit."""
    collapses = isinstance(route.relation, Operation) and route.relation.collapses and not route.whole
    return collapses and (route.positions is None or bool(np.all(route.positions >= 0)))


def collapsing_routes(
    functions: StepFunctions, group: Group, uniform: Uniformity, dynamics: bool
) -> list[Route]:
    """List a group's products whose trace is the same for every unit.

    With `dynamics`, D is the group's own and must be uniform too.

    Returns
    -------
    list of Route
        The routes whose traces collapse.
    """
    if dynamics and not all(flag for row in uniform.d for flag in row):
        return []
    routes = [r for r in functions.graph.routes if r.group is group and can_collapse(r)]
    return [r for r in routes if all(uniform.df[functions.sites[id(r.relation)]])]
