"""Folders of recordings, of sounds and of the parts of SHD."""

import os

import h5py
import numpy as np
import pytest

from snntrace.datasets import SHD, SSC, EventFolder, SpikeFile, SpokenWords, by_group, open_dataset
from snntrace.datasets.ear import listen, read_sound
from snntrace.datasets.files import DataFileError, read_events
from snntrace.datasets.labelled_files import numbered
from snntrace.datasets.summary import summary


def word_file(path, label, speaker=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file.create_dataset("spikes/times", 1, h5py.vlen_dtype("float16"))[0] = np.array([0.1], "float16")
        file.create_dataset("spikes/units", 1, h5py.vlen_dtype("uint16"))[0] = np.array([5], "uint16")
        file["labels"] = np.array([label])
        if speaker is not None:
            file["extra/speaker"] = np.array([speaker])


# SHD and SSC ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "parts"), [(SHD, ("train", "test")), (SSC, ("train", "valid", "test"))])
def test_the_parts_of_a_folder_are_opened_by_their_names(tmp_path, kind, parts):
    for label, part in enumerate(parts):
        word_file(tmp_path / f"{kind.stem}_{part}.h5", label, speaker=7 + label)
    assert open_dataset(tmp_path).split == "train"
    for label, part in enumerate(parts):
        data = open_dataset(tmp_path, split=part)
        assert (type(data), data.split, data.splits) == (kind, part, parts)
        assert data.labels.tolist() == [label]
        assert data.groups.tolist() == [7 + label]
    with pytest.raises(ValueError, match="split must be 'train' or .*, got split='dev'"):
        open_dataset(tmp_path, split="dev")


def test_a_missing_part_says_what_there_is(tmp_path):
    word_file(tmp_path / "ssc_valid.h5", 0)
    with pytest.raises(FileNotFoundError, match=r"ssc_train\.h5.* with ssc_valid\.h5\. Download"):
        open_dataset(tmp_path)
    with pytest.raises(FileNotFoundError, match="none of the parts"):
        SHD(tmp_path)


def test_a_file_is_the_part_that_its_name_says(tmp_path):
    word_file(tmp_path / "shd_test.h5", 0)
    word_file(tmp_path / "words.h5", 0)
    assert SHD(tmp_path / "shd_test.h5").split == "test"
    assert SHD(tmp_path / "words.h5").split == ""
    assert type(open_dataset(tmp_path / "words.h5")) is SpikeFile
    assert open_dataset(tmp_path / "shd_test.h5").split == "test"
    with pytest.raises(ValueError, match="split must be the part that path is, got split='train'"):
        SHD(tmp_path / "shd_test.h5", "train")


# Event files ------------------------------------------------------------------------------------


def recording(path, *events):
    """Write an N-MNIST file of (time, x, y, polarity)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(bytes([x, y, p << 7, t >> 8, t & 255]) for t, x, y, p in events))


@pytest.fixture
def folder(tmp_path):
    for k, name in enumerate(["up", "down", "10"]):
        for i in range(2):
            recording(tmp_path / "data" / name / f"{i}.bin", (500, 1, 2, 1), (700 + k, 3, i, 0))
    (tmp_path / "data" / "up" / "notes.txt").write_text("not a recording")
    (tmp_path / "data" / "up" / ".hidden.bin").write_text("neither")
    return tmp_path / "data"


def test_folders_are_classes_and_time_starts_with_the_first_event(folder):
    data = open_dataset(folder)
    assert isinstance(data, EventFolder)
    assert data.class_names == ("10", "down", "up")
    assert data.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert (data.n_units, data.sensor, data.groups, data.splits) == (2312, (34, 34), None, ())
    times, units = data.events(3)
    np.testing.assert_allclose(times, [0.0, 201e-6])
    assert units.tolist() == [(34 + 2) * 34 + 1, 34 + 3]
    assert data.duration == pytest.approx(202e-6)
    with pytest.raises(ValueError, match="split must be left out where there are no parts"):
        open_dataset(folder, split="test")


def test_classes_that_are_numbers_are_in_their_order(tmp_path):
    for name in ("10", "9", "2"):
        recording(tmp_path / name / "a.bin", (1, 1, 1, 1))
    assert open_dataset(tmp_path, "recordings").class_names == ("2", "9", "10")


def test_classes_that_are_numbers_may_have_any_number_of_digits():
    long = "9" * 5000
    assert numbered([long, "10", "009", "9", "9" + long])[0] == ("009", "9", "10", long, "9" + long)


def test_parts_have_the_same_classes(tmp_path):
    recording(tmp_path / "train" / "a" / "1.bin", (1, 1, 1, 1))
    recording(tmp_path / "train" / "b" / "1.bin", (1, 1, 1, 1))
    recording(tmp_path / "test" / "b" / "1.bin", (1, 1, 1, 1))
    train, test = open_dataset(tmp_path), open_dataset(tmp_path, split="test")
    assert (train.split, train.splits, train.labels.tolist()) == ("train", ("train", "test"), [0, 1])
    assert (test.class_names, test.labels.tolist()) == (("a", "b"), [1])


TABLE = """file,label,subject,split
up/0.bin, north ,ann,train
down/1.bin,south,bob,train
up/1.bin,north,bob,test
"""


def test_a_table_gives_labels_subjects_and_parts(folder):
    (folder / "labels.csv").write_text(TABLE)
    train, test = open_dataset(folder), open_dataset(folder, split="test")
    assert train.class_names == test.class_names == ("north", "south")
    assert (train.labels.tolist(), train.groups.tolist()) == ([0, 1], [0, 1])
    assert (test.labels.tolist(), test.groups.tolist()) == ([0], [1])
    assert train.files[1] == folder / "down" / "1.bin"
    assert train.group_names == test.group_names == ("ann", "bob")
    kept, held = by_group(train, ["ann"])
    assert (kept.tolist(), held.tolist()) == ([1], [0])
    with pytest.raises(ValueError, match=r"a group must be one of ann, bob, got held_out=\['eve'\]"):
        by_group(train, ["ann", "eve"])
    assert summary(train)["groups"] == "2: 0 = ann (1), 1 = bob (1)"


def test_parts_of_a_table_may_be_in_capitals(folder):
    (folder / "labels.csv").write_text("file,label,split\nup/0.bin,a,Train\nup/1.bin,b,TEST\n")
    data = open_dataset(folder)
    assert (data.split, data.splits) == ("train", ("train", "test"))


def test_a_name_that_looks_like_a_number_is_a_name(folder):
    (folder / "labels.csv").write_text("file,label,subject\nup/0.bin,a,1\nup/1.bin,b,2\ndown/0.bin,b,7\n")
    data = open_dataset(folder)
    assert data.group_names == ("1", "2", "7")
    for held_out, row in (("1", 0), (1, 1), ("2", 1), ("7", 2), (2, 2)):
        assert by_group(data, [held_out])[1].tolist() == [row], held_out
    with pytest.raises(ValueError, match=r"a group must be one of 1, 2, 7, got held_out=\['x', '0'\]"):
        by_group(data, ["x", "1", "0"])
    assert by_group([4, 5, 5], ["4"])[1].tolist() == [0]
    assert by_group([1, 2, 12, 12], "12")[1].tolist() == [2, 3]


def test_groups_without_names_are_named_by_number_alone(folder):
    (folder / "labels.csv").write_text("file,label\nup/0.bin,a\nup/1.bin,b\n")
    data = open_dataset(folder)
    assert (data.groups, data.group_names) == (None, ())
    with pytest.raises(ValueError, match="a group must be a number, for these data have no names"):
        by_group([0, 1, 1], ["ann"])


def test_an_option_that_no_reader_has_is_refused_by_name(folder):
    with pytest.raises(ValueError, match="options must be among .*ordered.*sensor.*, got encoding"):
        open_dataset(folder, encoding="rate")
    assert len(open_dataset(folder, ordered=False)) == 6


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("", r"must not be empty, got 0 bytes in .*labels\.csv"),
        ("name,label\na,b\n", r"must start with its columns.*got \['name', 'label'\] in line 1"),
        ("file,label,label\n", "must start with its columns"),
        ("file,label\n", "must name recordings, got none"),
        ("file,label\nup/0.bin\n", "must have 2 cells, with file and label, got .* in line 2"),
        ("file,label\nup/0.bin,\n", "must have 2 cells"),
        ("file,label\nup/0.bin,a,b\n", "must have 2 cells"),
        ("file,label\n../up/0.bin,a\n", "must be named from the folder of the table, got '../up/0.bin'"),
        ("file,label\n/etc/passwd,a\n", "must be named from the folder of the table"),
        ('file,label\nup/0.bin,"a\nb"\nup/1.bin\n', "must have 2 cells, .* in line 4"),
        (f"file,label\n{300 * 'a'}.bin,a\n", "the files of the table must exist, got 'aaa.* in line 2"),
        ("file,label\nup/\0.bin,a\n", "the files of the table must exist, got .* in line 2"),
        ("file,label\nup/9.bin,a\n", "the files of the table must exist, got 'up/9.bin' in line 2"),
        ("file,label,split\nup/0.bin,a,train\nup/1.bin,a,\n", "the part must be said of all"),
    ],
)
def test_a_wrong_table_names_its_line(folder, table, message):
    (folder / "labels.csv").write_text(table)
    with pytest.raises((DataFileError, FileNotFoundError), match=message):
        open_dataset(folder)


def test_a_table_that_is_no_text_is_refused(folder):
    (folder / "labels.csv").write_bytes(b"file,label\n\xff\xfe,a\n")
    with pytest.raises(DataFileError, match="must be text in UTF-8"):
        open_dataset(folder)


@pytest.mark.shared
def test_recordings_of_several_sensors_need_one_that_has_room(tmp_path, shared):
    for name in "ab":
        (tmp_path / "data" / name).mkdir(parents=True)
    events = shared / "data" / "events"
    (tmp_path / "data" / "a" / "a.dat").write_bytes((events / "tonic/sample_ncars.dat").read_bytes())
    (tmp_path / "data" / "b" / "b.bin").write_bytes((events / "tonic/sample_nmnist.bin").read_bytes())
    data = open_dataset(tmp_path / "data")
    with pytest.raises(DataFileError, match=r"must be of one sensor, got \(34, 34\) in .*b\.bin"):
        data.events(1)
    data = open_dataset(tmp_path / "data", sensor=(304, 240))
    assert data.n_units == 2 * 304 * 240
    assert [len(data.events(row)[0]) for row in range(2)] == [2009, 4325]
    with pytest.raises(DataFileError, match=r"must have room for all recordings.*a\.dat of \(304, 240\)"):
        open_dataset(tmp_path / "data", sensor=(40, 35)).events(0)


@pytest.mark.shared
@pytest.mark.parametrize("name", ["tonic/sample_stmnist.mat", "jaer/VowelSounds.aedat", "faery/dvs.es"])
def test_real_files_are_read_as_their_readers_do(tmp_path, shared, name):
    (tmp_path / "a").mkdir()
    file = tmp_path / "a" / name.rsplit("/", 1)[1]
    file.write_bytes((shared / "data" / "events" / name).read_bytes())
    times, units = EventFolder(tmp_path).events(0)
    wanted = read_events(file)
    np.testing.assert_array_equal(units, wanted.units())
    np.testing.assert_allclose(times, wanted.seconds - wanted.seconds.min(), atol=1e-9)


def test_a_folder_without_recordings_says_how_to_sort_them(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(ValueError, match=r"must hold a folder of event files .* or labels\.csv"):
        EventFolder(tmp_path)
    with pytest.raises(FileNotFoundError, match="must be an existing folder"):
        EventFolder(tmp_path / "b")


# Sounds -----------------------------------------------------------------------------------------

soundfile = pytest.importorskip("soundfile")


def sound(path, tone):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.4 * np.sin(2 * np.pi * tone * np.arange(2400) / 48_000), 48_000)


@pytest.fixture
def sounds(tmp_path):
    for name, tone in (("low/a.wav", 300), ("low/b.flac", 350), ("high/a.wav", 3000)):
        sound(tmp_path / "sounds" / name, tone)
    sound(tmp_path / "sounds" / "_background_noise_" / "a.wav", 50)
    return tmp_path / "sounds"


def test_a_folder_of_sounds_is_heard_once(sounds, tmp_path, monkeypatch):
    monkeypatch.setenv("SNNTRACE_CACHE", str(tmp_path / "cache"))
    heard = []
    data = SpokenWords(sounds, seed=3, on_heard=lambda *step: heard.append(step))
    assert (data.class_names, data.labels.tolist()) == (("high", "low"), [0, 1, 1])
    assert heard == [(1, 3), (2, 3), (3, 3)]
    times, units = listen(*read_sound(sounds / "low" / "a.wav"), seed=4)
    assert len(data.events(1)[0]) == len(times)
    assert np.bincount(data.events(1)[1]).tolist() == np.bincount(units).tolist()
    again = open_dataset(sounds, seed=3)
    assert again.path == data.path
    assert [p.name for p in (tmp_path / "cache").iterdir()] == [data.path.name]


def test_other_sounds_and_seeds_are_heard_anew(sounds, tmp_path):
    options = {"cache_folder": tmp_path / "cache"}
    paths = {SpokenWords(sounds, **options).path, SpokenWords(sounds, seed=1, **options).path}
    sound(sounds / "low" / "a.wav", 301)
    paths.add(SpokenWords(sounds, **options).path)
    (sounds / "low" / "a.wav").rename(sounds / "low" / "c.wav")
    paths.add(SpokenWords(sounds, **options).path)
    assert len(paths) == 4


def test_a_sound_that_cannot_be_heard_leaves_nothing(sounds, tmp_path):
    (sounds / "low" / "c.wav").write_bytes(b"RIFF")
    with pytest.raises(ValueError, match=r"c\.wav"):
        SpokenWords(sounds, cache_folder=tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_folder_without_sounds_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"must hold sound files \(\.flac, \.ogg, \.wav\)"):
        SpokenWords(tmp_path)
    with pytest.raises(FileNotFoundError):
        SpokenWords(tmp_path / "nothing")


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.touch(), lambda path: path.symlink_to("none")])
def test_what_is_no_sound_is_refused_without_waiting(sounds, tmp_path, make):
    make(sounds / "low" / "c.wav")
    with pytest.raises((ValueError, OSError), match=r"^SpokenWords: .*c\.wav"):
        SpokenWords(sounds, cache_folder=tmp_path / "cache")


def test_sounds_that_links_lead_to_are_of_the_folder_that_the_link_is_in(sounds, tmp_path):
    kept = tmp_path / "kept" / "9f3a"
    kept.mkdir(parents=True)
    for name in ("low/a.wav", "low/b.flac", "high/a.wav"):
        target = kept / name.replace("/", "-")
        (sounds / name).rename(target)
        (sounds / name).symlink_to(target)
    data = SpokenWords(sounds, cache_folder=tmp_path / "cache")
    assert (data.class_names, data.labels.tolist()) == (("high", "low"), [0, 1, 1])


def test_a_sound_whose_name_is_of_another_encoding_is_heard_but_no_class(sounds, tmp_path):
    odd = os.fsdecode(b"f\xfcnf.wav")
    (sounds / "high" / "a.wav").rename(sounds / "high" / odd)
    assert len(SpokenWords(sounds, cache_folder=tmp_path / "cache")) == 3
    (sounds / "high").rename(sounds / os.fsdecode(b"h\xf6her"))
    with pytest.raises(ValueError, match=r"hear_files: names of classes must have a form in UTF-8.*Rename"):
        SpokenWords(sounds, cache_folder=tmp_path / "cache")
