"""A stage one step at a time: its step, its learning signals, and the way back over a window of steps.

The way back of a window of K steps goes inside each unit, in S + 1 channels. Channel 0 takes the learning
signals on its way,

    lam_0^t = L^t + mu_0^t,    mu_0^(t-1) = D^T lam_0^t,    mu_0^K = 0,

and gives the window's part of the gradient, ``post_0^t = Df . lam_0^t`` at events and ``mu_0^0`` at what was
before. The others start as a one at each of the S states behind the window and take nothing: they give the
traces, ``post_q^t``, and the window's transition ``Phi_qr = mu_(q+1)^0[r]``. Nothing is divided by, so that
any D will do, that of a hard reset included.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from snntrace.compiler.relations import Dense
from snntrace.compiler.sites import Site
from snntrace.fused.kernels import Source
from snntrace.fused.rows import RING
from snntrace.fused.step_places import StepPlaces


class Stepping(StepPlaces):
    """Writes the kernels of a stage; takes what `StepPlaces` takes."""

    # Kernels -----------------------------------------------------------------------------------

    def _begin(self, source: Source, head: str) -> Source:
        block = source.block(head)
        source.depth += 1
        source(*self.params.loads, "pass")
        source.depth -= 1
        return block

    def _copy(self, to: int | str, at: int | str) -> str:
        return f"copy_within(w, {to}, {at}, {self.n})"

    def begin(self) -> str:
        """Write ``begin(w, m)``, which opens a window: what the states are, and which units spike."""
        source = Source()
        with self._begin(source, "def kernel(w, m):"):
            with source.block(f"for i in range({self.n}):"):
                states = [self.rows.at(s) for s in self.states]
                self.forward.write_ports(source, self.rows, self.params.codes, states, self.values)
            for value, events in zip(self.values, self.lists.values(), strict=True):
                x = f"w[{value}:{value + self.n}]"
                source(f"m[{events.pointers}] = 0")
                source(
                    f"m[{events.pointers + 1}] = list_events({x}, w, m, {events.units}, {events.sizes}, 0)"
                )
            source(*(self._copy(at, self.states[q]) for q, at in self.path.items()))
        return source.text

    def step(self) -> str:
        """Write ``step(w, m, g, t)``: the sums of a step, its new states and its spikes."""
        n, source = self.n, Source()
        with self._begin(source, "def kernel(w, m, g, t):"):
            for k, (events, shift) in enumerate(self.sources):
                first = f"m[{events.pointers + shift} + t]"
                stop = f"m[{events.pointers + shift + 1} + t]"
                source(
                    f"fill(w, {self.sums[k]}, {n}, F(0))",
                    f"add_events(w, {self.sums[k]}, {n}, g, {self.weights[k]}, m, {events.units}, "
                    f"{events.sizes}, {first}, {stop})",
                )
            with source.block(f"for i in range({n}):"):
                self.forward.write_transition(
                    source, self.rows, self.params.codes, self.states, self.sums, self.values
                )
            for q, at in self.path.items():
                source(self._copy(f"{at} + (t + 1) * {n}", self.states[q]))
            for k, at in zip(self.backward.sums, self.past_sums, strict=True):
                source(self._copy(f"{at} + t * {n}", self.sums[k]))
            source(*(f"fill(w, {at} + t * {n}, {n}, F(0))" for at in self.past_signals))
            for value, events in zip(self.values, self.lists.values(), strict=True):
                x = f"w[{value}:{value + n}]"
                source(
                    f"m[{events.pointers + 2} + t] = list_events({x}, w, m, {events.units}, {events.sizes}, "
                    f"m[{events.pointers + 1} + t])"
                )
        return source.text

    def learn(self, signals: Mapping[Dense, int]) -> str:
        """Write ``learn(w, g, t)``, which turns what comes from above into the signals of a step.

        Parameters
        ----------
        signals : mapping of Dense to int
            Where the signal at the output of each outgoing product is.

        Returns
        -------
        str
            The code.
        """
        stage, n, source = self.stage, self.n, Source()
        names = self._names(new=self.states, sums=self.sums)
        with self._begin(source, "def kernel(w, g, t):"):
            for j, port in enumerate(stage.ports):
                source(f"fill(w, {self.place['bar'][j]}, {n}, F(0))")
                for r, relation in enumerate(port.outgoing):
                    if (j, r) in self.given.products:
                        width = relation.sizes[2]
                        self._add_back(source, self.place["bar"][j], signals[relation], relation, width)
            for q, at in self.path.items() if self.given.down else ():
                source(self._copy(self.place["old"][q], f"{at} + t * {n}"))
            with source.block(f"for i in range({n}):"):
                self._write_signals(source, names)
                if self.given.down:
                    self._write_down(source, names)
            for ring, at in zip(self.past_signals, self.signal, strict=True):
                source(f"add_within(w, {ring} + t * {n}, {at}, {n})")
            for k in self.zbar:
                self._write_own_port(source, names, k)
        return source.text

    def _write_signals(self, source: Source, names: Mapping[Any, str]) -> None:
        """Sum up what reaches each state within the step."""
        at, place, backward = self.rows.at, self.place, self.backward
        terms: list[list[str]] = [[] for _ in self.states]
        for m, q in enumerate(self.given.states):
            terms[q].append(at(place["given"][m]))
        if self.given.projected and backward.output is None:
            for term in terms:
                term.append(at(place["projected"][0]))
        for j, port in enumerate(self.stage.ports):
            backward.write_port_signals(source, self.rows, names, place, self.given, j, port, terms)
        source(*(f"l{q} = {' + '.join(t) or 'F(0)'}" for q, t in enumerate(terms)))
        source(*(f"{at(row)} = l{q}" for q, row in enumerate(self.signal)))

    def _write_down(self, source: Source, names: Mapping[Any, str]) -> None:
        """Write the signals of the step alone at products whose operands need them."""
        backward, incoming = self.backward, self.stage.incoming
        lam = {f"lam{q}": f"l{q}" for q in range(self.n_states)}
        wanted: list[Any] = [("post", backward.site_of[incoming[k].relation]) for k in self.given.down]
        code, found = backward.transition.emit(self.stage.group.shape, {**names, **lam}, "d", wanted)
        source(*code.lines)
        source(*(f"{self.rows.at(row)} = {v}" for row, v in zip(self.down.values(), found, strict=True)))

    def _add_back(self, source: Source, to: int, signal: int, relation: Dense, width: int) -> None:
        """Add what comes back through a product to a row of its operand's."""
        at, n = self.backs[relation], self.n
        source(f"add_signal(w, {to}, w[{signal}:{signal + width}], g, {at}, {n})")

    def _write_own_port(self, source: Source, names: Mapping[Any, str], k: int) -> None:
        """Take a recurrent operand's signal to its own parameters (a threshold, say)."""
        port, keys = self.stage.incoming[k].port, self._own_trained(k)
        if port is None or not keys:
            return
        zbar = self.zbar[k]
        source(f"fill(w, {zbar}, {self.n}, F(0))")
        self._add_back(source, zbar, self.down[k], self.stage.incoming[k].relation, self.n)
        before = {leaf.new: names[leaf.old] for leaf in self.stage.group.leaves if leaf.old in names}
        pullback = self.backward.port_pullbacks[port]
        with source.block(f"for i in range({self.n}):"):
            code, found = pullback.emit(
                self.stage.group.shape, {**names, **before, "zbar": self.rows.at(zbar)}, f"h{k}", keys
            )
            source(*code.lines)
            for (_, which), value in zip(keys, found, strict=True):
                total = self.place["total"][self.backward.trained.index(which)]
                source(f"{self.rows.at(total)} += {value}")

    def _names(self, new: Sequence[int], sums: Sequence[int]) -> dict[Any, str]:
        """Name what derivatives read; `new` and `sums` are the rows of all states and products."""
        leaves, names = self.stage.group.leaves, dict(self.params.codes)
        result: dict[Any, str] = dict(names)
        for q in self.path:
            result[leaves[q].old] = self.rows.at(self.place["old"][q])
            result[leaves[q].new] = self.rows.at(new[q])
        for k in self.backward.sums:
            result[self.stage.incoming[k].relation.output] = self.rows.at(sums[k])
        return result

    def back(self) -> str:
        """Write ``back(w, steps)``: the way back over a window, and traces of unit-wise parameters."""
        n, source, past = self.n, Source(), dict(zip(self.backward.sums, self.place["sum"], strict=True))
        names = self._names(self.place["new"], [past.get(k, 0) for k in range(len(self.sums))])
        with self._begin(source, "def kernel(w, steps):"):
            for c, rows in enumerate(self.mus):
                source(*(f"fill(w, {at}, {n}, F({int(c == q + 1)}))" for q, at in enumerate(rows)))
            source(*(f"fill(w, {at}, {n}, F(0))" for rows in self.grown for at in rows))
            with source.block("for t in range(steps - 1, -1, -1):"):
                for q, at in self.path.items():
                    source(self._copy(self.place["old"][q], f"{at} + t * {n}"))
                    source(self._copy(self.place["new"][q], f"{at} + (t + 1) * {n}"))
                for at, ring in zip(self.place["sum"], self.past_sums, strict=True):
                    source(self._copy(at, f"{ring} + t * {n}"))
                for at, ring in zip(self.signal, self.past_signals, strict=True):
                    source(self._copy(at, f"{ring} + t * {n}"))
                with source.block(f"for i in range({n}):"):
                    for c in range(self.n_states + 1):
                        self._write_channel(source, names, c)
                for c, rows in enumerate(self.posts):
                    for m, at in enumerate(rows):
                        source(self._copy(f"{self._posts(c, m)} + t * {n}", at))
            with source.block(f"for i in range({n}):"):
                self._write_unit_traces(source)
        return source.text

    def _write_channel(self, source: Source, names: Mapping[Any, str], c: int) -> None:
        backward, at = self.backward, self.rows.at
        for q, mu in enumerate(self.mus[c]):
            source(f"lam{q} = {at(self.signal[q])} + {at(mu)}" if c == 0 else f"lam{q} = {at(mu)}")
        lam = {f"lam{q}": f"lam{q}" for q in range(self.n_states)}
        code, found = backward.transition.emit(self.stage.group.shape, {**names, **lam}, "c", backward.wanted)
        source(*code.lines)
        outputs = dict(zip(backward.wanted, found, strict=True))
        posts: dict[Site, str] = {s: outputs["post", s] for s in backward.sites}
        mus = backward.write_mus(source, names, self.place, self.rows, outputs, posts)
        source(*(f"{at(row)} = {posts[s]}" for row, s in zip(self.posts[c], backward.sites, strict=True)))
        sites = self.backward.stages.functions.sites
        for row, relation in zip(self.grown[c], backward.elementwise, strict=True):
            source(f"{at(row)} += {posts[sites[id(relation)]]}")
        source(*(f"{at(row)} = {mu}" for row, mu in zip(self.mus[c], mus, strict=True)))

    def _write_unit_traces(self, source: Source) -> None:
        at, states = self.rows.at, range(self.n_states)
        for m, traces in enumerate(self.unit_traces):
            source(*(f"e{q} = {at(e)}" for q, e in enumerate(traces)))
            total = self.place["total"][len(self.backward.trained) + m]
            past = [f"{at(self.mus[0][q])} * e{q}" for q in states]
            source(f"{at(total)} += {' + '.join([at(self.grown[0][m]), *past])}")
            for q in states:
                terms = [at(self.grown[q + 1][m]), *(f"{at(self.mus[q + 1][r])} * e{r}" for r in states)]
                source(f"{at(traces[q])} = {' + '.join(terms)}")
        source("pass")

    def combine(self) -> str:
        """Write ``combine(w, window, oldest)``: join a window to the transitions of those before it."""
        n, states, source = self.n, range(self.n_states), Source()
        at, s = self.rows.at, self.n_states
        length = (s * s + s) * n

        def phi(q: int, r: int) -> str:
            return at(self.slot + (q * s + r) * n)

        def mu(r: int) -> str:
            return at(self.slot + (s * s + r) * n)

        with source.block("def kernel(w, window, oldest):"):
            with source.block(f"for a in range(max(oldest, window - {RING - 1}), window):"):
                source(
                    f"slot = {self.ring} + (a % {RING}) * {length}",
                    f"copy_within(w, {self.slot}, slot, {length})",
                )
                with source.block(f"for i in range({n}):"):
                    source(*(f"p{q}_{r} = {phi(q, r)}" for q in states for r in states))
                    for r in states:
                        terms = [f"{at(self.mus[0][q])} * p{q}_{r}" for q in states]
                        source(f"{mu(r)} += {' + '.join(terms)}")
                    for q in states:
                        for r in states:
                            terms = [f"{at(self.mus[q + 1][k])} * p{k}_{r}" for k in states]
                            source(
                                f"joined = {' + '.join(terms)}",
                                f"{phi(q, r)} = joined if abs(joined) >= TINY else F(0)",
                            )
                source(f"copy_within(w, slot, {self.slot}, {length})")
            source(f"slot = {self.ring} + (window % {RING}) * {length}")
            for q in states:
                for r in states:
                    source(self._copy(f"slot + {(q * s + r) * n}", self.mus[q + 1][r]))
            source(*(self._copy(f"slot + {(s * s + r) * n}", self.mus[0][r]) for r in states))
        return source.text
