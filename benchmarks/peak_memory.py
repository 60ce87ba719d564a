"""Print the peak memory of one way to learn from a stream, as JSON: python peak_memory.py METHOD STEPS.

Input and labels are made inside the loop, so that nothing but the method itself can grow with the sequence.
"""

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import brainstate
import jax
import jax.numpy as jnp
from contestants import streaming_learner, zeros_like_params
from measure import peak_rss_mib
from nets import SEED, Net, Shape, loss

WINDOW = 100


def stream(shape: Shape) -> Callable[[Any], tuple[jax.Array, jax.Array]]:
    """Return a function of the step that makes its input and its labels."""
    key = jax.random.key(SEED)

    def at(t: Any) -> tuple[jax.Array, jax.Array]:
        for_x, for_label = jax.random.split(jax.random.fold_in(key, t))
        x = jax.random.bernoulli(for_x, shape.input_rate, (shape.batch, shape.n_in))
        return x.astype(jnp.float32), jax.random.randint(for_label, (shape.batch,), 0, shape.n_out)

    return at


def online(shape: Shape, window: int) -> Callable[[], Any]:
    """Return a function that sums gradients of `window` steps at a time, traces carried between them."""
    at = stream(shape)
    learner = streaming_learner("LIF", shape, at(0)[0])

    def value(times: jax.Array) -> jax.Array:
        if window == 1:
            x, labels = at(times[0])
            return loss(learner.update(x), labels)
        xs, labels = jax.vmap(at)(times)
        return loss(learner.unroll(xs), labels)

    grad = brainstate.transform.grad(value, learner.param_states)

    @brainstate.transform.jit
    def run() -> Any:
        def step(total: Any, times: jax.Array) -> Any:
            return jax.tree.map(jnp.add, total, grad(times)), None

        times = jnp.arange(shape.steps).reshape(-1, window)
        total, _ = brainstate.transform.scan(step, zeros_like_params(learner), times)
        return total

    return run


def backpropagation(shape: Shape) -> Callable[[], Any]:
    """Return a function that backpropagates through all steps."""
    at = stream(shape)
    net = Net("LIF", shape)
    brainstate.nn.init_all_states(net, batch_size=shape.batch)

    def value() -> jax.Array:
        def step(t: jax.Array) -> jax.Array:
            x, labels = at(t)
            return loss(net(x), labels)

        return jnp.mean(brainstate.transform.for_loop(step, jnp.arange(shape.steps)))

    return brainstate.transform.jit(brainstate.transform.grad(value, net.states(brainstate.ParamState)))


METHODS = {
    "streaming": lambda shape: online(shape, 1),
    "windows": lambda shape: online(shape, WINDOW),
    "bptt": backpropagation,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("method", choices=METHODS)
    parser.add_argument("steps", type=int)
    parser.add_argument("--batch", type=int, default=Shape.batch)
    args = parser.parse_args()
    run = METHODS[args.method](Shape(steps=args.steps, batch=args.batch))
    before = peak_rss_mib()
    jax.block_until_ready(run())
    start = time.perf_counter()
    jax.block_until_ready(run())
    seconds = time.perf_counter() - start
    print(json.dumps({"before_mib": before, "peak_mib": peak_rss_mib(), "step_s": seconds / args.steps}))


if __name__ == "__main__":
    main()
