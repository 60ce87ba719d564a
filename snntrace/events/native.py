"""Numba kernels called from jitted code, with nothing of Python in between.

XLA hands a call frame (``xla/ffi/api/c_api.h`` of jaxlib) to a C function. A small numba function reads
the buffers' addresses and sizes from it and calls the kernel on them. A call costs about a microsecond.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numba
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

Array = Any

# Byte offsets in XLA_FFI_CallFrame: extension, arguments {size, pointers}, results {pointers}.
_EXTENSION, _ARGUMENTS, _RESULTS = 8, 72, 112
# Byte offsets in XLA_FFI_Buffer.
_DATA, _DIMS = 24, 40
# XLA_FFI_Metadata_Extension -> metadata; XLA_FFI_Metadata -> api version (major, minor).
_METADATA, _MAJOR, _MINOR = 24, 24, 28
# The oldest protocol with these fields; XLA accepts older minor versions.
_API = (0, 1)
# Results of this many bytes get large pages.
_LARGE, _MADV_HUGEPAGE = 1 << 22, 14

_lock = threading.Lock()
_targets: dict[Any, str] = {}
_handlers: list[Any] = []
_counter = itertools.count()


@intrinsic  # type: ignore[untyped-decorator]
def _address(_typing: Any, _value: Any) -> Any:
    """Turn an integer into a pointer."""

    def codegen(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], ir.IntType(8).as_pointer())

    return types.voidptr(types.int64), codegen


@intrinsic  # type: ignore[untyped-decorator]
def _load(_typing: Any, _place: Any) -> Any:
    """Read the 64-bit integer at an address."""

    def codegen(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.load(builder.inttoptr(args[0], ir.IntType(64).as_pointer()))

    return types.int64(types.int64), codegen


@intrinsic  # type: ignore[untyped-decorator]
def _store(_typing: Any, _place: Any, _value: Any) -> Any:
    """Write a 32-bit integer to an address."""

    def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        builder.store(args[1], builder.inttoptr(args[0], ir.IntType(32).as_pointer()))
        return context.get_dummy_value()

    return types.void(types.int64, types.int32), codegen


@intrinsic  # type: ignore[untyped-decorator]
def _call(_typing: Any, _function: Any, _part: Any, _parts: Any, _frame: Any) -> Any:
    """Call the C function ``int64 (part, parts, frame)`` at an address."""

    def codegen(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        word = ir.IntType(64)
        kind = ir.FunctionType(word, [word, word, word])
        return builder.call(builder.inttoptr(args[0], kind.as_pointer()), list(args[1:]))

    return types.int64(*[types.int64] * 4), codegen


@numba.njit("void(int64, int64, int64)", parallel=True, nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _launch(function: int, parts: int, frame: int) -> None:
    """Call a C function once for each part, side by side."""
    for part in numba.prange(parts):
        _call(function, part, parts, frame)


def n_threads() -> int:
    """Return how many threads a parallel kernel uses.

    Returns
    -------
    int
        ``SNNTRACE_THREADS`` if it is set, else numba's own limit (``NUMBA_NUM_THREADS``, all cores).

    Raises
    ------
    ValueError
        If the variable is no positive number.
    """
    text = os.environ.get("SNNTRACE_THREADS", "")
    if not text:
        return int(numba.config.NUMBA_NUM_THREADS)
    if not text.isdigit() or int(text) < 1:
        raise ValueError(
            f"events: SNNTRACE_THREADS must be a positive number of threads, got SNNTRACE_THREADS={text!r}. "
            "Write e.g. SNNTRACE_THREADS=2, or unset it."
        )
    return min(int(text), int(numba.config.NUMBA_NUM_THREADS))


def _name(dtype: np.dtype[Any]) -> str:
    """Name a number type as numpy does."""
    return "bool_" if dtype == np.bool_ else dtype.name


def _buffer(side: str, place: int, rank: int, dtype: np.dtype[Any]) -> str:
    """Write the code that makes an array of a buffer."""
    frame = f"buffer = _load({side} + {8 * place})"
    if rank == 0:
        shape = "(1,)"
    else:
        shape = "".join(f"_load(dims + {8 * axis}), " for axis in range(rank))
        frame += f"; dims = _load(buffer + {_DIMS})"
        shape = f"({shape})"
    return f"{frame}; {side}{place} = carray(_address(_load(buffer + {_DATA})), {shape}, np.{_name(dtype)})"


def _worker(kernel: Any, inputs: Sequence[Any], outputs: Sequence[Any], parted: bool) -> Any:
    """Compile a C function ``(part, parts, frame)`` that calls a kernel on a call frame's buffers."""
    body = [_buffer("a", i, len(v.shape), np.dtype(v.dtype)) for i, v in enumerate(inputs)]
    body += [_buffer("r", i, len(v.shape), np.dtype(v.dtype)) for i, v in enumerate(outputs)]
    names = (["part", "parts"] if parted else []) + [f"a{i}" for i in range(len(inputs))]
    names += [f"r{i}" for i in range(len(outputs))]
    lines = [
        "def worker(part, parts, frame):",
        f"    a = _load(frame + {_ARGUMENTS}); r = _load(frame + {_RESULTS})",
        *(f"    {line}" for line in body),
        f"    kernel({', '.join(names)})",
        "    return 0",
    ]
    scope = {"np": np, "carray": numba.carray, "kernel": kernel, "_load": _load, "_address": _address}
    exec("\n".join(lines), scope)
    return numba.cfunc(types.int64(types.int64, types.int64, types.int64))(scope["worker"])


def _madvise() -> int:
    """Return the address of the C library's madvise, 0 where there is none."""
    if not sys.platform.startswith("linux"):
        return 0
    return int(ctypes.cast(ctypes.CDLL(None).madvise, ctypes.c_void_p).value or 0)


def _ask_for_huge_pages(outputs: Sequence[Any]) -> Any:
    """Compile a function that asks for large pages for large results.

    Results are fresh memory, and the first touch of a page costs more than the arithmetic on it. Results of
    integers are event lists, of which only the beginnings are touched: small pages suit them.

    Returns
    -------
    numba function
        ``ask(frame)``.
    """
    advise, dtypes = _madvise(), [np.dtype(v.dtype) for v in outputs]
    large = [
        (i, dtype.itemsize, len(v.shape))
        for i, (dtype, v) in enumerate(zip(dtypes, outputs, strict=True))
        if v.shape and dtype.kind == "f"
    ]
    lines = ["def ask(frame):", f"    r = _load(frame + {_RESULTS})"]
    for place, size, rank in large if advise else ():
        lines += [f"    buffer = _load(r + {8 * place}); dims = _load(buffer + {_DIMS}); n = {size}"]
        lines += [f"    n *= _load(dims + {8 * axis})" for axis in range(rank)]
        lines += [
            f"    if n >= {_LARGE}:",
            f"        first = (_load(buffer + {_DATA}) + 4095) // 4096 * 4096",
            f"        _call({advise}, first, n - 8192, {_MADV_HUGEPAGE})",
        ]
    scope = {"_load": _load, "_call": _call}
    exec("\n".join(lines), scope)
    return numba.njit(types.void(types.int64))(scope["ask"])


def _handler(worker: int, parts: int, prepare: Any) -> Any:
    """Compile the C function that XLA calls: it answers what XLA asks first, or calls a worker."""

    def handler(frame: int) -> int:
        extension = _load(frame + _EXTENSION)
        if extension != 0:
            metadata = _load(extension + _METADATA)
            _store(metadata + _MAJOR, _API[0])
            _store(metadata + _MINOR, _API[1])
        else:
            prepare(frame)
            if parts == 1:
                _call(worker, 0, 1, frame)
            else:
                _launch(worker, parts, frame)
        return 0

    return numba.cfunc(types.int64(types.int64))(handler)


def _target(kernel: Any, inputs: Sequence[Any], outputs: Sequence[Any], parts: int | None) -> str:
    """Register a kernel for these number types and ranks, once."""
    kinds = tuple((len(v.shape), np.dtype(v.dtype)) for v in (*inputs, *outputs))
    key = (kernel, kinds, len(inputs), parts)
    with _lock:
        if key not in _targets:
            # Threads must exist before a kernel runs on one that Python does not know.
            numba.np.ufunc.parallel._launch_threads()
            worker = _worker(kernel, inputs, outputs, parts is not None)
            handler = _handler(worker.address, parts or 1, _ask_for_huge_pages(outputs))
            name = f"snntrace_{next(_counter)}"
            capsule = jax.ffi.pycapsule(handler.address)  # type: ignore[no-untyped-call]
            jax.ffi.register_ffi_target(name, capsule, platform="cpu")
            _handlers.append((worker, handler))
            _targets[key] = name
        return _targets[key]


def native_call(
    kernel: Callable[..., None],
    outs: Sequence[jax.ShapeDtypeStruct],
    *args: Array,
    aliases: dict[int, int] | None = None,
    parts: int | None = None,
) -> tuple[Array, ...]:
    """Call a numba kernel from JAX, on CPU.

    Parameters
    ----------
    kernel : numba function
        ``kernel(*args, *outs)`` writes its results into the last arrays; numbers arrive as arrays of
        shape (1,). It must not raise.
    outs : sequence of jax.ShapeDtypeStruct
        Shapes and number types of the results.
    *args : array
        The operands, C-contiguous inside the kernel.
    aliases : dict of int to int, optional
        Operands (by position) whose memory a result (by position) takes over.
    parts : int, optional
        Call ``kernel(part, parts, *args, *outs)`` for each ``part`` in ``range(parts)``, side by side.

    Returns
    -------
    tuple of array
        The results; `jax.vmap` runs the call once for each position.
    """
    name = _target(kernel, args, outs, parts)
    call = jax.ffi.ffi_call(
        name,
        list(outs),
        vmap_method="sequential",
        input_output_aliases=aliases,
        input_layouts=[tuple(range(np.ndim(a))) for a in args],
        output_layouts=[tuple(range(len(o.shape))) for o in outs],
    )
    return tuple(call(*args))
