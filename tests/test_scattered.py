import os

import numpy as np
import pytest

from snntrace.datasets import scattered
from snntrace.datasets.scattered import read_places

STARTS = np.array([0, 3, 3, 1003])


@pytest.fixture(params=[True, False], ids=["at once", "one by one"])
def handle(request, monkeypatch, tmp_path):
    assert hasattr(os, "pread") == scattered.AT_ONCE
    monkeypatch.setattr(scattered, "AT_ONCE", request.param)
    (tmp_path / "file").write_bytes(bytes(range(250)) * 8)
    handle = os.open(tmp_path / "file", os.O_RDONLY)
    yield handle
    os.close(handle)


def test_parts_follow_each_other_whatever_their_order_in_the_file(handle):
    found = np.full(1004, 255, np.uint8)
    assert read_places(handle, np.array([1990, 7, 100]), STARTS, found) == 3
    expected = [*range(240, 243), *[i % 250 for i in range(100, 1100)], 255]
    np.testing.assert_array_equal(found, expected)
    assert os.lseek(handle, 0, os.SEEK_CUR) == 0


@pytest.mark.parametrize(("place", "first"), [(1001, 2), (2000, 2), (5000, 2), (1000, 3)])
def test_the_first_part_that_the_file_does_not_hold_is_named(handle, place, first):
    assert read_places(handle, np.array([0, 0, place]), STARTS, np.zeros(1003, np.uint8)) == first


def test_what_the_system_says_is_wrong_is_raised(handle, tmp_path):
    with pytest.raises(OSError, match="Invalid argument"):
        read_places(handle, np.array([0, 0, -5]), STARTS, np.zeros(1003, np.uint8))
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(IsADirectoryError):
            read_places(folder, np.array([0, 0, 0]), STARTS, np.zeros(1003, np.uint8))
    finally:
        os.close(folder)
