"""What the machine allows, measured on all threads: memory, caches, and the arithmetic of vectors.

A synaptic operation is an addition of one weight to a sum, or of one signal to a gradient. No program does
them faster than weights come out of the cache, nor than vector units add.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np

from snntrace.events.native import n_threads

CHAIN = 16
"""Multiplications and additions on each number between loading and storing it."""
BLOCK = 1024
"""Numbers that the arithmetic kernel works on: they stay in the first cache."""
OPTIONS = {"fastmath": {"contract", "nsz"}, "error_model": "numpy", "nogil": True}


@dataclass(frozen=True)
class Roof:
    """A measured rate: operations and bytes a second of all threads."""

    name: str
    operations: float
    bytes_each: float

    @property
    def bandwidth(self) -> float:
        """Bytes a second."""
        return self.operations * self.bytes_each

    def as_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "operations_per_s": self.operations,
            "bytes_per_operation": self.bytes_each,
            "bytes_per_s": self.bandwidth,
        }


@numba.njit(parallel=True, fastmath=True)
def read(arrays: Any, times: int, found: Any) -> None:
    """Sum up an array (threads, size) again and again."""
    for part in numba.prange(arrays.shape[0]):
        x = arrays[part]
        for _ in range(times):
            total = x.dtype.type(0)
            for i in range(x.size):
                total += x[i]
            found[part] += total


@numba.njit(parallel=True, **OPTIONS)
def update(arrays: Any, times: int) -> None:
    """Add to every number of an array (threads, size) in place."""
    for part in numba.prange(arrays.shape[0]):
        x = arrays[part]
        one = x.dtype.type(1)
        for _ in range(times):
            for i in range(x.size):
                x[i] += one


@numba.njit(parallel=True, **OPTIONS)
def add(to: Any, a: Any, b: Any, times: int) -> None:
    """Add two arrays (threads, size)."""
    for part in numba.prange(to.shape[0]):
        x, y, z = to[part], a[part], b[part]
        for _ in range(times):
            for i in range(x.size):
                x[i] = y[i] + z[i]


@numba.njit(**OPTIONS)
def sum_rows(y: Any, m: Any, units: Any) -> None:
    """Add rows of a matrix to a row, eight at a time."""
    for e in range(0, units.size, 8):
        a, b, c, d = m[units[e]], m[units[e + 1]], m[units[e + 2]], m[units[e + 3]]
        p, q, r, s = m[units[e + 4]], m[units[e + 5]], m[units[e + 6]], m[units[e + 7]]
        for i in range(y.size):
            y[i] += ((a[i] + b[i]) + (c[i] + d[i])) + ((p[i] + q[i]) + (r[i] + s[i]))


@numba.njit(**OPTIONS)
def sum_rows_by_four(y: Any, m: Any, units: Any) -> None:
    """Add rows of a matrix to a row, four at a time."""
    for e in range(0, units.size, 4):
        a, b, c, d = m[units[e]], m[units[e + 1]], m[units[e + 2]], m[units[e + 3]]
        for i in range(y.size):
            y[i] += (a[i] + b[i]) + (c[i] + d[i])


@numba.njit(**OPTIONS)
def update_rows(y: Any, m: Any, units: Any) -> None:
    """Add a row to rows of a matrix, one at a time."""
    for e in range(units.size):
        a = m[units[e]]
        for i in range(y.size):
            a[i] += y[i]


@numba.njit(**OPTIONS)
def update_rows_by_two(y: Any, m: Any, units: Any) -> None:
    """Add a row to rows of a matrix, two at a time."""
    for e in range(0, units.size, 2):
        a, b = m[units[e]], m[units[e + 1]]
        for i in range(y.size):
            v = y[i]
            a[i] += v
            b[i] += v


def on_rows(kernel: Any) -> Any:
    """Make a kernel of rows run on each thread's own matrix."""

    @numba.njit(parallel=True, **OPTIONS)
    def run(ys: Any, matrices: Any, units: Any) -> None:
        for part in numba.prange(ys.shape[0]):
            kernel(ys[part], matrices[part], units[part])

    return run


def multiply_add_kernel() -> Any:
    """Write the arithmetic kernel: chains of multiplications and additions, many numbers side by side."""
    chain = "\n".join(["                v = v * p + q"] * CHAIN)
    source = f"""
def run(arrays, p, q, times):
    for part in numba.prange(arrays.shape[0]):
        x = arrays[part]
        for _ in range(times):
            for i in range(x.size):
                v = x[i]
{chain}
                x[i] = v
"""
    scope: dict[str, Any] = {"numba": numba}
    exec(source, scope)
    return numba.njit(parallel=True, **OPTIONS)(scope["run"])


def fastest(run: Callable[[], Any], repeats: int) -> float:
    """Time the fastest run, the first one aside."""
    run()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def streams(size: int, times: int, where: str, repeats: int) -> dict[str, Roof]:
    """Measure reading, updating and adding of arrays of `size` numbers for each thread, in order."""
    threads = n_threads()
    a, b, to = (np.ones((threads, size), np.float32) for _ in range(3))
    found = np.zeros(threads, np.float32)
    runs = {
        "read": (lambda: read(a, times, found), 4),
        "update": (lambda: update(b, times), 8),
        "add": (lambda: add(to, a, b, times), 12),
    }
    titles = {"read": "sum of an array", "update": "array += 1", "add": "c = a + b"}
    return {
        name: Roof(f"{where}: {titles[name]}", threads * size * times / fastest(run, repeats), moved)
        for name, (run, moved) in runs.items()
    }


def row_roofs(n_rows: int, n: int, events: int, repeats: int) -> dict[str, Roof]:
    """Measure sums over, and updates of, random rows of a matrix for each thread; the best of two ways."""
    threads, rng = n_threads(), np.random.default_rng(0)
    matrices = np.zeros((threads, n_rows, n), np.float32)
    ys = np.ones((threads, n), np.float32)
    units = rng.integers(0, n_rows, (threads, events // 8 * 8)).astype(np.int32)
    found = {}
    for name, kernels, what, moved in (
        ("forward", (sum_rows, sum_rows_by_four), "sums over", 4),
        ("backward", (update_rows, update_rows_by_two), "updates of", 8),
    ):
        runs = [on_rows(k) for k in kernels]
        seconds = min(fastest(lambda run=run: run(ys, matrices, units), repeats) for run in runs)
        title = f"random rows, {n_rows:,} x {n}: {what} rows"
        found[name] = Roof(title, units.size * n / seconds, moved)
    return found


def arithmetic_roof(times: int, repeats: int) -> Roof:
    """Measure multiply-adds a second, one lane of a vector instruction each: by chains, or by a product."""
    threads = n_threads()
    arrays, one, none = np.ones((threads, BLOCK), np.float32), np.float32(1), np.float32(0)
    kernel = multiply_add_kernel()
    chains = threads * BLOCK * CHAIN * times / fastest(lambda: kernel(arrays, one, none, times), repeats)
    a = np.ones((1536, 1536), np.float32)
    product = a.size * a.shape[0] / fastest(lambda: a @ a, repeats)
    way = "chains" if chains > product else "numpy's product of matrices"
    return Roof(f"multiply-adds, {way}", max(chains, product), 0)


@dataclass(frozen=True)
class Roofs:
    """All that was measured.

    `memory` and `cache` hold streams by name, `rows` what rows of a matrix in the cache allow on the way
    forward and backward.
    """

    memory: dict[str, Roof]
    cache: dict[str, Roof]
    rows: dict[str, Roof]
    arithmetic: Roof

    def best(self, other: "Roofs") -> "Roofs":
        """Take the faster of two measurements of everything."""

        def faster(a: Roof, b: Roof) -> Roof:
            return a if a.operations >= b.operations else b

        return Roofs(
            *(
                {k: faster(r, theirs[k]) for k, r in ours.items()}
                for ours, theirs in (
                    (self.memory, other.memory),
                    (self.cache, other.cache),
                    (self.rows, other.rows),
                )
            ),
            faster(self.arithmetic, other.arithmetic),
        )

    def __iter__(self) -> Iterator[Roof]:
        yield from (*self.memory.values(), *self.cache.values(), *self.rows.values(), self.arithmetic)


def measure_roofs(n_rows: int, n: int, quick: bool) -> Roofs:
    """Measure all roofs for matrices of a size."""
    repeats, times = (2, 2) if quick else (15, 100)
    in_memory, in_cache = (1 << 20 if quick else 1 << 25), 1 << 17
    return Roofs(
        streams(in_memory, 1, "memory", min(repeats, 5)),
        streams(in_cache, times, "second cache", repeats),
        row_roofs(n_rows, n, 1 << 10 if quick else 1 << 17, repeats),
        arithmetic_roof(20 * times, repeats),
    )
