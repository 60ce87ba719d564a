"""MATLAB 5 files: numbers, and structs of numbers, with every place in them checked."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snntrace.datasets.files.contents import AGAIN, contents
from snntrace.datasets.files.events import DataFileError
from snntrace.datasets.files.limits import LIMITS

MAGIC = b"MATLAB 5.0 MAT-file"
HEADER = 128
NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
"""Types of elements that hold numbers."""

MATRIX, COMPRESSED = 14, 15
STRUCT = 2
MOST_AXES = 32
NUMERIC = range(6, 16)
"""Classes of matrices of numbers."""

Variable = NDArray[Any] | dict[str, NDArray[Any] | None] | None


def read_mat5(who: str, path: str | os.PathLike[str]) -> dict[str, Variable]:
    """Return the variables of a MATLAB 5 file.

    Parameters
    ----------
    who : str
        Name of the reader, for the messages.
    path : str or path
        The file.

    Returns
    -------
    dict
        By its name, an array for a matrix of real numbers, a dict of such for a struct of one element, and
        None for anything else.

    Raises
    ------
    DataFileError
        If the file is another, cut off or damaged.
    """  # noqa: DOC501
    raw = contents(path, who)
    data = raw.tobytes()
    if not data.startswith(MAGIC) or data[126:HEADER] not in {b"IM", b"MI"}:
        raise DataFileError(
            f"{who}: the file must start with {MAGIC.decode()!r}, got {data[:19]!r} at byte 0 of "
            f"{os.fspath(path)}. Save it with the option -v7 or -v6."
        )
    order = "<" if data[126:HEADER] == b"IM" else ">"
    found: dict[str, Variable] = {}
    last, left = HEADER, LIMITS.most(len(data))
    try:
        for place, kind, content in elements(data, HEADER, order):
            last = place
            if kind == COMPRESSED:
                expanded = decompressed(content, left)
                left -= len(expanded)
                ((_, kind, content),) = elements(expanded, 0, order)
            if kind == MATRIX:
                name, value = matrix(content, order)
                found[name] = value
    except (ValueError, zlib.error, struct.error, MemoryError) as error:
        raise DataFileError(
            f"{who}: a variable of a MATLAB 5 file must be whole, got {error} at byte {last} of "
            f"{os.fspath(path)}. {AGAIN}"
        ) from error
    return found


def decompressed(content: bytes, most: int) -> bytes:
    """Return the content of a compressed element.

    Parameters
    ----------
    content : bytes
        The compressed content.
    most : int, in bytes
        How much it may be.

    Returns
    -------
    bytes
        The content.

    Raises
    ------
    ValueError
        If it is cut off or larger.
    """
    inner = zlib.decompressobj()
    expanded = inner.decompress(content, most + 1)
    if len(expanded) > most:
        raise ValueError(f"compressed data of more than {most:,} bytes")
    if not inner.eof:
        raise ValueError("compressed data that are cut off")
    return expanded


def elements(data: bytes, start: int, order: str) -> Iterator[tuple[int, int, bytes]]:
    """Walk over elements: a type, a size and a content, each.

    Parameters
    ----------
    data : bytes
        What holds them, to its end.
    start : int
        Where the first is.
    order : {'<', '>'}
        Order of the bytes of a number.

    Yields
    ------
    place, kind, content : int, int, bytes
        Where the element is, its type and its content.

    Raises
    ------
    ValueError
        If one is cut off.
    """
    place = start
    while place < len(data):
        if len(data) - place < 8:
            raise ValueError(f"an element of {len(data) - place} bytes")
        (first,) = struct.unpack_from(order + "I", data, place)
        # A content of up to 4 bytes can stand in the place of its size.
        if first >> 16:
            kind, size, begin = first & 0xFFFF, first >> 16, place + 4
            after = place + 8
            if size > 4:
                raise ValueError(f"a short element of {size} bytes")
        else:
            kind, begin = first, place + 8
            (size,) = struct.unpack_from(order + "I", data, place + 4)
            after = begin + size + (0 if kind == COMPRESSED else -size % 8)
        if size > len(data) - begin:
            raise ValueError(f"an element of {size} bytes, of which {len(data) - begin} are there")
        yield place, kind, data[begin : begin + size]
        place = after


def matrix(content: bytes, order: str, *, inner: bool = False) -> tuple[str, Variable]:
    """Return name and value of a matrix.

    Parameters
    ----------
    content : bytes
        Content of its element.
    order : {'<', '>'}
        Order of the bytes of a number.
    inner : bool, default False
        Whether it is the field of a struct, and a struct itself not looked into.

    Returns
    -------
    name : str
        Its name.
    value : array, dict or None
        As `read_mat5` gives it.

    Raises
    ------
    ValueError
        If it contradicts itself.
    """
    if not content:
        return "", None
    parts = [(kind, part) for _, kind, part in elements(content, 0, order)]
    if len(parts) < 3 or len(parts[0][1]) != 8 or parts[1][0] != 5 or len(parts[1][1]) % 4:
        raise ValueError("a matrix without class, dimensions and name")
    if len(parts[1][1]) > 4 * MOST_AXES:
        raise ValueError(f"a matrix of {len(parts[1][1]) // 4} dimensions")
    (flags,) = struct.unpack_from(order + "I", parts[0][1])
    shape = tuple(np.frombuffer(parts[1][1], order + "i4").tolist())
    name = parts[2][1].decode("ascii", "replace")
    kind = flags & 0xFF
    is_complex = bool(flags & 0x800)
    if kind in NUMERIC and not is_complex:
        return name, numbers(parts[3:], shape, order)
    if kind == STRUCT and prod(shape) == 1 and not inner:
        return name, fields(parts[3:], order)
    return name, None


def numbers(parts: list[tuple[int, bytes]], shape: tuple[int, ...], order: str) -> NDArray[Any]:
    """Return the numbers of a matrix, in the type that the file keeps them in.

    Parameters
    ----------
    parts : list of (kind, content)
        The elements after its name.
    shape : tuple of int
        Its dimensions.
    order : {'<', '>'}
        Order of the bytes of a number.

    Returns
    -------
    array
        The numbers.

    Raises
    ------
    ValueError
        If there are not as many as the dimensions say.
    """
    if len(parts) != 1 or parts[0][0] not in NUMBERS:
        raise ValueError(f"a matrix of {len(parts)} elements of other types than numbers")
    kind = np.dtype(NUMBERS[parts[0][0]]).newbyteorder("<" if order == "<" else ">")
    if min(shape, default=-1) < 0 or prod(shape) * kind.itemsize != len(parts[0][1]):
        raise ValueError(f"{len(parts[0][1])} bytes for a matrix of shape {shape}")
    return np.frombuffer(parts[0][1], kind).astype(kind.newbyteorder("=")).reshape(shape, order="F")


def fields(parts: list[tuple[int, bytes]], order: str) -> dict[str, NDArray[Any] | None]:
    """Return the fields of a struct of one element that are numbers; None for others.

    Parameters
    ----------
    parts : list of (kind, content)
        The elements after its name: the length of a field's name, the names, and a matrix for each field.
    order : {'<', '>'}
        Order of the bytes of a number.

    Returns
    -------
    dict
        The fields.

    Raises
    ------
    ValueError
        If the names and the fields do not go together.
    """
    if len(parts) < 2 or len(parts[0][1]) != 4:
        raise ValueError("a struct without names of its fields")
    (length,) = struct.unpack(order + "i", parts[0][1])
    if not 0 < length <= 1 << 16 or len(parts[1][1]) != length * (len(parts) - 2):
        raise ValueError(
            f"a struct of {len(parts) - 2} fields, with {len(parts[1][1])} bytes of names of {length}"
        )
    found: dict[str, NDArray[Any] | None] = {}
    for i, (kind, content) in enumerate(parts[2:]):
        if kind != MATRIX:
            raise ValueError(f"a field of type {kind}")
        name = parts[1][1][i * length : (i + 1) * length].split(b"\0")[0].decode("ascii", "replace")
        value = matrix(content, order, inner=True)[1]
        found[name] = value if isinstance(value, np.ndarray) else None
    return found
