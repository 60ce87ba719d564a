"""An open file that stays open while it is read."""

from __future__ import annotations

import os
import weakref


class Handle:
    """The number of an open file, which is closed when nothing refers to it any more.

    The system gives the number of a closed file to the next one that is opened, so a thread that still reads
    by it would read another file.

    Parameters
    ----------
    number : int
        What `os.open` or `os.dup` gave.

    Attributes
    ----------
    number : int
        The same.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        weakref.finalize(self, os.close, number)
