"""Products of spikes and weights of which few exist, as primitives.

They are the three products of lists in `snntrace.events.products`, with the matrix replaced by its structure
(starts, targets) and the weights that exist.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from snntrace.events import sparse_kernels
from snntrace.events.primitive import linear_in, mapped_over, native_primitive
from snntrace.events.products import merged_lists, raster, split
from snntrace.events.spikes import Spikes
from snntrace.jaxprs import ad

Array = Any


def sources(starts: Array, n_weights: int) -> Array:
    """Return the presynaptic unit of each weight."""
    return jnp.searchsorted(starts, jnp.arange(n_weights), side="right") - 1


def matrix(starts: Array, targets: Array, w: Array, n_post: int) -> Array:
    """Return the dense matrix; several weights between two units add up."""
    zeros = jnp.zeros((starts.size - 1, n_post), w.dtype)
    return zeros.at[sources(starts, targets.size), targets].add(w)


def _matmul(p: Array, i: Array, v: Array, starts: Array, targets: Array, w: Array, *, n_post: int) -> Array:
    return raster(p, i, v, starts.size - 1, w.dtype) @ matrix(starts, targets, w, n_post)


def _outer(p: Array, i: Array, v: Array, starts: Array, targets: Array, y: Array) -> Array:
    x = raster(p, i, v, starts.size - 1, y.dtype)
    return jnp.einsum("tbi,tbj->ij", x, y)[sources(starts, targets.size), targets]


def _dot(p: Array, i: Array, starts: Array, targets: Array, w: Array, y: Array) -> Array:
    row = Spikes(p, i, None, starts.size - 1).rows()
    along = (matrix(starts, targets, w, y.shape[2])[i] * y.reshape(-1, y.shape[2])[row]).sum(-1)
    return jnp.where(row < y.shape[0] * y.shape[1], along, 0)


sparse_matmul_p = native_primitive(
    "sparse_matmul",
    lambda p, i, v, starts, targets, w, n_post: (p.shape[1] - 1, p.shape[0], n_post),
    sparse_kernels.matmul,
    _matmul,
)
sparse_outer_p = native_primitive(
    "sparse_outer", lambda p, i, v, starts, targets, y: targets.shape, sparse_kernels.outer, _outer
)
sparse_dot_p = native_primitive(
    "sparse_dot", lambda p, i, starts, targets, w, y: i.shape, sparse_kernels.dot, _dot
)


def _matmul_by_values(dv: Array, p: Array, i: Array, v: Array, *rest: Array, n_post: int) -> Array:
    out = sparse_matmul_p.bind(p, i, dv, *rest, n_post=n_post)
    return out if v.size else jnp.zeros_like(out)


def _outer_by_values(dv: Array, p: Array, i: Array, v: Array, *rest: Array) -> Array:
    out = sparse_outer_p.bind(p, i, dv, *rest)
    return out if v.size else jnp.zeros_like(out)


def _values_of_matmul(
    ct: Array, p: Array, i: Array, v: Any, s: Array, k: Array, w: Array, n_post: int
) -> Any:
    return sparse_dot_p.bind(p, i, s, k, w, ct) if v.aval.size else ad.Zero(v.aval)


def _values_of_outer(ct: Array, p: Array, i: Array, v: Any, s: Array, k: Array, y: Array) -> Any:
    return sparse_dot_p.bind(p, i, s, k, ct, y) if v.aval.size else ad.Zero(v.aval)


linear_in(
    sparse_matmul_p,
    {
        2: _matmul_by_values,
        5: lambda dw, *operands, n_post: sparse_matmul_p.bind(*operands[:5], dw, n_post=n_post),
    },
    {2: _values_of_matmul, 5: lambda ct, *operands, n_post: sparse_outer_p.bind(*operands[:5], ct)},
)
linear_in(
    sparse_outer_p,
    {2: _outer_by_values, 5: lambda dy, *operands: sparse_outer_p.bind(*operands[:5], dy)},
    {
        2: _values_of_outer,
        5: lambda ct, *operands: sparse_matmul_p.bind(*operands[:5], ct, n_post=operands[5].aval.shape[2]),
    },
)
linear_in(
    sparse_dot_p,
    {
        4: lambda dw, p, i, s, k, w, y: sparse_dot_p.bind(p, i, s, k, dw, y),
        5: lambda dy, p, i, s, k, w, y: sparse_dot_p.bind(p, i, s, k, w, dy),
    },
    {
        4: lambda ct, p, i, s, k, w, y: sparse_outer_p.bind(p, i, ct, s, k, y),
        5: lambda ct, p, i, s, k, w, y: sparse_matmul_p.bind(p, i, ct, s, k, w, n_post=y.aval.shape[2]),
    },
)


def _merge_matmul(operands: list[Array], mapped: list[bool], n_post: int) -> tuple[Array, int] | None:
    if any(mapped[3:]):
        return None
    size = next(len(o) for o, m in zip(operands, mapped, strict=True) if m)
    lists = merged_lists(operands[:3], mapped[:3], size)
    return split(sparse_matmul_p.bind(*lists, *operands[3:], n_post=n_post), 1, size)


def _merge_dot(operands: list[Array], mapped: list[bool]) -> tuple[Array, int] | None:
    """Merge the positions where lists and rows are mapped and weights are not."""
    if any(mapped[2:5]) or not mapped[5]:
        return None
    p, i, starts, targets, w, y = operands
    no_values, size = jnp.zeros(0, w.dtype), len(y)
    p, i, _ = merged_lists([p, i, no_values], [*mapped[:2], False], size)
    rows = jnp.moveaxis(y, 0, 1)
    out = sparse_dot_p.bind(p, i, starts, targets, w, rows.reshape(len(rows), -1, rows.shape[3]))
    return out.reshape(size, -1), 0


mapped_over(sparse_matmul_p, _merge_matmul)
mapped_over(sparse_outer_p, lambda operands, mapped: None)
mapped_over(sparse_dot_p, _merge_dot)
