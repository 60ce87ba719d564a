"""Marks on a learner's inputs: one step, or several at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from snntrace.events.spikes import Spikes


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class SingleStepData:
    """An input of one step; beside an input of several steps, it is the same at each.

    Parameters
    ----------
    data : pytree
        The input.
    """

    data: Any


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class MultiStepData:
    """An input of several steps: `Learner.update` runs them all, as `Learner.unroll` does.

    Parameters
    ----------
    data : pytree with a leading time axis, or Spikes
        The input.
    """

    data: Any


def unmarked(who: str, args: tuple[Any, ...]) -> tuple[tuple[Any, ...], bool]:
    """Take marks off inputs.

    Parameters
    ----------
    who : str
        Name for messages.
    args : tuple of pytrees
        The inputs, any part of them marked.

    Returns
    -------
    args : tuple of pytrees
        The inputs; where one is of several steps, all have a leading time axis.
    several : bool
        Whether they are of several steps.

    Raises
    ------
    ValueError
        If inputs of several steps differ in length.
    """
    leaves, tree = jax.tree.flatten(args, is_leaf=lambda v: isinstance(v, (SingleStepData, MultiStepData)))
    many = [v.data for v in leaves if isinstance(v, MultiStepData)]
    plain = [v.data if isinstance(v, (SingleStepData, MultiStepData)) else v for v in leaves]
    if not many:
        return jax.tree.unflatten(tree, plain), False
    length = sequence_length(who, tuple(many))

    def repeated(value: Any) -> Any:
        return jnp.broadcast_to(value, (length, *jnp.shape(value)))

    spread = [
        data if isinstance(v, MultiStepData) else jax.tree.map(repeated, data)
        for v, data in zip(leaves, plain, strict=True)
    ]
    return jax.tree.unflatten(tree, spread), True


def sequence_length(who: str, sequences: tuple[Any, ...]) -> int:
    """Return the number of steps that all sequences have.

    Parameters
    ----------
    who : str
        Name for messages.
    sequences : tuple of pytrees
        The sequences; `Spikes` are one each.

    Returns
    -------
    int
        Steps.

    Raises
    ------
    ValueError
        If there is no step, or lengths differ.
    """
    leaves = jax.tree.leaves(sequences, is_leaf=lambda v: isinstance(v, Spikes))
    lengths = sorted({jnp.shape(leaf)[0] if jnp.ndim(leaf) else 0 for leaf in leaves})
    if len(lengths) != 1 or lengths[0] == 0:
        raise ValueError(
            f"{who}: sequences must have one length of at least 1, got lengths {lengths}. "
            "Put time on the first axis of each."
        )
    return int(lengths[0])
