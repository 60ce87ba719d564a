"""The inside of a step: signals, and what reaches parameters beside the hidden states.

Everything is taken from what was recorded; only derivatives flow. A group's new states pass a signal on to
whatever reads them, in other groups too, but not to each other (one state that feeds another within the step
is already part of Df), and not back in time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from snntrace.compiler.graph import Graph, Group
from snntrace.compiler.perturb import Arrays, Point, StepFunctions, Weights, run
from snntrace.compiler.relations import Operation, Temporal
from snntrace.errors import CompileError
from snntrace.jaxprs import Equation, Variable, read

Array = Any


class Signals(NamedTuple):
    """Zeros to differentiate along, one for each place."""

    new: Arrays
    old: Arrays
    relations: Arrays


@jax.custom_jvp
def pin(value: Array, carrier: Array) -> Array:
    """Return a recorded value that differentiates like the computation that made it."""
    return value


@pin.defjvp
def _pin_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    return primals[0], tangents[1]


class Spatial:
    """The step's result as a function of its hidden states.

    Parameters
    ----------
    functions : StepFunctions
        The step.
    cut : sequence of bool
        For each group, whether the loss's own signal stops at its states.
    outputs : sequence of Variable or None
        For each group, the unit's output if signals are projected onto it.
    """

    def __init__(
        self, functions: StepFunctions, cut: Sequence[bool], outputs: Sequence[Variable | None]
    ) -> None:
        self.functions = functions
        self.graph = functions.graph
        self.cut = tuple(cut)
        self.outputs = tuple(outputs)
        self.order = order_groups(self.graph)

    @cached_property
    def side_relations(self) -> tuple[Temporal, ...]:
        """Temporal relations that a step's own gradient also reaches beside the group's states."""
        stops = self.graph.new_states
        extra = self.graph.step.program.slice([v for v in self.outputs if v is not None], stops)
        inside = set(extra)
        beside = set(self.graph.beside)
        for group in self.graph.groups:
            beside |= self.graph.cascaded(group)
        beside |= {id(r) for r in self.graph.temporal if any(e in inside for e, _ in r.uses)}
        return tuple(r for r in self.graph.temporal if id(r) in beside)

    def zero_signals(self) -> Signals:
        """Return zeros at every place where a signal is asked for."""
        hidden = self.graph.step.hidden
        read_before = {
            leaf.slot
            for group, flag in zip(self.graph.groups, self.graph.read_before, strict=True)
            for leaf in group.leaves
            if flag
        }
        return Signals(
            tuple(jnp.zeros(leaf.old.shape, leaf.old.dtype) for leaf in hidden),
            tuple(
                jnp.zeros(leaf.old.shape if leaf.slot in read_before else (), leaf.old.dtype)
                for leaf in hidden
            ),
            tuple(jnp.zeros(r.shape, self.functions.dtype_of(r)) for r in self.side_relations),
        )

    def __call__(
        self, weights: Weights, point: Point, zeros: Signals
    ) -> tuple[Arrays, Arrays, tuple[Array | None, ...]]:
        """Compute the step's result from what was recorded, open along every path inside the step.

        Returns
        -------
        results : tuple of array
            The result of `update`.
        states : tuple of array
            The new hidden states (before any cut), for signals that are given from outside.
        outputs : tuple of array or None
            Each group's output, where signals are projected onto it.
        """
        step = self.graph.step
        deltas = {id(r): z for r, z in zip(self.side_relations, zeros.relations, strict=True)}
        hats: dict[Variable, Array] = {}
        passed: dict[Variable, Array] = {}
        olds = list(point.old)
        for group, flag in zip(self.graph.groups, self.graph.read_before, strict=True):
            for leaf in group.leaves:
                if flag:
                    value = point.old[leaf.slot] + zeros.old[leaf.slot]
                    olds[leaf.slot] = jax.lax.stop_gradient(value) if self.cut[group.index] else value
        for group in self.order:
            computed = self._new_states(group, weights, point, olds, passed, deltas)
            for leaf, value in zip(group.leaves, computed, strict=True):
                hat = pin(point.new[leaf.slot], value) + zeros.new[leaf.slot]
                hats[leaf.new] = hat
                passed[leaf.new] = jax.lax.stop_gradient(hat) if self.cut[group.index] else hat
        env = self.functions.environment(weights, point.args, tuple(olds), point.others) | passed
        self._run(self.graph.readout, env, weights, point, deltas)
        outputs: list[Array | None] = []
        for variable in self.outputs:
            if variable is None:
                outputs.append(None)
                continue
            inner = self.functions.environment(weights, point.args, tuple(olds), point.others) | hats
            equations = step.program.slice([variable], self.graph.new_states)
            self._run(equations, inner, weights, point, deltas)
            outputs.append(inner[variable])
        return (
            tuple(read(env, a) for a in step.results),
            tuple(hats[leaf.new] for leaf in step.hidden),
            tuple(outputs),
        )

    def states_alone(self, weights: Weights, point: Point) -> tuple[Arrays, ...]:
        """Compute each group's new states from the step's arguments, all other groups' new states held.

        Parameters
        ----------
        weights : Weights
            The weight chains' values.
        point : Point
            The step's point.

        Returns
        -------
        tuple of tuple of array
            One tuple for each group.
        """
        held = {leaf.new: point.new[leaf.slot] for leaf in self.graph.step.hidden}
        return tuple(
            self._new_states(group, weights, point, point.old, held, {}) for group in self.graph.groups
        )

    def _new_states(
        self,
        group: Group,
        weights: Weights,
        point: Point,
        olds: Sequence[Array],
        passed: Mapping[Variable, Array],
        deltas: Mapping[int, Array],
    ) -> Arrays:
        """Compute a group's new states, its own old ones and the direct way of products held."""
        own = {leaf.slot for leaf in group.leaves}
        old = tuple(
            jax.lax.stop_gradient(point.old[i]) if i in own else value for i, value in enumerate(olds)
        )
        base = self.functions.environment(weights, point.args, old, point.others) | {
            v: passed[v] for v in self.graph.new_elsewhere(group) if v in passed
        }
        equations = self.graph.closure(group)
        env = dict(base)
        source = None
        cascaded = self.graph.cascaded(group)
        if cascaded:
            source = dict(base)
            # What a traced weight does through another one is in its trace already.
            untraced = {i: delta for i, delta in deltas.items() if i in cascaded}
            self._run(equations, source, weights, point, untraced)
        self._run(equations, env, weights, point, {}, source)
        return tuple(read(env, leaf.new) for leaf in group.leaves)

    def _run(
        self,
        equations: Iterable[Equation],
        env: dict[Variable, Array],
        weights: Weights,
        point: Point,
        deltas: Mapping[int, Array],
        operands: Mapping[Variable, Array] | None = None,
    ) -> None:
        def product(relations: Sequence[Operation], env: Mapping[Variable, Array]) -> Array:
            equation = relations[0].equation
            values = [read(operands if operands is not None else env, a) for a in equation.inputs]
            for r in relations:
                w = weights.floats[self.functions.float_slot[r.weight]]
                values[r.weight_side] = jax.lax.stop_gradient(w)
            y = point.products[self.functions.product_slot[id(relations[0])]]
            # An input that came as event lists is None: nothing is differentiated there.
            if all(value is not None for value in values):
                y = pin(y, equation.bind(values)[0])
            for r in relations:
                y = y + deltas[id(r)] if id(r) in deltas else y
            return y

        products = {e: lambda env, rs=rs: product(rs, env) for e, rs in self.functions.by_equation.items()}
        body = [e for e in equations if e not in self.functions.chain_set]
        run(body, env, self.functions.held_operands(weights, deltas), products)


def order_groups(graph: Graph) -> tuple[Group, ...]:
    """Put groups into the order of their updates within a step.

    Returns
    -------
    tuple of Group
        The groups, each after those whose new states it needs.

    Raises
    ------
    CompileError
        If groups need each other's new states.
    """
    remaining, done = list(graph.groups), []
    blockers = {
        g.index: {v for e in graph.closure(g) for v in e.inputs if v in graph.new_elsewhere(g)}
        for g in remaining
    }
    available: set[Variable] = set()
    while remaining:
        ready = [g for g in remaining if blockers[g.index] <= available]
        if not ready:
            names = "; ".join(g.name for g in remaining)
            missing = {v for g in remaining for v in blockers[g.index]} - available
            closures = (e for g in remaining for e in graph.closure(g))
            reader = next(e for e in closures if any(v in missing for v in e.inputs))
            raise CompileError(
                "compile: hidden groups must be updated one after another within a step, "
                f"got groups that need each other's new states: {names}, as {reader.name!r} at "
                f"{reader.where} does. "
                "Let one of them read the other's state before its update."
            )
        for g in ready:
            available.update(leaf.new for leaf in g.leaves)
            remaining.remove(g)
            done.append(g)
    return tuple(done)
