"""The part of a file that has been downloaded so far, which one process at a time adds to."""

from __future__ import annotations

import fcntl
import io
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class Part:
    """The bytes that have come so far, and what is known of the file that they are of.

    Parameters
    ----------
    path : Path
        The file.
    file : binary file
        The same, open for this process alone.
    """

    def __init__(self, path: Path, file: io.FileIO) -> None:
        self.path, self.file = path, file
        self._record = path.with_name(path.name + ".json")

    @property
    def size(self) -> int:
        """Number of bytes."""
        return os.fstat(self.file.fileno()).st_size

    def add(self, block: bytes) -> None:
        """Append bytes."""
        self.file.seek(0, os.SEEK_END)
        view = memoryview(block)
        while view:
            view = view[self.file.write(view) :]

    def known(self) -> dict[str, Any]:
        """Return what `begin` was told; nothing if there is none, or it was written in part or damaged."""
        try:
            found = json.loads(self._record.read_text())
            url, version, total = (found[name] for name in ("url", "version", "total"))
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return {}
        fits = isinstance(url, str) and isinstance(version, str) and version.isprintable()
        return found if fits and (total is None or isinstance(total, int)) else {}

    def begin(self, **record: Any) -> None:
        """Drop all bytes, and note what the next ones are of."""
        self.forget()
        self.file.truncate(0)
        self._record.write_text(json.dumps(record))

    def forget(self) -> None:
        """Forget what the bytes are of."""
        self._record.unlink(missing_ok=True)


@contextmanager
def held(path: Path) -> Iterator[Part]:
    """Open the part of a file for this process alone; wait for another one that has it open.

    Parameters
    ----------
    path : Path
        The part.

    Yields
    ------
    Part
        The open part.
    """
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        # Unbuffered: what has been written is there for the next attempt, whatever ends this one.
        with os.fdopen(handle, "r+b", buffering=0) as file:
            fcntl.flock(handle, fcntl.LOCK_EX)
            if not names(path, handle):
                # Who had it has finished and renamed it meanwhile.
                continue
            part = Part(path, file)
            try:
                yield part
            finally:
                if names(path, handle) and part.size == 0:
                    part.forget()
                    path.unlink(missing_ok=True)
            return


def names(path: Path, handle: int) -> bool:
    """Tell whether a path is that of an open file."""
    try:
        there, mine = path.stat(), os.fstat(handle)
    except FileNotFoundError:
        return False
    return (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino)


def sync_folder(folder: Path) -> None:
    """Put the names of a folder's files on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
