import re
import sys

import pytest
from typer.testing import CliRunner

import snntrace
from snntrace.cli import app, numbers

TINY = ["train", "--epochs", "1", "--hidden", "8", "--batch-size", "16", "--dt-ms", "30", "--hold-out", "0.9"]


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # Typer frames its messages for the terminal's width.
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.setenv("NO_COLOR", "1")

    def invoke(*arguments):
        return CliRunner().invoke(app, [str(a) for a in arguments])

    return invoke


def plain(text):
    return re.sub(r"[\s│╭╮╰╯─]+", " ", text)


def test_the_version_is_printed(run):
    result = run("--version")
    assert result.exit_code == 0
    assert result.stdout.strip() == f"snntrace {snntrace.__version__}"


def test_help_names_every_option_of_a_run(run):
    text = run("train", "--help").stdout
    for option in ("data", "rule", "neuron", "hidden", "layers", "channels", "epochs", "batch-size", "lr",
                   "dt-ms", "pool", "steps", "window", "seed", "hold-out", "hold-out-speakers",
                   "out"):  # fmt: skip
        assert f"--{option}" in text, option


def test_a_run_prints_each_epoch_and_the_held_out_accuracy_and_names_its_folder(run, tmp_path):
    result = run(*TINY)
    assert result.exit_code == 0, result.output
    assert "epoch   1/1" in result.stdout
    assert re.search(r"held-out accuracy \d+\.\d %", result.stdout)
    assert "runs/digits-osttp-lif-001" in result.stdout
    assert (tmp_path / "runs" / "digits-osttp-lif-001" / "weights.npz").is_file()


def test_a_second_run_takes_the_next_number(run, tmp_path):
    run(*TINY)
    assert run(*TINY).exit_code == 0
    assert sorted(p.name for p in (tmp_path / "runs").iterdir()) == [
        "digits-osttp-lif-001",
        "digits-osttp-lif-002",
    ]


def test_a_folder_with_a_run_is_refused_before_anything_is_computed_and_overwritten_on_request(run, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "metrics.csv").write_text("precious")
    refused = run(*TINY, "--out", "mine")
    assert refused.exit_code == 2
    assert "must not hold another run" in plain(refused.output)
    assert (tmp_path / "mine" / "metrics.csv").read_text() == "precious"
    assert run(*TINY, "--out", "mine", "--overwrite").exit_code == 0
    assert (tmp_path / "mine" / "metrics.csv").read_text().startswith("epoch,")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rule", "eprop"], "eprop"),
        (["--neuron", "hh"], "hh"),
        (["--epochs", "0"], "epochs must be positive"),
        (["--epochs", "many"], "Invalid value for '--epochs'"),
        (["--data", "nowhere.h5"], "does not exist"),
        (["--data", "randman", "--pool", "7"], "pool must divide"),
        (["--hold-out-speakers", "a,b"], "must name their groups"),
        (["--channels", "8x16"], "--channels must be numbers with commas"),
        (["--channels", "8,0"], "channels must be positive"),
        (["--channels", "8", "--data", "randman"], "channels belong to recordings of a camera"),
        (["--hold-out-speakers", "1,2"], "must name their groups"),
        (["--hold-out", "0.2", "--hold-out-speakers", "1,2"], "a fraction or speakers"),
        (["--batch-size", "5000"], "at least one batch"),
        (["--rule", "bptt", "--window", "5"], "window belongs to rules with traces"),
        (["--overwrite"], "--overwrite belongs to --out"),
        (["--colour", "red"], "--colour"),
    ],
)
def test_a_wrong_option_ends_with_two_a_message_and_no_files(run, tmp_path, arguments, message):
    result = run("train", *arguments)
    assert result.exit_code == 2, result.output
    assert message in plain(result.output)
    assert "Traceback" not in result.output
    assert not list(tmp_path.iterdir())


def test_data_that_cannot_be_read_end_with_two_and_a_message(run, tmp_path, monkeypatch):
    monkeypatch.setenv("SNNTRACE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SNNTRACE_DATA", str(tmp_path / "data"))
    (tmp_path / "words").mkdir()
    (tmp_path / "words" / "a.wav").write_bytes(b"RIFF")
    monkeypatch.setitem(sys.modules, "soundfile", None)
    for data, message in (
        ("words", "soundfile"),
        ("shd", "must be on this machine"),
        (".", "recordings|words"),
    ):
        result = run("train", "--data", data)
        assert result.exit_code == 2, result.output
        assert re.search(message, plain(result.output))
        assert "Traceback" not in result.output


def test_lists_of_numbers_are_read():
    assert numbers(None, "--channels") is None
    assert numbers("4", "--channels") == (4,)
    assert numbers("0, 1", "--channels") == (0, 1)
