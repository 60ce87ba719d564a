"""Layers whose units stand on maps: convolutional and pooled, held to matrices and the numpy trace."""

import functools

import brainstate
import braintools
import brainunit as u
import jax
import jax.numpy as jnp
import map_oracles
import numpy as np
import oracles
import pytest
from nets import bptt, cell_of, double_precision, loss, streamed

import snntrace
from snntrace.datasets import NMNISTLike
from snntrace.neurons import ALIF, LI, LIF, NEURONS, AdLIF, CurrentLIF, FeedForward, Neuron, Recurrent
from snntrace.nn import Linear, SpikingConv, SpikingPool

RANDOM = snntrace.Rule(recursion="diagonal", signal="random", name="e-prop with random feedback")
T, B, N_OUT = 12, 2, 3

MAKERS = {
    "lif": lambda size: LIF(size, tau_mem=10 * u.ms),
    "alif": lambda size: ALIF(size, tau_mem=10 * u.ms, tau_adapt=30 * u.ms, beta=0.3 * u.mV),
    "adlif": lambda size: AdLIF(size, tau_mem=10 * u.ms, tau_w=30 * u.ms, a=3.0, b=0.4 * u.mV),
    "current": lambda size: CurrentLIF(size, tau_mem=10 * u.ms, tau_syn=3 * u.ms),
    "learnt": lambda size: ALIF(
        size, tau_mem=10 * u.ms, tau_adapt=30 * u.ms, beta=0.3 * u.mV, learn=("tau_mem", "v_th")
    ),
}
GAIN = {"lif": 1.0, "alif": 1.1, "adlif": 1.2, "current": 0.45, "learnt": 1.1}

WINDOWS = {
    "one dimension, strided and dilated": ((9, 3), 3, 4, {"stride": 2, "dilation": 2}),
    "two dimensions, even kernel": ((6, 5, 2), (2, 4), 3, {}),
    "two dimensions, strided, same": ((7, 6, 2), 3, 3, {"stride": (2, 3)}),
    "two dimensions, valid, groups": ((5, 6, 4), (3, 2), 6, {"padding": "VALID", "groups": 2}),
    "two dimensions, padded unevenly": ((5, 4, 1), 3, 2, {"padding": ((1, 2), (0, 3)), "dilation": (1, 2)}),
    "three dimensions": ((4, 3, 5, 2), (2, 3, 2), 3, {"padding": 1, "stride": (1, 2, 2)}),
}
each_window = pytest.mark.parametrize("window", WINDOWS.values(), ids=[w.replace(" ", "_") for w in WINDOWS])


@pytest.fixture
def float64():
    with double_precision():
        yield


def shared_weights(layer, window=None):
    """The oracle's place of a layer's kernel, or of its recurrent kernel."""
    w = layer.window if window is None else window
    channels = layer.out_size[-1]
    groups = layer.groups if window is None else 1
    padding = w.padding
    return map_oracles.SharedWeights(w.in_size, w.window, channels, w.stride, w.dilation, padding, groups)


# What a step computes --------------------------------------------------------------------------


@each_window
def test_a_convolution_is_the_matrix_that_its_kernel_spreads_out_to(float64, window):
    in_size, kernel, channels, options = window
    rng = np.random.default_rng(0)
    # Units that forget at once and never spike show their current.
    layer = SpikingConv(
        in_size, channels, kernel, lambda size: LI(size, tau_mem=1e-3 * u.ms), w_init=np.ones, **options
    )
    shared = shared_weights(layer)
    w, bias = rng.normal(size=shared.kernel_shape), rng.normal(size=channels)
    layer.w_in.value, layer.bias.value = jnp.asarray(w), jnp.asarray(bias)
    assert layer.in_size == in_size
    assert layer.out_size == shared.out_size
    for lead in ((3,), ()):
        brainstate.nn.init_all_states(layer, batch_size=lead[0] if lead else None)
        x = rng.normal(size=(*lead, *in_size))
        flat = x.reshape(*lead, -1) @ shared.matrix(w)
        expected = flat.reshape(*lead, *shared.out_size) + bias
        np.testing.assert_allclose(layer(jnp.asarray(x)), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", ["sum", "mean", "max"])
@pytest.mark.parametrize(
    ("in_size", "window", "stride"),
    [((6, 5, 2), 2, None), ((7, 3), 3, 2), ((4, 4, 4, 1), (2, 1, 2), (2, 2, 1))],
)
def test_a_pooling_joins_each_window_of_each_channel(float64, kind, in_size, window, stride):
    layer = SpikingPool(
        in_size, window, lambda size: LI(size, tau_mem=1e-3 * u.ms), stride, kind=kind, gain=2.0
    )
    w = layer.window
    matrix, out_size = map_oracles.pooling(in_size, w.window, w.stride)
    assert layer.out_size == out_size
    x = np.random.default_rng(0).normal(size=(3, *in_size))
    flat = x.reshape(3, -1)
    expected = {
        "sum": flat @ matrix,
        "mean": flat @ matrix / np.prod(w.window),
        "max": np.where(matrix > 0, flat[:, :, None], -np.inf).max(1),
    }[kind]
    brainstate.nn.init_all_states(layer, batch_size=3)
    np.testing.assert_allclose(layer(jnp.asarray(x)), 2.0 * expected.reshape(3, *out_size), rtol=1e-10)


@pytest.mark.parametrize("padding", [1, 2])
def test_a_maximum_sees_zeros_around_the_map_and_leaves_its_gradient_inside(padding):
    layer = SpikingPool((2, 2, 3), 2, LI, padding=padding, kind="max")
    x = np.random.default_rng(0).normal(size=(5, 2, 2, 3)).astype(np.float32)
    x[0] = -np.abs(x[0])
    places = layer.out_size[0]
    around = np.pad(x, [(0, 0), (padding, padding), (padding, padding), (0, 0)])
    expected = around.reshape(5, places, 2, places, 2, 3).max((2, 4))
    # Only with two rows of padding is a window wholly inside, where there are no zeros to see.
    assert (expected.min() < 0) == (padding == 2)
    np.testing.assert_array_equal(layer.pooled(jnp.asarray(x)), expected)
    silent = jax.grad(lambda x: layer.pooled(x).sum())(jnp.zeros((2, 2, 3)))
    assert silent.sum() == 3 * (4 if padding == 1 else 1)


@pytest.mark.parametrize(("drive", "v_th"), [("delta", 3), ("current", 3), ("delta", [2, 6])])
def test_summed_spikes_are_all_passed_on_where_units_do_not_leak(drive, v_th):
    layer = SpikingPool(
        (4, 4, 2),
        2,
        lambda size: LIF(size, tau_mem=1e7 * u.ms, v_th=v_th * u.mV, v_rest=1 * u.mV, drive=drive),
    )
    brainstate.nn.init_all_states(layer)
    x = np.zeros((12, 4, 4, 2), np.float32)
    x[:3] = np.random.default_rng(0).random((3, 4, 4, 2)) < 0.4
    # A little above the weight of exactly one threshold, which a slow leak would eat up.
    layer.gain = 1.01
    out = sum(np.asarray(layer(jnp.asarray(step))) for step in x)
    np.testing.assert_array_equal(out, x.sum(0).reshape(2, 2, 2, 2, 2).sum((1, 3)))


def test_a_map_has_one_parameter_a_channel_and_units_of_their_own():
    neuron = LIF((4, 3, 2), tau_mem=[5, 50] * u.ms, learn=("v_th",))
    assert (neuron.n, neuron.size, neuron.v_th.value.shape) == (24, (4, 3, 2), (2,))
    brainstate.nn.init_all_states(neuron, batch_size=5)
    assert neuron(0.5 * jnp.ones((4, 3, 2))).shape == (5, 4, 3, 2)
    neuron(jnp.zeros((4, 3, 2)))
    np.testing.assert_allclose(neuron.v.value[0, 0, 0], 0.5 * np.exp([-1 / 5, -1 / 50]), rtol=1e-5)


@pytest.mark.parametrize("kind", NEURONS)
def test_a_map_of_units_is_a_row_of_units_in_another_shape(kind):
    xs = np.random.default_rng(0).normal(0.3, 0.7, (20, 2, 12)).astype(np.float32)
    row, map_ = NEURONS[kind](12), NEURONS[kind]((2, 3, 2))
    for neuron in (row, map_):
        brainstate.nn.init_all_states(neuron, batch_size=2)
    outs = [np.asarray(row(x)) for x in xs]
    assert 0.02 < np.mean(outs) < 0.9
    for x, out in zip(xs, outs, strict=True):
        np.testing.assert_array_equal(map_(x.reshape(2, 2, 3, 2)), out.reshape(2, 2, 3, 2))


def test_the_first_weights_are_scaled_by_the_kernels_fan_in():
    with brainstate.random.seed_context(0):
        layer = SpikingConv((12, 12, 8), 64, 5, groups=2, recurrent_kernel_size=3)
    scale = layer.neuron.fluctuation()
    np.testing.assert_allclose(np.std(layer.w_in.value), 10.0 / np.sqrt(25 * 4) / scale, rtol=0.03)
    np.testing.assert_allclose(np.std(layer.w_rec.value), 2.0 / np.sqrt(9 * 64) / scale, rtol=0.03)


def test_layers_take_their_sizes_from_the_layer_below():
    net = brainstate.nn.Sequential(
        SpikingConv((9, 9, 2), 4, 3),
        brainstate.nn.MaxPool2d.desc(2, 2),
        SpikingConv.desc(channels=6, kernel_size=3, neuron=ALIF),
        SpikingPool.desc(window=2),
        brainstate.nn.Flatten.desc(),
        FeedForward(24, LI(3)),
    )
    assert [layer.out_size for layer in net.layers] == [
        (9, 9, 4), (4, 4, 4), (4, 4, 6), (2, 2, 6), (24,), (3,),
    ]  # fmt: skip
    brainstate.nn.init_all_states(net, batch_size=2)
    assert net(jnp.ones((2, 9, 9, 2))).shape == (2, 3)


# Gradients -------------------------------------------------------------------------------------


class Stack(brainstate.nn.Module):
    """Convolutional layers with a sum over windows between them, and a linear read-out of the last spikes."""

    def __init__(self, layers, between):
        super().__init__()
        self.layers, self.between = layers, between
        self.out = Linear(int(np.prod(layers[-1].out_size)), N_OUT, w_init=0.0)

    def update(self, x):
        for i, layer in enumerate(self.layers):
            x = layer(self.between(x) if i else x)
        return self.out(x.reshape(x.shape[0], -1))


class Case:
    """A stack with drawn weights, as a model and as the oracle's dense layers."""

    def __init__(self, kinds, in_size=(5, 4, 2), recurrent=True, seed=0):
        rng = np.random.default_rng(seed)
        self.layers, modules, self.shared = [], [], []
        size = in_size
        for i, kind in enumerate(kinds):
            before = None
            if i:
                before, size = map_oracles.pooling(size, (2, 1), (2, 1))
            layer = SpikingConv(
                size, 3, (3, 2), MAKERS[kind], stride=(2, 1) if not i else 1, w_init=0.0,
                recurrent_kernel_size=(1, 3) if recurrent else None,
                w_rec_init=0.0 if recurrent else None,
            )  # fmt: skip
            gain, n = GAIN[kind], layer.neuron.n
            shared = {"w_in": shared_weights(layer)}
            values = {"w_in": rng.normal(0.05, gain * 1.6 / np.sqrt(12), shared["w_in"].kernel_shape)}
            if recurrent:
                shared["w_rec"] = shared_weights(layer, layer.recurrent_window)
                values["w_rec"] = rng.normal(0, gain * 0.8 / 3, shared["w_rec"].kernel_shape)
                # Strong self-connections, or the coupled recursion could not be told from the diagonal one.
                values["w_rec"][0, 1, np.arange(3), np.arange(3)] += gain * rng.choice([-0.6, 0.6], 3)
            values["bias"] = gain * rng.normal(0.12, 0.1, 3)
            if kind == "learnt":
                values["log_tau"], values["v_th"] = np.log(rng.uniform(5, 15, 3)), rng.uniform(0.8, 1.2, 3)
            states = self.states(layer)
            for name, value in values.items():
                states[name].value = jnp.asarray(value)
            spread = {k: s.matrix(values[k]) for k, s in shared.items()}
            if before is not None:
                spread["w_in"] = before @ spread["w_in"]
            each = {k: np.tile(values.get(k, d), n // 3) for k, d in
                    (("bias", 0), ("log_tau", np.full(3, np.log(10.0))), ("v_th", np.ones(3)))}  # fmt: skip
            self.layers.append(oracles.Layer(cell_of("alif" if kind == "learnt" else kind), **spread, **each))
            self.shared.append((shared, before))
            modules.append(layer)
            size = layer.out_size
        pool = SpikingPool(modules[0].out_size, (2, 1)).pooled if len(kinds) > 1 else None
        self.model = Stack(modules, pool)
        n_last = modules[-1].neuron.n
        self.w_out, self.b_out = rng.normal(size=(n_last, N_OUT)), rng.normal(0, 0.3, N_OUT)
        self.model.out.weight.value = {"weight": jnp.asarray(self.w_out), "bias": jnp.asarray(self.b_out)}
        self.xs = (rng.random((T, B, *in_size)) < 0.4).astype(float)
        self.ys = np.eye(N_OUT)[rng.integers(0, N_OUT, (T, B))]
        self.matrices = [rng.normal(0, 0.5, (N_OUT, layer.neuron.n)) for layer in modules]

    @staticmethod
    def states(layer):
        found = {"w_in": layer.w_in, "bias": layer.bias, "w_rec": layer.w_rec}
        found |= {"log_tau": layer.neuron.tau_mem, "v_th": layer.neuron.v_th}
        return {k: s for k, s in found.items() if isinstance(s, brainstate.ParamState)}

    def oracle(self, recursion, signal=None):
        """Return the gradients of the numpy trace of the dense layers, summed where weights are shared."""
        for layer, matrix in zip(self.layers, self.matrices, strict=True):
            layer.signal = None if signal is None else ("output", signal, matrix)
        xs = self.xs.reshape(T, B, -1)
        _, grads = oracles.trace_gradients(self.layers, self.w_out, self.b_out, xs, self.ys, recursion)
        oracles.assert_alive(self.layers, spiking=(0.02, 0.6))
        found = {f"out.{k}": v for k, v in grads[-1].items()}
        for i, (layer, (shared, before)) in enumerate(zip(self.model.layers, self.shared, strict=True)):
            for name in self.states(layer):
                value = grads[i][name]
                if name not in shared:
                    value = value.reshape(-1, 3).sum(0)
                elif name == "w_in" and before is not None:
                    # From each place of a window there is the weight of the window.
                    value = shared[name].gather(before.T @ value)
                else:
                    value = shared[name].gather(value)
                found[f"{i}.{name}"] = value
        return found

    def named(self, grads):
        by_state = {id(s): grads[p] for p, s in self.model.states(brainstate.ParamState).items()}
        found = {
            f"{i}.{name}": np.asarray(by_state[id(state)])
            for i, layer in enumerate(self.model.layers)
            for name, state in self.states(layer).items()
        }
        last = by_state[id(self.model.out.weight)]
        return found | {"out.w_out": np.asarray(last["weight"]), "out.b_out": np.asarray(last["bias"])}

    def every_order(self, rule, **options):
        """Yield the gradients of a learner step by step, in windows, and over the whole sequence."""
        xs, ys = jnp.asarray(self.xs), jnp.asarray(self.ys)
        target = {"y_target": ys} if rule.signal == "target" else {}
        for window in (None, 5):
            learner = snntrace.compile(self.model, rule, xs[0], batch_size=B, window=window, **options)
            yield window or "sequence", self.named(learner.value_and_grad(loss)(xs, ys, **target)[1])
        yield "streaming", self.named(streamed(learner, self.model, xs, ys, bool(target))[0])


STACKS = {
    "LIF": (["lif"], snntrace.D_RTRL),
    "ALIF that learns, on LIF": (["lif", "learnt"], snntrace.D_RTRL),
    "OSTTP": (["alif", "lif"], snntrace.OSTTP),
    "OSTL": (["current"], snntrace.OSTLRecurrent),
    "e-prop with random feedback": (["alif"], RANDOM),
    "adLIF": (["adlif"], snntrace.D_RTRL),
}


FAST = {"ALIF that learns, on LIF", "OSTTP"}


@pytest.mark.parametrize(
    "name", [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in STACKS]
)
def test_every_order_gives_the_numpy_trace_of_every_place(float64, name):
    kinds, rule = STACKS[name]
    case = Case(kinds)
    signal = rule.signal if rule.projects else None
    expected = case.oracle("coupled" if rule.recursion == "coupled" else "diagonal", signal)
    options = {"B_list": [jnp.asarray(b) for b in case.matrices], "signal": "output"} if signal else {}
    for order, found in case.every_order(rule, **options):
        for name, value in expected.items():
            assert np.abs(value).max() > 1e-6, name
            assert oracles.relative_error(found[name], value) < 1e-10, (order, name)


def test_the_gradient_is_backpropagations_without_recurrent_weights_and_not_with_them(float64):
    for recurrent in (False, True):
        case = Case(["alif"], recurrent=recurrent)
        exact = case.named(bptt(case.model, B, jnp.asarray(case.xs), jnp.asarray(case.ys)))
        found = case.oracle("diagonal")
        errors = {k: oracles.relative_error(found[k], exact[k]) for k in exact}
        if recurrent:
            assert max(errors.values()) > 1e-2
        else:
            assert max(errors.values()) < 1e-10


def test_below_a_maximum_the_gradient_is_backpropagations(float64):
    layer = SpikingConv((5, 4, 2), 3, 3, MAKERS["alif"], w_init=brainstate.nn.init.Normal(0.4))
    model = brainstate.nn.Sequential(
        layer, brainstate.nn.MaxPool2d.desc(2, 2), brainstate.nn.Flatten.desc(), Linear.desc(out_size=N_OUT)
    )
    case = Case(["lif"])
    xs, ys = jnp.asarray(case.xs), jnp.asarray(case.ys)
    exact = bptt(model, B, xs, ys)
    learner = snntrace.compile(model, snntrace.D_RTRL, xs[0], batch_size=B)
    found = learner.value_and_grad(loss)(xs, ys)[1]
    for path, value in exact.items():
        for a, b in zip(jax.tree.leaves(found[path]), jax.tree.leaves(value), strict=True):
            assert float(jnp.abs(b).max()) > 1e-3, path
            assert oracles.relative_error(a, b) < 1e-10, path


def test_of_smooth_units_the_gradient_is_the_difference_quotient(float64):
    model = SpikingConv(
        (4, 3, 2), 2, 2, lambda size: LI(size, tau_mem=5 * u.ms, learn=("tau_mem",)), padding="VALID"
    )
    rng = np.random.default_rng(0)
    xs, ys = jnp.asarray(rng.normal(size=(6, B, 4, 3, 2))), jnp.asarray(rng.normal(size=(6, B, 3, 2, 2)))
    learner = snntrace.compile(model, snntrace.D_RTRL, xs[0], batch_size=B)
    found = learner.value_and_grad(loss)(xs, ys)[1]

    @brainstate.transform.jit
    def value_of():
        brainstate.nn.reset_all_states(model, batch_size=B)
        return loss(brainstate.transform.for_loop(model, xs), ys)

    for path, state in model.states(brainstate.ParamState).items():
        start = state.value

        def at(value, state=state):
            state.value = jnp.asarray(value)
            return value_of()

        expected = oracles.central_difference(at, start)
        state.value = start
        assert oracles.relative_error(found[path], expected) < 1e-7, path


def test_spiking_pools_pass_the_gradient_on_and_learn_their_thresholds(float64):
    model = brainstate.nn.Sequential(
        SpikingPool((6, 4, 2), 2, lambda size: LIF(size, learn=("tau_mem", "v_th")), kind="mean", gain=1.7),
        brainstate.nn.Flatten.desc(),
        Linear.desc(out_size=N_OUT),
    )
    rng = np.random.default_rng(0)
    xs = jnp.asarray((rng.random((T, B, 6, 4, 2)) < 0.4).astype(float))
    ys = jnp.asarray(rng.normal(size=(T, B, N_OUT)))
    exact = bptt(model, B, xs, ys)
    learner = snntrace.compile(model, snntrace.D_RTRL, xs[0], batch_size=B)
    found = learner.value_and_grad(loss)(xs, ys)[1]
    assert {p.route for p in learner.report.parameters} <= {"temporal", "instantaneous", "both"}
    for path, value in exact.items():
        for a, b in zip(jax.tree.leaves(found[path]), jax.tree.leaves(value), strict=True):
            assert float(jnp.abs(b).max()) > 1e-3, path
            assert oracles.relative_error(a, b) < 1e-10, path


# The report, memory, training ------------------------------------------------------------------


def nmnist_net(neuron=LIF, recurrent=None):
    return brainstate.nn.Sequential(
        SpikingConv((34, 34, 2), 8, 5, neuron, stride=2, recurrent_kernel_size=recurrent),
        brainstate.nn.MaxPool2d.desc(2, 2),
        SpikingConv.desc(
            channels=16, kernel_size=3, neuron=neuron, w_init=brainstate.nn.init.KaimingNormal()
        ),
        brainstate.nn.Flatten.desc(),
        FeedForward(8 * 8 * 16, LI(10), w_init=brainstate.nn.init.KaimingNormal()),
    )


def test_the_report_names_the_convolutions_and_what_their_traces_hold():
    x = jnp.zeros((4, 34, 34, 2))
    learner = snntrace.compile(nmnist_net(ALIF, recurrent=3), snntrace.D_RTRL, x, batch_size=4)
    traces = [t for t in learner.report.as_dict()["traces"] if t["kind"] == "convolution"]
    assert {name: t["shape"] for t in traces for name in t["parameters"]} == {
        "layers.0.w_in": (2, 1, 4 * 17 * 17, 25 * 2, 8),
        "layers.0.w_rec": (2, 1, 4 * 17 * 17, 9 * 8, 8),
        "layers.2.w_in": (2, 1, 4 * 8 * 8, 9 * 8, 16),
    }
    assert {p.route for p in learner.report.parameters} == {"temporal"}
    text = str(learner.report)
    assert "(4, 17, 17, 8)" in text
    assert "convolution" in text


def test_a_trace_too_large_is_refused_and_the_whole_sequence_still_runs():
    x = jnp.zeros((64, 34, 34, 2))
    learner = snntrace.compile(nmnist_net(ALIF), snntrace.D_RTRL, x, batch_size=64, memory_limit=5e7)
    first = 2 * 64 * 17 * 17 * 25 * 2 * 8 * 4
    assert learner.report.as_dict()["memory"]["traces"] > first > 5e7
    with pytest.raises(MemoryError, match="memory_limit"):
        learner.update(x)
    assert learner.unroll(x[None], carry=False).shape == (1, 64, 10)


@functools.cache
def digits(n=48, steps=30):
    """Binned recordings of two digits, (time, recording, height, width, polarity), and which digit it is."""
    data = NMNISTLike()
    rows = np.flatnonzero(data.labels < 2)[:n]
    x = np.zeros((steps, n, 2, 34, 34), np.float32)
    for i, row in enumerate(rows):
        times, units = data.events(row)
        t = np.minimum((times / data.duration * steps).astype(int), steps - 1)
        np.maximum.at(x.reshape(steps, n, -1), (t, i, units), 1.0)
    return jnp.asarray(x.transpose(0, 1, 3, 4, 2)), jnp.asarray(data.labels[rows])


@pytest.mark.slow
@pytest.mark.parametrize("rule", [snntrace.OSTTP, snntrace.D_RTRL, RANDOM], ids=["OSTTP", "D_RTRL", "e-prop"])
def test_a_convolutional_net_learns_digits_in_the_layout_of_nmnist(rule):
    x, labels = digits()
    with brainstate.random.seed_context(0):
        model = nmnist_net()
        options = {"B_list": "normal", "signal": "output"} if rule.projects else {}
        learner = snntrace.compile(model, rule, x[0], batch_size=x.shape[1], **options)

    def cross_entropy(outs):
        mean = outs.mean(0)
        losses = braintools.metric.softmax_cross_entropy_with_integer_labels(mean, labels)
        return losses.mean(), (mean.argmax(-1) == labels).mean()

    optimiser = braintools.optim.Adam(lr=3e-3)
    optimiser.register_trainable_weights(model.states(brainstate.ParamState))
    gradient = learner.value_and_grad(cross_entropy, has_aux=True)
    target = {"y_target": jnp.broadcast_to(labels, x.shape[:2])} if rule.signal == "target" else {}

    @brainstate.transform.jit
    def step():
        (value, accuracy), grads = gradient(x, **target)
        optimiser.step(grads)
        return value, accuracy

    before = {p: s.value for p, s in model.states(brainstate.ParamState).items()}
    first = float(step()[0])
    values = [step() for _ in range(25)]
    assert float(values[-1][0]) < 0.5 * first
    assert float(values[-1][1]) > 0.9
    for path, state in model.states(brainstate.ParamState).items():
        assert any(
            float(jnp.abs(a - b).max()) > 1e-3
            for a, b in zip(jax.tree.leaves(state.value), jax.tree.leaves(before[path]), strict=True)
        ), path


# Refusals --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: SpikingConv(34, 8, 5), "in_size must be the shape of a map"),
        (lambda: SpikingConv((34, 34, 34, 34, 2), 8, 5), "in_size must be the shape of a map"),
        (lambda: SpikingConv((34, 0, 2), 8, 5), r"in_size\[1\] must be positive"),
        (lambda: SpikingConv((34, 34, 2), 0, 5), "channels must be positive"),
        (lambda: SpikingConv((34, 34, 2), 8, (5, 5, 5)), "kernel_size must be an int or have one entry"),
        (lambda: SpikingConv((34, 34, 2), 8, 0), "kernel_size must be positive"),
        (lambda: SpikingConv((4, 4, 2), 8, 5, padding="VALID"), "kernel_size must fit"),
        (lambda: SpikingConv((4, 4, 2), 8, 3, dilation=2, padding=0), "kernel_size must fit"),
        (lambda: SpikingConv((4, 4, 2), 8, 3, padding="FULL"), "padding must be 'SAME'"),
        (lambda: SpikingConv((4, 4, 2), 8, 3, padding=-1), "padding must be 'SAME'"),
        (lambda: SpikingConv((4, 4, 3), 8, 3, groups=2), "groups must divide"),
        (lambda: SpikingConv((4, 4, 3), 8, 3, w_init=np.zeros((3, 3, 3, 4))), "w_init must have shape"),
        (lambda: SpikingConv((4, 4, 3), 8, 3, w_rec_init=0.0), "w_rec_init belongs to"),
        (lambda: SpikingConv((4, 4, 3), 8, 3, lambda size: LIF(7)), "units of the shape"),
        (lambda: SpikingPool((4, 4, 3), 5), "window must fit"),
        (lambda: SpikingPool((4, 4, 3), 2, kind="median"), "kind must be"),
        (lambda: SpikingPool((4, 4, 3), 2, gain=0.0), "gain must be a positive number"),
        (lambda: FeedForward(5, LIF((4, 4, 2))), "a row of units"),
        (lambda: Recurrent(5, LIF((4, 4, 2))), "a row of units"),
        (lambda: LIF(()), "n must name a number of units"),
        (lambda: LIF((4, 4, 2), tau_mem=np.ones((4, 4, 2)) * u.ms), r"shape \(\) or \(2,\)"),
    ],
)
def test_what_fits_no_map_is_a_value_error(make, says):
    with pytest.raises(ValueError, match=says):
        make()


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: SpikingConv((4, 4, 2), 8, 2.0), "kernel_size must be an int"),
        (lambda: SpikingConv((4, 4, 2), 8, 3, LIF((4, 4, 8))), "neuron must make a neuron"),
        (lambda: SpikingConv((4, 4, 2), 8, 3, np.zeros), "neuron must make a neuron"),
        (lambda: SpikingConv((4, 4, 2), 8, 3, LI, recurrent_kernel_size=3), "neuron must spike"),
        (lambda: SpikingPool((4, 4, 2), 2, None), "neuron must make a neuron"),
        (lambda: LIF((4, 2.5)), r"n\[1\] must be an int"),
    ],
)
def test_what_is_no_size_and_no_neuron_is_a_type_error(make, says):
    with pytest.raises(TypeError, match=says):
        make()


@pytest.mark.parametrize("make", [SpikingConv, SpikingPool])
def test_an_input_of_another_shape_is_refused(make):
    layer = make((4, 3, 2), *((3, 3) if make is SpikingConv else (2,)))
    brainstate.nn.init_all_states(layer, batch_size=2)
    for shape in ((2, 24), (2, 3, 4, 2), (2, 2, 4, 3)):
        with pytest.raises(ValueError, match=r"x must have the shape \(..., 4, 3, 2\)"):
            layer(jnp.ones(shape))
    assert isinstance(layer.neuron, Neuron)
