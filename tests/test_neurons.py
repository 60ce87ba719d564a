import math

import brainstate
import braintools
import brainunit as u
import jax
import jax.numpy as jnp
import neuron_oracles
import numpy as np
import pytest

from snntrace.neurons import (
    ALIF,
    LI,
    LIF,
    AdLIF,
    CurrentLIF,
    FeedForward,
    Recurrent,
    fluctuation_driven,
)

TAU_OF_GOLDEN = -1.0 / math.log(0.9) * u.ms


def run(model, xs, batch_size=None):
    brainstate.nn.init_all_states(model, batch_size=batch_size)
    outs = [model(jnp.asarray(x, jnp.float32)) for x in xs]
    return np.stack([np.asarray(out) for out in outs])


def inputs(seed=0, shape=(40, 5), scale=0.4):
    return np.random.default_rng(seed).normal(0.15, scale, shape)


def test_a_silent_input_leaves_the_voltage_at_rest():
    neuron = LIF(3, v_th=-50 * u.mV, v_rest=-65 * u.mV)
    outs = run(neuron, np.zeros((10, 3)))
    assert outs.sum() == 0
    np.testing.assert_allclose(neuron.v.value, -65.0, rtol=1e-6)


def test_a_soft_reset_subtracts_the_distance_from_rest_to_threshold():
    neuron = LIF(1, v_th=-50 * u.mV, v_rest=-65 * u.mV, tau_mem=1e9 * u.ms)
    run(neuron, np.array([[18.0], [0.0]]))
    np.testing.assert_allclose(neuron.v.value, -62.0, rtol=1e-5)


@pytest.mark.parametrize("dt", [0.1, 1.0, 30.0])
def test_a_constant_current_gives_the_analytic_solution_at_any_time_step(dt):
    neuron = LIF(1, tau_mem=20 * u.ms, v_th=1e6 * u.mV, drive="current", dt=dt * u.ms)
    brainstate.nn.init_all_states(neuron)
    for step in range(1, 30):
        neuron(jnp.array([3.0]))
        np.testing.assert_allclose(neuron.v.value, 3.0 * (1 - math.exp(-step * dt / 20)), rtol=2e-5)


def test_a_delta_input_decays_from_its_own_height():
    readout = LI(1, tau_mem=10 * u.ms)
    outs = run(readout, np.array([[2.0], [0.0], [0.0]]))
    np.testing.assert_allclose(outs[:, 0], [2.0, 2 * math.exp(-0.1), 2 * math.exp(-0.2)], rtol=1e-6)


def test_the_current_of_cuba_feeds_the_voltage_in_the_same_step():
    neuron = CurrentLIF(1, v_th=100 * u.mV)
    run(neuron, np.array([[0.5]]))
    np.testing.assert_allclose(neuron.v.value, 0.5)


@pytest.mark.parametrize("drive", ["delta", "current"])
def test_the_leaky_integrator_equals_the_oracle(drive):
    xs = inputs(shape=(30, 2, 3))
    taus = [5.0, 10.0, 40.0]
    outs = run(LI(3, tau_mem=np.array(taus) * u.ms, drive=drive), xs, batch_size=2)
    expected = neuron_oracles.layer("li", xs, {"tau_mem": taus}, drive=drive)[1]
    np.testing.assert_allclose(outs, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("reset", ["soft", "hard", "none"])
@pytest.mark.parametrize("detach", [True, False])
def test_the_gradient_through_the_reset_is_there_exactly_where_it_is_not_detached(reset, detach):
    xs = inputs(seed=3, shape=(12,), scale=0.5)
    neuron = LIF(1, reset=reset, detach_reset=detach)

    def last_voltage(values):
        brainstate.nn.init_all_states(neuron)
        for t in range(len(values)):
            neuron(values[t : t + 1])
        return neuron.v.value[0]

    gradient = jax.grad(last_voltage)(jnp.asarray(xs, jnp.float32))
    expected = neuron_oracles.recurrent_gradient_of_voltage(xs, detach, reset, math.exp(-1 / 20))
    assert run(neuron, xs[:, None]).sum() > 0
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-6)
    other = neuron_oracles.recurrent_gradient_of_voltage(xs, not detach, reset, math.exp(-1 / 20))
    assert (reset == "none") == np.allclose(expected, other)


def test_the_gradient_follows_the_spike_into_the_adaptation():
    neuron = ALIF(1)

    def adaptation(x):
        brainstate.nn.init_all_states(neuron)
        neuron(x)
        neuron(jnp.zeros(1))
        return neuron.a.value[0]

    np.testing.assert_allclose(jax.grad(adaptation)(jnp.array([1.2])), 0.3 * 0.8, rtol=1e-5)


@pytest.mark.parametrize("drive", ["delta", "current"])
def test_the_symplectic_adlif_equals_the_oracle_and_differs_from_the_other(drive):
    xs = inputs(seed=6, shape=(60, 2, 3), scale=0.5 if drive == "delta" else 8.0)
    options = {"a": 30.0, "scheme": "symplectic", "drive": drive}
    neuron = AdLIF(3, tau_w=30 * u.ms, b=0.5 * u.mV, **options)
    spikes, voltages = neuron_oracles.layer("adlif", xs, tau_second=30.0, b=0.5, **options)
    np.testing.assert_array_equal(run(neuron, xs, batch_size=2), spikes)
    np.testing.assert_allclose(neuron.v.value, voltages[-1], rtol=1e-3, atol=1e-4)
    other = neuron_oracles.layer("adlif", xs, tau_second=30.0, b=0.5, **(options | {"scheme": "euler"}))
    assert 0.02 < spikes.mean() < 0.9
    assert not np.allclose(voltages[-1], other[1][-1], atol=0.01)


@pytest.mark.parametrize("scheme", ["euler", "symplectic"])
def test_the_adlif_is_stable_up_to_the_bound_it_states(scheme):
    alpha, rho = math.exp(-1 / 20), math.exp(-1 / 100)
    numerator = (1 - alpha * rho) if scheme == "euler" else (1 + alpha) * (1 + rho)
    bound = numerator / ((1 - alpha) * (1 - rho))

    def dies_out(neuron):
        brainstate.nn.init_all_states(neuron)
        response = []
        for x in np.eye(1, 400, dtype=np.float32)[0]:
            neuron(jnp.array([x]))
            response.append(abs(float(neuron.v.value[0])))
        return np.max(response[300:]) < 0.9 * np.max(response[100:200])

    below, above = (AdLIF(1, a=f * bound, scheme=scheme, v_th=1e9 * u.mV) for f in (0.95, 1.05))
    assert dies_out(below)
    assert not dies_out(above)
    assert below.fluctuation() > 0
    with pytest.raises(ValueError, match=r"AdLIF: the states must stay bounded, got a="):
        above.fluctuation()


@pytest.mark.parametrize("scheme", ["euler", "symplectic"])
def test_the_gradient_of_an_adlif_is_the_tangent_of_its_equation(scheme):
    xs = inputs(seed=3, shape=(30,), scale=0.5)
    neuron = AdLIF(1, a=5.0, b=0.5 * u.mV, tau_w=30 * u.ms, scheme=scheme, learn=AdLIF.LEARNABLE)

    def last_voltage():
        brainstate.nn.init_all_states(neuron)
        for x in xs:
            neuron(jnp.array([x], jnp.float32))
        return neuron.v.value[0]

    found = brainstate.transform.grad(last_voltage, neuron.states(brainstate.ParamState))()
    expected = neuron_oracles.adlif_gradient_of_voltage(xs, scheme, 20.0, 1.0, 30.0, 5.0, 0.5)
    assert run(neuron, xs[:, None]).sum() > 2
    assert set(expected) == {name for (name,) in found}
    for (name,), value in found.items():
        np.testing.assert_allclose(value[0], expected[name], rtol=1e-3, atol=1e-5, err_msg=name)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"a": -1.0}, ValueError, r"AdLIF: a must be above -1, .* got a=-1\.0"),
        ({"a": 1 * u.mV}, TypeError, r"AdLIF: a must be a number without a unit"),
        ({"a": "one"}, TypeError, r"AdLIF: a must be a number without a unit"),
        ({"a": [1.0, 2.0]}, ValueError, r"AdLIF: a must have shape \(\) or \(3,\)"),
        ({"b": 1.0}, TypeError, r"AdLIF: b must be a voltage with a unit"),
        ({"scheme": "heun"}, ValueError, r"AdLIF: scheme must be 'euler' or 'symplectic', got scheme='heun'"),
    ],
)
def test_a_bad_argument_of_an_adlif_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        AdLIF(3, **arguments)


@pytest.mark.parametrize("reset", ["soft", "hard", "none"])
def test_a_refractory_unit_is_silent_keeps_its_voltage_and_ignores_input(reset):
    neuron = LIF(1, t_ref=3 * u.ms, reset=reset)
    brainstate.nn.init_all_states(neuron)
    assert neuron(jnp.array([5.0]))[0] == 1
    held = {"soft": 4.0, "hard": 0.0, "none": 5.0}[reset]
    for _ in range(3):
        assert neuron(jnp.array([50.0]))[0] == 0
        assert neuron.spikes()[0] == 0
        np.testing.assert_allclose(neuron.v.value, held)
    assert neuron(jnp.array([50.0]))[0] == 1


def test_a_refractory_period_is_rounded_up_to_whole_steps():
    xs = np.full((12, 1), 5.0)
    outs = run(LIF(1, t_ref=2.5 * u.ms, reset="hard"), xs)
    np.testing.assert_array_equal(np.flatnonzero(outs[:, 0]), [0, 4, 8])
    np.testing.assert_array_equal(
        np.flatnonzero(run(LIF(1, t_ref=0.3 * u.ms, dt=0.1 * u.ms, reset="hard"), xs)[:, 0]), [0, 4, 8]
    )


def test_the_time_step_is_the_neurons_own_else_the_environments_else_one_millisecond():
    own = LIF(1, dt=2 * u.ms)
    other = LIF(1)
    assert other.step_ms() == 1.0
    with brainstate.environ.context(dt=0.5 * u.ms):
        assert own.step_ms() == 2.0
        assert other.step_ms() == 0.5
    with (
        brainstate.environ.context(dt=0.5),
        pytest.raises(TypeError, match=r"LIF: dt must be a time with a unit"),
    ):
        other.step_ms()


def test_any_unit_of_time_or_voltage_will_do():
    one = LIF(2, tau_mem=0.02 * u.second, v_th=0.001 * u.volt)
    np.testing.assert_allclose(one.tau_mem, 20.0, rtol=1e-6)
    np.testing.assert_allclose(one.v_th, 1.0, rtol=1e-6)


def test_a_fixed_scalar_stays_a_literal_in_the_traced_step():
    def consts(neuron):
        def step(v, x):
            neuron.v = brainstate.HiddenState(v)
            return neuron(x), neuron.v.value

        return jax.make_jaxpr(step)(jnp.zeros(3), jnp.zeros(3)).consts

    assert consts(LIF(3)) == []


def test_a_learnt_time_constant_holds_its_logarithm_and_reads_back_as_a_time():
    neuron = LIF(3, tau_mem=np.array([5.0, 10.0, 20.0]) * u.ms, learn=("tau_mem", "v_th"))
    np.testing.assert_allclose(neuron.tau_mem.value, np.log([5.0, 10.0, 20.0]), rtol=1e-6)
    np.testing.assert_allclose(neuron.parameter("tau_mem").to_decimal(u.ms), [5.0, 10.0, 20.0], rtol=1e-6)
    np.testing.assert_allclose(neuron.parameter("v_th").to_decimal(u.mV), 1.0)
    assert set(neuron.states(brainstate.ParamState)) == {("tau_mem",), ("v_th",)}


def test_another_surrogate_changes_the_gradient_and_not_the_spikes():
    def slope(surrogate):
        neuron = LIF(1, surrogate=surrogate)

        def spike(x):
            neuron.init_state()
            return neuron(x)[0]

        return spike(jnp.array([1.1])), jax.grad(spike)(jnp.array([1.1]))[0]

    spike, gradient = slope(None)
    other, steep = slope(braintools.surrogate.ReluGrad(alpha=1.0, width=0.5))
    assert spike == other == 1
    np.testing.assert_allclose([gradient, steep], [0.3 * 0.9, 0.4], rtol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"tau_mem": 20.0},
            TypeError,
            r"LIF: tau_mem must be a time with a unit, got tau_mem=20\.0\. Write `tau_",
        ),
        ({"tau_mem": 20 * u.mV}, TypeError, r"LIF: tau_mem must be a time, got tau_mem=20"),
        (
            {"v_th": 1.0},
            TypeError,
            r"LIF: v_th must be a voltage with a unit, got v_th=1\.0\. Write `v_th=20 \* ",
        ),
        ({"t_ref": 2}, TypeError, r"LIF: t_ref must be a time with a unit"),
        ({"dt": 1}, TypeError, r"LIF: dt must be a time with a unit"),
        ({"dt": 0 * u.ms}, ValueError, r"LIF: dt must be above 0 ms"),
        ({"dt": np.ones(4) * u.ms}, ValueError, r"LIF: dt must have shape \(\), got dt of shape \(4,\)"),
        ({"t_ref": -1 * u.ms}, ValueError, r"LIF: t_ref must be at least 0 ms"),
        ({"tau_mem": 0 * u.ms}, ValueError, r"LIF: tau_mem must be above 0 ms"),
        ({"tau_mem": float("nan") * u.ms}, ValueError, r"LIF: tau_mem must be finite"),
        (
            {"tau_mem": np.ones(3) * u.ms},
            ValueError,
            r"LIF: tau_mem must have shape \(\) or \(4,\), got .* \(3,\)",
        ),
        ({"v_th": -1 * u.mV}, ValueError, r"LIF: v_th must be above v_rest"),
        ({"v_reset": 2 * u.mV, "reset": "hard"}, ValueError, r"LIF: v_th must be above v_reset"),
        ({"v_reset": 0 * u.mV}, ValueError, r"LIF: v_reset must go with reset='hard'"),
        (
            {"reset": "softly"},
            ValueError,
            r"LIF: reset must be 'soft' or 'hard' or 'none', got reset='softly'",
        ),
        ({"drive": "delay"}, ValueError, r"LIF: drive must be 'delta' or 'current', got drive='delay'"),
        ({"learn": ("tau",)}, ValueError, r"LIF: learn must name parameters among \('tau_mem', 'v_th'\)"),
        ({"learn": "tau_mem"}, TypeError, r"Write `learn=\('tau_mem',\)`"),
        ({"surrogate": 3}, TypeError, r"LIF: surrogate must be a function"),
        ({"n": 0}, ValueError, r"LIF: n must be positive, got n=0"),
        ({"n": 2.0}, TypeError, r"LIF: n must be an int, got n=2\.0"),
        ({"n": True}, TypeError, r"LIF: n must be an int"),
    ],
)
def test_a_bad_argument_is_refused_with_what_to_do(arguments, error, message):
    with pytest.raises(error, match=message):
        LIF(**({"n": 4} | arguments))


def test_a_step_without_states_or_with_a_wrong_input_is_refused():
    neuron = LIF(3)
    for model in (neuron, Recurrent(3, LIF(3))):
        with pytest.raises(
            RuntimeError, match=r"LIF: the states must be made before a step.*init_all_states"
        ):
            model(jnp.zeros(3))
    neuron.init_state()
    with pytest.raises(ValueError, match=r"LIF: current must have the states' shape \(3,\), got .* \(2, 3\)"):
        neuron(jnp.zeros((2, 3)))
    with pytest.raises(TypeError, match=r"LIF: current must be a plain array, in mV"):
        neuron(jnp.zeros(3) * u.mV)
    with pytest.raises(ValueError, match=r"LIF: name must be one of"):
        neuron.parameter("beta")


def test_the_default_weights_keep_every_neuron_alive_and_unsaturated():
    x = jnp.asarray(np.random.default_rng(0).random((100, 8, 700)) < 0.02, jnp.float32)
    for neuron in (LIF(256), ALIF(256), AdLIF(256), CurrentLIF(256), CurrentLIF(256, drive="current")):
        brainstate.random.seed(0)
        for layer in (Recurrent(700, neuron), FeedForward(700, neuron)):
            brainstate.nn.init_all_states(layer, batch_size=8)
            rate = float(brainstate.transform.for_loop(layer, x).mean())
            assert 0.02 < rate < 0.1, (type(neuron).__name__, type(layer).__name__, rate)


@pytest.mark.parametrize(
    "neuron",
    [
        LIF(200),
        LIF(200, dt=0.2 * u.ms, drive="current"),
        CurrentLIF(200),
        CurrentLIF(200, tau_syn=20 * u.ms),
        AdLIF(200, a=20.0),
        AdLIF(200, a=200.0, scheme="symplectic", drive="current"),
        LI(200, tau_mem=5 * u.ms),
    ],
    ids=["lif", "lif-fine", "cuba", "cuba-equal", "adlif", "adlif-symplectic", "li"],
)
def test_the_fluctuation_is_that_of_white_noise_below_threshold(neuron):
    alone = np.zeros((1000, neuron.n), np.float32)
    alone[0] = 1e-3
    brainstate.nn.init_all_states(neuron)
    response = []
    for x in alone:
        neuron(jnp.asarray(x))
        response.append(float(neuron.v.value[0]) * 1e3)
    np.testing.assert_allclose(neuron.fluctuation(), np.sqrt(np.sum(np.square(response))), rtol=1e-4)


def test_the_same_seed_draws_the_same_weights():
    def weights(seed):
        brainstate.random.seed(seed)
        layer = Recurrent(6, LIF(4))
        return np.concatenate([layer.w_in.value, layer.w_rec.value])

    np.testing.assert_array_equal(weights(1), weights(1))
    assert not np.array_equal(weights(1), weights(2))


@pytest.mark.parametrize("v_th", [-50.0, np.linspace(-58.0, -42.0, 300)], ids=["one", "one_each"])
def test_the_default_weights_have_the_scale_they_promise(v_th):
    brainstate.random.seed(0)
    neuron = LIF(300, v_th=v_th * u.mV, v_rest=-60 * u.mV)
    w = fluctuation_driven(neuron, 3.0)((400, 300))
    np.testing.assert_allclose(w.std(), 3.0 * 10.0 / (20.0 * neuron.fluctuation()), rtol=0.02)


def test_a_recurrent_layer_equals_its_equation():
    rng = np.random.default_rng(2)
    w_in, w_rec = rng.normal(0, 0.6, (5, 4)), rng.normal(0, 0.4, (4, 4))
    xs = rng.random((25, 3, 5)) < 0.5
    layer = Recurrent(5, LIF(4), w_init=w_in, w_rec_init=w_rec, self_connections=False)
    layer.bias.value = jnp.full(4, 0.05)
    outs = run(layer, xs, batch_size=3)
    hollow = w_rec.copy()
    np.fill_diagonal(hollow, 0.0)
    v, z = np.zeros((3, 4)), np.zeros((3, 4))
    for t, x in enumerate(xs):
        v = math.exp(-1 / 20) * (v - z) + x @ w_in + z @ hollow + 0.05
        z = (v >= 1.0).astype(float)
        np.testing.assert_array_equal(outs[t], z)
    assert 0.05 < outs.mean() < 0.95
    np.testing.assert_allclose(layer.neuron.v.value, v, rtol=1e-4, atol=1e-5)


def test_a_layer_lists_its_weights_apart():
    layer = Recurrent(5, LIF(4, learn=("v_th",)))
    shapes = {path: state.value.shape for path, state in layer.states(brainstate.ParamState).items()}
    assert shapes == {("w_in",): (5, 4), ("w_rec",): (4, 4), ("bias",): (4,), ("neuron", "v_th"): (4,)}
    bare = FeedForward(5, LI(4), bias=False)
    assert set(bare.states(brainstate.ParamState)) == {("w_in",)}


def test_a_layer_takes_the_initialisers_of_braintools_and_brainstate():
    for init in (braintools.init.Normal(0.0, 0.1), brainstate.nn.init.Orthogonal(), np.eye(4), 0.25):
        layer = Recurrent(4, LIF(4), w_init=init, w_rec_init=init)
        assert layer.w_in.value.shape == layer.w_rec.value.shape == (4, 4)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: FeedForward(3, "lif"),
            TypeError,
            r"FeedForward: neuron must be a neuron of snntrace\.neurons",
        ),
        (lambda: Recurrent(3, LI(2)), TypeError, r"Recurrent: neuron must be a neuron that spikes"),
        (lambda: FeedForward(0, LIF(2)), ValueError, r"FeedForward: n_in must be positive, got n_in=0"),
        (
            lambda: FeedForward(3, LIF(2), w_init=np.ones((2, 3))),
            ValueError,
            r"FeedForward: w_init must have shape \(3, 2\), got .* \(2, 3\)\. Weights are \(pre, post\)",
        ),
        (
            lambda: FeedForward(3, LIF(2), w_init=lambda shape: jnp.ones(shape) * u.mV),
            TypeError,
            r"FeedForward: w_init must give a plain array",
        ),
        (
            lambda: FeedForward(3, LIF(2))(jnp.ones(4)),
            ValueError,
            r"FeedForward: x must have 3 entries on its last",
        ),
    ],
)
def test_a_bad_layer_is_refused_with_what_to_do(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.shared
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("kind", ["lif", "alif"])
def test_the_golden_outputs_are_reproduced(shared, kind, seed):
    golden = np.load(shared / "golden" / f"{kind}_seed{seed}.npz")
    w = golden["param/cell.lin.weight.weight"]
    n_in, n = golden["x"].shape[1], w.shape[1]
    if kind == "lif":
        neuron = LIF(n, tau_mem=TAU_OF_GOLDEN)
    else:
        neuron = ALIF(n, tau_mem=TAU_OF_GOLDEN, tau_adapt=-1.0 / math.log(0.97) * u.ms, beta=0.2 * u.mV)
    layer = Recurrent(n_in, neuron, w_init=w[:n_in], w_rec_init=w[n_in:], bias=False)
    outs = run(layer, golden["x"]) @ golden["param/out.weight.weight"] + golden["param/out.weight.bias"]
    np.testing.assert_allclose(outs, golden["out"], atol=1e-5 * np.abs(golden["out"]).max())
