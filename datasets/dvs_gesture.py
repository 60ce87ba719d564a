"""DVS128 Gesture: hand and arm gestures of 29 people before an event camera."""

from __future__ import annotations

import csv
import io
import operator
import os
import re
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from snntrace.datasets.files.aedat3 import Packets, events_of, index_packets
from snntrace.datasets.files.contents import contents, mapped
from snntrace.datasets.files.events import MICROSECOND, DataFileError
from snntrace.events.rows import compiled

SENSOR = (128, 128)
SPLITS = {"train": "trials_to_train.txt", "test": "trials_to_test.txt"}
CLASSES = (
    "hand clapping", "right hand wave", "left hand wave", "right arm clockwise",
    "right arm counter-clockwise", "left arm clockwise", "left arm counter-clockwise", "arm roll",
    "air drums", "air guitar", "other gestures",
)  # fmt: skip
COLUMNS = ("class", "startTime_usec", "endTime_usec")
WHERE = "Download DVS128 Gesture from https://research.ibm.com/interactive/dvsgesture/ and unpack it."
WHO = "DVSGesture"


class Trial(NamedTuple):
    """One gesture in a file.

    Attributes
    ----------
    file : int
        Number of the file.
    label : int
        Class, from 0.
    start, stop : int, in us
        Its time on the file's clock; `stop` is not part of it.
    """

    file: int
    label: int
    start: int
    stop: int


class DVSGesture:
    """The folder of DVS128 Gesture: 11 gestures of 29 people under three lights.

    A file ``user<subject>_<light>.aedat`` (AEDAT 3.1) holds one person's gestures one after the other;
    ``user<subject>_<light>_labels.csv`` tells class and time of each, which are the recordings here. Their
    times start at 0 where the gesture does. ``trials_to_train.txt`` and ``trials_to_test.txt`` name the files
    of the two official parts, which share no person. An event of polarity `p` (1: ON) at column `x`, row `y`
    is of unit ``(p * 128 + y) * 128 + x``.

    A file's packets are found when its first gesture is asked for; of a gesture, only its own packets are
    read. Where two gestures overlap (one of ``user22_led`` ends after the next begins), both have the events.

    Parameters
    ----------
    path : str or Path
        The folder ``DvsGesture``, or the one that holds it.
    split : {'train', 'test'}, default 'train'
        The official part to take.
    ordered : bool, default True
        Refuse a gesture in which time goes backwards. False: keep its events as they are.

    Attributes
    ----------
    path : Path
        The folder of the files.
    split : str
        Which part it is.
    labels : int64 array of shape (n_recordings,)
        The gesture.
    groups : int64 array of shape (n_recordings,)
        Number of the person, 1 to 29.
    lights : tuple of str
        Light of each recording, such as ``'led'``.
    durations : float64 array of shape (n_recordings,), in s
        How long each gesture lasts.
    class_names : tuple of str
        The 11 gestures.
    n_units : int
        32768 = 2 * 128 * 128.
    sensor : (int, int)
        ``(128, 128)``, width and height.
    licence, citation : str
        CC BY 4.0; what to cite.

    Raises
    ------
    FileNotFoundError
        If there is no such folder, or a file that a list names is missing.
    ValueError
        If it is no folder of DVS128 Gesture, or a list or table is damaged.

    References
    ----------
    A. Amir, B. Taba, D. Berg, et al., "A Low Power, Fully Event-Based Gesture Recognition System", CVPR,
    7243-7252 (2017).
    """

    class_names = CLASSES
    sensor = SENSOR
    n_units = 2 * SENSOR[0] * SENSOR[1]
    licence = "CC BY 4.0"
    citation = (
        "A. Amir, B. Taba, D. Berg, et al., A Low Power, Fully Event-Based Gesture Recognition System, CVPR, "
        "7243-7252 (2017)."
    )

    def __init__(self, path: str | os.PathLike[str], split: str = "train", *, ordered: bool = True) -> None:
        if split not in SPLITS:
            raise ValueError(f"{WHO}: split must be 'train' or 'test', got split={split!r}. Choose one.")
        given = Path(path).expanduser()
        self.path = given / "DvsGesture" if (given / "DvsGesture").is_dir() else given
        self.split = split
        self.ordered = ordered
        self._files = files_of(self.path, split)
        self._trials = [trial for i, file in enumerate(self._files) for trial in trials_of(file, i)]
        people = np.array([subject_and_light(file)[0] for file in self._files], np.int64)
        lights = [subject_and_light(file)[1] for file in self._files]
        self.labels: NDArray[np.int64] = np.array([trial.label for trial in self._trials], np.int64)
        self.groups: NDArray[np.int64] = people[[trial.file for trial in self._trials]]
        self.lights = tuple(lights[trial.file] for trial in self._trials)
        self.durations: NDArray[np.float64] = np.array([t.stop - t.start for t in self._trials]) * MICROSECOND
        for array in (self.labels, self.groups, self.durations):
            array.setflags(write=False)
        self._packets: dict[int, tuple[int, Packets, NDArray[np.int64]]] = {}

    def __len__(self) -> int:
        """Return the number of recordings.

        Returns
        -------
        int
            The number.
        """
        return len(self._trials)

    def __repr__(self) -> str:
        """Return one line with the part and the sizes.

        Returns
        -------
        str
            The line.
        """
        return (
            f"DVSGesture({self.split}: {len(self)} recordings of {len(np.unique(self.groups))} people, "
            f"{self.n_units} units)"
        )

    @cached_property
    def duration(self) -> float:
        """Length of the longest gesture, in s."""
        return float(self.durations.max())

    def events(self, index: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return the events of one gesture.

        Parameters
        ----------
        index : int
            Number of the recording, ``0 .. len(self) - 1``.

        Returns
        -------
        times : float64 array of shape (n_events,), in s
            When, from the start of the gesture.
        units : int64 array of shape (n_events,)
            Which unit.

        Raises
        ------
        IndexError
            If there is no such recording.
        DataFileError
            If the file is damaged, or has no event in the gesture's time.
        OSError
            If it cannot be read.
        """  # noqa: DOC502
        row = operator.index(index)
        if not 0 <= row < len(self):
            raise IndexError(
                f"{WHO}: index must be in 0 .. {len(self) - 1}, got index={index}. Choose an existing "
                f"recording."
            )
        trial = self._trials[row]
        file = self._files[trial.file]
        raw = mapped(file, WHO)
        packets, spans = self._index(trial.file, raw)
        rows = np.flatnonzero((spans[:, 1] >= trial.start) & (spans[:, 0] < trial.stop))
        if len(rows) == 0:
            raise DataFileError(
                f"{WHO}: a gesture must have events, got none from {trial.start} us to {trial.stop} us in "
                f"{file}. Download or copy the file and its table again."
            )
        # With those between them and beside them, for a damaged time may make a packet look like another's.
        near = packets[max(rows[0] - 1, 0) : rows[-1] + 2]
        events = events_of(WHO, file, raw, near, SENSOR, self.ordered)
        kept = (events.t >= trial.start) & (events.t < trial.stop)
        times = (events.t[kept] - trial.start).astype(np.float64) * MICROSECOND
        return times, events.units()[kept]

    def _index(self, number: int, raw: NDArray[np.uint8]) -> tuple[Packets, NDArray[np.int64]]:
        """Return a file's packets that hold valid events, and the first and last time in each."""
        changed = self._files[number].stat().st_mtime_ns
        if number not in self._packets or self._packets[number][0] != changed:
            packets, _ = index_packets(WHO, self._files[number], raw)
            spans = np.full((len(packets), 2), -1, np.int64)
            find_spans(raw, packets, spans)
            kept = spans[:, 0] >= 0
            self._packets[number] = changed, packets[kept], spans[kept]
        return self._packets[number][1:]


@compiled
def time_at(raw: Any, place: int) -> Any:
    """Return the low bits of the time of the event at a byte, or -1 if it is not valid."""
    if raw[place] & 1 == 0:
        return -1
    time = np.int64(0)
    for k in range(4):
        time |= np.int64(raw[place + 4 + k]) << (8 * k)
    return time & 0x7FFFFFFF


@compiled
def find_spans(raw: Any, packets: Any, spans: Any) -> None:
    """Write the times of each packet's first and last valid event, looking at few others."""
    for row in range(len(packets)):
        first, number, overflows = packets[row, 0], packets[row, 1], packets[row, 2]
        begin, end = 0, number - 1
        while begin < number and time_at(raw, first + 8 * begin) < 0:
            begin += 1
        while end > begin and time_at(raw, first + 8 * end) < 0:
            end -= 1
        if begin < number:
            spans[row, 0] = overflows << 31 | time_at(raw, first + 8 * begin)
            spans[row, 1] = overflows << 31 | time_at(raw, first + 8 * end)


def files_of(folder: Path, split: str) -> list[Path]:
    """Return the recordings that one of the official lists names.

    Parameters
    ----------
    folder : Path
        The folder of the data set.
    split : {'train', 'test'}
        Which list.

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    FileNotFoundError
        If the list or a file is missing.
    DataFileError
        If the list names none.
    """
    listing = folder / SPLITS[split]
    if not listing.is_file():
        raise FileNotFoundError(f"{WHO}: path must hold {SPLITS[split]}, got path={folder}. {WHERE}")
    lines = contents(listing, WHO).tobytes().decode("ascii", "replace").split()
    if not lines:
        raise DataFileError(f"{WHO}: the list must name files, got none in {listing}. {WHERE}")
    files = [folder / os.path.basename(line) for line in lines]
    for file in files:
        if not file.is_file():
            raise FileNotFoundError(f"{WHO}: the files of {listing} must exist, got no {file}. {WHERE}")
    return files


def trials_of(file: Path, number: int) -> list[Trial]:
    """Read the table of a recording's gestures.

    Parameters
    ----------
    file : Path
        The recording.
    number : int
        Its number.

    Returns
    -------
    list of Trial
        Its gestures.

    Raises
    ------
    FileNotFoundError
        If there is no table.
    DataFileError
        If the table is damaged.
    """
    table = file.with_name(file.stem + "_labels.csv")
    if not table.is_file():
        raise FileNotFoundError(f"{WHO}: each recording must have a table, got no {table}. {WHERE}")
    text = contents(table, WHO).tobytes().decode("ascii", "replace")
    try:
        rows = list(csv.reader(io.StringIO(text, newline="")))
    except csv.Error as error:
        raise DataFileError(
            f"{WHO}: a table must be lines of numbers, got {error} in {table}. {WHERE}"
        ) from error
    if not rows or tuple(cell.strip() for cell in rows[0]) != COLUMNS:
        raise DataFileError(
            f"{WHO}: a table must have the columns {','.join(COLUMNS)}, got {rows[:1]} in line 1 of {table}. "
            f"{WHERE}"
        )
    trials = []
    for line, row in enumerate(rows[1:], start=2):
        cells = [cell.strip() for cell in row]
        whole = len(cells) == 3 and all(re.fullmatch(r"[0-9]{1,18}", cell) for cell in cells)
        label, start, stop = (int(cell) for cell in cells) if whole else (0, 0, 0)
        if not (1 <= label <= len(CLASSES) and start < stop):
            raise DataFileError(
                f"{WHO}: a line must be a class from 1 to {len(CLASSES)}, a start and a later end in us, got "
                f"{','.join(row)!r} in line {line} of {table}. {WHERE}"
            )
        trials.append(Trial(number, label - 1, start, stop))
    return trials


def subject_and_light(file: Path) -> tuple[int, str]:
    """Return who is in a recording, and under what light.

    Parameters
    ----------
    file : Path
        Such as ``user01_fluorescent_led.aedat``.

    Returns
    -------
    subject : int
        Such as 1.
    light : str
        Such as ``fluorescent_led``.

    Raises
    ------
    DataFileError
        If the name is another.
    """
    match = re.fullmatch(r"user([0-9]{1,4})_(\w+)", file.stem)
    if match is None:
        raise DataFileError(
            f"{WHO}: files must be named user<number>_<light>.aedat, got {file}. Give it its original name."
        )
    return int(match[1]), match[2]


def is_dvs_gesture(path: Path) -> bool:
    """Tell whether a path is the folder of DVS128 Gesture, or holds it.

    Parameters
    ----------
    path : Path
        Any path.

    Returns
    -------
    bool
        True where there is an official list.
    """
    return any((path / place / name).is_file() for place in ("", "DvsGesture") for name in SPLITS.values())
