"""What is asked of a data set: a recording by its number, an official part by its name."""

from __future__ import annotations

import operator
from collections.abc import Sequence


def row_of(who: str, index: int, size: int) -> int:
    """Return the number of a recording, if there is one.

    Parameters
    ----------
    who : str
        Name of the data set, for the message.
    index : int
        The number that is asked for.
    size : int
        Number of recordings.

    Returns
    -------
    int
        The number.

    Raises
    ------
    IndexError
        If there is no such recording.
    """
    row = operator.index(index)
    if not 0 <= row < size:
        raise IndexError(
            f"{who}: index must be in 0 .. {size - 1}, got index={index}. Choose an existing recording."
        )
    return row


def checked_split(who: str, split: str | None, splits: Sequence[str]) -> str:
    """Return the name of an official part.

    Parameters
    ----------
    who : str
        Name of the data set, for the message.
    split : str or None
        The part that is asked for; None for the first.
    splits : sequence of str
        The parts.

    Returns
    -------
    str
        The part.

    Raises
    ------
    ValueError
        If there is no such part.
    """
    if split is not None and split not in splits:
        names = " or ".join(map(repr, splits))
        raise ValueError(f"{who}: split must be {names}, got split={split!r}. Choose one.")
    return splits[0] if split is None else split
