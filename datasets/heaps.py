"""The heaps that HDF5 keeps rows of variable length in, checked before the library walks over them."""

from __future__ import annotations

import os
import struct
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

REFERENCE, HEADER = struct.Struct("<IQI"), struct.Struct("<4sB3xQ")
OBJECT = struct.Struct("<HH4xQ")
MAGIC = b"GCOL"


class Heaps:
    """Which heaps of a file have been looked at.

    A row of variable length is a length, the place of a heap and a number in it. A heap is a list of objects,
    each with its size. HDF5 believes these: a size of 0 has it walk in place for ever, and too large a length
    has it read on after the object.

    Parameters
    ----------
    file : h5py.File
        The open file.
    """

    def __init__(self, file: Any) -> None:
        self._handle = int(file.id.get_vfd_handle())
        self._size = int(file.id.get_filesize())
        self._sizes: dict[int, dict[int, int]] = {}
        self._whole: dict[str, NDArray[np.bool_]] = {}
        # Elsewhere than in such files places and sizes have other widths, or do not count from the start.
        self._known = file.id.get_create_plist().get_sizes() == (8, 8) and file.userblock_size == 0

    def check(self, table: Any, rows: slice | NDArray[np.int64]) -> None:
        """Refuse rows of which the heap is damaged; each is looked at once.

        Parameters
        ----------
        table : h5py.Dataset
            Of variable-length rows. Of one that is compressed, the references cannot be looked at.
        rows : slice, or int64 array of shape (n_rows,)
            Which ones.

        Raises
        ------
        ValueError
            If a heap does not consist of whole objects, or has no such one.
        """
        if not self._known or table.id.get_create_plist().get_nfilters():
            return
        whole = self._whole.setdefault(table.name, np.zeros(len(table), np.bool_))
        if whole[rows].all():
            return
        element = np.dtype(h5py.check_vlen_dtype(table.dtype)).itemsize
        for row in np.arange(len(table))[rows].tolist():
            place = place_of(table, row)
            if place is None:
                continue
            length, heap, number = REFERENCE.unpack(self._read(REFERENCE.size, place))
            if length == 0:
                continue
            if heap not in self._sizes:
                self._sizes[heap] = self._walk(heap)
            size = self._sizes[heap].get(number, 0)
            if size != length * element:
                raise ValueError(f"{length} elements at byte {place}, for an object of {size} bytes")
        whole[rows] = True

    def _read(self, size: int, place: int) -> bytes:
        raw = os.pread(self._handle, size, place) if place < self._size else b""
        if len(raw) != size:
            raise ValueError(f"the end of the file at byte {place}")
        return raw

    def _walk(self, heap: int) -> dict[int, int]:
        """Return the sizes of a heap's objects by their numbers."""
        magic, version, size = HEADER.unpack(self._read(HEADER.size, heap))
        if magic != MAGIC or version != 1 or size > self._size - heap:
            raise ValueError(f"{magic!r} of {size} bytes in place of a heap at byte {heap}")
        place, sizes = HEADER.size, {}
        while size - place >= OBJECT.size:
            number, _, length = OBJECT.unpack(self._read(OBJECT.size, heap + place))
            # Number 0 is what is free, its own header included.
            step = OBJECT.size + length + -length % 8 if number else length
            if not OBJECT.size <= step <= size - place:
                raise ValueError(f"an object of {length} bytes at byte {heap + place} in a heap of {size}")
            sizes[number] = length
            place += step
        return sizes


def place_of(table: Any, row: int) -> int | None:
    """Return where in the file the reference of a row is.

    Parameters
    ----------
    table : h5py.Dataset
        Not compressed, of one axis.
    row : int
        Which.

    Returns
    -------
    int or None
        The byte; None where nothing has been written.
    """
    if table.chunks is None:
        start = table.id.get_offset()
        return None if start is None else int(start) + row * REFERENCE.size
    chunk = row // table.chunks[0]
    info = table.id.get_chunk_info_by_coord((chunk * table.chunks[0],))
    if info.byte_offset is None or info.size < table.chunks[0] * REFERENCE.size:
        return None
    return int(info.byte_offset) + row % int(table.chunks[0]) * REFERENCE.size
