import csv
import dataclasses
import json

import brainstate
import jax.numpy as jnp
import numpy as np
import pytest

from snntrace.datasets import open_dataset
from snntrace.train import (
    DEFAULTS,
    RunFolder,
    TrainConfig,
    Watcher,
    build_model,
    load_weights,
    named_weights,
    train,
)
from snntrace.train.data import divide, load
from snntrace.train.learning import feedback_matrices, make_learner, step_labels
from snntrace.train.loss import cross_entropy
from snntrace.train.model import as_map
from snntrace.train.pictures import Sample, learning_curve, spike_raster

TINY = TrainConfig(epochs=2, hidden=12, batch_size=16, dt_ms=20.0, hold_out=0.9)


def metrics_without_seconds(folder):
    with open(folder / "metrics.csv", newline="") as file:
        return [row[:-1] for row in csv.reader(file)]


@pytest.fixture(scope="module")
def tiny_run(tmp_path_factory):
    folder = RunFolder(tmp_path_factory.mktemp("runs") / "tiny")
    return train(TINY, folder)


# Configuration ----------------------------------------------------------------------------------


def test_options_left_open_take_the_values_of_the_data():
    config = TrainConfig().resolved()
    assert config.dt_ms == DEFAULTS["digits"]["dt_ms"]
    assert config.steps * config.dt_ms == DEFAULTS["digits"]["duration_ms"]
    other = TrainConfig(data="words.h5").resolved()
    assert other.pool == DEFAULTS["file"]["pool"]


def test_options_that_are_given_are_kept():
    config = TrainConfig(dt_ms=10.0, epochs=3).resolved()
    assert (config.dt_ms, config.epochs, config.steps) == (10.0, 3, 30)
    assert TrainConfig(dt_ms=10.0, steps=7).resolved().steps == 7


def test_a_resolved_configuration_resolves_to_itself():
    config = TrainConfig(data="words.h5", rule="bptt").resolved()
    assert config.resolved() == config


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"rule": "eprop"}, ValueError, "rule must be one of"),
        ({"neuron": "izhikevich"}, ValueError, "neuron must be one of"),
        ({"epochs": 0}, ValueError, "epochs must be positive"),
        ({"hidden": -3}, ValueError, "hidden must be positive"),
        ({"lr": float("nan")}, ValueError, "lr must be positive"),
        ({"epochs": 1.5}, TypeError, "epochs must be a whole number"),
        ({"layers": True}, TypeError, "layers must be a whole number"),
        ({"channels": 8}, TypeError, "channels must be a tuple"),
        ({"channels": (8, 2.5)}, TypeError, "channels must be a whole number"),
        ({"channels": ()}, ValueError, "channels must be positive"),
        ({"seed": -1}, ValueError, "seed must not be negative"),
        ({"hold_out": 1.0}, ValueError, "hold_out must be between"),
        ({"hold_out": 0.1, "hold_out_speakers": (1,)}, ValueError, "a fraction or speakers"),
        ({"rule": "bptt", "window": 5}, ValueError, "window belongs to rules with traces"),
    ],
)
def test_a_wrong_option_is_an_error_that_names_it(options, error, message):
    with pytest.raises(error, match=message):
        TrainConfig(**options)


# Data -------------------------------------------------------------------------------------------


class Recordings:
    def __init__(self, groups):
        self.groups = groups
        self.labels = np.arange(len(groups)) % 2


def test_two_speakers_are_held_out_where_speakers_are_known():
    groups = np.repeat([0, 1, 2, 3, 6, 7, 8, 9, 10, 11], 4)
    kept, held, words = divide(TrainConfig(data="words.h5"), Recordings(groups))
    assert words == "speakers 3, 8"
    assert set(groups[held]) == {3, 8}
    assert not set(groups[kept]) & {3, 8}


def test_named_speakers_and_fractions_take_precedence():
    groups = np.repeat([0, 1, 2], 8)
    _, held, _ = divide(TrainConfig(data="words.h5", hold_out_speakers=(0,)), Recordings(groups))
    assert set(groups[held]) == {0}
    _, held, _ = divide(TrainConfig(data="words.h5", hold_out=0.25), Recordings(groups))
    assert len(held) == 6


def test_an_official_test_part_is_trained_on_only_if_asked_for():
    test = Recordings(np.repeat([0, 1, 2], 8))
    test.split = "test"
    with pytest.raises(ValueError, match=r"snntrace train: .* official test part, .* \(--allow-test\)"):
        divide(TrainConfig(data="words.h5"), test)
    kept, held, _ = divide(TrainConfig(data="words.h5", hold_out=0.25, allow_test=True), test)
    assert (len(kept), len(held)) == (18, 6)


def test_every_class_of_the_digits_is_held_out_and_nothing_is_on_both_sides():
    kept, held, _ = divide(TrainConfig(), open_dataset("digits"))
    assert not set(kept) & set(held)
    assert len(kept) + len(held) == 1797
    assert set(open_dataset("digits").labels[held]) == set(range(10))


def test_all_batches_have_one_shape_and_every_held_out_recording_is_in_one():
    data = load(TINY.resolved())
    shapes = {b.x.shape for b in [*data.train.epoch(0), *data.validation.epoch(0)]}
    assert len(shapes) == 1
    seen = np.concatenate([b.indices for b in data.validation.epoch(0)])
    assert np.sum(seen >= 0) == data.n_validation


# Loss and targets -------------------------------------------------------------------------------


def test_the_loss_is_that_of_plain_numpy_and_ignores_padding():
    rng = np.random.default_rng(0)
    outs, labels, lengths = rng.normal(size=(5, 4, 3)), np.array([2, 0, 1, -1]), np.array([5, 2, 3, 0])
    mask = np.arange(5)[:, None] < lengths
    losses, right = [], 0
    for b in range(3):
        mean = outs[: lengths[b], b].mean(0)
        losses.append(np.log(np.exp(mean).sum()) - mean[labels[b]])
        right += mean.argmax() == labels[b]
    loss, score = cross_entropy(jnp.asarray(outs), jnp.asarray(labels), jnp.asarray(mask))
    assert loss == pytest.approx(np.mean(losses), rel=1e-5)
    assert (score.correct, score.number) == (right, 3)
    assert score.loss == pytest.approx(np.sum(losses), rel=1e-5)


def test_there_is_no_target_after_the_end_and_in_rows_that_fill_a_batch():
    mask = np.array([[True, True, False], [True, False, False]])
    found = step_labels(jnp.array([4, 0, -1]), jnp.asarray(mask))
    assert found.tolist() == [[4, 0, -1], [4, -1, -1]]


def test_feedback_is_drawn_from_the_seed_and_the_readout_has_none():
    config = dataclasses.replace(TINY, layers=2)
    first, again = feedback_matrices(config, 10, [12, 12]), feedback_matrices(config, 10, [12, 12])
    assert [None if m is None else m.shape for m in first] == [(10, 12), (10, 12), None]
    assert np.array_equal(first[0], again[0])
    assert not np.array_equal(first[0], first[1])
    assert not np.array_equal(
        first[0], feedback_matrices(dataclasses.replace(config, seed=1), 10, [12, 12])[0]
    )


def test_a_camera_is_arranged_by_rows_and_columns_polarities_last():
    events = [(1, 2, 3), (0, 0, 1), (1, 3, 0)]
    x = np.zeros((1, 2 * 4 * 5), np.float32)
    for polarity, row, column in events:
        x[0, (polarity * 4 + row) * 5 + column] = 1
    found = np.asarray(as_map(x, (4, 5, 2)))
    assert found.shape == (1, 4, 5, 2)
    assert {tuple(at) for at in np.argwhere(found[0])} == {(row, column, p) for p, row, column in events}


@pytest.mark.slow
def test_a_net_with_convolutions_trains_and_is_written_and_read_again(tmp_path):
    config = dataclasses.replace(TINY, channels=(4, 6), reset="soft", tau_mem_ms=40.0)
    result = train(config, RunFolder(tmp_path / "run"))
    assert result.metrics[-1]["train_loss"] < result.metrics[0]["train_loss"]
    assert {p.route for p in result.learner.report.parameters} == {"temporal"}
    with np.load(tmp_path / "run" / "weights.npz") as weights:
        assert weights["convolutions.0.w_in"].shape == (5, 5, 2, 4)
        assert weights["convolutions.1.w_in"].shape == (5, 5, 4, 6)
        assert weights["layers.0.w_in"].shape == (4 * 4 * 6, 12)
    saved = json.loads((tmp_path / "run" / "config.json").read_text())["config"]
    model = build_model(TrainConfig(**saved), 512, 10, sensor=(16, 16))
    load_weights(tmp_path / "run", model)
    for name, value in named_weights(result.model).items():
        np.testing.assert_array_equal(named_weights(model)[name], value)


def gradients(config):
    data = load(config)
    batch = next(data.train.epoch(0))
    model = build_model(config, data.train.n_channels, 10, float(np.mean(batch.x**2)))
    learner = make_learner(config, model, batch.x.shape[1:], 10)
    target = {"y_target": step_labels(batch.labels, batch.mask)} if config.rule == "osttp" else {}
    _, grads = learner.value_and_grad(cross_entropy, has_aux=True)(
        batch.x, batch.labels, batch.mask, **target
    )
    assert grads.keys() == model.states(brainstate.ParamState).keys()
    return grads


@pytest.mark.parametrize(
    ("rule", "neuron"),
    [
        ("osttp", "lif"),
        ("osttp", "alif"),
        ("osttp", "cuba"),
        ("d_rtrl", "alif"),
        ("d_rtrl", "adlif"),
        ("ostl", "cuba"),
        ("bptt", "lif"),
    ],
)
def test_every_parameter_gets_a_gradient(rule, neuron):
    config = dataclasses.replace(TINY, rule=rule, neuron=neuron, layers=2, drive=3.0).resolved()
    for path, grad in gradients(config).items():
        assert np.abs(grad).max() > 0, path


# The run ----------------------------------------------------------------------------------------


def test_a_run_writes_all_its_files_and_nothing_else(tiny_run):
    names = {p.name for p in tiny_run.folder.iterdir()}
    assert names == {
        "config.json", "metrics.csv", "learning_curve.png", "spike_raster.png", "weights.npz", "report.txt",
    }  # fmt: skip
    for picture in ("learning_curve.png", "spike_raster.png"):
        assert (tiny_run.folder / picture).read_bytes().startswith(b"\x89PNG")


def test_the_configuration_file_repeats_the_run(tiny_run):
    written = json.loads((tiny_run.folder / "config.json").read_text())
    assert TrainConfig(**written["config"]) == tiny_run.config
    assert written["data"]["train"] + written["data"]["validation"] == 1797
    assert {"python", "jax", "brainstate", "snntrace"} <= written["versions"].keys()


def test_the_same_seed_gives_the_same_run_and_another_seed_another(tiny_run, tmp_path):
    again = train(TINY, RunFolder(tmp_path / "again"))
    assert metrics_without_seconds(again.folder) == metrics_without_seconds(tiny_run.folder)
    for name, value in named_weights(again.model).items():
        assert np.array_equal(value, load_weights(tiny_run.folder)[name]), name
    other = train(dataclasses.replace(TINY, seed=1), RunFolder(tmp_path / "other"))
    assert metrics_without_seconds(other.folder) != metrics_without_seconds(tiny_run.folder)


def test_the_metrics_have_one_row_an_epoch_and_sane_values(tiny_run):
    rows = metrics_without_seconds(tiny_run.folder)
    assert rows[0] == ["epoch", "train_loss", "train_acc", "val_loss", "val_acc", "hidden_rate"]
    assert [row[0] for row in rows[1:]] == ["1", "2"]
    assert float(rows[-1][4]) == pytest.approx(tiny_run.accuracy, abs=1e-6)
    assert 0 < float(rows[-1][5]) < 1


def test_loaded_weights_score_what_the_run_reported(tiny_run):
    data = load(tiny_run.config)
    model = build_model(dataclasses.replace(tiny_run.config, seed=9), data.train.n_channels, 10, 1.0)
    load_weights(tiny_run.folder, model)
    right = 0
    for batch in data.validation.epoch(0):
        brainstate.nn.init_all_states(model, batch_size=16)
        outs = np.stack([np.asarray(model.update(jnp.asarray(x))) for x in batch.x])
        for b in np.flatnonzero(batch.labels >= 0):
            right += outs[batch.mask[:, b], b].mean(0).argmax() == batch.labels[b]
    assert right / data.n_validation == pytest.approx(tiny_run.accuracy, abs=2 / data.n_validation)


def test_weights_of_another_shape_are_refused_and_change_nothing(tiny_run):
    model = build_model(dataclasses.replace(tiny_run.config, hidden=5), 512, 10, 1.0)
    before = named_weights(model)
    with pytest.raises(ValueError, match="load_weights: the network must have the parameters"):
        load_weights(tiny_run.folder, model)
    assert all(np.array_equal(before[k], v) for k, v in named_weights(model).items())


def test_training_without_a_folder_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    heard = []

    class Listener(Watcher):
        def epoch(self, row):
            heard.append(row["epoch"])

    result = train(dataclasses.replace(TINY, epochs=1), watcher=Listener())
    assert result.folder is None
    assert heard == [1]
    assert not list(tmp_path.iterdir())


def test_a_run_that_cannot_begin_leaves_no_folder(tmp_path):
    path = tmp_path / "run"
    with pytest.raises(ValueError, match="pool must divide"):
        train(dataclasses.replace(TINY, data="randman", pool=7), lambda: RunFolder(path))
    assert not path.exists()


def test_the_window_changes_no_gradient_beyond_rounding():
    config = dataclasses.replace(TINY, drive=3.0).resolved()
    found = [gradients(dataclasses.replace(config, window=window)) for window in (None, 4)]
    for path, whole in found[0].items():
        assert np.abs(found[1][path] - whole).max() < 1e-4 * np.abs(whole).max(), path


# The folder -------------------------------------------------------------------------------------


def test_a_folder_with_a_run_is_refused_and_kept(tmp_path):
    RunFolder(tmp_path / "run").write_text("metrics.csv", "precious")
    with pytest.raises(FileExistsError, match="must not hold another run"):
        RunFolder(tmp_path / "run")
    assert (tmp_path / "run" / "metrics.csv").read_text() == "precious"


def test_overwriting_removes_the_old_run_only_when_the_new_one_writes(tmp_path):
    RunFolder(tmp_path / "run").write_text("weights.npz", "old")
    (tmp_path / "run" / "notes.txt").write_text("mine")
    folder = RunFolder(tmp_path / "run", overwrite=True)
    assert (tmp_path / "run" / "weights.npz").exists()
    folder.write_text("report.txt", "new")
    assert {p.name for p in folder.path.iterdir()} == {"report.txt", "notes.txt"}


def test_a_file_where_the_folder_should_be_is_an_error(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(FileExistsError, match="must not be a file"):
        RunFolder(tmp_path / "run", overwrite=True)


def test_numbered_folders_take_the_first_free_number(tmp_path):
    names = [RunFolder.numbered(tmp_path / "runs", "digits").path.name for _ in range(3)]
    assert names == ["digits-001", "digits-002", "digits-003"]


def test_a_write_that_fails_keeps_the_file_and_leaves_no_trace(tmp_path, monkeypatch):
    folder = RunFolder(tmp_path / "run")
    folder.write_text("metrics.csv", "whole")

    def full(*_):
        raise OSError("no space left")

    monkeypatch.setattr("snntrace.train.run_folder.os.replace", full)
    with pytest.raises(OSError, match="no space left"):
        folder.write_text("metrics.csv", "partial")
    assert [p.name for p in folder.path.iterdir()] == ["metrics.csv"]
    assert (folder.path / "metrics.csv").read_text() == "whole"


# Pictures ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_layers", [1, 2])
def test_pictures_are_drawn_for_one_epoch_silent_units_and_wrong_answers(n_layers):
    row = {
        "epoch": 1,
        "train_loss": 2.0,
        "train_acc": 0.1,
        "val_loss": 2.0,
        "val_acc": 0.1,
        "hidden_rate": 0.0,
    }
    assert learning_curve([row], 10).startswith(b"\x89PNG")
    out = np.zeros((6, 3))
    out[:, 1] = 1.0
    silent = [np.zeros((6, 4))] * n_layers
    picture = spike_raster(Sample(np.eye(6), silent, out, 0, ("a", "b", "c"), 5.0, 7))
    assert picture.startswith(b"\x89PNG")


# Accuracy ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_default_run_reads_nine_of_ten_held_out_digits_on_average_over_seeds():
    results = [train(TrainConfig(seed=seed)) for seed in range(3)]
    assert np.mean([result.accuracy for result in results]) >= 0.9
    assert all(0.005 < result.metrics[-1]["hidden_rate"] < 0.5 for result in results)


@pytest.mark.shared
@pytest.mark.slow
def test_spoken_digits_of_unheard_speakers_are_read_better_and_better(shared):
    path = shared / "data" / "shd_regen" / "shd_regen_small_train.h5.gz"
    result = train(TrainConfig(data=str(path), rule="d_rtrl", hidden=64, batch_size=32, epochs=10))
    assert result.metrics[-1]["val_acc"] > max(0.15, result.metrics[0]["val_acc"])
