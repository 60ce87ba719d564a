"""Reader of the HDF5 layout of SHD and SSC (spoken words as spikes)."""

import operator
import os
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from snntrace.datasets.files.contents import mapped
from snntrace.datasets.files.events import DataFileError
from snntrace.datasets.hdf5 import FOREIGN
from snntrace.datasets.ragged import EventList, Ragged
from snntrace.datasets.shd_decoding import read_events
from snntrace.datasets.shd_tables import REQUIRED, read_tables
from snntrace.datasets.unpack import is_packed, unpacked
from snntrace.datasets.vlen_rows import VlenRows


class SpikeFile:
    """An HDF5 file of spike recordings in the layout of SHD and SSC.

    Recording ``i`` is ``/spikes/times[i]`` (variable length, float16 in the published files, **in seconds**)
    beside ``/spikes/units[i]``, with class ``/labels[i]``; ``/extra/keys`` (class names) and
    ``/extra/speaker`` are read where they exist. Times are cast to float64 before anything is computed with
    them, for half precision overflows at 65,504.

    A ``.gz`` or ``.zip`` file is decompressed once (see `snntrace.datasets.unpacked`). The file is opened
    once a process: after a fork, or in a copy made by pickle, it is opened again at first use.

    Parameters
    ----------
    path : str or Path
        An HDF5 file, or one that is compressed by gzip or alone in a zip file. The content decides, not the
        name.
    n_units : int, default 700
        Number of units; an event of a unit outside ``0 .. n_units - 1`` is refused when it is read.
    cache_folder : str or Path, optional
        Where the decompressed content of a compressed file is kept.
    ordered : bool, default True
        Refuse a recording in which time goes backwards. False: keep its events as they are.

    Attributes
    ----------
    path : Path
        The file as given.
    labels : int64 array of shape (n_recordings,)
        Class of each recording.
    speakers : int64 array of shape (n_recordings,), or None
        Speaker of each recording.
    class_names : tuple of str
        Name of each class.
    n_units : int
        Number of units.
    ordered : bool
        As given.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not HDF5, is truncated, lacks a data set or contradicts itself.

    References
    ----------
    B. Cramer, Y. Stradmann, J. Schemmel, F. Zenke, "The Heidelberg Spiking Data Sets for the Systematic
    Evaluation of Spiking Neural Networks", IEEE Transactions on Neural Networks and Learning Systems 33,
    2744-2757 (2022).

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import h5py, numpy as np
    >>> from snntrace.datasets import SpikeFile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "two.h5"
    >>> with h5py.File(path, "w") as file:
    ...     times = file.create_dataset("spikes/times", 2, h5py.vlen_dtype("float16"))
    ...     units = file.create_dataset("spikes/units", 2, h5py.vlen_dtype("uint16"))
    ...     times[0], units[0] = [0.25, 0.5], [3, 699]
    ...     file["labels"] = np.array([1, 0], "uint16")
    >>> with SpikeFile(path) as recordings:
    ...     print(len(recordings), recordings.labels, recordings.events(0), recordings.duration)
    2 [1 0] (array([0.25, 0.5 ]), array([  3, 699])) 0.5
    """

    def __init__(
        self,
        path: str | Path,
        *,
        n_units: int = 700,
        cache_folder: str | Path | None = None,
        ordered: bool = True,
    ) -> None:
        self.path = Path(path).expanduser()
        if not self.path.exists():
            raise FileNotFoundError(
                f"SpikeFile: path must be an existing file, got path={self.path}. Check the spelling; SHD "
                f"and SSC are at https://zenkelab.org/datasets/."
            )
        if n_units < 1:
            raise ValueError(
                f"SpikeFile: n_units must be at least 1, got n_units={n_units}. SHD and SSC have 700."
            )
        # For its errors: HDF5 says the same of a forbidden file, an empty one and a damaged one.
        mapped(self.path, "SpikeFile")
        self.n_units = n_units
        self.ordered = ordered
        folder = None if cache_folder is None else Path(cache_folder).expanduser()
        self._opened_path = unpacked(self.path, folder) if is_packed(self.path) else self.path
        self._closed = False
        self._file: Any = None
        self._columns: tuple[VlenRows, VlenRows] | None = None
        self._process, self._stamp = -1, (0, 0)
        try:
            self._read_tables()
        except BaseException:
            self.close()
            raise

    def __len__(self) -> int:
        """Return the number of recordings.

        Returns
        -------
        int
            The number.
        """
        return len(self.labels)

    def __enter__(self) -> Self:
        """Return the file itself.

        Returns
        -------
        SpikeFile
            This file.
        """
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without the open file, which another process cannot use.

        Returns
        -------
        dict
            The state.
        """
        return self.__dict__ | {"_file": None, "_columns": None, "_process": -1}

    def __repr__(self) -> str:
        """Return one line with the path and the sizes.

        Returns
        -------
        str
            The line.
        """
        return (
            f"SpikeFile({str(self.path)!r}: {len(self)} recordings, {self.n_units} units, "
            f"{len(self.class_names)} classes)"
        )

    @property
    def groups(self) -> NDArray[np.int64] | None:
        """Speaker of each recording, or None: the name that all data sets share."""
        return self.speakers

    @cached_property
    def durations(self) -> NDArray[np.float64]:
        """Time of the last event of each recording, in s; 0 for a recording without events.

        The first use reads the times of the whole file.
        """
        ends = np.zeros(len(self))
        for row in range(len(self)):
            ends[row] = self._in_seconds(self._raw(row)[0], row).max(initial=0.0)
        ends.setflags(write=False)
        return ends

    @property
    def duration(self) -> float:
        """Time of the last event of the whole file, in s."""
        return float(self.durations.max())

    def events(self, index: int) -> EventList:
        """Return the events of one recording.

        Parameters
        ----------
        index : int
            Number of the recording, ``0 .. len(self) - 1``.

        Returns
        -------
        times : float64 array of shape (n_events,), in s
            When.
        units : int64 array of shape (n_events,)
            Which unit.

        Raises
        ------
        IndexError
            If there is no such recording.
        ValueError
            If the recording contradicts itself, or the file is closed.
        """
        return self._read(self._row(index))

    def events_of(self, indices: Iterable[int]) -> Ragged:
        """Return the events of several recordings.

        Parameters
        ----------
        indices : iterable of int
            Numbers of the recordings.

        Returns
        -------
        sequence of (times, units)
            As `events` gives them; their events follow each other in memory.
        """
        rows, columns = [self._row(index) for index in indices], self._opened_columns()
        for column in columns:
            column.expect(rows)
        try:
            (times, starts), (units, others) = (column.several(rows) for column in columns)
            found = self._decoded(times, units, starts, others)
        except FOREIGN:
            found = None
        return Ragged.joined([self._read(row) for row in rows]) if found is None else found

    def _row(self, index: int) -> int:
        row = operator.index(index)
        if not 0 <= row < len(self):
            raise IndexError(
                f"SpikeFile: index must be in 0 .. {len(self) - 1} for {self.path}, got index={index}. "
                f"Choose an existing recording."
            )
        return row

    def _raw(self, row: int) -> tuple[NDArray[Any], NDArray[Any]]:
        times, units = self._opened_columns()
        try:
            return times[row], units[row]
        except FOREIGN as error:
            raise self._unreadable(error, f" in recording {row}") from error

    def _opened_columns(self) -> tuple[VlenRows, VlenRows]:
        file = self._open()
        if self._columns is None:
            try:
                times, units = (VlenRows(file, file[name]) for name in REQUIRED[:2])
            except FOREIGN as error:
                raise self._unreadable(error) from error
            self._columns = times, units
        return self._columns

    def _unreadable(self, error: Exception, where: str = "") -> DataFileError:
        return DataFileError(
            f"SpikeFile: recordings must be readable, got {error}{where} of {self.path}. Download the file "
            f"again."
        )

    def _read(self, row: int) -> EventList:
        times, units = self._raw(row)
        found = self._decoded(times, units, np.array([0, len(times)]), np.array([0, len(units)]))
        # Once more, for what is wrong has its own message.
        return self._checked(row, times, units) if found is None else (found.times, found.units)

    def _decoded(
        self, times: NDArray[Any], units: NDArray[Any], starts: NDArray[np.int64], others: NDArray[np.int64]
    ) -> Ragged | None:
        """Return recordings; None if one needs care, or has not as many times as units."""
        if not (self.ordered and alike(times, units) and np.array_equal(starts, others)):
            return None
        found = Ragged(starts, np.empty(times.size), np.empty(times.size, np.int64))
        return found if read_events(times, units, self.n_units, found) else None

    def _checked(self, row: int, raw_times: NDArray[Any], raw_units: NDArray[Any]) -> EventList:
        if len(raw_times) != len(raw_units):
            raise ValueError(
                f"SpikeFile: recording {row} of {self.path} must have as many times as units, got "
                f"{len(raw_times)} times and {len(raw_units)} units. Repair or download the file again."
            )
        times = self._in_seconds(raw_times, row)
        if self.ordered and (times[1:] < times[:-1]).any():
            at = int(np.argmax(times[1:] < times[:-1])) + 1
            raise DataFileError(
                f"SpikeFile: the times of recording {row} of {self.path} must not decrease, got {times[at]} "
                f"after {times[at - 1]} at event {at}. Sort them with `snntrace data convert --sort`, or "
                f"give ordered=False to keep their order."
            )
        units = raw_units.astype(np.int64)
        if units.size and not (units.min() >= 0 and units.max() < self.n_units):
            wrong = units.max() if units.max() >= self.n_units else units.min()
            raise ValueError(
                f"SpikeFile: the units of recording {row} of {self.path} must be in 0 .. {self.n_units - 1}, "
                f"got unit={wrong}. Give the file's own number of units as n_units."
            )
        return times, units

    def close(self) -> None:
        """Close the file; doing so twice is allowed."""
        self._closed = True
        if self._file is not None and self._process == os.getpid():
            self._file.close()
        # A thread that still reads rows keeps their file open.
        self._file = self._columns = None

    def _open(self) -> Any:
        if self._closed:
            raise ValueError(
                f"SpikeFile: the file must be open, got the closed {self.path}. Read inside the `with` "
                f"block, or make a new SpikeFile."
            )
        if self._file is None or self._process != os.getpid():
            try:
                self._file = h5py.File(self._opened_path, "r")
            except OSError as error:
                raise ValueError(
                    f"SpikeFile: the file must be complete HDF5 or gzip-compressed HDF5, got {self.path} "
                    f"({error}). Unzip .zip archives first; download a damaged file again."
                ) from error
            self._process = os.getpid()
            self._columns = None
            status = os.fstat(self._file.id.get_vfd_handle())
            stamp = status.st_size, status.st_mtime_ns
            if self._stamp not in {(0, 0), stamp}:
                self.close()
                raise DataFileError(
                    f"SpikeFile: the file must be the one that was opened first, got a changed {self.path}. "
                    f"Make a new SpikeFile."
                )
            self._stamp = stamp
        return self._file

    def _read_tables(self) -> None:
        try:
            tables = read_tables(self._open(), self.path)
        except FOREIGN as error:
            if str(error).startswith("SpikeFile"):
                raise
            raise DataFileError(
                f"SpikeFile: the tables of {self.path} must be readable, got {error}. Download the file "
                f"again."
            ) from error
        self.labels, self.speakers, self.class_names = tables

    def _in_seconds(self, raw: NDArray[Any], row: int) -> NDArray[np.float64]:
        times = raw.astype(np.float64)
        wrong = ~np.isfinite(times) | (times < 0)
        if wrong.any():
            raise ValueError(
                f"SpikeFile: the times of recording {row} of {self.path} must be finite and not negative, "
                f"got time={times[wrong][0]} at event {int(wrong.argmax())}. Repair or download the file "
                f"again."
            )
        return times


def alike(times: NDArray[Any], units: NDArray[Any]) -> bool:
    """Tell whether a recording is of the kind that kernels read: of two lists of one length."""
    native = times.dtype.isnative and units.dtype.isnative and units.dtype.kind == "u"
    return native and times.shape == units.shape and times.itemsize <= np.dtype(np.float64).itemsize
