"""Scans over blocks of steps: what belongs to many steps is computed for a block at once.

Whole-sequence arrays of every intermediate value do not fit the cache, and touching fresh memory costs more
than arithmetic. A block does fit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp

from snntrace.events.spikes import Spikes

Array = Any
BLOCK = 16
SMALLEST, LARGEST = 8, 25


def block_size(length: int) -> int:
    """Choose the steps of a block, so that none is left over if possible."""
    divisors = [size for size in range(SMALLEST, LARGEST + 1) if length % size == 0]
    return max(divisors, default=BLOCK)


def split_length(length: int, size: int) -> tuple[int, int, int]:
    """Divide a length into (number of whole blocks, their size, steps that are left)."""
    size = min(size, length)
    return length // size, size, length % size


def scan_blocks(
    function: Callable[[Any, Any], tuple[Any, Any]],
    state: Any,
    values: Any,
    size: int,
    *,
    reverse: bool = False,
    per_block: Any = None,
) -> tuple[Any, Any]:
    """Scan over blocks of a leading time axis; the last block may be shorter.

    Parameters
    ----------
    function : callable
        ``function(state, block) -> (state, out)``, or ``function(state, (block, extra))`` with
        `per_block`; outs have a leading time axis, or are None.
    state : pytree
        What is carried.
    values : pytree of arrays (T, ...) and Spikes
        What is cut into blocks. The lists of `Spikes` are shared; their pointers are cut.
    size : int
        Steps of a block.
    reverse : bool
        Whether to go from the last block to the first.
    per_block : pytree of arrays (number of blocks, ...), optional
        One entry for each block.

    Returns
    -------
    state : pytree
        The last state.
    outs : pytree of arrays (T, ...)
        The outs, joined in time.
    """
    leaves, tree = jax.tree.flatten(values, is_leaf=lambda v: isinstance(v, Spikes))
    whole, size, left = split_length(leaves[0].shape[0], size)
    head: Any = [_head(v, whole, size) for v in leaves]
    tail: Any = [_tail(v, whole * size) for v in leaves]

    def one(state: Any, block: Any) -> tuple[Any, Any]:
        cut, *extra = (block,) if per_block is None else block
        parts = [
            replace(v, pointers=part) if isinstance(v, Spikes) else part
            for v, part in zip(leaves, cut, strict=True)
        ]
        joined = jax.tree.unflatten(tree, parts)
        return function(state, (joined, *extra) if extra else joined)

    if per_block is not None:
        head = (head, jax.tree.map(lambda v: v[:whole], per_block))
        tail = (tail, jax.tree.map(lambda v: v[-1], per_block)) if left else None

    def run_head(state: Any) -> tuple[Any, Any]:
        if whole == 1:
            state, out = one(state, jax.tree.map(lambda v: v[0], head))
            return state, out
        state, out = jax.lax.scan(one, state, head, reverse=reverse)
        return state, jax.tree.map(lambda v: v.reshape(-1, *v.shape[2:]), out)

    if not left:
        return run_head(state)
    if reverse:
        state, last = one(state, tail)
        state, first = run_head(state)
    else:
        state, first = run_head(state)
        state, last = one(state, tail)
    return state, jax.tree.map(lambda a, b: jnp.concatenate([a, b]), first, last)


def _head(values: Any, whole: int, size: int) -> Array:
    """Cut the whole blocks off, (whole, size, ...); of lists the pointers, (whole, batch, size + 1)."""
    if isinstance(values, Spikes):
        places = size * jnp.arange(whole)[:, None] + jnp.arange(size + 1)
        return jnp.moveaxis(jnp.asarray(values.pointers)[:, places], 1, 0)
    return values[: whole * size].reshape(whole, size, *values.shape[1:])


def _tail(values: Any, start: int) -> Array:
    """Return what is behind the whole blocks; of lists the pointers."""
    return jnp.asarray(values.pointers)[:, start:] if isinstance(values, Spikes) else values[start:]
