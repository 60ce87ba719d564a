"""tonic's data sets as data sets here, and transforms from here in tonic's pipelines.

A stand-in has what tonic's data sets have; where tonic is installed, the real package is used, too.
"""

import os
from functools import partial

import brainunit as u
import h5py
import numpy as np
import pytest

from snntrace.datasets import NMNIST, SpikeFile, TonicSource, batches, hold_out
from snntrace.datasets import transforms as tf

CAMERA = np.dtype([("x", int), ("y", int), ("t", int), ("p", int)])
SPOKEN = np.dtype([("t", int), ("x", int), ("p", int)])
DT = 4 * u.ms


class Camera:
    """As tonic's N-MNIST: targets in a list, classes by name."""

    sensor_size = (5, 3, 2)
    classes = ("0 - zero", "1 - one", "2 - two")

    def __init__(self, train=True, transform=None):
        self.train = train
        self.targets = [0, 2, 1, 2]
        self.transform = transform
        self.reads = []

    def __len__(self):
        return len(self.targets)

    def __getitem__(self, index):
        self.reads.append(index)
        rng = np.random.default_rng(index)
        records = np.zeros(10 + index, CAMERA)
        records["t"] = np.sort(rng.integers(0, 50_000, len(records)))
        for name, side in zip("xyp", self.sensor_size, strict=True):
            records[name] = rng.integers(0, side, len(records))
        return (records if self.transform is None else self.transform(records)), self.targets[index]


class Spoken:
    """As tonic's SHD: no list of targets, no field y, polarity 1 of one, classes as bytes."""

    sensor_size = (700, 1, 1)
    classes = np.array([b"zero", b"one"])
    targets = ()
    speaker = np.array([4, 4, 9])

    def __len__(self):
        return 3

    def __getitem__(self, index):
        records = np.zeros(index, SPOKEN)
        records["t"], records["x"], records["p"] = 1000 * np.arange(index), 100 * index, 1
        return records, np.int64(index % 2)


def test_records_become_times_and_units():
    source = Camera()
    data = TonicSource(source)
    assert (len(data), data.n_units, data.sensor, data.groups) == (4, 30, (5, 3, 2), None)
    assert data.labels.tolist() == [0, 2, 1, 2]
    assert data.class_names == source.classes
    assert source.reads == []
    times, units = data.events(3)
    records, _ = source[3]
    assert (times.dtype, units.dtype) == (np.float64, np.int64)
    np.testing.assert_allclose(times, records["t"] / 1e6, rtol=1e-12)
    np.testing.assert_array_equal(units, records["p"] * 15 + records["y"] * 5 + records["x"])
    assert data.lengths.tolist() == [10, 11, 12, 13]
    last = [source[i][0]["t"].max() / 1e6 for i in range(4)]
    np.testing.assert_allclose(data.durations, last, rtol=1e-12)
    assert data.duration == data.durations.max()
    with pytest.raises(IndexError, match=r"index must be in 0 \.\. 3, got index=4"):
        data.events(4)


def test_spoken_words_have_classes_speakers_and_one_polarity():
    data = TonicSource(Spoken())
    assert data.labels.tolist() == [0, 1, 0]
    assert data.class_names == ("zero", "one")
    assert data.groups.tolist() == [4, 4, 9]
    assert data.n_units == 700
    times, units = data.events(2)
    assert times.tolist() == [0, 1e-3]
    assert units.tolist() == [200, 200]
    assert data.durations.tolist() == [0, 0, 1e-3]


def test_tonics_data_go_into_batches_dense_or_as_events():
    data = TonicSource(Camera())
    dense, events = (
        next(iter(batches(data, range(4), 4, DT, shuffle=False, layout=layout, prefetch=1)))
        for layout in ("dense", "events")
    )
    assert dense.x.shape == (data.durations.max() // 0.004 + 1, 4, 30)
    assert dense.x.sum(axis=(0, 2)).tolist() == [10, 11, 12, 13]
    np.testing.assert_array_equal(np.asarray(events.x.dense()), dense.x)


def test_a_test_part_is_known_as_one():
    assert TonicSource(Camera()).split == ""
    test = TonicSource(Camera(train=False))
    assert test.split == "test"
    with pytest.raises(ValueError, match="official test part"):
        hold_out(test, 0.5)
    assert TonicSource(Camera(), split="test").split == "test"
    spoken = Spoken()
    spoken.data_filename = "shd_test.h5"
    assert TonicSource(spoken).split == "test"


def test_targets_may_be_names():
    records = np.zeros(1, CAMERA)
    data = TonicSource([(records, "right"), (records, "left"), (records, "right")], (5, 3, 2))
    assert data.class_names == ("left", "right")
    assert data.labels.tolist() == [1, 0, 1]
    named = TonicSource([(records, "b")], (5, 3, 2), class_names=["a", "b"], groups=[7])
    assert (named.labels.tolist(), named.groups.tolist()) == ([1], [7])
    with pytest.raises(ValueError, match=r"targets must be names of classes, got \['c'\]"):
        _ = TonicSource([(records, "c")], (5, 3, 2), class_names=["a", "b"]).labels
    with pytest.raises(ValueError, match=r"targets must be in 0 \.\. 1, .* got targets 5 \.\. 5"):
        _ = TonicSource([(records, 5)], (5, 3, 2), class_names=["a", "b"]).labels


def test_targets_that_tonic_changes_are_not_taken_from_its_list():
    source = Camera()
    source.target_transform = lambda target: target + 1
    records = [source[i][0] for i in range(4)]
    source.__class__ = type(
        "Changed", (Camera,), {"__getitem__": lambda self, i: (records[i], self.targets[i] + 1)}
    )
    assert TonicSource(source).labels.tolist() == [1, 3, 2, 3]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: TonicSource([(np.zeros(1, CAMERA), 0)]), ValueError, "sensor must be given"),
        (lambda: TonicSource([], (5, 3, 2)), ValueError, "there must be recordings, .* got 0"),
        (lambda: TonicSource(Camera(), groups=[1]), ValueError, r"groups.shape=\(1,\)"),
        (lambda: TonicSource(Camera(transform=lambda r: np.zeros((3, 2, 3, 5)))).events(0), TypeError,
         "must be arrays of records .* got ndarray for recording 0. Leave the source's transform out"),
        (lambda: TonicSource(Camera(), (3, 3, 2)).events(0), ValueError, "must lie on the sensor of 3 x 3"),
        (lambda: TonicSource([(np.array([(0, 0, -1, 0)], CAMERA), 0)], (5, 3, 2)).events(0), ValueError,
         "not negative, got t=-1 in recording 0"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


# The real package ----------------------------------------------------------------------------------


@pytest.fixture
def tonic():
    return pytest.importorskip("tonic", reason="tonic is not installed (pip install tonic)")


@pytest.fixture
def tonic_nmnist(tonic, shared):
    """tonic's N-MNIST on the files at hand; its check that all 60,000 are there is left out."""

    class Some(tonic.datasets.NMNIST):
        def _check_exists(self):
            return True

        def __init__(self, **options):
            super().__init__(os.devnull, **options)
            data = NMNIST(shared / "data" / "nmnist")
            self.data, self.targets = list(data._recordings.files), data.labels.tolist()

    return Some


@pytest.mark.shared
def test_tonics_n_mnist_gives_the_events_of_ours(tonic_nmnist, shared):
    data, expected = TonicSource(tonic_nmnist()), NMNIST(shared / "data" / "nmnist")
    np.testing.assert_array_equal(data.labels, expected.labels)
    assert data.n_units == expected.n_units
    for row in range(0, len(data), 97):
        times, units = data.events(row)
        np.testing.assert_allclose(times, expected.events(row)[0], rtol=1e-12)
        np.testing.assert_array_equal(units, expected.events(row)[1])


@pytest.mark.shared
def test_our_transforms_run_in_tonics_pipelines(tonic, tonic_nmnist):
    sensor = (34, 34, 2)
    ours = [
        tf.seeded(partial(tf.jitter_time, sigma=1 * u.ms), 1),
        tf.seeded(partial(tf.jitter_space, sigma=1, sensor=sensor), 2),
        tf.seeded(partial(tf.add_noise, rate=1 * u.Hz, sensor=sensor), 3),
        tf.seeded(tf.saccade, 4),
    ]
    frames = tonic.transforms.ToFrame(sensor_size=sensor, time_window=5000)
    plain = tonic_nmnist()
    piped = tonic_nmnist(transform=tonic.transforms.Compose([*ours, frames]))
    for row in (0, 700):
        found, target = piped[row]
        events, _ = plain[row]
        assert found.shape[1:] == (2, 34, 34)
        assert target == plain.targets[row]
        assert 0.2 * len(events) < found.sum() < 0.6 * len(events)


@pytest.mark.shared
def test_tonics_spoken_digits_give_the_events_of_ours(tonic, shared, tmp_path):
    with SpikeFile(shared / "data/shd_regen/shd_regen_small_valid.h5.gz", cache_folder=tmp_path) as expected:
        (tmp_path / "SHD").mkdir()
        (tmp_path / "SHD" / "shd_train.h5").symlink_to(expected._opened_path)

        class SHD(tonic.datasets.SHD):
            def _check_exists(self):
                return True

        data = TonicSource(SHD(str(tmp_path)))
        assert data.class_names == expected.class_names
        np.testing.assert_array_equal(data.groups, expected.groups)
        for row in range(0, len(expected), 41):
            times, units = data.events(row)
            # tonic cuts times to whole microseconds.
            np.testing.assert_allclose(times, expected.events(row)[0], atol=1.01e-6)
            np.testing.assert_array_equal(units, expected.events(row)[1])
        np.testing.assert_array_equal(data.labels, expected.labels)
    assert h5py.is_hdf5(tmp_path / "SHD" / "shd_train.h5")
