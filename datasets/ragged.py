"""Recordings of unequal lengths, one after the other in two arrays."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

EventList = tuple[NDArray[np.float64], NDArray[np.int64]]
"""Times in s, and units."""


class Ragged(Sequence[EventList]):
    """A list of recordings, each a pair of times and units, whose events follow each other in memory.

    A kernel reads all of them in one call, which holds no lock while it does.

    Parameters
    ----------
    starts : int64 array of shape (n_recordings + 1,)
        Recording ``i`` is events ``starts[i] .. starts[i + 1] - 1``.
    times : float64 array of shape (n_events,), in s
        When.
    units : int64 array of shape (n_events,)
        Which unit.

    Examples
    --------
    >>> both = Ragged.joined([(np.array([0.1]), np.array([3])), (np.array([0.2, 0.4]), np.array([0, 1]))])
    >>> both.starts, both.times
    (array([0, 1, 3]), array([0.1, 0.2, 0.4]))
    >>> both[1]
    (array([0.2, 0.4]), array([0, 1]))
    """

    def __init__(
        self, starts: NDArray[np.int64], times: NDArray[np.float64], units: NDArray[np.int64]
    ) -> None:
        self.starts, self.times, self.units = starts, times, units

    @classmethod
    def empty(cls, lengths: Iterable[int]) -> Ragged:
        """Return recordings of these lengths, of any content.

        Parameters
        ----------
        lengths : iterable of int
            Number of events of each.

        Returns
        -------
        Ragged
            The recordings.
        """
        starts = starts_of(lengths)
        return cls(starts, np.empty(starts[-1]), np.empty(starts[-1], np.int64))

    @classmethod
    def joined(cls, recordings: Sequence[EventList]) -> Ragged:
        """Put recordings one after the other.

        Parameters
        ----------
        recordings : sequence of (times, units)
            The recordings.

        Returns
        -------
        Ragged
            A copy of them.
        """
        return cls(
            starts_of(times.size for times, _ in recordings),
            np.concatenate([np.zeros(0), *(times for times, _ in recordings)]),
            np.concatenate([np.zeros(0, np.int64), *(units for _, units in recordings)]),
        )

    def __len__(self) -> int:
        """Return the number of recordings."""
        return len(self.starts) - 1

    @overload
    def __getitem__(self, index: int) -> EventList: ...

    @overload
    def __getitem__(self, index: slice) -> list[EventList]: ...

    def __getitem__(self, index: int | slice) -> EventList | list[EventList]:
        """Return one recording, or a list of several, which share the memory.

        Parameters
        ----------
        index : int or slice
            Which.

        Returns
        -------
        (times, units), or list of them
            The recording.
        """
        if isinstance(index, slice):
            return [self[row] for row in range(*index.indices(len(self)))]
        row = range(len(self))[index]
        part = slice(self.starts[row], self.starts[row + 1])
        return self.times[part], self.units[part]

    def __iter__(self) -> Iterator[EventList]:
        """Iterate over the recordings.

        Yields
        ------
        (times, units)
            The next one.
        """
        for start, stop in zip(self.starts[:-1].tolist(), self.starts[1:].tolist(), strict=True):
            yield self.times[start:stop], self.units[start:stop]


def starts_of(lengths: Iterable[int] | NDArray[Any]) -> NDArray[np.int64]:
    """Return where things of some lengths start that follow each other, and where the last one ends.

    Parameters
    ----------
    lengths : iterable of int
        Their lengths.

    Returns
    -------
    int64 array of shape (n + 1,)
        The places, from 0.

    Examples
    --------
    >>> starts_of([2, 0, 3])
    array([0, 2, 2, 5])
    """
    sizes = lengths if isinstance(lengths, np.ndarray) else np.fromiter(lengths, np.int64)
    starts = np.zeros(len(sizes) + 1, np.int64)
    sizes.cumsum(out=starts[1:])
    return starts
