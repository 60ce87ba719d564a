r"""Products of spikes and dense weights, as primitives.

The products of a list of events are the derivatives of one form that is linear in each of its three operands,

.. math:: F(v, W, Y) = \sum_e v_e \, W_{i_e} \cdot Y_{r_e},

with unit :math:`i_e` and row :math:`r_e` of event e: `lists_matmul` is its derivative by Y, `lists_outer` by
W and `lists_dot` by v. So each is the transpose of another. Of an array in place of lists there are two,
`array_matmul` and `array_outer`; where the array itself is differentiated, the product is an ordinary one.

Lists are (pointers, indices, values); values without elements stand for ones.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from snntrace.events import kernels
from snntrace.events.primitive import linear_in, mapped_over, native_primitive
from snntrace.events.spikes import Spikes
from snntrace.jaxprs import ad

Array = Any


def raster(pointers: Array, indices: Array, values: Array, n_units: int, dtype: Any) -> Array:
    """Return the dense array of lists; values without elements stand for ones."""
    return Spikes(pointers, indices, values if values.size else None, n_units).dense(dtype)


def _lists_matmul(pointers: Array, indices: Array, values: Array, w: Array) -> Array:
    return raster(pointers, indices, values, w.shape[0], w.dtype) @ w


def _lists_outer(pointers: Array, indices: Array, values: Array, y: Array, *, n_units: int) -> Array:
    return jnp.einsum("tbi,tbj->ij", raster(pointers, indices, values, n_units, y.dtype), y)


def _lists_dot(pointers: Array, indices: Array, w: Array, y: Array) -> Array:
    row = Spikes(pointers, indices, None, w.shape[0]).rows()
    along = (w[indices] * y.reshape(-1, y.shape[2])[row]).sum(-1)
    return jnp.where(row < y.shape[0] * y.shape[1], along, 0)


lists_matmul_p = native_primitive(
    "lists_matmul",
    lambda pointers, indices, values, w: (pointers.shape[1] - 1, pointers.shape[0], w.shape[1]),
    kernels.matmul,
    _lists_matmul,
)
lists_outer_p = native_primitive(
    "lists_outer",
    lambda pointers, indices, values, y, n_units: (n_units, y.shape[2]),
    kernels.outer,
    _lists_outer,
)
lists_dot_p = native_primitive(
    "lists_dot", lambda pointers, indices, w, y: indices.shape, kernels.dot, _lists_dot
)
array_matmul_p = native_primitive(
    "array_matmul", lambda x, w: (x.shape[0], w.shape[1]), kernels.scan_matmul, lambda x, w: x @ w
)
array_outer_p = native_primitive(
    "array_outer", lambda x, y: (x.shape[1], y.shape[1]), kernels.scan_outer, lambda x, y: x.T @ y
)


def graded_only(primitive: Any, **shape: Any) -> Any:
    """Return the tangent by the values, which is zero where there are none."""

    def rule(tangent: Array, p: Array, i: Array, v: Array, other: Array, **params: Any) -> Array:
        out = primitive.bind(p, i, tangent, other, **params)
        return out if v.size else jnp.zeros_like(out)

    return rule


def _values_cotangent(w_place: int) -> Any:
    def rule(ct: Array, p: Array, i: Array, v: Any, other: Array, **params: Any) -> Array:
        if v.aval.shape == (0,):
            return ad.Zero(v.aval)
        pair = (other, ct) if w_place == 0 else (ct, other)
        return lists_dot_p.bind(p, i, *pair)

    return rule


linear_in(
    lists_matmul_p,
    {2: graded_only(lists_matmul_p), 3: lambda dw, p, i, v, w: lists_matmul_p.bind(p, i, v, dw)},
    {
        2: _values_cotangent(0),
        3: lambda ct, p, i, v, w: lists_outer_p.bind(p, i, v, ct, n_units=w.aval.shape[0]),
    },
)
linear_in(
    lists_outer_p,
    {
        2: graded_only(lists_outer_p),
        3: lambda dy, p, i, v, y, n_units: lists_outer_p.bind(p, i, v, dy, n_units=n_units),
    },
    {2: _values_cotangent(1), 3: lambda ct, p, i, v, y, n_units: lists_matmul_p.bind(p, i, v, ct)},
)
linear_in(
    lists_dot_p,
    {
        2: lambda dw, p, i, w, y: lists_dot_p.bind(p, i, dw, y),
        3: lambda dy, p, i, w, y: lists_dot_p.bind(p, i, w, dy),
    },
    {
        2: lambda ct, p, i, w, y: lists_outer_p.bind(p, i, ct, y, n_units=w.aval.shape[0]),
        3: lambda ct, p, i, w, y: lists_matmul_p.bind(p, i, ct, w),
    },
)
linear_in(
    array_matmul_p,
    {0: lambda dx, x, w: dx @ w, 1: lambda dw, x, w: array_matmul_p.bind(x, dw)},
    {1: lambda ct, x, w: array_outer_p.bind(x, ct)},
)
linear_in(
    array_outer_p,
    {0: lambda dx, x, y: dx.T @ y, 1: lambda dy, x, y: array_outer_p.bind(x, dy)},
    {1: lambda ct, x, y: array_matmul_p.bind(x, ct)},
)


def merged_lists(lists: list[Array], mapped: list[bool], size: int) -> list[Array]:
    """Make one batch of the lists of all positions of a mapped axis."""
    pointers, indices, values = (
        a if m else jnp.broadcast_to(a, (size, *a.shape)) for a, m in zip(lists, mapped, strict=True)
    )
    capacity = indices.shape[1]
    offsets = capacity * jnp.arange(size, dtype=jnp.int32)[:, None, None]
    shifted = pointers.clip(0, capacity) + offsets
    return [shifted.reshape(-1, pointers.shape[2]), indices.ravel(), values.ravel()]


def widened(w: Array) -> Array:
    """Lay matrices, or rows, of all positions of a mapped axis side by side."""
    moved = jnp.moveaxis(w, 0, -2)
    return moved.reshape(*moved.shape[:-2], -1)


def split(out: Array, axis: int, size: int) -> tuple[Array, int]:
    """Undo the merging of a mapped axis that stands first in `axis`."""
    return out.reshape(*out.shape[:axis], size, -1, *out.shape[axis + 1 :]), axis


def _merge_lists_matmul(operands: list[Array], mapped: list[bool]) -> tuple[Array, int] | None:
    if not mapped[3]:
        size = next(len(o) for o, m in zip(operands, mapped, strict=True) if m)
        lists = merged_lists(operands[:3], mapped[:3], size)
        return split(lists_matmul_p.bind(*lists, operands[3]), 1, size)
    if not any(mapped[:3]):
        return split(lists_matmul_p.bind(*operands[:3], widened(operands[3])), 2, len(operands[3]))
    return None


def _merge_lists_outer(operands: list[Array], mapped: list[bool], n_units: int) -> tuple[Array, int] | None:
    if any(mapped[:3]):
        return None
    out = lists_outer_p.bind(*operands[:3], widened(operands[3]), n_units=n_units)
    return split(out, 1, len(operands[3]))


def _merge_array_matmul(operands: list[Array], mapped: list[bool]) -> tuple[Array, int] | None:
    x, w = operands
    if all(mapped):
        return None
    if mapped[0]:
        return split(array_matmul_p.bind(x.reshape(-1, x.shape[2]), w), 0, len(x))
    return split(array_matmul_p.bind(x, widened(w)), 1, len(w))


def _merge_array_outer(operands: list[Array], mapped: list[bool]) -> tuple[Array, int] | None:
    x, y = operands
    if all(mapped):
        return None
    if mapped[0]:
        return split(array_outer_p.bind(widened(x), y), 0, len(x))
    return split(array_outer_p.bind(x, widened(y)), 1, len(y))


mapped_over(lists_matmul_p, _merge_lists_matmul)
mapped_over(lists_outer_p, _merge_lists_outer)
mapped_over(lists_dot_p, lambda operands, mapped: None)
mapped_over(array_matmul_p, _merge_array_matmul)
mapped_over(array_outer_p, _merge_array_outer)
