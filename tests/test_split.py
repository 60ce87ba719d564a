import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snntrace.datasets import by_group, hold_out

many = st.lists(st.integers(0, 4), min_size=1, max_size=200).map(lambda some: some + [0, 1, 2, 3, 4] * 2)


@given(many, st.floats(0.05, 0.95), st.integers(0, 1000))
def test_the_two_parts_are_disjoint_and_together_everything(labels, fraction, seed):
    kept, held = hold_out(labels, fraction, seed)
    assert sorted([*kept, *held]) == list(range(len(labels)))
    assert (np.diff(kept) > 0).all()
    assert (np.diff(held) > 0).all()


@given(many, st.floats(0.05, 0.95))
def test_each_class_is_divided_by_the_fraction(labels, fraction):
    kept, held = hold_out(labels, fraction)
    for label in range(5):
        total = labels.count(label)
        of_held = int((np.array(labels)[held] == label).sum())
        assert abs(of_held - fraction * total) <= 1
        assert 1 <= of_held < total
    assert len(kept)


def test_a_seed_fixes_the_division():
    labels = np.arange(200) % 4
    np.testing.assert_array_equal(hold_out(labels, 0.3, 7)[1], hold_out(labels, 0.3, 7)[1])
    assert set(hold_out(labels, 0.3, 7)[1]) != set(hold_out(labels, 0.3, 8)[1])


def test_validation_is_never_the_test_set():
    labels = np.arange(300) % 3
    rest, test = hold_out(labels, 0.2, seed=0)
    train, validation = hold_out(labels, 0.1, seed=0, indices=rest)
    assert sorted([*train, *validation, *test]) == list(range(300))


def test_whole_groups_are_held_out():
    groups = np.array([0, 1, 2, 3] * 5)
    kept, held = by_group(groups, [3, 1])
    assert set(groups[held]) == {1, 3}
    assert set(groups[kept]) == {0, 2}
    assert sorted([*kept, *held]) == list(range(20))
    train, validation = by_group(groups, [0], indices=kept)
    assert set(groups[train]) == {2}
    assert set(groups[validation]) == {0}


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, float("nan")])
def test_a_fraction_outside_zero_and_one_is_refused(fraction):
    with pytest.raises(ValueError, match="fraction must be between 0 and 1, got"):
        hold_out([0, 0], fraction)


def test_a_class_of_one_recording_is_refused():
    with pytest.raises(ValueError, match="at least 2 recordings, got 1 of class 1"):
        hold_out([0, 0, 1], 0.5)


def test_nothing_to_divide_is_refused():
    with pytest.raises(ValueError, match="recordings to divide, got none"):
        hold_out([], 0.5)


@pytest.mark.parametrize(
    ("indices", "message"), [([0, 9], "in 0 .. 3, got index=9"), ([1, 1], "index=1 twice")]
)
def test_impossible_indices_are_refused(indices, message):
    with pytest.raises(ValueError, match=message):
        hold_out([0, 0, 1, 1], 0.5, indices=indices)
    with pytest.raises(ValueError, match=message):
        by_group([0, 0, 1, 1], [0], indices=indices)


@pytest.mark.parametrize("held_out", [[], [5], [0, 1], [0, 5]])
def test_groups_that_cannot_be_held_out_are_refused(held_out):
    with pytest.raises(ValueError, match=r"some, and not all, of the groups \[0, 1\], got held_out="):
        by_group([0, 1, 1], held_out)


def test_data_without_groups_point_to_the_other_division():
    with pytest.raises(ValueError, match="got groups=None. Use hold_out"):
        by_group(None, [1])
