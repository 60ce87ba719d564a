"""How the time of learning by events grows, and how near it comes to what the machine allows.

Measured for a recurrent net of LIF or ALIF units with a linear read-out, D-RTRL, loss and gradients:

1. time against the activity of the input, the hidden units' activity held; against steps, units and batch,
   beside the dense path and backpropagation through time;
2. whether the time above a fixed part is proportional to the synaptic operations: each event times each
   weight of its unit, once forward and once backward. The fixed part is a of ``t = a + b * operations``, and
   the time of a silent net beside it, which no fit can bend. The targets are for where events take
   most of the time: with 4,096 inputs, where that holds while few of them spike;
3. synaptic operations a second, against the bandwidth of memory and caches and the arithmetic of the vector
   units, measured in the same run.

Writes event_growth.md, event_growth.json and event_growth.svg, and exits with 1 if a target is missed.
"""

import argparse
import json
import math
import os
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from growth_contests import Contest, Run, held
from growth_figure import draw
from growth_report import markdown
from measure import Timing, environment, interleaved, wait_until_quiet
from nets import NEURONS, Shape
from roofline import Roofs, measure_roofs
from targets import Target

HERE = Path(__file__).parent
RATES = (0.001, 0.003, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5)
WIDE_RATES = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3)
WIDE = {"n_in": 4096, "steps": 100}
"""A net so wide that events dominate while few inputs spike."""
WIDE_REPEATS = 3
ACTIVITY = 0.03
HIDDEN = (0.005, 0.01, 0.03, 0.06, 0.12)
FEW = 0.003
"""Share of steps in which an input spikes while the hidden activity is varied."""
AXIS_REPEATS = 3
AXES = {
    "steps": (60, 125, 250, 500, 1000),
    "batch": (8, 16, 32, 64, 128, 256),
    "n": (64, 128, 256, 512, 1024),
    "n_in": (175, 350, 700, 1400, 2800),
}
QUICK_AXES = {"steps": (20, 40), "batch": (2, 4), "n": (32, 64), "n_in": (50, 100)}
SEEN, BOUND = 0.2, 0.8
"""Shares of the time that the events take: from which on their cost is told from noise, and dominates."""
EXPONENT = (0.8, 1.2)


def fit(operations: np.ndarray, seconds: np.ndarray) -> tuple[float, float]:
    """Fit ``t = a + b * operations``, all points of the same relative weight."""
    design = np.stack([np.ones_like(operations), operations], axis=1) / seconds[:, None]
    (a, b), *_ = np.linalg.lstsq(design, np.ones_like(seconds), rcond=None)
    return float(a), float(b)


def exponent(x: np.ndarray, y: np.ndarray) -> float:
    """Fit the exponent p of ``y = c * x**p``."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def local_exponents(x: np.ndarray, y: np.ndarray) -> list[float]:
    """Return the exponent between each point and the one before; nan where y is not positive."""
    with np.errstate(invalid="ignore", divide="ignore"):
        found = np.diff(np.log(y)) / np.diff(np.log(x))
    return [math.nan, *(float(p) if math.isfinite(p) else math.nan for p in found)]


def seconds(run: Run) -> float:
    """Time one run."""
    start = time.perf_counter()
    jax.block_until_ready(run())
    return time.perf_counter() - start


def sweep(contests: list[Contest], dense_at: set[int], repeats: int, apart: bool) -> list[dict[str, Any]]:
    """Time several nets in turn; those dense contestants that are asked for in three of the repeats."""
    runs: dict[str, Run] = {}
    for i, contest in enumerate(contests):
        runs[f"{i} event"] = contest.whole
        if apart:
            runs |= {f"{i} forward": contest.forward, f"{i} backward": contest.backward}
    dense = {f"{i} {name}": run for i in sorted(dense_at) for name, run in contests[i].dense().items()}
    dense_times = {name: Timing() for name in dense}
    for run in dense.values():
        seconds(run)

    def after(repeat: int) -> None:
        if repeat in {0, repeats // 2, repeats - 1}:
            for name, run in dense.items():
                dense_times[name].wall[repeat] = seconds(run)

    found: list[dict[str, Any]] = [contest.as_dict() | {"times": {}} for contest in contests]
    for key, timing in (interleaved(runs, repeats, after) | dense_times).items():
        index, name = key.split()
        wall = list(timing.wall.values())
        found[int(index)]["times"][name] = {"median_s": timing.median, "wall_s": wall}
    return found


def rate_of(points: list[dict[str, Any]], way: str) -> tuple[float, float]:
    """Return the fixed time of one way, and its additions a second."""
    operations = np.array([p["operations"] / 2 for p in points])
    fixed, slope = fit(operations, np.array([p["times"][way]["median_s"] for p in points]))
    return fixed, 1.0 / slope


def proportionality(operations: np.ndarray, walls: np.ndarray, fixed: np.ndarray) -> dict[str, Any]:
    """Tell how near the time above a fixed part is to proportional, in all and where events dominate.

    Walls are (points, repeats), the fixed part one for each repeat. An exponent is fitted in each repeat,
    whose nets ran one after the other, and the median is taken: what disturbs the machine changes within a
    minute.
    """
    times, above = np.median(walls, axis=1), walls - fixed
    share = np.median(above, axis=1) / times

    def fitted(chosen: np.ndarray) -> float:
        x, ys = operations[chosen], above[chosen].T
        found = [exponent(x, y) for y in ys if chosen.sum() > 1 and y.min() > 0]
        return float(np.median(found)) if len(found) > len(ys) // 2 else math.nan

    seen, bound = share >= SEEN, share >= BOUND
    return {
        "fixed_s": float(np.median(fixed)),
        "seen": int(seen.sum()),
        "exponent": fitted(seen),
        "bound": int(bound.sum()),
        "slope": fitted(bound),
    }


def measure_activity(kind: str, shape: Shape, rates: tuple[float, ...], repeats: int) -> dict[str, Any]:
    """Measure time against the activity of the input, a silent net first."""
    silent = replace(shape, input_rate=0.0, drive=0.0)
    shapes = [silent, *held(kind, shape, rates, ACTIVITY)]
    dense_at = {1, len(shapes) // 2, len(shapes) - 1}
    first, *points = sweep([Contest(kind, s) for s in shapes], dense_at, repeats, apart=True)
    base = first["times"]["event"]
    operations = np.array([p["operations"] for p in points], float)
    times = np.array([p["times"]["event"]["median_s"] for p in points])
    a, b = fit(np.array([0.0, *operations]), np.array([base["median_s"], *times]))
    for point, t, local in zip(points, times, local_exponents(operations, times - a), strict=True):
        point |= {"share": float(1 - a / t), "exponent": local}
    walls = np.array([p["times"]["event"]["wall_s"] for p in points])
    ways = {}
    for way in ("forward", "backward"):
        fixed, rate = rate_of([first, *points], way)
        ways[way] = {"fixed_s": fixed, "operations_per_s": rate}
    return {
        "kind": kind,
        "silent": first,
        "points": points,
        "seconds_per_operation": b,
        "fit": proportionality(operations, walls, np.full(repeats, a)),
        "above_silent": proportionality(operations, walls, np.array(base["wall_s"])),
        "ways": ways,
    }


def measure_hidden(
    kind: str, shape: Shape, activities: tuple[float, ...], repeats: int
) -> list[dict[str, Any]]:
    """Measure time against the hidden units' activity, few input spikes held; first without hidden spikes."""
    shapes = [replace(shape, input_rate=FEW, drive=0.0)]
    shapes += [s for activity in activities for s in held(kind, shape, (FEW,), activity)]
    points = sweep([Contest(kind, s) for s in shapes], set(), repeats, apart=False)
    for before, point in zip(points, points[1:], strict=False):
        seconds_more = point["times"]["event"]["median_s"] - before["times"]["event"]["median_s"]
        point["seconds_per_operation"] = seconds_more / (point["operations"] - before["operations"])
    return points


def measure_axes(
    kind: str, shape: Shape, axes: dict[str, tuple[int, ...]], repeats: int
) -> dict[str, list[dict[str, Any]]]:
    """Measure time against each axis, the others held."""
    found = {}
    for axis, values in axes.items():
        contests = [Contest(kind, replace(shape, **{axis: value})) for value in values]
        points = sweep(contests, set(range(0, len(values), 2)), repeats, apart=False)
        for name in points[0]["times"]:
            timed = [p for p in points if name in p["times"]]
            sizes = np.array([p[axis] for p in timed], float)
            times = np.array([p["times"][name]["median_s"] for p in timed])
            for point, local in zip(timed, local_exponents(sizes, times), strict=True):
                point["times"][name]["exponent"] = local
        found[axis] = points
    return found


def against_roofs(activity: dict[str, Any], roofs: Roofs) -> list[dict[str, Any]]:
    """Compare additions a second, what is fixed aside, with what the machine allows."""
    found = []
    for way, stream in (("forward", roofs.cache["read"]), ("backward", roofs.cache["update"])):
        rate = activity["ways"][way]["operations_per_s"]
        rows = roofs.rows[way]
        found.append(
            {
                "kind": activity["kind"],
                "way": way,
                "operations_per_s": rate,
                "bytes_per_operation": rows.bytes_each,
                "of_stream": rate / stream.operations,
                "of_rows": rate / rows.operations,
                "of_arithmetic": rate / roofs.arithmetic.operations,
            }
        )
    return found


def targets(results: dict[str, Any]) -> list[Target]:
    """Hold what was measured against what must hold."""
    found = []
    for kind, measured in results["wide"].items():
        m, name = measured["above_silent"], f"{kind}, {measured['silent']['n_in']:,} inputs"
        what = f"{name}: points at which events take more than {BOUND:.0%} of the time"
        found.append(Target(what, ">= 3", str(m["bound"]), m["bound"] >= 3))
        what = f"{name}: there, exponent of the time above a silent net's against operations"
        low, high = EXPONENT
        met = low <= m["slope"] <= high
        found.append(Target(what, f"{low:g} to {high:g}", f"{m['slope']:.3f}", met))
    return found


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="how often each net runs (default 5)")
    parser.add_argument("--quick", action="store_true", help="small sizes; only prints")
    parser.add_argument("--no-assert", action="store_true", help="exit with 0 even if a target is missed")
    parser.add_argument("--out", type=Path, default=HERE / "results", help="folder of the results")
    parser.add_argument("--load", type=float, default=1.5, help="load average to wait for (default 1.5)")
    parser.add_argument("--wait", type=float, default=300.0, help="seconds to wait at most (default 300)")
    return parser.parse_args()


def main() -> int:
    args = arguments()
    shape, rates, axes = Shape(steps=250), RATES, AXES
    if args.quick:
        shape, rates, axes = Shape(n_in=100, n=64, n_out=10, batch=4, steps=40), (0.02, 0.2, 0.5), QUICK_AXES
    else:
        wait_until_quiet(args.load, args.wait)
    results: dict[str, Any] = {"environment": environment(), "net": str(shape), "repeats": args.repeats}
    results["load_before"] = os.getloadavg()[0]
    roofs = measure_roofs(shape.n_in + shape.n, shape.n, args.quick)
    results["activity"] = {kind: measure_activity(kind, shape, rates, args.repeats) for kind in NEURONS}
    wide = shape if args.quick else replace(shape, **WIDE)
    wide_rates = rates if args.quick else WIDE_RATES
    results["wide"] = {
        kind: measure_activity(kind, wide, wide_rates, WIDE_REPEATS * args.repeats) for kind in NEURONS
    }
    roofs = roofs.best(measure_roofs(shape.n_in + shape.n, shape.n, args.quick))
    few = min(args.repeats, AXIS_REPEATS)
    results["hidden"] = {"LIF": measure_hidden("LIF", shape, HIDDEN, few)}
    results["axes"] = {"LIF": measure_axes("LIF", shape, axes, few)}
    roofs = roofs.best(measure_roofs(shape.n_in + shape.n, shape.n, args.quick))
    results["roofs"] = [roof.as_dict() for roof in roofs]
    results["roofline"] = [row for m in results["activity"].values() for row in against_roofs(m, roofs)]
    results["load_after"] = os.getloadavg()[0]
    held_up = targets(results)
    results["targets"] = [asdict(t) for t in held_up]
    text = markdown(results)
    print(text)
    if args.quick:
        return 0
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "event_growth.md").write_text(text)
    (args.out / "event_growth.json").write_text(json.dumps(results, indent=1) + "\n")
    draw(results, args.out / "event_growth.svg")
    missed = [t for t in held_up if not t.met]
    for target in missed:
        print(f"missed: {target.what} must be {target.wanted}, got {target.got}", file=sys.stderr)
    return 1 if missed and not args.no_assert else 0


if __name__ == "__main__":
    sys.exit(main())
