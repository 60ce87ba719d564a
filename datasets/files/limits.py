"""How much a compressed file may hold."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """How much a compressed file may hold, so that a small one cannot fill a disk or the memory.

    Attributes
    ----------
    ratio : float
        Largest size of the content, as a multiple of the file's.
    spared : int, in bytes
        Content up to this is taken whatever its ratio.
    size : int, in bytes
        Largest size of the content.
    members : int
        Most files and folders of an archive.
    header : int, in bytes
        Most that the description of one file in an archive may take.
    """

    ratio: float = 100.0
    spared: int = 1 << 26
    size: int = 1 << 39
    members: int = 1 << 20
    header: int = 1 << 22

    def most(self, packed: int) -> int:
        """Return the largest content of a file of a size."""
        return int(min(self.size, max(self.spared, self.ratio * packed)))


LIMITS = Limits()
