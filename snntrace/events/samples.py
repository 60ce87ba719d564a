r"""Sums of outer products for each sample by itself: what a trace gains within a window."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numba

from snntrace.events.kernels import WORK, between, events_in, scatter
from snntrace.events.matmul import FLOATS
from snntrace.events.primitive import native_primitive
from snntrace.events.products import raster
from snntrace.events.rows import compiled, threaded
from snntrace.events.spikes import Spikes

Array = Any


@compiled
def _part(chunk: int, chunks: int, pointers: Any, indices: Any, values: Any, y: Any, out: Any) -> None:
    batch, n_steps = pointers.shape[0], pointers.shape[1] - 1
    for b in range(chunk * batch // chunks, (chunk + 1) * batch // chunks):
        out[b] = 0
        for t in range(n_steps):
            _, _, start, stop = between(pointers, indices, b * n_steps + t)
            scatter(indices, values, start, stop, y[t, b], 0, y.shape[2], out[b])


@threaded
def _threaded(chunks: int, pointers: Any, indices: Any, values: Any, y: Any, out: Any) -> None:
    for chunk in numba.prange(chunks):
        _part(chunk, chunks, pointers, indices, values, y, out)


@compiled
def _outer_each(pointers: Any, indices: Any, values: Any, y: Any, threads: Any, out: Any) -> None:
    if threads[0] == 1 or events_in(pointers) * out.shape[2] + out.size < WORK:
        _part(0, 1, pointers, indices, values, y, out)
    else:
        _threaded(threads[0], pointers, indices, values, y, out)


def _portable(pointers: Array, indices: Array, values: Array, y: Array, *, n_units: int) -> Array:
    return jnp.einsum("tbi,tbj->bij", raster(pointers, indices, values, n_units, y.dtype), y)


outer_each_p = native_primitive(
    "lists_outer_each",
    lambda pointers, indices, values, y, n_units: (pointers.shape[0], n_units, y.shape[2]),
    _outer_each,
    _portable,
)


def event_outer_each(x: Spikes, y: Array) -> Array:
    r"""Sum the outer products of spikes and rows over the steps of each sample.

    .. math:: G_{b,i,j} = \sum_t x_{t,b,i} \, y_{t,b,j}

    It has no derivative: traces carry none.

    Parameters
    ----------
    x : Spikes of shape (time, batch, n_pre)
        The spikes.
    y : float32 or float64 array of shape (time, batch, n_post)
        One row for each row of `x`.

    Returns
    -------
    array of shape (batch, n_pre, n_post)
        The sums.

    Raises
    ------
    TypeError
        If the number type is neither float32 nor float64.
    ValueError
        If the rows do not match.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> spikes = Spikes.from_rows([[0, 1, 2]], [1, 1], n_units=2)
    >>> event_outer_each(spikes, jnp.array([[[1.0]], [[2.0]]])).tolist()
    [[[0.0], [3.0]]]
    """
    if y.dtype not in FLOATS:
        raise TypeError(
            f"event_outer_each: y must be float32 or float64, got y.dtype={y.dtype}. Convert it with .astype."
        )
    if y.ndim != 3 or x.shape[:2] != y.shape[:2]:
        raise ValueError(
            f"event_outer_each: x and y must have the same rows, got x.shape={x.shape} and "
            f"y.shape={y.shape}. Give one row of y for each row of x."
        )
    values = jnp.zeros(0, y.dtype) if x.values is None else jnp.asarray(x.values, y.dtype)
    return outer_each_p.bind(jnp.asarray(x.pointers), jnp.asarray(x.indices), values, y, n_units=x.n_units)
