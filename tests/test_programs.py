"""Control flow, randomness, odd states, trees and units in a step: taken as written, or refused by name."""

import brainstate
import brainunit as u
import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from nets import bptt, double_precision, loss, streamed
from steps import N_IN, B, N, Step, T, assert_exact, compiled, draw, found_by, leaky, leaves

import snntrace
from snntrace.neurons import LIF, FeedForward

W = draw(N_IN, N, scale=0.7)
W2 = draw(N_IN, N, scale=0.7, seed=1)
TAU = jnp.linspace(2.0, 4.0, N)


@pytest.fixture(autouse=True)
def float64():
    with double_precision():
        yield


def euler(v, current, tau, steps, dt):
    """Integrate tau dv/dt = -v^3 - v + current by a loop."""
    return jax.lax.fori_loop(0, steps, lambda _, v: v + dt * (-(v**3) - v + current) / tau, v)


def set_state(m, new):
    m.v.value = new
    return jnp.tanh(new)


def conditioned(m, x):
    current = x @ m.w.value
    old = m.v.value
    return set_state(
        m,
        jax.lax.cond(
            x.sum() > 0, lambda v: 0.9 * v + current, lambda v: 0.5 * jnp.sin(v) - jnp.tanh(current), old
        ),
    )


def switched(m, x):
    index = (jnp.abs(x).sum() * 3).astype(int) % 3
    branches = [
        lambda v: 0.9 * v + x @ m.w.value,
        lambda v: jnp.sin(v) + x @ m.w2.value,
        lambda v: 0.3 * v + m.b.value,
    ]
    return set_state(m, jax.lax.switch(index, branches, m.v.value))


def stacked_turns(m, x):
    current = x @ m.w.value

    def turn(v, _):
        v = 0.9 * v + 0.1 * current
        return v, v

    last, every = jax.lax.scan(turn, m.v.value, None, length=4)
    m.v.value = 0.5 * last + 0.5 * every.mean(0)
    return jnp.tanh(m.v.value) + every[1]


def backward_turns(m, x):
    gains = jnp.array([0.1, 0.2, 0.4])
    last, seen = jax.lax.scan(
        lambda v, g: (jnp.sin(v) + g * (x @ m.w.value), g * v), m.v.value, gains, reverse=True
    )
    return set_state(m, last + seen[0])


def chosen(m, x):
    return leaky(m, jnp.where(x[:, :1] > 0, x @ m.w.value, jnp.tanh(x @ m.w2.value)))


def looped_by_brainstate(m, x):
    brainstate.transform.for_loop(lambda _: leaky(m, x @ m.w.value), jnp.arange(2))
    return m.v.value


def nested(m, x):
    def turn(_, v):
        return jax.lax.cond(
            x[0, 0] > 0, lambda v: 0.9 * v + m.b.value, lambda v: euler(v, x @ m.w.value, 2.0, 2, 0.1), v
        )

    return set_state(m, jax.lax.fori_loop(0, 2, turn, m.v.value))


def halved(x):
    return jax.lax.while_loop(lambda v: jnp.abs(v).max() > 0.5, lambda v: v / 2, x)


def mixed(x):
    return jax.lax.while_loop(lambda v: jnp.abs(v).max() > 0.5, lambda v: jnp.cumsum(v, -1) / 9, x)


ON_THE_WAY = {
    "where": (chosen, "w w2"),
    "cond": (conditioned, "w"),
    "switch": (switched, "w w2 b"),
    "short_loop": (lambda m, x: set_state(m, euler(m.v.value, x @ m.w.value, m.tau.value, 3, 0.2)), "w tau"),
    "long_loop": (lambda m, x: set_state(m, euler(m.v.value, x @ m.w.value, 2.0, 200, 0.01)), "w"),
    "brainstates_loop": (looped_by_brainstate, "w"),
    "stacked_turns": (stacked_turns, "w"),
    "backward_turns": (backward_turns, "w"),
    "nested": (nested, "w b"),
}  # fmt: skip
PARAMS = {"w": W, "w2": W2, "b": draw(N), "tau": TAU}


FAST = {"cond", "long_loop", "stacked_turns", "while_over_the_input"}


def marked(names):
    return pytest.mark.parametrize(
        "name", [n if n in FAST else pytest.param(n, marks=pytest.mark.slow) for n in names]
    )


@marked(ON_THE_WAY)
def test_control_flow_on_the_way_of_a_state_leaves_the_gradient_exact(name):
    update, names = ON_THE_WAY[name]
    assert_exact(Step(update, {k: PARAMS[k] for k in names.split()}, v=(N,)))


@pytest.mark.parametrize(("name", "stays"), [("short_loop", False), ("cond", False), ("long_loop", True)])
def test_short_loops_and_conditions_are_opened_and_long_loops_stay(name, stays):
    update, names = ON_THE_WAY[name]
    learner = compiled(Step(update, {k: PARAMS[k] for k in names.split()}, v=(N,)))
    found = {e.name for e in learner.graph.step.program.equations}
    assert bool(found & {"scan", "cond"}) == stays


BESIDE = {
    "cond_on_the_input": lambda m, x: leaky(m, jax.lax.cond(x.sum() > 0, jnp.cos, jnp.sin, x) @ m.w.value),
    "loop_over_the_input": lambda m, x: leaky(m, euler(x, 1.0, 2.0, 300, 0.01) @ m.w.value),
    "while_over_the_input": lambda m, x: leaky(m, halved(x) @ m.w.value),
    "loop_in_the_readout": lambda m, x: euler(leaky(m, x @ m.w.value), 0.0, 2.0, 300, 0.01),
    "cond_in_the_readout": lambda m, x: jax.lax.cond(x.sum() > 0, jnp.sin, jnp.cos, leaky(m, x @ m.w.value)),
    "while_behind_stop_gradient": lambda m, x: leaky(
        m, x @ m.w.value + halved(jax.lax.stop_gradient(m.v.value))
    ),
}  # fmt: skip


@marked(BESIDE)
def test_control_flow_beside_the_way_stays_as_it_is(name):
    model = Step(BESIDE[name], {"w": W}, v=(N,))
    found = {e.name for e in compiled(model).graph.step.program.equations}
    assert found & {"scan", "cond", "while"}
    assert_exact(model)


def settled(v, current, turn):
    """Bring units to rest one by one; the number of turns depends on the values."""

    def going(state):
        return jnp.any(state[2] > 1e-3) & (state[3] < 40)

    def body(state):
        v, t, moved, n = state
        new = turn(v, current, t)
        return new, t * 0.95, jnp.abs(new - v), n + 1

    return jax.lax.while_loop(going, body, (v, jnp.ones(()), jnp.ones_like(v), 0))[0]


def settled_in_fixed_turns(v, current, turn):
    """The same as a loop of fixed length, which JAX differentiates backward."""

    def body(state, _):
        v, t, moved, go = state
        new = turn(v, current, t)
        chosen = [jnp.where(go, a, b) for a, b in ((new, v), (t * 0.95, t), (jnp.abs(new - v), moved))]
        return (*chosen, go & jnp.any(chosen[2] > 1e-3)), None

    start = (v, jnp.ones(()), jnp.ones_like(v), jnp.asarray(True))
    return jax.lax.scan(body, start, None, length=40)[0][0]


def newton(v, current, t):
    """Solve ``y + sin(y) / 2 = current`` in damped steps."""
    return v - 0.5 * t * (v + 0.5 * jnp.sin(v) - current) / (1 + 0.5 * jnp.cos(v))


WHILE = {
    "on_the_way": lambda m, x, loop: set_state(m, 0.5 * loop(m.v.value, x @ m.w.value, newton)),
    "in_the_readout": lambda m, x, loop: loop(leaky(m, x @ m.w.value), 0.3 * m.v.value, newton),
    "before_a_product": lambda m, x, loop: leaky(m, loop(jnp.tanh(x @ m.w2.value), 0.2, newton) @ m.w.value),
    "a_row_for_all": lambda m, x, loop: set_state(
        m, x @ m.w.value + loop(m.v.value, 0.1 * m.v.value.shape[1] * jnp.ones(N), newton)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WHILE)
def test_a_while_loop_that_keeps_positions_has_its_derivative(name):
    update = WHILE[name]
    params = {"w": draw(N, N) if name == "before_a_product" else W, "w2": W}
    params = params if name == "before_a_product" else {"w": W}
    endless, fixed = (
        Step(lambda m, x, loop=loop: update(m, x, loop), params, v=(N,))
        for loop in (settled, settled_in_fixed_turns)
    )
    xs, ys = draw(T, B, N_IN), draw(T, B, N, seed=9)
    assert "while" in {e.name for e in compiled(endless).graph.step.program.equations}
    exact = leaves(bptt(fixed, B, xs, ys))
    for order in ("sequence", "streaming"):
        found = found_by(endless, xs, ys, order=order, nondiagonal="exact")
        oracles.assert_close(found, exact, 1e-9)


def test_a_while_loop_may_drop_leading_axes_of_length_one():
    def update(m, x, loop):
        def body(carried):
            return carried[0] + 1, 0.5 * carried[1] + 0.1 * m.v.value.reshape(-1)

        settled = loop(lambda carried: carried[0] < 3, body, (0, jnp.sin(m.v.value).reshape(-1)))[1]
        return set_state(m, settled.reshape(1, N) + x @ m.w.value)

    def in_python(going, body, carried):
        while going(carried):
            carried = body(carried)
        return carried

    endless, fixed = (
        Step(lambda m, x, loop=loop: update(m, x, loop), {"w": W}, batch=(1,), v=(N,))
        for loop in (jax.lax.while_loop, in_python)
    )
    xs, ys = draw(T, 1, N_IN), draw(T, 1, N, seed=9)
    assert "while" in {e.name for e in compiled(endless, x=xs[0]).graph.step.program.equations}
    exact = leaves(bptt(fixed, 1, xs, ys))
    for order in ("sequence", "streaming"):
        oracles.assert_close(found_by(endless, xs, ys, order=order), exact, 1e-9)


def rolled_turns(steps):
    def update(m, x):
        turn = lambda _, v: 0.9 * v + 0.01 * jnp.roll(v, 1, -1) + x @ m.w.value  # noqa: E731
        return set_state(m, jax.lax.fori_loop(0, steps, turn, m.v.value))

    return update


@pytest.mark.parametrize(
    ("update", "says"),
    [
        (lambda m, x: set_state(m, mixed(m.v.value) + x @ m.w.value), "`while` loop .*'cumsum'.*fori_loop"),
        (lambda m, x: mixed(leaky(m, x @ m.w.value)), "`while` loop .* must keep positions"),
        (
            lambda m, x: set_state(m, settled(m.v.value, m.w.value.sum(0), newton) + x @ W),
            "'w' in 'while'.*fixed length",
        ),
        (
            lambda m, x: set_state(
                m,
                x @ m.w.value + jax.lax.fori_loop(0, 300, lambda _, v: halved(0.9 * v), m.v.value),
            ),
            "`while` loop .*inside 'scan'",
        ),
        (
            lambda m, x: set_state(m, euler(m.v.value, x @ W, m.w.value.sum(0), 2000, 0.001)),
            "'w' in 'scan'.*shorter",
        ),
        (rolled_turns(2), "'v', where"),
        (
            lambda m, x: set_state(
                m, jax.lax.fori_loop(0, 400, lambda _, v: jnp.roll(0.9 * v, 1, -1), m.v.value) + x @ m.w.value
            ),
            "'v', where",
        ),
    ],
    ids=[
        "while_on_the_way", "while_in_the_readout", "parameter_in_a_while", "while_in_a_loop",
        "parameter_in_a_long_loop", "short_roll", "long_roll",
    ],
)  # fmt: skip
def test_what_a_loop_cannot_be_is_refused_by_name_and_line(update, says):
    with pytest.raises(snntrace.CompileError, match=says) as caught:
        compiled(Step(update, {"w": W}, v=(N,)))
    assert "test_programs.py:" in str(caught.value)


# Randomness ------------------------------------------------------------------------------------


def noisy(m, x):
    gain = brainstate.random.uniform(0.5, 1.5, (B, N))
    return leaky(m, gain * (x @ m.w.value) + 0.3 * brainstate.random.normal(0.0, 1.0, (B, N)))


class Dropping(Step):
    """A step with dropout on its current."""

    def __init__(self, update, params, **shapes):
        super().__init__(update, params, **shapes)
        self.dropout = brainstate.nn.Dropout(0.6)


def dropped(m, x):
    return leaky(m, m.dropout(x @ m.w.value))


@pytest.mark.parametrize("update", [noisy, pytest.param(dropped, marks=pytest.mark.slow)])
def test_what_is_drawn_in_a_step_is_held_while_its_gradient_is_taken(update):
    model = Dropping(update, {"w": W}, v=(N,))
    xs, ys = draw(T, B, N_IN), draw(T, B, N, seed=9)
    with brainstate.environ.context(fit=True):
        brainstate.random.seed(3)
        exact = leaves(bptt(model, B, xs, ys))
        learner = compiled(model, window=3)
        brainstate.random.seed(4)
        (other,) = leaves(learner.value_and_grad(loss)(xs, ys)[1]).values()
        assert oracles.relative_error(other, next(iter(exact.values()))) > 1e-2
        brainstate.random.seed(3)
        oracles.assert_close(leaves(learner.value_and_grad(loss)(xs, ys)[1]), exact, 1e-9)
        learner.reset_state()
        brainstate.random.seed(3)
        oracles.assert_close(leaves(streamed(learner, model, xs, ys)[0]), exact, 1e-9)


def test_a_time_step_of_the_environment_is_the_same_inside_a_transformation():
    with brainstate.environ.context(dt=0.5 * u.ms):
        model = FeedForward(N_IN, LIF(N), w_init=1.0)
        learner = compiled(model)
        x = draw(B, N_IN)
        out = brainstate.transform.jit(learner.update)(x)
        learner.reset_state()
        np.testing.assert_allclose(out, learner.update(x))
    with (
        brainstate.environ.context(dt=1.0 * u.ms),
        pytest.raises(ValueError, match=r"'dt'"),
    ):
        learner.update(x)


# Other states ----------------------------------------------------------------------------------


class Remembering(Step):
    """A step with states beside the hidden ones, which hold no gradient."""

    def __init__(self, update, params, short, **shapes):
        super().__init__(update, params, **shapes)
        self.short = short

    def init_state(self, *args, **kwargs):
        super().init_state(*args, **kwargs)
        for name, shape in self.short.items():
            setattr(self, name, brainstate.ShortTermState(jnp.zeros(shape)))


def averaged(m, x):
    m.mean.value = jax.lax.stop_gradient(0.8 * m.mean.value + 0.2 * m.v.value.mean(0))
    return leaky(m, x @ m.w.value - 0.5 * m.mean.value)


def buffered(m, x):
    late = m.buffer.value[-1]
    m.buffer.value = jnp.concatenate([x[None], m.buffer.value[:-1]])
    return leaky(m, late @ m.w.value)


@pytest.mark.parametrize(
    ("update", "short"),
    [(averaged, {"mean": (N,)}), (buffered, {"buffer": (2, B, N_IN)})],
    ids=["average_over_the_batch", "delay_buffer"],
)
def test_averages_and_delay_buffers_are_carried_without_a_gradient(update, short):
    assert_exact(Remembering(update, {"w": W}, short, v=(N,)))


def test_a_layer_that_is_heard_through_a_buffer_alone_is_reported_as_unreached():
    def update(m, x):
        late = m.buffer.value
        m.q.value = 0.8 * m.q.value + x @ m.w.value
        m.buffer.value = jnp.tanh(m.q.value)
        return leaky(m, late @ m.back.value)

    model = Remembering(update, {"w": W, "back": draw(N, N)}, {"buffer": (B, N)}, v=(N,), q=(N,))
    xs, ys = draw(T, B, N_IN), draw(T, B, N, seed=9)
    learner = compiled(model, x=xs[0])
    found = learner.report.as_dict()["parameters"]
    assert {name: entry["route"] for name, entry in found.items()} == {"w": "unreached", "back": "temporal"}
    assert "through buffer alone, which carries no gradient" in found["w"]["reason"]
    grads = {k[0]: np.abs(v).max() for k, v in learner.value_and_grad(loss)(xs, ys)[1].items()}
    assert grads["w"] == 0
    assert grads["back"] > 1e-3
    (exact,) = (np.abs(v).max() for k, v in leaves(bptt(model, B, xs, ys)).items() if "'w'" in k)
    assert exact > 1e-3


def test_a_state_without_a_batch_axis_stands_beside_a_batch():
    def update(m, x):
        m.level.value = 0.7 * m.level.value + jnp.sin(m.p.value)
        return leaky(m, x @ m.w.value) - m.level.value

    class Mixed(Step):
        def init_state(self, *args, **kwargs):
            super().init_state()
            self.level = brainstate.HiddenState(jnp.zeros(N))

    assert_exact(Mixed(update, {"w": W, "p": draw(N)}, v=(N,)))


def test_states_of_another_shape_that_act_back_without_a_weight_are_refused():
    def update(m, x):
        m.level.value = 0.7 * m.level.value + 0.1 * jnp.tanh(m.v.value).mean(0)
        return leaky(m, x @ m.w.value - m.level.value)

    class Mixed(Step):
        def init_state(self, *args, **kwargs):
            super().init_state()
            self.level = brainstate.HiddenState(jnp.zeros(N))

    with pytest.raises(snntrace.CompileError, match="act on each other without a weight"):
        compiled(Mixed(update, {"w": W}, v=(N,)))


class Grouped(brainstate.nn.Module):
    """Two states of a unit in one HiddenGroupState or HiddenTreeState, or in two HiddenStates."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.w = brainstate.ParamState(W.astype(float))
        self.rate = brainstate.ParamState(0.1 * TAU.astype(float))

    def init_state(self, *args, **kwargs):
        zeros = jnp.zeros((B, N))
        if self.kind == "group":
            self.h = brainstate.HiddenGroupState(jnp.zeros((B, N, 2)))
        elif self.kind == "tree":
            self.h = brainstate.HiddenTreeState({"v": zeros * u.mV, "q": zeros})
        else:
            self.v, self.q = brainstate.HiddenState(zeros), brainstate.HiddenState(zeros)

    def update(self, x):
        if self.kind == "group":
            v, q = self.h.value[..., 0], self.h.value[..., 1]
        elif self.kind == "tree":
            v, q = self.h.get_value("v") / u.mV, self.h.get_value("q")
        else:
            v, q = self.v.value, self.q.value
        v, q = 0.9 * jnp.sin(v) - 0.3 * q + x @ self.w.value, q + self.rate.value * (v - q)
        if self.kind == "group":
            self.h.value = jnp.stack([v, q], -1)
        elif self.kind == "tree":
            self.h.set_value({"v": v * u.mV, "q": q})
        else:
            self.v.value, self.q.value = v, q
        return v * q


@pytest.mark.parametrize(
    "kind", ["tree", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("apart", "group"))]
)
def test_states_of_a_unit_may_share_one_array(kind):
    model = Grouped(kind)
    (group,) = compiled(model).report.as_dict()["groups"]
    names = {"apart": ["q", "v"], "group": ["h.0", "h.1"], "tree": ["h.q", "h.v"]}
    assert sorted(group["states"]) == names[kind]
    assert group["shape"] == (B, N)
    assert_exact(model, orders=("streaming",) if kind == "apart" else ("sequence", "streaming"))


def test_a_learner_leaves_a_shared_array_as_the_model_does():
    model = Grouped("tree")
    learner = compiled(model)
    xs = draw(T, B, N_IN)
    learner.unroll(xs)
    ours = model.h.value
    brainstate.nn.init_all_states(model)
    brainstate.transform.for_loop(model, xs)
    np.testing.assert_allclose(ours, model.h.value, rtol=1e-10)


@pytest.mark.parametrize("order", ["sequence", "streaming"])
def test_weights_may_be_less_precise_than_the_states(order):
    model = Step(lambda m, x: leaky(m, x @ m.w.value + m.b.value), {"w": W, "b": draw(N)}, v=(N,))
    xs, ys = draw(T, B, N_IN), draw(T, B, N, seed=9)
    exact = leaves(bptt(model, B, xs, ys))
    for state in (model.w, model.b):
        state.value = state.value.astype(jnp.float32)
    found = found_by(model, xs, ys, order=order, **({"window": 3} if order == "sequence" else {}))
    assert {v.dtype for v in found.values()} == {np.dtype(np.float32)}
    oracles.assert_close(found, exact, 1e-5)


# Trees and units -------------------------------------------------------------------------------


def test_a_step_takes_several_arguments_and_returns_several_results():
    class Two(Step):
        def update(self, x, gate):
            out = leaky(self, x["a"] @ self.w.value + gate * (x["b"] @ self.w2.value))
            return out, {"v": self.v.value}

    model = Two(None, {"w": W, "w2": W2}, v=(N,))
    xs, gates = {"a": draw(T, B, N_IN), "b": draw(T, B, N_IN, seed=1)}, draw(T, B, N, seed=2)

    def tree_loss(outs):
        return jnp.sum(outs[0] ** 2) + jnp.sum(jnp.sin(outs[1]["v"]))

    learner = snntrace.compile(
        model, snntrace.D_RTRL, jax.tree.map(lambda v: v[0], xs), gates[0], batch_size=B
    )
    value, grads = learner.value_and_grad(tree_loss)((xs, gates))
    brainstate.nn.init_all_states(model)
    weights = model.states(brainstate.ParamState)
    exact, other = brainstate.transform.grad(
        lambda: tree_loss(brainstate.transform.for_loop(model, xs, gates)), weights, return_value=True
    )()
    assert abs(value - other) < 1e-9
    oracles.assert_close(leaves(grads), leaves(exact), 1e-9)


class InUnits(brainstate.nn.Module):
    """A leaky membrane: input in nA, resistances in MOhm, voltage in mV, times in ms."""

    def __init__(self):
        super().__init__()
        self.w = brainstate.ParamState(W.astype(float))
        self.resistance = brainstate.ParamState(TAU.astype(float) * u.Mohm)
        self.tau = brainstate.ParamState(3.0 * TAU.astype(float) * u.ms)

    def init_state(self, *args, **kwargs):
        self.v = brainstate.HiddenState(jnp.zeros((B, N)) * u.mV)

    def update(self, x):
        alpha = u.math.exp(-(1.0 * u.ms) / self.tau.value)
        current = (x @ self.w.value).to(u.nA)
        self.v.value = alpha * self.v.value + (1 - alpha) * (self.resistance.value * current)
        return jnp.tanh(self.v.value.to_decimal(u.mV))


def test_quantities_are_taken_as_parameters_inputs_and_states():
    model = InUnits()
    xs, ys = draw(T, B, N_IN) * u.nA, draw(T, B, N, seed=9)
    exact = leaves(bptt(model, B, xs, ys))
    assert len(exact) == 3
    learner = compiled(model, x=xs[0], window=3)
    routes = {entry["route"] for entry in learner.report.as_dict()["parameters"].values()}
    assert routes == {"temporal"}
    grads = learner.value_and_grad(loss)(xs, ys)[1]
    oracles.assert_close(leaves(grads), exact, 1e-9)
    oracles.assert_close(leaves(streamed(learner, model, xs, ys)[0]), exact, 1e-9)
    assert jax.tree.structure(dict(grads)) == jax.tree.structure(
        {p: s.value for p, s in model.states(brainstate.ParamState).items()}
    )
    assert u.get_unit(model.v.value) == u.mV


def test_an_input_in_another_unit_is_converted_or_refused():
    learner = compiled(InUnits(), x=draw(B, N_IN) * u.nA)
    x = draw(B, N_IN, seed=4)
    one = learner.update(x * u.nA)
    learner.reset_state()
    np.testing.assert_allclose(learner.update(1e3 * x * u.pA), one, rtol=1e-9)
    with pytest.raises(ValueError, match="unit"):
        learner.update(x * u.mV)
