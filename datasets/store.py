"""The spike store: one container for every kind of spike data."""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from snntrace.datasets.hdf5 import FOREIGN
from snntrace.datasets.ragged import EventList, Ragged
from snntrace.datasets.store_file import StoreFile
from snntrace.datasets.store_layout import FORMAT, TIMES, WHO, StoreInfo, damaged
from snntrace.datasets.store_packing import unpack


class SpikeStore:
    r"""A file of spike recordings in the container that any data set converts to.

    The file is HDF5. Recordings are packed one by one, in as many bits as their units and the steps of their
    times need; recording ``i`` is

    .. math:: \mathrm{events}[p_i : p_{i+1}]

    with ``/recordings/places`` :math:`p`, and read in one go. Each recording and each table has a checksum,
    so that a damaged file is refused and never read as something else.

    The tables are in memory (some 70 bytes a recording), events on disk. An object may be shared by threads
    and used after a fork; a copy made by pickle opens the file again.

    Parameters
    ----------
    path : str or Path
        The file.
    split : str, optional
        Which official part to take. Default: ``'train'`` where there is one, else the only part.

    Attributes
    ----------
    path : Path
        The file.
    split : str
        Which part it is; empty where the file has no parts.
    splits : tuple of str
        The parts there are.
    info : StoreInfo
        Source, licence, citation, sensor.
    labels : int64 array of shape (n_recordings,)
        Class of each recording.
    groups : int64 array of shape (n_recordings,), or None
        Speaker or subject of each recording.
    durations : float64 array of shape (n_recordings,), in s
        Time of the last event; 0 for a recording without events.
    lengths : int64 array of shape (n_recordings,)
        Number of events.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    PermissionError
        If it may not be read.
    DataFileError
        If it is no store, or a damaged one.
    ValueError
        If there is no such part.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from snntrace.datasets import SpikeStore, StoreInfo, StoreWriter
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "two.spikes"
    >>> with StoreWriter(path, StoreInfo(n_units=5, class_names=("a", "b"))) as writer:
    ...     writer.append([0.1, 0.25], [4, 0], label=1)
    ...     writer.append([0.5], [2], label=0)
    >>> store = SpikeStore(path)
    >>> len(store), store.labels, store.events(0), store.duration
    (2, array([1, 0]), (array([0.1 , 0.25]), array([4, 0])), 0.5)
    """

    def __init__(self, path: str | os.PathLike[str], split: str | None = None) -> None:
        self.path = Path(path).expanduser()
        self._file = StoreFile(self.path)
        self.info: StoreInfo = self._file.info
        self.splits = self._file.splits
        try:
            self.split = self._chosen(split)
        except ValueError:
            self.close()
            raise
        tables = self._file.tables
        rows = np.arange(len(self._file))
        if self.split:
            rows = np.flatnonzero(tables["splits"] == self.splits.index(self.split))
        self._rows: NDArray[np.int64] = rows
        self.labels: NDArray[np.int64] = tables["labels"][rows]
        self.groups: NDArray[np.int64] | None = tables["groups"][rows] if "groups" in tables else None
        self.durations: NDArray[np.float64] = tables["ends"][rows]
        self._counts: NDArray[np.int64] = np.diff(tables["pointers"])
        self.lengths: NDArray[np.int64] = self._counts[rows]
        for table in (self.labels, self.groups, self.durations, self.lengths):
            if table is not None:
                table.setflags(write=False)

    def __len__(self) -> int:
        """Return the number of recordings.

        Returns
        -------
        int
            The number.
        """
        return len(self._rows)

    def __enter__(self) -> Self:
        """Return the store itself.

        Returns
        -------
        SpikeStore
            This store.
        """
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self.close()

    def __repr__(self) -> str:
        """Return one line with the path and the sizes.

        Returns
        -------
        str
            The line.
        """
        part = f"{self.split}, " if self.split else ""
        return (
            f"SpikeStore({str(self.path)!r}: {part}{len(self)} recordings, {self.n_units} units, "
            f"{len(self.class_names)} classes)"
        )

    @property
    def n_units(self) -> int:
        """Number of units."""
        return self.info.n_units

    @property
    def class_names(self) -> tuple[str, ...]:
        """Name of each class."""
        return self.info.class_names

    @property
    def sensor(self) -> tuple[int, int] | None:
        """Width and height of the event camera, in pixels, or None."""
        return self.info.sensor

    @property
    def duration(self) -> float:
        """Time of the last event of all recordings, in s."""
        return float(self.durations.max())

    @property
    def group_names(self) -> tuple[str, ...]:
        """Names of the groups; empty if they are only numbers."""
        return self.info.group_names

    @property
    def time_type(self) -> str:
        """How times are stored: ``'float16'``, ``'us'`` (whole ones), ``'float32'`` or ``'float64'``."""
        return self._file.time_type

    def events(self, index: int) -> EventList:
        """Return the events of one recording.

        Parameters
        ----------
        index : int
            Number of the recording, ``0 .. len(self) - 1``.

        Returns
        -------
        times : float64 array of shape (n_events,), in s
            When, ascending.
        units : int64 array of shape (n_events,)
            Which unit.

        Raises
        ------
        IndexError
            If there is no such recording.
        DataFileError
            If the recording is damaged.
        """  # noqa: DOC502
        return self._read([self._row(index)])[0]

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
        rows = [self._row(index) for index in indices]
        self._file.expect(rows)
        return self._read(rows)

    def check(self) -> None:
        """Read every event of every recording, of all parts.

        Raises
        ------
        DataFileError
            If one is damaged.
        """  # noqa: DOC502
        for row in range(len(self._file)):
            self._read([row])

    def close(self) -> None:
        """Close the file; doing so twice is allowed."""
        self._file.close()

    def _chosen(self, split: str | None) -> str:
        if split is None:
            if not self.splits or "train" in self.splits:
                return "train" if self.splits else ""
            if len(self.splits) == 1:
                return self.splits[0]
        if split not in self.splits:
            raise ValueError(
                f"{WHO}: split must be one of {self.splits} in {self.path}, got split={split!r}. "
                f"{'Choose one.' if self.splits else 'Leave it out.'}"
            )
        return split

    def _row(self, index: int) -> int:
        row = operator.index(index)
        if not 0 <= row < len(self):
            raise IndexError(
                f"{WHO}: index must be in 0 .. {len(self) - 1} for {self.path}, got index={index}. Choose an "
                f"existing recording."
            )
        return int(self._rows[row])

    def _read(self, rows: list[int]) -> Ragged:
        words, starts = self._file.words(rows)
        found = Ragged.empty(self._counts[rows])
        dtype, scale = TIMES[self._file.time_type]
        ends = self._file.tables["ends"][rows]
        at, fault, event = unpack(words, starts, dtype, scale, self.n_units, ends, found)
        if fault:
            self._refuse(rows[at], fault, event, found[at][0])
        return found

    def _refuse(self, row: int, fault: str, event: int, times: NDArray[np.float64]) -> NoReturn:
        if fault == "size":
            must = f"its words must be those of {self._counts[row]} events"
            damaged(self.path, f"recording {row}", must, "others")
        if fault == "end":
            must = f"the last event must be at {self._file.tables['ends'][row]} s, as the table says"
            damaged(self.path, f"recording {row}", must, f"{times[-1] if times.size else 0.0} s")
        must = {
            "times": f"times must be finite numbers of {self.time_type} and not negative or decrease",
            "units": f"units must be in 0 .. {self.n_units - 1}",
        }[fault]
        damaged(self.path, f"event {event} of recording {row}", must, "another one")


def is_store(path: Path) -> bool:
    """Tell whether a path is a spike store, by its content.

    Parameters
    ----------
    path : Path
        An existing path.

    Returns
    -------
    bool
        True for an HDF5 file that says so.
    """
    if not path.is_file() or not h5py.is_hdf5(path):
        return False
    try:
        with h5py.File(path, "r", locking=False) as file:
            return bytes(file.attrs.get("format", b"")) == FORMAT.encode()
    except FOREIGN:
        return False
