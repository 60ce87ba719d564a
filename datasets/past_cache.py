"""Write to memory past the processor's caches: large arrays that are read by others, much later.

An ordinary store fetches its line of memory before it is written to, and drives out what other threads keep
in the cache. Arrays larger than it take half of the way with stores that do neither.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from snntrace.events.rows import compiled

LINE = 64
"""Bytes that memory is written in."""
LARGE = 1 << 22
"""Bytes of an array that is not expected to stay in a cache."""


@intrinsic  # type: ignore[untyped-decorator]
def store_line(typing: Any, to: Any, source: Any) -> Any:
    """Copy 64 bytes between two addresses, both multiples of 64, past the caches."""

    def emit(context: Any, builder: Any, signature: Any, addresses: Any) -> Any:
        del signature
        pointer = ir.VectorType(ir.IntType(32), LINE // 4).as_pointer()
        target, origin = (builder.inttoptr(address, pointer) for address in addresses)
        line = builder.load(origin, align=LINE)
        stored = builder.store(line, target, align=LINE)
        stored.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)]))
        return context.get_dummy_value()

    del typing, to, source
    return types.void(types.uintp, types.uintp), emit


@compiled
def store(numbers: Any, shift: int, x: Any, start: int, size: int) -> None:
    """Copy ``numbers[shift : shift + size]`` to ``x[start : start + size]``, whole lines past the caches.

    Both must begin at the same place of a line, which `shift_of` sees to.
    """
    width = numbers.itemsize
    first = np.uint64(min(-(x.ctypes.data + start * width) % LINE // width, size))
    source, to = np.uint64(shift), np.uint64(start)
    for i in range(first):
        x[to + i] = numbers[source + i]
    lines = (np.uint64(size) - first) * np.uint64(width) // np.uint64(LINE)
    step, wide = np.uint64(LINE), np.uint64(width)
    target = np.uint64(x.ctypes.data) + (to + first) * wide
    origin = np.uint64(numbers.ctypes.data) + (source + first) * wide
    for k in range(lines):
        store_line(target + k * step, origin + k * step)
    for i in range(first + lines * step // wide, np.uint64(size)):
        x[to + i] = numbers[source + i]


@compiled
def shift_of(numbers: Any, x: Any, start: int) -> int:
    """Return the first element of `numbers` that begins at the same place of a line as ``x[start]``."""
    place: int = (x.ctypes.data + start * x.itemsize - numbers.ctypes.data) % LINE
    return place // int(x.itemsize)
