"""What the compiler knows about JAX's primitives: which keep positions, and how."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import numpy as np

from snntrace.jaxprs import Equation, from_closed_jaxpr

# fmt: off
ELEMENTWISE = frozenset({
    "abs", "acos", "acosh", "add", "add_any", "and", "asin", "asinh", "atan", "atan2", "atanh", "cbrt",
    "ceil", "clamp", "convert_element_type", "copy", "copy_p", "cos", "cosh", "digamma", "div", "eq",
    "erf", "erf_inv", "erfc", "exp", "exp2", "expm1", "floor", "ge", "gt",
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
    return equation.name in STRUCTURAL


def moved_positions(equation: Equation) -> list[list[np.ndarray]]:
    """Trace where each output position of a structural equation comes from.

    Returns
    -------
    list of list of int array
        Entry ``[o][i]`` has the shape of output `o` and holds the flat position in operand `i` that
        was copied there, or -1 where another operand was.
    """
    shapes = [atom.shape for atom in equation.inputs]
    table: list[list[np.ndarray]] = [[] for _ in equation.outputs]
    with jax.ensure_compile_time_eval():
        for chosen in range(len(shapes)):
            operands: Sequence[np.ndarray] = [
                np.arange(np.prod(shape, dtype=int), dtype=np.int32).reshape(shape)
                if i == chosen
                else np.full(shape, -1, np.int32)
                for i, shape in enumerate(shapes)
            ]
            for o, out in enumerate(equation.bind(operands)):
                table[o].append(np.asarray(out))
    return table
