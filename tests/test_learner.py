import brainstate
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import snntrace
from snntrace.neurons import LI, LIF, FeedForward, Recurrent

XS = jax.random.bernoulli(jax.random.key(0), 0.4, (6, 2, 5)).astype(jnp.float32)


def net():
    brainstate.random.seed(0)
    return brainstate.nn.Sequential(Recurrent(5, LIF(6)), FeedForward(6, LI(3)))


def energy(outs):
    return (outs**2).sum()


def test_states_that_are_made_anew_are_the_learners_states():
    model = net()
    learner = snntrace.compile(model, snntrace.D_RTRL, XS[0], batch_size=2)
    first = learner.unroll(XS)
    brainstate.nn.init_all_states(model, batch_size=2)
    np.testing.assert_array_equal(learner.unroll(XS), first)
    assert jnp.abs(model.layers[1].neuron.v.value).max() > 0


def test_two_learners_of_one_model_share_its_states():
    model = net()
    one = snntrace.compile(model, snntrace.D_RTRL, XS[0], batch_size=2)
    two = snntrace.compile(model, snntrace.BPTT, XS[0], batch_size=2)
    two.unroll(XS)
    continued = one.unroll(XS)
    one.reset_state()
    assert jnp.abs(one.unroll(XS) - continued).max() > 0


def test_states_of_another_batch_size_are_refused():
    model = net()
    learner = snntrace.compile(model, snntrace.D_RTRL, XS[0], batch_size=2)
    brainstate.nn.init_all_states(model, batch_size=3)
    with pytest.raises(snntrace.NotCompiledError, match=r"\(3, 6\)"):
        learner.update(XS[0])


def test_a_replaced_parameter_is_used_and_trained():
    model = net()
    learner = snntrace.compile(model, snntrace.D_RTRL, XS[0], batch_size=2)
    layer = model.layers[1]
    layer.w_in = brainstate.ParamState(2 * layer.w_in.value)
    _, grads = learner.value_and_grad(energy)(XS)
    again = snntrace.compile(model, snntrace.D_RTRL, XS[0], batch_size=2)
    _, expected = again.value_and_grad(energy)(XS)
    path = ("layers", 1, "w_in")
    assert jnp.abs(expected[path]).max() > 0
    np.testing.assert_allclose(grads[path], expected[path], rtol=1e-5)


@pytest.mark.parametrize("dtype", [jnp.int32, jnp.bool_])
def test_an_input_that_would_be_cut_to_whole_numbers_is_refused(dtype):
    learner = snntrace.compile(net(), snntrace.D_RTRL, XS[0].astype(dtype), batch_size=2)
    learner.update(XS[0].astype(dtype))
    with pytest.raises(ValueError, match="number type"):
        learner.update(0.5 * XS[0])


def test_one_argument_that_is_a_tuple_is_not_several_arguments():
    class Pair(brainstate.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = FeedForward(5, LI(3))

        def update(self, pair):
            return self.layer(pair[0] + pair[1])

    learner = snntrace.compile(Pair(), snntrace.D_RTRL, (XS[0], XS[0]), batch_size=2)
    loss, _ = learner.value_and_grad(energy)((XS, XS))
    np.testing.assert_allclose(loss, energy(learner.unroll((XS, XS))), rtol=1e-5)


def test_states_of_different_shapes_that_act_on_each_other_without_a_weight_are_refused():
    class Partly(brainstate.nn.Module):
        def __init__(self):
            super().__init__()
            self.w = brainstate.ParamState(jnp.ones((5, 4)))

        def init_state(self, batch_size=None, **kwargs):
            self.v = brainstate.HiddenState(jnp.zeros((batch_size, 4)))
            self.a = brainstate.HiddenState(jnp.zeros((batch_size, 2)))

        def update(self, x):
            slow = jnp.concatenate([self.a.value, jnp.zeros_like(self.a.value)], -1)
            self.v.value = 0.9 * self.v.value + x @ self.w.value - slow
            self.a.value = 0.95 * self.a.value + 0.5 * jnp.tanh(self.v.value[:, :2])
            return self.v.value

    with pytest.raises(snntrace.CompileError, match="without a weight"):
        snntrace.compile(Partly(), snntrace.D_RTRL, XS[0], batch_size=2)


@pytest.mark.parametrize(
    ("rule", "options"),
    [
        (snntrace.OSTTP, {"B_list": [jnp.ones((3, 6)), None], "seed": 1}),
        (snntrace.OSTTP, {"B_list": "normal", "output": [0, None]}),
        (snntrace.Rule(signal="random"), {"B_list": "normal", "reduction": "mean"}),
        (snntrace.BPTT, {"window": 3}),
    ],
)
def test_an_option_without_effect_is_refused(rule, options):
    with pytest.raises(TypeError, match="must have an effect"):
        rule(net(), **options)


def test_a_target_for_backpropagation_is_refused():
    learner = snntrace.compile(net(), snntrace.BPTT, XS[0], batch_size=2)
    with pytest.raises(ValueError, match="y_target"):
        learner.unroll(XS, y_target=jnp.zeros((6, 2, 3)))
