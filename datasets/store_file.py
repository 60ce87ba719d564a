"""The file of a spike store: opened through HDF5 once, then read block by block."""

from __future__ import annotations

import os
import weakref
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from snntrace.datasets.files.contents import FLAGS, mapped
from snntrace.datasets.hdf5 import FOREIGN, own_table
from snntrace.datasets.store_layout import (
    AGAIN,
    BLOCKS,
    COLUMNS,
    FORMAT,
    TIMES,
    VERSION,
    WHO,
    StoreInfo,
    damaged,
    units_type,
    unpack,
)  # fmt: skip

Place = tuple[str, int]
GAP = 1 << 13
"""Bytes between two blocks that are read rather than passed over, which takes a second call."""


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
        ``pointers`` int64 (n + 1), ``labels`` int64 (n), ``ends`` float64 (n), in s, and, where they are
        known, ``groups`` int64 (n) and ``splits`` uint8 (n).
    block : int
        Events of a block.
    time_type : str
        How times are stored, a key of `TIMES`.
    level : int
        Compression, 0 to 9.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        # For its errors: HDF5 says the same of a missing file and of a damaged one.
        size = mapped(path, WHO).size
        self._stamp = (0, 0)
        self._recent: dict[Place, NDArray[Any]] = {}
        self._handle = -1
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
        return {k: v for k, v in self.__dict__.items() if k not in {"_closer", "_recent", "_verified"}} | {
            "_handle": -1
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take the state of another object, and open the file again at first use.

        Parameters
        ----------
        state : dict
            The state.
        """
        self.__dict__ |= state
        self._forget()

    def __len__(self) -> int:
        """Return the number of recordings.

        Returns
        -------
        int
            The number.
        """
        return len(self.tables["labels"])

    def close(self) -> None:
        """Close the file; doing so twice is allowed."""
        if self._handle >= 0:
            self._closer()
        self._handle = -2

    def stored(self, wanted: Sequence[Place]) -> dict[Place, bytes]:
        """Return blocks as they are on disk, those that lie side by side in one read.

        Parameters
        ----------
        wanted : sequence of (column, number)
            Which blocks.

        Returns
        -------
        dict of bytes
            The blocks.

        Raises
        ------
        ValueError
            If the file is closed.
        """
        if self._handle == -2:
            raise ValueError(f"{WHO}: the file must be open, got the closed {self.path}. Make a new {WHO}.")
        if self._handle < 0:
            self._open_handle()
        found: dict[Place, bytes] = {}
        places = sorted((*self._places[column][number], column, number) for column, number in wanted)
        begin = 0
        for end in range(1, len(places) + 1):
            if end == len(places) or places[end][0] > sum(places[end - 1][:2]) + GAP:
                self._read_span(places[begin:end], found)
                begin = end
        return found

    def blocks(self, wanted: Sequence[Place]) -> dict[Place, NDArray[Any]]:
        """Return the elements of blocks.

        Parameters
        ----------
        wanted : sequence of (column, number)
            Which blocks.

        Returns
        -------
        dict of arrays of shape (block,)
            As they are stored.
        """
        # One look and one assignment: threads may share the object.
        recent = self._recent
        kept = {place: recent[place] for place in wanted if place in recent}
        for place, data in self.stored([place for place in wanted if place not in kept]).items():
            column, number = place
            try:
                kept[place] = unpack(data, self._types[column], self.block, self._packed[column])
            except ValueError as error:
                where = f"block {number} of /events/{column}"
                damaged(self.path, where, "blocks must be what shuffle and deflate give", error)
        self._recent = {place: kept[place] for place in list(wanted)[-2:]}
        return kept

    def _read_span(self, span: Sequence[tuple[int, int, str, int]], found: dict[Place, bytes]) -> None:
        first = span[0][0]
        data = os.pread(self._handle, sum(span[-1][:2]) - first, first)
        for start, length, column, number in span:
            block = data[start - first : start - first + length]
            seen = self._verified[column]
            # Once: later reads of a file that has not changed cost a third less so.
            if len(block) != length or not (seen[number] or zlib.crc32(block) == self._sums[column][number]):
                damaged(
                    self.path, f"byte {start} (block {number} of /events/{column})",
                    "blocks must have the checksum that was written with them", "another one",
                )  # fmt: skip
            seen[number] = True
            found[column, number] = block

    def _forget(self) -> None:
        self._recent = {}
        self._verified = {name: np.zeros(len(sums), np.bool_) for name, sums in self._sums.items()}

    def _open_handle(self) -> None:
        handle = os.open(self.path, FLAGS)
        self._closer = weakref.finalize(self, os.close, handle)
        status = os.fstat(handle)
        stamp = (status.st_size, status.st_mtime_ns)
        if self._stamp not in {(0, 0), stamp}:
            self._closer()
            damaged(
                self.path, "its end", "the file must be the one that was opened first", "a changed file",
                "Make a new SpikeStore.",
            )  # fmt: skip
        self._handle, self._stamp = handle, stamp

    def _read(self, file: Any, size: int) -> None:
        self._check_version(file)
        table = self._dataset(file, "metadata")
        if table.shape != () or table.dtype.kind != "S" or table.dtype.itemsize > size:
            damaged(self.path, "/metadata", "metadata must be one text", f"{table.dtype} {table.shape}")
        text = bytes(table[()])
        self._check_sum(table, text.ljust(table.dtype.itemsize, b"\0"))
        self.info, self.splits = StoreInfo.from_json(text)
        self.tables = self._tables(file, size)
        self._read_columns(file, size)
        self._check_tables()

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
        kinds = {"pointers": "<i8", "labels": "<i8", "ends": "<f8"}
        self._dataset(file, "recordings/labels")
        kinds |= {
            name: kind for name, kind in (("groups", "<i8"), ("splits", "<u1")) if name in file["recordings"]
        }
        tables = {name: self._table(file, f"recordings/{name}", kind, size) for name, kind in kinds.items()}
        for table in tables.values():
            table.setflags(write=False)
        return tables

    def _read_columns(self, file: Any, size: int) -> None:
        columns = {name: self._dataset(file, f"events/{name}") for name in COLUMNS}
        seconds = columns["times"].attrs.get("seconds")
        dtype = columns["times"].dtype
        kinds = [kind for kind, known in TIMES.items() if known == (dtype, seconds)]
        if not kinds:
            damaged(
                self.path, "/events/times", f"times must be of a known type ({', '.join(TIMES)})",
                f"{dtype} in units of {seconds} s",
            )  # fmt: skip
        self.time_type = kinds[0]
        if columns["units"].dtype != units_type(self.info.n_units):
            must = f"units must be {units_type(self.info.n_units)}"
            damaged(self.path, "/events/units", must, columns["units"].dtype)
        self._types = {name: table.dtype for name, table in columns.items()}
        self._places, self._sums, self._packed = {}, {}, {}
        total, self.block = columns["units"].shape, 0
        for name, table in columns.items():
            chunks = table.chunks
            if chunks is None or len(chunks) != 1 or not BLOCKS[0] <= chunks[0] <= BLOCKS[1]:
                damaged(self.path, table.name, "events must be in blocks", f"chunks={chunks}")
            if table.shape != total or chunks[0] != (self.block or chunks[0]):
                damaged(
                    self.path, table.name, "units and times must be equally many, in equal blocks",
                    f"{table.shape} in {chunks} and {total} in {self.block}",
                )  # fmt: skip
            self.block = chunks[0]
            self.level = self._level(table)
            self._packed[name] = self.level > 0
            self._places[name] = [(int(start), int(length)) for start, length in self._blocks(table, size)]
            self._sums[name] = self._table(file, f"blocks/{name}", "<u4", size)
            if len(self._sums[name]) != len(self._places[name]):
                must = f"there must be {len(self._places[name])} checksums"
                damaged(self.path, f"/blocks/{name}", must, len(self._sums[name]))
        self.n_events = int(total[0])
        self._forget()

    def _level(self, table: Any) -> int:
        plist = table.id.get_create_plist()
        filters = [plist.get_filter(i) for i in range(plist.get_nfilters())]
        names = [name for name, *_ in filters]
        if names not in ([], [h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_DEFLATE]):
            damaged(
                self.path, table.name, "blocks must be plain, or shuffled and deflated", f"filters {names}"
            )
        return int(filters[1][2][0]) if filters else 0

    def _blocks(self, table: Any, size: int) -> NDArray[np.int64]:
        """Return where each block starts and how many bytes it has."""
        number = -(-table.shape[0] // self.block)
        places = np.full((number, 2), -1, np.int64)

        def note(found: Any) -> None:
            index = found.chunk_offset[0] // self.block
            if found.filter_mask == 0 and 0 <= index < number and found.byte_offset is not None:
                places[index] = found.byte_offset, found.size

        if hasattr(table.id, "chunk_iter"):
            table.id.chunk_iter(note)
        else:
            for i in range(table.id.get_num_chunks()):
                note(table.id.get_chunk_info(i))
        wrong = (places[:, 1] <= 0) | (places[:, 0] < 0) | (places.sum(1) > size)
        if wrong.any():
            got = f"block {int(wrong.argmax())} outside"
            damaged(self.path, table.name, f"all blocks must be in the file's {size} bytes", got)
        return places

    def _check_tables(self) -> None:
        pointers, n = self.tables["pointers"], len(self)
        if n == 0:
            damaged(self.path, "/recordings", "there must be at least one recording", "none")
        if pointers.size != n + 1 or pointers[0] != 0 or pointers[-1] != self.n_events:
            got = f"{pointers.size} pointers, {pointers[:1]} to {pointers[-1:]}"
            must = f"pointers must go from 0 to {self.n_events} for {n} recordings"
            damaged(self.path, "/recordings/pointers", must, got)
        if (np.diff(pointers) < 0).any():
            row = int(np.argmax(np.diff(pointers) < 0))
            damaged(self.path, f"/recordings/pointers[{row}]", "pointers must not go backwards", "a fall")
        limits = {"labels": len(self.info.class_names), "splits": len(self.splits)}
        for name, table in self.tables.items():
            if name != "pointers" and table.size != n:
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
