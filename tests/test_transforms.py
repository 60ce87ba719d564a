import pickle
from functools import partial

import brainunit as u
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snntrace.datasets import transforms as tf

SENSOR = (6, 4, 2)
N_UNITS = 48
TONIC = np.dtype([("x", np.int16), ("y", np.int16), ("t", np.int64), ("p", np.bool_)])
NMNIST = np.dtype([("x", int), ("y", int), ("t", int), ("p", int)])

KEPT = {
    "jitter_time": partial(tf.jitter_time, sigma=30 * u.ms),
    "shift_time": partial(tf.shift_time, most=100 * u.ms),
    "stretch_time": partial(tf.stretch_time, low=0.5, high=2),
    "crop_time": partial(tf.crop_time, start=50 * u.ms, stop=200 * u.ms),
    "random_crop_time": partial(tf.random_crop_time, length=80 * u.ms),
    "saccade": tf.saccade,
    "jitter_space": partial(tf.jitter_space, sigma=1.5, sensor=SENSOR),
    "shift_space": partial(tf.shift_space, most=(2, 1), sensor=SENSOR),
    "flip_left_right": partial(tf.flip_left_right, sensor=SENSOR),
    "flip_up_down": partial(tf.flip_up_down, sensor=SENSOR),
    "flip_polarity": partial(tf.flip_polarity, sensor=SENSOR),
    "drop_events": partial(tf.drop_events, probability=0.3),
    "drop_time": partial(tf.drop_time, share=0.4),
    "drop_area": partial(tf.drop_area, share=0.4, sensor=SENSOR),
    "add_noise": partial(tf.add_noise, rate=3 * u.Hz, sensor=SENSOR),
    "merge_polarities": partial(tf.merge_polarities, sensor=SENSOR),
    "sometimes": tf.sometimes(partial(tf.drop_events, probability=1.0), 0.5),
}
"""Transforms whose result is on the same sensor."""
SMALLER = {
    "crop_space": (partial(tf.crop_space, sensor=SENSOR, size=(3, 2), corner="random"), (3, 2, 2)),
    "pool_space": (partial(tf.pool_space, sensor=SENSOR, factor=(4, 2)), (2, 2, 2)),
}
ALL = {name: (transform, SENSOR) for name, transform in KEPT.items()} | SMALLER
MIXES = {
    "cut_mix": partial(tf.cut_mix, sensor=SENSOR),
    "blend": tf.blend,
    "event_mix": partial(tf.event_mix, sensor=SENSOR),
}
WITHOUT_STRENGTH = {
    "jitter_time": partial(tf.jitter_time, sigma=0 * u.ms),
    "shift_time": partial(tf.shift_time, most=0 * u.ms),
    "stretch_time": partial(tf.stretch_time, low=1, high=1),
    "crop_time": tf.crop_time,
    "random_crop_time": partial(tf.random_crop_time, length=10 * u.second),
    "jitter_space": partial(tf.jitter_space, sigma=0, sensor=SENSOR),
    "shift_space": partial(tf.shift_space, most=0, sensor=SENSOR),
    "flip_left_right": partial(tf.flip_left_right, sensor=SENSOR, probability=0),
    "flip_up_down": partial(tf.flip_up_down, sensor=SENSOR, probability=0),
    "flip_polarity": partial(tf.flip_polarity, sensor=SENSOR, probability=0),
    "crop_space": partial(tf.crop_space, sensor=SENSOR, size=SENSOR[:2]),
    "pool_space": partial(tf.pool_space, sensor=SENSOR, factor=1),
    "drop_events": partial(tf.drop_events, probability=0),
    "drop_time": partial(tf.drop_time, share=0),
    "drop_area": partial(tf.drop_area, share=0, sensor=SENSOR),
    "add_noise": partial(tf.add_noise, rate=0 * u.Hz, sensor=SENSOR),
    "sometimes": tf.sometimes(partial(tf.drop_events, probability=1.0), 0),
    "compose": tf.compose(),
}

moments = st.lists(st.tuples(st.integers(0, 315_000), st.integers(0, N_UNITS - 1)), max_size=60)
recordings = moments.map(
    lambda rows: (
        np.array(sorted(t for t, _ in rows), np.float64) * 1e-6,
        np.array([unit for _, unit in rows], np.int64),
    )
)
seeds = st.integers(0, 1000)


def records_of(events, dtype, sensor=SENSOR):
    """Write a pair as records, field by field."""
    times, units = events
    records = np.zeros(len(times), dtype)
    records["t"] = np.rint(times * 1e6)
    records["x"] = units % sensor[0]
    records["y"] = units // sensor[0] % sensor[1]
    records["p"] = units // (sensor[0] * sensor[1])
    return records


def rows_of(events, sensor):
    """List (t in us, unit), in an order that does not depend on that of simultaneous events."""
    if isinstance(events, tuple):
        return sorted(zip(np.rint(events[0] * 1e6).tolist(), events[1].tolist(), strict=True))
    width, height = sensor[:2]
    units = (events["p"].astype(int) * height + events["y"]) * width + events["x"]
    return sorted(zip(events["t"].tolist(), units.tolist(), strict=True))


@pytest.mark.parametrize("name", sorted(ALL))
@given(events=recordings, seed=seeds)
def test_times_stay_in_order_and_units_in_range(name, events, seed):
    transform, sensor = ALL[name]
    times, units = transform(events, np.random.default_rng(seed))
    assert times.dtype == np.float64
    assert units.dtype == np.int64
    assert times.shape == units.shape
    assert (np.diff(times) >= 0).all()
    assert np.isfinite(times).all()
    assert times.min(initial=0) >= 0
    assert units.min(initial=0) >= 0
    assert units.max(initial=0) < sensor[0] * sensor[1] * sensor[2]


@pytest.mark.parametrize("dtype", [TONIC, NMNIST])
@pytest.mark.parametrize("name", sorted(ALL))
@given(events=recordings, seed=seeds)
def test_a_pair_and_records_become_the_same_events(name, dtype, events, seed):
    transform, sensor = ALL[name]
    records = records_of(events, dtype)
    before = records.copy()
    found = transform(records, np.random.default_rng(seed))
    assert found.dtype == dtype
    assert found.dtype.names == dtype.names
    assert rows_of(found, sensor) == rows_of(transform(events, np.random.default_rng(seed)), sensor)
    assert (np.diff(found["t"]) >= 0).all()
    np.testing.assert_array_equal(records, before)


@pytest.mark.parametrize("name", sorted(WITHOUT_STRENGTH))
@given(events=recordings, seed=seeds)
def test_without_strength_nothing_changes(name, events, seed):
    transform = WITHOUT_STRENGTH[name]
    times, units = transform(events, np.random.default_rng(seed))
    np.testing.assert_array_equal(times, events[0])
    np.testing.assert_array_equal(units, events[1])
    records = records_of(events, TONIC)
    np.testing.assert_array_equal(transform(records, np.random.default_rng(seed)), records)


@pytest.mark.parametrize("name", sorted(set(ALL) - {"crop_time", "pool_space", "merge_polarities"}))
def test_the_seed_fixes_the_result_and_another_gives_another(name):
    transform, _ = ALL[name]
    rng = np.random.default_rng(0)
    events = np.sort(rng.uniform(0, 0.315, 200)), rng.integers(0, N_UNITS, 200)
    before = [part.copy() for part in events]
    results = [transform(events, np.random.default_rng(seed)) for seed in (5, 5, *range(6, 14))]
    for one, two in zip(results[0], results[1], strict=True):
        np.testing.assert_array_equal(one, two)
    assert len({(times.tobytes(), units.tobytes()) for times, units in results}) > 1
    np.testing.assert_array_equal(events[0], before[0])
    np.testing.assert_array_equal(events[1], before[1])


@pytest.mark.parametrize("name", sorted(MIXES))
@given(first=recordings, second=recordings, seed=seeds)
def test_a_mix_holds_events_of_both_and_a_weight(name, first, second, seed):
    (times, units), weight = MIXES[name](first, second, np.random.default_rng(seed))
    assert 0 <= weight <= 1
    assert (np.diff(times) >= 0).all()
    given_rows = rows_of(first, SENSOR) + rows_of(second, SENSOR)
    for row in rows_of((times, units), SENSOR):
        given_rows.remove(row)
    parts = [records_of(events, TONIC) for events in (first, second)]
    mixed, same = MIXES[name](*parts, np.random.default_rng(seed))
    assert same == weight
    assert mixed.dtype == TONIC
    assert rows_of(mixed, SENSOR) == rows_of((times, units), SENSOR)


@pytest.mark.parametrize("name", sorted(MIXES))
@pytest.mark.parametrize(("share", "which"), [(0, 0), (1, 1)])
@given(first=recordings, second=recordings)
def test_a_share_of_nothing_or_all_is_one_of_the_recordings(name, share, which, first, second):
    (times, units), weight = MIXES[name](first, second, np.random.default_rng(3), share=share)
    wanted = (first, second)[which]
    np.testing.assert_array_equal(times, wanted[0])
    np.testing.assert_array_equal(units, wanted[1])
    if len(times) or name != "event_mix":
        assert weight == 1 - share


def even(n=40_000, seed=0):
    rng = np.random.default_rng(seed)
    return np.sort(rng.uniform(0, 0.3, n)), rng.integers(0, N_UNITS, n)


def test_strengths_are_what_they_say():
    events, rng = even(), np.random.default_rng(1)
    n = len(events[0])
    assert len(tf.drop_events(events, rng, probability=0.3)[0]) == pytest.approx(0.7 * n, rel=0.02)
    assert len(tf.drop_time(events, rng, share=0.3)[0]) == pytest.approx(0.7 * n, rel=0.03)
    # A rectangle of 3 x 2 of 6 x 4 pixels.
    assert len(tf.drop_area(events, rng, share=0.25, sensor=SENSOR)[0]) == pytest.approx(0.75 * n, rel=0.02)
    noisy = tf.add_noise(events, rng, rate=500 * u.Hz, sensor=SENSOR, duration=600 * u.ms)
    assert len(noisy[0]) == pytest.approx(n + 500 * N_UNITS * 0.6, rel=0.02)
    assert 0.59 < noisy[0].max() < 0.6
    middle = np.full(n, 0.15), np.full(n, 6 * 1 + 2)
    moved = tf.jitter_time(middle, rng, sigma=3 * u.ms)[0]
    assert moved.std() == pytest.approx(3e-3, rel=0.03)
    assert moved.mean() == pytest.approx(0.15, abs=1e-4)
    wide = tf.jitter_space((middle[0], np.full(n, 500)), rng, sigma=20, sensor=(1000, 1, 1))[1]
    assert wide.std() == pytest.approx(20, rel=0.03)
    factors = [tf.stretch_time(([1.0], [0]), rng, low=0.8, high=1.1)[0][0] for _ in range(500)]
    assert min(factors) == pytest.approx(0.8, abs=0.01)
    assert max(factors) == pytest.approx(1.1, abs=0.01)
    shifts = [tf.shift_time(([1.0], [0]), rng, most=50 * u.ms)[0][0] - 1 for _ in range(500)]
    assert min(shifts) == pytest.approx(-0.05, abs=2e-3)
    assert max(shifts) == pytest.approx(0.05, abs=2e-3)
    channels = [
        int(tf.shift_space(([0.0], [300]), rng, most=2, sensor=(700, 1, 1))[1][0]) for _ in range(200)
    ]
    assert set(channels) == {298, 299, 300, 301, 302}


@pytest.mark.parametrize("name", sorted(MIXES))
def test_the_weight_is_the_part_of_the_first(name):
    first, second, rng = even(20_000), even(20_000, seed=1), np.random.default_rng(2)
    for _ in range(8):
        (times, _), weight = MIXES[name](first, second, rng)
        n_first = np.isin(times, first[0]).sum()
        assert n_first / len(times) == pytest.approx(weight, abs=0.03)
    (_, _), weight = MIXES[name](first, second, rng, share=0.25)
    assert weight == pytest.approx(0.75, abs=0.06)


def test_mirrors_turn_columns_rows_and_polarities_around():
    events, rng = ([0.0], [(1 * 4 + 3) * 6 + 1]), np.random.default_rng(0)
    for flip, unit in (
        (tf.flip_left_right, (1 * 4 + 3) * 6 + 4),
        (tf.flip_up_down, (1 * 4 + 0) * 6 + 1),
        (tf.flip_polarity, (0 * 4 + 3) * 6 + 1),
    ):
        assert flip(events, rng, sensor=SENSOR, probability=1)[1].tolist() == [unit]
        twice = flip(flip(events, rng, sensor=SENSOR, probability=1), rng, sensor=SENSOR, probability=1)
        assert twice[1].tolist() == events[1]


def test_a_crop_numbers_the_pixels_that_are_left_anew():
    units = np.arange(N_UNITS)
    times = np.zeros(N_UNITS)
    _, found = tf.crop_space((times, units), sensor=SENSOR, size=(2, 3), corner=(4, 1))
    assert found.tolist() == list(range(12))
    _, central = tf.crop_space((times, units), sensor=SENSOR, size=(2, 2))
    assert len(central) == 8
    row = np.arange(24) / 100, np.arange(24)
    at_random = partial(tf.crop_space, sensor=(24, 1, 1), size=(2, 1), corner="random")
    corners = {float(at_random(row, np.random.default_rng(seed))[0][0]) for seed in range(300)}
    assert corners == set((np.arange(23) / 100).tolist())


def test_pooling_counts_neighbours_together():
    _, units = tf.pool_space((np.zeros(N_UNITS), np.arange(N_UNITS)), sensor=SENSOR, factor=2)
    assert tf.pooled_sensor(SENSOR, 2) == (3, 2, 2)
    assert np.bincount(units).tolist() == [4] * 12
    assert tf.pooled_sensor((34, 34, 2), 4) == (9, 9, 2)
    _, merged = tf.merge_polarities((np.zeros(N_UNITS), np.arange(N_UNITS)), sensor=SENSOR)
    assert np.bincount(merged).tolist() == [2] * 24


def test_the_three_saccades_are_the_recording():
    times, units = even(300)
    parts = [tf.saccade((times, units), which=k) for k in range(3)]
    assert np.concatenate([part[1] for part in parts]).tolist() == units.tolist()
    np.testing.assert_allclose(np.concatenate([p[0] + 0.105 * k for k, p in enumerate(parts)]), times)
    drawn = {len(tf.saccade((times, units), np.random.default_rng(seed))[0]) for seed in range(20)}
    assert drawn == {len(part[0]) for part in parts}


def test_records_of_one_row_and_polarity_are_a_sensor_too():
    # As tonic gives spoken digits: no field y, and polarity 1 on a sensor of one polarity.
    records = np.zeros(3, [("t", int), ("x", int), ("p", int)])
    records["t"], records["x"], records["p"] = [10, 20, 30], [0, 350, 699], 1
    flipped = tf.flip_left_right(records, np.random.default_rng(0), sensor=(700, 1, 1), probability=1)
    assert flipped["x"].tolist() == [699, 349, 0]
    assert flipped["p"].tolist() == [1, 1, 1]
    pooled = tf.pool_space(records, sensor=(700, 1, 1), factor=5)
    assert pooled["x"].tolist() == [0, 70, 139]


def test_further_fields_of_records_go_with_their_events():
    dtype = [("t", np.int64), ("x", np.uint16), ("y", np.uint16), ("p", np.uint8), ("id", np.int32)]
    records = np.zeros(50, dtype)
    records["t"], records["id"] = np.arange(50) * 1000, np.arange(50)
    found = tf.jitter_time(records, np.random.default_rng(0), sigma=20 * u.ms)
    assert found.dtype == records.dtype
    assert found["id"].tolist() != records["id"].tolist()
    assert sorted(found["id"].tolist()) == list(range(50))


def test_half_precision_times_and_small_units_are_widened_first():
    times, units = tf.stretch_time(
        (np.array([1.0], np.float16), np.array([3], np.uint8)), np.random.default_rng(0), low=1e5, high=1e5
    )
    assert times.tolist() == [1e5]
    assert units.dtype == np.int64


def test_a_composition_applies_one_after_the_other_and_can_be_pickled():
    augment = tf.compose(
        partial(tf.crop_time, stop=200 * u.ms), partial(tf.drop_events, probability=0.5), KEPT["jitter_space"]
    )
    events, rng = even(500), np.random.default_rng(4)
    expected = tf.crop_time(events, stop=200 * u.ms)
    expected = tf.drop_events(expected, rng, probability=0.5)
    expected = KEPT["jitter_space"](expected, rng)
    for same in (augment, pickle.loads(pickle.dumps(augment))):
        found = same(events, np.random.default_rng(4))
        np.testing.assert_array_equal(found[0], expected[0])
        np.testing.assert_array_equal(found[1], expected[1])
    with pytest.raises(TypeError, match="transforms must be callable, got 0.5"):
        tf.compose(0.5)


def test_a_seeded_transform_is_a_function_of_the_events_alone():
    records = records_of(even(200), TONIC)
    one, same, other = (tf.seeded(partial(tf.drop_events, probability=0.5), seed) for seed in (1, 1, 2))
    first, second = one(records), one(records)
    assert len(first) != len(second) or (first != second).any()
    np.testing.assert_array_equal(same(records), first)
    np.testing.assert_array_equal(same(records), second)
    assert len(other(records)) != len(first) or (other(records) != first).any()
    with pytest.raises(ValueError, match="seed must not be negative, got seed=-1"):
        tf.seeded(tf.saccade, -1)


PAIR = ([0.1], [1])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda g: tf.drop_events(([0.1], [0.5]), g, probability=0.1), TypeError, "units must be integers"),
        (lambda g: tf.drop_events(([0.1, 0.2], [0]), g, probability=0.1), ValueError, r"times.shape=\(2,\)"),
        (lambda g: tf.drop_events(np.zeros(3), g, probability=0.1), TypeError, "a pair .* got ndarray"),
        (lambda g: tf.saccade(np.zeros(3, [("t", int)]), g), TypeError, r"fields t and x, got the fields"),
        (lambda g: tf.drop_events(PAIR, g, probability=1.1), ValueError, "probability must be in 0 .. 1"),
        (lambda g: tf.drop_time(PAIR, g, share=-0.1), ValueError, "share must be in 0 .. 1, got share=-0.1"),
        (lambda g: tf.drop_area(PAIR, g, share=0.1, sensor=(0, 1)), ValueError, "sensor must be a width"),
        (lambda g: tf.drop_area(([0.1], [9]), g, share=0.1, sensor=(3, 3, 1)), ValueError, "got unit=9"),
        (lambda g: tf.jitter_time(PAIR, g, sigma=0.1), TypeError, "sigma must be a quantity such as 2"),
        (lambda g: tf.jitter_time(PAIR, g, sigma=1 * u.mV), TypeError, "sigma must be a quantity such as 2"),
        (lambda g: tf.jitter_time(PAIR, g, sigma=-1 * u.ms), ValueError, "sigma must be one finite number"),
        (lambda g: tf.add_noise(PAIR, g, rate=1 * u.ms, sensor=SENSOR), TypeError, "rate must be a quant"),
        (lambda g: tf.jitter_space(PAIR, g, sigma=(1, 2, 3), sensor=SENSOR), ValueError, "one for columns"),
        (lambda g: tf.jitter_space(PAIR, g, sigma=-1, sensor=SENSOR), ValueError, "sigma must not be neg"),
        (lambda g: tf.stretch_time(PAIR, g, low=2, high=1), ValueError, "low must be above 0 and not above"),
        (lambda g: tf.crop_time(PAIR, start=2 * u.ms, stop=1 * u.ms), ValueError, "start must be before"),
        (lambda g: tf.crop_space(PAIR, sensor=SENSOR, size=(7, 1)), ValueError, "must lie on the sensor"),
        (lambda g: tf.crop_space(PAIR, sensor=SENSOR, size=(1, 1), corner="random"), ValueError, "rng must"),
        (lambda g: tf.pool_space(PAIR, sensor=SENSOR, factor=0), ValueError, "factor must be one or"),
        (lambda g: tf.pool_space(PAIR, sensor=SENSOR, factor=1.5), ValueError, "factor must be one or two"),
        (lambda g: tf.flip_polarity(PAIR, g, sensor=(6, 4, 1)), ValueError, "must have two polarities"),
        (lambda g: tf.saccade(PAIR, which=3), ValueError, "which must be 0, 1 or 2, got which=3"),
        (lambda g: tf.saccade(PAIR), ValueError, "rng must be given where which is not"),
        (lambda g: tf.cut_mix(PAIR, np.zeros(1, TONIC), g, sensor=SENSOR), TypeError, "both recordings must"),
        (lambda g: tf.blend(PAIR, PAIR, g, alpha=0), ValueError, "alpha must be above 0"),
        (lambda g: tf.event_mix(PAIR, PAIR, g, sensor=SENSOR, components=0), ValueError, "components must"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call(np.random.default_rng(0))


@pytest.mark.shared
def test_real_recordings_of_a_camera_have_three_saccades(shared):
    from snntrace.datasets import NMNIST as Folder

    data = Folder(shared / "data" / "nmnist")
    times = np.concatenate([data.events(i)[0] for i in range(0, len(data), 20)])
    counts = np.histogram(times, np.arange(0, 0.316, 0.005))[0]
    # Few events where the camera turns around, at 105 and 210 ms, and many between.
    for border in (105, 210):
        assert counts[border // 5 - 1 : border // 5 + 1].max() < 0.25 * counts.max()
    parts = [tf.saccade(data.events(0), which=k)[0].size for k in range(3)]
    assert sum(parts) == data.lengths[0]
    assert min(parts) > 0.2 * data.lengths[0]
