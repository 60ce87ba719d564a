"""Read many places of an open file in one call, which holds no lock of Python's while it does.

After each call of its own a thread waits until another one lets it go on, longer than a small read takes.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import numpy as np
from numba import types
from numpy.typing import NDArray

from snntrace.datasets.files.contents import read_at
from snntrace.events.rows import compiled

AT_ONCE = hasattr(os, "pread") and sys.maxsize > 1 << 32
"""Whether the system has the call, with places of 64 bits."""

pread = types.ExternalFunction("pread", types.intp(types.intc, types.uintp, types.uintp, types.int64))


@compiled
def read_each(handle: int, places: Any, starts: Any, found: Any) -> int:
    """Read bytes from each place; return the first part that one call did not read as a whole."""
    for part in range(places.size):
        start, size = starts[part], starts[part + 1] - starts[part]
        to = np.uintp(found.ctypes.data + start)
        if pread(np.int32(handle), to, np.uintp(size), places[part]) != size:
            return part
    return int(places.size)


def read_places(
    handle: int, places: NDArray[np.int64], starts: NDArray[np.int64], found: NDArray[np.uint8]
) -> int:
    """Read parts of a file, one after the other into an array.

    Parameters
    ----------
    handle : int
        The open file.
    places : int64 array of shape (n,), in bytes
        Where in the file each part starts.
    starts : int64 array of shape (n + 1,), in bytes
        Where in `found` each part starts, and where the last one ends.
    found : uint8 array
        Is written to.

    Returns
    -------
    int
        The first part that the file does not hold as a whole; the number of parts if it holds all.

    Raises
    ------
    OSError
        If the file cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> found = np.zeros(4, np.uint8)
    >>> with tempfile.TemporaryFile() as file:
    ...     _, _ = file.write(b"Hodgkin, Huxley"), file.flush()
    ...     n = read_places(file.fileno(), np.array([0, 9]), np.array([0, 1, 4]), found)
    >>> n, found.tobytes()
    (2, b'HHux')
    """  # noqa: DOC502
    first = read_each(handle, places, starts, found) if AT_ONCE else 0
    # Once more, for what stopped it: an error has its own message.
    for part in range(first, len(places)):
        start, stop = int(starts[part]), int(starts[part + 1])
        data = read_at(handle, stop - start, int(places[part]))
        if len(data) != stop - start:
            return part
        found[start:stop] = np.frombuffer(data, np.uint8)
    return len(places)
