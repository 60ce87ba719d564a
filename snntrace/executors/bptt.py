"""Backpropagation through time: a plain differentiable scan, as the reference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from snntrace.compiler.perturb import Arrays, StepFunctions
from snntrace.executors.engine import Carried
from snntrace.executors.resets import Resets, restart


def bptt_unroll(functions: StepFunctions) -> Callable[..., tuple[Arrays, Carried]]:
    """Make ``unroll(params, xs, carried, resets) -> (results, carried)``, differentiable by JAX itself."""

    def unroll(
        params: Arrays, xs: Arrays, carried: Carried, resets: Resets | None = None
    ) -> tuple[Arrays, Carried]:
        weights = functions.weights(params)

        def body(state: Carried, now: tuple[Arrays, Any]) -> tuple[Carried, Arrays]:
            x, fresh = now
            hidden, others = state.hidden, state.others
            if resets is not None:
                hidden = restart(fresh, resets.hidden, hidden)
                others = restart(fresh, resets.others, others)
            done = functions.forward(weights, x, hidden, others)
            return Carried(done.new, done.others, ()), done.results

        fresh = None if resets is None else resets.fresh
        after, results = jax.lax.scan(body, Carried(carried.hidden, carried.others, ()), (xs, fresh))
        return results, after

    return unroll
