"""Time event-driven products beside dense ones and brainevent's, and print a table.

All contestants of a row run in turn, repeatedly, and the median of the ratios of neighbouring runs is taken.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import brainevent
import jax
import jax.numpy as jnp
import numpy as np

from snntrace import Spikes
from snntrace.events import FanOutWeight, event_matmul

Run = Callable[[], Any]


def seconds(run: Run) -> float:
    """Time one run."""
    start = time.perf_counter()
    jax.block_until_ready(run())
    return time.perf_counter() - start


def ratios(runs: dict[str, Run], reference: str, repeats: int) -> tuple[float, dict[str, float]]:
    """Return the reference's median time, and how many times faster it is to use each of the others."""
    for run in runs.values():
        seconds(run)
    times = {name: np.empty(repeats) for name in runs}
    for k in range(repeats):
        for name, run in runs.items():
            times[name][k] = seconds(run)
    found = {name: float(np.median(times[reference] / t)) for name, t in times.items() if name != reference}
    return float(np.median(times[reference])), found


def dense_weights(raster: np.ndarray, n_post: int, rng: np.random.Generator) -> dict[str, Run]:
    """Return the contestants that multiply a raster by a matrix."""
    x = jnp.asarray(raster)
    w = jnp.asarray(rng.normal(size=(raster.shape[2], n_post)), jnp.float32)
    spikes = jax.tree.map(jnp.asarray, Spikes.from_dense(raster))
    rows = jnp.asarray(raster.reshape(-1, raster.shape[2]))
    dense, event = jax.jit(jnp.matmul), jax.jit(event_matmul)
    peer = jax.jit(lambda x, w: brainevent.BinaryArray(x) @ w)
    np.testing.assert_allclose(event(spikes, w), dense(x, w), atol=1e-3)
    np.testing.assert_allclose(peer(rows, w).reshape(dense(x, w).shape), dense(x, w), atol=1e-3)
    return {
        "dense": lambda: dense(x, w),
        "array": lambda: event(x, w),
        "lists": lambda: event(spikes, w),
        "brainevent": lambda: peer(rows, w),
    }


def dense_gradients(raster: np.ndarray, n_post: int, rng: np.random.Generator) -> dict[str, Run]:
    """Return the contestants that take the gradient of a product by its matrix."""
    x = jnp.asarray(raster)
    w = jnp.asarray(rng.normal(size=(raster.shape[2], n_post)), jnp.float32)
    spikes = jax.tree.map(jnp.asarray, Spikes.from_dense(raster))
    y = jnp.asarray(rng.normal(size=(*raster.shape[:2], n_post)), jnp.float32)

    def gradient(product: Callable[..., Any], x: Any) -> Callable[..., Any]:
        return jax.jit(lambda w, y: jax.vjp(lambda w: product(x, w), w)[1](y)[0])

    dense, array, lists = gradient(jnp.matmul, x), gradient(event_matmul, x), gradient(event_matmul, spikes)
    np.testing.assert_allclose(lists(w, y), dense(w, y), atol=1e-2)
    return {"dense": lambda: dense(w, y), "array": lambda: array(w, y), "lists": lambda: lists(w, y)}


def fan_out_weights(raster: np.ndarray, n_post: int, rng: np.random.Generator) -> dict[str, Run]:
    """Return the contestants that multiply by a tenth of the weights."""
    n_pre, k = raster.shape[2], max(n_post // 10, 1)
    weight = FanOutWeight.of(
        rng.integers(0, n_post, (n_pre, k)), jnp.asarray(rng.normal(size=(n_pre, k)), jnp.float32), n_post
    )
    x = jnp.asarray(raster)
    rows = x.reshape(-1, n_pre)
    spikes = jax.tree.map(jnp.asarray, Spikes.from_dense(raster))
    other = brainevent.FixedNumPerPre(weight.values, weight.targets, shape=(n_pre, n_post))
    matrix = weight.todense()
    dense, event = jax.jit(jnp.matmul), jax.jit(event_matmul)
    peer = jax.jit(lambda x: brainevent.BinaryArray(x) @ other)
    np.testing.assert_allclose(event(spikes, weight), dense(x, matrix), atol=1e-3)
    np.testing.assert_allclose(peer(rows).reshape(dense(x, matrix).shape), dense(x, matrix), atol=1e-3)
    return {
        "dense": lambda: dense(x, matrix),
        "array": lambda: event(x, weight),
        "lists": lambda: event(spikes, weight),
        "brainevent": lambda: peer(rows),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--steps", type=int, default=100)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    contests = {"product": dense_weights, "gradient": dense_gradients, "10 % of weights": fan_out_weights}
    print("How many times faster than the dense product (below 1: slower); steps", options.steps)
    print(
        "| | batch | units | activity | dense, ms | array | lists | brainevent |",
        "|---" * 8 + "|",
        sep="\n",
    )
    for name, contestants in contests.items():
        for batch in (1, 64):
            for n_pre, n_post in ((140, 128), (700, 256), (1024, 1024)):
                for activity in (0.001, 0.01, 0.05, 0.2):
                    shape = (options.steps, batch, n_pre)
                    raster = (rng.random(shape) < activity).astype(np.float32)
                    base, found = ratios(contestants(raster, n_post, rng), "dense", options.repeats)
                    cells = [
                        f"{found[c]:.2f}" if c in found else "" for c in ("array", "lists", "brainevent")
                    ]
                    size = f"{n_pre} x {n_post}"
                    print(
                        f"| {name} | {batch} | {size} | {activity:.1%} | {base * 1e3:.2f} |",
                        " | ".join(cells),
                        "|",
                    )


if __name__ == "__main__":
    main()
