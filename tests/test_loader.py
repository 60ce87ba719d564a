import brainunit as u
import numpy as np
import pytest

from snntrace import Spikes
from snntrace.datasets import SaccadeDigits, SpikeFile, batches, bin_batch, by_group, hold_out, streams
from snntrace.datasets.past_cache import LARGE

DT = 4 * u.ms


class Clicks:
    """Recording i has i % 4 events, at 10, 20, ... ms, of unit i % 6."""

    n_units = 6
    class_names = ("a", "b", "c")
    groups = None
    duration = 0.03

    def __init__(self, n=20):
        self.labels = np.arange(n) % 3
        self.reads = 0

    def __len__(self):
        return len(self.labels)

    def events(self, index):
        self.reads += 1
        return 0.01 * np.arange(1, index % 4 + 1), np.full(index % 4, index % 6)


def seen(loader):
    return [batch.indices.tolist() for batch in loader]


def test_an_epoch_gives_every_recording_once():
    loader = batches(Clicks(), range(20), 6, DT)
    assert len(loader) == 4
    parts = seen(loader)
    assert [len(part) for part in parts] == [6, 6, 6, 2]
    assert sorted(sum(parts, [])) == list(range(20))


def test_a_batch_is_its_binned_recordings():
    data = Clicks()
    for options in ({}, {"pool": 2}, {"binary": True}, {"n_steps": 4}):
        for batch in batches(data, [3, 5, 7, 11, 13], 2, DT, **options):
            steps = {"n_steps": 8} | options
            expected = bin_batch([data.events(i) for i in batch.indices], n_units=6, dt=DT, **steps)
            np.testing.assert_array_equal(batch.x, expected.x)
            np.testing.assert_array_equal(batch.lengths, expected.lengths)
            np.testing.assert_array_equal(batch.mask, expected.mask)
            np.testing.assert_array_equal(batch.labels, data.labels[batch.indices])
            assert batch.x.dtype == np.float32
            assert batch.labels.dtype == np.int32


def test_all_batches_have_the_steps_of_the_longest_recording():
    loader = batches(Clicks(), range(20), 6, DT)
    assert loader.n_steps == 8
    assert {batch.x.shape[0] for batch in loader} == {8}


def test_the_seed_and_the_number_of_the_epoch_fix_the_order():
    first, same = (batches(Clicks(), range(20), 6, DT, seed=5) for _ in range(2))
    other = batches(Clicks(), range(20), 6, DT, seed=6)
    epochs = [seen(first) for _ in range(3)]
    assert epochs == [seen(same.epoch(k)) for k in range(3)]
    assert epochs[0] != epochs[1] != epochs[2]
    assert epochs[0] != seen(other)


def test_iteration_resumes_at_a_given_epoch():
    loader = batches(Clicks(), range(20), 6, DT)
    loader.next_epoch = 7
    assert seen(loader) == seen(loader.epoch(7))
    assert loader.next_epoch == 8


def test_without_shuffling_the_order_is_as_given():
    loader = batches(Clicks(), [4, 2, 9], 2, DT, shuffle=False)
    assert seen(loader) == seen(loader) == [[4, 2], [9]]


def test_the_last_batch_can_be_dropped():
    loader = batches(Clicks(), range(20), 6, DT, drop_last=True)
    assert len(loader) == 3
    assert [len(part) for part in seen(loader)] == [6, 6, 6]


def test_the_last_batch_can_be_filled_with_silence():
    *_, last = batches(Clicks(), range(20), 6, DT, pad_last=True, shuffle=False)
    assert last.x.shape == (8, 6, 6)
    assert last.indices.tolist() == [18, 19, -1, -1, -1, -1]
    assert last.labels.tolist() == [0, 1, -1, -1, -1, -1]
    assert last.lengths.tolist() == [6, 8, 0, 0, 0, 0]
    assert not last.mask[:, 2:].any()
    assert not last.x[:, 2:].any()


@pytest.mark.parametrize("n_steps", [None, 4, 300])
def test_the_cache_changes_nothing_but_the_reading(n_steps):
    plain, kept = Clicks(), Clicks()
    without = batches(plain, range(20), 6, DT, n_steps=n_steps)
    cached = batches(kept, range(20), 6, DT, n_steps=n_steps, cache=True)
    for _ in range(3):
        for one, two in zip(without, cached, strict=True):
            np.testing.assert_array_equal(one.x, two.x)
            np.testing.assert_array_equal(one.lengths, two.lengths)
    assert plain.reads == 60
    assert kept.reads == 20


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"pool": 2},
        {"binary": True},
        {"n_steps": 4},
        {"cache": True},
        {"pad_last": True},
        {"n_steps": 300},
    ],
)
def test_events_are_the_same_batches_in_another_layout(options):
    dense = batches(Clicks(), range(20), 6, DT, **options)
    events = batches(Clicks(), range(20), 6, DT, layout="events", **options)
    for one, two in zip(dense, events, strict=True):
        assert isinstance(two.x, Spikes)
        assert two.x.shape == one.x.shape
        np.testing.assert_array_equal(two.x.dense(), one.x)
        for name in ("labels", "lengths", "mask", "indices"):
            np.testing.assert_array_equal(getattr(two, name), getattr(one, name))


@pytest.mark.parametrize("name", ["int16", "uint8"])
def test_integers_hold_the_same_counts_and_refuse_larger_ones(name):
    class Bursts(Clicks):
        """Recording i has i events in one bin."""

        def events(self, index):
            return np.full(index, 0.01), np.zeros(index, np.int64)

    most = np.iinfo(name).max
    data = Bursts(most + 2)
    rows = [most, 3, 0]
    (one,), (two,) = (list(batches(data, rows, 3, DT, dtype=dtype)) for dtype in ("float32", name))
    assert (one.x.dtype, two.x.dtype) == (np.float32, name)
    np.testing.assert_array_equal(one.x, two.x)
    assert two.x.max() == most
    with pytest.raises(ValueError, match=f"got dtype={name} and more than {most} of them. Give dtype="):
        next(iter(batches(data, [most + 1], 1, DT, dtype=name)))
    assert next(iter(batches(data, [most + 1], 1, DT, dtype=name, binary=True))).x.sum() == 1


@pytest.mark.parametrize("options", [{}, {"pool": 2}, {"binary": True}, {"n_steps": 3}, {"count": 2}])
@pytest.mark.parametrize("dense", [True, False])
def test_events_in_any_order_and_any_type_are_binned_as_they_are_one_by_one(options, dense):
    rng = np.random.default_rng(0)
    shuffled = [
        (rng.random(n) * 0.03, rng.integers(0, 6, n)) for n in (0, 40, 1, 0, 25, 60, 0)
    ]  # fmt: skip

    class Shuffled(Clicks):
        def events(self, index):
            times, units = shuffled[index]
            # Half of them in types that kernels do not read.
            return (times, units) if index % 2 else (times.astype(np.float32), units.astype(np.uint8))

    data = Shuffled(7)
    width = None if "count" in options else DT
    layout = "dense" if dense else "events"
    (batch,) = batches(data, range(7), 7, width, shuffle=False, layout=layout, **options)
    wanted = bin_batch(
        [data.events(i) for i in range(7)], n_units=6, dt=width, **{"n_steps": batch.x.shape[0]} | options
    )
    assert wanted.x.sum() > 20
    np.testing.assert_array_equal(batch.x if dense else batch.x.dense(), wanted.x)
    np.testing.assert_array_equal(batch.lengths, wanted.lengths)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([20], 1, DT), {}, r"in 0 \.\. 19, got index=20"),
        (([-1], 1, DT), {}, "got index=-1"),
        (([], 1, DT), {}, "at least one batch, got 0 recordings"),
        (([1], 0, DT), {}, "at least one batch, got 1 recordings, batch_size=0"),
        (([1], 2, DT), {"drop_last": True}, "batch_size=2 and drop_last=True"),
        (([1], 1, DT), {"drop_last": True, "pad_last": True}, "must be dropped or filled"),
        (([1], 1, DT), {"pool": 4}, "pool must divide"),
        (([1], 1, DT), {"n_steps": 0}, "n_steps must be at least 1"),
        (([1], 1, DT), {"seed": -1}, "seed must not be negative"),
        (
            ([1], 1, DT),
            {"layout": "sparse"},
            r"layout must be one of \('dense', 'events'\), got layout='sparse'",
        ),
        (([1], 1, DT), {"dtype": "int8"}, r"dtype must be one of .*, got dtype='int8'"),
        (([1], 1, DT), {"dtype": "uint8", "layout": "events"}, "dtype must be left out for events"),
        (([1], 1, 0 * u.ms), {}, "one positive finite time"),
    ],
)
def test_impossible_arguments_are_refused_before_anything_is_read(arguments, options, message):
    data = Clicks()
    with pytest.raises(ValueError, match=message):
        batches(data, *arguments, **options)
    assert data.reads == 0


def test_more_units_than_32_bits_can_name_are_refused_before_they_are_pooled():
    for wrong in (batches, streams):
        with pytest.raises(ValueError, match="n_units must be at most 2147483647, got n_units=4294967296"):
            wrong(Clicks(), [0], *([1] if wrong is batches else []), DT, n_units=2**32, pool=2**16)


@pytest.mark.parametrize("wrong", [np.arange(1797) > 99, [0.9, 1.7], ["1"]])
def test_a_mask_is_not_taken_for_numbers_of_recordings(wrong):
    data = SaccadeDigits()
    for use in (
        lambda: batches(data, wrong, 1, DT), lambda: streams(data, wrong, DT),
        lambda: hold_out(data, 0.5, seed=0, indices=wrong),
    ):  # fmt: skip
        with pytest.raises(TypeError, match="indices must be numbers of .*flatnonzero"):
            use()


def test_recordings_of_several_buckets_are_not_mixed():
    with pytest.raises(ValueError, match="mixed must be of one bucket, got buckets=2 and a mix"):
        batches(Clicks(), range(20), 4, DT, buckets=2, mix=lambda one, other, rng: (one, 0.5))


def test_a_step_without_a_unit_is_refused():
    with pytest.raises(TypeError, match="dt must be a time with a unit"):
        batches(Clicks(), [0], 1, 0.004)


@pytest.mark.shared
def test_spoken_digits_come_in_batches_with_two_speakers_held_out(shared, tmp_path):
    path = shared / "data" / "shd_regen" / "shd_regen_small_train.h5.gz"
    with SpikeFile(path, cache_folder=tmp_path) as data:
        train, held = by_group(data.groups, [3, 9])
        loader = batches(data, train, 64, DT, n_steps=250, pool=5, drop_last=True, cache=True)
        batch = next(iter(loader))
        assert batch.x.shape == (250, 64, 140)
        assert batch.x.mean() > 0.05
        assert not np.isin(data.speakers[batch.indices], [3, 9]).any()
        assert len(train) + len(held) == 400
        expected = bin_batch([data.events(i) for i in batch.indices], n_units=700, dt=DT, n_steps=250, pool=5)
        np.testing.assert_array_equal(batch.x, expected.x)


@pytest.mark.shared
def test_spoken_digits_come_as_events_too(shared, tmp_path):
    path = shared / "data" / "shd_regen" / "shd_regen_small_train.h5.gz"
    with SpikeFile(path, cache_folder=tmp_path) as data:
        options = {"n_steps": 250, "shuffle": False, "cache": True}
        for pool, binary in ((1, False), (5, False), (5, True)):
            dense = next(iter(batches(data, range(32), 32, DT, pool=pool, binary=binary, **options)))
            events = next(
                iter(batches(data, range(32), 32, DT, pool=pool, binary=binary, layout="events", **options))
            )
            np.testing.assert_array_equal(events.x.dense(), dense.x)
            np.testing.assert_array_equal(events.lengths, dense.lengths)


@pytest.mark.parametrize("prefetch", [0, 2])
def test_a_batch_that_is_held_is_never_written_to_and_others_share_memory(prefetch):
    loader = batches(SaccadeDigits(), range(600), 20, 4 * u.ms, n_steps=76, prefetch=prefetch)
    held, copies, places = [], [], set()
    for k, batch in enumerate(loader):
        if k % 7 == 0:
            # A part keeps all of the batch.
            held.append(batch.x[1:, ::2].T[3])
            copies.append(held[-1].copy())
        places.add(batch.x.ctypes.data)
        batch.x[:] += 1
        if k % 7 == 0:
            copies[-1] += 1
    assert k == 29
    for view, copy in zip(held, copies, strict=True):
        np.testing.assert_array_equal(view, copy)
    assert len(held) <= len(places) < 15


@pytest.mark.parametrize("dtype", ["float32", "int16", "uint8"])
@pytest.mark.parametrize("channels", [2311, 64, 13])
def test_a_batch_larger_than_caches_counts_the_same(dtype, channels):
    n_steps, size, rng = 400, {2311: 5, 64: 170, 13: 840}[channels], np.random.default_rng(channels)
    recordings = [
        (np.sort(rng.integers(0, n_steps, 300) * 0.004), rng.integers(0, channels, 300)) for _ in range(size)
    ]

    class Many(Clicks):
        n_units = channels

        def events(self, index):
            return recordings[index]

    loader = batches(Many(size), range(size), size, DT, n_steps=n_steps, shuffle=False, dtype=dtype)
    expected = bin_batch(recordings, n_units=channels, dt=DT, n_steps=n_steps)
    batch = next(iter(loader))
    assert batch.x.nbytes > LARGE, "others do not go past the caches"
    assert batch.x.dtype == dtype
    np.testing.assert_array_equal(batch.x, expected.x)


class FarAway(Clicks):
    """A second event that is finite, and so late that no integer counts the steps until then."""

    far = 1e30

    @property
    def duration(self):
        return self.far

    def events(self, index):
        return np.array([0.01, self.far]), np.array([2, 5])


@pytest.mark.parametrize("far", [1e6, 1e9, 1e30, 1e300])
@pytest.mark.parametrize(
    "options", [{}, {"layout": "events"}, {"cache": True}, {"transform": lambda e, _: e}]
)
def test_a_time_that_no_step_counts_is_later_than_all_steps(far, options):
    data = FarAway(3)
    data.far = far
    for batch in batches(data, range(3), 3, DT, n_steps=8, **options):
        x = batch.x if options.get("layout") != "events" else np.asarray(batch.x.dense())
        assert np.argwhere(x).tolist() == [[2, 0, 2], [2, 1, 2], [2, 2, 2]]
        assert batch.lengths.tolist() == [8, 8, 8]
    (sample, *_) = streams(data, [0], DT, n_steps=8)
    assert np.argwhere(np.asarray(sample.x.dense())).tolist() == [[2, 0, 2]]


@pytest.mark.parametrize("far", [1e9, 1e30])
def test_more_steps_than_can_be_counted_are_refused(far):
    data = FarAway(3)
    data.far = far
    for options in ({}, {"buckets": 2}, {"n_steps": 1 << 40}):
        with pytest.raises(ValueError, match=r"batches: n_steps must be at most 2147483646, got n_steps=\d+"):
            batches(data, range(3), 3, DT, **options)
