"""The folder that an archive is unpacked into, with the count of what it may hold."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import IO

from snntrace.datasets.files.limits import Limits
from snntrace.datasets.unpack import BLOCK, refuse, whole

DEEPEST = 32
"""Folders in one another."""


class Shelf:
    """The folder that members of one archive are put into, with the count of what it holds.

    Parameters
    ----------
    path : Path
        The archive, for messages.
    place : Path
        The folder.
    limits : Limits
        How much it may hold.
    """

    def __init__(self, path: Path, place: Path, limits: Limits) -> None:
        self.path, self.place, self.limits = path, place, limits
        self.most = limits.most(path.stat().st_size)
        self.members = self.size = 0

    def expect(self, members: int, size: int) -> None:
        """Refuse what would be too much.

        Parameters
        ----------
        members : int
            Files and folders.
        size : int, in bytes
            Their content.

        Raises
        ------
        OSError
            If the disk has no room.
        """
        if members > self.limits.members:
            refuse(self.path, f"there must be at most {self.limits.members:,} members", f"{members:,}")
        if size > self.most:
            refuse(self.path, f"the content must be at most {self.most:,} bytes", f"{size:,}")
        free = shutil.disk_usage(self.place).free
        if size - self.size > free:
            raise OSError(f"{free:,} bytes that are free where {size - self.size:,} are needed")

    def where(self, name: str) -> Path:
        """Return the place of a member, which is inside of the folder.

        Parameters
        ----------
        name : str
            Its name in the archive.

        Returns
        -------
        Path
            The place.
        """
        parts = [part for part in name.split("/") if part not in {"", "."}]
        odd = any(part == ".." or not part.isprintable() or len(os.fsencode(part)) > 255 for part in parts)
        odd |= len(parts) > DEEPEST
        if odd or name.startswith("/") or "\\" in name or (parts and parts[0][1:2] == ":"):
            refuse(self.path, "members must lie inside of the archive", f"the name {name!r}")
        return self.place.joinpath(*parts)

    def folder(self, name: str) -> None:
        """Make a folder.

        Parameters
        ----------
        name : str
            Its name in the archive.
        """
        self.members += 1
        place = self.where(name)
        try:
            place.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            refuse(self.path, "members must have different names", f"{name!r} twice")

    def file(self, name: str, content: IO[bytes], size: int) -> None:
        """Write a file.

        Parameters
        ----------
        name : str
            Its name in the archive.
        content : binary file
            What it holds.
        size : int, in bytes
            How much that is, as the archive says.
        """
        self.members += 1
        place = self.where(name)
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            output = place.open("xb")
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            refuse(self.path, "members must have different names", f"{name!r} twice")
        done = 0
        with output:
            while block := self._read(content, min(BLOCK, size - done + 1)):
                done += len(block)
                if done > size:
                    break
                output.write(block)
        if done != size:
            refuse(self.path, f"{name!r} must hold {size:,} bytes", "more" if done > size else f"{done:,}")
        self.size += size

    def _read(self, content: IO[bytes], size: int) -> bytes:
        with whole(self.path):
            return content.read(size)
