import gzip
import multiprocessing
import os
import pickle
import time

import h5py
import numpy as np
import pytest

from snntrace.datasets import SpikeFile, SpikeStore, convert, unpacked
from snntrace.datasets.files import DataFileError

TIMES = [[0.0, 0.25, 1.3701171875], [], [0.5, 0.5]]
UNITS = [[3, 699, 0], [], [10, 11]]
LABELS = [1, 0, 2]
NAMES = ["zero", "one", "fünf"]


def write(
    path, times=TIMES, units=UNITS, labels=LABELS, names=NAMES, speakers=(4, 5, 4), time_type="float16"
):
    with h5py.File(path, "w") as file:
        for key, rows, kind in (("times", times, time_type), ("units", units, "uint16")):
            table = file.create_dataset(f"spikes/{key}", len(rows), h5py.vlen_dtype(kind))
            for i, row in enumerate(rows):
                table[i] = np.array(row, kind)
        file["labels"] = np.array(labels, "uint16")
        if speakers is not None:
            file["extra/speaker"] = np.array(speakers, "uint16")
        if names is not None:
            file["extra/keys"] = np.array([name.encode() for name in names])
    return path


def compress(path):
    packed = path.with_name(path.name + ".gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    return packed


@pytest.fixture
def path(tmp_path):
    return write(tmp_path / "small.h5")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("SNNTRACE_CACHE", str(folder))
    return folder


def test_a_written_file_is_read_back(path):
    with SpikeFile(path) as data:
        assert len(data) == 3
        assert data.labels.tolist() == LABELS
        assert data.labels.dtype == np.int64
        assert data.speakers.tolist() == [4, 5, 4]
        assert data.groups is data.speakers
        assert data.class_names == tuple(NAMES)
        assert data.n_units == 700
        for i in range(3):
            times, units = data.events(i)
            assert times.dtype == np.float64
            assert units.dtype == np.int64
            np.testing.assert_array_equal(times, np.array(TIMES[i], "float16"))
            np.testing.assert_array_equal(units, UNITS[i])
        assert data.durations.tolist() == [1.3701171875, 0.0, 0.5]
        assert data.duration == 1.3701171875
        assert "3 recordings, 700 units, 3 classes" in repr(data)


def test_half_precision_times_do_not_overflow_in_microseconds(path):
    raw = np.array(TIMES[0], "float16")
    with np.errstate(over="ignore"):
        assert np.isinf(raw * 1000 * 1000).any()
    with SpikeFile(path) as data:
        microseconds = data.events(0)[0] * 1e6
    np.testing.assert_array_equal(microseconds, [0.0, 250000.0, 1370117.1875])


def test_a_file_without_extra_names_its_classes_by_number(tmp_path):
    with SpikeFile(write(tmp_path / "bare.h5", names=None, speakers=None)) as data:
        assert data.class_names == ("0", "1", "2")
        assert data.speakers is None


def test_what_is_no_file_is_named_as_what_it_is(tmp_path):
    os.mkfifo(tmp_path / "pipe.h5")
    for path, what in ((tmp_path, "folder"), (tmp_path / "pipe.h5", "device")):
        with pytest.raises(DataFileError, match=rf"path must be a file, got the {what} path="):
            SpikeFile(path)


def test_labels_cannot_be_written_to(path):
    with SpikeFile(path) as data, pytest.raises(ValueError, match="read-only"):
        data.labels[0] = 9


def test_a_gzip_file_is_unpacked_once(path, cache):
    packed = compress(path)
    with SpikeFile(packed) as data:
        assert data.events(2)[1].tolist() == [10, 11]
    (kept,) = cache.iterdir()
    stamp = kept.stat().st_mtime_ns
    with SpikeFile(packed) as data:
        assert len(data) == 3
    assert [file.stat().st_mtime_ns for file in cache.iterdir()] == [stamp]


def test_a_gzip_file_in_a_folder_whose_name_is_of_another_encoding_is_unpacked(path, cache, tmp_path):
    folder = tmp_path / os.fsdecode(b"gr\xfcn")
    folder.mkdir()
    packed = folder / "a.h5.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    with SpikeFile(packed) as data:
        assert len(data.events(0)[0])


def test_a_gzip_file_that_changes_is_unpacked_again(tmp_path, cache):
    packed = compress(write(tmp_path / "a.h5"))
    first = unpacked(packed)
    compress(write(tmp_path / "a.h5", labels=[2, 2, 2]))
    os.utime(packed, ns=(time.time_ns(), time.time_ns() + 10**9))
    assert unpacked(packed) != first
    with SpikeFile(packed) as data:
        assert data.labels.tolist() == [2, 2, 2]


def test_the_cache_folder_can_be_given(path, cache, tmp_path):
    with SpikeFile(compress(path), cache_folder=tmp_path / "other"):
        pass
    assert not cache.exists()
    assert len(list((tmp_path / "other").iterdir())) == 1


@pytest.mark.parametrize("set_base", [True, False])
def test_the_default_cache_folder_is_the_users(path, monkeypatch, tmp_path, set_base):
    monkeypatch.delenv("SNNTRACE_CACHE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    if set_base:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "base"))
    else:
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    expected = tmp_path / "base" / "snntrace" if set_base else tmp_path / "home" / ".cache" / "snntrace"
    assert unpacked(compress(path)).parent == expected


def test_a_copy_by_pickle_opens_its_own_file(path):
    with SpikeFile(path) as data:
        copy = pickle.loads(pickle.dumps(data))
        assert copy.events(0)[1].tolist() == data.events(0)[1].tolist()
        copy.close()
        assert data.events(2)[1].tolist() == [10, 11]


def read_in_child(data, queue):
    queue.put((data._process == os.getpid(), data.events(0)[1].tolist(), data._process == os.getpid()))


@pytest.mark.filterwarnings("ignore:.*fork.*")
def test_a_copy_notices_that_the_file_has_changed(path):
    with SpikeFile(path) as data:
        copy = pickle.loads(pickle.dumps(data))
        write(path.with_name("other.h5"), times=TIMES[::-1], units=UNITS[::-1], labels=LABELS[::-1])
        os.utime(path.with_name("other.h5"), ns=(0, path.stat().st_mtime_ns + 1))
        path.with_name("other.h5").replace(path)
        assert data.events(0)[1].tolist() == UNITS[0]
        with pytest.raises(DataFileError, match="must be the one that was opened first, got a changed"):
            copy.events(0)


def test_a_forked_process_opens_the_file_again(path):
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    with SpikeFile(path) as data:
        child = context.Process(target=read_in_child, args=(data, queue))
        child.start()
        before, units, after = queue.get(timeout=60)
        child.join(timeout=60)
        assert child.exitcode == 0
        assert (before, units, after) == (False, UNITS[0], True)
        assert data.events(0)[1].tolist() == UNITS[0]


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"existing file, got path=.*nowhere\.h5\. Check the spelling"
    ):
        SpikeFile(tmp_path / "nowhere.h5")


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match="must be a file, got the folder"):
        SpikeFile(tmp_path)


@pytest.mark.parametrize("content", [b"time,unit\n0.1,3\n"])
def test_what_is_not_hdf5_is_refused(tmp_path, content):
    path = tmp_path / "odd.h5"
    path.write_bytes(content)
    with pytest.raises(
        ValueError, match=r"must be complete HDF5 .* got .*odd\.h5 .*Unzip \.zip archives first"
    ):
        SpikeFile(path)


def test_a_damaged_zip_file_is_refused(tmp_path):
    path = tmp_path / "odd.h5"
    path.write_bytes(b"PK\x03\x04zip")
    with pytest.raises(ValueError, match=r"an archive must be whole, got .*odd\.h5"):
        SpikeFile(path, cache_folder=tmp_path)


def test_a_truncated_hdf5_file_is_refused(path):
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(ValueError, match=r"must be complete HDF5 .*download a damaged file again"):
        SpikeFile(path)


def test_a_truncated_gzip_file_is_refused_and_leaves_nothing_behind(path, cache):
    packed = compress(path)
    packed.write_bytes(packed.read_bytes()[:-20])
    with pytest.raises(ValueError, match=r"an archive must be whole, got .*small\.h5\.gz"):
        SpikeFile(packed)
    assert list(cache.iterdir()) == []


def test_a_damaged_gzip_file_is_refused(path, cache):
    packed = compress(path)
    content = bytearray(packed.read_bytes())
    content[30:60] = bytes(30)
    packed.write_bytes(content)
    with pytest.raises(ValueError, match=r"an archive must be whole"):
        SpikeFile(packed)


def test_a_cache_that_cannot_be_written_says_what_to_set(path, tmp_path):
    (tmp_path / "taken").write_text("a file, not a folder")
    with pytest.raises(OSError, match="Set SNNTRACE_CACHE to another folder"):
        SpikeFile(compress(path), cache_folder=tmp_path / "taken")


@pytest.mark.parametrize("name", ["spikes/times", "spikes/units", "labels"])
def test_a_missing_table_is_named(path, name):
    with h5py.File(path, "a") as file:
        del file[name]
    with pytest.raises(ValueError, match=f"got no data set /{name}. Is it a file of SHD or SSC"):
        SpikeFile(path)


def test_a_missing_group_is_named(path):
    with h5py.File(path, "a") as file:
        del file["spikes"]
    with pytest.raises(ValueError, match="got no data set /spikes/times.*It holds: extra, labels"):
        SpikeFile(path)


def test_whole_number_times_are_refused(tmp_path):
    with pytest.raises(
        ValueError, match="/spikes/times of .* must be variable-length rows of floating-point seconds"
    ):
        SpikeFile(write(tmp_path / "ms.h5", time_type="uint16", times=[[1, 2, 3], [], [4, 5]]))


def test_a_dense_table_is_refused(path):
    with h5py.File(path, "a") as file:
        del file["spikes/units"]
        file["spikes/units"] = np.zeros((3, 5), "uint16")
    with pytest.raises(
        ValueError, match="/spikes/units of .* variable-length rows of integers, got dtype=uint16"
    ):
        SpikeFile(path)


def test_tables_of_unequal_length_are_refused(tmp_path):
    with pytest.raises(
        ValueError, match=r"one row a recording \(at least one\), got the shapes .*'labels': \(2,\)"
    ):
        SpikeFile(write(tmp_path / "short.h5", labels=[1, 0]))


def test_an_empty_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"at least one"):
        SpikeFile(write(tmp_path / "none.h5", times=[], units=[], labels=[], speakers=[], names=None))


def test_speakers_of_another_length_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"/extra/speaker of .* must be 3 integers, got shape=\(2,\)"):
        SpikeFile(write(tmp_path / "speakers.h5", speakers=[1, 2]))


def test_a_label_without_a_name_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"labels .* must be in 0 \.\. 2, .* got labels 0 \.\. 3"):
        SpikeFile(write(tmp_path / "labels.h5", labels=[1, 0, 3]))


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -0.5])
def test_an_impossible_time_is_refused_by_events_and_durations(tmp_path, wrong):
    with SpikeFile(write(tmp_path / "times.h5", times=[[0.25, wrong, 0.5], [], [0.5, 0.5]])) as data:
        data.events(2)
        with pytest.raises(
            ValueError, match=r"times of recording 0 of .*finite and not negative, got time=.* event 1"
        ):
            data.events(0)
        with pytest.raises(ValueError, match="finite and not negative"):
            _ = data.durations


def test_a_time_that_decreases_is_refused_and_kept_or_sorted_on_request(tmp_path):
    path = write(tmp_path / "late.h5", times=[[0.25, 0.5, 0.125], [], [0.5, 0.5]])
    message = r"recording 0 of .*late\.h5 must not decrease, got 0\.125 after 0\.5 at event 2.*--sort"
    with SpikeFile(path) as data:
        with pytest.raises(ValueError, match=message):
            data.events(0)
        with pytest.raises(ValueError, match=message):
            data.events_of([2, 0])
        assert data.events(2)[1].tolist() == [10, 11]
    with SpikeFile(path, ordered=False) as data:
        assert data.events(0)[0].tolist() == [0.25, 0.5, 0.125]
        store = SpikeStore(convert(data, tmp_path / "sorted", sort=True, allow_empty=True))
    assert [column.tolist() for column in store.events(0)] == [[0.125, 0.25, 0.5], [0, 3, 699]]


def test_a_unit_out_of_range_is_refused(path):
    with (
        SpikeFile(path, n_units=699) as data,
        pytest.raises(ValueError, match=r"in 0 \.\. 698, got unit=699"),
    ):
        data.events(0)


def test_unequal_numbers_of_times_and_units_are_refused(tmp_path):
    path = write(tmp_path / "odd.h5", units=[[3, 699], [], [10, 11]])
    with (
        SpikeFile(path) as data,
        pytest.raises(ValueError, match=r"recording 0 of .* got 3 times and 2 units"),
    ):
        data.events(0)


@pytest.mark.parametrize("index", [-1, 3])
def test_an_index_out_of_range_is_refused(path, index):
    with SpikeFile(path) as data, pytest.raises(IndexError, match=rf"in 0 \.\. 2 for .*, got index={index}"):
        data.events(index)


def test_an_index_that_is_no_integer_is_refused(path):
    with SpikeFile(path) as data, pytest.raises(TypeError):
        data.events(1.0)


def test_numbers_of_units_start_at_one(path):
    with pytest.raises(ValueError, match="n_units must be at least 1, got n_units=0"):
        SpikeFile(path, n_units=0)


def test_a_closed_file_says_so(path):
    data = SpikeFile(path)
    data.close()
    data.close()
    with pytest.raises(ValueError, match="must be open, got the closed"):
        data.events(0)


@pytest.mark.shared
@pytest.mark.slow
def test_the_spoken_digits_are_what_their_description_says(shared, cache):
    with SpikeFile(shared / "data" / "shd_regen" / "shd_regen_train.h5.gz") as data:
        assert len(data) == 8156
        assert sorted(set(data.speakers.tolist())) == [0, 1, 2, 3, 6, 7, 8, 9, 10, 11]
        assert len(data.class_names) == 20
        assert data.class_names[:2] == ("zero", "one")
        assert data.class_names[15] == "fünf"
        counts = np.bincount(data.labels, minlength=20)
        assert counts.min() > 0.9 * counts.mean()
        assert counts.max() < 1.1 * counts.mean()
        assert np.isfinite(data.durations).all()
        assert 1.3 < data.duration < 1.4
        for index in range(0, 8156, 500):
            times, units = data.events(index)
            assert times.max() == data.durations[index]
            assert 1000 < len(units) < 30000


@pytest.mark.shared
@pytest.mark.parametrize(("part", "size"), [("train", 400), ("valid", 200)])
def test_the_small_spoken_digits_are_balanced(shared, cache, part, size):
    with SpikeFile(shared / "data" / "shd_regen" / f"shd_regen_small_{part}.h5.gz") as data:
        assert np.bincount(data.labels).tolist() == [size // 20] * 20
        assert not {4, 5} & set(data.speakers.tolist())
        assert sum(len(data.events(i)[0]) for i in range(size)) > 5000 * size


def test_rows_of_other_lengths_are_refused_in_a_batch_though_there_are_as_many_in_all(tmp_path):
    path = write(tmp_path / "a.h5", times=[[0.0, 0.5], [], [0.25]], units=[[1], [], [2, 3]])
    with SpikeFile(path) as data:
        with pytest.raises(ValueError, match=r"recording 0 of .* as many times as units, got 2 times and 1"):
            data.events_of([1, 0, 2])
        with pytest.raises(ValueError, match="recording 2 of .* got 1 times and 2 units"):
            data.events_of([1, 2])


@pytest.mark.parametrize("time_type", ["float16", "float64"])
def test_a_negative_first_time_is_refused_wherever_it_is(tmp_path, time_type):
    path = write(
        tmp_path / "a.h5", times=[[0.5], [], [-0.25, 0.5]], units=[[1], [], [2, 3]], time_type=time_type
    )
    with SpikeFile(path) as data:
        for rows in ([2], [0, 2], [2, 1]):
            with pytest.raises(ValueError, match="times of recording 2 of .* not negative, got time=-0.25"):
                data.events_of(rows)
        with pytest.raises(ValueError, match="not negative"):
            data.events(2)


def test_a_file_that_ends_early_after_it_was_opened_is_refused_at_once_and_one_by_one(path):
    with SpikeFile(path) as data:
        assert len(data.events_of([0, 2])) == 2
        os.truncate(path, 600)
        with pytest.raises(DataFileError, match=r"must be readable, got the end of the file .* recording 0"):
            data.events_of([0, 2])
        with pytest.raises(DataFileError, match="must be readable, got the end of the file .* recording 2"):
            data.events(2)
        with pytest.raises(ValueError, match="the end of the file in row 0"):
            data._opened_columns()[0].several([1, 0])
