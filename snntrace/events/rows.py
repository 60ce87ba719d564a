"""Kernels that make event lists: from dense arrays, and from the steps and units of recordings.

A kernel is a function of one chunk of the work. The threaded form only calls it for each chunk; where there
is little to do it is called once, because starting threads takes up to a tenth of a millisecond.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

FAST = {"contract", "nsz"}
"""What the compiler may change: fuse a product and a sum, and forget the sign of a zero."""

SMALL = 1 << 18
"""Elements that one thread reads in the time that starting others takes."""


def _njit(function: Any, **options: Any) -> Any:
    """Compile a function, and keep the machine code on disk where that is possible."""
    options = {"fastmath": FAST, "nogil": True, "error_model": "numpy"} | options
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no folder to keep the machine code in: compile once a process
        return numba.njit(**options)(function)


def compiled(function: Any) -> Any:
    """Compile a function with numba."""
    return _njit(function)


def threaded(function: Any) -> Any:
    """Compile a function whose `numba.prange` loops run on threads."""
    return _njit(function, parallel=True)


def reordered(function: Any) -> Any:
    """Compile a function whose sums may be taken in any order, so that a sum over a vector uses its lanes."""
    return _njit(function, fastmath=FAST | {"reassoc"})


@compiled
def scan(row: Any, found: Any) -> int:
    """Write the places of a row's non-zero elements to `found` (one more long than the row)."""
    n = 0
    for i in range(row.size):
        found[n] = i
        n += row[i] != 0
    return n


@compiled
def counted(row: Any) -> int:
    """Count a row's non-zero elements."""
    n = 0
    for i in range(row.size):
        n += row[i] != 0
    return n


@compiled
def add_up(pointers: Any) -> None:
    """Turn the lengths of rows, each at the place of its end, into pointers."""
    total = 0
    for sample in pointers:
        sample[0] = total
        for t in range(1, sample.size):
            total += sample[t]
            sample[t] = total


@compiled
def _count_part(chunk: int, chunks: int, raster: Any, pointers: Any) -> None:
    n_steps, batch, _ = raster.shape
    n_rows = n_steps * batch
    for r in range(chunk * n_rows // chunks, (chunk + 1) * n_rows // chunks):
        pointers[r // n_steps, r % n_steps + 1] = counted(raster[r % n_steps, r // n_steps])


@compiled
def _fill_part(chunk: int, chunks: int, raster: Any, pointers: Any, indices: Any, values: Any) -> None:
    n_steps, batch, n_units = raster.shape
    n_rows = n_steps * batch
    found = np.empty(n_units + 1, np.int32)
    for r in range(chunk * n_rows // chunks, (chunk + 1) * n_rows // chunks):
        row = raster[r % n_steps, r // n_steps]
        start = pointers[r // n_steps, r % n_steps]
        n = min(scan(row, found), max(indices.size - start, 0))
        for k in range(n):
            indices[start + k] = found[k]
        if values.size:
            for k in range(n):
                values[start + k] = row[found[k]]


@threaded
def _count_threaded(chunks: int, raster: Any, pointers: Any) -> None:
    for chunk in numba.prange(chunks):
        _count_part(chunk, chunks, raster, pointers)


@threaded
def _fill_threaded(chunks: int, raster: Any, pointers: Any, indices: Any, values: Any) -> None:
    for chunk in numba.prange(chunks):
        _fill_part(chunk, chunks, raster, pointers, indices, values)


@compiled
def compress(raster: Any, threads: Any, pointers: Any, indices: Any, values: Any) -> None:
    """Fill an event list from a raster.

    Parameters
    ----------
    raster : array of shape (time, batch, unit)
        What is not zero is an event.
    threads : int32 array of shape (1,)
        Number of threads.
    pointers : int32 array of shape (batch, time + 1)
        Result; counts every event, also those that `indices` has no room for.
    indices : int32 array of shape (capacity,)
        Result.
    values : array of shape (capacity,) or (0,)
        Result, if it has elements.
    """
    if threads[0] == 1 or raster.size < SMALL:
        _count_part(0, 1, raster, pointers)
        add_up(pointers)
        _fill_part(0, 1, raster, pointers, indices, values)
    else:
        _count_threaded(threads[0], raster, pointers)
        add_up(pointers)
        _fill_threaded(threads[0], raster, pointers, indices, values)


@compiled
def keep_distinct(pointers: Any, indices: Any) -> None:
    """Keep one event of each unit in a row, and move the rows of a sample together."""
    batch, rows = pointers.shape
    for b in range(batch):
        kept = start = pointers[b, 0]
        for t in range(rows - 1):
            first, stop = kept, pointers[b, t + 1]
            for e in range(start, stop):
                if kept == first or indices[e] != indices[kept - 1]:
                    indices[kept] = indices[e]
                    kept += 1
            start = stop
            pointers[b, t + 1] = kept


@compiled
def sort_into_rows(offsets: Any, steps: Any, units: Any, pointers: Any, indices: Any) -> None:
    """Sort the events of recordings by step and unit.

    Parameters
    ----------
    offsets : int64 array of shape (batch + 1,)
        Where the events of each recording begin in `steps` and `units`.
    steps, units : int array of shape (n_events,)
        Step and unit of each event, in any order; events at or after the last step are left out.
    pointers : int32 array of shape (batch, time + 1)
        Result.
    indices : int32 array of shape (at least n_events,)
        Result; the events of a recording begin at its offset.
    """
    batch, n_steps = pointers.shape[0], pointers.shape[1] - 1
    place = np.empty(n_steps + 1, np.int32)
    for b in range(batch):
        place[:] = 0
        for e in range(offsets[b], offsets[b + 1]):
            if steps[e] < n_steps:
                place[steps[e] + 1] += 1
        place[0] = offsets[b]
        for t in range(n_steps):
            place[t + 1] += place[t]
        pointers[b] = place
        for e in range(offsets[b], offsets[b + 1]):
            if steps[e] < n_steps:
                indices[place[steps[e]]] = units[e]
                place[steps[e]] += 1
        for t in range(n_steps):
            indices[pointers[b, t] : pointers[b, t + 1]].sort()
