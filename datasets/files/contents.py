"""The bytes of a recording file, its lines of text, and the errors that name a place in it."""

from __future__ import annotations

import mmap
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from snntrace.datasets.files.events import DataFileError

FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
LONGEST_HEADER = 1 << 20
PLAIN = bytes(range(32, 127)) + b"\t\r"
AGAIN = "Download or copy the file again."
PIECE = 1 << 30
"""Bytes that are read in one call: Linux gives up to 2 GiB, and macOS refuses more."""


def contents(path: str | os.PathLike[str], who: str) -> NDArray[np.uint8]:
    """Return the bytes of a file.

    Parameters
    ----------
    path : str or path
        The file.
    who : str
        Name of the reader, for the messages.

    Returns
    -------
    uint8 array of shape (n_bytes,)
        All of it; it cannot be written to.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    PermissionError
        If it may not be read.
    DataFileError
        If it is a folder or another thing that is no file, or empty.
    """  # noqa: DOC502
    # Not through `_opened` where all goes well: its calls take as long as reading a small file.
    try:
        handle = os.open(path, FLAGS)
    except (OSError, ValueError):
        return np.frombuffer(_opened(path, who, _bytes), np.uint8)
    try:
        status = os.fstat(handle)
        if stat.S_ISREG(status.st_mode) and status.st_size:
            data = os.read(handle, status.st_size)
            if len(data) == status.st_size:
                return np.frombuffer(data, np.uint8)
    finally:
        os.close(handle)
    return np.frombuffer(_opened(path, who, _bytes), np.uint8)


def read_at(handle: int, size: int, place: int) -> bytes:
    """Return a part of a file, however large, without moving the position of its handle.

    Parameters
    ----------
    handle : int
        The open file.
    size : int, in bytes
        How much.
    place : int, in bytes
        Where it starts.

    Returns
    -------
    bytes
        The part; shorter where the file ends.
    """
    return _pieces(lambda most, done: os.pread(handle, most, place + done), size)


def expect(handle: int, start: int, size: int) -> None:
    """Have the system read a part of a file ahead, where it can, so that several are read side by side.

    Parameters
    ----------
    handle : int
        The open file.
    start, size : int, in bytes
        Which part; a size of 0 is up to the end.
    """
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(handle, start, size, os.POSIX_FADV_WILLNEED)


def expect_file(path: str | os.PathLike[str]) -> None:
    """Have the system read a file ahead; what is wrong with it shows when it is read.

    Parameters
    ----------
    path : str or path
        The file.
    """
    try:
        handle = os.open(path, FLAGS)
    except OSError:
        return
    try:
        expect(handle, 0, 0)
    except OSError:
        # Not of a pipe or a device.
        pass
    finally:
        os.close(handle)


def header(raw: NDArray[np.uint8], mark: bytes) -> tuple[list[str], int]:
    """Return the lines of text that a file starts with.

    Parameters
    ----------
    raw : uint8 array
        The file's bytes.
    mark : bytes
        What each of these lines starts with. A line that does not, or that is not plain text, is data.

    Returns
    -------
    lines : list of str
        The lines, without the mark.
    end : int
        The first byte after them.
    """
    text, lines, start = raw[:LONGEST_HEADER].tobytes(), [], 0
    while text.startswith(mark, start):
        stop = text.find(b"\n", start)
        line = text[start:stop]
        if stop < 0 or line.strip(PLAIN):
            break
        lines.append(line[len(mark) :].decode("ascii").strip())
        start = stop + 1
    return lines, start


def whole_records(
    who: str, path: str | os.PathLike[str], raw: NDArray[np.uint8], start: int, size: int
) -> None:
    """Refuse a file whose data do not consist of whole records, or that has none.

    Parameters
    ----------
    who : str
        Name of the reader.
    path : str or path
        The file.
    raw : uint8 array
        Its bytes.
    start : int
        Where its data start.
    size : int
        Bytes of a record.
    """
    if raw.size <= start:
        damaged(who, path, raw.size, "the file must hold events", "its end")
    if extra := (raw.size - start) % size:
        damaged(
            who, path, raw.size - extra, f"each record must have {size} bytes",
            f"{extra} byte{'s' * (extra > 1)} of a last one",
        )  # fmt: skip


def damaged(
    who: str, path: str | os.PathLike[str], byte: int, must: str, got: str, do: str = AGAIN
) -> NoReturn:
    """Raise the error for a file that is not as it must be.

    Parameters
    ----------
    who : str
        Name of the reader.
    path : str or path
        The file.
    byte : int
        Where in it, from 0.
    must : str
        What must hold there.
    got : str
        What is there.
    do : str, optional
        The remedy.

    Raises
    ------
    DataFileError
        Always.
    """
    raise DataFileError(f"{who}: {must}, got {got} at byte {byte} of {Path(path)}. {do}")


def mapped(path: str | os.PathLike[str], who: str) -> NDArray[np.uint8]:
    """Return the bytes of a file without reading them, for files of which a part is needed.

    Parameters
    ----------
    path : str or path
        The file.
    who : str
        Name of the reader, for the messages.

    Returns
    -------
    uint8 array of shape (n_bytes,)
        All of it, read from the disk where it is looked at; it cannot be written to.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    PermissionError
        If it may not be read.
    DataFileError
        If it is a folder or another thing that is no file, or empty.
    """  # noqa: DOC502
    return np.frombuffer(_opened(path, who, _map), np.uint8)


def _opened(path: str | os.PathLike[str], who: str, reads: Callable[[int, int], Any]) -> Any:
    name = os.fspath(path)
    try:
        # Not blocking: opening a pipe would wait for someone to write into it.
        handle = os.open(path, FLAGS)
        try:
            return _checked(handle, path, who, reads)
        finally:
            os.close(handle)
    except DataFileError:
        raise
    except PermissionError as error:
        raise PermissionError(
            f"{who}: path must be a file that may be read, got path={name}. Change its permissions, or copy "
            f"it."
        ) from error
    except (FileNotFoundError, ValueError) as error:
        # A ValueError where the path has a null character, which no name of a file has.
        raise FileNotFoundError(
            f"{who}: path must be an existing file, got path={name}. Check the spelling."
        ) from error
    except OSError as error:
        raise OSError(
            f"{who}: path must be a file that can be read, got path={name} ({error.strerror}). Check the "
            f"path, and the disk that it is on."
        ) from error


def _checked(handle: int, path: str | os.PathLike[str], who: str, reads: Callable[[int, int], Any]) -> Any:
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode):
        kind = "folder" if stat.S_ISDIR(status.st_mode) else "device"
        raise DataFileError(
            f"{who}: path must be a file, got the {kind} path={os.fspath(path)}. Name a file."
        )
    if status.st_size == 0:
        raise DataFileError(f"{who}: the file must not be empty, got 0 bytes in {os.fspath(path)}. {AGAIN}")
    return reads(handle, status.st_size)


def _map(handle: int, size: int) -> mmap.mmap:
    return mmap.mmap(handle, size, access=mmap.ACCESS_READ)


def _bytes(handle: int, size: int) -> bytes:
    return _pieces(lambda most, _: os.read(handle, most), size)


def _pieces(read: Callable[[int, int], bytes], size: int) -> bytes:
    """Read as often as is needed; `read` is given the most that it may return, and what is done."""
    data = read(min(size, PIECE), 0)
    if len(data) == size:
        return data
    parts, done = [data], len(data)
    while parts[-1] and done < size:
        parts.append(read(min(size - done, PIECE), done))
        done += len(parts[-1])
    return b"".join(parts)
