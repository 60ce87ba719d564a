"""Where a stage that goes step by step keeps its numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from snntrace.compiler.relations import Dense
from snntrace.fused.backward import Backward
from snntrace.fused.forward import Forward
from snntrace.fused.places import At, EventList, Parameters, Places, Rows
from snntrace.fused.rows import BLOCK, RING
from snntrace.fused.unit_signals import Given, Signals


class StepPlaces:
    """The rows of a stage in the arenas.

    Parameters
    ----------
    name : str
        What tells its kernels from those of other stages.
    forward, backward : Forward, Backward
        Its code.
    places : Places
        The arenas.
    arguments : mapping of Dense to EventList
        Where the events of products with the input are.
    lower : mapping of Port to EventList
        Where those of the ports of lower stages are.
    given_states : set of int
        States at which the read-out gives signals.
    wanted : sequence of int
        Products at whose operand a signal is needed within the step.
    projected : bool
        Whether signals are projected onto the stage.
    """

    def __init__(
        self,
        name: str,
        forward: Forward,
        backward: Backward,
        places: Places,
        arguments: Mapping[Dense, EventList],
        lower: Mapping[Any, EventList],
        given_states: set[int],
        wanted: Sequence[int],
        projected: bool,
    ) -> None:
        self.name, self.forward, self.backward, self.places = name, forward, backward, places
        self.stage = stage = forward.stage
        self.n, self.n_states = stage.width, stage.group.n_states
        self.rows = At(self.n)
        variables = tuple(dict.fromkeys((*forward.params, *backward.params)))
        self.params = Parameters(places, f"{name} parameter", variables, self.n)
        outgoing = {r: None for p in stage.ports for r in p.outgoing}
        signals = Signals(
            outgoing, dict.fromkeys(given_states if not backward.cut else ()), self if projected else None
        )
        self.given = Given(backward, signals, wanted)
        self.lists = {
            port: places.event_list(f"{name} port {j}", self.n) for j, port in enumerate(stage.ports)
        }
        self.sources: list[tuple[EventList, int]] = []
        for product in stage.incoming:
            if product.port is None:
                self.sources.append((arguments[product.relation], 0))
            else:
                self.sources.append(
                    (self.lists[product.port], 0) if product.own else (lower[product.port], 1)
                )
        self._take_places()

    # Places ------------------------------------------------------------------------------------

    def _take_places(self) -> None:
        n, states, places = self.n, range(self.n_states), self.places
        own, steps = places.own, places.steps

        def row(what: str, *lead: int) -> int:
            return own.new(f"{self.name} {what}", *lead, n)

        backward, stage = self.backward, self.stage
        self.states = [row(f"state {q}") for q in states]
        self.sums = [row(f"sum {k}") for k in range(len(stage.incoming))]
        self.values = [row(f"value {j}") for j in range(len(stage.ports))]
        self.signal = [row(f"signal {q}") for q in states]
        self.down = {k: row(f"down {k}") for k in self.given.down}
        self.zbar = {k: row(f"operand {k}") for k in self.given.down if stage.incoming[k].own}
        self.place = {
            "mu": [],
            "old": [row(f"old {q}") for q in states],
            "new": [row(f"new {q}") for q in states],
            "sum": [row(f"past sum {k}") for k in backward.sums],
            "bar": [row(f"bar {j}") for j in range(len(stage.ports))],
            "given": [row(f"given {q}") for q in self.given.states],
            "projected": [row("projected")] if self.given.projected else [],
            "diagonal": [row(f"diagonal {k}") for k in range(len(stage.own))],
            "total": [row(f"total {m}") for m in range(len(backward.trained) + len(backward.elementwise))],
        }
        channels = range(self.n_states + 1)
        self.mus = [[row(f"mu {c} {q}") for q in states] for c in channels]
        self.posts = [[row(f"post {c} {m}") for m in range(len(backward.sites))] for c in channels]
        self.grown = [[row(f"grown {c} {m}") for m in range(len(backward.elementwise))] for c in channels]
        self.unit_traces = [
            [row(f"unit trace {m} {q}") for q in states] for m in range(len(backward.elementwise))
        ]
        self.spare = own.new(f"{self.name} spare", self.n_states * min(n, BLOCK))
        self.slot = row("slot", self.n_states * self.n_states + self.n_states)
        # Rings: one row for each step of a window, or each of some windows.
        self.path = {q: row(f"path {q}", steps + 1) for q in sorted(stage.kept)}
        self.past_sums = [row(f"past sums {k}", steps) for k in backward.sums]
        self.past_signals = [row(f"past signals {q}", steps) for q in states]
        self.past_posts = row("past posts", self.n_states + 1, len(backward.sites), steps)
        self.ring = row("ring", RING, self.n_states * self.n_states + self.n_states)
        shared, ints = places.shared, places.integers
        self.weights, self.gradients, self.traces, self.sorted = [], [], [], []
        for k, product in enumerate(stage.incoming):
            _, pre, post = product.relation.sizes
            width = self.sources[k][0].width
            self.weights.append(shared.new(f"{self.name} weight {k}", pre, post))
            self.gradients.append(shared.new(f"{self.name} gradient {k}", pre, post))
            self.traces.append(own.new(f"{self.name} trace {k}", pre, self.n_states, post))
            self.sorted.append(
                (
                    ints.new(f"{self.name} stamps {k}", pre),
                    ints.new(f"{self.name} starts {k}", pre + 2),
                    ints.new(f"{self.name} when {k}", steps * width),
                    own.new(f"{self.name} size {k}", steps * width),
                )
            )
        self.backs: dict[Dense, int] = {}
        for j, port in enumerate(stage.ports):
            for r, relation in enumerate(port.outgoing):
                if (j, r) in self.given.products:
                    _, pre, post = relation.sizes
                    self.backs[relation] = shared.new(f"{self.name} back {j} {r}", post, pre)
        for k in self.zbar:
            if self._own_trained(k):
                relation = stage.incoming[k].relation
                self.backs[relation] = shared.new(f"{self.name} back {k}", self.n, self.n)

    def _own_trained(self, k: int) -> list[Any]:
        """List what is trained at the operand of a recurrent product."""
        port = self.stage.incoming[k].port
        if port is None:
            return []
        return [key for key in self.backward.port_pullbacks[port].outputs if key[0] == "param"]

    def _posts(self, channel: int, site: int) -> int:
        """Return where a window's signals at a site are."""
        return self.past_posts + (channel * len(self.backward.sites) + site) * self.places.steps * self.n

    def rows_of(self, k: int) -> Rows:
        """Tell where the rows of a product are."""
        product, (events, shift) = self.stage.incoming[k], self.sources[k]
        sites = list(self.backward.sites)
        stamps, starts, when, size = self.sorted[k]
        return Rows(
            (events.pointers + shift, events.units, events.sizes),
            product.relation.sizes[1],
            (starts, when, size),
            (self.gradients[k], self.traces[k], stamps),
            (self.ring, self.spare),
            (
                self._posts(0, sites.index(self.backward.site_of[product.relation])),
                len(sites) * self.places.steps * self.n,
            ),
        )
