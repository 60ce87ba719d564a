import jax
import jax.numpy as jnp
import numpy as np
import pytest

from snntrace.events import CSRWeight, FanOutWeight


def drawn(shape, activity=1.0, seed=0):
    rng = np.random.default_rng(seed)
    return ((rng.random(shape) < activity) * rng.normal(size=shape)).astype(np.float32)


@pytest.mark.parametrize("activity", [0.0, 0.1, 1.0])
def test_compressed_rows_are_the_matrix(activity):
    w = drawn((13, 8), activity)
    sparse = CSRWeight.from_dense(w)
    assert sparse.shape == (13, 8)
    assert sparse.dtype == np.float32
    assert sparse.values.size == np.count_nonzero(w)
    np.testing.assert_array_equal(sparse.todense(), w)


def test_a_fan_out_is_the_matrix_of_its_entries():
    targets = [[0, 3], [3, 3], [1, 2]]
    values = drawn((3, 2))
    expected = np.zeros((3, 4), np.float32)
    for i in range(3):
        for k in range(2):
            expected[i, targets[i][k]] += values[i, k]
    weight = FanOutWeight.of(targets, values, 4)
    assert weight.shape == (3, 4)
    np.testing.assert_array_equal(weight.todense(), expected)
    np.testing.assert_array_equal(weight.compressed().todense(), expected)


def test_a_fan_in_is_the_matrix_of_its_entries():
    sources = [[4, 0], [1, 1], [2, 0]]
    values = drawn((3, 2))
    expected = np.zeros((5, 3), np.float32)
    for j in range(3):
        for k in range(2):
            expected[sources[j][k], j] += values[j, k]
    np.testing.assert_array_equal(CSRWeight.from_fan_in(sources, values, 5).todense(), expected)


def test_values_may_be_traced_and_differentiated():
    def loss(values):
        return (CSRWeight.of([0, 2, 3], [0, 2, 1], values, 3).todense() ** 2).sum()

    values = jnp.asarray([1.0, 2.0, 3.0])
    np.testing.assert_allclose(jax.jit(jax.grad(loss))(values), 2 * values)
    assert len(jax.tree.leaves(CSRWeight.from_dense(np.eye(3, dtype=np.float32)))) == 3


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: CSRWeight.of([0, 1], [0.5], [1.0], 2), TypeError, "targets must be integers"),
        (lambda: CSRWeight.of([0, 1], [0], [1], 2), TypeError, "values must be floats, got values.dtype=int"),
        (lambda: CSRWeight.of([0, 1], [0], [1.0, 2.0], 2), ValueError, r"values.shape=\(2,\)"),
        (lambda: CSRWeight.of([], [0], [1.0], 2), ValueError, r"starts.shape=\(0,\)"),
        (lambda: CSRWeight.of([0, 2], [0], [1.0], 2), ValueError, "starts must rise from 0"),
        (lambda: CSRWeight.of([0, 2, 1], [0], [1.0], 2), ValueError, "starts must rise from 0"),
        (lambda: CSRWeight.of([1, 1], [0], [1.0], 2), ValueError, "starts must rise from 0"),
        (lambda: CSRWeight.of([0, 1], [2], [1.0], 2), ValueError, r"targets must be in 0 \.\. 1, got 2"),
        (lambda: CSRWeight.of([0, 1], [-1], [1.0], 2), ValueError, "got -1"),
        (lambda: CSRWeight.from_dense(np.ones(3)), ValueError, r"w.shape=\(3,\)"),
        (lambda: CSRWeight.from_fan_in([[5]], [[1.0]], 5), ValueError, r"sources must be in 0 \.\. 4, got 5"),
        (lambda: FanOutWeight.of([[0, 1]], [[1.0]], 2), ValueError, r"targets.shape=\(1, 2\)"),
        (lambda: FanOutWeight.of([0, 1], [1.0, 2.0], 2), ValueError, r"one shape \(unit, k\)"),
        (lambda: FanOutWeight.of([[2]], [[1.0]], 2), ValueError, "targets must be in"),
        (lambda: FanOutWeight.of([[0.0]], [[1.0]], 2), TypeError, "targets must be integers"),
    ],
)
def test_weights_that_contradict_themselves_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()
