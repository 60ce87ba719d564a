"""Learning signals: the inside of a step, differentiated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from snntrace.compiler.perturb import Arrays, Point, StepFunctions, Weights
from snntrace.compiler.spatial import Signals, Spatial
from snntrace.jaxprs import Variable

Array = Any


class Given(NamedTuple):
    """Cotangents that come from outside the step.

    `results` and `states` are the loss's; `projected` holds for each group a signal projected onto
    it, or None.
    """

    results: Arrays
    states: Arrays
    projected: tuple[Array | None, ...]


class Opened(NamedTuple):
    """What a step, or many side by side, give when they are differentiated.

    `direct` is the gradient at the end of each weight chain, traces aside, summed over steps; `signals` are
    the learning signals at new and old states, and what reaches relations beside them; `inputs` is the
    gradient at each argument, None for those that carry none or where it was not asked for.
    """

    direct: list[Array]
    signals: Signals
    inputs: tuple[Array | None, ...]


class StepSignals:
    """Opens steps: gives the learning signals, and what a step gives parameters directly.

    A group whose signal is projected cuts the loss's own gradient. Where such a group stands above one that
    keeps the loss's gradient, two passes are needed: one through everything for the signals of the latter,
    and one in which every group is cut.

    Parameters
    ----------
    functions : StepFunctions
        The step.
    cut : sequence of bool
        For each group, whether its signal is projected.
    outputs : sequence of Variable or None
        For each group, the unit's output if projected signals enter there, and not at every state.
    """

    def __init__(
        self, functions: StepFunctions, cut: Sequence[bool], outputs: Sequence[Variable | None]
    ) -> None:
        graph = functions.graph
        self.graph = graph
        self.cut = tuple(cut)
        self.uncut = [leaf for g in graph.groups if not cut[g.index] for leaf in g.leaves]
        kept = {v for leaf in self.uncut for v in (leaf.old, leaf.new)}
        above = [e for g in graph.groups if cut[g.index] for e in graph.closure(g)]
        crossed = any(v in kept for e in above for v in e.inputs)
        self.spatial = Spatial(functions, [True] * len(self.cut) if crossed else self.cut, outputs)
        self.through = Spatial(functions, [False] * len(self.cut), outputs) if crossed else None

    def open(
        self,
        weights: Weights,
        point: Point,
        given: Given,
        length: int | None = None,
        inputs: bool = False,
    ) -> Opened:
        """Differentiate inside a step, or inside many side by side.

        Parameters
        ----------
        weights : Weights
            The weight chains' values.
        point : Point
            The step's point; with `length`, all points with a leading time axis.
        given : Given
            What comes from outside.
        length : int, optional
            How many steps there are side by side; their direct gradients are summed.
        inputs : bool
            Whether the gradient along the arguments is asked for.

        Returns
        -------
        Opened
            Gradients and signals.
        """
        lead = () if length is None else (length,)
        zeros = jax.tree.map(lambda z: jnp.zeros((*lead, *z.shape), z.dtype), self.spatial.zero_signals())

        along = float_arguments(point.args) if inputs else {}

        def run(spatial: Spatial) -> Callable[[Arrays, Signals, dict[int, Array]], Any]:
            def function(floats: Arrays, zeros: Signals, moved: dict[int, Array]) -> Any:
                full, at = Weights(floats, weights.others), with_arguments(point, moved)
                if length is None:
                    return spatial(full, at, zeros)
                return jax.vmap(lambda p, z: spatial(full, p, z))(at, zeros)

            return function

        if self.through is None:
            return self._pull(run(self.spatial), weights.floats, zeros, along, given)
        whole = given._replace(projected=(None,) * len(self.cut))
        loss = self._pull(run(self.through), weights.floats, zeros, {}, whole).signals
        states, old = list(given.states), {}
        for leaf in self.uncut:
            states[leaf.slot], old[leaf.slot] = loss.new[leaf.slot], loss.old[leaf.slot]
        cut = given._replace(states=tuple(states))
        found = self._pull(run(self.spatial), weights.floats, zeros, along, cut)
        olds = tuple(old.get(i, o) for i, o in enumerate(found.signals.old))
        return found._replace(signals=found.signals._replace(old=olds))

    def _pull(
        self,
        function: Callable[[Arrays, Signals, dict[int, Array]], Any],
        floats: Arrays,
        zeros: Signals,
        along: dict[int, Array],
        given: Given,
    ) -> Opened:
        (results, states, outputs), vjp = jax.vjp(function, floats, zeros, along)
        state_ct = list(given.states)
        output_ct: list[Array | None] = [None if o is None else jnp.zeros_like(o) for o in outputs]
        for group, signal in zip(self.graph.groups, given.projected, strict=True):
            if signal is None:
                continue
            output = outputs[group.index]
            if output is not None:
                output_ct[group.index] = signal.reshape(output.shape).astype(output.dtype)
            else:
                for leaf in group.leaves:
                    state_ct[leaf.slot] = state_ct[leaf.slot] + signal.astype(leaf.old.dtype)
        direct, signals, inputs = vjp(
            (_cotangents(results, given.results), tuple(state_ct), tuple(output_ct))
        )
        n_arguments = len(self.graph.step.arguments)
        return Opened(list(direct), signals, tuple(inputs.get(i) for i in range(n_arguments)))

    def states_to_inputs(
        self, weights: Weights, points: Point, signals: Sequence[Arrays]
    ) -> tuple[Array | None, ...]:
        """Bring signals at the groups' new states to the arguments of the same steps.

        Each group is differentiated alone, with the other groups' new states held: what a unit passes on
        within a step is in `open`, and this is what it keeps for later.

        Parameters
        ----------
        weights : Weights
            The weight chains' values.
        points : Point
            The points of many steps, time leading.
        signals : sequence of tuple of array
            For each group, the signal at each of its states.

        Returns
        -------
        tuple of array or None
            The gradient at each argument, None for those that carry none.
        """

        def states(moved: dict[int, Array]) -> tuple[Arrays, ...]:
            at = with_arguments(points, moved)
            return jax.vmap(lambda p: self.spatial.states_alone(weights, p))(at)

        _, vjp = jax.vjp(states, float_arguments(points.args))
        (found,) = vjp(tuple(map(tuple, signals)))
        return tuple(found.get(i) for i in range(len(points.args)))

    def of_groups(self, signals: Signals) -> list[tuple[Arrays, Arrays | None]]:
        """Pick each group's signals: at its new states, and at the old ones if they are read."""
        return [
            (
                tuple(signals.new[leaf.slot] for leaf in group.leaves),
                tuple(signals.old[leaf.slot] for leaf in group.leaves) if flag else None,
            )
            for group, flag in zip(self.graph.groups, self.graph.read_before, strict=True)
        ]


def float_arguments(args: Sequence[Array | None]) -> dict[int, Array]:
    """Pick the arguments that carry gradient, by their number."""
    floats = {i: a for i, a in enumerate(args) if a is not None}
    return {i: a for i, a in floats.items() if jnp.issubdtype(jnp.result_type(a), jnp.inexact)}


def with_arguments(point: Point, moved: dict[int, Array]) -> Point:
    """Put arguments into a point."""
    return point._replace(args=tuple(moved.get(i, a) for i, a in enumerate(point.args)))


def _cotangents(primals: Arrays, cotangents: Arrays) -> Arrays:
    """Give integer results the cotangents that JAX wants for them."""
    return tuple(
        c if jnp.issubdtype(jnp.result_type(p), jnp.inexact) else jnp.zeros(jnp.shape(p), jax.dtypes.float0)
        for p, c in zip(primals, cotangents, strict=True)
    )
