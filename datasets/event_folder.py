"""A folder of recordings in any event file format, with their labels."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snntrace.datasets.asked import checked_split, row_of
from snntrace.datasets.files.events import MICROSECOND, DataFileError, Events
from snntrace.datasets.files.registry import FORMATS, read_events
from snntrace.datasets.labelled_files import LAYOUT, TABLE, WHO, numbered, place_of_part, recordings_of
from snntrace.datasets.ragged import EventList

STEPS = {FORMATS["es"].ending}
"""Formats whose times are steps, which are never negative."""


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
    group_names : tuple of str
        Names of the groups; empty if they are not known.
    n_units : int
        Twice the pixels of the sensor.

    Raises
    ------
    FileNotFoundError
        If there is no such folder, or a file of the table is missing.
    DataFileError
        If the table or the first recording is damaged.
    ValueError
        If there are no recordings, no such part, or no such option.

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
        check_options(options)
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
        names, groups = numbered([r.group for r in everything])
        rows = [row for row, r in enumerate(everything) if r.split == self.split]
        self.files = tuple(r.file for r in chosen)
        self.labels: NDArray[np.int64] = labels[rows]
        known = all(r.group for r in everything)
        self.groups: NDArray[np.int64] | None = groups[rows] if known else None
        self.group_names: tuple[str, ...] = names if known else ()
        for array in (self.labels, self.groups):
            if array is not None:
                array.setflags(write=False)
        self._options = options
        self._given = sensor
        self.sensor: tuple[int, int] = sensor or self._read(0, ordered=False).sensor
        self.n_units: int = 2 * self.sensor[0] * self.sensor[1]

    @property
    def ordered(self) -> bool:
        """Whether a recording in which time goes backwards is refused."""
        return bool(self._options.get("ordered", True))

    @ordered.setter
    def ordered(self, ordered: bool) -> None:
        self._options["ordered"] = ordered

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

    def _read(self, row: int, **more: Any) -> Events:
        file, options = self.files[row], {**self._options, **more}
        if self._given is not None and file.suffix == FORMATS["nmnist"].ending:
            # Its files do not say of which sensor they are.
            options["sensor"] = self._given
        if file.suffix.lower() in STEPS:
            options.pop("ordered", None)
        return read_events(file, **options)


def check_options(options: Mapping[str, Any]) -> None:
    """Refuse options that no reader has.

    Parameters
    ----------
    options : mapping of str
        The options of the readers.

    Raises
    ------
    ValueError
        If there is one.
    """
    known = {name for form in FORMATS.values() for name in inspect.signature(form.reads).parameters}
    known -= {"path", "options"}
    if unknown := sorted(set(options) - known):
        raise ValueError(
            f"{WHO}: options must be among {', '.join(sorted(known))}, got {', '.join(unknown)}. Leave them "
            f"out."
        )


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
