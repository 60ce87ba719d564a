from functools import partial

import brainunit as u
import numpy as np
import pytest
from clicks import Clicks, all_same

from snntrace.datasets import SaccadeDigits, batches, bin_batch
from snntrace.datasets import transforms as tf

DT = 4 * u.ms
AUGMENT = tf.compose(partial(tf.jitter_time, sigma=3 * u.ms), partial(tf.drop_events, probability=0.2))
MIX = partial(tf.cut_mix, sensor=(16, 16, 2))


@pytest.fixture(scope="module")
def digits():
    return SaccadeDigits()


@pytest.mark.parametrize("options", [{}, {"mix": MIX}])
@pytest.mark.parametrize("layout", ["dense", "events"])
def test_what_is_random_does_not_depend_on_who_does_the_work(digits, options, layout):
    def make(**more):
        return batches(digits, range(60), 8, DT, seed=5, transform=AUGMENT, layout=layout, **options, **more)

    expected = [list(make().epoch(k)) for k in range(2)]
    for more in ({"prefetch": 4, "workers": 3}, {"cache": True}, {"cache": True, "prefetch": 2}):
        loader = make(**more)
        for k in range(2):
            all_same(loader.epoch(k), expected[k])
    halves = [list(make(shard=(i, 2)).epoch(1)) for i in range(2)]
    all_same([halves[k % 2][k // 2] for k in range(len(expected[1]))], expected[1])
    late = make(prefetch=2)
    late.restore(make().state() | {"epoch": 1, "batch": 3})
    all_same(late, expected[1][3:])


def test_each_epoch_and_recording_gets_numbers_of_its_own(digits):
    loader = batches(digits, [7] * 3 + [8], 1, DT, shuffle=False, transform=AUGMENT)
    first, second = ([batch.x for batch in loader] for _ in range(2))
    assert (first[0] != second[0]).any()
    np.testing.assert_array_equal(first[0], first[1])
    plain = batches(digits, [7], 1, DT)
    assert (next(iter(plain)).x != first[0]).any()


def test_a_transform_is_applied_before_binning(digits):
    half = partial(tf.crop_time, stop=100 * u.ms)
    batch = next(iter(batches(digits, range(6), 6, DT, shuffle=False, transform=half)))
    expected = bin_batch([half(digits.events(i)) for i in range(6)], n_units=512, dt=DT, n_steps=76)
    np.testing.assert_array_equal(batch.x, expected.x)
    np.testing.assert_array_equal(batch.lengths, expected.lengths)


def test_a_transform_may_change_the_number_of_units(digits):
    small = partial(tf.pool_space, sensor=(16, 16, 2), factor=2)
    loader = batches(digits, range(6), 6, DT, shuffle=False, transform=small, n_units=128, pool=4)
    batch = next(iter(loader))
    assert loader.n_channels == 32
    assert batch.x.shape == (76, 6, 32)
    expected = bin_batch([small(digits.events(i)) for i in range(6)], n_units=128, dt=DT, n_steps=76, pool=4)
    np.testing.assert_array_equal(batch.x, expected.x)
    with pytest.raises(ValueError, match=r"units must be in 0 \.\. 127, got unit="):
        list(batches(digits, range(6), 6, DT, n_units=128))


def test_a_transform_of_ones_own_may_give_other_types():
    def plain(events, rng):
        times, units = events
        return [float(t) for t in times], units.astype(np.uint8)

    all_same(batches(Clicks(), range(10), 5, DT, transform=plain), batches(Clicks(), range(10), 5, DT))


@pytest.mark.parametrize(
    ("transform", "error", "message"),
    [
        (lambda events, rng: (events[0] - 1, events[1]), ValueError, "finite and not negative, got time="),
        (lambda events, rng: (events[0], events[1] + 6), ValueError, r"units must be in 0 \.\. 5, got unit="),
        (lambda events, rng: (events[0], events[1] / 2), TypeError, "units must be integers"),
        (lambda events, rng: (events[0], events[1][:-1]), ValueError, "two lists of one length"),
    ],
)
def test_a_transform_that_gives_what_cannot_be_is_refused(transform, error, message):
    with pytest.raises(error, match=message):
        list(batches(Clicks(), range(10), 5, DT, transform=transform))


def test_what_is_kept_in_memory_is_not_changed_by_a_transform():
    def careless(events, rng):
        times, units = events
        times += 0.001
        units[:] = 0
        return times, units

    data = Clicks(10)
    loader = batches(data, range(10), 5, DT, transform=careless, cache=True)
    all_same(loader.epoch(0), loader.epoch(0))
    assert len(data.reads) == 10


def test_mixed_batches_say_what_was_mixed(digits):
    loader = batches(digits, range(40), 16, DT, mix=MIX, pad_last=True, seed=2)
    found = list(loader)
    for batch in found:
        real = batch.indices >= 0
        np.testing.assert_array_equal(batch.labels[real], digits.labels[batch.indices[real]])
        assert set(batch.partners[real]) <= set(digits.labels[:40].tolist())
        assert (batch.weights[real] >= 0).all()
        assert (batch.weights[real] <= 1).all()
        assert (batch.weights[~real] == 1).all()
        assert (batch.partners[~real] == -1).all()
        assert batch.partners.dtype == np.int32
        assert batch.weights.dtype == np.float32
        assert batch.partners.shape == batch.weights.shape == (16,)
    weights = np.concatenate([batch.weights for batch in found])
    assert weights[weights < 1].std() > 0.1
    assert next(iter(batches(digits, range(40), 16, DT))).partners is None


def test_a_mix_is_of_the_recording_and_its_partner(digits):
    swap = partial(tf.blend, share=1.0)
    batch = next(iter(batches(digits, range(40), 16, DT, mix=swap, n_steps=76)))
    assert (batch.weights == 0).all()
    recordings = {i: bin_batch([digits.events(i)], n_units=512, dt=DT, n_steps=76).x[:, 0] for i in range(40)}
    for row in range(16):
        partner = [i for i, x in recordings.items() if np.array_equal(x, batch.x[:, row])]
        assert digits.labels[partner[0]] == batch.partners[row]


@pytest.mark.parametrize("options", [{}, {"binary": True, "pool": 2}, {"n_steps": 2}, {"cache": True}])
@pytest.mark.parametrize("layout", ["dense", "events"])
def test_bins_may_be_of_events(options, layout):
    data = Clicks()
    loader = batches(data, range(40), 8, count=2, layout=layout, **options)
    assert loader.n_steps == options.get("n_steps", 4)
    shape = {name: value for name, value in options.items() if name != "cache"}
    for _ in range(2):
        for batch in loader:
            recordings = [data.events(i) for i in batch.indices]
            expected = bin_batch(recordings, n_units=6, count=2, **({"n_steps": 4} | shape))
            x = batch.x if layout == "dense" else np.asarray(batch.x.dense())
            np.testing.assert_array_equal(x, expected.x)
            np.testing.assert_array_equal(batch.lengths, expected.lengths)


def test_bins_of_events_have_buckets_too():
    loader = batches(Clicks(), range(40), 4, count=2, buckets=3)
    assert {len(batch.x) for batch in loader} == {1, 2, 4} or {len(b.x) for b in loader} == {2, 3, 4}
    assert sorted(np.concatenate([batch.indices for batch in loader]).tolist()) == list(range(40))
    with pytest.raises(ValueError, match="batches: dt or count must be given"):
        batches(Clicks(), range(40), 4)


def test_events_of_unsorted_recordings_are_counted_in_the_order_of_time():
    class Backwards(Clicks):
        def events(self, index):
            return np.array([0.03, 0.01, 0.02]), np.array([0, 1, 2])

    batch = next(iter(batches(Backwards(1), [0], 1, count=1)))
    assert batch.x[:, 0].argmax(1).tolist() == [1, 2, 0]
