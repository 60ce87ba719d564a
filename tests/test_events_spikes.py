import brainunit as u
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import snntrace
from snntrace.datasets import bin_batch
from snntrace.events import Spikes
from snntrace.events.lists import list_portable, rounded

DT = 4 * u.ms
ACTIVITIES = (0.0, 0.001, 0.01, 0.1, 0.5, 1.0)


def drawn(shape, activity, *, graded=False, dtype=np.float32, seed=0):
    rng = np.random.default_rng(seed)
    size = rng.normal(size=shape) if graded else 1
    return ((rng.random(shape) < activity) * size).astype(dtype)


def listed_one_by_one(raster):
    """Return pointers, indices and values by plain loops."""
    pointers, indices, values = [], [], []
    for sample in np.swapaxes(raster, 0, 1):
        pointers.append([len(indices)])
        for row in sample:
            indices += np.flatnonzero(row).tolist()
            values += row[np.flatnonzero(row)].tolist()
            pointers[-1].append(len(indices))
    return pointers, indices, values


@pytest.mark.parametrize("activity", ACTIVITIES)
@pytest.mark.parametrize("shape", [(9, 4, 23), (1, 5, 7), (12, 1, 3), (1, 1, 1), (40, 70, 100)])
@pytest.mark.parametrize("graded", [False, True])
def test_the_lists_of_a_raster_are_those_of_a_plain_loop(shape, activity, graded):
    raster = drawn(shape, activity, graded=graded)
    pointers, indices, values = listed_one_by_one(raster)
    traced = jax.jit(lambda x: Spikes.from_dense(x, graded=graded))(raster)
    portable = Spikes(*list_portable(jnp.asarray(raster), rounded(raster.size), True), shape[2])
    for spikes in (Spikes.from_dense(raster), traced, portable):
        assert spikes.shape == shape
        assert int(spikes.n_events) == len(indices)
        assert spikes.pointers.tolist() == pointers
        assert spikes.indices[: len(indices)].tolist() == indices
        if spikes.values is not None:
            assert spikes.values[: len(indices)].tolist() == values
        np.testing.assert_array_equal(spikes.dense(), raster)
        assert spikes.density() == pytest.approx(len(indices) / raster.size)


@pytest.mark.parametrize("dtype", [np.bool_, np.int32, np.uint8, np.float16, np.float32])
def test_any_real_number_type_is_listed(dtype):
    raster = drawn((5, 3, 8), 0.3, dtype=dtype)
    for spikes in (Spikes.from_dense(raster), jax.jit(Spikes.from_dense)(raster)):
        assert spikes.dtype == np.float32
        np.testing.assert_array_equal(spikes.dense(), raster)
    assert Spikes.from_dense(raster).values is None
    np.testing.assert_array_equal(Spikes.from_dense(raster).dense(jnp.int32), raster)


def test_double_precision_values_stay_so():
    raster = drawn((5, 3, 8), 0.3, graded=True, dtype=np.float64)
    with jax.enable_x64(True):
        spikes = Spikes.from_dense(raster)
        assert spikes.dtype == spikes.dense().dtype == np.float64
        np.testing.assert_array_equal(spikes.dense(), raster)
        np.testing.assert_array_equal(jax.jit(lambda s: s.dense())(spikes), raster)


def test_not_a_number_is_an_event_and_a_negative_zero_is_not():
    raster = np.array([[[np.nan, -0.0, 0.0, 1.0]]], np.float32)
    assert Spikes.from_dense(raster).indices[:2].tolist() == [0, 3]
    assert int(Spikes.from_dense(raster).n_events) == 2


recordings = st.lists(
    st.lists(st.tuples(st.floats(0, 0.2), st.integers(0, 11)), max_size=40), min_size=1, max_size=5
)


@given(recordings, st.booleans(), st.sampled_from([None, 1, 17, 80]))
def test_events_of_recordings_are_the_binned_array(given, binary, n_steps):
    times, units = ([[e[k] for e in events] for events in given] for k in (0, 1))
    units = [np.array(unit, int) for unit in units]
    options = {"n_units": 12, "dt": DT, "n_steps": n_steps, "binary": binary}
    spikes = Spikes.from_times(times, units, **options)
    expected = bin_batch(list(zip(times, units, strict=True)), **options).x
    np.testing.assert_array_equal(spikes.dense(), expected)
    used = np.concatenate([spikes.indices[p[0] : p[-1]] for p in spikes.pointers])
    assert used.size == int(spikes.n_events) == expected.sum()
    Spikes.from_rows(spikes.pointers, spikes.indices, 12)


def test_half_precision_times_are_binned_where_they_are():
    times = np.array([0.5, 0.998, 1.0, 1.37], np.float16)
    spikes = Spikes.from_times([times], [[0, 0, 0, 0]], n_units=1, dt=DT)
    expected = np.floor(times.astype(np.float64) / 0.004).astype(int)
    assert np.flatnonzero(spikes.dense()).tolist() == sorted(set(expected.tolist()))


@given(st.integers(0, 9), st.integers(0, 9))
def test_a_slice_of_steps_is_that_slice_of_the_raster(start, stop):
    raster = drawn((8, 3, 6), 0.4, graded=True)
    spikes = Spikes.from_dense(raster)[start:stop]
    np.testing.assert_array_equal(spikes.dense(), raster[start:stop])
    assert int(spikes.n_events) == np.count_nonzero(raster[start:stop])
    assert spikes.shape == raster[start:stop].shape


def test_slices_of_slices_and_open_ends_are_those_of_the_raster():
    raster = drawn((8, 3, 6), 0.4)
    spikes = Spikes.from_dense(raster)
    for part in (slice(None), slice(2, None), slice(None, -1), slice(-3, None), slice(5, 2)):
        np.testing.assert_array_equal(spikes[part].dense(), raster[part])
    np.testing.assert_array_equal(spikes[2:7][1:3].dense(), raster[2:7][1:3])


def test_samples_may_lie_anywhere_and_repeated_units_add():
    spikes = Spikes.from_rows([[4, 6, 6], [0, 0, 3], [3, 3, 3]], [1, 1, 2, 9, 0, 2], 3)
    expected = np.zeros((2, 3, 3))
    expected[1, 1, 1], expected[1, 1, 2], expected[0, 0, 0], expected[0, 0, 2] = 2, 1, 1, 1
    np.testing.assert_array_equal(spikes.dense(), expected)


def test_lists_go_through_jit_and_vmap():
    rasters = np.stack([drawn((4, 2, 6), 0.4, seed=k) for k in range(3)])
    dense = jax.vmap(lambda x: Spikes.from_dense(x).dense())(rasters)
    np.testing.assert_array_equal(dense, rasters)
    spikes = jax.vmap(Spikes.from_dense)(rasters)
    np.testing.assert_array_equal(jax.vmap(lambda s: s[1:3].dense())(spikes), rasters[:, 1:3])
    leaves, tree = jax.tree.flatten(Spikes.from_dense(rasters[0]))
    assert len(leaves) == 2
    assert jax.tree.unflatten(tree, leaves).n_units == 6


def test_the_gradient_of_the_raster_reaches_the_values_at_the_events():
    raster = drawn((4, 2, 6), 0.4, graded=True)
    spikes = Spikes.from_dense(raster)
    weight = drawn((4, 2, 6), 1, graded=True, seed=1)

    def loss(values):
        return (Spikes(spikes.pointers, spikes.indices, values, 6).dense() * weight).sum()

    found = jax.grad(loss)(jnp.asarray(spikes.values))
    expected = np.swapaxes(weight, 0, 1)[np.swapaxes(raster, 0, 1) != 0]
    np.testing.assert_array_equal(found[: expected.size], expected)
    assert not found[expected.size :].any()


def test_padding_changes_the_shape_and_nothing_else():
    raster = drawn((4, 2, 6), 0.4, graded=True)
    spikes = Spikes.from_dense(raster, 50)
    assert spikes.padded(99).capacity == 99
    assert spikes.padded().capacity == 1024
    np.testing.assert_array_equal(spikes.padded(99).dense(), raster)
    np.testing.assert_array_equal(jax.jit(lambda s: s.padded().dense())(spikes), raster)


@given(st.integers(1024, 2**31 - 2**29))
def test_a_rounded_capacity_holds_the_events_in_a_quarter_more(n):
    assert n <= rounded(n) <= 1.25 * n + 1
    assert rounded(rounded(n)) == rounded(n)


def test_there_are_four_capacities_for_each_power_of_two():
    assert len({rounded(n) for n in range(2**15 + 1, 2**16 + 1)}) == 4


def test_memory_is_four_bytes_an_event_and_four_a_row():
    raster = drawn((50, 8, 100), 0.02)
    spikes = Spikes.from_dense(raster)
    assert spikes.nbytes == 4 * spikes.capacity + 4 * 8 * 51
    assert spikes.nbytes < 0.1 * raster.nbytes


def test_a_traced_raster_with_too_little_room_says_how_much_is_missing():
    raster = drawn((6, 3, 10), 0.3)
    spikes = jax.jit(lambda x: Spikes.from_dense(x, 20))(raster)
    assert int(spikes.n_dropped) == np.count_nonzero(raster) - 20
    assert int(spikes.n_events) == np.count_nonzero(raster)
    assert float(spikes.dense().sum()) == 20
    assert int(Spikes.from_dense(raster).n_dropped) == 0


def test_the_top_level_name_is_the_same_class():
    assert snntrace.Spikes is Spikes


GOOD = ([[0, 1, 3]], [2, 0, 1], 4)


@pytest.mark.parametrize(
    ("pointers", "indices", "values", "message"),
    [
        ([0, 1], [2], None, r"pointers must have shape \(batch, time \+ 1\), got pointers.shape=\(2,\)"),
        (np.zeros((1, 0), int), [2], None, "pointers must have shape"),
        ([[0, 1]], [[2]], None, r"indices must have shape \(capacity,\)"),
        ([[0, 2, 1]], [2, 0, 1], None, "must not decrease"),
        ([[0, 4]], [0, 1, 2], None, r"must be in 0 \.\. 3"),
        ([[-1, 2]], [0, 1, 2], None, r"must be in 0 \.\. 3"),
        ([[0, 2], [1, 3]], [0, 1, 2], None, "samples must not overlap"),
        ([[0, 1, 3]], [0, 1, 4], None, r"indices must be in 0 \.\. 3, got 4"),
        ([[0, 1, 3]], [-1, 1, 2], None, r"indices must be in 0 \.\. 3, got -1"),
        ([[0, 1, 3]], [2, 1, 0], None, r"ascending within a row, got indices=\[1 0\] at place 1"),
        ([[0, 1, 3]], [2, 0, 1], np.ones(2), r"one for each index, got values.shape=\(2,\)"),
    ],
)
def test_lists_that_contradict_themselves_are_refused(pointers, indices, values, message):
    with pytest.raises(ValueError, match=f"Spikes.from_rows: .*{message}"):
        Spikes.from_rows(pointers, indices, 4, values)


def test_what_is_not_used_of_a_list_may_hold_anything():
    spikes = Spikes.from_rows([[1, 2, 3]], [99, 2, 0, -5], 4)
    assert spikes.dense().sum() == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[0.0, 1.0]], [0], 4), "pointers must be integers, got pointers.dtype=float64"),
        (([[0, 1]], [0.5], 4), "indices must be integers"),
        (([[0, 1]], [0], 4, np.ones(1, int)), "values must be floats, got values.dtype=int64"),
    ],
)
def test_lists_of_other_numbers_are_refused(arguments, message):
    with pytest.raises(TypeError, match=f"Spikes.from_rows: {message}"):
        Spikes.from_rows(*arguments)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Spikes.from_dense(np.ones((2, 3))), ValueError, r"raster.shape=\(2, 3\)"),
        (lambda: Spikes.from_dense(np.ones((1, 1, 1), complex)), TypeError, "raster.dtype=complex128"),
        (lambda: Spikes.from_dense(np.ones((1, 2, 3)), 5), ValueError, "capacity=5 for 6 events"),
        (lambda: Spikes.from_times([], [], n_units=1, dt=DT), ValueError, "at least one recording"),
        (lambda: Spikes.from_times([[0.1]], [], n_units=1, dt=DT), ValueError, "got 1 and 0 lists"),
        (lambda: Spikes.from_times([[-0.1]], [[0]], n_units=1, dt=DT), ValueError, "got time=-0.1"),
        (lambda: Spikes.from_times([[np.nan]], [[0]], n_units=1, dt=DT), ValueError, "got time=nan"),
        (lambda: Spikes.from_times([[np.inf]], [[0]], n_units=1, dt=DT), ValueError, "got time=inf"),
        (lambda: Spikes.from_times([[0.1]], [[1]], n_units=1, dt=DT), ValueError, "got unit=1"),
        (lambda: Spikes.from_times([[0.1]], [[0.5]], n_units=1, dt=DT), TypeError, "dtype=float64"),
        (lambda: Spikes.from_times([[0.1]], [[0]], n_units=1, dt=0.004), TypeError, "dt must be a time"),
        (
            lambda: Spikes.from_times([[0.1]], [[0]], n_units=1, dt=DT, n_steps=0),
            ValueError,
            "got n_steps=0",
        ),
        (lambda: Spikes.from_steps([([-1], [0])], n_units=1), ValueError, "steps must be in .* got -1"),
        (
            lambda: Spikes.from_steps([([0], [3])], n_units=3),
            ValueError,
            r"units must be in 0 \.\. 2, got 3",
        ),
        (
            lambda: Spikes.from_steps([([0, 1], [0, 0])], n_units=1, capacity=1),
            ValueError,
            "capacity=1 for 2",
        ),
        (lambda: Spikes.from_rows(*GOOD)[0], TypeError, "got index 0"),
        (lambda: Spikes.from_rows(*GOOD)[::2], TypeError, "slice of consecutive"),
        (lambda: Spikes.from_rows([[0, 1]], [0], 2).padded(0), ValueError, "got capacity=0 for 1"),
        (
            lambda: jax.grad(lambda x: Spikes.from_dense(x).dense().sum())(np.ones((1, 1, 1))),
            TypeError,
            "must not depend on what is differentiated",
        ),
    ],
)
def test_impossible_arguments_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_other_devices_get_jaxs_own_operations():
    exported = jax.export.export(jax.jit(lambda x: Spikes.from_dense(x, 30).dense()), platforms=["cuda"])
    text = exported(jax.ShapeDtypeStruct((4, 2, 6), np.float32)).mlir_module()
    assert "snntrace_" not in text
    native = jax.jit(lambda x: Spikes.from_dense(x, 30)).lower(np.ones((4, 2, 6), np.float32)).as_text()
    assert "snntrace_" in native


def test_a_raster_written_natively_is_the_portable_one_and_follows_its_values():
    rng = np.random.default_rng(4)
    raster = rng.normal(size=(30, 3, 41)) * (rng.random((30, 3, 41)) < 0.2)
    lists = jax.tree.map(jnp.asarray, Spikes.from_dense(raster.astype(np.float32)))
    written = lists.dense()
    np.testing.assert_array_equal(written, raster.astype(np.float32))
    np.testing.assert_array_equal(lists.dense(jnp.float16), raster.astype(np.float16))
    weight = jnp.asarray(rng.normal(size=raster.shape), jnp.float32)

    def weighted(values):
        return (Spikes(lists.pointers, lists.indices, values, 41).dense() * weight).sum()

    gradient = jax.grad(weighted)(lists.values)
    n_events = int((raster != 0).sum())
    of_events = np.swapaxes(weight, 0, 1)[np.swapaxes(raster, 0, 1) != 0]
    np.testing.assert_allclose(gradient[:n_events], of_events, rtol=1e-6)
    assert not np.asarray(gradient[n_events:]).any()


@pytest.mark.parametrize(
    "make",
    [
        lambda n: Spikes.from_times([[0.01]], [[n - 1]], n_units=n, dt=1 * u.ms),
        lambda n: Spikes.from_steps([([0], [n - 1])], n_units=n),
        lambda n: Spikes.from_rows([[0, 1]], np.array([n - 1]), n),
    ],
)
def test_a_unit_that_32_bits_cannot_name_is_refused(make):
    assert int(make(2**31 - 1).indices[0]) == 2**31 - 2
    with pytest.raises(ValueError, match="n_units must be at most 2147483647, got n_units=2147483648"):
        make(2**31)


@pytest.mark.parametrize("far", [1e9, 1e30, 1e300])
def test_a_time_that_no_step_counts_is_dropped_or_refused(far):
    spikes = Spikes.from_times([[0.001, far]], [[1, 0]], n_units=2, dt=DT, n_steps=3)
    assert np.argwhere(np.asarray(spikes.dense())).size == 3
    with pytest.raises(ValueError, match=r"n_steps must be at most 2147483646, got n_steps=\d+"):
        Spikes.from_times([[0.001, far]], [[1, 0]], n_units=2, dt=DT)
