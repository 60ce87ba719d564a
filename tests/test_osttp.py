"""Target projection: its signals against plain numpy, and every check of its arguments."""

import brainstate
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from nets import Case, double_precision, loss

import snntrace
from snntrace import OSTTP, Rule
from snntrace.neurons import LI, LIF, FeedForward, Recurrent

RANDOM = Rule(recursion="diagonal", signal="random", name="random feedback")


@pytest.fixture
def float64():
    with double_precision():
        yield


def matrices(case, n_target=3, seed=5):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(n_target, layer.w_in.shape[1])).astype(np.float32) for layer in case.layers]


def signals_of(entry, kind, bs):
    return [None if b is None else (entry, kind, b.astype(float)) for b in bs]


# Signals ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "case"),
    [
        ("state", {"kind": "lif", "sizes": (6, 8, 7)}),
        ("output", {"kind": "lif", "learn": True}),
        ("output", {"kind": "alif", "sizes": (6, 8, 7)}),
    ],
)
def test_a_projected_target_gives_the_numpy_trace(float64, entry, case):
    case = Case(**case)
    bs = matrices(case)
    _, expected = case.oracle("coupled", signals_of(entry, "target", bs))
    oracles.assert_alive(case.layers)
    learner = case.compile(OSTTP, B_list=[jnp.asarray(b) for b in bs], signal=entry, window=4)
    oracles.assert_close(case.sequence(learner, y_target=case.targets)[1], expected, 1e-10)
    oracles.assert_close(case.streaming(learner, targets=True)[1], expected, 1e-10)


@pytest.mark.parametrize("entry", ["state", "output"])
def test_a_projected_error_gives_the_numpy_trace(float64, entry):
    case = Case("alif", learn=entry == "output")
    bs = matrices(case)
    _, expected = case.oracle("diagonal", signals_of(entry, "random", bs))
    learner = case.compile(RANDOM, B_list=[jnp.asarray(b) for b in bs], signal=entry)
    oracles.assert_close(case.sequence(learner)[1], expected, 1e-10)
    oracles.assert_close(case.streaming(learner)[1], expected, 1e-10)


def test_a_group_without_a_matrix_takes_the_losss_own_gradient(float64):
    case = Case("lif", sizes=(6, 8, 7))
    b = matrices(case)[0]
    _, expected = case.oracle("coupled", signals_of("state", "target", [b, None]))
    learner = case.compile(OSTTP, B_list=[jnp.asarray(b), None])
    oracles.assert_close(case.sequence(learner, y_target=case.targets)[1], expected, 1e-10)
    _, own = case.oracle("coupled")
    oracles.assert_close(
        {k: v for k, v in expected.items() if k[0] == "1"},
        {k: v for k, v in own.items() if k[0] == "1"},
        1e-12,
    )


def test_a_group_without_a_matrix_below_one_with_a_matrix_still_takes_the_losss_gradient(float64):
    case = Case("lif", sizes=(6, 8, 7))
    _, own = case.oracle("coupled")
    _, projected = case.oracle("coupled", signals_of("state", "target", [None, matrices(case)[1]]))
    expected = {k: projected[k] if k[0] == "1" else own[k] for k in own}
    learner = case.compile(OSTTP, B_list=[None, jnp.asarray(matrices(case)[1])])
    oracles.assert_close(case.sequence(learner, y_target=case.targets)[1], expected, 1e-10)
    oracles.assert_close(case.streaming(learner, targets=True)[1], expected, 1e-10)


def test_the_readout_keeps_the_losss_gradient_and_no_target_reaches_it():
    case = Case("lif")
    _, expected = case.oracle()
    bs = [jnp.asarray(b) for b in matrices(case)]
    learner = case.compile(OSTTP, B_list=bs)
    for targets in (case.targets, 0 * case.targets):
        _, found = case.sequence(learner, y_target=targets)
        oracles.assert_close(
            {k: found[k] for k in ("out.w_out", "out.b_out")},
            {k: expected[k] for k in ("out.w_out", "out.b_out")},
            1e-5,
        )
    assert np.abs(found["0.w_in"]).max() == 0.0


def test_mean_reduction_is_the_sum_over_the_batch_size():
    case = Case("lif", batch=4)
    bs = [jnp.asarray(b) for b in matrices(case)]
    found = {
        reduction: case.sequence(case.compile(OSTTP, B_list=bs, reduction=reduction), y_target=case.targets)[
            1
        ]
        for reduction in ("sum", "mean")
    }
    for name in ("0.w_in", "0.w_rec", "0.bias"):
        assert oracles.relative_error(4 * found["mean"][name], found["sum"][name]) < 1e-6
    assert oracles.relative_error(found["mean"]["out.w_out"], found["sum"]["out.w_out"]) == 0.0


def test_sum_is_the_default_reduction_and_state_the_default_entry():
    case = Case("lif")
    bs = [jnp.asarray(b) for b in matrices(case)]
    _, default = case.sequence(case.compile(OSTTP, B_list=bs), y_target=case.targets)
    _, expected = case.oracle("coupled", signals_of("state", "target", matrices(case)))
    oracles.assert_close(default, expected, 1e-5)


def test_class_labels_are_their_one_hot_targets():
    case = Case("lif")
    bs = [jnp.asarray(b) for b in matrices(case)]
    learner = case.compile(OSTTP, B_list=bs)
    labels = jnp.argmax(case.targets, -1)
    _, by_label = case.sequence(learner, y_target=labels)
    _, by_vector = case.sequence(learner, y_target=case.targets)
    oracles.assert_close(by_label, by_vector, 1e-7)
    learner.reset_state()
    learner.update(case.inputs[0], y_target=labels[0])
    learner(case.inputs[1], y_target=labels[1])


def test_a_sequence_end_target_acts_at_the_last_step_alone(float64):
    case = Case("lif")
    bs = [jnp.asarray(b) for b in matrices(case)]
    learner = case.compile(OSTTP, B_list=bs, target_timing="sequence-end")
    _, found = case.sequence(learner, y_target=case.targets[-1])
    per_step = case.compile(OSTTP, B_list=bs)
    at_end = jnp.zeros_like(case.targets).at[-1].set(case.targets[-1])
    _, expected = case.sequence(per_step, y_target=at_end)
    hidden = ("0.w_in", "0.w_rec", "0.bias")
    oracles.assert_close({k: found[k] for k in hidden}, {k: expected[k] for k in hidden}, 1e-12)

    learner.reset_state()
    weights = case.model.states(brainstate.ParamState)
    for t, x in enumerate(case.inputs):
        last = t == len(case.inputs) - 1
        target = {"y_target": case.targets[-1]} if last else {}

        def out_sum(x=x, target=target):
            return jnp.sum(learner.update(x, **target))

        grads = case.named(brainstate.transform.grad(out_sum, weights)())
        if t < 2:
            assert all(np.abs(grads[k]).max() == 0.0 for k in hidden)
    oracles.assert_close({k: grads[k] for k in hidden}, {k: expected[k] for k in hidden}, 1e-12)


def test_drawn_matrices_are_the_same_for_the_same_seed():
    case = Case("lif", sizes=(6, 8, 7))
    first, again, other = (case.compile(OSTTP, B_list="normal", seed=seed).matrices for seed in (1, 1, 2))
    for a, b, c, n in zip(first, again, other, (8, 7), strict=True):
        assert a.shape == (3, n)
        np.testing.assert_array_equal(a, b)
        assert np.abs(a - c).max() > 0.1
    assert np.abs(first[0][:, :7] - first[1]).max() > 0.1
    doubled = case.compile(OSTTP, B_list="normal", seed=1, scale=2.0).matrices
    np.testing.assert_allclose(doubled[0], 2 * np.asarray(first[0]), rtol=1e-6)
    learner = case.compile(OSTTP, B_list="normal")
    assert all(np.abs(v).max() > 0 for v in case.sequence(learner, y_target=case.targets)[1].values())


def test_drawn_matrices_leave_a_readout_with_a_state_its_own_gradient():
    model = brainstate.nn.Sequential(
        Recurrent(4, LIF(5), w_init=1.0, w_rec_init=1.0), FeedForward(5, LI(2), w_init=1.0)
    )
    learner = snntrace.compile(model, OSTTP, jnp.ones((2, 4)), batch_size=2, B_list="normal")
    assert [None if b is None else b.shape for b in learner.matrices] == [(2, 5), None]


def test_feedback_matrices_take_no_gradient_and_are_copied():
    case = Case("lif")
    b = matrices(case)[0]
    learner = case.compile(OSTTP, B_list=[b])
    _, before = case.sequence(learner, y_target=case.targets)
    b[:] = 0.0
    _, after = case.sequence(case.compile(OSTTP, B_list=list(learner.matrices)), y_target=case.targets)
    oracles.assert_close(after, before, 1e-6)


# Refusals --------------------------------------------------------------------------------------


def model_of(n=5):
    return brainstate.nn.Sequential(
        Recurrent(4, LIF(n), w_init=1.0, w_rec_init=1.0), FeedForward(n, LIF(n + 1), w_init=1.0)
    )


def compiled(**options):
    options = {"B_list": [jnp.ones((3, 5)), jnp.ones((3, 6))]} | options
    return snntrace.compile(model_of(), OSTTP, jnp.ones((2, 4)), batch_size=2, **options)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"B_list": [np.ones((3, 5))]}, r"one entry for each hidden group, got 1 for 2 groups"),
        ({"B_list": [np.ones((3, 5))] * 3}, r"one entry for each hidden group, got 3 for 2 groups"),
        ({"B_list": []}, r"one entry for each hidden group, got 0 for 2 groups"),
        ({"B_list": [np.ones((3, 5)), np.ones((3, 5))]}, r"columns.*B_list\[1\].shape=\(3, 5\) for 6 units"),
        ({"B_list": [np.ones((5, 3)), None]}, r"B_list\[0\].shape=\(5, 3\) for 5 units"),
        ({"B_list": [np.ones(5), None]}, r"\(n_target, n_units\), got B_list\[0\].shape=\(5,\)"),
        ({"B_list": [None, np.ones((1, 3, 6))]}, r"got B_list\[1\].shape=\(1, 3, 6\)"),
        ({"B_list": [np.ones((3, 5)), np.ones((4, 6))]}, r"same number of rows, got \[3, 4\]"),
        ({"B_list": "gaussian"}, r"B_list='gaussian'"),
        ({"target_timing": "at-the-end"}, r"target_timing='at-the-end'"),
        ({"signal": "spike"}, r"signal='spike'"),
        ({"reduction": "max"}, r"reduction='max'"),
        ({"vjp_method": "two-step"}, r"vjp_method='two-step'"),
        ({"window": 0}, r"window=0"),
    ],
)
def test_a_wrong_argument_is_a_value_error_that_names_it(options, says):
    with pytest.raises(ValueError, match=says):
        compiled(**options)


@pytest.mark.parametrize("rule", [OSTTP, RANDOM])
def test_matrices_are_needed(rule):
    with pytest.raises(TypeError, match="B_list"):
        rule(model_of())


@pytest.mark.parametrize("options", [{"betas": 1}, {"trace": "fast"}])
def test_an_unknown_keyword_is_a_type_error(options):
    with pytest.raises(TypeError, match=next(iter(options))):
        OSTTP(model_of(), [jnp.ones((3, 5)), jnp.ones((3, 6))], **options)


@pytest.mark.parametrize("options", [{"B_list": [np.ones((3, 5))]}, {"signal": "state"}, {"seed": 1}])
def test_feedback_options_of_a_rule_without_feedback_are_type_errors(options):
    with pytest.raises(TypeError, match="options must have an effect"):
        snntrace.D_RTRL(model_of(), **options)


@pytest.mark.parametrize(
    ("target", "says"),
    [
        (None, "y_target=None"),
        (np.ones((2, 4)), r"y_target must be of shape \(2, 3\).*got y_target.shape=\(2, 4\)"),
        (np.ones((3,)), r"got y_target.shape=\(3,\)"),
        (np.ones((3, 3)), r"got y_target.shape=\(3, 3\)"),
        (np.ones((2, 1)), r"got y_target.shape=\(2, 1\)"),
        (np.zeros((3,), int), r"class labels of shape \(2,\), got y_target.shape=\(3,\)"),
        (np.ones((2,)), r"got y_target.shape=\(2,\)"),
    ],
)
def test_a_wrong_target_is_a_value_error_before_any_computation(target, says):
    learner = compiled()
    before = [np.asarray(s.value) for s in learner.graph.step.hidden_states]
    with pytest.raises(ValueError, match=says):
        learner.update(jnp.ones((2, 4)), y_target=target)
    with pytest.raises(ValueError, match="y_target"):
        learner.unroll(jnp.ones((7, 2, 4)), y_target=None if target is None else np.stack([target] * 7))
    for state, value in zip(learner.graph.step.hidden_states, before, strict=True):
        np.testing.assert_array_equal(state.value, value)


@pytest.mark.parametrize("target", [np.ones((6, 2, 3)), np.ones((2, 3)), np.zeros((6, 2), int)])
def test_a_target_of_another_length_than_the_sequence_is_a_value_error(target):
    with pytest.raises(ValueError, match="y_target"):
        compiled().unroll(jnp.ones((7, 2, 4)), y_target=target)


def test_a_target_for_a_rule_that_takes_none_is_a_value_error():
    learner = snntrace.compile(model_of(), snntrace.D_RTRL, jnp.ones((2, 4)), batch_size=2)
    with pytest.raises(ValueError, match="y_target belongs to rules"):
        learner.update(jnp.ones((2, 4)), y_target=np.ones((2, 3)))


def test_a_wrong_rank_or_timing_is_found_before_the_model_is_seen():
    model = model_of()
    with pytest.raises(ValueError, match="n_target, n_units"):
        OSTTP(model, [jnp.ones(5), None])
    with pytest.raises(ValueError, match="target_timing"):
        OSTTP(model, [jnp.ones((3, 5)), None], "sometimes")


def test_the_arguments_of_the_first_api_keep_their_positions():
    model = model_of()
    learner = OSTTP(model, [jnp.ones((3, 5)), None], "sequence-end", "mine", "single-step", False)
    assert learner.feedback.target_timing == "sequence-end"
    assert learner.name == "mine"
    assert learner.fast_solve is False


@pytest.mark.parametrize("label", [-2, 3, 100])
def test_a_class_label_that_names_no_class_is_refused(label):
    with pytest.raises(ValueError, match="label"):
        compiled().update(jnp.ones((2, 4)), y_target=np.array([0, label]))


def test_a_label_of_minus_one_is_no_target():
    learner = compiled()
    (signal, *_) = learner.projection(np.array([0, -1]), ())
    assert np.abs(signal[0]).max() > 0
    np.testing.assert_array_equal(signal[1], 0)


def test_a_learner_that_was_not_compiled_says_so():
    with pytest.raises(snntrace.NotCompiledError, match="compile_graph"):
        OSTTP(model_of(), [jnp.ones((3, 5)), None]).update(jnp.ones((2, 4)), y_target=np.ones((2, 3)))


def test_labels_that_are_known_inside_a_trace_are_checked_there():
    case = Case("lif")
    gradient = case.compile(OSTTP, B_list="normal").value_and_grad(loss)
    labels = jnp.argmax(case.targets, -1)
    value, _ = brainstate.transform.jit(lambda x: gradient(x, case.targets, y_target=labels))(case.inputs)
    np.testing.assert_allclose(value, gradient(case.inputs, case.targets, y_target=labels)[0], rtol=1e-5)
    wrong = labels + 3
    with pytest.raises(ValueError, match="labels from 3 to 5"):
        brainstate.transform.jit(lambda x: gradient(x, case.targets, y_target=wrong))(case.inputs)
