"""What streaming and windows share: functions, recursion, layouts and learning signals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from snntrace.compiler.graph import Graph, Route
from snntrace.compiler.perturb import Arrays, Point, StepFunctions, Weights
from snntrace.compiler.relations import Operation, Temporal
from snntrace.compiler.spatial import Signals
from snntrace.compiler.uniform import Uniformity, collapsing_routes, find_uniform
from snntrace.executors.exact import FullLayout, check_exact
from snntrace.executors.factored import FactoredLayout
from snntrace.executors.layout import Layout
from snntrace.executors.recursion import Recursion
from snntrace.executors.signals import StepSignals
from snntrace.jaxprs import Variable
from snntrace.rules.rule import Rule

Array = Any


class Carried(NamedTuple):
    """What a learner carries from step to step."""

    hidden: Arrays
    others: Arrays
    traces: Arrays


class Engine:
    """A graph under a rule.

    Parameters
    ----------
    graph : Graph
        What the compiler found.
    rule : Rule
        The four choices.
    cut : sequence of bool
        For each group, whether the loss's own signal stops at its states.
    outputs : sequence of Variable or None
        For each group, the unit's output if projected signals enter there, and not at every state.
    collapse : bool
        Whether to use one trace for all units where that is exact.
    """

    def __init__(
        self,
        graph: Graph,
        rule: Rule,
        cut: Sequence[bool],
        outputs: Sequence[Variable | None],
        collapse: bool,
    ) -> None:
        self.graph = graph
        self.rule = rule
        self.functions = functions = StepFunctions(graph)
        self.signals = StepSignals(functions, cut, outputs)
        self.recursion = Recursion(functions, rule)
        self.uniform = self._find_uniform() if collapse and rule.decays is None else {}
        dynamics = rule.recursion in ("diagonal", "coupled")
        collapsed = {
            id(route)
            for group in graph.groups
            if group.index in self.uniform
            for route in collapsing_routes(functions, group, self.uniform[group.index], dynamics)
        }
        routes = graph.routes if rule.recursion != "full" else ()
        self.layouts = tuple(self._layout(route, id(route) in collapsed) for route in routes)
        check_exact(rule, self.layouts)

    def _layout(self, route: Route, collapsed: bool) -> Layout:
        """Choose how a route's trace is kept."""
        site = self.functions.sites[id(route.relation)]
        if route.whole:
            return FullLayout(route, site, collapsed)
        if self.rule.decays is not None and isinstance(route.relation, Operation):
            return FactoredLayout(route, site, False, self.rule.decays)
        return Layout(route, site, collapsed)

    def _find_uniform(self) -> dict[int, Uniformity]:
        """Tell for each group that no weight couples with itself which coefficients all units share."""
        functions, step = self.functions, self.graph.step

        def shapes(variables: Sequence[Any]) -> Arrays:
            return tuple(jax.eval_shape(lambda v=v: jnp.zeros(v.shape, v.dtype)) for v in variables)

        old = shapes([leaf.old for leaf in step.hidden])
        point = Point(
            shapes(step.arguments),
            old,
            old,
            shapes([leaf.old for leaf in step.others]),
            shapes([r.output for r in functions.products]),
        )
        weights = Weights(shapes(functions.float_vars), shapes(functions.other_vars))
        return {
            group.index: find_uniform(functions, group, weights, point)
            for group in self.graph.groups
            if group.diagonal and not self.recursion.couples(group)
        }

    def zero_traces(self) -> Arrays:
        """Return traces that have seen nothing."""
        return tuple(layout.zero() for layout in self.layouts)

    def operand(self, relation: Temporal, weights: Weights, point: Point) -> Array | None:
        """Return the presynaptic operand as (a, f, j), or None for an elementwise parameter."""
        return self.operand_rows(relation, weights, point) if isinstance(relation, Operation) else None

    def operand_rows(self, relation: Operation, weights: Weights, point: Point) -> Array:
        """Return an operation's presynaptic operand as (a, f, j)."""
        return relation.rows(*self.functions.operands(relation, weights, point))

    def add_side(self, direct: list[Array], signals: Signals, weights: Weights, point: Point) -> list[Array]:
        """Add what reaches temporal relations beside the hidden states, in one step."""
        for relation, value in zip(self.signals.spatial.side_relations, signals.relations, strict=True):
            slot = self.functions.float_slot[relation.weight]
            if isinstance(relation, Operation):
                x = self.operand_rows(relation, weights, point)
                update = relation.outer(x, relation.columns(value))
            else:
                update = relation.gather(value)
            direct[slot] = direct[slot] + update
        return direct


def is_primal(leaf: Any) -> bool:
    """Whether a leaf is a custom_vjp argument that says if it is differentiated."""
    return hasattr(leaf, "perturbed") and hasattr(leaf, "value")


def primal_values(tree: Any) -> Any:
    """Take the values of custom_vjp arguments."""
    return jax.tree.map(lambda v: v.value if is_primal(v) else v, tree, is_leaf=is_primal)


def instantiate(cotangents: Any) -> Any:
    """Write symbolic zero cotangents as arrays."""
    zero = jax.custom_derivatives.SymbolicZero

    def write(c: Any) -> Any:
        if not isinstance(c, zero):
            return c
        dtype = c.dtype if c.dtype != jax.dtypes.float0 else jnp.float32
        return jnp.zeros(c.shape, dtype)

    return jax.tree.map(write, cotangents, is_leaf=lambda c: isinstance(c, zero))


def perturbed(args: Any) -> bool:
    """Whether any of some custom_vjp arguments is differentiated."""
    leaves = jax.tree.leaves(args, is_leaf=is_primal)
    return any(leaf.perturbed for leaf in leaves if is_primal(leaf))


def refuse_input_gradients(args: Any) -> None:
    """Refuse to differentiate along an input whose products go by events.

    Raises
    ------
    TypeError
        If a gradient with respect to the input is asked for.
    """
    if perturbed(args):
        raise TypeError(
            "Learner: an input that goes by events must not be differentiated, got one that is. "
            "Compile with path='dense', or put jax.lax.stop_gradient around the input."
        )


def projected_signals(
    engine: Engine, results_ct: Arrays, projected: tuple[Array | None, ...]
) -> tuple[Array | None, ...]:
    """Turn what was given for each group into its signal.

    For ``signal="target"`` the projections were computed before the step; for ``"random"`` the given
    matrices B project the loss's gradient at the result, ``d loss / d out . B``.

    Returns
    -------
    tuple of array or None
        One for each group, in its shape behind any leading time axis.
    """
    if engine.rule.signal != "random":
        return projected
    (error,) = results_ct
    return tuple(
        None if b is None else (error @ b).reshape(*error.shape[:-1], *group.shape[group.n_row_axes :])
        for b, group in zip(projected, engine.graph.groups, strict=True)
    )
