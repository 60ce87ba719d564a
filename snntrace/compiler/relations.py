"""Relations: where a value made of parameters meets one that is not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from snntrace.compiler import builtin_forms as builtin_forms
from snntrace.compiler import own_rules as own_rules
from snntrace.compiler import sparse_forms as sparse_forms
from snntrace.compiler.forms import BUILDERS, Axes, Form
from snntrace.compiler.primitives import is_elementwise, is_structural
from snntrace.compiler.step import StepProgram
from snntrace.errors import CompileError
from snntrace.jaxprs import Abstract, Atom, Equation, Program, Variable

Array = Any


@dataclass(frozen=True, eq=False)
class Operation:
    """An operation ``y = op(..., W)`` that is linear in a weight.

    Its form lays it out as products ``y[a, f, k] = sum_j x[a, f, j] W[a, j, k]``, in groups a that may be
    missing. Rows f (time, batch, positions that share the weight) are in x and y only.
    """

    equation: Equation
    weight: Variable
    weight_side: int
    sources: frozenset[Variable]
    form: Form
    mixing: bool = field(default=True, init=False)

    @property
    def kind(self) -> str:
        """What reports call it."""
        return self.form.kind

    @property
    def operands(self) -> tuple[Atom, ...]:
        """All operands but the weight."""
        side = self.weight_side
        return (*self.equation.inputs[:side], *self.equation.inputs[side + 1 :])

    @property
    def output(self) -> Variable:
        """The postsynaptic value y."""
        return self.equation.outputs[0]

    @property
    def uses(self) -> tuple[tuple[Equation, int], ...]:
        """The equation and operand at which the weight acts."""
        return ((self.equation, self.weight_side),)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the output y."""
        return self.output.shape

    @cached_property
    def axes(self) -> Axes:
        """The form's axes with their sizes."""
        form = self.form
        like = [Abstract(a.shape, a.dtype) for a in (*self.operands, self.output)]
        patches = like[0] if form.patches is None else jax.eval_shape(form.patches, *like[:-1])
        columns = like[-1] if form.columns is None else jax.eval_shape(form.columns, like[-1])
        return Axes(form.axes, patches.shape, columns.shape, self.weight.shape)

    @property
    def n_row_axes(self) -> int:
        """How many axes of the output are rows, and not units."""
        return len(self.axes.rows) if self.form.n_row_axes is None else self.form.n_row_axes

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Sizes of a trace: groups if there are any, rows f, presynaptic j and postsynaptic positions k."""
        axes = self.axes
        groups = (axes.size(axes.groups),) if axes.groups else ()
        return (*groups, axes.size(axes.rows), axes.size(axes.pre), axes.size(axes.post))

    @property
    def collapses(self) -> bool:
        """Whether a trace that is the same for all postsynaptic positions is smaller."""
        return bool(self.axes.post)

    def apply(self, operands: Sequence[Array], w: Array) -> Array:
        """Compute y."""
        side = self.weight_side
        return self.equation.bind((*operands[:side], w, *operands[side:]))[0]

    def rows(self, *operands: Array) -> Array:
        """Lay the operands out as (a, f, j)."""
        patches = self.form.patches
        x = operands[0] if patches is None else patches(*operands)
        return self.axes.lay(x, self.axes.patches, self.axes.rows, self.axes.pre)

    def columns(self, y: Array) -> Array:
        """Lay a value in the output's shape out as (a, f, k)."""
        y = y if self.form.columns is None else self.form.columns(y)
        return self.axes.lay(y, self.axes.columns, self.axes.rows, self.axes.post)

    def outer(self, rows: Array, columns: Array) -> Array:
        """Compute the weight's gradient from rows (a, f, j) and columns (a, f, k)."""
        return self.unmatrix(jnp.swapaxes(rows, -1, -2) @ columns)

    def unmatrix(self, gradient: Array) -> Array:
        """Bring a gradient laid out as (a, j, k) back to the weight's own axes."""
        return self.axes.to_weight(gradient)


@dataclass(frozen=True, eq=False)
class Dense(Operation):
    """A product of two arrays without groups, ``y[f, k] = sum_j x[f, j] W[j, k]``."""

    @property
    def operand(self) -> Any:
        """The presynaptic operand x."""
        return self.operands[0]

    def matrix(self, w: Array) -> Array:
        """Lay the weight out as (j, k)."""
        return self.axes.lay(w, self.axes.weight, self.axes.pre, self.axes.post)


@dataclass(frozen=True, eq=False)
class Elementwise:
    """A parameter that meets a value position by position: a bias, a leak, a threshold.

    It stands in some equations as an operand, spread over their common output shape.
    """

    weight: Variable
    shape: tuple[int, ...]
    uses: tuple[tuple[Equation, int], ...]
    sources: frozenset[Variable]
    mixing: bool = field(default=False, init=False)

    @property
    def n_row_axes(self) -> int:
        """How many leading axes the parameter is spread over."""
        for axis, size in enumerate(self.weight.shape[::-1]):
            if size == 1 and self.shape[-1 - axis] > 1:
                return len(self.shape) - axis
        return len(self.shape) - len(self.weight.shape)

    def spread(self, w: Array) -> Array:
        """Repeat the parameter over the shape at which it acts."""
        return jnp.broadcast_to(w, self.shape)

    def gather(self, gradient: Array) -> Array:
        """Sum a gradient over the positions that share the parameter (the adjoint of `spread`)."""
        _, vjp = jax.vjp(self.spread, jnp.zeros(self.weight.shape, gradient.dtype))
        return vjp(gradient)[0]


@dataclass(frozen=True, eq=False)
class Opaque:
    """A parameter in an operation that snntrace has no trace for, and why."""

    equation: Equation
    weight: Variable
    weight_side: int
    sources: frozenset[Variable]
    reason: str
    mixing: bool = field(default=True, init=False)

    @property
    def operands(self) -> tuple[Atom, ...]:
        """All operands but the weight."""
        side = self.weight_side
        return (*self.equation.inputs[:side], *self.equation.inputs[side + 1 :])

    @property
    def uses(self) -> tuple[tuple[Equation, int], ...]:
        """The equation and operand at which the weight acts."""
        return ((self.equation, self.weight_side),)


Relation = Operation | Elementwise | Opaque
Temporal = Operation | Elementwise


@dataclass(frozen=True, eq=False)
class Relations:
    """All relations of a step, and the equations of the weight chains that lead to them."""

    operations: tuple[Operation, ...]
    elementwise: tuple[Elementwise, ...]
    opaque: tuple[Opaque, ...]
    chain: tuple[Equation, ...]
    chain_values: dict[Variable, frozenset[Variable]]

    @cached_property
    def trained(self) -> dict[Variable, frozenset[Variable]]:
        """For each value of a weight chain, the parameters that its gradient reaches."""
        found = {v: s if s == {v} else frozenset() for v, s in self.chain_values.items()}
        for equation in self.chain:
            if not equation.stops:
                reached = [found[a] for a in equation.inputs if isinstance(a, Variable) and a in found]
                found.update((out, frozenset().union(*reached)) for out in equation.outputs if out in found)
        return found

    @cached_property
    def dense(self) -> tuple[Dense, ...]:
        """The products of two arrays."""
        return tuple(r for r in self.operations if isinstance(r, Dense))

    @property
    def mixing(self) -> tuple[Operation | Opaque, ...]:
        """Relations that mix positions; the recursion holds their outputs."""
        return (*self.operations, *self.opaque)

    @property
    def all(self) -> tuple[Relation, ...]:
        """Every relation."""
        return (*self.operations, *self.elementwise, *self.opaque)


def find_relations(step: StepProgram) -> Relations:
    """Find every place where parameters, or values made of them alone, act on anything else."""
    chains: dict[Variable, frozenset[Variable]] = {leaf.old: frozenset({leaf.old}) for leaf in step.params}
    still: dict[Variable, frozenset[Variable]] = {v: frozenset() for v in step.program.constants}
    dynamic_free: dict[Variable, frozenset[Variable]] = {**still, **chains}
    copied = {leaf.new for leaf in step.hidden}
    operations: list[Operation] = []
    opaque: list[Opaque] = []
    spread: dict[tuple[Variable, tuple[int, ...]], list[tuple[Equation, int]]] = {}
    chain: list[Equation] = []

    for equation in step.program.equations:
        atoms = [v for v in equation.inputs if isinstance(v, Variable)]
        copies = any(out in copied for out in equation.outputs)
        if all(v in dynamic_free for v in atoms) and not copies:
            sources = frozenset().union(*(dynamic_free[v] for v in atoms)) if atoms else frozenset()
            dynamic_free.update((out, sources) for out in equation.outputs)
            if sources:
                chains.update((out, sources) for out in equation.outputs)
            chain.append(equation)
            continue
        for i, atom in enumerate(equation.inputs):
            if not isinstance(atom, Variable) or atom not in chains or not atom.is_float:
                continue
            if is_elementwise(equation):
                spread.setdefault((atom, equation.outputs[0].shape), []).append((equation, i))
            elif is_structural(equation):
                spread.setdefault((atom, atom.shape), []).append((equation, i))
            else:
                found = operation_of(step.program, equation, atom, i, chains[atom])
                if isinstance(found, Operation):
                    operations.append(found)
                else:
                    opaque.append(Opaque(equation, atom, i, chains[atom], found))
    elementwise = tuple(
        Elementwise(weight, shape, tuple(uses), chains[weight]) for (weight, shape), uses in spread.items()
    )
    return Relations(tuple(operations), elementwise, tuple(opaque), tuple(chain), chains)


def operation_of(
    program: Program, equation: Equation, weight: Variable, side: int, sources: frozenset[Variable]
) -> Operation | str:
    """Make the relation of an equation to the weight at a place, or say why there is none."""
    builder = BUILDERS.get(equation.name)
    if builder is None:
        return ""
    form = builder(equation, side, program.constant)
    if isinstance(form, str):
        return form
    grouped = equation.name != "dot_general" or any(equation.params["dimension_numbers"][1])
    relation = (Operation if grouped else Dense)(equation, weight, side, sources, form)
    if form.checked:
        _check(relation)
    return relation


def _check(relation: Operation) -> None:
    """Compare a form that a user gave with its operation's own derivative, at random values.

    Raises
    ------
    CompileError
        If they differ, or if the form's axes do not fit.
    """
    rng = np.random.default_rng(0)

    def draw(like: Atom) -> Array:
        values = rng.normal(size=like.shape) if jnp.issubdtype(like.dtype, jnp.inexact) else 0
        return jnp.asarray(np.broadcast_to(values, like.shape), like.dtype)

    try:
        _ = relation.axes
    except (ValueError, TypeError) as error:
        raise CompileError(
            f"register_operation: axes must fit {relation.kind!r} at {relation.equation.where}, got: "
            f"{error}. Correct axes or patches."
        ) from error
    with jax.ensure_compile_time_eval():
        operands, y = [draw(a) for a in relation.operands], draw(relation.output)
        found = relation.outer(relation.rows(*operands), relation.columns(y))
        for _ in range(2):
            _, vjp = jax.vjp(partial(relation.apply, operands), draw(relation.weight))
            (exact,) = vjp(y)
            if float(jnp.abs(found - exact).max()) > 1e-3 * max(float(jnp.abs(exact).max()), 1e-6):
                raise CompileError(
                    f"register_operation: einsum(axes, patches(x), y) must be the gradient of "
                    f"{relation.kind!r} with respect to its weight, got another one at "
                    f"{relation.equation.where}. Correct axes or patches; what is not linear in its weight "
                    "cannot be registered."
                )
