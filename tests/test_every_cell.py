"""What holds for every recurrent cell: its equation, its traces in every order, a route for every weight."""

import brainstate
import cell_oracles
import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from nets import bptt, double_precision, loss, streamed

import snntrace
from snntrace import nn

T, B, N_IN, N = 6, 3, 4, 5

CELLS = {
    "vanilla": (lambda: nn.VanillaRNNCell(N_IN, N, activation="tanh"), cell_oracles.VanillaRNN()),
    "gru": (lambda: nn.GRUCell(N_IN, N), cell_oracles.GRU()),
    "gru_reset_after": (lambda: nn.GRUCell(N_IN, N, reset_after=True), cell_oracles.GRUAfter()),
    "mgu": (lambda: nn.MGUCell(N_IN, N), cell_oracles.MGU()),
    "minimal_rnn": (lambda: nn.MinimalRNNCell(N_IN, N), cell_oracles.MinimalRNN()),
    "lstm": (lambda: nn.LSTMCell(N_IN, N), cell_oracles.LSTM()),
    "urlstm": (lambda: nn.URLSTMCell(N_IN, N), cell_oracles.URLSTM()),
    "cfn": (lambda: nn.CFNCell(N_IN, N), cell_oracles.CFN()),
    "mini_gru": (lambda: nn.MiniGRUCell(N_IN, N), cell_oracles.MiniGRU()),
    "mini_lstm": (lambda: nn.MiniLSTMCell(N_IN, N), cell_oracles.MiniLSTM()),
    "lru": (lambda: nn.LRUCell(N_IN, N, num_hidden=6), None),
}
WITHOUT_RECURRENT_WEIGHTS = {"mini_gru", "mini_lstm", "lru"}
each_cell = pytest.mark.parametrize("name", CELLS)

BEHIND = {"gru": {"Wr"}}
BOTH = {"mgu": {"Wf"}, "minimal_rnn": {"Wx"}}
READ_OUT = {"C_re", "C_im", "D"}


@pytest.fixture
def float64():
    with double_precision():
        yield


def drawn(name, seed=0):
    """Make a cell with every weight drawn, biases too; return it and its weights by name, in numpy."""
    cell, weights = CELLS[name][0](), {}
    rng = np.random.default_rng(seed)
    for path, state in cell.states(brainstate.ParamState).items():
        single = not isinstance(state.value, dict)
        value = {"": state.value} if single else state.value
        new = {k: rng.normal(0, 0.8, v.shape) for k, v in value.items()}
        if name == "lru" and single and np.ndim(new[""]) == 1:
            new = {"": rng.uniform(-1.5, 0.0, np.shape(new[""]))}
        state.value = jnp.asarray(new[""]) if single else {k: jnp.asarray(v) for k, v in new.items()}
        weights |= {path[0] if single else f"{path[0]}.{k}": v for k, v in new.items()}
    return cell, weights


def flat(grads):
    found = {}
    for path, value in grads.items():
        found |= (
            {f"{path[0]}.{k}": np.asarray(v) for k, v in value.items()}
            if isinstance(value, dict)
            else {path[0]: np.asarray(value)}
        )
    return found


def data(seed=1):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(T, B, N_IN)), rng.normal(size=(T, B, N))


@each_cell
def test_outputs_equal_the_equation(float64, name):
    cell, weights = drawn(name)
    xs, _ = data()
    brainstate.nn.init_all_states(cell, batch_size=B)
    outs = brainstate.transform.for_loop(cell, jnp.asarray(xs))
    oracle = CELLS[name][1]
    if oracle is None:
        expected = cell_oracles.lru(weights, xs, np.zeros((B, 6), complex))
    else:
        expected = cell_oracles.run(oracle, weights, xs, np.zeros((oracle.STATES, B, N)))
    assert np.abs(expected).max() > 0.3
    assert oracles.relative_error(outs, expected) < 1e-12


FAST = {"gru_reset_after", "mgu", "lru"}


@pytest.mark.parametrize("name", [n if n in FAST else pytest.param(n, marks=pytest.mark.slow) for n in CELLS])
def test_every_order_gives_the_numpy_trace(float64, name):
    cell, weights = drawn(name)
    xs, ys = data()
    oracle = CELLS[name][1]
    exact = flat(bptt(cell, B, jnp.asarray(xs), jnp.asarray(ys)))
    expected = exact
    if oracle is not None:
        h = np.zeros((oracle.STATES, B, N))
        expected = cell_oracles.trace_gradients(oracle, weights, xs, ys, h)
    if name in WITHOUT_RECURRENT_WEIGHTS:
        oracles.assert_close(expected, exact, 1e-7)
    else:
        assert max(oracles.relative_error(expected[k], exact[k]) for k in exact) > 1e-2
    xs, ys = jnp.asarray(xs), jnp.asarray(ys)
    for window in (4,) if name in FAST else (None, 4):
        learner = snntrace.compile(cell, snntrace.D_RTRL, xs[0], batch_size=B, window=window)
        oracles.assert_close(flat(learner.value_and_grad(loss)(xs, ys)[1]), expected, 1e-7)
    oracles.assert_close(flat(streamed(learner, cell, xs, ys)[0]), expected, 1e-7)


@each_cell
def test_every_weight_has_a_route_and_only_gates_in_front_of_a_product_have_no_trace(name):
    cell, _ = drawn(name)
    learner = snntrace.compile(cell, snntrace.D_RTRL, jnp.ones((B, N_IN)), batch_size=B)
    routes = {p.path[0]: p.route for p in learner.report.parameters}
    expected = dict.fromkeys(routes, "temporal")
    expected |= dict.fromkeys(BEHIND.get(name, ()), "instantaneous")
    expected |= dict.fromkeys(BOTH.get(name, ()), "both")
    expected |= {k: "instantaneous" for k in READ_OUT if k in routes}
    assert routes == expected
    assert set(routes) == {path[0] for path in cell.states(brainstate.ParamState)}


@each_cell
def test_states_follow_the_batch_size_and_reset(name):
    cell = CELLS[name][0]()
    for batch_size, shape in ((None, ()), (2, (2,))):
        brainstate.nn.init_all_states(cell, batch_size=batch_size)
        first = cell(jnp.ones((*shape, N_IN)))
        assert first.shape == (*shape, N)
        assert all(s.value.shape[:-1] == shape for s in cell.states(brainstate.HiddenState).values())
        again = cell(jnp.ones((*shape, N_IN)))
        assert not np.array_equal(first, again)
        brainstate.nn.reset_all_states(cell, batch_size=batch_size)
        np.testing.assert_array_equal(cell(jnp.ones((*shape, N_IN))), first)
    with pytest.raises(ValueError, match=r"x must have shape \(2, 4\), got x of shape \(3, 4\)"):
        cell(jnp.ones((3, N_IN)))


@each_cell
def test_the_same_seed_draws_the_same_weights(name):
    def weights(seed):
        brainstate.random.seed(seed)
        return jax.tree.leaves({p: s.value for p, s in CELLS[name][0]().states().items()})

    one, same, other = weights(1), weights(1), weights(2)
    assert all(np.array_equal(a, b) for a, b in zip(one, same, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_the_reset_gate_behind_the_product_has_a_trace_and_in_front_of_it_none():
    for reset_after, route in ((False, "instantaneous"), (True, "temporal")):
        cell = nn.GRUCell(N_IN, N, reset_after=reset_after)
        learner = snntrace.compile(cell, snntrace.D_RTRL, jnp.ones((B, N_IN)), batch_size=B)
        assert {p.path[0]: p.route for p in learner.report.parameters}["Wr"] == route


@pytest.mark.parametrize("options", [{"r_min": 0.9, "r_max": 0.5}, {"r_max": 1.5}, {"max_phase": 7.0}])
def test_leaks_outside_of_the_unit_circle_are_refused(options):
    with pytest.raises(ValueError, match="LRUCell: leaks must be drawn from"):
        nn.LRUCell(N_IN, N, **options)


def test_leaks_are_drawn_from_the_ring_and_their_input_is_scaled():
    brainstate.random.seed(0)
    cell = nn.LRUCell(N_IN, N, num_hidden=4000, r_min=0.6, r_max=0.9, max_phase=1.0)
    radius, phase = np.exp(-np.exp(np.asarray(cell.nu.value))), np.exp(np.asarray(cell.theta.value))
    assert radius.min() > 0.599
    assert radius.max() < 0.901
    assert np.isclose((radius**2).mean(), (0.6**2 + 0.9**2) / 2, atol=0.01)
    assert 0 < phase.min() < phase.max() < 1.0
    np.testing.assert_allclose(np.exp(np.asarray(cell.gamma.value)), np.sqrt(1 - radius**2), rtol=1e-4)


def test_forget_gates_begin_with_all_scales():
    brainstate.random.seed(0)
    kept = cell_oracles.sigmoid(np.asarray(nn.URLSTMCell(2, 2000, w_init=0.0).forget_bias.value))
    assert np.abs(np.sort(kept) - np.linspace(0, 1, 2000)).max() < 0.05
