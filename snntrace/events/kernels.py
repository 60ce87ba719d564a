"""Kernels of products with spikes: gather weight rows, scatter into them, and multiply along them.

Spikes are lists (pointers, indices, values) or rows of an array that are scanned for what is not zero. Values
without elements stand for ones.

No two threads write to one element and each element is summed in one order, so that the number of threads
does not change a result. Threads are started for enough work only.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from snntrace.events.rows import compiled, counted, reordered, scan, threaded

WORK = 1 << 20
"""Multiply-adds that one thread does in the time that starting others takes."""

SCANNED = 8
"""Multiply-adds that take as long as a look at one element."""


@compiled
def gather(indices: Any, values: Any, start: int, stop: int, w: Any, y: Any) -> None:
    """Add the weight rows of events to `y`, four at a time."""
    e = start
    if values.size == 0:
        while e + 4 <= stop:
            a, b, c, d = w[indices[e]], w[indices[e + 1]], w[indices[e + 2]], w[indices[e + 3]]
            for j in range(y.size):
                y[j] += (a[j] + b[j]) + (c[j] + d[j])
            e += 4
        while e < stop:
            a = w[indices[e]]
            for j in range(y.size):
                y[j] += a[j]
            e += 1
        return
    while e + 4 <= stop:
        a, b, c, d = w[indices[e]], w[indices[e + 1]], w[indices[e + 2]], w[indices[e + 3]]
        va, vb, vc, vd = values[e], values[e + 1], values[e + 2], values[e + 3]
        for j in range(y.size):
            y[j] += (va * a[j] + vb * b[j]) + (vc * c[j] + vd * d[j])
        e += 4
    while e < stop:
        a, va = w[indices[e]], values[e]
        for j in range(y.size):
            y[j] += va * a[j]
        e += 1


@compiled
def scatter(indices: Any, values: Any, start: int, stop: int, y: Any, first: int, last: int, w: Any) -> None:
    """Add the columns from `first` to `last` of `y` to the weight rows of events."""
    for e in range(start, stop):
        # Not the columns of `w`: numba would forget that their rows are contiguous.
        row, part = w[indices[e]][first:last], y[first:last]
        if values.size == 0:
            for j in range(part.size):
                row[j] += part[j]
        else:
            value = values[e]
            for j in range(part.size):
                row[j] += value * part[j]


@reordered
def inner(a: Any, b: Any) -> Any:
    """Return the inner product of two vectors."""
    total = a[0] * 0
    for j in range(a.size):
        total += a[j] * b[j]
    return total


@compiled
def between(pointers: Any, indices: Any, r: int) -> tuple[int, int, int, int]:
    """Return step, sample, begin and end of row `r`, cut off at the capacity."""
    n_steps = pointers.shape[1] - 1
    t, b = r % n_steps, r // n_steps
    return t, b, min(pointers[b, t], indices.size), min(pointers[b, t + 1], indices.size)


@compiled
def events_in(pointers: Any) -> Any:
    """Count the events of all samples."""
    n = 0
    for b in range(pointers.shape[0]):
        n += pointers[b, -1] - pointers[b, 0]
    return n


@compiled
def scan_row(row: Any, first: int, last: int, found: Any, sizes: Any) -> Any:
    """Write places and values of the non-zero elements from `first` to `last` to two buffers."""
    n = scan(row[first:last], found)
    for k in range(n):
        found[k] += first
        sizes[k] = row[found[k]]
    return n


@compiled
def _matmul_part(chunk: int, chunks: int, pointers: Any, indices: Any, values: Any, w: Any, out: Any) -> None:
    n_rows = out.shape[0] * out.shape[1]
    for r in range(chunk * n_rows // chunks, (chunk + 1) * n_rows // chunks):
        t, b, start, stop = between(pointers, indices, r)
        out[t, b, :] = 0
        gather(indices, values, start, stop, w, out[t, b])


@threaded
def _matmul_threaded(chunks: int, pointers: Any, indices: Any, values: Any, w: Any, out: Any) -> None:
    for chunk in numba.prange(chunks):
        _matmul_part(chunk, chunks, pointers, indices, values, w, out)


@compiled
def matmul(pointers: Any, indices: Any, values: Any, w: Any, threads: Any, out: Any) -> None:
    """Multiply lists by a matrix: ``out[t, b] = sum of v[e] w[i[e]]`` over the events of a row."""
    if threads[0] == 1 or events_in(pointers) * w.shape[1] < WORK:
        _matmul_part(0, 1, pointers, indices, values, w, out)
    else:
        _matmul_threaded(threads[0], pointers, indices, values, w, out)


@compiled
def _outer_part(chunk: int, chunks: int, pointers: Any, indices: Any, values: Any, y: Any, out: Any) -> None:
    # Blocks of 16 columns: a thread writes whole cache lines.
    blocks = (out.shape[1] + 15) // 16
    first, last = chunk * blocks // chunks * 16, min((chunk + 1) * blocks // chunks * 16, out.shape[1])
    out[:, first:last] = 0
    for r in range(y.shape[0] * y.shape[1]):
        t, b, start, stop = between(pointers, indices, r)
        scatter(indices, values, start, stop, y[t, b], first, last, out)


@threaded
def _outer_threaded(chunks: int, pointers: Any, indices: Any, values: Any, y: Any, out: Any) -> None:
    for chunk in numba.prange(chunks):
        _outer_part(chunk, chunks, pointers, indices, values, y, out)


@compiled
def outer(pointers: Any, indices: Any, values: Any, y: Any, threads: Any, out: Any) -> None:
    """Sum outer products: ``out[i] = sum of v[e] y[row of e]`` over the events of unit i."""
    if threads[0] == 1 or events_in(pointers) * out.shape[1] < WORK:
        _outer_part(0, 1, pointers, indices, values, y, out)
    else:
        _outer_threaded(threads[0], pointers, indices, values, y, out)


@compiled
def _dot_part(chunk: int, chunks: int, pointers: Any, indices: Any, w: Any, y: Any, out: Any) -> None:
    n_rows = y.shape[0] * y.shape[1]
    for r in range(chunk * n_rows // chunks, (chunk + 1) * n_rows // chunks):
        t, b, start, stop = between(pointers, indices, r)
        for e in range(start, stop):
            out[e] = inner(w[indices[e]], y[t, b])


@threaded
def _dot_threaded(chunks: int, pointers: Any, indices: Any, w: Any, y: Any, out: Any) -> None:
    for chunk in numba.prange(chunks):
        _dot_part(chunk, chunks, pointers, indices, w, y, out)


@compiled
def dot(pointers: Any, indices: Any, w: Any, y: Any, threads: Any, out: Any) -> None:
    """Multiply weight rows by rows: ``out[e] = w[i[e]] . y[row of e]``, and 0 where no event is."""
    out[:] = 0
    if y.shape[2] == 0:
        return
    if threads[0] == 1 or events_in(pointers) * w.shape[1] < WORK:
        _dot_part(0, 1, pointers, indices, w, y, out)
    else:
        _dot_threaded(threads[0], pointers, indices, w, y, out)


@compiled
def _scan_matmul_part(chunk: int, chunks: int, x: Any, w: Any, out: Any) -> None:
    n_rows, n_pre = x.shape
    found, sizes = np.empty(n_pre + 1, np.int32), np.empty(n_pre, x.dtype)
    for r in range(chunk * n_rows // chunks, (chunk + 1) * n_rows // chunks):
        n = scan_row(x[r], 0, n_pre, found, sizes)
        out[r, :] = 0
        gather(found, sizes, 0, n, w, out[r])


@threaded
def _scan_matmul_threaded(chunks: int, x: Any, w: Any, out: Any) -> None:
    for chunk in numba.prange(chunks):
        _scan_matmul_part(chunk, chunks, x, w, out)


@compiled
def scan_work(x: Any, width: int) -> Any:
    """Estimate the work on an array, in multiply-adds."""
    return SCANNED * x.size + counted(x.ravel()) * width


@compiled
def scan_matmul(x: Any, w: Any, threads: Any, out: Any) -> None:
    """Multiply the rows of an array by a matrix."""
    if threads[0] == 1 or scan_work(x, w.shape[1]) < WORK:
        _scan_matmul_part(0, 1, x, w, out)
    else:
        _scan_matmul_threaded(threads[0], x, w, out)


@compiled
def _scan_outer_part(chunk: int, chunks: int, x: Any, y: Any, out: Any) -> None:
    n_rows, n_pre = x.shape
    first, last = chunk * n_pre // chunks, (chunk + 1) * n_pre // chunks
    found, sizes = np.empty(last - first + 1, np.int32), np.empty(last - first, x.dtype)
    out[first:last] = 0
    for r in range(n_rows):
        n = scan_row(x[r], first, last, found, sizes)
        scatter(found, sizes, 0, n, y[r], 0, y.shape[1], out)


@threaded
def _scan_outer_threaded(chunks: int, x: Any, y: Any, out: Any) -> None:
    for chunk in numba.prange(chunks):
        _scan_outer_part(chunk, chunks, x, y, out)


@compiled
def scan_outer(x: Any, y: Any, threads: Any, out: Any) -> None:
    """Sum the outer products of the rows of two arrays, the first mostly zero."""
    if threads[0] == 1 or scan_work(x, y.shape[1]) < WORK:
        _scan_outer_part(0, 1, x, y, out)
    else:
        _scan_outer_threaded(threads[0], x, y, out)
