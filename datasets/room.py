"""Memory for large arrays, used again when an array is no longer needed."""

from __future__ import annotations

import math
import weakref
from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Room:
    """Arrays whose memory is that of earlier ones, once nothing refers to these any more.

    The system clears memory that it hands out, page by page, which takes as long as filling a batch does, and
    what a thread has freed goes back to the system at once.

    Parameters
    ----------
    most : int
        How many arrays' memory is kept.

    Examples
    --------
    >>> room = Room(2)
    >>> x = room.empty((2, 3), np.dtype("f4"))
    >>> place, part = x.ctypes.data, x[1]
    >>> del x
    >>> y = room.empty((2, 3), np.dtype("f4"))
    >>> y.ctypes.data == place
    False
    >>> del part
    >>> room.empty((2, 3), np.dtype("f4")).ctypes.data == place
    True
    """

    def __init__(self, most: int) -> None:
        self._most = most
        # Added to by the collector, at any time and on any thread: a lock could wait for itself.
        self._free: deque[NDArray[np.uint8]] = deque(maxlen=most)

    def __reduce__(self) -> tuple[type[Room], tuple[int]]:
        """Return what makes an empty one, for the memory is this process's.

        Returns
        -------
        tuple
            The class and its argument.
        """
        return Room, (self._most,)

    def empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return an array of any content.

        Parameters
        ----------
        shape : tuple of int
            Its shape.
        dtype : dtype
            Its number type.

        Returns
        -------
        array
            The array.
        """
        size = math.prod(shape)
        try:
            memory = self._free.popleft()
        except IndexError:
            memory = np.empty(size * dtype.itemsize, np.uint8)
        if memory.size < size * dtype.itemsize:
            memory = np.empty(size * dtype.itemsize, np.uint8)
        # All views of it refer to the array that is made of a buffer, so that this one goes last.
        owner = np.frombuffer(memory.data, dtype, size)
        weakref.finalize(owner, self._free.append, memory).atexit = False
        return owner.reshape(shape)
