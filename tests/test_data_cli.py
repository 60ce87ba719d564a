"""The commands `snntrace data`, as a user runs them."""

import gzip
import re
import struct

import event_writers as writers
import h5py
import numpy as np
import pytest
import soundfile
from PIL import Image
from typer.testing import CliRunner

from snntrace.cli import app
from snntrace.datasets import (
    NMNIST,
    SaccadeDigits,
    SpikeFile,
    SpikeStore,
    StoreInfo,
    StoreWriter,
    open_dataset,
)

ROWS = ([100, 100, 250, 9000], [3, 0, 9, 1], [7, 0, 2, 9], [1, 0, 0, 1])


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # Typer frames its messages for the terminal's width.
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("SNNTRACE_CACHE", str(tmp_path / ".cache"))

    def invoke(*arguments, fails=False):
        result = CliRunner().invoke(app, ["data", *map(str, arguments)])
        assert result.exit_code == (2 if fails else 0), result.output
        return re.sub(r"[ \t│╭╮╰╯─]+", " ", result.output) if fails else result.output

    return invoke


def nmnist(folder):
    for digit, number in ((0, 2), (7, 1)):
        path = folder / "Train" / str(digit) / f"{number:05d}.bin"
        path.parent.mkdir(parents=True)
        path.write_bytes(writers.nmnist(*ROWS))
    (folder / "Test" / "3").mkdir(parents=True)
    (folder / "Test" / "3" / "00001.bin").write_bytes(writers.nmnist(*ROWS))
    return folder


def test_a_data_set_is_converted_checked_told_of_and_exported(run, tmp_path):
    assert re.search(r"1,797 recordings in d\.spikes, \d\.\d MB", run("convert", "digits", "d.spikes"))
    assert "1797 recordings, 512 units, 10 classes) is whole" in run("check", "d.spikes")
    text = run("info", "d.spikes", "--picture", "d.png", "--frames", "f.png", "--film", "d.gif")
    for part in ("kind SpikeStore", "recordings 1797", "sensor 16 x 16", "licence CC BY 4.0", "times us"):
        assert part in re.sub(r" +", " ", text), part
    assert re.search(r"classes +10: 0 178, 1 182", text)
    assert re.search(r"511 \|.*[░▒▓█].*\|", text)
    assert "recording 0: 0" in text
    for name in ("d.png", "f.png", "d.gif"):
        with Image.open(tmp_path / name) as image:
            assert min(image.size) > 100
            # Of frames that look the same, one is written.
            assert (getattr(image, "n_frames", 1) > 40) is (name == "d.gif")
    assert "1,797 recordings in d.h5" in run("export", "d.spikes", "d.h5")
    with SpikeFile(tmp_path / "d.h5") as data:
        for one, two in zip(data.events(9), SaccadeDigits().events(9), strict=True):
            np.testing.assert_array_equal(one, two)
    assert sorted(path.name for path in tmp_path.glob("[!.]*")) == [
        "d.gif",
        "d.h5",
        "d.png",
        "d.spikes",
        "f.png",
    ]


def test_a_file_that_was_exported_says_how_many_units_it_has(run, tmp_path):
    run("convert", nmnist(tmp_path / "n"), "n.spikes")
    run("export", "n.spikes", "n.h5")
    (tmp_path / "packed.h5.gz").write_bytes(gzip.compress((tmp_path / "n.h5").read_bytes()))
    for name in ("n.h5", "packed.h5.gz"):
        assert re.search(r"units +2312", run("info", name))
        assert open_dataset(tmp_path / name).n_units == 2312
    assert open_dataset(tmp_path / "n.h5", n_units=3000).n_units == 3000
    for wrong in (0, -5, 2.5, "many", [1, 2]):
        with h5py.File(tmp_path / "n.h5", "r+") as file:
            file.attrs["n_units"] = wrong
        assert "the attribute n_units of n.h5 must be a number of units" in run("info", "n.h5", fails=True)


def test_official_parts_are_put_into_one_store_at_once_or_one_by_one(run, tmp_path):
    folder = nmnist(tmp_path / "n")
    run("convert", folder, "both.spikes", "--split", "train", "--split", "test")
    run("convert", folder, "one.spikes", "--as", "train")
    text = run("convert", folder, "one.spikes", "--append", "--split", "test")
    assert re.search(r"1 recording in one\.spikes, \d+\.\d kB", text)
    for name in ("both.spikes", "one.spikes"):
        train, test = SpikeStore(tmp_path / name), SpikeStore(tmp_path / name, "test")
        assert (train.labels.tolist(), test.labels.tolist()) == ([0, 7], [3])
        np.testing.assert_array_equal(train.events(1), NMNIST(folder).events(1))
    assert "parts train, test; this is test" in re.sub(
        r" +", " ", run("info", "one.spikes", "--split", "test")
    )


def test_what_has_other_units_or_classes_is_not_added_to_a_store(run, tmp_path):
    folder = nmnist(tmp_path / "n")
    info = StoreInfo(NMNIST.n_units, tuple(f"word {k}" for k in range(10)))
    with StoreWriter(tmp_path / "words.spikes", info, time_type="us") as writer:
        writer.append([0.5], [3], 0)
    run("convert", "digits", "digits.spikes")
    before = [(path, path.read_bytes()) for path in tmp_path.glob("*.spikes")]
    for name, got in (("words", r"\(class 0 is '0', not 'word 0'\)"), ("digits", "2312 units .* 512")):
        text = run("convert", folder, f"{name}.spikes", "--append", fails=True)
        assert re.search(rf"parts must have the same units and classes, got .*{got}", text), text
    assert sorted(path for path, _ in before) == sorted(tmp_path.glob("*.spikes"))
    assert all(path.read_bytes() == content for path, content in before)


@pytest.mark.parametrize(
    ("name", "write", "kind", "sensor"),
    [
        ("a.raw", writers.evt3, "Prophesee EVT 3", "640 x 480"),
        ("a.bin", writers.nmnist, "N-MNIST or N-Caltech101", "34 x 34"),
        ("a.es", writers.es_dvs, "Event Stream 2", "320 x 240"),
    ],
)
def test_an_event_file_is_told_of_by_itself(run, tmp_path, name, write, kind, sensor):
    (tmp_path / name).write_bytes(write(*ROWS))
    text = re.sub(r" +", " ", run("info", name, "--frames", "f.png"))
    for part in (kind, sensor, "events 4 at 4 of", "duration 0.009 s, from 0.000 s to 0.009 s", "50.0 % ON"):
        assert part in text, part
    assert (tmp_path / "f.png").stat().st_size > 1000


def test_events_without_polarities_are_told_of_too(run, tmp_path):
    (tmp_path / "text.es").write_bytes(writers.es_generic([100, 1_000_100], [b"one", b"two"]))
    text = re.sub(r" +", " ", run("info", "text.es", "--picture", "p.png"))
    for part in ("kind Event Stream 2: generic", "events 2", "duration 1.000 s, from 0.000 s to 1.000 s"):
        assert part in text, part
    # Columns, rows, red, green and blue after the time's step.
    events = b"".join(struct.pack("<BHH3B", 10, x, y, 1, 2, 3) for x, y in ((3, 0), (319, 239)))
    header = b"Event Stream" + bytes([2, 0, 0, 4]) + struct.pack("<HH", 320, 240)
    (tmp_path / "light.es").write_bytes(header + events)
    text = re.sub(r" +", " ", run("info", "light.es"))
    for part in ("kind Event Stream 2: color", "sensor 320 x 240", "76799 |"):
        assert part in text, part


def test_a_sound_is_told_of_as_the_ear_hears_it(run, tmp_path):
    soundfile.write(tmp_path / "word.wav", np.sin(np.arange(9600) / 10) * np.hanning(9600), 48_000)
    text = re.sub(r" +", " ", run("info", "word.wav"))
    for part in ("sound, heard by the model of the ear", "units 700", "sound 0.200 s at 48,000 Hz", "699 |"):
        assert part in text, part


def test_the_sensor_that_files_do_not_tell_can_be_given(run, tmp_path):
    columns = [ROWS[0], [x + 200 for x in ROWS[1]], *ROWS[2:]]
    for name in ("a/1.bin", "b/1.bin"):
        (tmp_path / "own" / name).parent.mkdir(parents=True)
        (tmp_path / "own" / name).write_bytes(writers.nmnist(*columns))
    assert "34 x 34 sensor" in run("info", "own/a/1.bin", fails=True)
    assert "240 x 180" in run("info", "own/a/1.bin", "--sensor", "240x180")
    run("convert", "own", "own.spikes", "--sensor", "240x180")
    store = SpikeStore(tmp_path / "own.spikes")
    assert (store.info.sensor, store.n_units) == ((240, 180), 2 * 240 * 180)
    assert store.events(1)[1].tolist() == [
        (p * 180 + y) * 240 + x for x, y, p in zip(*columns[1:], strict=True)
    ]


def test_pictures_are_coded_as_is_asked_for(run, tmp_path):
    pictures = np.zeros((2, 28, 28), "u1")
    pictures[:, 10:20, 12:16] = 255
    (tmp_path / "m").mkdir()
    head = bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 28, 0, 0, 0, 28])
    (tmp_path / "m" / "train-images-idx3-ubyte").write_bytes(head + pictures.tobytes())
    (tmp_path / "m" / "train-labels-idx1-ubyte").write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 2, 1, 7]))
    text = re.sub(r" +", " ", run("info", "m", "--encoding", "latency"))
    assert "events 80; 40 to 40 a recording" in text
    run("convert", "m", "m.spikes", "--encoding", "camera")
    assert SpikeStore(tmp_path / "m.spikes").info.sensor == (34, 34)


def test_names_are_whole_and_pictures_fit_in_a_narrow_terminal(run, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    for name in ("fashion_mnist", "nmnist_like", "dvs_gesture"):
        assert re.search(rf"^ *{name} ", run("list"), re.MULTILINE), name
    assert "…" not in run("list")
    (tmp_path / "a.raw").write_bytes(writers.evt3(*ROWS))
    text = run("info", "a.raw")
    assert re.search(r"^ +0 +9 ms$", text, re.MULTILINE)
    assert all(len(line.rstrip()) <= 60 for line in text.splitlines())


def test_what_is_sorted_need_not_be_in_order(run, tmp_path):
    columns = [[500, 300, 900], *ROWS[1:]]
    for folder in ("n/Train/0", "own/a"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "1.bin").write_bytes(writers.nmnist(*[column[:3] for column in columns]))
    for label in range(1, 10):
        (tmp_path / "n" / "Train" / str(label)).mkdir()
    (tmp_path / "steps" / "a").mkdir(parents=True)
    (tmp_path / "steps" / "a" / "1.es").write_bytes(writers.es_dvs(*ROWS))
    assert "1 recording" in run("convert", "steps", "steps.spikes", "--sort")
    for folder in ("n", "own"):
        assert "time must not go backwards" in run("convert", folder, "s.spikes", fails=True)
        run("convert", folder, "s.spikes", "--sort", "--overwrite")
        times = SpikeStore(tmp_path / "s.spikes").events(0)[0]
        np.testing.assert_allclose(times - times[0], [0, 200e-6, 600e-6], atol=1e-9)


def test_an_event_file_that_is_empty_or_damaged_is_told_what_is_wrong_with_it(run, tmp_path):
    (tmp_path / "zero.dat").write_bytes(b"")
    (tmp_path / "junk.aedat").write_bytes(bytes(range(200)))
    assert "must not be empty, got 0 bytes in zero.dat" in run("info", "zero.dat", fails=True)
    assert "must be in a known format, got" in run("info", "junk.aedat", fails=True)


def test_sounds_become_a_file_that_can_be_told_of(run, tmp_path):
    sound = np.sin(np.arange(9600) / 10) * np.hanning(9600)
    for i in range(2):
        soundfile.write(tmp_path / f"lang-german_speaker-04_trial-{i}_digit-{i}.flac", sound, 48_000)
    files = sorted(tmp_path.glob("*.flac"))
    assert "2 recordings in out.h5" in run("ear", *files, "--out", "out.h5", "--seed", "3")
    text = re.sub(r" +", " ", run("info", "out.h5", "--index", "1"))
    for part in ("recordings 2", "units 700", "null 1, eins 1", "groups 1: 4 (2)", "recording 1: eins"):
        assert part in text, part
    assert "out must not exist yet" in run("ear", *files, "--out", "out.h5", fails=True)
    run("ear", files[0], "--out", "out.h5", "--overwrite")
    stereo = np.stack([sound, sound], 1)
    soundfile.write(tmp_path / "two.wav", stereo, 48_000)
    text = run("ear", "two.wav", "--out", "b.h5", fails=True)
    assert "must have one channel, got 2 channels in path='two.wav'. Mix them with mix=True" in text
    run("ear", "two.wav", "--out", "b.h5", "--mix")


def test_the_chip_of_an_old_file_can_be_told(run, tmp_path):
    lines = ("!AER-DAT2.0", " AEChip: ch.unizh.ini.jaer.chip.cochlea.CochleaAMS1c")
    (tmp_path / "ears.aedat").write_bytes(writers.aedat2(*ROWS, lines))
    assert "Give chip='address'" in run("info", "ears.aedat", fails=True)
    assert "65536 x 1" in run("info", "ears.aedat", "--chip", "address")
    assert "128 x 128" in run("info", "ears.aedat", "--chip", "dvs128")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["convert", "nowhere", "a"], "which does not exist"),
        (["convert", "digits", "none/a"], "must be in an existing folder"),
        (
            ["convert", "digits", "d", "--as", "x", "--split", "train"],
            "--as and --split must not be combined",
        ),
        (["convert", "digits", "d", "--append", "--overwrite"], "--append must keep what there is"),
        (["convert", "digits", "d", "--append"], "must be an existing file, got path=d"),
        (["check", "note.txt"], "must be a complete HDF5 file"),
        (["info", "note.txt"], "that no reader knows"),
        (["info", "digits", "--index", "2000"], "index must be in 0 .. 1796, got index=2000"),
        (["info", "digits", "--picture", "a.jpg"], "must end in .png, got a.jpg"),
        (["info", "a.bin", "--index", "1"], "must be left out for a file of one recording"),
        (
            ["info", "a.bin", "--chip", "dvs128"],
            "chip must be left out but for an AEDAT 2.0 file",
        ),
        (["info", "a.bin", "--encoding", "rate"], "encoding must be left out"),
        (["info", "a.bin", "--sensor", "240"], "Write them like 240x180"),
        (["convert", "digits", "d", "--sensor", "9x9"], "sensor must be a whole number, got sensor=(9, 9)"),
        (["info", "spikes.h5", "--film", "a.gif"], "--film must be of a camera's recording"),
        (["export", "digits", "a.h5", "--times", "us"], "time_type must be"),
    ],
)
def test_what_cannot_be_done_is_told_in_words_and_leaves_no_file(run, tmp_path, arguments, message):
    (tmp_path / "note.txt").write_text("nothing of use\n")
    (tmp_path / "a.bin").write_bytes(writers.nmnist(*ROWS))
    if "spikes.h5" in arguments:
        soundfile.write(tmp_path / "w.wav", np.sin(np.arange(4800) / 5), 48_000)
        run("ear", "w.wav", "--out", "spikes.h5")
    before = sorted(path.name for path in tmp_path.iterdir())
    assert message in run(*arguments, fails=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


REAL = {
    "nmnist": ("recordings 1338", "sensor 34 x 34"),
    "shd_regen/shd_regen_small_valid.h5.gz": ("recordings 200", "units 700", "classes 20"),
    "braille/braille_letters_taxels.npz": ("recordings 1350", "units 24", "classes 27"),
}


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_real_data_are_converted_told_of_and_exported_and_stay_the_same(
    run, tmp_path, shared, name, monkeypatch
):

    monkeypatch.setenv("SNNTRACE_CACHE", str(tmp_path / "cache"))
    source = shared / "data" / name
    run("convert", source, "a.spikes")
    text = re.sub(r" +", " ", run("info", "a.spikes"))
    for part in REAL[name]:
        assert part in text, part
    run("export", "a.spikes", "a.h5")
    data, store = open_dataset(source), SpikeStore(tmp_path / "a.spikes")
    with SpikeFile(tmp_path / "a.h5", n_units=data.n_units) as back:
        for row in range(0, len(data), 7):
            for one, two, three in zip(data.events(row), store.events(row), back.events(row), strict=True):
                np.testing.assert_array_equal(one, two)
                np.testing.assert_array_equal(one, three)
    run("convert", source, "a.spikes", "--append")
    assert len(SpikeStore(tmp_path / "a.spikes")) == 2 * len(data)
    run("check", "a.spikes")
