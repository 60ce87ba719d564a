import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snntrace.datasets import by_group, hold_out, k_fold, leave_one_group_out

many = st.lists(st.integers(0, 3), max_size=100).map(lambda some: some + [0, 1, 2, 3] * 5)


class Words:
    """A data set that knows which part it is and who speaks."""

    class_names = ("a", "b")
    n_units, duration = 3, 0.1

    def __init__(self, split=None, n=40, speakers=True):
        self.labels = np.arange(n) % 2
        self.groups = np.arange(n) // 2 % 5 if speakers else None
        if split is not None:
            self.split = split

    def __len__(self):
        return len(self.labels)

    def __repr__(self):
        return "Words()"


@given(many, st.integers(2, 5), st.integers(0, 100))
def test_each_recording_is_held_out_once_and_classes_are_spread_evenly(labels, n_folds, seed):
    folds = k_fold(labels, n_folds, seed)
    assert len(folds) == n_folds
    assert sorted(np.concatenate([held for _, held in folds]).tolist()) == list(range(len(labels)))
    for kept, held in folds:
        assert sorted([*kept, *held]) == list(range(len(labels)))
        assert (np.diff(kept) > 0).all()
        assert (np.diff(held) > 0).all()
        for label in range(4):
            number = (np.array(labels)[held] == label).sum()
            assert abs(number - labels.count(label) / n_folds) <= 1


@given(st.integers(5, 12), st.integers(2, 5), st.integers(0, 100))
def test_a_group_is_in_one_fold_only(n_groups, n_folds, seed):
    rng = np.random.default_rng(seed)
    groups = np.concatenate([np.arange(n_groups), rng.integers(0, n_groups, 80)])
    labels = rng.integers(0, 3, len(groups))
    folds = k_fold(labels, n_folds, seed, groups=groups)
    assert sorted(np.concatenate([held for _, held in folds]).tolist()) == list(range(len(groups)))
    for kept, held in folds:
        assert not set(groups[kept]) & set(groups[held])
        assert len(kept)
        assert len(held)


def test_the_data_sets_own_groups_are_kept_whole_on_request():
    data = Words()
    for kept, held in k_fold(data, 5, whole_groups=True):
        assert len(set(data.groups[held])) == 1
        assert not set(data.groups[kept]) & set(data.groups[held])
    assert any(set(data.groups[kept]) & set(data.groups[held]) for kept, held in k_fold(data, 5))


def test_a_seed_fixes_the_folds():
    first, same, other = (k_fold(np.arange(60) % 3, 3, seed) for seed in (4, 4, 5))
    assert [held.tolist() for _, held in first] == [held.tolist() for _, held in same]
    assert [held.tolist() for _, held in first] != [held.tolist() for _, held in other]


def test_each_group_is_left_out_once():
    data = Words()
    parts = leave_one_group_out(data)
    assert list(parts) == [0, 1, 2, 3, 4]
    for group, (kept, held) in parts.items():
        expected = by_group(data, [group])
        np.testing.assert_array_equal(kept, expected[0])
        np.testing.assert_array_equal(held, expected[1])


def test_only_the_recordings_that_are_named_are_divided():
    data = Words()
    rest, test = by_group(data, [2])
    for kept, held in [*k_fold(data, 4, indices=rest), *leave_one_group_out(data, indices=rest).values()]:
        assert sorted([*kept, *held]) == rest.tolist()
        assert not np.isin(test, [*kept, *held]).any()
    assert list(leave_one_group_out(data, indices=rest)) == [0, 1, 3, 4]


DIVISIONS = {
    "hold_out": lambda data, **options: hold_out(data, 0.2, **options),
    "by_group": lambda data, **options: by_group(data, [1], **options),
    "k_fold": lambda data, **options: k_fold(data, 3, **options),
    "leave_one_group_out": leave_one_group_out,
}


@pytest.mark.parametrize("name", sorted(DIVISIONS))
def test_an_official_test_part_is_not_divided_by_accident(name):
    divide = DIVISIONS[name]
    with pytest.raises(ValueError, match=rf"{name}: data .* official test part, got split='test' of Words"):
        divide(Words("test"))
    for data in (Words(), Words("train"), Words("")):
        divide(data)
    allowed, plain = divide(Words("test"), allow_test=True), divide(Words("train"))
    assert str(allowed) == str(plain)


@pytest.mark.parametrize("name", ["hold_out", "k_fold"])
def test_a_data_set_is_divided_by_its_labels(name):
    assert str(DIVISIONS[name](Words())) == str(DIVISIONS[name](Words().labels))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: k_fold([0, 0, 1, 1], 3), "at most the number of recordings of a class, got n_folds=3 for 2"),
        (lambda: k_fold([0, 0, 1, 1], 1), "n_folds must be at least 2"),
        (
            lambda: k_fold([0] * 9, 4, groups=[0, 1, 2] * 3),
            "at most the number of groups, got n_folds=4 for 3",
        ),
        (lambda: k_fold([0] * 9, 2, groups=[0, 1]), r"one for each of 9 recordings, got shape=\(2,\)"),
        (lambda: k_fold([0, 0], 2, -1), "seed must not be negative, got seed=-1"),
        (
            lambda: k_fold(Words(speakers=False), 2, whole_groups=True),
            "must name their groups, got groups=None",
        ),
        (lambda: k_fold(Words(), 2, whole_groups=True, groups=[0]), "given or the data set's own, got both"),
        (
            lambda: k_fold([[0, 1], [0, 1]]),
            r"one of its labels for each recording, got list of shape \(2, 2\)",
        ),
        (lambda: leave_one_group_out([3, 3]), r"at least two groups, got \[3\]. Use k_fold"),
        (lambda: leave_one_group_out(Words(speakers=False)), "must name their groups"),
        (lambda: k_fold([0, 0, 1, 1], 2, indices=[4]), "in 0 .. 3, got index=4"),
    ],
)
def test_impossible_divisions_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
