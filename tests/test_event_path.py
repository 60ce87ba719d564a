"""The event-driven path of a whole sequence: the same numbers as dense products, for every layer and rule."""

import brainstate
import braintools
import brainunit as u
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import stacks
from nets import double_precision
from stacks import (
    ACTIVITIES,
    N_IN,
    N_OUT,
    STACKS,
    N,
    Stack,
    assert_equal_gradients,
    build,
    dense_streaming,
    hidden_activity,
    recurrent,
)

import snntrace
from snntrace import Spikes
from snntrace.neurons import LIF
from snntrace.nn import Linear

pytestmark = pytest.mark.usefixtures("cheap_events")

T, B = 12, 3


class Tanh(brainstate.nn.Module):
    """Units without spikes: their operands are graded and nowhere zero."""

    def __init__(self):
        super().__init__()
        self.w_in = brainstate.ParamState(brainstate.random.normal(0, 0.5, (N_IN, N)))
        self.w_rec = brainstate.ParamState(brainstate.random.normal(0, 0.3, (N, N)))

    def init_state(self, batch_size=None, **kwargs):
        self.h = brainstate.HiddenState(jnp.zeros((batch_size, N), brainstate.environ.dftype()))

    def update(self, x):
        self.h.value = jnp.tanh(0.5 * self.h.value + x @ self.w_in.value + self.h.value @ self.w_rec.value)
        return self.h.value


NETS = STACKS | {"tanh units": lambda: Stack(Tanh(), Linear(N, N_OUT))}
RULES = {
    "D_RTRL": (snntrace.D_RTRL, {}),
    "OSTLRecurrent": (snntrace.OSTLRecurrent, {}),
    "OSTTP": (snntrace.OSTTP, {"B_list": "normal"}),
    "OSTTP at the output": (snntrace.OSTTP, {"B_list": "normal", "signal": "output"}),
    "a fixed leak": (snntrace.Rule(recursion="scalar", leak=0.8), {}),
    "no memory": (snntrace.Rule(recursion="none"), {}),
}


def spike_trains(rate, seed=0, batch=B):
    return stacks.spike_trains(rate, T, batch, seed)


def cross_entropy(outs, labels):
    return jnp.mean(braintools.metric.softmax_cross_entropy_with_integer_labels(outs, labels))


def gradients(net, rule, path, xs, options, batch=B):
    learner = snntrace.compile(net, rule, jnp.zeros((batch, N_IN)), batch_size=batch, path=path, **options)
    labels = np.random.default_rng(1).integers(0, N_OUT, (T, batch))
    target = {"y_target": labels} if rule.signal == "target" else {}
    run = learner.value_and_grad(lambda outs, y: (cross_entropy(outs, y), outs), has_aux=True)
    ((_, outs), grads) = run(xs, labels, **target)
    return np.asarray(outs), {k: np.asarray(v) for k, v in jax.tree.leaves_with_path(grads)}


def assert_equal_paths(net, rule, xs, options, tolerance=1e-9, batch=B):
    outs, expected = gradients(net, rule, "dense", xs, options, batch)
    given = xs if isinstance(xs, Spikes) else Spikes.from_dense(np.asarray(xs))
    found_outs, found = gradients(net, rule, "event", given, options, batch)
    np.testing.assert_allclose(found_outs, outs, rtol=tolerance, atol=tolerance)
    for key, value in expected.items():
        scale = np.abs(value).max()
        assert np.abs(found[key] - value).max() <= tolerance * max(scale, 1e-6), key
    return expected


SINGLE = [pytest.param(name, 1, marks=[] if "alif" in name else pytest.mark.slow) for name in NETS]


@pytest.mark.parametrize(("name", "batch"), [*((name, B) for name in NETS), *SINGLE])
def test_events_dense_products_and_streaming_agree_at_every_activity_in_every_layer(name, batch):
    """Ragged and empty samples included, but for a batch of one."""
    with double_precision():
        net = build(NETS[name])
        if name != "tanh units":
            assert 0.02 < hidden_activity(net, spike_trains(ACTIVITIES[-1], seed=3, batch=batch)) < 0.8
        learners = {
            path: snntrace.compile(
                net, snntrace.D_RTRL, jnp.zeros((batch, N_IN)), batch_size=batch, path=path
            )
            for path in ("dense", "event")
        }
        run = {
            p: x.value_and_grad(lambda outs, e: ((outs * e).sum(), outs), has_aux=True)
            for p, x in learners.items()
        }
        streaming = dense_streaming(learners["dense"])
        for rate in ACTIVITIES:
            xs = spike_trains(rate, seed=3, batch=batch)
            room = T * N_IN
            if batch > 1:
                xs[:, 1] = 0
                xs[T // 2 :, 2] = 0
            errors = np.random.default_rng(4).normal(size=(T, batch, N_OUT))
            learners["dense"].reset_state()
            outs, expected = streaming(xs, errors)
            if rate == 0.5:
                assert all(np.abs(value).max() > 0 for value in jax.tree.leaves(expected))
            for path, x in (("dense", xs), ("event", Spikes.from_dense(xs, capacity=room))):
                (_, found_outs), grads = run[path](x, errors)
                np.testing.assert_allclose(found_outs, outs, rtol=1e-9, atol=1e-9)
                assert_equal_gradients(grads, expected)


@pytest.mark.parametrize("name", RULES)
def test_every_rule_gives_the_gradient_of_dense_products(name):
    rule, options = RULES[name]
    with double_precision():
        assert_equal_paths(build(NETS["alif, learnt threshold"]), rule, spike_trains(0.2), options)


def test_the_fixed_leak_and_no_memory_differ_from_the_neurons_own_memory():
    with double_precision():
        net, xs = build(NETS["lif"]), spike_trains(0.2)
        found = [gradients(net, RULES[r][0], "event", Spikes.from_dense(xs), {})[1] for r in
                 ("D_RTRL", "a fixed leak", "no memory")]  # fmt: skip
    key = next(k for k in found[0] if "w_in" in str(k))
    assert np.abs(found[0][key] - found[1][key]).max() > 1e-4
    assert np.abs(found[0][key] - found[2][key]).max() > 1e-4


def test_graded_events_and_a_single_sample_give_the_gradient_of_dense_products():
    with double_precision():
        xs = spike_trains(0.3, batch=1) * np.random.default_rng(5).normal(1, 0.3, (T, 1, N_IN))
        assert Spikes.from_dense(xs).values is not None
        assert_equal_paths(build(NETS["lif"]), snntrace.D_RTRL, xs, {}, batch=1)


def test_number_of_threads_changes_rounding_only(monkeypatch):
    xs, found = Spikes.from_dense(spike_trains(0.2).astype(np.float32)), {}
    for threads in ("1", "2", "2"):
        monkeypatch.setenv("SNNTRACE_THREADS", threads)
        _, grads = gradients(build(NETS["lif"]), snntrace.D_RTRL, "event", xs, {})
        found.setdefault(threads, []).append(grads)
    for key, value in found["1"][0].items():
        np.testing.assert_allclose(found["2"][0][key], value, rtol=1e-4, atol=1e-7)
        np.testing.assert_array_equal(found["2"][0][key], found["2"][1][key])


def test_auto_takes_events_as_events_and_arrays_as_arrays():
    learner = snntrace.compile(build(NETS["lif"]), snntrace.D_RTRL, jnp.zeros((B, N_IN)), batch_size=B)
    xs = spike_trains(0.2).astype(np.float32)
    events = Spikes.from_dense(xs)
    assert learner.paths.plan((events,), carry=False).route == "stages"
    assert learner.paths.plan((xs,), carry=False).route == "dense"
    assert learner.paths.plan((events,), carry=True).route == "products"
    assert "event-driven for whole sequences given as Spikes" in str(learner.report)
    carried = learner.unroll(events, carry=True)
    assert carried.shape == (T, B, N_OUT)


def test_final_states_are_those_of_dense_products_and_carry_gradient():
    xs, states = spike_trains(0.2).astype(np.float32), []
    for path in ("dense", "event"):
        net = build(NETS["lif"])
        learner = snntrace.compile(net, snntrace.D_RTRL, jnp.zeros((B, N_IN)), batch_size=B, path=path)

        def loss(learner=learner, net=net):
            learner.unroll(xs, carry=False)
            return (net.layers[0].neuron.v.value ** 2).sum()

        grads = brainstate.transform.grad(loss, learner.param_states)()
        states.append((net.layers[0].neuron.v.value, grads))
    np.testing.assert_allclose(states[1][0], states[0][0], rtol=1e-5, atol=1e-6)
    for a, b in zip(jax.tree.leaves(states[1][1]), jax.tree.leaves(states[0][1]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_a_model_whose_layers_do_not_follow_each_other_runs_products_by_events():
    net = build(lambda: recurrent(LIF(N, t_ref=3 * u.ms)))
    learner = snntrace.compile(net, snntrace.D_RTRL, jnp.zeros((B, N_IN)), batch_size=B)
    assert "held" in learner.report.as_dict()["path"]
    assert learner.paths.plan((Spikes.from_dense(spike_trains(0.2)),), carry=False).route == "products"
    xs = spike_trains(0.2).astype(np.float32)
    labels = np.zeros((T, B), int)
    run = learner.value_and_grad(cross_entropy)
    np.testing.assert_allclose(run(Spikes.from_dense(xs), labels)[0], run(xs, labels)[0], rtol=1e-6)


def test_an_unknown_path_is_refused():
    with pytest.raises(ValueError, match="path must be one of auto, dense, event, got path='fast'"):
        snntrace.D_RTRL(build(NETS["lif"]), path="fast")
