"""Scripts that were written for braintrace find its operations and its loops here."""

import brainevent
import brainstate
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from nets import draw_weights

import snntrace as braintrace
from snntrace.neurons import ALIF, LI, FeedForward, Recurrent

T, B = 9, 3
XS = jax.random.normal(jax.random.key(0), (T, B, 4))
YS = jax.random.normal(jax.random.key(1), (T, B, 2))


class Marked(brainstate.nn.Module):
    """A layer whose every operation has a marker."""

    def __init__(self, marked):
        super().__init__()
        rng = np.random.default_rng(0)

        def param(*shape):
            return brainstate.ParamState(jnp.asarray(rng.normal(0, 0.5, shape), jnp.float32))

        self.w, self.bias, self.gain = param(4, 5), param(5), param(5)
        self.down, self.up, self.out = param(4, 2), param(2, 5), param(5, 2)
        self.marked = marked

    def init_state(self, batch_size=None, **kwargs):
        self.h = brainstate.HiddenState(jnp.zeros((batch_size, 5)))

    def drive(self, x):
        if self.marked:
            gain = braintrace.element_wise(self.gain.value, weight_fn=jax.nn.sigmoid)
            y = braintrace.matmul(x, self.w.value, self.bias.value, weight_fn=jnp.tanh, bias_fn=jnp.abs)
            return gain, y + braintrace.lora_matmul(x, self.down.value, self.up.value, alpha=0.5)
        low_rank = self.down.value @ self.up.value
        y = x @ jnp.tanh(self.w.value) + jnp.abs(self.bias.value) + x @ (0.5 * low_rank)
        return jax.nn.sigmoid(self.gain.value), y

    def update(self, x):
        gain, y = self.drive(x)
        self.h.value = jnp.tanh(gain * self.h.value + y)
        return (
            braintrace.matmul(self.h.value, self.out.value) if self.marked else self.h.value @ self.out.value
        )


def loss_of(outs, ys):
    return ((outs - ys) ** 2).mean()


def test_marked_operations_have_the_traces_and_gradients_of_plain_ones():
    found = []
    for marked in (True, False):
        learner = braintrace.compile(Marked(marked), "D_RTRL", XS[0], batch_size=B)
        routes = {n: e["route"] for n, e in learner.report.as_dict()["parameters"].items()}
        assert routes == {
            **dict.fromkeys(["w", "bias", "gain", "down", "up"], "temporal"),
            "out": "instantaneous",
        }
        found.append(learner.value_and_grad(loss_of)(XS, YS))
    for a, b in zip(jax.tree.leaves(found[0]), jax.tree.leaves(found[1]), strict=True):
        assert float(jnp.abs(b).max()) > 1e-4
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
    exact = learner.against_bptt(loss_of)(XS, YS)
    assert max(agreement.error for agreement in exact.values()) < 1e-5


CSR = brainevent.CSR(
    (np.ones(9, np.float32), np.array([0, 1, 2, 0, 3, 4, 1, 3, 4]), np.array([0, 3, 5, 7, 9])), shape=(4, 5)
)
OPERATIONS = {
    "conv": (
        (3, 2, 3),
        lambda x, w, b: braintrace.conv(x.reshape(B, 2, 2), w, b, kernel_fn=jnp.tanh),
        (3, 2),
    ),
    "conv of two dimensions, channels last": (
        (2, 2, 1, 3),
        lambda x, w, b: braintrace.conv(
            x.reshape(B, 2, 2, 1),
            w,
            b,
            strides=(2,),
            padding="VALID",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        ),
        (1, 1, 3),
    ),
    "embedding": (
        (3, 3),
        lambda x, w, b: braintrace.embedding((x[:, 0] > 0) + 0, w, weight_fn=jnp.tanh) + b,
        (3,),
    ),
    "einsum": (
        (2, 2, 3),
        lambda x, w, b: braintrace.einsum("bgi,gio->bgo", x.reshape(B, 2, 2), w) + b,
        (2, 3),
    ),
    "grouped_matmul": (
        (2, 2, 3),
        lambda x, w, b: braintrace.grouped_matmul(x.reshape(B, 2, 2), w, b),
        (2, 3),
    ),
    "sparse_matmul": ((9,), lambda x, w, b: braintrace.sparse_matmul(x, w, sparse_mat=CSR, bias=b), (5,)),
}


class One(brainstate.nn.Module):
    """Leaky units behind one operation."""

    def __init__(self, name):
        super().__init__()
        shape, self.operation, self.units = OPERATIONS[name]
        rng = np.random.default_rng(1)
        bias = (3,) if name != "sparse_matmul" else (5,)
        bias = (2, 3) if name == "grouped_matmul" else bias
        self.w = brainstate.ParamState(jnp.asarray(rng.normal(0, 0.7, shape), jnp.float32))
        self.b = brainstate.ParamState(jnp.asarray(rng.normal(0, 0.7, bias), jnp.float32))

    def init_state(self, batch_size=None, **kwargs):
        self.h = brainstate.HiddenState(jnp.zeros((batch_size, *self.units)))

    def update(self, x):
        self.h.value = jnp.tanh(0.8 * self.h.value + self.operation(x, self.w.value, self.b.value))
        return self.h.value


@pytest.mark.parametrize("name", OPERATIONS)
def test_each_operation_has_a_trace_and_the_exact_gradient(name):
    learner = braintrace.compile(One(name), braintrace.D_RTRL, XS[0], batch_size=B)
    routes = {n: e["route"] for n, e in learner.report.as_dict()["parameters"].items()}
    assert routes == {"w": "temporal", "b": "temporal"}
    measured = learner.against_bptt(lambda outs: (jnp.arange(1.0, T + 1) * outs.reshape(T, -1).sum(1)).sum())(
        XS
    )
    assert max(agreement.error for agreement in measured.values()) < 1e-5
    assert min(agreement.length for agreement in measured.values()) > 0.99


def test_operands_that_an_operation_cannot_take_are_refused():
    with pytest.raises(TypeError, match="whole numbers"):
        braintrace.embedding(XS[0], jnp.ones((3, 3)))
    with pytest.raises(TypeError, match="with_data"):
        braintrace.sparse_matmul(XS[0], jnp.ones(9), sparse_mat=jnp.ones((4, 5)))


def stepwise(rule="D_RTRL", **options):
    layers = [Recurrent(4, ALIF(6)), FeedForward(6, LI(2))]
    model = draw_weights(brainstate.nn.Sequential(*layers), 1.5)
    return braintrace.compile(model, rule, XS[0], batch_size=B, **options)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_a_sequence_step_by_step_has_the_gradient_of_the_whole(reduction):
    learner = stepwise()
    mask = np.r_[0.0, 0.0, 1.0, 0.5, np.ones(T - 4)]

    def step_loss(x, y):
        return loss_of(learner(x), y)

    grads, losses = learner.etrace_grad(
        XS, YS, step_fn=step_loss, mask=mask, reduction=reduction, return_value=True
    )
    divisor = mask.sum() if reduction == "mean" else 1.0

    def whole(outs, ys):
        return (((outs - ys) ** 2).mean((1, 2)) * mask).sum() / divisor

    loss, expected = learner.value_and_grad(whole)(XS, YS)
    np.testing.assert_allclose((np.asarray(losses) * mask).sum() / divisor, loss, rtol=1e-5)
    for path, value in expected.items():
        assert float(jnp.abs(value).max()) > 1e-5
        np.testing.assert_allclose(grads[path], value, rtol=1e-3, atol=1e-5)


def test_what_a_step_function_gives_beside_the_loss_comes_back():
    learner = stepwise()
    weights = {p: s for p, s in learner.param_states.items() if p[-1] == "w_rec"}

    def step_loss(x, y):
        out = learner(x)
        return loss_of(out, y), out

    options = {"has_aux": True, "weights": weights, "return_value": True}
    grads, loss, outs = learner.etrace_grad(XS, YS, step_fn=step_loss, loss_output="scalar", **options)
    assert list(grads) == list(weights)
    np.testing.assert_allclose(loss, loss_of(outs, YS), rtol=1e-5)
    learner.reset_state()
    _, masked, _ = learner.etrace_grad(
        XS, YS, step_fn=step_loss, loss_output="masked", mask=np.arange(T) % 2, **options
    )
    assert np.all((np.asarray(masked) == 0) == (np.arange(T) % 2 == 0))


def test_evolving_carries_states_and_traces_as_a_sequence_does():
    learner = stepwise()
    outs = learner.etrace_evolve(XS, return_outputs=True)
    evolved = learner.carried()
    learner.reset_state()
    assert learner.etrace_evolve(XS[:4]) is None
    learner.etrace_evolve(XS[4:], step_fn=lambda x: learner(x))
    for a, b in zip(jax.tree.leaves(evolved), jax.tree.leaves(learner.carried()), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    learner.reset_state()
    np.testing.assert_allclose(learner.unroll(XS), outs, atol=1e-5)


@pytest.mark.parametrize("rule", ["D_RTRL", "pp_prop"])
def test_chunks_of_steps_have_the_gradient_and_the_losses_of_single_steps(rule):
    options = {"decay_or_rank": 0.8} if rule == "pp_prop" else {}
    learner = stepwise(rule, vjp_method="multi-step", **options)
    mask, chunk = np.r_[0.0, 0.5, np.ones(T - 2)], T // 3

    def one(x, y):
        return loss_of(learner(x), y)

    def unrolled(xs, ys):
        return ((learner.unroll(xs) - ys) ** 2).mean((1, 2))

    def marked(xs, ys):
        return ((learner(braintrace.MultiStepData(xs)) - ys) ** 2).mean((1, 2))

    given = {"mask": mask, "return_value": True}
    expected, losses = learner.etrace_grad(XS, YS, step_fn=one, **given)
    after = learner.carried()
    for step_fn, size in ((unrolled, chunk), (marked, chunk), (unrolled, 1)):
        learner.reset_state()
        found, found_losses = learner.etrace_grad(XS, YS, step_fn=step_fn, chunk_size=size, **given)
        np.testing.assert_allclose(found_losses, losses, rtol=1e-5, atol=1e-6)
        for path, value in expected.items():
            assert float(jnp.abs(value).max()) > 1e-5
            np.testing.assert_allclose(found[path], value, rtol=1e-3, atol=1e-5)
        for a, b in zip(jax.tree.leaves(learner.carried()), jax.tree.leaves(after), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    learner.reset_state()
    outs = learner.etrace_evolve(XS, chunk_size=chunk, return_outputs=True)
    learner.reset_state()
    np.testing.assert_allclose(outs.reshape(YS.shape), learner.unroll(XS), atol=1e-5)
    learner.reset_state()
    assert learner.etrace_evolve(XS, chunk_size=1, return_outputs=True).shape == (T, 1, *YS.shape[1:])
    for size in (0, T + 1, 2.0, True):
        with pytest.raises(ValueError, match=r"chunk_size.*divi"):
            learner.etrace_grad(XS, YS, step_fn=one, chunk_size=size)
    with pytest.raises(ValueError, match="one loss for each step"):
        learner.etrace_grad(XS, YS, step_fn=lambda x, y: unrolled(x, y).sum(), chunk_size=chunk)


def test_several_steps_may_be_lists_of_events():
    learner = stepwise()
    raster = (XS > 0.5).astype(jnp.float32)
    spikes = braintrace.Spikes.from_dense(raster)
    outs = learner(braintrace.MultiStepData(spikes))
    assert float(jnp.abs(outs).max()) > 0.1
    learner.reset_state()
    np.testing.assert_allclose(outs, learner.unroll(raster), atol=1e-5)
    with pytest.raises(TypeError, match=r"Spikes.*unroll"):
        learner.etrace_evolve(spikes)
    with pytest.raises(TypeError, match=r"Spikes.*unroll"):
        learner.etrace_grad(spikes, step_fn=lambda x: learner(x).sum())


def test_an_input_of_one_step_beside_one_of_several_is_the_same_at_each():
    class Gained(brainstate.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = FeedForward(4, LI(2), w_init=np.linspace(-1, 1, 8).reshape(4, 2))

        def update(self, x, gain):
            return gain * self.layer(x)

    gain = jnp.asarray(0.5)
    learner = braintrace.compile(Gained(), "D_RTRL", XS[0], gain, batch_size=B)
    one = learner(braintrace.SingleStepData(XS[0]), gain)
    learner.reset_state()
    several = learner(braintrace.MultiStepData(XS), braintrace.SingleStepData(gain))
    np.testing.assert_allclose(several[0], one, rtol=1e-6)
    learner.reset_state()
    np.testing.assert_allclose(several, learner.unroll(XS, jnp.full(T, 0.5)), rtol=1e-6)
    with pytest.raises(ValueError, match="one length"):
        learner(braintrace.MultiStepData(XS), braintrace.MultiStepData(jnp.ones(T - 1)))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"reduction": "max"}, "reduction"),
        ({"loss_output": "all"}, "loss_output"),
        ({"mask": np.ones(T + 1)}, "mask"),
        ({"step_fn": lambda x, y: x}, "scalar"),
    ],
)
def test_unknown_options_and_losses_that_are_no_number_are_refused(options, match):
    learner = stepwise()
    given = {"step_fn": lambda x, y: loss_of(learner(x), y), **options}
    with pytest.raises(ValueError, match=match):
        learner.etrace_grad(XS, YS, **given)
    with pytest.raises(ValueError, match="one length"):
        learner.etrace_grad(XS, YS[:-1], step_fn=given["step_fn"])


def test_a_rule_that_has_no_such_name_is_refused_with_the_names_there_are():
    with pytest.raises(TypeError, match=r"D_RTRL.*got rule='RTRL'"):
        braintrace.compile(Marked(True), "RTRL", XS[0], batch_size=B)
