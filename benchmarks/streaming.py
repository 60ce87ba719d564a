"""Time learning step by step: a stream, by events, beside dense streaming, and check that they agree."""

import argparse
import json
import os
import statistics
import sys
from pathlib import Path
from typing import Any

import brainstate
import brainunit as u
import jax
import jax.numpy as jnp
import numpy as np
from measure import Timing, environment, interleaved, relative_difference, table, wait_until_quiet

import snntrace
from snntrace.neurons import LIF, Recurrent
from snntrace.nn import Linear

N_OUT, RATE = 20, 0.01
SIZES = {(700, 256): (20_000, 2_000, 20.0), (4096, 4096): (512, 12, 40.0)}
"""Inputs and hidden units: steps of the stream and of dense streaming, and the ratio that is wanted."""
ACTIVITY = (0.01, 0.05)


class Net(brainstate.nn.Module):
    """A recurrent layer with a time constant for each unit, so that no trace collapses, and a read-out."""

    def __init__(self, n_in: int, n: int) -> None:
        super().__init__()
        rng = np.random.default_rng(0)
        self.recurrent = Recurrent(n_in, LIF(n, tau_mem=np.linspace(10, 30, n) * u.ms))
        with brainstate.random.seed_context(0):
            self.readout = Linear(n, N_OUT)
        w_in = rng.normal(0, 0.5 / np.sqrt(4 * RATE * n_in), (n_in, n))
        self.recurrent.w_in.value = jnp.asarray(w_in, jnp.float32)
        self.recurrent.w_rec.value = jnp.asarray(rng.normal(0, 0.5 / np.sqrt(n), (n, n)), jnp.float32)

    def update(self, x: Any) -> jax.Array:
        return self.readout(self.recurrent(x))


def cross_entropy(out: jax.Array, label: jax.Array) -> jax.Array:
    return -jnp.take_along_axis(jax.nn.log_softmax(out), label[:, None], -1).mean()


class Dense:
    """`Learner.update` with a gradient at every step, in a compiled scan or called from Python."""

    def __init__(self, learner: Any) -> None:
        self.learner, self.weights = learner, learner.param_states

        def loss(x: Any, label: Any) -> Any:
            return cross_entropy(learner.update(x), label)

        def step(total: Any, now: Any) -> Any:
            grads = brainstate.transform.grad(loss, self.weights)(*now)
            return jax.tree.map(jnp.add, total, grads), None

        self.scan = brainstate.transform.jit(
            lambda total, xs, labels: brainstate.transform.scan(step, total, (xs, labels))[0]
        )
        self.call = brainstate.transform.jit(lambda total, x, label: step(total, (x, label))[0])

    def zeros(self) -> Any:
        return jax.tree.map(jnp.zeros_like, {path: s.value for path, s in self.weights.items()})

    def each(self, xs: Any, labels: Any) -> Any:
        total = self.zeros()
        for x, label in zip(xs, labels, strict=True):
            total = self.call(total, x, label)
        return total


def softmax_error(out: np.ndarray, label: int) -> np.ndarray:
    """Return the gradient of the loss at one sample's result."""
    error = np.exp(out - out.max())
    error /= error.sum()
    error[0, label] -= 1
    return error


def call_by_call(stream: Any, xs: np.ndarray, labels: np.ndarray) -> None:
    for x, label in zip(xs, labels[:, 0].tolist(), strict=True):
        stream.learn(softmax_error(stream.step(x), label))


def disagreement(learner: Any, xs: np.ndarray, labels: np.ndarray) -> float:
    """Return the largest difference between the gradients of a stream and of dense streaming."""
    learner.reset_state()
    stream = learner.stream(path="event")
    expected = Dense(learner).scan(Dense(learner).zeros(), jnp.asarray(xs), jnp.asarray(labels))
    stream.run(xs, loss="cross_entropy", labels=labels)
    pairs = zip(jax.tree.leaves(stream.gradients()), jax.tree.leaves(expected), strict=True)
    return max(relative_difference(np.asarray(a), np.asarray(b)) for a, b in pairs)


def hidden_activity(net: Any, xs: np.ndarray) -> float:
    brainstate.nn.init_all_states(net, batch_size=1)
    return float(brainstate.transform.for_loop(net.recurrent, jnp.asarray(xs)).mean())


def measured(n_in: int, n: int, steps: int, dense_steps: int, repeats: int) -> dict[str, Any]:
    """Time one size."""
    rng = np.random.default_rng(1)
    xs = (rng.random((steps, 1, n_in)) < RATE).astype(np.float32)
    labels = rng.integers(0, N_OUT, (steps, 1))
    net = Net(n_in, n)
    activity = hidden_activity(net, xs[: min(steps, 1000)])
    learner = snntrace.compile(net, snntrace.D_RTRL, jnp.zeros((1, n_in)), batch_size=1)
    difference = disagreement(learner, xs[:dense_steps], labels[:dense_steps])
    stream, dense = learner.stream(path="event"), Dense(learner)
    few, calls = min(dense_steps, 200), min(steps, 2000)
    jxs, jlabels = jnp.asarray(xs[:dense_steps]), jnp.asarray(labels[:dense_steps])
    zeros = dense.zeros()
    counts = {"recording": steps, "calls": calls, "dense scan": dense_steps, "dense calls": few}
    timings = interleaved(
        {
            "recording": lambda: stream.run(xs, loss="cross_entropy", labels=labels),
            "calls": lambda: call_by_call(stream, xs[:calls], labels[:calls]),
            "dense scan": lambda: dense.scan(zeros, jxs, jlabels),
            "dense calls": lambda: dense.each(jxs[:few], jlabels[:few]),
        },
        repeats,
    )
    return {
        "size": f"{n_in}-{n}",
        "hidden_activity": activity,
        "difference": difference,
        "memory_mib": stream.n_bytes / 2**20,
        "steps": counts,
        "microseconds": {k: 1e6 * t.median / counts[k] for k, t in timings.items()},
        "fewer": fewer(timings, counts),
        "timings": {k: t.as_dict() for k, t in timings.items()},
    }


def fewer(timings: dict[str, Timing], counts: dict[str, int]) -> float:
    """Return how many times less time a step of a recording takes than one of the dense scan."""
    recording, scan = timings["recording"].wall, timings["dense scan"].wall
    ratios = [(scan[i] / counts["dense scan"]) / (recording[i] / counts["recording"]) for i in recording]
    return statistics.median(ratios)


def markdown(results: dict[str, Any]) -> str:
    """Write the numbers as a page."""
    machine = results["environment"]
    rows = [
        [
            f"{m['size']}-{N_OUT}",
            f"{m['hidden_activity']:.1%}",
            *(f"{m['microseconds'][k]:,.1f}" for k in ("recording", "calls", "dense scan", "dense calls")),
            f"{m['fewer']:.1f}",
            f"{m['wanted']:.0f}",
            f"{m['memory_mib']:,.0f}",
            f"{m['difference']:.1e}",
        ]
        for m in results["sizes"]
    ]
    header = [
        "", "hidden activity", "stream, recording", "stream, step and learn", "dense, scan", "dense, calls",
        "dense scan : recording", "wanted", "memory, MiB", "difference",
    ]  # fmt: skip
    return "\n\n".join(
        [
            "# Learning step by step",
            "Written by `python benchmarks/streaming.py`.",
            f"Microseconds a step, learning on: recurrent LIF units with a time constant each, D_RTRL, one "
            f"sample, float32, {RATE:.0%} input spikes, cross-entropy at every step; median of "
            f"{results['repeats']} repeats. The difference is that of the gradients, over the largest one.",
            table(header, rows),
            f"Machine: {machine['cpu']}, {machine['cores']} cores, {machine['system']}; Python "
            f"{machine['python']}, jax {machine['packages']['jax']}; {machine['date']}; load average "
            f"{results['load_before']:.2f} before, {results['load_after']:.2f} after.",
        ]
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="small sizes, nothing is written")
    parser.add_argument("--no-assert", action="store_true", help="exit with 0 even if a target is missed")
    parser.add_argument("--wait", type=float, default=300.0, help="seconds to wait for a quiet machine")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    sizes = {(100, 64): (500, 100, 0.0)} if options.quick else SIZES
    if not options.quick:
        wait_until_quiet(1.5, options.wait)
    results: dict[str, Any] = {"environment": environment(), "repeats": options.repeats, "sizes": []}
    results["load_before"] = os.getloadavg()[0]
    for (n_in, n), (steps, dense_steps, wanted) in sizes.items():
        found = measured(n_in, n, steps, dense_steps, options.repeats)
        results["sizes"].append(found | {"wanted": wanted})
    results["load_after"] = os.getloadavg()[0]
    text = markdown(results)
    print(text)
    if options.quick:
        return 0
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "streaming.md").write_text(text + "\n")
    (options.out / "streaming.json").write_text(json.dumps(results, indent=1) + "\n")
    failures = [
        f"{m['size']}: {m['fewer']:.1f} times fewer must be at least {m['wanted']:.0f}"
        for m in results["sizes"]
        if m["fewer"] < m["wanted"]
    ]
    failures += [
        f"{m['size']}: hidden activity must be in {ACTIVITY}, got {m['hidden_activity']:.2%}"
        for m in results["sizes"]
        if not ACTIVITY[0] <= m["hidden_activity"] <= ACTIVITY[1]
    ]
    print(*failures, sep="\n", file=sys.stderr)
    return 1 if failures and not options.no_assert else 0


if __name__ == "__main__":
    sys.exit(main())
