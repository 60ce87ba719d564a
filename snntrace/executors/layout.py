"""How a route's trace is laid out: states leading, units contiguous and last.

A product's trace is an array (S, f, j, k): states, rows, presynaptic and postsynaptic positions. Where
it is proven the same for every unit, k has length 1. An elementwise parameter's trace is (S, *shape).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from snntrace.compiler.graph import Route
from snntrace.compiler.relations import Dense, Elementwise

Array = Any


@dataclass(frozen=True, eq=False)
class Layout:
    """A route with its trace's layout."""

    route: Route
    collapsed: bool

    @property
    def relation(self) -> Dense | Elementwise:
        """The relation whose trace this is."""
        return self.route.relation

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the trace."""
        relation = self.relation
        if isinstance(relation, Dense):
            rows, pre, post = relation.sizes
            return (self.route.group.n_states, rows, pre, 1 if self.collapsed else post)
        return (self.route.group.n_states, *relation.shape)

    @property
    def dtype(self) -> Any:
        """Number type of the trace."""
        relation = self.relation
        return (relation.output if isinstance(relation, Dense) else relation.weight).dtype

    @property
    def n_bytes(self) -> int:
        """Memory of the trace."""
        return int(np.prod(self.shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize

    def at_output(self, values: Array) -> Array:
        """Bring values (..., *group shape) to the relation's output positions (..., *output shape)."""
        positions, group = self.route.positions, self.route.group
        if positions is None:
            return values
        lead = values.shape[: values.ndim - len(group.shape)]
        flat = values.reshape(*lead, -1)[..., np.maximum(positions, 0).reshape(-1)]
        return jnp.where(positions >= 0, flat.reshape(*lead, *self.relation.shape), 0)

    def columns(self, values: Array) -> Array:
        """Lay values (*output shape) of a product out as (f, k), or (f, 1) where the trace collapses."""
        relation = self.relation
        result = relation.columns(values)  # type: ignore[union-attr]
        return result[:, :1] if self.collapsed else result

    def advance(self, trace: Array, d: Array, df: Array, operand: Array | None) -> Array:
        """Apply one step, ``eps_s <- sum_q D_sq eps_q + Df_s x``.

        Parameters
        ----------
        trace : array
            The trace, in its layout.
        d : array of shape (S, S, *group shape)
            The recursion.
        df : array of shape (S, *output shape)
            The derivative along the relation's output.
        operand : array of shape (f, j), optional
            The presynaptic operand of a product.
        """
        n = trace.shape[0]
        d = self.at_output(d)
        if not isinstance(self.relation, Dense):
            return jnp.stack([sum(d[s, q] * trace[q] for q in range(n)) + df[s] for s in range(n)])
        rows = []
        for s in range(n):
            past = sum(self.columns(d[s, q])[:, None, :] * trace[q] for q in range(n))
            rows.append(past + self.columns(df[s])[:, None, :] * operand[:, :, None])  # type: ignore[index]
        return jnp.stack(rows)

    def contract(self, signal: Array, trace: Array) -> Array:
        """Sum signal x trace over states and rows.

        Parameters
        ----------
        signal : array of shape (S, *group shape)
            The learning signal.
        trace : array
            The trace, in its layout.

        Returns
        -------
        array of shape (j, k), or of the relation's output shape
            The gradient where the relation acts.
        """
        signal = self.at_output(signal)
        if not isinstance(self.relation, Dense):
            return (signal * trace).sum(0)
        total: Array = 0
        for s in range(trace.shape[0]):
            rows = self.relation.columns(signal[s])
            if self.collapsed:
                total = total + trace[s, :, :, 0].T @ rows
            else:
                total = total + (rows[:, None, :] * trace[s]).sum(0)
        return total

    def to_weight(self, gradient: Array) -> Array:
        """Bring a gradient where the relation acts to the weight's own shape."""
        if isinstance(self.relation, Dense):
            return self.relation.unmatrix(gradient)
        return self.relation.gather(gradient)
