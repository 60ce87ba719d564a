"""Damage a spike store at random and read it, in a process of its own: a crash of HDF5 ends only that.

Run with the folder, the first seed and the number of files to damage.
"""

import random
import signal
import sys
from pathlib import Path

import numpy as np

from snntrace.datasets import SpikeStore, StoreInfo, StoreWriter

SECONDS = 10
N_UNITS = 70


def recordings(n=40):
    rng = np.random.default_rng(3)
    for i in range(n):
        size = int(rng.integers(1, 120))
        yield (
            np.sort(rng.uniform(0, 1, size)),
            rng.integers(0, N_UNITS, size),
            i % 3,
            i // 9,
            ("train", "test")[i > 20],
        )


def write(path, level):
    info = StoreInfo(
        N_UNITS, ("a", "b", "c"), grouped_by="speaker", source="made", licence="CC0", citation="none"
    )
    with StoreWriter(path, info, level=level, block=256) as writer:
        for times, units, label, group, split in recordings():
            writer.append(times, units, label, group=group, split=split)


def content(path):
    found = []
    for split in ("train", "test"):
        with SpikeStore(path, split) as store:
            found += [store.labels.tolist(), store.groups.tolist(), store.durations.tolist(), store.info]
            found += [[column.tolist() for column in events] for events in store.events_of(range(len(store)))]
    return found


def damaged(data, dice):
    data = bytearray(data)
    for _ in range(dice.choice((1, 1, 1, 2, 4))):
        if not data:
            break
        at, kind = (
            dice.randrange(len(data)),
            dice.choice(("flip", "flip", "set", "fill", "cut", "remove", "insert")),
        )
        if kind == "flip":
            data[at] ^= 1 << dice.randrange(8)
        elif kind == "set":
            data[at] = dice.randrange(256)
        elif kind == "fill":
            data[at : at + 8] = bytes([dice.choice((0, 255))]) * len(data[at : at + 8])
        elif kind == "cut":
            del data[at:]
        elif kind == "remove":
            del data[at : at + dice.randrange(1, 40)]
        else:
            data[at:at] = dice.randbytes(dice.randrange(1, 20))
    return bytes(data)


def main(folder, seed, number):
    intact, path = Path(folder) / "intact", Path(folder) / "damaged"
    bases = []
    for level in (4, 0):
        intact.unlink(missing_ok=True)
        write(intact, level)
        bases.append((intact.read_bytes(), content(intact)))
    read = 0
    for k in range(seed, seed + number):
        data, expected = bases[k % 2]
        path.write_bytes(damaged(data, random.Random(k)))
        print(f"seed {k}", flush=True)
        signal.alarm(SECONDS)
        try:
            found = content(path)
        except (ValueError, OSError) as error:
            if path.name not in str(error) or not str(error).startswith("SpikeStore: "):
                sys.exit(f"the refusal must name the file: {error!r}")
        else:
            if found != expected:
                sys.exit("the file was read as something else")
            read += 1
        signal.alarm(0)
    print(f"{number} damaged, {read} read as what they were, {number - read} refused")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
