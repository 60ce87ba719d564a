"""``brainstate.nn.Embedding`` as it is written: a look-up with a gradient rule of its own."""

import brainstate
import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from nets import bptt, double_precision, loss, streamed

import snntrace
from snntrace import CompileError

T, B, WORDS, V, N = 10, 4, 3, 6, 5
PAD = 2


class Words(brainstate.nn.Module):
    """A layer that looks words up, in front of smooth units."""

    def __init__(self, layer, words):
        super().__init__()
        self.layer, self.shape = layer, (B, *words, N)

    def init_state(self, *args, **kwargs):
        self.h = brainstate.HiddenState(jnp.zeros(self.shape))

    def update(self, x):
        self.h.value = 0.8 * self.h.value + 0.3 * jnp.sin(self.h.value) + self.layer(x)
        return jnp.tanh(self.h.value).reshape(len(x), -1)


def numpy_trace(table, xs, ys, scale):
    """Add up the traces of every word, whose source is 1 times ``scale(labels of the step)`` at its row."""
    h, eps = np.zeros((*xs.shape[1:], N)), np.zeros((*xs.shape[1:], V, N))
    gradient = np.zeros((V, N))
    for x, y in zip(xs, ys, strict=True):
        d = 0.8 + 0.3 * np.cos(h)
        h = 0.8 * h + 0.3 * np.sin(h) + table[x]
        row = np.eye(V)[x] * scale(x)[..., None]
        eps = d[..., None, :] * eps + row[..., None]
        out = np.tanh(h)
        signal = (out - y.reshape(out.shape)) * (1 - out**2)
        gradient += (signal[..., None, :] * eps).sum(tuple(range(x.ndim)))
    return gradient


def by_frequency(x):
    return 1.0 / np.bincount(x.ravel(), minlength=V)[x]


CASES = {
    "plain": ({}, lambda x: np.ones(x.shape)),
    "padding_idx": ({"padding_idx": PAD}, lambda x: (x != PAD).astype(float)),
    "scale_grad_by_freq": ({"scale_grad_by_freq": True}, by_frequency),
    "both": ({"scale_grad_by_freq": True, "padding_idx": PAD}, lambda x: by_frequency(x) * (x != PAD)),
}


def data(words, seed=0):
    rng = np.random.default_rng(seed)
    xs = rng.integers(0, V, (T, B, *words))
    return xs, rng.normal(size=(T, B, int(np.prod(words)) * N))


FAST = {("plain", ()), ("both", (WORDS,))}


@pytest.mark.parametrize(
    ("case", "words"),
    [
        pytest.param(case, words, marks=() if (case, words) in FAST else pytest.mark.slow)
        for case in CASES
        for words in ((), (WORDS,))
    ],
)
def test_every_order_gives_the_numpy_trace_under_the_layers_own_rule(case, words):
    options, scale = CASES[case]
    with double_precision():
        model = Words(brainstate.nn.Embedding(V, N, brainstate.nn.init.Normal(0.7), **options), words)
        xs, ys = data(words)
        assert not options or not np.allclose(np.concatenate([scale(x).ravel() for x in xs]), 1.0)
        weight = next(iter(model.states(brainstate.ParamState)))
        expected = numpy_trace(np.asarray(model.layer.weight.value), xs, ys, scale)
        assert np.abs(expected).max() > 0.1
        xs, ys = jnp.asarray(xs), jnp.asarray(ys)
        found = [bptt(model, B, xs, ys)]
        for window in (None, 4):
            learner = snntrace.compile(model, snntrace.D_RTRL, xs[0], batch_size=B, window=window)
            found.append(learner.value_and_grad(loss)(xs, ys)[1])
        found.append(streamed(learner, model, xs, ys)[0])
        for each in found:
            assert oracles.relative_error(each[weight], expected) < 1e-10
        (trace,) = learner.report.as_dict()["traces"]
        assert (trace["kind"], tuple(trace["shape"])) == ("look-up", (1, B * max(words, default=1), V, N))
        assert learner.report.parameters[0].route == "temporal"
        padded = "padding_idx" in options
        assert (np.abs(found[-1][weight][PAD]).max() == 0) == padded


def test_single_precision_is_as_good_as_elsewhere():
    model = Words(brainstate.nn.Embedding(V, N, brainstate.nn.init.Normal(0.7)), ())
    xs, ys = data(())
    expected = numpy_trace(np.asarray(model.layer.weight.value), xs, ys, CASES["plain"][1])
    learner = snntrace.compile(model, snntrace.D_RTRL, jnp.asarray(xs[0]), batch_size=B)
    grads, _ = streamed(learner, model, jnp.asarray(xs), jnp.asarray(ys, jnp.float32))
    assert oracles.relative_error(next(iter(grads.values())), expected) < 1e-5


def test_what_is_frozen_gets_no_gradient():
    table = np.random.default_rng(0).normal(size=(V, N))
    model = Words(brainstate.nn.Embedding.from_pretrained(table), ())
    xs, ys = (jnp.asarray(v, w) for v, w in zip(data(()), (int, jnp.float32), strict=True))
    learner = snntrace.compile(model, snntrace.D_RTRL, xs[0], batch_size=B)
    (gradient,) = learner.value_and_grad(loss)(xs, ys)[1].values()
    assert float(jnp.abs(gradient).max()) == 0.0


def test_a_table_that_is_cut_down_to_a_norm_in_the_step_is_refused_by_name():
    model = Words(brainstate.nn.Embedding(V, N, max_norm=1.0), ())
    with pytest.raises(CompileError, match=r"layer\.weight"):
        snntrace.compile(model, snntrace.D_RTRL, jnp.zeros(B, int), batch_size=B)


def with_rule(function, rule):
    made = jax.custom_vjp(function)
    made.defvjp(lambda w, x: (function(w, x), (w, x)), rule)
    return made


def clipped(residuals, y):
    w, x = residuals
    return jnp.zeros_like(w).at[x].add(jnp.clip(y, -0.1, 0.1)), None


def mixed(residuals, y):
    w, x = residuals
    return jnp.zeros_like(w).at[x].add(jnp.roll(y, 1, -1)), None


def by_place(residuals, y):
    w, x = residuals
    return jnp.zeros_like(w).at[x].add(y * jnp.arange(len(y))[:, None]), None


def constant(residuals, y):
    return jnp.ones_like(residuals[0]), None


class Looked(brainstate.nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function, self.weight = function, brainstate.ParamState(jnp.ones((V, N)))

    def update(self, x):
        return self.function(self.weight.value, x)


@pytest.mark.parametrize("rule", [clipped, mixed, by_place, constant])
def test_a_rule_that_does_more_than_scale_rows_is_refused_by_name(rule):
    model = Words(Looked(with_rule(lambda w, x: w[x], rule)), ())
    with pytest.raises(CompileError, match=r"layer\.weight.*neither that of a look-up nor scales"):
        snntrace.compile(model, snntrace.D_RTRL, jnp.zeros(B, int), batch_size=B)


def test_a_function_with_a_rule_that_is_no_look_up_is_refused_by_name():
    twice = with_rule(
        lambda w, x: 2.0 * jnp.tanh(w)[x], lambda r, y: (jnp.zeros_like(r[0]).at[r[1]].add(y), None)
    )
    with pytest.raises(CompileError, match=r"layer\.weight.*a gradient rule of its own, and is no look-up"):
        snntrace.compile(Words(Looked(twice), ()), snntrace.D_RTRL, jnp.zeros(B, int), batch_size=B)
