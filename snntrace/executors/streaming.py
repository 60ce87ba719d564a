"""Streaming: one step at a time, the trace carried along."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from snntrace.compiler.perturb import Arrays, Point
from snntrace.executors.engine import (
    Carried,
    Engine,
    instantiate,
    perturbed,
    primal_values,
    projected_signals,
)
from snntrace.executors.signals import Given

Array = Any


def streaming_step(engine: Engine) -> Callable[..., tuple[Arrays, Carried]]:
    """Make the differentiable streaming step.

    Returns
    -------
    callable
        ``step(params, args, carried, projected) -> (results, carried)``. Its derivative along the
        parameters is ``L^t . eps^t`` plus the step's own gradient beside the traces, along the arguments the
        step's own gradient; what a step leaves behind does not carry gradient into the next one.
    """

    def forward(params: Arrays, args: Arrays, carried: Carried) -> tuple[Arrays, Carried, Point]:
        functions = engine.functions
        weights = functions.weights(params)
        done = functions.forward(weights, args, carried.hidden, carried.others)
        point = Point(args, carried.hidden, done.new, carried.others, done.products)
        prepared = engine.recursion.prepare(weights)
        coefficients = [engine.recursion(g, weights, point, prepared) for g in engine.graph.groups]
        traces = []
        for layout, trace in zip(engine.layouts, carried.traces, strict=True):
            operand = engine.operand(layout.relation, weights, point)
            traces.append(layout.advance(trace, coefficients[layout.route.group.index], operand))
        return done.results, Carried(done.new, done.others, tuple(traces)), point

    @jax.custom_vjp
    def step(
        params: Arrays, args: Arrays, carried: Carried, projected: tuple[Array | None, ...]
    ) -> tuple[Arrays, Carried]:
        results, after, _ = forward(params, args, carried)
        return results, after

    def step_fwd(params: Any, args: Any, carried: Any, projected: Any) -> tuple[Any, Any]:
        along = () if perturbed(args) else None
        params, args, carried, projected = primal_values((params, args, carried, projected))
        results, after, point = forward(params, args, carried)
        before = carried.traces if any(engine.graph.read_before) else None
        return (results, after), (params, point, before, after.traces, projected, along)

    def step_bwd(residuals: Any, cotangents: Any) -> tuple[Any, Any, None, None]:
        params, point, before, traces, projected, along = residuals
        results_ct, carried_ct = instantiate(cotangents)
        functions = engine.functions
        weights = functions.weights(params)
        given = Given(results_ct, carried_ct.hidden, projected_signals(engine, results_ct, projected))
        opened = engine.signals.open(weights, point, given, inputs=along is not None)
        direct, signals, inputs = opened
        direct = engine.add_side(direct, signals, weights, point)
        stacked = engine.signals.of_groups(signals)
        for i, layout in enumerate(engine.layouts):
            new, old = stacked[layout.route.group.index]
            gradient = layout.contract(new, traces[i])
            if old is not None:
                gradient = gradient + layout.contract(old, before[i])
            slot = functions.float_slot[layout.relation.weight]
            direct[slot] = direct[slot] + layout.to_weight(gradient)
        return functions.pull_back(params, direct), None if along is None else inputs, None, None

    step.defvjp(step_fwd, step_bwd, symbolic_zeros=True)
    return step
