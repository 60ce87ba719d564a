"""Inputs with units: brought to those that a step was compiled for."""

from __future__ import annotations

from typing import Any

import brainunit as u
import jax


def is_quantity(value: Any) -> bool:
    """Whether a value carries a unit."""
    return isinstance(value, u.Quantity)


def in_units_of(who: str, args: Any, tree: Any) -> Any:
    """Convert quantities to the units of an example.

    Parameters
    ----------
    who : str
        Name for the message.
    args : pytree
        The inputs.
    tree : PyTreeDef
        The structure of the example; the units are part of it.

    Returns
    -------
    pytree
        The inputs, in those units.

    Raises
    ------
    ValueError
        If an input has another dimension than the example.
    """
    if jax.tree.structure(args) == tree:
        return args
    example = jax.tree.unflatten(tree, [0.0] * tree.num_leaves)
    given = jax.tree.leaves(args, is_leaf=is_quantity)
    outer: Any = jax.tree.structure(args, is_leaf=is_quantity)
    wanted = jax.tree.leaves(example, is_leaf=is_quantity)
    if outer != jax.tree.structure(example, is_leaf=is_quantity):
        return args
    return jax.tree.unflatten(outer, [_converted(who, v, w) for v, w in zip(given, wanted, strict=True)])


def _converted(who: str, value: Any, example: Any) -> Any:
    unit, wanted = u.get_unit(value), u.get_unit(example)
    if unit == wanted:
        return value
    if not unit.has_same_dim(wanted):
        raise ValueError(
            f"{who}: the input must be in the unit of the example, {wanted}, got {unit}. "
            "Convert it, or compile with an example in that unit."
        )
    return value.to(wanted)
