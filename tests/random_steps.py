"""Random small step functions, put together from what the compiler takes."""

from dataclasses import dataclass

import brainstate
import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st
from nets import spike
from steps import N_IN, B, N


def turned(y, bias):
    return jax.lax.fori_loop(0, 2, lambda _, v: jnp.sin(v) + bias, y)


ON_THE_WAY = {
    "gain": lambda m, i, y: y * m.value(f"gain{i}"),
    "bias": lambda m, i, y: y + m.value(f"bias{i}"),
    "scalar": lambda m, i, y: y * jax.nn.sigmoid(m.value(f"scalar{i}")),
    "tanh": lambda m, i, y: 2.0 * jnp.tanh(y),
    "where": lambda m, i, y: jnp.where(y > 0, y, 0.3 * y),
    "clip": lambda m, i, y: jnp.clip(y, -1.5, 1.5),
    "flip": lambda m, i, y: y[..., ::-1],
    "permute": lambda m, i, y: y[..., np.array([3, 0, 4, 1, 2])],
    "halves": lambda m, i, y: jnp.concatenate(jnp.split(y, [2], axis=-1)[::-1], -1),
    "reshape": lambda m, i, y: (y.reshape(-1) + 0.1).reshape(B, N),
    "jit": lambda m, i, y: jax.jit(jnp.sin)(y),
    "cond": lambda m, i, y: jax.lax.cond(y[0, 0] > 0, jnp.sin, jnp.tanh, y),
    "loop": lambda m, i, y: turned(y, m.value(f"bias{i}")),
}
TRANSITIONS = {
    "leak": lambda m, i, v: 0.8 * v,
    "learnt_leak": lambda m, i, v: jax.nn.sigmoid(m.value(f"leak{i}")) * v,
    "smooth": lambda m, i, v: 0.7 * v + 0.2 * jnp.sin(v),
    "detached_reset": lambda m, i, v: 0.9 * (v - jax.lax.stop_gradient(spike(v - 1.0))),
    "reset": lambda m, i, v: 0.9 * (v - m.value(f"threshold{i}") * spike(v - m.value(f"threshold{i}"))),
    "long_loop": lambda m, i, v: jax.lax.fori_loop(0, 300, lambda _, u: u - 0.002 * jnp.sin(u), v),
}
OUTPUTS = {"tanh": jnp.tanh, "spike": lambda v: spike(v - 0.2), "itself": lambda v: v}
PRODUCTS = {
    "plain": lambda m, i, x: x @ m.value(f"w{i}"),
    "low_rank": lambda m, i, x: x @ (m.value(f"p{i}") @ m.value(f"q{i}")),
    "absolute": lambda m, i, x: x @ jnp.abs(m.value(f"w{i}")),
    "weight_first": lambda m, i, x: (m.value(f"w{i}").T @ x.T).T,
    "twice": lambda m, i, x: x @ m.value(f"w{i}") + jnp.cos(x) @ m.value(f"w{i}"),
    "einsum": lambda m, i, x: jnp.einsum("bi,io->bo", x, m.value(f"w{i}")),
}


@dataclass(frozen=True)
class LayerPlan:
    """What one layer of a step does."""

    product: str
    recurrent: bool
    way: tuple[str, ...]
    transition: str
    adaptation: bool
    output: str
    late: bool


layers = st.builds(
    LayerPlan,
    st.sampled_from(sorted(PRODUCTS)),
    st.booleans(),
    st.lists(st.sampled_from(sorted(ON_THE_WAY)), max_size=3, unique=True).map(tuple),
    st.sampled_from(sorted(TRANSITIONS)),
    st.booleans(),
    st.sampled_from(sorted(OUTPUTS)),
    st.booleans(),
)
steps = st.lists(layers, min_size=1, max_size=2).map(tuple)


class RandomStep(brainstate.nn.Module):
    """Layers as planned, and a linear read-out; parameters are made when first asked for."""

    def __init__(self, plan, seed=0):
        super().__init__()
        self.plan, self.random = plan, np.random.default_rng(seed)
        self.params = {}
        self.unused = brainstate.ParamState(jnp.zeros(2))
        self.init_state()
        self.update(jnp.zeros((B, N_IN)))

    def value(self, name):
        if name not in self.params:
            kind, layer = name.rstrip("0123456789"), int(name[-1])
            n_pre = N_IN if layer == 0 else N
            shape = {
                "w": (n_pre, N),
                "p": (n_pre, 2),
                "q": (2, N),
                "rec": (N, N),
                "out": (N, 2),
                "scalar": (),
            }
            drawn = self.random.normal(0.0, 0.8, shape.get(kind, (N,)))
            drawn = 1.0 + 0.2 * np.tanh(drawn) if kind in ("gain", "threshold") else drawn
            self.params[name] = brainstate.ParamState(jnp.asarray(drawn))
            setattr(self, name, self.params[name])
        return self.params[name].value

    def init_state(self, *args, **kwargs):
        for i, layer in enumerate(self.plan):
            names = [f"v{i}"] + ([f"a{i}"] if layer.adaptation else [])
            for name in names:
                setattr(self, name, brainstate.HiddenState(jnp.zeros((B, N))))

    def update(self, x):
        _ = 2.0 * self.unused.value
        for i, layer in enumerate(self.plan):
            x = self.layer(i, layer, x)
        return x @ self.value("out9")

    def layer(self, i, layer, x):
        state = getattr(self, f"v{i}")
        before = OUTPUTS[layer.output](state.value)
        current = PRODUCTS[layer.product](self, i, x)
        if layer.recurrent:
            current = current + before @ self.value(f"rec{i}")
        for name in layer.way:
            current = ON_THE_WAY[name](self, i, current)
        new = TRANSITIONS[layer.transition](self, i, state.value) + current
        if layer.adaptation:
            slow = getattr(self, f"a{i}")
            slow.value = 0.9 * slow.value + 0.2 * OUTPUTS[layer.output](state.value)
            new = new - 0.3 * slow.value
        state.value = new
        return before if layer.late else OUTPUTS[layer.output](new)
