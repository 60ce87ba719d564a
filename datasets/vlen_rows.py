"""Rows of variable length of an HDF5 file, read by position.

HDF5 makes an object of each row under a lock, and believes what the file says: an object of no size has it
walk in place for ever. Here each heap is walked over once, with care, and threads read rows side by side.
"""

from __future__ import annotations

import mmap
import os
import struct
import zlib
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from snntrace.datasets.files.contents import expect, read_at
from snntrace.datasets.handle import Handle
from snntrace.datasets.ragged import starts_of
from snntrace.datasets.scattered import read_places

REFERENCE = np.dtype([("length", "<u4"), ("heap", "<u8"), ("number", "<u4")])
"""What a table holds of a row: how many elements, and which object of which heap they are."""
HEADER, OBJECT = struct.Struct("<4sB3xQ"), struct.Struct("<HH4xQ")
MAGIC = b"GCOL"
LEAST_HEAP = 1 << 12
"""Bytes."""
UNKNOWN = -1
SHUFFLE, DEFLATE = h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_DEFLATE


class VlenRows:
    """The rows of a table.

    Parameters
    ----------
    file : h5py.File
        The open file.
    table : h5py.Dataset
        Of one axis and variable-length rows, or texts, whose elements are bytes.
    """

    def __init__(self, file: Any, table: Any) -> None:
        self._handle, self._table = Handle(os.dup(file.id.get_vfd_handle())), table
        self._size, self._base = int(file.id.get_filesize()), int(file.userblock_size)
        text = h5py.check_string_dtype(table.dtype) is not None
        self._element = np.dtype("u1" if text else h5py.check_vlen_dtype(table.dtype))
        if (sizes := file.id.get_create_plist().get_sizes()) != (8, 8):
            raise ValueError(f"places and sizes of {sizes} bytes in place of 8")
        # As they are in memory, with all of their bits in use.
        plain = text or table.id.get_type().get_super().equal(h5py.h5t.py_create(self._element))
        references = self._references() if plain else None
        self._by_hdf5 = references is None
        if self._by_hdf5:
            self._check_heaps()
        if references is not None:
            self._lengths, self._heaps = references["length"], references["heap"]
            self._numbers = references["number"]
            self._places = np.full(len(table), UNKNOWN, np.int64)
            self._order = np.argsort(self._heaps, kind="stable")
            self._sorted = self._heaps[self._order]

    def __getitem__(self, row: int) -> NDArray[Any]:
        """Return a row.

        Parameters
        ----------
        row : int
            Which.

        Returns
        -------
        array
            Its elements, as they are stored.

        Raises
        ------
        ValueError
            If the file does not hold it.
        """  # noqa: DOC502
        if self._by_hdf5:
            row_of_it = self._table[row]
            return np.frombuffer(row_of_it, "u1") if isinstance(row_of_it, bytes) else row_of_it
        length = int(self._lengths[row])
        if length == 0:
            return np.zeros(0, self._element)
        if self._places[row] == UNKNOWN:
            self._find(row)
        return np.frombuffer(
            self._read(length * self._element.itemsize, int(self._places[row])), self._element
        )

    def several(self, rows: list[int]) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Return rows.

        Parameters
        ----------
        rows : list of int
            Which.

        Returns
        -------
        elements : array
            Their elements, one row after the other.
        starts : int64 array of shape (n_rows + 1,)
            Where the elements of each start, and where the last ones end.

        Raises
        ------
        ValueError
            If the file does not hold one.
        """
        if self._by_hdf5:
            parts = [self[row] for row in rows]
            return np.concatenate([np.zeros(0, self._element), *parts]), starts_of(map(len, parts))
        which = np.asarray(rows, np.int64)
        starts = starts_of(self._lengths[which])
        empty = self._lengths[which] == 0
        for row in which[~empty & (self._places[which] == UNKNOWN)].tolist():
            self._find(row)
        places, width = np.where(empty, 0, self._places[which]), self._element.itemsize
        raw = np.empty(width * starts[-1], np.uint8)
        part = read_places(self._handle.number, places, width * starts, raw)
        if part < len(rows):
            raise ValueError(f"the end of the file in row {rows[part]}")
        return np.frombuffer(raw, self._element), starts

    def expect(self, rows: list[int]) -> None:
        """Have the system read rows side by side, which have not been read yet and soon will be.

        Parameters
        ----------
        rows : list of int
            Which.
        """
        if self._by_hdf5:
            return
        for row in rows:
            if self._places[row] == UNKNOWN and self._lengths[row]:
                size = int(self._lengths[row]) * self._element.itemsize + LEAST_HEAP
                left = self._size - (place := int(self._heaps[row]) + self._base)
                # Reading a row that is not in the file tells so.
                if left > 0:
                    expect(self._handle.number, place, min(size, left))

    def _references(self) -> NDArray[Any] | None:
        """Return what the table holds; None if it is laid out in a way that only HDF5 reads."""
        table, size = self._table, REFERENCE.itemsize
        found = np.zeros(len(table), REFERENCE)
        if table.chunks is None:
            start = table.id.get_offset()
            if start is None:
                return None if table.id.get_storage_size() else found
            found[:] = np.frombuffer(self._read(found.nbytes, int(start)), REFERENCE)
            return found
        plist, (step,) = table.id.get_create_plist(), table.chunks
        filters = [plist.get_filter(i)[0] for i in range(plist.get_nfilters())]
        if not {SHUFFLE, DEFLATE}.issuperset(filters):
            return None
        for start in range(0, len(table), step):
            if table.id.get_chunk_info_by_coord((start,)).byte_offset is not None:
                mask, packed = table.id.read_direct_chunk((start,))
                applied = [kind for i, kind in enumerate(filters) if not mask >> i & 1]
                raw = unfiltered(packed, applied, step * size, size)
                part = found[start : start + step]
                part[:] = np.frombuffer(raw, REFERENCE, len(part))
        return found

    def _read(self, size: int, place: int) -> bytes:
        raw = read_at(self._handle.number, size, place) if 0 <= place <= self._size - size else b""
        if len(raw) != size:
            raise ValueError(f"the end of the file in {size} bytes at byte {place}")
        return raw

    def _find(self, row: int) -> None:
        """Note where all rows of one row's heap are."""
        heap = self._heaps[row]
        first, last = np.searchsorted(self._sorted, heap), np.searchsorted(self._sorted, heap, "right")
        objects = self._walk(int(heap) + self._base)
        for other in self._order[first:last].tolist():
            place, size = objects.get(int(self._numbers[other]), (UNKNOWN, 0))
            if size == int(self._lengths[other]) * self._element.itemsize:
                self._places[other] = place
        if self._places[row] == UNKNOWN:
            raise ValueError(
                f"{self._lengths[row]} elements that are not object {self._numbers[row]} of the heap at byte "
                f"{int(heap) + self._base}"
            )

    def _check_heaps(self) -> None:
        """Walk over all heaps there are, for HDF5 will walk over whichever a row names."""
        with mmap.mmap(self._handle.number, 0, access=mmap.ACCESS_READ) as raw:
            heap = raw.find(MAGIC + b"\1")
            while heap >= 0:
                self._walk(heap)
                heap = raw.find(MAGIC + b"\1", heap + 1)

    def _walk(self, heap: int) -> dict[int, tuple[int, int]]:
        """Return where a heap's objects are, and their sizes, by their numbers."""
        magic, version, size = HEADER.unpack(self._read(HEADER.size, heap))
        if magic != MAGIC or version != 1 or size > self._size - heap:
            raise ValueError(f"{magic!r} of {size} bytes in place of a heap at byte {heap}")
        place, objects = HEADER.size, {}
        while size - place >= OBJECT.size:
            number, _, length = OBJECT.unpack(self._read(OBJECT.size, heap + place))
            # Number 0 is what is free, its own header included.
            step = OBJECT.size + length + -length % 8 if number else length
            if not OBJECT.size <= step <= size - place:
                raise ValueError(f"an object of {length} bytes at byte {heap + place} in a heap of {size}")
            objects[number] = heap + place + OBJECT.size, length
            place += step
        return objects


def unfiltered(packed: bytes, filters: list[int], length: int, itemsize: int) -> bytes:
    """Undo HDF5's filters.

    Parameters
    ----------
    packed : bytes
        A chunk as it is stored.
    filters : list of int
        What was done to it, in this order: shuffle or deflate.
    length : int
        Bytes of the chunk.
    itemsize : int
        Bytes of an element.

    Returns
    -------
    bytes
        The chunk.

    Raises
    ------
    ValueError
        If it is no such chunk.
    """
    for kind in reversed(filters):
        if kind == DEFLATE:
            try:
                packed = zlib.decompressobj().decompress(packed, length + 1)
            except zlib.error as error:
                raise ValueError(f"a damaged chunk ({error})") from error
        elif len(packed) == length:
            packed = np.frombuffer(packed, np.uint8).reshape(itemsize, -1).T.tobytes()
    if len(packed) != length:
        raise ValueError(f"a chunk of {len(packed)} bytes in place of {length}")
    return packed
