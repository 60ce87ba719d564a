import os

import numpy as np
import pytest

from snntrace.datasets import whole_files
from snntrace.datasets.files import DataFileError
from snntrace.datasets.files.nmnist_bin import read_nmnist_bin, read_units_of
from snntrace.datasets.whole_files import LARGEST, USUAL, names_of, read_files


@pytest.fixture
def files(tmp_path):
    rng = np.random.default_rng(0)
    sizes, paths = [5, 40, 5 * USUAL, 35, 10 * USUAL, 5], []
    for k, size in enumerate(sizes):
        events = rng.integers(0, 34, (size // 5, 5)).astype(np.uint8)
        events[:, 2] = 128 * (events[:, 3] > 16)
        events[:, 3] = np.sort(events[:, 3])
        events[:, 4] = 0
        # Names of which one begins as another does, and beyond ASCII.
        paths.append(str(tmp_path / ("é" * k + ".bin")))
        with open(paths[-1], "wb") as file:
            file.write(events.tobytes())
    return paths


def opened():
    return len(os.listdir("/dev/fd"))


def test_files_follow_each_other_whatever_their_sizes(files):
    names = names_of(files[::-1])
    n, raw, starts = read_files(names, len(files))
    assert n == len(files)
    for file, start, stop in zip(files[::-1], starts[:-1], starts[1:], strict=True):
        with open(file, "rb") as source:
            assert raw[start:stop].tobytes() == source.read()
    n, raw, starts = read_files(np.zeros(0, np.uint8), 0)
    assert (n, starts.tolist()) == (0, [0])


@pytest.mark.parametrize("at_once", [True, False])
def test_several_files_are_decoded_as_one_is(files, at_once, monkeypatch):
    monkeypatch.setattr(whole_files, "AT_ONCE", at_once)
    assert (names_of(files) is None) is not at_once
    found = read_units_of("me", files, (34, 34), True)
    assert len(found) == len(files)
    for path, (times, units) in zip(files, found, strict=True):
        events = read_nmnist_bin(path)
        np.testing.assert_array_equal(times, events.seconds)
        np.testing.assert_array_equal(units, events.units())
    assert len(read_units_of("me", [], (34, 34), True)) == 0


def test_what_cannot_be_read_is_named_and_no_file_stays_open(files, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "cut").write_bytes(b"\0" * 12)
    before = opened()
    for name, error, message in (
        ("none", FileNotFoundError, "must be an existing file"),
        ("pipe", DataFileError, "must be a file, got the device"),
        ("folder", DataFileError, "must be a file, got the folder"),
        ("empty", DataFileError, "must not be empty"),
        ("cut", DataFileError, "2 bytes of a last one at byte 10"),
        ("a\0b", FileNotFoundError, "must be an existing file"),
    ):
        paths = [files[0], str(tmp_path / name), files[1]]
        with pytest.raises(error, match=message):
            read_units_of("me", paths, (34, 34), True)
        with pytest.raises(error, match=message):
            read_units_of("me", paths[1:2], (34, 34), True)
        if name != "a\0b":
            assert read_files(names_of(paths), 3)[0] == (3 if name == "cut" else 1)
    assert names_of(["a\0b"]) is None
    assert opened() == before


def test_a_large_file_is_read_too(tmp_path):
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(LARGEST // 5 * 5 + 5)
    assert read_files(names_of([str(path)]), 1)[0] == 0
    assert len(read_units_of("me", [str(path)], (34, 34), True)[0][0]) == LARGEST // 5 + 1
