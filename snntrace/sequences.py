"""Sequences: how a learner runs and differentiates them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import brainstate
import jax

from snntrace.agreement import Agreement, compare
from snntrace.executors.bptt import bptt_unroll
from snntrace.executors.resets import Resets
from snntrace.executors.signals import float_arguments
from snntrace.inputs import check_arrays, dense_inputs
from snntrace.paths import Plan

if TYPE_CHECKING:
    from snntrace.learner import Learner

Array = Any


class Sequences:
    """Runs sequences of a compiled learner.

    Parameters
    ----------
    learner : Learner
        The learner.
    """

    def __init__(self, learner: Learner) -> None:
        self.learner = learner
        self._jitted: dict[tuple[bool, Plan | None], Callable[..., Any]] = {}

    def plan(
        self,
        flat: tuple[Array, ...],
        carry: bool,
        resets: Array | None,
        run: Callable[[Plan], Any] | None = None,
    ) -> Plan:
        """Decide which way a sequence goes.

        Kernels of whole layers neither carry traces, nor begin anew, nor train what states begin with.

        Parameters
        ----------
        flat : tuple of array or Spikes
            The inputs.
        carry : bool
            Whether traces are carried.
        resets : array, optional
            Where samples begin anew.
        run : callable, optional
            Runs the sequence as planned, to see how long it takes.

        Returns
        -------
        Plan
            The way to go.
        """
        inside = carry or resets is not None or bool(self.learner.initial)
        return self.learner.paths.plan(flat, inside, _is_known(flat), run)

    def unroll(self, flat: tuple[Array, ...], y_target: Any, carry: bool, resets: Any) -> Any:
        """Run a sequence from the present states; see `Learner.unroll`.

        Returns
        -------
        pytree with a leading time axis
            The model's results.
        """
        again = self.check_resets(resets, flat)
        return self.run(flat, y_target, carry, self.plan(flat, carry, again), again)

    def check_resets(self, resets: Any, flat: tuple[Array, ...]) -> Array | None:
        """Check where samples begin anew.

        Parameters
        ----------
        resets : array of bool (T, batch), optional
            As a user gives it.
        flat : tuple of array or Spikes
            The inputs.

        Returns
        -------
        array of bool (T, batch) or None
            The same.

        Raises
        ------
        ValueError
            If it does not fit.
        """
        if resets is None:
            return None
        return self.learner.inputs.samples(resets, "resets", (flat[0].shape[0],))

    def run(
        self,
        flat: tuple[Array, ...],
        y_target: Any,
        carry: bool,
        plan: Plan | None,
        resets: Array | None,
        begun: bool = False,
    ) -> Any:
        """Run a sequence as planned; without a plan, by backpropagation through time.

        Parameters
        ----------
        flat : tuple of array or Spikes
            The inputs.
        y_target : array, optional
            For rules that project a target.
        carry : bool
            Whether traces are carried.
        plan : Plan, optional
            The way to go.
        resets : array, optional
            Where samples begin anew.
        begun : bool
            Whether the hidden states are those that sequences begin with, and not what a step before left.

        Returns
        -------
        pytree with a leading time axis
            The model's results.
        """
        learner = self.learner
        graph, length = learner.compiled, flat[0].shape[0]
        exact = plan is None or learner.rule.recursion == "full"
        if plan is not None:
            learner.projection.check(y_target, (length,))
        if plan is None or plan.route == "dense":
            flat = dense_inputs(flat, graph.step.arguments)
        if plan is None or plan.route != "stages":
            learner.memory.check_sequence(length)
        carried = learner.carried(traces=carry and not exact)
        if not begun and not exact:
            carried = carried._replace(hidden=jax.lax.stop_gradient(carried.hidden))
        given: list[Any] = [learner.model_states.params(), flat, carried]
        if not exact:
            given.append(learner.projection(y_target, (length,)))
        if resets is not None:
            first = learner.model_states.first(graph.rows[0] if graph.rows else None)
            given.append(Resets(resets, *first))
        results, after = self._function(carry, None if exact else plan)(*given)
        learner.write(after)
        return jax.tree.unflatten(graph.step.results_tree, results)

    def _function(self, carry: bool, plan: Plan | None) -> Callable[..., Any]:
        key = (carry, plan)
        if key not in self._jitted:
            learner = self.learner
            if plan is None:
                function = bptt_unroll(learner.engine.functions)
            else:
                function = learner.paths.unroll(plan, carry)
            self._jitted[key] = jax.jit(function)
        return self._jitted[key]


def _is_known(values: Any) -> bool:
    """Tell whether no value is that of a function that is being traced."""
    return not any(isinstance(x, jax.core.Tracer) for x in jax.tree.leaves(values))


def sequence_gradient(
    learner: Learner,
    loss_fn: Callable[..., Any],
    has_aux: bool = False,
    carry: bool = False,
    inputs: bool = False,
    exact: bool = False,
) -> Callable[..., Any]:
    """Make the function that `Learner.value_and_grad` returns; with `exact`, by backpropagation through time.

    Returns
    -------
    callable
        ``f(xs, *targets, y_target=None, resets=None)``.
    """
    states, sequences = learner.model_states, learner.sequences

    def evaluate(moved: dict[int, Array], flat: Any, rest: Any, plan: Plan | None) -> Any:
        targets, y_target, resets = rest
        flat = tuple(moved.get(i, x) for i, x in enumerate(flat))
        present = None if carry else states.begin()
        outs = sequences.run(flat, y_target, carry, plan, resets, begun=not carry)
        value = loss_fn(outs, *targets)
        if present is not None:
            states.put_back(present)
        return value

    def run(flat: Any, rest: Any, plan: Plan | None) -> Any:
        gradient = brainstate.transform.grad(
            partial(evaluate, plan=plan), learner.param_states, argnums=0 if inputs else None,
            has_aux=has_aux, return_value=True, check_states=False,
        )  # fmt: skip
        found, loss, *aux = gradient(float_arguments(flat) if inputs else {}, flat, rest)
        value = (loss, aux[0]) if has_aux else loss
        if not inputs:
            return value, found
        grads, along = found
        return value, grads, tuple(along.get(i) for i in range(len(flat)))

    jitted = brainstate.transform.jit(run, static_argnums=2)

    def value_and_grad(xs: Any, *targets: Any, y_target: Any = None, resets: Any = None) -> Any:
        flat = learner.flat(learner.inputs.arguments(xs), True)
        again = sequences.check_resets(resets, flat)
        plan = None
        if not exact:
            learner.projection.check(y_target, (flat[0].shape[0],))
            # Only a sequence that stands alone may be run once more to see how long it takes.
            alone = not carry and _is_known((flat, targets, y_target, again, states.params()))
            once_more = partial(jitted, flat, (targets, y_target, again)) if alone else None
            plan = Plan("dense") if inputs else sequences.plan(flat, carry, again, once_more)
        if inputs:
            check_arrays(learner.rule.name, flat)
        value, grads, *along = jitted(flat, (targets, y_target, again), plan)
        if not along:
            return value, grads
        arguments = jax.tree.unflatten(learner.compiled.step.arguments_tree, along[0])
        return value, grads, arguments if len(arguments) > 1 else arguments[0]

    return value_and_grad


def agreement_with_bptt(learner: Learner, loss_fn: Callable[..., Any]) -> Callable[..., dict[str, Agreement]]:
    """Make the function that `Learner.against_bptt` returns.

    Returns
    -------
    callable
        ``f(xs, *targets, y_target=None, resets=None)``.
    """
    rule, exact = sequence_gradient(learner, loss_fn), sequence_gradient(learner, loss_fn, exact=True)

    def measure(xs: Any, *targets: Any, y_target: Any = None, resets: Any = None) -> dict[str, Agreement]:
        found = rule(xs, *targets, y_target=y_target, resets=resets)[1]
        return compare(found, exact(xs, *targets, resets=resets)[1])

    return measure
