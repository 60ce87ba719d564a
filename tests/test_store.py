import errno
import os
import pickle
import subprocess
import sys
import threading
import time
import tracemalloc
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snntrace.datasets import (
    NMNIST,
    SaccadeDigits,
    SpikeFile,
    SpikeStore,
    StoreInfo,
    StoreWriter,
    by_group,
    convert,
    export_shd,
    hold_out,
    open_dataset,
    scattered,
    store_file,
    vlen_rows,
)
from snntrace.datasets.files import DataFileError, contents
from snntrace.datasets.scattered import read_places
from snntrace.datasets.store_layout import encode_times
from snntrace.datasets.store_packing import pack

INFO = StoreInfo(700, ("zero", "one", "fünf"), (10, 35), "speaker", "by hand", "CC0", "none")


def some(n=12, seed=0):
    """Recordings of 1 to 900 events, so that some fill their groups and lanes and others do not."""
    rng = np.random.default_rng(seed)
    sizes = rng.choice([1, 3, 100, 256, 900], n)
    return [(np.sort(rng.uniform(0, 1.3, size)), rng.integers(0, 700, size)) for size in sizes]


def write(path, recordings=None, labels=None, groups=None, splits=None, **options):
    recordings = some() if recordings is None else recordings
    with StoreWriter(path, INFO, **options) as writer:
        for i, (times, units) in enumerate(recordings):
            writer.append(
                times, units, i % 3 if labels is None else labels[i],
                group=groups and groups[i], split=splits and splits[i],
            )  # fmt: skip
    return path


@pytest.fixture
def path(tmp_path):
    return write(tmp_path / "made.spikes")


def test_what_is_written_is_read_back(tmp_path):
    expected = some(40)
    with SpikeStore(write(tmp_path / "a", expected)) as store:
        assert len(store) == 40
        assert store.info == INFO
        assert store.class_names == INFO.class_names
        assert store.labels.tolist() == [i % 3 for i in range(40)]
        assert store.groups is None
        assert store.lengths.tolist() == [len(units) for _, units in expected]
        assert store.durations.tolist() == [times[-1] for times, _ in expected]
        order = np.random.default_rng(1).permutation(40)
        for found, row in zip(store.events_of(order), order, strict=True):
            for one, two, three in zip(found, store.events(row), expected[row], strict=True):
                np.testing.assert_array_equal(one, three)
                np.testing.assert_array_equal(two, three)
            assert (found[0].dtype, found[1].dtype) == (np.float64, np.int64)
        store.check()


times = st.lists(st.floats(0, 4000, width=16) | st.floats(0, 1e300), min_size=1, max_size=600).map(sorted)


@given(st.lists(times, min_size=1, max_size=4))
def test_any_times_come_back_as_they_are(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("any") / "a"
    write(path, [(np.array(row), np.arange(len(row))) for row in rows])
    store = SpikeStore(path)
    for i, row in enumerate(rows):
        assert store.events(i)[0].tolist() == row
        assert store.events(i)[1].tolist() == list(range(len(row)))


@pytest.mark.parametrize(
    ("times", "kind"),
    [
        ([0.5, 1.3701171875], "float16"),
        ([12 * 1e-6, 300_000 * 1e-6], "us"),
        ([float(np.float32(0.1))], "float32"),
        ([0.1 + 1e-12], "float64"),
        ([5000.000001], "float64"),
    ],
)
def test_a_conversion_takes_the_smallest_type_that_keeps_the_times(tmp_path, times, kind):
    class One:
        n_units, class_names, groups, labels = 3, ("a",), None, np.zeros(1, np.int64)

        def __len__(self):
            return 1

        def events(self, index):
            return np.array(times), np.zeros(len(times), np.int64)

    store = SpikeStore(convert(One(), tmp_path / "a"))
    assert store.time_type == kind
    assert store.events(0)[0].tolist() == times


def test_a_time_that_needs_a_wider_type_late_in_a_data_set_is_kept(tmp_path):
    class Late:
        n_units, class_names, groups, labels = 3, ("a",), None, np.zeros(100, np.int64)

        def __len__(self):
            return 100

        def events(self, index):
            return np.array([0.1 + 1e-13 if index == 52 else 0.5]), np.array([2])

    store = SpikeStore(convert(Late(), tmp_path / "a"))
    assert store.time_type == "float64"
    assert store.events(52)[0][0] == 0.1 + 1e-13
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


def test_stored_microseconds_give_back_the_very_same_floats():
    ticks = np.arange(0, 1 << 22, 7, dtype=np.float64)
    np.testing.assert_array_equal(encode_times(ticks * 1e-6, "us"), ticks.astype(np.uint32))
    assert encode_times(np.array([4294.967296]), "us") is None
    assert encode_times(np.array([70000.0]), "float16") is None


def test_a_store_is_recognised_whatever_its_name(path):
    assert isinstance(open_dataset(path), SpikeStore)
    assert isinstance(open_dataset(path, "store"), SpikeStore)


def unpacked(file, i):
    """Return a recording by the description of the format, bit by bit."""
    n = int(np.diff(file["recordings/pointers"][i : i + 2])[0])
    words = file["events"][slice(*file["recordings/places"][i : i + 2])]
    groups = -(-n // 256)
    start = -(-groups // 4)
    numbers, place = [], start + 1
    for k, width in enumerate(words.view("u1")[: 2 * groups].tolist()):
        size = min(256, n - k % groups * 256)
        rows = -(-(-(-size // 4) * width) // 64)
        lanes = words[place : place + 4 * rows].reshape(rows, 4).tolist()
        # Python's integers, which have any number of bits.
        lane = [sum(row[j] << 64 * i for i, row in enumerate(lanes)) for j in range(4)]
        numbers += [lane[i % 4] >> i // 4 * width & (1 << width) - 1 for i in range(size)]
        place += 4 * rows
    assert place == words.size
    return int(words[start]) + np.cumsum(np.array(numbers[:n], "u8")), numbers[n:]


@pytest.mark.parametrize(
    ("kind", "dtype", "seconds"),
    [("float16", "<f2", 1), ("us", "<u4", 1e-6), ("float32", "<f4", 1), ("float64", "<f8", 1)],
)
def test_other_programs_read_the_file_by_its_description(tmp_path, kind, dtype, seconds):
    wanted = [
        (np.sort(np.rint(times * 1e6) if kind == "us" else times).astype(dtype), units)
        for times, units in some()
    ]
    path = write(
        tmp_path / "a", [(times * np.float64(seconds), units) for times, units in wanted], time_type=kind
    )
    store = SpikeStore(path)
    with h5py.File(path) as file:
        assert file["events"].attrs["times"] == kind.encode()
        assert b"by hand" in file["metadata"][()]
        for i, (times, units) in enumerate(wanted):
            bits, found = unpacked(file, i)
            np.testing.assert_array_equal(bits.astype(f"u{times.itemsize}").view(dtype), times)
            np.testing.assert_array_equal(found, units)
            np.testing.assert_array_equal(store.events(i)[0], times * np.float64(seconds))


def test_the_embedded_digits_convert_and_come_back(tmp_path):
    digits = SaccadeDigits()
    store = SpikeStore(convert(digits, tmp_path / "d"))
    np.testing.assert_array_equal(store.labels, digits.labels)
    for row in range(0, 1797, 150):
        for one, two in zip(store.events(row), digits.events(row), strict=True):
            np.testing.assert_array_equal(one, two)


def test_official_parts_are_kept_apart_and_training_is_the_default(tmp_path):
    path = write(tmp_path / "a", groups=list(range(12)), splits=["train", "train", "test"] * 4)
    train, test = SpikeStore(path), SpikeStore(path, "test")
    assert (train.split, test.split, train.splits) == ("train", "test", ("train", "test"))
    assert (len(train), len(test)) == (8, 4)
    assert test.groups.tolist() == [2, 5, 8, 11]
    np.testing.assert_array_equal(test.events(1)[1], some()[5][1])
    with pytest.raises(ValueError, match=r"split must be one of \('train', 'test'\).*got split='valid'"):
        SpikeStore(path, "valid")


def test_a_file_without_parts_has_none_to_choose(path):
    with pytest.raises(ValueError, match="got split='train'. Leave it out"):
        SpikeStore(path, "train")


def test_recordings_can_be_added(tmp_path):
    expected = some(30)
    whole = write(tmp_path / "whole", expected)
    part = write(tmp_path / "part", expected[:17])
    before = part.read_bytes()
    with StoreWriter.extending(part) as writer:
        for i in range(17, 30):
            writer.append(*expected[i], i % 3)
        assert part.read_bytes() == before
    one, two = SpikeStore(whole), SpikeStore(part)
    assert one.labels.tolist() == two.labels.tolist()
    for found, wanted in zip(two.events_of(range(30)), one.events_of(range(30)), strict=True):
        np.testing.assert_array_equal(found[0], wanted[0])
        np.testing.assert_array_equal(found[1], wanted[1])


def test_of_two_that_add_recordings_at_once_the_second_is_refused_and_no_recording_lost(path):
    one, two = StoreWriter.extending(path), StoreWriter.extending(path)
    for writer, time_ in ((one, 0.25), (two, 0.5)):
        writer.append([time_], [1], 0)
    one.finish()
    with pytest.raises(ValueError, match=r"must not change while recordings are added to it, .*made\.spikes"):
        two.finish()
    store = SpikeStore(path)
    assert (len(store), store.events(12)[0].tolist()) == (13, [0.25])
    assert [entry.name for entry in path.parent.iterdir()] == ["made.spikes"]


def test_a_store_that_is_gone_when_recordings_were_added_is_not_made_again(path):
    writer = StoreWriter.extending(path)
    path.unlink()
    with pytest.raises(ValueError, match="must not change while recordings are added"):
        writer.finish()
    assert list(path.parent.iterdir()) == []


def test_a_file_is_not_there_until_it_is_complete(tmp_path):
    writer = StoreWriter(tmp_path / "a", INFO)
    writer.append([0.1], [1], 0)
    (temporary,) = tmp_path.iterdir()
    assert temporary.name.startswith(".a-")
    assert temporary.suffix == ".part"
    writer.finish()
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


def test_an_error_while_writing_leaves_nothing_behind(tmp_path):
    def broken():
        with StoreWriter(tmp_path / "a", INFO) as writer:
            writer.append([0.1], [1], 0)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        broken()
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_writer_leaves_is_no_store(tmp_path):
    writer = StoreWriter(tmp_path / "a", INFO)
    for times, units in some():
        writer.append(times, units, 0)
    writer._events.flush()
    (half,) = tmp_path.iterdir()
    copy = tmp_path / "half"
    copy.write_bytes(half.read_bytes())
    writer.abort()
    with pytest.raises((ValueError, OSError), match=r"^SpikeStore: .*half"):
        SpikeStore(copy)


def test_an_existing_file_is_replaced_only_on_request(path):
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match="must not exist, got path="):
        StoreWriter(path, INFO)
    assert path.read_bytes() == before
    assert len(SpikeStore(write(path, some(3), overwrite=True))) == 3


FULL = """
import resource, signal, sys
import numpy as np
from snntrace.datasets import StoreInfo, StoreWriter
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
rng = np.random.default_rng(0)
for room in map(int, sys.argv[2:]):
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
    try:
        with StoreWriter(sys.argv[1], StoreInfo(700, ("a",))) as writer:
            for _ in range(100):
                writer.append(np.sort(rng.uniform(0, 1, 2000)), rng.integers(0, 700, 2000), 0)
    except OSError as error:
        print(error)
"""


def test_a_full_disk_is_an_error_and_leaves_nothing_behind(tmp_path):
    command = [sys.executable, "-c", FULL, str(tmp_path / "a"), "100", "3000", "200000", "1300000"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("a must be on a disk that has room") == 4
    assert list(tmp_path.iterdir()) == []


def test_a_copy_by_pickle_opens_the_file_again(path):
    store = SpikeStore(path)
    copy = pickle.loads(pickle.dumps(store))
    store.close()
    np.testing.assert_array_equal(copy.events(3)[1], some()[3][1])


def test_a_copy_notices_that_the_file_has_changed(path):
    copy = pickle.dumps(SpikeStore(path))
    write(path, some(3), overwrite=True)
    with pytest.raises(DataFileError, match="must be the one that was opened first, got a changed file"):
        pickle.loads(copy).events(0)


def test_several_processes_read_one_store(path):
    script = Path(__file__).with_name("store_processes.py")
    command = [sys.executable, "-X", "faulthandler", str(script), str(path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 0, ended.stderr
    n = sum(len(units) for _, units in some())
    assert ended.stdout.splitlines() == [f"fork {n}", f"spawn {n}"]


def large(path):
    """Write 2,000 recordings of 500 events."""
    rng = np.random.default_rng(0)
    rows = [(np.sort(rng.uniform(0, 1, 500)), rng.integers(0, 700, 500)) for _ in range(2000)]
    return write(path, rows)


def test_a_batch_is_read_without_reading_the_rest(tmp_path, monkeypatch):
    path = large(tmp_path / "a")
    store, amounts = SpikeStore(path), []

    def counted(handle, places, starts, found):
        amounts.extend(np.diff(starts).tolist())
        return read_places(handle, places, starts, found)

    monkeypatch.setattr(store_file, "read_places", counted)
    rows = np.random.default_rng(1).choice(2000, 16, replace=False)
    assert sum(len(units) for _, units in store.events_of(rows)) == 16 * 500
    assert len(amounts) == 16
    assert sum(amounts) < 17 / 2000 * path.stat().st_size


def test_reading_all_of_a_store_takes_the_memory_of_one_batch(tmp_path):
    path = large(tmp_path / "a")
    SpikeStore(path).events(0)
    tracemalloc.start()
    try:
        with SpikeStore(path) as store:
            opened = tracemalloc.get_traced_memory()[0]
            for start in range(0, 2000, 20):
                store.events_of(range(start, start + 20))
            _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # Labels, ends and pointers twice over, and each recording's place and checksum; the events are 16 MB.
    assert opened < 600_000
    assert peak - opened < 4 * 20 * 500 * 16


def test_several_threads_read_one_store(path):
    store, expected, wrong = SpikeStore(path), some(), []

    def read(seed):
        for row in np.random.default_rng(seed).integers(0, 12, 300):
            if not np.array_equal(store.events(row)[1], expected[row][1]):
                wrong.append(row)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_copy_that_threads_open_at_once_holds_one_handle(path, monkeypatch):
    copy, opened, real = pickle.loads(pickle.dumps(SpikeStore(path))), [], os.open

    def slow(*arguments, **options):
        opened.append(real(*arguments, **options))
        time.sleep(0.05)
        return opened[-1]

    monkeypatch.setattr(os, "open", slow)
    threads = [threading.Thread(target=copy.events, args=(row,)) for row in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(opened) == 1


def short(monkeypatch, most):
    """Have the system read a few bytes a call, as it does with 2 GiB; return where it was asked to."""
    asked, read = [], os.pread

    def some_of_it(handle, size, place):
        asked.append((size, place))
        return read(handle, min(size, most), place)

    monkeypatch.setattr(os, "pread", some_of_it)
    return asked


def test_a_recording_is_read_in_as_many_calls_as_it_takes(path, monkeypatch):
    asked = short(monkeypatch, 1000)
    monkeypatch.setattr(scattered, "AT_ONCE", False)
    monkeypatch.setattr(contents, "PIECE", 3000)
    store = SpikeStore(path)
    for row, (times, units) in enumerate(some()):
        np.testing.assert_array_equal(store.events(row)[0], times)
        np.testing.assert_array_equal(store.events(row)[1], units)
    assert max(size for size, _ in asked) == 3000
    assert len(asked) > 24


@pytest.mark.parametrize("at_once", [True, False])
def test_a_recording_that_ends_early_is_refused_at_every_read(path, monkeypatch, at_once):
    monkeypatch.setattr(scattered, "AT_ONCE", at_once)
    store = SpikeStore(path)
    store.events(3)
    os.truncate(path, store._file._start + 8)
    for row in (3, 4):
        with pytest.raises(DataFileError, match=rf"be whole, got the end .* \(recording {row}\)"):
            store.events_of([row, 2, 3])


def test_only_what_has_events_is_read_ahead(tmp_path, monkeypatch):
    rows = [([0.5], [3]), ([], []), ([0.25], [4]), ([], [])]
    store, asked = SpikeStore(write(tmp_path / "a", rows, allow_empty=True)), []
    monkeypatch.setattr(store_file, "expect", lambda handle, start, size: asked.append(size))
    store.events_of([0, 1, 2, 3])
    assert len(asked) == 2
    assert min(asked) > 0


def test_the_program_in_the_description_reads_recordings_with_and_without_events(root, tmp_path):
    page = (root / "docs" / "store.md").read_text()
    program = page[page.index("def recording(file, i)") :].split("\n\n\n")[0]
    names = {"np": np}
    exec(compile(program, "store.md", "exec"), names)
    rows = [*some(3), ([], [])]
    with h5py.File(write(tmp_path / "a", rows, allow_empty=True)) as file:
        for row, (times, units) in enumerate(rows):
            found = names["recording"](file, row)
            np.testing.assert_array_equal(found[0], times)
            np.testing.assert_array_equal(found[1], units)


def test_a_small_file_does_not_fill_the_memory(path, tmp_path):
    """Events of one time and of unit 0 take no bits but those of their group's width."""

    def many(file, n=5_000_000):
        repacked(lambda times, units: (np.zeros(n, times.dtype), np.zeros(n, units.dtype)))(file)
        pointers = file["recordings/pointers"]
        pointers[1:] = pointers[1:] + n - pointers[1]
        mend(file, "recordings/pointers")

    edit(path, many)
    with pytest.raises(DataFileError, match=r"bytes can hold, got 5000000 events at .*pointers\[0\]"):
        SpikeStore(path)
    # One unit that spikes in every microsecond is the most that is not refused.
    info = StoreInfo(n_units=1, class_names=("a",))
    with StoreWriter(tmp_path / "one", info, time_type="us") as writer:
        writer.append(1e-6 * np.arange(6_000_000), np.zeros(6_000_000, int), 0)
    assert (tmp_path / "one").stat().st_size < 16 * 6_000_000 / 110
    assert len(SpikeStore(tmp_path / "one").events(0)[0]) == 6_000_000


@pytest.mark.parametrize("kind", ["store", "shd"])
def test_a_read_under_way_is_of_its_own_file_though_it_is_closed(path, tmp_path, monkeypatch, kind):
    other = write(tmp_path / "other", [(times, 699 - units) for times, units in some()])
    paths = [path, other]
    if kind == "shd":
        paths = [export_shd(SpikeStore(p), tmp_path / f"{p.name}.h5") for p in paths]
    opens, module = {"store": (SpikeStore, store_file), "shd": (SpikeFile, vlen_rows)}[kind]
    data, opened = opens(paths[0]), []

    def closing(*arguments):
        data.close()
        opened.append(opens(paths[1]))
        return read_places(*arguments)

    monkeypatch.setattr(module, "read_places", closing)
    for (_, units), (_, wanted) in zip(data.events_of([3, 5]), [some()[3], some()[5]], strict=True):
        np.testing.assert_array_equal(units, wanted)
    assert opened
    with pytest.raises(ValueError, match="must be open, got the closed"):
        data.events(3)


def test_a_test_part_stays_one_and_is_not_divided(tmp_path):
    for split in ("train", "test"):
        data = open_dataset("randman", split=split, n_per_class=2)
        store = SpikeStore(convert(data, tmp_path / split))
        assert (store.split, store.splits) == (split, (split,))
    with pytest.raises(ValueError, match="test"):
        hold_out(store, 0.5, seed=0)


def people(folder, *names):
    """Make a folder of recordings of some people."""
    (folder / "a").mkdir(parents=True)
    for k in range(len(names)):
        (folder / "a" / f"{k}.bin").write_bytes(bytes([3, 33, 0x80, 1, k]))
    lines = [f"a/{k}.bin,{'ab'[k % 2]},{name}" for k, name in enumerate(names)]
    (folder / "labels.csv").write_text("\n".join(["file,label,subject", *lines]))
    return open_dataset(folder)


def test_a_store_knows_people_by_name_and_never_takes_one_for_another(tmp_path):
    one, two = people(tmp_path / "A", "anna", "bob"), people(tmp_path / "B", "bob", "zoe")
    store = SpikeStore(convert(one, tmp_path / "s"))
    assert store.group_names == ("anna", "bob")
    assert by_group(store, ["bob"])[1].tolist() == [1]
    for parts in ({"train": one, "test": two}, {"train": two, "test": one}):
        with pytest.raises(ValueError, match="must number their groups alike"):
            convert(parts, tmp_path / "t")
    same = people(tmp_path / "C", "bob", "anna")
    both = SpikeStore(convert({"train": one, "valid": same}, tmp_path / "t"), "valid")
    assert both.groups.tolist() == [1, 0]
    again = SpikeStore(convert(both, tmp_path / "u"))
    assert (again.group_names, again.split) == (("anna", "bob"), "valid")


def test_more_classes_than_the_layout_of_shd_has_are_not_exported(tmp_path):
    info = StoreInfo(3, tuple(map(str, range(66_000))))
    with StoreWriter(tmp_path / "a", info) as writer:
        writer.append([0.5], [1], 65_999)
    with pytest.raises(ValueError, match="at most 65536 classes, got 66000"):
        export_shd(SpikeStore(tmp_path / "a"), tmp_path / "b.h5")


def test_numbers_of_numpy_are_numbers_and_a_path_in_other_letters_is_kept(tmp_path):
    info = StoreInfo(np.int64(5), ("a",), (np.int32(4), 1), source="caf\udce9.h5")
    with StoreWriter(tmp_path / "a", info) as writer:
        writer.append([0.5], [1], np.int8(0), group=np.int64(7))
    store = SpikeStore(tmp_path / "a")
    assert (store.n_units, store.info.sensor, store.groups.tolist()) == (5, (4, 1), [7])
    assert store.info.source == r"caf\udce9.h5"


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"split": 1}, ValueError, "split must be a name, got split=1"),
        ({"split": ""}, ValueError, "split must be a name, got split=''"),
        ({"group": "alice"}, TypeError, "integer"),
        ({"group": 1.5}, TypeError, "integer"),
        ({"group": 1 << 70}, ValueError, "group must be a number of 64 bits"),
        ({"label": 0.7}, TypeError, "integer"),
    ],
)
def test_what_a_recording_cannot_be_is_refused_when_it_is_added(tmp_path, options, error, message):
    with StoreWriter(tmp_path / "a", INFO) as writer:
        with pytest.raises(error, match=message):
            writer.append([0.5], [1], **{"label": 0} | options)
        writer.append([0.5], [1], 0)
    assert len(SpikeStore(tmp_path / "a")) == 1
    for wrong in ({"source": None}, {"n_units": 5.7}):
        with pytest.raises(TypeError, match=r"must be a text|integer"):
            StoreInfo(**{"n_units": 3, "class_names": ("a",)} | wrong)


def test_a_closed_store_says_so(path):
    store = SpikeStore(path)
    store.close()
    store.close()
    with pytest.raises(ValueError, match="must be open, got the closed"):
        store.events(0)


def test_an_object_that_goes_closes_its_file(path):
    before = len(os.listdir("/dev/fd"))
    for _ in range(50):
        SpikeStore(path).events(0)
    assert len(os.listdir("/dev/fd")) <= before + 1


@pytest.mark.parametrize("index", [-1, 12])
def test_an_index_out_of_range_is_refused(path, index):
    with pytest.raises(IndexError, match=rf"in 0 \.\. 11 for .*, got index={index}"):
        SpikeStore(path).events(index)


@pytest.mark.parametrize(
    ("times", "units", "label", "message"),
    [
        ([0.1, np.nan], [1, 2], 0, "must be finite and not negative, got time=nan at event 1 of recording 1"),
        ([np.inf], [1], 0, "must be finite and not negative, got time=inf at event 0"),
        ([-0.1], [1], 0, "must be finite and not negative"),
        ([0.2, 0.1], [1, 2], 0, r"must not decrease, got 0\.1 s after 0\.2 s at event 1 .*give sort=True"),
        ([0.1], [700], 0, r"units must be in 0 \.\. 699, got unit=700 at event 0"),
        ([0.1], [-1], 0, "got unit=-1"),
        ([0.1], [1], 3, r"label must be in 0 \.\. 2, got label=3"),
        ([0.1, 0.2], [1], 0, "lists of one length"),
        ([], [], 0, "recordings must have events, got none of recording 1 .*give allow_empty=True"),
    ],
)
def test_a_recording_that_cannot_be_is_refused(tmp_path, times, units, label, message):
    with StoreWriter(tmp_path / "a", INFO) as writer:
        writer.append([0.5], [1], 1)
        with pytest.raises(ValueError, match=message):
            writer.append(times, units, label)
        with pytest.raises(TypeError, match="units must be integers, got dtype=float64"):
            writer.append([0.1], [1.5], 0)
        writer.append([0.75], [2], 2)
    assert SpikeStore(tmp_path / "a").labels.tolist() == [1, 2]


def test_groups_and_parts_are_for_all_recordings_or_none(tmp_path):
    with StoreWriter(tmp_path / "a", INFO) as writer:
        writer.append([0.5], [1], 1, group=4)
        with pytest.raises(ValueError, match="groups must be given for all recordings or for none"):
            writer.append([0.5], [1], 1)
        with pytest.raises(ValueError, match="splits must be given for all recordings or for none"):
            writer.append([0.5], [1], 1, group=5, split="train")


def test_more_parts_than_a_byte_counts_are_refused_and_leave_nothing(tmp_path):
    n = 257
    with pytest.raises(ValueError, match=r"at most 256 parts, got 257 for .*a\. Give"):
        write(tmp_path / "a", [([0.1], [1])] * n, splits=[str(i) for i in range(n)])
    assert list(tmp_path.iterdir()) == []
    whole = write(tmp_path / "b", [([0.1], [1])] * 256, splits=[str(i) for i in range(256)])
    assert len(SpikeStore(whole, "255")) == 1


def test_a_writer_sorts_and_keeps_silence_on_request(tmp_path):
    with StoreWriter(tmp_path / "a", INFO, sort=True, allow_empty=True) as writer:
        writer.append([], [], 0)
        writer.append([0.5, 0.25, 0.5], [1, 2, 3], 0)
        writer.append([], [], 1)
    store = SpikeStore(tmp_path / "a")
    assert [store.events(i)[0].tolist() for i in range(3)] == [[], [0.25, 0.5, 0.5], []]
    assert store.events(1)[1].tolist() == [2, 1, 3]


def test_a_time_that_would_be_changed_is_refused(tmp_path):
    with StoreWriter(tmp_path / "a", INFO, time_type="float16") as writer:
        with pytest.raises(ValueError, match="storable as float16 without a change"):
            writer.append([0.1], [0], 0)
        writer.append([0.5], [0], 0)


def test_a_time_that_does_not_go_into_an_existing_store_says_what_can_be_done(tmp_path):
    path = write(tmp_path / "a", [([0.5], [0])], time_type="float16")
    with (
        pytest.raises(ValueError, match=r"storable as float16 .*type: write all recordings to a new"),
        StoreWriter.extending(path) as writer,
    ):
        writer.append([0.1], [0], 0)


def test_an_empty_store_is_refused(tmp_path):
    with pytest.raises(ValueError, match="at least one recording"), StoreWriter(tmp_path / "a", INFO):
        pass
    assert list(tmp_path.iterdir()) == []


# Damage that is done through HDF5, so that its own checksums stay right.


def edit(path, change):
    with h5py.File(path, "a") as file:
        change(file)


def mend(file, *names):
    """Give tables the checksums of what they hold."""
    for name in names:
        table = file[name]
        table.attrs["crc32"] = np.uint32(zlib.crc32(table[()].tobytes()))


def replaced(name, values):
    def change(file):
        del file[name]
        file[name] = values

    return change


def repacked(change):
    """Pack the first recording anew after a change, with right places and checksums."""

    def edited(file):
        tables, attributes = file["recordings"], dict(file["events"].attrs)
        places, words = tables["places"][:], file["events"][:]
        mine = pack(*change(*(column.copy() for column in some()[0])))
        replaced("events", np.concatenate([mine, words[places[1] :]]))(file)
        file["events"].attrs.update(attributes)
        tables["places"][1:] = places[1:] + mine.size - places[1]
        tables["sums"][0] = zlib.crc32(mine.tobytes())
        mend(file, "recordings/sums", "recordings/places")

    return edited


def with_unit(value):
    def change(times, units):
        units[200] = value
        return times, units

    return repacked(change)


def with_time(at, value):
    def change(times, units):
        times[at] = value
        return times, units

    return repacked(change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            with_unit(705),
            r"units must be in 0 \.\. 699, got another one at event 200 of recording 0 of .*made",
        ),
        (with_time(slice(800, None), np.inf), "finite numbers of float64.* at event 800 of recording 0"),
        (with_time(slice(800, None), -1.0), "not negative or decrease.* at event 800 of recording 0"),
        (with_time(20, 0.0), "not negative or decrease.* at event 20 of recording 0"),
        (with_time(-1, 1.5), r"the last event must be at .* s, as the table says, got 1\.5 s at recording 0"),
        (repacked(lambda times, units: (times[:10], units[:10])), "its words must be those of 900 events"),
    ],
)
def test_events_that_cannot_be_are_refused_even_with_right_checksums(path, change, message):
    assert len(some()[0][0]) == 900
    edit(path, change)
    with SpikeStore(path) as store, pytest.raises(DataFileError, match=message):
        store.check()


def linked(name, link):
    def change(file):
        del file[name]
        file[name] = link

    return change


def virtual(file):
    layout = h5py.VirtualLayout((12,), "<i8")
    layout[:] = h5py.VirtualSource("other.h5", "labels", (12,))
    del file["recordings/labels"]
    file.create_virtual_dataset("recordings/labels", layout)


def outside(file):
    del file["recordings/labels"]
    file.create_dataset("recordings/labels", (12,), "<i8", external=[("other.bin", 0, 96)])


def retyped(file):
    attributes = dict(file["events"].attrs)
    replaced("events", np.zeros(5, "<u4"))(file)
    file["events"].attrs.update(attributes)


def attribute(place, name, value):
    def change(file):
        file[place].attrs[name] = value

    return change


def removed(name):
    def change(file):
        del file[name]

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (removed("events"), "all of its tables, got none at /events of .*made.spikes"),
        (removed("recordings"), "all of its tables, got none at /recordings"),
        (removed("recordings/places"), "got none at /recordings/places"),
        (removed("metadata"), "all of its tables, got none at /metadata of"),
        (replaced("recordings/labels", np.zeros(12)), "list of <i8, got float64"),
        (replaced("recordings/labels", np.zeros(11, "<i8")), "places must be 12 numbers from 0 to"),
        (replaced("recordings/labels", np.full(12, 3, "<i8")), r"entries must be in 0 \.\. 2, got 3"),
        (
            replaced("recordings/pointers", np.arange(12, dtype="<i8")),
            "pointers must be 13 numbers from 0 to",
        ),
        (
            replaced("recordings/pointers", np.arange(13)[::-1] - 12),
            "pointers must not go backwards|from 0 to",
        ),
        (replaced("recordings/places", np.arange(13, dtype="<i8")), "places must be 13 numbers from 0 to"),
        (
            replaced("recordings/pointers", np.cumsum([0, 1 << 40] + [1] * 11)),
            r"recordings must fit their words.*/recordings/pointers\[0\]",
        ),
        (replaced("recordings/ends", np.full(12, np.nan)), "times must be finite"),
        (replaced("events", np.zeros(5, "<u8")), "events must be packed as 'widths.*got ''"),
        (retyped, "events must be a list of <u8, got uint32"),
        (attribute("events", "packing", np.bytes_("zip")), "events must be packed as .*got 'zip'"),
        (attribute("events", "times", np.bytes_("days")), "times must be of a known type .*got 'days'"),
        (
            linked("recordings/labels", h5py.SoftLink("/recordings/ends")),
            "in the file itself, got a soft link to /rec",
        ),
        (linked("events", h5py.ExternalLink("other.h5", "/")), "in the file itself, got an external link"),
        (
            linked("metadata", h5py.ExternalLink("other.h5", "/")),
            "got an external link to other.h5 at /metadata",
        ),
        (virtual, "in the file itself, got a virtual data set"),
        (outside, "in the file itself, got data in other.bin"),
        (attribute("/", "version", 2), "version must be 1, got 2 .*the release of snntrace that wrote it"),
        (attribute("/", "format", np.bytes_("other")), "must be of the format snntrace-spikes"),
    ],
)
def test_a_file_of_another_layout_is_refused(path, change, message):
    edit(path, change)
    with h5py.File(path, "a") as file:
        for name in ("labels", "pointers", "places", "ends"):
            link = file.get(f"recordings/{name}", getlink=True)
            table = file[f"recordings/{name}"] if isinstance(link, h5py.HardLink) else None
            if table is not None and not (table.external or table.is_virtual):
                mend(file, f"recordings/{name}")
    with pytest.raises(DataFileError, match=message):
        SpikeStore(path)


def test_a_fall_that_does_not_fit_an_integer_is_refused(path):
    def change(file):
        last = file["recordings/places"][-1]
        replaced("recordings/places", np.array([0, 3 << 61, -(1 << 62)] + [last] * 10))(file)
        mend(file, "recordings/places")

    edit(path, change)
    with pytest.raises(DataFileError, match=r"places must not go backwards.*places\[1\]"):
        SpikeStore(path)


def test_a_table_with_a_wrong_checksum_is_refused(path):
    edit(path, lambda file: file["recordings/labels"].write_direct(np.ones(12, "<i8")))
    with pytest.raises(DataFileError, match="tables must have the checksum.*at /recordings/labels of"):
        SpikeStore(path)


def test_a_damaged_recording_is_named_and_others_are_read(path):
    with h5py.File(path) as file:
        place = file["events"].id.get_offset() + 8 * int(file["recordings/places"][11])
    data = bytearray(path.read_bytes())
    data[place + 3] ^= 1
    path.write_bytes(data)
    store = SpikeStore(path)
    store.events(0)
    message = rf"checksum .* at byte {place} \(recording 11\) of .*made"
    for _ in range(2):
        with pytest.raises(DataFileError, match=message):
            store.check()


@pytest.mark.parametrize("content", [b"", b"text", b"\x89HDF\r\n\x1a\n"])
def test_what_is_no_store_is_refused(tmp_path, content):
    (tmp_path / "odd").write_bytes(content)
    with pytest.raises(DataFileError, match=r"^SpikeStore: .*odd"):
        SpikeStore(tmp_path / "odd")


def test_a_cut_store_is_refused(path):
    data = path.read_bytes()
    for length in (8, 100, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:length])
        with pytest.raises(DataFileError, match=r"must be a complete HDF5 file.*made\.spikes"):
            SpikeStore(path)


def test_a_missing_file_a_folder_and_a_forbidden_one_are_named(tmp_path, path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="existing file, got path=.*nowhere"):
        SpikeStore(tmp_path / "nowhere")
    with pytest.raises(DataFileError, match="must be a file, got the folder"):
        SpikeStore(tmp_path)

    def forbid(*arguments, **options):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", forbid)
    with pytest.raises(PermissionError, match=r"may be read, got path=.*made\.spikes"):
        SpikeStore(path)


# SHD's layout, there and back.


def shd(path, dtype="float16"):
    rows = [([0.25, 0.5, 1.3701171875], [3, 699, 0]), ([0.5, 0.5], [10, 11]), ([0.125], [5])]
    with h5py.File(path, "w") as file:
        for k, (name, kind) in enumerate((("times", dtype), ("units", "uint16"))):
            table = file.create_dataset(f"spikes/{name}", 3, h5py.vlen_dtype(kind))
            for i, row in enumerate(rows):
                table[i] = np.array(row[k], kind)
        file["labels"] = np.array([1, 0, 2], "uint16")
        file["extra/speaker"] = np.array([4, 5, 4], "uint16")
        file["extra/keys"] = np.array([name.encode() for name in INFO.class_names])
    return path


def arrays(path):
    with h5py.File(path) as file:
        rows = {
            name: [(row.dtype, row.tolist()) for row in file[f"spikes/{name}"][:]]
            for name in ("times", "units")
        }
        tables = {
            name: (file[name].dtype, file[name][:].tolist())
            for name in ("labels", "extra/speaker", "extra/keys")
        }
    return rows | tables


def test_a_file_in_the_layout_of_shd_goes_there_and_back(tmp_path):
    first = shd(tmp_path / "a.h5")
    store = SpikeStore(convert(SpikeFile(first), tmp_path / "store"))
    assert store.info.grouped_by == "speaker"
    assert arrays(export_shd(store, tmp_path / "b.h5")) == arrays(first)


@settings(max_examples=10)
@given(st.lists(times, min_size=1, max_size=4), st.sampled_from(["float16", "float32", "float64"]))
def test_any_recordings_go_to_the_layout_of_shd_and_back(tmp_path_factory, rows, kind):
    folder = tmp_path_factory.mktemp("any")
    with np.errstate(over="ignore"):
        rows = [np.minimum(np.array(row).astype(kind), np.finfo(kind).max) for row in rows]
    write(folder / "a", [(row, np.arange(len(row))) for row in rows], groups=[7] * len(rows))
    store = SpikeStore(folder / "a")
    with SpikeFile(export_shd(store, folder / "b.h5", time_type=kind)) as data:
        assert (data.labels.tolist(), data.speakers.tolist()) == (store.labels.tolist(), [7] * len(rows))
        back = SpikeStore(convert(data, folder / "c"))
        for i, row in enumerate(rows):
            np.testing.assert_array_equal(data.events(i)[0], row.astype(float))
            for one, two in zip(back.events(i), store.events(i), strict=True):
                np.testing.assert_array_equal(one, two)


def test_groups_that_are_no_small_numbers_are_exported_as_they_are(tmp_path):
    path = write(tmp_path / "a", some(3), groups=[70_000, 3, -1])
    assert SpikeFile(export_shd(SpikeStore(path), tmp_path / "b.h5")).speakers.tolist() == [70_000, 3, -1]


def test_an_export_rounds_only_on_request(tmp_path):
    digits = SaccadeDigits()
    exact = SpikeFile(export_shd(digits, tmp_path / "a.h5"))
    np.testing.assert_array_equal(exact.events(3)[0], digits.events(3)[0])
    half = SpikeFile(export_shd(digits, tmp_path / "b.h5", time_type="float16"))
    np.testing.assert_array_equal(half.events(3)[0], digits.events(3)[0].astype("float16"))
    with pytest.raises(FileExistsError, match="must not exist"):
        export_shd(digits, tmp_path / "a.h5")
    with pytest.raises(ValueError, match="time_type must be"):
        export_shd(digits, tmp_path / "c.h5", time_type="us")


def test_times_that_the_type_cannot_hold_are_not_exported(tmp_path):
    store = SpikeStore(write(tmp_path / "a", [([0.5], [3]), ([1.0, 70_000.0], [4, 5])]))
    with pytest.raises(ValueError, match=r"float16 must hold all times, got 70000.0 s in recording 1"):
        export_shd(store, tmp_path / "b.h5", time_type="float16")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert SpikeFile(export_shd(store, tmp_path / "b.h5")).events(1)[0].tolist() == [1.0, 70_000.0]


def test_a_class_whose_name_has_no_form_in_utf_8_is_refused_by_name(tmp_path):
    folder = os.fsencode(tmp_path / "data")
    for name in (b"/ok", b"/\xff"):
        os.makedirs(folder + name)
        with open(folder + name + b"/1.bin", "wb") as file:
            file.write(bytes([3, 33, 128, 1, 0]))
    data = open_dataset(tmp_path / "data")
    for write_it in (convert, export_shd):
        with pytest.raises(ValueError, match=r"must have a form in UTF-8, got '\\udcff'. Rename the folder"):
            write_it(data, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


@pytest.mark.shared
def test_spoken_digits_go_there_and_back(shared, tmp_path):
    path = shared / "data" / "shd_regen" / "shd_regen_small_valid.h5.gz"
    with SpikeFile(path, cache_folder=tmp_path) as data:
        store = SpikeStore(convert(data, tmp_path / "store"))
        assert store.time_type == "float16"
        back = SpikeFile(export_shd(store, tmp_path / "back.h5"))
        np.testing.assert_array_equal(back.labels, data.labels)
        np.testing.assert_array_equal(back.speakers, data.speakers)
        for row in range(len(data)):
            for one, two, three in zip(data.events(row), store.events(row), back.events(row), strict=True):
                np.testing.assert_array_equal(one, two)
                np.testing.assert_array_equal(one, three)


@pytest.mark.shared
def test_real_event_camera_recordings_are_kept_to_the_microsecond(shared, tmp_path):
    data = NMNIST(shared / "data" / "nmnist")
    store = SpikeStore(convert({"train": data}, tmp_path / "store"))
    assert (store.time_type, store.sensor, store.info.licence) == ("us", (34, 34), "CC BY-SA 4.0")
    np.testing.assert_array_equal(store.labels, data.labels)
    for row in range(len(data)):
        for one, two in zip(data.events(row), store.events(row), strict=True):
            np.testing.assert_array_equal(one, two)
