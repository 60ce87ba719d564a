"""The event path against backpropagation through time and against other libraries, in one run on one machine.

Measured for a recurrent net of LIF or ALIF units with a linear read-out: the loss and the gradients of one
batch of Poisson-like input, of N-MNIST and of spoken digits. Beside the times: how far the event path's
gradients are from the dense path's, how many spikes differ in float32, and how often units spike.

Writes versus_events.md and versus_events.json, and exits with 1 if a target is missed.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import brainstate
import jax
import numpy as np
from contestants import TARGET_PROJECTION, backpropagation
from events_report import markdown
from measure import RUNS, Timing, environment, interleaved, relative_difference, wait_until_quiet
from nets import NEURONS, Net, Shape, activity, loss
from peers import PEERS, Peer, PeerError
from problems import Problem, poisson, problems
from targets import Target, at_least, at_most

import snntrace

HERE = Path(__file__).parent
BASELINE = "BPTT"
EVENT = "D_RTRL, events"
ACTIVITY = (0.01, 0.05)
AGREEMENT = 1e-3
FLIPPED = 1e-4
SLOW = 2.0
"""Seconds of a run from which on an instant's disturbance does not count."""


def trace_gradient(problem: Problem, kind: str, rule: snntrace.Rule, path: str) -> Callable[[Any], Any]:
    """Return a function from the input, as lists or as a raster, to loss and gradients."""
    projects = rule.signal == "target"
    options = TARGET_PROJECTION if projects else {}
    net = Net(kind, problem.shape)
    learner = snntrace.compile(
        net, rule, problem.raster[0], batch_size=problem.shape.batch, path=path, **options
    )
    run = learner.value_and_grad(loss)
    target = {"y_target": problem.labels} if projects else {}
    return lambda x: run(x, problem.labels, **target)


def contestants(problem: Problem, kind: str) -> dict[str, Callable[[], Any]]:
    """Return all of ours, and BPTT."""
    event = trace_gradient(problem, kind, snntrace.D_RTRL, "event")
    target = trace_gradient(problem, kind, snntrace.OSTTP, "event")
    dense = trace_gradient(problem, kind, snntrace.D_RTRL, "dense")
    return {
        EVENT: lambda: event(problem.spikes),
        "OSTTP, events": lambda: target(problem.spikes),
        "D_RTRL, events out of a raster": lambda: event(problem.raster),
        "D_RTRL, dense": lambda: dense(problem.raster),
        BASELINE: backpropagation(kind, problem.shape, problem.raster, problem.labels),
    }


class Rivals:
    """The peers that have this kind of units, started, and their times."""

    def __init__(self, problem: Problem, kind: str, folder: Path, at: set[int]) -> None:
        self.at = at
        self.timings: dict[str, Timing] = {}
        self.refused: dict[str, str] = {}
        self.found: dict[str, dict[str, float]] = {}
        self.peers: dict[str, Peer] = {}
        files = problem.write(kind, folder)
        for name, program in PEERS.items():
            if kind not in program.kinds:
                continue
            try:
                self.peers[name] = peer = program.start()
                self.found[name] = peer.prepare(kind=kind, **files)
                self.timings[name] = Timing()
            except PeerError as error:
                self.refused[name] = str(error)

    def after(self, repeat: int) -> None:
        """Run each in turn, the shortest of several runs; one that takes seconds runs once in all."""
        for name, timing in self.timings.items():
            if repeat not in self.at or min(timing.wall.values(), default=0.0) > SLOW:
                continue
            first = self.peers[name].run()
            more = [self.peers[name].run() for _ in range(RUNS - 1)] if first < SLOW else []
            timing.wall[repeat] = min(first, *more) if more else first

    def close(self) -> None:
        for peer in self.peers.values():
            peer.close()

    def results(self, ours: Timing) -> dict[str, Any]:
        return {
            name: {
                "wall_s": list(timing.wall.values()),
                "median_s": timing.median,
                "times_ours": timing.ratio(ours),
                "versions": self.peers[name].versions,
                **self.found[name],
            }
            for name, timing in self.timings.items()
        }


def gradient_difference(problem: Problem, kind: str) -> float:
    """Return the largest difference of a gradient between the paths, over the largest gradient.

    Sums are rounded in another order, so in float32 a few spikes differ; their share is `flipped`.
    """
    runs = {p: trace_gradient(problem, kind, snntrace.D_RTRL, p) for p in ("event", "dense")}
    event, dense = (flatten(runs[p](problem.spikes if p == "event" else problem.raster)[1]) for p in runs)
    return max(relative_difference(event[k], dense[k]) for k in dense)


def flatten(grads: Any) -> dict[str, np.ndarray]:
    return {jax.tree_util.keystr(k): np.asarray(v) for k, v in jax.tree_util.tree_leaves_with_path(grads)}


class Hidden(brainstate.nn.Module):
    """The hidden layer of `Net`, whose output are its spikes."""

    def __init__(self, kind: str, shape: Shape) -> None:
        super().__init__()
        self.layer = Net(kind, shape).recurrent

    def update(self, x: Any) -> jax.Array:
        spikes: jax.Array = self.layer(x)
        return spikes


def flipped(problem: Problem, kind: str) -> float:
    """Return the share of the hidden units' steps in which the paths differ about a spike, in float32."""
    shape, found = problem.shape, []
    for path, x in (("event", problem.spikes), ("dense", problem.raster)):
        net = Hidden(kind, shape)
        learner = snntrace.compile(net, snntrace.D_RTRL, problem.raster[0], batch_size=shape.batch, path=path)
        learner.reset_state()
        found.append(np.asarray(learner.unroll(x, carry=False)) != 0)
    return float((found[0] != found[1]).mean())


def measure(problem: Problem, kind: str, repeats: int, with_peers: bool) -> dict[str, Any]:
    """Measure everything on one problem and one kind of units."""
    with tempfile.TemporaryDirectory() as folder:
        at = set(range(0, repeats, 2))
        rivals = Rivals(problem, kind, Path(folder), at) if with_peers else None
        timings = interleaved(contestants(problem, kind), repeats, rivals.after if rivals else lambda _: None)
        peers = rivals.results(timings[EVENT]) if rivals else {}
        if rivals:
            rivals.close()
    return {
        "problem": str(problem),
        "kind": kind,
        "limit": problem.limit,
        "input_rate": problem.input_rate,
        "activity": activity(kind, problem.shape, problem.raster),
        "flipped": flipped(problem, kind),
        "difference": gradient_difference(problem, kind),
        "load": os.getloadavg()[0],
        "times": {n: t.as_dict() | {"ratio": t.ratio(timings[BASELINE])} for n, t in timings.items()},
        "peers": peers,
        "refused": rivals.refused if rivals else {},
    }


def targets(measured: list[dict[str, Any]]) -> list[Target]:
    """Hold what was measured against what must hold."""
    found = []
    for m in measured:
        what = f"{m['problem'].partition(':')[0]}, {m['kind']}"
        low, high = ACTIVITY
        met = low <= m["activity"] <= high
        wanted = f"{low:.0%} to {high:.0%}"
        found.append(Target(f"{what}: share of steps with a spike", wanted, f"{m['activity']:.1%}", met))
        found.append(at_most(f"{what}: time over {BASELINE}", m["limit"], m["times"][EVENT]["ratio"]))
        found.append(at_most(f"{what}: share of flipped spikes", FLIPPED, m["flipped"]))
        for name, peer in m["peers"].items():
            found.append(at_least(f"{what}: time of {name} over ours", 1.0, peer["times_ours"]))
    return found


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="how often each contestant runs (default 5)")
    parser.add_argument("--quick", action="store_true", help="a small batch; only prints")
    parser.add_argument("--no-assert", action="store_true", help="exit with 0 even if a target is missed")
    parser.add_argument("--no-peers", action="store_true", help="leave the peers out")
    parser.add_argument("--out", type=Path, default=HERE / "results", help="folder of the results")
    parser.add_argument("--load", type=float, default=1.5, help="load average to wait for (default 1.5)")
    parser.add_argument("--wait", type=float, default=300.0, help="seconds to wait at most (default 300)")
    return parser.parse_args()


def main() -> int:
    args = arguments()
    if args.quick:
        shape = Shape(n_in=100, n=64, n_out=10, batch=4, steps=60, input_rate=0.03)
        several, left_out = [poisson(shape, "small", 1.0)], []
    else:
        several, left_out = problems()
        wait_until_quiet(args.load, args.wait)
    results: dict[str, Any] = {"environment": environment(), "repeats": args.repeats, "left_out": left_out}
    results["load_before"] = os.getloadavg()[0]
    with_peers = not (args.quick or args.no_peers)
    results["measured"] = []
    for problem, kind in ((problem, kind) for problem in several for kind in NEURONS):
        print(f"{problem}; {kind}", file=sys.stderr, flush=True)
        results["measured"].append(measure(problem, kind, args.repeats, with_peers))
    results["load_after"] = os.getloadavg()[0]
    held = targets(results["measured"])
    results["targets"] = [asdict(t) for t in held]
    text = markdown(results)
    print(text)
    if args.quick:
        return 0
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "versus_events.md").write_text(text)
    (args.out / "versus_events.json").write_text(json.dumps(results, indent=1) + "\n")
    missed = [t for t in held if not t.met]
    for target in missed:
        print(f"missed: {target.what} must be {target.wanted}, got {target.got}", file=sys.stderr)
    return 1 if missed and not args.no_assert else 0


if __name__ == "__main__":
    sys.exit(main())
