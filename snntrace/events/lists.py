"""The arrays of an event list: how they are made of a raster, how large they are, what they must hold."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from snntrace.events.native import n_threads, native_call
from snntrace.events.rows import compress

Array = Any
Lists = tuple[Array, Array, Array]

NATIVE = (np.dtype(np.float32), np.dtype(np.float64), np.dtype(np.bool_))
"""Number types of a raster that are listed as they are."""

MOST = 2**31 - 1
"""Events that int32 pointers can count, and units that int32 indices can name."""


def result(shape: tuple[int, ...], dtype: Any) -> jax.ShapeDtypeStruct:
    """Describe a result of a native call."""
    return jax.ShapeDtypeStruct(shape, dtype)  # type: ignore[no-untyped-call]


def rounded(n_events: int) -> int:
    """Round a number of events up to one of few capacities.

    Four capacities for each power of two, from 1,024 on, so that batches of similar activity have one shape
    and a compiled function is compiled for few shapes.

    Parameters
    ----------
    n_events : int
        Number of events.

    Returns
    -------
    int
        The capacity, at most 25 % more from 1,024 events on.

    Examples
    --------
    >>> [rounded(n) for n in (0, 1024, 1025, 100_000, 101_000)]
    [1024, 1024, 1280, 114688, 114688]
    """
    step = 1 << max((max(n_events, 1) - 1).bit_length() - 3, 8)
    return max(-(-n_events // step) * step, 1024)


def checked_capacity(who: str, capacity: int | None, n_events: int) -> int:
    """Return a capacity that holds some events, by default the rounded number of them."""
    if n_events > MOST:
        raise ValueError(
            f"{who}: there must be at most {MOST} events, got {n_events} events. Make smaller batches."
        )
    if capacity is not None and capacity < n_events:
        raise ValueError(
            f"{who}: capacity must have room for every event, got capacity={capacity} for {n_events} events. "
            "Leave it out, or give more."
        )
    return rounded(n_events) if capacity is None else capacity


def check_range(who: str, name: str, numbers: Array, size: int) -> None:
    """Refuse numbers outside ``0 .. size - 1``."""
    if numbers.size and (numbers.min() < 0 or numbers.max() >= size):
        wrong = numbers.min() if numbers.min() < 0 else numbers.max()
        raise ValueError(
            f"{who}: {name} must be in 0 .. {size - 1}, got {wrong}. Correct it, or the number of {name}."
        )


def check_units(who: str, n_units: int) -> None:
    """Refuse more units than indices can name."""
    if n_units > MOST:
        raise ValueError(
            f"{who}: n_units must be at most {MOST}, got n_units={n_units}. Pool or leave out some of them."
        )


def check_lists(who: str, pointers: Array, indices: Array, n_units: int, values: Array | None) -> None:
    """Refuse arrays that are no event list; entries of traced arrays are not looked at."""
    check_units(who, n_units)
    for name, array, ndim, kinds in (
        ("pointers", pointers, 2, "iu"),
        ("indices", indices, 1, "iu"),
        ("values", values, 1, "f"),
    ):
        if array is None:
            continue
        if array.dtype.kind not in kinds:
            wanted = "floats" if kinds == "f" else "integers"
            raise TypeError(
                f"{who}: {name} must be {wanted}, got {name}.dtype={array.dtype}. Convert them with .astype."
            )
        if array.ndim != ndim:
            axes = "(batch, time + 1)" if ndim == 2 else "(capacity,)"
            raise ValueError(
                f"{who}: {name} must have shape {axes}, got {name}.shape={array.shape}. Reshape them."
            )
    if pointers.shape[1] == 0:
        raise ValueError(
            f"{who}: pointers must have shape (batch, time + 1), got pointers.shape={pointers.shape}. "
            "End each sample with the place where its last row ends."
        )
    if values is not None and values.shape != indices.shape:
        raise ValueError(
            f"{who}: values must be one for each index, got values.shape={values.shape} for "
            f"indices.shape={indices.shape}. Leave values out where all are 1."
        )
    if not any(isinstance(a, jax.core.Tracer) for a in (pointers, indices)):
        _check_entries(who, np.asarray(pointers), np.asarray(indices), n_units)


def _check_entries(who: str, pointers: Array, indices: Array, n_units: int) -> None:
    """Refuse rows that lie outside of the list or on each other, and units that do not exist."""
    inside = pointers.size == 0 or (pointers.min() >= 0 and pointers.max() <= indices.size)
    if not inside or (np.diff(pointers.astype(np.int64), axis=1) < 0).any():
        raise ValueError(
            f"{who}: the pointers of a sample must not decrease and must be in 0 .. {indices.size}, got "
            f"pointers={pointers}. Give the running sum of the events of its rows."
        )
    filled = pointers[pointers[:, 0] < pointers[:, -1]]
    filled = filled[np.argsort(filled[:, 0])]
    if (filled[1:, 0] < filled[:-1, -1]).any():
        raise ValueError(
            f"{who}: samples must not overlap, got pointers={pointers}. Copy the events of each sample."
        )
    used = np.zeros(indices.size + 1, np.int64)
    np.add.at(used, filled[:, 0], 1)
    np.add.at(used, filled[:, -1], -1)
    held = np.cumsum(used[:-1]) > 0
    check_range(who, "indices", indices[held], n_units)
    begins = np.zeros(indices.size + 1, np.bool_)
    begins[pointers] = True
    falls = (np.diff(indices.astype(np.int64)) < 0) & held[1:] & held[:-1] & ~begins[1:-1]
    if falls.any():
        place = int(falls.argmax())
        raise ValueError(
            f"{who}: indices must be ascending within a row, got indices={indices[place : place + 2]} "
            f"at place {place}. Sort each row."
        )


def list_array(raster: Array, capacity: int | None, graded: bool) -> Lists:
    """List the non-zero elements of a concrete raster of shape (time, batch, unit)."""
    size = checked_capacity("Spikes.from_dense", capacity, int(np.count_nonzero(raster)))
    pointers = np.empty((raster.shape[1], raster.shape[0] + 1), np.int32)
    indices = np.zeros(size, np.int32)
    values = np.zeros(size if graded else 0, np.float32 if raster.dtype == np.bool_ else raster.dtype)
    threads = np.array([n_threads()], np.int32)
    compress(np.ascontiguousarray(raster), threads, pointers, indices, values)
    return pointers, indices, values


@partial(jax.custom_jvp, nondiff_argnums=(1, 2))
def list_traced(raster: Array, capacity: int | None, graded: bool) -> Lists:
    """List the non-zero elements of a traced raster of shape (time, batch, unit)."""
    size = checked_capacity("Spikes.from_dense", raster.size, 0) if capacity is None else capacity
    dtype = jnp.float32 if raster.dtype == jnp.bool_ else raster.dtype
    shapes = (raster.shape[1], raster.shape[0] + 1), (size,), (size if graded else 0,)
    outs = [result(shape, kept) for shape, kept in zip(shapes, (np.int32, np.int32, dtype), strict=True)]

    def native(raster: Array) -> Lists:
        pointers, indices, values = native_call(compress, outs, raster, np.array([n_threads()], np.int32))
        return pointers, indices, values

    def portable(raster: Array) -> Lists:
        return list_portable(raster, size, graded)

    lists: Lists = jax.lax.platform_dependent(raster, cpu=native, default=portable)
    return lists


@partial(list_traced.defjvp, symbolic_zeros=True)
def _refuse(capacity: int | None, graded: bool, primals: Any, tangents: Any) -> Any:
    """Refuse a derivative, which would be silently incomplete."""
    if type(tangents[0]) is not jax.custom_derivatives.SymbolicZero:
        raise TypeError(
            "Spikes.from_dense: the raster must not depend on what is differentiated, because elements that "
            f"are zero have no place in the list, got a traced raster of shape {primals[0].shape}. "
            "Give the raster itself to event_matmul, or wrap it in jax.lax.stop_gradient."
        )
    out = list_traced(primals[0], capacity, graded)
    zeros = [jax.custom_derivatives.SymbolicZero(jax.typeof(o).to_tangent_aval()) for o in out]
    return out, tuple(zeros)


def list_portable(raster: Array, size: int, graded: bool) -> Lists:
    """List the non-zero elements of a raster with JAX's own operations, for any device."""
    n_steps, batch, n_units = raster.shape
    flat = jnp.swapaxes(raster, 0, 1).reshape(batch * n_steps, n_units)
    ends = jnp.cumsum((flat != 0).sum(1)).astype(jnp.int32).reshape(batch, n_steps)
    starts = jnp.concatenate([jnp.zeros(1, jnp.int32), ends[:-1, -1]])
    row, unit = jnp.nonzero(flat, size=size, fill_value=0)
    dtype = jnp.float32 if raster.dtype == jnp.bool_ else raster.dtype
    values = flat[row, unit].astype(dtype) if graded else jnp.zeros(0, dtype)
    return jnp.concatenate([starts[:, None], ends], 1), unit.astype(jnp.int32), values
