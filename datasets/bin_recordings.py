"""Many recordings in the .bin files of N-MNIST and N-Caltech101."""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from snntrace.datasets.files.contents import contents, expect_file
from snntrace.datasets.files.nmnist_bin import read_units_of, units_of
from snntrace.datasets.ragged import EventList, Ragged, starts_of


class BinRecordings:
    """A list of .bin files, read one by one when they are asked for, or all of them at once.

    Parameters
    ----------
    who : str
        Name of the data set, for the messages.
    files : list of str
        Their paths.
    sensor : (int, int), in pixels
        Width and height.
    ordered : bool
        Refuse a recording in which time goes backwards.
    preload : bool
        Read all files now and keep their bytes.
    """

    def __init__(
        self, who: str, files: list[str], sensor: tuple[int, int], *, ordered: bool, preload: bool
    ) -> None:
        self.who = who
        self.files = files
        self.sensor = sensor
        self.ordered = ordered
        self._bytes: NDArray[np.uint8] | None = None
        self._pointers = np.zeros(len(files) + 1, np.int64)
        self._expected = bytearray(len(files))
        if preload:
            self._preload()

    def __len__(self) -> int:
        """Return the number of recordings.

        Returns
        -------
        int
            The number.
        """
        return len(self.files)

    def events(self, index: int) -> EventList:
        """Return the events of one recording.

        Parameters
        ----------
        index : int
            Number of the recording.

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
        """  # noqa: DOC502
        found = self._read([self._row(index)])
        return found.times, found.units

    def events_of(self, indices: Iterable[int]) -> Ragged:
        """Return the events of several recordings, whose files the system reads side by side.

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
        for row in rows:
            if self._bytes is None and not self._expected[row]:
                expect_file(self.files[row])
                self._expected[row] = 1
        return self._read(rows)

    def _row(self, index: int) -> int:
        row = operator.index(index)
        if not 0 <= row < len(self.files):
            raise IndexError(
                f"{self.who}: index must be in 0 .. {len(self) - 1}, got index={index}. Choose an existing "
                f"recording."
            )
        return row

    def _read(self, rows: list[int]) -> Ragged:
        files = [self.files[row] for row in rows]
        if self._bytes is None:
            return read_units_of(self.who, files, self.sensor, self.ordered)
        pieces = [self._bytes[self._pointers[row] : self._pointers[row + 1]] for row in rows]
        raw = np.concatenate([self._bytes[:0], *pieces])
        return units_of(self.who, files, raw, starts_of(map(len, pieces)), self.sensor, self.ordered)

    @cached_property
    def scan(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Number of events, and time of the last one in s, of each recording."""
        lengths, ends = np.zeros(len(self), np.int64), np.zeros(len(self))
        for row in range(len(self)):
            times = self.events(row)[0]
            lengths[row], ends[row] = times.size, times.max(initial=0.0)
        lengths.setflags(write=False)
        ends.setflags(write=False)
        return lengths, ends

    def _preload(self) -> None:
        sizes = [os.stat(file).st_size for file in self.files]
        np.cumsum(sizes, out=self._pointers[1:])
        flat = np.empty(self._pointers[-1], np.uint8)
        for row, file in enumerate(self.files):
            data = contents(file, self.who)
            if data.size != sizes[row]:
                raise OSError(
                    f"{self.who}: files must not change while they are read, got {data.size} bytes in place "
                    f"of {sizes[row]} in {file}. Read again when it is complete."
                )
            flat[self._pointers[row] : self._pointers[row + 1]] = data
        self._bytes = flat


def recordings_in(folder: Path) -> list[str]:
    """Return the .bin files of a folder by their names; none if there is no such folder.

    Parameters
    ----------
    folder : Path
        The folder.

    Returns
    -------
    list of str
        Paths of its files, except those whose name starts with a dot, which some unpackers leave behind.
    """
    if not folder.is_dir():
        return []
    inside = str(folder) + os.sep
    return [inside + name for name in sorted(os.listdir(folder)) if name.endswith(".bin") and name[0] != "."]
