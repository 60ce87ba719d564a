"""Traces in two factors: against plain numpy, in every order, beside D-RTRL, with everything around them."""

import copy

import brainstate
import jax
import jax.numpy as jnp
import numpy as np
import operations
import oracles
import pytest
from nets import Case, double_precision, loss, streamed
from operations import CELLS, NETS, B

import snntrace
from snntrace import Rule
from snntrace.events import Spikes
from snntrace.neurons import ALIF, LI, FeedForward, Recurrent


@pytest.fixture
def float64():
    with double_precision():
        yield


CASES = {
    "an ALIF layer": ({"kind": "alif", "learn": True}, 4, (0.6, 0.6)),
    "three states, decays for input and unit": ({"kind": "three"}, (0.8, 3), (0.8, 0.5)),
    "a LIF layer": ({"kind": "lif"}, 0.9, (0.9, 0.9)),
    "two layers": ({"kind": "alif", "sizes": (6, 8, 7)}, (0.9, 0.0), (0.9, 0.0)),
}


def some_slow(cases, quick):
    """Mark all but the first cases as slow."""
    marks = [()] * quick + [pytest.mark.slow] * (len(cases) - quick)
    return [
        pytest.param(*values, id=name.replace(" ", "_").replace(",", ""), marks=mark)
        for (name, values), mark in zip(cases.items(), marks, strict=True)
    ]


@pytest.mark.parametrize(("case", "given", "decays"), some_slow(CASES, 2))
def test_every_order_gives_the_numpy_factors_in_double_precision(float64, case, given, decays):
    case = Case(**case, length=13)
    outs, expected = case.oracle(decays=decays)
    oracles.assert_alive(case.layers)
    learner = case.compile(snntrace.pp_prop, decay_or_rank=given)
    windowed = case.compile(snntrace.pp_prop, decay_or_rank=given, window=5)
    for found_outs, found in (case.streaming(learner), case.sequence(learner), case.sequence(windowed)):
        assert oracles.relative_error(found_outs, outs) < 1e-12
        oracles.assert_close(found, expected, 1e-10)


def test_the_plain_reference_gives_the_numpy_factors_in_single_precision():
    case = Case("alif")
    _, expected = case.oracle(decays=(0.9, 0.9))
    for options in ({"fast_solve": False}, {"window": 4}):
        _, found = case.sequence(case.compile(snntrace.pp_prop, decay_or_rank=0.9, **options))
        oracles.assert_close(found, expected, 1e-5)


def test_weights_differ_from_d_rtrl_and_what_has_no_presynaptic_side_does_not(float64):
    case = Case("alif", learn=True)
    _, exact = case.oracle()
    _, found = case.sequence(case.compile(snntrace.pp_prop, decay_or_rank=0.9))
    for name in ("0.w_in", "0.w_rec"):
        assert oracles.relative_error(found[name], exact[name]) > 0.05
    same = set(exact) - {"0.w_in", "0.w_rec"}
    oracles.assert_close({k: found[k] for k in same}, {k: exact[k] for k in same}, 1e-10)


PROJECTED = {
    "coupled target": ("coupled", "target", {"signal": "output", "reduction": "sum"}),
    "diagonal random": ("diagonal", "random", {"signal": "state"}),
    "coupled backprop": ("coupled", "backprop", {}),
}


@pytest.mark.parametrize(("recursion", "signal", "options"), some_slow(PROJECTED, 1))
def test_factors_go_with_the_other_choices_of_a_rule(float64, recursion, signal, options):
    case, given = Case("alif"), {}
    signals = None
    if signal != "backprop":
        matrix = np.random.default_rng(5).normal(size=(3, 8))
        signals, options = [(options["signal"], signal, matrix)], {**options, "B_list": [jnp.asarray(matrix)]}
    if signal == "target":
        given = {"y_target": case.targets}
    _, expected = case.oracle(recursion, signals, decays=(0.8, 0.8))
    rule = Rule(recursion=recursion, signal=signal, factorisation="io", decay_or_rank=9)
    learner = case.compile(rule, window=5, **options)
    oracles.assert_close(case.sequence(learner, **given)[1], expected, 1e-10)
    streaming = case.streaming(learner, targets=signal == "target")[1]
    oracles.assert_close(streaming, expected, 1e-10)


# Beside D-RTRL ---------------------------------------------------------------------------------


class Leaky(brainstate.nn.Module):
    """v' = leak v + x W, read out as v: a constant Jacobian."""

    def __init__(self, leak):
        super().__init__()
        self.leak = leak
        self.w = brainstate.ParamState(jnp.asarray(operations.draw(4, 3)))

    def init_state(self, batch_size=None, **kwargs):
        self.v = brainstate.HiddenState(jnp.zeros((batch_size, 3)))

    def update(self, x):
        self.v.value = self.leak * self.v.value + x @ self.w.value
        return self.v.value


def gradient_of_last_step(rule, n_steps, leak=0.7, **options):
    xs = jnp.asarray(operations.draw(n_steps, 2, 4, seed=3))
    model = Leaky(leak)
    learner = snntrace.compile(model, rule, xs[0], batch_size=2, **options)

    def last(outs):
        return (outs[-1] * jnp.arange(6.0).reshape(2, 3)).sum()

    (found,) = learner.value_and_grad(last)(xs)[1].values()
    return np.asarray(found)


@pytest.mark.parametrize("n_steps", [1, 2, 9])
def test_linear_units_whose_leak_is_the_inputs_decay_have_the_trace_of_d_rtrl_up_to_a_factor(
    float64, n_steps
):
    leak = 0.7
    exact = gradient_of_last_step(snntrace.D_RTRL, n_steps)
    assert np.abs(exact).max() > 0.1
    found = gradient_of_last_step(snntrace.pp_prop, n_steps, decay_or_rank=(leak, 0.0))
    assert oracles.relative_error(found, exact) < 1e-12
    found = gradient_of_last_step(snntrace.pp_prop, n_steps, decay_or_rank=leak)
    assert oracles.relative_error(found, exact * (1 + leak**n_steps) / (1 + leak)) < 1e-12
    found = gradient_of_last_step(snntrace.pp_prop, n_steps, decay_or_rank=0.4)
    parallel = np.vdot(found, exact) ** 2 / (np.vdot(found, found) * np.vdot(exact, exact))
    assert parallel > 1 - 1e-12 if n_steps == 1 else parallel < 1 - 1e-3


# Operations ------------------------------------------------------------------------------------

LINEAR = {
    name: (name, cell)
    for name, cell in (
        ("convolution 1 d, stride, dilation", "ALIF"),
        ("product, weight first", "LIF"),
        ("grouped product", "tanh"),
        ("convolution 2 d, channels last", "LIF"),
        ("product over several axes", "ALIF"),
        ("one product a unit", "tanh"),
        ("sparse coordinates, jax", "LIF"),
    )
}


def factored_gradients(net, cell, decays):
    """Sum the factors in float64: a weight's gradient is its operation's own, at the smoothed input."""
    _ = net.scale
    p = {k: jnp.asarray(v, float) for k, v in net.params.items()}
    h = tuple(jnp.zeros((B, *net.units)) for _ in cell.states)
    pre, post = 0.0, [jnp.zeros_like(v) for v in h]
    grads = {k: np.zeros(v.shape) for k, v in p.items()}
    gain, _ = net.scale
    for t, (x, y) in enumerate(zip(jnp.asarray(net.xs), jnp.asarray(net.ys), strict=True)):
        current = net.drive(p, x, None)
        ones = [tuple(jnp.ones_like(v) * (i == q) for i, v in enumerate(h)) for q in range(len(h))]
        d = [jax.jvp(lambda h, c=current: cell.step(h, c, p), (h,), (one,))[1] for one in ones]
        df = jax.jvp(lambda c, h=h: cell.step(h, c, p), (current,), (jnp.ones_like(current),))[1]
        pre = decays[0] * pre + x
        post = [
            decays[1] * sum(d[q][s] * post[q] for q in range(len(h))) + (1 - decays[1]) * df[s]
            for s in range(len(h))
        ]
        h = cell.step(h, current, p)
        signal = jax.grad(lambda h, y=y: 0.5 * jnp.sum((net.result(p, cell.out(h, p)) - y) ** 2))(h)
        weighed = sum(a * b for a, b in zip(signal, post, strict=True)) / (1 - decays[1] ** (t + 1))
        _, vjp = jax.vjp(lambda p, x=pre: net.current(p, x, None).reshape(B, *net.units), p)
        for k, value in vjp(gain * weighed)[0].items():
            grads[k] = grads[k] + np.asarray(value)
    return grads


@pytest.mark.parametrize(("name", "cell"), some_slow(LINEAR, 2))
def test_an_operations_gradient_is_its_own_at_the_smoothed_input(float64, name, cell):
    net = NETS[name]
    expected = factored_gradients(net, CELLS[cell], (0.8, 0.6))
    options = {"rule": snntrace.pp_prop, "decay_or_rank": (0.8, 4)}
    found = operations.learnt(net, CELLS[cell], ("streaming", "window"), **options)
    for grads in found.values():
        for k, value in expected.items():
            assert np.abs(value).max() > 1e-3
            assert oracles.relative_error(grads[k], value) < 1e-10, k


def test_a_look_up_is_a_product_with_what_was_looked_up(float64):
    rng = np.random.default_rng(0)
    table, indices = operations.draw(7, 5), jnp.asarray(rng.integers(0, 7, (9, B)))

    class Embedded(brainstate.nn.Module):
        def __init__(self, take):
            super().__init__()
            self.take, self.w = take, brainstate.ParamState(jnp.asarray(table))

        def init_state(self, batch_size=None, **kwargs):
            self.v = brainstate.HiddenState(jnp.zeros((batch_size, 5)))

        def update(self, x):
            self.v.value = 0.6 * jnp.tanh(self.v.value) + self.take(x, self.w.value)
            return self.v.value

    found = []
    for take in (lambda x, w: w[x], lambda x, w: jax.nn.one_hot(x, 7) @ w):
        learner = snntrace.compile(
            Embedded(take), snntrace.pp_prop, indices[0], batch_size=B, decay_or_rank=0.7
        )
        found += learner.value_and_grad(lambda outs: (outs**2).sum())(indices)[1].values()
    assert np.abs(found[1]).max() > 0.1
    assert oracles.relative_error(found[0], found[1]) < 1e-12


# What is carried -------------------------------------------------------------------------------

XS = jax.random.bernoulli(jax.random.key(0), 0.4, (12, 3, 5)).astype(jnp.float32)


def net():
    rng = np.random.default_rng(2)
    return brainstate.nn.Sequential(
        Recurrent(5, ALIF(6), w_init=rng.normal(0.4, 1, (5, 6)), w_rec_init=rng.normal(0, 0.4, (6, 6))),
        FeedForward(6, LI(3), w_init=rng.normal(0, 1, (6, 3))),
    )


def compiled(**options):
    return snntrace.compile(net(), snntrace.pp_prop, XS[0], batch_size=3, decay_or_rank=0.8, **options)


def energy(outs):
    return (outs**2).sum()


def assert_same(found, expected, tolerance=1e-5):
    for path, value in expected.items():
        for a, b in zip(jax.tree.leaves(found[path]), jax.tree.leaves(value), strict=True):
            assert np.abs(b).max() > 1e-4, path
            assert oracles.relative_error(a, b) < tolerance, path


def test_two_halves_are_the_whole_and_a_checkpoint_goes_on_where_it_stopped():
    whole = compiled(window=4).value_and_grad(energy)(XS)[1]
    learner = compiled()
    first = learner.value_and_grad(energy, carry=True)(XS[:7])[1]
    stored = learner.state_dict()
    assert {"trace/0/pre", "trace/0/post/values", "trace/0/post/seen"} <= set(stored)
    np.testing.assert_allclose(stored["trace/0/post/seen"], 1 - 0.8**7, rtol=1e-5)
    other = compiled(window=3)
    other.load_state_dict(stored)
    twin = copy.deepcopy(learner)
    for go_on in (learner, other, twin):
        second = go_on.value_and_grad(energy, carry=True)(XS[7:])[1]
        assert_same(jax.tree.map(jnp.add, first, second), whole)
    learner.reset_state()
    assert not any(np.any(leaf) for leaf in jax.tree.leaves([t.value for t in learner.traces]))


def test_samples_begin_anew_as_if_they_stood_alone():
    again = np.zeros((12, 3), bool)
    again[4, 0] = again[8, 0] = again[8, 2] = True
    expected = None
    alone = snntrace.compile(net(), snntrace.pp_prop, XS[0, :1], batch_size=1, decay_or_rank=0.8)
    gradient = alone.value_and_grad(energy)
    for b, cuts in enumerate(([0, 4, 8, 12], [0, 12], [0, 8, 12])):
        for start, stop in zip(cuts[:-1], cuts[1:], strict=True):
            part = gradient(XS[start:stop, b : b + 1])[1]
            expected = part if expected is None else jax.tree.map(jnp.add, expected, part)
    assert_same(compiled(window=5).value_and_grad(energy)(XS, resets=again)[1], expected)
    learner = compiled()
    gradient = learner.value_and_grad(energy, carry=True)
    parts = [gradient(XS[half], resets=again[half])[1] for half in (slice(0, 6), slice(6, 12))]
    assert_same(jax.tree.map(jnp.add, *parts), expected)


def test_a_step_after_samples_were_reset_has_the_traces_of_the_others_alone():
    again = np.zeros((6, 3), bool)
    again[3, 0] = again[5, 2] = True
    expected = compiled().value_and_grad(energy)(XS[:6], resets=again)[1]
    learner = compiled()
    step = brainstate.transform.jit(
        brainstate.transform.grad(lambda x: energy(learner.update(x)), learner.param_states)
    )
    total = None
    for x, where in zip(XS[:6], again, strict=True):
        learner.reset_state(where=where)
        part = step(x)
        total = part if total is None else jax.tree.map(jnp.add, total, part)
    assert_same(total, expected)


class ReadBefore(brainstate.nn.Module):
    """Its result reads the state before it is updated."""

    def __init__(self):
        super().__init__()
        self.w = brainstate.ParamState(jnp.asarray(operations.draw(4, 3)))

    def init_state(self, batch_size=None, **kwargs):
        self.v = brainstate.HiddenState(jnp.zeros((batch_size, 3)))

    def update(self, x):
        out = jnp.tanh(self.v.value)
        self.v.value = 0.6 * jnp.tanh(self.v.value) + x @ self.w.value
        return out


def test_a_state_that_is_read_before_its_update_meets_the_factors_of_the_step_before(float64):
    model, decay = ReadBefore(), 0.8
    xs, ys = jnp.asarray(operations.draw(8, 2, 4)), jnp.asarray(operations.draw(8, 2, 3))
    v, pre, post, expected = np.zeros((2, 3)), np.zeros((2, 4)), np.zeros((2, 3)), 0.0
    for t, (x, y) in enumerate(zip(np.asarray(xs), np.asarray(ys), strict=True)):
        slope = 1 - np.tanh(v) ** 2
        if t:
            expected = expected + pre.T @ (slope * (np.tanh(v) - y) * post / (1 - decay**t))
        pre, post = decay * pre + x, decay * 0.6 * slope * post + 1 - decay
        v = 0.6 * np.tanh(v) + x @ np.asarray(model.w.value)
    for window in (None, 3):
        learner = snntrace.compile(
            model, snntrace.pp_prop, xs[0], batch_size=2, decay_or_rank=decay, window=window
        )
        for (found,) in (
            learner.value_and_grad(loss)(xs, ys)[1].values(),
            streamed(learner, model, xs, ys)[0].values(),
        ):
            assert oracles.relative_error(found, expected) < 1e-10


@pytest.mark.slow
def test_products_by_events_give_the_same_as_dense_ones():
    spikes = Spikes.from_dense(XS)
    expected = compiled(path="dense").value_and_grad(energy)(XS)[1]
    for options in ({}, {"window": 5}):
        found = compiled(path={"*w_in": "event", "*": "dense"}, **options).value_and_grad(energy)(spikes)[1]
        assert_same(found, expected)
    learner = compiled(path="event")
    parts = [learner.value_and_grad(energy, carry=True)(part)[1] for part in (XS[:5], XS[5:])]
    assert_same(jax.tree.map(jnp.add, *parts), expected)


def test_a_stream_runs_the_dense_steps():
    learner = compiled()
    stream = learner.stream()
    assert "factored" in stream.path
    for x in XS:
        out = stream.step(np.asarray(x))
        stream.learn(2 * out)
    assert_same(stream.gradients(), compiled().value_and_grad(energy)(XS)[1])


def test_the_gradient_along_the_input_is_that_of_d_rtrl():
    _, _, along = compiled().value_and_grad(energy, inputs=True)(XS)
    other = snntrace.compile(net(), snntrace.D_RTRL, XS[0], batch_size=3)
    assert oracles.relative_error(along, other.value_and_grad(energy, inputs=True)(XS)[2]) < 1e-5


# What is told ----------------------------------------------------------------------------------


def test_the_report_names_the_factors_and_what_they_cost():
    learner = compiled()
    traces = {t["parameters"][0]: t for t in learner.report.as_dict()["traces"]}
    w_in = traces["layers.0.w_in"]
    assert w_in["shape"] == ((3, 5), (2, 3, 6))
    assert w_in["bytes"] == 4 * (3 * 5 + 2 * 3 * 6 + 3)
    assert w_in["bytes"] == sum(v.nbytes for v in jax.tree.leaves(learner.traces[0].value))
    assert "smoothed by 0.8 and 0.8" in str(learner.report)
    text = str(learner.explain("layers.0.w_in"))
    assert "which input met which state" in text
    assert "by dot_general at " in text
    assert "instead: snntrace.D_RTRL keeps a trace for each synapse" in text
    assert not any("which input" in a.what for a in learner.explain("layers.1.bias").approximations)


def test_memory_grows_with_units_and_not_with_synapses():
    n, batch = 512, 4
    x = jnp.zeros((batch, n))
    limit = 40 * 4 * batch * n
    with pytest.raises(MemoryError, match="pp_prop"):
        snntrace.compile(
            FeedForward(n, ALIF(n)), snntrace.D_RTRL, x, batch_size=batch, memory_limit=limit
        ).update(x)
    learner = snntrace.compile(
        FeedForward(n, ALIF(n)), snntrace.pp_prop, x, batch_size=batch, memory_limit=limit, decay_or_rank=0.9
    )
    assert learner.update(x).shape == (batch, n)
    held = sum(v.nbytes for t in learner.traces for v in jax.tree.leaves(t.value))
    assert learner.report.as_dict()["memory"]["traces"] == held < limit
    whole = snntrace.compile(FeedForward(n, ALIF(n)), snntrace.D_RTRL, x, batch_size=batch)
    assert learner.memory.step == whole.memory.step + 2 * 4 * batch * n


@pytest.mark.parametrize("given", [1.0, -0.1, 0, -3, True, "0.9", (0.9, 0.8, 0.7), (0.9, 2.0)])
def test_a_decay_that_is_none_is_refused(given):
    with pytest.raises(ValueError, match="decay_or_rank"):
        compiled_with(given)


def compiled_with(given):
    return snntrace.pp_prop(net(), decay_or_rank=given)


def test_what_is_missing_or_has_no_effect_is_refused():
    with pytest.raises(ValueError, match="decay_or_rank must be given"):
        snntrace.pp_prop(net())
    with pytest.raises(TypeError, match="decay_or_rank"):
        snntrace.D_RTRL(net(), decay_or_rank=0.9)
    with pytest.raises(ValueError, match="decay_or_rank belongs to"):
        Rule(decay_or_rank=0.9)
    with pytest.raises(ValueError, match="factorisation='outer'"):
        Rule(factorisation="outer")
    with pytest.raises(ValueError, match="recursion='full'"):
        Rule(recursion="full", factorisation="io")

    class Normalised(Leaky):
        def update(self, x):
            current = x @ self.w.value
            self.v.value = self.leak * self.v.value + current - current.mean(-1, keepdims=True)
            return self.v.value

    with pytest.raises(snntrace.CompileError, match="factorisation='per-synapse'"):
        snntrace.compile(
            Normalised(0.9),
            snntrace.pp_prop,
            jnp.ones((2, 4)),
            batch_size=2,
            decay_or_rank=0.9,
            nondiagonal="exact",
        )


def test_the_names_and_forms_of_braintrace_are_taken():
    assert snntrace.ES_D_RTRL is snntrace.pp_prop
    for learner in (
        snntrace.pp_prop(net(), 0.9),
        snntrace.ES_D_RTRL(net(), decay_or_rank=19),
        snntrace.compile(net(), "ES_D_RTRL", XS[0], batch_size=3, decay_or_rank=(0.9, 19)),
    ):
        assert learner.rule.decays == pytest.approx((0.9, 0.9))
    assert snntrace.pp_prop(net(), None, decay_or_rank=0.8).rule.decays == (0.8, 0.8)
    single = snntrace.compile(net(), snntrace.pp_prop, XS[0, 0], decay_or_rank=0.8)
    batched = snntrace.compile(net(), snntrace.pp_prop, XS[0, :1], batch_size=1, decay_or_rank=0.8)
    assert_same(single.value_and_grad(energy)(XS[:, 0])[1], batched.value_and_grad(energy)(XS[:, :1])[1])
