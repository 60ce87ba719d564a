"""Steps put together from what the compiler takes: one number in every order, and a complete report."""

import brainstate
import hypothesis
import numpy as np
import oracles
import pytest
from hypothesis import strategies as st
from nets import double_precision
from random_steps import LayerPlan, RandomStep, steps
from steps import N_IN, B, T, compiled, draw, found_by

import snntrace

ROUTES = ("temporal", "instantaneous", "both", "unreached")


def check_one_number_in_every_order(plan, seed):
    model = RandomStep(plan, seed)
    xs, ys = draw(T, B, N_IN, seed=seed), draw(T, B, 2, seed=seed + 1)
    report = compiled(model, x=xs[0]).report.as_dict()["parameters"]
    names = {".".join(map(str, path)) for path in model.states(brainstate.ParamState)}
    assert set(report) == names
    assert {entry["route"] for entry in report.values()} <= set(ROUTES)
    assert {name for name, entry in report.items() if entry["route"] == "unreached"} == {"unused"}
    streaming = found_by(model, xs, ys, order="streaming")
    scale = max(np.abs(value).max() for value in streaming.values())
    assert scale > 1e-6
    for window in (2, None):
        found = found_by(model, xs, ys, window=window)
        for name, value in streaming.items():
            assert np.abs(found[name] - value).max() < 1e-9 * scale, (name, window)
    exact = found_by(model, xs, ys, snntrace.BPTT)
    (out,) = [k for k in exact if "out9" in k]
    assert oracles.relative_error(streaming[out], exact[out]) < 1e-9
    if len(plan) == 1 and not plan[0].recurrent:
        for name, value in streaming.items():
            assert np.abs(exact[name] - value).max() < 1e-9 * scale, name


@hypothesis.settings(max_examples=2)
@hypothesis.given(steps, st.integers(0, 1000))
def test_a_random_step_has_one_gradient_in_every_order_and_a_complete_report(plan, seed):
    with double_precision():
        check_one_number_in_every_order(plan, seed)


@pytest.mark.slow
@hypothesis.settings(max_examples=60)
@hypothesis.given(steps, st.integers(0, 1000))
def test_many_random_steps_have_one_gradient_in_every_order(plan, seed):
    with double_precision():
        check_one_number_in_every_order(plan, seed)


def test_a_step_that_holds_everything_at_once():
    first = LayerPlan("twice", True, ("cond", "loop", "permute"), "reset", True, "spike", True)
    second = LayerPlan("low_rank", False, ("gain", "flip", "where"), "long_loop", True, "tanh", False)
    with double_precision():
        check_one_number_in_every_order((first, second), 3)
