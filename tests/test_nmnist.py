import csv
import gzip
import pickle

import brainunit as u
import numpy as np
import pytest

from snntrace.datasets import NMNIST, batches, open_dataset
from snntrace.datasets.files import DataFileError, read_nmnist_bin


def coded(rows):
    """Write (x, y, p, t) as five bytes an event, one bit field after the other."""
    bits = "".join(f"{x:08b}{y:08b}{p:01b}{t:023b}" for x, y, p, t in rows)
    return bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8))


ROWS = [(3, 33, 1, 100), (0, 0, 0, 100), (33, 1, 0, 250_000)]


@pytest.fixture
def folder(tmp_path):
    for part, digit, name, rows in (
        ("Train", 7, "00016", ROWS), ("Train", 0, "00022", ROWS[:1]), ("Train", 0, "00002", ROWS[1:]),
        ("Test", 3, "00019", ROWS[:2]),
    ):  # fmt: skip
        place = tmp_path / part / str(digit)
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{name}.bin").write_bytes(coded(rows))
    (tmp_path / "Train" / "0" / "._00002.bin").write_bytes(b"left behind")
    (tmp_path / "Train" / "0" / "notes.txt").write_text("no recording")
    return tmp_path


@pytest.mark.parametrize("preload", [False, True])
def test_a_written_folder_is_read_back(folder, preload):
    data = NMNIST(folder, preload=preload)
    assert data.split == "train"
    assert data.labels.tolist() == [0, 0, 7]
    assert data.numbers.tolist() == [2, 22, 16]
    assert data.class_names == tuple("0123456789")
    assert data.lengths.tolist() == [2, 1, 3]
    assert data.durations.tolist() == pytest.approx([0.25, 1e-4, 0.25])
    assert data.duration == pytest.approx(0.25)
    times, units = data.events(2)
    np.testing.assert_allclose(times, [1e-4, 1e-4, 0.25], rtol=1e-15)
    assert units.tolist() == [(34 + 33) * 34 + 3, 0, 34 + 33]
    assert repr(data) == "NMNIST(train: 3 of 60000 recordings, 2312 units)"


def test_the_official_parts_are_kept_apart(folder):
    assert NMNIST(folder, "test").labels.tolist() == [3]
    assert NMNIST(folder / "Test").split == "test"
    assert NMNIST(folder / "Train").split == "train"
    with pytest.raises(ValueError, match=r"split must be the part that path is, got split='train'"):
        NMNIST(folder / "Test", "train")
    with pytest.raises(ValueError, match=r"split must be 'train' or 'test', got split='valid'"):
        NMNIST(folder, "valid")


def test_a_pickled_copy_reads_the_same(folder):
    data = NMNIST(folder)
    copy = pickle.loads(pickle.dumps(data))
    np.testing.assert_array_equal(copy.events(1)[1], data.events(1)[1])


def test_dense_batches_and_batches_of_events_hold_the_same(folder):
    data = open_dataset(folder)
    assert isinstance(data, NMNIST)
    dense, events = (
        next(iter(batches(data, range(3), 3, 50 * u.ms, shuffle=False, layout=layout)))
        for layout in ("dense", "events")
    )
    assert dense.x.shape == (6, 3, 2312)
    assert dense.x.sum() == 6
    assert dense.x[5, 2, 34 + 33] == 1
    np.testing.assert_array_equal(events.x.dense(), dense.x)
    np.testing.assert_array_equal(dense.labels, [0, 0, 7])


def test_a_path_that_is_no_nmnist_says_what_is_wrong(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"must be an existing folder, got path=.*none"):
        NMNIST(tmp_path / "none")
    with pytest.raises(ValueError, match=r"must be a folder, got the file path="):
        NMNIST(tmp_path / "Train" / "7" / "00016.bin")
    with pytest.raises(FileNotFoundError, match=r"got no folder Train in path=.*unzip Train.zip"):
        NMNIST(tmp_path / "Train" / "7")
    empty = tmp_path / "empty" / "Train" / "0"
    empty.mkdir(parents=True)
    with pytest.raises(ValueError, match=r"got no \.bin file in the folders 0 to 9 of path=.*Train"):
        NMNIST(tmp_path / "empty")


@pytest.mark.parametrize("preload", [False, True])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"must not be empty, got 0 bytes"),
        (coded(ROWS)[:-2], r"each event must have 5 bytes, got 3 bytes of a last one at byte 10 of"),
        (coded([*ROWS, (34, 0, 0, 250_000)]), r"34 x 34 sensor, got x=34 and y=0 at byte 15 of"),
        (coded([*ROWS, (0, 35, 0, 250_000)]), r"34 x 34 sensor, got x=0 and y=35 at byte 15 of"),
        (coded([*ROWS, (0, 0, 0, 249_999)]), r"not go backwards, got the time 249999 us .* at byte 15 of"),
    ],
)
def test_a_damaged_recording_is_refused_by_name_and_place(folder, content, message, preload):
    file = folder / "Train" / "7" / "00016.bin"
    file.write_bytes(content)
    with pytest.raises(DataFileError, match=message) as caught:
        NMNIST(folder, preload=preload).events(2)
    assert str(file) in str(caught.value)


def test_time_that_goes_backwards_is_kept_on_request(folder):
    (folder / "Train" / "7" / "00016.bin").write_bytes(coded(ROWS[::-1]))
    times, _ = NMNIST(folder, ordered=False).events(2)
    np.testing.assert_allclose(times, [0.25, 1e-4, 1e-4])


def test_a_marker_in_row_240_is_no_event_and_moves_later_times(folder):
    file = folder / "Train" / "7" / "00016.bin"
    file.write_bytes(coded([ROWS[0], (0, 240, 0, 8000), (1, 2, 1, 10), (0, 240, 0, 8000), (1, 2, 1, 11)]))
    events = read_nmnist_bin(file)
    assert events.t.tolist() == [100, 10 + 2**13, 11 + 2**14]
    times, units = NMNIST(folder).events(2)
    np.testing.assert_allclose(times, np.array([100, 10 + 2**13, 11 + 2**14]) * 1e-6)
    assert units.tolist() == [(34 + 33) * 34 + 3, (34 + 2) * 34 + 1, (34 + 2) * 34 + 1]


def test_there_is_no_recording_beyond_the_last(folder):
    for index in (-1, 3):
        with pytest.raises(IndexError, match=rf"must be in 0 \.\. 2, got index={index}"):
            NMNIST(folder).events(index)


@pytest.mark.shared
def test_the_real_recordings_have_the_labels_and_counts_of_their_manifest(shared):
    root = shared / "data" / "nmnist"
    with (root / "MANIFEST.csv").open() as file:
        expected = {row["path"]: row for row in csv.DictReader(file)}
    data = NMNIST(root)
    assert len(data) == len(expected) == 1338
    for label, number, n in zip(data.labels, data.numbers, data.lengths, strict=True):
        row = expected.pop(f"Train/{label}/{number:05d}.bin")
        assert (int(row["label"]), int(row["events"])) == (label, n)
    assert not expected
    assert data.lengths.sum() == 4_950_207
    assert data.duration == pytest.approx(0.315109)
    # MNIST says what digit each picture is.
    raw = gzip.decompress((shared / "data" / "mnist" / "train-labels-idx1-ubyte.gz").read_bytes())
    mnist = np.frombuffer(raw, np.uint8, offset=8)
    np.testing.assert_array_equal(data.labels, mnist[data.numbers - 1])


@pytest.mark.shared
def test_real_recordings_equal_a_plain_decoding(shared):
    data = NMNIST(shared / "data" / "nmnist")
    for row in range(0, len(data), 101):
        file = data.path / str(data.labels[row]) / f"{data.numbers[row]:05d}.bin"
        raw = np.frombuffer(file.read_bytes(), np.uint8).reshape(-1, 5).astype(np.int64)
        time = ((raw[:, 2] & 127) << 16) + (raw[:, 3] << 8) + raw[:, 4]
        times, units = data.events(row)
        np.testing.assert_allclose(times, time / 1e6, rtol=1e-15)
        np.testing.assert_array_equal(units, ((raw[:, 2] >> 7) * 34 + raw[:, 1]) * 34 + raw[:, 0])
        events = read_nmnist_bin(file)
        np.testing.assert_array_equal(events.t, time)
        np.testing.assert_array_equal(events.units(), units)
        assert events.is_sorted
        assert 0.3 < events.p.mean() < 0.7
