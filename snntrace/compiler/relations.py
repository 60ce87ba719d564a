"""Relations: where a value made of parameters meets one that is not."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from snntrace.compiler.primitives import is_elementwise, is_structural
from snntrace.compiler.step import StepProgram
from snntrace.jaxprs import Equation, Variable

Array = Any


@dataclass(frozen=True, eq=False)
class Dense:
    """A product ``y[f, k] = sum_j x[f, j] W[j, k]`` of a value and a weight.

    Axes of `x` that are not contracted are the rows `f` (time, batch, positions that share the
    weight); those of the weight are the columns `k`.
    """

    equation: Equation
    weight: Variable
    weight_side: int
    sources: frozenset[Variable]
    mixing: bool = field(default=True, init=False)

    @property
    def operand(self) -> Any:
        """The presynaptic operand x."""
        return self.equation.inputs[1 - self.weight_side]

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
    def _axes(self) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        contracted, _ = self.equation.params["dimension_numbers"]
        x_in, w_in = contracted[1 - self.weight_side], contracted[self.weight_side]
        x_free = tuple(a for a in range(len(self.operand.shape)) if a not in x_in)
        w_free = tuple(a for a in range(len(self.weight.shape)) if a not in w_in)
        return tuple(x_in), x_free, tuple(w_in), w_free

    @property
    def n_row_axes(self) -> int:
        """How many axes of the output come from the operand."""
        return len(self._axes[1])

    @cached_property
    def sizes(self) -> tuple[int, int, int]:
        """Numbers of rows f, presynaptic j and postsynaptic positions k."""
        x_in, x_free, _, w_free = self._axes
        x, w = self.operand.shape, self.weight.shape
        return (
            int(np.prod([x[a] for a in x_free], dtype=int)),
            int(np.prod([x[a] for a in x_in], dtype=int)),
            int(np.prod([w[a] for a in w_free], dtype=int)),
        )

    def apply(self, x: Array, w: Array) -> Array:
        """Compute y."""
        return self.equation.bind((x, w) if self.weight_side == 1 else (w, x))[0]

    def rows(self, x: Array) -> Array:
        """Lay the operand out as (f, j)."""
        x_in, x_free, _, _ = self._axes
        rows, pre, _ = self.sizes
        return jnp.transpose(x, (*x_free, *x_in)).reshape(rows, pre)

    def columns(self, y: Array) -> Array:
        """Lay a value in the output's shape out as (f, k)."""
        rows, _, post = self.sizes
        if self.weight_side == 0:
            n_w = len(self.shape) - self.n_row_axes
            y = jnp.transpose(y, (*range(n_w, len(self.shape)), *range(n_w)))
        return y.reshape(rows, post)

    def matrix(self, w: Array) -> Array:
        """Lay the weight out as (j, k)."""
        _, _, w_in, w_free = self._axes
        _, pre, post = self.sizes
        return jnp.transpose(w, (*w_in, *w_free)).reshape(pre, post)

    def unmatrix(self, gradient: Array) -> Array:
        """Bring a gradient laid out as (j, k) back to the weight's own axes."""
        _, _, w_in, w_free = self._axes
        order = (*w_in, *w_free)
        shaped = gradient.reshape([self.weight.shape[a] for a in order])
        return jnp.transpose(shaped, tuple(int(a) for a in np.argsort(order)))


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
    """A parameter in an operation that snntrace has no trace for."""

    equation: Equation
    weight: Variable
    weight_side: int
    sources: frozenset[Variable]
    mixing: bool = field(default=True, init=False)

    @property
    def uses(self) -> tuple[tuple[Equation, int], ...]:
        """The equation and operand at which the weight acts."""
        return ((self.equation, self.weight_side),)


Relation = Dense | Elementwise | Opaque


@dataclass(frozen=True, eq=False)
class Relations:
    """All relations of a step, and the equations of the weight chains that lead to them."""

    dense: tuple[Dense, ...]
    elementwise: tuple[Elementwise, ...]
    opaque: tuple[Opaque, ...]
    chain: tuple[Equation, ...]
    chain_values: dict[Variable, frozenset[Variable]]

    @property
    def mixing(self) -> tuple[Dense | Opaque, ...]:
        """Relations that mix positions; the recursion holds their outputs."""
        return (*self.dense, *self.opaque)

    @property
    def all(self) -> tuple[Relation, ...]:
        """Every relation."""
        return (*self.dense, *self.elementwise, *self.opaque)


def find_relations(step: StepProgram) -> Relations:
    """Find every place where parameters, or values made of them alone, act on anything else."""
    chains: dict[Variable, frozenset[Variable]] = {leaf.old: frozenset({leaf.old}) for leaf in step.params}
    still: dict[Variable, frozenset[Variable]] = {v: frozenset() for v in step.program.constants}
    dynamic_free: dict[Variable, frozenset[Variable]] = {**still, **chains}
    copied = {leaf.new for leaf in step.hidden}
    dense: list[Dense] = []
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
            if _is_product(equation):
                dense.append(Dense(equation, atom, i, chains[atom]))
            elif is_elementwise(equation):
                spread.setdefault((atom, equation.outputs[0].shape), []).append((equation, i))
            elif is_structural(equation):
                spread.setdefault((atom, atom.shape), []).append((equation, i))
            else:
                opaque.append(Opaque(equation, atom, i, chains[atom]))
    elementwise = tuple(
        Elementwise(weight, shape, tuple(uses), chains[weight]) for (weight, shape), uses in spread.items()
    )
    return Relations(tuple(dense), elementwise, tuple(opaque), tuple(chain), chains)


def _is_product(equation: Equation) -> bool:
    if equation.name != "dot_general":
        return False
    _, batch = equation.params["dimension_numbers"]
    return not batch[0] and not batch[1]
