"""Trace gradients against backpropagation through time and against braintrace, in one run on one machine.

Measured, for a recurrent net of LIF or ALIF units with a linear read-out:

1. the time of loss and gradients over a sequence, against the same net's backpropagation through time;
2. the same update by update, for LIF units under D-RTRL, whose traces collapse;
3. the time and the gradients of braintrace's D-RTRL;
4. peak memory against the length of the sequence.

Writes versus_bptt.md and versus_bptt.json, and exits with 1 if a target is missed.
"""

import argparse
import json
import math
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
import numpy as np
from braintrace_process import NATIVE, STEPWISE, WINDOWED, Braintrace
from contestants import backpropagation, sequence, streaming
from measure import RUNS, Timing, environment, interleaved, relative_difference, wait_until_quiet
from nets import NEURONS, Net, Shape, activity, spikes_and_labels
from report import markdown
from targets import Target, at_least, at_most

import snntrace

HERE = Path(__file__).parent
BASELINE = "BPTT"
RULES = {
    "D_RTRL": snntrace.D_RTRL,
    "OSTTP": snntrace.OSTTP,
    "OSTLRecurrent": snntrace.OSTLRecurrent,
    "BPTT, snntrace's executor": snntrace.BPTT,
}
STREAMED = "D_RTRL, update by update"
ACTIVITY = (0.02, 0.10)
SPEEDUP = 25.0
GROWTH = 1.10
AGREEMENT = 1e-3


class Rival:
    """braintrace's times, taken in some of the repeats because a batch takes it seconds."""

    def __init__(self, problem: dict[str, np.ndarray], at: set[int]) -> None:
        self.process = Braintrace(problem)
        self.at = at
        self.timings = {mode: Timing() for mode in (*STEPWISE, WINDOWED)}
        self.gradients: dict[str, dict[str, np.ndarray]] = {}

    def after(self, repeat: int) -> None:
        if repeat in self.at:
            for mode, timing in self.timings.items():
                # Where a batch takes ten seconds, an instant's disturbance does not count.
                runs = 1 if mode == NATIVE else RUNS
                timing.wall[repeat] = min(self.process.seconds(mode) for _ in range(runs))
                self.gradients[mode] = self.process.gradients()

    def found(self, ours: Timing, gradients: dict[str, np.ndarray]) -> dict[str, Any]:
        speedup = {mode: timing.ratio(ours) for mode, timing in self.timings.items()}
        # A gradient that is zero throughout is one that braintrace leaves out.
        given = {
            mode: {name: value for name, value in found.items() if value.any()}
            for mode, found in self.gradients.items()
        }
        return {
            "versions": self.process.versions,
            "modes": {mode: t.as_dict() | {"speedup": speedup[mode]} for mode, t in self.timings.items()},
            "fastest_stepwise": min(STEPWISE, key=speedup.__getitem__),
            "difference": {
                mode: {name: relative_difference(gradients[name], value) for name, value in found.items()}
                for mode, found in given.items()
            },
            "left_out": sorted(gradients.keys() - given[STEPWISE[0]].keys()),
        }


def problem(shape: Shape, xs: jax.Array, labels: jax.Array) -> dict[str, np.ndarray]:
    """Return the LIF net's weights, its leak and the data, for braintrace's process."""
    net = Net("LIF", shape)
    layer, readout = net.recurrent, net.readout.weight.value
    found = {
        "alpha": math.exp(-1.0 / 20.0),
        "xs": xs,
        "labels": labels,
        "w_in": layer.w_in.value,
        "w_rec": layer.w_rec.value,
        "bias": layer.bias.value,
        "w_out": readout["weight"],
        "b_out": readout["bias"],
    }
    return {name: np.asarray(value) for name, value in found.items()}


def named(grads: Any) -> dict[str, np.ndarray]:
    """Return our gradients under the names of `problem`."""
    readout = grads["readout", "weight"]
    found = {name: grads["recurrent", name] for name in ("w_in", "w_rec", "bias")}
    found |= {"w_out": readout["weight"], "b_out": readout["bias"]}
    return {name: np.asarray(value) for name, value in found.items()}


def measure_times(kind: str, shape: Shape, repeats: int, with_braintrace: bool) -> dict[str, Any]:
    """Time all contestants on the net with units of one kind."""
    xs, labels = spikes_and_labels(shape)
    runs = {name: sequence(kind, shape, rule, xs, labels) for name, rule in RULES.items()}
    runs[BASELINE] = backpropagation(kind, shape, xs, labels)
    if kind == "LIF":
        runs[STREAMED] = streaming(kind, shape, xs, labels)
    rival = Rival(problem(shape, xs, labels), {0, repeats // 2, repeats - 1}) if with_braintrace else None
    timings = interleaved(runs, repeats, rival.after if rival else lambda repeat: None)
    found: dict[str, Any] = {
        "activity": activity(kind, shape, xs),
        "load": os.getloadavg()[0],
        "times": {
            name: timing.as_dict()
            | {"ratio": timing.ratio(timings[BASELINE]), "cpu_ratio": timing.cpu_ratio(timings[BASELINE])}
            for name, timing in timings.items()
        },
    }
    ours = named(runs["D_RTRL"]()[1])
    if kind == "LIF":
        streamed = named(runs[STREAMED]()[1])
        found["streaming_difference"] = {
            name: relative_difference(streamed[name], value) for name, value in ours.items()
        }
    if rival:
        found["braintrace"] = rival.found(timings["D_RTRL"], ours)
        rival.process.close()
    return found


def measure_memory(lengths: dict[str, tuple[int, ...]], batch: int) -> list[dict[str, Any]]:
    """Measure the peak memory of each method and length in a process of its own."""
    found = []
    for method, steps in ((m, t) for m, several in lengths.items() for t in several):
        command = [sys.executable, str(HERE / "peak_memory.py"), method, str(steps), "--batch", str(batch)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        found.append({"method": method, "steps": steps} | json.loads(done.stdout.splitlines()[-1]))
    return found


def growth(memory: list[dict[str, Any]], method: str) -> float:
    """Return the peak of the longest sequence over that of the shortest."""
    peaks = {m["steps"]: m["peak_mib"] for m in memory if m["method"] == method}
    return float(peaks[max(peaks)] / peaks[min(peaks)])


def targets(results: dict[str, Any]) -> list[Target]:
    """Hold what was measured against what must hold."""
    found = []
    for kind, measured in results["nets"].items():
        low, high = ACTIVITY
        rate = measured["activity"]
        wanted, met = f"{low:.0%} to {high:.0%}", low <= rate <= high
        found.append(Target(f"{kind}: share of steps with a spike", wanted, f"{rate:.1%}", met))
        for name in ("D_RTRL", "OSTTP", STREAMED):
            if name in measured["times"]:
                ratio = measured["times"][name]["ratio"]
                found.append(at_most(f"{kind}: time of {name} over {BASELINE}", 1.0, ratio))
    lif = results["nets"]["LIF"]
    difference = max(lif["streaming_difference"].values())
    found.append(at_most("LIF: gradients update by update against the sequence's", AGREEMENT, difference))
    if "braintrace" in lif:
        rival = lif["braintrace"]
        mode = rival["fastest_stepwise"]
        speedup = rival["modes"][mode]["speedup"]
        difference = max(rival["difference"][mode].values())
        found.append(at_least(f"LIF: time of braintrace's D_RTRL ({mode}) over D_RTRL", SPEEDUP, speedup))
        found.append(at_most("LIF: gradients against braintrace's", AGREEMENT, difference))
    grown = growth(results["memory"], "streaming")
    found.append(at_most("LIF: streaming's memory, longest over shortest sequence", GROWTH, grown))
    return found


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9, help="how often each contestant runs (default 9)")
    parser.add_argument("--quick", action="store_true", help="small sizes; only prints")
    parser.add_argument("--no-assert", action="store_true", help="exit with 0 even if a target is missed")
    parser.add_argument("--no-braintrace", action="store_true", help="leave braintrace out")
    parser.add_argument("--out", type=Path, default=HERE / "results", help="folder of the results")
    parser.add_argument("--load", type=float, default=1.5, help="load average to wait for (default 1.5)")
    parser.add_argument("--wait", type=float, default=300.0, help="seconds to wait at most (default 300)")
    return parser.parse_args()


def main() -> int:
    args = arguments()
    shape = Shape(batch=8, steps=20) if args.quick else Shape()
    lengths = {"streaming": (100, 1000, 4000), "windows": (100, 1000, 4000), "bptt": (100, 1000)}
    if args.quick:
        lengths = {"streaming": (20, 200), "windows": (100, 200), "bptt": (20, 200)}
    else:
        wait_until_quiet(args.load, args.wait)
    results: dict[str, Any] = {"environment": environment(), "net": str(shape), "repeats": args.repeats}
    results["load_before"] = os.getloadavg()[0]
    with_braintrace = not (args.quick or args.no_braintrace)
    results["nets"] = {
        kind: measure_times(kind, shape, args.repeats, with_braintrace and kind == "LIF") for kind in NEURONS
    }
    results["memory"] = measure_memory(lengths, shape.batch)
    results["load_after"] = os.getloadavg()[0]
    held = targets(results)
    results["targets"] = [asdict(t) for t in held]
    text = markdown(results)
    print(text)
    if args.quick:
        return 0
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "versus_bptt.md").write_text(text)
    (args.out / "versus_bptt.json").write_text(json.dumps(results, indent=1) + "\n")
    missed = [t for t in held if not t.met]
    for target in missed:
        print(f"missed: {target.what} must be {target.wanted}, got {target.got}", file=sys.stderr)
    return 1 if missed and not args.no_assert else 0


if __name__ == "__main__":
    sys.exit(main())
