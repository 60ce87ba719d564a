"""The tables of a file in the layout of SHD and SSC, beside its events."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from snntrace.datasets.files.events import DataFileError
from snntrace.datasets.hdf5 import FOREIGN, own_table
from snntrace.datasets.unpack import is_packed, unpacked
from snntrace.datasets.vlen_rows import VlenRows

REQUIRED = ("spikes/times", "spikes/units", "labels")
OPTIONAL = ("extra/speaker", "extra/keys")
MOST_CLASSES = 1 << 16
MOST_UNITS = 1 << 40
LAYOUT = "/spikes/times, /spikes/units and /labels, with one row a recording"


def read_tables(file: Any, path: Path) -> tuple[NDArray[np.int64], NDArray[np.int64] | None, tuple[str, ...]]:
    """Read all but the events of a file in SHD's layout, and check that the events are there.

    Parameters
    ----------
    file : h5py.File
        The open file.
    path : Path
        Its path, for the messages.

    Returns
    -------
    labels : int64 array of shape (n_recordings,)
        Class of each recording.
    speakers : int64 array of shape (n_recordings,), or None
        Speaker of each recording.
    class_names : tuple of str
        Name of each class.

    Raises
    ------
    DataFileError
        If a table is missing.
    ValueError
        If one is of another kind than it must be.
    """
    tables = {name: own_table(file, name, "SpikeFile", path) for name in (*REQUIRED, *OPTIONAL)}
    for name in REQUIRED:
        if tables[name] is None:
            raise DataFileError(
                f"SpikeFile: {path} must have {LAYOUT}, got no data set /{name}. "
                f"Is it a file of SHD or SSC? It holds: {', '.join(sorted(file)) or 'nothing'}."
            )
    for name, kinds in (("spikes/times", "f"), ("spikes/units", "iu")):
        element = h5py.check_vlen_dtype(tables[name].dtype)
        if element is None or np.dtype(element).kind not in kinds:
            wanted = "floating-point seconds" if kinds == "f" else "integers"
            raise ValueError(
                f"SpikeFile: /{name} of {path} must be variable-length rows of {wanted}, got "
                f"dtype={tables[name].dtype if element is None else element}. Convert the file to SHD's "
                f"layout."
            )
    shapes = {name: tables[name].shape for name in REQUIRED}
    if len(set(shapes.values())) != 1 or len(shapes["labels"]) != 1 or shapes["labels"][0] == 0:
        raise ValueError(
            f"SpikeFile: {path} must have {LAYOUT} (at least one), got the shapes {shapes}. "
            f"Repair or download the file again."
        )
    labels, speakers = column(tables["labels"], shapes["labels"], path), tables["extra/speaker"]
    return (
        labels,
        None if speakers is None else column(speakers, shapes["labels"], path),
        names_of(labels, None if tables["extra/keys"] is None else texts(file, tables["extra/keys"]), path),
    )


def column(table: Any, shape: tuple[int], path: Path) -> NDArray[np.int64]:
    """Return one number of each recording.

    Parameters
    ----------
    table : h5py.Dataset
        Where they are.
    shape : (int,)
        Number of recordings.
    path : Path
        The file, for the message.

    Returns
    -------
    int64 array of shape (n_recordings,)
        The numbers.

    Raises
    ------
    ValueError
        If there are others.
    """
    if table.shape != shape or table.dtype.kind not in "iu":
        raise ValueError(
            f"SpikeFile: {table.name} of {path} must be {shape[0]} integers, got "
            f"shape={table.shape} and dtype={table.dtype}. Repair or download the file again."
        )
    found: NDArray[np.int64] = table[:].astype(np.int64)
    found.setflags(write=False)
    return found


def texts(file: Any, keys: Any) -> list[str]:
    """Return the texts of a table, without letting HDF5 follow what a damaged one points to.

    Parameters
    ----------
    file : h5py.File
        The open file.
    keys : h5py.Dataset
        Texts of equal or of variable length, or whole numbers.

    Returns
    -------
    list of str
        The texts.

    Raises
    ------
    TypeError
        If it is a table of other things.
    """
    if keys.ndim == 1 and keys.dtype.kind in "Siu":
        return [name.decode() if isinstance(name, bytes) else str(name) for name in keys[:]]
    kind = h5py.check_string_dtype(keys.dtype)
    if keys.ndim != 1 or kind is None:
        raise TypeError(f"{keys.dtype} {keys.shape} in place of a list of texts at {keys.name}")
    rows = VlenRows(file, keys)
    return [rows[i].tobytes().rstrip(b"\0").decode() for i in range(len(keys))]


def names_of(labels: NDArray[np.int64], names: list[str] | None, path: Path) -> tuple[str, ...]:
    """Return the names of the classes.

    Parameters
    ----------
    labels : int64 array of shape (n_recordings,)
        Class of each recording.
    names : list of str, or None
        Their names; None for numbers.
    path : Path
        The file, for the message.

    Returns
    -------
    tuple of str
        The names.

    Raises
    ------
    ValueError
        If a label has no name.
    """
    lowest, highest = int(labels.min()), int(labels.max())
    # Without names there is one for each number, and a damaged label may be any number.
    if names is None:
        names = [str(label) for label in range(min(highest + 1, MOST_CLASSES))]
    if lowest < 0 or highest >= len(names):
        raise ValueError(
            f"SpikeFile: the labels of {path} must be in 0 .. {len(names) - 1}, for /extra/keys "
            f"names {len(names)} classes, got labels {lowest} .. {highest}. Repair or download the file "
            f"again."
        )
    return tuple(names)


def said_units(path: Path) -> int | None:
    """Return the number of units that a file in the layout of SHD names.

    SHD and SSC themselves name none; `snntrace.datasets.export_shd` writes it as the attribute ``n_units``.

    Parameters
    ----------
    path : Path
        An HDF5 file, as it is or compressed.

    Returns
    -------
    int or None
        The number; None if the file names none.

    Raises
    ------
    DataFileError
        If what it names is no number of units.
    """
    opened = unpacked(path) if is_packed(path) else path
    try:
        file = h5py.File(opened, "r")
    except OSError:
        # `SpikeFile` says what is wrong with it.
        return None
    with file:
        try:
            said = file.attrs.get("n_units")
        except FOREIGN as error:
            raise DataFileError(
                f"SpikeFile: the attributes of {path} must be readable, got {error}. Download the file again."
            ) from error
    if said is None:
        return None
    number = np.asarray(said)
    if number.shape != () or number.dtype.kind not in "iu" or not 0 < int(number) < MOST_UNITS:
        raise DataFileError(
            f"SpikeFile: the attribute n_units of {path} must be a number of units, got {said!r}. Export the "
            f"file again, or give n_units."
        )
    return int(number)
