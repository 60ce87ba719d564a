"""Size and reading time of the spike store beside other ways to keep the same events, as a table.

Each way is one file. What is timed is reading all recordings one by one in a shuffled order, to times in
seconds and units, in one thread, with the file in memory. hdf5plugin adds its filters where it is installed.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from measure import environment, table, wait_until_quiet

from snntrace.datasets import NMNIST, SpikeFile, SpikeStore, convert, export_shd
from snntrace.datasets.store_layout import TIMES, encode_times

CHUNK = 1 << 12
RUNS = 5
Events = tuple[np.ndarray, np.ndarray]
Reads = Callable[[int], Events]


def filters() -> Iterator[tuple[str, dict[str, Any]]]:
    """Name ways to compress a table of HDF5, and what h5py is to be given for them."""
    yield "plain", {}
    yield "shuffle, deflate 4", {"shuffle": True, "compression": 4}
    yield "shuffle, LZF", {"shuffle": True, "compression": "lzf"}
    with suppress(ImportError):
        import hdf5plugin

        yield "bitshuffle, LZ4", dict(hdf5plugin.Bitshuffle())
        yield (
            "Blosc2, bitshuffle, Zstandard",
            dict(hdf5plugin.Blosc2("zstd", 5, hdf5plugin.Blosc2.BITSHUFFLE)),
        )


class Columns:
    """All events in two tables of an HDF5 file, in chunks."""

    def __init__(self, path: Path, data: Any, kind: str, options: dict[str, Any]) -> None:
        rows = [data.events(i) for i in range(len(data))]
        self.pointers = np.cumsum([0, *(units.size for _, units in rows)])
        stored = [encode_times(times, kind) for times, _ in rows]
        with h5py.File(path, "w", libver="latest") as file:
            for name, column in (("times", stored), ("units", [units.astype("u2") for _, units in rows])):
                file.create_dataset(name, data=np.concatenate(column), chunks=(CHUNK,), **options)
        self.file, self.scale = h5py.File(path), TIMES[kind][1]

    def events(self, i: int) -> Events:
        here = slice(self.pointers[i], self.pointers[i + 1])
        return self.file["times"][here].astype("f8") * self.scale, self.file["units"][here].astype("i8")


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all .bin files in a folder."""
    return sum(p.stat().st_size for p in path.rglob("*.bin")) if path.is_dir() else path.stat().st_size


def seconds(events: Reads, n: int) -> float:
    """Return the shortest time of several in which all recordings are read."""
    order, found = np.random.default_rng(0).permutation(n).tolist(), []
    for _ in range(RUNS):
        start = time.perf_counter()
        for i in order:
            events(i)
        found.append(time.perf_counter() - start)
    return min(found)


def ways(data: Any, place: Path, own: Path, name: str) -> Iterator[tuple[str, Path, Any]]:
    """Write the data in each way, and open what was written."""
    yield name, own, data
    store = SpikeStore(convert(data, place / "store"))
    yield "spike store", store.path, store
    if not isinstance(data, SpikeFile):
        shd = export_shd(data, place / "shd.h5")
        yield "SHD's layout", shd, SpikeFile(shd, n_units=data.n_units)
    for number, (words, options) in enumerate(filters()):
        path = place / f"{number}.h5"
        yield f"HDF5, {words}", path, Columns(path, data, store.time_type, options)


def rows_of(data: Any, own: Path, name: str) -> Iterator[list[str]]:
    """Measure each way."""
    n, first = len(data), data.events(3)
    with tempfile.TemporaryDirectory() as place:
        for words, path, opened in ways(data, Path(place), own, name):
            if not all(np.array_equal(a, b) for a, b in zip(opened.events(3), first, strict=True)):
                raise SystemExit(f"{words}: the events must be those of {name}")
            total = sum(data.events(i)[0].size for i in range(n))
            took = seconds(opened.events, n)
            yield [
                words,
                f"{size_of(path) / total:.2f}",
                f"{1e6 * took / n:.0f}",
                f"{1e9 * took / total:.1f}",
            ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    here = Path(__file__).parent
    shared = Path(os.environ.get("SNNTRACE_SHARED", here.parents[1] / "shared"))
    parser.add_argument("--shared", type=Path, default=shared, help="the folder with the recordings")
    parser.add_argument("--out", type=Path, default=here / "results")
    parser.add_argument("--wait", type=float, default=300.0, help="seconds to wait for a quiet machine")
    options = parser.parse_args()
    folder = options.shared / "data"
    if not folder.is_dir():
        print(f"left out: there are no recordings in {folder}; give --shared or set SNNTRACE_SHARED")
        return 0
    load = wait_until_quiet(1.5, options.wait)
    camera = NMNIST(folder / "nmnist")
    spoken = SpikeFile(folder / "shd_regen" / "shd_regen_small_train.h5.gz")
    head = ["", "bytes an event", "us a recording", "ns an event"]
    machine = environment()
    text = "\n\n".join(
        [
            "# Packing",
            "Written by `python benchmarks/packing.py`.",
            f"{len(camera):,} recordings of N-MNIST:",
            table(head, list(rows_of(camera, camera.path, "files of N-MNIST"))),
            f"{len(spoken):,} recordings in SHD's layout:",
            table(head, list(rows_of(spoken, spoken._opened_path, "SHD's layout"))),
            f"Machine: {machine['cpu']}, {machine['cores']} cores; Python {machine['python']}, h5py "
            f"{h5py.__version__}; {machine['date']}; load average {load:.2f}.",
        ]
    )
    print(text)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "packing.md").write_text(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
