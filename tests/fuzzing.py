"""Damage files of every kind and read them, each in a process that may die, and tell what came of it.

Run with the number of files of each kind, and a folder to work in:

    python tests/fuzzing.py 1000 /tmp/fuzz
"""

import argparse
import collections
import os
import random
import resource
import select
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

SECONDS = 10.0
"""Of the processor's time, in which a file must be read or refused."""

PATIENCE = 600.0
"""Seconds on the clock after which a process waits for something that never comes."""

MEMORY = 16 << 30
"""Bytes of addresses that a reading process may use, most of which its libraries only reserve."""

OUTCOMES = ("refused", "equal", "different", "wrong error", "crash", "hang")


class Case(NamedTuple):
    """A kind of file.

    Attributes
    ----------
    name : str
        Name of the damaged file.
    make : callable
        Writes an intact file to a path.
    read : callable
        Reads a file to something that can be compared.
    sums : str
        What checks the content; empty where the format has no checksum.
    """

    name: str
    make: Callable[[Path], Any]
    read: Callable[[Path], Any]
    sums: str = ""


def plain(value: Any) -> Any:
    """Turn whatever a reader returns into something that == compares."""
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    return value


def all_of(data: Any) -> Any:
    """Return everything that a data set tells."""
    info = getattr(data, "info", None)
    return plain(
        [data.labels, data.groups, data.class_names, data.n_units, info]
        + [data.events(row) for row in range(len(data))]
    )


def columns_of(events: Any) -> Any:
    return plain([events.t, events.x, events.y, events.p, events.sensor])


def stream_of(stream: Any) -> Any:
    return plain([stream.kind, stream.t, stream.x, stream.y, stream.flags, stream.payload])


def few_events(n: int = 300, width: int = 34, height: int = 34, step: int = 60) -> list[list[int]]:
    rng = np.random.default_rng(7)
    t = np.cumsum(rng.integers(0, step, n)) + 100
    columns = (t, rng.integers(0, width, n), rng.integers(0, height, n), rng.integers(0, 2, n))
    return [column.tolist() for column in columns]


def few_recordings(n: int = 25) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(3)
    for _ in range(n):
        size = int(rng.integers(1, 120))
        yield np.sort(rng.uniform(0, 1, size)).astype("float16"), rng.integers(0, 70, size)


def write_store(path: Path, kind: str) -> None:
    from snntrace.datasets import StoreInfo, StoreWriter

    info = StoreInfo(70, ("a", "b", "c"), grouped_by="speaker", source="made", licence="CC0")
    with StoreWriter(path, info, time_type=kind, overwrite=True) as writer:
        for i, (times, units) in enumerate(few_recordings()):
            writer.append(times, units, i % 3, group=i // 9, split=("train", "test")[i > 15])


def read_store(path: Path) -> Any:
    from snntrace.datasets import SpikeStore

    found = []
    for split in ("train", "test"):
        with SpikeStore(path, split) as store:
            found.append(all_of(store))
    return found


def write_shd(path: Path, before: int = 0, **options: Any) -> None:
    import h5py

    rows = list(few_recordings())
    with h5py.File(path, "w", userblock_size=before) as file:
        for k, (name, kind) in enumerate((("times", "float16"), ("units", "uint16"))):
            table = file.create_dataset(f"spikes/{name}", len(rows), h5py.vlen_dtype(kind), **options)
            for i, row in enumerate(rows):
                table[i] = row[k].astype(kind)
        file["labels"] = np.arange(len(rows)).astype("uint16") % 3
        file["extra/speaker"] = np.arange(len(rows)).astype("uint16") // 9
        file["extra/keys"] = np.array([b"a", b"b", b"c"])


def write_gzip(path: Path) -> None:
    import gzip

    write_shd(path)
    path.write_bytes(gzip.compress(path.read_bytes()))


def read_shd(path: Path) -> Any:
    from snntrace.datasets import SpikeFile

    cache = path.parent / "cache"
    try:
        with SpikeFile(path, n_units=70, cache_folder=cache) as data:
            return all_of(data)
    finally:
        for kept in cache.glob("*"):
            kept.unlink()


def write_ntidigits(path: Path) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        names = [f"{who}-{i:02d}-a-{i % 9 + 1}" for i, who in enumerate(("man", "woman") * 6)]
        file["train_labels"] = np.array([name.encode() for name in names])
        for name, (times, units) in zip(names, few_recordings(), strict=False):
            file[f"train_timestamps/{name}"] = times.astype(float)
            file[f"train_addresses/{name}"] = units % 64


def read_ntidigits(path: Path) -> Any:
    from snntrace.datasets import NTIDIGITS18

    return all_of(NTIDIGITS18(path))


def write_letters(path: Path, save: Callable[..., None]) -> None:
    rng = np.random.default_rng(0)
    readings = np.cumsum(rng.integers(-2, 3, (60, 12)), 0) + 100
    save(
        path, taxels=readings.astype("uint8"), length=[20, 25, 15], letter=["B", "Space", "A"],
        repetition=[0, 1, 2],
    )  # fmt: skip


def read_letters(path: Path) -> Any:
    from snntrace.datasets import BrailleLetters

    return all_of(BrailleLetters(path, threshold=2.0))


def write_pickle(path: Path) -> None:
    import gzip
    import pickle

    rng = np.random.default_rng(0)
    found = [
        {"letter": letter, "repetition": 0, "taxel_data": np.cumsum(rng.integers(-2, 3, (20, 12)), 0) + 100.0}
        for letter in ("B", "Space", "A")
    ]
    path.write_bytes(gzip.compress(pickle.dumps(found)))


def write_idx(path: Path, pack: Callable[[bytes], bytes] = bytes) -> None:
    """Make a folder of pictures; the file that is damaged is theirs."""
    rng = np.random.default_rng(0)
    for name, shape in (("train-images-idx3-ubyte", (12, 6, 5)), ("train-labels-idx1-ubyte", (12,))):
        header = bytes([0, 0, 8, len(shape)]) + np.array(shape, ">u4").tobytes()
        content = header + rng.integers(0, 10, shape).astype("u1").tobytes()
        target = path if name in path.name else path.with_name(name)
        target.write_bytes(pack(content) if target == path else content)


def read_idx(path: Path) -> Any:
    from snntrace.datasets import MNIST

    data = MNIST(path.parent)
    return plain([data.labels, data.pictures])


def write_table(path: Path) -> None:
    """Make a folder of recordings; the file that is damaged is the table of their labels."""
    import event_writers as writers

    for k in range(4):
        (path.parent / f"{k}.bin").write_bytes(writers.nmnist(*few_events(30 + k)))
    lines = ["file,label,subject", *(f"{k}.bin,{'ab'[k % 2]},{k // 2}" for k in range(4))]
    path.write_text("\n".join(lines) + "\n")


def read_table(path: Path) -> Any:
    from snntrace.datasets import EventFolder

    return all_of(EventFolder(path.parent))


def write_gestures(path: Path) -> None:
    """Make a folder of gestures; the file that is damaged is the table of labels."""
    import event_writers as writers

    columns = few_events(width=128, height=128)
    (path.parent / "user01_led.aedat").write_bytes(writers.aedat3(*columns))
    (path.parent / "trials_to_train.txt").write_text("user01_led.aedat\n")
    rows = [(k, 1000 * k, 1000 * k + 900) for k in range(1, 8)]
    lines = [",".join(map(str, row)) for row in [("class", "startTime_usec", "endTime_usec"), *rows]]
    path.write_text("\n".join(lines) + "\n")


def read_gestures(path: Path) -> Any:
    from snntrace.datasets import DVSGesture

    return all_of(DVSGesture(path.parent))


def write_sound(path: Path) -> None:
    import soundfile

    soundfile.write(path, 0.3 * np.sin(np.arange(6000) / 9) * np.hanning(6000), 48_000)


def read_the_sound(path: Path) -> Any:
    from snntrace.datasets.ear import read_sound

    return plain(list(read_sound(path)))


def event_cases() -> Iterator[Case]:
    import event_writers as writers

    from snntrace.datasets.files import read_event_stream, read_events

    def case(name: str, write: Callable[..., bytes], *arguments: Any, sums: str = "", **options: Any) -> Case:
        def make(path: Path) -> None:
            path.write_bytes(write(*arguments, **options))

        if name == "generic.es":
            return Case(name, make, lambda path: stream_of(read_event_stream(path)), sums)
        return Case(name, make, lambda path: columns_of(read_events(path)), sums)

    small, wide, square = few_events(), few_events(width=640, height=480), few_events(width=128, height=128)
    zlib = "zlib's Adler-32"
    yield case("nmnist.bin", writers.nmnist, *small)
    yield case("prophesee.dat", writers.dat, *small)
    yield case("evt2.raw", writers.evt2, *wide)
    yield case("evt3.raw", writers.evt3, *wide)
    yield case("jaer.aedat", writers.aedat2, *square)
    yield case("caer.aedat", writers.aedat3, *square)
    yield case("lz4.aedat4", writers.aedat4, *small, compression=1)
    yield case("zstd.aedat4", writers.aedat4, *small, compression=3)
    yield case("plain.aedat4", writers.aedat4, *small, compression=0)
    yield case("dvs.es", writers.es_dvs, *small)
    yield case("atis.es", writers.es_atis, *small, exposure=[0] * 300)
    yield case("generic.es", writers.es_generic, [3, 300, 5000], [b"", b"ab", b"x" * 200])
    yield case("plain.mat", writers.atis_mat, *small, compressed=False)
    yield case("packed.mat", writers.atis_mat, *small, sums=zlib)
    yield case("tactile.mat", writers.stmnist_mat, *few_events(60, 10, 10))


def cases() -> dict[str, Case]:
    """Return all kinds of files by their names."""
    import gzip

    from snntrace.datasets.event_folder import TABLE

    crc, gz, sums = "zip's CRC-32", "gzip's CRC-32", "CRC-32 of recordings and tables"
    found = [
        Case("half.spikes", lambda path: write_store(path, "float16"), read_store, sums),
        Case("double.spikes", lambda path: write_store(path, "float64"), read_store, sums),
        Case("shd.h5", write_shd, read_shd),
        Case("packed.h5", lambda path: write_shd(path, chunks=(7,), compression=4), read_shd),
        Case("shd.h5.gz", write_gzip, read_shd, gz),
        Case("ntidigits.hdf5", write_ntidigits, read_ntidigits),
        Case("letters.npz", lambda path: write_letters(path, np.savez), read_letters, crc),
        Case("packed.npz", lambda path: write_letters(path, np.savez_compressed), read_letters, crc),
        Case("letters.pkl.gz", write_pickle, read_letters, gz),
        Case("train-images-idx3-ubyte", write_idx, read_idx),
        Case("train-images-idx3-ubyte.gz", lambda path: write_idx(path, gzip.compress), read_idx, gz),
        Case(TABLE, write_table, read_table),
        Case("user01_led_labels.csv", write_gestures, read_gestures),
        Case("word.wav", write_sound, read_the_sound),
        Case("word.flac", write_sound, read_the_sound, "MD5 of the samples"),
        *event_cases(),
    ]
    return {case.name: case for case in found}


def damaged(data: bytes, dice: random.Random) -> bytes:
    """Flip, set, fill, cut, remove, insert, copy and exchange bytes, in one to four places."""
    raw = bytearray(data)
    for _ in range(dice.choice((1, 1, 1, 2, 4))):
        if not raw:
            break
        # The first bytes, where the header is, a third of the time.
        at = dice.randrange(len(raw) if dice.randrange(3) else min(len(raw), 256))
        size, other = dice.randrange(1, 64), dice.randrange(len(raw))
        kind = dice.randrange(9)
        if kind < 2:
            raw[at] ^= 1 << dice.randrange(8)
        elif kind == 2:
            raw[at] = dice.randrange(256)
        elif kind == 3:
            raw[at : at + 8] = bytes([dice.choice((0, 255))]) * len(raw[at : at + 8])
        elif kind == 4:
            del raw[at:]
        elif kind == 5:
            del raw[at : at + size]
        elif kind == 6:
            raw[at:at] = dice.randbytes(size)
        elif kind == 7:
            raw[at:at] = raw[other : other + size]
        else:
            raw[at : at + size] = raw[other : other + len(raw[at : at + size])]
    return bytes(raw)


def outcome(case: Case, path: Path, expected: Any) -> str:
    try:
        found = case.read(path)
    except (ValueError, OSError) as error:
        if path.stem in str(error) and ": " in str(error):
            return "refused"
        traceback.print_exc()
        return "wrong error"
    except BaseException:
        traceback.print_exc()
        return "wrong error"
    return "equal" if found == expected else "different"


def child(folder: Path, name: str, first: int, number: int) -> None:
    """Damage and read files one after the other, and print a line for each."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    case = cases()[name]
    path = folder / name
    case.make(path)
    data, expected = path.read_bytes(), case.read(path)
    print("ready", flush=True)
    for seed in range(first, first + number):
        changed = damaged(data, random.Random(f"{name} {seed}"))
        path.write_bytes(changed)
        # Ends the process, wherever it hangs; other processes on the machine do not shorten it.
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        print(outcome(case, path, expected) if changed != data else "equal", flush=True)


def lines_of(process: subprocess.Popen[bytes]) -> Iterator[str]:
    """Yield lines as they come, and stop at the end or when none comes in time."""
    assert process.stdout is not None
    rest = b""
    while select.select([process.stdout], [], [], PATIENCE)[0]:
        part = os.read(process.stdout.fileno(), 1 << 16)
        if not part:
            return
        *whole, rest = (rest + part).split(b"\n")
        yield from (line.decode() for line in whole)


def campaign(name: str, folder: Path, number: int, first: int = 0) -> dict[str, int]:
    """Damage `number` files of one kind and count what comes of reading them."""
    folder.mkdir(parents=True, exist_ok=True)
    counts = dict.fromkeys(OUTCOMES, 0)
    done = 0
    while done < number:
        arguments = [str(folder), name, str(first + done), str(number - done)]
        command = [sys.executable, "-X", "faulthandler", __file__, "--child", *arguments]
        with (
            (folder / "errors.txt").open("ab") as errors,
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors) as process,
        ):
            lines = lines_of(process)
            if next(lines, None) != "ready":
                process.kill()
                raise RuntimeError(f"an intact {name} must be readable; see {folder / 'errors.txt'}")
            for line in lines:
                counts[line] += 1
                done += 1
            try:
                hangs = process.wait(60) == -signal.SIGPROF
            except subprocess.TimeoutExpired:
                process.kill()
                hangs = True
        if done < number:
            print(f"{name}: seed {first + done}: {'hang' if hangs else 'crash'}", file=sys.stderr)
            counts["hang" if hangs else "crash"] += 1
            done += 1
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("number", type=int, help="files of each kind")
    parser.add_argument("folder", type=Path, help="where to work")
    parser.add_argument("--only", nargs="*", help="kinds of files")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    options = parser.parse_args()
    kinds, start = cases(), time.perf_counter()
    total: collections.Counter[str] = collections.Counter()
    print("| file | checksum | " + " | ".join(OUTCOMES) + " |\n|---|---|" + "---:|" * len(OUTCOMES))
    for name in options.only or kinds:
        counts = campaign(name, options.folder / name, options.number, options.first)
        total.update(counts)
        cells = " | ".join(f"{counts[key]:,}" for key in OUTCOMES)
        print(f"| {name} | {kinds[name].sums or 'none'} | {cells} |", flush=True)
    cells = " | ".join(f"{total[key]:,}" for key in OUTCOMES)
    print(f"| all {sum(total.values()):,} | | {cells} |\n\n{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
    else:
        main()
