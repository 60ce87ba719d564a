"""What to say of a source that is no data set: what it is instead, and what to give."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from snntrace.datasets.files.events import DataFileError
from snntrace.datasets.files.registry import FORMATS, format_of
from snntrace.datasets.labelled_files import ENDINGS as EVENT_ENDINGS
from snntrace.datasets.labelled_files import TABLE
from snntrace.datasets.spoken import ENDINGS as SOUND_ENDINGS

ARCHIVES = {".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar"}
IDX = "-ubyte"
SORT = (
    f"put recordings into a folder for each class, or name their classes in {TABLE} (columns file and label)"
)


def remedy(source: str, names: Iterable[str]) -> str:
    """Return what to do about a source that is no data set.

    Parameters
    ----------
    source : str
        What was given.
    names : iterable of str
        The names of data sets.

    Returns
    -------
    str
        One sentence or several.

    Examples
    --------
    >>> remedy("randmann", ["digits", "randman"])
    "Is 'randman' meant? Give the path of a data set, or one of digits, randman (see `snntrace data list`)."
    """
    path = Path(source).expanduser()
    known = list(names)
    give = f"Give the path of a data set, or one of {', '.join(known)} (see `snntrace data list`)."
    if not path.exists():
        near = difflib.get_close_matches(source.lower(), known, 1)
        return f"Is {near[0]!r} meant? {give}" if near else give
    said = of_folder(path) if path.is_dir() else of_file(path)
    return said or give


def of_folder(path: Path) -> str:
    """Return what to do about a folder that is no data set.

    Parameters
    ----------
    path : Path
        An existing folder.

    Returns
    -------
    str
        What there is to say; nothing if that is not known.
    """
    files = [entry for entry in sorted(path.iterdir()) if entry.name[0] != "."]
    if not files:
        return "It is empty: give another one."
    if any(entry.suffix.lower() in EVENT_ENDINGS for entry in files):
        return f"It holds recordings without their classes: {SORT}. Of one class, give the folder around it."
    packed = [entry.name for entry in files if entry.suffix.lower() in ARCHIVES]
    return f"Unpack {packed[0]} in it first." if packed else ""


def of_file(path: Path) -> str:
    """Return what to do about a file that is no data set.

    Parameters
    ----------
    path : Path
        An existing file.

    Returns
    -------
    str
        What there is to say; nothing if that is not known.
    """
    if path.name == TABLE or IDX in path.name:
        return f"It is a part of a data set: give its folder, {path.parent}."
    if path.suffix.lower() in ARCHIVES:
        return "If it is an archive, unpack it first, and give its folder."
    if path.suffix.lower() in SOUND_ENDINGS:
        return (
            "It is one sound: put sounds into a folder for each class, and give the folder around them; or "
            "hear some with `snntrace data ear`."
        )
    with suppress(DataFileError):
        what = FORMATS[format_of(path)].what
        return (
            f"It is one recording ({what}), which `snntrace data info` tells of: {SORT}, and give the folder."
        )
    return ""
