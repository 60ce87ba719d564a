"""What all fused kernels share: rows of scratch memory, event loops, compilation.

Every unit-wise number of a row lives in one scratch array, row after row of a width that is known to the
compiler. So loops over units read and write one array at fixed distances, and become vector instructions
however many numbers the neuron has.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import numba
import numpy as np

FAST = frozenset({"contract", "nsz"})
"""What the compiler may do to sums: fuse a product with an addition, and forget the sign of zero."""


@numba.njit(fastmath=set(FAST), nogil=True)  # type: ignore[untyped-decorator]
def add_rows(scratch: Any, at: int, matrix: Any, units: Any, first: int, stop: int, n: int) -> None:
    """Add the matrix rows of some events to a scratch row, four at a time."""
    y = scratch[at : at + n]
    e = first
    while e + 4 <= stop:
        a, b, c, d = matrix[units[e]], matrix[units[e + 1]], matrix[units[e + 2]], matrix[units[e + 3]]
        for i in range(n):
            y[i] += (a[i] + b[i]) + (c[i] + d[i])
        e += 4
    while e < stop:
        a = matrix[units[e]]
        for i in range(n):
            y[i] += a[i]
        e += 1


@numba.njit(fastmath=set(FAST), nogil=True)  # type: ignore[untyped-decorator]
def add_graded_rows(
    scratch: Any, at: int, matrix: Any, units: Any, sizes: Any, first: int, stop: int, n: int
) -> None:
    """Add multiples of the matrix rows of some events to a scratch row."""
    y = scratch[at : at + n]
    for e in range(first, stop):
        a, x = matrix[units[e]], sizes[e]
        for i in range(n):
            y[i] += x * a[i]


@numba.njit(fastmath=set(FAST), nogil=True)  # type: ignore[untyped-decorator]
def add_product(scratch: Any, at: int, signal: Any, matrix: Any, n: int) -> None:
    """Add the product of a signal (K,) and a matrix (K, n) to a scratch row, four rows at a time."""
    y = scratch[at : at + n]
    k, width = 0, signal.shape[0]
    while k + 4 <= width:
        p, q, r, s = signal[k], signal[k + 1], signal[k + 2], signal[k + 3]
        if p != 0 or q != 0 or r != 0 or s != 0:
            a, b, c, d = matrix[k], matrix[k + 1], matrix[k + 2], matrix[k + 3]
            for i in range(n):
                y[i] += (p * a[i] + q * b[i]) + (r * c[i] + s * d[i])
        k += 4
    while k < width:
        p, a = signal[k], matrix[k]
        for i in range(n):
            y[i] += p * a[i]
        k += 1


@numba.njit(fastmath=set(FAST), nogil=True)  # type: ignore[untyped-decorator]
def add_to_row(matrix: Any, row: int, scratch: Any, at: int, n: int) -> None:
    """Add a scratch row to a matrix row."""
    y, x = matrix[row], scratch[at : at + n]
    for i in range(n):
        y[i] += x[i]


@numba.njit(fastmath=set(FAST), nogil=True)  # type: ignore[untyped-decorator]
def add_scaled_to_row(matrix: Any, row: int, factor: Any, scratch: Any, at: int, n: int) -> None:
    """Add a multiple of a scratch row to a matrix row."""
    y, x = matrix[row], scratch[at : at + n]
    for i in range(n):
        y[i] += factor * x[i]


@numba.njit(fastmath=set(FAST), nogil=True)  # type: ignore[untyped-decorator]
def add_between(target: Any, to: int, source: Any, row: int, factor: Any, n: int) -> None:
    """Add a multiple of a row of one matrix to a row of another."""
    y, x = target[to], source[row]
    for i in range(n):
        y[i] += factor * x[i]


@numba.njit(nogil=True)  # type: ignore[untyped-decorator]
def clear(scratch: Any, at: int, n: int) -> None:
    """Set a scratch row to zero."""
    y = scratch[at : at + n]
    for i in range(n):
        y[i] = 0


@numba.njit(nogil=True)  # type: ignore[untyped-decorator]
def copy_row(scratch: Any, at: int, row: Any, n: int) -> None:
    """Copy a row into scratch memory."""
    y = scratch[at : at + n]
    for i in range(n):
        y[i] = row[i]


@numba.njit(nogil=True)  # type: ignore[untyped-decorator]
def clear_all(array: Any) -> None:
    """Set an array to zero."""
    flat = array.reshape(array.size)
    for i in range(flat.size):
        flat[i] = 0


@numba.njit(nogil=True)  # type: ignore[untyped-decorator]
def list_units(scratch: Any, at: int, n: int, indices: Any, position: int) -> int:
    """Append the units of a scratch row that are not zero to an event list; return its end."""
    x = scratch[at : at + n]
    for begin in range(0, n, 32):
        end = min(begin + 32, n)
        some = False
        for i in range(begin, end):
            some |= x[i] != 0
        if some:
            for i in range(begin, end):
                if x[i] != 0:
                    indices[position] = i
                    position += 1
    return position


@numba.njit(nogil=True)  # type: ignore[untyped-decorator]
def list_values(scratch: Any, at: int, indices: Any, values: Any, begin: int, end: int) -> None:
    """Write the values of listed units."""
    for e in range(begin, end):
        values[e] = scratch[at + indices[e]]


HELPERS: dict[str, Any] = {
    f.__name__: f
    for f in (
        clear, copy_row, clear_all, add_rows, add_graded_rows, add_product, add_to_row, add_scaled_to_row,
        add_between, list_units, list_values,
    )
}  # fmt: skip


class Source:
    """Source code, line by line."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.depth = 0

    def __call__(self, *lines: str) -> None:
        """Write lines at the present depth."""
        self.lines += ["    " * self.depth + line for line in lines]

    def block(self, head: str) -> Source:
        """Open a block: ``with source.block("for ...:"):``."""
        self(head)
        return self

    def __enter__(self) -> Source:
        """Go one level deeper."""
        self.depth += 1
        return self

    def __exit__(self, *_: object) -> None:
        """Come back."""
        self.depth -= 1

    @property
    def text(self) -> str:
        """The code."""
        return "\n".join(self.lines) + "\n"


@cache
def compiled(text: str, dtype: str) -> Any:
    """Compile generated code; code that was met before is not compiled again.

    Parameters
    ----------
    text : str
        Source of ``kernel(part, parts, extent, ...)``, which runs one part of the batch.
    dtype : str
        Number type of the states.

    Returns
    -------
    numba function
        The kernel, for `native_call`.
    """
    scope: dict[str, Any] = {"np": np, "math": math, "F": np.dtype(dtype).type, **HELPERS}
    exec(compile(text, "<snntrace kernel>", "exec"), scope)
    return numba.njit(fastmath=set(FAST), nogil=True, error_model="numpy")(scope["kernel"])


def open_kernel(source: Source, arguments: Sequence[str]) -> Source:
    """Begin a kernel: ``extent`` holds the numbers of samples and steps; each part has its samples.

    Returns
    -------
    Source
        The open block.
    """
    source.block(f"def kernel(part, parts, extent, {', '.join(arguments)}):")
    source.depth += 1
    source("size, steps = int(extent[0]), int(extent[1])")
    source("begin, end = part * size // parts, (part + 1) * size // parts")
    source.depth -= 1
    return source
