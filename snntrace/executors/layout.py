"""How a route's trace is laid out: states leading, units contiguous and last.

An operation's trace is an array (S, a, f, j, k): states, groups if it has any, rows, presynaptic and
postsynaptic positions. Where it is proven the same for every unit, k has length 1. An elementwise parameter's
trace is (S, *shape).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from snntrace.compiler.graph import Route
from snntrace.compiler.relations import Operation, Temporal
from snntrace.compiler.sites import Site
from snntrace.executors.recursion import total

Array = Any


@dataclass(frozen=True, eq=False)
class Layout:
    """A route with its trace's layout.

    `site` is where the relation's output is perturbed, `collapsed` whether all units share one trace.
    """

    route: Route
    site: Site
    collapsed: bool

    @property
    def relation(self) -> Temporal:
        """The relation whose trace this is."""
        return self.route.relation

    @property
    def shape(self) -> tuple[Any, ...]:
        """Shape of the trace."""
        relation = self.relation
        if isinstance(relation, Operation):
            *lead, post = relation.sizes
            return (self.route.group.n_states, *lead, 1 if self.collapsed else post)
        return (self.route.group.n_states, *relation.shape)

    @property
    def form(self) -> str:
        """What one entry of the trace belongs to."""
        return "one for all units, exact" if self.collapsed else "one for each synapse or unit"

    @property
    def dtype(self) -> Any:
        """Number type of the trace."""
        relation = self.relation
        return (relation.output if isinstance(relation, Operation) else relation.weight).dtype

    @property
    def n_bytes(self) -> int:
        """Memory of the trace."""
        return int(np.prod(self.shape, dtype=np.int64)) * int(np.dtype(self.dtype).itemsize)

    def zero(self) -> Any:
        """Return a trace that has seen nothing."""
        return jnp.zeros(self.shape, self.dtype)

    def at_output(self, values: Array) -> Array:
        """Bring values (..., *group shape) to the relation's output positions (..., *output shape)."""
        positions, group = self.route.positions, self.route.group
        if positions is None:
            return values
        lead = values.shape[: values.ndim - len(group.shape)]
        flat = values.reshape(*lead, -1)[..., np.maximum(positions, 0).reshape(-1)]
        return jnp.where(positions >= 0, flat.reshape(*lead, *self.relation.shape), 0)

    def columns(self, values: Array) -> Array:
        """Lay values (*output shape) out as (a, f, k), or (a, f, 1) where the trace collapses."""
        relation = self.relation
        result = relation.columns(values)  # type: ignore[union-attr]
        return result[..., :1] if self.collapsed else result

    def advance(self, trace: Array, found: Any, operand: Array | None) -> Array:
        """Apply one step, ``eps_s <- sum_q D_sq eps_q + Df_s x``.

        Parameters
        ----------
        trace : array
            The trace, in its layout.
        found : Coefficients
            D and Df of the group at this step.
        operand : array of shape (a, f, j), optional
            The presynaptic operand of an operation.

        Returns
        -------
        array
            The trace after the step.
        """
        df = found.df[self.site]
        rows = []
        for s, row in enumerate(found.d):
            terms = [self.factor(self.at_output(d)) * trace[q] for q, d in enumerate(row) if d is not None]
            grown = self.factor(df[s])
            rows.append(total([*terms, grown if operand is None else grown * operand[..., None]], trace[s]))
        return jnp.stack(rows)

    def keep(self, trace: Any, stays: Array) -> Any:
        """Set the trace of samples that begin anew to zero; `stays` is true for the others."""
        shape = self.route.group.shape
        spread = stays.reshape(*stays.shape, *(1,) * (len(shape) - stays.ndim)).astype(self.dtype)
        return trace * self.factor(self.at_output(jnp.broadcast_to(spread, shape)))

    def factor(self, values: Array) -> Array:
        """Shape values at the relation's output so that they multiply a trace."""
        return self.columns(values)[..., None, :] if isinstance(self.relation, Operation) else values

    def contract(self, signal: Sequence[Array], trace: Array) -> Array:
        """Sum signal x trace over states and rows.

        Parameters
        ----------
        signal : sequence of array of the group's shape
            The learning signal at each state.
        trace : array
            The trace, in its layout.

        Returns
        -------
        array of shape (a, j, k), or of the relation's output shape
            The gradient where the relation acts.
        """
        at = [self.at_output(values) for values in signal]
        if not isinstance(self.relation, Operation):
            return total([values * trace[s] for s, values in enumerate(at)], trace[0])
        terms = []
        for s, values in enumerate(at):
            rows = self.relation.columns(values)
            if self.collapsed:
                terms.append(jnp.swapaxes(trace[s, ..., 0], -1, -2) @ rows)
            else:
                terms.append((rows[..., None, :] * trace[s]).sum(-3))
        return total(terms, terms[0])

    def to_weight(self, gradient: Array) -> Array:
        """Bring a gradient where the relation acts to the weight's own shape."""
        if isinstance(self.relation, Operation):
            return self.relation.unmatrix(gradient)
        return self.relation.gather(gradient)
