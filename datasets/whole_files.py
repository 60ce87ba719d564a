"""Read many small files in one call, which holds no lock of Python's while it does."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import types
from numpy.typing import NDArray

from snntrace.datasets.files.contents import FLAGS
from snntrace.datasets.scattered import AT_ONCE, pread
from snntrace.events.rows import compiled

LARGEST = 1 << 24
"""Bytes; one that is larger takes its time to read, whoever calls."""
USUAL = 1 << 15
"""Bytes of a file for which there is room at first."""
END = 2

open_file = types.ExternalFunction("open", types.intc(types.uintp, types.intc))
close_file = types.ExternalFunction("close", types.intc(types.intc))
seek = types.ExternalFunction("lseek", types.int64(types.intc, types.int64, types.intc))


@compiled
def read_files(names: Any, n: int) -> Any:
    """Read files, named one after the other; return how many could be, their bytes and where each starts."""
    starts, room = np.zeros(n + 1, np.int64), np.empty(n * USUAL, np.uint8)
    place = 0
    for file in range(n):
        handle = open_file(np.uintp(names.ctypes.data + place), np.int32(FLAGS))
        if handle < 0:
            return file, room, starts
        # What has no end, such as a pipe, is no file.
        start, size = starts[file], seek(handle, np.int64(0), np.int32(END))
        whole = 0 < size <= LARGEST
        if whole:
            if start + size > room.size:
                larger = np.empty(2 * (start + size), np.uint8)
                larger[:start] = room[:start]
                room = larger
            to = np.uintp(room.ctypes.data + start)
            whole = pread(handle, to, np.uintp(size), np.int64(0)) == size
        close_file(handle)
        if not whole:
            return file, room, starts
        starts[file + 1] = start + size
        while names[place]:
            place += 1
        place += 1
    return n, room, starts


def names_of(paths: Sequence[str]) -> NDArray[np.uint8] | None:
    r"""Return names of files as `read_files` takes them.

    Parameters
    ----------
    paths : sequence of str
        The files.

    Returns
    -------
    uint8 array, or None
        Their bytes, each name with a zero after it; None where the system has no such calls, or a name has a
        zero in it.

    Examples
    --------
    >>> names_of(["a", "bc"]).tobytes()
    b'a\x00bc\x00'
    """
    names = b"\0".join([*map(os.fsencode, paths), b""])
    return np.frombuffer(names, np.uint8) if AT_ONCE and names.count(b"\0") == len(paths) else None
