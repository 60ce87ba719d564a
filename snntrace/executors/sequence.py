"""A pass over a sequence, in one window or in several."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp

from snntrace.compiler.perturb import Arrays, Weights
from snntrace.executors.blocks import scan_blocks
from snntrace.executors.engine import (
    Carried,
    Engine,
    instantiate,
    primal_values,
    projected_signals,
    refuse_input_gradients,
)
from snntrace.executors.generic_events import EventProducts, Inputs
from snntrace.executors.recorder import Recorder, Tape
from snntrace.executors.signals import Given
from snntrace.executors.window import WindowBackward

Array = Any


class SequencePass:
    """Runs sequences, and differentiates them window by window.

    Parameters
    ----------
    engine : Engine
        The graph under a rule.
    window : int, optional
        Steps of a window; the whole sequence if None.
    carry : bool
        Whether to start from the given traces and to leave new ones. Without, the sequence stands
        alone: traces are neither taken nor left, and none is made for a single window.
    by_events : iterable of int
        Products, by id, that are computed at the cost of the spikes.
    """

    def __init__(
        self, engine: Engine, window: int | None, carry: bool, by_events: Iterable[int] = ()
    ) -> None:
        self.engine = engine
        self.window = window
        self.carry = carry
        self.events = EventProducts(engine, by_events)
        self.recorder = Recorder(engine, self.events)
        self.backward = WindowBackward(engine, self.recorder)

    def _run_window(
        self, weights: Weights, xs: Inputs, at: Carried, traced: bool
    ) -> tuple[Arrays, Tape, Carried]:
        results, tape, hidden, others = self.recorder(weights, xs, at.hidden, at.others)
        traces = self.backward.end_traces(weights, xs, tape, at.traces) if traced else at.traces
        return results, tape, Carried(hidden, others, traces)

    def run(self, params: Arrays, xs: Inputs, carried: Carried) -> tuple[Arrays, Carried, Tape | None]:
        """Run a sequence; a single window leaves its tape."""
        weights = self.engine.functions.weights(params)
        if self.window is None or self.window >= xs.length:
            results, tape, after = self._run_window(weights, xs, carried, self.carry)
            return results, after, tape

        def one(at: Carried, x: Inputs) -> tuple[Carried, Arrays]:
            results, _, after = self._run_window(weights, x, at, self.carry)
            return after, results

        after, results = scan_blocks(one, carried, xs, self.window)
        return results, after, None

    def gradients(
        self, params: Arrays, xs: Inputs, carried: Carried, given: Given, tape: Tape | None
    ) -> Arrays:
        """Compute the gradient of a sequence; several windows are run once more, each from its start."""
        weights = self.engine.functions.weights(params)
        if tape is not None:
            traces = carried.traces if self.carry else None
            direct = self.backward.gradients(weights, xs, tape, given, traces)
            return self.engine.functions.pull_back(params, direct)

        def one(state: Any, now: Any) -> tuple[Any, None]:
            at, summed = state
            x, given_t = now
            _, tape, after = self._run_window(weights, x, at, True)
            direct = self.backward.gradients(weights, x, tape, given_t, at.traces)
            return (after, [a + b for a, b in zip(summed, direct, strict=True)]), None

        start = carried if self.carry else carried._replace(traces=self.engine.zero_traces())
        zeros = [jnp.zeros_like(v) for v in weights.floats]
        (_, direct), _ = scan_blocks(one, (start, zeros), (xs, given), self.window or xs.length)
        return self.engine.functions.pull_back(params, direct)


def unroll_function(
    engine: Engine, window: int | None, carry: bool, by_events: Iterable[int] = ()
) -> Callable[..., tuple[Arrays, Carried]]:
    """Make ``unroll(params, xs, carried, projected) -> (results, carried)``, differentiable along params.

    Inputs may be `Spikes`; `by_events` are the products, by id, that are computed at the cost of the spikes.

    Returns
    -------
    callable
        The function.
    """
    sequence = SequencePass(engine, window, carry, by_events)

    @jax.custom_vjp
    def unroll(params: Arrays, xs: Arrays, carried: Carried, projected: Any) -> tuple[Arrays, Carried]:
        results, after, _ = sequence.run(params, sequence.events.inputs(xs), carried)
        return results, after

    def unroll_fwd(params: Any, xs: Any, carried: Any, projected: Any) -> tuple[Any, Any]:
        refuse_input_gradients(xs)
        params, xs, carried, projected = primal_values((params, xs, carried, projected))
        inputs = sequence.events.inputs(xs)
        results, after, tape = sequence.run(params, inputs, carried)
        return (results, after), (params, inputs, carried, projected, tape)

    def unroll_bwd(residuals: Any, cotangents: Any) -> tuple[Any, None, None, None]:
        params, inputs, carried, projected, tape = residuals
        results_ct, carried_ct = instantiate(cotangents)
        states_ct = tuple(
            jnp.zeros((inputs.length, *c.shape), c.dtype).at[-1].set(c) for c in carried_ct.hidden
        )
        given = Given(results_ct, states_ct, projected_signals(engine, results_ct, projected))
        return sequence.gradients(params, inputs, carried, given, tape), None, None, None

    unroll.defvjp(unroll_fwd, unroll_bwd, symbolic_zeros=True)
    return unroll
