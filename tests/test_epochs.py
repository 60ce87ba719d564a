import json
import pickle
import subprocess
import sys
import threading
import time

import brainunit as u
import numpy as np
import pytest
from clicks import Clicks, all_same, same
from hypothesis import given
from hypothesis import strategies as st

from snntrace.datasets import SaccadeDigits, batches, bin_batch

DT = 4 * u.ms
VARIANTS = [
    {},
    {"layout": "events"},
    {"cache": True},
    {"buckets": 3},
    {"buckets": 3, "layout": "events", "pad_last": True},
    {"drop_last": True, "shuffle": False},
]


# Ahead, on threads ---------------------------------------------------------------------------------


@pytest.mark.parametrize("options", VARIANTS)
@pytest.mark.parametrize(("prefetch", "workers"), [(1, 1), (2, 1), (3, 2), (8, 4)])
def test_batches_made_ahead_are_the_same_in_the_same_order(options, prefetch, workers):
    plain = batches(Clicks(), range(40), 6, DT, **options)
    data = Clicks(seconds=1e-4)
    ahead = batches(data, range(40), 6, DT, prefetch=prefetch, workers=workers, **options)
    data.threads.clear()
    for _ in range(2):
        all_same(plain, ahead)
    assert all(name.startswith("snntrace-batches") for name in data.threads)


def test_no_more_is_made_ahead_than_was_asked_for():
    data = Clicks(100)
    loader = iter(batches(data, range(100), 5, DT, prefetch=3, workers=2))
    next(loader)
    time.sleep(0.2)
    # The one that was given, and three more.
    assert len(data.reads) == 20
    next(loader)
    time.sleep(0.2)
    assert len(data.reads) == 25


def test_the_next_epoch_is_begun_while_the_last_batches_are_used():
    data = Clicks(40, seconds=1e-3)
    loader = batches(data, range(40), 4, DT, prefetch=3)
    expected = [list(batches(Clicks(), range(40), 4, DT).epoch(k)) for k in range(3)]
    all_same(loader, expected[0])
    time.sleep(0.2)
    assert len(data.reads) == 52
    waited = loader.waiting.idle
    iterator = iter(loader)
    same(next(iterator), expected[1][0])
    assert loader.waiting.idle - waited < 2e-3
    all_same(iterator, expected[1][1:])
    # Another epoch is not the one that was begun.
    loader.next_epoch = 0
    all_same(loader, expected[0])
    loader.next_epoch = 2
    all_same(loader, expected[2])
    copy = pickle.loads(pickle.dumps(loader))
    copy.next_epoch = 1
    all_same(copy, expected[1])


def test_two_iterations_at_once_do_not_disturb_each_other():
    expected = [list(batches(Clicks(), range(40), 4, DT).epoch(k)) for k in range(4)]
    loader = batches(Clicks(), range(40), 4, DT, prefetch=2, workers=2)
    for first in (0, 2):
        both = list(zip(loader, loader, strict=True))
        all_same([one for one, _ in both], expected[first])
        all_same([two for _, two in both], expected[first + 1])


def test_a_forked_process_begins_anew():
    loader = batches(Clicks(), range(40), 4, DT, prefetch=2)
    expected = [batch.indices.tolist() for batch in batches(Clicks(), range(40), 4, DT).epoch(1)]
    list(loader)
    loader._begun[1].process = -1
    assert [batch.indices.tolist() for batch in loader] == expected


def test_threads_end_when_an_iteration_is_broken_off():
    before = threading.active_count()
    data = Clicks(1000, seconds=1e-3)
    loader = iter(batches(data, range(1000), 5, DT, prefetch=4, workers=2))
    next(loader)
    assert threading.active_count() > before
    loader.close()
    assert threading.active_count() == before
    assert len(data.reads) < 60


@pytest.mark.parametrize("prefetch", [0, 3])
def test_an_error_is_raised_where_its_batch_would_have_come(prefetch):
    data = Clicks(40, broken={17})
    loader = iter(batches(data, range(40), 5, DT, shuffle=False, prefetch=prefetch))
    assert [next(loader).indices[0] for _ in range(3)] == [0, 5, 10]
    with pytest.raises(OSError, match="recording 17 is gone"):
        next(loader)


def test_waiting_is_told_apart_from_working():
    slow = batches(Clicks(20, seconds=0.01), range(20), 5, DT)
    for _ in slow:
        pass
    assert slow.waiting.share > 0.9
    ahead = batches(Clicks(20, seconds=0.002), range(20), 2, DT, prefetch=2)
    for _ in ahead:
        time.sleep(0.02)
    # The first batch is waited for, as nothing was made before it was asked for.
    assert ahead.waiting.busy > 0.15
    assert ahead.waiting.share < 0.2


# Going on after an interruption --------------------------------------------------------------------


@pytest.mark.parametrize("options", VARIANTS)
@pytest.mark.parametrize("stop", [0, 1, 4, 6, 9])
def test_another_loader_goes_on_at_the_next_batch(options, stop):
    def make(**more):
        return batches(Clicks(), range(40), 6, DT, seed=3, **options, **more)

    whole = make()
    expected = [batch for _ in range(3) for batch in whole]
    first = make(prefetch=2)
    given_out = []
    while len(given_out) < stop:
        for batch in first:
            given_out.append(batch)
            if len(given_out) == stop:
                break
    state = json.loads(json.dumps(first.state()))
    second = make()
    second.restore(state)
    rest = [batch for _ in range(3) for batch in second][: len(expected) - stop]
    all_same(expected, given_out + rest)


def test_what_was_made_ahead_but_not_given_out_is_given_again():
    loader = batches(Clicks(), range(40), 4, DT, prefetch=5)
    iterator = iter(loader)
    next(iterator)
    time.sleep(0.1)
    state = loader.state()
    assert (state["epoch"], state["batch"]) == (0, 1)
    other = batches(Clicks(), range(40), 4, DT)
    other.restore(state)
    same(next(iter(other)), next(iterator))


def test_a_finished_epoch_is_followed_by_the_next():
    loader = batches(Clicks(), range(40), 4, DT)
    list(loader)
    assert (loader.state()["epoch"], loader.state()["batch"]) == (1, 0)


def test_the_order_is_the_same_in_another_process(root):
    code = (
        "import sys; sys.path.insert(0, 'tests'); import brainunit as u; from clicks import Clicks; "
        "from snntrace.datasets import batches; loader = batches(Clicks(), range(40), 6, 4 * u.ms, seed=9); "
        "loader.restore({'epoch': 2, 'batch': 3} | {k: v for k, v in loader.state().items() "
        "if k not in {'epoch', 'batch'}}); print([b.indices.tolist() for b in loader])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    expected = [b.indices.tolist() for b in batches(Clicks(), range(40), 6, DT, seed=9).epoch(2, 3)]
    assert json.loads(found.stdout) == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 4}, r"loader with the same seed, got seed=3 for 4"),
        ({"batch_size": 5}, r"same batch_size, got batch_size=6 for 5"),
        ({"indices": range(39)}, r"same indices"),
        ({"shuffle": False}, r"same shuffle"),
        ({"shard": (1, 2)}, r"same shard, got shard=\[0, 1\] for \[1, 2\]"),
        ({"buckets": 2}, r"same indices"),
    ],
)
def test_the_state_of_another_loader_is_refused(change, message):
    options = {"indices": range(40), "batch_size": 6, "seed": 3}
    state = batches(Clicks(), dt=DT, **options).state()
    with pytest.raises(ValueError, match=message):
        batches(Clicks(), dt=DT, **(options | change)).restore(state)


@pytest.mark.parametrize("wrong", [{"epoch": -1}, {"batch": 7}, {"batch": None}, {"epoch": "1"}])
def test_a_state_that_names_no_batch_is_refused(wrong):
    loader = batches(Clicks(), range(40), 6, DT)
    with pytest.raises(ValueError, match="must name an epoch and one of 7 batches"):
        loader.restore(loader.state() | wrong)


# Several processes ---------------------------------------------------------------------------------


@given(
    n=st.integers(8, 60),
    of=st.integers(1, 4),
    size=st.integers(1, 7),
    buckets=st.integers(1, 3),
    seed=st.integers(0, 9),
)
def test_processes_share_the_batches_of_an_epoch_between_them(n, of, size, buckets, seed):
    options = {"seed": seed, "buckets": buckets}
    whole = [b.indices.tolist() for b in batches(Clicks(n), range(n), size, DT, **options).epoch(1)]
    parts = []
    for i in range(of):
        if i >= len(whole):
            with pytest.raises(ValueError, match="at least one batch"):
                batches(Clicks(n), range(n), size, DT, shard=(i, of), **options)
            continue
        part = batches(Clicks(n), range(n), size, DT, shard=(i, of), **options)
        parts.append([b.indices.tolist() for b in part.epoch(1)])
        assert len(part) == len(parts[-1])
    assert sorted(sum(parts, [])) == sorted(whole)
    assert sorted(sum(sum(parts, []), [])) == list(range(n))


@pytest.mark.parametrize(
    "options", [{"drop_last": True}, {"pad_last": True}, {"pad_last": True, "buckets": 2}]
)
def test_processes_that_must_keep_pace_get_equally_many_batches(options):
    loaders = [batches(Clicks(41), range(41), 4, DT, shard=(i, 3), **options) for i in range(3)]
    assert len({len(loader) for loader in loaders}) == 1
    found = [list(loader) for loader in loaders]
    assert {len(part) for part in found} == {len(loaders[0])}
    rows = np.concatenate([batch.indices for part in found for batch in part])
    real = rows[rows >= 0]
    assert len(np.unique(real)) == len(real)
    assert (len(real) == 41) == ("pad_last" in options)


# Buckets -------------------------------------------------------------------------------------------


@given(n=st.integers(6, 60), buckets=st.integers(2, 5), size=st.integers(1, 6), seed=st.integers(0, 9))
def test_a_bucket_holds_recordings_of_similar_length(n, buckets, size, seed):
    data = Clicks(n)
    loader = batches(data, range(n), size, DT, buckets=buckets, seed=seed)
    found = list(loader)
    assert sorted(np.concatenate([b.indices for b in found]).tolist()) == list(range(n))
    for batch in found:
        expected = bin_batch([data.events(i) for i in batch.indices], n_units=6, dt=DT, n_steps=len(batch.x))
        np.testing.assert_array_equal(batch.x, expected.x)
        np.testing.assert_array_equal(batch.lengths, expected.lengths)
        np.testing.assert_array_equal(batch.mask, expected.mask)
    shapes = {len(batch.x) for batch in found}
    assert len(shapes) <= buckets
    assert max(shapes) == loader.n_steps
    # Each recording is in the first bucket that is long enough for it.
    for batch in found:
        shorter = [steps for steps in shapes if steps < len(batch.x)]
        assert (batch.lengths > max(shorter, default=0)).all()


def test_buckets_spare_padding():
    one, four = (batches(Clicks(200), range(200), 5, DT, buckets=k) for k in (1, 4))
    padding = [sum(float((~batch.mask).sum()) for batch in loader) for loader in (one, four)]
    assert padding[1] < 0.35 * padding[0]


def test_buckets_come_in_a_mixed_order():
    loader = batches(Clicks(200), range(200), 5, DT, buckets=4)
    steps = [len(batch.x) for batch in loader]
    assert steps != sorted(steps)
    assert [len(batch.x) for batch in loader] != steps


def test_known_durations_spare_reading():
    data = Clicks(40)
    data.durations = np.array([0.01 * (1 + i % 7) for i in range(40)])
    loader = batches(data, range(40), 5, DT, buckets=3)
    assert data.reads == []
    assert loader.n_steps == 18


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"buckets": 0}, "got buckets=0"),
        ({"prefetch": -1}, "prefetch=-1"),
        ({"workers": 0, "prefetch": 1}, "workers=0"),
        ({"workers": 2}, r"workers have something to fetch, got buckets=1, prefetch=0 and workers=2"),
        ({"shard": (2, 2)}, r"shard must be \(i, n\) with i in 0 \.\. n - 1, got shard=\(2, 2\)"),
        ({"shard": (-1, 2)}, "got shard="),
        ({"buckets": 7, "drop_last": True}, "at least one batch"),
        ({"n_units": 0}, "n_units"),
    ],
)
def test_work_that_cannot_be_divided_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        batches(Clicks(), range(40), 30, DT, **options)


# Memory --------------------------------------------------------------------------------------------

MEMORY = """
import resource, sys
import brainunit as u, numpy as np
from snntrace.datasets import batches

class Big:
    n_units, class_names, groups, duration = 1000, ("a",), None, 0.999
    labels = np.zeros(4000, np.int64)
    def __len__(self): return 4000
    def events(self, index):
        rng = np.random.default_rng(index)
        return np.sort(rng.random(5000)) * 0.999, rng.integers(0, 1000, 5000)

def peak():
    for line in open("/proc/self/status"):
        if line.startswith("VmHWM"): return int(line.split()[1]) / 1024

loader = batches(Big(), range(4000), 10, 4 * u.ms, prefetch=3, workers=2)
first, before = next(iter(loader)), peak()
for k, batch in enumerate(loader):
    if k == 59: break
print(batch.x.nbytes / 2**20, before, peak())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak memory from /proc")
def test_memory_does_not_grow_with_the_number_of_batches():
    found = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
    batch, before, after = map(float, found.stdout.split())
    # One in use, three ahead, and two at work; sixty would be more than half a gigabyte.
    assert batch == pytest.approx(9.5, abs=0.1)
    assert after - before < 8 * batch


def test_an_epoch_that_is_set_begins_at_its_first_batch_and_is_kept():
    loader = batches(SaccadeDigits(), range(40), np.int64(8), 4 * u.ms, n_steps=9, seed=np.int64(3))
    loader.next_epoch = 5
    state = json.loads(json.dumps(loader.state()))
    assert (state["epoch"], state["batch"]) == (5, 0)
    again = batches(SaccadeDigits(), range(40), 8, 4 * u.ms, n_steps=9, seed=3)
    again.restore(state)
    assert [b.indices.tolist() for b in again] == [b.indices.tolist() for b in loader.epoch(5)]
    again.restore(state | {"batch": 3})
    again.next_epoch = 7
    assert [b.indices.tolist() for b in again] == [b.indices.tolist() for b in loader.epoch(7)]
