"""How active an input is, by which products are computed event by event or densely."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from snntrace.events.spikes import Spikes


def most_events(spikes: Spikes) -> float:
    """Return the events a unit and step: counted, or as many as there is room for if the lists are traced."""
    places = max(spikes.time * spikes.batch * spikes.n_units, 1)
    if isinstance(spikes.pointers, jax.core.Tracer):
        return min(1.0, spikes.capacity / places)
    pointers = np.asarray(spikes.pointers)
    return float((pointers[:, -1] - pointers[:, 0]).sum()) / places


def sampled_rate(x: Any) -> float:
    """Estimate the share of an array's elements that are not zero, from pieces spread over it."""
    flat = np.asarray(x).reshape(-1)
    n_pieces, size = 64, 1024
    if flat.size <= n_pieces * size:
        return float(np.count_nonzero(flat)) / max(flat.size, 1)
    starts = np.linspace(0, flat.size - size, n_pieces).astype(np.int64)
    return sum(np.count_nonzero(flat[s : s + size]) for s in starts) / float(n_pieces * size)
