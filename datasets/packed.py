"""Recordings that are kept in memory, and the numbers by which recordings are asked for."""

from __future__ import annotations

import operator
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

EventList = tuple[NDArray[np.float64], NDArray[np.int64]]


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


class Packed:
    """Events of several recordings, one after the other in two arrays.

    Parameters
    ----------
    who : str
        Name of the data set, for the messages.
    recordings : sequence of (times, units)
        The events.
    """

    def __init__(self, who: str, recordings: Sequence[EventList]) -> None:
        self.who = who
        self.starts = np.concatenate([[0], np.cumsum([times.size for times, _ in recordings])])
        self._times = np.concatenate([np.zeros(0), *(times for times, _ in recordings)])
        self._units = np.concatenate([np.zeros(0, np.int64), *(units for _, units in recordings)])

    def __len__(self) -> int:
        """Return the number of recordings."""
        return len(self.starts) - 1

    def events(self, index: int) -> EventList:
        """Return the events of one recording.

        Parameters
        ----------
        index : int
            Its number.

        Returns
        -------
        times : float64 array of shape (n_events,), in s
            When.
        units : int64 array of shape (n_events,)
            Which unit.
        """
        row = row_of(self.who, index, len(self))
        part = slice(self.starts[row], self.starts[row + 1])
        return self._times[part].copy(), self._units[part].copy()
