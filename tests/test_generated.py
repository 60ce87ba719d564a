import numpy as np
import pytest
from sklearn.linear_model import RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier

from snntrace.datasets import NMNIST, NMNISTLike, Randman, SHDLike, SpikeFile
from snntrace.datasets.randman import manifold, points


def spike_times(data):
    """Spike time of each unit, by recording."""
    found = np.zeros((len(data), data.n_units))
    for row in range(len(data)):
        times, units = data.events(row)
        found[row, units] = times
    return found


def counts(data, rows, n_parts=4, pool=20):
    """Events of pooled units in parts of the time."""
    found = []
    for row in rows:
        times, units = data.events(row)
        part = np.minimum((times / data.duration * n_parts).astype(int), n_parts - 1)
        size = -(-data.n_units // pool)
        found.append(np.bincount(part * size + units // pool, minlength=n_parts * size))
    return np.array(found)


def test_the_manifold_is_the_sum_that_is_written():
    waves = manifold(np.random.default_rng(0), 3, 2, 1.5)
    assert waves.shape == (3, 3, 2, 100)
    x = np.array([[0.2, 0.7], [0.9, 0.1]])
    expected = np.ones((2, 3))
    for point in range(2):
        for unit in range(3):
            for axis in range(2):
                total = 0.0
                for k in range(1, 101):
                    theta, chi, phi = waves[:, unit, axis, k - 1]
                    total += k**-1.5 * theta * np.sin(2 * np.pi * (k * x[point, axis] * chi + phi))
                expected[point, unit] *= total
    np.testing.assert_allclose(points(waves, x, 1.5), expected, rtol=1e-9)


def test_each_unit_of_randman_spikes_once_and_uses_the_whole_time():
    data = Randman(n_classes=3, n_units=7, n_per_class=300, duration=0.05)
    for row in (0, 899):
        times, units = data.events(row)
        assert sorted(units.tolist()) == list(range(7))
        assert (np.diff(times) >= 0).all()
    times = spike_times(data)[:300]
    assert (times.min(axis=0) < 0.002).all()
    assert (times.max(axis=0) > 0.048).all()


def test_neighbours_tell_the_classes_of_randman_where_it_is_smooth_and_not_where_it_is_rough():
    accuracy = {}
    for alpha in (3.0, 0.5):
        train, test = (
            Randman(part, n_classes=5, n_units=10, n_per_class=60, alpha=alpha) for part in ("train", "test")
        )
        model = KNeighborsClassifier(3).fit(spike_times(train), train.labels)
        accuracy[alpha] = model.score(spike_times(test), test.labels)
    assert accuracy[3.0] > 0.95
    assert accuracy[0.5] < 0.6


@pytest.mark.parametrize(
    "options",
    [{"n_classes": 0}, {"dim": 0}, {"alpha": 0.0}, {"alpha": np.nan}, {"duration": -1.0}, {"seed": -1}],
)
def test_randman_refuses_what_is_out_of_range(options):
    with pytest.raises(ValueError, match=rf"Randman: {next(iter(options))} must be"):
        Randman(**options)


def test_words_are_learnable_across_speakers_and_not_trivial():
    data = SHDLike(n_per_class=20)
    held = np.isin(data.groups, [8, 9])
    features = counts(data, range(len(data)))
    model = RidgeClassifier(10.0).fit(features[~held], data.labels[~held])
    assert 0.6 < model.score(features[held], data.labels[held]) < 1.0


def test_the_test_part_of_the_words_has_speakers_of_its_own():
    train, test = SHDLike("train", n_per_class=24), SHDLike("test", n_per_class=24)
    assert set(np.unique(test.groups)) - set(np.unique(train.groups)) == {10, 11}
    for group in range(10):
        assert set(train.labels[train.groups == group]) == set(range(20))


def shape_of(data, rows):
    """Mean events, mean and range of durations, and spread of events over units."""
    events, ends, units = [], [], np.zeros(data.n_units)
    for row in rows:
        times, where = data.events(row)
        events.append(len(times))
        ends.append(times.max())
        units += np.bincount(where, minlength=data.n_units)
    share = units / units.sum()
    effective = np.exp(-(share[share > 0] * np.log(share[share > 0])).sum())
    return np.mean(events), np.std(events), np.mean(ends), np.std(ends), effective / data.n_units


@pytest.mark.shared
def test_words_have_the_statistics_of_shd(shared, tmp_path):
    real = SpikeFile(shared / "data/shd_regen/shd_regen_small_valid.h5.gz", cache_folder=tmp_path)
    like = SHDLike(n_per_class=10)
    events, spread, ends, ends_spread, units = shape_of(real, range(200))
    found = shape_of(like, range(200))
    assert found[0] == pytest.approx(events, rel=0.1)
    assert found[1] == pytest.approx(spread, rel=0.3)
    assert found[2] == pytest.approx(ends, rel=0.1)
    assert found[3] == pytest.approx(ends_spread, rel=0.3)
    assert found[4] == pytest.approx(units, rel=0.2)


@pytest.mark.shared
def test_generated_digits_have_the_statistics_of_n_mnist(shared):
    real, like = NMNIST(shared / "data/nmnist"), NMNISTLike()
    events, spread, ends, _, units = shape_of(real, range(0, 1338, 9))
    found = shape_of(like, range(0, 1400, 9))
    assert found[0] == pytest.approx(events, rel=0.1)
    assert found[1] == pytest.approx(spread, rel=0.4)
    assert found[2] == pytest.approx(ends, rel=0.1)
    assert found[4] == pytest.approx(units, rel=0.25)


def test_the_parts_of_generated_digits_share_none():
    train, test = NMNISTLike("train"), NMNISTLike("test")
    assert len(train) + len(test) == 1797
    assert not np.array_equal(train.events(0)[0], test.events(0)[0])
    assert np.bincount(test.labels).min() > 25
