import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import RidgeClassifier

from snntrace.datasets import SaccadeDigits, hold_out


@pytest.fixture(scope="module")
def digits():
    return SaccadeDigits()


def counts(data):
    """Number of events of each unit in each recording."""
    return np.stack([np.bincount(data.events(i)[1], minlength=data.n_units) for i in range(len(data))])


def test_there_are_the_1797_digits_of_ten_classes(digits):
    assert len(digits) == 1797
    assert digits.n_units == 512
    assert digits.class_names == tuple("0123456789")
    assert digits.groups is None
    np.testing.assert_array_equal(digits.labels, load_digits().target)


def test_times_are_ordered_whole_microseconds_within_the_duration(digits):
    for i in range(0, 1797, 100):
        times, units = digits.events(i)
        assert times.dtype == np.float64
        assert units.dtype == np.int64
        assert (np.diff(times) >= 0).all()
        assert times[0] >= 0
        assert times[-1] <= digits.duration
        np.testing.assert_allclose(times * 1e6, np.rint(times * 1e6), atol=1e-6)
        assert units.min() >= 0
        assert units.max() < 512


def test_one_seed_gives_one_camera_and_another_seed_another(digits):
    again, other = SaccadeDigits(0), SaccadeDigits(1)
    for i in (0, 900, 1796):
        for mine, same in zip(digits.events(i), again.events(i), strict=True):
            np.testing.assert_array_equal(mine, same)
    assert any(len(digits.events(i)[0]) != len(other.events(i)[0]) for i in range(10))


def test_every_recording_has_about_a_thousand_events_of_both_polarities(digits):
    total = counts(digits)
    assert total.sum(1).min() > 500
    assert total.sum(1).max() < 2000
    share_on = total[:, 256:].sum() / total.sum()
    assert 0.45 < share_on < 0.55


def test_each_saccade_starts_and_stops_gently(digits):
    times = np.concatenate([digits.events(i)[0] for i in range(0, 1797, 10)])
    share = np.histogram(times, 30, (0, digits.duration))[0].reshape(3, 10) / len(times)
    middle, ends = share[:, 4:6].mean(1), share[:, [0, 9]].mean(1)
    assert (middle > 2 * ends).all()


def test_a_linear_classifier_of_event_counts_reads_over_ninety_percent(digits):
    train, held = hold_out(digits.labels, 0.2, seed=0)
    x = counts(digits)
    classifier = RidgeClassifier(alpha=100.0).fit(x[train], digits.labels[train])
    assert classifier.score(x[held], digits.labels[held]) > 0.9


def test_a_plain_camera_gives_the_events_of_a_plain_loop():
    options = {"sensor": 10, "amplitude": 1.0, "frames": 6, "threshold": 0.4, "floor": 0.2}
    data = SaccadeDigits(3, threshold_spread=0.0, saccade_ms=60.0, **options)
    image = load_digits().images[5] / 16
    rng = np.random.default_rng(3)
    rng.standard_normal(100)
    first = rng.random((1797, 100), np.float32)[5].reshape(10, 10) - 0.5

    def level(x, y, shift):
        across, down = x + 0.5 - 1 - shift[0] - 0.5, y + 0.5 - 1 - shift[1] - 0.5
        total = 0.0
        for row in range(8):
            for column in range(8):
                weight = max(0, 1 - abs(across - column)) * max(0, 1 - abs(down - row))
                total += weight * image[row, column]
        return np.log(total + 0.2)

    corners = np.array([[-1, -1], [0, 1], [1, -1], [-1, -1]], float)
    path = [
        corners[side] + (1 - np.cos(np.pi * k / 6)) / 2 * (corners[side + 1] - corners[side])
        for side in range(3)
        for k in range(6)
    ] + [corners[0]]
    expected = []
    for y in range(10):
        for x in range(10):
            reference = level(x, y, path[0]) + first[y, x] * 0.4
            for frame in range(1, len(path)):
                start, end = level(x, y, path[frame - 1]), level(x, y, path[frame])
                while abs(end - reference) >= 0.4:
                    rising = end > reference
                    reference += 0.4 if rising else -0.4
                    when = (frame - 1 + (reference - start) / (end - start)) * 0.01
                    expected.append((when, (rising * 10 + y) * 10 + x))
    times, units = data.events(5)
    assert len(times) == len(expected) > 100
    by_unit = np.lexsort((times, units))
    when, unit = np.array(sorted(expected, key=lambda event: (event[1], event[0]))).T
    np.testing.assert_array_equal(units[by_unit], unit)
    np.testing.assert_allclose(times[by_unit], when, atol=2e-6)


def test_noise_adds_events_at_its_rate(digits):
    noisy = SaccadeDigits(noise_hz=2.0)
    added = counts(noisy).sum() - counts(digits).sum()
    expected = 2.0 * 0.3 * 512 * 1797
    assert abs(added / expected - 1) < 0.02


def test_returned_events_are_the_callers_own(digits):
    digits.events(0)[0][:] = -1
    assert digits.events(0)[0].min() >= 0


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("sensor", 0),
        ("frames", 0),
        ("seed", -1),
        ("threshold", 0.0),
        ("floor", -1.0),
        ("saccade_ms", np.inf),
        ("amplitude", 8.0),
        ("amplitude", -1.0),
        ("threshold_spread", 0.5),
        ("noise_hz", -1.0),
    ],
)
def test_an_impossible_camera_is_refused(option, value):
    with pytest.raises(ValueError, match=f"SaccadeDigits: {option} must be .*, got {option}={value}"):
        SaccadeDigits(**{option: value})


@pytest.mark.parametrize("index", [-1, 1797])
def test_an_index_out_of_range_is_refused(digits, index):
    with pytest.raises(IndexError, match=rf"in 0 \.\. 1796, got index={index}"):
        digits.events(index)
