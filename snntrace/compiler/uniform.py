"""Proof that a group's coefficients are the same for every unit, so that its traces collapse.

If D and Df do not depend on the unit, neither does the trace: one number for each presynaptic
position instead of one for each synapse, exactly.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from snntrace.compiler.graph import Group, Route
from snntrace.compiler.perturb import Point, StepFunctions, Weights
from snntrace.compiler.primitives import is_elementwise
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


def collapsing_routes(
    functions: StepFunctions, group: Group, weights: Weights, point: Point, dynamics: bool
) -> list[Route]:
    """List a group's products whose trace is the same for every unit.

    `weights` and `point` may be shapes only. With `dynamics`, D is the group's own and must be uniform too.

    Returns
    -------
    list of Route
        The routes whose traces collapse.
    """
    routes = [
        r
        for r in functions.graph.routes
        if r.group is group and r.relation.mixing and (r.positions is None or bool(np.all(r.positions >= 0)))
    ]

    def coefficients(weights: Weights, point: Point) -> tuple[Any, Any]:
        d, df = functions.coefficients(group, weights, point)
        return d, [df[functions.sites[id(r.relation)]] for r in routes]

    program = trace_program(coefficients, weights, point)
    inputs = [v.shape == () for v in program.inputs]
    flags = uniform_outputs(program, inputs)
    n_d = group.n_states**2
    if dynamics and not all(flags[:n_d]):
        return []
    per_route = np.array(flags[n_d:], bool).reshape(len(routes), group.n_states)
    return [r for r, same in zip(routes, per_route, strict=True) if same.all()]
