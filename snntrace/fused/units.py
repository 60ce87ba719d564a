"""The code of one unit: an elementwise program as straight-line statements on numbers.

A kernel runs these statements for every unit of a row. Whatever the neuron, its kernel is made from its
own equations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from snntrace.compiler.primitives import CUSTOM_CALLS
from snntrace.jaxprs import Atom, Constant, Equation, Variable, from_closed_jaxpr


class NotFusable(Exception):
    """A program that has no code for single units; the message says why."""


OPERATIONS: dict[str, str] = {
    "add": "{0} + {1}", "add_any": "{0} + {1}", "sub": "{0} - {1}", "mul": "{0} * {1}", "div": "{0} / {1}",
    "max": "{1} if {1} > {0} else {0}", "min": "{1} if {1} < {0} else {0}",
    "neg": "-{0}", "abs": "abs({0})", "square": "{0} * {0}",
    "sign": "F(1) if {0} > F(0) else (F(-1) if {0} < F(0) else {0})",
    "exp": "math.exp({0})", "log": "math.log({0})", "log1p": "math.log1p({0})", "expm1": "math.expm1({0})",
    "tanh": "math.tanh({0})", "sin": "math.sin({0})", "cos": "math.cos({0})", "sqrt": "math.sqrt({0})",
    "atan2": "math.atan2({0}, {1})", "atan": "math.atan({0})", "erf": "math.erf({0})",
    "rsqrt": "F(1) / math.sqrt({0})", "logistic": "F(1) / (F(1) + math.exp(-{0}))", "pow": "{0} ** {1}",
    "floor": "F(math.floor({0}))", "ceil": "F(math.ceil({0}))",
    "eq": "{0} == {1}", "ne": "{0} != {1}", "lt": "{0} < {1}", "le": "{0} <= {1}", "gt": "{0} > {1}",
    "ge": "{0} >= {1}", "and": "{0} & {1}", "or": "{0} | {1}", "xor": "{0} ^ {1}", "not": "not {0}",
    "select_n": "{2} if {0} else {1}", "clamp": "min(max({1}, {0}), {2})",
    "heaviside_surrogate_gradient": "F(1) if {0} >= F(0) else F(0)",
}  # fmt: skip
"""Primitives of one result, as expressions in their operands."""

ALIASES = frozenset({
    "broadcast_in_dim", "reshape", "squeeze", "expand_dims", "copy", "copy_p", "stop_gradient",
    "optimization_barrier", "reduce_precision",
})  # fmt: skip
"""Primitives that leave every unit's number as it is."""


class UnitCode:
    """Statements for one unit, written from equations.

    Parameters
    ----------
    shape : tuple of int
        Shape of the hidden group, its units last.
    names : mapping of Variable to str
        Expressions of what is known before.
    prefix : str
        Beginning of the names that are made.
    """

    def __init__(self, shape: tuple[int, ...], names: Mapping[Variable, str], prefix: str) -> None:
        self.shape = shape
        self.names: dict[Variable, str] = dict(names)
        self.prefix = prefix
        self.lines: list[str] = []
        self._seen: dict[str, str] = {}

    def read(self, atom: Atom) -> str:
        """Return the expression of a value.

        Returns
        -------
        str
            A number or a name.

        Raises
        ------
        NotFusable
            If the value is not known here.
        """
        if isinstance(atom, Constant):
            return literal(atom.value)
        if atom not in self.names:
            raise NotFusable("a value that is made outside the layer")
        return self.names[atom]

    def run(self, equations: Iterable[Equation]) -> None:
        """Write equations.

        Raises
        ------
        NotFusable
            If an equation does not act unit by unit.
        """
        for equation in equations:
            if all(out in self.names for out in equation.outputs):
                continue
            if equation.name in CUSTOM_CALLS:
                self._inline(equation)
                continue
            if equation.name in ALIASES:
                for out, atom in zip(equation.outputs, equation.inputs, strict=True):
                    keep_units(equation, atom, out, self.shape)
                    self.names[out] = self.read(atom)
                continue
            if len(equation.outputs) != 1:
                raise NotFusable(f"{equation.name!r} at {equation.where}")
            (out,) = equation.outputs
            check_unit_shape(out.shape, self.shape, equation)
            self.names[out] = self._assign(self._expression(equation))

    def _assign(self, expression: str) -> str:
        if expression not in self._seen:
            name = f"{self.prefix}{len(self._seen)}"
            self.lines.append(f"{name} = {expression}")
            self._seen[expression] = name
        return self._seen[expression]

    def _expression(self, equation: Equation) -> str:
        operands = [self.read(a) for a in equation.inputs]
        if equation.name == "integer_pow":
            power = int(equation.params["y"])
            product = " * ".join([operands[0]] * abs(power)) or "F(1)"
            return product if power >= 0 else f"F(1) / ({product})"
        if equation.name == "convert_element_type":
            dtype = np.dtype(equation.params["new_dtype"])
            if dtype.kind == "b":
                return f"{operands[0]} != 0"
            return f"F({operands[0]})" if dtype.kind == "f" else f"np.{dtype.name}({operands[0]})"
        if equation.name not in OPERATIONS:
            raise NotFusable(f"{equation.name!r} at {equation.where}")
        if equation.name == "not" and np.dtype(equation.outputs[0].dtype).kind != "b":
            return f"~{operands[0]}"
        if equation.name == "select_n" and len(operands) != 3:
            raise NotFusable(f"a select of {len(operands) - 1} cases at {equation.where}")
        return OPERATIONS[equation.name].format(*operands)

    def _inline(self, equation: Equation) -> None:
        inner = from_closed_jaxpr(equation.params.get("call_jaxpr", equation.params.get("fun_jaxpr")))
        if any(np.size(v) != 1 for v in inner.constants.values()):
            raise NotFusable(f"an array inside {equation.name!r} at {equation.where}")
        self.names.update((v, literal(value)) for v, value in inner.constants.items())
        self.names.update((v, self.read(a)) for v, a in zip(inner.inputs, equation.inputs, strict=True))
        self.run(inner.equations)
        self.names.update((o, self.read(a)) for o, a in zip(equation.outputs, inner.outputs, strict=True))


def literal(value: Any) -> str:
    """Write a number.

    Returns
    -------
    str
        Its code.

    Raises
    ------
    NotFusable
        If the value is an array of several different numbers.
    """
    flat = np.asarray(value).reshape(-1)
    if flat.size == 0 or (flat.size > 1 and not (flat == flat[0]).all()):
        raise NotFusable("an array of constants")
    number = flat[0]
    if flat.dtype.kind == "b":
        return repr(bool(number))
    if flat.dtype.kind in "iu":
        return repr(int(number))
    text = repr(float(number))
    return f"F({text})" if np.isfinite(number) else f"F(float('{text}'))"


def check_unit_shape(shape: tuple[int, ...], group: tuple[int, ...], equation: Equation) -> None:
    """Refuse values that are neither one number a unit, nor one for all.

    Raises
    ------
    NotFusable
        If a shape does not spread over the group's.
    """
    fits = len(shape) <= len(group) and all(
        a in (1, b) for a, b in zip(shape[::-1], group[::-1], strict=False)
    )
    if not fits:
        raise NotFusable(f"{equation.name!r} of shape {shape} at {equation.where}")


def keep_units(equation: Equation, atom: Atom, out: Variable, group: tuple[int, ...]) -> None:
    """Refuse to move units from one position to another.

    Raises
    ------
    NotFusable
        If the equation may move them.
    """
    before, after = tuple(atom.shape), out.shape
    if equation.name == "broadcast_in_dim":
        places = equation.params["broadcast_dimensions"]
        ends = {axis - len(after): size for axis, size in zip(places, before, strict=True) if size > 1}
        now = {axis - len(before): size for axis, size in enumerate(before) if size > 1}
        if ends != now:
            raise NotFusable(f"a broadcast that moves positions at {equation.where}")
    elif [n for n in before if n > 1] != [n for n in after if n > 1]:
        raise NotFusable(f"{equation.name!r} from {before} to {after} at {equation.where}")
    check_unit_shape(after, group, equation)


def trace(function: Callable[..., Any], *likes: Variable) -> Any:
    """Trace a function of arrays shaped like variables into a program."""
    return from_closed_jaxpr(jax.make_jaxpr(function)(*(jnp.zeros(v.shape, v.dtype) for v in likes)))
