"""jaxpike, in two modes.

"BPTT": a recurrent `Graph`, unrolled, with the linear layers applied to all steps at once.
"e-prop": jaxpike's rule, which refuses recurrence, takes labels that do not change in time, and ends in a
leaky integrator; the net is what remains without the recurrent weights, the labels are the first step's.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jaxpike
import numpy as np
import optax
from serving import ALPHA, BETA, SURROGATE_HEIGHT, TAU_ADAPT, TAU_MEM, V_TH, Problem, Training, serve

# A unit takes 1 - alpha of its input.
SCALE = 1.0 / (1.0 - ALPHA)


class Triangle(jaxpike.surrogate.Surrogate):
    """The primitive of a triangle of height `SURROGATE_HEIGHT`."""

    def relaxation(self, v: jax.Array) -> jax.Array:
        inside = jnp.clip(v, -1.0, 1.0)
        return SURROGATE_HEIGHT * (inside - 0.5 * inside * jnp.abs(inside))


def dense(weight: np.ndarray) -> Any:
    layer = jaxpike.Dense(*weight.shape, key=jax.random.key(0), use_bias=False)
    return eqx.tree_at(lambda d: d.weight, layer, jnp.asarray(weight.T))


def units(kind: str) -> Any:
    if kind == "ALIF":
        return jaxpike.ALIF(TAU_MEM, TAU_ADAPT, beta=BETA, threshold=V_TH, surrogate=Triangle())
    return jaxpike.LIF(TAU_MEM, threshold=V_TH, surrogate=Triangle())


def cross_entropy(outs: jax.Array, labels: jax.Array) -> jax.Array:
    return optax.softmax_cross_entropy_with_integer_labels(outs, labels).mean()


def recurrent(problem: Problem) -> Training:
    problem.only("LIF", "ALIF")
    layers = {
        "project": dense(SCALE * problem.w_in),
        "units": units(problem.kind),
        "recur": dense(SCALE * problem.w_rec),
        "readout": dense(problem.w_out),
    }
    xs, labels = jnp.asarray(problem.xs), jnp.asarray(problem.labels)
    edges = (("input", "units"), ("units", "recur"), ("recur", "units"))

    def hidden(layers: dict[str, Any], xs: jax.Array) -> jax.Array:
        _, currents = layers["project"].parallel_apply(None, xs)
        nodes = {"units": layers["units"], "recur": layers["recur"]}
        # Of jaxpike's options, what is fastest on CPU: one step an iteration, recomputed on the way back.
        graph = jaxpike.Graph(nodes, edges, "units")
        return jaxpike.unroll(graph, currents, scan_unroll=1, remat_step=True)[0]

    def loss(weights: Any, rest: Any, xs: jax.Array, labels: jax.Array) -> jax.Array:
        layers = eqx.combine(weights, rest)
        _, outs = layers["readout"].parallel_apply(None, hidden(layers, xs))
        return cross_entropy(outs, labels)

    is_weight = {name: jax.tree.map(lambda _, w=name != "units": w, layer) for name, layer in layers.items()}
    weights, rest = eqx.partition(layers, is_weight)
    step = eqx.filter_jit(eqx.filter_value_and_grad(loss))

    def named(grads: Any) -> dict[str, np.ndarray]:
        scales = {"project": ("w_in", SCALE), "recur": ("w_rec", SCALE), "readout": ("w_out", 1.0)}
        return {ours: s * np.asarray(grads[name].weight).T for name, (ours, s) in scales.items()}

    return Training(
        run=lambda: jax.block_until_ready(step(weights, rest, xs, labels)),
        activity=lambda: float(eqx.filter_jit(hidden)(layers, xs).mean()),
        named=named,
    )


def eprop(problem: Problem) -> Training:
    problem.only("LIF")
    readout = (dense(SCALE * problem.w_out), jaxpike.LeakyIntegrator(TAU_MEM))
    net = jaxpike.Sequential(dense(SCALE * problem.w_in), units(problem.kind), *readout)
    xs, labels = jnp.asarray(problem.xs), jnp.asarray(problem.labels[0])
    steps = len(problem.xs)

    def step_loss(outs: jax.Array, labels: jax.Array) -> jax.Array:
        return cross_entropy(outs, labels) / steps

    step = eqx.filter_jit(jaxpike.eprop_value_and_grad(step_loss))

    def hidden(net: Any, xs: jax.Array) -> jax.Array:
        return jaxpike.unroll(jaxpike.Sequential(*net.layers[:2]), xs)[0]

    def named(grads: Any) -> dict[str, np.ndarray]:
        w_in, w_out = (SCALE * np.asarray(grads.layers[i].weight).T for i in (0, 2))
        return {"w_in": w_in, "w_out": w_out}

    return Training(
        run=lambda: jax.block_until_ready(step(net, xs, labels)),
        activity=lambda: float(eqx.filter_jit(hidden)(net, xs).mean()),
        named=named,
    )


def build(problem: Problem) -> Training:
    return eprop(problem) if problem.mode == "e-prop" else recurrent(problem)


if __name__ == "__main__":
    serve(build, ("jaxpike", "jax", "jaxlib"))
