"""What holds for every rule: every parameter learns, the read-out exactly, and options mean what they say."""

import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from nets import Case, double_precision

import snntrace
from snntrace import Rule

RULES = {
    "D_RTRL": snntrace.D_RTRL,
    "OSTLRecurrent": snntrace.OSTLRecurrent,
    "OSTTP": snntrace.OSTTP,
    "diagonal target": Rule(recursion="diagonal", signal="target"),
    "diagonal random": Rule(recursion="diagonal", signal="random"),
    "coupled random": Rule(recursion="coupled", signal="random"),
    "scalar backprop": Rule(recursion="scalar", signal="backprop", leak=0.8),
    "none backprop": Rule(recursion="none", signal="backprop"),
}
each_rule = pytest.mark.parametrize("rule", RULES.values(), ids=[name.replace(" ", "_") for name in RULES])


@pytest.fixture
def float64():
    with double_precision():
        yield


def options_of(rule, case):
    rng = np.random.default_rng(5)
    return (
        {"B_list": [jnp.asarray(rng.normal(size=(3, layer.w_in.shape[1]))) for layer in case.layers]}
        if rule.projects
        else {}
    )


def targets_of(rule, case):
    return {"y_target": case.targets} if rule.signal == "target" else {}


@each_rule
def test_every_parameter_learns_the_readout_exactly_and_every_order_agrees(float64, rule):
    case = Case("lif", learn=True)
    outs, expected = case.oracle()
    oracles.assert_alive(case.layers)
    learner = case.compile(rule, window=5, **options_of(rule, case))
    found_outs, found = case.sequence(learner, **targets_of(rule, case))
    assert oracles.relative_error(found_outs, outs) < 1e-12
    readout = ("out.w_out", "out.b_out")
    oracles.assert_close({k: found[k] for k in readout}, {k: expected[k] for k in readout}, 1e-10)
    assert all(np.abs(value).max() > 1e-4 for value in found.values())
    if rule is not snntrace.D_RTRL:
        assert oracles.relative_error(found["0.w_in"], expected["0.w_in"]) > 1e-2
    _, streaming = case.streaming(learner, targets=rule.signal == "target")
    oracles.assert_close(streaming, found, 1e-10)


def test_without_memory_a_rule_gives_each_steps_own_gradient(float64):
    case = Case("lif")
    _, found = case.sequence(case.compile(RULES["none backprop"]))
    expected = forgetful(case)
    oracles.assert_close({k: found[k] for k in expected}, expected, 1e-10)


def forgetful(case, leak=0.0):
    """Sum L x eps of one LIF layer with eps = leak eps + x, on the net's true states."""
    layer, (alpha, v_th) = case.layers[0], (np.exp(-0.1), 1.0)
    n = layer.w_in.shape[1]
    v, grads = np.zeros((case.batch, n)), {"0.w_in": 0.0, "0.w_rec": 0.0, "0.bias": 0.0}
    eps = [0.0, 0.0, 0.0]
    for x, y in zip(case.xs, case.ys, strict=True):
        z = oracles.heaviside(v - v_th)
        v = alpha * (v - v_th * z) + x @ layer.w_in + z @ layer.w_rec + layer.bias
        error = oracles.heaviside(v - v_th) @ case.w_out + case.b_out - y
        signal = oracles.triangle(v - v_th) * (error @ case.w_out.T)
        eps = [leak * e + operand for e, operand in zip(eps, (x, z, np.ones((case.batch, 1))), strict=True)]
        for name, e in zip(grads, eps, strict=True):
            grads[name] = grads[name] + e.T @ signal
    return grads | {"0.bias": grads["0.bias"][0]}


def test_a_fixed_leak_replaces_the_units_own(float64):
    case = Case("lif")
    expected = forgetful(case, 0.8)
    _, found = case.sequence(case.compile(RULES["scalar backprop"], window=5))
    oracles.assert_close({k: found[k] for k in expected}, expected, 1e-10)
    leak = Rule(recursion="scalar", signal="backprop", leak=float(np.exp(-0.1)))
    _, found = case.sequence(case.compile(leak))
    oracles.assert_close(found, case.oracle()[1], 1e-10)


def test_a_single_step_is_backpropagation_under_every_rule_that_takes_the_losss_gradient(float64):
    case = Case("lif", sizes=(6, 8, 7), length=1, gain=2.5)
    _, exact = case.sequence(case.compile(snntrace.BPTT))
    live = {k: v for k, v in exact.items() if np.abs(v).max() > 0}
    assert {"0.w_in", "1.w_in", "out.w_out"} <= set(live)
    for name in ("D_RTRL", "OSTLRecurrent", "none backprop"):
        _, found = case.sequence(case.compile(RULES[name]))
        oracles.assert_close({k: found[k] for k in live}, live, 1e-12)


@pytest.mark.parametrize(
    ("choices", "says"),
    [
        ({"recursion": "full", "signal": "target"}, r"recursion='full' goes with signal in \('backprop',\)"),
        ({"recursion": "exact"}, "recursion='exact'"),
        ({"signal": "reward"}, "signal='reward'"),
        ({"recursion": "scalar"}, "leak=None"),
        ({"recursion": "diagonal", "leak": 0.9}, "leak=0.9"),
        ({"recursion": "scalar", "leak": 1.0}, "leak=1.0"),
        ({"recursion": "scalar", "leak": -0.1}, "leak=-0.1"),
    ],
)
def test_an_illegal_combination_is_refused_with_what_was_given(choices, says):
    with pytest.raises(ValueError, match=says):
        Rule(**choices)


def test_a_rule_is_a_value():
    assert Rule(recursion="diagonal", signal="random") == Rule(recursion="diagonal", signal="random")
    assert len({*RULES.values(), *RULES.values()}) == len(RULES)
    assert all(
        rule.paper for rule in (snntrace.D_RTRL, snntrace.OSTLRecurrent, snntrace.OSTTP, snntrace.BPTT)
    )


def test_backpropagation_through_time_does_not_stream():
    case = Case("lif")
    with pytest.raises(ValueError, match="Use unroll"):
        case.compile(snntrace.BPTT).update(case.inputs[0])


def test_a_reset_learner_begins_again_and_other_batch_sizes_are_refused():
    case = Case("alif")
    learner = case.compile(snntrace.D_RTRL)
    first = case.streaming(learner)[1]
    second = case.streaming(learner)[1]
    assert oracles.relative_error(second["0.w_in"], first["0.w_in"]) > 1e-2
    learner.reset_state()
    oracles.assert_close(case.streaming(learner)[1], first, 1e-12)
    with pytest.raises(ValueError, match="batch_size=9"):
        learner.reset_state(batch_size=9)


def test_compile_needs_a_rule_a_model_and_an_input():
    case = Case("lif")
    with pytest.raises(TypeError, match="must be a snntrace.Rule"):
        snntrace.compile(case.model, "backprop", case.inputs[0])
    with pytest.raises(TypeError, match="example input"):
        snntrace.compile(case.model, snntrace.D_RTRL)
    with pytest.raises(TypeError, match="Module"):
        snntrace.D_RTRL(lambda x: x)
    with pytest.raises(ValueError, match="batch_size=0"):
        snntrace.compile(case.model, snntrace.D_RTRL, case.inputs[0], batch_size=0)
