"""What the compiler takes, how it reads it, and what it refuses."""

import brainstate
import brainunit as u
import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from nets import bptt, double_precision, loss, spike, streamed
from steps import LONG, N_IN, B, N, Step, T, assert_exact, compiled, draw, found_by, leaky, leaves

import snntrace
from snntrace import CompileError
from snntrace.neurons import ALIF, LIF, FeedForward, Recurrent
from snntrace.nn import GRUCell, Linear


@pytest.fixture(autouse=True)
def float64():
    with double_precision():
        yield


# Products --------------------------------------------------------------------------------------

W = draw(N_IN, N, scale=0.7)


@jax.jit
def rectified(x, w):
    return jnp.where(x @ w > 0, 2 * (x @ w), 0.0)


@jax.checkpoint
def clipped(x, w):
    return jnp.clip(x @ w, -0.5, 0.5)


@pytest.mark.parametrize(
    ("update", "params"),
    [
        (lambda m, x: leaky(m, x @ m.w.value + m.b.value), {"w": W, "b": draw(N)}),
        (lambda m, x: leaky(m, jnp.einsum("bi,oi->bo", x, m.w.value)), {"w": W.T}),
        (lambda m, x: leaky(m, (m.w.value @ x.T).T), {"w": W.T}),
        (lambda m, x: leaky(m, x @ (m.p.value @ m.q.value)), {"p": draw(N_IN, 2), "q": draw(2, N)}),
        (
            lambda m, x: leaky(m, x @ (m.g.value * m.w.value / jnp.linalg.norm(m.w.value, axis=0))),
            {"g": draw(N), "w": W},
        ),
        (lambda m, x: leaky(m, x @ (jnp.abs(m.w.value) * np.array([1, -1, 1, -1.0])[:, None])), {"w": W}),
        (lambda m, x: leaky(m, x @ m.w.value + jnp.cos(x) @ m.w.value), {"w": W}),
        (lambda m, x: leaky(m, x[:, :N_IN] @ m.w.value) @ m.w.value.T @ W, {"w": W}),
        (lambda m, x: leaky(m, m.d.value * jnp.pad(x, ((0, 0), (0, 1)))), {"d": draw(N)}),
        (lambda m, x: leaky(m, x @ W + m.d.value * jnp.tanh(m.v.value)), {"d": draw(N)}),
        (lambda m, x: leaky(m, x @ W * jax.nn.sigmoid(m.s.value)), {"s": jnp.ones(())}),
        (lambda m, x: leaky(m, x @ W + m.s.value * m.v.value), {"s": 0.1 * jnp.ones((1,))}),
        (lambda m, x: leaky(m, rectified(x, m.w.value)), {"w": W}),
        (lambda m, x: leaky(m, clipped(x, m.w.value)), {"w": W}),
        (lambda m, x: leaky(m, (x @ m.w.value)[:, ::-1]), {"w": W}),
        (lambda m, x: leaky(m, jnp.concatenate(jnp.split(x @ m.w.value, [2], axis=-1)[::-1], -1)), {"w": W}),
        (lambda m, x: leaky(m, (x @ m.w.value).reshape(B, 2, N).sum(1)), {"w": draw(N_IN, 2 * N)}),
    ],
    ids=[
        "plain", "einsum", "weight_first", "low_rank", "weight_norm", "fixed_signs", "used_twice",
        "also_in_the_readout", "elementwise_input", "elementwise_recurrence", "scalar_gain", "one_leak",
        "jit_where", "checkpoint_clip", "flipped", "swapped_halves", "summed_pairs",
    ],
)  # fmt: skip
def test_a_trained_value_gets_its_exact_gradient_however_it_is_written(update, params):
    assert_exact(Step(update, params, v=(N,)), orders=("sequence",))


@pytest.mark.parametrize(
    "current",
    [
        lambda m, x, p: p * (x @ m.w.value) + p * jnp.cos(m.v.value),
        lambda m, x, p: jnp.sin(x @ m.w.value + p) + p,
    ],
    ids=["gain", "bias"],
)
def test_a_parameter_in_two_places_has_what_it_does_at_both(current):
    def update(m, x):
        return leaky(m, current(m, x, m.g.value[None]))

    model = Step(update, {"w": W, "g": draw(N)}, v=(N,))
    assert [len(r.uses) for r in compiled(model).graph.relations.elementwise] == [2]
    assert_exact(model)


@pytest.mark.parametrize("layer", [Linear, brainstate.nn.Linear], ids=["ours", "brainstates"])
def test_layers_are_products_like_any_other(layer):
    model = Step(lambda m, x: m.out(leaky(m, m.lin(x))), {}, v=(N,))
    model.lin, model.out = layer(N_IN, N), layer(N, 2)
    for state in model.states(brainstate.ParamState).values():
        state.value = {k: draw(*v.shape, seed=4) for k, v in state.value.items()}
    assert_exact(model, n_out=2)
    report = compiled(model).report.as_dict()
    assert report["parameters"]["lin.weight"]["route"] == "temporal"
    assert report["parameters"]["out.weight"]["route"] == "instantaneous"


@pytest.mark.parametrize("axes", [(B, 2), (B, 2, 3), ()], ids=str)
def test_positions_that_share_a_weight_are_rows(axes):
    model = Step(lambda m, x: leaky(m, x @ m.w.value + m.b.value), {"w": W, "b": draw(N)}, batch=axes, v=(N,))
    xs, ys = draw(T, *axes, N_IN), draw(T, *axes, N, seed=3)
    exact = leaves(bptt(model, None, xs, ys))
    for order in ("sequence", "streaming"):
        oracles.assert_close(found_by(model, xs, ys, order=order), exact, 1e-9)


@pytest.mark.parametrize(
    "neuron",
    [
        {"reset": "hard", "detach_reset": False},
        {"reset": "soft", "detach_reset": False},
        {"t_ref": 2 * u.ms},
        {"reset": "hard", "v_reset": -0.2 * u.mV, "t_ref": 1 * u.ms, "learn": ("tau_mem", "v_th")},
        {"tau_mem": np.linspace(3, 20, N) * u.ms},
    ],
    ids=["hard", "differentiated", "refractory", "hard_refractory", "per_unit_leak"],
)
def test_resets_and_refractory_periods_keep_the_gradient_exact(neuron):
    layer = FeedForward(N_IN, LIF(N, **neuron), w_init=2 * W)
    model = brainstate.nn.Sequential(layer, Linear(N, 2, w_init=draw(N, 2)))
    xs = jnp.abs(draw(T, B, N_IN))
    assert_exact(model, xs, n_out=2, orders=("sequence", "streaming"))
    brainstate.nn.init_all_states(model, batch_size=B)
    rate = float(jnp.mean(brainstate.transform.for_loop(layer, xs)))
    assert 0.05 < rate < 0.6


def test_integer_and_boolean_inputs_are_spikes():
    model = FeedForward(N_IN, ALIF(N), w_init=2 * W)
    xs = np.random.default_rng(0).random((T, B, N_IN)) < 0.4
    ys = draw(T, B, N)
    found = [found_by(model, jnp.asarray(xs, dtype), ys) for dtype in (float, int, bool)]
    for other in found[1:]:
        oracles.assert_close(other, found[0], 1e-12)


def test_noise_drawn_in_the_step_is_the_same_in_every_order():
    def noisy(m, x):
        m.seen.value = m.seen.value + 1
        return leaky(m, (x * brainstate.random.bernoulli(0.5, x.shape)) @ m.w.value)

    model = Step(noisy, {"w": W}, v=(N,))
    model.seen = brainstate.ShortTermState(jnp.zeros((), int))
    xs, ys = draw(LONG, B, N_IN), draw(LONG, B, N, seed=2)
    found = {}
    for name, rule, options in (
        ("exact", snntrace.BPTT, {}),
        ("sequence", snntrace.D_RTRL, {}),
        ("window", snntrace.D_RTRL, {"window": 20}),
        ("streaming", snntrace.D_RTRL, {}),
    ):
        order = "streaming" if name == "streaming" else "sequence"
        learner = compiled(model, rule, xs[0], **options)
        brainstate.random.seed(7)
        if order == "sequence":
            found[name] = leaves(learner.value_and_grad(loss)(xs, ys)[1])
        else:
            found[name] = leaves(streamed(learner, model, xs, ys)[0])
    for name in ("sequence", "window", "streaming"):
        oracles.assert_close(found[name], found["exact"], 1e-9)


def test_inputs_and_results_may_be_trees():
    def update(m, x):
        v = leaky(m, x["left"] @ m.w.value + x["right"] @ m.w2.value)
        return {"mean": v, "square": (v**2, m.v.value)}

    model = Step(update, {"w": W, "w2": draw(2, N)}, v=(N,))
    xs = {"left": draw(T, B, N_IN), "right": draw(T, B, 2)}

    def tree_loss(outs):
        return sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves(outs))

    learner = compiled(model, x=jax.tree.map(lambda v: v[0], xs))
    value, grads = learner.value_and_grad(tree_loss)(xs)
    brainstate.nn.init_all_states(model)
    weights = model.states(brainstate.ParamState)
    exact, other = brainstate.transform.grad(
        lambda: tree_loss(brainstate.transform.for_loop(model, xs)), weights, return_value=True
    )()
    assert abs(value - other) < 1e-9
    oracles.assert_close(leaves(grads), leaves(exact), 1e-9)


def test_a_unit_whose_states_lie_in_one_array_is_refused_rather_than_wrong():
    def update(m, x):
        v, q = jnp.split(m.h.value, 2, -1)
        m.h.value = jnp.concatenate([0.9 * v + x @ m.w.value, 0.8 * q + v], -1)
        return m.h.value

    with pytest.raises(CompileError, match="'h'"):
        compiled(Step(update, {"w": W}, h=(2 * N,)))


# Groups ----------------------------------------------------------------------------------------


def test_stacked_layers_of_equal_width_are_separate_groups():
    model = brainstate.nn.Sequential(*(Recurrent(N, ALIF(N), w_init=1.0, w_rec_init=1.0) for _ in range(3)))
    groups = compiled(model, x=draw(B, N)).report.as_dict()["groups"]
    assert [len(group["states"]) for group in groups] == [2, 2, 2]
    assert all(group["width"] == N for group in groups)
    one = compiled(Recurrent(N, ALIF(N), w_init=1.0, w_rec_init=1.0), x=draw(B, N)).report.as_dict()["groups"]
    assert len(one) == 1


def test_layers_joined_by_position_are_one_group():
    def update(m, x):
        m.v.value = 0.9 * m.v.value + x @ m.w.value
        m.q.value = 0.7 * m.q.value + jnp.tanh(m.v.value)
        return m.q.value

    model = Step(update, {"w": W}, v=(N,), q=(N,))
    assert len(compiled(model).report.as_dict()["groups"]) == 1
    assert_exact(model)


def recurrent(concatenated):
    def update(m, x):
        z = spike(m.v.value - 1)
        if concatenated:
            current = jnp.concatenate([x, z], -1) @ m.w.value
        else:
            current = x @ m.w_in.value + z @ m.w_rec.value
        m.v.value = 0.9 * (m.v.value - jax.lax.stop_gradient(z)) + current
        return spike(m.v.value - 1)

    w_in, w_rec = 1.5 * W, draw(N, N, scale=0.8)
    params = {"w": jnp.concatenate([w_in, w_rec])} if concatenated else {"w_in": w_in, "w_rec": w_rec}
    return Step(update, params, v=(N,))


@pytest.mark.parametrize("rule", [snntrace.D_RTRL, snntrace.OSTLRecurrent], ids=["D_RTRL", "OSTLRecurrent"])
@pytest.mark.parametrize("order", ["sequence", "streaming"])
def test_recurrent_weights_inside_a_concatenated_input_are_the_same_as_separate_ones(rule, order):
    xs, ys = jnp.abs(draw(T, B, N_IN)), draw(T, B, N, seed=1)
    (together,) = found_by(recurrent(True), xs, ys, rule, order).values()
    apart = list(found_by(recurrent(False), xs, ys, rule, order).values())
    assert oracles.relative_error(together, np.concatenate(apart)) < 1e-12
    assert np.abs(apart[1]).max() > 1e-3


def lstm_step(h, x, w):
    """One LSTM step in numpy for one sample: h (2, n) holds the cell and the output."""
    sigmoid = lambda a: 1 / (1 + np.exp(-a))  # noqa: E731
    i, f, g, o = np.split(np.concatenate([x, h[1]]) @ w["w"] + w["b"], 4)
    c = sigmoid(f) * h[0] + sigmoid(i) * np.tanh(g)
    return np.stack([c, sigmoid(o) * np.tanh(c)])


def gru_step(h, x, w):
    sigmoid = lambda a: 1 / (1 + np.exp(-a))  # noqa: E731
    both = np.concatenate([x, h[0]])
    z, r = sigmoid(both @ w["wz"]), sigmoid(both @ w["wr"])
    candidate = np.tanh(np.concatenate([x, r * h[0]]) @ w["wh"])
    return ((1 - z) * h[0] + z * candidate)[None]


@pytest.mark.parametrize("order", ["sequence", "streaming"])
def test_fused_gates_couple_as_the_true_jacobians_diagonal_says(order):
    def update(m, x):
        i, f, g, o = jnp.split(jnp.concatenate([x, m.h.value], -1) @ m.w.value + m.b.value, 4, axis=-1)
        m.c.value = jax.nn.sigmoid(f) * m.c.value + jax.nn.sigmoid(i) * jnp.tanh(g)
        m.h.value = jax.nn.sigmoid(o) * jnp.tanh(m.c.value)
        return m.h.value

    weights = {"w": np.asarray(draw(N_IN + N, 4 * N)), "b": np.asarray(draw(4 * N))}
    model = Step(update, weights, batch=(), c=(N,), h=(N,))
    xs, ys = draw(T, N_IN), draw(T, N, seed=1)
    states = [np.zeros((2, N))]
    for x in np.asarray(xs):
        states.append(lstm_step(states[-1], x, weights))
    signal = np.stack([np.zeros((T, N)), np.stack(states[1:])[:, 1] - np.asarray(ys)], 1)
    expected = oracles.coupled_gradients(lstm_step, states[0], weights, ("w", "b"), np.asarray(xs), signal)
    found = found_by(model, xs, ys, snntrace.OSTLRecurrent, order)
    found = {name.split("'")[1]: value for name, value in found.items()}
    oracles.assert_close(found, expected, 1e-6)
    diagonal = found_by(model, xs, ys, snntrace.D_RTRL, order)
    assert oracles.relative_error(next(v for k, v in diagonal.items() if "'w'" in k), expected["w"]) > 1e-2


@pytest.mark.parametrize("order", ["sequence", "streaming"])
def test_gates_behind_gates_couple_as_the_true_jacobians_diagonal_says(order):
    cell = GRUCell(N_IN, N, w_init=0.0, b_init=None)
    weights = {name: np.asarray(draw(N_IN + N, N, seed=i)) for i, name in enumerate(("wz", "wr", "wh"))}
    for name, layer in (("wz", cell.Wz), ("wr", cell.Wr), ("wh", cell.Wh)):
        layer.weight.value = {"weight": jnp.asarray(weights[name])}
    xs, ys = draw(T, N_IN), draw(T, N, seed=1)
    h, outs = np.zeros((1, N)), []
    for x in np.asarray(xs):
        h = gru_step(h, x, weights)
        outs.append(h)
    signal = np.stack(outs) - np.asarray(ys)[:, None]
    expected = oracles.coupled_gradients(
        gru_step, np.zeros((1, N)), weights, ("wz", "wh"), np.asarray(xs), signal
    )
    brainstate.nn.init_all_states(cell)
    learner = snntrace.OSTLRecurrent(cell)
    learner.compile_graph(xs[0])
    if order == "sequence":
        grads = learner.value_and_grad(loss)(xs, ys)[1]
    else:
        grads, _ = streamed(learner, cell, xs, ys)
    found = {f"w{path[0][1]}": np.asarray(value["weight"]) for path, value in grads.items()}
    oracles.assert_close(found, expected, 1e-6)


GAINS = np.linspace(0.5, 1.5, N)


@pytest.mark.parametrize(
    ("new", "params", "collapses"),
    [
        (lambda m, v, y: 0.9 * v + 2.0 * y, {}, True),
        (lambda m, v, y: jax.nn.sigmoid(m.s.value) * v + y, {"s": 2 * jnp.ones(())}, True),
        (lambda m, v, y: 0.9 * v + GAINS * y, {}, False),
        (lambda m, v, y: 0.9 * v + jnp.tanh(y), {}, False),
        (lambda m, v, y: 0.9 * GAINS * v + y, {}, False),
        (lambda m, v, y: 0.9 * v + y - 0.1 * v**2, {}, False),
        (lambda m, v, y: jnp.where(v > 0.5, 0.9, 0.8) * v + y, {}, False),
        (lambda m, v, y: 0.9 * v + m.s.value * y, {"s": GAINS}, False),
    ],
    ids=["gain", "learnt_leak", "gains", "tanh", "leaks", "square", "switched_leak", "learnt_gains"],
)
def test_a_trace_collapses_where_neither_coefficient_depends_on_the_unit(new, params, collapses):
    def update(m, x):
        m.v.value = new(m, m.v.value, x @ m.w.value)
        return jnp.sin(m.v.value)

    model = Step(update, {"w": W} | params, v=(N,))
    forms = {t["parameters"][0]: t["collapsed"] for t in compiled(model).report.as_dict()["traces"]}
    assert forms["w"] == collapses
    assert_exact(model, orders=("streaming",))


# Signals ---------------------------------------------------------------------------------------


def test_a_readout_of_the_state_before_its_update_gets_the_exact_gradient():
    def update(m, x):
        before = jnp.tanh(m.v.value)
        m.v.value = 0.9 * m.v.value + x @ m.w.value
        return before @ m.out.value + m.v.value @ m.out.value

    assert_exact(Step(update, {"w": W, "out": draw(N, 2)}, v=(N,)), n_out=2)


@pytest.mark.parametrize("order", ["sequence", "streaming"])
def test_a_layer_that_reads_the_state_below_before_its_update_passes_its_signal_to_the_old_trace(order):
    def update(m, x):
        below = jnp.tanh(m.v.value)
        m.v.value = 0.9 * m.v.value + x @ m.w1.value
        m.q.value = 0.7 * m.q.value + below @ m.w2.value
        return m.q.value

    w1, w2 = W, draw(N, N)
    xs, ys = draw(LONG, B, N_IN), draw(LONG, B, N, seed=1)
    v, q, trace = np.zeros((B, N)), np.zeros((B, N)), np.zeros((B, N_IN))
    expected, above = np.zeros((N_IN, N)), np.zeros((B, N))
    expected2 = np.zeros((N, N))
    for x, y in zip(np.asarray(xs), np.asarray(ys), strict=True):
        below = np.tanh(v)
        q = 0.7 * q + below @ np.asarray(w2)
        above = 0.7 * above + below
        error = q - y
        expected += trace.T @ (error @ np.asarray(w2).T * (1 - below**2))
        expected2 += above.T @ error
        v, trace = 0.9 * v + x @ np.asarray(w1), 0.9 * trace + x
    model = Step(update, {"w1": w1, "w2": w2}, v=(N,), q=(N,))
    found = found_by(model, xs, ys, order=order, **({"window": 20} if order == "sequence" else {}))
    first, second = found.values()
    assert oracles.relative_error(first, expected) < 1e-10
    assert oracles.relative_error(second, expected2) < 1e-10


@pytest.mark.parametrize("order", ["sequence", "streaming"])
def test_a_weight_behind_another_weight_gets_what_it_does_within_the_step(order):
    def update(m, x):
        m.v.value = 0.9 * m.v.value + jnp.tanh(x @ m.w1.value) @ m.w2.value
        return m.v.value

    w1, w2 = W, draw(N, N)
    xs, ys = draw(T, B, N_IN), draw(T, B, N, seed=1)
    v, trace, expected1, expected2 = np.zeros((B, N)), np.zeros((B, N)), 0.0, 0.0
    for x, y in zip(np.asarray(xs), np.asarray(ys), strict=True):
        middle = np.tanh(x @ np.asarray(w1))
        v, trace = 0.9 * v + middle @ np.asarray(w2), 0.9 * trace + middle
        error = v - y
        expected1 = expected1 + x.T @ (error @ np.asarray(w2).T * (1 - middle**2))
        expected2 = expected2 + trace.T @ error
    model = Step(update, {"w1": w1, "w2": w2}, v=(N,))
    first, second = found_by(model, xs, ys, order=order).values()
    assert oracles.relative_error(first, expected1) < 1e-10
    assert oracles.relative_error(second, expected2) < 1e-10


@pytest.mark.parametrize("order", ["sequence", "streaming"])
def test_a_weight_that_acts_directly_and_behind_another_weight_gets_both_parts(order):
    def update(m, x):
        current = x @ m.w1.value
        m.v.value = 0.9 * m.v.value + current + jnp.tanh(current) @ m.w2.value
        return m.v.value

    w1, w2 = W, draw(N, N)
    xs, ys = draw(T, B, N_IN), draw(T, B, N, seed=1)
    v, trace, expected = np.zeros((B, N)), np.zeros((B, N_IN)), 0.0
    for x, y in zip(np.asarray(xs), np.asarray(ys), strict=True):
        middle = np.tanh(x @ np.asarray(w1))
        v = 0.9 * v + x @ np.asarray(w1) + middle @ np.asarray(w2)
        trace = 0.9 * trace + x
        error = v - y
        expected = expected + trace.T @ error + x.T @ (error @ np.asarray(w2).T * (1 - middle**2))
    found = found_by(Step(update, {"w1": w1, "w2": w2}, v=(N,)), xs, ys, order=order)
    assert oracles.relative_error(next(iter(found.values())), expected) < 1e-10


@pytest.mark.parametrize("order", ["sequence", "streaming"])
def test_a_weight_tied_between_two_layers_gets_the_sum_of_both(order):
    def layers(tied):
        def update(m, x):
            m.v.value = 0.9 * m.v.value + x @ m.w1.value
            m.q.value = 0.7 * m.q.value + jnp.tanh(m.v.value) @ (m.w1 if tied else m.w2).value
            return m.q.value

        w = draw(N, N)
        return Step(update, {"w1": w} if tied else {"w1": w, "w2": w}, v=(N,), q=(N,))

    xs, ys = draw(T, B, N), draw(T, B, N, seed=1)
    (together,) = found_by(layers(True), xs, ys, order=order).values()
    first, second = found_by(layers(False), xs, ys, order=order).values()
    assert oracles.relative_error(together, first + second) < 1e-12


def test_a_feedback_from_above_that_reads_old_states_is_the_same_in_every_order():
    def update(m, x):
        back = jnp.tanh(m.q.value) @ m.back.value
        m.v.value = 0.9 * m.v.value + x @ m.w1.value + back
        m.q.value = 0.7 * m.q.value + jnp.tanh(m.v.value) @ m.w2.value
        return m.q.value

    model = Step(update, {"w1": W, "w2": draw(N, 6), "back": draw(6, N)}, v=(N,), q=(6,))
    xs, ys = draw(LONG, B, N_IN), draw(LONG, B, 6, seed=1)
    streaming = found_by(model, xs, ys, order="streaming")
    for window in (1, 3, 20, None):
        oracles.assert_close(found_by(model, xs, ys, window=window), streaming, 1e-10)


def test_a_normalisation_before_a_product_or_in_the_readout_is_taken():
    def update(m, x):
        x = (x - x.mean(-1, keepdims=True)) / (x.std(-1, keepdims=True) + 0.1)
        out = leaky(m, x @ m.w.value) @ m.out.value
        return jax.nn.log_softmax(out)

    assert_exact(Step(update, {"w": W, "out": draw(N, 3)}, v=(N,)), n_out=3, orders=("sequence",))


# Vmap ------------------------------------------------------------------------------------------


class Targeted(brainstate.nn.Module):
    """A learner that takes its target by position, as `brainstate.nn.Vmap` can map it."""

    def __init__(self, learner):
        super().__init__()
        self.learner = learner

    def update(self, x, y):
        return self.learner(x, y_target=y) if self.learner.rule is snntrace.OSTTP else self.learner(x)


@pytest.mark.parametrize(
    ("rule", "options"),
    [(snntrace.D_RTRL, {}), (snntrace.OSTTP, {"B_list": [draw(2, N)]})],
    ids=["D_RTRL", "OSTTP"],
)
def test_samples_under_vmap_are_the_same_as_a_native_batch(rule, options):
    model = brainstate.nn.Sequential(
        Recurrent(N_IN, ALIF(N), w_init=2 * W, w_rec_init=draw(N, N)), Linear(N, 2, w_init=draw(N, 2))
    )
    xs, ys = jnp.abs(draw(T, B, N_IN)), draw(T, B, 2)
    learner = compiled(model, rule, xs[0], **options)
    native, outs = streamed(learner, model, xs, ys, targets=rule is snntrace.OSTTP)
    weights = model.states(brainstate.ParamState)

    @brainstate.transform.jit
    def run():
        algo = rule(model, **options)

        @brainstate.transform.vmap_new_states(state_tag="new", axis_size=B)
        def init():
            brainstate.nn.init_all_states(model)
            algo.compile_graph(xs[0, 0])

        init()
        mapped = brainstate.nn.Vmap(Targeted(algo), vmap_states="new")

        def step_loss(x, y):
            out = mapped(x, y)
            return loss(out, y), out

        def step(total, now):
            grads, out = brainstate.transform.grad(step_loss, weights, has_aux=True)(*now)
            return jax.tree.map(jnp.add, total, grads), out

        zeros = jax.tree.map(jnp.zeros_like, {path: s.value for path, s in weights.items()})
        return brainstate.transform.scan(step, zeros, (xs, ys))

    grads, mapped_outs = run()
    np.testing.assert_allclose(mapped_outs, outs, atol=1e-12)
    oracles.assert_close(leaves(grads), leaves(native), 1e-10)


# Refusals --------------------------------------------------------------------------------------

M = draw(N, N)


def norm(y):
    return (y - y.mean(-1, keepdims=True)) / (y.std(-1, keepdims=True) + 1.0)


@pytest.mark.parametrize(
    ("update", "params", "says"),
    [
        (lambda m, x: leaky(m, x @ m.w.value + jnp.roll(m.v.value, 1, -1)), {"w": W}, "'v', where 'slice'"),
        (lambda m, x: leaky(m, x @ m.w.value + m.v.value[:, ::-1]), {"w": W}, "'v', where 'rev'"),
        (lambda m, x: leaky(m, x @ m.w.value + jnp.tanh(m.v.value) @ M), {"w": W}, "'dot_general'.*mixes"),
        (lambda m, x: leaky(m, x @ m.w.value + m.v.value.mean(-1, keepdims=True)), {"w": W}, "'reduce_sum'"),
        (lambda m, x: leaky(m, x @ m.w.value + jnp.cumsum(m.v.value, -1)), {"w": W}, "'cumsum'"),
        (lambda m, x: leaky(m, x @ m.w.value - m.v.value.mean(0)), {"w": W}, "'reduce_sum'"),
        (lambda m, x: leaky(m, jnp.sort(m.v.value, -1) + x @ m.w.value), {"w": W}, "'sort'"),
        (lambda m, x: leaky(m, norm(x @ m.w.value)), {"w": W}, "keep positions, got .* after 'w'"),
        (lambda m, x: leaky(m, jax.nn.softmax(x @ m.w.value)), {"w": W}, "keep positions, got .* after 'w'"),
        (lambda m, x: leaky(m, jnp.sort(x[:, :1] + m.w.value[0])), {"w": W}, "got 'sort' .* after 'w'"),
        (lambda m, x: leaky(m, jnp.cumsum(m.w.value[:B] * x[:, :1], -1)), {"w": W}, "'cumsum'"),
    ],
    ids=[
        "roll", "flip", "fixed_matrix", "mean_over_units", "cumsum", "mean_over_the_batch", "sort",
        "layer_norm", "softmax", "sort_behind", "cumsum_behind",
    ],
)  # fmt: skip
def test_what_mixes_units_is_refused_by_name_and_line(update, params, says):
    with pytest.raises(CompileError, match=says) as caught:
        compiled(Step(update, params, v=(N,)))
    assert "test_compiler.py:" in str(caught.value)


@pytest.mark.parametrize(
    "current",
    [
        lambda m, x: x @ m.column.value,
        lambda m, x: x[0] @ m.w.value + m.b.value,
        lambda m, x: jnp.tanh(x[:1] @ m.w.value) * x[:, :1] + jnp.cos(x[1]) @ m.w.value,
        lambda m, x: (m.w.value.T @ x[0])[None] + x @ m.w.value,
    ],
    ids=["one_column", "shared_by_the_batch", "of_one_sample", "weight_first"],
)
def test_a_product_that_is_spread_over_units_or_samples_has_its_exact_trace(current):
    params = {"w": W, "b": draw(N), "column": draw(N_IN, 1)}
    report = compiled(Step(lambda m, x: leaky(m, current(m, x)), params, v=(N,))).report.as_dict()
    routes = {k: entry["route"] for k, entry in report["parameters"].items()}
    used = {k: params[k] for k in params if routes[k] != "unreached"}
    assert {routes[k] for k in used} == {"temporal"}
    assert_exact(Step(lambda m, x: leaky(m, current(m, x)), used, v=(N,)))


@pytest.mark.parametrize(
    "path",
    [lambda v: jnp.roll(v, 1, -1), lambda v: jnp.tanh(v) @ M, lambda v: v.mean(-1, keepdims=True)],
    ids=["roll", "fixed_matrix", "mean"],
)
def test_behind_stop_gradient_anything_is_taken_and_leaves_the_gradient_exact(path):
    def update(m, x):
        return leaky(m, x @ m.w.value + 0.3 * path(jax.lax.stop_gradient(m.v.value)))

    assert_exact(Step(update, {"w": W}, v=(N,)), orders=("sequence",))


def test_a_model_without_a_hidden_state_is_refused():
    with pytest.raises(CompileError, match="HiddenState"):
        snntrace.compile(Linear(N_IN, N, w_init=W), snntrace.D_RTRL, draw(B, N_IN))


def test_a_step_that_writes_a_parameter_is_refused():
    def update(m, x):
        m.w.value = 0.99 * m.w.value
        return leaky(m, x @ m.w.value)

    with pytest.raises(CompileError, match="must not write a ParamState, got a new value for 'w'"):
        compiled(Step(update, {"w": W}, v=(N,)))


def test_coupling_through_another_group_within_a_step_is_refused():
    def update(m, x):
        m.q.value = 0.7 * m.q.value + jnp.tanh(m.v.value) @ m.w2.value
        m.v.value = 0.9 * m.v.value + jnp.tanh(m.q.value) @ m.back.value + x @ m.w1.value
        return m.v.value

    model = Step(update, {"w1": W, "w2": draw(N, 6), "back": draw(6, N)}, v=(N,), q=(6,))
    with pytest.raises(CompileError, match="through another group"):
        compiled(model, snntrace.OSTLRecurrent)
    compiled(model, snntrace.D_RTRL)


def test_an_input_of_another_shape_is_refused_before_any_computation():
    learner = compiled(Recurrent(N_IN, LIF(N), w_init=1.0, w_rec_init=1.0))
    for x in (draw(B + 1, N_IN), draw(B, N_IN + 1), draw(N_IN)):
        with pytest.raises(ValueError, match="input must have shape"):
            learner.update(x)
    with pytest.raises(ValueError, match="time"):
        learner.unroll(draw(0, B, N_IN))


class SetToParameter(brainstate.nn.Module):
    """A hidden state that takes a parameter's value, which the next step reads."""

    def __init__(self, spread):
        super().__init__()
        self.spread = spread
        self.p = brainstate.ParamState(jnp.arange(1.0, 5.0))
        self.w = brainstate.ParamState(0.3 * jnp.ones((3, 4)))

    def init_state(self, batch_size=None, **kwargs):
        shape = (4,) if batch_size is None else (batch_size, 4)
        self.h = brainstate.HiddenState(jnp.zeros(shape))
        self.v = brainstate.HiddenState(jnp.zeros(shape))

    def update(self, x):
        self.v.value = 0.5 * self.v.value + x @ self.w.value + self.h.value
        self.h.value = jnp.broadcast_to(self.p.value, self.h.value.shape) if self.spread else self.p.value
        return self.v.value * self.h.value


@pytest.mark.parametrize("batch_size", [None, 2])
def test_a_state_that_is_set_to_a_parameter_gives_it_its_gradient(batch_size):
    xs = jax.random.normal(jax.random.key(0), (7, 3) if batch_size is None else (7, batch_size, 3))

    def gradients(rule):
        model = SetToParameter(batch_size is not None)
        learner = snntrace.compile(model, rule, xs[0], batch_size=batch_size)
        return learner.value_and_grad(lambda outs: (outs**2).sum())(xs)[1]

    ours, exact = gradients(snntrace.D_RTRL), gradients(snntrace.BPTT)
    for path, value in exact.items():
        assert jnp.abs(value).max() > 1
        np.testing.assert_allclose(ours[path], value, rtol=1e-5)


def test_a_step_that_changes_a_states_number_type_is_refused():
    class Half(brainstate.nn.Module):
        def init_state(self, **kwargs):
            self.v = brainstate.HiddenState(jnp.zeros(4, jnp.float16))

        def update(self, x):
            self.v.value = self.v.value + x
            return self.v.value

    with pytest.raises(snntrace.CompileError, match="number type"):
        snntrace.compile(Half(), snntrace.D_RTRL, jnp.ones(4))


def test_a_setting_that_the_compiled_step_fixed_cannot_change_unseen():
    class Dropped(brainstate.nn.Module):
        def __init__(self):
            super().__init__()
            self.dropout = brainstate.nn.Dropout(0.5)

        def init_state(self, **kwargs):
            self.v = brainstate.HiddenState(jnp.zeros(4))

        def update(self, x):
            self.v.value = 0.5 * self.v.value + self.dropout(x)
            return self.v.value

    with brainstate.environ.context(fit=True):
        learner = snntrace.compile(Dropped(), snntrace.D_RTRL, jnp.ones(4))
        learner.update(jnp.ones(4))
    learner.update(jnp.ones(4))
    with brainstate.environ.context(fit=False), pytest.raises(ValueError, match="'fit'"):
        learner.update(jnp.ones(4))
