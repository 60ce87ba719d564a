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
    perturbed,
    primal_values,
    projected_signals,
    refuse_input_gradients,
)
from snntrace.executors.generic_events import EventProducts, Inputs
from snntrace.executors.recorder import Recorder, Tape
from snntrace.executors.resets import Resets
from snntrace.executors.signals import Given
from snntrace.executors.window import Found, WindowBackward, sums

Array = Any
States = tuple[Arrays, Arrays, Arrays]


class SequencePass:
    """Runs sequences, and differentiates them window by window.

    Parameters
    ----------
    engine : Engine
        The graph under a rule.
    window : int, optional
        Steps of a window; the whole sequence if None.
    carry : bool
        Whether to start from the given traces and to leave new ones. Without, the sequence stands alone:
        traces are neither taken nor left, and none is made.
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
        self, weights: Weights, xs: Inputs, at: Carried, first: Resets | None
    ) -> tuple[Arrays, Tape, Carried]:
        results, tape, hidden, others = self.recorder(weights, xs, at.hidden, at.others, first)
        traces = (
            self.backward.end_traces(weights, xs, tape, at.traces)
            if self.carry
            else self.backward.end_posts(weights, xs, tape, at.traces)
        )
        return results, tape, Carried(hidden, others, traces)

    def run(
        self, params: Arrays, xs: Inputs, carried: Carried, first: Resets | None
    ) -> tuple[Arrays, Carried, Tape | States]:
        """Run a sequence.

        Returns
        -------
        results : tuple of array (T, ...)
            The step's results.
        after : Carried
            States and traces behind the last step.
        left : Tape or States
            Of a single window its tape; of several the states and postsynaptic factors at each start.
        """
        weights = self.engine.functions.weights(params)
        if self.window is None or self.window >= xs.length:
            results, tape, after = self._run_window(weights, xs, carried, first)
            return results, after, tape

        def one(at: Carried, x: Inputs) -> tuple[Carried, tuple[Arrays, States]]:
            results, _, after = self._run_window(weights, x, at, first)
            posts = self.backward.factored.begin(at.traces) if self.carry else at.traces
            start = (at.hidden, at.others, posts)
            return after, (results, jax.tree.map(lambda v: jnp.asarray(v)[None], start))

        begin = carried if self.carry else carried._replace(traces=self.backward.factored.begin(()))
        after, (results, starts) = scan_blocks(one, begin, xs, self.window)
        return results, after._replace(traces=after.traces if self.carry else ()), starts

    def gradients(
        self,
        params: Arrays,
        xs: Inputs,
        carried: Carried,
        given: Given,
        left: Tape | States,
        first: Resets | None,
        inputs: bool,
    ) -> Found:
        """Compute the gradient of a sequence; several windows are run once more, from the last to the first.

        Returns
        -------
        Found
            `direct` at the parameters.
        """
        weights = self.engine.functions.weights(params)
        silent = self.backward.nothing_left()
        if isinstance(left, Tape):
            posts = self.backward.factored.begin(carried.traces)
            found = self.backward.gradients(weights, xs, left, given, silent, posts, inputs)
        else:

            def one(state: Any, now: Any) -> tuple[Any, Any]:
                later, summed = state
                (x, given_t), (hidden, others, posts) = now
                _, tape, _, _ = self.recorder(weights, x, hidden, others, first)
                part = self.backward.gradients(weights, x, tape, given_t, later, posts, inputs)
                return (part.left, sums(summed, (part.direct, part.begun))), part.inputs

            begin = (silent, self.backward.no_gradients(xs))
            (rest, (direct, begun)), along = scan_blocks(
                one, begin, (xs, given), self.window or xs.length, reverse=True, per_block=left
            )
            found = Found(direct, rest, along, begun)
        direct = self.backward.past(found.direct, found.left, carried.traces) if self.carry else found.direct
        return found._replace(direct=list(self.engine.functions.pull_back(params, direct)))


def unroll_function(
    engine: Engine, window: int | None, carry: bool, by_events: Iterable[int] = ()
) -> Callable[..., tuple[Arrays, Carried]]:
    """Make ``unroll(params, xs, carried, projected, resets) -> (results, carried)``.

    It is differentiable along parameters, inputs that are arrays, and the hidden states it starts from.
    Inputs may be `Spikes`; `by_events` are the products, by id, that are computed at the cost of the spikes.

    Returns
    -------
    callable
        The function.
    """
    sequence = SequencePass(engine, window, carry, by_events)

    @jax.custom_vjp
    def unroll(
        params: Arrays, xs: Arrays, carried: Carried, projected: Any, resets: Resets | None = None
    ) -> tuple[Arrays, Carried]:
        inputs = sequence.events.inputs(xs)._replace(fresh=None if resets is None else resets.fresh)
        results, after, _ = sequence.run(params, inputs, carried, begins(resets))
        return results, after

    def unroll_fwd(params: Any, xs: Any, carried: Any, projected: Any, resets: Any = None) -> tuple[Any, Any]:
        along = perturbed(xs)
        if sequence.events.relations:
            refuse_input_gradients(xs)
        params, xs, carried, projected, resets = primal_values((params, xs, carried, projected, resets))
        inputs = sequence.events.inputs(xs)._replace(fresh=None if resets is None else resets.fresh)
        results, after, left = sequence.run(params, inputs, carried, begins(resets))
        wanted = () if along else None
        return (results, after), (params, inputs, carried, projected, resets, left, wanted)

    def unroll_bwd(residuals: Any, cotangents: Any) -> tuple[Any, ...]:
        params, inputs, carried, projected, resets, left, wanted = residuals
        results_ct, carried_ct = instantiate(cotangents)
        states_ct = tuple(
            jnp.zeros((inputs.length, *c.shape), c.dtype).at[-1].set(c) for c in carried_ct.hidden
        )
        given = Given(results_ct, states_ct, projected_signals(engine, results_ct, projected))
        found = sequence.gradients(
            params, inputs, carried, given, left, begins(resets), inputs=wanted is not None
        )
        along = None if wanted is None else found.inputs
        nothing: Any = None
        before = Carried(by_state(engine, found.left.mus), nothing, nothing)
        begun = None if resets is None else Resets(nothing, by_state(engine, found.begun), nothing)
        return tuple(found.direct), along, before, nothing, begun

    unroll.defvjp(unroll_fwd, unroll_bwd, symbolic_zeros=True)
    return unroll


def by_state(engine: Engine, values: tuple[Arrays, ...]) -> Arrays:
    """Bring what belongs to the groups' states into the order of the step's hidden states."""
    slots = {
        leaf.slot: value
        for group, of_group in zip(engine.graph.groups, values, strict=True)
        for leaf, value in zip(group.leaves, of_group, strict=True)
    }
    return tuple(slots[slot] for slot in range(len(slots)))


def begins(resets: Resets | None) -> Resets | None:
    """Return what samples begin anew with, without the times at which they do."""
    return None if resets is None else resets._replace(fresh=None)
