"""Products by events inside any step: the numbers of dense products, without a raster of the input."""

import brainstate
import braintools
import brainunit as u
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from nets import double_precision, spike

import snntrace
from snntrace import Spikes
from snntrace.compiler.operands import operand_of
from snntrace.events.samples import event_outer_each
from snntrace.neurons import ALIF, LIF, Recurrent
from snntrace.nn import GRUCell, Linear
from snntrace.paths import Paths

pytestmark = pytest.mark.usefixtures("cheap_events")

T, B, N_IN, N, N_OUT = 12, 3, 23, 9, 4


class Stack(brainstate.nn.Module):
    """A hidden layer and a linear read-out."""

    def __init__(self, hidden, n=N):
        super().__init__()
        self.hidden = hidden
        self.out = Linear(n, N_OUT)

    def update(self, *xs):
        return self.out(self.hidden(*xs))


class Loop(brainstate.nn.Module):
    """Two layers; the upper one's spikes of the step before act on the lower one."""

    def __init__(self):
        super().__init__()
        self.lower, self.upper = LIF(N), LIF(7)
        self.w_in = brainstate.ParamState(brainstate.random.normal(0, 0.7, (N_IN, N)))
        self.w_up = brainstate.ParamState(brainstate.random.normal(0, 0.9, (N, 7)))
        self.w_back = brainstate.ParamState(brainstate.random.normal(0, 0.6, (7, N)))
        self.w_out = brainstate.ParamState(brainstate.random.normal(0, 0.6, (7, N_OUT)))

    def update(self, x):
        z = self.lower(x @ self.w_in.value + self.upper.spikes() @ self.w_back.value)
        return self.upper(z @ self.w_up.value) @ self.w_out.value


class Own(brainstate.nn.Module):
    """A cell with a step of its own: subclasses say what reaches the voltage."""

    def __init__(self):
        super().__init__()
        self.w_in = brainstate.ParamState(brainstate.random.normal(0, 0.6, (N_IN, N)))
        self.w_rec = brainstate.ParamState(brainstate.random.normal(0, 0.4, (N, N)))

    def init_state(self, batch_size=None, **kwargs):
        self.v = brainstate.HiddenState(jnp.zeros((batch_size, N), brainstate.environ.dftype()))

    def spikes(self):
        return spike(self.v.value - 1.0)


class Normalised(Own):
    """The recurrent spikes are divided by their number, and the mean voltage inhibits every unit."""

    def update(self, x):
        z = self.spikes()
        mean = jax.lax.stop_gradient(self.v.value.mean(-1, keepdims=True))
        shared = z / (1.0 + z.sum(-1, keepdims=True))
        after = 0.8 * self.v.value - jax.lax.stop_gradient(z) - 0.1 * mean
        self.v.value = after + x @ self.w_in.value + shared @ self.w_rec.value
        return self.spikes()


class Noisy(Own):
    """Noise in every step, from a generator that is a state of the model."""

    def __init__(self):
        super().__init__()
        self.rng = brainstate.random.RandomState(3)

    def update(self, x):
        z = self.spikes()
        noise = 0.2 * self.rng.normal(size=self.v.value.shape).astype(self.v.value.dtype)
        after = 0.8 * self.v.value - jax.lax.stop_gradient(z) + noise
        self.v.value = after + x @ self.w_in.value + z @ self.w_rec.value
        return self.spikes()


class Tanh(Own):
    """Units without spikes."""

    def update(self, x):
        self.v.value = jnp.tanh(0.5 * self.v.value + x @ self.w_in.value + self.v.value @ self.w_rec.value)
        return self.v.value


class Remembered(Own):
    """The spikes are a state of their own, which the recurrent weight reads."""

    def init_state(self, batch_size=None, **kwargs):
        super().init_state(batch_size)
        self.z = brainstate.HiddenState(jnp.zeros((batch_size, N), brainstate.environ.dftype()))

    def update(self, x):
        drive = x @ self.w_in.value + self.z.value @ self.w_rec.value
        self.v.value = 0.8 * self.v.value - self.z.value + drive
        self.z.value = self.spikes()
        return self.z.value


class TwoInputs(Own):
    """Two inputs with weights of their own."""

    def __init__(self):
        super().__init__()
        self.w_other = brainstate.ParamState(brainstate.random.normal(0, 0.6, (5, N)))

    def update(self, x, other):
        z = self.spikes()
        drive = x @ self.w_in.value + other @ self.w_other.value + z @ self.w_rec.value
        self.v.value = 0.8 * self.v.value - jax.lax.stop_gradient(z) + drive
        return self.spikes()


class ReadTwice(Own):
    """The number of input spikes acts on all units, beside the product."""

    def update(self, x):
        z = self.spikes()
        drive = x @ self.w_in.value - 0.05 * x.sum(-1, keepdims=True) + z @ self.w_rec.value
        self.v.value = 0.8 * self.v.value - jax.lax.stop_gradient(z) + drive
        return self.spikes()


SPIKING = {
    "refractory": lambda: Stack(Recurrent(N_IN, LIF(N, t_ref=3 * u.ms))),
    "adaptive and refractory": lambda: Stack(Recurrent(N_IN, ALIF(N, t_ref=2 * u.ms, learn=("v_th",)))),
    "feedback": Loop,
    "normalised": lambda: Stack(Normalised()),
    "noisy": lambda: Stack(Noisy()),
    "remembered spikes": lambda: Stack(Remembered()),
    "input read twice": lambda: Stack(ReadTwice()),
}
GRADED = {
    "tanh": lambda: Stack(Tanh()),
    "gru": lambda: Stack(GRUCell(N_IN, N)),
}
RULES = {
    "D_RTRL": (snntrace.D_RTRL, {}),
    "OSTLRecurrent": (snntrace.OSTLRecurrent, {}),
    "OSTTP": (snntrace.OSTTP, {"B_list": "normal"}),
    "OSTTP at the output": (snntrace.OSTTP, {"B_list": "normal", "signal": "output"}),
    "a fixed leak": (snntrace.Rule(recursion="scalar", leak=0.8), {}),
    "no memory": (snntrace.Rule(recursion="none"), {}),
}


def build(make):
    with brainstate.random.seed_context(0):
        return make()


def spike_trains(rate, seed=0, batch=B, n=N_IN):
    return (np.random.default_rng(seed).random((T, batch, n)) < rate).astype(np.float64)


def cross_entropy(outs, labels):
    return jnp.sum(braintools.metric.softmax_cross_entropy_with_integer_labels(outs, labels))


def compiled(net, rule=snntrace.D_RTRL, batch=B, widths=(N_IN,), **options):
    # A generator's state runs on: both sides of a comparison begin with the same one.
    for state in net.states(brainstate.random.RandomState).values():
        state.seed(3)
    example = [jnp.zeros((batch, n)) for n in widths]
    return snntrace.compile(net, rule, *example, batch_size=batch, **options)


def gradients(learner, xs, chunk=T, carry=False):
    """Return outputs and summed gradients of a sequence that is given in chunks."""
    batch = (xs[0] if isinstance(xs, tuple) else xs).shape[1]
    labels = np.random.default_rng(1).integers(0, N_OUT, (T, batch))
    run = learner.value_and_grad(lambda outs, y: (cross_entropy(outs, y), outs), has_aux=True, carry=carry)
    outs, grads = [], None
    for start in range(0, T, chunk):
        cut = slice(start, start + chunk)
        x = tuple(v[cut] for v in xs) if isinstance(xs, tuple) else xs[cut]
        target = {"y_target": labels[cut]} if learner.rule.signal == "target" else {}
        (_, out), found = run(x, labels[cut], **target)
        outs.append(out)
        grads = found if grads is None else jax.tree.map(jnp.add, grads, found)
    return np.concatenate(outs), {k: np.asarray(v) for k, v in jax.tree.leaves_with_path(grads)}


def assert_same(found, expected, tolerance=1e-9):
    np.testing.assert_allclose(found[0], expected[0], rtol=tolerance, atol=tolerance)
    assert found[1].keys() == expected[1].keys()
    for key, value in expected[1].items():
        scale = max(np.abs(value).max(), 1e-6)
        assert np.abs(found[1][key] - value).max() <= tolerance * scale, key


def activity(net, xs):
    """Return the share of steps in which a unit of the first hidden layer spikes."""
    layer = net.lower if isinstance(net, Loop) else net.hidden
    brainstate.nn.init_all_states(net, batch_size=B)
    probe = layer.spikes if isinstance(layer, LIF | Own) else layer.neuron.spikes

    def step(x):
        net(*x)
        return probe()

    return float(brainstate.transform.for_loop(step, xs).mean())


@pytest.mark.parametrize("name", [*SPIKING, *GRADED])
def test_every_step_gives_the_gradient_of_dense_products(name):
    with double_precision():
        net = build({**SPIKING, **GRADED}[name])
        xs = spike_trains(0.2)
        if name in SPIKING:
            assert 0.02 < activity(net, (jnp.asarray(xs),)) < 0.7
        expected = gradients(compiled(net, path="dense"), xs)
        assert all(np.abs(value).max() > 0 for value in expected[1].values())
        for path in ("auto", "event"):
            # A dense read-out keeps layers that have kernels from running in them.
            kept = {"out*": "dense"} if name in ("tanh", "remembered spikes") else {}
            learner = compiled(net, path=kept | {"*": path})
            events = Spikes.from_dense(xs)
            route = "dense" if name == "gru" and path == "auto" else "products"
            assert learner.paths.plan((events,), False).route == route
            assert_same(gradients(learner, events), expected)


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_gives_the_gradient_of_dense_products_whole_in_windows_and_in_chunks(rule):
    rule, options = RULES[rule]
    with double_precision():
        net, xs = build(SPIKING["adaptive and refractory"]), spike_trains(0.2)
        events = Spikes.from_dense(xs)
        expected = gradients(compiled(net, rule, path="dense", **options), xs)
        assert_same(gradients(compiled(net, rule, **options), events), expected)
        assert_same(gradients(compiled(net, rule, window=5, **options), events), expected)
        learner = compiled(net, rule, **options)
        assert learner.paths.plan((events,), True).route == "products"
        assert_same(gradients(learner, events, chunk=4, carry=True), expected)


@pytest.mark.parametrize("name", ["feedback", "normalised", "remembered spikes"])
def test_windows_and_chunks_of_every_step_give_the_gradient_of_the_whole(name):
    with double_precision():
        net, xs = build(SPIKING[name]), spike_trains(0.2)
        expected = gradients(compiled(net, path="dense"), xs)
        events = Spikes.from_dense(xs)
        assert_same(gradients(compiled(net, window=7), events, chunk=6, carry=True), expected)


def test_a_model_with_kernels_carries_its_traces_by_events_too():
    with double_precision():
        net, xs = build(lambda: Stack(Recurrent(N_IN, LIF(N)))), spike_trains(0.2)
        assert 0.02 < activity(net, (jnp.asarray(xs),)) < 0.7
        events, learner = Spikes.from_dense(xs), compiled(net)
        expected = gradients(compiled(net, fast_solve=False), xs)
        assert learner.paths.plan((events,), False).route == "stages"
        assert_same(gradients(learner, events, chunk=3, carry=True), expected)
        dense = compiled(net, path="dense")
        gradients(dense, xs, carry=True)
        for a, b in zip(learner.traces, dense.traces, strict=True):
            assert np.abs(b.value).max() > 0
            np.testing.assert_allclose(a.value, b.value, rtol=1e-9, atol=1e-12)


def test_every_activity_ragged_and_empty_samples_give_the_gradient_of_dense_products():
    with double_precision():
        net = build(SPIKING["refractory"])
        learner, dense = compiled(net, window=8), compiled(net, path="dense")
        for rate in (0.0, 0.001, 0.01, 0.1, 0.5):
            xs = spike_trains(rate, seed=3)
            xs[:, 1] = 0
            xs[T // 2 :, 2] = 0
            if rate == 0.1:
                assert 0.01 < activity(net, (jnp.asarray(xs),)) < 0.7
            assert_same(gradients(learner, Spikes.from_dense(xs)), gradients(dense, xs))


def test_graded_events_and_a_single_sample_give_the_gradient_of_dense_products():
    with double_precision():
        xs = spike_trains(0.3, batch=1) * np.random.default_rng(5).normal(1, 0.3, (T, 1, N_IN))
        events = Spikes.from_dense(xs)
        assert events.values is not None
        net = build(SPIKING["adaptive and refractory"])
        expected = gradients(compiled(net, batch=1, path="dense"), xs)
        assert_same(gradients(compiled(net, batch=1), events, chunk=6, carry=True), expected)


def test_several_inputs_come_as_lists_or_as_arrays():
    with double_precision():
        net, widths = build(lambda: Stack(TwoInputs())), (N_IN, 5)
        xs = (spike_trains(0.15), spike_trains(0.3, seed=4, n=5))
        assert 0.02 < activity(net, tuple(map(jnp.asarray, xs))) < 0.7
        expected = gradients(compiled(net, widths=widths, path="dense"), xs)
        lists = tuple(map(Spikes.from_dense, xs))
        for given in (lists, (lists[0], xs[1]), (xs[0], lists[1])):
            learner = compiled(net, widths=widths, window=5)
            assert learner.paths.plan(given, False).route == "products"
            assert_same(gradients(learner, given), expected)


def test_arrays_go_by_events_where_the_path_says_so():
    with double_precision():
        net, xs = build(SPIKING["refractory"]), spike_trains(0.2)
        learner = compiled(net, path="event")
        assert learner.paths.plan((xs,), False).route == "products"
        assert_same(gradients(learner, xs), gradients(compiled(net, path="dense"), xs))


# Memory ----------------------------------------------------------------------------------------


def shapes_in(jaxpr):
    """Yield the shape of every value of a jaxpr and of those inside it."""
    for equation in jaxpr.eqns:
        yield from (v.aval.shape for v in equation.outvars)
        for param in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda p: hasattr(p, "eqns") or hasattr(p, "jaxpr")
        ):
            inner = getattr(param, "jaxpr", param)
            if hasattr(inner, "eqns"):
                yield from shapes_in(inner)


def rasters(path, options, carry=False, name="refractory"):
    """Collect shapes of values as large as the input of two steps."""
    learner = compiled(build(SPIKING[name]), path=path, **options)
    events = Spikes.from_dense(spike_trains(0.2).astype(np.float32))
    labels = np.zeros((T, B), int)

    def run(spikes):
        return learner.value_and_grad(cross_entropy, carry=carry)(spikes, labels)

    closed = brainstate.transform.make_jaxpr(run)(events)[0]
    found = set(shapes_in(closed.jaxpr))
    return {s for s in found if s and s[-1] == N_IN and np.prod(s[:-1]) >= 2 * B}


@pytest.mark.parametrize("options", [{}, {"window": 5}, {"carry": True}])
def test_no_raster_of_the_input_is_made(options):
    carry = options.pop("carry", False)
    assert rasters("dense", options, carry)
    assert not rasters("auto", options, carry)
    assert rasters("auto", options, carry, "input read twice")


# Choice ----------------------------------------------------------------------------------------


def ways(learner):
    return {p["parameters"][0]: p["path"] for p in learner.report.as_dict()["products"]}


def test_the_report_names_every_weight_matrix_with_its_way_and_the_reason():
    learner = compiled(build(SPIKING["refractory"]))
    assert ways(learner) == {"hidden.w_in": "event", "hidden.w_rec": "event", "out.weight": "dense"}
    printed = str(learner.report)
    for line in ("hidden.w_in   event  its operand is an input", "hidden.w_rec  event  its operand is spikes",
                 "out.weight    dense  it acts within the step alone"):  # fmt: skip
        assert line in printed
    assert set(ways(compiled(build(GRADED["gru"]))).values()) == {"dense"}
    kernels = compiled(build(lambda: Stack(Recurrent(N_IN, LIF(N)))))
    assert set(ways(kernels).values()) == {"event"}
    assert set(ways(compiled(build(Loop), fast_solve=False)).values()) == {"dense"}


@pytest.mark.parametrize(
    ("path", "route", "expected"),
    [
        ({"hidden.w_rec": "dense", "*": "event"}, "products", ("event", "dense", "dense")),
        ({"*w_in": "dense"}, "stages", ("dense", "event", "event")),
        ({"*": "event", "hidden.w_rec": "dense"}, "stages", ("event", "event", "event")),
        ({"out.weight": "dense"}, "products", ("event", "event", "dense")),
        ({"*": "dense"}, "dense", ("dense", "dense", "dense")),
    ],
)
def test_a_path_for_each_weight_matrix_gives_the_same_gradient(path, route, expected):
    with double_precision():
        net, xs = build(lambda: Stack(Recurrent(N_IN, LIF(N)))), spike_trains(0.2)
        events, learner = Spikes.from_dense(xs), compiled(net, path=path)
        assert learner.paths.plan((events,), False).route == route
        assert tuple(ways(learner)[n] for n in ("hidden.w_in", "hidden.w_rec", "out.weight")) == expected
        assert_same(gradients(learner, events), gradients(compiled(net, path="dense"), xs))


def test_unknown_names_and_ways_are_refused_with_the_ones_there_are():
    net = build(SPIKING["refractory"])
    with pytest.raises(ValueError, match=r"'w_rec', which fits none.*'hidden.w_in', 'hidden.w_rec', 'out.w"):
        compiled(net, path={"w_rec": "dense"})
    with pytest.raises(ValueError, match="'hidden.bias', which fits none"):
        compiled(net, path={"hidden.bias": "dense"})
    with pytest.raises(ValueError, match="one of auto, dense, event, got path={'hidden.w_rec': 'fast'}"):
        compiled(net, path={"hidden.w_rec": "fast"})


def test_events_are_refused_where_there_is_no_way_by_events():
    net = build(SPIKING["refractory"])
    with pytest.raises(snntrace.CompileError, match="out.weight: it acts within the step alone"):
        compiled(net, path={"out.weight": "event"})
    with pytest.raises(snntrace.CompileError, match="fast_solve=False"):
        compiled(net, path="event", fast_solve=False)
    with pytest.raises(snntrace.CompileError, match="a rule without traces"):
        compiled(net, snntrace.BPTT, path="event")


def test_a_choice_of_ones_own_is_asked_for_each_shape_and_rate():
    learner, asked = compiled(build(SPIKING["refractory"])), []

    def choose(engine, steps, batch, given, staged):
        asked.append((steps, batch, staged, given[0]))
        return {r: "event" if given[0].rate < 0.1 else "dense" for r in engine.graph.relations.dense}

    paths = Paths("D_RTRL", learner.engine, "auto", None, True, choose)
    few, many = Spikes.from_dense(spike_trains(0.02)), Spikes.from_dense(spike_trains(0.3))
    assert paths.plan((few,), True).route == "products"
    assert paths.plan((many,), False).route == "dense"
    rates = [float(s.dense().mean()) for s in (few, many)]
    assert asked == [(T, B, False, (pytest.approx(r), True)) for r in rates]


# Parts -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "kinds"),
    [
        (SPIKING["refractory"], ["input", "spikes", "spikes"]),
        (SPIKING["normalised"], ["input", "graded", "spikes"]),
        (SPIKING["remembered spikes"], ["input", "spikes", "spikes"]),
        (GRADED["tanh"], ["input", "graded", "graded"]),
        (GRADED["gru"], ["graded", "graded", "graded", "graded"]),
    ],
)
def test_operands_are_known_as_inputs_spikes_or_graded(make, kinds):
    graph = compiled(build(make)).graph
    assert [operand_of(graph, r).kind for r in graph.relations.dense] == kinds


@pytest.mark.parametrize("threads", ["1", "2"])
@pytest.mark.parametrize("graded", [False, True])
def test_outer_products_of_each_sample_are_those_of_arrays(monkeypatch, threads, graded):
    monkeypatch.setenv("SNNTRACE_THREADS", threads)
    rng = np.random.default_rng(2)
    x = (rng.random((40, 6, 150)) < 0.1) * (rng.normal(size=(40, 6, 150)) if graded else 1.0)
    x[:, 2] = 0
    y = rng.normal(size=(40, 6, 130)).astype(np.float32)
    found = jax.jit(event_outer_each)(Spikes.from_dense(x.astype(np.float32))[5:30], jnp.asarray(y[5:30]))
    np.testing.assert_allclose(found, np.einsum("tbi,tbj->bij", x[5:30], y[5:30]), rtol=1e-4, atol=1e-4)


def test_outer_products_of_each_sample_refuse_other_rows_and_number_types():
    spikes = Spikes.from_dense(spike_trains(0.2))
    with pytest.raises(ValueError, match="the same rows"):
        event_outer_each(spikes, jnp.zeros((T, B + 1, 2)))
    with pytest.raises(TypeError, match="float32 or float64"):
        event_outer_each(spikes, jnp.zeros((T, B, 2), jnp.int32))
