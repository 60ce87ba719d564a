"""One number in three orders: streaming, windows, the whole sequence; and the plain numpy trace."""

import brainstate
import brainunit as u
import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from nets import Case, Net, bptt, double_precision, streamed

import snntrace
from snntrace.neurons import AdLIF, FeedForward

CASES = {
    "a LIF layer": {"kind": "lif"},
    "an ALIF layer": {"kind": "alif"},
    "an adLIF layer": {"kind": "adlif"},
    "a symplectic adLIF layer that learns": {"kind": "adlif symplectic", "learn": True},
    "a current-based LIF layer": {"kind": "current"},
    "a cell of three states": {"kind": "three"},
    "a learnable leak and threshold": {"kind": "lif", "learn": True},
    "two stacked layers": {"kind": "alif", "sizes": (6, 8, 7), "learn": True},
}
each_case = pytest.mark.parametrize("case", CASES.values(), ids=[name.replace(" ", "_") for name in CASES])


@pytest.fixture
def float64():
    with double_precision():
        yield


def alive(case, **bounds):
    outs, expected = case.oracle()
    oracles.assert_alive(case.layers, **bounds)
    return outs, expected


def every_order(case, rule, windows, **options):
    """Yield what each order gives, by name."""
    plain = case.compile(rule, **options)
    yield "streaming", case.streaming(plain)
    yield "sequence", case.sequence(plain)
    for window in windows:
        yield f"window {window}", case.sequence(case.compile(rule, window=window, **options))


@each_case
def test_every_order_gives_the_numpy_trace_in_double_precision(float64, case):
    case = Case(**case, length=21)
    outs, expected = alive(case)
    for name, (found_outs, found) in every_order(case, snntrace.D_RTRL, (1, 3, 7)):
        assert oracles.relative_error(found_outs, outs) < 1e-12, name
        oracles.assert_close(found, expected, 1e-10)


@pytest.mark.parametrize(
    "case", [CASES["an ALIF layer"], CASES["two stacked layers"]], ids=["ALIF", "stacked"]
)
def test_streaming_and_the_sequence_give_the_numpy_trace_in_single_precision(case):
    in_single_precision(case)


@pytest.mark.slow
@each_case
def test_every_case_gives_the_numpy_trace_in_single_precision(case):
    in_single_precision(case)


def in_single_precision(case):
    case = Case(**case)
    _, expected = alive(case)
    for order in (case.streaming, case.sequence):
        _, found = order(case.compile(snntrace.D_RTRL, window=4))
        oracles.assert_close(found, expected, 1e-5)
        assert all(value.dtype == np.float32 for value in found.values())


@pytest.mark.parametrize("scheme", ["euler", "symplectic"])
def test_one_layer_of_adlif_units_gets_the_gradient_of_backpropagation_in_every_parameter(float64, scheme):
    rng = np.random.default_rng(0)
    neuron = AdLIF(8, a=3.0, b=0.4 * u.mV, scheme=scheme, learn=AdLIF.LEARNABLE)
    net = Net([FeedForward(6, neuron, w_init=rng.normal(0, 1, (6, 8)))], 3)
    net.out.weight.value = {"weight": jnp.asarray(rng.normal(size=(8, 3))), "bias": jnp.zeros(3)}
    xs, ys = jnp.asarray(rng.random((20, 3, 6)) < 0.5, float), jnp.asarray(rng.normal(size=(20, 3, 3)))
    learner = snntrace.compile(net, snntrace.D_RTRL, xs[0], batch_size=3)
    (group,) = learner.report.as_dict()["groups"]
    assert group["states"] == ["layer0.neuron.v", "layer0.neuron.w"]
    found, expected = streamed(learner, net, xs, ys)[0], bptt(net, 3, xs, ys)
    assert {path[-1] for path in found} >= set(AdLIF.LEARNABLE)
    for path, value in jax.tree.leaves_with_path(expected):
        assert np.abs(value).max() > 1e-3, path
    jax.tree.map(
        lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12), found, expected
    )


@pytest.mark.parametrize("kind", ["lif", "alif", "adlif", "three"])
def test_the_coupled_recursion_gives_the_numpy_trace_with_the_units_own_weight(float64, kind):
    case = Case(kind, sizes=(6, 8, 7) if kind == "lif" else (6, 8))
    _, diagonal = alive(case)
    _, expected = case.oracle("coupled")
    assert oracles.relative_error(expected["0.w_in"], diagonal["0.w_in"]) > 1e-2
    for _, (_, found) in every_order(case, snntrace.OSTLRecurrent, (5,)):
        oracles.assert_close(found, expected, 1e-10)


def test_a_collapsed_trace_gives_the_gradient_of_one_trace_a_synapse(float64):
    case = Case("lif", sizes=(6, 8, 7))
    _, expected = alive(case)
    collapsed, plain = case.compile(snntrace.D_RTRL), case.compile(snntrace.D_RTRL, fast_solve=False)
    forms = [[t["collapsed"] for t in learner.report.as_dict()["traces"]] for learner in (collapsed, plain)]
    assert sum(forms[0]) == 4
    assert not any(forms[1])
    for learner in (collapsed, plain):
        for order in (case.sequence, case.streaming):
            learner.reset_state()  # the two share the model's states
            oracles.assert_close(order(learner)[1], expected, 1e-10)


@pytest.mark.parametrize("kind", ["alif", "adlif", "three"])
def test_a_trace_that_depends_on_the_unit_does_not_collapse(kind):
    learner = Case(kind).compile(snntrace.D_RTRL)
    assert not any(t["collapsed"] for t in learner.report.as_dict()["traces"])


@pytest.mark.parametrize(
    ("rule", "options"),
    [
        (snntrace.D_RTRL, {}),
        (snntrace.D_RTRL, {"fast_solve": False}),
        (snntrace.OSTLRecurrent, {}),
    ],
    ids=["collapsed", "per_synapse", "coupled"],
)
def test_large_layers_give_the_numpy_trace_in_single_precision(rule, options):
    # Some releases of jaxlib compute signal x trace wrongly from some thousand units on.
    case = Case("lif", sizes=(20, 256), batch=16, length=8, n_out=20)
    outs, expected = case.oracle("coupled" if rule is snntrace.OSTLRecurrent else "diagonal")
    oracles.assert_alive(case.layers)
    learner = case.compile(rule, **options)
    for order in (case.streaming, case.sequence):
        found_outs, found = order(learner)
        assert oracles.relative_error(found_outs, outs) < 1e-5
        oracles.assert_close(found, expected, 1e-5)
        learner.reset_state()


def test_a_large_net_with_a_fifth_of_its_units_near_threshold_gives_the_numpy_trace(float64):
    case = Case("alif", sizes=(30, 60), n_out=5, length=20, gain=2.0, seed=3)
    alive(case, spiking=(0.05, 0.6), support=(0.1, 0.3))
    _, expected = case.oracle("coupled")
    for order in (case.sequence, case.streaming):
        oracles.assert_close(order(case.compile(snntrace.OSTLRecurrent))[1], expected, 1e-10)


@pytest.mark.parametrize(("length", "window"), [(53, None), (53, 37), (48, None)])
def test_long_sequences_of_any_length_give_the_numpy_trace(float64, length, window):
    # Long windows are worked off in blocks: 53 and 37 are primes, so that steps are left over.
    case = Case("alif", length=length)
    _, expected = case.oracle("coupled")
    oracles.assert_alive(case.layers)
    _, found = case.sequence(case.compile(snntrace.OSTLRecurrent, window=window))
    oracles.assert_close(found, expected, 1e-10)


def split_pass(case, learner, first, then):
    """Run the first half one way and the second the other; sum the gradients, carry states and traces."""
    half = len(case.xs) // 2
    learner.reset_state()
    totals = None
    for order, part in ((first, slice(0, half)), (then, slice(half, None))):
        if order == "update":
            _, grads = case.streaming(learner, part.start, part.stop)
        else:
            weights = case.model.states(brainstate.ParamState)

            def total(part=part):
                outs = learner.unroll(case.inputs[part])
                return 0.5 * jnp.sum((outs - case.targets[part]) ** 2)

            grads = case.named(brainstate.transform.grad(total, weights)())
        totals = grads if totals is None else {k: totals[k] + grads[k] for k in totals}
    return totals


@pytest.mark.parametrize("kind", ["lif", "three"])
def test_two_half_passes_in_any_order_make_one(float64, kind):
    case = Case(kind)
    _, expected = alive(case)
    learner = case.compile(snntrace.D_RTRL, window=4)
    for first, then in (("unroll", "unroll"), ("unroll", "update"), ("update", "unroll")):
        oracles.assert_close(split_pass(case, learner, first, then), expected, 1e-10)


def test_value_and_grad_begins_every_call_anew_and_can_carry(float64):
    case = Case("alif")
    _, expected = alive(case)
    learner = case.compile(snntrace.D_RTRL)
    for _ in range(2):
        oracles.assert_close(case.sequence(learner)[1], expected, 1e-10)
    half = len(case.xs) // 2
    carried = learner.value_and_grad(lambda outs, ys: 0.5 * jnp.sum((outs - ys) ** 2), carry=True)
    learner.reset_state()
    parts = [
        case.named(carried(case.inputs[part], case.targets[part])[1])
        for part in (slice(0, half), slice(half, None))
    ]
    oracles.assert_close({k: parts[0][k] + parts[1][k] for k in parts[0]}, expected, 1e-10)


@pytest.mark.parametrize("kind", ["lif", "alif", "current"])
def test_without_recurrent_weights_one_layers_trace_is_backpropagation_through_time(float64, kind):
    case = Case(kind, recurrent=False, learn=True)
    alive(case)
    exact = case.named(bptt(case.model, case.batch, case.inputs, case.targets))
    oracles.assert_close(case.sequence(case.compile(snntrace.D_RTRL))[1], exact, 1e-10)
    oracles.assert_close(case.sequence(case.compile(snntrace.BPTT))[1], exact, 1e-10)


@pytest.mark.parametrize("rule", [snntrace.D_RTRL, snntrace.OSTLRecurrent], ids=["D_RTRL", "OSTLRecurrent"])
def test_with_recurrent_weights_a_trace_is_not_backpropagation_through_time(float64, rule):
    case = Case("lif")
    alive(case)
    exact = case.named(bptt(case.model, case.batch, case.inputs, case.targets))
    _, found = case.sequence(case.compile(rule))
    for name in ("0.w_in", "0.w_rec", "0.bias"):
        assert oracles.relative_error(found[name], exact[name]) > 1e-2
    oracles.assert_close(case.sequence(case.compile(snntrace.BPTT))[1], exact, 1e-10)


def test_a_trace_of_a_lower_layer_is_not_backpropagation_through_time(float64):
    # What the lower layer does to the upper one's later states has no trace.
    case = Case("lif", sizes=(6, 8, 7), recurrent=False)
    alive(case)
    exact = case.named(bptt(case.model, case.batch, case.inputs, case.targets))
    _, found = case.sequence(case.compile(snntrace.D_RTRL))
    assert oracles.relative_error(found["0.w_in"], exact["0.w_in"]) > 1e-2
    oracles.assert_close({"w": found["1.w_in"]}, {"w": exact["1.w_in"]}, 1e-10)


def test_a_loss_of_the_last_output_alone_reaches_the_first_step(float64):
    case = Case("lif", recurrent=False, length=6)
    learner = case.compile(snntrace.D_RTRL)
    weights = case.model.states(brainstate.ParamState)

    def last(run):
        return lambda: jnp.sum((run(case.inputs)[-1] - case.targets[-1]) ** 2)

    def plain(xs):
        return brainstate.transform.for_loop(case.model, xs)

    found = brainstate.transform.grad(last(learner.unroll), weights)()
    learner.reset_state()
    exact = brainstate.transform.grad(last(plain), weights)()
    oracles.assert_close(case.named(found), case.named(exact), 1e-10)


def test_a_loss_on_the_hidden_states_after_unroll_reaches_the_weights(float64):
    case = Case("alif", recurrent=False)
    alive(case)
    learner = case.compile(snntrace.D_RTRL, window=5)
    weights = {p: s for p, s in case.model.states(brainstate.ParamState).items() if "out" not in p}

    def by(run):
        def energy():
            run(case.inputs)
            return jnp.sum(case.model.layer0.neuron.v.value**2)

        return energy

    found = brainstate.transform.grad(by(learner.unroll), weights)()
    learner.reset_state()
    exact = brainstate.transform.grad(by(lambda xs: brainstate.transform.for_loop(case.model, xs)), weights)()
    for path, value in exact.items():
        oracles.assert_close({"g": found[path]}, {"g": value}, 1e-10)
