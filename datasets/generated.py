"""What generated data sets have in common: official parts, and a seed that fixes them."""

from __future__ import annotations

import operator
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from snntrace.datasets.asked import checked_split


class Generated:
    """A generated data set.

    Parameters
    ----------
    split : {'train', 'test'} or None
        The part; None for training.
    seed : int
        Seed of what is random.

    Attributes
    ----------
    split : str
        Which part it is.
    seed : int
        As given.
    """

    splits: ClassVar[tuple[str, ...]] = ("train", "test")
    n_units: int
    class_names: tuple[str, ...]
    labels: NDArray[np.int64]

    def __init__(self, split: str | None, seed: int) -> None:
        who = type(self).__name__
        self.split = checked_split(who, split, self.splits)
        if operator.index(seed) < 0:
            raise ValueError(f"{who}: seed must be at least 0, got seed={seed}. Raise it.")
        self.seed = seed

    def __len__(self) -> int:
        """Return the number of recordings.

        Returns
        -------
        int
            The number.
        """
        return len(self.labels)

    def __repr__(self) -> str:
        """Return one line with the part and the sizes.

        Returns
        -------
        str
            The line.
        """
        return (
            f"{type(self).__name__}({self.split}: {len(self)} recordings, {self.n_units} units, "
            f"{len(self.class_names)} classes)"
        )


def at_least(who: str, **counts: int) -> None:
    """Refuse numbers of things that are less than 1.

    Parameters
    ----------
    who : str
        Name of the data set, for the message.
    **counts : int
        The numbers by their names.

    Raises
    ------
    ValueError
        If one is less than 1.
    """
    for name, count in counts.items():
        if operator.index(count) < 1:
            raise ValueError(f"{who}: {name} must be at least 1, got {name}={count}. Raise it.")
