"""`event_matmul` and `event_outer`: products whose cost is that of the spikes."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from snntrace.events.products import array_matmul_p, array_outer_p, lists_matmul_p, lists_outer_p
from snntrace.events.sparse import CSRWeight, FanOutWeight, sparse_matmul
from snntrace.events.spikes import Spikes

Array = Any

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


def event_matmul(x: Spikes | Array, w: Array | CSRWeight | FanOutWeight) -> Array:
    r"""Multiply spikes by weights.

    .. math:: y_{r,j} = \sum_i x_{r,i} \, W_{i,j}

    Only the weight rows of elements that are not zero are read, also for the derivative by `w`. The
    derivative by an array `x` is the ordinary dense product, so that a surrogate gradient reaches units that
    are silent; that by the values of `Spikes` is taken at the events. `jax.vmap` over `x` makes one call with
    more rows. On other devices than CPU the dense product is taken.

    Where much is not zero the dense product is faster.

    Parameters
    ----------
    x : Spikes of shape (time, batch, n_pre), or array of shape (..., n_pre)
        The spikes, graded or not. Integers and booleans are converted to the number type of `w`.
    w : float32 or float64 array of shape (n_pre, n_post), CSRWeight or FanOutWeight
        The weights.

    Returns
    -------
    array of shape (time, batch, n_post) or (..., n_post)
        The product.

    Raises
    ------
    TypeError
        If the number types are not float32 or float64.
    ValueError
        If the shapes do not match.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> event_matmul(jnp.array([0.0, 1.0, 1.0]), jnp.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])).tolist()
    [8.0, 10.0]
    >>> spikes = Spikes.from_rows([[0, 1, 1]], [2], n_units=3)
    >>> event_matmul(spikes, jnp.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]))[:, 0].tolist()
    [[5.0, 6.0], [0.0, 0.0]]
    """
    if not isinstance(w, CSRWeight | FanOutWeight):
        w = jnp.asarray(w)
        if w.ndim != 2:
            raise ValueError(
                f"event_matmul: w must have shape (n_pre, n_post), got w.shape={w.shape}. Reshape it."
            )
    _check_units("event_matmul", x, w.shape[0], f"w.shape={tuple(w.shape)}")
    _check_floats("event_matmul", "w", w.dtype)
    if isinstance(w, CSRWeight | FanOutWeight):
        return sparse_matmul(x, w)
    if isinstance(x, Spikes):
        values = _values(x, w.dtype)
        dtype = jnp.promote_types(values.dtype, w.dtype)
        return lists_matmul_p.bind(
            jnp.asarray(x.pointers), jnp.asarray(x.indices), values.astype(dtype), w.astype(dtype)
        )
    x, w = _common("event_matmul", x, w)
    return array_matmul_p.bind(x.reshape(-1, x.shape[-1]), w).reshape(*x.shape[:-1], w.shape[1])


def event_outer(x: Spikes | Array, y: Array) -> Array:
    r"""Sum the outer products of spikes and rows.

    .. math:: G_{i,j} = \sum_r x_{r,i} \, y_{r,j}

    This is the derivative of `event_matmul` by its weights, and derivatives of it follow the same rules.

    Parameters
    ----------
    x : Spikes of shape (time, batch, n_pre), or array of shape (..., n_pre)
        The spikes.
    y : float32 or float64 array of shape (time, batch, n_post) or (..., n_post)
        One row for each row of `x`.

    Returns
    -------
    array of shape (n_pre, n_post)
        The sum.

    Raises
    ------
    TypeError
        If the number types are not float32 or float64.
    ValueError
        If the shapes do not match.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> event_outer(jnp.array([[0.0, 1.0], [0.0, 1.0]]), jnp.array([[1.0], [2.0]])).tolist()
    [[0.0], [3.0]]
    """
    y = jnp.asarray(y)
    shape = x.shape if isinstance(x, Spikes) else np.shape(x)
    if len(shape) == 0 or y.ndim == 0 or shape[:-1] != y.shape[:-1]:
        raise ValueError(
            f"event_outer: x and y must have the same rows, got x.shape={shape} and y.shape={y.shape}. "
            "Give one row of y for each row of x."
        )
    _check_floats("event_outer", "y", y.dtype)
    if isinstance(x, Spikes):
        values = _values(x, y.dtype)
        dtype = jnp.promote_types(values.dtype, y.dtype)
        return lists_outer_p.bind(
            jnp.asarray(x.pointers),
            jnp.asarray(x.indices),
            values.astype(dtype),
            y.astype(dtype),
            n_units=x.n_units,
        )
    x, y = _common("event_outer", x, y)
    return array_outer_p.bind(x.reshape(-1, x.shape[-1]), y.reshape(-1, y.shape[-1]))


def _check_units(who: str, x: Any, n_pre: int, found: str) -> None:
    shape = x.shape if isinstance(x, Spikes) else np.shape(x)
    if len(shape) == 0 or shape[-1] != n_pre:
        raise ValueError(
            f"{who}: the last axis of x must be the first of w, got x.shape={tuple(shape)} and {found}. "
            "Transpose or reshape one of them."
        )


def _check_floats(who: str, name: str, dtype: Any) -> None:
    if dtype not in FLOATS:
        raise TypeError(
            f"{who}: {name} must be float32 or float64, got {name}.dtype={dtype}. Convert it with .astype."
        )


def _values(x: Spikes, dtype: Any) -> Array:
    return jnp.zeros(0, dtype) if x.values is None else jnp.asarray(x.values)


def _common(who: str, x: Array, other: Array) -> tuple[Array, Array]:
    """Give an array of spikes and another the number type that holds both."""
    x = jnp.asarray(x)
    if not jnp.issubdtype(x.dtype, jnp.floating):
        x = x.astype(other.dtype)
    _check_floats(who, "x", x.dtype)
    dtype = jnp.promote_types(x.dtype, other.dtype)
    return x.astype(dtype), other.astype(dtype)
