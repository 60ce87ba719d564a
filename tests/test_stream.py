"""Streams: the gradient of dense streaming, step by step, at the cost of the events."""

import brainstate
import brainunit as u
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from nets import double_precision

import snntrace
from snntrace import Spikes
from snntrace.fused.rows import RING
from snntrace.neurons import ALIF, LI, LIF, AdLIF, CurrentLIF, FeedForward, Recurrent
from snntrace.nn import Linear

T, N_IN, N, N_OUT, WINDOW = 41, 20, 9, 4, 8


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


NETS = {
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
RULES = {
    "D_RTRL": (snntrace.D_RTRL, {}),
    "OSTLRecurrent": (snntrace.OSTLRecurrent, {}),
    "OSTTP": (snntrace.OSTTP, {"B_list": "normal"}),
    "OSTTP at the output, averaged": (
        snntrace.OSTTP, {"B_list": "normal", "signal": "output", "reduction": "mean"},
    ),
    "random feedback": (snntrace.Rule(signal="random"), {"B_list": "normal"}),
    "a fixed leak": (snntrace.Rule(recursion="scalar", leak=0.8), {}),
    "no memory": (snntrace.Rule(recursion="none"), {}),
}  # fmt: skip


def build(make, seed=0):
    with brainstate.random.seed_context(seed):
        return make()


def compiled(net, rule=snntrace.D_RTRL, batch=1, **options):
    n_in = net.layers[0].in_size[-1]
    return snntrace.compile(net, rule, jnp.zeros((batch, n_in)), batch_size=batch, **options)


def spike_trains(rate, seed=0, batch=1, length=T, n_in=N_IN):
    return (np.random.default_rng(seed).random((length, batch, n_in)) < rate).astype(float)


def errors_like(xs, seed=1, n_out=N_OUT):
    return np.random.default_rng(seed).normal(size=(*xs.shape[:2], n_out))


def labels_like(xs, seed=2):
    return np.random.default_rng(seed).integers(0, N_OUT, xs.shape[:2])


def hidden_activity(net, xs):
    layer = net.layers[0]
    brainstate.nn.init_all_states(layer, batch_size=xs.shape[1])
    return float(brainstate.transform.for_loop(layer, jnp.asarray(xs)).mean())


def dense_streaming(learner, xs, errors, labels=None):
    """Sum `brainstate.transform.grad` around `update`; return outputs and gradients."""
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

    grads, outs = run(*map(jnp.asarray, (xs, errors, *(() if labels is None else (labels,)))))
    return np.asarray(outs), grads


def streamed(stream, xs, errors, labels=None):
    """Return outputs of a stream that is stepped and taught."""
    outs = []
    for t in range(len(xs)):
        outs.append(stream.step(xs[t]))
        stream.learn(errors[t], **({} if labels is None else {"y_target": labels[t]}))
    return np.array(outs)


def assert_equal_gradients(found, expected, tolerance=1e-9):
    assert found.keys() == expected.keys()
    pairs = zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True)
    for key, (a, b) in zip(jax.tree.leaves_with_path(expected), pairs, strict=True):
        scale = max(np.abs(np.asarray(b)).max(), 1e-6)
        assert np.abs(np.asarray(a) - np.asarray(b)).max() <= tolerance * scale, key[0]


def assert_equal_streams(net, rule, xs, options, tolerance=1e-9, window=WINDOW, target=False):
    batch = xs.shape[1]
    errors = errors_like(xs)
    labels = labels_like(xs) if target else None
    learner = compiled(net, rule, batch, **options)
    stream = learner.stream(window=window, path="event")
    outs, expected = dense_streaming(learner, xs, errors, labels)
    found = streamed(stream, xs, errors, labels)
    np.testing.assert_allclose(found, outs, rtol=tolerance, atol=tolerance)
    gradients = stream.gradients()
    assert_equal_gradients(gradients, expected, tolerance)
    return gradients, stream, learner


@pytest.mark.parametrize("name", NETS)
def test_every_layer_gives_the_gradient_of_dense_streaming(name):
    with double_precision():
        net = build(NETS[name])
        xs = spike_trains(0.2)
        assert 0.01 < hidden_activity(net, xs) < 0.7
        found, _, _ = assert_equal_streams(net, snntrace.D_RTRL, xs, {})
    assert all(np.abs(value).max() > 0 for value in jax.tree.leaves(found))


@pytest.mark.parametrize("name", RULES)
def test_every_rule_gives_the_gradient_of_dense_streaming(name):
    rule, options = RULES[name]
    with double_precision():
        net, xs = build(NETS["alif, learnt threshold"]), spike_trains(0.2, batch=3)
        assert 0.01 < hidden_activity(net, xs) < 0.7
        assert_equal_streams(net, rule, xs, options, target=rule.signal == "target")
