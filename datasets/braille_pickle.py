"""The published file of Braille letters: a compressed pickle, read without letting it run anything."""

from __future__ import annotations

import gzip
import io
import pickle
import pickletools
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snntrace.datasets.files.events import DataFileError
from snntrace.datasets.unpack import gunzip, is_gzip

WHO = "BrailleLetters"
TAXELS = 12
PICKLE = b"\x80"
PUTS = {"PUT", "BINPUT", "LONG_BINPUT"}
"""What keeps a thing of a pickle under a number."""
KIND = re.compile(r"[biufU][0-9]{1,4}")


class Kind:
    """In a pickle, a type of numbers or texts.

    Parameters
    ----------
    code : str
        Such as ``"f8"``.
    *options : object
        Not needed.
    """

    def __init__(self, code: str, *options: object) -> None:
        if not KIND.fullmatch(code):
            raise pickle.UnpicklingError(f"the type {code}")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        """Take the order of bytes."""
        self.dtype = self.dtype.newbyteorder(state[1])


class Array:
    """In a pickle, an array: numpy's own would take any size and any state that it is told."""

    numbers: NDArray[Any] | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        """Take the numbers."""
        _, shape, kind, by_columns, raw = state
        self.numbers = as_array(raw, kind, shape, "F" if by_columns else "C")


def as_array(raw: bytes, kind: Kind, shape: tuple[int, ...], order: Any) -> NDArray[Any]:
    """Return the array of some bytes."""
    return np.frombuffer(raw, kind.dtype).reshape(shape, order=order)


def as_bytes(text: str, encoding: str) -> bytes:
    """Return the bytes that older protocols write as text."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes in {encoding}")
    return text.encode(encoding)


HARMLESS = {
    "numpy.core.multiarray._reconstruct": lambda *what: Array(),
    "numpy.core.multiarray.scalar": lambda kind, raw: np.frombuffer(raw, kind.dtype)[0],
    "numpy.core.numeric._frombuffer": as_array,
    "numpy.ndarray": Array,
    "numpy.dtype": Kind,
    "_codecs.encode": as_bytes,
}
"""What a pickle of arrays of numbers calls, by the names of older versions of numpy, and what is called."""
Tables = tuple[NDArray[np.uint8], NDArray[np.int64], list[str], NDArray[np.int64]]


class ArraysOnly(pickle.Unpickler):
    """An unpickler that makes arrays, lists, dictionaries, numbers and texts, and calls nothing of others."""

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
        # Files name the module of the version of numpy that wrote them.
        named = f"{module.replace('numpy._core', 'numpy.core')}.{name}"
        if named not in HARMLESS:
            raise pickle.UnpicklingError(f"a call of {module}.{name}")
        return HARMLESS[named]


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
        content = b"".join(gunzip(path))
        refuse_places(content)
        left, recordings = len(content), []
        for recording in ArraysOnly(io.BytesIO(content)).load():
            recordings.append(checked(recording, left))
            left -= recordings[-1][0].size
        taxels, letters, repetitions = zip(*recordings, strict=True)
    # Whatever can be wrong in a damaged pickle, the parser meets it as another type of error.
    except Exception as error:
        raise DataFileError(
            f"{WHO}: the file must be a pickle of recordings with letter, repetition and taxel_data, got "
            f"{type(error).__name__} ({error}) in {path}. Download it again."
        ) from error
    lengths = np.array([len(readings) for readings in taxels], np.int64)
    return np.concatenate(taxels), lengths, list(letters), np.array(repetitions, np.int64)


def refuse_places(content: bytes) -> None:
    """Refuse a pickle that keeps a thing under a larger number than it can have things.

    The library makes room for all smaller ones.

    Parameters
    ----------
    content : bytes
        The pickle.

    Raises
    ------
    UnpicklingError
        If it does.
    """
    for operation, argument, place in pickletools.genops(content):
        if operation.name in PUTS and not 0 <= int(argument or 0) <= len(content):
            raise pickle.UnpicklingError(f"a thing of number {argument} at byte {place}")


def checked(recording: Any, most: int) -> tuple[NDArray[np.uint8], str, int]:
    """Return the readings, the letter and the number of a recording.

    Parameters
    ----------
    recording : dict
        The recording.
    most : int
        How many readings it may have.

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
    readings = numbers_of(recording["taxel_data"], most)
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


def numbers_of(value: Any, most: int) -> NDArray[Any]:
    """Return readings as an array, if a pickle can hold so many.

    Parameters
    ----------
    value : Array, array, or list of rows
        The readings.
    most : int
        How many there may be: a pickle can name one thing many times.

    Returns
    -------
    array
        The same.

    Raises
    ------
    ValueError
        If they are more, or of no such kind.
    """
    if isinstance(value, (list, tuple)):
        rows = [row.numbers if isinstance(row, Array) else row for row in value]
        if TAXELS * len(rows) > most or not all(is_row(row) for row in rows):
            raise ValueError(f"{len(rows)} rows of readings, not each of {TAXELS} numbers")
        return np.asarray(rows)
    numbers = value.numbers if isinstance(value, Array) else value
    if not isinstance(numbers, np.ndarray) or numbers.size > most:
        raise ValueError(f"readings that are no array, or more than {most}")
    return numbers


def is_row(row: Any) -> bool:
    """Tell whether something is one reading of each taxel."""
    if isinstance(row, np.ndarray):
        return bool(row.shape == (TAXELS,))
    return isinstance(row, (list, tuple)) and [isinstance(x, (int, float)) for x in row] == [True] * TAXELS
