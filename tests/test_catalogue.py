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


def test_a_name_that_does_not_exist_lists_what_is_known():
    with pytest.raises(FileNotFoundError, match=r'got source=.digit., which does not exist. Give "digits"'):
        open_dataset("digit")


def test_a_folder_or_another_file_lists_what_is_known(tmp_path):
    with pytest.raises(ValueError, match=r'got the folder source=.*Give "digits".*\.h5 or \.h5\.gz'):
        open_dataset(tmp_path)
    (tmp_path / "a.csv").write_text("0.1,5\n")
    with pytest.raises(ValueError, match=r'got the file source=.*Give "digits".*unzip archives first'):
        open_dataset(tmp_path / "a.csv")
