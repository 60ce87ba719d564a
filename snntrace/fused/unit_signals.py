"""The way back inside each unit of a stage: which derivatives it takes, and their code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from snntrace.compiler.relations import Dense, Elementwise
from snntrace.compiler.sites import Site
from snntrace.fused.forward import RowNames
from snntrace.fused.kernels import Source
from snntrace.fused.pullbacks import check_emits, port_pullback, transition_pullback
from snntrace.fused.stages import Port, Stage, Stages
from snntrace.fused.units import NotFusable
from snntrace.jaxprs import Variable

Array = Any


@dataclass(frozen=True, eq=False)
class Signals:
    """What reaches a stage from above within each step.

    `products` holds for each outgoing product the cotangent of its output, (T, B, K); `states` the cotangents
    of new states, (T, B, N), where there are any; `projected` a signal at every state, or at `output`.
    """

    products: Mapping[Dense, Array]
    states: Mapping[int, Array]
    projected: Array | None


class UnitSignals:
    """Signals inside the units of a stage.

    Parameters
    ----------
    stages : Stages
        All stages.
    stage : Stage
        This one.
    events, graded : sequence of bool
        As in `Forward`.
    """

    def __init__(self, stages: Stages, stage: Stage, events: Sequence[bool], graded: Sequence[bool]) -> None:
        self.stages = stages
        self.stage = stage
        self.events = tuple(events)
        self.graded = tuple(graded)
        engine, group = stages.engine, stage.group
        self.dtype = np.dtype(group.leaves[0].old.dtype)
        self.recursion = engine.rule.recursion
        self.leak = engine.rule.leak or 0.0
        self.cut = engine.signals.cut[group.index]
        self.output = self._output_port(engine.signals.spatial.outputs[group.index])
        self.transition = transition_pullback(stages, group)
        self.port_pullbacks = {port: port_pullback(stages, port) for port in stage.ports}
        self.sites = stages.functions.sites_of(group)
        self.site_of = {p.relation: stages.functions.sites[id(p.relation)] for p in stage.incoming}
        self._check_coupling()
        self._find_needs()

    def _output_port(self, output: Variable | None) -> Port | None:
        """Find the port whose value a projected signal enters."""
        if output is None:
            return None
        return self.stages.add_port(self.stage, output)

    def _check_coupling(self) -> None:
        coupling = self.stages.engine.recursion.couplings.get(self.stage.group.index)
        if self.recursion == "coupled" and coupling is not None:
            own = {id(p.relation) for p in self.stage.own}
            if coupling.double or coupling.operations or {id(s.relation) for s in coupling.single} - own:
                raise NotFusable("a coupling through several products")

    def _find_needs(self) -> None:
        """Tell which trajectories and sums the way back reads, and check that it has code."""
        stage, shape = self.stage, self.stage.group.shape
        n_states = stage.group.n_states
        mus = [("mu", q) for q in range(n_states)] if self.recursion in ("diagonal", "coupled") else []
        self.wanted: list[Any] = [*mus, *(("post", s) for s in self.sites)]
        check_emits(self.transition, shape, self.wanted)
        read = self.transition.reads(self.wanted)
        leaves = stage.group.leaves
        kept = {q for q, leaf in enumerate(leaves) if leaf.old in read}
        self.port_wanted: dict[Port, list[Any]] = {}
        for port, pullback in self.port_pullbacks.items():
            keys = [k for k in pullback.outputs if k[0] == "param" or not self.cut or port is self.output]
            self.port_wanted[port] = keys
            check_emits(pullback, shape, list(pullback.outputs))
            needed = pullback.reads(list(pullback.outputs))
            kept |= {q for q, v in enumerate(port.states) if v in needed}
        stage.kept |= kept
        self.sums = [k for k, p in enumerate(stage.incoming) if p.relation.output in read]
        constants = dict(self.transition.constants)
        for pullback in self.port_pullbacks.values():
            constants.update(pullback.constants)
        self.constants = constants
        reads = [read, *(p.reads(list(p.outputs)) for p in self.port_pullbacks.values())]
        named = dict.fromkeys(v for found in reads for v in found if isinstance(v, Variable))
        self.params = tuple(v for v in named if self._is_param(v))
        floats = self.stages.functions.float_slot
        self.trained = tuple(
            dict.fromkeys(v for p in self.port_pullbacks.values() for k, v in p.outputs if k == "param")
        )
        self.trained = tuple(v for v in self.trained if v in floats)
        self.elementwise = tuple(
            r
            for r in self.stages.graph.temporal
            if isinstance(r, Elementwise) and self.stages.functions.sites[id(r)] in self.sites
        )

    def _is_param(self, variable: Variable) -> bool:
        group = self.stage.group
        others = {leaf.old for leaf in group.leaves} | {leaf.new for leaf in group.leaves}
        others |= {p.relation.output for p in self.stage.incoming}
        return variable not in others

    def write_port_signals(
        self,
        source: Source,
        rows: RowNames,
        names: Mapping[Any, str],
        place: dict[str, list[int]],
        given: Given,
        j: int,
        port: Port,
        signal: list[list[str]],
    ) -> None:
        """Take what comes back to a port to the states and to parameters of the port."""
        pullback, shape = self.port_pullbacks[port], self.stage.group.shape
        ways = []
        if any(jj == j for jj, _ in given.products):
            keys = [k for k in pullback.outputs if k[0] == "param" or not self.cut]
            ways.append((rows.at(place["bar"][j]), keys, f"e{j}"))
        if given.projected and port is self.output:
            ways.append((rows.at(place["projected"][0]), list(pullback.outputs), f"f{j}"))
        for bar, keys, prefix in ways:
            if not keys:
                continue
            code, found = pullback.emit(shape, {**names, "zbar": bar}, prefix, keys)
            source(*code.lines)
            for (kind, which), value in zip(keys, found, strict=True):
                if kind == "state":
                    signal[which].append(value)
                else:
                    source(f"{rows.at(place['total'][self.trained.index(which)])} += {value}")

    def write_mus(
        self,
        source: Source,
        names: Mapping[Any, str],
        place: dict[str, list[int]],
        rows: RowNames,
        outputs: Mapping[Any, str],
        posts: Mapping[Site, str],
    ) -> list[str]:
        """Write what is left of the signals one step before."""
        leaves = self.stage.group.leaves
        if self.recursion == "none":
            return ["F(0)"] * len(leaves)
        if self.recursion == "scalar":
            return [f"F({self.leak!r}) * lam{q}" for q in range(len(leaves))]
        terms = [[outputs["mu", q]] for q in range(len(leaves))]
        for m, product in enumerate(self.stage.own if self.recursion == "coupled" else ()):
            port = product.port
            if port is None:
                continue
            pullback = self.port_pullbacks[port]
            bar = f"g{m}bar"
            source(f"{bar} = {posts[self.site_of[product.relation]]} * {rows.at(place['diagonal'][m])}")
            old = {leaf.new: names[leaf.old] for leaf in leaves if leaf.old in names}
            keys: list[Any] = [("state", q) for q in range(len(leaves))]
            code, found = pullback.emit(self.stage.group.shape, {**names, **old, "zbar": bar}, f"g{m}", keys)
            source(*code.lines)
            for q, value in enumerate(found):
                terms[q].append(value)
        return [" + ".join(t) for t in terms]


class Given:
    """Which signals a kernel is written for."""

    def __init__(self, units: UnitSignals, signals: Signals, wanted: Sequence[int]) -> None:
        ports = list(enumerate(units.stage.ports))
        flags = {(j, r): relation for j, p in ports for r, relation in enumerate(p.outgoing)}
        self.products = [key for key, relation in flags.items() if relation in signals.products]
        self.readouts = [key for key in self.products if flags[key] in units.stage.readouts]
        self.states = sorted(signals.states)
        self.projected = signals.projected is not None
        self.down = list(wanted)
