"""Stacks of layers whose kernels are held against dense products, and input for them."""

import brainstate
import brainunit as u
import jax
import jax.numpy as jnp
import numpy as np

from snntrace.neurons import ALIF, LI, LIF, AdLIF, CurrentLIF, FeedForward, Recurrent
from snntrace.nn import Linear

N_IN, N, N_OUT = 20, 9, 4
ACTIVITIES = (0.0, 0.001, 0.01, 0.1, 0.5)


class Stack(brainstate.nn.Module):
    """Layers, and a read-out behind them."""

    def __init__(self, *layers):
        super().__init__()
        self.layers = layers
        for i, layer in enumerate(layers):
            setattr(self, f"layer{i}", layer)

    def update(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


def recurrent(neuron):
    return Stack(Recurrent(N_IN, neuron), Linear(N, N_OUT))


STACKS = {
    "lif": lambda: recurrent(LIF(N)),
    "lif, reset in the gradient, learnt leak and threshold": lambda: recurrent(
        LIF(N, detach_reset=False, learn=("tau_mem", "v_th"))
    ),
    "lif, hard reset, a time constant for each unit": lambda: recurrent(
        LIF(N, reset="hard", tau_mem=np.linspace(5, 30, N) * u.ms)
    ),
    "alif, learnt threshold": lambda: recurrent(ALIF(N, learn=("v_th",))),
    "current lif": lambda: recurrent(CurrentLIF(N)),
    "adlif, learnt adaptation": lambda: recurrent(AdLIF(N, learn=("a", "b"))),
    "feed-forward": lambda: Stack(FeedForward(N_IN, LIF(N)), Linear(N, N_OUT)),
    "two layers and a leaky read-out": lambda: Stack(
        Recurrent(N_IN, LIF(N)), Recurrent(N, ALIF(7)), FeedForward(7, LI(N_OUT))
    ),
    "spikes are the result": lambda: Stack(Recurrent(N_IN, ALIF(N_OUT))),
}
"""Every neuron with kernels, with both resets, recurrent and not, and with parameters of its own."""


def build(make, seed=0):
    with brainstate.random.seed_context(seed):
        return make()


def spike_trains(rate, length, batch, seed=0, n_in=N_IN):
    return (np.random.default_rng(seed).random((length, batch, n_in)) < rate).astype(np.float64)


def hidden_activity(net, xs):
    layer = net.layers[0]
    brainstate.nn.init_all_states(layer, batch_size=xs.shape[1])
    return float(brainstate.transform.for_loop(layer, jnp.asarray(xs)).mean())


def dense_streaming(learner):
    """Return a function to outputs and gradients, which sums `brainstate.transform.grad` around `update`."""
    weights = learner.param_states

    def step_loss(x, error, *label):
        out = learner.update(x, **({"y_target": label[0]} if label else {}))
        return (out * error).sum(), out

    @brainstate.transform.jit
    def run(*given):
        def step(total, now):
            grads, out = brainstate.transform.grad(step_loss, weights, has_aux=True)(*now)
            return jax.tree.map(jnp.add, total, grads), out

        zeros = jax.tree.map(jnp.zeros_like, {path: s.value for path, s in weights.items()})
        return brainstate.transform.scan(step, zeros, given)

    def streaming(xs, errors, labels=None):
        grads, outs = run(*map(jnp.asarray, (xs, errors, *(() if labels is None else (labels,)))))
        return np.asarray(outs), grads

    return streaming


def assert_equal_gradients(found, expected, tolerance=1e-9):
    """Hold the largest difference over the largest value of every parameter's gradient to a tolerance."""
    assert found.keys() == expected.keys()
    pairs = zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True)
    for key, (a, b) in zip(jax.tree.leaves_with_path(expected), pairs, strict=True):
        scale = max(np.abs(np.asarray(b)).max(), 1e-6)
        assert np.abs(np.asarray(a) - np.asarray(b)).max() <= tolerance * scale, key[0]
