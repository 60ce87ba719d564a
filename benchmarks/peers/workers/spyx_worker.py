"""Spyx: `RLIF` scanned over time, input and read-out for all steps at once; `RLIF` reads out a step later."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import spyx
from flax import nnx
from serving import ALPHA, SURROGATE_HEIGHT, V_TH, Problem, Training, serve


class Net(nnx.Module):
    """A recurrent layer with linear layers before and after."""

    def __init__(self, problem: Problem) -> None:
        rngs = nnx.Rngs(0)
        n_in, n = problem.w_in.shape
        triangle = spyx.axn.custom(lambda x: SURROGATE_HEIGHT * jnp.maximum(0.0, 1.0 - jnp.abs(x)))
        self.project = nnx.Linear(n_in, n, use_bias=False, rngs=rngs)
        self.layer = spyx.nn.RLIF((n,), beta=ALPHA, threshold=V_TH, activation=triangle, rngs=rngs)
        self.readout = nnx.Linear(n, problem.w_out.shape[1], use_bias=False, rngs=rngs)
        self.project.kernel.set_value(jnp.asarray(problem.w_in))
        self.layer.recurrent_w.set_value(jnp.asarray(problem.w_rec))
        self.readout.kernel.set_value(jnp.asarray(problem.w_out))

    def hidden(self, xs: jax.Array) -> jax.Array:
        return spyx.nn.run(self.layer, self.project(xs))[0]

    def __call__(self, xs: jax.Array) -> jax.Array:
        return self.readout(self.hidden(xs))


def build(problem: Problem) -> Training:
    problem.only("LIF")
    # The leak is a parameter to Spyx, here a constant.
    graph, weights, rest = nnx.split(Net(problem), lambda path, _: "beta" not in path, ...)
    xs, labels = jnp.asarray(problem.xs), jnp.asarray(problem.labels)

    def loss(weights: Any, rest: Any, xs: jax.Array, labels: jax.Array) -> jax.Array:
        outs = nnx.merge(graph, weights, rest)(xs)
        return optax.softmax_cross_entropy_with_integer_labels(outs, labels).mean()

    def hidden(weights: Any, rest: Any, xs: jax.Array) -> jax.Array:
        return nnx.merge(graph, weights, rest).hidden(xs)

    def named(grads: Any) -> dict[str, np.ndarray]:
        found = {
            "w_in": grads["project"]["kernel"],
            "w_rec": grads["layer"]["recurrent_w"],
            "w_out": grads["readout"]["kernel"],
        }
        return {name: np.asarray(grad[...]) for name, grad in found.items()}

    step = jax.jit(jax.value_and_grad(loss))
    return Training(
        run=lambda: jax.block_until_ready(step(weights, rest, xs, labels)),
        activity=lambda: float(jax.jit(hidden)(weights, rest, xs).mean()),
        named=named,
    )


if __name__ == "__main__":
    serve(build, ("spyx", "jax", "jaxlib"))
