"""Write a spike store: recording by recording, and visible only when it is complete."""

from __future__ import annotations

import contextlib
import operator
import os
import secrets
import zlib
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import h5py
import numpy as np
from numpy.typing import ArrayLike, NDArray

from snntrace.datasets.hdf5 import new_file, unwritable
from snntrace.datasets.store_file import WORD, StoreFile
from snntrace.datasets.store_layout import (
    FORMAT,
    TIMES,
    VERSION,
    StoreInfo,
    encode_times,
)  # fmt: skip
from snntrace.datasets.store_packing import PACKING, pack

WHO = "StoreWriter"
COLUMNS = ("sizes", "words", "sums", "ends", "labels", "groups", "splits")
"""What is noted of each recording."""
MOST_SPLITS = 1 << 8
COPIED = 1 << 17
"""Words that are copied at once."""


class InexactTimes(ValueError):
    """A time cannot be stored as it is in the chosen type."""


class StoreWriter:
    """Write recordings to a spike store.

    Events are collected in a hidden file whose name ends in ``.part``; `finish` makes the store of them, and
    gives it its name when it is complete. Used as a context manager, the writer finishes at the end of the
    block, and removes what it wrote if the block ends in an error.

    Parameters
    ----------
    path : str or Path
        The file to make.
    info : StoreInfo
        Units, classes, source.
    time_type : {'float64', 'float32', 'us', 'float16'}, default 'float64'
        How times are stored; ``'us'`` are whole microseconds. A time that would be changed is refused.
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
        self._before: tuple[int, ...] | None = None
        self._check_free()
        if not self.path.parent.is_dir():
            raise FileNotFoundError(
                f"{WHO}: path must be in an existing folder, got path={self.path}. Make the folder first."
            )
        self.time_type = time_type
        self._remedy = "Take another time_type; 'float64' takes all."
        self._rows: dict[str, list[Any]] = {name: [] for name in COLUMNS}
        self._temporary = self.path.with_name(f".{self.path.name}-{secrets.token_hex(4)}.part")
        self._events: BinaryIO | None = None
        try:
            self._events = self._temporary.open("x+b")
        except OSError as error:
            raise unwritable(WHO, self.path, error) from error

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
        before = stamp_of(Path(path).expanduser())
        old = StoreFile(Path(path).expanduser())
        writer = cls(
            old.path, old.info, time_type=old.time_type, sort=sort, allow_empty=allow_empty, overwrite=True,
        )  # fmt: skip
        writer._before = before
        writer._remedy = (
            "What is there keeps its type: write all recordings to a new store, or these to one of their own."
        )
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
            If the units, the label or the group are not integers.
        ValueError
            If the events, the label, the group or the part cannot be, or the writer is closed.
        """  # noqa: DOC501
        events = self._open_events()
        when, where = self._checked(times, units)
        label = operator.index(label)
        if not 0 <= label < len(self.info.class_names):
            self._refuse(f"label must be in 0 .. {len(self.info.class_names) - 1}", f"label={label}")
        if split is not None and not (isinstance(split, str) and split and split.isprintable()):
            self._refuse("split must be a name", f"split={split!r}")
        if group is not None:
            group = operator.index(group)
            if not -(1 << 63) <= group < 1 << 63:
                self._refuse("group must be a number of 64 bits", f"group={group}")
        for name, value in (("groups", group), ("splits", split)):
            kept = self._rows[name]
            if kept and (kept[0] is None) != (value is None):
                self._refuse(f"{name} must be given for all recordings or for none", f"{name[:-1]}={value!r}")
        stored = encode_times(when, self.time_type)
        if stored is None:
            raise InexactTimes(
                f"{WHO}: times of recording {len(self._rows['labels'])} must be storable as {self.time_type} "
                f"without a change, got others for {self.path}. {self._remedy}"
            )
        packed = pack(stored, where).tobytes()
        try:
            events.write(packed)
        except OSError as error:
            self.abort()
            raise unwritable(WHO, self.path, error) from error
        end = when[-1] if when.size else 0.0
        row = when.size, len(packed) // WORD, zlib.crc32(packed), end, int(label), group, split
        self._note(*([entry] for entry in row))

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
        events = self._open_events()
        try:
            if not self._rows["labels"]:
                raise ValueError(
                    f"{WHO}: there must be at least one recording, got none for {self.path}. Append some."
                )
            # The latest version of the format has checksums on everything that HDF5 itself writes.
            with new_file(self.path, WHO, self._check_free, libver=("v110", "v110")) as file:
                self._write(file, events)
        finally:
            self.abort()
        return self.path

    def abort(self) -> None:
        """Remove what was written; nothing happens after `finish`."""
        if self._events is not None:
            # On a full disk what is still held back cannot be written, and is not wanted either.
            with contextlib.suppress(OSError):
                self._events.close()
            self._events = None
        self._temporary.unlink(missing_ok=True)

    def _open_events(self) -> BinaryIO:
        if self._events is None:
            raise ValueError(
                f"{WHO}: the writer must be open, got a closed one for {self.path}. Make a new one."
            )
        return self._events

    def _note(self, *entries: list[Any]) -> None:
        """Add entries of recordings to the columns, in the order of `COLUMNS`."""
        for name, new in zip(COLUMNS, entries, strict=True):
            self._rows[name] += new

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

    def _write(self, file: h5py.File, events: BinaryIO) -> None:
        rows = self._rows
        splits = tuple(dict.fromkeys(split for split in rows["splits"] if split is not None))
        if len(splits) > MOST_SPLITS:
            raise ValueError(
                f"{WHO}: there must be at most {MOST_SPLITS} parts, got {len(splits)} for {self.path}. Give "
                f"what is no official part as a group."
            )
        tables = {"labels": np.array(rows["labels"], "<i8"), "ends": np.array(rows["ends"], "<f8")}
        tables |= {"sums": np.array(rows["sums"], "<u4")}
        tables |= {
            name: np.cumsum([0, *rows[sizes]]).astype("<i8")
            for name, sizes in (("pointers", "sizes"), ("places", "words"))
        }
        if rows["groups"][0] is not None:
            tables["groups"] = np.array(rows["groups"], "<i8")
        if splits:
            tables["splits"] = np.array([splits.index(split) for split in rows["splits"]], "<u1")
        for name, values in tables.items():
            table = file.create_dataset(f"recordings/{name}", data=values)
            table.attrs["crc32"] = np.uint32(zlib.crc32(values.tobytes()))
        text = self.info.to_json(splits)
        made = file.create_dataset("metadata", data=np.array(text, f"S{len(text)}"))
        made.attrs["crc32"] = np.uint32(zlib.crc32(text))
        packed = file.create_dataset("events", (int(tables["places"][-1]),), "<u8")
        packed.attrs["packing"], packed.attrs["times"] = np.bytes_(PACKING), np.bytes_(self.time_type)
        events.seek(0)
        for start in range(0, packed.size, COPIED):
            words = np.frombuffer(events.read(WORD * COPIED), "<u8")
            packed[start : start + words.size] = words
        file.attrs["version"] = VERSION
        # Last: a file without it is no store.
        file.attrs["format"] = np.bytes_(FORMAT)

    def _take(self, old: StoreFile) -> None:
        tables, n = old.tables, len(old)
        names = [old.splits[i] for i in tables["splits"]] if "splits" in tables else [None] * n
        groups = tables["groups"].tolist() if "groups" in tables else [None] * n
        sizes, words = (np.diff(tables[name]).tolist() for name in ("pointers", "places"))
        known = (tables[name].tolist() for name in ("sums", "ends", "labels"))
        self._note(sizes, words, *known, groups, names)
        try:
            for row in range(n):
                self._open_events().write(old.words([row])[0].tobytes())
        except OSError as error:
            raise unwritable(WHO, self.path, error) from error

    def _check_free(self) -> None:
        if self.path.exists() and not self.overwrite:
            raise FileExistsError(
                f"{WHO}: path must not exist, got path={self.path}. Take another name, or give "
                f"overwrite=True."
            )
        if self._before is not None and stamp_of(self.path) != self._before:
            raise ValueError(
                f"{WHO}: a store must not change while recordings are added to it, got a changed "
                f"path={self.path}. What is there now is kept; add these recordings again."
            )


def stamp_of(path: Path) -> tuple[int, ...]:
    """Return what tells a file from the one that was there before; nothing if there is none."""
    try:
        status = path.stat()
    except OSError:
        return ()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
