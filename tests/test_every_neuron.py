"""What holds for every spiking neuron, whatever its dynamics and options."""

import itertools

import brainstate
import brainunit as u
import jax
import jax.numpy as jnp
import neuron_oracles
import numpy as np
import pytest

from snntrace.neurons import NEURONS, Recurrent

RESETS = ["soft", "hard", "none"]
SECOND = {"alif": "tau_adapt", "adlif": "tau_w", "cuba": "tau_syn"}
# Inputs that make each kind spike in some steps and stay silent in others.
SCALE = {("lif", "delta"): 0.4, ("alif", "delta"): 0.5, ("adlif", "delta"): 0.5, ("cuba", "delta"): 0.15}
SCALE |= {("lif", "current"): 6.0, ("alif", "current"): 6.0, ("adlif", "current"): 7.0}
SCALE |= {("cuba", "current"): 2.0}

every_neuron = pytest.mark.parametrize("kind", sorted(NEURONS))


def drawn(kind, shape, drive="delta", seed=0):
    return np.random.default_rng(seed).normal(0.25, 1.0, shape) * SCALE[kind, drive]


def run(neuron, xs, batch_size=None):
    brainstate.nn.init_all_states(neuron, batch_size=batch_size)
    step = brainstate.transform.jit(lambda x: (neuron(x), neuron.v.value))
    outs = [step(jnp.asarray(x, jnp.float32)) for x in xs]
    return np.stack([np.asarray(z) for z, _ in outs]), np.stack([np.asarray(v) for _, v in outs])


def away_from_threshold(kind, xs, margin=1e-5, **options):
    """The oracle's spikes and voltages, on a raster that rounding cannot change."""
    spikes, voltages = neuron_oracles.layer(kind, xs, **options)
    nudged = neuron_oracles.layer(kind, xs * (1 + margin), **options)[0]
    assert np.array_equal(spikes, nudged), "an input at the threshold: choose another seed"
    assert 0.02 < spikes.mean() < 0.9
    return spikes, voltages


@every_neuron
@pytest.mark.parametrize(
    ("reset", "drive", "held"), list(itertools.product(RESETS, ["delta", "current"], [0, 2]))
)
def test_spikes_and_voltages_equal_the_oracle(kind, reset, drive, held):
    xs = drawn(kind, (30, 3, 4), drive, seed=1)
    spikes, voltages = away_from_threshold(
        kind, xs, reset=reset, drive=drive, held_steps=held, tau_second=8.0, v_rest=-0.1
    )
    options = {SECOND[kind]: 8.0 * u.ms} if kind in SECOND else {}
    neuron = NEURONS[kind](4, reset=reset, drive=drive, t_ref=held * u.ms, v_rest=-0.1 * u.mV, **options)
    outs, vs = run(neuron, xs, batch_size=3)
    np.testing.assert_array_equal(outs, spikes)
    np.testing.assert_allclose(vs, voltages, rtol=1e-3, atol=1e-4)


@every_neuron
def test_units_may_differ_in_every_parameter(kind):
    xs = drawn(kind, (40, 3), seed=4)
    per_unit = {
        "tau_mem": [5.0, 20.0, 60.0],
        "v_th": [0.8, 1.0, 1.3],
        "v_rest": [0.0, -0.2, 0.1],
        "v_reset": [-0.5, -0.3, 0.0],
        "tau_second": [3.0, 9.0, 30.0],
        "beta": [0.1, 0.2, 0.4],
        "a": [-0.5, 0.0, 20.0],
        "b": [0.0, 0.3, 1.0],
    }
    spikes, voltages = away_from_threshold(kind, xs, per_unit=per_unit, reset="hard", dt=0.5)
    given = {name: np.array(per_unit[name]) * u.mV for name in ("v_th", "v_rest", "v_reset")}
    given["tau_mem"] = np.array(per_unit["tau_mem"]) * u.ms
    if kind in SECOND:
        given[SECOND[kind]] = np.array(per_unit["tau_second"]) * u.ms
    if kind == "alif":
        given["beta"] = np.array(per_unit["beta"]) * u.mV
    if kind == "adlif":
        given |= {"a": np.array(per_unit["a"]), "b": np.array(per_unit["b"]) * u.mV}
    outs, vs = run(NEURONS[kind](3, reset="hard", dt=0.5 * u.ms, **given), xs)
    np.testing.assert_array_equal(outs, spikes)
    np.testing.assert_allclose(vs, voltages, rtol=1e-3, atol=1e-4)


@every_neuron
def test_a_batch_is_its_samples_side_by_side(kind):
    xs = drawn(kind, (20, 3, 4))
    together = run(NEURONS[kind](4), xs, batch_size=3)[1]
    for sample in range(3):
        np.testing.assert_allclose(together[:, sample], run(NEURONS[kind](4), xs[:, sample])[1], rtol=1e-5)


@every_neuron
def test_learning_every_parameter_changes_nothing_at_first(kind):
    xs = drawn(kind, (25, 4))
    names = NEURONS[kind].LEARNABLE
    fixed, learnt = NEURONS[kind](4), NEURONS[kind](4, learn=names)
    for one, other in zip(run(fixed, xs), run(learnt, xs), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    states = learnt.states(brainstate.ParamState)
    assert set(states) == {(name,) for name in names}
    assert {state.value.shape for state in states.values()} == {(4,)}
    for name in names:
        np.testing.assert_allclose(
            fixed.parameter(name).mantissa, np.ravel(learnt.parameter(name).mantissa)[0], rtol=1e-5
        )


@every_neuron
def test_every_learnt_parameter_has_a_gradient(kind):
    neuron = NEURONS[kind](4, learn=NEURONS[kind].LEARNABLE)
    xs = jnp.asarray(drawn(kind, (25, 4)), jnp.float32)

    def loss():
        brainstate.nn.init_all_states(neuron)
        return sum((neuron(x) + neuron.v.value**2).sum() for x in xs)

    gradients = brainstate.transform.grad(loss, neuron.states(brainstate.ParamState))()
    for path, gradient in gradients.items():
        assert np.isfinite(gradient).all(), path
        assert np.abs(gradient).max() > 1e-4, path


@every_neuron
@pytest.mark.parametrize("t_ref", [None, 2 * u.ms])
def test_reset_state_returns_to_the_first_step(kind, t_ref):
    neuron = NEURONS[kind](4, t_ref=t_ref)
    xs = drawn(kind, (15, 2, 4))
    first = run(neuron, xs, batch_size=2)[0]
    brainstate.nn.reset_all_states(neuron, batch_size=2)
    again = np.stack([np.asarray(neuron(jnp.asarray(x, jnp.float32))) for x in xs])
    np.testing.assert_array_equal(first, again)


@every_neuron
@pytest.mark.parametrize("t_ref", [None, 2 * u.ms])
def test_the_spikes_returned_are_those_a_recurrent_synapse_reads(kind, t_ref):
    neuron = NEURONS[kind](4, t_ref=t_ref)
    brainstate.nn.init_all_states(neuron, batch_size=2)
    assert not np.asarray(neuron.spikes()).any()
    for x in drawn(kind, (15, 2, 4)):
        np.testing.assert_array_equal(neuron(jnp.asarray(x, jnp.float32)), neuron.spikes())


@every_neuron
@pytest.mark.parametrize("t_ref", [None, 2 * u.ms])
def test_every_hidden_state_keeps_its_shape_and_type(kind, t_ref):
    neuron = NEURONS[kind](4, t_ref=t_ref, learn=("tau_mem",))
    for batch_size, shape in ((None, (4,)), (3, (3, 4))):
        brainstate.nn.init_all_states(neuron, batch_size=batch_size)
        for _ in range(2):
            for state in neuron.states(brainstate.HiddenState).values():
                assert state.value.shape == shape
                assert state.value.dtype == jnp.float32
            neuron(jnp.ones(shape))
        assert (t_ref is None) == (not hasattr(neuron, "held"))


@every_neuron
def test_a_step_in_double_precision_is_double_throughout(kind):
    with brainstate.environ.context(precision=64):
        neuron = NEURONS[kind](4, tau_mem=np.arange(5.0, 9.0) * u.ms)
        layer = Recurrent(3, neuron)
        brainstate.nn.init_all_states(layer)
        out = layer(jnp.ones(3))
        dtypes = {state.value.dtype for state in layer.states().values()}
    assert dtypes | {out.dtype} == {jnp.dtype("float64")}


@every_neuron
def test_a_transition_acts_inside_each_unit_only(kind):
    neuron = NEURONS[kind](3, detach_reset=False, t_ref=1 * u.ms)
    brainstate.nn.init_all_states(neuron)
    for x in drawn(kind, (5, 3)):
        neuron(jnp.asarray(x, jnp.float32))
    states = neuron.states(brainstate.HiddenState)
    before, held = {name: state.value for (name,), state in states.items()}, neuron.held.value

    def step(values):
        neuron.init_state()
        neuron.held.value = held
        for name, value in values.items():
            getattr(neuron, name).value = value
        neuron(jnp.full(3, 0.2))
        return {name: getattr(neuron, name).value for name in values}

    for row in jax.jacobian(step)(before).values():
        for block in row.values():
            np.testing.assert_array_equal(block, np.diag(np.diag(block)))


@every_neuron
def test_a_neuron_runs_under_vmap_as_in_a_batch(kind):
    xs = jnp.asarray(drawn(kind, (10, 3, 4)), jnp.float32)
    neuron = NEURONS[kind](4, t_ref=1 * u.ms)
    batched = run(NEURONS[kind](4, t_ref=1 * u.ms), xs, batch_size=3)[0]

    @brainstate.transform.vmap_new_states(state_tag="new", axis_size=3)
    def init():
        brainstate.nn.init_all_states(neuron)

    init()
    mapped = brainstate.nn.Vmap(neuron, vmap_states="new")
    np.testing.assert_array_equal(np.stack([np.asarray(mapped(x)) for x in xs]), batched)


@every_neuron
def test_a_module_with_units_that_differ_can_be_split_hashed_and_merged(kind):
    neuron = NEURONS[kind](3, tau_mem=np.array([5.0, 6.0, 7.0]) * u.ms, v_th=np.ones(3) * u.mV)
    neuron.init_state()
    graph, states = brainstate.graph.treefy_split(neuron)
    hash(graph)
    again = brainstate.graph.treefy_merge(graph, states)
    np.testing.assert_array_equal(again(jnp.full(3, 0.7)), neuron(jnp.full(3, 0.7)))


@every_neuron
def test_the_class_is_documented_with_its_equation_and_its_paper(kind):
    text = NEURONS[kind].__doc__
    for part in (".. math::", "Parameters\n", "References\n", "Examples\n", "Raises\n"):
        assert part in text
    for name in NEURONS[kind].LEARNABLE:
        assert name in text
