"""What stands in front of a product and is linear moves into its weight.

    (x @ A) @ B = x @ (A @ B),    (x * g) @ B = x @ (g B),    (x + b) @ B = x @ B + b @ B

On the right, the parameters are a weight chain with an exact trace. On the left, A, g and b act through B on
every unit behind it, and there is no trace for that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from snntrace.compiler.relations import Dense, operation_of
from snntrace.compiler.step import StepProgram
from snntrace.jaxprs import Abstract, Atom, Equation, Program, Variable, trace_program

Array = Any

SCALINGS = {"mul": (0, 1), "div": (0,)}
SHIFTS = {"add": (0, 1), "add_any": (0, 1), "sub": (0,)}
"""For each primitive the places of the operand that it is linear in, but for a shift."""


@dataclass(frozen=True, eq=False)
class Fold:
    """An equation, and another one in front of it if that goes, that one function of some values replaces."""

    first: Equation | None
    second: Equation
    atoms: tuple[Atom, ...]
    function: Callable[..., Array]


def fold_products(step: StepProgram) -> StepProgram:
    """Move what is linear and trained into the weight of the product behind it.

    Parameters
    ----------
    step : StepProgram
        The step as the model wrote it.

    Returns
    -------
    StepProgram
        The step with the same results, up to rounding.
    """
    while (fold := next(_folds(step), None)) is not None:
        step = replace(step, program=joined(step.program, fold))
    return step


def _folds(step: StepProgram) -> Iterator[Fold]:
    """Find products whose operand a trained, linear equation makes for them alone."""
    program = step.program
    if not any(e.name == "dot_general" for e in program.equations):
        return
    chain = program.made_of(leaf.old for leaf in step.params)
    trained = chain - program.made_of(())
    makers = {out: e for e in program.equations for out in e.outputs}
    ends = (*step.results, *(leaf.new for leaf in (*step.hidden, *step.others)))
    users: dict[Atom, int] = {}
    for atom in (*ends, *(a for e in program.equations for a in e.inputs)):
        users[atom] = users.get(atom, 0) + 1
    for equation in program.equations:
        second = _product(program, equation, chain)
        if second is None or users[second.operand] != 1:
            continue
        maker = makers.get(second.operand)
        if (
            maker is None
            or not any(a in trained for a in maker.inputs)
            or all(a in chain for a in maker.inputs)
        ):
            continue
        first = _product(program, maker, trained)
        if first is not None and _aligned(first, second):
            yield _product_of_products(first, second)
        places = {**SCALINGS, **SHIFTS}.get(maker.name, ())
        for place in places:
            other = maker.inputs[1 - place]
            if other in trained and maker.inputs[place].shape == maker.outputs[0].shape:
                vector = _along_inputs(other, makers, second)
                if vector is not None:
                    yield _product_of_affine(maker, place, vector, second)


def _product(program: Program, equation: Equation, matrices: set[Variable]) -> Dense | None:
    """Return an equation as a product of one value with one of the matrices."""
    if equation.name != "dot_general":
        return None
    sides = [(i, a) for i, a in enumerate(equation.inputs) if isinstance(a, Variable) and a in matrices]
    if len(sides) != 1:
        return None
    found = operation_of(program, equation, sides[0][1], sides[0][0], frozenset())
    return found if isinstance(found, Dense) else None


def _aligned(first: Dense, second: Dense) -> bool:
    """Whether the rows and columns of one product's result are the rows and inputs of the other."""
    with jax.ensure_compile_time_eval():
        index = np.arange(np.prod(first.shape, dtype=int)).reshape(first.shape)
        return bool(np.array_equal(first.columns(index), second.rows(index)))


def _product_of_products(first: Dense, second: Dense) -> Fold:
    def function(x: Array, a: Array, b: Array) -> Array:
        weight = jnp.matmul(first.matrix(a), second.matrix(b), **_options(second))
        return _applied(first.rows(x), weight, second)

    return Fold(first.equation, second.equation, (first.operand, first.weight, second.weight), function)


def _along_inputs(
    value: Atom, makers: dict[Variable, Equation], second: Dense
) -> tuple[Atom, tuple[int, ...]] | None:
    """Return what a value is spread from, and along which axes, if it is the same in every row."""
    axes = tuple(range(len(value.shape)))
    maker = makers.get(value) if isinstance(value, Variable) else None
    if maker is not None and maker.name == "broadcast_in_dim" and len(maker.inputs) == 1:
        value, axes = maker.inputs[0], tuple(maker.params["broadcast_dimensions"])
    letters = second.axes.patches
    if value.shape and len(axes) != len(value.shape):
        return None
    if any(n != 1 and letters[a] in second.axes.rows for a, n in zip(axes, value.shape, strict=True)):
        return None
    return value, axes


def _product_of_affine(
    maker: Equation, place: int, vector: tuple[Atom, tuple[int, ...]], second: Dense
) -> Fold:
    atom, along = vector
    axes = second.axes
    shape = [1 if c in axes.rows else axes.sizes[c] for c in axes.patches]
    order = [axes.patches.index(c) for c in axes.pre] + [axes.patches.index(c) for c in axes.rows]

    def function(x: Array, v: Array, b: Array) -> Array:
        spread = jax.lax.broadcast_in_dim(v, shape, along)
        column = jnp.transpose(spread, order).reshape(-1, 1)

        def at(value: Array) -> Array:
            return maker.bind((value, column) if place == 0 else (column, value))[0]

        matrix = second.matrix(b)
        if maker.name in SCALINGS:
            return _applied(second.rows(x), at(jnp.ones_like(column)) * matrix, second)
        shift = jnp.matmul(at(jnp.zeros_like(column)).T, matrix, **_options(second))
        y = _applied(second.rows(x), matrix, second)
        return y + _spread_rows(shift, second)

    return Fold(maker, second.equation, (maker.inputs[place], atom, second.weight), function)


def _options(product: Dense) -> dict[str, Any]:
    return {k: product.equation.params[k] for k in ("precision", "preferred_element_type")}


def _applied(rows: Array, matrix: Array, product: Dense) -> Array:
    """Compute a product's result from its operand as (f, j) and a matrix (j, k)."""
    axes = product.axes
    order = axes.rows + axes.post
    y = jnp.matmul(rows, matrix, **_options(product)).reshape([axes.sizes[c] for c in order])
    return jnp.transpose(y, [order.index(c) for c in axes.columns]) if order != axes.columns else y


def _spread_rows(values: Array, product: Dense) -> Array:
    """Bring (1, k) to the axes of a product's result, its rows of length 1."""
    axes = product.axes
    order = axes.rows + axes.post
    shaped = values.reshape([1 if c in axes.rows else axes.sizes[c] for c in order])
    return jnp.transpose(shaped, [order.index(c) for c in axes.columns])


def joined(program: Program, fold: Fold) -> Program:
    """Put a function's equations in the place of those that it replaces.

    Parameters
    ----------
    program : Program
        The step.
    fold : Fold
        What is replaced by what.

    Returns
    -------
    Program
        The step with the same results, up to rounding.
    """
    made = trace_program(fold.function, *(Abstract(a.shape, a.dtype) for a in fold.atoms))
    names: dict[Any, Any] = dict(zip(made.inputs, fold.atoms, strict=True))
    names[made.outputs[0]] = fold.second.outputs[0]
    one = [
        replace(
            e,
            inputs=tuple(names.get(a, a) for a in e.inputs),
            outputs=tuple(names.get(v, v) for v in e.outputs),
            where=fold.second.where,
        )
        for e in made.equations
    ]
    kept = [e for e in program.equations if e is not fold.first]
    place = kept.index(fold.second)
    constants = {**program.constants, **made.constants}
    return replace(program, equations=(*kept[:place], *one, *kept[place + 1 :]), constants=constants)
