"""What the compiler knows about JAX's primitives: which keep positions, and how."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import numpy as np

from snntrace.jaxprs import Constant, Equation, from_closed_jaxpr

# fmt: off
ELEMENTWISE = frozenset({
    "abs", "acos", "acosh", "add", "add_any", "and", "asin", "asinh", "atan", "atan2", "atanh", "cbrt",
    "ceil", "clamp", "convert_element_type", "copy", "copy_p", "cos", "cosh", "digamma", "div", "eq",
    "erf", "erf_inv", "erfc", "exp", "exp2", "expm1", "exprel", "floor", "ge", "gt",
    "heaviside_surrogate_gradient", "imag", "integer_pow", "is_finite", "le", "lgamma", "log", "log1p",
    "logistic", "lt", "max", "min", "mul", "ne", "neg", "nextafter", "not", "optimization_barrier",
    "or", "population_count", "pow", "real", "reduce_precision", "rem", "round", "rsqrt", "select_n",
    "sign", "sin", "sinh", "sqrt", "square", "stop_gradient", "sub", "tan", "tanh", "xor",
})
# fmt: on
"""Primitives whose output at a position depends on their operands at that position only."""

# fmt: off
STRUCTURAL = frozenset({
    "broadcast_in_dim", "concatenate", "expand_dims", "pad", "reshape", "rev", "slice", "split",
    "squeeze", "stack", "transpose",
})
# fmt: on
"""Primitives that only move, copy or drop positions."""

REDUCTIONS = frozenset({"reduce_max", "reduce_min", "reduce_prod", "reduce_sum"})
"""Primitives that join the positions along some axes into one."""

INDEX_OPERANDS = {
    "dynamic_slice": slice(1, None),
    "dynamic_update_slice": slice(2, None),
    "gather": slice(1, 2),
    "scatter": slice(1, 2),
}
"""Primitives that only move positions if these operands, their indices, are constants."""

CUSTOM_CALLS = frozenset({"custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr"})


def is_elementwise(equation: Equation) -> bool:
    """Whether each output position depends on the same position of the operands only."""
    if equation.name in CUSTOM_CALLS:
        inner = equation.params.get("call_jaxpr", equation.params.get("fun_jaxpr"))
        return all(
            is_elementwise(e) or e.name == "broadcast_in_dim" for e in from_closed_jaxpr(inner).equations
        )
    return equation.name in ELEMENTWISE


def is_structural(equation: Equation) -> bool:
    """Whether the equation only moves, copies or drops positions."""
    indices = equation.inputs[INDEX_OPERANDS.get(equation.name, slice(0))]
    fixed = equation.name in INDEX_OPERANDS and all(isinstance(a, Constant) for a in indices)
    return equation.name in STRUCTURAL or fixed


def moved_positions(equation: Equation) -> list[list[np.ndarray]]:
    """Trace where each output position of a structural equation comes from.

    Returns
    -------
    list of list of int array
        Entry ``[o][i]`` has the shape of output `o` and holds the flat position in operand `i` that
        was copied there, or -1 where another operand was.
    """
    indices = range(len(equation.inputs))[INDEX_OPERANDS.get(equation.name, slice(0))]
    table: list[list[np.ndarray]] = [[] for _ in equation.outputs]

    def operand(i: int, chosen: int) -> np.ndarray:
        atom = equation.inputs[i]
        if i in indices and isinstance(atom, Constant):
            return np.asarray(atom.value)
        if i != chosen:
            return np.full(atom.shape, -1, np.int32)
        return np.arange(np.prod(atom.shape, dtype=int), dtype=np.int32).reshape(atom.shape)

    with jax.ensure_compile_time_eval():
        for chosen in range(len(equation.inputs)):
            operands: Sequence[np.ndarray] = [operand(i, chosen) for i in range(len(equation.inputs))]
            for o, out in enumerate(equation.bind(operands)):
                # Fill values, behind the end of an operand, are negative too.
                table[o].append(np.maximum(np.asarray(out), -1))
    return table
