"""What the presynaptic operand of a product is: an input, spikes, or numbers that are seldom zero."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from snntrace.compiler.graph import Graph
from snntrace.compiler.primitives import CUSTOM_CALLS
from snntrace.compiler.relations import Dense, Operation
from snntrace.jaxprs import Atom, Constant, Equation, Program, Variable, from_closed_jaxpr

COMPARISONS = frozenset({"eq", "ne", "lt", "le", "gt", "ge", "heaviside_surrogate_gradient"})
"""Primitives whose result is 0 or 1."""

KEEPING = frozenset({
    "broadcast_in_dim", "reshape", "squeeze", "expand_dims", "copy", "copy_p", "stop_gradient",
    "optimization_barrier", "convert_element_type", "reduce_precision", "transpose", "rev", "slice", "and",
    "or", "not", "mul", "max", "min", "concatenate", "stack",
})  # fmt: skip
"""Primitives that make 0 and 1 of operands that are all 0 or 1."""

PRODUCT_TYPES = (np.dtype(np.float32), np.dtype(np.float64))
"""Number types that kernels of event products take."""


@dataclass(frozen=True)
class Operand:
    """Where a product's operand comes from.

    Attributes
    ----------
    kind : {'input', 'spikes', 'graded'}
        An argument of `update` as it is; a value that is 0 or 1 by construction; any other.
    argument : int or None
        Which argument, for an input.
    obstacle : str
        Why no event product can take it; empty if one can.
    """

    kind: str
    argument: int | None
    obstacle: str


def operand_of(graph: Graph, relation: Operation) -> Operand:
    """Describe the operand of a product.

    Parameters
    ----------
    graph : Graph
        What the compiler found.
    relation : Operation
        The product.

    Returns
    -------
    Operand
        Its kind.
    """
    if not isinstance(relation, Dense):
        return Operand("graded", None, f"there is no event kernel for a {relation.kind}")
    step, operand = graph.step, relation.operand
    obstacle = _obstacle(graph, relation)
    if isinstance(operand, Variable) and operand in step.arguments:
        return Operand("input", step.arguments.index(operand), obstacle)
    successors = {leaf.old: leaf.new for leaf in (*step.hidden, *step.others)}
    binary = is_binary(step.program, operand, successors)
    return Operand("spikes" if binary else "graded", None, obstacle)


def _obstacle(graph: Graph, relation: Dense) -> str:
    if isinstance(relation.operand, Constant):
        return "its operand is a constant"
    if relation not in graph.temporal:
        return "it acts within the step alone"
    contracted, _ = relation.equation.params["dimension_numbers"]
    last = (len(relation.operand.shape) - 1,)
    rows = relation.sizes[0]
    if (
        len(relation.weight.shape) != 2
        or tuple(contracted[1 - relation.weight_side]) != last
        or (relation.weight_side == 0 and rows > 1)
    ):
        return "it is a product of other axes than rows and columns"
    types = {np.dtype(v.dtype) for v in (relation.operand, relation.weight, relation.output)}
    if len(types) > 1 or types.pop() not in PRODUCT_TYPES:
        return "its number type is neither float32 nor float64"
    return ""


def is_binary(program: Program, value: Atom, successors: dict[Variable, Variable]) -> bool:
    """Tell whether a value is 0 or 1 wherever it is made.

    Parameters
    ----------
    program : Program
        The step.
    value : Atom
        The value.
    successors : dict of Variable to Variable
        New values of states, by the old ones. A state is taken for what a step makes of it; what it begins
        with is not looked at.

    Returns
    -------
    bool
        Whether it is.
    """
    makers = {out: e for e in program.equations for out in e.outputs}
    met: set[Variable] = set()

    def known(atom: Atom) -> bool:
        if isinstance(atom, Constant):
            return bool(np.isin(np.asarray(atom.value), (0, 1)).all())
        if np.dtype(atom.dtype).kind == "b" or atom in met:
            return True
        met.add(atom)
        if atom in successors:
            return known(successors[atom])
        return atom in makers and _makes_binary(makers[atom], known)

    return known(value)


def _makes_binary(equation: Equation, known: Callable[[Atom], bool]) -> bool:
    if equation.name in COMPARISONS:
        return True
    if equation.name in CUSTOM_CALLS:
        inner = from_closed_jaxpr(equation.params.get("call_jaxpr", equation.params.get("fun_jaxpr")))
        return all(is_binary(inner, out, {}) for out in inner.outputs)
    if equation.name == "select_n":
        return all(known(a) for a in equation.inputs[1:])
    return equation.name in KEEPING and all(known(a) for a in equation.inputs)
