"""Event lists of rasters, and of events whose steps are known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from snntrace.events.lists import NATIVE, check_range, check_units, checked_capacity, list_array, list_traced
from snntrace.events.rows import keep_distinct, sort_into_rows
from snntrace.events.steps import checked_n_steps

Array = Any


def list_raster(
    raster: Array, capacity: int | None, graded: bool | None
) -> tuple[Array, Array, Array | None]:
    """List the elements of a raster that are not zero, as ``Spikes.from_dense`` does.

    Parameters
    ----------
    raster, capacity, graded
        As there.

    Returns
    -------
    pointers, indices, values
        The lists; no values where they are not kept.

    Raises
    ------
    TypeError
        If the elements are not real numbers.
    ValueError
        If the raster has not three axes.
    """
    if np.ndim(raster) != 3:
        raise ValueError(
            f"Spikes.from_dense: raster must have the axes (time, batch, unit), got raster.shape="
            f"{np.shape(raster)}. Add the missing ones, e.g. raster[:, None] for one sample."
        )
    listed = jnp.asarray(raster) if isinstance(raster, jax.core.Tracer) else np.asarray(raster)
    if listed.dtype.kind not in "fiub" and listed.dtype != jnp.bfloat16:
        raise TypeError(
            f"Spikes.from_dense: raster must hold real numbers, got raster.dtype={listed.dtype}. "
            "Convert it with .astype(float)."
        )
    if listed.dtype not in NATIVE:
        listed = listed.astype(np.float32)
    if graded is None:
        traced = isinstance(listed, jax.core.Tracer)
        graded = listed.dtype != np.bool_ and (traced or bool(((listed != 0) & (listed != 1)).any()))
    make = list_traced if isinstance(listed, jax.core.Tracer) else list_array
    pointers, indices, values = make(listed, capacity, graded)
    return pointers, indices, values if graded else None


def list_steps(
    placed: Sequence[tuple[NDArray[Any], NDArray[Any]]],
    n_units: int,
    n_steps: int | None,
    binary: bool,
    capacity: int | None,
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """List events whose steps are known, as ``Spikes.from_steps`` does.

    Parameters
    ----------
    placed, n_units, n_steps, binary, capacity
        As there.

    Returns
    -------
    pointers, indices
        The lists.
    """
    steps = [np.asarray(step, np.int64) for step, _ in placed]
    units = [np.asarray(unit, np.int64) for _, unit in placed]
    offsets = np.cumsum([0, *(step.size for step in steps)])
    all_steps, all_units = np.concatenate(steps), np.concatenate(units)
    check_range("Spikes.from_steps", "steps", all_steps, np.iinfo(np.int64).max)
    check_units("Spikes.from_steps", n_units)
    check_range("Spikes.from_steps", "units", all_units, n_units)
    if n_steps is None:
        n_steps = int(all_steps.max(initial=0)) + 1
    checked_n_steps(n_steps, "Spikes.from_steps")
    size = checked_capacity("Spikes.from_steps", capacity, all_steps.size)
    pointers = np.empty((len(placed), n_steps + 1), np.int32)
    indices = np.zeros(size, np.int32)
    sort_into_rows(offsets, all_steps, all_units, pointers, indices)
    if binary:
        keep_distinct(pointers, indices)
    return pointers, indices
