"""Ways to get a sequence's loss and gradients, each compiled: trace rules, streaming, backpropagation."""

from collections.abc import Callable
from typing import Any

import brainstate
import jax
import jax.numpy as jnp
from nets import Net, Shape, loss

import snntrace

Gradient = Callable[..., Any]
TARGET_PROJECTION = {"B_list": "normal", "signal": "output", "reduction": "mean"}


def sequence(kind: str, shape: Shape, rule: snntrace.Rule, xs: jax.Array, labels: jax.Array) -> Gradient:
    """Return ``value_and_grad`` of the learner over the whole sequence."""
    projects = rule.signal == "target"
    options = TARGET_PROJECTION if projects else {}
    learner = snntrace.compile(Net(kind, shape), rule, xs[0], batch_size=shape.batch, **options)
    run = learner.value_and_grad(loss)
    target = {"y_target": labels} if projects else {}
    return lambda: run(xs, labels, **target)


def streaming_learner(kind: str, shape: Shape, x0: jax.Array) -> snntrace.Learner:
    """Return a learner under D-RTRL; for LIF units, check that one trace serves all of them."""
    learner = snntrace.compile(Net(kind, shape), snntrace.D_RTRL, x0, batch_size=shape.batch)
    products = [t for t in learner.report.as_dict()["traces"] if t["kind"] == "product"]
    if kind == "LIF" and not all(t["collapsed"] for t in products):
        raise RuntimeError(f"the traces of LIF units must collapse, got\n{learner.report}")
    return learner


def zeros_like_params(learner: snntrace.Learner) -> Any:
    return jax.tree.map(jnp.zeros_like, {k: s.value for k, s in learner.param_states.items()})


def streaming(kind: str, shape: Shape, xs: jax.Array, labels: jax.Array) -> Gradient:
    """Return a scan of ``update``, each step with its own gradient, summed as they come."""
    learner = streaming_learner(kind, shape, xs[0])
    step_grad = brainstate.transform.grad(
        lambda x, label: loss(learner.update(x), label), learner.param_states, return_value=True
    )

    @brainstate.transform.jit
    def run(xs: jax.Array, labels: jax.Array) -> Any:
        learner.reset_state()

        def step(total: Any, now: Any) -> Any:
            grads, value = step_grad(*now)
            return jax.tree.map(jnp.add, total, grads), value

        total, values = brainstate.transform.scan(step, zeros_like_params(learner), (xs, labels))
        return values.mean(), jax.tree.map(lambda g: g / len(values), total)

    return lambda: run(xs, labels)


def backpropagation(kind: str, shape: Shape, xs: jax.Array, labels: jax.Array) -> Gradient:
    """Return what a brainstate user writes: ``for_loop`` over the model, and ``grad`` around it."""
    net = Net(kind, shape)
    brainstate.nn.init_all_states(net, batch_size=shape.batch)
    hidden = list(net.states(brainstate.HiddenState).values())
    initial = [state.value for state in hidden]

    @brainstate.transform.jit
    def run(xs: jax.Array, labels: jax.Array) -> Any:
        def whole() -> jax.Array:
            for state, value in zip(hidden, initial, strict=True):
                state.value = value
            return loss(brainstate.transform.for_loop(net, xs), labels)

        grads, value = brainstate.transform.grad(
            whole, net.states(brainstate.ParamState), return_value=True
        )()
        return value, grads

    return lambda: run(xs, labels)
