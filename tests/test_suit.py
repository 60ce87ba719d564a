"""Whatever is readable is trainable, with options that suit it."""

import math
import shutil
from types import SimpleNamespace

import h5py
import numpy as np
import pytest

from snntrace.datasets import NMNIST, NMNISTLike, Randman, SHDLike, SpikeFile, convert, open_dataset
from snntrace.train import DEFAULTS, TrainConfig, train
from snntrace.train.data import load, parts_of
from snntrace.train.suit import pool_of, sensor_of, suited, time_step, typical_duration

QUICK = {"epochs": 1, "hidden": 8, "rule": "d_rtrl", "path": "dense"}


def cells(n_units, sensor=None, end=0.1, n=40):
    """A data set of recordings that end at one time."""
    return SimpleNamespace(
        n_units=n_units, sensor=sensor, labels=np.arange(n) % 2, class_names=("a", "b"), groups=None,
        duration=end,
    )  # fmt: skip


@pytest.mark.parametrize("duration", [0.37, 4.0, 12.8, 100.0, 128.0, 128.1, 307.4, 1900.0, 6500.0, 1e6])
def test_a_time_step_is_round_and_gives_a_bounded_number_of_steps(duration):
    dt = time_step(duration)
    assert 50 <= duration / dt <= 128 * (1 + 1e-9)
    digits = f"{dt:.12g}".replace(".", "").strip("0")
    assert digits in {"1", "2", "5"}


def test_cameras_are_pooled_by_squares_and_others_by_divisors():
    assert pool_of(cells(2312, (34, 34))) == 1
    assert pool_of(cells(32768, (128, 128))) == 4
    assert pool_of(cells(86400, (240, 180))) == 8
    assert pool_of(cells(784)) == 1
    assert pool_of(cells(10_000)) == 5
    assert pool_of(cells(4999)) == 4999
    # A camera of which only one polarity is kept.
    assert sensor_of(cells(1156, (34, 34))) is None


def test_the_sensor_of_a_store_is_that_of_its_source(tmp_path):
    class Few(NMNISTLike):
        def __len__(self):
            return 3

    few = Few("test")
    few.labels = few.labels[:3]
    store = open_dataset(convert(few, tmp_path / "few.spikes"))
    assert sensor_of(store) == (34, 34)


def test_nearly_all_recordings_end_before_the_typical_duration():
    data = SHDLike(n_per_class=5)
    end = typical_duration(data)
    later = np.mean([data.events(row)[0].max() > end for row in range(len(data))])
    assert 0.0 < later < 0.15


def test_words_and_digits_keep_their_own_values():
    for data, row in ((open_dataset("digits"), "digits"), (SHDLike(n_per_class=100), "file")):
        found = suited(data, 1700, "target")
        assert {name: found[name] for name in DEFAULTS[row]} == DEFAULTS[row]


def test_few_recordings_are_learnt_in_small_batches():
    for n_train, batch in ((1, 1), (19, 1), (54, 4), (640, 64), (50_000, 64)):
        assert suited(Randman(n_per_class=2), n_train, "target")["batch_size"] == batch


def test_time_constants_are_some_steps_long():
    slow = Randman(duration=6.0, n_per_class=5)
    found = suited(slow, 50, "gradient")
    assert found["dt_ms"] == 50.0
    assert found["tau_mem_ms"] == found["tau_out_ms"] == 200.0
    assert suited(slow, 50, "target")["tau_mem_ms"] == 300.0


def test_options_that_are_given_go_before_those_that_suit():
    config = TrainConfig(dt_ms=7.0, pool=2).resolved({**suited(Randman(n_per_class=2), 18, "target")})
    assert (config.dt_ms, config.pool, config.steps) == (7.0, 2, math.ceil(100 / 7))


def test_recordings_without_events_are_told(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name, kind in (("times", "float16"), ("units", "uint16")):
            file.create_dataset(f"spikes/{name}", 4, h5py.vlen_dtype(kind))
        file["labels"] = np.array([0, 1, 0, 1])
    with pytest.raises(ValueError, match="must have events after time 0, got none in 4"):
        suited(SpikeFile(tmp_path / "a.h5", n_units=3), 4, "target")


def test_pixels_of_a_camera_are_joined_in_squares():
    config = TrainConfig(data="nmnist_like", pool=2, **QUICK)
    parts = parts_of(config)
    config = config.resolved(suited(parts.dataset, len(parts.kept), config.signal))
    data = load(config, parts=parts)
    assert data.train.n_channels == 2 * 17 * 17
    batch = next(data.validation.epoch(0))
    row = int(batch.indices[0])
    times, units = parts.dataset.events(row)
    step = np.floor(times / 5e-3 + 1e-9).astype(int)
    p, y, x = units // 1156, units // 34 % 34, units % 34
    expected = np.zeros((config.steps, 578))
    kept = step < config.steps
    np.add.at(expected, (step[kept], ((p * 17 + y // 2) * 17 + x // 2)[kept]), 1)
    np.testing.assert_array_equal(batch.x[:, 0], expected)


def words(path, rng, n=24):
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        times = file.create_dataset("spikes/times", n, h5py.vlen_dtype("float16"))
        units = file.create_dataset("spikes/units", n, h5py.vlen_dtype("uint16"))
        for row in range(n):
            times[row] = np.sort(rng.uniform(0, 0.6, 200)).astype("float16")
            units[row] = rng.integers(0, 300, 200) + 300 * (row % 2)
        file["labels"] = np.arange(n) % 2


def test_an_official_part_for_validation_is_used(tmp_path):
    rng = np.random.default_rng(0)
    words(tmp_path / "ssc_train.h5", rng)
    words(tmp_path / "ssc_valid.h5", rng, 10)
    parts = parts_of(TrainConfig(data=str(tmp_path)))
    assert (len(parts.kept), len(parts.held), parts.words) == (24, 10, "the official part valid")
    assert parts.held_in.split == "valid"
    own = parts_of(TrainConfig(data=str(tmp_path), hold_out=0.5))
    assert (len(own.kept), own.held_in) == (12, own.dataset)
    config = TrainConfig(data=str(tmp_path), **QUICK)
    data = load(config.resolved(suited(parts.dataset, 24, config.signal)), parts=parts)
    first = next(data.validation.epoch(0))
    times, units = parts.held_in.events(int(first.indices[0]))
    places = np.floor(times / 8e-3 + 1e-9).astype(int), units // 5
    expected = np.zeros(first.x[:, 0].shape)
    np.add.at(expected, places, 1)
    np.testing.assert_array_equal(first.x[:, 0], expected)


def test_a_test_part_of_shd_is_not_trained_on_by_accident(tmp_path):
    words(tmp_path / "shd_test.h5", np.random.default_rng(0))
    with pytest.raises(ValueError, match="must not be an official test part"):
        train(TrainConfig(data=str(tmp_path / "shd_test.h5"), **QUICK))


@pytest.mark.slow
def test_generated_data_are_learnt_without_further_options():
    result = train(TrainConfig(data="randman", **QUICK | {"epochs": 6, "hidden": 64}))
    assert result.metrics[-1]["train_loss"] < result.metrics[0]["train_loss"] - 0.1


@pytest.mark.shared
def test_a_folder_of_recordings_is_trained_on(tmp_path, shared):
    for digit in "01":
        (tmp_path / digit).mkdir()
        for file in sorted((shared / "data" / "nmnist" / "Train" / digit).iterdir())[:20]:
            shutil.copy(file, tmp_path / digit / f"sample_{file.name}")
    data = open_dataset(tmp_path, "recordings")
    assert len(data) == 40
    result = train(TrainConfig(data=str(tmp_path), **QUICK | {"epochs": 3}))
    assert result.config.steps == 63
    assert result.accuracy > 0.5


FORMS = {
    "nmnist": "nmnist", "braille": "braille/braille_letters_taxels.npz", "mnist": "mnist",
    "words": "shd_regen/shd_regen_small_valid.h5.gz", "sounds": "hd_audio_sample",
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.parametrize("form", FORMS)
def test_every_real_data_set_is_trained_on_by_its_path_alone(form, shared, tmp_path, monkeypatch):
    monkeypatch.setenv("SNNTRACE_CACHE", str(tmp_path))
    path = shared / "data" / FORMS[form]
    assert len(open_dataset(path)) >= 60
    result = train(TrainConfig(data=str(path), hold_out=0.5 if form == "mnist" else None, **QUICK))
    chance = np.log(len(open_dataset(path).class_names))
    assert np.isfinite(result.metrics[0]["val_loss"])
    assert result.metrics[0]["train_loss"] < 1.3 * chance
    assert result.metrics[0]["hidden_rate"] > 0


@pytest.mark.slow
@pytest.mark.shared
def test_a_store_is_trained_on_as_its_source(tmp_path, shared):
    path = convert(NMNIST(shared / "data" / "nmnist"), tmp_path / "nmnist.spikes")
    losses = [
        train(TrainConfig(data=str(data), **QUICK)).metrics[0]["train_loss"]
        for data in (path, shared / "data" / "nmnist")
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
