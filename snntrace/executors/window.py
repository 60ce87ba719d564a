"""Windows and whole sequences: the same sum, regrouped into one matrix product for each weight.

Within a window the signal goes back inside each unit only,

    lam^t = L^t + D^(t+1)T lam^(t+1),      grad W = sum_t x^t (Df^t . lam^t) + mu . eps^a,

where ``mu`` is what is left of lam at the window's start and ``eps^a`` the trace that came into it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from snntrace.compiler.graph import Group
from snntrace.compiler.perturb import Arrays, Point, Weights
from snntrace.compiler.relations import Operation
from snntrace.compiler.sites import Site
from snntrace.executors.blocks import block_size, scan_blocks
from snntrace.executors.engine import Engine
from snntrace.executors.factored import FactoredLayout, Factors, Post
from snntrace.executors.factored_window import FactoredWindow, History
from snntrace.executors.generic_events import Inputs
from snntrace.executors.layout import Layout
from snntrace.executors.recorder import Recorder, Tape
from snntrace.executors.recursion import total
from snntrace.executors.signals import Given

Array = Any
Signal = tuple[Arrays, Arrays | None]


class Adjoint(NamedTuple):
    """A signal carried back inside a group's units.

    `posts` holds ``Df . lam`` at each site, (T, *shape there); `mu` what is left before the first step, for
    each state, and `mus` what came to each step from the one behind it, (T, *group shape). `begun` is what
    came to the states that samples began anew with, summed over steps; nothing where none can.
    """

    posts: dict[Site, Array]
    mu: Arrays
    mus: Arrays
    begun: Arrays


class Left(NamedTuple):
    """What goes on from a window's start to what came before.

    `mus` holds for each group mu at each state, `outputs` for each postsynaptic factor the signal at the
    relation's output.
    """

    mus: tuple[Arrays, ...]
    outputs: Arrays


class Found(NamedTuple):
    """What the way back over a window gives.

    `direct` is the gradient at the end of each weight chain, without what is `left` at the window's start
    for the traces there; `inputs` are the gradients at the arguments, None where there are none; `begun` is
    for each group the gradient at the states that samples began anew with.
    """

    direct: list[Array]
    left: Left
    inputs: tuple[Array | None, ...]
    begun: tuple[Arrays, ...]


class WindowBackward:
    """Gradients of a window, and the traces at its end."""

    def __init__(self, engine: Engine, recorder: Recorder) -> None:
        self.engine = engine
        self.recorder = recorder
        self.factored = FactoredWindow(engine, recorder)
        unfactored = [x for x in engine.layouts if not isinstance(x, FactoredLayout)]
        self.whole = frozenset((id(x.relation), x.route.group.index) for x in unfactored)

    def adjoint(
        self,
        group: Group,
        weights: Weights,
        points: Point,
        signal: Signal | None,
        start: Arrays,
        prepared: dict[int, Any],
    ) -> Adjoint:
        """Carry a signal back inside each unit.

        Parameters
        ----------
        group : Group
            The group.
        weights : Weights
            The weight chains' values.
        points : Point
            The points of the steps, time leading.
        signal : tuple, optional
            The learning signals at the new states and at the old ones, (T, *group shape) for each state.
        start : tuple of array of the group's shape
            mu behind the last step.
        prepared : dict
            What the recursion keeps constant.

        Returns
        -------
        Adjoint
            The signal at the sites, and what is left.
        """
        engine = self.engine
        whole = [x for x in engine.layouts if not isinstance(x, FactoredLayout)]
        sites = {layout.site: layout for layout in whole if layout.route.group is group}

        def back(state: tuple[Arrays, Arrays], now: tuple[Point, Signal | None]) -> Any:
            later, begun = state
            point, given = now
            lam = later if given is None else tuple(a + b for a, b in zip(given[0], later, strict=True))
            at_old = point._replace(fresh=None)
            whole, posts = engine.recursion(group, weights, at_old, prepared).pull(lam, sites)
            if given is not None and given[1] is not None:
                whole = tuple(a + b for a, b in zip(whole, given[1], strict=True))
            mu = tuple(map(point.past, whole))
            begun = tuple(a + b - c for a, b, c in zip(begun, whole, mu, strict=bool(begun)))
            return (mu, begun), (posts, later)

        nothing = () if points.fresh is None else tuple(map(jnp.zeros_like, start))
        (mu, begun), (posts, mus) = jax.lax.scan(back, (start, nothing), (points, signal), reverse=True)
        return Adjoint(dict(zip(sites, posts, strict=True)), mu, mus, begun)

    # Traces ------------------------------------------------------------------------------------

    def end_traces(self, weights: Weights, xs: Inputs, tape: Tape, traces: Arrays) -> Arrays:
        """Compute the traces at a window's end from those at its start."""
        engine = self.engine
        points = self.recorder.points(xs, tape)
        prepared = engine.recursion.prepare(weights)
        split = {
            x.route.group for x in engine.layouts if not (x.route.whole or isinstance(x, FactoredLayout))
        }
        bases = [self._bases(g, weights, points, prepared) if g in split else [] for g in engine.graph.groups]
        posts_at_end = self.end_posts(weights, xs, tape, self.factored.begin(traces))
        result: list[Any] = []
        for layout, trace in zip(engine.layouts, traces, strict=True):
            if isinstance(layout, FactoredLayout):
                pre = self.factored.end(layout, weights, xs, points, trace.pre)
                result.append(Factors(pre, self.factored.of(layout, posts_at_end)))
                continue
            if layout.route.whole:
                result.append(self._stepped(layout, weights, points, trace, prepared))
                continue
            found, relation = bases[layout.route.group.index], layout.relation
            posts = [basis.posts[layout.site] for basis in found]
            if isinstance(relation, Operation):
                ys = [jax.vmap(layout.columns)(post) for post in posts]
                gains = self.recorder.events.outer_each(relation, weights, xs, points, ys)
            else:
                gains = [post.sum(0) for post in posts]
            rows = []
            for basis, grown in zip(found, gains, strict=True):
                past = [layout.factor(layout.at_output(mu)) * trace[q] for q, mu in enumerate(basis.mu)]
                rows.append(total([*past, grown], grown))
            result.append(jnp.stack(rows))
        return tuple(result)

    def end_posts(
        self, weights: Weights, xs: Inputs, tape: Tape, posts: tuple[Post, ...]
    ) -> tuple[Post, ...]:
        """Compute the postsynaptic factors at a window's end from those at its start."""
        if not posts:
            return ()
        prepared = self.engine.recursion.prepare(weights)
        return self.factored.run(weights, self.recorder.points(xs, tape), prepared, posts)[0]

    def _stepped(
        self, layout: Layout, weights: Weights, points: Point, trace: Array, prepared: dict[int, Any]
    ) -> Array:
        """Bring a trace to a window's end step by step."""
        engine = self.engine

        def step(trace: Array, point: Point) -> tuple[Array, None]:
            found = engine.recursion(layout.route.group, weights, point, prepared)
            return layout.advance(trace, found, engine.operand(layout.relation, weights, point)), None

        return jax.lax.scan(step, trace, points)[0]

    def _bases(
        self, group: Group, weights: Weights, points: Point, prepared: dict[int, Any]
    ) -> list[Adjoint]:
        """Send a one back from each state at the window's end."""
        shapes = [(leaf.old.shape, leaf.old.dtype) for leaf in group.leaves]
        ones = [
            tuple(jnp.full(shape, float(q == s), dtype) for q, (shape, dtype) in enumerate(shapes))
            for s in range(group.n_states)
        ]
        return [self.adjoint(group, weights, points, None, one, prepared) for one in ones]

    # Gradients ---------------------------------------------------------------------------------

    def gradients(
        self,
        weights: Weights,
        xs: Inputs,
        tape: Tape,
        given: Given,
        later: Left,
        posts: tuple[Post, ...],
        inputs: bool = False,
    ) -> Found:
        """Go back over a window.

        Parameters
        ----------
        weights : Weights
            The weight chains' values.
        xs : Inputs
            The window's inputs.
        tape : Tape
            What its forward pass left.
        given : Given
            The loss's cotangents, time leading.
        later : Left
            What comes from behind the last step, as `Found.left` of the next window.
        posts : tuple of Post
            The postsynaptic factors at the window's start.
        inputs : bool
            Whether gradients at the arguments are asked for.

        Returns
        -------
        Found
            The window's part of the gradient.
        """
        engine = self.engine
        prepared = engine.recursion.prepare(weights)

        history = self.factored.history(weights, self.recorder.points(xs, tape), prepared, posts)

        def one(state: Any, now: Any) -> tuple[Any, Any]:
            left, summed = state
            (x, inner, given_t, known), before = now
            points = self.recorder.points(x, inner._replace(before=before, first=tape.first))
            found = self._block(weights, x, points, given_t, left, known, prepared, inputs)
            return (found.left, sums(summed, (found.direct, found.begun))), found.inputs

        values = (xs, tape._replace(before=(), first=None), given, history)
        start = (later, self.no_gradients(xs))
        size = block_size(xs.length)
        befores = self.recorder.before_blocks(tape, size)
        (left, (direct, begun)), along = scan_blocks(
            one, start, values, size, reverse=True, per_block=befores
        )
        return Found(direct, left, along, begun)

    def no_gradients(self, xs: Inputs) -> tuple[list[Array], tuple[Arrays, ...]]:
        """Return zeros to sum `Found.direct` and `Found.begun` in."""
        silent = self.nothing_left().mus
        return self.engine.functions.no_gradients(), silent if xs.fresh is not None else ((),) * len(silent)

    def nothing_left(self) -> Left:
        """Return what comes from behind a sequence's last step."""
        groups = self.engine.graph.groups
        mus = tuple(tuple(jnp.zeros(x.old.shape, x.old.dtype) for x in g.leaves) for g in groups)
        return Left(mus, self.factored.silent())

    def past(self, direct: list[Array], left: Left, traces: Arrays) -> list[Array]:
        """Add what signals find in the traces at a window's start, ``mu . eps``."""
        result = list(direct)
        for layout, trace in zip(self.engine.layouts, traces, strict=True):
            slot = self.engine.functions.float_slot[layout.relation.weight]
            if isinstance(layout, FactoredLayout):
                found = layout.outer(trace.pre, self.factored.of(layout, left.outputs))
            else:
                found = layout.contract(left.mus[layout.route.group.index], trace)
            result[slot] = result[slot] + layout.to_weight(found)
        return result

    def _block(
        self,
        weights: Weights,
        xs: Inputs,
        points: Point,
        given: Given,
        later: Left,
        history: History,
        prepared: dict[int, Any],
        inputs: bool,
    ) -> Found:
        engine = self.engine
        opened = engine.signals.open(weights, points, given, points.new[0].shape[0], inputs)
        direct, signals, along = opened
        of_groups = engine.signals.of_groups(signals)
        adjoints = [
            self.adjoint(g, weights, points, signal, mu, prepared)
            for g, signal, mu in zip(engine.graph.groups, of_groups, later.mus, strict=True)
        ]
        factored, outputs = self.factored.arrivals(points, of_groups, history, later.outputs)
        side = dict(zip(map(id, engine.signals.spatial.side_relations), signals.relations, strict=True))
        for relation in engine.graph.temporal:
            site = engine.functions.sites[id(relation)]
            posts = factored.get(id(relation), [])
            for group, adjoint in zip(engine.graph.groups, adjoints, strict=True):
                if (id(relation), group.index) in self.whole:
                    posts = [*posts, adjoint.posts[site]]
            post = total(posts + ([side[id(relation)]] if id(relation) in side else []), posts[0])
            slot = engine.functions.float_slot[relation.weight]
            if isinstance(relation, Operation):
                update = self.recorder.events.gradient(relation, weights, xs, points, post)
            else:
                update = relation.gather(post.sum(0))
            direct[slot] = direct[slot] + update
        if inputs:
            kept = engine.signals.states_to_inputs(weights, points, [a.mus for a in adjoints])
            along = tuple(None if a is None else a + b for a, b in zip(along, kept, strict=True))
        left = Left(tuple(a.mu for a in adjoints), outputs)
        return Found(direct, left, along, tuple(a.begun for a in adjoints))


def sums(one: Any, other: Any) -> Any:
    """Add two trees of arrays."""
    return jax.tree.map(jnp.add, one, other)
