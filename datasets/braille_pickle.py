"""The published file of Braille letters: a compressed pickle, read without letting it run anything."""

from __future__ import annotations

import gzip
import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snntrace.datasets.files.events import DataFileError
from snntrace.datasets.unpack import gunzip, is_gzip

WHO = "BrailleLetters"
TAXELS = 12
PICKLE = b"\x80"
HARMLESS = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy.core.numeric", "_frombuffer"),
    ("numpy._core.numeric", "_frombuffer"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
}
"""What a pickle of arrays of numbers calls."""
Tables = tuple[NDArray[np.uint8], NDArray[np.int64], list[str], NDArray[np.int64]]


class ArraysOnly(pickle.Unpickler):
    """An unpickler that makes arrays, lists, dictionaries, numbers and texts, and calls nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        """Return what a pickle calls, if it is harmless.

        Parameters
        ----------
        module, name : str
            What it calls.

        Returns
        -------
        callable
            The same.

        Raises
        ------
        UnpicklingError
            If it is anything else.
        """
        if (module, name) not in HARMLESS:
            raise pickle.UnpicklingError(f"a call of {module}.{name}")
        # Where this version of numpy has it: files name the module of the version that wrote them.
        return pickle.Unpickler.find_class(self, module.replace("numpy.core", "numpy._core"), name)


def is_pickle(path: Path) -> bool:
    """Tell whether a path is a pickle that is compressed by gzip.

    Parameters
    ----------
    path : Path
        An existing file.

    Returns
    -------
    bool
        True for such a file.
    """
    if not is_gzip(path):
        return False
    try:
        with gzip.open(path, "rb") as file:
            return file.read(1) == PICKLE
    except (OSError, EOFError):
        return False


def tables_of_pickle(path: Path) -> Tables:
    """Read the list of recordings in a compressed pickle.

    Each recording is a dictionary with ``letter``, ``repetition`` and ``taxel_data``, the readings in the
    order (time, taxel).

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    taxels : uint8 array of shape (n_readings, 12)
        All readings, one recording after the other.
    lengths : int64 array of shape (n_recordings,)
        Readings of each recording.
    letters : list of str
        Letter of each recording.
    repetitions : int64 array of shape (n_recordings,)
        Which repetition it is.

    Raises
    ------
    DataFileError
        If the file is damaged or another one.
    """
    try:
        found = ArraysOnly(io.BytesIO(b"".join(gunzip(path)))).load()
        recordings = [checked(recording) for recording in found]
        taxels, letters, repetitions = zip(*recordings, strict=True)
    # Whatever can be wrong in a damaged pickle, the parser meets it as another type of error.
    except Exception as error:
        raise DataFileError(
            f"{WHO}: the file must be a pickle of recordings with letter, repetition and taxel_data, got "
            f"{type(error).__name__} ({error}) in {path}. Download it again."
        ) from error
    lengths = np.array([len(readings) for readings in taxels], np.int64)
    return np.concatenate(taxels), lengths, list(letters), np.array(repetitions, np.int64)


def checked(recording: Any) -> tuple[NDArray[np.uint8], str, int]:
    """Return the readings, the letter and the number of a recording.

    Parameters
    ----------
    recording : dict
        The recording.

    Returns
    -------
    readings : uint8 array of shape (time, 12)
        The readings.
    letter : str
        The letter.
    repetition : int
        The number.

    Raises
    ------
    ValueError
        If it is no such recording.
    """
    readings = np.asarray(recording["taxel_data"])
    if (
        readings.ndim != 2
        or readings.shape[1] != TAXELS
        or len(readings) == 0
        or readings.dtype.kind not in "iuf"
    ):
        raise ValueError(f"readings of shape {readings.shape} and dtype {readings.dtype}")
    small = readings.astype(np.uint8)
    if not np.array_equal(small, readings):
        raise ValueError("readings that are no whole numbers from 0 to 255")
    if not isinstance(recording["letter"], str):
        raise ValueError(f"the letter {recording['letter']!r}")
    return small, recording["letter"], int(recording["repetition"])
