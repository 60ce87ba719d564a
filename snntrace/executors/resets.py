"""Samples that begin anew while others of their batch go on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp

from snntrace.compiler.perturb import Arrays
from snntrace.executors.engine import Carried, Engine

Array = Any


class Resets(NamedTuple):
    """When samples of a sequence begin anew, and with what.

    `fresh` is (T, batch), or (T,) without a batch axis: whether a sample begins anew before a step. `hidden`
    and `others` are the states it begins with; None for states that samples share.
    """

    fresh: Array
    hidden: Arrays
    others: tuple[Array | None, ...]


def restart(fresh: Array | None, initial: Sequence[Array | None], now: Arrays) -> Arrays:
    """Put the initial values in place of the present ones where a sample begins anew.

    Parameters
    ----------
    fresh : array of bool (..., batch), optional
        The samples; leading axes are those of `now`.
    initial : sequence of array or None
        The values to begin with, without leading axes.
    now : tuple of array (..., batch, ...)
        The present values.

    Returns
    -------
    tuple of array
        As `now`.
    """
    if fresh is None:
        return now
    return tuple(
        value if start is None else jnp.where(spread(fresh, value), start, value)
        for start, value in zip(initial, now, strict=True)
    )


def spread(mask: Array, like: Array) -> Array:
    """Add axes behind a mask's, so that it broadcasts over values."""
    mask = jnp.asarray(mask)
    return mask.reshape(*mask.shape, *(1,) * (jnp.ndim(like) - mask.ndim))


def reset_samples(engine: Engine, initial: Carried, now: Carried, where: Array) -> Carried:
    """Put some samples back to where they began: their states to the first ones, their traces to zero.

    Parameters
    ----------
    engine : Engine
        The graph under a rule.
    initial : Carried
        The states they began with; None for other states that samples share.
    now : Carried
        What is carried.
    where : array of bool (batch,)
        The samples; of shape () without a batch axis.

    Returns
    -------
    Carried
        What is carried then.
    """
    stays = ~jnp.asarray(where)
    pairs = zip(engine.layouts, now.traces, strict=bool(now.traces))
    return Carried(
        restart(where, initial.hidden, now.hidden),
        restart(where, initial.others, now.others),
        tuple(layout.keep(trace, stays) for layout, trace in pairs),
    )
