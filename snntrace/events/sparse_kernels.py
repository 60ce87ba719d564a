"""Kernels of products of spikes and weights of which few exist, compressed by presynaptic unit.

The weights of unit i are ``w[starts[i]:starts[i + 1]]`` and reach the units ``targets`` at the same places.
Elements of value 0 are passed over, so that lists may hold every element of an array.
"""

from __future__ import annotations

from typing import Any

import numba

from snntrace.events.kernels import WORK, between, events_in
from snntrace.events.rows import compiled, threaded

SPREAD = 4
"""Multiply-adds of contiguous numbers that take as long as one of spread numbers."""


@compiled
def work_of(pointers: Any, starts: Any) -> Any:
    """Estimate the work on lists, in multiply-adds."""
    per_unit = starts[-1] // max(starts.size - 1, 1) + 1
    return SPREAD * events_in(pointers) * per_unit


@compiled
def value_of(values: Any, e: int) -> Any:
    """Return the value of an event, 1 where there are none."""
    return values[e] if values.size else values.dtype.type(1)


@compiled
def _matmul_part(
    chunk: int,
    chunks: int,
    pointers: Any,
    indices: Any,
    values: Any,
    starts: Any,
    targets: Any,
    w: Any,
    out: Any,
) -> None:
    n_rows = out.shape[0] * out.shape[1]
    for r in range(chunk * n_rows // chunks, (chunk + 1) * n_rows // chunks):
        t, b, start, stop = between(pointers, indices, r)
        y = out[t, b]
        y[:] = 0
        for e in range(start, stop):
            value = value_of(values, e)
            if value != 0:
                for k in range(starts[indices[e]], starts[indices[e] + 1]):
                    y[targets[k]] += value * w[k]


@threaded
def _matmul_threaded(
    chunks: int, pointers: Any, indices: Any, values: Any, starts: Any, targets: Any, w: Any, out: Any
) -> None:
    for chunk in numba.prange(chunks):
        _matmul_part(chunk, chunks, pointers, indices, values, starts, targets, w, out)


@compiled
def matmul(
    pointers: Any, indices: Any, values: Any, starts: Any, targets: Any, w: Any, threads: Any, out: Any
) -> None:
    """Multiply lists by weights: ``out[t, b, j] = sum of v[e] w[k]`` over weights k that reach j."""
    if threads[0] == 1 or work_of(pointers, starts) < WORK:
        _matmul_part(0, 1, pointers, indices, values, starts, targets, w, out)
    else:
        _matmul_threaded(threads[0], pointers, indices, values, starts, targets, w, out)


@compiled
def _outer_part(
    chunk: int,
    chunks: int,
    pointers: Any,
    indices: Any,
    values: Any,
    starts: Any,
    targets: Any,
    y: Any,
    out: Any,
) -> None:
    n_pre = starts.size - 1
    first, last = chunk * n_pre // chunks, (chunk + 1) * n_pre // chunks
    out[starts[first] : starts[last]] = 0
    for r in range(y.shape[0] * y.shape[1]):
        t, b, start, stop = between(pointers, indices, r)
        for e in range(start, stop):
            if first <= indices[e] < last:
                value = value_of(values, e)
                if value != 0:
                    for k in range(starts[indices[e]], starts[indices[e] + 1]):
                        out[k] += value * y[t, b, targets[k]]


@threaded
def _outer_threaded(
    chunks: int, pointers: Any, indices: Any, values: Any, starts: Any, targets: Any, y: Any, out: Any
) -> None:
    for chunk in numba.prange(chunks):
        _outer_part(chunk, chunks, pointers, indices, values, starts, targets, y, out)


@compiled
def outer(
    pointers: Any, indices: Any, values: Any, starts: Any, targets: Any, y: Any, threads: Any, out: Any
) -> None:
    """Sum the outer products of lists and rows where weights exist."""
    if threads[0] == 1 or work_of(pointers, starts) < WORK:
        _outer_part(0, 1, pointers, indices, values, starts, targets, y, out)
    else:
        _outer_threaded(threads[0], pointers, indices, values, starts, targets, y, out)


@compiled
def _dot_part(
    chunk: int, chunks: int, pointers: Any, indices: Any, starts: Any, targets: Any, w: Any, y: Any, out: Any
) -> None:
    n_rows = y.shape[0] * y.shape[1]
    for r in range(chunk * n_rows // chunks, (chunk + 1) * n_rows // chunks):
        t, b, start, stop = between(pointers, indices, r)
        for e in range(start, stop):
            total = w.dtype.type(0)
            for k in range(starts[indices[e]], starts[indices[e] + 1]):
                total += w[k] * y[t, b, targets[k]]
            out[e] = total


@threaded
def _dot_threaded(
    chunks: int, pointers: Any, indices: Any, starts: Any, targets: Any, w: Any, y: Any, out: Any
) -> None:
    for chunk in numba.prange(chunks):
        _dot_part(chunk, chunks, pointers, indices, starts, targets, w, y, out)


@compiled
def dot(
    pointers: Any, indices: Any, starts: Any, targets: Any, w: Any, y: Any, threads: Any, out: Any
) -> None:
    """Multiply the weights of each event's unit by its row, and give 0 where no event is."""
    out[:] = 0
    if threads[0] == 1 or work_of(pointers, starts) < WORK:
        _dot_part(0, 1, pointers, indices, starts, targets, w, y, out)
    else:
        _dot_threaded(threads[0], pointers, indices, starts, targets, w, y, out)
