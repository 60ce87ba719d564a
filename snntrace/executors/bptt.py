"""Backpropagation through time: a plain differentiable scan, as the reference."""

from __future__ import annotations

from collections.abc import Callable

import jax

from snntrace.compiler.perturb import Arrays, StepFunctions
from snntrace.executors.engine import Carried


def bptt_unroll(functions: StepFunctions) -> Callable[..., tuple[Arrays, Carried]]:
    """Make ``unroll(params, xs, carried) -> (results, carried)``, differentiable by JAX itself."""

    def unroll(params: Arrays, xs: Arrays, carried: Carried) -> tuple[Arrays, Carried]:
        weights = functions.weights(params)

        def body(state: Carried, x: Arrays) -> tuple[Carried, Arrays]:
            done = functions.forward(weights, x, state.hidden, state.others)
            return Carried(done.new, done.others, ()), done.results

        after, results = jax.lax.scan(body, Carried(carried.hidden, carried.others, ()), xs)
        return results, after

    return unroll
