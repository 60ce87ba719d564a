"""A folder of recordings in any event file format, with their labels."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from snntrace.datasets.asked import checked_split, row_of
from snntrace.datasets.files.contents import contents
from snntrace.datasets.files.events import MICROSECOND, DataFileError, Events
from snntrace.datasets.files.registry import FORMATS, read_events
from snntrace.datasets.ragged import EventList

WHO = "EventFolder"
ENDINGS = {form.ending for form in FORMATS.values()}
TABLE = "labels.csv"
COLUMNS = {"file", "label"}
GROUPS = ("group", "speaker", "subject")
SPLITS = ("train", "valid", "validation", "test")
LAYOUT = (
    f"a folder of event files ({', '.join(sorted(ENDINGS))}) for each class, or {TABLE} with the columns "
    f"file and label"
)


class Recording(NamedTuple):
    """Where a recording is, and what is said of it.

    Attributes
    ----------
    file : Path
        The file.
    label : str
        Name of its class.
    group : str
        Who made it; nothing if that is not said.
    split : str
        The part it is of; nothing if there are none.
    """

    file: Path
    label: str
    group: str = ""
    split: str = ""


class EventFolder:
    """Recordings of an event sensor in any format of `snntrace.datasets.files`, with their labels.

    Labels are given in one of three ways:

    * ``labels.csv`` with the columns ``file`` (a path in the folder) and ``label``, and, if they are known,
      ``group`` (or ``speaker``, ``subject``) and ``split``;
    * ``<class>/<file>``, a folder for each class;
    * ``<part>/<class>/<file>`` with the parts ``train``, ``valid`` (or ``validation``) and ``test``.

    An event of polarity `p` (1: ON) at column `x`, row `y` of a sensor of width `W` and height `H` is of unit
    ``(p * H + y) * W + x``. Time starts at 0 with the first event of a recording. A recording is read when it
    is asked for.

    Parameters
    ----------
    path : str or Path
        The folder.
    split : str, optional
        The part to take, where there are parts. Default: ``'train'``, or the first.
    sensor : (int, int), in pixels, optional
        Width and height. Default: those of the first recording; one of another sensor is then refused.
    **options
        Passed on to the reader of every file, such as ``ordered=False``.

    Attributes
    ----------
    path : Path
        The folder.
    files : tuple of Path
        The recordings' files.
    split : str
        Which part it is; empty where there are none.
    splits : tuple of str
        The parts there are.
    labels : int64 array of shape (n_recordings,)
        Class of each recording.
    class_names : tuple of str
        Names of the classes, in alphabetical order (numbers by their size).
    groups : int64 array of shape (n_recordings,), or None
        Number of the group of each recording, in the same order of their names.
    n_units : int
        Twice the pixels of the sensor.

    Raises
    ------
    FileNotFoundError
        If there is no such folder, or a file of the table is missing.
    DataFileError
        If the table or the first recording is damaged.
    ValueError
        If there are no recordings, or no such part.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from snntrace.datasets import EventFolder
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> for name in ("left", "right"):
    ...     (folder / name).mkdir()
    ...     _ = (folder / name / "1.bin").write_bytes(bytes([3, 33, 0x80, 1, 0, 4, 2, 0, 2, 0]))
    >>> data = EventFolder(folder)
    >>> data, data.labels, data.events(1)
    (EventFolder(2 recordings of 2 classes, 2312 units), array([0, 1]),
     (array([0.      , 0.000256]), array([2281,   72])))
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        split: str | None = None,
        *,
        sensor: tuple[int, int] | None = None,
        **options: Any,
    ) -> None:
        self.path = Path(path).expanduser()
        if not self.path.is_dir():
            raise FileNotFoundError(
                f"{WHO}: path must be an existing folder, got path={self.path}. Check the spelling."
            )
        everything = recordings_of(self.path)
        if not everything:
            raise ValueError(f"{WHO}: path must hold {LAYOUT}, got path={self.path} without. Sort them so.")
        self.splits = tuple(sorted({r.split for r in everything if r.split}, key=place_of_part))
        if not self.splits and split is not None:
            raise ValueError(
                f"{WHO}: split must be left out where there are no parts, got split={split!r} and "
                f"path={self.path}. Leave it out."
            )
        self.split = checked_split(WHO, split, self.splits) if self.splits else ""
        chosen = [r for r in everything if r.split == self.split]
        # Names of all parts, so that a label means the same in each of them.
        self.class_names, labels = numbered([r.label for r in everything])
        _, groups = numbered([r.group for r in everything])
        rows = [row for row, r in enumerate(everything) if r.split == self.split]
        self.files = tuple(r.file for r in chosen)
        self.labels: NDArray[np.int64] = labels[rows]
        self.groups: NDArray[np.int64] | None = groups[rows] if all(r.group for r in everything) else None
        for array in (self.labels, self.groups):
            if array is not None:
                array.setflags(write=False)
        self._options: Mapping[str, Any] = options
        self._given = sensor
        self.sensor: tuple[int, int] = sensor or self._read(0).sensor
        self.n_units: int = 2 * self.sensor[0] * self.sensor[1]

    def __len__(self) -> int:
        """Return the number of recordings.

        Returns
        -------
        int
            The number.
        """
        return len(self.files)

    def __repr__(self) -> str:
        """Return one line with the sizes.

        Returns
        -------
        str
            The line.
        """
        part = f"{self.split}: " if self.split else ""
        return (
            f"EventFolder({part}{len(self)} recordings of {len(self.class_names)} classes, "
            f"{self.n_units} units)"
        )

    @cached_property
    def durations(self) -> NDArray[np.float64]:
        """Time of the last event of each recording, in s; the first use reads all of them."""
        return np.array([self.events(row)[0].max(initial=0.0) for row in range(len(self))])

    @property
    def duration(self) -> float:
        """Time of the last event of all recordings, in s."""
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
            When, from the first event on.
        units : int64 array of shape (n_events,)
            Which unit.

        Raises
        ------
        IndexError
            If there is no such recording.
        DataFileError
            If the file is damaged, or of another sensor.
        OSError
            If it cannot be read.
        """  # noqa: DOC502
        row = row_of(WHO, index, len(self))
        events = self._read(row)
        if self._given is None and events.sensor != self.sensor:
            raise DataFileError(
                f"{WHO}: all recordings must be of one sensor, got {events.sensor} in {self.files[row]} and "
                f"{self.sensor} in {self.files[0]}. Give sensor=, with room for all of them."
            )
        if self._given is not None:
            try:
                events = Events(events.t, events.x, events.y, events.p, self._given)
            except ValueError as error:
                raise DataFileError(
                    f"{WHO}: sensor must have room for all recordings, got sensor={self._given} and "
                    f"{self.files[row]} of {events.sensor}. {error}"
                ) from error
        start = events.t.min() if len(events) else 0
        return (events.t - start).astype(np.float64) * MICROSECOND, events.units()

    def _read(self, row: int) -> Events:
        file, options = self.files[row], dict(self._options)
        if self._given is not None and file.suffix == FORMATS["nmnist"].ending:
            # Its files do not say of which sensor they are.
            options["sensor"] = self._given
        return read_events(file, **options)


def numbered(names: Sequence[str]) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Give numbers to names in alphabetical order, or by their size if they are whole numbers.

    Parameters
    ----------
    names : sequence of str
        The names, any of them several times.

    Returns
    -------
    distinct : tuple of str
        Each name once.
    numbers : int64 array of shape (n_names,)
        Place of each in that.

    Examples
    --------
    >>> numbered(["10", "9", "10"])
    (('9', '10'), array([1, 0, 1]))
    """
    whole = all(name.isascii() and name.isdigit() for name in names)
    # Of any number of digits, which Python does not make an integer of.
    by_size = {name: (len(name.lstrip("0")), name.lstrip("0")) if whole else (0, "") for name in names}
    distinct = sorted(by_size, key=lambda name: (*by_size[name], name))
    places = {name: place for place, name in enumerate(distinct)}
    return tuple(distinct), np.array([places[name] for name in names], np.int64)


def place_of_part(name: str) -> tuple[int, str]:
    """Return where a part comes among others: the one for training first."""
    return (SPLITS.index(name) if name in SPLITS else len(SPLITS), name)


def recordings_of(folder: Path) -> list[Recording]:
    """Find the recordings of a folder and their labels.

    Parameters
    ----------
    folder : Path
        The folder.

    Returns
    -------
    list of Recording
        The recordings; none if the folder is not laid out so.
    """
    if (folder / TABLE).is_file():
        return from_table(folder)
    inside = [entry for entry in sorted(folder.iterdir()) if entry.is_dir() and entry.name[0] != "."]
    parts = [entry for entry in inside if entry.name.lower() in SPLITS]
    if parts and len(parts) == len(inside):
        return [r._replace(split=part.name.lower()) for part in parts for r in from_folders(part)]
    return from_folders(folder)


def from_folders(folder: Path) -> list[Recording]:
    """Find the recordings of a folder that has a folder for each class."""
    return [
        Recording(file, entry.name)
        for entry in sorted(folder.iterdir())
        if entry.is_dir() and entry.name[0] != "."
        for file in sorted(entry.iterdir())
        if file.suffix.lower() in ENDINGS and file.name[0] != "." and file.is_file()
    ]


def from_table(folder: Path) -> list[Recording]:
    """Read the table of a folder's recordings.

    Parameters
    ----------
    folder : Path
        The folder.

    Returns
    -------
    list of Recording
        Its recordings, in the order of the table.

    Raises
    ------
    DataFileError
        If the table is damaged.
    FileNotFoundError
        If it names a file that does not exist.
    """
    table = folder / TABLE
    try:
        text = io.StringIO(contents(table, WHO).tobytes().decode("utf-8-sig"), newline="")
        table_rows = csv.reader(text)
        rows = [(table_rows.line_num, [cell.strip() for cell in row]) for row in table_rows]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataFileError(
            f"{WHO}: the table must be text in UTF-8, got {error} in {table}. Save it so."
        ) from error
    columns = rows[0][1] if rows else []
    if not COLUMNS.issubset(columns) or len(set(columns)) != len(columns):
        raise DataFileError(
            f"{WHO}: the table must start with its columns, file and label among them, got {columns} in line "
            f"1 of {table}. Write them there."
        )
    found = []
    for line, row in rows[1:]:
        if not any(row):
            continue
        cells = dict(zip(columns, row, strict=False))
        place = PurePosixPath(cells.get("file", ""))
        if len(row) != len(columns) or not cells["file"] or not cells["label"]:
            raise DataFileError(
                f"{WHO}: a line of the table must have {len(columns)} cells, with file and label, got {row} "
                f"in line {line} of {table}. Mend the line."
            )
        if place.is_absolute() or ".." in place.parts:
            raise DataFileError(
                f"{WHO}: a file must be named from the folder of the table, got {cells['file']!r} in line "
                f"{line} of {table}. Move it there."
            )
        file = folder / place
        if not file.is_file():
            raise FileNotFoundError(
                f"{WHO}: the files of the table must exist, got {cells['file']!r} in line {line} of {table}. "
                f"Correct it."
            )
        group = next((cells[name] for name in GROUPS if name in cells), "")
        found.append(Recording(file, cells["label"], group, cells.get("split", "")))
    if not found:
        raise DataFileError(f"{WHO}: the table must name recordings, got none in {table}. Add lines.")
    if any(r.split for r in found) and not all(r.split for r in found):
        raise DataFileError(
            f"{WHO}: the part must be said of all recordings or none, got both in {table}. Fill the column "
            f"split."
        )
    return found


def is_event_folder(path: Path) -> bool:
    """Tell whether a path is a folder of event files with labels.

    Parameters
    ----------
    path : Path
        Any path.

    Returns
    -------
    bool
        True for a folder with ``labels.csv``, or with event files in a folder for each class.
    """
    if not path.is_dir():
        return False
    return (path / TABLE).is_file() or bool(recordings_of(path))
