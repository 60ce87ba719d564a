"""Event lists written out as rasters."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from snntrace.events.lists import result
from snntrace.events.native import n_threads, native_call
from snntrace.events.rows import SMALL, compiled

Array = Any


@compiled
def fill(part: int, parts: int, pointers: Array, indices: Array, values: Array, raster: Array) -> None:
    """Write some of the steps of a raster (time, batch, unit); without values every event counts 1."""
    steps, batch, n_units = raster.shape
    graded = values.size > 0
    for t in range(part * steps // parts, (part + 1) * steps // parts):
        for b in range(batch):
            row = raster[t, b]
            for i in range(n_units):
                row[i] = 0
            for e in range(pointers[b, t], min(pointers[b, t + 1], indices.size)):
                row[indices[e]] += values[e] if graded else 1


@partial(jax.custom_jvp, nondiff_argnums=(3, 4))
def written_out(pointers: Array, indices: Array, values: Array, n_units: int, dtype: Any) -> Array:
    """Write an event list out as a raster.

    Parameters
    ----------
    pointers : int32 array of shape (batch, time + 1)
        Where the events of each step begin and end.
    indices : int32 array of shape (capacity,)
        Their units.
    values : array of shape (capacity,) or (0,)
        Their values; none for events that count 1.
    n_units : int
        Number of units.
    dtype : number type
        That of the result.

    Returns
    -------
    array of shape (time, batch, n_units)
        The raster.
    """
    batch, steps = pointers.shape[0], pointers.shape[1] - 1
    if np.dtype(dtype) not in (np.float32, np.float64):
        return _portable(pointers, indices, values, n_units, dtype)
    out = result((steps, batch, n_units), dtype)
    parts = max(min(n_threads(), steps), 1) if steps * batch * n_units >= SMALL else 1

    def native(pointers: Array, indices: Array, values: Array) -> Array:
        return native_call(fill, [out], pointers, indices, values, parts=parts)[0]

    def portable(pointers: Array, indices: Array, values: Array) -> Array:
        return _portable(pointers, indices, values, n_units, dtype)

    return jax.lax.platform_dependent(pointers, indices, values.astype(dtype), cpu=native, default=portable)


@written_out.defjvp
def _written_out_jvp(n_units: int, dtype: Any, primals: Any, tangents: Any) -> tuple[Array, Array]:
    pointers, indices, values = primals
    out = written_out(pointers, indices, values, n_units, dtype)
    if values.size == 0:
        return out, jnp.zeros_like(out)
    return out, _portable(pointers, indices, tangents[2], n_units, dtype)


def _portable(pointers: Array, indices: Array, values: Array, n_units: int, dtype: Any) -> Array:
    """Write a list out with JAX's own operations, for any device."""
    batch, steps = pointers.shape[0], pointers.shape[1] - 1
    raster = jnp.zeros((steps * batch, n_units), dtype)
    counted = jnp.asarray(values if values.size else 1, dtype)
    placed = raster.at[rows_of(pointers, indices.size), indices].add(counted, mode="drop")
    return placed.reshape(steps, batch, n_units)


def rows_of(pointers: Array, capacity: int) -> Array:
    """Return the row of each place in an event list.

    Parameters
    ----------
    pointers : int32 array of shape (batch, time + 1)
        Where the events of each step begin and end.
    capacity : int
        Places in the list.

    Returns
    -------
    int32 array of shape (capacity,)
        ``step * batch + sample``; ``time * batch`` where no row is.
    """
    batch, steps = pointers.shape[0], pointers.shape[1] - 1
    starts, ends = pointers[:, :-1].T.ravel(), pointers[:, 1:].T.ravel()
    # One empty row at the beginning, so that there is a row to find before the first.
    starts, ends = jnp.append(starts, 0), jnp.append(ends, 0)
    # Of rows that begin at one place, all but the last in this order are empty.
    order = jnp.lexsort((ends, starts))
    places = jnp.arange(capacity, dtype=jnp.int32)
    row = order[jnp.searchsorted(starts[order], places, side="right") - 1]
    return jnp.where(places < ends[row], row, steps * batch).astype(jnp.int32)
