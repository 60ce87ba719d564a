"""Time learning by dense products, by single event products and in kernels, and print a table.

All ways of a row run in turn, repeatedly, and the least time of each is taken.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import brainstate
import brainunit as u
import jax
import jax.numpy as jnp
import numpy as np

import snntrace
from snntrace import Spikes
from snntrace.neurons import ALIF, LIF, Recurrent
from snntrace.nn import Linear

N_IN, N, N_OUT = 700, 256, 20
NEURONS: dict[str, Callable[[], Any]] = {
    "LIF": lambda: LIF(N),
    "LIF, refractory": lambda: LIF(N, t_ref=3 * u.ms),
    "ALIF": lambda: ALIF(N),
}
SEQUENCES: dict[str, tuple[dict[str, Any], bool]] = {
    "whole": ({}, False),
    "carried traces": ({}, True),
    "windows of 20": ({"window": 20}, False),
}
# A dense read-out keeps layers from running in kernels; what is measured are single products.
WAYS: dict[str, Any] = {
    "dense": "dense",
    "input by events": {"*w_in": "event", "*": "dense"},
    "products by events": {"*layers.1*": "dense", "*": "event"},
    "auto": "auto",
}


def cross_entropy(outs: Any, labels: Any) -> Any:
    return -jnp.take_along_axis(jax.nn.log_softmax(outs), labels[..., None], -1).mean()


def hidden_activity(raster: np.ndarray, neuron: Callable[[], Any]) -> float:
    """Return the share of steps in which a hidden unit spikes."""
    with brainstate.random.seed_context(0):
        layer = Recurrent(N_IN, neuron())
    brainstate.nn.init_all_states(layer, batch_size=raster.shape[1])
    run = brainstate.transform.jit(lambda xs: brainstate.transform.for_loop(layer, xs))
    return float(run(jnp.asarray(raster)).mean())


def milliseconds(
    raster: np.ndarray, neuron: Callable[[], Any], options: dict[str, Any], carry: bool, repeats: int
) -> list[float]:
    """Time loss and gradient of one sequence on every way."""
    batch = raster.shape[1]
    labels = np.random.default_rng(1).integers(0, N_OUT, raster.shape[:2])
    spikes, runs = Spikes.from_dense(raster), []
    for path in WAYS.values():
        with brainstate.random.seed_context(0):
            model = brainstate.nn.Sequential(Recurrent(N_IN, neuron()), Linear(N, N_OUT))
        example = jnp.zeros((batch, N_IN))
        learner = snntrace.compile(model, snntrace.D_RTRL, example, batch_size=batch, path=path, **options)
        given = jnp.asarray(raster) if path == "dense" else jax.tree.map(jnp.asarray, spikes)
        runs.append((learner.value_and_grad(cross_entropy, carry=carry), given))
        jax.block_until_ready(runs[-1][0](given, labels))
    times = np.empty((repeats, len(runs)))
    for k in range(repeats):
        for i, (run, given) in enumerate(runs):
            start = time.perf_counter()
            jax.block_until_ready(run(given, labels))
            times[k, i] = time.perf_counter() - start
    return list(1e3 * times.min(0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--activity", type=float, default=0.02)
    parser.add_argument("--neurons", nargs="*", choices=list(NEURONS), default=list(NEURONS))
    options = parser.parse_args()
    shape = (options.steps, options.batch, N_IN)
    raster = (np.random.default_rng(0).random(shape) < options.activity).astype(np.float32)
    print(
        f"{N_IN}-{N}-{N_OUT}, batch {options.batch}, {options.steps} steps, {options.activity:.1%} input, ms"
    )
    print("| | hidden activity |", " | ".join(WAYS), "|\n" + "|---" * (2 + len(WAYS)) + "|")
    for name in options.neurons:
        active = hidden_activity(raster, NEURONS[name])
        if not 0.005 < active < 0.5:
            raise SystemExit(f"{name}: hidden units must spike and not saturate, got activity {active:.1%}.")
        for kind, (given, carry) in SEQUENCES.items():
            found = milliseconds(raster, NEURONS[name], given, carry, options.repeats)
            cells = " | ".join(f"{t:.0f}" for t in found)
            print(f"| {name}, {kind} | {active:.1%} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
