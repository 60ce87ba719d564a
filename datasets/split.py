"""Divide recordings into a part to train on and a part that is held out."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from snntrace.datasets.official import refuse_test
from snntrace.datasets.protocol import SpikeDataset

Parts = tuple[NDArray[np.int64], NDArray[np.int64]]


def hold_out(
    data: SpikeDataset | ArrayLike,
    fraction: float,
    seed: int = 0,
    *,
    indices: ArrayLike | None = None,
    allow_test: bool = False,
) -> Parts:
    r"""Hold out a fraction of every class at random.

    Of the :math:`n_c` recordings of class :math:`c`, :math:`\max(1, \mathrm{round}(f n_c))` are held out, and
    at least one is kept. For three parts, hold out the test set first and divide what is kept (`indices`): a
    validation part made so is never part of the test set.

    Where several recordings are of one speaker, use `by_group`: a random division puts the same voice on both
    sides.

    Parameters
    ----------
    data : SpikeDataset, or int array of shape (n_recordings,)
        The data set, or the class of each of its recordings. Only of a data set it is known whether it is an
        official test part.
    fraction : float
        Part of each class to hold out, between 0 and 1.
    seed : int, default 0
        One seed always gives the same division.
    indices : int array, optional
        The recordings to divide. Default: all.
    allow_test : bool, default False
        Divide an official test part, too.

    Returns
    -------
    kept, held : int64 arrays
        Numbers of the recordings, ascending; disjoint, and together `indices`.

    Raises
    ------
    ValueError
        If `fraction` is out of range, a class has a single recording, or the data are an official test part.

    Examples
    --------
    >>> from snntrace.datasets import hold_out
    >>> labels = [0, 0, 0, 0, 1, 1, 1, 1]
    >>> rest, test = hold_out(labels, 0.25, seed=1)
    >>> train, validation = hold_out(labels, 0.34, seed=1, indices=rest)
    >>> len(train), len(validation), len(test)
    (4, 2, 2)
    """
    refuse_test(data, "hold_out", allow_test=allow_test)
    if not 0 < fraction < 1:
        raise ValueError(f"hold_out: fraction must be between 0 and 1, got fraction={fraction}. Try 0.2.")
    classes = column_of(data, "labels", "hold_out")
    chosen = distinct_indices(indices, len(classes), "hold_out")
    rng = np.random.default_rng(seed)
    held: list[NDArray[np.int64]] = []
    for label in np.unique(classes[chosen]):
        members = chosen[classes[chosen] == label]
        if len(members) < 2:
            raise ValueError(
                f"hold_out: each class must have at least 2 recordings, got 1 of class {label}. "
                f"Leave that class out, or add recordings."
            )
        number = min(max(1, round(fraction * len(members))), len(members) - 1)
        held.append(rng.permutation(members)[:number])
    if not held:
        raise ValueError("hold_out: there must be recordings to divide, got none. Give labels.")
    out = np.sort(np.concatenate(held))
    return np.setdiff1d(chosen, out), out


def by_group(
    data: SpikeDataset | ArrayLike | None,
    held_out: Sequence[int | str],
    *,
    indices: ArrayLike | None = None,
    allow_test: bool = False,
) -> Parts:
    """Hold out all recordings of the named groups (speakers, subjects).

    Parameters
    ----------
    data : SpikeDataset, or int array of shape (n_recordings,)
        The data set, or the group of each of its recordings. Only of a data set it is known whether it is an
        official test part.
    held_out : sequence of int or str
        Groups to hold out; by their names, too, where the data set has them (`group_names`). A text may be a
        number, unless names are.
    indices : int array, optional
        The recordings to divide. Default: all.
    allow_test : bool, default False
        Divide an official test part, too.

    Returns
    -------
    kept, held : int64 arrays
        Numbers of the recordings, ascending; disjoint, and together `indices`.

    Raises
    ------
    ValueError
        If there are no groups, one that is named has no recording, nothing would be kept, or the data are an
        official test part.

    Examples
    --------
    >>> from snntrace.datasets import by_group
    >>> by_group([7, 8, 9, 8], held_out=[8])
    (array([0, 2]), array([1, 3]))
    """
    refuse_test(data, "by_group", allow_test=allow_test)
    member_of = column_of(data, "groups", "by_group")
    chosen = distinct_indices(indices, len(member_of), "by_group")
    present = np.unique(member_of[chosen])
    # A text is one name, not its letters.
    named = np.unique(numbered_groups(data, [held_out] if isinstance(held_out, str) else held_out))
    if named.size == 0 or not np.isin(named, present).all() or len(named) == len(present):
        raise ValueError(
            f"by_group: held_out must name some, and not all, of the groups {present.tolist()}, got "
            f"held_out={list(held_out)}. Choose among them."
        )
    is_held = np.isin(member_of[chosen], named)
    return chosen[~is_held], chosen[is_held]


def numbered_groups(data: Any, groups: Sequence[int | str]) -> NDArray[Any]:
    """Return groups by their numbers.

    Parameters
    ----------
    data : SpikeDataset, int array or None
        The data set whose groups they are.
    groups : sequence of int or str
        Numbers, or names.

    Returns
    -------
    array of shape (n_groups,)
        The numbers.

    Raises
    ------
    ValueError
        If a name is not that of a group.
    """
    names: Sequence[str] = getattr(data, "group_names", None) or ()
    numbers = [numbered_group(names, group) for group in groups]
    if None in numbers:
        wrong = [group for group, number in zip(groups, numbers, strict=True) if number is None]
        known = f"one of {', '.join(names)}" if names else "a number, for these data have no names for them"
        raise ValueError(f"by_group: a group must be {known}, got held_out={wrong}. Choose among them.")
    return np.asarray(numbers)


def numbered_group(names: Sequence[str], group: int | str) -> int | None:
    """Return the number of a group; None if a text is neither a name nor a number."""
    if not isinstance(group, str):
        return group
    if group in names:
        return names.index(group)
    is_number = group.isascii() and group.isdigit() and len(group) < 19
    return int(group) if is_number and not any(name.isdigit() for name in names) else None


def column_of(data: Any, name: str, who: str) -> NDArray[Any]:
    """Return the classes or the groups of recordings.

    Parameters
    ----------
    data : SpikeDataset, int array or None
        A data set, or the column itself.
    name : {'labels', 'groups'}
        Which column.
    who : str
        Name of the caller, for the message.

    Returns
    -------
    int array of shape (n_recordings,)
        The column.

    Raises
    ------
    ValueError
        If the data name no groups, or it is no column.
    """
    column = getattr(data, name) if hasattr(data, name) else data
    if column is None:
        raise ValueError(f"{who}: the data must name their groups, got groups=None. Use hold_out.")
    found = np.asarray(column)
    if found.ndim != 1:
        raise ValueError(
            f"{who}: data must be a data set, or one of its {name} for each recording, got "
            f"{type(data).__name__} of shape {found.shape}. Give the data set."
        )
    return found


def whole_numbers(indices: ArrayLike, who: str) -> NDArray[np.int64]:
    """Return numbers of recordings as integers.

    Parameters
    ----------
    indices : int array
        The numbers.
    who : str
        Name of the caller, for the message.

    Returns
    -------
    int64 array of shape (n,)
        The numbers.

    Raises
    ------
    TypeError
        If they are no integers: a mask, say, would be taken for the numbers 0 and 1.
    """
    given = np.asarray(indices)
    if given.size and given.dtype.kind not in "iu":
        raise TypeError(
            f"{who}: indices must be numbers of recordings, got dtype={given.dtype}. Make numbers of a mask "
            f"with numpy.flatnonzero."
        )
    return given.astype(np.int64).ravel()


def distinct_indices(indices: ArrayLike | None, size: int, who: str) -> NDArray[np.int64]:
    """Return the numbers of recordings in ascending order.

    Parameters
    ----------
    indices : int array, or None
        Numbers of recordings. None: all.
    size : int
        Number of recordings of the data set.
    who : str
        Name of the caller, for the message.

    Returns
    -------
    int64 array
        The numbers.

    Raises
    ------
    ValueError
        If a number is out of range or given twice.
    """
    if indices is None:
        return np.arange(size)
    ordered = np.sort(whole_numbers(indices, who))
    if ordered.size and (ordered[0] < 0 or ordered[-1] >= size):
        wrong = ordered[0] if ordered[0] < 0 else ordered[-1]
        raise ValueError(
            f"{who}: indices must be in 0 .. {size - 1}, got index={wrong}. Choose existing recordings."
        )
    if (np.diff(ordered) == 0).any():
        wrong = ordered[:-1][np.diff(ordered) == 0][0]
        raise ValueError(f"{who}: indices must be distinct, got index={wrong} twice. Remove the repetition.")
    return ordered
