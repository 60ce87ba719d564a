"""Outputs and gradients of a second implementation, braintrace 0.2.4, for four recurrent nets."""

import brainstate
import braintools
import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest

import snntrace
from snntrace.nn import GRUCell, Linear, VanillaRNNCell

pytestmark = pytest.mark.shared
NETS = ("rnn", "gru", "lif", "alif")
RULES = ("D_RTRL", "OSTLRecurrent", "OSTTP")


class Spiking(brainstate.nn.Module):
    """The LIF or ALIF step of the files' README."""

    def __init__(self, n_in, n, beta):
        super().__init__()
        self.n, self.beta = n, beta
        self.lin = Linear(n_in + n, n, w_init=0.0, b_init=None)

    def init_state(self, **kwargs):
        self.V = brainstate.HiddenState(jnp.zeros(self.n))
        if self.beta:
            self.a = brainstate.HiddenState(jnp.zeros(self.n))

    def spikes(self):
        adaptation = self.beta * self.a.value if self.beta else 0.0
        return braintools.surrogate.ReluGrad(alpha=0.3, width=1.0)(self.V.value - 1.0 - adaptation)

    def update(self, x):
        z = self.spikes()
        if self.beta:
            self.a.value = 0.97 * self.a.value + z
        self.V.value = 0.9 * (self.V.value - jax.lax.stop_gradient(z)) + self.lin(jnp.concatenate([x, z]))
        return self.spikes()


class Golden(brainstate.nn.Module):
    def __init__(self, kind, n_in, n, n_out):
        super().__init__()
        self.cell = {
            "rnn": lambda: VanillaRNNCell(n_in, n, w_init=0.0, activation="tanh"),
            "gru": lambda: GRUCell(n_in, n, w_init=0.0),
            "lif": lambda: Spiking(n_in, n, 0.0),
            "alif": lambda: Spiking(n_in, n, 0.2),
        }[kind]()
        self.out = Linear(n, n_out, w_init=0.0)

    def update(self, x):
        return self.out(self.cell(x))


def flat(tree):
    """Write a tree keyed by paths with the files' names."""
    return {
        ".".join([*map(str, path), key]): leaf for path, value in tree.items() for key, leaf in value.items()
    }


@pytest.fixture(params=[(kind, seed) for kind in NETS for seed in (0, 1)], ids=lambda p: f"{p[0]}{p[1]}")
def golden(request, shared):
    kind, seed = request.param
    with np.load(shared / "golden" / f"{kind}_seed{seed}.npz") as file:
        data = dict(file)
    return kind, data


def learner_of(kind, data, rule):
    model = Golden(kind, data["x"].shape[1], data["B0"].shape[1], data["y"].shape[1])
    options = {"B_list": [jnp.asarray(data["B0"])]} if rule == "OSTTP" else {}
    learner = snntrace.compile(model, getattr(snntrace, rule), jnp.asarray(data["x"][0]), **options)
    stored = {key.removeprefix("param/"): value for key, value in data.items() if key.startswith("param/")}
    weights = model.states(brainstate.ParamState)
    assert set(flat({path: s.value for path, s in weights.items()})) == set(stored)
    for path, state in weights.items():
        state.value = {key: jnp.asarray(stored[".".join([*path, key])]) for key in state.value}
    return learner


def test_outputs_and_gradients_are_those_of_the_second_implementation(golden):
    kind, data = golden
    xs, ys = jnp.asarray(data["x"]), jnp.asarray(data["y"])
    for rule in RULES:
        learner = learner_of(kind, data, rule)
        run = learner.value_and_grad(lambda outs, ys: (((outs - ys) ** 2).sum(), outs), has_aux=True)
        (_, outs), grads = run(xs, ys, y_target=ys if rule == "OSTTP" else None)
        assert oracles.relative_error(outs, data["out"]) < 1e-5
        expected = {
            k.removeprefix(f"grad/{rule}/"): v for k, v in data.items() if k.startswith(f"grad/{rule}/")
        }
        assert sum(np.abs(v).max() > 0 for v in expected.values()) >= 1
        for name, found in flat(grads).items():
            stored = expected.pop(name)
            if np.abs(stored).max() > 0:
                assert oracles.relative_error(found, stored) < 1e-5, (rule, name)
            else:
                assert np.abs(found).max() > 1e-3, (rule, name)
                assert name.startswith("out.") or "Wr" in name
        error = 2 * (np.asarray(outs, float) - data["y"])
        assert oracles.relative_error(flat(grads)["out.weight.bias"], error.sum(0)) < 1e-5
        assert not expected
