"""What a learner carries can be stored in the middle of a sequence, and gone on from."""

import copy
import pickle

import brainstate
import braintools
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from nets import draw_weights

import snntrace
from snntrace.neurons import ALIF, LIF, FeedForward, Recurrent
from snntrace.nn import Linear

XS = jax.random.bernoulli(jax.random.key(0), 0.5, (14, 2, 5)).astype(jnp.float32)
RULES = [snntrace.D_RTRL, snntrace.OSTLRecurrent]


def learner_of(rule=snntrace.D_RTRL, seed=0, batch=2, dropout=False):
    brainstate.random.seed(seed)
    layers = [Recurrent(5, ALIF(6)), FeedForward(6, LIF(6))]
    if dropout:
        layers.append(brainstate.nn.Dropout(0.5))
    model = draw_weights(brainstate.nn.Sequential(*layers, Linear(6, 2)), 1.5, seed)
    with brainstate.environ.context(fit=True):
        return snntrace.compile(model, rule, jnp.zeros((batch, 5)), batch_size=batch)


def train(learner, xs):
    """Learn at every step, as a stream does; return all outputs."""
    optimiser = braintools.optim.SGD(lr=0.05)
    optimiser.register_trainable_weights(learner.param_states)
    outs = []
    for x in xs:
        gradient = brainstate.transform.grad(
            lambda x: ((learner.update(x) - 1.0) ** 2).sum(), learner.param_states, return_value=True
        )
        grads, loss = gradient(x)
        optimiser.step(grads)
        outs.append(float(loss))
    return outs


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.name)
def test_learning_that_is_resumed_in_the_middle_of_a_sequence_is_learning_without_a_pause(rule, tmp_path):
    whole = learner_of(rule)
    expected = train(whole, XS)
    assert len(set(expected)) > 10
    first = learner_of(rule)
    train(first, XS[:6])
    np.savez(tmp_path / "state.npz", **first.state_dict())
    second = learner_of(rule, seed=1)
    with np.load(tmp_path / "state.npz") as stored:
        second.load_state_dict(stored)
    np.testing.assert_allclose(train(second, XS[6:]), expected[6:], rtol=1e-6)
    for name, value in whole.state_dict().items():
        np.testing.assert_allclose(second.state_dict()[name], value, rtol=1e-5, atol=1e-7, err_msg=name)


def test_every_parameter_state_and_trace_has_a_name():
    learner = learner_of()
    learner.unroll(XS)
    named = learner.state_dict()
    assert {n.split("/")[0] for n in named} == {"parameter", "hidden", "trace"}
    for name in ("parameter/layers.0.w_rec", "hidden/layers.0.neuron.a", "trace/0"):
        assert np.abs(named[name]).max() > 0, name
    assert sum(n.startswith("trace/") for n in named) == len(learner.traces)


def test_random_keys_are_carried_so_that_noise_goes_on_as_it_would_have():
    with brainstate.environ.context(fit=True):
        learner = learner_of(dropout=True)
        learner.unroll(XS[:4])
        stored = learner.state_dict()
        expected = learner.unroll(XS[4:])
        learner.load_state_dict(stored)
        np.testing.assert_array_equal(learner.unroll(XS[4:]), expected)
        assert jnp.abs(learner.unroll(XS[4:]) - expected).max() > 0


def test_another_learner_s_arrays_are_refused_and_nothing_is_changed():
    stored = learner_of(batch=3).state_dict()
    learner = learner_of()
    before = learner.state_dict()
    for values in (stored, {k: v for k, v in before.items() if k != "trace/0"}, {**before, "more": 1.0}):
        with pytest.raises(ValueError, match="state_dict"):
            learner.load_state_dict(values)
    for name, value in learner.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_a_copy_goes_on_as_the_original_and_shares_nothing_with_it():
    learner = learner_of()
    learner.unroll(XS[:5])
    twin = copy.deepcopy(learner)
    expected = train(learner, XS[5:])
    np.testing.assert_allclose(train(twin, XS[5:]), expected, rtol=1e-5)
    twin.reset_state()
    assert all(np.abs(trace.value).max() == 0 for trace in twin.traces)
    assert any(np.abs(trace.value).max() > 0 for trace in learner.traces)
    assert copy.deepcopy(snntrace.D_RTRL(twin.model)).graph is None


def test_a_learner_says_why_it_cannot_be_pickled():
    with pytest.raises(TypeError, match="state_dict"):
        pickle.dumps(learner_of())
