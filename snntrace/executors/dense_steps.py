"""Streaming by dense products, with what a stream asks for: the way of any model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from snntrace.compiler.perturb import Arrays
from snntrace.executors.engine import Carried, Engine
from snntrace.executors.resets import reset_samples
from snntrace.executors.streaming import streaming_step

Array = Any


class DenseSteps:
    """Steps that carry every trace along, as `Learner.update` does.

    Parameters
    ----------
    engine : Engine
        The graph under a rule.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._total: Arrays = ()
        step = streaming_step(engine)
        silent = (None,) * len(engine.graph.groups)

        def advance(params: Arrays, args: Arrays, carried: Carried) -> tuple[Arrays, Carried]:
            return step(params, args, carried, silent)

        def add(
            total: Arrays, params: Arrays, args: Arrays, carried: Carried, projected: Any, errors: Arrays
        ) -> Arrays:
            _, vjp = jax.vjp(lambda p: self._results(step(p, args, carried, projected)[0]), params)
            return tuple(jax.tree.map(jnp.add, total, vjp(errors)[0]))

        self._advance, self._add = jax.jit(advance), jax.jit(add)

    def _results(self, results: Arrays) -> Arrays:
        """Leave out results that carry no gradient."""
        return tuple(r for r in results if jnp.issubdtype(r.dtype, jnp.inexact))

    def load(self, params: Arrays, carried: Carried) -> None:
        """Take parameters, states and traces."""
        self.load_params(params)
        self.carried = carried
        self.clear_gradients()

    def load_params(self, params: Arrays) -> None:
        """Take the values of parameters."""
        self.params = params

    def step(self, args: Arrays) -> Arrays:
        """Run a step.

        Returns
        -------
        tuple of array
            The step's results.
        """
        self._before = (self.params, args, self.carried)
        results, self.carried = self._advance(*self._before)
        return tuple(results)

    def learn(self, errors: Sequence[Array], projected: Any) -> None:
        """Add the gradient of the present step.

        Parameters
        ----------
        errors : sequence of array
            The loss's gradient at the results that are floating-point numbers.
        projected : tuple
            What a projection gives for the step.
        """
        self._total = self._add(self._total, *self._before, projected, tuple(errors))

    def gradients(self) -> Arrays:
        """Return the gradients."""
        return self._total

    def clear_gradients(self) -> None:
        """Begin the gradients anew."""
        self._total = tuple(jnp.zeros(p.shape, p.dtype) for p in self.params)

    def reset(self, initial: Carried, where: Array) -> None:
        """Put some samples back to where they began.

        Parameters
        ----------
        initial : Carried
            The states they began with; of other states that samples share None, unless all are reset.
        where : array of bool (batch,)
            The samples; all of them if the model has no batch axis.
        """
        if where.all():
            silent = jax.tree.map(jnp.zeros_like, self.carried.traces)
            self.carried = Carried(initial.hidden, initial.others, silent)
        else:
            self.carried = reset_samples(self.engine, initial, self.carried, where)
