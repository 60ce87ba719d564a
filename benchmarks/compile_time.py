"""How long `snntrace.compile` takes, and beside it what XLA takes to compile what comes out.

Two nets: six recurrent layers of 512 LIF units, and twenty convolutional layers of leaky units. Analysis is
`compile` until the report is written, each time on a new model whose weights are made; XLA is the first call
of loss and gradients of a whole sequence, which traces, lowers and compiles it and runs it once.

Writes compile_time.md and compile_time.json, and exits with 1 if a target is missed.
"""

import argparse
import cProfile
import json
import pstats
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import brainstate
import jax
import jax.numpy as jnp
from measure import environment, table, wait_until_quiet
from targets import at_most

import snntrace
from snntrace.neurons import LIF, Recurrent
from snntrace.nn import Linear

HERE = Path(__file__).parent
BATCH, STEPS = 16, 20


class Convolutional(brainstate.nn.Module):
    """Convolutions of LIF units, one on the other, and a linear read-out."""

    def __init__(self, layers: int, channels: int, size: int) -> None:
        super().__init__()
        self.convs, self.neurons = [], []
        shape = (size, size, 2)
        for i in range(layers):
            conv = brainstate.nn.Conv2d(shape, channels, 3)
            setattr(self, f"conv{i}", conv)
            self.convs.append(conv)
            shape = conv.out_size
        self.shape, self.layers = shape, layers
        self.out = Linear(size * size * channels, 10)

    def init_state(self, batch_size: int | None = None, **kwargs: Any) -> None:
        lead = () if batch_size is None else (batch_size,)
        self.v = [brainstate.HiddenState(jnp.zeros((*lead, *self.shape))) for _ in range(self.layers)]
        for i, state in enumerate(self.v):
            setattr(self, f"v{i}", state)

    def update(self, x: jax.Array) -> jax.Array:
        for conv, state in zip(self.convs, self.v, strict=True):
            state.value = 0.9 * state.value + conv(x)
            x = jax.nn.sigmoid(4.0 * (state.value - 1.0))
        return self.out(x.reshape(*x.shape[:-3], -1))


def dense_net(quick: bool) -> tuple[Any, jax.Array]:
    """Make six layers of 512 units and an input."""
    n, layers = (32, 2) if quick else (512, 6)
    net = brainstate.nn.Sequential(*(Recurrent(n, LIF(n)) for _ in range(layers)), Linear(n, 10))
    return net, jnp.zeros((BATCH, n))


def convolutional_net(quick: bool) -> tuple[Any, jax.Array]:
    """Make twenty convolutional layers and an input."""
    layers, channels, size = (2, 4, 8) if quick else (20, 16, 16)
    return Convolutional(layers, channels, size), jnp.zeros((BATCH, size, size, 2))


NETS: dict[str, tuple[str, Callable[[bool], tuple[Any, jax.Array]], float]] = {
    "dense": ("6 recurrent layers of 512 LIF units", dense_net, 3.0),
    "convolutional": ("20 convolutional layers, 16 channels of 16 x 16 units", convolutional_net, 15.0),
}


def one(make: Callable[[bool], tuple[Any, jax.Array]], quick: bool, xla: bool) -> tuple[float, float | None]:
    """Compile a fresh model; return the seconds of analysis and of XLA."""
    model, x = make(quick)
    brainstate.nn.init_all_states(model, batch_size=BATCH)
    jax.block_until_ready([s.value for s in model.states().values()])
    start = time.perf_counter()
    learner = snntrace.compile(model, snntrace.D_RTRL, x, batch_size=BATCH, path="dense")
    str(learner.report)
    analysis = time.perf_counter() - start
    if not xla:
        return analysis, None
    xs = jnp.zeros((2 if quick else STEPS, *x.shape))
    start = time.perf_counter()
    loss, _ = learner.value_and_grad(lambda outs: jnp.sum(outs**2))(xs)
    jax.block_until_ready(loss)
    first = time.perf_counter() - start
    return analysis, first


def measure(name: str, repeats: int, quick: bool) -> dict[str, Any]:
    """Measure one net."""
    text, make, limit = NETS[name]
    one(make, quick, False)  # imports, and JAX's own caches of small programs
    found = [one(make, quick, i == 0) for i in range(repeats)]
    return {
        "net": text,
        "limit_s": limit,
        "analysis_s": [a for a, _ in found],
        "median_s": statistics.median(a for a, _ in found),
        "xla_s": found[0][1],
    }


def profile(name: str) -> None:
    """Print where the analysis spends its time."""
    _, make, _ = NETS[name]
    model, x = make(False)
    brainstate.nn.init_all_states(model, batch_size=BATCH)
    with cProfile.Profile() as profiler:
        snntrace.compile(model, snntrace.D_RTRL, x, batch_size=BATCH, path="dense")
    pstats.Stats(profiler).sort_stats("cumulative").print_stats(45)


def markdown(results: dict[str, Any]) -> str:
    """Write the results as tables."""
    found = results["nets"].values()
    rows = [[r["net"], f"{r['median_s']:.2f}", f"{r['limit_s']:g}", f"{r['xla_s']:.1f}"] for r in found]
    header = ["net", "analysis, s", "at most, s", "XLA and the first sequence, s"]
    held = [[t["what"], t["wanted"], t["got"], "yes" if t["met"] else "**no**"] for t in results["targets"]]
    env = results["environment"]
    return "\n\n".join(
        [
            "## Time to compile",
            table(header, rows),
            "## Targets",
            table(["target", "wanted", "got", "met"], held),
            f"{env['date']}, {env['cpu']}, {env['cores']} cores, jax {env['packages']['jax']}; medians of "
            f"{results['repeats']} new models.",
            "",
        ]
    )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small nets, to see that it works")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--nets", nargs="*", choices=sorted(NETS), default=sorted(NETS, reverse=True))
    parser.add_argument("--profile", action="store_true", help="print a profile and measure nothing")
    parser.add_argument("--no-assert", action="store_true", help="report missed targets, and exit with 0")
    parser.add_argument("--load", type=float, default=1.5, help="load average to wait for")
    parser.add_argument("--wait", type=float, default=300.0, help="how long to wait for it, in s")
    parser.add_argument("--out", type=Path, default=HERE / "results")
    return parser.parse_args()


def main() -> int:
    args = arguments()
    if args.profile:
        for name in args.nets:
            profile(name)
        return 0
    if not args.quick:
        wait_until_quiet(args.load, args.wait)
    nets = {name: measure(name, args.repeats, args.quick) for name in args.nets}
    held = [at_most(f"analysis of {r['net']}, s", r["limit_s"], r["median_s"]) for r in nets.values()]
    results = {
        "environment": environment(),
        "repeats": args.repeats,
        "nets": nets,
        "targets": [asdict(t) for t in held],
    }
    text = markdown(results)
    print(text)
    if args.quick:
        return 0
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "compile_time.md").write_text(text)
    (args.out / "compile_time.json").write_text(json.dumps(results, indent=1) + "\n")
    missed = [t for t in held if not t.met]
    for target in missed:
        print(f"missed: {target.what} must be {target.wanted}, got {target.got}", file=sys.stderr)
    return 1 if missed and not args.no_assert else 0


if __name__ == "__main__":
    sys.exit(main())
