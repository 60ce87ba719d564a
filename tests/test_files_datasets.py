"""Data sets of event files, from folders that are written here; N-MNIST has its own tests."""

import os
import pickle

import brainunit as u
import event_writers as writers
import h5py
import numpy as np
import pytest

from snntrace.datasets import (
    DATASETS,
    NTIDIGITS18,
    BrailleLetters,
    DVSGesture,
    NCaltech101,
    batches,
    open_dataset,
)  # fmt: skip
from snntrace.datasets.dvs_gesture import time_at
from snntrace.datasets.files import DataFileError
from snntrace.datasets.files.aedat3 import index_packets

ROWS = ([100, 100, 250, 9000], [3, 0, 9, 1], [7, 0, 2, 9], [1, 0, 0, 1])
TAXELS = 12


@pytest.fixture
def caltech(tmp_path):
    for name, count in (("Motorbikes", 2), ("accordion", 1), ("empty", 0)):
        folder = tmp_path / "Caltech101" / name
        folder.mkdir(parents=True)
        for i in range(count):
            columns = [[t + i for t in ROWS[0]], [x + 200 for x in ROWS[1]], *ROWS[2:]]
            (folder / f"image_{i + 1:04d}.bin").write_bytes(writers.nmnist(*columns))
    return tmp_path


GESTURES = {
    "user01_led": [(1, 0, 300), (11, 300, 20_000)],
    "user02_fluorescent_led": [(5, 50, 200), (2, 150, 260)],
    "user24_led": [(3, 90, 9001)],
}


@pytest.fixture
def gestures(tmp_path):
    folder = tmp_path / "DvsGesture"
    folder.mkdir()
    for name, rows in GESTURES.items():
        (folder / f"{name}.aedat").write_bytes(writers.aedat3(*ROWS))
        lines = [",".join(map(str, row)) for row in [("class", "startTime_usec", "endTime_usec"), *rows]]
        (folder / f"{name}_labels.csv").write_text("\n".join(lines) + "\n")
    (folder / "trials_to_train.txt").write_text("user01_led.aedat\nuser02_fluorescent_led.aedat\n\n")
    (folder / "trials_to_test.txt").write_text("user24_led.aedat\n")
    return tmp_path


SPOKEN = {
    "train": {
        "man-ae-a-1": ([0.0, 0.5], [0, 63]),
        "woman-ac-b-z": ([0.25], [7]),
        "man-ae-b-1z3": ([0.1], [1]),
    },
    "test": {"man-xx-a-o": ([0.5, 0.75], [1, 2])},
}


@pytest.fixture
def cochlea(tmp_path):
    path = tmp_path / "n-tidigits.hdf5"
    with h5py.File(path, "w") as file:
        for split, recordings in SPOKEN.items():
            file[f"{split}_labels"] = np.array([name.encode() for name in recordings])
            for name, (times, addresses) in recordings.items():
                file[f"{split}_timestamps/{name}"] = np.array(times)
                file[f"{split}_addresses/{name}"] = np.array(addresses, float)
    return path


@pytest.fixture
def letters(tmp_path):
    path = tmp_path / "letters.npz"
    readings = np.random.default_rng(0).integers(50, 256, (9, TAXELS)).astype("uint8")
    np.savez(path, taxels=readings, length=[4, 2, 3], letter=["B", "Space", "A"], repetition=[0, 1, 2])
    return path


@pytest.mark.parametrize(
    ("fixture", "kind"),
    [
        ("caltech", NCaltech101),
        ("gestures", DVSGesture),
        ("cochlea", NTIDIGITS18),
        ("letters", BrailleLetters),
    ],
)
def test_the_content_of_a_path_decides_its_data_set(fixture, kind, request):
    path = request.getfixturevalue(fixture)
    data = open_dataset(path)
    assert type(data) is kind
    assert DATASETS[next(name for name, entry in DATASETS.items() if entry.opens is kind)].recognises(path)
    x, labels = {}, {}
    for layout in ("dense", "events"):
        batch = next(iter(batches(data, range(2), 2, 5 * u.ms, shuffle=False, layout=layout)))
        x[layout] = np.asarray(batch.x if layout == "dense" else batch.x.dense())
        labels[layout] = batch.labels.tolist()
    assert labels["dense"] == labels["events"] == data.labels[:2].tolist()
    assert x["dense"].sum() > 0
    np.testing.assert_array_equal(x["dense"], x["events"])
    copy = pickle.loads(pickle.dumps(data))
    np.testing.assert_array_equal(copy.events(1)[1], data.events(1)[1])
    for index in (-1, len(data)):
        with pytest.raises(IndexError, match=rf"index must be in 0 \.\. {len(data) - 1}, got index={index}"):
            data.events(index)


def test_a_name_opens_a_path_as_that_data_set(caltech):
    assert isinstance(open_dataset(caltech, "ncaltech101"), NCaltech101)
    with pytest.raises(FileNotFoundError, match=r"NMNIST: path must hold folders Train and Test"):
        open_dataset(caltech, "nmnist")
    with pytest.raises(ValueError, match=r"name must be one of .*nmnist.*, got name='cifar'"):
        open_dataset(caltech, "cifar")


@pytest.mark.parametrize("preload", [False, True])
def test_n_caltech101_has_a_class_for_each_folder_with_recordings(caltech, preload):
    data = NCaltech101(caltech, preload=preload)
    assert data.class_names == ("Motorbikes", "accordion")
    assert data.labels.tolist() == [0, 0, 1]
    assert data.lengths.tolist() == [4, 4, 4]
    assert data.duration == pytest.approx(9001e-6)
    times, units = data.events(1)
    np.testing.assert_allclose(times, (np.array(ROWS[0]) + 1) * 1e-6)
    assert units[0] == (180 + 7) * 240 + 203
    with pytest.raises(ValueError, match=r"must hold a folder of \.bin files for each class, got none"):
        NCaltech101(caltech / "Caltech101" / "empty")
    with pytest.raises(FileNotFoundError, match=r"existing folder, got path=.*none"):
        NCaltech101(caltech / "none")


def test_a_gesture_has_the_events_of_its_time_from_its_start(gestures):
    data = DVSGesture(gestures)
    assert data.labels.tolist() == [0, 10, 4, 1]
    assert data.groups.tolist() == [1, 1, 2, 2]
    assert data.lights == ("led", "led", "fluorescent_led", "fluorescent_led")
    np.testing.assert_allclose(data.durations, [3e-4, 0.0197, 1.5e-4, 1.1e-4])
    expected = [[100, 100, 250], [9000 - 300], [50, 50], [100]]
    for row, times in enumerate(expected):
        np.testing.assert_allclose(data.events(row)[0], np.array(times) * 1e-6)
    assert data.events(2)[1].tolist() == [(128 + 7) * 128 + 3, 0]
    assert repr(data) == "DVSGesture(train: 4 recordings of 2 people, 32768 units)"
    test = DVSGesture(gestures / "DvsGesture", "test")
    assert (test.labels.tolist(), test.groups.tolist()) == ([2], [24])
    assert test.events(0)[0].size == 4


def test_a_gesture_reads_only_its_packets(tmp_path, gestures):
    """Of a recording of many packets, what lies before and after a gesture is not looked at."""
    file = gestures / "DvsGesture" / "user24_led.aedat"
    n = 700
    columns = [list(range(0, 10 * n, 10)), [5] * n, [k % 128 for k in range(n)], [1] * n]
    raw = bytearray(writers.aedat3(*columns))
    file.write_bytes(raw)
    table = file.with_name("user24_led_labels.csv")
    table.write_text("class,startTime_usec,endTime_usec\n3,3000,3500\n")
    times, units = DVSGesture(gestures, "test").events(0)
    np.testing.assert_allclose(times, np.arange(0, 500, 10) * 1e-6)
    assert (units % 128 == 5).all()
    # Damage an event in the first packet: out of the sensor, so that reading it would be refused.
    first = raw.index(b"#!END-HEADER\r\n") + 14 + 28
    raw[first + 8 : first + 12] = b"\xff\xff\xff\xff"
    file.write_bytes(raw)
    np.testing.assert_allclose(DVSGesture(gestures, "test").events(0)[0], times)
    table.write_text("class,startTime_usec,endTime_usec\n3,0,500\n")
    with pytest.raises(DataFileError, match=rf"128 x 128 sensor.*at byte {first + 8} of .*user24_led\.aedat"):
        DVSGesture(gestures, "test").events(0)


@pytest.mark.parametrize("event", [0, -2])
def test_a_damaged_time_does_not_hide_a_packet_of_a_gesture(gestures, event):
    """The first and last time of a packet tell where it belongs, and may be what is damaged."""
    file = gestures / "DvsGesture" / "user24_led.aedat"
    columns = [list(range(0, 7000, 10)), [5] * 700, [7] * 700, [1] * 700]
    raw = bytearray(writers.aedat3(*columns))
    file.with_name("user24_led_labels.csv").write_text("class,startTime_usec,endTime_usec\n3,3000,5500\n")
    packets, _ = index_packets("test", file, np.frombuffer(raw, np.uint8))
    place, number, _ = next(packet for packet in packets if time_at(raw, packet[0]) > 3100)
    at = place + event % number * 8 + 4
    raw[at : at + 4] = (2**30 if event == 0 else 5).to_bytes(4, "little")
    file.write_bytes(raw)
    with pytest.raises(DataFileError, match=r"time must not go backwards.*user24_led\.aedat"):
        DVSGesture(gestures, "test").events(0)


def test_a_gesture_of_a_file_that_has_changed_is_found_again(gestures):
    data = DVSGesture(gestures, "test")
    assert data.events(0)[0].size == 4
    file = gestures / "DvsGesture" / "user24_led.aedat"
    file.write_bytes(writers.aedat3([95, 96], [1, 2], [1, 2], [1, 0], lines=("!AER-DAT3.1", "longer" * 9)))
    os.utime(file, ns=(0, 0))
    np.testing.assert_allclose(data.events(0)[0], [5e-6, 6e-6])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("class,start,end\n", r"must have the columns class,startTime_usec,endTime_usec"),
        (
            "class,startTime_usec,endTime_usec\n12,0,5\n",
            r"got '12,0,5' in line 2 of .*user01_led_labels\.csv",
        ),
        ("class,startTime_usec,endTime_usec\n1,5,5\n", r"got '1,5,5' in line 2"),
        ("class,startTime_usec,endTime_usec\n1,0,5\n1,x,5\n", r"got '1,x,5' in line 3"),
    ],
)
def test_a_damaged_table_of_gestures_is_refused_by_line(gestures, text, message):
    (gestures / "DvsGesture" / "user01_led_labels.csv").write_text(text)
    with pytest.raises(DataFileError, match=message):
        DVSGesture(gestures)


def test_missing_gesture_files_are_named(gestures):
    (gestures / "DvsGesture" / "user02_fluorescent_led.aedat").unlink()
    with pytest.raises(FileNotFoundError, match=r"trials_to_train\.txt must exist, got no .*user02_fluor"):
        DVSGesture(gestures)
    with pytest.raises(FileNotFoundError, match=r"path must hold trials_to_test\.txt, got path=.*none"):
        DVSGesture(gestures / "none", "test")


def test_a_silent_gesture_is_refused(gestures):
    table = gestures / "DvsGesture" / "user24_led_labels.csv"
    table.write_text("class,startTime_usec,endTime_usec\n3,20000,30000\n")
    with pytest.raises(DataFileError, match=r"must have events, got none from 20000 us to 30000 us in"):
        DVSGesture(gestures, "test").events(0)


def test_single_digits_of_the_cochlea_have_classes_and_speakers(cochlea):
    data = NTIDIGITS18(cochlea)
    assert data.names == ("man-ae-a-1", "woman-ac-b-z")
    assert data.labels.tolist() == [1, 10]
    assert [data.class_names[label] for label in data.labels] == ["1", "z"]
    times, units = data.events(0)
    assert (times.tolist(), units.tolist(), units.dtype) == ([0.0, 0.5], [0, 63], np.int64)
    assert data.duration == 0.5
    test = NTIDIGITS18(cochlea, "test")
    assert test.duration == 0.75
    # A number is the same speaker in both parts.
    assert data.group_names == test.group_names == ("man-ae", "man-xx", "woman-ac")
    assert (data.groups.tolist(), test.groups.tolist()) == ([0, 2], [1])
    with h5py.File(cochlea, "r+") as file:
        del file["test_labels"]
    assert NTIDIGITS18(cochlea).group_names == ("man-ae", "woman-ac")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("timestamps", np.array([0.0]), r"as many times as addresses, got float64 \(1,\) and float64 \(2,\)"),
        ("timestamps", np.array([0.5, 0.25]), r"must not decrease, got 0\.25 after 0\.5 at event 1"),
        ("timestamps", np.array([0.0, -1.0]), r"times of man-ae-a-1 must be finite and not negative"),
        (
            "addresses",
            np.array([0.0, 64.0]),
            r"addresses of man-ae-a-1 must be in 0 \.\. 63, got 0\.0 to 64\.0",
        ),
        ("addresses", np.array([0.0, np.nan]), r"addresses of man-ae-a-1 must be in 0 \.\. 63"),
        ("addresses", None, r"train_addresses/man-ae-a-1 must be readable"),
    ],
)
def test_damaged_recordings_of_the_cochlea_are_refused_by_name(cochlea, key, value, message):
    with h5py.File(cochlea, "r+") as file:
        del file[f"train_{key}/man-ae-a-1"]
        if value is not None:
            file[f"train_{key}/man-ae-a-1"] = value
    with pytest.raises(DataFileError, match=rf"{message}.*n-tidigits\.hdf5"):
        NTIDIGITS18(cochlea).events(0)
    if "decrease" in message:
        assert NTIDIGITS18(cochlea, ordered=False).events(0)[0].tolist() == value.tolist()


def test_names_of_any_length_are_read_and_a_damaged_heap_of_them_is_refused(cochlea):
    """HDF5 itself would walk in place for ever."""
    with h5py.File(cochlea, "r+") as file:
        names = [name.decode() for name in file["train_labels"]]
        del file["train_labels"]
        file.create_dataset("train_labels", data=names, dtype=h5py.string_dtype())
    assert NTIDIGITS18(cochlea).names == ("man-ae-a-1", "woman-ac-b-z")
    raw = bytearray(cochlea.read_bytes())
    first = raw.index(b"GCOL") + 16
    raw[first : first + 16] = bytes(16)
    cochlea.write_bytes(raw)
    with pytest.raises(DataFileError, match=r"train_labels must be readable, got .*heap.*n-tidigits\.hdf5"):
        NTIDIGITS18(cochlea)


@pytest.mark.parametrize("kind", [h5py.vlen_dtype("f8"), np.dtype([("a", "f8")])])
def test_a_table_of_other_things_than_numbers_is_refused_before_it_is_read(cochlea, kind):
    def change(name):
        with h5py.File(cochlea, "r+") as file:
            del file[name]
            file.create_dataset(name, 2, kind)

    change("train_timestamps/man-ae-a-1")
    with pytest.raises(DataFileError, match=r"man-ae-a-1 must be readable, got .* in place of numbers"):
        NTIDIGITS18(cochlea).events(0)
    change("test_labels")
    # The train part's speakers are counted together with those of the other.
    for split in ("train", "test"):
        with pytest.raises(DataFileError, match=r"test_labels must be readable, got .* in place of a list"):
            NTIDIGITS18(cochlea, split)


def plain_crossings(readings, threshold):
    """Follow each taxel on a fine grid of times, with exact fractions of a step."""
    events = []
    for taxel in range(TAXELS):
        level = float(readings[0, taxel])
        for step in range(1, len(readings)):
            before, now = float(readings[step - 1, taxel]), float(readings[step, taxel])
            while abs(now - level) >= threshold:
                level += threshold if now > level else -threshold
                on = now > before
                events.append(((step - 1 + (level - before) / (now - before)) / 40, taxel + TAXELS * on))
    return sorted(events)


@pytest.mark.parametrize("threshold", [1.0, 7.0, 300.0])
def test_braille_events_are_level_crossings(letters, threshold):
    data = BrailleLetters(letters, threshold=threshold)
    assert data.class_names == ("Space", "A", "B")
    assert data.labels.tolist() == [2, 0, 1]
    assert data.duration == 3 / 40
    with np.load(letters) as tables:
        readings = tables["taxels"]
    for row, (start, stop) in enumerate([(0, 4), (4, 6), (6, 9)]):
        times, units = data.events(row)
        expected = plain_crossings(readings[start:stop], threshold)
        assert (len(times) > 20) is (threshold < 10)
        np.testing.assert_allclose(times, [t for t, _ in expected])
        # Events of one time may come in any order.
        order = np.lexsort((units, np.round(times, 12)))
        wanted = sorted((round(t, 12), unit) for t, unit in expected)
        assert units[order].tolist() == [unit for _, unit in wanted]


def test_a_damaged_file_of_letters_is_refused(letters, tmp_path):
    good = letters.read_bytes()
    for content in (good[:-30], good[:100] + b"\xff" * 400 + good[500:], b"PK nothing"):
        (tmp_path / "bad.npz").write_bytes(content)
        with pytest.raises(DataFileError, match=r"NumPy archive of taxels.*bad\.npz"):
            BrailleLetters(tmp_path / "bad.npz")
    np.savez(
        tmp_path / "short.npz", taxels=np.zeros((3, 12), "uint8"), length=[4], letter=["A"], repetition=[0]
    )
    with pytest.raises(DataFileError, match=r"tables must be uint8 readings of 12 taxels.*short\.npz"):
        BrailleLetters(tmp_path / "short.npz")
    with pytest.raises(ValueError, match=r"threshold must be positive and finite, got threshold=0"):
        BrailleLetters(letters, threshold=0)


@pytest.mark.shared
def test_the_real_letters_are_27_classes_of_50(shared):
    data = open_dataset(shared / "data" / "braille" / "braille_letters_taxels.npz")
    assert isinstance(data, BrailleLetters)
    assert len(data) == 1350
    assert data.class_names == ("Space", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    assert np.bincount(data.labels).tolist() == [50] * 27
    assert data.duration == 76 / 40
    assert min(len(data.events(row)[0]) for row in range(0, 1350, 27)) > 100
