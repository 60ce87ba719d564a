"""What every spike data set offers."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class SpikeDataset(Protocol):
    """A labelled collection of recordings, each a list of (time, unit) events.

    Attributes
    ----------
    labels : int64 array of shape (n_recordings,)
        Class of each recording, an index into `class_names`.
    class_names : tuple of str
        Name of each class.
    n_units : int
        Number of input units; the unit of an event is in ``0 .. n_units - 1``.
    groups : int64 array of shape (n_recordings,), or None
        Who made each recording (the speaker, for speech), where the data say so.
    duration : float, in s
        No event of any recording is later than this.
    """

    def __len__(self) -> int:
        """Return the number of recordings."""
        ...

    @property
    def labels(self) -> NDArray[np.int64]:
        """Class of each recording."""
        ...

    @property
    def class_names(self) -> tuple[str, ...]:
        """Name of each class."""
        ...

    @property
    def n_units(self) -> int:
        """Number of input units."""
        ...

    @property
    def groups(self) -> NDArray[np.int64] | None:
        """Who made each recording, or None."""
        ...

    @property
    def duration(self) -> float:
        """Upper bound of all event times, in s."""
        ...

    def events(self, index: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return the times (in s) and the units of one recording."""
        ...
