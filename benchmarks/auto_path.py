"""Whether path='auto' takes the faster path, over 30 shapes on one machine.

For each net, input and activity the loss and the gradients of a batch are timed by events and by dense
products in turn, and what path='auto' takes is compared with the better of the two. It chooses by what
``snntrace bench --calibrate`` found, which is measured first, and by a trial of its own where that leaves it
open; none of the nets here is among those that are calibrated with.

Writes auto_path.md and auto_path.json, and exits with 1 if a target is missed.
"""

import argparse
import json
import os
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from measure import environment, interleaved, milliseconds, table, wait_until_quiet
from nets import Net, Shape, loss
from report import conditions
from targets import Target, at_most

import snntrace
from snntrace import Spikes
from snntrace.calibration import calibrate
from snntrace.costs import known_measurements, store

HERE = Path(__file__).parent
LOSS = 1.10
LISTS, ARRAY = "lists", "array"
# Kind of units, sizes, the form of the input, and its activities.
GRID: tuple[tuple[str, Shape, str, tuple[float, ...]], ...] = (
    ("LIF", Shape(700, 200, 20, 64, 100), LISTS, (0.001, 0.03, 0.3)),
    ("LIF", Shape(700, 200, 20, 64, 100), ARRAY, (0.003, 0.05, 0.6)),
    ("LIF", Shape(500, 128, 10, 1, 200), LISTS, (0.01, 0.1, 0.6)),
    ("LIF", Shape(140, 400, 20, 32, 100), LISTS, (0.01, 0.1, 0.6)),
    ("LIF", Shape(1500, 800, 10, 16, 40), LISTS, (0.005, 0.1, 0.6)),
    ("LIF", Shape(2312, 200, 10, 32, 100), LISTS, (0.005, 0.1, 0.6)),
    ("LIF", Shape(2312, 200, 10, 32, 100), ARRAY, (0.005, 0.1, 0.6)),
    ("LIF", Shape(700, 256, 20, 256, 50), LISTS, (0.01, 0.1, 0.6)),
    ("ALIF", Shape(100, 100, 10, 16, 150), LISTS, (0.01, 0.1, 0.6)),
    ("ALIF", Shape(700, 256, 20, 64, 100), LISTS, (0.01, 0.1, 0.6)),
)


def measure(
    kind: str, shape: Shape, form: str, rates: tuple[float, ...], repeats: int
) -> list[dict[str, Any]]:
    """Time both paths of one net at some activities, and ask which one auto takes."""
    learners = {
        path: snntrace.compile(
            Net(kind, shape),
            snntrace.D_RTRL,
            jnp.zeros((shape.batch, shape.n_in)),
            batch_size=shape.batch,
            path=path,
        )
        for path in ("event", "dense", "auto")
    }
    runs = {path: learners[path].value_and_grad(loss) for path in ("event", "dense")}
    runs_auto = learners["auto"].value_and_grad(loss)
    rng = np.random.default_rng(1)
    labels = jnp.asarray(rng.integers(0, shape.n_out, (shape.steps, shape.batch)), jnp.int32)
    found = []
    for rate in rates:
        raster = (rng.random((shape.steps, shape.batch, shape.n_in)) < rate).astype(np.float32)
        lists = jax.tree.map(jnp.asarray, Spikes.from_dense(raster))
        x = lists if form == LISTS else jnp.asarray(raster)
        contest = {path: (lambda run=run, x=x: run(x, labels)) for path, run in runs.items()}
        timings = interleaved(contest, repeats)
        seconds = {path: min(timing.wall.values()) for path, timing in timings.items()}
        before = len(known_measurements().trials)
        jax.block_until_ready(runs_auto(x, labels))
        tried = len(known_measurements().trials) > before
        route = learners["auto"].paths.plan((x,), carry=False, look=True).route
        taken = "dense" if route == "dense" else "event"
        best = min(seconds, key=seconds.__getitem__)
        ratio = seconds[taken] / seconds[best]
        found.append({"kind": kind, "form": form, "rate": rate, **asdict(shape), **seconds} | {
            "taken": taken, "tried": tried, "best": best, "ratio": ratio, "load": os.getloadavg()[0],
        })  # fmt: skip
    return found


def markdown(results: dict[str, Any]) -> str:
    """Write the results as Markdown."""
    rows = [
        [
            f"{g['kind']} {g['n_in']}-{g['n']}-{g['n_out']}", g["form"], f"{g['batch']}", f"{g['steps']}",
            f"{g['rate']:.1%}", milliseconds(g["event"]), milliseconds(g["dense"]),
            g["taken"] + (", tried" if g["tried"] else ""),
            f"{g['ratio']:.2f}",
        ]
        for g in results["grid"]
    ]  # fmt: skip
    header = [
        "net",
        "input",
        "batch",
        "T",
        "active",
        "events, ms",
        "dense, ms",
        "auto takes",
        "over the better",
    ]
    met = [[t["what"], t["wanted"], t["got"], "yes" if t["met"] else "**no**"] for t in results["targets"]]
    parts = [
        "# What `path='auto'` takes",
        "Written by `python benchmarks/auto_path.py`.",
        conditions(results, f"float32; the shortest of {results['repeats']} repeats"),
        f"The calibration took {results['calibration_s']:.0f} s; the median error of its fit is "
        f"{results['fit_error']:.0%}.",
        table(["", "wanted", "measured", "met"], met),
        table(header, rows),
    ]
    return "\n\n".join(parts) + "\n"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="how often each path runs (default 5)")
    parser.add_argument("--quick", action="store_true", help="one net, assumed costs; only prints")
    parser.add_argument("--no-assert", action="store_true", help="exit with 0 even if a target is missed")
    parser.add_argument("--out", type=Path, default=HERE / "results", help="folder of the results")
    parser.add_argument("--load", type=float, default=1.5, help="load average to wait for (default 1.5)")
    parser.add_argument("--wait", type=float, default=300.0, help="seconds to wait at most (default 300)")
    return parser.parse_args()


def main() -> int:
    args = arguments()
    results: dict[str, Any] = {"environment": environment(), "repeats": args.repeats}
    grid = GRID[:1] if args.quick else GRID
    with tempfile.TemporaryDirectory() as folder:
        # The user's own costs stay as they are.
        os.environ["SNNTRACE_COSTS"] = str(Path(folder) / "costs.json")
        start, error = os.times().elapsed, float("nan")
        if not args.quick:
            wait_until_quiet(args.load, args.wait)
            costs, error = calibrate()
            store(costs)
        results |= {"calibration_s": os.times().elapsed - start, "fit_error": error}
        results["load_before"] = os.getloadavg()[0]
        results["grid"] = [found for net in grid for found in measure(*net, args.repeats)]
    results["load_after"] = os.getloadavg()[0]
    worst = max(g["ratio"] for g in results["grid"])
    held: list[Target] = [
        at_most(f"auto's time over the better path's, worst of {len(results['grid'])}", LOSS, worst)
    ]
    results["targets"] = [asdict(t) for t in held]
    text = markdown(results)
    print(text)
    if args.quick:
        return 0
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "auto_path.md").write_text(text)
    (args.out / "auto_path.json").write_text(json.dumps(results, indent=1) + "\n")
    missed = [t for t in held if not t.met]
    for target in missed:
        print(f"missed: {target.what} must be {target.wanted}, got {target.got}", file=sys.stderr)
    return 1 if missed and not args.no_assert else 0


if __name__ == "__main__":
    sys.exit(main())
