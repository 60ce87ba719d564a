import brainunit as u
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snntrace.datasets import bin_batch, bin_events

DT = 4 * u.ms


def counted_one_by_one(times, units, n_units, dt, n_steps, pool):
    x = np.zeros((n_steps, n_units // pool), np.float32)
    for t, i in zip(times, units, strict=True):
        step = int(np.floor(float(t) / dt))
        if step < n_steps:
            x[step, i // pool] += 1
    return x


events = st.lists(
    # Thirds of a step: never near a border except on it.
    st.tuples(st.integers(0, 120).map(lambda k: (k // 3) * 0.004 + (k % 3) * 0.0013), st.integers(0, 11)),
    max_size=60,
)


@given(events, st.sampled_from([1, 2, 3, 12]))
def test_counts_are_those_of_a_plain_loop(recording, pool):
    times, units = [t + 1e-6 for t, _ in recording], [i for _, i in recording]
    x = bin_events(times, units, n_units=12, dt=DT, n_steps=30, pool=pool)
    assert x.dtype == np.float32
    np.testing.assert_array_equal(x, counted_one_by_one(times, units, 12, 0.004, 30, pool))


@given(events, st.integers(1, 45))
def test_the_sum_of_the_counts_is_the_number_of_events_in_range(recording, n_steps):
    times, units = [t for t, _ in recording], [i for _, i in recording]
    x = bin_events(times, units, n_units=12, dt=DT, n_steps=n_steps)
    assert x.sum() == sum(round(t * 1e6) < n_steps * 4000 for t in times)
    assert bin_events(times, units, n_units=12, dt=DT).sum() == len(recording)


@given(events, st.sampled_from([2, 3, 4, 6, 12]))
def test_pooling_adds_the_counts_of_neighbours(recording, pool):
    times, units = [t for t, _ in recording], [i for _, i in recording]
    fine = bin_events(times, units, n_units=12, dt=DT, n_steps=41)
    coarse = bin_events(times, units, n_units=12, dt=DT, n_steps=41, pool=pool)
    np.testing.assert_array_equal(coarse, fine.reshape(41, 12 // pool, pool).sum(-1))


@given(events)
def test_binary_bins_are_where_counts_are_not_zero(recording):
    times, units = [t for t, _ in recording], [i for _, i in recording]
    counts = bin_events(times, units, n_units=12, dt=DT)
    np.testing.assert_array_equal(bin_events(times, units, n_units=12, dt=DT, binary=True), counts > 0)


@given(st.integers(0, 100_000), st.sampled_from([0.1, 0.25, 0.3, 0.7, 1.0, 4.0, 10.0]))
def test_an_event_on_a_border_belongs_to_the_later_bin(k, milliseconds):
    dt = milliseconds * 1e-3
    x = bin_events([k * dt], [0], n_units=1, dt=milliseconds * u.ms)
    assert len(x) == k + 1
    just_before = bin_events([(k + 0.999) * dt], [0], n_units=1, dt=milliseconds * u.ms)
    assert len(just_before) == k + 1


@pytest.mark.parametrize("dt", [4 * u.ms, 0.004 * u.second, 4000 * u.us, np.float32(4) * u.ms])
def test_the_unit_of_dt_does_not_matter(dt):
    times = np.arange(300) * 0.004
    assert bin_events(times, np.zeros(300, int), n_units=1, dt=dt).tolist() == [[1.0]] * 300


def test_half_precision_times_are_binned_where_they_are():
    times = np.array([0.5, 0.998, 1.0, 1.37], np.float16)
    x = bin_events(times, [0, 0, 0, 0], n_units=1, dt=DT)
    expected = np.floor(times.astype(np.float64) / 0.004).astype(int)
    assert np.flatnonzero(x[:, 0]).tolist() == sorted(set(expected.tolist()))
    assert x[125, 0] == 1
    assert x[250, 0] == 1


def test_ragged_recordings_are_padded_and_masked():
    recordings = [([0.001, 0.0201], [0, 5]), ([], []), ([0.0041], [2])]
    x, lengths, mask = bin_batch(recordings, n_units=6, dt=DT)
    assert x.shape == (6, 3, 6)
    assert lengths.tolist() == [6, 1, 2]
    np.testing.assert_array_equal(mask.sum(0), lengths)
    assert mask[:, 2].tolist() == [True, True, False, False, False, False]
    assert np.argwhere(x).tolist() == [[0, 0, 0], [1, 2, 2], [5, 0, 5]]
    assert not x[~mask].any()


def test_a_batch_is_its_recordings_side_by_side():
    rng = np.random.default_rng(0)
    recordings = [(rng.uniform(0, 0.5, n), rng.integers(0, 20, n)) for n in (100, 0, 700)]
    x = bin_batch(recordings, n_units=20, dt=DT, n_steps=100, pool=5).x
    for row, (times, units) in enumerate(recordings):
        alone = bin_events(times, units, n_units=20, dt=DT, n_steps=100, pool=5)
        np.testing.assert_array_equal(x[:, row], alone)


def test_events_past_the_end_are_dropped():
    x, lengths, mask = bin_batch([([0.001, 0.0079, 0.008, 9.0], [0, 0, 1, 1])], n_units=2, dt=DT, n_steps=2)
    assert x[:, 0].tolist() == [[1.0, 0.0], [1.0, 0.0]]
    assert lengths.tolist() == [2]
    assert mask.all()


def test_more_steps_than_events_are_silence():
    x, lengths, _ = bin_batch([([0.001], [0])], n_units=2, dt=DT, n_steps=7)
    assert x.shape == (7, 1, 2)
    assert x.sum() == 1
    assert lengths.tolist() == [1]


@pytest.mark.parametrize("dt", [0.004, 4, 4 * u.mV, u.ms])
def test_a_step_without_a_unit_of_time_is_refused(dt):
    with pytest.raises(
        TypeError, match=r"dt must be a time with a unit, got dt=.*Write for example dt=4 \* u.ms"
    ):
        bin_events([0.1], [0], n_units=1, dt=dt)


@pytest.mark.parametrize("dt", [0 * u.ms, -1 * u.ms, np.inf * u.ms, np.ones(2) * u.ms])
def test_a_step_that_is_not_one_positive_time_is_refused(dt):
    with pytest.raises(ValueError, match="dt must be one positive finite time"):
        bin_events([0.1], [0], n_units=1, dt=dt)


@pytest.mark.parametrize(
    ("times", "units", "options", "message"),
    [
        ([0.1, 0.2], [0], {}, r"two lists of one length, got times.shape=\(2,\) and units.shape=\(1,\)"),
        ([[0.1]], [[0]], {}, "two lists of one length"),
        ([np.nan], [0], {}, "finite and not negative, got time=nan"),
        ([-0.1], [0], {}, "finite and not negative, got time=-0.1"),
        ([0.1], [10], {}, r"units must be in 0 \.\. 9, got unit=10"),
        ([0.1], [-1], {}, r"units must be in 0 \.\. 9, got unit=-1"),
        (
            [0.1],
            [0],
            {"pool": 3},
            r"pool must divide .*got pool=3 for 10 units. Choose one of \[1, 2, 5, 10\]",
        ),
        ([0.1], [0], {"pool": 0}, "pool must divide"),
        ([0.1], [0], {"n_steps": 0}, "n_steps must be at least 1, got n_steps=0"),
    ],
)
def test_impossible_events_and_options_are_refused(times, units, options, message):
    with pytest.raises(ValueError, match=message):
        bin_events(times, units, n_units=10, dt=DT, **options)


def test_fractional_units_are_refused():
    with pytest.raises(TypeError, match="units must be integers, got dtype=float64"):
        bin_events([0.1], [0.5], n_units=1, dt=DT)


def test_an_empty_batch_is_refused():
    with pytest.raises(ValueError, match="recordings must not be empty"):
        bin_batch([], n_units=1, dt=DT)


# Bins of events ------------------------------------------------------------------------------------


@given(events, st.integers(1, 9), st.sampled_from([1, 2, 4]))
def test_a_bin_of_events_holds_as_many_as_it_says(recording, count, pool):
    times, units = [t for t, _ in recording], [i for _, i in recording]
    x = bin_events(times, units, n_units=12, count=count, pool=pool)
    expected = np.zeros((max(1, -(-len(times) // count)), 12 // pool), np.float32)
    for place, i in enumerate(sorted(range(len(times)), key=lambda i: times[i])):
        expected[place // count, units[i] // pool] += 1
    np.testing.assert_array_equal(x, expected)
    assert (x[:-1].sum(1) == count).all()


def test_bins_of_events_may_be_binary_cut_and_padded():
    recordings = [([0.3, 0.1, 0.2, 0.4, 0.5], [0, 1, 1, 2, 2]), ([0.7], [2]), ([], [])]
    x, lengths, mask = bin_batch(recordings, n_units=3, count=2)
    assert x[:, 0].tolist() == [[0, 2, 0], [1, 0, 1], [0, 0, 1]]
    assert lengths.tolist() == [3, 1, 1]
    np.testing.assert_array_equal(mask.sum(0), lengths)
    binary = bin_batch(recordings, n_units=3, count=2, n_steps=2, binary=True)
    assert binary.x[:, 0].tolist() == [[0, 1, 0], [1, 0, 1]]
    assert binary.lengths.tolist() == [2, 1, 1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "dt or count must be given, got neither"),
        ({"dt": DT, "count": 3}, "bins must be of dt or of a count .* got dt=.* and count=3"),
        ({"count": 0}, "a count of at least 1 event, got dt=None and count=0"),
    ],
)
def test_bins_are_of_time_or_of_events(options, message):
    with pytest.raises(ValueError, match=message):
        bin_events([0.1], [0], n_units=1, **options)


def test_times_that_cannot_be_are_refused_in_bins_of_events_too():
    with pytest.raises(ValueError, match="finite and not negative, got time=nan"):
        bin_events([np.nan], [0], n_units=1, count=2)


def test_a_time_that_no_step_counts_is_dropped_or_refused():
    far = [([0.001, 1e30], [0, 1])]
    binned = bin_batch(far, n_units=2, dt=4 * u.ms, n_steps=3)
    assert np.argwhere(binned.x).tolist() == [[0, 0, 0]]
    assert binned.lengths.tolist() == [3]
    with pytest.raises(ValueError, match=r"bin_batch: n_steps must be at most 2147483646, got n_steps=\d+"):
        bin_batch(far, n_units=2, dt=4 * u.ms)
