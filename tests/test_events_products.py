import subprocess
import sys
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from snntrace.events import (
    CSRWeight,
    FanOutWeight,
    Spikes,
    event_matmul,
    event_outer,
    kernels,
    products,
    sparse_kernels,
    sparse_products,
)
from snntrace.events.lists import result
from snntrace.events.native import native_call

ACTIVITIES = (0.0, 0.001, 0.01, 0.1, 0.5)
SHAPES = [(9, 4, 23, 17), (1, 5, 7, 3), (12, 1, 3, 20), (1, 1, 1, 1), (30, 16, 90, 40)]


def drawn(shape, activity=1.0, *, graded=True, dtype=np.float32, seed=0):
    rng = np.random.default_rng(seed)
    size = rng.normal(size=shape) if graded else 1
    return ((rng.random(shape) < activity) * size).astype(dtype)


def sparse_matrix(n_pre, n_post, seed=3):
    return drawn((n_pre, n_post), 0.3, seed=seed)


def fan_out(n_pre, n_post, k=4, seed=3):
    rng = np.random.default_rng(seed)
    return FanOutWeight.of(rng.integers(0, n_post, (n_pre, k)), drawn((n_pre, k), seed=seed), n_post)


def close(found, expected, tolerance=1e-5):
    scale = max(1.0, np.abs(expected).max(initial=0))
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("activity", ACTIVITIES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("graded", [False, True])
def test_products_are_those_of_the_raster(shape, activity, graded):
    *rows, n_pre, n_post = shape
    x = drawn((*rows, n_pre), activity, graded=graded)
    w, y = drawn((n_pre, n_post), seed=1), drawn((*rows, n_post), seed=2)
    precise = x.astype(np.float64)
    for spikes in (Spikes.from_dense(x), x, jnp.asarray(x)):
        close(event_matmul(spikes, w), precise @ w)
        close(jax.jit(event_matmul)(spikes, w), precise @ w)
        close(event_outer(spikes, y), np.einsum("tbi,tbj->ij", precise, y))
    sparse = sparse_matrix(n_pre, n_post)
    for spikes in (Spikes.from_dense(x), x):
        close(event_matmul(spikes, CSRWeight.from_dense(sparse)), precise @ sparse)
        weight = fan_out(n_pre, n_post)
        close(event_matmul(spikes, weight), precise @ np.asarray(weight.todense()))


@pytest.mark.parametrize("shape", [(5,), (3, 5), (2, 3, 5), (2, 2, 3, 5), (0, 5)])
def test_an_array_may_have_any_number_of_axes(shape):
    x, w = drawn(shape, 0.4), drawn((5, 4), seed=1)
    close(event_matmul(x, w), x @ w)
    close(event_matmul(x, CSRWeight.from_dense(w)), x @ w)
    y = drawn((*shape[:-1], 4), seed=2)
    close(event_outer(x, y), x.reshape(-1, 5).T @ y.reshape(-1, 4))


@pytest.mark.parametrize("dtype", [np.bool_, np.int32])
def test_integers_and_booleans_are_spikes_too(dtype):
    x, w = drawn((6, 5), 0.4, graded=False, dtype=dtype), drawn((5, 4), seed=1)
    close(event_matmul(x, w), x.astype(np.float32) @ w)
    close(event_matmul(x, CSRWeight.from_dense(w)), x.astype(np.float32) @ w)


def test_double_precision_stays_so():
    x = drawn((4, 3, 30), 0.3, dtype=np.float64)
    w, y = drawn((30, 9), seed=1, dtype=np.float64), drawn((4, 3, 9), seed=2, dtype=np.float64)
    with jax.enable_x64(True):
        for spikes in (x, Spikes.from_dense(x)):
            for weight in (w, CSRWeight.from_dense(w)):
                out = event_matmul(spikes, weight)
                assert out.dtype == np.float64
                close(out, x @ w, 1e-14)
            close(event_outer(spikes, y), np.einsum("tbi,tbj->ij", x, y), 1e-14)
        mixed = event_matmul(Spikes.from_dense(x), w.astype(np.float32))
        assert mixed.dtype == np.float64


def test_slices_and_repeated_units_count_as_they_stand():
    x, w = drawn((8, 3, 6), 0.4), drawn((6, 5), seed=1)
    close(event_matmul(Spikes.from_dense(x)[2:6], w), x[2:6] @ w)
    twice = Spikes.from_rows([[0, 2]], [1, 1], 6)
    close(event_matmul(twice, w)[0, 0], 2 * w[1])
    close(event_outer(twice, np.ones((1, 1, 5), np.float32))[1], 2 * np.ones(5))
    close(event_matmul(twice, CSRWeight.from_dense(w))[0, 0], 2 * w[1])


def test_events_past_the_capacity_are_left_out_of_products():
    x, w = np.ones((2, 2, 4), np.float32), drawn((4, 3), seed=1)
    for weight in (w, CSRWeight.from_dense(w)):
        out = jax.jit(lambda x, weight=weight: event_matmul(Spikes.from_dense(x, 10), weight))(x)
        close(out[0, 0], w.sum(0))
        close(out[:, 1], np.stack([w[:2].sum(0), np.zeros(3)]))


def dense_product(x, w):
    return x @ w


LOSS_WEIGHT = drawn((9, 4, 17), seed=5)


def loss_of(product):
    return lambda *operands: (jnp.tanh(product(*operands)) * LOSS_WEIGHT).sum()


@pytest.mark.parametrize("activity", [0.0, 0.1, 0.5])
def test_gradients_are_those_of_the_dense_product(activity):
    x, w = jnp.asarray(drawn((9, 4, 23), activity)), jnp.asarray(drawn((23, 17), seed=1))
    found = jax.jit(jax.grad(loss_of(event_matmul), (0, 1)))(x, w)
    expected = jax.grad(loss_of(dense_product), (0, 1))(x, w)
    for one, two in zip(found, expected, strict=True):
        close(one, two)
    spikes = Spikes.from_dense(np.asarray(x))
    close(jax.grad(loss_of(event_matmul), 1)(spikes, w), expected[1])


def values_at_events(x, gradient):
    batch_first = np.swapaxes(np.asarray(gradient), 0, 1)
    return batch_first[np.swapaxes(np.asarray(x), 0, 1) != 0]


@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_the_gradient_by_values_is_the_dense_one_at_the_events(kind):
    x, w = drawn((9, 4, 23), 0.2), sparse_matrix(23, 17)
    spikes = Spikes.from_dense(x)
    weight = jnp.asarray(w) if kind == "dense" else CSRWeight.from_dense(w)

    def loss(values):
        graded = Spikes(spikes.pointers, spikes.indices, values, 23)
        return loss_of(event_matmul)(graded, weight)

    found = jax.grad(loss)(jnp.asarray(spikes.values))
    expected = values_at_events(x, jax.grad(loss_of(dense_product))(jnp.asarray(x), w))
    close(found[: expected.size], expected)
    assert not found[expected.size :].any()


@pytest.mark.parametrize("lists", [False, True])
def test_gradients_by_sparse_weights_and_their_input_are_dense_ones(lists):
    x, weight = jnp.asarray(drawn((9, 4, 23), 0.2)), fan_out(23, 17)
    spikes = Spikes.from_dense(np.asarray(x)) if lists else x

    def loss(values, x):
        return loss_of(event_matmul)(x, FanOutWeight(weight.targets, values, 17))

    def dense_loss(values, x):
        return loss_of(dense_product)(x, FanOutWeight(weight.targets, values, 17).todense())

    close(jax.grad(loss)(weight.values, spikes), jax.grad(dense_loss)(weight.values, x))
    if not lists:
        close(jax.grad(loss, 1)(weight.values, x), jax.grad(dense_loss, 1)(weight.values, x))


def second_derivatives(product, x, w):
    """Return what reaches every rule: a tangent of a gradient, and a gradient of one."""
    loss = loss_of(product)
    gradient = jax.grad(loss, (0, 1))
    changes = jnp.ones_like(x) * 0.3, jnp.asarray(drawn(w.shape, seed=9))
    return jax.jvp(gradient, (x, w), changes)[1], jax.grad(lambda w: (gradient(x, w)[1] ** 2).sum())(w)


def test_second_derivatives_are_those_of_the_dense_product():
    x, w = jnp.asarray(drawn((9, 4, 23), 0.2)), jnp.asarray(drawn((23, 17), seed=1))
    found, expected = (second_derivatives(product, x, w) for product in (event_matmul, dense_product))
    for one, two in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        close(one, two, 1e-4)


@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_second_derivatives_of_lists_are_those_of_the_dense_product(kind):
    x = drawn((9, 4, 23), 0.2)
    lists = Spikes.from_dense(x)
    structure = CSRWeight.from_dense(sparse_matrix(23, 17))

    def native(values, w):
        weight = w if kind == "dense" else CSRWeight(structure.starts, structure.targets, w, 17)
        return event_matmul(Spikes(lists.pointers, lists.indices, values, 23), weight)

    def dense(values, w):
        weight = w if kind == "dense" else CSRWeight(structure.starts, structure.targets, w, 17).todense()
        return Spikes(lists.pointers, lists.indices, values, 23).dense() @ weight

    w = jnp.asarray(drawn((23, 17), seed=1)) if kind == "dense" else structure.values
    found, expected = (second_derivatives(f, jnp.asarray(lists.values), w) for f in (native, dense))
    for one, two in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        close(one, two, 1e-4)


def test_the_gradient_of_an_outer_product_is_the_dense_one():
    x, y = jnp.asarray(drawn((9, 4, 23), 0.2)), jnp.asarray(drawn((9, 4, 17), seed=1))
    target = drawn((23, 17), seed=2)

    def loss(x, y):
        return (jnp.tanh(event_outer(x, y)) * target).sum()

    def dense_loss(x, y):
        return (jnp.tanh(jnp.einsum("tbi,tbj->ij", x, y)) * target).sum()

    found, expected = (jax.grad(f, (0, 1))(x, y) for f in (loss, dense_loss))
    close(found[0], expected[0])
    close(found[1], expected[1])
    close(jax.grad(loss, 1)(Spikes.from_dense(np.asarray(x)), y), expected[1])


def test_values_that_are_all_one_have_no_gradient():
    spikes, w = Spikes.from_rows([[0, 2]], [0, 1], 3), jnp.ones((3, 2))
    out, tangent = jax.jvp(lambda w: event_matmul(spikes, w), (w,), (2 * w,))
    close(tangent, 2 * out)
    assert jax.grad(lambda s: event_matmul(s, w).sum(), allow_int=True)(spikes).values is None


def calls(function, *operands):
    """Count the calls of kernels and the loops of a function."""
    text = jax.jit(function).lower(*operands).as_text()
    return text.count("custom_call @snntrace_"), text.count("stablehlo.while")


X, W = drawn((3, 6, 4, 23), 0.2), drawn((23, 17), seed=1)
LISTS = jax.vmap(lambda x: Spikes.from_dense(x))(X)
SPARSE = CSRWeight.from_dense(sparse_matrix(23, 17))
DENSE_SPARSE = np.asarray(SPARSE.todense())


@pytest.mark.parametrize(
    ("function", "operands", "expected"),
    [
        (lambda x: event_matmul(x, W), (X,), X @ W),
        (lambda s: event_matmul(s, W), (LISTS,), X @ W),
        (lambda w: event_matmul(X[0], w), (np.stack([W, 2 * W]),), np.stack([X[0] @ W, 2 * X[0] @ W])),
        (
            lambda w: event_matmul(Spikes.from_dense(X[0]), w),
            (np.stack([W, 2 * W]),),
            np.stack([X[0] @ W, 2 * X[0] @ W]),
        ),
        (lambda x: event_matmul(x, SPARSE), (X,), X @ DENSE_SPARSE),
        (lambda s: event_matmul(s, SPARSE), (LISTS,), X @ DENSE_SPARSE),
        (lambda x: event_outer(x, (X @ W)[0]), (X,), np.einsum("ntbi,tbj->nij", X, (X @ W)[0])),
        (lambda y: event_outer(X[0], y), (X @ W,), np.einsum("tbi,ntbj->nij", X[0], X @ W)),
        (
            lambda y: event_outer(Spikes.from_dense(X[0]), y),
            (X @ W,),
            np.einsum("tbi,ntbj->nij", X[0], X @ W),
        ),
    ],
)
def test_mapping_one_operand_makes_one_call(function, operands, expected):
    close(jax.vmap(function)(*operands), expected)
    assert calls(jax.vmap(function), *operands) == (1, 0)


@pytest.mark.parametrize(
    ("function", "operands", "expected"),
    [
        (event_matmul, (X, np.stack([W, -W, 2 * W])), [X[0] @ W, -X[1] @ W, 2 * X[2] @ W]),
        (event_matmul, (LISTS, np.stack([W, -W, 2 * W])), [X[0] @ W, -X[1] @ W, 2 * X[2] @ W]),
        (event_outer, (X, X @ W), np.einsum("ntbi,ntbj->nij", X, X @ W)),
        (event_outer, (LISTS, X @ W), np.einsum("ntbi,ntbj->nij", X, X @ W)),
    ],
)
def test_both_operands_may_be_mapped(function, operands, expected):
    close(jax.vmap(function)(*operands), np.stack(expected))


def test_only_a_part_of_a_list_may_be_mapped():
    lists = Spikes.from_dense(X[0])
    values = np.stack([lists.values, 3 * lists.values])

    def function(values):
        return event_matmul(Spikes(lists.pointers, lists.indices, values, 23), W)

    close(jax.vmap(function)(values), np.stack([X[0] @ W, 3 * X[0] @ W]))


def test_any_axis_may_be_mapped():
    close(jax.vmap(lambda x: event_matmul(x, W), in_axes=2, out_axes=1)(X), np.moveaxis(X @ W, 2, 1))
    close(jax.vmap(jax.vmap(lambda x: event_matmul(x, W)))(X), X @ W)


@pytest.mark.parametrize("weight", [W, SPARSE, fan_out(23, 17)], ids=["dense", "rows", "fan-out"])
@pytest.mark.parametrize("lists", [False, True])
def test_the_gradient_of_mapped_products_is_the_dense_one(weight, lists):
    is_dense = isinstance(weight, np.ndarray)
    values = weight if is_dense else weight.values

    def with_values(values):
        return values if is_dense else replace(weight, values=values)

    def loss(x, values):
        return (jnp.tanh(event_matmul(x, with_values(values))) ** 2).sum()

    def dense_loss(x, values):
        w = values if is_dense else with_values(values).todense()
        return (jnp.tanh(x @ w) ** 2).sum()

    found = jax.vmap(jax.grad(loss, 1), (0, None))(LISTS if lists else X, values)
    close(found, jax.vmap(jax.grad(dense_loss, 1), (0, None))(X, values))


def both_numbers_of_threads(kernel, shape, *operands):
    outs = []
    for n in (1, 2, 3):
        threads = np.array([n], np.int32)
        outs.append(np.asarray(native_call(kernel, [result(shape, np.float32)], *operands, threads)[0]))
    return outs


def test_the_number_of_threads_does_not_change_a_result():
    x = drawn((50, 16, 200), 0.1)
    w, y = drawn((200, 130), seed=1), drawn((50, 16, 130), seed=2)
    lists = Spikes.from_dense(x)
    p, i, v = lists.pointers, lists.indices, lists.values
    csr = CSRWeight.from_dense(drawn((200, 130), 0.5, seed=3))
    rows = x.reshape(-1, 200)
    assert int(lists.n_events) * 130 > kernels.WORK
    for kernel, shape, operands in (
        (kernels.matmul, (50, 16, 130), (p, i, v, w)),
        (kernels.outer, (200, 130), (p, i, v, y)),
        (kernels.dot, v.shape, (p, i, w, y)),
        (kernels.scan_matmul, (800, 130), (rows, w)),
        (kernels.scan_outer, (200, 130), (rows, y.reshape(800, 130))),
        (sparse_kernels.matmul, (50, 16, 130), (p, i, v, csr.starts, csr.targets, csr.values)),
        (sparse_kernels.outer, csr.values.shape, (p, i, v, csr.starts, csr.targets, y)),
        (sparse_kernels.dot, v.shape, (p, i, csr.starts, csr.targets, csr.values, y)),
    ):
        one, two, three = both_numbers_of_threads(kernel, shape, *operands)
        assert np.abs(one).max() > 0
        np.testing.assert_array_equal(one, two)
        np.testing.assert_array_equal(one, three)


PROGRAM = """
import numpy as np
from snntrace.events import Spikes, event_matmul, event_outer
rng = np.random.default_rng(0)
x = (rng.random((40, 16, 200)) < 0.1).astype(np.float32)
w = rng.normal(size=(200, 130)).astype(np.float32)
y = np.asarray(event_matmul(Spikes.from_dense(x), w))
print(y.tobytes().hex()[:4000], np.asarray(event_outer(x, y)).tobytes().hex()[-4000:])
"""


@pytest.mark.slow
def test_two_runs_with_any_number_of_threads_give_the_same_bits():
    def run(threads):
        environment = {"SNNTRACE_THREADS": threads, "JAX_PLATFORMS": "cpu", "PATH": ""}
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, env=environment
        )
        return done.stdout

    assert run("2") == run("2") == run("1")


PORTABLE = {
    products.lists_matmul_p: (products._lists_matmul, lambda p, i, v, c, w, y: (p, i, v, w), {}),
    products.lists_outer_p: (products._lists_outer, lambda p, i, v, c, w, y: (p, i, v, y), {"n_units": 23}),
    products.lists_dot_p: (products._lists_dot, lambda p, i, v, c, w, y: (p, i, w, y), {}),
    sparse_products.sparse_matmul_p: (
        sparse_products._matmul,
        lambda p, i, v, c, w, y: (p, i, v, c.starts, c.targets, c.values),
        {"n_post": 17},
    ),
    sparse_products.sparse_outer_p: (
        sparse_products._outer,
        lambda p, i, v, c, w, y: (p, i, v, c.starts, c.targets, y),
        {},
    ),
    sparse_products.sparse_dot_p: (
        sparse_products._dot,
        lambda p, i, v, c, w, y: (p, i, c.starts, c.targets, c.values, y),
        {},
    ),
}


@pytest.mark.parametrize("primitive", PORTABLE, ids=lambda p: p.name)
@pytest.mark.parametrize("graded", [False, True])
@pytest.mark.parametrize("activity", [0.0, 0.01, 0.5])
def test_the_portable_form_gives_what_the_kernel_gives(primitive, graded, activity):
    portable, choose, params = PORTABLE[primitive]
    lists = Spikes.from_dense(drawn((6, 4, 23), activity, graded=graded), 300)
    values = np.zeros(0, np.float32) if lists.values is None else lists.values
    y = drawn((6, 4, 17), seed=2)
    operands = [jnp.asarray(o) for o in choose(lists.pointers, lists.indices, values, SPARSE, W, y)]
    close(portable(*operands, **params), primitive.bind(*operands, **params))


@pytest.mark.parametrize("weight", [W, SPARSE], ids=["dense", "sparse"])
def test_other_devices_get_jaxs_own_operations(weight):
    def function(x, lists):
        def loss(w):
            return event_matmul(x, w).sum() + event_matmul(lists, w).sum()

        return jax.grad(loss, allow_int=True)(weight)

    lists = Spikes.from_dense(X[0])
    exported = jax.export.export(jax.jit(function), platforms=["cuda"])(
        X[0], jax.tree.map(jnp.asarray, lists)
    )
    assert "snntrace_" not in exported.mlir_module()
    assert calls(function, X[0], lists)[0] > 0


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: event_matmul(X[0], W.T), ValueError, r"x.shape=\(6, 4, 23\) and w.shape=\(17, 23\)"),
        (lambda: event_matmul(Spikes.from_dense(X[0]), W.T), ValueError, "the last axis of x must be"),
        (lambda: event_matmul(X[0][..., :5], SPARSE), ValueError, "the last axis of x must be"),
        (lambda: event_matmul(np.float32(1), W), ValueError, r"x.shape=\(\)"),
        (lambda: event_matmul(X[0], W[0]), ValueError, r"\(n_pre, n_post\), got w.shape=\(17,\)"),
        (lambda: event_matmul(X[0], W.astype(int)), TypeError, "w must be float32 or float64"),
        (lambda: event_matmul(X[0], W.astype(np.float16)), TypeError, "got w.dtype=float16"),
        (lambda: event_matmul(X[0].astype(np.float16), W), TypeError, "got x.dtype=float16"),
        (lambda: event_outer(X[0], X[1, :2]), ValueError, "x and y must have the same rows"),
        (lambda: event_outer(X[0], X[0].astype(int)), TypeError, "y must be float32 or float64"),
    ],
)
def test_operands_that_do_not_fit_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()
