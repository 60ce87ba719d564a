"""Episodes that end at different steps, gradients at the input, and trained initial states."""

import brainstate
import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from nets import double_precision, draw_weights

import snntrace
from snntrace.neurons import ALIF, LI, LIF, FeedForward, Recurrent
from snntrace.nn import GRUCell, Linear

T, B = 12, 3


def spiking(rule=snntrace.D_RTRL, neuron=ALIF, batch=B, **options):
    brainstate.random.seed(0)
    model = brainstate.nn.Sequential(Recurrent(5, neuron(6)), FeedForward(6, LI(3)), Linear(3, 2))
    draw_weights(model, 1.5)
    return snntrace.compile(model, rule, jnp.zeros((batch, 5)), batch_size=batch, **options)


XS = jax.random.bernoulli(jax.random.key(0), 0.5, (T, B, 5)).astype(jnp.float32)
FRESH = np.zeros((T, B), bool)
FRESH[4, 0] = FRESH[9, 0] = FRESH[7, 2] = FRESH[0, 1] = True
WEIGHTS = jax.random.normal(jax.random.key(2), (T, B, 2))


def loss_of(outs, weights):
    return (jnp.tanh(outs) * weights).sum()


def episodes(sample):
    cuts = [0, *np.flatnonzero(FRESH[:, sample]), T]
    return [(a, b) for a, b in zip(cuts[:-1], cuts[1:], strict=True) if b > a]


def apart(rule, neuron):
    """Run every episode of every sample as a sequence of its own."""
    learner = spiking(rule, neuron, batch=1)
    gradient = learner.value_and_grad(lambda outs, weights: (loss_of(outs, weights), outs), has_aux=True)
    outs, total = np.zeros((T, B, 2)), None
    for sample in range(B):
        for a, b in episodes(sample):
            picked = slice(sample, sample + 1)
            (_, out), grads = gradient(XS[a:b, picked], WEIGHTS[a:b, picked])
            outs[a:b, picked] = out
            total = grads if total is None else jax.tree.map(jnp.add, total, grads)
    assert np.mean(np.abs(outs) > 1e-3) > 0.02
    return outs, total


def assert_equal(found, expected, tolerance=2e-5):
    for path, value in expected.items():
        for a, b in zip(jax.tree.leaves(found[path]), jax.tree.leaves(value), strict=True):
            scale = max(float(jnp.abs(b).max()), 1e-6)
            np.testing.assert_allclose(np.asarray(a) / scale, np.asarray(b) / scale, atol=tolerance)


@pytest.mark.parametrize(
    ("rule", "neuron", "options"),
    [
        (snntrace.D_RTRL, LIF, [{}, {"window": 5}]),
        (snntrace.OSTLRecurrent, ALIF, [{"window": 5}]),
        (snntrace.BPTT, ALIF, [{}]),
    ],
    ids=["D_RTRL", "OSTLRecurrent", "BPTT"],
)
def test_episodes_that_end_at_different_steps_give_what_each_gives_apart(rule, neuron, options):
    outs, total = apart(rule, neuron)
    assert all(float(jnp.abs(g).max()) > 1e-4 for g in jax.tree.leaves(total))
    for option in options:
        learner = spiking(rule, neuron, **option)
        got = learner.value_and_grad(lambda o, w: (loss_of(o, w), o), has_aux=True)(XS, WEIGHTS, resets=FRESH)
        np.testing.assert_allclose(got[0][1], outs, atol=1e-5)
        assert_equal(got[1], total)


def test_a_reset_of_some_samples_between_steps_is_a_reset_inside_a_sequence():
    outs, total = apart(snntrace.D_RTRL, ALIF)
    learner = spiking(snntrace.D_RTRL, ALIF)
    weights = learner.param_states

    def step(x, w):
        out = learner.update(x)
        return loss_of(out, w), out

    summed = None
    for t in range(T):
        learner.reset_state(where=FRESH[t])
        gradient = brainstate.transform.grad(step, weights, has_aux=True, return_value=True)
        grads, _, out = gradient(XS[t], WEIGHTS[t])
        np.testing.assert_allclose(out, outs[t], atol=1e-5)
        summed = grads if summed is None else jax.tree.map(jnp.add, summed, grads)
    assert_equal(summed, total)
    streamed = learner.carried()
    learner.reset_state()
    learner.unroll(XS[:5], resets=FRESH[:5])
    learner.unroll(XS[5:], resets=FRESH[5:])
    for a, b in zip(jax.tree.leaves(learner.carried()), jax.tree.leaves(streamed), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_a_reset_of_some_leaves_the_others_alone():
    learner = spiking()
    learner.unroll(XS)
    before = learner.carried()
    learner.reset_state(where=np.array([False, True, False]))
    after = learner.carried()
    changed = [
        np.abs(np.asarray(a) - np.asarray(b)) for a, b in zip(before.hidden, after.hidden, strict=True)
    ]
    assert max(c[1].max() for c in changed) > 0
    assert max(c[[0, 2]].max() for c in changed) == 0
    for old, new in zip(before.traces, after.traces, strict=True):
        assert np.abs(new[:, 1]).max() == 0
        np.testing.assert_array_equal(old[:, [0, 2]], new[:, [0, 2]])
        assert np.abs(old[:, 1]).max() > 0


@pytest.mark.parametrize("mask", [np.zeros((T, 2), bool), np.zeros((T, B)), np.zeros(B, bool)])
def test_resets_of_another_shape_or_type_are_refused(mask):
    learner = spiking()
    with pytest.raises(ValueError, match=r"resets must be an array of bool of shape \(12, 3\)"):
        learner.unroll(XS, resets=mask)
    with pytest.raises(ValueError, match=r"where must be an array of bool of shape \(3,\)"):
        learner.reset_state(where=np.zeros(4, bool))


# Inputs --------------------------------------------------------------------------------------------


class Smooth(brainstate.nn.Module):
    """A layer without recurrent weights, where the trace is exact."""

    def __init__(self, recurrent=False, initial=False):
        super().__init__()
        rng, dtype = np.random.default_rng(3), brainstate.environ.dftype()
        self.w = brainstate.ParamState(jnp.asarray(rng.normal(0, 0.7, (5, 6)), dtype))
        self.u = brainstate.ParamState(jnp.asarray(rng.normal(0, 0.7, (6, 6)), dtype)) if recurrent else None
        self.tau = brainstate.ParamState(jnp.asarray(rng.uniform(0.5, 0.9, 6), dtype))
        self.out = brainstate.ParamState(jnp.asarray(rng.normal(0, 0.7, (6, 2)), dtype))
        if initial:
            self.h0 = brainstate.ParamState(jnp.asarray(rng.normal(0, 0.7, 6), dtype))

    def init_state(self, batch_size=None, **kwargs):
        dtype = brainstate.environ.dftype()
        self.h = brainstate.HiddenState(jnp.zeros((batch_size, 6), dtype))
        self.a = brainstate.HiddenState(jnp.zeros((batch_size, 6), dtype))

    def update(self, x):
        back = 0.0 if self.u is None else self.h.value @ self.u.value
        h = jnp.tanh(self.tau.value * self.h.value + x @ self.w.value + back - self.a.value)
        self.a.value = 0.7 * self.a.value + 0.2 * self.h.value
        self.h.value = h
        return h @ self.out.value + 0.1 * x[:, :2]


def test_the_gradient_at_the_input_is_the_exact_one_where_the_rule_is_exact():
    with double_precision():
        rng = np.random.default_rng(0)
        xs, weights = rng.normal(0, 1, (T, B, 5)), jnp.asarray(rng.normal(0, 1, (T, B, 2)))
        for options in ({}, {"window": 5}):
            learner = snntrace.compile(Smooth(), snntrace.D_RTRL, jnp.asarray(xs[0]), batch_size=B, **options)
            f = learner.value_and_grad(loss_of, inputs=True)
            loss, grads, along = f(jnp.asarray(xs), weights)
            value = learner.value_and_grad(loss_of)

            def loss_at(x, value=value):
                return value(jnp.asarray(x), weights)[0]

            expected = oracles.central_difference(loss_at, xs.copy())
            assert np.abs(expected).max() > 0.01
            np.testing.assert_allclose(along, expected, atol=1e-7)
            assert float(loss) == pytest.approx(float(value(jnp.asarray(xs), weights)[0]))
            assert_equal(grads, value(jnp.asarray(xs), weights)[1], 1e-12)


def test_where_the_rule_leaves_something_out_so_does_its_gradient_at_the_input():
    learner = snntrace.compile(Smooth(recurrent=True), snntrace.D_RTRL, XS[0], batch_size=B)
    exact = snntrace.compile(learner.model, snntrace.BPTT, XS[0], batch_size=B)
    found, full = (ln.value_and_grad(loss_of, inputs=True)(XS, WEIGHTS)[2] for ln in (learner, exact))
    np.testing.assert_allclose(found[-1], full[-1], atol=1e-6)  # nothing is behind the last step
    assert oracles.relative_error(found[0], full[0]) > 0.05
    small = snntrace.compile(learner.model, snntrace.D_RTRL, XS[0], batch_size=B, window=4)
    in_windows = small.value_and_grad(loss_of, inputs=True)(XS, WEIGHTS)[2]
    np.testing.assert_allclose(in_windows, found, atol=1e-6)


def test_a_step_s_gradient_at_its_input_is_the_step_s_own():
    learner = snntrace.compile(Smooth(recurrent=True), snntrace.D_RTRL, XS[0], batch_size=B)
    learner.unroll(XS)
    carried = learner.carried()

    def loss(x):
        learner.write(carried)
        return (learner.update(x) ** 2).sum()

    def plain(x):
        learner.write(carried)
        return (learner.model.update(x) ** 2).sum()

    found, expected = (brainstate.transform.grad(f, argnums=0)(XS[0]) for f in (loss, plain))
    assert float(jnp.abs(expected).max()) > 0.01
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_layer_in_front_of_the_learner_is_trained_through_unroll():
    learner = snntrace.compile(Smooth(), snntrace.D_RTRL, XS[0], batch_size=B)
    front = brainstate.ParamState(jnp.eye(5) + 0.1)

    def loss():
        learner.reset_state()
        return loss_of(learner.unroll(XS @ front.value, carry=False), WEIGHTS)

    def plain():
        learner.reset_state()
        return loss_of(brainstate.transform.for_loop(learner.model.update, XS @ front.value), WEIGHTS)

    found, expected = (brainstate.transform.grad(f, {"front": front})()["front"] for f in (loss, plain))
    assert float(jnp.abs(expected).max()) > 0.01
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_projected_rules_have_their_signal_at_the_input():
    B0 = jnp.asarray(np.random.default_rng(4).normal(0, 1, (2, 6)), jnp.float32)
    learner = snntrace.compile(Smooth(), snntrace.OSTTP, XS[0], batch_size=B, B_list=[B0])
    targets = jax.random.normal(jax.random.key(1), (T, B, 2))
    f = learner.value_and_grad(lambda outs: 0.0 * outs.sum(), inputs=True)
    _, grads, along = f(XS, y_target=targets)

    # With the signal y* B at every state and no loss, the input's gradient is that of sum (y* B) . (h + a).
    def surrogate(xs):
        learner.reset_state()

        def step(x, y):
            learner.model.update(x)
            return ((y @ B0) * (learner.model.h.value + learner.model.a.value)).sum()

        return brainstate.transform.for_loop(step, xs, targets).sum()

    expected = brainstate.transform.grad(surrogate, argnums=0)(XS)
    assert float(jnp.abs(grads[("w",)]).max()) > 0
    np.testing.assert_allclose(along, expected, rtol=1e-4, atol=1e-4)


def test_several_arguments_have_a_gradient_each_and_whole_numbers_none():
    class Two(brainstate.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = Smooth()

        def update(self, x, kind, gain):
            return gain * self.layer(jnp.where(kind[:, None] > 0, x, 2 * x))

    kinds, gains = jnp.zeros((T, B), int), jnp.ones((T, 2))
    learner = snntrace.compile(Two(), snntrace.D_RTRL, XS[0], kinds[0], gains[0], batch_size=B)
    _, _, along = learner.value_and_grad(loss_of, inputs=True)((XS, kinds, gains), WEIGHTS)
    assert along[1] is None
    assert along[0].shape == XS.shape
    assert float(jnp.abs(along[2]).max()) > 0


def test_event_lists_have_no_gradient():
    learner = spiking()
    spikes = snntrace.Spikes.from_dense(np.asarray(XS))
    with pytest.raises(TypeError, match="arrays"):
        learner.value_and_grad(loss_of, inputs=True)(spikes, WEIGHTS)
    events = spiking(path="event")
    with pytest.raises(TypeError, match="events"):
        brainstate.transform.grad(lambda xs: events.unroll(xs).sum(), argnums=0)(XS)


# Initial states ------------------------------------------------------------------------------------


def test_a_trained_initial_state_has_the_exact_gradient_where_the_rule_is_exact():
    with double_precision():
        rng = np.random.default_rng(0)
        xs = jnp.asarray(rng.normal(0, 1, (T, B, 5)))
        weights = jnp.asarray(rng.normal(0, 1, (T, B, 2)))
        for options in ({}, {"window": 5}):
            model = Smooth(initial=True)
            learner = snntrace.compile(
                model, snntrace.D_RTRL, xs[0], batch_size=B, initial={"h": "h0"}, **options
            )
            f = learner.value_and_grad(loss_of)
            _, grads = f(xs, weights)
            start = np.array(model.h0.value)

            def value(h0, model=model, f=f):
                model.h0.value = jnp.asarray(h0)
                return f(xs, weights)[0]

            expected = oracles.central_difference(value, start.copy())
            assert np.abs(expected).max() > 0.01
            np.testing.assert_allclose(grads[("h0",)], expected, atol=1e-7)
            entry = learner.report.as_dict()["parameters"]["h0"]
            assert entry["route"] == "temporal"
            assert "begins with" in entry["reason"]


def test_with_recurrent_weights_a_trained_initial_state_learns_approximately_and_the_report_says_so():
    model = Smooth(recurrent=True, initial=True)
    found, exact = (
        snntrace.compile(model, rule, XS[0], batch_size=B, initial={"h": "h0"})
        for rule in (snntrace.D_RTRL, snntrace.BPTT)
    )
    got, full = (ln.value_and_grad(loss_of)(XS, WEIGHTS)[1][("h0",)] for ln in (found, exact))
    assert 0.02 < oracles.relative_error(got, full) < 2
    assert found.report.as_dict()["parameters"]["h0"]["left_out"]


def test_a_learner_begins_and_begins_anew_with_the_trained_value():
    model = Smooth(initial=True)
    learner = snntrace.compile(model, snntrace.D_RTRL, XS[0], batch_size=B, initial={"h": "h0"})
    np.testing.assert_array_equal(model.h.value, jnp.broadcast_to(model.h0.value, (B, 6)))
    model.h0.value = model.h0.value + 1
    learner.unroll(XS)
    learner.reset_state(where=np.array([True, False, False]))
    np.testing.assert_array_equal(model.h.value[0], model.h0.value)
    assert jnp.abs(model.h.value[1] - model.h0.value).max() > 0
    learner.reset_state()
    np.testing.assert_array_equal(model.h.value, jnp.broadcast_to(model.h0.value, (B, 6)))


@pytest.mark.parametrize("options", [{}, {"window": 5}], ids=["sequence", "windows"])
def test_a_trained_value_hears_of_every_episode_that_begins_with_it(options):
    with double_precision():
        rng = np.random.default_rng(0)
        xs, weights = (jnp.asarray(rng.normal(0, 1, (T, B, n))) for n in (5, 2))
        model = Smooth(initial=True)
        learner = snntrace.compile(
            model, snntrace.D_RTRL, xs[0], batch_size=B, initial={"h": "h0"}, **options
        )
        f = learner.value_and_grad(loss_of)
        grads = f(xs, weights, resets=FRESH)[1]
        start = np.array(model.h0.value)

        def value(h0):
            model.h0.value = jnp.asarray(h0)
            return f(xs, weights, resets=FRESH)[0]

        expected = oracles.central_difference(value, start.copy())
        model.h0.value = jnp.asarray(start)
        np.testing.assert_allclose(grads[("h0",)], expected, atol=1e-7)
        assert np.abs(expected - f(xs, weights)[1][("h0",)]).max() > 0.01
        assert learner.against_bptt(loss_of)(xs, weights, resets=FRESH)["h0"].error < 1e-9


@pytest.mark.parametrize("initial", [{"h": "no"}, {"no": "h0"}, {"h": "w"}])
def test_an_initial_value_that_is_none_or_does_not_fit_is_refused(initial):
    with pytest.raises(ValueError, match="initial"):
        snntrace.compile(Smooth(initial=True), snntrace.D_RTRL, XS[0], batch_size=B, initial=initial)


def test_a_measured_agreement_is_one_where_the_rule_is_exact_and_less_elsewhere():
    learner = spiking()
    measured = learner.against_bptt(loss_of)(XS, WEIGHTS)
    assert measured["layers.2.weight"].error < 1e-5
    assert measured["layers.0.w_in"].error > 1e-3
    assert -1 <= measured["layers.0.w_in"].cosine <= 1
    gated = snntrace.compile(GRUCell(5, 6), snntrace.D_RTRL, XS[0], batch_size=B)
    assert gated.against_bptt(lambda outs: (outs**2).sum())(XS)["Wr.weight"].cosine < 0.999
