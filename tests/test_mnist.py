import gzip
import struct

import numpy as np
import pytest

from snntrace.datasets import MNIST, FashionMNIST, SaccadeCamera, open_dataset
from snntrace.datasets.encoders import latency_code, poisson_code, rate_code
from snntrace.datasets.files.events import DataFileError
from snntrace.datasets.idx import read_idx
from snntrace.train import TrainConfig
from snntrace.train.data import parts_of


def idx(array, code=8):
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape) + array.tobytes()


def folder_of(path, labels, prefix="train", packed=False, dot=False):
    """Write pictures of random pixels with these labels."""
    path.mkdir(parents=True, exist_ok=True)
    pictures = np.random.default_rng(len(labels)).integers(0, 256, (len(labels), 5, 4)).astype(np.uint8)
    for kind, array in (("images-idx3", pictures), ("labels-idx1", np.array(labels, np.uint8))):
        name = f"{prefix}-{kind.replace('-idx', '.idx') if dot else kind}-ubyte"
        content = idx(array)
        (path / (name + ".gz" * packed)).write_bytes(gzip.compress(content) if packed else content)
    return pictures


@pytest.mark.parametrize("encoding", ["latency", "camera", None])
def test_training_takes_the_code_that_is_asked_for(tmp_path, encoding):
    folder_of(tmp_path, [3, 1, 0, 7, 3, 1, 0, 7])
    data = parts_of(TrainConfig(data=str(tmp_path), encoding=encoding, hold_out=0.5)).dataset
    assert (type(data), data.encoding) == (MNIST, encoding or "rate")


def test_training_refuses_a_code_of_data_that_have_none():
    with pytest.raises(ValueError, match="options of digits must be among .*got encoding"):
        parts_of(TrainConfig(encoding="rate"))


@pytest.mark.parametrize(
    ("code", "dtype"), [(8, ">u1"), (9, ">i1"), (11, ">i2"), (12, ">i4"), (13, ">f4"), (14, ">f8")]
)
def test_arrays_of_every_number_type_come_back(tmp_path, code, dtype):
    array = np.arange(-3, 21).reshape(2, 3, 4).astype(dtype)
    (tmp_path / "a").write_bytes(idx(array, code))
    (tmp_path / "a.gz").write_bytes(gzip.compress(idx(array, code)))
    for name in ("a", "a.gz"):
        found = read_idx(tmp_path / name)
        np.testing.assert_array_equal(found, array)
        assert found.dtype.isnative


GOOD = idx(np.arange(12, dtype=np.uint8).reshape(3, 2, 2))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "must start with 0, 0, a number type .* at byte 0|must not be empty"),
        (b"\0\0\x08", "must start with 0, 0"),
        (b"\1" + GOOD[1:], "must start with 0, 0"),
        (GOOD[:2] + b"\x0a" + GOOD[3:], "must start with 0, 0"),
        (GOOD[:3] + b"\0", "must start with 0, 0"),
        (GOOD[:3] + b"\2" + GOOD[4:], "must have 3 axes, got 2 at byte 3"),
        (GOOD[:9], "the lengths of all axes must be there, got 5 bytes at byte 4"),
        (GOOD[:-1], r"elements of shape \(3, 2, 2\) must be there|must be 12 bytes of elements, got 11"),
        (GOOD + b"\0", "must be 12 bytes of elements, got more at byte 16"),
        (GOOD[:4] + b"\xff" * 4 + GOOD[8:], "must be there, got a file that cannot hold them"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_a_damaged_file_names_the_place(tmp_path, content, message, packed):
    (tmp_path / "a").write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(DataFileError, match=rf"read_idx: .*{message}.*{tmp_path}/a\."):
        read_idx(tmp_path / "a", axes=3)


@pytest.mark.parametrize("change", ["cut", "flip"])
def test_a_damaged_gzip_file_is_told_by_its_checksum(tmp_path, change):
    packed = bytearray(gzip.compress(GOOD))
    packed[-6] ^= 1
    (tmp_path / "a").write_bytes(packed[:-9] if change == "cut" else packed)
    with pytest.raises(DataFileError, match="a gzip file must be whole"):
        read_idx(tmp_path / "a")


@pytest.mark.parametrize("place", ["", "raw", "MNIST/raw"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_folder_is_found_and_each_part_opened(tmp_path, place, packed):
    folder_of(tmp_path / place, [5, 0, 4], packed=packed)
    folder_of(tmp_path / place, [7, 2], "t10k", packed=packed, dot=True)
    train, test = open_dataset(tmp_path), open_dataset(tmp_path, split="test")
    assert (type(train), train.labels.tolist(), test.labels.tolist()) == (MNIST, [5, 0, 4], [7, 2])
    assert train.n_units == 20
    assert train.class_names == tuple("0123456789")


def test_clothes_are_told_from_digits_by_their_first_labels(tmp_path):
    folder_of(tmp_path / "clothes", [9, 0, 0, 3, 0, 2, 7, 2, 5, 5, 0])
    folder_of(tmp_path / "digits", [5, 0, 4, 1, 9, 2, 1, 3, 1, 4, 3])
    assert type(open_dataset(tmp_path / "clothes")) is FashionMNIST
    assert open_dataset(tmp_path / "clothes").class_names[9] == "Ankle boot"
    assert type(open_dataset(tmp_path / "digits")) is MNIST
    assert type(open_dataset(tmp_path / "digits", "fashion_mnist")) is FashionMNIST


def test_classes_beyond_nine_have_numbers(tmp_path):
    folder_of(tmp_path, [0, 25])
    assert open_dataset(tmp_path).class_names == tuple(map(str, range(26)))


def test_events_are_those_of_the_encoders(tmp_path):
    pictures = folder_of(tmp_path, [1, 2, 3]) / 255.0
    rate = MNIST(tmp_path, seed=7, max_rate=500.0, duration=0.2).events(2)
    expected = rate_code(pictures[2], 0.2, 500.0, np.random.default_rng([7, 0, 2]))
    for found, wanted in zip(rate, expected, strict=True):
        np.testing.assert_array_equal(found, wanted)
    random = MNIST(tmp_path, encoding="poisson", seed=7).events(2)
    expected = poisson_code(pictures[2], 0.1, 100.0, np.random.default_rng([7, 0, 2]))
    for found, wanted in zip(random, expected, strict=True):
        np.testing.assert_array_equal(found, wanted)
    latency = MNIST(tmp_path, encoding="latency", threshold=0.3).events(1)
    for found, wanted in zip(latency, latency_code(pictures[1], 0.1, threshold=0.3), strict=True):
        np.testing.assert_array_equal(found, wanted)
    data = MNIST(tmp_path, encoding="camera", seed=7, threshold=0.2)
    camera = SaccadeCamera(np.random.default_rng([7]), sensor=11, amplitude=3.0, threshold=0.2)
    for found, wanted in zip(
        data.events(0), camera.look(pictures[0], np.random.default_rng([7, 0, 0])), strict=True
    ):
        np.testing.assert_array_equal(found, wanted)
    assert data.sensor == (11, 11)
    assert data.n_units == 242


def test_recordings_parts_and_seeds_have_events_of_their_own(tmp_path):
    folder_of(tmp_path, [1, 2])
    folder_of(tmp_path, [1, 2], "t10k")
    sets = [MNIST(tmp_path), MNIST(tmp_path, seed=1), MNIST(tmp_path, "test")]
    np.testing.assert_array_equal(sets[0].pictures, sets[2].pictures)
    first = [data.events(0)[0] for data in sets]
    assert not np.array_equal(first[0], first[1])
    assert not np.array_equal(first[0], first[2])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"encoding": "morse"},
            "must be one of rate, poisson, latency, camera, got encoding='morse'",
        ),
        ({"tau": 0.1}, "options of encoding='rate' must be among duration, max_rate, got tau"),
        ({"max_rate": -1.0}, "max_rate must be positive"),
        ({"encoding": "latency", "threshold": 2.0}, "threshold must be between 0 and 1"),
        ({"encoding": "camera", "frames": 0}, "frames must be at least 1"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"split": "valid"}, "split must be 'train' or 'test', got split='valid'"),
    ],
)
def test_wrong_options_are_refused_when_it_is_opened(tmp_path, options, message):
    folder_of(tmp_path, [1])
    with pytest.raises(ValueError, match=message):
        MNIST(tmp_path, **options)


def test_pictures_and_labels_that_do_not_match_are_refused(tmp_path):
    folder_of(tmp_path, [1, 2, 3])
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(np.zeros(2, np.uint8)))
    with pytest.raises(DataFileError, match="as many labels as pictures of bytes, got 2 and 3 of uint8"):
        MNIST(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(FileNotFoundError, match="must hold train-images-idx3-ubyte and train-labels"):
        MNIST(tmp_path)


@pytest.mark.shared
def test_all_of_mnist_is_there(shared):
    train, test = (MNIST(shared / "data" / "mnist", part) for part in ("train", "test"))
    assert (len(train), len(test)) == (60_000, 10_000)
    assert train.labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert np.bincount(test.labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    events = sum(len(train.events(row)[0]) for row in range(200))
    # Each unit's mean number of events is 10 times its intensity.
    expected = train.pictures[:200].sum() / 255 * 10
    assert abs(events - expected) < 4 * np.sqrt(expected)
