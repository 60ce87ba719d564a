import gzip
import os
import pickle

import numpy as np
import pytest

from snntrace.datasets import BrailleLetters, open_dataset
from snntrace.datasets.files import DataFileError


def packed(path, content, protocol=4):
    path.write_bytes(gzip.compress(pickle.dumps(content, protocol)))
    return path


def recordings(**changes):
    taxels = np.arange(36.0).reshape(3, 12)
    return [
        {"experiment_name": "a", "letter": letter, "repetition": k, "taxel_data": taxels + k} | changes
        for k, letter in enumerate(["B", "Space", "B"])
    ]


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_the_published_file_is_read(tmp_path, protocol):
    data = open_dataset(packed(tmp_path / "a.pkl.gz", recordings(), protocol))
    assert isinstance(data, BrailleLetters)
    assert data.class_names == ("Space", "B")
    assert data.labels.tolist() == [1, 0, 1]
    assert data.repetitions.tolist() == [0, 1, 2]
    times, units = data.events(0)
    # Each reading rises by 12 twice.
    assert np.bincount(units, minlength=24).tolist() == [0] * 12 + [24] * 12
    assert times.max() == data.duration == 0.05


@pytest.mark.shared
def test_both_forms_of_the_letters_have_the_same_events(tmp_path, shared):
    path = shared / "data" / "braille" / "braille_letters_taxels.npz"
    with np.load(path) as tables:
        stops = np.cumsum(tables["length"])[:-1]
        rows = zip(
            np.split(tables["taxels"].astype(np.float64), stops),
            tables["letter"],
            tables["repetition"],
            strict=True,
        )
        content = [
            {"letter": str(letter), "repetition": int(k), "taxel_data": taxels} for taxels, letter, k in rows
        ]
    one, other = BrailleLetters(path), BrailleLetters(packed(tmp_path / "a.pkl.gz", content))
    assert one.class_names == other.class_names
    np.testing.assert_array_equal(one.labels, other.labels)
    for row in range(0, len(one), 100):
        for first, second in zip(one.events(row), other.events(row), strict=True):
            np.testing.assert_array_equal(first, second)


class Evil:
    def __reduce__(self):
        return os.system, ("touch evil",)


@pytest.mark.parametrize("where", ["list", "field"])
def test_a_pickle_that_wants_to_run_something_is_refused_and_runs_nothing(tmp_path, monkeypatch, where):
    monkeypatch.chdir(tmp_path)
    content = [Evil()] if where == "list" else recordings(letter=Evil())
    with pytest.raises(DataFileError, match=r"got UnpicklingError \(a call of (posix|nt)\.system\)"):
        BrailleLetters(packed(tmp_path / "a.pkl.gz", content))
    assert [path.name for path in tmp_path.iterdir()] == ["a.pkl.gz"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "ValueError"),
        (3, "TypeError"),
        ([{"letter": "A"}], "KeyError"),
        (recordings(taxel_data=np.zeros((3, 11))), "readings of shape"),
        (recordings(taxel_data=np.zeros((0, 12))), "readings of shape"),
        (recordings(taxel_data=np.full((3, 12), 0.5)), "no whole numbers from 0 to 255"),
        (recordings(taxel_data=np.full((3, 12), 256)), "no whole numbers from 0 to 255"),
        (recordings(letter=3), "the letter 3"),
    ],
)
def test_other_content_is_refused(tmp_path, content, message):
    with pytest.raises(DataFileError, match=rf"must be a pickle of recordings.*{message}.*a\.pkl\.gz"):
        BrailleLetters(packed(tmp_path / "a.pkl.gz", content))


def test_a_cut_file_is_refused(tmp_path):
    path = packed(tmp_path / "a.pkl.gz", recordings())
    whole = path.read_bytes()
    for size in (3, len(whole) // 2, len(whole) - 4):
        path.write_bytes(whole[:size])
        with pytest.raises(DataFileError, match="must be a pickle of recordings"):
            BrailleLetters(path)
