r"""Traces of groups whose units act on each other without a weight, and of weights that act through another.

The sensitivity of every state to every weight is carried (real-time recurrent learning of the group),

    E^t = J^t E^(t-1) + (dh^t / dy^t) (dy^t / dW),        grad W = sum_t L^t . E^t,

with J the whole Jacobian of the group's transition, the products of trainable weights held as everywhere
else, or the rule's D where units keep apart; dh/dy passes through other weights of the same step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from snntrace.compiler.relations import Operation
from snntrace.errors import CompileError
from snntrace.executors.layout import Layout
from snntrace.jaxprs import Abstract
from snntrace.rules.rule import Rule

Array = Any

LARGEST = 2 << 30
"""Bytes that the sensitivities of all groups may take."""


@dataclass(frozen=True, eq=False)
class FullLayout(Layout):
    """A route whose trace is the sensitivity of all states of the group.

    The trace of an operation is (S, *group shape, a, j, k), with its groups a if it has any; that of an
    elementwise parameter is (S, *group shape, *its shape).
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the trace."""
        group, relation = self.route.group, self.relation
        if not isinstance(relation, Operation):
            return (group.n_states, *group.shape, *relation.weight.shape)
        *groups, _, pre, post = relation.sizes
        own = (*groups, pre, post)
        return (group.n_states, *group.shape, *own)

    @property
    def form(self) -> str:
        """What one entry of the trace belongs to."""
        return "of every unit to every weight, exact"

    def advance(self, trace: Array, found: Any, operand: Array | None) -> Array:
        """Apply one step, ``E <- J E + dh/dy dy/dW``.

        Parameters
        ----------
        trace : array
            The trace, in its layout.
        found : Jacobian or Coefficients
            The group's transition at this step.
        operand : array of shape (a, f, j), optional
            The presynaptic operand of an operation.

        Returns
        -------
        array
            The trace after the step.
        """
        n_states, shape = self.route.group.n_states, self.route.group.shape
        past = jnp.moveaxis(trace.reshape(n_states, *shape, -1), -1, 1)
        grown = self._moved_by_weight(operand)
        new = jax.vmap(lambda p, y: jnp.stack(found.push(tuple(p), self.site, y)), (1, 0), -1)(past, grown)
        return new.reshape(trace.shape)

    def _moved_by_weight(self, operand: Array | None) -> Array:
        """Return ``dy/dW`` as (weights, *shape of y)."""
        relation = self.relation
        if not isinstance(relation, Operation):
            n = int(np.prod(relation.weight.shape, dtype=int))
            ones = jnp.eye(n, dtype=self.dtype).reshape(n, *relation.weight.shape)
            return jax.vmap(relation.spread)(ones)
        *groups, rows, pre, post = relation.sizes
        n_groups = int(np.prod(groups, dtype=int))
        x = operand.reshape(n_groups, rows, pre)  # type: ignore[union-attr]
        each, ones = (jnp.eye(n, dtype=self.dtype) for n in (n_groups, post))
        moved = jnp.einsum("afj,ab,kl->bjlafk", x, each, ones)
        back = jax.linear_transpose(relation.columns, Abstract(relation.shape, relation.output.dtype))
        return jax.vmap(lambda y: back(y)[0])(moved.reshape(-1, *groups, rows, post))

    def keep(self, trace: Array, stays: Array) -> Array:
        """Set the trace of samples that begin anew to zero; `stays` is true for the others."""
        return trace * stays.reshape(*stays.shape, *(1,) * (trace.ndim - 1 - stays.ndim)).astype(trace.dtype)

    def contract(self, signal: Sequence[Array], trace: Array) -> Array:
        """Sum signal x trace over states and units.

        Parameters
        ----------
        signal : sequence of array of the group's shape
            The learning signal at each state.
        trace : array
            The trace, in its layout.

        Returns
        -------
        array of shape (a, j, k), or of the parameter's shape
            The gradient.
        """
        stacked = jnp.stack(list(signal))
        return jnp.tensordot(stacked, trace, stacked.ndim)

    def to_weight(self, gradient: Array) -> Array:
        """Bring a gradient to the weight's own shape."""
        return self.relation.unmatrix(gradient) if isinstance(self.relation, Operation) else gradient


def check_exact(rule: Rule, layouts: Sequence[Layout]) -> None:
    """Refuse exact Jacobians that a rule does not use, or that do not fit.

    Raises
    ------
    CompileError
        If the recursion is not the diagonal one, traces are factored, or they are too large.
    """
    full = [layout for layout in layouts if isinstance(layout, FullLayout)]
    mixed = [layout for layout in full if not layout.route.group.diagonal]
    if mixed and (rule.recursion != "diagonal" or rule.factorisation != "per-synapse"):
        names = "; ".join(dict.fromkeys(layout.route.group.name for layout in mixed))
        raise CompileError(
            "compile: nondiagonal='exact' must go with recursion='diagonal' and "
            f"factorisation='per-synapse', got {rule.recursion!r} and {rule.factorisation!r} "
            f"for the states {names}, whose units act on each other without a weight. Use D_RTRL."
        )
    n_bytes = sum(layout.n_bytes for layout in full)
    if n_bytes > LARGEST:
        names = "; ".join(dict.fromkeys(layout.route.group.name for layout in full))
        raise CompileError(
            f"compile: exact traces must fit into {LARGEST / 2**30:.0f} GiB, got {n_bytes / 2**30:.1f} GiB "
            f"for the states {names} (states x units x weights). Use smaller layers or batches, unroll with "
            "BPTT, or keep units apart: normalise in front of the product, or make the matrix a ParamState. "
            "Weights that act through another one need no such trace without the option."
        )
