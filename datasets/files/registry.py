"""Find the reader of an event file by what the file starts with."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NamedTuple

from snntrace.datasets.files import mat, prophesee_raw
from snntrace.datasets.files.aedat2 import read_aedat2
from snntrace.datasets.files.aedat3 import read_aedat3
from snntrace.datasets.files.aedat4 import read_aedat4
from snntrace.datasets.files.contents import contents, header
from snntrace.datasets.files.event_stream import read_es
from snntrace.datasets.files.events import DataFileError, Events
from snntrace.datasets.files.mat5 import MAGIC, read_mat5
from snntrace.datasets.files.nmnist_bin import read_nmnist_bin
from snntrace.datasets.files.prophesee_dat import MARK, read_dat

WHO = "read_events"
HEAD = 1 << 16


class Format(NamedTuple):
    """A format of event files.

    Attributes
    ----------
    what : str
        Its name in words.
    start : bytes
        What its files start with; nothing for a format without a header.
    ending : str
        How its files are usually named; decides where `start` does not.
    reads : callable
        Its reader.
    """

    what: str
    start: bytes
    ending: str
    reads: Callable[..., Events]


def read_mat(path: str | os.PathLike[str], **options: Any) -> Events:
    """Read a MATLAB file of an ATIS or of ST-MNIST, by the variables in it.

    Parameters
    ----------
    path : str or path
        The file.
    **options
        Those of `read_atis_mat` or `read_stmnist_mat`.

    Returns
    -------
    Events
        The events.

    Raises
    ------
    DataFileError
        If the file is damaged, or has neither's variable.
    """
    names = read_mat5(WHO, path)
    if "spiketrain" in names:
        return mat.read_stmnist_mat(path, **options)
    if "TD" in names:
        return mat.read_atis_mat(path, **options)
    raise DataFileError(
        f"{WHO}: a MATLAB file must have the variable TD (ATIS) or spiketrain (ST-MNIST), got {list(names)} "
        f"in {os.fspath(path)}. Name the struct: read_atis_mat(path, variable)."
    )


FORMATS = {
    "aedat2": Format("AEDAT 2.0 (jAER)", b"#!AER-DAT2", ".aedat", read_aedat2),
    "aedat3": Format("AEDAT 3.1 (cAER)", b"#!AER-DAT3.1", ".aedat", read_aedat3),
    "aedat4": Format("AEDAT 4 (DV)", b"#!AER-DAT4", ".aedat4", read_aedat4),
    "es": Format("Event Stream 2", b"Event Stream", ".es", read_es),
    "raw": Format("Prophesee EVT 2 or EVT 3", MARK, ".raw", prophesee_raw.read_raw),
    "dat": Format("Prophesee .dat", MARK, ".dat", read_dat),
    "mat": Format("MATLAB 5, ATIS or ST-MNIST", MAGIC, ".mat", read_mat),
    "nmnist": Format("N-MNIST or N-Caltech101", b"", ".bin", read_nmnist_bin),
}
"""Formats by their names, in the order in which a file is tried."""


def format_of(path: str | os.PathLike[str]) -> str:
    """Return the name of the format of a file.

    Parameters
    ----------
    path : str or path
        The file.

    Returns
    -------
    str
        A key of `FORMATS`.

    Raises
    ------
    DataFileError
        If it is none of these.
    """
    raw = contents(path, WHO)[:HEAD]
    head, ending = raw.tobytes(), os.path.splitext(os.fspath(path))[1].lower()
    if head.startswith(MARK):
        # Two formats of one maker: only the words of a sensor need the name of their encoding.
        return "dat" if prophesee_raw.encoding(header(raw, MARK)[0]) is None else "raw"
    for name, form in FORMATS.items():
        if (form.start and head.startswith(form.start)) or (not form.start and ending == form.ending):
            return name
    known = "; ".join(f"{form.what} ({form.ending})" for form in FORMATS.values())
    raise DataFileError(
        f"{WHO}: the file must be in a known format, got {head[:16]!r} at byte 0 of "
        f"{os.fspath(path)}. Known are: "
        f"{known}. Open HDF5 files and folders of recordings with open_dataset."
    )


def named_format(path: str | os.PathLike[str], name: str) -> str:
    """Return the format of a file in words, with what only the file tells.

    Parameters
    ----------
    path : str or path
        The file.
    name : str
        Its format, a key of `FORMATS`.

    Returns
    -------
    str
        The words.
    """
    if name == "raw":
        version = prophesee_raw.encoding(header(contents(path, WHO)[:HEAD], MARK)[0])
        return f"Prophesee EVT {version:g}"
    if name == "mat":
        return "MATLAB 5, ST-MNIST" if "spiketrain" in read_mat5(WHO, path) else "MATLAB 5, ATIS"
    return FORMATS[name].what


def read_events(path: str | os.PathLike[str], **options: Any) -> Events:
    """Read a recording of an event sensor, whatever format it is in.

    The first bytes decide the format, and the ending of the name only where a format has no header (.bin).

    Parameters
    ----------
    path : str or path
        The file.
    **options
        Passed on to the reader of the format, such as ``sensor=(640, 480)`` or ``ordered=False``.

    Returns
    -------
    Events
        The events.

    Raises
    ------
    DataFileError
        If the format is not known, or the file is cut off or damaged.
    OSError
        If it cannot be read.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from snntrace.datasets.files import read_events
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "one.bin"
    >>> _ = path.write_bytes(bytes([3, 33, 0x80, 1, 0]))
    >>> read_events(path)
    Events(1 events, 256 .. 256 us, 34 x 34)
    """  # noqa: DOC502
    return FORMATS[format_of(path)].reads(path, **options)
