"""IDX, the file format of MNIST."""

from __future__ import annotations

import contextlib
import gzip
import math
import os
import zlib
from pathlib import Path
from typing import IO, Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from snntrace.datasets.files.contents import AGAIN, damaged, mapped
from snntrace.datasets.files.limits import LIMITS
from snntrace.datasets.unpack import is_gzip

WHO = "read_idx"
TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
MOST_AXES = 32


def read_idx(path: str | os.PathLike[str], axes: int | None = None) -> NDArray[Any]:
    """Read an IDX file, as it is or compressed by gzip.

    It holds two bytes 0, the number type, the number of axes, the length of each axis (4 bytes, big-endian)
    and the elements in row-major order, and nothing else.

    Parameters
    ----------
    path : str or Path
        The file.
    axes : int, optional
        How many axes it must have.

    Returns
    -------
    array
        The elements, in the byte order of this machine.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    DataFileError
        If the file is cut off, damaged or another one.
    OSError
        If it cannot be read.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from snntrace.datasets.idx import read_idx
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "labels"
    >>> _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 3]))
    >>> read_idx(path)
    array([7, 3], dtype=uint8)
    """  # noqa: DOC502
    file = Path(path).expanduser()
    # For its errors: a file that is missing, forbidden, empty or no file.
    mapped(file, WHO)
    packed = is_gzip(file)
    try:
        with contextlib.ExitStack() as stack:
            source: Any = stack.enter_context(file.open("rb"))
            if packed:
                source = stack.enter_context(gzip.GzipFile(fileobj=source))
            size = file.stat().st_size
            return _read(source, file, axes, LIMITS.most(size) if packed else size)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        _damaged(file, 0, "a gzip file must be whole", str(error))


def _read(source: IO[bytes], path: Path, axes: int | None, most: int) -> NDArray[Any]:
    start = source.read(4)
    if len(start) < 4 or start[:2] != b"\0\0" or start[2] not in TYPES or start[3] == 0:
        _damaged(
            path, 0, "an IDX file must start with 0, 0, a number type and the number of axes", f"{start!r}"
        )
    if start[3] > MOST_AXES:
        _damaged(path, 3, f"the file must have at most {MOST_AXES} axes", f"{start[3]}")
    if axes is not None and start[3] != axes:
        _damaged(path, 3, f"the file must have {axes} axes", f"{start[3]}", "Is it the right file?")
    lengths = source.read(4 * start[3])
    if len(lengths) < 4 * start[3]:
        _damaged(path, 4, "the lengths of all axes must be there", f"{len(lengths)} bytes")
    shape = tuple(int.from_bytes(lengths[4 * k : 4 * k + 4], "big") for k in range(start[3]))
    dtype = np.dtype(TYPES[start[2]])
    size = math.prod(shape) * dtype.itemsize
    # Not of the size alone, which is 0 if one of the lengths is.
    if max(size, *shape) > most:
        _damaged(path, 4, f"the elements of shape {shape} must be there", "a file that cannot hold them")
    # One byte more, which must not be there; for gzip, the attempt also compares the checksum.
    raw = source.read(size)
    more = source.read(1)
    if len(raw) < size or more:
        got = "more" if more else f"{len(raw):,}"
        _damaged(path, 4 + len(lengths), f"there must be {size:,} bytes of elements", got)
    return np.frombuffer(raw, dtype).reshape(shape).astype(dtype.newbyteorder("="))


def _damaged(path: Path, byte: int, must: str, got: str, do: str = AGAIN) -> NoReturn:
    damaged(WHO, path, byte, must, got, do)
