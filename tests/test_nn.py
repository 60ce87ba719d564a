import math

import brainstate
import braintools
import brainunit as u
import jax.numpy as jnp
import numpy as np
import pytest

from snntrace import nn


def sigmoid(value):
    return 1.0 / (1.0 + np.exp(-value))


def run(model, xs, batch_size=None):
    brainstate.nn.init_all_states(model, batch_size=batch_size)
    return np.stack([np.asarray(model(jnp.asarray(x, jnp.float32))) for x in xs])


def load(model, golden):
    """Put golden parameters, keyed by path, into a model."""
    for path, state in model.states(brainstate.ParamState).items():
        prefix = "param/" + ".".join(str(part) for part in path)
        state.value = {key: jnp.asarray(golden[f"{prefix}.{key}"]) for key in state.value}


class Net(brainstate.nn.Module):
    def __init__(self, cell, n_out):
        super().__init__()
        self.cell = cell
        self.out = nn.Linear(cell.num_out, n_out)

    def update(self, x):
        return x >> self.cell >> self.out


@pytest.mark.shared
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("kind", ["rnn", "gru"])
def test_the_golden_outputs_are_reproduced(shared, kind, seed):
    golden = np.load(shared / "golden" / f"{kind}_seed{seed}.npz")
    n_in, n_out = golden["x"].shape[1], golden["y"].shape[1]
    cell = nn.ValinaRNNCell(n_in, 6, activation="tanh") if kind == "rnn" else nn.GRUCell(n_in, 6)
    model = Net(cell, n_out)
    load(model, golden)
    outs = run(model, golden["x"])
    np.testing.assert_allclose(outs, golden["out"], atol=1e-5 * np.abs(golden["out"]).max())


def test_linear_multiplies_and_adds():
    w, b = np.arange(6.0).reshape(3, 2), np.array([1.0, -1.0])
    x = np.random.default_rng(0).normal(size=(4, 5, 3))
    np.testing.assert_allclose(nn.Linear(3, 2, w_init=w, b_init=b)(x), x @ w + b, rtol=1e-5)
    np.testing.assert_allclose(nn.Linear((3,), (2,), w_init=w, b_init=None)(x), x @ w, rtol=1e-5)


def test_linear_holds_its_weights_as_brainstates_does():
    ours, theirs = nn.Linear(3, 2), brainstate.nn.Linear(3, 2)
    assert ours.weight.value.keys() == theirs.weight.value.keys()
    assert ours.in_size == theirs.in_size
    assert ours.out_size == theirs.out_size
    theirs.weight.value = ours.weight.value
    np.testing.assert_allclose(ours(jnp.ones(3)), theirs(jnp.ones(3)), rtol=1e-6)
    assert set(nn.Linear(3, 2, b_init=None).weight.value) == {"weight"}


def test_the_vanilla_cell_equals_its_equation():
    cell = nn.VanillaRNNCell(3, 4, activation="tanh")
    xs = np.random.default_rng(1).normal(size=(6, 2, 3))
    outs = run(cell, xs, batch_size=2)
    w, b = np.asarray(cell.W.weight.value["weight"]), np.asarray(cell.W.weight.value["bias"])
    h = np.zeros((2, 4))
    for t, x in enumerate(xs):
        h = np.tanh(x @ w[:3] + h @ w[3:] + b)
        np.testing.assert_allclose(outs[t], h, rtol=1e-4, atol=1e-6)
    assert nn.ValinaRNNCell is nn.VanillaRNNCell


def test_the_gru_equals_its_equation():
    cell = nn.GRUCell(3, 4, b_init=braintools.init.Normal(0.0, 0.3))
    xs = np.random.default_rng(1).normal(size=(6, 2, 3))
    outs = run(cell, xs, batch_size=2)

    def affine(part, x, h):
        value = part.weight.value
        return (
            x @ np.asarray(value["weight"])[:3]
            + h @ np.asarray(value["weight"])[3:]
            + np.asarray(value["bias"])
        )

    h = np.zeros((2, 4))
    for t, x in enumerate(xs):
        z, r = sigmoid(affine(cell.Wz, x, h)), sigmoid(affine(cell.Wr, x, h))
        h = (1 - z) * h + z * np.tanh(affine(cell.Wh, x, r * h))
        np.testing.assert_allclose(outs[t], h, rtol=1e-4, atol=1e-6)


def test_the_leaky_readout_equals_its_equation():
    taus = np.array([3.0, 12.0])
    readout = nn.LeakyRateReadout(3, 2, tau=taus * u.ms, r_init=0.5, dt=2 * u.ms)
    xs = np.random.default_rng(1).normal(size=(6, 4, 3))
    outs = run(readout, xs, batch_size=4)
    r, w = np.full((4, 2), 0.5), np.asarray(readout.W.weight.value["weight"])
    for t, x in enumerate(xs):
        r = np.exp(-2 / taus) * r + x @ w
        np.testing.assert_allclose(outs[t], r, rtol=1e-4, atol=1e-6)


def test_the_leaky_readout_takes_the_environments_time_step():
    readout = nn.LeakyRateReadout(1, 1, tau=5 * u.ms, w_init=1.0)
    readout.init_state()
    with brainstate.environ.context(dt=0.5 * u.ms):
        readout(jnp.ones(1))
        np.testing.assert_allclose(readout(jnp.zeros(1)), math.exp(-0.1), rtol=1e-6)


@pytest.mark.parametrize("make", [nn.VanillaRNNCell, nn.GRUCell, nn.LeakyRateReadout])
def test_states_follow_the_batch_size_and_reset(make):
    cell = make(3, 4)
    for batch_size, shape in ((None, (4,)), (2, (2, 4))):
        brainstate.nn.init_all_states(cell, batch_size=batch_size)
        first = cell(jnp.ones((*shape[:-1], 3)))
        (state,) = cell.states(brainstate.HiddenState).values()
        assert first.shape == state.value.shape == shape
        cell(jnp.ones((*shape[:-1], 3)))
        brainstate.nn.reset_all_states(cell, batch_size=batch_size)
        np.testing.assert_array_equal(cell(jnp.ones((*shape[:-1], 3))), first)


def test_the_state_may_start_anywhere():
    cell = nn.GRUCell(3, 4, state_init=np.arange(4.0))
    cell.init_state(batch_size=2)
    np.testing.assert_array_equal(cell.h.value, np.tile(np.arange(4.0), (2, 1)))
    drawn = nn.VanillaRNNCell(3, 4, state_init=brainstate.nn.init.Normal(1.0))
    drawn.init_state(batch_size=2)
    assert len(np.unique(drawn.h.value)) == 8


def test_the_same_seed_draws_the_same_weights():
    def weights(seed):
        brainstate.random.seed(seed)
        return np.asarray(nn.GRUCell(3, 4).Wh.weight.value["weight"])

    np.testing.assert_array_equal(weights(1), weights(1))
    assert not np.array_equal(weights(1), weights(2))


def initialised(module, **kwargs):
    module.init_state(**kwargs)
    return module


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: nn.Linear(0, 2), ValueError, r"Linear: in_size must be positive, got in_size=0"),
        (lambda: nn.Linear(2, 2.0), TypeError, r"Linear: out_size must be an int, got out_size=2\.0"),
        (lambda: nn.Linear((2, 3), 2), ValueError, r"Linear: in_size must be one number of units"),
        (lambda: nn.Linear(3, 2, np.ones((2, 3))), ValueError, r"Linear: w_init must have shape \(3, 2\)"),
        (lambda: nn.Linear(3, 2, b_init="zero"), TypeError, r"Linear: b_init must give a plain array"),
        (lambda: nn.Linear(3, 2)(jnp.ones(4)), ValueError, r"Linear: x must have 3 entries on its last axis"),
        (
            lambda: nn.GRUCell(3, 4, activation="tnah"),
            ValueError,
            r"GRUCell: activation must be .* got .*'tnah'",
        ),
        (lambda: nn.VanillaRNNCell(-1, 4), ValueError, r"VanillaRNNCell: num_in must be positive"),
        (
            lambda: initialised(nn.GRUCell(3, 4), batch_size=2)(jnp.ones(3)),
            ValueError,
            r"GRUCell: x must have shape \(2, 3\), got x of shape \(3,\)",
        ),
        (
            lambda: nn.LeakyRateReadout(3, 4, tau=5.0),
            TypeError,
            r"LeakyRateReadout: tau must be a time with a unit",
        ),
        (
            lambda: initialised(nn.LeakyRateReadout(3, 4))(jnp.ones((2, 3))),
            ValueError,
            r"LeakyRateReadout: x must have the states' batch shape \(\), got x of shape \(2, 3\)",
        ),
    ],
)
def test_a_bad_argument_is_refused_with_what_to_do(make, error, message):
    with pytest.raises(error, match=message):
        make()
