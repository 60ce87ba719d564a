"""Named places in the few arrays that streaming kernels take.

A call of a compiled function costs for each of its arguments, so a stream keeps all its numbers in three
arrays. Their places are known when the kernels are written.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = Any
_LINE = 16
"""Places begin at multiples of this many numbers: a line of the cache for float32."""


class Arena:
    """Places in the last axis of an array.

    Examples
    --------
    >>> from snntrace.fused.arena import Arena
    >>> arena = Arena()
    >>> arena.new("voltage", 3), arena.new("weights", 2, 5)
    (0, 16)
    >>> array = arena.zeros((), "float32")
    >>> arena.view(array, "weights").shape
    (2, 5)
    """

    def __init__(self) -> None:
        self.size = 0
        self._places: dict[str, tuple[int, tuple[int, ...]]] = {}

    def new(self, name: str, *shape: int) -> int:
        """Take a place.

        Parameters
        ----------
        name : str
            A name that is not taken.
        *shape : int
            Its shape.

        Returns
        -------
        int
            Where it begins.

        Raises
        ------
        ValueError
            If the name is taken.
        """
        if name in self._places:
            raise ValueError(f"Arena: name must be new, got name={name!r} twice. Choose another one.")
        at = self.size
        self._places[name] = (at, shape)
        self.size += -(-int(np.prod(shape, dtype=np.int64)) // _LINE) * _LINE
        return at

    def at(self, name: str) -> int:
        """Return where a place begins."""
        return self._places[name][0]

    def view(self, array: Array, name: str) -> Array:
        """Return a place of an array (..., size) as (..., *shape)."""
        at, shape = self._places[name]
        size = int(np.prod(shape, dtype=np.int64))
        return array[..., at : at + size].reshape(*array.shape[:-1], *shape)

    def zeros(self, lead: tuple[int, ...], dtype: Any) -> Array:
        """Make the array; memory that is never touched is never taken."""
        return np.zeros((*lead, max(self.size, 1)), dtype)
