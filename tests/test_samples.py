import brainstate
import brainunit as u
import jax.numpy as jnp
import numpy as np
import pytest
from clicks import Clicks

import snntrace
from snntrace.datasets import SaccadeDigits, bin_events, streams
from snntrace.datasets import transforms as tf
from snntrace.neurons import LIF, Recurrent
from snntrace.nn import Linear

DT = 4 * u.ms


@pytest.mark.parametrize("options", [{}, {"pool": 2}, {"binary": True}, {"n_steps": 5}])
def test_each_recording_is_as_long_as_it_is(options):
    data = Clicks(14)
    found = list(streams(data, range(14), DT, shuffle=False, **options))
    assert [sample.index for sample in found] == list(range(14))
    for sample in found:
        expected = bin_events(*data.events(sample.index), n_units=6, dt=DT, **options)
        if "n_steps" in options:
            last = int(np.flatnonzero(expected.any(1)).max(initial=0))
            n = min(round(1000 * data.events(sample.index)[0].max()) // 4 + 1, 5)
            assert n > last
            expected = expected[:n]
        assert sample.x.shape == (len(expected), 1, expected.shape[1])
        np.testing.assert_array_equal(sample.x.dense()[:, 0], expected)
        assert sample.label == data.labels[sample.index]


def test_the_steps_of_a_recording_list_its_events():
    data = Clicks(14)
    for sample in streams(data, range(14), DT, seed=1):
        steps = list(sample.steps())
        assert [t for t, _ in steps] == list(range(sample.x.shape[0]))
        for t, units in steps:
            np.testing.assert_array_equal(units, np.flatnonzero(np.asarray(sample.x.dense()[t, 0])))
        assert sum(len(units) for _, units in steps) == 1 + sample.index % 7


def test_a_recording_without_events_is_one_silent_step():
    class Silent(Clicks):
        def events(self, index):
            return np.zeros(0), np.zeros(0, np.int64)

    sample = next(iter(streams(Silent(3), [0], DT)))
    assert sample.x.shape == (1, 1, 6)
    assert [units.tolist() for _, units in sample.steps()] == [[]]


def test_streams_resume_shuffle_and_divide_as_batches_do():
    def make(**more):
        return streams(
            Clicks(20), range(20), DT, seed=4, transform=lambda e, rng: (e[0] * rng.random(), e[1]), **more
        )

    def rows(samples):
        return [(s.index, s.label, np.asarray(s.x.pointers).tolist()) for s in samples]

    first, second = rows(make().epoch(0)), rows(make().epoch(1))
    assert sorted(index for index, *_ in first) == list(range(20))
    assert [index for index, *_ in first] != [index for index, *_ in second]
    loader = make(prefetch=3, workers=2)
    iterator = iter(loader)
    begun = rows([next(iterator) for _ in range(7)])
    rest = make()
    rest.restore(loader.state())
    assert begun + rows(rest) == first
    halves = [rows(make(shard=(i, 2)).epoch(0)) for i in range(2)]
    assert [halves[k % 2][k // 2] for k in range(20)] == first


def test_recordings_are_made_as_they_are_asked_for():
    data = Clicks(50)
    iterator = iter(streams(data, range(50), DT))
    next(iterator)
    assert len(data.reads) == 1


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([50],), {}, r"streams: indices must be in 0 \.\. 19, got index=50"),
        (([],), {}, "at least one recording, got 0"),
        (([1],), {"shard": (1, 2)}, r"at least one recording, got 1 of them and shard=\(1, 2\)"),
        (([1],), {"seed": -1}, "streams: seed must not be negative"),
        (([1],), {"pool": 4}, "streams: pool must divide"),
        (([1],), {"workers": 2}, "streams: buckets and workers"),
        (([1],), {"n_steps": 0}, "streams: n_steps must be at least 1"),
    ],
)
def test_impossible_streams_are_refused(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        streams(Clicks(20), *arguments, DT, **options)


@pytest.mark.slow
@pytest.mark.parametrize("path", ["dense", "event"])
def test_a_learner_streams_recordings_as_they_come(path):
    class Net(brainstate.nn.Module):
        def __init__(self):
            super().__init__()
            self.recurrent = Recurrent(128, LIF(20))
            self.readout = Linear(20, 10)

        def update(self, x):
            return self.readout(self.recurrent(x))

    with brainstate.random.seed_context(0):
        net = Net()
    learner = snntrace.compile(net, snntrace.D_RTRL, jnp.zeros((1, 128)), batch_size=1)
    data = SaccadeDigits()
    small = streams(
        data, [3, 50], DT, shuffle=False, n_units=128,
        transform=lambda events, rng: tf.pool_space(events, sensor=(16, 16, 2), factor=2),
    )  # fmt: skip
    stream = learner.stream(path=path)
    for sample in small:
        stream.reset()
        stream.reset_gradients()
        labels = np.full((sample.x.shape[0], 1), sample.label)
        outs, loss = stream.run(sample.x, loss="cross_entropy", labels=labels)
        whole = stream.gradients()
        stream.reset()
        stream.reset_gradients()
        for t, units in sample.steps():
            y = np.asarray(stream.step(units=units), np.float64)
            # A channel that has several events in a step counts as often in both.
            np.testing.assert_allclose(y, outs[t], rtol=1e-4, atol=1e-5)
            share = np.exp(y - y.max()) / np.exp(y - y.max()).sum()
            share[0, sample.label] -= 1
            stream.learn(share)
        assert np.isfinite(loss)
        for path, gradient in stream.gradients().items():
            for one, two in zip(leaves(gradient), leaves(whole[path]), strict=True):
                np.testing.assert_allclose(one, two, rtol=1e-3, atol=1e-5)
        assert any(np.abs(leaf).max() > 0 for gradient in whole.values() for leaf in leaves(gradient))


def leaves(tree):
    import jax

    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]
