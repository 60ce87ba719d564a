"""Models around the neurons, synapses and projections of brainpy.state, and how exact their gradients are."""

import brainpy.state as bp
import brainstate
import braintools
import brainunit as u
import jax.numpy as jnp
import numpy as np
import oracles
from nets import double_precision, loss
from steps import leaves

import snntrace

T, B, N_IN, N = 12, 3, 4, 5


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


class BySpikes(Synapse):
    """A synapse that takes spikes, in front of the weights."""

    def __init__(self, synapse, unit=1.0, gain=1.0):
        super().__init__(synapse)
        self.g_unit, self.gain = unit, gain

    def update(self, x, t):
        with brainstate.environ.context(t=t * u.ms):
            g = self.synapse(jnp.where(x > 0.5, 1.0, 0.0)) / self.g_unit
            return self.out(self.neuron(self.gain * self.dense(g) * u.mA))


class Conductance(brainstate.nn.Module):
    """A dense layer whose output is a conductance, or has another unit."""

    def __init__(self, unit=u.siemens, n_in=N_IN):
        super().__init__()
        self.dense, self.unit = dense(n_in, N, 1.5), unit
        self.in_size, self.out_size = self.dense.in_size, self.dense.out_size

    def update(self, x):
        return self.dense(x) * self.unit


class Events(brainstate.nn.Module):
    """A product with spikes as `brainevent.BinaryArray`."""

    def __init__(self):
        super().__init__()
        self.in_size, self.out_size = (N_IN,), (N,)
        self.weight = brainstate.ParamState(dense(N_IN, N, 1.5).weight.value["weight"])

    def update(self, x):
        return x @ self.weight.value


class Projected(brainstate.nn.Module):
    """A projection with an exponential synapse onto LIF neurons, and a read-out."""

    def __init__(self, out, **options):
        super().__init__()
        self.pop = bp.LIF(N)
        synapse = bp.Expon.desc(N, tau=5 * u.ms)
        self.projection = bp.AlignPostProj(comm=Conductance(), syn=synapse, out=out, post=self.pop, **options)
        self.out = dense(N, 2, 1.0)

    def update(self, x, t):
        with brainstate.environ.context(t=t * u.ms):
            self.projection(x)
            return self.out(self.pop())


class Joined(Projected):
    """Another projection onto LIF neurons."""

    def __init__(self, projection):
        brainstate.nn.Module.__init__(self)
        self.pop = bp.LIF(N)
        self.projection = projection(self.pop)
        self.out = dense(N, 2, 1.0)


class Coupled(Layer):
    """LIF neurons with gap junctions among them."""

    def __init__(self, junction):
        super().__init__(bp.LIF(N), u.mA)
        pre, post = np.array([0, 1, 2, 3]), np.array([1, 2, 3, 4])
        self.junction = junction(self.neuron, lambda *sizes: (pre, post))

    def update(self, x, t):
        self.junction()
        return super().update(x, t)


class ReadOut(brainstate.nn.Module):
    """The leaky read-out, alone: what a layer below it did to its later states is not in a trace."""

    def __init__(self):
        super().__init__()
        self.readout = bp.LeakyRateReadout(N_IN, 2)

    def update(self, x, t):
        return self.readout(x)


def at(voltage, **others):
    """Begin at a voltage: what is drawn anew at each initialisation cannot be compared."""
    return {"V_initializer": braintools.init.Constant(voltage * u.mV), **others}


def plain(n):
    """Make a synapse whose conductance has no unit."""
    return bp.Expon(n, tau=5 * u.ms, g_initializer=braintools.init.Constant(0.0))


def wide(width):
    """A surrogate as wide as these neurons' spikes."""
    return braintools.surrogate.ReluGrad(width=width)


MODELS = {
    "IF": lambda: Layer(bp.IF(N), u.mA),
    "LIF": lambda: Layer(bp.LIF(N), u.mA),
    "LIF, hard reset": lambda: Layer(bp.LIF(N, spk_reset="hard"), u.mA),
    "LIFRef": lambda: Layer(bp.LIFRef(N, tau_ref=2 * u.ms), u.mA),
    "ALIF": lambda: Layer(bp.ALIF(N), u.mA),
    "ExpIF": lambda: Layer(bp.ExpIF(N, **at(-62)), 10 * u.mA),
    "ExpIFRef": lambda: Layer(bp.ExpIFRef(N, tau_ref=2 * u.ms, **at(-62)), 10 * u.mA),
    "AdExIF": lambda: Layer(bp.AdExIF(N, **at(-62)), 10 * u.mA),
    "AdExIFRef": lambda: Layer(bp.AdExIFRef(N, tau_ref=2 * u.ms, **at(-62)), 10 * u.mA),
    "QuaIF": lambda: Layer(bp.QuaIF(N, **at(-52)), 20 * u.mA),
    "AdQuaIF": lambda: Layer(bp.AdQuaIF(N, **at(-52)), 20 * u.mA),
    "AdQuaIFRef": lambda: Layer(bp.AdQuaIFRef(N, tau_ref=2 * u.ms, **at(-52)), 20 * u.mA),
    "Gif": lambda: Layer(bp.Gif(N), u.mA),
    "GifRef": lambda: Layer(bp.GifRef(N), u.mA),
    "CubaLIF": lambda: Layer(bp.CubaLIF(N), u.mA),
    "CobaLIF": lambda: Layer(bp.CobaLIF(N), u.mA),
    "HH": lambda: Layer(bp.HH(N, spk_fun=wide(4.0), **at(-65)), 10 * u.uA),
    "MorrisLecar": lambda: Layer(bp.MorrisLecar(N, spk_fun=wide(9.0), **at(-60)), 100 * u.uA),
    "WangBuzsakiHH": lambda: Layer(bp.WangBuzsakiHH(N, spk_fun=wide(4.0)), 10 * u.uA),
    "Izhikevich": lambda: Layer(bp.Izhikevich(N), 10 * u.mV / u.ms),
    "IzhikevichRef": lambda: Layer(bp.IzhikevichRef(N, tau_ref=2 * u.ms), 10 * u.mV / u.ms),
    "FitzHughNagumo": lambda: Layer(bp.FitzHughNagumo(N, spk_fun=wide(3.0)), 1.0),
    "HindmarshRose": lambda: Layer(bp.HindmarshRose(N, spk_fun=wide(3.0)), 1.0),
    "Expon": lambda: Synapse(bp.Expon(N)),
    "DualExpon": lambda: Synapse(bp.DualExpon(N)),
    "Alpha": lambda: Synapse(bp.Alpha(N)),
    "AMPA": lambda: BySpikes(bp.AMPA(N_IN), u.mS, 9.0),
    "GABAa": lambda: BySpikes(bp.GABAa(N_IN), u.mS, 9.0),
    "BioNMDA": lambda: BySpikes(bp.BioNMDA(N_IN), u.mS, 3.0),
    "STP": lambda: BySpikes(bp.STP(N_IN), 1.0, 9.0),
    "STD": lambda: BySpikes(bp.STD(N_IN), 1.0, 3.0),
    "COBA": lambda: Projected(bp.COBA.desc(E=5 * u.mV)),
    "CUBA": lambda: Projected(bp.CUBA.desc(scale=u.mV)),
    "MgBlock": lambda: Projected(
        bp.MgBlock.desc(E=5 * u.mV, alpha=0.062 / u.mV, V_offset=0 * u.mV)
    ),
    "AlignPostProj": lambda: Projected(bp.CUBA.desc(scale=u.mV)),
    "DeltaProj": lambda: Joined(lambda pop: bp.DeltaProj(comm=Conductance(u.mV), post=pop)),
    "CurrentProj": lambda: Joined(
        lambda pop: bp.CurrentProj(comm=Conductance(), out=bp.CUBA(scale=u.mV), post=pop)
    ),
    "align_post_projection": lambda: Joined(
        lambda pop: bp.align_post_projection(
            lambda x: jnp.where(x > 0.5, 1.0, 0.0),
            comm=Events(), syn=plain(N), out=bp.CUBA(scale=u.mA), post=pop,
        )
    ),
    "SymmetryGapJunction": lambda: Coupled(
        lambda pop, conn: bp.SymmetryGapJunction(pop, "V", conn, 0.2 * u.siemens)
    ),
    "AsymmetryGapJunction": lambda: Coupled(
        lambda pop, conn: bp.AsymmetryGapJunction(pop, "V", pop, "V", conn, np.full((4, 2), 0.2) * u.siemens)
    ),
    "LeakyRateReadout": ReadOut,
}  # fmt: skip

OPTIONS = {name: {"nondiagonal": "exact"} for name in MODELS if name.endswith("GapJunction")}


def data():
    rng = np.random.default_rng(0)
    xs, ts = jnp.asarray(rng.random((T, B, N_IN))), jnp.arange(T) * 1.0
    return xs, ts, jnp.asarray(rng.normal(size=(T, B, 2)))


def gradient_of_a_loop(model, xs, ts, ys, batch_size):
    """Differentiate the model by JAX's own backpropagation through time."""
    brainstate.nn.init_all_states(model, batch_size=batch_size)
    weights = model.states(brainstate.ParamState)

    def total():
        return loss(brainstate.transform.for_loop(model, xs, ts), ys)

    return leaves(brainstate.transform.grad(total, weights)())


def in_steps(learner, model, xs, ts, ys):
    """Sum the gradients of `update`, step by step."""
    weights, total = model.states(brainstate.ParamState), None
    step = brainstate.transform.jit(
        lambda x, t, y: brainstate.transform.grad(lambda: loss(learner.update(x, t), y), weights)()
    )
    for now in zip(xs, ts, ys, strict=True):
        found = leaves(step(*now))
        total = found if total is None else {k: total[k] + found[k] for k in found}
    return total


def errors(name):
    """Return the largest relative errors over windows and step by step; raises where a model is refused."""
    with double_precision(), brainstate.environ.context(dt=1.0 * u.ms):
        xs, ts, ys = data()
        model = MODELS[name]()
        exact = gradient_of_a_loop(model, xs, ts, ys, B)
        learner = snntrace.compile(
            model, snntrace.D_RTRL, xs[0], ts[0], batch_size=B, window=5, **OPTIONS.get(name, {})
        )
        routes = {entry["route"] for entry in learner.report.as_dict()["parameters"].values()}
        assert "temporal" in routes, routes
        for key, value in exact.items():
            assert np.abs(value).max() > 1e-6, f"{name}: the gradient of {key} is zero"
        found = {"windows": leaves(learner.value_and_grad(loss)((xs, ts), ys)[1])}
        learner.reset_state()
        found["streaming"] = in_steps(learner, model, xs, ts, ys)
    return {
        order: max(oracles.relative_error(grads[k], exact[k]) for k in exact)
        for order, grads in found.items()
    }
