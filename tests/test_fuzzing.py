"""Damaged files of every kind: refused by name, or read as what they were where a checksum can tell."""

import fuzzing
import pytest

KINDS = fuzzing.cases()


def check(name, folder, number, first):
    counts = fuzzing.campaign(name, folder, number, first)
    assert sum(counts.values()) == number
    errors = (folder / "errors.txt").read_text()[-2000:]
    assert counts["crash"] == counts["hang"] == counts["wrong error"] == 0, (counts, errors)
    if KINDS[name].sums:
        assert counts["different"] == 0, counts
    # Some damage hits bytes that mean nothing; a reader that refuses nothing does not look.
    assert counts["refused"] > number // 10, counts


@pytest.mark.parametrize("name", ["half.spikes", "shd.h5"])
def test_a_few_damaged_files_are_refused_by_name_or_read(name, tmp_path):
    check(name, tmp_path, 150, 0)


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_five_hundred_damaged_files_of_a_kind_are_refused_by_name_or_read(name, tmp_path):
    check(name, tmp_path, 500, 10_000)
