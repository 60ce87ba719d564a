"""Models from one function, the ways to run them, and what they are held to."""

import brainstate
import jax
import jax.numpy as jnp
import numpy as np
import oracles
from nets import bptt, loss, streamed

import snntrace

T, B, N_IN, N = 7, 3, 4, 5
LONG = 37  # longer than the blocks in which windows are worked off, and a prime


def draw(*shape, scale=1.0, seed=0):
    return jnp.asarray(np.random.default_rng([seed, *shape]).normal(0, scale, shape))


class Step(brainstate.nn.Module):
    """A model from its parameters, the shapes of its states and a function of itself and the input."""

    def __init__(self, update, params, batch=(B,), **shapes):
        super().__init__()
        self.function, self.shapes, self.batch = update, shapes, batch
        for name, value in params.items():
            setattr(self, name, brainstate.ParamState(jnp.asarray(value, float)))

    def init_state(self, *args, **kwargs):
        for name, shape in self.shapes.items():
            setattr(self, name, brainstate.HiddenState(jnp.zeros((*self.batch, *shape))))

    def update(self, x):
        return self.function(self, x)


def compiled(model, rule=snntrace.D_RTRL, x=None, **options):
    x = draw(B, N_IN) if x is None else x
    learner = rule(model, **options)
    brainstate.nn.init_all_states(model, batch_size=B)
    learner.compile_graph(x)
    return learner


def leaves(grads):
    return {
        jax.tree_util.keystr(key): np.asarray(value)
        for key, value in jax.tree_util.tree_leaves_with_path(dict(grads))
    }


def found_by(model, xs, ys, rule=snntrace.D_RTRL, order="sequence", **options):
    learner = compiled(model, rule, xs[0], **options)
    if order == "sequence":
        return leaves(learner.value_and_grad(loss)(xs, ys)[1])
    return leaves(streamed(learner, model, xs, ys)[0])


def assert_exact(model, xs=None, n_out=N, orders=("sequence", "streaming"), ys=None):
    """Hold every order to backpropagation through time, for models where traces are exact."""
    xs = draw(T, B, N_IN) if xs is None else xs
    ys = draw(T, B, n_out, seed=9) if ys is None else ys
    exact = leaves(bptt(model, B, xs, ys))
    for order in orders:
        options = {"window": 3} if order == "sequence" else {}
        oracles.assert_close(found_by(model, xs, ys, order=order, **options), exact, 1e-9)


def leaky(self, current):
    """Advance the state `v` by a smooth leaky unit and return it."""
    self.v.value = 0.8 * self.v.value + 0.3 * jnp.sin(self.v.value) + current
    return jnp.tanh(self.v.value)
