"""Scans over blocks of steps: what belongs to many steps is computed for a block at once.

Whole-sequence arrays of every intermediate value do not fit the cache, and touching fresh memory costs more
than arithmetic. A block does fit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

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
    values : pytree of arrays (T, ...)
        What is cut into blocks.
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
    length = jax.tree.leaves(values)[0].shape[0]
    whole, size, left = split_length(length, size)
    head = jax.tree.map(lambda v: v[: whole * size].reshape(whole, size, *v.shape[1:]), values)
    tail = jax.tree.map(lambda v: v[whole * size :], values)
    if per_block is not None:
        head = (head, jax.tree.map(lambda v: v[:whole], per_block))
        tail = (tail, jax.tree.map(lambda v: v[-1], per_block)) if left else None

    def run_head(state: Any) -> tuple[Any, Any]:
        if whole == 1:
            state, out = function(state, jax.tree.map(lambda v: v[0], head))
            return state, out
        state, out = jax.lax.scan(function, state, head, reverse=reverse)
        return state, jax.tree.map(lambda v: v.reshape(-1, *v.shape[2:]), out)

    if not left:
        return run_head(state)
    if reverse:
        state, last = function(state, tail)
        state, first = run_head(state)
    else:
        state, first = run_head(state)
        state, last = function(state, tail)
    return state, jax.tree.map(lambda a, b: jnp.concatenate([a, b]), first, last)
