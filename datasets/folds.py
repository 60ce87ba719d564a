"""Divide recordings several times, so that each is held out once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from snntrace.datasets.official import refuse_test
from snntrace.datasets.protocol import SpikeDataset
from snntrace.datasets.split import Parts, column_of, distinct_indices


def k_fold(
    data: SpikeDataset | ArrayLike,
    n_folds: int = 5,
    seed: int = 0,
    *,
    groups: ArrayLike | None = None,
    whole_groups: bool = False,
    indices: ArrayLike | None = None,
    allow_test: bool = False,
) -> list[Parts]:
    """Divide recordings into folds with about the same classes, each of which is held out once.

    With groups (speakers, subjects), each group is in one fold only, and the classes are spread as evenly as
    that allows.

    Parameters
    ----------
    data : SpikeDataset, or int array of shape (n_recordings,)
        The data set, or the class of each of its recordings.
    n_folds : int, default 5
        Number of folds.
    seed : int, default 0
        One seed always gives the same folds.
    groups : int array of shape (n_recordings,), optional
        Group of each recording; groups are kept whole.
    whole_groups : bool, default False
        Keep the data set's own groups whole.
    indices : int array, optional
        The recordings to divide. Default: all.
    allow_test : bool, default False
        Divide an official test part, too.

    Returns
    -------
    list of (kept, held)
        Numbers of the recordings, ascending; the held parts are disjoint, and together `indices`.

    Raises
    ------
    ValueError
        If there are fewer than two folds, or more than recordings of a class, or than groups; if the data
        have no groups; or if they are an official test part.

    References
    ----------
    The folds are those of scikit-learn's `StratifiedKFold` and `StratifiedGroupKFold`: F. Pedregosa et al.,
    "Scikit-learn: Machine Learning in Python", JMLR 12, 2825-2830 (2011).

    Examples
    --------
    >>> from snntrace.datasets import k_fold
    >>> for kept, held in k_fold([0, 0, 0, 1, 1, 1], 3):
    ...     print(kept, held)
    [0 1 3 5] [2 4]
    [0 2 3 4] [1 5]
    [1 2 4 5] [0 3]
    """
    refuse_test(data, "k_fold", allow_test=allow_test)
    classes = column_of(data, "labels", "k_fold")
    if seed < 0:
        raise ValueError(f"k_fold: seed must not be negative, got seed={seed}. Give 0 or more.")
    if whole_groups:
        if groups is not None:
            raise ValueError("k_fold: groups are given or the data set's own, got both. Leave one out.")
        groups = column_of(data, "groups", "k_fold")
    chosen = distinct_indices(indices, len(classes), "k_fold")
    labels = classes[chosen]
    if groups is None:
        most, what = (
            int(np.unique(labels, return_counts=True)[1].min(initial=len(labels))),
            "recordings of a class",
        )
        member_of = None
    else:
        member_of = np.asarray(groups)
        if member_of.shape != classes.shape:
            raise ValueError(
                f"k_fold: groups must be one for each of {len(classes)} recordings, got shape="
                f"{member_of.shape}. Give the group of each."
            )
        member_of = member_of[chosen]
        most, what = len(np.unique(member_of)), "groups"
    if not 2 <= n_folds <= most:
        raise ValueError(
            f"k_fold: n_folds must be at least 2 and at most the number of {what}, got n_folds={n_folds} for "
            f"{most} {what}. Give fewer folds, or leave small classes out."
        )
    # Here, for it takes longer to import than all else that is imported.
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    folding = StratifiedKFold if member_of is None else StratifiedGroupKFold
    folds = folding(n_folds, shuffle=True, random_state=seed).split(chosen, labels, member_of)
    return [(chosen[kept], chosen[held]) for kept, held in folds]


def leave_one_group_out(
    data: SpikeDataset | ArrayLike, *, indices: ArrayLike | None = None, allow_test: bool = False
) -> dict[int, Parts]:
    """Hold out each group (speaker, subject) once.

    Parameters
    ----------
    data : SpikeDataset, or int array of shape (n_recordings,)
        The data set, or the group of each of its recordings.
    indices : int array, optional
        The recordings to divide. Default: all.
    allow_test : bool, default False
        Divide an official test part, too.

    Returns
    -------
    dict of (kept, held)
        By the group that is held out, ascending: numbers of the recordings, ascending; disjoint, and together
        `indices`.

    Raises
    ------
    ValueError
        If there are no groups or a single one, or the data are an official test part.

    Examples
    --------
    >>> from snntrace.datasets import leave_one_group_out
    >>> leave_one_group_out([7, 8, 7])
    {7: (array([1]), array([0, 2])), 8: (array([0, 2]), array([1]))}
    """
    refuse_test(data, "leave_one_group_out", allow_test=allow_test)
    member_of = column_of(data, "groups", "leave_one_group_out")
    chosen = distinct_indices(indices, len(member_of), "leave_one_group_out")
    present = np.unique(member_of[chosen])
    if len(present) < 2:
        raise ValueError(
            f"leave_one_group_out: there must be at least two groups, got {present.tolist()}. Use k_fold."
        )
    from sklearn.model_selection import LeaveOneGroupOut

    parts: Any = LeaveOneGroupOut().split(chosen, groups=member_of[chosen])
    found: dict[int, Parts] = {}
    for group, (kept, held) in zip(present.tolist(), parts, strict=True):
        one: NDArray[np.int64] = chosen[held]
        found[group] = chosen[kept], one
    return found
