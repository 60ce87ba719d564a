"""A unit's way to itself through an operation that is not a plain product: a convolution, a sparse product.

Where each entry of an operation's patches is one element of its operand, ``h_i -> x_p -> y_q -> h_i`` passes
a fixed set of weights for each i, which is found while compiling.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from snntrace.compiler.relations import Operation
from snntrace.jaxprs import Atom

Array = Any

LARGEST = 1 << 24
"""Elements of an operand whose places float32 can count."""


@dataclass(frozen=True, eq=False)
class OneOperation:
    """Group to itself through one operation.

    Entry e of `weights` (groups, presynaptic, postsynaptic), the weight laid out so, acts at the flat output
    position ``places[e]``, which belongs to the flat group position ``targets[e]``.
    """

    relation: Operation
    operand: Atom
    weights: tuple[np.ndarray, np.ndarray, np.ndarray]
    places: np.ndarray
    targets: np.ndarray

    def pick(self, w: Array) -> Array:
        """Pick the weights of a unit's way to itself."""
        axes = self.relation.axes
        shaped = w.reshape([axes.sizes[c] for c in axes.weight])
        laid = axes.lay(shaped, axes.weight, axes.pre, axes.post)
        return laid.reshape(-1, axes.size(axes.pre), axes.size(axes.post))[self.weights]

    def gain(self, picked: Array, df: Array, shape: tuple[int, ...]) -> Array:
        """Sum ``Df[q] W[q]`` over what acts on each position of the group."""
        found = df.reshape(-1)[self.places] * picked
        return jnp.zeros(int(np.prod(shape)), found.dtype).at[self.targets].add(found).reshape(shape)


def own_way(
    relation: Operation,
    operand: Atom,
    positions: np.ndarray | None,
    feeds: np.ndarray,
    constant: Callable[[Atom], np.ndarray[Any, Any] | None],
) -> OneOperation | None:
    """Find the weights that lead from each unit to itself.

    Parameters
    ----------
    relation : Operation
        The operation.
    operand : Atom
        The operand that follows the group.
    positions : array or None
        For each position of the output the flat position in the group, or -1; None is the identity.
    feeds : array (group positions,)
        The flat position of the operand that each position of the group feeds, or -1.
    constant : callable
        Gives the value of an atom that depends on no input, or None.

    Returns
    -------
    OneOperation or None
        None where entries of the patches are not elements of the operand.
    """
    sources = _sources(relation, operand, constant)
    if sources is None:
        return None
    with jax.ensure_compile_time_eval():
        flat = jnp.arange(np.prod(relation.shape, dtype=int)).reshape(relation.shape)
        places = np.asarray(relation.columns(flat))
    sources, places = (v.reshape(-1, *v.shape[-2:]) for v in (sources, places))
    targets = np.arange(flat.size) if positions is None else positions.reshape(-1)
    target = np.where(places >= 0, targets[np.maximum(places, 0)], -1)
    wanted = np.where(target >= 0, feeds[np.maximum(target, 0)], -1)
    group, row, post = np.nonzero(wanted >= 0)
    pre_group, pre_row, pre = np.nonzero(sources >= 0)
    n_rows, size = sources.shape[1], int(np.prod(operand.shape, dtype=int))

    def key(group: np.ndarray, row: np.ndarray, place: np.ndarray) -> np.ndarray:
        return np.asarray((group * n_rows + row) * size + place)

    have = key(pre_group, pre_row, sources[pre_group, pre_row, pre])
    want = key(group, row, wanted[group, row, post])
    order = np.argsort(have, kind="stable")
    first, last = (np.searchsorted(have[order], want, side=side) for side in ("left", "right"))
    counts = last - first
    of = np.repeat(np.arange(want.size), counts)
    nth = np.arange(of.size) - np.repeat(np.cumsum(counts) - counts, counts)
    found = order[first[of] + nth]
    group, row, post = group[of], row[of], post[of]
    return OneOperation(
        relation, operand, (group, pre[found], post), places[group, row, post], target[group, row, post]
    )


def _sources(
    relation: Operation, operand: Atom, constant: Callable[[Atom], np.ndarray[Any, Any] | None]
) -> np.ndarray | None:
    """Return the element of the operand that each entry of the patches is, -1 for none."""
    size = int(np.prod(operand.shape, dtype=int))
    fixed: Sequence[Any] = [None if a is operand else constant(a) for a in relation.operands]
    known = all(v is not None for a, v in zip(relation.operands, fixed, strict=True) if a is not operand)
    if size >= LARGEST or not known or not jnp.issubdtype(operand.dtype, jnp.floating):
        return None

    def patches(values: np.ndarray) -> np.ndarray:
        x = jnp.asarray(values, operand.dtype).reshape(operand.shape)
        laid = relation.rows(*(x if v is None else v for v in fixed))
        return np.asarray(laid, np.float64)

    drawn = np.random.default_rng(0).integers(1, 1000, size)
    with jax.ensure_compile_time_eval():
        sources = np.rint(patches(np.arange(1, size + 1))).astype(int) - 1
        inside = (sources >= -1) & (sources < size)
        expected = np.where(sources >= 0, drawn[np.clip(sources, 0, size - 1)], 0)
        return sources if inside.all() and np.array_equal(patches(drawn), expected) else None
