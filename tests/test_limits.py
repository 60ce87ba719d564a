"""Small files that would fill the memory: each is refused by its name, before there is room for it."""

import codecs
import gzip
import io
import pickle
import resource
import struct
import zipfile
import zlib

import event_writers as writers
import fuzzing
import h5py
import numpy as np
import pytest

from snntrace.datasets import BrailleLetters
from snntrace.datasets.files import DataFileError, read_aedat4, read_atis_mat
from snntrace.datasets.files.limits import LIMITS, Limits
from snntrace.datasets.idx import read_idx

SIZE = LIMITS.spared + (1 << 22)
ROOM = LIMITS.spared + (3 << 26)
"""Of the content that is taken whatever its ratio, and of copies of it."""


def element(kind, content):
    return struct.pack("<II", kind, len(content)) + content + bytes(-len(content) % 8)


def matrix(shape, values=b"", kind=6, name=b"TD"):
    flags = struct.pack("<II", kind, 0)
    return element(
        14, element(6, flags) + element(5, np.array(shape, "<i4").tobytes()) + element(1, name) + values
    )


def matlab(content):
    packed = zlib.compress(content, 1)
    start = b"MATLAB 5.0 MAT-file".ljust(124) + b"\0\1IM"
    return start + struct.pack("<II", 15, len(packed)) + packed


def tables(size):
    file, rows = io.BytesIO(), size // 12 + 1
    np.savez_compressed(file, taxels=np.zeros((rows, 12), "u1"), length=[rows], letter=["A"], repetition=[0])
    return file.getvalue()


def packet(compression):
    """Return a recording of one event and a packet of a stream of zeros."""
    whole = writers.aedat4([10], [1], [2], [1], compression=compression, closed=False)
    compress = {1: "lz4.frame", 3: "zstandard"}[compression]
    zeros = pytest.importorskip(compress).compress(bytes(SIZE))
    return whole + struct.pack("<ii", 2, len(zeros)) + zeros


def long_numbers():
    return bytes([0, 0, 8, 1]) + struct.pack(">I", SIZE) + bytes(SIZE)


BOMBS = {
    "zeros.mat": (lambda: matlab(element(14, bytes(SIZE))), read_atis_mat, "compressed data of more than"),
    "dimensions.mat": (lambda: matlab(matrix([2**31 - 1] * 300_000)), read_atis_mat, "300000 dimensions"),
    "labels.gz": (lambda: gzip.compress(long_numbers(), 1), read_idx, "a file that cannot hold them"),
    "letters.npz": (lambda: tables(SIZE), BrailleLetters, "bytes of tables, more than"),
    "lz4.aedat4": (lambda: packet(1), read_aedat4, "all packets must hold at most 100 times"),
    "zstd.aedat4": (lambda: packet(3), read_aedat4, "all packets must hold at most 100 times"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_small_file_that_would_fill_the_memory_is_refused(name, tmp_path):
    make, read, message = BOMBS[name]
    path = tmp_path / name
    path.write_bytes(make())
    assert path.stat().st_size < 1 << 20
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataFileError, match=rf"{message}.*{name}"):
        read(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < ROOM >> 10


@pytest.mark.parametrize(("name", "table"), [("shd.h5", "labels"), ("ntidigits.hdf5", "train_labels")])
def test_a_table_in_one_large_chunk_is_refused(name, table, tmp_path):
    case, path = fuzzing.cases()[name], tmp_path / name
    case.make(path)
    with h5py.File(path, "a") as file:
        values = file[table][:]
        del file[table]
        file.create_dataset(table, data=values, maxshape=(None,), chunks=(SIZE,), compression=1)
    with pytest.raises(DataFileError, match=rf"as long as its tables need, got \d+ bytes for .*{name}"):
        case.read(path)


def pickled(path, content):
    path.write_bytes(gzip.compress(content))
    return path


class Call:
    def __init__(self, call, *arguments):
        self.reduced = call, arguments

    def __reduce__(self):
        return self.reduced


def letter(readings):
    return {"letter": "A", "repetition": 0, "taxel_data": readings}


PICKLES = {
    "places": (b"\x80\x04]r" + struct.pack("<I", 1 << 28) + b".", "a thing of number 268435456"),
    "array": (pickle.dumps([letter(Call(np.ndarray, (10**8, 12), "u1"))]), "takes no arguments"),
    "kind": (pickle.dumps([letter(Call(np.dtype, "V2000000000"))]), "the type V2000000000"),
    "again": (
        pickle.dumps([letter(np.zeros((1 << 16, 12), "u1"))] * 9),
        "no array, or more than",
    ),
    "rows": (pickle.dumps([letter([[0] * 12] * 100_000)]), "100000 rows of readings"),
    "nested": (pickle.dumps([letter([[[0] * 12] * 12] * 12)]), "12 rows of readings, not each"),
    "text": (
        pickle.dumps([letter(Call(codecs.encode, "a", "punycode"))]),
        "bytes in punycode",
    ),
}


@pytest.mark.parametrize("name", PICKLES)
def test_a_pickle_that_asks_for_more_than_it_holds_is_refused(name, tmp_path):
    content, message = PICKLES[name]
    path = pickled(tmp_path / "a.pkl.gz", content)
    with pytest.raises(DataFileError, match=rf"{message}.*a\.pkl\.gz"):
        BrailleLetters(path)


def test_readings_in_lists_and_in_arrays_are_the_same(tmp_path):
    readings = np.arange(36.0).reshape(3, 12) * 2
    kinds = [readings, readings.tolist(), list(readings), np.asfortranarray(readings), readings.astype(">i2")]
    for protocol in (2, 5):
        path = pickled(tmp_path / "a.pkl.gz", pickle.dumps([letter(kind) for kind in kinds], protocol))
        data = BrailleLetters(path)
        for row in range(len(kinds)):
            np.testing.assert_array_equal(data.events(row), data.events(0))


def test_a_limit_is_a_multiple_of_the_file_beyond_what_is_spared():
    limits = Limits(ratio=10, spared=50, size=1000)
    assert [limits.most(size) for size in (0, 5, 6, 200)] == [50, 50, 60, 1000]


def test_a_struct_in_a_struct_is_not_looked_into_however_deep(tmp_path):
    inner = matrix([1, 1], element(9, bytes(8)))
    for _ in range(2000):
        inner = matrix([1, 1], struct.pack("<HHi", 5, 4, 2) + element(1, b"a\0") + inner, kind=2)
    path = tmp_path / "deep.mat"
    path.write_bytes(matlab(inner))
    with pytest.raises(DataFileError, match=r"'TD' must be a struct of numbers.*deep\.mat"):
        read_atis_mat(path)


@pytest.mark.parametrize("shape", [(1,) * 100, (0,) * 100, (0, 2**32 - 1, 2**32 - 1)])
def test_an_idx_file_of_impossible_axes_is_refused(shape, tmp_path):
    path = tmp_path / "labels"
    path.write_bytes(bytes([0, 0, 8, len(shape)]) + np.array(shape, ">u4").tobytes() + bytes(min(shape)))
    with pytest.raises(DataFileError, match=r"at most 32 axes, got 100|cannot hold them"):
        read_idx(path)


def test_lengths_that_do_not_fit_an_integer_are_refused(tmp_path):
    path = tmp_path / "letters.npz"
    length = np.array([2**63 + 2, 2**63 + 2], "u8")
    np.savez(path, taxels=np.zeros((4, 12), "u1"), length=length, letter=["A", "B"], repetition=[0, 0])
    with pytest.raises(DataFileError, match=r"the number of readings.*letters\.npz"):
        BrailleLetters(path)
    with zipfile.ZipFile(path) as file:
        assert len(file.namelist()) == 4
