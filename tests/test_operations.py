"""Registering operations, what moves into weights, and what is refused."""

from dataclasses import replace

import brainstate
import brainunit as u
import jax
import jax.numpy as jnp
import numpy as np
import operations
import oracles
import pytest
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from nets import bptt, double_precision, loss, streamed
from operations import CELLS, MASK, POST, STARTS, B, Net, conv, draw

import snntrace
from snntrace import CompileError
from snntrace.neurons import LIF
from snntrace.nn import Linear


def report(net, cell="LIF", rule=snntrace.D_RTRL, **options):
    """Compile a net and return its report."""
    model = operations.Model(net, CELLS[cell])
    x = jnp.asarray(net.xs[0])
    x = x if jnp.issubdtype(x.dtype, jnp.integer) else x.astype(jnp.float32)
    return snntrace.compile(model, rule, x, batch_size=B, **options).report


def routes(net, **options):
    return {k.split(".")[-1]: v["route"] for k, v in report(net, **options).as_dict()["parameters"].items()}


# Registering -----------------------------------------------------------------------------------


def made_primitive():
    """Make ``y[b, i] = x[b, i] w[i]`` a primitive that JAX can differentiate and map."""
    p = Primitive("scaled_inputs")
    p.def_impl(lambda x, w, power: x**power * w)
    p.def_abstract_eval(lambda x, w, power: jax.core.ShapedArray(x.shape, x.dtype))
    mlir.register_lowering(p, mlir.lower_fun(lambda x, w, power: x**power * w, multiple_results=False))

    def transpose(ct, x, w, power):
        axes = tuple(range(ct.ndim - 1))
        return None, (ct * x**power).sum(axes)

    ad.defjvp(
        p,
        lambda dx, x, w, power: power * x ** (power - 1) * w * dx,
        lambda dw, x, w, power: p.bind(x, dw, power=power),
    )
    ad.primitive_transposes[p] = transpose
    batching.primitive_batchers[p] = lambda args, axes, power: (p.bind(*args, power=power), 0)
    return p


def test_a_registered_primitive_has_the_gradient_of_the_traces():
    scaled = snntrace.register_operation(
        made_primitive(), weight=1, axes="...i,...i->i", patches=lambda x, power: x**power
    )
    inputs = lambda rng: 1.0 + (rng.random((operations.T, B, 5)) < 0.5)  # noqa: E731
    net = Net({"w": draw(5)}, lambda p, x, z: scaled.bind(x, p["w"], power=2), inputs=inputs)
    (trace,) = report(net).as_dict()["traces"]
    assert trace["kind"] == "scaled_inputs"
    expected, outs, _ = operations.trace_gradients(net, CELLS["ALIF"])
    operations.assert_alive(outs, CELLS["ALIF"])
    for found in operations.learnt(net, CELLS["ALIF"]).values():
        oracles.assert_close(found, expected, 1e-5)


@pytest.mark.parametrize(
    ("function", "given", "says"),
    [
        (lambda x, w: x @ w, {"axes": "bi,bo->oi"}, "got another one"),
        (lambda x, w: x @ w, {"axes": "bi,bo->ib"}, "must fit"),
        (lambda x, w: x @ w, {"axes": "bi,boq->io"}, "must name"),
        (
            lambda x, w: x @ w,
            {"axes": "bi,bo->io", "patches": lambda x: 2 * x},
            "got another one at .*test_operations",
        ),
        (lambda x, w: x @ w**2, {"axes": "bi,bo->io"}, "got another one"),
        (lambda w, x: x @ w, {"axes": "bi,bo->io"}, "registered for the weight at place 1, not at 0"),
    ],
    ids=["transposed", "no_row", "too_many_letters", "doubled", "not_linear", "wrong_place"],
)
def test_a_form_that_is_not_the_operations_gradient_is_refused(function, given, says):
    operation = snntrace.register_operation(function, weight=1, **given)
    first = says.startswith("registered")
    net = Net({"w": draw(4, 5)}, lambda p, x, z: operation(p["w"], x) if first else operation(x, p["w"]))
    with pytest.raises(CompileError, match=says):
        report(net)


def test_what_cannot_be_registered_is_refused():
    with pytest.raises(ValueError, match="weight=-1"):
        snntrace.register_operation(jnp.dot, weight=-1, axes="bi,bo->io")
    with pytest.raises(ValueError, match="axes='bi,bo'"):
        snntrace.register_operation(jnp.dot, weight=1, axes="bi,bo")
    with pytest.raises(TypeError, match="function or a jax Primitive"):
        snntrace.register_operation("dot", weight=1, axes="bi,bo->io")


# What moves into weights -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("current", "params"),
    [
        (lambda p, x, z: (x @ p["a"] + p["b"]) @ p["w"], {"a": draw(4, 3), "b": draw(3), "w": draw(3, 5)}),
        (lambda p, x, z: (x / p["a"]) @ p["w"] @ draw(5, 5), {"a": 2 + draw(4, scale=0.1), "w": draw(4, 5)}),
        (
            lambda p, x, z: jax.lax.dot(p["w"], x * p["a"], dimension_numbers=(((0,), (1,)), ((), ()))).T,
            {"a": 1 + draw(1), "w": draw(4, 5)},
        ),
    ],
    ids=["two_layers", "scale_and_fixed_matrix", "one_gain_weight_first"],
)
def test_what_is_linear_before_a_product_has_exact_traces(current, params):
    net = Net(params, current)
    assert set(routes(net).values()) == {"temporal"}
    with double_precision():
        expected, outs, _ = operations.trace_gradients(net, CELLS["ALIF"])
        operations.assert_alive(outs, CELLS["ALIF"])
        for found in operations.learnt(net, CELLS["ALIF"], ("streaming", "sequence")).values():
            oracles.assert_close(found, expected, 1e-9)


@pytest.mark.parametrize(
    "current",
    [
        lambda p, x, z: jnp.tanh(x @ p["a"]) @ p["w"],
        lambda p, x, z: (y := x @ p["a"]) @ p["w"] + jnp.pad(y, ((0, 0), (0, 2))),
    ],
    ids=["not_linear", "read_elsewhere"],
)
def test_what_acts_through_another_weight_otherwise_is_said_to_be_instantaneous(current):
    net = Net({"a": draw(4, 3), "w": draw(3, 5)}, current)
    found = routes(net)
    assert found["w"] == "temporal"
    assert found["a"] in ("instantaneous", "both")
    left = report(net).as_dict()["parameters"]["params.a"]["left_out"]
    (entry,) = [e for e in left if "through params.w" in e["what"]]
    assert "test_operations.py:" in entry["where"]
    assert "nondiagonal='exact', a trace of 480 B" in entry["instead"]
    assert routes(net, nondiagonal="exact")["a"] == "temporal"


def test_a_shift_that_differs_from_row_to_row_stays_where_it_is():
    net = Net({"b": draw(B, 4), "w": draw(4, 5)}, lambda p, x, z: (x + p["b"]) @ p["w"])
    assert routes(net) == {"b": "instantaneous", "w": "temporal"}


# Details of forms ------------------------------------------------------------------------------


def outside(mode):
    def current(p, x, z):
        return jnp.take(p["w"], x, axis=0, mode=mode, fill_value=0)

    return Net({"w": draw(6, 5)}, current, inputs=operations.labels(high=9))


DETAILS = {
    "a look-up outside of the table, filled": outside("fill"),
    "a look-up outside of the table, clipped": outside("clip"),
    "a sparse matrix transposed": operations.NETS["sparse rows, jax"],
    "a sparse matrix as it is": Net(
        {"w": draw(POST.size)},
        lambda p, x, z: (u.sparse.CSR((p["w"], POST, STARTS), shape=(6, 5)) @ x.T).T,
        units=(6,),
        inputs=(5,),
    ),
    "groups of channels": operations.NETS["convolution 2 d, groups"],
}


@pytest.mark.parametrize("name", DETAILS, ids=lambda name: name.replace(" ", "_"))
def test_a_trace_holds_the_weights_that_act_and_no_others(name):
    net = DETAILS[name]
    with double_precision():
        expected, outs, _ = operations.trace_gradients(net, CELLS["ALIF"])
        operations.assert_alive(outs, CELLS["ALIF"])
        found = operations.learnt(net, CELLS["ALIF"], ("streaming",))["streaming"]
        oracles.assert_close(found, expected, 1e-9)


# Refusals --------------------------------------------------------------------------------------


def moving(p, x, z):
    columns = jnp.where(x[0, 0] > 0, POST, POST[::-1])
    return x @ u.sparse.COO((p["w"], np.nonzero(MASK)[0], columns), shape=(6, 5))


@pytest.mark.parametrize(
    ("net", "says"),
    [
        (Net({"w": draw(STARTS[-1])}, moving, inputs=(6,)), "'params.w' in 'coo_matmat'.*must be constants"),
        (
            Net(
                {"w": draw(B, 6)},
                lambda p, x, z: jnp.take_along_axis(p["w"], x[:, None] + np.arange(2), 1),
                units=(2,),
                inputs=operations.labels(high=5),
            ),
            "only whole rows",
        ),
        (
            Net(
                {"w": draw(2, 3, 2)},
                lambda p, x, z: conv(x, p["w"], batch_group_count=2),
                units=(1, 4),
                inputs=(3, 5),
            ),
            "batch_group_count must be 1, got 2",
        ),
    ],
    ids=["moving_connections", "parts_of_rows", "batch_groups"],
)
def test_a_weight_whose_trace_has_no_places_is_refused_with_the_reason(net, says):
    net.scale = (1.0, 0.0)
    with pytest.raises(CompileError, match=says):
        report(net)


def test_a_recurrent_convolution_of_a_recurrent_convolution_has_no_coupled_recursion():
    def current(p, x, z):
        return conv(x, p["w"], padding="SAME") + twice(p["r"], z)

    def twice(r, z):
        return conv(jnp.tanh(conv(z, r, padding="SAME")), r, padding="SAME")

    net = Net({"w": draw(2, 2, 3), "r": draw(2, 2, 3)}, current, (2, 5), (2, 5), recurrent=True)
    with pytest.raises(CompileError, match=r"convolution at .*operations.py:.*D_RTRL"):
        report(net, rule=snntrace.OSTLRecurrent)


# What a unit does to itself through an operation -----------------------------------------------


def own_jacobian(net, cell, p, h, x):
    """Differentiate each unit's step along its own states, from the whole Jacobian: (s, q, batch, *units)."""

    def step(h):
        return jnp.stack(cell.step(tuple(h), net.drive(p, x, cell.out(h, p)), p))

    n_states, size = len(h), h[0].size
    whole = jax.jacfwd(step)(jnp.stack(h)).reshape(n_states, size, n_states, size)
    return jnp.moveaxis(jnp.diagonal(whole, axis1=1, axis2=3), -1, 2).reshape(n_states, n_states, *h[0].shape)


OUT_OF, INTO = (np.array(a, np.int32) for a in ([0, 0, 1, 2, 3, 3, 4, 5, 5], [0, 3, 1, 4, 3, 5, 2, 0, 5]))


def dense_reference(p, x, z):
    return x @ p["w"] + z @ jnp.zeros((6, 6), z.dtype).at[OUT_OF, INTO].set(p["r"])


RECURRENT = {
    "convolution": operations.NETS["convolution, recurrent"],
    "grouped convolution with strides": Net(
        {"w": draw(4, 2, 3), "r": draw(4, 2, 3, scale=0.4)},
        lambda p, x, z: (
            conv(x, p["w"], padding="SAME")
            + conv(z, p["r"], padding=[(1, 1)], feature_group_count=2, lhs_dilation=(2,), window_strides=(2,))
        ),
        units=(4, 5),
        inputs=(2, 5),
        recurrent=True,
    ),
    "sparse product": Net(
        {"w": draw(4, 6), "r": draw(9, scale=0.7)},
        lambda p, x, z: x @ p["w"] + z @ u.sparse.COO((p["r"], OUT_OF, INTO), shape=(6, 6)),
        units=(6,),
        recurrent=True,
        reference=dense_reference,
    ),
    "grouped product": Net(
        {"w": draw(4, 6), "r": draw(2, 3, 3, scale=0.5)},
        lambda p, x, z: x @ p["w"] + jnp.einsum("bgi,gio->bgo", z.reshape(-1, 2, 3), p["r"]).reshape(-1, 6),
        units=(6,),
        recurrent=True,
    ),
}


@pytest.mark.parametrize("cell", ["ALIF", "tanh"])
@pytest.mark.parametrize("name", RECURRENT)
def test_the_coupled_recursion_has_the_units_own_part_of_the_whole_jacobian(name, cell):
    net, cell = RECURRENT[name], CELLS[cell]
    with double_precision():
        expected, outs = coupled_gradients(net, cell)
        operations.assert_alive(outs, cell)
        found = operations.learnt(net, cell, ("streaming", "window"), snntrace.OSTLRecurrent)
        for grads in found.values():
            oracles.assert_close(grads, expected, 1e-9)
        held = operations.learnt(net, cell, ("sequence",))["sequence"]
        assert oracles.relative_error(held["w"], expected["w"]) > 1e-4


def coupled_gradients(net, cell):
    """Sum traces step by step with D from the whole Jacobian."""
    net = net if net.reference is None else replace(net, current=net.reference)
    _ = net.scale
    p = {k: jnp.asarray(v, float) for k, v in net.params.items()}
    h = (jnp.zeros((B, *net.units)),) * len(cell.states)

    @jax.jit
    def at(h, x, y):
        def step(p):
            return jnp.stack(cell.step(h, net.drive(p, x, cell.out(h, p)), p))

        def step_loss(new):
            return 0.5 * jnp.sum((net.result(p, cell.out(new, p)) - y) ** 2)

        new = step(p)
        return new, own_jacobian(net, cell, p, h, x), jax.jacfwd(step)(p), jax.grad(step_loss)(new)

    eps, grads, outs = None, {k: np.zeros(v.shape) for k, v in net.params.items()}, []
    for x, y in zip(jnp.asarray(net.xs), jnp.asarray(net.ys), strict=True):
        new, d, moved, signal = at(h, x, y)
        kept = (
            {k: 0.0 for k in p} if eps is None else {k: np.einsum("sq...,q...w->s...w", d, eps[k]) for k in p}
        )
        eps = {k: kept[k] + np.asarray(v).reshape(*new.shape, -1) for k, v in moved.items()}
        for k in grads:
            grads[k] += np.tensordot(signal, eps[k], new.ndim).reshape(grads[k].shape)
        h = tuple(new)
        outs.append(np.asarray(cell.out(h, p)))
    return grads, np.stack(outs)


# Forms of traces -------------------------------------------------------------------------------


def test_a_convolutions_trace_has_a_number_for_each_place_and_kernel_element():
    net = operations.NETS["convolution 2 d, groups"]
    (alif,) = report(net, "ALIF").as_dict()["traces"]
    assert (alif["kind"], alif["shape"]) == ("convolution", (2, 2, B * 6, 8, 3))
    assert alif["bytes"] == 4 * np.prod(alif["shape"])
    (lif,) = report(net, "LIF").as_dict()["traces"]
    assert lif["collapsed"]
    assert lif["shape"] == (1, 2, B * 6, 8, 1)


def test_a_feedforward_convolution_is_the_same_under_every_recursion_of_its_own_states():
    net = operations.NETS["convolution 1 d"]
    with double_precision():
        one, other = (
            operations.learnt(net, CELLS["ALIF"], ("sequence",), rule)["sequence"]
            for rule in (snntrace.D_RTRL, snntrace.OSTLRecurrent)
        )
    oracles.assert_close(one, other, 1e-12)


class Word(brainstate.nn.Module):
    """Smooth units that one word at a time reaches, without a batch."""

    def __init__(self):
        super().__init__()
        self.w = brainstate.ParamState(jnp.asarray(draw(4, 5)))

    def init_state(self, *args, **kwargs):
        self.h = brainstate.HiddenState(jnp.zeros(5))

    def update(self, word):
        self.h.value = 0.8 * self.h.value + jnp.sin(self.h.value) + self.w.value[word]
        return self.h.value


def test_one_word_without_a_batch_looks_up_one_row():
    with double_precision():
        words, ys = jnp.asarray([0, 2, 2, 1, 3, 0]), jnp.asarray(draw(6, 5))
        model = Word()
        exact = dict(oracles_leaves(bptt(model, None, words, ys)))
        learner = snntrace.compile(model, snntrace.D_RTRL, words[0])
        (trace,) = learner.report.as_dict()["traces"]
        assert (trace["kind"], trace["shape"]) == ("look-up", (1, 1, 4, 5))
        for grads in (learner.value_and_grad(loss)(words, ys)[1], streamed(learner, model, words, ys)[0]):
            oracles.assert_close(dict(oracles_leaves(grads)), exact, 1e-9)


# Paths -----------------------------------------------------------------------------------------


class ConvNet(brainstate.nn.Module):
    """Convolutional and dense spiking layers, and a linear read-out."""

    def __init__(self):
        super().__init__()
        self.kernel = brainstate.ParamState(jnp.asarray(draw(2, 1, 3, 3), jnp.float32))
        self.first, self.second = LIF(32), LIF(6)
        self.dense, self.out = Linear(32, 6, w_init=draw(32, 6)), Linear(6, 3, w_init=draw(6, 3))

    def update(self, x):
        z = self.first(conv(x.reshape(-1, 1, 6, 6), self.kernel.value).reshape(len(x), -1))
        return self.out(self.second(self.dense(z)))


@pytest.mark.parametrize("path", ["auto", "event"])
def test_a_net_with_a_convolution_takes_events_and_says_what_stays_dense(path):
    rng = np.random.default_rng(0)
    xs = (rng.random((12, 3, 36)) < 0.3).astype(np.float32)
    ys = jnp.asarray(rng.normal(size=(12, 3, 3)), jnp.float32)
    model = ConvNet()
    found = {}
    for way in ("dense", path):
        learner = snntrace.compile(model, snntrace.D_RTRL, jnp.asarray(xs[0]), batch_size=3, path=way)
        inputs = snntrace.Spikes.from_dense(xs) if way == path else jnp.asarray(xs)
        grads = learner.value_and_grad(loss)(inputs, ys)[1]
        found[way] = {".".join(map(str, k)): v for k, v in oracles_leaves(grads)}
    products = {p["parameters"][0]: p for p in learner.report.as_dict()["products"]}
    assert products["kernel"]["path"] == "dense"
    assert "convolution" in products["kernel"]["reason"]
    oracles.assert_close(found[path], found["dense"], 1e-4)


def oracles_leaves(grads):
    return [
        ((*path, *(getattr(k, "key", k) for k in key)), np.asarray(value))
        for path, tree in grads.items()
        for key, value in jax.tree_util.tree_leaves_with_path(tree)
    ]


# brainstate's layers ---------------------------------------------------------------------------

LAYERS = {
    "Linear with a mask": (lambda: brainstate.nn.Linear(6, 5, w_mask=jnp.asarray(MASK)), (6,)),
    "SignedWLinear": (lambda: brainstate.nn.SignedWLinear(6, 5), (6,)),
    "ScaledWSLinear": (lambda: brainstate.nn.ScaledWSLinear(6, 5), (6,)),
    "AllToAll": (lambda: brainstate.nn.AllToAll(6, 5), (6,)),
    "OneToOne": (lambda: brainstate.nn.OneToOne(6), (6,)),
    "LoRA": (lambda: brainstate.nn.LoRA(6, 2, 5), (6,)),
    "Conv1d": (
        lambda: brainstate.nn.Conv1d((7, 3), 4, 3, stride=2, b_init=brainstate.nn.init.Normal(0.5)),
        (7, 3),
    ),
    "Conv2d": (lambda: brainstate.nn.Conv2d((5, 4, 2), 4, (3, 2), groups=2, rhs_dilation=2), (5, 4, 2)),
    "Conv3d": (lambda: brainstate.nn.Conv3d((3, 3, 3, 2), 2, 2), (3, 3, 3, 2)),
    "ScaledWSConv1d": (lambda: brainstate.nn.ScaledWSConv1d((7, 3), 4, 3), (7, 3)),
    "ConvTranspose1d": (lambda: brainstate.nn.ConvTranspose1d((5, 3), 2, 3, stride=2), (5, 3)),
}


class Layered(brainstate.nn.Module):
    """A layer of brainstate in front of smooth units."""

    def __init__(self, layer, x):
        super().__init__()
        self.layer = layer
        self.shape = jax.eval_shape(layer, x).shape

    def init_state(self, *args, **kwargs):
        self.h = brainstate.HiddenState(jnp.zeros(self.shape))

    def update(self, x):
        self.h.value = 0.8 * self.h.value + 0.3 * jnp.sin(self.h.value) + self.layer(x)
        return jnp.tanh(self.h.value).reshape(len(x), -1)


@pytest.mark.slow
@pytest.mark.parametrize("name", LAYERS, ids=[name.replace(" ", "_") for name in LAYERS])
def test_a_layer_of_brainstate_has_the_gradient_of_backpropagation(name):
    rng = np.random.default_rng(0)
    make, inputs = LAYERS[name]
    with double_precision():
        brainstate.random.seed(0)
        xs = jnp.asarray(rng.normal(size=(9, B, *inputs)))
        model = Layered(make(), xs[0])
        for state in model.states(brainstate.ParamState).values():
            state.value = jax.tree.map(lambda v: jnp.asarray(v, float) + 0.1, state.value)
        ys = jnp.asarray(rng.normal(size=(9, B, int(np.prod(model.shape[1:])))))
        exact = dict(oracles_leaves(bptt(model, B, xs, ys)))
        learner = snntrace.compile(model, snntrace.D_RTRL, xs[0], batch_size=B)
        entries = learner.report.as_dict()["parameters"].values()
        assert {entry["route"] for entry in entries} == {"temporal"}
        oracles.assert_close(dict(oracles_leaves(learner.value_and_grad(loss)(xs, ys)[1])), exact, 1e-9)
