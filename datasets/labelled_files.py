"""Where the recordings of a folder are, and what is said of them."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from snntrace.datasets.files.contents import contents
from snntrace.datasets.files.events import DataFileError
from snntrace.datasets.files.registry import FORMATS

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
        if not os.path.isfile(file):
            raise FileNotFoundError(
                f"{WHO}: the files of the table must exist, got {cells['file']!r} in line {line} of {table}. "
                f"Correct it."
            )
        group = next((cells[name] for name in GROUPS if name in cells), "")
        split = cells.get("split", "")
        split = split.lower() if split.lower() in SPLITS else split
        found.append(Recording(file, cells["label"], group, split))
    if not found:
        raise DataFileError(f"{WHO}: the table must name recordings, got none in {table}. Add lines.")
    if any(r.split for r in found) and not all(r.split for r in found):
        raise DataFileError(
            f"{WHO}: the part must be said of all recordings or none, got both in {table}. Fill the column "
            f"split."
        )
    return found
