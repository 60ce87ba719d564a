"""The report: every parameter is listed once, with how it gets its gradient."""

import inspect
import io
import re

import brainstate
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rich.console

import snntrace
from snntrace.neurons import ALIF, LIF, FeedForward, Recurrent
from snntrace.nn import GRUCell, Linear
from snntrace.report.wiring import INPUT, OUTPUT, wires_of

ROUTES = {"temporal", "instantaneous", "both", "unreached"}


class Net(brainstate.nn.Module):
    """Two layers, a read-out, and parameters that lead nowhere."""

    def __init__(self):
        super().__init__()
        self.first = Recurrent(4, ALIF(5, learn=("tau_mem", "v_th")), w_init=1.0, w_rec_init=1.0)
        self.second = FeedForward(5, LIF(5), w_init=1.0)
        self.out = Linear(5, 2, w_init=1.0)
        self.unused = Linear(5, 2, w_init=1.0)
        self.dropped = brainstate.ParamState(jnp.ones(3))
        self.count = brainstate.ParamState(jnp.ones(2))

    def update(self, x):
        _ = self.dropped.value * 2
        jnp.round(self.count.value).astype(int)
        return self.out(self.second(self.first(x)))


@pytest.fixture(scope="module")
def learner():
    return snntrace.compile(Net(), snntrace.D_RTRL, jnp.ones((3, 4)), batch_size=3)


def paths(model):
    return {".".join(map(str, path)) for path in model.states(brainstate.ParamState)}


def test_the_routes_partition_the_parameters(learner):
    routes = learner.report.as_dict()["parameters"]
    assert set(routes) == paths(learner.model)
    assert len(learner.report.parameters) == len(routes)
    assert {entry["route"] for entry in routes.values()} <= ROUTES
    expected = {
        "first.w_in": "temporal",
        "first.w_rec": "temporal",
        "first.bias": "temporal",
        "first.neuron.tau_mem": "temporal",
        "first.neuron.v_th": "both",
        "second.w_in": "temporal",
        "second.bias": "temporal",
        "out.weight": "instantaneous",
        "unused.weight": "unreached",
        "dropped": "unreached",
        "count": "unreached",
    }
    assert {name: entry["route"] for name, entry in routes.items()} == expected


def test_what_is_unreached_has_a_zero_gradient_and_nothing_else_has(learner):
    xs = jnp.asarray((np.random.default_rng(0).random((12, 3, 4)) < 0.6) * 2.0)
    for state in learner.param_states.values():
        if state.value.__class__ is not dict and state.value.ndim == 2:
            state.value = jnp.asarray(np.random.default_rng(1).normal(0.4, 0.6, state.value.shape))
    _, grads = learner.value_and_grad(lambda outs: jnp.sum((outs - 1.0) ** 2))(xs)
    routes = learner.report.as_dict()["parameters"]
    for path, grad in grads.items():
        values = grad.values() if isinstance(grad, dict) else [grad]
        reached = routes[".".join(path)]["route"] != "unreached"
        assert all((float(jnp.abs(v).max()) > 0) == reached for v in values), path


def test_every_reason_says_something(learner):
    assert all(len(p.reason) > 10 for p in learner.report.parameters)
    reasons = {p.path[0]: p.reason for p in learner.report.parameters if p.route == "unreached"}
    assert reasons["unused"] == "update does not read it"
    assert "depends on it" in reasons["dropped"]


def test_the_printed_report_names_every_parameter_state_and_rule(learner):
    printed = str(learner.report)
    for name in paths(learner.model):
        assert name in printed
    for name in ("first.neuron.v", "first.neuron.a", "second.neuron.v", "D_RTRL"):
        assert name in printed
    assert repr(learner.report) == printed


def test_groups_and_traces_are_listed_with_shapes_and_memory(learner):
    data = learner.report.as_dict()
    assert [(g["width"], len(g["states"])) for g in data["groups"]] == [(5, 2), (5, 1)]
    traced = {name for trace in data["traces"] for name in trace["parameters"]}
    temporal = {n for n, e in data["parameters"].items() if e["route"] in ("temporal", "both")}
    assert traced == temporal
    for trace, state in zip(data["traces"], learner.traces, strict=True):
        assert trace["shape"] == state.value.shape
        assert trace["bytes"] == state.value.nbytes


def test_a_collapsed_trace_has_no_axis_for_units():
    model = Recurrent(4, LIF(6), w_init=1.0, w_rec_init=1.0)
    for fast_solve, post in ((True, 1), (False, 6)):
        learner = snntrace.compile(
            model, snntrace.D_RTRL, jnp.ones((3, 4)), batch_size=3, fast_solve=fast_solve
        )
        shapes = {t["parameters"][0]: t["shape"] for t in learner.report.as_dict()["traces"]}
        assert shapes["w_in"] == (1, 3, 4, post)
        assert shapes["w_rec"] == (1, 3, 6, post)
        assert [t.value.shape for t in learner.traces] == [
            t["shape"] for t in learner.report.as_dict()["traces"]
        ]


def test_gates_that_act_through_another_weight_are_instantaneous_through_it():
    learner = snntrace.compile(GRUCell(4, 5, w_init=1.0), snntrace.D_RTRL, jnp.ones((3, 4)), batch_size=3)
    routes = {n: e["route"] for n, e in learner.report.as_dict()["parameters"].items()}
    assert routes == {"Wz.weight": "temporal", "Wr.weight": "instantaneous", "Wh.weight": "temporal"}
    assert "earlier states" in learner.report.as_dict()["parameters"]["Wr.weight"]["reason"]


def test_a_weight_in_a_trace_and_in_the_readout_has_both_routes():
    class Tied(brainstate.nn.Module):
        def __init__(self):
            super().__init__()
            self.w = brainstate.ParamState(jnp.ones((4, 5)))

        def init_state(self, batch_size=None, **kwargs):
            self.v = brainstate.HiddenState(jnp.zeros((batch_size, 5)))

        def update(self, x):
            self.v.value = 0.9 * self.v.value + x @ self.w.value
            return self.v.value @ self.w.value.T

    learner = snntrace.compile(Tied(), snntrace.D_RTRL, jnp.ones((3, 4)), batch_size=3)
    assert learner.report.as_dict()["parameters"]["w"]["route"] == "both"


def test_backpropagation_through_time_carries_no_traces():
    learner = snntrace.compile(Net(), snntrace.BPTT, jnp.ones((3, 4)), batch_size=3)
    assert set(learner.report.as_dict()["parameters"]) == paths(learner.model)
    assert learner.traces == []
    assert learner.report.as_dict()["traces"] == []


class Written(brainstate.nn.Module):
    """A recurrent layer under a running average, whose lines a report must find."""

    def __init__(self):
        super().__init__()
        self.w = brainstate.ParamState(jnp.ones((4, 5)))
        self.u = brainstate.ParamState(jnp.ones((5, 5)))
        self.gate = brainstate.ParamState(jnp.ones((4, 5)))
        self.out = brainstate.ParamState(jnp.ones((5, 2)))
        self.mean = brainstate.ShortTermState(jnp.zeros(()))

    def init_state(self, batch_size=None, **kwargs):
        self.v = brainstate.HiddenState(jnp.zeros((batch_size, 5)))

    def update(self, x):
        open_ = jnp.where(x @ self.gate.value > 0, 1.0, 0.5) * (x @ self.gate.value)
        back = (open_ * self.v.value) @ self.u.value
        self.v.value = 0.9 * self.v.value + x @ self.w.value + back
        self.mean.value = 0.9 * self.mean.value + self.v.value.mean()
        return self.v.value @ self.out.value + self.mean.value


def line_of(text):
    """Return the line of this file on which some code stands."""
    lines = inspect.getsource(inspect.getmodule(line_of)).splitlines()
    (found,) = [i for i, line in enumerate(lines, 1) if line.strip().startswith(text)]
    return f"{__file__}:{found} "


@pytest.fixture(scope="module")
def written():
    return snntrace.compile(Written(), snntrace.D_RTRL, jnp.ones((3, 4)), batch_size=3)


def test_each_approximation_names_its_operation_its_line_and_what_to_write(written):
    parts = {name: e["left_out"] for name, e in written.report.as_dict()["parameters"].items()}
    recurrent = next(p for p in parts["w"] if "through u" in p["what"])
    assert recurrent["primitive"] == "dot_general"
    assert recurrent["where"].startswith(line_of("back = (open_"))
    assert "OSTLRecurrent" in recurrent["instead"]
    average = next(p for p in parts["w"] if "mean" in p["what"])
    assert average["where"].startswith(line_of("self.mean.value = "))
    assert "HiddenState" in average["instead"]
    gate = next(p for p in parts["gate"] if "through u" in p["what"])
    assert "gate * (h @ w)" in gate["instead"]
    assert parts["out"] == []
    for part in (p for found in parts.values() for p in found):
        assert part["instead"]
        assert part["what"]


def test_what_stands_in_a_cached_function_of_jax_is_found_on_the_users_line(written):
    selects = [e for e in written.graph.step.program.equations if e.name == "select_n"]
    assert selects
    assert all(e.where.startswith(line_of("open_ = ")) for e in selects)


def test_a_parameter_is_exact_where_the_report_says_so_and_only_there():
    rng = np.random.default_rng(0)
    xs = jnp.asarray(rng.normal(0, 1, (8, 3, 4)), jnp.float32)

    class Plain(brainstate.nn.Module):
        def __init__(self, recurrent):
            super().__init__()
            self.w = brainstate.ParamState(jnp.asarray(rng.normal(0, 0.6, (4, 5)), jnp.float32))
            self.u = brainstate.ParamState(jnp.asarray(rng.normal(0, 0.6, (5, 5)), jnp.float32))
            self.tau = brainstate.ParamState(jnp.full(5, 0.8))
            self.out = brainstate.ParamState(jnp.asarray(rng.normal(0, 0.6, (5, 2)), jnp.float32))
            self.recurrent = recurrent

        def init_state(self, batch_size=None, **kwargs):
            self.h = brainstate.HiddenState(jnp.zeros((batch_size, 5)))

        def update(self, x):
            back = self.h.value @ self.u.value if self.recurrent else self.h.value @ jnp.eye(5) * 0
            h = self.h.value
            back = jax.lax.stop_gradient(back) if not self.recurrent else back
            self.h.value = jnp.tanh(self.tau.value * h + x @ self.w.value + back)
            return self.h.value @ self.out.value

    for recurrent in (False, True):
        learner = snntrace.compile(Plain(recurrent), snntrace.D_RTRL, xs[0], batch_size=3)
        measured = learner.against_bptt(lambda outs: (outs**2).sum())(xs)
        for name, entry in learner.report.as_dict()["parameters"].items():
            if entry["route"] == "unreached":
                assert measured[name].error == 0
                continue
            exact = not entry["left_out"]
            assert learner.explain(name).exact == exact
            assert (measured[name].error < 1e-5) == exact, (recurrent, name, measured[name])
            assert exact == (not recurrent or name == "out")


def test_an_explanation_says_all_about_one_parameter(learner, written):
    found = learner.explain("first.w_rec")
    assert found == learner.explain(("first", "w_rec"))
    (trace,) = found.traces
    assert (trace.shape, trace.collapsed) == ((2, 3, 5, 5), False)
    assert "differ" in trace.why
    assert not found.exact
    text = str(found)
    for word in ("first.w_rec", "dot_general", "first.neuron.a", "Left out", "instead", "against_bptt"):
        assert word in text
    out = learner.explain("out.weight")
    assert out.exact
    assert out.traces == ()
    assert out.direct[0].startswith("dot_general at ")
    assert "exact" in str(out)
    assert learner.explain("dropped").accuracy == "its gradient is zero, and that is exact"
    assert written.explain("gate").direct[0].startswith(f"dot_general at {line_of('open_ = ')}")


def test_a_name_that_is_none_is_refused_with_near_ones(learner):
    with pytest.raises(KeyError, match=r"first\.w_rec"):
        learner.explain("first.w_reg")


def test_terminals_and_notebooks_get_tables_of_the_same(learner):
    console = rich.console.Console(record=True, width=400, file=io.StringIO())
    console.print(learner.report)
    shown, html = console.export_text(), learner.report._repr_html_()
    for name in paths(learner.model):
        assert name in shown
        assert name in html
    for part in ("Left out of their gradients", "one for all units", "Memory"):
        assert part in shown
        assert part in html
    explained = learner.explain("first.w_in")
    assert "first.neuron.v" in explained._repr_html_()
    console.print(explained)
    assert "Left out" in console.export_text()


def test_text_of_a_model_cannot_break_a_notebooks_table():
    class Named(brainstate.nn.Module):
        def __init__(self):
            super().__init__()
            setattr(self, "<b>", FeedForward(4, LIF(5)))

        def update(self, x):
            return getattr(self, "<b>")(x)

    learner = snntrace.compile(Named(), snntrace.D_RTRL, jnp.ones((3, 4)), batch_size=3)
    assert "<b>.w_in" not in learner.report._repr_html_()
    assert "&lt;b&gt;.w_in" in learner.report._repr_html_()


def test_the_picture_names_every_parameter_on_the_way(learner, tmp_path):
    figure = learner.report.figure()
    texts = {t.get_text() for t in figure.axes[0].texts}
    for name in ("first.w_in", "first.w_rec", "first.neuron.tau_mem", "second.w_in", "out.weight"):
        assert name in texts, name
    for name in ("first.neuron.v", "input", "output"):
        assert name in texts, name
    learner.report.draw(tmp_path / "net.png")
    assert (tmp_path / "net.png").read_bytes()[:4] == b"\x89PNG"
    assert [p.name for p in tmp_path.iterdir()] == ["net.png"]


def test_the_wires_of_a_recurrent_net_are_those_that_it_has(learner):
    wires = {(w.source, w.target, w.late, w.label) for w in wires_of(learner.report)}
    assert wires == {
        (INPUT, 0, False, "first.w_in"),
        (0, 0, True, "first.w_rec"),
        (0, 1, False, "second.w_in"),
        (1, OUTPUT, False, "out.weight"),
    }


# Refusals ------------------------------------------------------------------------------------------


class Refused(brainstate.nn.Module):
    """One step for each refusal; the line that causes it stands behind its name."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.w = brainstate.ParamState(jnp.ones((5, 5)))

    def init_state(self, batch_size=None, **kwargs):
        self.v = brainstate.HiddenState(jnp.zeros((batch_size, 5)))
        self.a = brainstate.HiddenState(jnp.zeros((batch_size, 2)))

    def update(self, x):
        v, a, y = self.v.value, self.a.value, x @ self.w.value
        if self.kind == "moved":
            v = v[:, ::-1]
        if self.kind == "mixed":
            v = v - v.mean(-1, keepdims=True)
        if self.kind == "joined":
            y = y - jnp.pad(a, ((0, 0), (0, 3)))
            self.a.value = 0.9 * a + v[:, :2]
        if self.kind == "spread":
            y = y / jnp.linalg.norm(y, axis=-1, keepdims=True)
        if self.kind == "typed":
            self.a.value = jnp.concatenate([a, a], -1)
        if self.kind == "written":
            self.w.value = 2.0 * self.w.value
        self.v.value = 0.9 * v + y
        return self.v.value


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("moved", "v = v[:, ::-1]"),
        ("mixed", "v = v - v.mean("),
        ("joined", "y = y - jnp.pad("),
        ("spread", "y = y / jnp.linalg"),
        ("typed", "self.a.value = jnp.concatenate("),
        ("written", "self.w.value = 2.0"),
    ],
)
def test_each_refusal_names_the_operation_the_users_line_and_what_to_write(kind, line):
    with pytest.raises(snntrace.CompileError) as error:
        snntrace.compile(Refused(kind), snntrace.D_RTRL, jnp.ones((3, 5)), batch_size=3)
    message = str(error.value)
    assert line_of(line) in message
    assert re.search(r"'\w+' at ", message)
    assert re.search(r"\. (Make|Initialise|Keep|Give|Move)", message), message


DETACHED = {
    "a_parameter_beside_the_states": (
        lambda p, h, x, held: (leak(p, h, x @ p["w"]), lambda new: new * held(p["tau"])),
        set(),
    ),
    "a_parameter_that_is_compared": (
        lambda p, h, x, held: (leak(p, h, x @ p["w"]), lambda new: new * (p["tau"] > 0.6)),
        set(),
    ),
    "a_parameter_of_the_result_alone": (
        lambda p, h, x, held: (leak(p, h, x @ p["w"]), lambda new: new + held(p["other"])),
        {"other"},
    ),
    "a_parameter_of_the_state_alone": (
        lambda p, h, x, held: (leak(p, h, x @ p["w"] + held(p["other"])), lambda new: new),
        {"other"},
    ),
    "the_operand_of_another_weight": (
        lambda p, h, x, held: (leak(p, h, held(x * p["other"] * p["tau"]) @ p["w"]), lambda new: new),
        {"other"},
    ),
    "units_that_act_on_each_other": (
        lambda p, h, x, held: (leak(p, h, x @ p["w"] + held(h) @ p["other"]), lambda new: new),
        set(),
    ),
}
"""A step with a way that `held` detaches, and the parameters that have no other one."""


def leak(p, h, current):
    return jnp.tanh(p["tau"] * h + current)


@pytest.mark.parametrize("name", DETACHED)
@pytest.mark.parametrize("detached", [True, False], ids=["detached", "open"])
def test_a_way_that_carries_no_gradient_counts_as_none(name, detached):
    rng = np.random.default_rng(0)
    update, stopped = DETACHED[name]
    held = jax.lax.stop_gradient if detached else lambda value: value
    shape = (4, 4) if name == "units_that_act_on_each_other" else (4,)

    class Plain(brainstate.nn.Module):
        def __init__(self):
            super().__init__()
            self.w = brainstate.ParamState(jnp.asarray(rng.normal(0, 1, (4, 4)), jnp.float32))
            self.tau = brainstate.ParamState(jnp.asarray(rng.uniform(0.4, 0.8, 4), jnp.float32))
            self.other = brainstate.ParamState(jnp.asarray(rng.uniform(0.2, 0.6, shape), jnp.float32))

        def init_state(self, batch_size=None, **kwargs):
            self.h = brainstate.HiddenState(jnp.zeros((batch_size, 4)))

        def update(self, x):
            p = {"w": self.w.value, "tau": self.tau.value, "other": self.other.value}
            self.h.value, result = update(p, self.h.value, x, held)
            return result(self.h.value)

    model = Plain()
    xs = jnp.asarray(rng.normal(0, 1, (6, 3, 4)), jnp.float32)
    learner = snntrace.compile(model, snntrace.D_RTRL, xs[0], batch_size=3)
    grads = {k[0]: g for k, g in learner.value_and_grad(lambda outs: (outs**2).sum())(xs)[1].items()}
    measured = learner.against_bptt(lambda outs: (outs**2).sum())(xs)
    routes = learner.report.as_dict()["parameters"]
    for parameter, entry in routes.items():
        assert (entry["route"] == "unreached") == (float(jnp.abs(grads[parameter]).max()) == 0), parameter
        assert (entry["left_out"] == []) == (measured[parameter].error < 1e-5), (parameter, entry)
    if not detached:
        return
    assert {entry["route"] for entry in routes.values()} <= {"temporal", "unreached"}
    for parameter in stopped:
        assert "'stop_gradient' at " in routes[parameter]["reason"]
    events = snntrace.compile(model, snntrace.D_RTRL, xs[0], batch_size=3, path="event")
    for key, gradient in events.value_and_grad(lambda outs: (outs**2).sum())(xs)[1].items():
        np.testing.assert_allclose(gradient, grads[key[0]], rtol=1e-4, atol=1e-5)
