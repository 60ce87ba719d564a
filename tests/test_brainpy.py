"""The neurons, synapses and projections of brainpy.state, by their own names: trained as they are written."""

import brainstate
import braintools
import brainunit as u
import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from nets import double_precision, loss, streamed
from steps import leaves

import snntrace

# Importing it takes longer than most tests.
pytestmark = pytest.mark.slow
bp = pytest.importorskip("brainpy.state", reason="brainpy is not installed")

T, B, N_IN, N = 12, 3, 4, 5


@pytest.fixture(autouse=True)
def float64():
    with double_precision(), brainstate.environ.context(dt=1.0 * u.ms):
        yield


def dense(n_in, n_out, scale):
    layer = brainstate.nn.Linear(n_in, n_out)
    drawn = np.random.default_rng([n_in, n_out]).normal(0.3, scale, (n_in, n_out))
    layer.weight.value = {"weight": jnp.asarray(drawn), "bias": jnp.zeros(n_out)}
    return layer


class Layer(brainstate.nn.Module):
    """A dense layer into a neuron, and a read-out of its spikes; the time is an argument."""

    def __init__(self, neuron, unit):
        super().__init__()
        self.dense, self.neuron, self.unit = dense(N_IN, N, 2.0), neuron, unit
        self.out = dense(N, 2, 1.0)

    def update(self, x, t):
        with brainstate.environ.context(t=t * u.ms):
            return self.out(self.neuron(self.dense(x) * self.unit))


class Synapse(Layer):
    """The same with a synapse in front of a LIF neuron."""

    def __init__(self, synapse):
        super().__init__(bp.LIF(N), u.mA)
        self.synapse = synapse

    def update(self, x, t):
        with brainstate.environ.context(t=t * u.ms):
            g = self.synapse(self.dense(x) * u.mS)
            return self.out(self.neuron(g / u.mS * u.mA))


class Siemens(brainstate.nn.Module):
    """A dense layer whose output is a conductance."""

    def __init__(self):
        super().__init__()
        self.dense = dense(N_IN, N, 1.5)
        self.in_size, self.out_size = self.dense.in_size, self.dense.out_size

    def update(self, x):
        return self.dense(x) * u.siemens


class Projected(brainstate.nn.Module):
    """A projection with an exponential synapse onto LIF neurons, and a read-out."""

    def __init__(self, out, **options):
        super().__init__()
        self.pop = bp.LIF(N)
        synapse = bp.Expon.desc(N, tau=5 * u.ms)
        self.projection = bp.AlignPostProj(comm=Siemens(), syn=synapse, out=out, post=self.pop, **options)
        self.out = dense(N, 2, 1.0)

    def update(self, x, t):
        with brainstate.environ.context(t=t * u.ms):
            self.projection(x)
            return self.out(self.pop())


def at(voltage):
    return {"V_initializer": braintools.init.Constant(voltage * u.mV)}


MODELS = {
    "IF": lambda: Layer(bp.IF(N), u.mA),
    "LIF": lambda: Layer(bp.LIF(N), u.mA),
    "LIF_hard": lambda: Layer(bp.LIF(N, spk_reset="hard"), u.mA),
    "LIFRef": lambda: Layer(bp.LIFRef(N, tau_ref=2 * u.ms), u.mA),
    "ALIF": lambda: Layer(bp.ALIF(N), u.mA),
    "Gif": lambda: Layer(bp.Gif(N), u.mA),
    "GifRef": lambda: Layer(bp.GifRef(N), u.mA),
    "ExpIF": lambda: Layer(bp.ExpIF(N, **at(-62)), 10 * u.mA),
    "AdExIF": lambda: Layer(bp.AdExIF(N, **at(-62)), 10 * u.mA),
    "Izhikevich": lambda: Layer(bp.Izhikevich(N), 10 * u.mV / u.ms),
    "CubaLIF": lambda: Layer(bp.CubaLIF(N), u.mA),
    "CobaLIF": lambda: Layer(bp.CobaLIF(N), u.mA),
    "Expon": lambda: Synapse(bp.Expon(N)),
    "DualExpon": lambda: Synapse(bp.DualExpon(N)),
    "Alpha": lambda: Synapse(bp.Alpha(N)),
    "COBA": lambda: Projected(bp.COBA.desc(E=5 * u.mV)),
    "CUBA": lambda: Projected(bp.CUBA.desc(scale=u.mV)),
}


def gradient_of_a_loop(model, xs, ts, ys, batch_size):
    brainstate.nn.init_all_states(model, batch_size=batch_size)
    weights = model.states(brainstate.ParamState)

    def total():
        return loss(brainstate.transform.for_loop(model, xs, ts), ys)

    return leaves(brainstate.transform.grad(total, weights)())


def in_steps(learner, model, xs, ts, ys):
    weights, total = model.states(brainstate.ParamState), None
    step = brainstate.transform.jit(
        lambda x, t, y: brainstate.transform.grad(lambda: loss(learner.update(x, t), y), weights)()
    )
    for now in zip(xs, ts, ys, strict=True):
        found = leaves(step(*now))
        total = found if total is None else {k: total[k] + found[k] for k in found}
    return total


@pytest.mark.parametrize("name", MODELS)
def test_a_model_of_brainpy_gets_the_gradient_of_backpropagation_through_time(name):
    rng = np.random.default_rng(0)
    xs, ts = jnp.asarray(rng.random((T, B, N_IN))), jnp.arange(T) * 1.0
    ys = jnp.asarray(rng.normal(size=(T, B, 2)))
    model = MODELS[name]()
    exact = gradient_of_a_loop(model, xs, ts, ys, B)
    learner = snntrace.compile(model, snntrace.D_RTRL, xs[0], ts[0], batch_size=B, window=5)
    routes = {entry["route"] for entry in learner.report.as_dict()["parameters"].values()}
    assert routes == {"temporal", "instantaneous"}
    found = leaves(learner.value_and_grad(loss)((xs, ts), ys)[1])
    oracles.assert_close(found, exact, 1e-9)
    learner.reset_state()
    oracles.assert_close(in_steps(learner, model, xs, ts, ys), exact, 1e-9)


def test_a_delayed_projection_trains_its_weights():
    rng = np.random.default_rng(0)
    xs, ts = jnp.asarray(rng.random((T, N_IN))), jnp.arange(T) * 1.0
    ys = jnp.asarray(rng.normal(size=(T, 2)))
    late = Projected(bp.CUBA.desc(scale=u.mV), delay=3 * u.ms)
    soon = Projected(bp.CUBA.desc(scale=u.mV))
    exact = gradient_of_a_loop(late, xs, ts, ys, None)
    other = gradient_of_a_loop(soon, xs, ts, ys, None)
    assert oracles.relative_error(list(other.values())[-1], list(exact.values())[-1]) > 1e-2
    learner = snntrace.compile(late, snntrace.D_RTRL, xs[0], ts[0])
    oracles.assert_close(leaves(learner.value_and_grad(loss)((xs, ts), ys)[1]), exact, 1e-9)
    learner.reset_state()
    oracles.assert_close(in_steps(learner, late, xs, ts, ys), exact, 1e-9)


def test_recurrent_neurons_of_brainpy_have_one_gradient_in_every_order():
    class Recurrent(Layer):
        def __init__(self):
            super().__init__(bp.ALIF(N), u.mA)
            self.back = dense(N, N, 1.0)

        def update(self, x):
            z = self.neuron.get_spike()
            return self.out(self.neuron((self.dense(x) + self.back(z)) * u.mA))

    rng = np.random.default_rng(0)
    xs, ys = jnp.asarray(rng.random((T, B, N_IN))), jnp.asarray(rng.normal(size=(T, B, 2)))
    model = Recurrent()
    learner = snntrace.compile(model, snntrace.D_RTRL, xs[0], batch_size=B, window=5)
    found = leaves(learner.value_and_grad(loss)(xs, ys)[1])
    oracles.assert_close(leaves(streamed(learner, model, xs, ys)[0]), found, 1e-9)
    assert {p.path[0]: p.route for p in learner.report.parameters}["back"] == "temporal"


def test_a_time_that_is_set_outside_is_refused_when_it_changes():
    class Timeless(Layer):
        def update(self, x):
            return self.out(self.neuron(self.dense(x) * u.mA))

    x = jnp.ones((B, N_IN))
    with brainstate.environ.context(t=0.0 * u.ms):
        learner = snntrace.compile(Timeless(bp.LIFRef(N), u.mA), snntrace.D_RTRL, x, batch_size=B)
        learner.update(x)
    with brainstate.environ.context(t=1.0 * u.ms), pytest.raises(ValueError, match=r"\['t'\].*argument"):
        learner.update(x)
    assert jax.tree.leaves(learner.model.states(brainstate.HiddenState))
