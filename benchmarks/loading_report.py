"""What was measured of loading, as targets and as a page."""

import statistics
from collections.abc import Iterator
from typing import Any

from measure import table
from targets import Target, at_least, at_most

FIRST, LATER = 0, -1
SPOKEN, CAMERA = "spoken digits, batches", "N-MNIST, batches"
HOW = """\
{0:,} recordings in SHD's layout (250 steps, 700 units) and the {1:,} N-MNIST recordings at hand (79
steps, 2,312 units), in shuffled batches of {batch} and steps of 4 ms: the same files and the same
{events} events on both sides, equal in every class. Each number is of a fresh process, from after its
imports on, and here after an epoch of a few other recordings, which loads compiled kernels from disk
({begin:.0f} ms once a process): opening, listing files, and one epoch; then another epoch. Before a
process that makes batches, the system is asked to drop the files' contents from memory. snntrace makes
arrays (time, batch, unit) with `prefetch=2, workers=2`; tonic is its own reader, `ToFrame`, `PadTensors`
and torch's `DataLoader`, and its time is the shorter of those with no and with two worker processes.
"As events" are batches as lists of events by step, on which the event-driven path trains; dense ones of
N-MNIST are a gigabyte of single-precision numbers an epoch. "Recordings" are events without bins, read
one by one in a shuffled order, with the files in memory. Seconds an epoch, median of {repeats} repeats;
ratios are taken within a repeat."""
WAITING = """\
A recurrent LIF layer of {hidden} units, D_RTRL, event-driven path, `prefetch=2` with one thread; every
batch is read and binned anew in each of {epochs} epochs."""


def ratio(found: dict[str, Any], case: str, who: str, epoch: int) -> float:
    """Return the median over the repeats of tonic's time, its faster way, over that of `who`."""
    ours = [result["seconds"][epoch] for result in found[case][who]]
    tonics = [
        [result["seconds"][epoch] for result in results]
        for name, results in found[case].items()
        if name.startswith("tonic")
    ]
    best = [min(both) for both in zip(*tonics, strict=True)]
    return statistics.median(tonic / one for one, tonic in zip(ours, best, strict=True))


def beginning(found: dict[str, Any]) -> float:
    """Return how long a small data set took before the clock started, in ms; the median of all processes."""
    every = [r["begin"] for whos in found.values() for rs in whos.values() for r in rs if "begin" in r]
    return 1e3 * statistics.median(every)


def targets_of(results: dict[str, Any]) -> list[Target]:
    """Say what must hold, and whether it does."""
    found = results["loading"]
    wanted = [
        at_least(f"{case}, {who}: times as fast as tonic, {name}", limit, ratio(found, case, who, epoch))
        for case, who, limit, epochs in (
            (SPOKEN, "snntrace", 10, (LATER,)),
            (CAMERA, "snntrace", 5, (FIRST, LATER)),
            (CAMERA, "snntrace, spike store", 20, (LATER,)),
            (CAMERA, "snntrace, spike store, as events", 20, (LATER,)),
            (CAMERA, "snntrace, spike store, kept in memory", 20, (LATER,)),
        )
        for name, epoch in (("first epoch", FIRST), ("later", LATER))
        if epoch in epochs
    ]
    for wait in results["training"]:
        wanted.append(at_most(f"training on {wait['data']}: part of time waiting", 0.05, wait["share"]))
        active = wait["activity"]
        spikes = f"training on {wait['data']}: activity of hidden units"
        wanted.append(Target(spikes, "0.001 .. 0.5", f"{active:.3f}", 0.001 <= active <= 0.5))
    return wanted


def rows_of(found: dict[str, Any]) -> Iterator[list[str]]:
    for case, contestants in found.items():
        for who, results in contestants.items():
            seconds = [
                statistics.median(result["seconds"][epoch] for result in results) for epoch in (FIRST, LATER)
            ]
            ratios = ["", ""]
            if not who.startswith("tonic"):
                ratios = [f"{ratio(found, case, who, epoch):.1f}" for epoch in (FIRST, LATER)]
            yield [f"{case}: {who}", *(f"{s:.3f}" for s in seconds), *ratios]


def markdown(results: dict[str, Any], targets: list[Target]) -> str:
    """Write the numbers as a page."""
    machine, versions = results["environment"], results["loading"][SPOKEN]["tonic"][0]["versions"]
    waits = [
        [
            wait["data"],
            wait["batches"],
            f"{1e3 * wait['seconds_a_batch']:.0f}",
            f"{wait['activity']:.1%}",
            f"{wait['share']:.1%}",
        ]
        for wait in results["training"]
    ]
    events = " and ".join(f"{number:,}" for number in results["events"].values())
    sizes = {k: results[k] for k in ("batch", "repeats")}
    how = HOW.format(*results["recordings"], **sizes, events=events, begin=beginning(results["loading"]))
    return "\n\n".join(
        [
            "# Loading",
            "Written by `python benchmarks/loading.py`.",
            how.replace("\n", " "),
            table(
                ["", "first epoch, s", "later, s", "tonic : this, first", "tonic : this, later"],
                list(rows_of(results["loading"])),
            ),
            "## Waiting",
            WAITING.format(hidden=results["hidden"], epochs=results["epochs"]).replace("\n", " "),
            table(["data", "batches", "ms a batch", "hidden activity", "time spent waiting"], waits),
            "## Targets",
            table(
                ["", "wanted", "got", "met"],
                [[t.what, t.wanted, t.got, "yes" if t.met else "**no**"] for t in targets],
            ),
            f"Machine: {machine['cpu']}, {machine['cores']} cores, {machine['system']}; Python "
            f"{machine['python']}, numpy {machine['packages']['numpy']}, jax {machine['packages']['jax']}; "
            f"tonic {versions['tonic']} with torch {versions['torch']}, numpy {versions['numpy']}, h5py "
            f"{versions['h5py']}; {machine['date']}; load average {results['load_before']:.2f} before, "
            f"{results['load_after']:.2f} after.",
        ]
    )
