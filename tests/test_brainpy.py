"""The neurons, synapses and projections of brainpy.state, by their own names: trained as they are written."""

import sys

import brainstate
import brainunit as u
import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from nets import double_precision, loss, streamed
from steps import leaves

import snntrace

# Importing it takes longer than most tests.
pytestmark = pytest.mark.slow
bp = pytest.importorskip("brainpy.state", reason="brainpy is not installed")
brainpy_models = pytest.importorskip("brainpy_models")

T, B, N_IN, N = 12, 3, 4, 5


@pytest.fixture(autouse=True)
def float64():
    with double_precision(), brainstate.environ.context(dt=1.0 * u.ms):
        yield


@pytest.mark.parametrize("name", brainpy_models.MODELS, ids=lambda name: name.replace(" ", "_"))
def test_a_model_of_brainpy_gets_the_gradient_of_backpropagation_through_time(name):
    found = brainpy_models.errors(name)
    assert max(found.values()) < 1e-9, found


def test_the_table_in_the_docs_has_every_neuron_synapse_output_and_projection(root):
    page = (root / "docs" / "neurons.md").read_text()
    table = page[page.index("<!-- brainpy -->") : page.index("<!-- end of brainpy -->")]
    rows = [[c.strip() for c in line.strip("|").split("|")] for line in table.splitlines() if "|" in line][2:]
    assert [row[0].partition(", `")[0] for row in rows] == list(brainpy_models.MODELS)
    assert all(float(cell) < 1e-9 for row in rows for cell in row[1:])
    bases = (bp.Neuron, bp.Synapse, bp.SynOut, bp.Projection)
    # Beside them there are those of NEST, each a simulator's state machine of its own.
    known = vars(sys.modules["brainpy_state._brainpy"]).items()
    named = {n for n, v in known if isinstance(v, type) and issubclass(v, bases) and v not in bases}
    assert len(named) > 30
    assert named - {row[0].split(",")[0] for row in rows} == {"align_pre_projection"}


def test_a_projection_that_brainpy_cannot_run_itself_is_the_one_that_the_table_leaves_out():
    pop = bp.LIF(N)
    projection = bp.align_pre_projection(
        lambda x: x,
        comm=brainpy_models.dense(N_IN, N, 1.5),
        syn=brainpy_models.plain(N_IN),
        out=bp.CUBA(scale=u.mA),
        post=pop,
    )
    brainstate.nn.init_all_states(projection)
    with pytest.raises(TypeError, match="BinaryArray"):
        projection(jnp.ones(N_IN))


def test_gap_junctions_are_refused_by_name_without_the_exact_trace():
    xs, ts, _ = brainpy_models.data()
    with pytest.raises(snntrace.CompileError, match="'scatter-add' at .*nondiagonal='exact'"):
        snntrace.compile(
            brainpy_models.MODELS["SymmetryGapJunction"](), snntrace.D_RTRL, xs[0], ts[0], batch_size=B
        )


def test_a_delayed_projection_trains_its_weights():
    rng = np.random.default_rng(0)
    xs, ts = jnp.asarray(rng.random((T, N_IN))), jnp.arange(T) * 1.0
    ys = jnp.asarray(rng.normal(size=(T, 2)))
    late = brainpy_models.Projected(bp.CUBA.desc(scale=u.mV), delay=3 * u.ms)
    soon = brainpy_models.Projected(bp.CUBA.desc(scale=u.mV))
    exact = brainpy_models.gradient_of_a_loop(late, xs, ts, ys, None)
    other = brainpy_models.gradient_of_a_loop(soon, xs, ts, ys, None)
    assert oracles.relative_error(list(other.values())[-1], list(exact.values())[-1]) > 1e-2
    learner = snntrace.compile(late, snntrace.D_RTRL, xs[0], ts[0])
    oracles.assert_close(leaves(learner.value_and_grad(loss)((xs, ts), ys)[1]), exact, 1e-9)
    learner.reset_state()
    oracles.assert_close(brainpy_models.in_steps(learner, late, xs, ts, ys), exact, 1e-9)


def test_recurrent_neurons_of_brainpy_have_one_gradient_in_every_order():
    class Recurrent(brainpy_models.Layer):
        def __init__(self):
            super().__init__(bp.ALIF(N), u.mA)
            self.back = brainpy_models.dense(N, N, 1.0)

        def update(self, x):
            z = self.neuron.get_spike()
            return self.out(self.neuron((self.dense(x) + self.back(z)) * u.mA))

    rng = np.random.default_rng(0)
    xs, ys = jnp.asarray(rng.random((T, B, N_IN))), jnp.asarray(rng.normal(size=(T, B, 2)))
    model = Recurrent()
    learner = snntrace.compile(model, snntrace.D_RTRL, xs[0], batch_size=B, window=5)
    found = leaves(learner.value_and_grad(loss)(xs, ys)[1])
    oracles.assert_close(leaves(streamed(learner, model, xs, ys)[0]), found, 1e-9)
    assert {p.path[0]: p.route for p in learner.report.parameters}["back"] == "temporal"


def test_a_time_that_is_set_outside_is_refused_when_it_changes():
    class Timeless(brainpy_models.Layer):
        def update(self, x):
            return self.out(self.neuron(self.dense(x) * u.mA))

    x = jnp.ones((B, N_IN))
    with brainstate.environ.context(t=0.0 * u.ms):
        learner = snntrace.compile(Timeless(bp.LIFRef(N), u.mA), snntrace.D_RTRL, x, batch_size=B)
        learner.update(x)
    with brainstate.environ.context(t=1.0 * u.ms), pytest.raises(ValueError, match=r"\['t'\].*argument"):
        learner.update(x)
    assert jax.tree.leaves(learner.model.states(brainstate.HiddenState))
