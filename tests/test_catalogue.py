import gzip

import h5py
import numpy as np
import pytest

from snntrace.datasets import SaccadeDigits, SpikeFile, open_dataset


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "no_suffix"
    with h5py.File(path, "w") as made:
        made.create_dataset("spikes/times", 2, h5py.vlen_dtype("float16"))[0] = np.array([0.1], "float16")
        made.create_dataset("spikes/units", 2, h5py.vlen_dtype("uint16"))[0] = np.array([5], "uint16")
        made["labels"] = np.array([1, 0])
    return path


def test_digits_need_no_file():
    assert isinstance(open_dataset("digits"), SaccadeDigits)


def test_the_content_of_a_file_decides_its_reader(file):
    for path in (file, str(file)):
        data = open_dataset(path)
        assert isinstance(data, SpikeFile)
        assert data.labels.tolist() == [1, 0]


def test_a_compressed_file_is_known_by_its_content(file, tmp_path, monkeypatch):
    monkeypatch.setenv("SNNTRACE_CACHE", str(tmp_path / "cache"))
    packed = tmp_path / "packed"
    packed.write_bytes(gzip.compress(file.read_bytes()))
    assert open_dataset(packed).events(0)[1].tolist() == [5]


def test_a_name_that_does_not_exist_lists_the_names_and_tells_the_nearest():
    with pytest.raises(
        FileNotFoundError,
        match=r"got source=.digit., which does not exist. Is 'digits' meant\? Give the path",
    ):
        open_dataset("digit")
    with pytest.raises(
        FileNotFoundError, match=r"not exist. Give the path .* or one of digits, randman, .*audio"
    ):
        open_dataset("no such thing")


def test_what_is_no_data_set_is_told_what_it_is_and_what_to_give(tmp_path):
    for name in ("empty", "flat", "zipped", "other"):
        (tmp_path / name).mkdir()
    for name in (
        "flat/1.bin",
        "zipped/Train.zip",
        "other/notes.txt",
        "other/labels-idx1-ubyte",
        "other/a.wav",
    ):
        (tmp_path / name).write_bytes(bytes([3, 33, 0x80, 1, 0]))
    for name, message in (
        ("empty", "the folder source=.*It is empty"),
        ("flat", "It holds recordings without their classes: .*folder for each class.*folder around it"),
        ("flat/1.bin", r"the file source=.*one recording \(N-MNIST.*folder for each class.*labels.csv"),
        ("zipped", "Unpack Train.zip in it first"),
        ("zipped/Train.zip", "If it is an archive, unpack it first"),
        ("other/a.wav", "It is one sound: .*snntrace data ear"),
        ("other/labels-idx1-ubyte", "part of a data set: give its folder, .*other"),
        ("other/notes.txt", "Give the path of a data set, or one of digits, "),
    ):
        with pytest.raises(ValueError, match=message):
            open_dataset(tmp_path / name)
