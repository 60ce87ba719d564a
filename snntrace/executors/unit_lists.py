"""Active units of one step, listed for each sample."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = Any


def unit_lists(who: str, units: Any, sizes: Any, batch: int, width: int) -> tuple[Array, Array, Array | None]:
    """Join the lists of all samples.

    Parameters
    ----------
    who : str
        Name for messages.
    units : sequence of int, or one for each sample
        The active units; a single sample needs no list of lists.
    sizes : sequence of float, or one for each sample, or None
        The size of each event.
    batch, width : int
        Numbers of samples and of units.

    Returns
    -------
    pointers : array of int32 (batch, 2)
        Where each sample's events begin and end.
    units : array of int32 (n_events,)
        The units.
    sizes : array (n_events,) or None
        The sizes.

    Raises
    ------
    ValueError
        If lists are missing, of different lengths, or name units that do not exist.
    """
    one = batch == 1 and (len(units) == 0 or np.ndim(units[0]) == 0)
    lists = [units] if one else list(units)
    values = None if sizes is None else [sizes] if one else list(sizes)
    if len(lists) != batch or (values is not None and len(values) != batch):
        raise ValueError(
            f"{who}: units and sizes must be one list for each of {batch} samples, got {len(lists)}. "
            "Give an empty list to a silent sample."
        )
    counts = [len(v) for v in lists]
    if values is not None and [len(v) for v in values] != counts:
        raise ValueError(
            f"{who}: sizes must be as many as units, got {[len(v) for v in values]} for {counts}. "
            "Give one for each event."
        )
    ends = np.cumsum(counts)
    pointers = np.stack([ends - counts, ends], axis=1).astype(np.int32)
    flat = np.concatenate([np.asarray(v, np.int32) for v in lists])
    if flat.size and (flat.min() < 0 or flat.max() >= width):
        raise ValueError(wrong_units(who, width))
    return pointers, flat, None if values is None else np.concatenate([np.asarray(v, float) for v in values])


def raster_of(pointers: Array, units: Array, sizes: Array | None, width: int) -> Array:
    """Write lists out as an array of shape (batch, width)."""
    raster = np.zeros((len(pointers), width))
    sample = np.repeat(np.arange(len(pointers)), np.diff(pointers).reshape(-1))
    np.add.at(raster, (sample, units), 1.0 if sizes is None else sizes)
    return raster


def wrong_units(who: str, width: int) -> str:
    """Write the error for units that do not exist, or that are listed too often."""
    return (
        f"{who}: units must be in 0..{width - 1}, each at most once a step on average of a window, got "
        "others. Number the units from 0, and add up the sizes of repeated ones."
    )
