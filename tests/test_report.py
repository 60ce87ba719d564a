"""The report: every parameter is listed once, with how it gets its gradient."""

import brainstate
import jax.numpy as jnp
import numpy as np
import pytest

import snntrace
from snntrace.neurons import ALIF, LIF, FeedForward, Recurrent
from snntrace.nn import GRUCell, Linear

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
