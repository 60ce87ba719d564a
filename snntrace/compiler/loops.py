"""`while` loops on the way of a gradient: JAX differentiates them forward, and here backward too.

Where a loop keeps positions, each position of a result depends on at most one element of each operand. Its
derivative is then a factor at each position, which one forward derivative along ones gives, and which can be
transposed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from snntrace.compiler.primitives import is_elementwise
from snntrace.errors import CompileError
from snntrace.jaxprs import IMPLEMENTATIONS, Atom, Equation, Program, Variable, from_closed_jaxpr

Array = Any
WHILE: Any = jax.lax.while_p
RESHAPING = frozenset({"reshape", "expand_dims", "squeeze"})


def body_of(loop: Equation) -> tuple[Program, int]:
    """Return the body of a `while` loop, and at which operand of the loop its own begin."""
    return from_closed_jaxpr(loop.params["body_jaxpr"]), loop.params["cond_nconsts"]


def mixing_in(loop: Equation) -> Equation | None:
    """Return what in a `while` loop's body does not keep positions; None if everything does."""
    body, first = body_of(loop)
    floating = [v for v in body.inputs if v.is_float]
    return next(iter(_mixing(body, floating)), None)


def _mixing(program: Program, sources: Iterable[Variable]) -> Iterable[Equation]:
    flowing = set(sources)
    for equation in program.equations:
        if equation.name == "stop_gradient" or not any(v in flowing for v in equation.inputs):
            continue
        outputs = [v for v in equation.outputs if v.is_float]
        if outputs and not _keeps(equation, flowing):
            yield equation
        flowing.update(outputs)


def _keeps(equation: Equation, flowing: set[Variable]) -> bool:
    """Whether each position of the outputs depends on at most one element of each flowing operand."""
    if equation.name == "while":
        return mixing_in(equation) is None
    operands, shape = [a for a in equation.inputs if a in flowing], equation.outputs[0].shape
    if equation.name == "broadcast_in_dim":
        lead = len(shape) - len(operands[0].shape)
        return tuple(equation.params["broadcast_dimensions"]) == tuple(range(lead, len(shape)))
    if equation.name in RESHAPING:
        return all(_core(a.shape) == _core(shape) for a in operands)
    return is_elementwise(equation) and all(spreads(a.shape, shape) for a in operands)


def _core(shape: Sequence[int]) -> tuple[int, ...]:
    """Leave leading axes of length 1 out."""
    first = next((i for i, n in enumerate(shape) if n != 1), len(shape))
    return tuple(shape[first:])


def spreads(shape: Sequence[int], target: Sequence[int]) -> bool:
    """Whether a shape broadcasts to another one."""
    ends = zip(tuple(shape)[::-1], tuple(target)[::-1], strict=False)
    return len(shape) <= len(target) and all(n in (1, m) for n, m in ends)


def differentiable_while(*operands: Array, **params: Any) -> Sequence[Array]:
    """Run a `while` loop that can be differentiated in both directions if it keeps positions.

    Parameters
    ----------
    *operands : array
        What the loop takes.
    **params
        The primitive's parameters.

    Returns
    -------
    sequence of array
        What it carries at the end.
    """
    plain = not any(map(_floating, operands)) or params["body_jaxpr"].effects or params["cond_jaxpr"].effects
    if plain:
        return tuple(WHILE.bind(*operands, **params))

    @jax.custom_jvp
    def loop(*values: Array) -> Sequence[Array]:
        return tuple(WHILE.bind(*values, **params))

    def derivative(values: Sequence[Array], tangents: Sequence[Any]) -> tuple[Sequence[Array], Any]:
        results = loop(*values)
        moved: list[Any] = [jnp.zeros_like(r) if _floating(r) else _no_tangent(r) for r in results]
        for i, tangent in enumerate(tangents):
            if isinstance(tangent, jax.custom_derivatives.SymbolicZero) or not _floating(values[i]):
                continue

            def along(value: Array, i: int = i) -> Sequence[Array]:
                held = [jax.lax.stop_gradient(v) for v in values]
                ran = WHILE.bind(*held[:i], value, *held[i + 1 :], **params)
                return [r for r in ran if _floating(r)]

            _, factors = jax.jvp(along, (values[i],), (jnp.ones_like(values[i]),))
            slots = [o for o, r in enumerate(results) if _floating(r)]
            for o, factor in zip(slots, factors, strict=True):
                # What keeps positions drops leading axes of length 1 only: a result that the rest of the
                # shape does not spread to is independent of the operand.
                core = _core(jnp.shape(tangent))
                if spreads(core, jnp.shape(factor)):
                    moved[o] = moved[o] + factor * jnp.broadcast_to(jnp.reshape(tangent, core), factor.shape)
        return results, tuple(moved)

    loop.defjvp(derivative, symbolic_zeros=True)
    return loop(*operands)


IMPLEMENTATIONS["while"] = differentiable_while


def _floating(value: Array) -> bool:
    return bool(jnp.issubdtype(jnp.result_type(value), jnp.inexact))


def _no_tangent(value: Array) -> np.ndarray[Any, Any]:
    return np.zeros(jnp.shape(value), jax.dtypes.float0)


def refuse_loops(
    program: Program, sources: Iterable[Variable], targets: Iterable[Atom], around: Equation | None = None
) -> None:
    """Refuse `while` loops on the way of a gradient that cannot be differentiated.

    Parameters
    ----------
    program : Program
        The step.
    sources : iterable of Variable
        Values that gradients flow from: old hidden states and parameters.
    targets : iterable of Atom
        Values that gradients come from: the result and the new hidden states.
    around : Equation, optional
        What the program stands in, such as a longer loop.

    Raises
    ------
    CompileError
        If there is one.
    """
    flowing = set(sources)
    closed = {out for e in program.equations if e.name == "stop_gradient" for out in e.outputs}
    for equation in program.equations:
        if any(v in flowing for v in equation.inputs):
            flowing.update(v for v in equation.outputs if v.is_float and v not in closed)
    for equation in program.slice(targets, closed):
        if not any(v in flowing for v in equation.outputs):
            continue
        mixing = mixing_in(equation) if equation.name == "while" else None
        if mixing is not None or (equation.name == "while" and around is not None):
            raise CompileError(_refusal(equation, mixing, around))
        for inner, at in _inner_programs(equation):
            inside = [v for v, a in zip(inner.inputs, at, strict=True) if a is None or a in flowing]
            refuse_loops(inner, [v for v in inside if v.is_float], inner.outputs, equation)


def _inner_programs(equation: Equation) -> list[tuple[Program, list[Atom | None]]]:
    """List the programs in an equation with what their inputs are; None for what a loop carries."""
    if equation.name == "cond":
        return [(from_closed_jaxpr(b), list(equation.inputs[1:])) for b in equation.params["branches"]]
    if equation.name == "scan":
        first, n_carry = equation.params["num_consts"], equation.params["num_carry"]
        at: list[Atom | None] = list(equation.inputs)
        at[first : first + n_carry] = [None] * n_carry
        return [(from_closed_jaxpr(equation.params["jaxpr"]), at)]
    return []


def _refusal(loop: Equation, mixing: Equation | None, around: Equation | None) -> str:
    if mixing is not None:
        rule, found = "keep positions", f"with {mixing.name!r} at {mixing.where}"
    else:
        rule, found = "stand in no other one", f"inside {around.name!r}" if around is not None else ""
    return (
        "compile: a `while` loop between a hidden state or a parameter and a hidden state or the result must "
        f"{rule}, got one at {loop.where} {found}, which has no derivative backward. Write a loop of fixed "
        "length (fori_loop or scan with a static count) in which jnp.where lets units rest, or put "
        "jax.lax.stop_gradient around the operand."
    )
