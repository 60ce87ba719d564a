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
def add_products(block: Any, signal: Any, b: int, first: int, count: int, matrix: Any, n: int) -> None:
    """Add to a row for each of some steps the product of a sample's signal (T, B, K) and a matrix (K, n).

    Four steps and four rows of the matrix at a time: so each number that is loaded serves four products.
    """
    s, width = 0, matrix.shape[0]
    while s + 4 <= count:
        y0, y1, y2, y3 = block[s], block[s + 1], block[s + 2], block[s + 3]
        x0, x1 = signal[first + s, b], signal[first + s + 1, b]
        x2, x3 = signal[first + s + 2, b], signal[first + s + 3, b]
        k = 0
        while k + 4 <= width:
            m0, m1, m2, m3 = matrix[k], matrix[k + 1], matrix[k + 2], matrix[k + 3]
            a0, a1, a2, a3 = x0[k], x0[k + 1], x0[k + 2], x0[k + 3]
            b0, b1, b2, b3 = x1[k], x1[k + 1], x1[k + 2], x1[k + 3]
            c0, c1, c2, c3 = x2[k], x2[k + 1], x2[k + 2], x2[k + 3]
            d0, d1, d2, d3 = x3[k], x3[k + 1], x3[k + 2], x3[k + 3]
            for i in range(n):
                v0, v1, v2, v3 = m0[i], m1[i], m2[i], m3[i]
                y0[i] += (a0 * v0 + a1 * v1) + (a2 * v2 + a3 * v3)
                y1[i] += (b0 * v0 + b1 * v1) + (b2 * v2 + b3 * v3)
                y2[i] += (c0 * v0 + c1 * v1) + (c2 * v2 + c3 * v3)
                y3[i] += (d0 * v0 + d1 * v1) + (d2 * v2 + d3 * v3)
            k += 4
        while k < width:
            m0, a0, b0, c0, d0 = matrix[k], x0[k], x1[k], x2[k], x3[k]
            for i in range(n):
                y0[i] += a0 * m0[i]
                y1[i] += b0 * m0[i]
                y2[i] += c0 * m0[i]
                y3[i] += d0 * m0[i]
            k += 1
        s += 4
    while s < count:
        y, x = block[s], signal[first + s, b]
        for k in range(width):
            m, a = matrix[k], x[k]
            for i in range(n):
                y[i] += a * m[i]
        s += 1


@numba.njit(fastmath=set(FAST), nogil=True)  # type: ignore[untyped-decorator]
def add_to_rows(matrix: Any, units: Any, first: int, stop: int, scratch: Any, at: int, n: int) -> None:
    """Add a scratch row to the matrix rows of some events, two at a time."""
    x = scratch[at : at + n]
    e = first
    while e + 2 <= stop:
        y, z = matrix[units[e]], matrix[units[e + 1]]
        for i in range(n):
            v = x[i]
            y[i] += v
            z[i] += v
        e += 2
    if e < stop:
        y = matrix[units[e]]
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


BLOCK = 8
"""Steps whose signals are multiplied by a matrix at once."""

HELPERS: dict[str, Any] = {
    f.__name__: f
    for f in (
        clear, copy_row, clear_all, add_rows, add_graded_rows, add_products, add_to_rows, add_scaled_to_row,
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
