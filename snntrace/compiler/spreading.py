"""A product that several rows share gets a row for each: its result then acts unit by unit.

broadcast(f(x @ W)) = f(broadcast(x) @ W)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import prod
from typing import Any

import jax
import jax.numpy as jnp

from snntrace.compiler.folding import Fold, joined
from snntrace.compiler.primitives import is_elementwise, is_structural
from snntrace.compiler.relations import Dense, find_relations
from snntrace.compiler.step import StepProgram
from snntrace.jaxprs import Atom, Equation, Variable, read

Array = Any


def spread_products(step: StepProgram) -> StepProgram:
    """Spread the operands of products whose results are spread on the way to a hidden state.

    Parameters
    ----------
    step : StepProgram
        The step as the model wrote it.

    Returns
    -------
    StepProgram
        The step with the same results, up to rounding.
    """
    while (fold := next(_spreadings(step), None)) is not None:
        step = replace(step, program=joined(step.program, fold))
    return step


def _spreadings(step: StepProgram) -> Iterator[Fold]:
    """Find results of products that are spread."""
    program = step.program
    if not any(e.name == "dot_general" for e in program.equations):
        return
    products = {r.equation: r for r in find_relations(step).dense if isinstance(r.operand, Variable)}
    behind = program.depending_on([r.output for r in products.values()])
    operands = {r.operand for r in products.values()}
    for equation in program.slice(leaf.new for leaf in step.hidden):
        for value in equation.inputs:
            if value not in behind or prod(equation.outputs[0].shape) <= prod(value.shape):
                continue
            inside = [e for e in program.slice([value], operands) if behind & {*e.outputs}]
            keeping = all(e in products or is_elementwise(e) or is_structural(e) for e in inside)
            if not keeping or not any(e in products for e in inside):
                continue
            if equation.name == "broadcast_in_dim":
                yield _spread(equation, inside, products)
            elif is_elementwise(equation):
                yield _written_out(equation, value)


def _written_out(equation: Equation, value: Atom) -> Fold:
    """Write out that an operation of several values spreads one of them."""
    variables = tuple(dict.fromkeys(a for a in equation.inputs if isinstance(a, Variable)))
    shape = equation.outputs[0].shape

    def function(*values: Array) -> Array:
        env = dict(zip(variables, values, strict=True))
        spread = [
            jnp.broadcast_to(read(env, a), shape) if a is value else read(env, a) for a in equation.inputs
        ]
        return equation.bind(spread)[0]

    return Fold(None, equation, variables, function)


def _spread(spreading: Equation, inside: list[Equation], products: dict[Equation, Dense]) -> Fold:
    (value,), (out,) = spreading.inputs, spreading.outputs
    along = dict(zip(spreading.params["broadcast_dimensions"], value.shape, strict=True))
    copied = [axis for axis, n in enumerate(out.shape) if along.get(axis, 0) != n]
    kept = [axis for axis in range(len(out.shape)) if axis not in copied]
    made = {v for e in inside for v in e.outputs}
    mine = [products[e] for e in inside if e in products]
    others = list(dict.fromkeys(a for e in inside for a in _read_beside(e, products, made)))
    lengths = [out.shape[axis] for axis in copied]

    def function(*values: Array) -> Array:
        xs, rest = values[: len(mine)], values[len(mine) :]

        def row(*xs: Array) -> Array:
            env = dict(zip(others, rest, strict=True))
            operands = {r.equation: x for r, x in zip(mine, xs, strict=True)}
            for e in inside:
                if e in operands:
                    results = [products[e].apply((operands[e],), read(env, products[e].weight))]
                else:
                    results = list(e.bind([read(env, a) for a in e.inputs]))
                env.update(zip(e.outputs, results, strict=True))
            return read(env, value)

        rows = [jnp.broadcast_to(x, (prod(lengths), *x.shape)) for x in xs]
        spread = jax.vmap(row)(*rows).reshape([*lengths, *(out.shape[axis] for axis in kept)])
        return jnp.moveaxis(spread, range(len(copied)), copied)

    return Fold(None, spreading, (*(r.operand for r in mine), *others), function)


def _read_beside(equation: Equation, products: dict[Equation, Dense], made: set[Variable]) -> list[Variable]:
    """List what an equation reads that is not made inside, and is not the operand of a product."""
    atoms: tuple[Atom, ...] = (products[equation].weight,) if equation in products else equation.inputs
    return [a for a in atoms if isinstance(a, Variable) and a not in made]
