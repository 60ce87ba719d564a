"""Input that is wrong on purpose: each reader refuses it and names the file, the place and the remedy."""

import os
import struct
import subprocess
import sys

import fuzzing
import h5py
import numpy as np
import pytest

from snntrace.datasets import SpikeFile, scattered
from snntrace.datasets.files import DataFileError

KINDS = fuzzing.cases()
HDF5 = {
    "shd.h5": ("spikes/times", "spikes/units", "labels", "extra/speaker", "extra/keys"),
    "ntidigits.hdf5": ("train_labels", "train_timestamps/man-00-a-1", "train_addresses/man-00-a-1"),
    "double.spikes": ("metadata", "events", "recordings/pointers", "recordings/places", "recordings/sums"),
}
REMEDY = r"(?:again|permissions|savez|original|unpack|Mend)"


@pytest.fixture
def made(tmp_path):
    def make(name):
        KINDS[name].make(tmp_path / name)
        return tmp_path / name, KINDS[name].read

    return make


@pytest.mark.parametrize("name", KINDS)
def test_an_intact_file_is_read_to_the_same_again(name, made):
    path, read = made(name)
    assert read(path) == read(path)


@pytest.mark.parametrize("name", KINDS)
def test_a_file_of_no_bytes_is_refused_by_name(name, made):
    path, read = made(name)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=rf"^\w+: .*{path.stem}.*{REMEDY}"):
        read(path)


@pytest.mark.parametrize("name", KINDS)
def test_a_file_that_is_cut_off_is_refused_by_name(name, made):
    path, read = made(name)
    # After the events of AEDAT 4 comes a table of them, which is not needed.
    path.write_bytes(path.read_bytes()[: -40 if path.suffix == ".aedat4" else -7])
    with pytest.raises(ValueError, match=rf"^\w+: .*{path.stem}.*{REMEDY}"):
        read(path)


@pytest.mark.parametrize("name", KINDS)
def test_a_file_that_may_not_be_read_is_named_as_such(name, made, monkeypatch):
    path, read = made(name)
    opened = os.open

    def refuse(asked, *arguments, **options):
        if os.fspath(asked) == str(path):
            raise PermissionError(13, "Permission denied")
        return opened(asked, *arguments, **options)

    # Not by its mode, for tests may be run by a user whom no mode stops.
    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(PermissionError, match=rf"^\w+: .*may be read, got path=.*{path.stem}.*permissions"):
        read(path)


def external_link(file, name):
    del file[name]
    file[name] = h5py.ExternalLink("/etc/other.h5", name)


def soft_link(file, name):
    del file[name]
    file[name] = h5py.SoftLink("/elsewhere/than/here")


def external_storage(file, name):
    old, n = file[name], max(file[name].size, 1)
    shape, kind = old.shape, old.dtype if old.dtype.hasobject is False else np.dtype("<i8")
    del file[name]
    file.create_dataset(name, shape or (1,), kind, external=[("/etc/passwd", 0, n * kind.itemsize)])


def virtual(file, name):
    shape = file[name].shape or (1,)
    layout = h5py.VirtualLayout(shape, "<i8")
    layout[:] = h5py.VirtualSource("/etc/other.h5", name, shape)
    del file[name]
    file.create_virtual_dataset(name, layout)


@pytest.mark.parametrize(
    ("point", "what"),
    [
        (external_link, "an external link to /etc/other.h5"),
        (soft_link, "a soft link to /elsewhere/than/here"),
        (external_storage, "data in /etc/passwd"),
        (virtual, "a virtual data set"),
    ],
)
@pytest.mark.parametrize(("name", "table"), [(name, table) for name in HDF5 for table in HDF5[name]])
def test_a_table_in_another_file_is_never_read(name, table, point, what, made):
    path, read = made(name)
    with h5py.File(path, "r+") as file:
        point(file, table)
    with pytest.raises(DataFileError, match=rf"in the file itself, got {what} at /{table} of .*{path.stem}"):
        read(path)


@pytest.mark.parametrize("link", [h5py.ExternalLink("/etc/other.h5", "/"), h5py.SoftLink("/elsewhere")])
@pytest.mark.parametrize("name", HDF5)
def test_a_group_in_another_file_is_never_entered(name, link, made):
    path, read = made(name)
    group = next(table.split("/")[0] for table in HDF5[name] if "/" in table)
    with h5py.File(path, "r+") as file:
        del file[group]
        file[group] = link
    with pytest.raises(DataFileError, match=rf"in the file itself, got an? \w+ link to .* at /{group} of"):
        read(path)


@pytest.mark.parametrize(("name", "table"), [(name, table) for name in HDF5 for table in HDF5[name][:3]])
def test_a_missing_table_and_one_of_another_type_are_named(name, table, made):
    path, read = made(name)
    with h5py.File(path, "r+") as file:
        del file[table]
    with pytest.raises(ValueError, match=rf"{path.stem}.*{table}|{table}.*{path.stem}"):
        read(path)
    with h5py.File(path, "r+") as file:
        file[table] = np.zeros((2, 2), complex)
    place = table.rsplit("/", 1)[-1]
    with pytest.raises(ValueError, match=rf"{path.stem}.*{place}|{place}.*{path.stem}"):
        read(path)


def test_a_table_that_says_to_be_larger_than_its_file_is_not_made_room_for(made):
    path, read = made("shd.h5")
    with h5py.File(path, "r+") as file:
        del file["labels"]
        # Without chunks written it takes no room on the disk, and 8 GB in memory.
        file.create_dataset("labels", (1 << 30,), "<i8", chunks=(1 << 20,))
    with pytest.raises(
        DataFileError, match=r"as long as its tables need, got \d+ bytes for 8589934592 at /lab"
    ):
        read(path)


def heap_of(path):
    """Return where the first row of times is told of, and where its heap is."""
    with h5py.File(path) as file:
        place = file["spikes/times"].id.get_offset()
    return place, struct.unpack_from("<IQ", path.read_bytes(), place)[1]


@pytest.mark.parametrize(
    ("kind", "where", "value", "message"),
    [
        # HDF5 walks over an object of no size for ever, and reads on after one that is said to be longer.
        ("<HHIQ", "object", (0, 0, 0, 0), "an object of 0 bytes"),
        ("<Q", "size", (0,), r"\d+ elements that are not object|an object of"),
        ("<I", "length", (1 << 30,), "1073741824 elements that are not object 1 of the heap"),
        ("<Q", "heap's place", (1 << 40,), "the end of the file in 16 bytes at"),
        ("<Q", "heap's place", (8,), "in place of a heap at byte 8"),
        ("<Q", "heap's size", (1 << 40,), "in place of a heap at byte"),
    ],
)
def test_a_damaged_heap_is_refused(kind, where, value, message, made):
    path, read = made("shd.h5")
    data, (place, heap) = bytearray(path.read_bytes()), heap_of(path)
    places = {
        "length": place, "heap's place": place + 4, "heap's size": heap + 8, "object": heap + 16,
        "size": heap + 24,
    }  # fmt: skip
    struct.pack_into(kind, data, places[where], *value)
    path.write_bytes(data)
    with pytest.raises(DataFileError, match=rf"recordings must be readable, got .*(?:{message}).*shd\.h5"):
        read(path)


ENDLESS = """
import sys
from pathlib import Path
import fuzzing
try:
    fuzzing.cases()["shd.h5"].read(Path(sys.argv[1]))
except ValueError as error:
    print(error)
"""


def test_an_object_of_no_size_is_refused_in_layouts_that_only_hdf5_reads(root, tmp_path):
    path = tmp_path / "a.h5"
    fuzzing.write_shd(path, chunks=(7,), compression="lzf")
    data, heap = bytearray(path.read_bytes()), 0
    while (heap := data.find(b"GCOL", heap + 1)) >= 0:
        struct.pack_into("<HHIQ", data, heap + 16, 0, 0, 0, 0)
    path.write_bytes(data)
    # In a process of its own, for HDF5 would walk in place for ever.
    ended = subprocess.run(
        [sys.executable, "-c", ENDLESS, str(path)], capture_output=True, text=True, timeout=60, check=False,
        env=os.environ | {"PYTHONPATH": str(root / "tests")},
    )  # fmt: skip
    assert "must be readable, got an object of 0 bytes" in ended.stdout, ended.stderr


def test_places_of_four_bytes_are_refused(tmp_path):
    plist = h5py.h5p.create(h5py.h5p.FILE_CREATE)
    plist.set_sizes(4, 4)
    with h5py.File(h5py.h5f.create(bytes(tmp_path / "a.h5"), fcpl=plist)) as file:
        for name, kind in (("times", "f4"), ("units", "u2")):
            file.create_dataset(f"spikes/{name}", 1, h5py.vlen_dtype(kind))[0] = np.ones(2, kind)
        file["labels"] = [0]
    with (
        SpikeFile(tmp_path / "a.h5") as data,
        pytest.raises(DataFileError, match=r"places and sizes of \(4, 4"),
    ):
        data.events(0)


def test_numbers_that_do_not_use_all_of_their_bits_and_long_ones_are_read_by_their_value(tmp_path):
    kind = h5py.h5t.STD_U16LE.copy()
    kind.set_precision(12)
    kind.set_offset(4)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        times = file.create_dataset("spikes/times", 2, h5py.vlen_dtype(np.longdouble))
        space, kinds = h5py.h5s.create_simple((2,)), h5py.h5t.vlen_create(kind)
        h5py.h5d.create(file["spikes"].id, b"units", kinds, space)
        times[1], file["spikes/units"][1] = np.array([0.25, 0.5], np.longdouble), np.array([3, 4], "u2")
        file["labels"] = [0, 0]
    with SpikeFile(tmp_path / "a.h5") as data:
        assert [column.tolist() for column in data.events(1)] == [[0.25, 0.5], [3, 4]]


@pytest.mark.parametrize("where", [1 << 40, 1 << 63, (1 << 64) - 1])
def test_a_row_outside_of_the_file_is_refused_in_a_batch_as_well(where, made):
    path, _ = made("shd.h5")
    data, (place, _) = bytearray(path.read_bytes()), heap_of(path)
    struct.pack_into("<Q", data, place + 4, where)
    path.write_bytes(data)
    with SpikeFile(path, n_units=70) as file:
        with pytest.raises(DataFileError, match=r"must be readable, got the end of the file .*recording 0"):
            file.events_of([1, 0])
        assert len(file.events_of([1, 2])) == 2


def test_a_row_is_read_in_as_many_calls_as_it_takes(made, monkeypatch):
    path, _ = made("shd.h5")
    read = os.pread
    monkeypatch.setattr(os, "pread", lambda handle, size, place: read(handle, min(size, 7), place))
    monkeypatch.setattr(scattered, "AT_ONCE", False)
    with SpikeFile(path, n_units=70) as data:
        for row, (times, units) in enumerate(fuzzing.few_recordings()):
            np.testing.assert_array_equal(data.events(row)[0], times)
            np.testing.assert_array_equal(data.events(row)[1], units)


@pytest.mark.parametrize("before", [0, 1024])
@pytest.mark.parametrize(
    "options",
    [
        {}, {"chunks": (7,)}, {"chunks": (7,), "compression": 4}, {"chunks": (7,), "compression": "lzf"},
        {"chunks": (7,), "compression": 4, "shuffle": True}, {"maxshape": (None,)},
    ],
)  # fmt: skip
def test_rows_are_read_however_their_table_is_laid_out(options, before, tmp_path):
    path = tmp_path / "a.h5"
    fuzzing.write_shd(path, before, **options)
    with SpikeFile(path, n_units=70) as data:
        for row, (times, units) in enumerate(fuzzing.few_recordings()):
            np.testing.assert_array_equal(data.events(row)[0], times)
            np.testing.assert_array_equal(data.events_of([3, row])[1][1], units)


WRONG_EVENTS = [
    ("times", np.nan, "finite"),
    ("times", np.inf, "finite"),
    ("times", -0.5, "not negative"),
    ("times", 0.0, "must not decrease"),
    ("units", 700, r"in 0 \.\. (?:69|63)"),
]


@pytest.mark.parametrize(("column", "value", "message"), WRONG_EVENTS)
@pytest.mark.parametrize("name", ["shd.h5", "ntidigits.hdf5"])
def test_events_that_cannot_be_are_refused_by_recording(name, column, value, message, made):
    path, read = made(name)
    with h5py.File(path, "r+") as file:
        if name == "shd.h5":
            table, row = file[f"spikes/{column}"], 2
            events = table[row]
            events[-1] = value
            table[row] = events
            place = f"recording {row}"
        else:
            place = "man-02-a-3"
            group = "timestamps" if column == "times" else "addresses"
            file[f"train_{group}/{place}"][-1] = value
    with pytest.raises(ValueError, match=rf"{message}.*{path.stem}|{path.stem}.*{message}") as caught:
        read(path)
    assert place in str(caught.value)


FULL = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from snntrace.datasets import SaccadeDigits, export_shd, unpacked
from snntrace.datasets.ear import hear_files
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
folder = Path(sys.argv[1])
data = SaccadeDigits()
for room, write in (
    (2_000_000, lambda: export_shd(data, folder / "digits.h5")),
    (3000, lambda: hear_files([folder / "word.wav"] * 9, folder / "heard.h5")),
    (3000, lambda: unpacked(folder / "shd.h5.gz", folder / "cache")),
):
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
    try:
        write()
    except OSError as error:
        print(error)
"""


def test_a_full_disk_is_an_error_and_leaves_nothing_behind(tmp_path):
    for name in ("word.wav", "shd.h5.gz"):
        KINDS[name].make(tmp_path / name)
    command = [sys.executable, "-X", "faulthandler", "-c", FULL, str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 0, ended.stderr
    first, second, third = ended.stdout.splitlines()
    assert "digits.h5 must be on a disk that has room and may be written, got File too large" in first
    assert "heard.h5 must be on a disk that has room and may be written, got File too large" in second
    assert "shd.h5.gz must fit into a writable folder" in third
    left = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert left == ["shd.h5.gz", "word.wav"]
