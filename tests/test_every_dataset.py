import re

import numpy as np
import pytest

from snntrace.datasets import DATASETS, batches, open_dataset

GENERATED = {
    "digits": {},
    "randman": {"n_per_class": 20},
    "shd_like": {"n_per_class": 3},
    "nmnist_like": {},
}
SHARED = {
    "shd_regen/shd_regen_small_valid.h5.gz": "spikes",
    "nmnist": "nmnist",
    "braille/braille_letters_taxels.npz": "braille",
    "mnist": "mnist",
}


@pytest.fixture(params=[*GENERATED, *(pytest.param(place, marks=pytest.mark.shared) for place in SHARED)])
def data(request, tmp_path, monkeypatch):
    monkeypatch.setenv("SNNTRACE_CACHE", str(tmp_path))
    if request.param in GENERATED:
        return open_dataset(request.param, **GENERATED[request.param])
    return open_dataset(request.getfixturevalue("shared") / "data" / request.param)


def test_every_data_set_keeps_the_protocol(data):
    assert data.labels.shape == (len(data),)
    assert data.labels.dtype == np.int64
    assert set(data.labels.tolist()) == set(range(len(data.class_names)))
    assert not data.labels.flags.writeable
    assert all(isinstance(name, str) for name in data.class_names)
    assert data.groups is None or data.groups.shape == (len(data),)
    for index in range(0, len(data), 29 if len(data) < 5000 else 2900):
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


def test_every_data_set_gives_the_same_events_each_time_and_fills_batches(data):
    for first, second in zip(data.events(1), data.events(1), strict=True):
        np.testing.assert_array_equal(first, second)
    chosen = list(range(0, len(data), max(len(data) // 6, 1)))[:6]
    loader = batches(data, chosen, 3, dt_of(data), n_steps=20, seed=1)
    counted = sum(float(batch.x.sum()) for batch in loader)
    assert counted == sum(int((data.events(row)[0] < data.duration).sum()) for row in chosen)


def dt_of(data):
    import brainunit as u

    return data.duration / 20 * u.second


def test_generated_data_are_fixed_by_their_seed_and_differ_without():
    for name, options in GENERATED.items():
        first, same, other = (open_dataset(name, seed=seed, **options) for seed in (3, 3, 4))
        np.testing.assert_array_equal(first.events(5)[0], same.events(5)[0])
        np.testing.assert_array_equal(first.events(5)[1], same.events(5)[1])
        assert not np.array_equal(first.events(5)[0], other.events(5)[0]), name


@pytest.mark.parametrize("name", DATASETS)
def test_every_entry_says_what_there_is_to_know(name):
    about = DATASETS[name].about
    assert about.title
    assert about.licence
    if about.licence != "that of the recordings":
        assert len(about.class_names) >= 10
        assert len(set(about.class_names)) == len(about.class_names)
        assert about.bibtex.startswith("@")
    for entry in re.findall(r"@.*?^}", about.bibtex, flags=re.DOTALL | re.MULTILINE):
        assert {"author", "title", "year"} <= set(
            re.findall(r"^  (\w+) = \{.+\},$", entry, flags=re.MULTILINE)
        )
    assert about.groups in {"", "speaker", "subject"}
    assert not about.splits or next(iter(about.splits)) == "train"


def test_what_is_said_of_the_classes_is_what_the_readers_give():
    for name in GENERATED:
        assert open_dataset(name).class_names == DATASETS[name].about.class_names
    for name in ("nmnist", "dvs_gesture", "ntidigits"):
        assert DATASETS[name].opens.class_names == DATASETS[name].about.class_names
    assert len(open_dataset("digits")) == DATASETS["digits"].about.recordings
    numbers = {"shd": 20, "ssc": 35, "ncaltech101": 101, "braille": 27, "dvs_gesture": 11}
    assert {name: len(DATASETS[name].about.class_names) for name in numbers} == numbers


@pytest.mark.parametrize("name", [name for name in DATASETS if DATASETS[name].about.splits])
def test_parts_that_are_told_are_those_that_can_be_opened(name):
    entry = DATASETS[name]
    if entry.recognises is None:
        parts = [open_dataset(name, split=part) for part in entry.about.splits]
        assert all(part.class_names == entry.about.class_names for part in parts)
        assert not np.array_equal(parts[0].events(0)[0], parts[1].events(0)[0])
    with pytest.raises((ValueError, FileNotFoundError), match="split must be|on this machine"):
        open_dataset(name, split="no such part")


@pytest.mark.shared
def test_letters_and_clothes_are_those_of_the_files(shared):
    found = open_dataset(shared / "data" / "braille" / "braille_letters_taxels.npz").class_names
    assert found == DATASETS["braille"].about.class_names
    letters = open_dataset(shared / "data" / "braille" / "braille_letters_taxels.npz")
    assert len(letters) == DATASETS["braille"].about.recordings
    assert DATASETS["mnist"].opens.names == DATASETS["mnist"].about.class_names
    assert DATASETS["fashion_mnist"].opens.names == DATASETS["fashion_mnist"].about.class_names
