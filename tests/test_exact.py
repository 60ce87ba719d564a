"""Units that act on each other without a weight, under ``nondiagonal='exact'``."""

import brainstate
import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from nets import bptt, double_precision, loss, spike, streamed
from steps import LONG, N_IN, B, N, Step, T, assert_exact, compiled, draw, found_by, leaky, leaves

import snntrace
from snntrace.neurons import ALIF, Recurrent
from snntrace.nn import Linear

W = draw(N_IN, N, scale=0.7)
M = draw(N, N, scale=0.4)


@pytest.fixture(autouse=True)
def float64():
    with double_precision():
        yield


def layer_norm(y):
    return (y - y.mean(-1, keepdims=True)) / jnp.sqrt(y.var(-1, keepdims=True) + 0.3)


def rms_norm(y):
    return y / jnp.sqrt((y**2).mean(-1, keepdims=True) + 0.3)


def reset_together(m, x):
    """Two states a unit: a leaky voltage that a roll couples, and an adaptation of the new voltage."""
    z = spike(m.v.value - 0.3)
    m.a.value = 0.8 * m.a.value + 0.3 * z + 0.1 * jnp.roll(m.v.value, 1, -1)
    m.v.value = 0.9 * m.v.value + layer_norm(x @ m.w.value + m.b.value) - 0.4 * m.a.value
    return jnp.tanh(m.v.value) + z


MODELS = {
    "layer_norm": (lambda m, x: leaky(m, m.g.value * layer_norm(x @ m.w.value) + m.b.value), "w g b", "v"),
    "rms_norm": (lambda m, x: leaky(m, rms_norm(x @ m.w.value + m.b.value)), "w b", "v"),
    "softmax": (lambda m, x: leaky(m, 3.0 * jax.nn.softmax(x @ m.w.value)), "w", "v"),
    "norm_of_the_state": (lambda m, x: leaky(m, x @ m.w.value + 0.5 * layer_norm(m.v.value)), "w", "v"),
    "roll": (lambda m, x: leaky(m, x @ m.w.value + 0.4 * jnp.roll(m.v.value, 1, -1)), "w", "v"),
    "fixed_matrix": (lambda m, x: leaky(m, x @ m.w.value + jnp.tanh(m.v.value) @ M), "w", "v"),
    "fixed_matrix_behind": (lambda m, x: leaky(m, jnp.tanh(x @ m.w.value) @ M), "w", "v"),
    "mean_over_the_batch": (lambda m, x: leaky(m, x @ m.w.value - 0.3 * m.v.value.mean(0)), "w", "v"),
    "weight_first": (lambda m, x: leaky(m, layer_norm((m.w.value.T @ x.T).T)), "w", "v"),
    "scalar_gain": (lambda m, x: leaky(m, jnp.cumsum(m.s.value * (x @ m.w.value), -1)), "w s", "v"),
    "two_states": (reset_together, "w b", "v a"),
}  # fmt: skip
PARAMS = {"w": W, "g": draw(N, seed=2), "b": draw(N), "s": jnp.asarray(0.7)}


def model_of(name):
    update, params, states = MODELS[name]
    return Step(update, {k: PARAMS[k] for k in params.split()}, **dict.fromkeys(states.split(), (N,)))


FAST = {"layer_norm", "two_states"}


@pytest.mark.parametrize(
    "name", [n if n in FAST else pytest.param(n, marks=pytest.mark.slow) for n in MODELS]
)
def test_the_gradient_is_backpropagation_through_time_in_every_order(name):
    model = model_of(name)
    xs, ys = draw(T, B, N_IN), draw(T, B, N, seed=9)
    exact = leaves(bptt(model, B, xs, ys))
    for order, options in (("streaming", {}), ("sequence", {}), ("sequence", {"window": 3})):
        found = found_by(model, xs, ys, order=order, nondiagonal="exact", **options)
        oracles.assert_close(found, exact, 1e-9)


@pytest.mark.slow
def test_an_exact_group_is_a_layer_like_any_other():
    def update(m, x):
        return m.out(leaky(m, layer_norm(m.below(x) @ m.w.value)))

    model = Step(update, {"w": draw(6, N)}, v=(N,))
    model.below = Recurrent(N_IN, ALIF(6), w_init=2 * draw(N_IN, 6), w_rec_init=draw(6, 6))
    model.out = Linear(N, 2, w_init=draw(N, 2))

    def init_state(*args, **kwargs):
        model.v = brainstate.HiddenState(jnp.zeros((B, N)))

    model.init_state = init_state
    xs, ys = jnp.abs(draw(LONG, B, N_IN)), draw(LONG, B, 2, seed=9)
    streaming = found_by(model, xs, ys, order="streaming", nondiagonal="exact")
    for window in (20, None):
        found = found_by(model, xs, ys, nondiagonal="exact", window=window)
        oracles.assert_close(found, streaming, 1e-9)
    learner = compiled(model, x=xs[0], nondiagonal="exact")
    exact = leaves(bptt(model, B, xs, ys))
    for key, value in exact.items():
        error = oracles.relative_error(streaming[key], value)
        assert error < 1e-9 if "below" not in key else error > 1e-3
    routes = learner.report.as_dict()["parameters"]
    assert {routes[n]["route"] for n in ("w", "below.w_in", "below.w_rec")} == {"temporal"}


def test_recurrent_weights_stay_outside_of_the_trace_as_everywhere():
    def update(m, x):
        z = jnp.tanh(m.v.value)
        return leaky(m, x @ m.w.value + z @ m.rec.value + 0.3 * jnp.roll(m.v.value, 1, -1))

    model = Step(update, {"w": W, "rec": M}, v=(N,))
    xs, ys = draw(T, B, N_IN), draw(T, B, N, seed=9)
    held = Step(
        lambda m, x: leaky(
            m,
            x @ m.w.value
            + jax.lax.stop_gradient(jnp.tanh(m.v.value)) @ m.rec.value
            + 0.3 * jnp.roll(m.v.value, 1, -1),
        ),
        {"w": W, "rec": M},
        v=(N,),
    )
    expected = leaves(bptt(held, B, xs, ys))
    for order in ("streaming", "sequence"):
        found = found_by(model, xs, ys, order=order, nondiagonal="exact")
        oracles.assert_close(found, expected, 1e-9)
    exact = leaves(bptt(model, B, xs, ys))
    assert all(oracles.relative_error(expected[k], exact[k]) > 1e-2 for k in exact)


def test_a_weight_that_acts_beside_the_states_and_through_another_weight_counts_once():
    def update(m, x):
        a, b = x @ m.w3.value, x @ m.w1.value
        gate = jax.lax.stop_gradient(jnp.tanh(a)) * jnp.tanh(b)
        m.h.value = 0.9 * m.h.value + a + gate @ m.w2.value
        return m.h.value + b

    model = Step(update, {"w1": W, "w2": M, "w3": draw(N_IN, N, seed=3)}, h=(N,))
    xs, ys = draw(T, B, N_IN), draw(T, B, N, seed=9)
    exact = leaves(bptt(model, B, xs, ys))
    for order in ("streaming", "sequence"):
        found = found_by(model, xs, ys, order=order, nondiagonal="exact")
        oracles.assert_close(found, exact, 1e-9)


def test_a_weight_that_acts_directly_and_through_another_one_couples_as_the_true_jacobian_says():
    def after(v, x, p):
        a = jnp.tanh(v) @ p["w1"]
        return 0.9 * v + a + jnp.tanh(a) @ p["w2"] + x @ p["w"]

    def update(m, x):
        m.v.value = after(m.v.value, x, {name: getattr(m, name).value for name in params})
        return m.v.value

    params = {"w": W, "w1": M + 0.3 * jnp.eye(N), "w2": draw(N, N, scale=0.4, seed=4)}
    params = {name: jnp.asarray(value, float) for name, value in params.items()}
    xs, ys = draw(T, N_IN), draw(T, N, seed=9)
    v, traces = jnp.zeros(N), {name: 0.0 for name in params}
    expected = dict.fromkeys(params, 0.0)
    for x, y in zip(xs, ys, strict=True):
        own = jnp.diagonal(jax.jacobian(after)(v, x, params))
        inside = jax.jacobian(after, argnums=2)(v, x, params)
        traces = {k: own[:, None, None] * traces[k] + inside[k] for k in params}
        v = after(v, x, params)
        expected = {k: expected[k] + jnp.tensordot(v - y, traces[k], 1) for k in params}
    model = Step(update, params, batch=(), v=(N,))
    for order in ("sequence", "streaming"):
        found = found_by(model, xs, ys, snntrace.OSTLRecurrent, order, nondiagonal="exact")
        found = {name.split("'")[1]: value for name, value in found.items()}
        oracles.assert_close(found, expected, 1e-9)
    diagonal = found_by(model, xs, ys, nondiagonal="exact")
    assert min(oracles.relative_error(v, expected[k.split("'")[1]]) for k, v in diagonal.items()) > 1e-2


def test_halves_of_a_sequence_continue_each_other():
    model = model_of("two_states")
    xs, ys = draw(2 * T, B, N_IN), draw(2 * T, B, N, seed=9)
    exact = leaves(bptt(model, B, xs, ys))
    learner = compiled(model, nondiagonal="exact", window=4)
    run = learner.value_and_grad(loss, carry=True)
    first = leaves(run(xs[:T], ys[:T])[1])
    second = leaves(streamed(learner, model, xs[T:], ys[T:])[0])
    oracles.assert_close({k: first[k] + second[k] for k in first}, exact, 1e-9)


def test_a_projected_signal_is_taken_at_the_states():
    def update(m, x):
        return leaky(m, layer_norm(x @ m.w.value))

    model = Step(update, {"w": W}, v=(N,))
    rule = snntrace.Rule(recursion="diagonal", signal="target")
    matrix = draw(2, N)
    xs, targets = draw(T, B, N_IN), draw(T, B, 2, seed=3)
    learner = compiled(model, rule, nondiagonal="exact", B_list=[matrix])
    found = leaves(learner.value_and_grad(lambda outs: 0.0 * outs.sum())(xs, y_target=targets)[1])
    pulled = targets @ matrix

    def towards(m):
        brainstate.nn.init_all_states(m)
        weights = m.states(brainstate.ParamState)

        def total():
            def step(x, p):
                m(x)
                return jnp.sum(m.v.value * p)

            return brainstate.transform.for_loop(step, xs, pulled).sum()

        return leaves(brainstate.transform.grad(total, weights)())

    oracles.assert_close(found, towards(model), 1e-9)


def test_the_report_shows_the_size_of_an_exact_trace():
    learner = compiled(model_of("two_states"), nondiagonal="exact")
    traces = {t["parameters"][0]: t["shape"] for t in learner.report.as_dict()["traces"]}
    assert traces["w"] == (2, B, N, N_IN, N)
    assert np.prod(traces["b"]) == 2 * B * N * N
    assert "of every unit to every weight, exact" in str(learner.report)
    assert "units act on each other" in str(learner.report)


def test_position_diagonal_groups_do_not_change():
    model = Step(lambda m, x: leaky(m, x @ m.w.value), {"w": W}, v=(N,))
    learner = compiled(model, nondiagonal="exact")
    assert learner.report.as_dict()["traces"][0]["shape"] == (1, B, N_IN, N)
    assert_exact(model)


@pytest.mark.parametrize(
    ("model", "rule", "options", "error", "says"),
    [
        ("roll", snntrace.OSTLRecurrent, {}, snntrace.CompileError, "must go with recursion='diagonal'"),
        ("roll", snntrace.BPTT, {}, TypeError, "nondiagonal"),
        ("roll", snntrace.D_RTRL, {"nondiagonal": "full"}, ValueError, "nondiagonal='full'"),
        ("roll", snntrace.D_RTRL, {"path": "event"}, snntrace.CompileError, "units act on each other"),
    ],
)
def test_what_an_exact_jacobian_does_not_go_with_is_refused(model, rule, options, error, says):
    with pytest.raises(error, match=says):
        compiled(model_of(model), rule, **({"nondiagonal": "exact"} | options))


def test_what_does_not_fit_is_refused_with_its_size():
    wide = Step(lambda m, x: leaky(m, layer_norm(x @ m.w.value)), {"w": np.ones((400, 300))}, v=(300,))
    wide.batch = (64,)
    with pytest.raises(snntrace.CompileError, match=r"fit into 2 GiB, got 1\d.* GiB for the states v"):
        snntrace.compile(wide, snntrace.D_RTRL, jnp.ones((64, 400)), batch_size=64, nondiagonal="exact")
