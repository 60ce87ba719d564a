"""Where other tools return a zero or a wrong number without a word: here each is right, or refused by name.

A read-out without memory; the reset gate of a GRU; a time constant that is a plain parameter; a normalisation
in front of the neuron; a fixed recurrent matrix; a roll.
"""

import brainstate
import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from nets import Case, double_precision, loss, streamed
from steps import N_IN, B, N, Step, T, assert_exact, compiled, draw, found_by, leaky

import snntrace
from snntrace.nn import GRUCell

W = draw(N_IN, N, scale=0.7)
M = draw(N, N, scale=0.4)


@pytest.fixture(autouse=True)
def float64():
    with double_precision():
        yield


def route(learner, name):
    return learner.report.as_dict()["parameters"][name]["route"]


@pytest.mark.parametrize("order", ["sequence", "streaming"])
@pytest.mark.parametrize("rule", [snntrace.D_RTRL, snntrace.OSTTP])
def test_a_readout_without_memory_gets_its_full_gradient(rule, order):
    case = Case("alif")
    _, expected = case.oracle()
    oracles.assert_alive(case.layers)
    feedback = {"B_list": [draw(3, 8)]} if rule.projects else {}
    learner = case.compile(rule, **feedback)
    assert route(learner, "out.weight") == "instantaneous"
    if order == "streaming":
        _, found = case.streaming(learner, targets=rule.projects)
    else:
        _, found = case.sequence(learner, **({"y_target": case.targets} if rule.projects else {}))
    readout = ("out.w_out", "out.b_out")
    oracles.assert_close({k: found[k] for k in readout}, {k: expected[k] for k in readout}, 1e-10)


def gru(h, x, w):
    sigmoid = lambda a: 1 / (1 + np.exp(-a))  # noqa: E731
    z, r = (sigmoid(np.concatenate([x, h], -1) @ w[k]) for k in ("Wz", "Wr"))
    return (1 - z) * h + z * np.tanh(np.concatenate([x, r * h], -1) @ w["Wh"])


@pytest.mark.parametrize("order", ["sequence", "streaming"])
def test_a_reset_gate_gets_what_it_does_within_each_step_and_the_report_says_so(order):
    cell = GRUCell(N_IN, N, w_init=0.0, b_init=None)
    weights = {k: np.asarray(draw(N_IN + N, N, seed=i)) for i, k in enumerate(("Wz", "Wr", "Wh"))}
    for name, value in weights.items():
        getattr(cell, name).weight.value = {"weight": jnp.asarray(value)}
    xs, ys = draw(T, B, N_IN), draw(T, B, N, seed=1)
    h, expected = np.zeros((B, N)), np.zeros((N_IN + N, N))
    for x, y in zip(np.asarray(xs), np.asarray(ys), strict=True):
        inside = oracles.central_difference(lambda w, x=x, h=h: gru(h, x, weights | {"Wr": w}), weights["Wr"])
        h = gru(h, x, weights)
        expected += np.tensordot(h - y, inside, 2)
    brainstate.nn.init_all_states(cell, batch_size=B)
    learner = snntrace.compile(cell, snntrace.D_RTRL, xs[0], batch_size=B)
    assert route(learner, "Wr.weight") == "instantaneous"
    assert "not traced" in learner.report.as_dict()["parameters"]["Wr.weight"]["reason"]
    grads = (
        learner.value_and_grad(loss)(xs, ys)[1] if order == "sequence" else streamed(learner, cell, xs, ys)[0]
    )
    oracles.assert_close({"Wr": grads["Wr", "weight"]["weight"]}, {"Wr": expected}, 1e-6)


@pytest.mark.parametrize("shape", [(), (N,)], ids=["one", "one_a_unit"])
def test_a_plain_trainable_time_constant_has_a_trace(shape):
    def update(m, x):
        alpha = jnp.exp(-1.0 / m.tau.value)
        m.v.value = alpha * m.v.value + (1 - alpha) * (x @ W)
        return jnp.tanh(m.v.value)

    model = Step(update, {"tau": np.broadcast_to(3.0, shape) + 0.0}, v=(N,))
    assert route(compiled(model), "tau") == "temporal"
    assert_exact(model)


def norm(y):
    return (y - y.mean(-1, keepdims=True)) / (y.std(-1, keepdims=True) + 0.5)


MIXING = {
    "normalisation_before_the_neuron": lambda m, x: leaky(m, norm(x @ m.w.value)),
    "fixed_recurrent_matrix": lambda m, x: leaky(m, x @ m.w.value + jnp.tanh(m.v.value) @ M),
    "roll": lambda m, x: leaky(m, x @ m.w.value + 0.4 * jnp.roll(m.v.value, 1, -1)),
}
each_mixing = pytest.mark.parametrize("update", MIXING.values(), ids=MIXING)


@each_mixing
def test_what_mixes_units_is_refused_with_its_line_and_what_to_write(update):
    with pytest.raises(snntrace.CompileError) as caught:
        compiled(Step(update, {"w": W}, v=(N,)))
    said = str(caught.value)
    assert "test_silent_failures.py:" in said
    assert "'w'" in said or "'v'" in said
    assert "stop_gradient" in said or "Move that operation before the product" in said


@each_mixing
def test_backpropagation_through_time_takes_what_mixes_units(update):
    xs, ys = draw(T, B, N_IN), draw(T, B, N, seed=9)
    (found,) = found_by(Step(update, {"w": W}, v=(N,)), xs, ys, snntrace.BPTT).values()
    assert np.abs(found).max() > 1e-3


def test_what_the_messages_say_to_write_instead_is_exact():
    assert_exact(Step(lambda m, x: leaky(m, norm(x) @ m.w.value), {"w": W}, v=(N,)))
    for mixed in (lambda v: jnp.tanh(v) @ M, lambda v: jnp.roll(v, 1, -1)):
        assert_exact(
            Step(
                lambda m, x, mixed=mixed: leaky(m, x @ m.w.value + mixed(jax.lax.stop_gradient(m.v.value))),
                {"w": W},
                v=(N,),
            ),
            orders=("streaming",),
        )
