"""Traces and tapes are estimated before they are allocated, and refused above a limit."""

import time

import brainstate
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from nets import draw_weights

import snntrace
from snntrace.memory import device_memory, written
from snntrace.neurons import ALIF, LI, LIF, FeedForward, Recurrent

XS = jax.random.bernoulli(jax.random.key(0), 0.4, (6, 2, 5)).astype(jnp.float32)


def energy(outs):
    return (outs**2).sum()


def net():
    brainstate.random.seed(0)
    return draw_weights(brainstate.nn.Sequential(Recurrent(5, ALIF(6)), FeedForward(6, LI(3))))


class Wide(brainstate.nn.Module):
    """A layer of two states a unit, with small weights and a trace of hundreds of GiB."""

    def __init__(self, n):
        super().__init__()
        self.w = brainstate.ParamState(jnp.zeros((n, n)))

    def init_state(self, batch_size=None, **kwargs):
        for name in "va":
            shape = (batch_size, self.w.value.shape[0])
            setattr(self, name, brainstate.HiddenState(jnp.zeros(shape)))

    def update(self, x):
        self.v.value = jnp.tanh(self.v.value + x @ self.w.value - self.a.value)
        self.a.value = 0.9 * self.a.value + self.v.value
        return self.v.value[:, :2]


def test_a_trace_of_hundreds_of_gigabytes_is_refused_at_once_and_whole_sequences_run():
    n, batch = 4096, 2048
    x = jnp.zeros((batch, n))
    start = time.perf_counter()
    learner = snntrace.compile(Wide(n), snntrace.D_RTRL, x, batch_size=batch)
    assert time.perf_counter() - start < 20
    assert learner.report.as_dict()["memory"]["traces"] == 2 * batch * n * n * 4
    assert learner.traces == []
    with pytest.raises(MemoryError, match=r"256 GiB.*value_and_grad.*batch_size="):
        learner.update(x)
    for call in (lambda: learner.unroll(x[None]), learner.stream):
        with pytest.raises(MemoryError, match="memory_limit"):
            call()
    assert learner.unroll(x[None], carry=False).shape == (1, batch, 2)
    assert "above the limit" in str(learner.report)


def test_below_the_limit_everything_runs_and_above_it_only_what_needs_no_trace():
    free = snntrace.compile(net(), snntrace.D_RTRL, XS[0], batch_size=2)
    needed = sum(t.value.nbytes for t in free.traces)
    assert free.report.as_dict()["memory"]["traces"] == needed
    at = snntrace.compile(net(), snntrace.D_RTRL, XS[0], batch_size=2, memory_limit=needed)
    at.update(XS[0])
    below = snntrace.compile(net(), snntrace.D_RTRL, XS[0], batch_size=2, memory_limit=needed - 1, window=2)
    with pytest.raises(MemoryError):
        below.update(XS[0])
    expected, found = (jax.tree.leaves(learner.value_and_grad(energy)(XS)) for learner in (free, below))
    assert any(float(jnp.abs(g).max()) > 0 for g in expected[1:])
    for a, b in zip(expected, found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_a_smaller_batch_that_fits_is_named_and_fits():
    free = snntrace.compile(net(), snntrace.D_RTRL, XS[0], batch_size=2)
    limit = free.memory.traces * 0.6
    refused = snntrace.compile(net(), snntrace.D_RTRL, XS[0], batch_size=2, memory_limit=limit)
    with pytest.raises(MemoryError, match="batch_size=1 or less"):
        refused.update(XS[0])
    snntrace.compile(net(), snntrace.D_RTRL, XS[0, :1], batch_size=1, memory_limit=limit).update(XS[0, :1])


def test_a_tape_that_is_too_long_is_refused_with_the_window_that_fits():
    learner = snntrace.compile(net(), snntrace.D_RTRL, XS[0], batch_size=2)
    limit = max(4 * learner.memory.step, learner.memory.traces)
    most = int(limit // learner.memory.step)
    xs = jnp.zeros((most + 1, 2, 5))
    refused = snntrace.compile(net(), snntrace.D_RTRL, XS[0], batch_size=2, memory_limit=limit)
    with pytest.raises(MemoryError, match=f"window={most} or less"):
        refused.value_and_grad(energy)(xs)
    fits = snntrace.compile(net(), snntrace.D_RTRL, XS[0], batch_size=2, memory_limit=limit, window=most)
    fits.value_and_grad(energy)(xs)


def test_a_stream_that_keeps_traces_whole_is_refused_where_shared_ones_fit():
    model = brainstate.nn.Sequential(FeedForward(5, LIF(64)))
    shared = snntrace.compile(model, snntrace.D_RTRL, XS[0], batch_size=2)
    limit = 2 * shared.memory.traces
    learner = snntrace.compile(model, snntrace.D_RTRL, XS[0], batch_size=2, memory_limit=limit)
    learner.update(XS[0])
    with pytest.raises(MemoryError, match="path='dense'"):
        learner.stream()
    learner.stream(path="dense").step(np.asarray(XS[0]))


@pytest.mark.parametrize("limit", [0, -1, "8GB", True])
def test_what_is_no_number_of_bytes_is_refused(limit):
    with pytest.raises(ValueError, match="memory_limit"):
        snntrace.compile(net(), snntrace.D_RTRL, XS[0], batch_size=2, memory_limit=limit)


def test_bytes_are_written_with_units_and_the_machine_has_some():
    assert [written(n) for n in (12, 2048, 3 * 2**20, 2**41)] == ["12 B", "2 KiB", "3 MiB", "2 TiB"]
    assert device_memory() > 2**28
