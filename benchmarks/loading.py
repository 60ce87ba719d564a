"""Time loading batches beside tonic on the same files, and how long training waits for data.

Every measurement is a fresh process that times itself after its imports and after loading its kernels; both
sides take turns in a repeat.
tonic lives in an environment of its own, whose interpreter SNNTRACE_PEER_TONIC names:

    python3.11 -m venv ~/peers/tonic && ~/peers/tonic/bin/pip install tonic==1.7.0 torch==2.13.0
"""

import argparse
import gzip
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import brainunit as u
import jax
import numpy as np
from loading_report import markdown, targets_of
from measure import environment, wait_until_quiet

from snntrace.datasets import (
    NMNIST,
    SpikeDataset,
    SpikeFile,
    SpikeStore,
    StoreInfo,
    StoreWriter,
    batches,
    convert,
    export_shd,
)
from snntrace.train.config import TrainConfig
from snntrace.train.learning import Optimiser, forward, make_learner, train_step
from snntrace.train.model import build_model

HERE = Path(__file__).parent
VARIABLE = "SNNTRACE_PEER_TONIC"
DT_US, BATCH = 4000, 32
STEPS = {"shd": 250, "nmnist": 79, "store": 79}
HIDDEN = 256
EPOCHS = 2
CASES: dict[str, dict[str, list[str]]] = {
    # Of each case: who, and the worker's arguments; `tonic` and `tonic, 2 workers` are tonic's.
    "spoken digits, batches": {
        "snntrace": ["shd"],
        "snntrace, no other thread": ["shd", "--prefetch", "0", "--workers", "1"],
        "tonic": ["shd"],
        "tonic, 2 workers": ["shd", "--workers", "2"],
    },
    "N-MNIST, batches": {
        "snntrace": ["nmnist"],
        "snntrace, no other thread": ["nmnist", "--prefetch", "0", "--workers", "1"],
        "snntrace, spike store": ["store"],
        "snntrace, spike store, int16": ["store", "--dtype", "int16"],
        "snntrace, spike store, kept in memory": ["store", "--cache"],
        "snntrace, as events": ["nmnist", "--layout", "events"],
        "snntrace, spike store, as events": ["store", "--layout", "events"],
        # One epoch, for it takes long, and each is as long as the other.
        "tonic": ["nmnist", "--epochs", "1"],
        "tonic, 2 workers": ["nmnist", "--epochs", "1", "--workers", "2"],
    },
    "N-MNIST, recordings": {
        "snntrace": ["nmnist", "--read"],
        "snntrace, spike store": ["store", "--read"],
        "tonic": ["nmnist", "--read"],
    },
}
Found = dict[str, dict[str, list[dict[str, Any]]]]


def worker(who: str, arguments: list[str], paths: dict[str, Path], *more: str) -> dict[str, Any]:
    """Run one measurement in a fresh process."""
    kind = arguments[0]
    of_tonic = who.startswith("tonic")
    python = os.environ[VARIABLE] if of_tonic else sys.executable
    script = HERE / ("tonic_worker.py" if of_tonic else "loading_worker.py")
    path = paths["nmnist"] / "Train" if of_tonic and kind == "nmnist" else paths[kind]
    sizes = ["--step-us", str(DT_US), "--steps", str(STEPS[kind]), "--batch", str(BATCH)]
    small = [] if of_tonic else [str(paths[f"small {kind}"])]
    command = [python, str(script), kind, str(path), *small, *sizes, *arguments[1:], *more]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{who}, {kind}: the worker ended with\n{done.stderr[-2000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def files_in(folder: Path, place: Path) -> dict[str, Path]:
    """Name the files of both data sets, and make those that are not there: unpacked, and converted."""
    paths = {"nmnist": folder / "nmnist", "shd": place / "shd.h5", "store": place / "nmnist.spikes"}
    packed = folder / "shd_regen" / "shd_regen_small_train.h5.gz"
    with gzip.open(packed) as source, paths["shd"].open("wb") as target:
        shutil.copyfileobj(source, target)
    convert(NMNIST(paths["nmnist"]), paths["store"])
    os.sync()
    return paths | small_files(paths, place)


def small_files(paths: dict[str, Path], place: Path) -> dict[str, Path]:
    """Make small data sets of each kind."""
    digits, spoken, store = place / "small", place / "small.h5", place / "small.spikes"
    for label in range(10):
        folder = digits / "Train" / str(label)
        folder.mkdir(parents=True)
        for file in sorted((paths["nmnist"] / "Train" / str(label)).glob("*.bin"))[:2]:
            shutil.copy(file, folder)
    convert(NMNIST(digits), store)
    with SpikeFile(paths["shd"]) as source:
        info = StoreInfo(n_units=source.n_units, class_names=source.class_names)
        with StoreWriter(place / "few.spikes", info) as writer:
            for row in range(4):
                writer.append(*source.events(row), label=int(source.labels[row]))
    export_shd(SpikeStore(place / "few.spikes"), spoken)
    return {"small nmnist": digits, "small shd": spoken, "small store": store}


def forget(paths: dict[str, Path]) -> None:
    """Ask the system to drop the files' contents from memory, so that the next process reads the disk."""
    if not hasattr(os, "posix_fadvise"):
        return
    for file in files_of(paths):
        handle = os.open(file, os.O_RDONLY)
        try:
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(handle)


def remember(paths: dict[str, Path]) -> None:
    """Read the files, so that the next process finds their contents in memory."""
    for file in files_of(paths):
        file.read_bytes()


def files_of(paths: dict[str, Path]) -> list[Path]:
    return [file for path in paths.values() for file in (path.rglob("*.bin") if path.is_dir() else [path])]


def measured(paths: dict[str, Path], repeats: int) -> Found:
    """Run all measurements, in an order that rotates from repeat to repeat."""
    found: Found = {case: {who: [] for who in contestants} for case, contestants in CASES.items()}
    for repeat in range(repeats):
        for case, contestants in CASES.items():
            names = list(contestants)
            shift = repeat % len(names)
            for who in names[shift:] + names[:shift]:
                # Recordings alone are about decoding, so their files are in memory.
                (remember if case == "N-MNIST, recordings" else forget)(paths)
                counted = repeat == 0 and case.endswith("batches") and who != "tonic"
                result = worker(who, contestants[who], paths, *["--count"] * counted)
                print(f"{repeat}: {case}: {who}: {[round(s, 3) for s in result['seconds']]} s", flush=True)
                found[case][who].append(result)
    return found


def events_of(found: Found) -> dict[str, int]:
    """Return how many events the batches of each case held, and refuse a difference in any class."""
    totals: dict[str, int] = {}
    for case, contestants in found.items():
        counts = [results[0]["events"] for results in contestants.values() if results[0]["events"]]
        if any(count != counts[0] for count in counts):
            raise SystemExit(f"{case}: all must load the same events, got {counts}")
        totals |= {case: sum(counts[0].values())} if counts else {}
    return totals


# Waiting while training ----------------------------------------------------------------------------


def idle(name: str, data: SpikeDataset, steps: int) -> dict[str, Any]:
    """Train on the event-driven path, read and bin every batch anew, and tell how long it waited."""
    config = TrainConfig(
        data=name, rule="d_rtrl", path="event", hidden=HIDDEN, batch_size=BATCH, dt_ms=DT_US / 1000,
        steps=steps, pool=1,
    ).resolved()  # fmt: skip
    rows = range(len(data))
    options: dict[str, Any] = {"n_steps": steps, "drop_last": True}
    dense = next(iter(batches(data, rows, BATCH, DT_US * u.us, **options))).x
    loader = batches(data, rows, BATCH, DT_US * u.us, layout="events", prefetch=2, **options)
    classes = len(data.class_names)
    model = build_model(config, loader.n_channels, classes, float(np.mean(dense**2)))
    learner = make_learner(config, model, (BATCH, loader.n_channels), classes)
    activity = float(np.mean(forward(model, BATCH)(jax.numpy.asarray(dense))[1][0]))
    learn = train_step(config, learner, Optimiser(config, model, EPOCHS * len(loader)))
    # The same batches once before: they have room for more or fewer events, and each size is compiled for.
    for epoch in range(EPOCHS):
        for batch in batches(data, rows, BATCH, DT_US * u.us, layout="events", **options).epoch(epoch):
            jax.block_until_ready(learn(batch.x, batch.labels, batch.mask))
    start = time.perf_counter()
    for _ in range(EPOCHS):
        for batch in loader:
            score = learn(batch.x, batch.labels, batch.mask)
            jax.block_until_ready(score)
    total = time.perf_counter() - start
    return {
        "data": name,
        "batches": EPOCHS * len(loader),
        "seconds_a_batch": total / (EPOCHS * len(loader)),
        "activity": activity,
        "waited_s": loader.waiting.idle,
        "share": loader.waiting.share,
        "paths": str(learner.paths),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="training alone, one repeat; nothing is written")
    parser.add_argument("--no-assert", action="store_true", help="exit with 0 even if a target is missed")
    parser.add_argument("--wait", type=float, default=300.0, help="seconds to wait for a quiet machine")
    parser.add_argument("--out", type=Path, default=HERE / "results")
    shared = Path(os.environ.get("SNNTRACE_SHARED", HERE.parents[1] / "shared"))
    parser.add_argument("--shared", type=Path, default=shared, help="the folder with the recordings")
    options = parser.parse_args()
    folder = options.shared / "data"
    if not folder.is_dir():
        print(f"left out: there are no recordings in {folder}; give --shared or set SNNTRACE_SHARED")
        return 0
    if not options.quick and not os.access(os.environ.get(VARIABLE, ""), os.X_OK):
        print(f"left out: tonic is not installed, for {VARIABLE} names no interpreter; see {__file__}")
        return 0
    with tempfile.TemporaryDirectory() as place:
        paths = files_in(folder, Path(place))
        if not options.quick:
            wait_until_quiet(1.5, options.wait)
        results: dict[str, Any] = {"environment": environment(), "repeats": options.repeats}
        results |= {"load_before": os.getloadavg()[0], "batch": BATCH, "hidden": HIDDEN, "epochs": EPOCHS}
        with SpikeFile(paths["shd"]) as spoken:
            camera = NMNIST(paths["nmnist"])
            results["training"] = [
                idle("spoken digits", spoken, STEPS["shd"]),
                idle("N-MNIST", camera, STEPS["nmnist"]),
            ]
            results["recordings"] = [len(spoken), len(camera)]
        if options.quick:
            print(json.dumps(results["training"], indent=1))
            return 0
        results["loading"] = measured(paths, options.repeats)
        results["events"] = events_of(results["loading"])
    results["load_after"] = os.getloadavg()[0]
    targets = targets_of(results)
    results["targets"] = [vars(target) for target in targets]
    text = markdown(results, targets)
    print(text)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "loading.md").write_text(text + "\n")
    (options.out / "loading.json").write_text(json.dumps(results, indent=1) + "\n")
    missed = [f"{t.what}: {t.got} must be {t.wanted}" for t in targets if not t.met]
    print(*missed, sep="\n", file=sys.stderr)
    return 1 if missed and not options.no_assert else 0


if __name__ == "__main__":
    sys.exit(main())
