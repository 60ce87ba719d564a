import numpy as np
import pytest

from snntrace.datasets import NMNIST, BrailleLetters, SaccadeDigits, SpikeFile


@pytest.fixture(
    params=[
        "digits",
        *(pytest.param(name, marks=pytest.mark.shared) for name in ("spoken", "nmnist", "braille")),
    ]
)
def data(request, tmp_path):
    if request.param == "digits":
        return SaccadeDigits()
    shared = request.getfixturevalue("shared")
    if request.param == "nmnist":
        return NMNIST(shared / "data" / "nmnist")
    if request.param == "braille":
        return BrailleLetters(shared / "data" / "braille" / "braille_letters_taxels.npz")
    return SpikeFile(shared / "data" / "shd_regen" / "shd_regen_small_valid.h5.gz", cache_folder=tmp_path)


def test_every_data_set_keeps_the_protocol(data):
    assert data.labels.shape == (len(data),)
    assert data.labels.dtype == np.int64
    assert set(data.labels.tolist()) == set(range(len(data.class_names)))
    assert all(isinstance(name, str) for name in data.class_names)
    assert data.groups is None or data.groups.shape == (len(data),)
    for index in range(0, len(data), 29):
        times, units = data.events(index)
        assert times.dtype == np.float64
        assert units.dtype == np.int64
        assert times.shape == units.shape
        assert times.min() >= 0
        assert times.max() <= data.duration
        assert units.min() >= 0
        assert units.max() < data.n_units
    with pytest.raises(IndexError):
        data.events(len(data))
