r"""Windows of factored traces: the presynaptic sum is turned around, the postsynaptic one runs forward.

With :math:`\bar\epsilon_f` the smoothed derivatives over the sum of their weights,

.. math::

    r^t = L^t \cdot \bar\epsilon_f^t + \alpha_x r^{t+1}, \qquad
    \nabla W = \sum_t x^t \otimes r^t + \epsilon_x^a \otimes \alpha_x r^{a+1},

so that a weight's gradient is one product of its operands, as it is without factors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from snntrace.compiler.perturb import Arrays, Point, Weights
from snntrace.compiler.sites import Site
from snntrace.executors.engine import Engine
from snntrace.executors.factored import FactoredLayout, Post
from snntrace.executors.generic_events import Inputs
from snntrace.executors.recorder import Recorder

Array = Any
Key = tuple[int, Site]


class History(NamedTuple):
    """Smoothed derivatives over a window, for each factor: behind each step, and before it.

    `before` is None where no signal enters at old states.
    """

    now: tuple[Array, ...]
    before: tuple[Array | None, ...]


class FactoredWindow:
    """What factored traces add to a window. Relations with one site in a group share its factor.

    Parameters
    ----------
    engine : Engine
        The graph under a rule.
    recorder : Recorder
        The forward pass.
    """

    def __init__(self, engine: Engine, recorder: Recorder) -> None:
        self.engine = engine
        self.recorder = recorder
        self.slots = [i for i, x in enumerate(engine.layouts) if isinstance(x, FactoredLayout)]
        layouts: list[FactoredLayout] = [engine.layouts[i] for i in self.slots]  # type: ignore[misc]
        self.first: dict[Key, int] = {}
        for slot, layout in zip(self.slots, layouts, strict=True):
            self.first.setdefault(_key(layout), slot)
        self.layouts: dict[Key, FactoredLayout] = {key: engine.layouts[i] for key, i in self.first.items()}  # type: ignore[misc]
        self.keys: dict[int, list[Key]] = {}
        for layout in layouts:
            self.keys.setdefault(id(layout.relation), []).append(_key(layout))

    def begin(self, traces: Arrays) -> tuple[Post, ...]:
        """Pick the postsynaptic factors of traces; those that have seen nothing if there are none."""
        if not traces:
            return tuple(layout.zero_post() for layout in self.layouts.values())
        return tuple(traces[slot].post for slot in self.first.values())

    def of(self, layout: FactoredLayout, values: Sequence[Any]) -> Any:
        """Pick a layout's entry from one for each postsynaptic factor."""
        return values[list(self.layouts).index(_key(layout))]

    def silent(self) -> Arrays:
        """Return the signals behind a sequence's last step."""
        return tuple(jnp.zeros(x.operation.shape, x.dtype) for x in self.layouts.values())

    # Forward -----------------------------------------------------------------------------------

    def run(
        self, weights: Weights, points: Point, prepared: dict[int, Any], posts: tuple[Post, ...]
    ) -> tuple[tuple[Post, ...], tuple[Array, ...]]:
        """Carry postsynaptic factors over a window.

        Parameters
        ----------
        weights : Weights
            The weight chains' values.
        points : Point
            The points of the steps, time leading.
        prepared : dict
            What the recursion keeps constant.
        posts : tuple of Post
            The factors at the window's start.

        Returns
        -------
        posts : tuple of Post
            The factors at its end.
        means : tuple of array (T, S, *output shape)
            The smoothed derivatives behind each step.
        """
        groups = {x.route.group.index: x.route.group for x in self.layouts.values()}

        def step(posts: tuple[Post, ...], point: Point) -> tuple[tuple[Post, ...], tuple[Array, ...]]:
            found = {i: self.engine.recursion(g, weights, point, prepared) for i, g in groups.items()}
            grown = tuple(
                layout.grow(post, found[layout.route.group.index], point)
                for layout, post in zip(self.layouts.values(), posts, strict=True)
            )
            return grown, tuple(x.mean(p) for x, p in zip(self.layouts.values(), grown, strict=True))

        return jax.lax.scan(step, posts, points)

    def history(
        self, weights: Weights, points: Point, prepared: dict[int, Any], posts: tuple[Post, ...]
    ) -> History:
        """Compute the smoothed derivatives that the signals of a window meet.

        Returns
        -------
        History
            Those behind each step, and before it.
        """
        if not self.layouts:
            return History((), ())
        _, now = self.run(weights, points, prepared, posts)
        read = self.engine.graph.read_before
        before = tuple(
            jnp.concatenate([layout.mean(post)[None], mean[:-1]]) if read[layout.route.group.index] else None
            for layout, post, mean in zip(self.layouts.values(), posts, now, strict=True)
        )
        return History(now, before)

    def end(self, layout: FactoredLayout, weights: Weights, xs: Inputs, points: Point, pre: Array) -> Array:
        """Compute a presynaptic factor at a window's end from that at its start."""
        decay = layout.decays[0]

        def back(weight: Array, point: Point) -> tuple[Array, Array]:
            return decay * point.past(weight), weight

        ones = jnp.ones(layout.samples, layout.dtype)
        start, each = jax.lax.scan(back, ones, points, reverse=True)
        rows = jax.vmap(layout.at_rows)(each)
        (grown,) = self.recorder.events.outer_each(layout.operation, weights, xs, points, [rows])
        return layout.at_rows(start) * pre + grown[..., 0]

    # Backward ----------------------------------------------------------------------------------

    def arrivals(
        self,
        points: Point,
        signals: Sequence[tuple[Arrays, Arrays | None]],
        history: History,
        later: Arrays,
    ) -> tuple[dict[int, list[Array]], Arrays]:
        """Carry what signals find in the postsynaptic factors back to the steps whose operands it meets.

        Parameters
        ----------
        points : Point
            The points of the steps, time leading.
        signals : sequence of tuple
            For each group the learning signals at its new and old states, (T, *group shape) each.
        history : History
            The smoothed derivatives of the steps.
        later : tuple of array
            What comes from the steps behind, in the shapes of the outputs.

        Returns
        -------
        posts : dict of list of array (T, *output shape)
            The gradients at each relation's output (by id), one for each group.
        left : tuple of array
            What goes on to the steps before.
        """
        posts: dict[Key, Array] = {}
        left = []
        for (key, layout), now, before, start in zip(
            self.layouts.items(), history.now, history.before, later, strict=True
        ):
            new, old = signals[layout.route.group.index]

            def back(behind: Array, at: Any, layout: FactoredLayout = layout) -> tuple[Array, Array]:
                point, mean, mean_before, new, old = at
                r = layout.weigh(new, mean) + behind
                past = layout.decays[0] * r
                if old is not None:
                    past = past + layout.weigh(old, mean_before)
                return layout.past(point, past), r

            rest, posts[key] = jax.lax.scan(back, start, (points, now, before, new, old), reverse=True)
            left.append(rest)
        return {i: [posts[key] for key in keys] for i, keys in self.keys.items()}, tuple(left)


def _key(layout: FactoredLayout) -> Key:
    return layout.route.group.index, layout.site
