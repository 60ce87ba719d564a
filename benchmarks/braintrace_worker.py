"""Runs in braintrace's own environment: python braintrace_worker.py PROBLEM.npz.

The modes are "native batch", "vmap" (one sample, mapped over the batch) and "windows of 10" (multi-step).
Answers on standard output, one JSON object a line: first the versions, then the seconds of a training batch
for every line of standard input that names a mode. ``save to PATH`` writes the last gradients.
"""

import json
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import brainstate
import braintools
import braintrace
import jax
import jax.numpy as jnp
import numpy as np


def spike(distance: jax.Array) -> jax.Array:
    return braintools.surrogate.ReluGrad(alpha=0.3, width=1.0)(distance)


class Net(brainstate.nn.Module):
    """The recurrent LIF net of `nets.Net`, with braintrace's products where it traces."""

    def __init__(self, problem: dict[str, np.ndarray]) -> None:
        super().__init__()
        self.alpha = float(problem["alpha"])
        for name in ("w_in", "w_rec", "bias", "w_out", "b_out"):
            setattr(self, name, brainstate.ParamState(jnp.asarray(problem[name])))

    def init_state(self, batch_size: int | None = None, **kwargs: Any) -> None:
        n = self.w_rec.value.shape[0]
        self.v = brainstate.HiddenState(jnp.zeros((n,) if batch_size is None else (batch_size, n)))

    def update(self, x: jax.Array) -> jax.Array:
        z = spike(self.v.value - 1.0)
        current = braintrace.matmul(x, self.w_in.value, self.bias.value)
        current = current + braintrace.matmul(z, self.w_rec.value)
        self.v.value = self.alpha * (self.v.value - jax.lax.stop_gradient(z)) + current
        return spike(self.v.value - 1.0) @ self.w_out.value + self.b_out.value


def cross_entropy(outs: jax.Array, labels: jax.Array) -> jax.Array:
    return braintools.metric.softmax_cross_entropy_with_integer_labels(outs, labels)


def gradient(problem: dict[str, np.ndarray], mode: str) -> Callable[[], dict[str, jax.Array]]:
    """Return a compiled function that runs one batch from the initial states."""
    xs, labels = jnp.asarray(problem["xs"]), jnp.asarray(problem["labels"])
    windowed = mode == "windows of 10"
    learner = braintrace.compile(
        Net(problem),
        braintrace.D_RTRL,
        xs[0],
        batch_size=xs.shape[1],
        vmap=mode == "vmap",
        vjp_method="multi-step" if windowed else "single-step",
    )
    found = brainstate.graph.states(learner).values()
    states = [s for s in found if not isinstance(s, brainstate.ParamState)]
    initial = [s.value for s in states]

    def step_loss(x: jax.Array, label: jax.Array) -> jax.Array:
        if windowed:
            return cross_entropy(learner(braintrace.MultiStepData(x)), label).mean(axis=-1)
        return cross_entropy(learner(x), label).mean()

    @brainstate.transform.jit
    def run() -> dict[str, jax.Array]:
        for state, value in zip(states, initial, strict=True):
            state.value = value
        grads = learner.etrace_grad(xs, labels, step_fn=step_loss, chunk_size=10 if windowed else None)
        return {path[-1]: value for path, value in grads.items()}

    return run


def main() -> None:
    with np.load(sys.argv[1]) as stored:
        problem = dict(stored)
    packages = ("braintrace", "jax", "jaxlib", "brainstate")
    print(json.dumps({name: version(name) for name in packages}), flush=True)
    runs: dict[str, Callable[[], dict[str, jax.Array]]] = {}
    grads: dict[str, jax.Array] = {}
    for line in sys.stdin:
        command, _, path = line.strip().partition(" to ")
        if command == "save":
            np.savez(path, **{k: np.asarray(v) for k, v in grads.items()})
            print(json.dumps({}), flush=True)
            continue
        if command not in runs:
            runs[command] = gradient(problem, command)
            jax.block_until_ready(runs[command]())
        start = time.perf_counter()
        grads = jax.block_until_ready(runs[command]())
        print(json.dumps({"wall_s": time.perf_counter() - start}), flush=True)


if __name__ == "__main__":
    main()
