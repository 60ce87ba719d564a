"""Streams: the gradient of dense streaming, step by step, at the cost of the events."""

import brainstate
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
    assert_equal_gradients,
    build,
    dense_streaming,
    hidden_activity,
    recurrent,
)

import snntrace
from snntrace import Spikes
from snntrace.fused.rows import RING
from snntrace.neurons import LIF

T, WINDOW = 41, 8
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


def compiled(net, rule=snntrace.D_RTRL, batch=1, **options):
    n_in = net.layers[0].in_size[-1]
    return snntrace.compile(net, rule, jnp.zeros((batch, n_in)), batch_size=batch, **options)


def spike_trains(rate, seed=0, batch=1, length=T, n_in=N_IN):
    return stacks.spike_trains(rate, length, batch, seed, n_in)


def errors_like(xs, seed=1, n_out=N_OUT):
    return np.random.default_rng(seed).normal(size=(*xs.shape[:2], n_out))


def labels_like(xs, seed=2):
    return np.random.default_rng(seed).integers(0, N_OUT, xs.shape[:2])


def streamed(stream, xs, errors, labels=None):
    """Return outputs of a stream that is stepped and taught."""
    outs = []
    for t in range(len(xs)):
        outs.append(stream.step(xs[t]))
        stream.learn(errors[t], **({} if labels is None else {"y_target": labels[t]}))
    return np.array(outs)


def assert_equal_streams(net, rule, xs, options, tolerance=1e-9, window=WINDOW, target=False):
    batch = xs.shape[1]
    errors = errors_like(xs)
    labels = labels_like(xs) if target else None
    learner = compiled(net, rule, batch, **options)
    stream = learner.stream(window=window, path="event")
    outs, expected = dense_streaming(learner)(xs, errors, labels)
    found = streamed(stream, xs, errors, labels)
    np.testing.assert_allclose(found, outs, rtol=tolerance, atol=tolerance)
    gradients = stream.gradients()
    assert_equal_gradients(gradients, expected, tolerance)
    return gradients, stream, learner


@pytest.mark.parametrize("name", STACKS)
def test_every_layer_gives_the_gradient_of_dense_streaming(name):
    with double_precision():
        net = build(STACKS[name])
        xs = spike_trains(0.2)
        assert 0.01 < hidden_activity(net, xs) < 0.7
        found, _, _ = assert_equal_streams(net, snntrace.D_RTRL, xs, {})
    assert all(np.abs(value).max() > 0 for value in jax.tree.leaves(found))


@pytest.mark.parametrize("name", RULES)
def test_every_rule_gives_the_gradient_of_dense_streaming(name):
    rule, options = RULES[name]
    with double_precision():
        net, xs = build(STACKS["alif, learnt threshold"]), spike_trains(0.2, batch=3)
        assert 0.01 < hidden_activity(net, xs) < 0.7
        assert_equal_streams(net, rule, xs, options, target=rule.signal == "target")


@pytest.mark.parametrize("rate", ACTIVITIES)
def test_every_activity_gives_the_gradient_of_dense_streaming_when_the_ring_of_windows_wraps(rate):
    length, window = 2 * 2 * RING + 3, 2
    with double_precision():
        net = build(STACKS["lif, hard reset, a time constant for each unit"])
        xs = spike_trains(rate, batch=3, length=length)
        if rate >= 0.1:
            assert 0.01 < hidden_activity(net, xs) < 0.8
        xs[3:, 1] = 0
        xs[:, 2, :5] = 0
        xs[length - 4, 2, :5] = 1
        _, stream, _ = assert_equal_streams(net, snntrace.D_RTRL, xs, {}, window=window)
    assert stream.path == "event"
    assert "event" in repr(stream)


@pytest.mark.parametrize("window", [1, 7, T, 3 * T])
def test_the_length_of_a_window_does_not_change_the_gradient(window):
    with double_precision():
        net = build(STACKS["alif, learnt threshold"])
        assert_equal_streams(net, snntrace.D_RTRL, spike_trains(0.2), {}, window=window)


def test_single_precision_gives_the_gradient_of_dense_streaming():
    net, xs = build(STACKS["lif"]), spike_trains(0.2).astype(np.float32)
    assert 0.01 < hidden_activity(net, xs) < 0.7
    found, _, _ = assert_equal_streams(net, snntrace.D_RTRL, xs, {}, tolerance=1e-5)
    assert {np.asarray(v).dtype for v in jax.tree.leaves(found)} == {np.dtype("float32")}


def test_a_stream_gives_the_gradient_of_the_whole_sequence_by_events():
    with double_precision():
        net, xs = build(STACKS["current lif"]), spike_trains(0.2)
        assert 0.01 < hidden_activity(net, xs) < 0.7
        errors = errors_like(xs)
        learner = compiled(net, path="event")
        _, expected = learner.value_and_grad(lambda outs: (outs * errors).sum())(Spikes.from_dense(xs))
        stream = learner.stream(window=WINDOW)
        streamed(stream, xs, errors)
        assert_equal_gradients(stream.gradients(), expected)


def test_weights_may_change_in_the_middle_of_a_window():
    with double_precision():
        net = build(STACKS["lif, reset in the gradient, learnt leak and threshold"])
        xs = spike_trains(0.2)
        errors, learner = errors_like(xs), compiled(net)
        start = {path: state.value for path, state in learner.param_states.items()}
        stream, expected, outs, found = learner.stream(window=WINDOW), None, [], []
        for k, (begin, end) in enumerate([(0, 13), (13, 16), (16, T)]):
            scale = 1 + 0.1 * k
            params = {path: jax.tree.map(lambda v, s=scale: s * v, value) for path, value in start.items()}
            for path, value in params.items():
                learner.param_states[path].value = value
            part, grads = dense_streaming(learner)(xs[begin:end], errors[begin:end])
            outs.append(part)
            expected = grads if expected is None else jax.tree.map(jnp.add, expected, grads)
            stream.update(params)
            found.append(streamed(stream, xs[begin:end], errors[begin:end]))
        np.testing.assert_allclose(np.concatenate(found), np.concatenate(outs), rtol=1e-9, atol=1e-9)
        assert 0.01 < hidden_activity(net, xs) < 0.7
        assert_equal_gradients(stream.gradients(), expected)


def test_a_sample_that_is_reset_begins_anew_and_leaves_its_gradient():
    with double_precision():
        net, xs = build(STACKS["alif, learnt threshold"]), spike_trains(0.2, batch=3)
        errors, learner = errors_like(xs), compiled(net, batch=3)
        stream = learner.stream(window=WINDOW)
        _, first = dense_streaming(learner)(xs[:19], errors[:19])
        streamed(stream, xs[:19], errors[:19])
        stream.reset([False, True, False])
        for state in net.layers[0].states(brainstate.HiddenState).values():
            state.value = state.value.at[1].set(0)
        for trace in learner.traces:
            trace.value = trace.value.at[:, 1].set(0)
        outs, second = dense_streaming(learner)(xs[19:], errors[19:])
        np.testing.assert_allclose(streamed(stream, xs[19:], errors[19:]), outs, rtol=1e-9, atol=1e-9)
        assert_equal_gradients(stream.gradients(), jax.tree.map(jnp.add, first, second))
        stream.reset()
        stream.reset_gradients()
        assert all(not np.any(t) for t in stream.carried().traces)
        assert all(not np.any(g) for g in jax.tree.leaves(stream.gradients()))


def test_learner_and_stream_go_on_where_the_other_stopped():
    with double_precision():
        net, xs = build(STACKS["lif"]), spike_trains(0.2)
        errors, learner = errors_like(xs), compiled(net)
        _, expected = dense_streaming(learner)(xs, errors)
        learner.reset_state()
        total = None
        for k, (begin, end) in enumerate([(0, 10), (10, 25), (25, T)]):
            if k % 2 == 0:
                _, grads = dense_streaming(learner)(xs[begin:end], errors[begin:end])
            else:
                stream = learner.stream(window=WINDOW)
                streamed(stream, xs[begin:end], errors[begin:end])
                grads = stream.gradients()
                stream.sync()
            total = grads if total is None else jax.tree.map(jnp.add, total, grads)
        assert_equal_gradients(total, expected)


def test_gradients_may_be_looked_at_and_begun_anew_at_any_step():
    with double_precision():
        net, xs = build(STACKS["lif"]), spike_trains(0.2)
        errors, learner = errors_like(xs), compiled(net)
        stream = learner.stream(window=WINDOW)
        whole = learner.stream(window=WINDOW)
        streamed(whole, xs, errors)
        streamed(stream, xs[:11], errors[:11])
        first = stream.gradients()
        assert_equal_gradients(stream.gradients(), first)
        stream.reset_gradients()
        streamed(stream, xs[11:], errors[11:])
        second = stream.gradients()
        assert_equal_gradients(jax.tree.map(np.add, first, second), whole.gradients())


def test_listed_units_with_sizes_are_the_array_that_they_list():
    with double_precision():
        net = build(STACKS["lif"])
        xs = spike_trains(0.3, batch=3) * np.random.default_rng(5).normal(1, 0.3, (T, 3, N_IN))
        errors, learner = errors_like(xs), compiled(net, batch=3)
        listed, dense = learner.stream(window=WINDOW), learner.stream(window=WINDOW)
        for x, error in zip(xs, errors, strict=True):
            units = [np.flatnonzero(row) for row in x]
            out = listed.step(units=units, sizes=[row[u] for row, u in zip(x, units, strict=True)])
            np.testing.assert_allclose(out, dense.step(x))
            listed.learn(error)
            dense.learn(error)
        assert_equal_gradients(listed.gradients(), dense.gradients())
        with pytest.raises(ValueError, match=f"units must be in 0..{N_IN - 1}"):
            listed.step(units=[[0], [N_IN], []])


def cross_entropy(outs, labels):
    logs = np.log(np.exp(outs).sum(-1))
    chosen = np.take_along_axis(outs, np.maximum(labels, 0)[..., None], -1)[..., 0]
    share = np.exp(outs) / np.exp(outs).sum(-1, keepdims=True) - np.eye(N_OUT)[labels]
    known = labels >= 0
    return ((logs - chosen) * known).sum() / outs.shape[1], share * known[..., None] / outs.shape[1]


@pytest.mark.parametrize("kind", ["cross_entropy", "squared_error", "errors"])
@pytest.mark.parametrize("as_lists", [False, True])
def test_a_recording_is_its_steps(kind, as_lists):
    with double_precision():
        net, xs = build(STACKS["lif"]), spike_trains(0.2, batch=3)
        learner = compiled(net, batch=3)
        outs, _ = dense_streaming(learner)(xs, errors_like(xs))
        learner.reset_state()
        labels, values = labels_like(xs), errors_like(xs)
        labels[:, 2] = -1
        loss, errors = {
            "cross_entropy": cross_entropy(outs, labels),
            "squared_error": (0.5 * ((outs - values) ** 2).sum() / 3, (outs - values) / 3),
            "errors": (0.0, values),
        }[kind]
        given = {
            "cross_entropy": {"loss": kind, "labels": labels},
            "squared_error": {"loss": kind, "values": values},
            "errors": {"errors": values},
        }[kind]
        steps, recording = learner.stream(window=WINDOW), learner.stream(window=WINDOW)
        streamed(steps, xs, errors)
        found = recording.run(Spikes.from_dense(xs) if as_lists else xs, **given)
        np.testing.assert_allclose(found.outs, outs, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(found.loss, loss, rtol=1e-9)
        assert_equal_gradients(recording.gradients(), steps.gradients())


def test_a_recording_projects_its_targets():
    with double_precision():
        net, xs = build(STACKS["lif"]), spike_trains(0.2, batch=3)
        errors, labels = errors_like(xs), labels_like(xs)
        learner = compiled(net, snntrace.OSTTP, 3, B_list="normal")
        _, expected = dense_streaming(learner)(xs, errors, labels)
        learner.reset_state()
        for target in (labels, np.eye(N_OUT)[labels]):
            stream = learner.stream(window=WINDOW)
            stream.run(xs, errors=errors, y_target=target)
            assert_equal_gradients(stream.gradients(), expected)


def test_a_model_without_kernels_streams_by_dense_products_and_says_so():
    with double_precision():
        net, xs = build(lambda: recurrent(LIF(N, t_ref=3 * u.ms))), spike_trains(0.3, batch=3)
        assert 0.01 < hidden_activity(net, xs) < 0.7
        errors, learner = errors_like(xs), compiled(net, batch=3)
        stream, recording = learner.stream(), learner.stream()
        outs, expected = dense_streaming(learner)(xs, errors)
        assert stream.path.startswith("dense (the state")
        assert "held" in repr(stream)
        np.testing.assert_allclose(streamed(stream, xs, errors), outs, rtol=1e-9, atol=1e-9)
        assert_equal_gradients(stream.gradients(), expected)
        found = recording.run(Spikes.from_dense(xs), errors=errors)
        np.testing.assert_allclose(found.outs, outs, rtol=1e-9, atol=1e-9)
        assert_equal_gradients(recording.gradients(), expected)
        with pytest.raises(snntrace.CompileError, match="held.*path='auto'"):
            learner.stream(path="event")
        stream.reset()
        stream.reset_gradients()
        np.testing.assert_allclose(streamed(stream, xs, errors), outs, rtol=1e-9, atol=1e-9)


def test_the_dense_and_the_event_driven_stream_agree():
    with double_precision():
        net, xs = build(STACKS["two layers and a leaky read-out"]), spike_trains(0.2)
        errors, learner = errors_like(xs), compiled(net)
        found = []
        for path in ("dense", "event"):
            stream = learner.stream(path=path, window=WINDOW)
            streamed(stream, xs, errors)
            found.append((stream.gradients(), stream.carried()))
        assert_equal_gradients(found[1][0], found[0][0])
        for a, b in zip(jax.tree.leaves(found[1][1]), jax.tree.leaves(found[0][1]), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


def test_traces_of_inputs_that_fell_silent_fade_to_nothing():
    net = build(STACKS["lif, hard reset, a time constant for each unit"])
    stream = compiled(net).stream(window=WINDOW)
    xs = spike_trains(0.5, length=2 * RING * WINDOW * 8).astype(np.float32)
    xs[20:] = 0
    stream.run(xs[:20], errors=errors_like(xs[:20]))
    assert np.abs(stream.carried().traces[0]).max() > 0.1
    stream.run(xs[20:], errors=errors_like(xs[20:]))
    sizes = np.abs(np.concatenate([np.ravel(t) for t in stream.carried().traces[:1]]))
    assert not np.any((sizes > 0) & (sizes < np.finfo(np.float32).tiny))
    assert sizes.max() == 0


def test_a_million_steps_stay_finite_and_end_as_a_fresh_run_from_the_same_traces():
    length, last, block = 1_000_000, 500, 100_000
    net = build(STACKS["lif, hard reset, a time constant for each unit"])
    learner = compiled(net)
    stream, rng, largest = learner.stream(), np.random.default_rng(3), []
    for k in range(length // block):
        steps = block if k < length // block - 1 else block - last
        xs = (rng.random((steps, 1, N_IN)) < 0.1).astype(np.float32)
        found = stream.run(xs, loss="cross_entropy", labels=rng.integers(0, N_OUT, (steps, 1)), scale=1e-3)
        assert np.isfinite(found.outs).all()
        carried = stream.carried()
        assert all(np.isfinite(v).all() for v in jax.tree.leaves(carried))
        largest.append(max(np.abs(t).max() for t in carried.traces))
    assert max(largest) < 3 * min(largest)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(stream.gradients()))
    stream.sync()
    stream.reset_gradients()
    xs = spike_trains(0.2, seed=9, length=last).astype(np.float32)
    assert 0.01 < hidden_activity(build(STACKS["lif, hard reset, a time constant for each unit"]), xs) < 0.7
    outs, expected = dense_streaming(learner)(xs, errors_like(xs))
    np.testing.assert_allclose(streamed(stream, xs, errors_like(xs)), outs, rtol=1e-4, atol=1e-4)
    assert_equal_gradients(stream.gradients(), expected, 1e-4)


def test_a_stream_refuses_what_does_not_fit():
    learner = compiled(build(STACKS["lif"]))
    stream = learner.stream(window=WINDOW)
    with pytest.raises(ValueError, match="learn must follow the step"):
        stream.learn(np.zeros((1, N_OUT)))
    with pytest.raises(ValueError, match=r"the input must have the shapes.*\(1, 20\).*got.*\(1, 19\)"):
        stream.step(np.zeros((1, N_IN - 1)))
    stream.step(np.zeros(N_IN))
    with pytest.raises(ValueError, match="error must be as the step's result"):
        stream.learn(np.zeros((1, N_OUT + 1)))
    with pytest.raises(ValueError, match="y_target belongs to rules"):
        stream.learn(np.zeros((1, N_OUT)), y_target=np.zeros(1, int))
    with pytest.raises(ValueError, match="batch must be the one compiled for, got batch=2 for 1"):
        learner.stream(batch=2)
    with pytest.raises(ValueError, match="window must be a positive number"):
        learner.stream(window=0)
    with pytest.raises(ValueError, match="path must be one of auto, dense, event"):
        learner.stream(path="fast")
    with pytest.raises(ValueError, match="labels go with loss='cross_entropy'"):
        stream.run(np.zeros((3, 1, N_IN)), loss="cross_entropy")
    with pytest.raises(ValueError, match="loss must be"):
        stream.run(np.zeros((3, 1, N_IN)), loss="hinge")
    with pytest.raises(ValueError, match="where must be one bool"):
        stream.reset([True, False])
    with pytest.raises(ValueError, match="params must have the keys"):
        stream.update({("nowhere",): np.zeros(3)})
    with pytest.raises(ValueError, match="stream must run under a rule with traces"):
        compiled(build(STACKS["lif"]), snntrace.BPTT).stream()


def test_a_model_without_a_batch_axis_streams():
    with double_precision():
        net, xs = build(STACKS["lif"]), spike_trains(0.2)
        learner = snntrace.compile(net, snntrace.D_RTRL, jnp.zeros(N_IN))
        stream, errors = learner.stream(window=WINDOW, path="event"), errors_like(xs)[:, 0]
        outs, expected = dense_streaming(learner)(xs[:, 0], errors)
        np.testing.assert_allclose(streamed(stream, xs[:, 0], errors), outs, rtol=1e-9, atol=1e-9)
        assert_equal_gradients(stream.gradients(), expected)
        again = learner.stream(window=WINDOW)
        again.reset()
        np.testing.assert_allclose(again.run(xs[:, 0]).outs, outs, rtol=1e-9, atol=1e-9)
