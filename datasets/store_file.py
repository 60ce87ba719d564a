"""The file of a spike store: opened through HDF5 once, then read block by block."""

from __future__ import annotations

import os
import threading
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from snntrace.datasets.files.contents import FLAGS, expect, mapped
from snntrace.datasets.files.limits import LIMITS
from snntrace.datasets.handle import Handle
from snntrace.datasets.hdf5 import FOREIGN, own_table
from snntrace.datasets.ragged import starts_of
from snntrace.datasets.scattered import read_places
from snntrace.datasets.store_layout import (
    AGAIN,
    FORMAT,
    TIMES,
    VERSION,
    WHO,
    StoreInfo,
    damaged,
)  # fmt: skip
from snntrace.datasets.store_packing import GROUP, PACKING

WORD, EVENT = 8, 16
"""Bytes, of an event in memory."""
MOST_TIMES = 150
"""How many times its size a file may become in memory: one bit an event, and none for its unit, is 120."""


class StoreFile:
    """An open store: its tables in memory, its events on disk.

    HDF5 is asked where everything is, and the file then closed and read by position: that is safe in several
    threads and after a fork, which an open HDF5 file is not. Copies made by pickle open the file again.

    Parameters
    ----------
    path : Path
        The file.

    Attributes
    ----------
    info : StoreInfo
        What it says of itself.
    splits : tuple of str
        Names of the official parts.
    tables : dict of arrays
        ``pointers`` and ``places`` int64 (n + 1), ``labels`` int64 (n), ``ends`` float64 (n), in s, ``sums``
        uint32 (n), and, where they are known, ``groups`` int64 (n) and ``splits`` uint8 (n).
    time_type : str
        How times are stored, a key of `TIMES`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        # For its errors: HDF5 says the same of a missing file and of a damaged one.
        size = mapped(path, WHO).size
        self._stamp = (0, 0)
        self._handle: Handle | None = None
        self._closed, self._opening = False, threading.Lock()
        self._open_handle()
        try:
            with h5py.File(path, "r", locking=False) as file:
                self._read(file, size)
        except FOREIGN as error:
            self.close()
            if str(error).startswith(WHO):
                raise
            damaged(path, "its structure", "the file must be a complete HDF5 file", error)
        except BaseException:
            self.close()
            raise

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without what belongs to this process.

        Returns
        -------
        dict
            The state.
        """
        own = {"_opening", "_verified"}
        state = {k: v for k, v in self.__dict__.items() if k not in own}
        return state | {"_handle": None, "_closed": False}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take the state of another object, and open the file again at first use.

        Parameters
        ----------
        state : dict
            The state.
        """
        self.__dict__ |= state
        self._opening = threading.Lock()
        self._verified = np.zeros(len(self), np.bool_)

    def __len__(self) -> int:
        """Return the number of recordings.

        Returns
        -------
        int
            The number.
        """
        return len(self.tables["labels"])

    def close(self) -> None:
        """Close the file when no thread reads it any more; doing so twice is allowed."""
        self._closed, self._handle = True, None

    def expect(self, rows: Sequence[int]) -> None:
        """Have the system read recordings side by side, which have not been read yet and soon will be.

        Parameters
        ----------
        rows : sequence of int
            Which.
        """
        handle, which, places = self._opened(), np.asarray(rows, np.int64), self.tables["places"]
        for row in which[~self._verified[which]].tolist():
            start, stop = places[row : row + 2].tolist()
            if stop > start:
                expect(handle.number, self._start + WORD * start, WORD * (stop - start))

    def words(self, rows: Sequence[int]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        """Return recordings as they are on disk.

        Parameters
        ----------
        rows : sequence of int
            Which.

        Returns
        -------
        words : uint64 array
            Their words, one recording after the other.
        starts : int64 array of shape (n_rows + 1,)
            Where the words of each start, and where the last ones end.
        """
        handle, which, table = self._opened(), np.asarray(rows, np.int64), self.tables["places"]
        first = table[which]
        starts = starts_of(table[which + 1] - first)
        words = np.empty(starts[-1], "<u8")
        part = read_places(handle.number, self._start + WORD * first, WORD * starts, words.view(np.uint8))
        if part < len(which):
            got = f"the end of the file in {WORD * (starts[part + 1] - starts[part])} bytes"
            self._refuse(rows[part], "recordings must be whole", got)
        # Once: later reads of a file that has not changed take a third less so.
        for part in () if self._verified[which].all() else np.flatnonzero(~self._verified[which]).tolist():
            if zlib.crc32(words[starts[part] : starts[part + 1]].data) != self.tables["sums"][rows[part]]:
                must = "recordings must have the checksum that was written with them"
                self._refuse(rows[part], must, "another one")
            self._verified[rows[part]] = True
        return words, starts

    def _refuse(self, row: int, must: str, got: str) -> None:
        place = self._start + WORD * int(self.tables["places"][row])
        damaged(self.path, f"byte {place} (recording {row})", must, got)

    def _opened(self) -> Handle:
        handle = self._handle
        if handle is None and not self._closed:
            with self._opening:
                # Another thread may have opened it meanwhile.
                handle = self._handle or self._open_handle()
        if handle is None or self._closed:
            raise ValueError(f"{WHO}: the file must be open, got the closed {self.path}. Make a new {WHO}.")
        return handle

    def _open_handle(self) -> Handle:
        handle = Handle(os.open(self.path, FLAGS))
        status = os.fstat(handle.number)
        stamp = (status.st_size, status.st_mtime_ns)
        if self._stamp not in {(0, 0), stamp}:
            damaged(
                self.path, "its end", "the file must be the one that was opened first", "a changed file",
                "Make a new SpikeStore.",
            )  # fmt: skip
        self._handle, self._stamp = handle, stamp
        return handle

    def _read(self, file: Any, size: int) -> None:
        self._check_version(file)
        table = self._dataset(file, "metadata")
        if table.shape != () or table.dtype.kind != "S" or table.dtype.itemsize > size:
            damaged(self.path, "/metadata", "metadata must be one text", f"{table.dtype} {table.shape}")
        text = bytes(table[()])
        self._check_sum(table, text.ljust(table.dtype.itemsize, b"\0"))
        self.info, self.splits = StoreInfo.from_json(text)
        self.tables = self._tables(file, size)
        n_words = self._read_events(file, size)
        self._check_tables(n_words)
        self._verified = np.zeros(len(self), np.bool_)

    def _check_version(self, file: Any) -> None:
        found, version = file.attrs.get("format"), file.attrs.get("version")
        if found is None or bytes(found) != FORMAT.encode():
            damaged(
                self.path, "/", f"the file must be of the format {FORMAT}", found,
                "Convert other data with `snntrace data convert`.",
            )  # fmt: skip
        if version != VERSION:
            damaged(
                self.path, "/", f"the format's version must be {VERSION}", version,
                "Read it with the release of snntrace that wrote it, or a later one.",
            )  # fmt: skip

    def _dataset(self, file: Any, name: str) -> Any:
        table = own_table(file, name, WHO, self.path)
        if table is None:
            damaged(self.path, f"/{name}", "the file must have all of its tables", "none")
        return table

    def _check_sum(self, table: Any, data: bytes) -> None:
        if table.attrs.get("crc32") != zlib.crc32(data):
            damaged(self.path, table.name, "tables must have the checksum that was written", "another one")

    def _table(self, file: Any, name: str, dtype: str, size: int) -> NDArray[Any]:
        table = self._dataset(file, name)
        if table.dtype != np.dtype(dtype) or table.ndim != 1 or table.nbytes > size or table.chunks:
            got = f"{table.dtype} {table.shape}{' in chunks' if table.chunks else ''}"
            damaged(self.path, table.name, f"the table must be a list of {dtype}", got)
        found: NDArray[Any] = table[:]
        self._check_sum(table, found.tobytes())
        return found

    def _tables(self, file: Any, size: int) -> dict[str, NDArray[Any]]:
        kinds = {"pointers": "<i8", "places": "<i8", "labels": "<i8", "ends": "<f8", "sums": "<u4"}
        self._dataset(file, "recordings/labels")
        kinds |= {
            name: kind for name, kind in (("groups", "<i8"), ("splits", "<u1")) if name in file["recordings"]
        }
        tables = {name: self._table(file, f"recordings/{name}", kind, size) for name, kind in kinds.items()}
        for table in tables.values():
            table.setflags(write=False)
        return tables

    def _read_events(self, file: Any, size: int) -> int:
        """Note where the events are and how they are packed; return the number of their words."""
        table = self._dataset(file, "events")
        packing, kind = (bytes(table.attrs.get(name, b"")).decode() for name in ("packing", "times"))
        if packing != PACKING:
            damaged(self.path, "/events", f"events must be packed as {PACKING!r}", repr(packing))
        if kind not in TIMES:
            damaged(self.path, "/events", f"times must be of a known type ({', '.join(TIMES)})", repr(kind))
        self.time_type = kind
        if table.dtype != np.dtype("<u8") or table.ndim != 1 or table.chunks:
            got = f"{table.dtype} {table.shape}{' in chunks' if table.chunks else ''}"
            damaged(self.path, "/events", "events must be a list of <u8", got)
        self._start = int(table.id.get_offset() or 0)
        if table.nbytes and not 0 < self._start <= size - table.nbytes:
            got = f"{table.nbytes} bytes at byte {self._start}"
            damaged(self.path, "/events", f"events must be in the file's {size} bytes", got)
        return int(table.size)

    def _check_tables(self, n_words: int) -> None:
        n = len(self)
        if n == 0:
            damaged(self.path, "/recordings", "there must be at least one recording", "none")
        for name, last in (("places", n_words), ("pointers", None)):
            table = self.tables[name]
            last = table[-1] if last is None and table.size else last
            if table.size != n + 1 or table[0] != 0 or table[-1] != last:
                got = f"{table.size} of them, {table[:1]} to {table[-1:]}"
                must = f"{name} must be {n + 1} numbers from 0 to {last}"
                damaged(self.path, f"/recordings/{name}", must, got)
            # Not by differences, which may not fit an integer.
            falls = table[1:] < table[:-1]
            if falls.any():
                row = int(np.argmax(falls))
                damaged(self.path, f"/recordings/{name}[{row}]", f"{name} must not go backwards", "a fall")
        self._check_sizes()
        limits = {"labels": len(self.info.class_names), "splits": len(self.splits)}
        for name, table in self.tables.items():
            if name not in {"pointers", "places"} and table.size != n:
                damaged(self.path, f"/recordings/{name}", f"there must be {n} entries", table.size)
            if name in limits and not (table.min() >= 0 and table.max() < limits[name]):
                row = int(np.argmax((table < 0) | (table >= limits[name])))
                must = f"entries must be in 0 .. {limits[name] - 1}"
                damaged(self.path, f"/recordings/{name}[{row}]", must, table[row])
        ends = self.tables["ends"]
        if not (np.isfinite(ends).all() and ends.min() >= 0):
            row = int(np.argmin(np.isfinite(ends) & (ends >= 0)))
            must = "times must be finite and not negative"
            damaged(self.path, f"/recordings/ends[{row}]", must, ends[row], AGAIN)

    def _check_sizes(self) -> None:
        """Refuse a recording that asks for more memory than its words, or the file, can fill."""
        # A group of events has two widths.
        counts, size = np.diff(self.tables["pointers"]), self._stamp[0]
        short = -(-2 * -(-counts // GROUP) // WORD) > np.diff(self.tables["places"])
        if short.any():
            row = int(short.argmax())
            got = f"{self.tables['pointers'][row : row + 2]}"
            damaged(self.path, f"/recordings/pointers[{row}]", "recordings must fit their words", got)
        # Of no bits an event, which few files have, that would still be 2,000 times the file.
        if EVENT * counts.max() > max(LIMITS.spared, MOST_TIMES * size):
            row = int(counts.argmax())
            must = f"recordings must be of a size that a file of {size} bytes can hold"
            damaged(self.path, f"/recordings/pointers[{row}]", must, f"{counts[row]} events")
