"""HDF5 files: tables read only from the file itself, and new files that are whole or not there."""

from __future__ import annotations

import contextlib
import math
import os
import re
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import h5py

from snntrace.datasets.files.events import DataFileError
from snntrace.datasets.files.limits import LIMITS

FOREIGN = (OSError, KeyError, RuntimeError, TypeError, ValueError, OverflowError, MemoryError, AttributeError)
"""What h5py raises on damaged files."""

OURS = re.compile(r"\w+: ")
"""How messages of this package begin."""

COPY = "Copy the data into one file (h5copy), or get the original file again."


def own_table(file: Any, name: str, who: str, path: str | os.PathLike[str]) -> Any:
    """Return a table of an HDF5 file, if its numbers are in this very file.

    A file can point to others, by links, by virtual data sets and by storage outside of it. Following that
    would read whatever the file's author names, and give other data where the other file is another one.

    Parameters
    ----------
    file : h5py.File
        The open file.
    name : str
        Path of the table in it, such as ``"spikes/times"``.
    who : str
        Name of the reader, for the messages.
    path : str or path
        The file, for the messages.

    Returns
    -------
    h5py.Dataset or None
        The table; None if there is none.

    Raises
    ------
    DataFileError
        If it is elsewhere, or says to be larger than the file can hold.

    Examples
    --------
    >>> import h5py
    >>> from snntrace.datasets.hdf5 import own_table
    >>> with h5py.File("memory.h5", "w", driver="core", backing_store=False) as file:
    ...     file["labels"] = [1, 2]
    ...     file["other"] = h5py.ExternalLink("/etc/other.h5", "labels")
    ...     print(own_table(file, "labels", "Me", "memory.h5")[:], own_table(file, "x", "Me", "memory.h5"))
    ...     own_table(file, "other", "Me", "memory.h5")
    Traceback (most recent call last):
        ...
    snntrace.datasets.files.events.DataFileError: Me: tables must be in the file itself, got an external link to /etc/other.h5 at /other of memory.h5. Copy the data into one file (h5copy), or get the original file again.
    """  # noqa: DOC501, E501
    place, group = "", file
    for part in name.split("/"):
        place += "/" + part
        link = group.get(part, getlink=True) if isinstance(group, h5py.Group) else None
        if link is None:
            return None
        if not isinstance(link, h5py.HardLink):
            outside = isinstance(link, h5py.ExternalLink)
            got = f"an external link to {link.filename}" if outside else f"a soft link to {link.path}"
            elsewhere(who, path, place, got)
        group = group[part]
    if not isinstance(group, h5py.Dataset):
        return None
    if group.is_virtual:
        elsewhere(who, path, place, "a virtual data set")
    if group.external:
        elsewhere(who, path, place, f"data in {group.external[0][0]}")
    size = int(file.id.get_filesize())
    # HDF5 makes room for a whole chunk, however few of its rows there are.
    needed = max(group.nbytes, math.prod(group.chunks or (0,)) * group.dtype.itemsize)
    if needed > LIMITS.most(size):
        raise DataFileError(
            f"{who}: the file must be as long as its tables need, got {size} bytes for {needed} at "
            f"{place} of {os.fspath(path)}. Download or copy the file again."
        )
    return group


def elsewhere(who: str, path: str | os.PathLike[str], place: str, got: str) -> NoReturn:
    """Raise the error for a table that is in another file.

    Parameters
    ----------
    who : str
        Name of the reader.
    path : str or path
        The file.
    place : str
        Where in it.
    got : str
        What points elsewhere.

    Raises
    ------
    DataFileError
        Always.
    """
    raise DataFileError(
        f"{who}: tables must be in the file itself, got {got} at {place} of {os.fspath(path)}. {COPY}"
    )


class Sink:
    """A new file for HDF5 to write to, which after a first failure forgets what it is given.

    On a full disk HDF5 tries again and again to write what it still holds, and crashes at the end.

    Parameters
    ----------
    path : Path
        The file to make.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("x+b", buffering=0)
        self._failed = False

    def write(self, data: Any) -> int:
        """Write bytes at the current place."""
        rest = memoryview(data).cast("B")
        size = len(rest)
        while len(rest) and not self._failed:
            rest = rest[self._tried(self._file.write, rest) :]
        return size

    def truncate(self, size: int) -> int:
        """Cut off, or fill up, to a size."""
        return size if self._failed else self._tried(self._file.truncate, size)

    def read(self, size: int = -1) -> bytes:
        """Read bytes at the current place."""
        return self._file.read(size)

    def readinto(self, buffer: Any) -> int:
        """Read bytes at the current place."""
        return self._file.readinto(buffer)

    def seek(self, place: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place."""
        return self._file.seek(place, whence)

    def tell(self) -> int:
        """Return the current place."""
        return self._file.tell()

    def flush(self) -> None:
        """Do nothing, for nothing is held back."""

    def close(self) -> None:
        """Wait until all is on the disk, and close the file."""
        try:
            if not self._failed:
                os.fsync(self._file.fileno())
        finally:
            self._file.close()

    def _tried(self, call: Callable[[Any], int], argument: Any) -> int:
        try:
            return call(argument)
        except OSError:
            self._failed = True
            raise


@contextlib.contextmanager
def new_file(
    target: Path, who: str, check: Callable[[], None] = lambda: None, **options: Any
) -> Iterator[h5py.File]:
    """Open a new HDF5 file that takes its name when it is whole, and is removed after an error.

    Parameters
    ----------
    target : Path
        Its name; an existing file is replaced.
    who : str
        Name of the caller, for the message.
    check : callable, optional
        Called when it is whole, before it takes its name; an error removes it.
    **options : dict
        Of `h5py.File`.

    Yields
    ------
    h5py.File
        The file, under a hidden name in the same folder.

    Raises
    ------
    OSError
        If it cannot be written.
    """  # noqa: DOC501
    temporary = target.with_name(f".{target.name}-{secrets.token_hex(4)}.part")
    try:
        sink = Sink(temporary)
        with contextlib.closing(sink), h5py.File(sink, "w", **options) as file:
            yield file
        check()
        temporary.replace(target)
    except (OSError, RuntimeError) as error:
        if OURS.match(str(error)):
            raise
        raise unwritable(who, target, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def unwritable(who: str, target: Path, error: Exception) -> OSError:
    """Return the error for a file that cannot be written.

    Parameters
    ----------
    who : str
        Name of the caller.
    target : Path
        The file.
    error : Exception
        What happened.

    Returns
    -------
    OSError
        The error.
    """
    return OSError(
        f"{who}: {target} must be on a disk that has room and may be written, got {reason(error)}. "
        f"Nothing is left of it; make room or take another folder."
    )


def reason(error: Exception) -> str:
    """Return what an error of HDF5 says, without the addresses and file handles that follow.

    Parameters
    ----------
    error : Exception
        The error.

    Returns
    -------
    str
        A few words.
    """
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno)
    return str(error).splitlines()[0] if str(error) else type(error).__name__
