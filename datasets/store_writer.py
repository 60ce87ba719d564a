"""Write a spike store: recording by recording, and visible only when it is complete."""

from __future__ import annotations

import contextlib
import os
import secrets
import zlib
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import ArrayLike, NDArray

from snntrace.datasets.hdf5 import OURS, reason
from snntrace.datasets.store_file import StoreFile
from snntrace.datasets.store_layout import (
    BLOCKS,
    COLUMNS,
    FORMAT,
    TIMES,
    VERSION,
    StoreInfo,
    encode_times,
    pack,
    units_type,
)  # fmt: skip

WHO = "StoreWriter"
LEVEL = 4
BLOCK = 1 << 12


class InexactTimes(ValueError):
    """A time cannot be stored as it is in the chosen type."""


class StoreWriter:
    """Write recordings to a spike store.

    The file gets its name when it is complete: until `finish` it has a hidden name that ends in ``.part``,
    which no reader takes for a store. Used as a context manager, the writer finishes at the end of the block,
    and removes what it wrote if the block ends in an error.

    Parameters
    ----------
    path : str or Path
        The file to make.
    info : StoreInfo
        Units, classes, source.
    time_type : {'float64', 'float32', 'us', 'float16'}, default 'float64'
        How times are stored; ``'us'`` are whole microseconds. A time that would be changed is refused.
    level : int, default 4
        Compression, 1 to 9; 0 for none, which is read several times as fast.
    block : int, default 4096
        Events of a block. A recording is read by reading its blocks, so it should be shorter than most.
    sort : bool, default False
        Sort the events of each recording by time, in place of refusing times that decrease.
    allow_empty : bool, default False
        Take recordings without events.
    overwrite : bool, default False
        Replace an existing file.

    Raises
    ------
    FileExistsError
        If there is such a file.
    FileNotFoundError
        If there is no such folder.
    ValueError
        If an argument is out of range.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from snntrace.datasets import SpikeStore, StoreInfo, StoreWriter
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "one.spikes"
    >>> with StoreWriter(path, StoreInfo(3, ("left", "right")), time_type="us") as writer:
    ...     writer.append([0.000012, 0.5], [2, 0], label=1, group=7, split="train")
    >>> SpikeStore(path).groups
    array([7])
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        info: StoreInfo,
        *,
        time_type: str = "float64",
        level: int = LEVEL,
        block: int = BLOCK,
        sort: bool = False,
        allow_empty: bool = False,
        overwrite: bool = False,
    ) -> None:
        self.path = Path(path).expanduser()
        self.info = info
        self.sort, self.allow_empty, self.overwrite = sort, allow_empty, overwrite
        if time_type not in TIMES:
            raise ValueError(
                f"{WHO}: time_type must be one of {tuple(TIMES)}, got time_type={time_type!r}. Choose one."
            )
        if not (0 <= level <= 9 and BLOCKS[0] <= block <= BLOCKS[1]):
            raise ValueError(
                f"{WHO}: level must be in 0 .. 9 and block in {BLOCKS[0]} .. {BLOCKS[1]}, got level={level} "
                f"and block={block}. Leave them out."
            )
        self._check_free()
        if not self.path.parent.is_dir():
            raise FileNotFoundError(
                f"{WHO}: path must be in an existing folder, got path={self.path}. Make the folder first."
            )
        self.time_type, self.level, self.block = time_type, level, block
        self._pending: dict[str, list[NDArray[Any]]] = {name: [] for name in COLUMNS}
        self._waiting = self._n_events = self._n_blocks = 0
        self._sums: dict[str, list[int]] = {name: [] for name in COLUMNS}
        self._rows: dict[str, list[Any]] = {"ends": [], "sizes": [], "labels": [], "groups": [], "splits": []}
        self._temporary = self.path.with_name(f".{self.path.name}-{secrets.token_hex(4)}.part")
        self._file: Any = None
        self._open()

    @classmethod
    def extending(
        cls, path: str | os.PathLike[str], *, sort: bool = False, allow_empty: bool = False
    ) -> Self:
        """Return a writer that adds recordings to an existing store.

        What is there is copied; the file stays as it is until `finish`.

        Parameters
        ----------
        path : str or Path
            The store.
        sort, allow_empty : bool, default False
            As for a new one.

        Returns
        -------
        StoreWriter
            The writer.
        """
        old = StoreFile(Path(path).expanduser())
        writer = cls(
            old.path, old.info, time_type=old.time_type, level=old.level, block=old.block, sort=sort,
            allow_empty=allow_empty, overwrite=True,
        )  # fmt: skip
        try:
            writer._take(old)
        except BaseException:
            writer.abort()
            raise
        finally:
            old.close()
        return writer

    def __enter__(self) -> Self:
        """Return the writer itself.

        Returns
        -------
        StoreWriter
            This writer.
        """
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish, or remove what was written if there was an error."""
        if kind is None:
            self.finish()
        else:
            self.abort()

    def append(
        self,
        times: ArrayLike,
        units: ArrayLike,
        label: int,
        *,
        group: int | None = None,
        split: str | None = None,
    ) -> None:
        """Add a recording.

        Parameters
        ----------
        times : array of shape (n_events,), in s
            When; ascending, unless the writer sorts.
        units : int array of shape (n_events,)
            Which unit.
        label : int
            Its class.
        group : int, optional
            Its speaker or subject; for all recordings or none.
        split : str, optional
            Its official part; for all recordings or none.

        Raises
        ------
        TypeError
            If the units are not integers.
        ValueError
            If the events or the label cannot be, or the writer is closed.
        """  # noqa: DOC501
        if self._file is None:
            raise ValueError(
                f"{WHO}: the writer must be open, got a closed one for {self.path}. Make a new one."
            )
        when, where = self._checked(times, units)
        if not 0 <= label < len(self.info.class_names):
            self._refuse(f"label must be in 0 .. {len(self.info.class_names) - 1}", f"label={label}")
        for name, value in (("groups", group), ("splits", split)):
            kept = self._rows[name]
            if kept and (kept[0] is None) != (value is None):
                self._refuse(f"{name} must be given for all recordings or for none", f"{name[:-1]}={value!r}")
        stored = encode_times(when, self.time_type)
        if stored is None:
            raise InexactTimes(
                f"{WHO}: times of recording {len(self._rows['labels'])} must be storable as {self.time_type} "
                f"without a change, got others for {self.path}. Take another time_type; 'float64' takes all."
            )
        row = when[-1] if when.size else 0.0, when.size, int(label), group, split
        for name, entry in zip(self._rows, row, strict=True):
            self._rows[name].append(entry)
        self._push("units", where.astype(units_type(self.info.n_units)))
        self._push("times", stored)
        self._waiting += when.size
        if self._waiting >= self.block:
            self._flush()

    def finish(self) -> Path:
        """Complete the file and give it its name.

        Returns
        -------
        Path
            The file.

        Raises
        ------
        ValueError
            If there is no recording, or the writer is closed.
        OSError
            If it cannot be written.
        """  # noqa: DOC501
        if self._file is None:
            raise ValueError(
                f"{WHO}: the writer must be open, got a closed one for {self.path}. Make a new one."
            )
        try:
            if not self._rows["labels"]:
                raise ValueError(
                    f"{WHO}: there must be at least one recording, got none for {self.path}. Append some."
                )
            self._write_rest()
            self._check_free()
            self._temporary.replace(self.path)
        except (OSError, RuntimeError) as error:
            self.abort()
            if OURS.match(str(error)):
                raise
            raise self._unwritable(error) from error
        except BaseException:
            self.abort()
            raise
        return self.path

    def abort(self) -> None:
        """Remove what was written; nothing happens after `finish`."""
        if self._file is not None:
            # On a full disk HDF5 cannot write what it still holds, which is not wanted either.
            with contextlib.suppress(OSError, RuntimeError, ValueError):
                self._file.close()
            self._file = None
        self._temporary.unlink(missing_ok=True)

    def _open(self) -> None:
        filters: dict[str, Any] = {"compression": self.level, "shuffle": True} if self.level else {}
        types = {"units": units_type(self.info.n_units), "times": TIMES[self.time_type][0]}
        try:
            # The latest version of the format has checksums on everything that HDF5 itself writes.
            self._file = h5py.File(self._temporary, "x", libver=("v110", "v110"))
            self._columns = {
                name: self._file.create_dataset(
                    f"events/{name}", (0,), types[name], chunks=(self.block,), maxshape=(None,), **filters
                )
                for name in COLUMNS
            }
            self._columns["times"].attrs["seconds"] = TIMES[self.time_type][1]
        except (OSError, RuntimeError) as error:
            self.abort()
            raise self._unwritable(error) from error

    def _checked(self, times: ArrayLike, units: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        when, where = np.asarray(times).astype(np.float64), np.asarray(units)
        if where.size and where.dtype.kind not in "iu":
            raise TypeError(
                f"{WHO}: units must be integers, got dtype={where.dtype}. Convert them with .astype(int)."
            )
        if when.ndim != 1 or when.shape != where.shape:
            self._refuse("times and units must be lists of one length", f"{when.shape} and {where.shape}")
        if when.size == 0:
            if not self.allow_empty:
                self._refuse("recordings must have events", "none", "Leave it out, or give allow_empty=True.")
            return when, where.astype(np.int64)
        possible = np.isfinite(when) & (when >= 0)
        if not possible.all():
            at = int(np.argmin(possible))
            self._refuse("times must be finite and not negative", f"time={when[at]} at event {at}")
        if int(where.min()) < 0 or int(where.max()) >= self.info.n_units:
            at = int(np.argmax((where < 0) | (where >= self.info.n_units)))
            self._refuse(f"units must be in 0 .. {self.info.n_units - 1}", f"unit={where[at]} at event {at}")
        falls = when[1:] < when[:-1]
        if falls.any():
            if not self.sort:
                at = int(np.argmax(falls)) + 1
                got = f"{when[at]} s after {when[at - 1]} s at event {at}"
                self._refuse("times must not decrease", got, "Sort them, or give sort=True.")
            order = np.argsort(when, kind="stable")
            when, where = when[order], where[order]
        return when, where.astype(np.int64)

    def _refuse(self, must: str, got: str, do: str = "Correct the recording, or leave it out.") -> None:
        raise ValueError(
            f"{WHO}: {must}, got {got} of recording {len(self._rows['labels'])} for {self.path}. {do}"
        )

    def _push(self, column: str, elements: NDArray[Any]) -> None:
        self._pending[column].append(elements)

    def _flush(self, last: bool = False) -> None:
        """Write all whole blocks, and the rest of the events too if it is the last time."""
        columns = {name: np.concatenate(self._pending[name]) for name in COLUMNS}
        whole = self._waiting // self.block
        blocks = whole + (last and self._waiting > whole * self.block)
        try:
            for name, column in columns.items():
                self._pending[name] = [column[whole * self.block :].copy()]
                if last:
                    columns[name] = np.pad(column, (0, blocks * self.block - column.size))
            # Units and times side by side, so that a recording is read in one go.
            for i in range(blocks):
                for name, column in columns.items():
                    self._write(name, self._n_blocks + i, column[i * self.block : (i + 1) * self.block])
        except (OSError, RuntimeError) as error:
            self.abort()
            raise self._unwritable(error) from error
        self._n_blocks += blocks
        self._n_events += min(self._waiting, blocks * self.block)
        self._waiting -= min(self._waiting, blocks * self.block)

    def _write(self, column: str, number: int, block: NDArray[Any]) -> None:
        self._write_stored(column, number, pack(np.ascontiguousarray(block), self.level))

    def _write_stored(self, column: str, number: int, data: bytes) -> None:
        table = self._columns[column]
        if table.shape[0] <= number * self.block:
            # Not for each block: that would write the size of the table anew each time.
            table.resize(((number + 1) * self.block * 5 // 4 // self.block + 1) * self.block, 0)
        table.id.write_direct_chunk((number * self.block,), data)
        self._sums[column].append(zlib.crc32(data))

    def _write_rest(self) -> None:
        # Before the last block is written, which HDF5 would otherwise fill up and pack in its own way.
        for table in self._columns.values():
            table.resize(self._n_events + self._waiting, 0)
        if self._waiting:
            self._flush(last=True)
        rows = self._rows
        splits = tuple(dict.fromkeys(split for split in rows["splits"] if split is not None))
        tables = {"labels": np.array(rows["labels"], "<i8"), "ends": np.array(rows["ends"], "<f8")}
        tables["pointers"] = np.cumsum([0, *rows["sizes"]]).astype("<i8")
        if rows["groups"][0] is not None:
            tables["groups"] = np.array(rows["groups"], "<i8")
        if splits:
            tables["splits"] = np.array([splits.index(split) for split in rows["splits"]], "<u1")
        for name, table in tables.items():
            self._table(f"recordings/{name}", table)
        for name in COLUMNS:
            self._table(f"blocks/{name}", np.array(self._sums[name], "<u4"))
        text = self.info.to_json(splits)
        made = self._file.create_dataset("metadata", data=np.array(text, f"S{len(text)}"))
        made.attrs["crc32"] = np.uint32(zlib.crc32(text))
        self._file.attrs["version"] = VERSION
        # Last: a file without it is no store.
        self._file.attrs["format"] = np.bytes_(FORMAT)
        self._file.close()
        self._file = None
        with self._temporary.open("rb") as written:
            os.fsync(written.fileno())

    def _table(self, name: str, values: NDArray[Any]) -> None:
        table = self._file.create_dataset(name, data=values)
        table.attrs["crc32"] = np.uint32(zlib.crc32(values.tobytes()))

    def _take(self, old: StoreFile) -> None:
        tables, n = old.tables, len(old)
        sizes = np.diff(tables["pointers"])
        names = [old.splits[i] for i in tables["splits"]] if "splits" in tables else [None] * n
        groups = tables["groups"].tolist() if "groups" in tables else [None] * n
        old_rows = tables["ends"].tolist(), sizes.tolist(), tables["labels"].tolist(), groups, names
        for name, entries in zip(self._rows, old_rows, strict=True):
            self._rows[name] += entries
        whole, rest = divmod(old.n_events, self.block)
        for number in range(whole):
            for place, data in old.stored([(column, number) for column in COLUMNS]).items():
                self._write_stored(*place, data)
        if rest:
            for (column, _), elements in old.blocks([(column, whole) for column in COLUMNS]).items():
                self._push(column, elements[:rest])
        self._n_blocks, self._n_events, self._waiting = whole, whole * self.block, rest

    def _check_free(self) -> None:
        if self.path.exists() and not self.overwrite:
            raise FileExistsError(
                f"{WHO}: path must not exist, got path={self.path}. Take another name, or give "
                f"overwrite=True."
            )

    def _closed(self) -> ValueError:
        return ValueError(
            f"{WHO}: the writer must be open, got a closed one for {self.path}. Make a new one."
        )

    def _unwritable(self, error: Exception) -> OSError:
        return OSError(
            f"{WHO}: {self.path} must be on a disk that has room and may be written, got {reason(error)}. "
            f"Nothing is left of it; make room or take another folder."
        )
