"""braintrace, in the modes "D_RTRL" (one sample, mapped over the batch) and "pp_prop" (the batch at once)."""

from typing import Any

import brainstate
import braintools
import braintrace
import jax
import jax.numpy as jnp
import numpy as np
from serving import ALPHA, BETA, RHO, SURROGATE_HEIGHT, V_TH, Problem, Training, serve

# What each algorithm is compiled with; the trace of pp_prop decays as the membrane does.
OPTIONS: dict[str, dict[str, Any]] = {
    "D_RTRL": {"vmap": True},
    "pp_prop": {"vmap": False, "decay_or_rank": ALPHA},
}


def spike(distance: jax.Array) -> jax.Array:
    return braintools.surrogate.ReluGrad(alpha=SURROGATE_HEIGHT, width=1.0)(distance)


class Net(brainstate.nn.Module):
    """A recurrent layer of LIF or ALIF units and a read-out, with braintrace's products where it traces."""

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        self.adapts = problem.kind == "ALIF"
        self.n = len(problem.w_rec)
        for name in ("w_in", "w_rec", "w_out"):
            setattr(self, name, brainstate.ParamState(jnp.asarray(getattr(problem, name))))

    def init_state(self, batch_size: int | None = None, **kwargs: Any) -> None:
        zeros = jnp.zeros((self.n,) if batch_size is None else (batch_size, self.n))
        self.v = brainstate.HiddenState(zeros)
        if self.adapts:
            self.a = brainstate.HiddenState(zeros)

    def spikes(self) -> jax.Array:
        rise = BETA * self.a.value if self.adapts else 0.0
        return spike(self.v.value - V_TH - rise)

    def hidden(self, x: jax.Array) -> jax.Array:
        z = self.spikes()
        current = braintrace.matmul(x, self.w_in.value) + braintrace.matmul(z, self.w_rec.value)
        if self.adapts:
            self.a.value = RHO * self.a.value + z
        self.v.value = ALPHA * (self.v.value - jax.lax.stop_gradient(z)) + current
        return self.spikes()

    def update(self, x: jax.Array) -> jax.Array:
        return self.hidden(x) @ self.w_out.value


def activity(problem: Problem) -> float:
    net = Net(problem)
    brainstate.nn.init_all_states(net, batch_size=problem.batch)
    run = brainstate.transform.jit(lambda xs: brainstate.transform.for_loop(net.hidden, xs).mean())
    return float(run(jnp.asarray(problem.xs)))


def build(problem: Problem) -> Training:
    problem.only("LIF", "ALIF")
    xs, labels = jnp.asarray(problem.xs), jnp.asarray(problem.labels)
    algorithm = getattr(braintrace, problem.mode)
    options = OPTIONS[problem.mode]
    learner = braintrace.compile(Net(problem), algorithm, xs[0], batch_size=problem.batch, **options)
    found = brainstate.graph.states(learner).values()
    states = [s for s in found if not isinstance(s, brainstate.ParamState)]
    initial = [s.value for s in states]

    def step_loss(x: jax.Array, label: jax.Array) -> jax.Array:
        return braintools.metric.softmax_cross_entropy_with_integer_labels(learner(x), label).mean()

    @brainstate.transform.jit
    def step(xs: jax.Array, labels: jax.Array) -> Any:
        for state, value in zip(states, initial, strict=True):
            state.value = value
        grads, losses = learner.etrace_grad(xs, labels, step_fn=step_loss, return_value=True)
        return losses.mean(), {path[-1]: value for path, value in grads.items()}

    return Training(
        run=lambda: jax.block_until_ready(step(xs, labels)),
        activity=lambda: activity(problem),
        named=lambda grads: {name: np.asarray(grad) for name, grad in grads.items()},
    )


if __name__ == "__main__":
    serve(build, ("braintrace", "jax", "jaxlib", "brainstate"))
