"""The way back of a stage over a window: signals inside each unit, gradients at the events.

For every sample, from the last step to the first,

    lam^t = L^t + mu^t,   mu^(t-1) = D^T lam^t,   grad W[j] += x_j^t (Df^t . lam^t)   where x_j^t is not zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from snntrace.compiler.relations import Dense
from snntrace.events.lists import result
from snntrace.events.native import n_threads, native_call
from snntrace.events.spikes import Spikes
from snntrace.fused.forward import Ran, RowNames, event_names, flat
from snntrace.fused.kernels import BLOCK, Source, compiled, open_kernel
from snntrace.fused.unit_signals import Given, Signals, UnitSignals
from snntrace.jaxprs import Variable

Array = Any


@dataclass(frozen=True, eq=False)
class Gradients:
    """What a stage gives: gradients of matrices and unit-wise parameters, and signals for stages below.

    `posts` are the signals at the outputs of products that did not come as events; `down` those of every
    product from a lower stage, of the step alone.
    """

    matrices: dict[Dense, Array]
    params: dict[Variable, Array]
    posts: dict[Dense, Array]
    down: dict[Dense, Array]


class Backward(UnitSignals):
    """Goes back over a window.

    Parameters
    ----------
    stages : Stages
        All stages.
    stage : Stage
        This one.
    events, graded : sequence of bool
        As in `Forward`.
    """

    # Source ------------------------------------------------------------------------------------

    def _arguments(self, given: Given) -> tuple[list[str], list[str], list[str]]:
        stage, ins = self.stage, []
        for k, product in enumerate(stage.incoming):
            if self.events[k] and not product.own:
                ins += [f"rows{k}", f"units{k}", *([f"sizes{k}"] if self.graded[k] else [])]
        for j, port in enumerate(stage.ports):
            ins += [f"rows_{j}", f"units_{j}", *([] if port.binary else [f"sizes_{j}"])]
        ins += [f"h{q}" for q in range(stage.group.n_states)] + [f"path{q}" for q in sorted(stage.kept)]
        ins += [f"sum{k}" for k in self.sums] + [f"p{m}" for m in range(len(self.params))]
        if self.recursion == "coupled":
            ins += [f"diagonal{k}" for k, p in enumerate(stage.incoming) if p.own]
        for j, r in given.products:
            ins += [f"signal{j}_{r}", f"back{j}_{r}"]
        ins += [f"given{q}" for q in given.states] + (["projected"] if given.projected else [])
        partial = [f"grad{k}" for k, _ in enumerate(stage.incoming) if self.events[k]]
        partial += [f"grad{j}_{r}" for j, r in given.readouts]
        partial += [f"trained{m}" for m in range(len(self.trained))]
        partial += [f"site{m}" for m in range(len(self.elementwise))]
        outs = [f"post{k}" for k, _ in enumerate(stage.incoming) if not self.events[k]]
        outs += [f"down{k}" for k in given.down]
        return ins, partial, outs

    def source(self, given: Given) -> str:
        """Write the kernel for what is given."""
        stage, n = self.stage, self.stage.width
        ins, partial, outs = self._arguments(given)
        source, rows = Source(), RowNames(n)
        states = range(stage.group.n_states)
        with open_kernel(source, ins + [f"all_{name}" for name in partial] + outs):
            source(*(f"{name} = all_{name}[part]" for name in partial))
            loads = [rows.parameter(f"p{m}", v) for m, v in enumerate(self.params)]
            codes = {v: e for v, (_, e) in zip(self.params, loads, strict=True)}
            place = {
                "mu": [rows.new() for _ in states],
                "old": [rows.new() for _ in states],
                "new": [rows.new() for _ in states],
                "sum": [rows.new() for _ in self.sums],
                "bar": [rows.new() for _ in stage.ports],
                "given": [rows.new() for _ in given.states],
                "projected": [rows.new()] if given.projected else [],
                "post": [rows.new() for _ in self.sites],
                "down": [rows.new() for _ in given.down],
                "diagonal": [rows.new() for _ in stage.own] if self.recursion == "coupled" else [],
                "total": [rows.new() for _ in (*self.trained, *self.elementwise)],
            }
            source("w = np.zeros(SCRATCH, F)", *(f"clear_all({name})" for name in partial))
            ports = dict.fromkeys(j for j, _ in given.products)
            source(*(f"block{j} = np.zeros(({BLOCK}, {n}), F)" for j in ports))
            source(*(line for lines, _ in loads for line in lines))
            own = [k for k, p in enumerate(stage.incoming) if p.own]
            source(
                *(
                    f"copy_row(w, {d * n}, diagonal{k}, {n})"
                    for k, d in zip(own, place["diagonal"], strict=False)
                )
            )
            with source.block("for b in range(begin, end):"):
                source(*(f"clear(w, {s * n}, {n})" for s in (*place["mu"], *place["total"])))
                with source.block("for t in range(steps - 1, -1, -1):"):
                    self._load(source, rows, place, given)
                    with source.block(f"for i in range({n}):"):
                        self._units(source, rows, codes, place, given)
                    self._scatter(source, rows, place, given)
                for m, row in enumerate(place["total"]):
                    m_name = f"trained{m}" if m < len(self.trained) else f"site{m - len(self.trained)}"
                    with source.block(f"for i in range({n}):"):
                        source(f"{m_name}[i] += {rows.at(row)}")
        return source.text.replace("SCRATCH", str(rows.count * n))

    def _load(self, source: Source, rows: RowNames, place: dict[str, list[int]], given: Given) -> None:
        """Bring a step's numbers into scratch rows, and what comes back through outgoing products."""
        n = self.stage.width
        for q in sorted(self.stage.kept):
            old, new = place["old"][q], place["new"][q]
            with source.block(f"for i in range({n}):"):
                source(f"{rows.at(new)} = path{q}[t, b, i]")
            with source.block("if t > 0:"), source.block(f"for i in range({n}):"):
                source(f"{rows.at(old)} = path{q}[t - 1, b, i]")
            with source.block("else:"), source.block(f"for i in range({n}):"):
                source(f"{rows.at(old)} = h{q}[b, i]")
        copies = [(place["sum"][m], f"sum{k}") for m, k in enumerate(self.sums)]
        copies += [(place["given"][m], f"given{q}") for m, q in enumerate(given.states)]
        copies += [(place["projected"][0], "projected")] if given.projected else []
        for row, name in copies:
            with source.block(f"for i in range({n}):"):
                source(f"{rows.at(row)} = {name}[t, b, i]")
        for j, _ in enumerate(self.stage.ports):
            at = place["bar"][j] * n
            used = [r for jj, r in given.products if jj == j]
            if not used:
                continue
            with source.block(f"if t == steps - 1 or t % {BLOCK} == {BLOCK - 1}:"):
                source(f"clear_all(block{j})")
                extent = f"b, t - t % {BLOCK}, t % {BLOCK} + 1"
                source(*(f"add_products(block{j}, signal{j}_{r}, {extent}, back{j}_{r}, {n})" for r in used))
            source(f"copy_row(w, {at}, block{j}[t % {BLOCK}], {n})")

    def _units(
        self,
        source: Source,
        rows: RowNames,
        codes: Mapping[Variable, str],
        place: dict[str, list[int]],
        given: Given,
    ) -> None:
        stage, shape = self.stage, self.stage.group.shape
        leaves = stage.group.leaves
        signal: list[list[str]] = [[] for _ in leaves]
        names: dict[Any, str] = dict(codes)
        for q in stage.kept:
            names[leaves[q].old], names[leaves[q].new] = rows.at(place["old"][q]), rows.at(place["new"][q])
        for m, k in enumerate(self.sums):
            names[stage.incoming[k].relation.output] = rows.at(place["sum"][m])
        for m, q in enumerate(given.states):
            signal[q].append(rows.at(place["given"][m]))
        if given.projected and self.output is None:
            for q in range(len(leaves)):
                signal[q].append(rows.at(place["projected"][0]))
        for j, port in enumerate(stage.ports):
            self.write_port_signals(source, rows, names, place, given, j, port, signal)
        source(*(f"l{q} = {' + '.join(terms) or 'F(0)'}" for q, terms in enumerate(signal)))
        source(*(f"lam{q} = l{q} + {rows.at(row)}" for q, row in enumerate(place["mu"])))
        lam = {f"lam{q}": f"lam{q}" for q in range(len(leaves))}
        code, found = self.transition.emit(shape, names | lam, "c", self.wanted)
        source(*code.lines)
        outputs = dict(zip(self.wanted, found, strict=True))
        posts = {s: outputs["post", s] for s in self.sites}
        mus = self.write_mus(source, names, place, rows, outputs, posts)
        source(*(f"{rows.at(row)} = {posts[s]}" for row, s in zip(place["post"], self.sites, strict=True)))
        functions = self.stages.functions
        for m, relation in enumerate(self.elementwise):
            row = rows.at(place["total"][len(self.trained) + m])
            source(f"{row} += {posts[functions.sites[id(relation)]]}")
        if given.down:
            alone = {f"lam{q}": f"l{q}" for q in range(len(leaves))}
            wanted: list[Any] = [("post", self.site_of[stage.incoming[k].relation]) for k in given.down]
            code, found = self.transition.emit(shape, names | alone, "d", wanted)
            source(*code.lines)
            source(*(f"{rows.at(r)} = {v}" for r, v in zip(place["down"], found, strict=True)))
        source(*(f"{rows.at(row)} = {mu}" for row, mu in zip(place["mu"], mus, strict=True)))

    def _scatter(self, source: Source, rows: RowNames, place: dict[str, list[int]], given: Given) -> None:
        """Add a step's signals to the gradients of the weights whose operands are not zero."""
        n, sites = self.stage.width, list(self.sites)
        for k, product in enumerate(self.stage.incoming):
            at = place["post"][sites.index(self.site_of[product.relation])]
            if not self.events[k]:
                with source.block(f"for i in range({n}):"):
                    source(f"post{k}[t, b, i] = {rows.at(at)}")
                continue
            row_from, units, sizes, shift = event_names(self.stage, k, product, self.graded[k])
            first, stop = f"{row_from}[b, t + {shift}]", f"{row_from}[b, t + {shift + 1}]"
            if not sizes:
                source(f"add_to_rows(grad{k}, {units}, {first}, {stop}, w, {at * n}, {n})")
                continue
            with source.block(f"for e in range({first}, {stop}):"):
                source(f"add_scaled_to_row(grad{k}, {units}[e], {sizes}[e], w, {at * n}, {n})")
        for m, k in enumerate(given.down):
            with source.block(f"for i in range({n}):"):
                source(f"down{k}[t, b, i] = {rows.at(place['down'][m])}")
        for j, r in given.readouts:
            size = "F(1)" if self.stage.ports[j].binary else f"sizes_{j}[e]"
            width = self.stage.ports[j].outgoing[r].sizes[2]
            source(f"row = signal{j}_{r}[t]")
            with source.block(f"for e in range(rows_{j}[b, t + 1], rows_{j}[b, t + 2]):"):
                source(f"add_between(grad{j}_{r}, units_{j}[e], row, b, {size}, {width})")

    # Call --------------------------------------------------------------------------------------

    def __call__(
        self,
        params: Mapping[Variable, Array],
        weights: Mapping[Dense, Array],
        operands: Sequence[Spikes | Array | None],
        hidden: Sequence[Array],
        ran: Ran,
        signals: Signals,
        wanted: Sequence[int],
    ) -> Gradients:
        """Go back.

        Parameters
        ----------
        params, weights, operands, hidden
            As in the way forward.
        ran : Ran
            What it left.
        signals : Signals
            What comes from above.
        wanted : sequence of int
            Products of which a lower stage needs the signal.

        Returns
        -------
        Gradients
            The stage's gradients.
        """
        stage, n = self.stage, self.stage.width
        given = Given(self, signals, wanted)
        kernel = compiled(self.source(given), self.dtype.name)
        ins: list[Array] = []
        for k, product in enumerate(stage.incoming):
            operand = operands[k]
            if self.events[k] and not product.own and isinstance(operand, Spikes):
                ins += [operand.pointers, operand.indices, *([operand.values] if self.graded[k] else [])]
        for port, lists in zip(stage.ports, ran.lists, strict=True):
            ins += [lists.pointers, lists.indices, *([] if port.binary else [lists.values])]
        ins += [
            *hidden,
            *(ran.trajectories[q] for q in sorted(stage.kept)),
            *(ran.sums[k] for k in self.sums),
        ]
        ins += [flat(params[v] if v in params else self.constants[v], self.dtype) for v in self.params]
        if self.recursion == "coupled":
            ins += [jnp.diagonal(weights[p.relation]) for p in stage.own]
        for j, r in given.products:
            relation = stage.ports[j].outgoing[r]
            ins += [signals.products[relation], weights[relation].T]
        ins += [signals.states[q] for q in given.states] + ([signals.projected] if given.projected else [])
        kinds = [p.relation for k, p in enumerate(stage.incoming) if self.events[k]]
        kinds += [stage.ports[j].outgoing[r] for j, r in given.readouts]
        steps, batch = ran_extent(ran, hidden, signals)
        parts = min(n_threads(), batch)
        outs = [result((parts, *r.sizes[1:]), self.dtype) for r in kinds]
        n_totals = len(self.trained) + len(self.elementwise)
        outs += [result((parts, n), self.dtype)] * n_totals
        path = result((steps, batch, n), self.dtype)
        dense = [p.relation for k, p in enumerate(stage.incoming) if not self.events[k]]
        outs += [path] * (len(dense) + len(given.down))
        extent = np.array([batch, steps], np.int32)
        found = iter(native_call(kernel, outs, extent, *ins, parts=parts))
        matrices = {relation: next(found).sum(0) for relation in kinds}
        totals = {v: next(found).sum(0) for v in self.trained}
        rows = {r: next(found).sum(0) for r in self.elementwise}
        posts = {relation: next(found) for relation in dense}
        down = {stage.incoming[k].relation: next(found) for k in given.down}
        for parameter, row in rows.items():
            slot = parameter.weight
            spread = jnp.zeros(stage.group.shape, self.dtype).reshape(-1, n).at[0].set(row)
            value = parameter.gather(spread.reshape(stage.group.shape).astype(slot.dtype))
            totals[slot] = (shaped(totals[slot], slot) if slot in totals else 0) + value
        return Gradients(matrices, {v: shaped(g, v) for v, g in totals.items()}, posts, down)


def ran_extent(ran: Ran, hidden: Sequence[Array], signals: Signals) -> tuple[int, int]:
    """Return steps and samples of a window."""
    arrays = [*ran.trajectories.values(), *ran.sums.values(), *signals.products.values()]
    arrays += list(signals.states.values())
    steps = arrays[0].shape[0] if arrays else ran.lists[0].time - 1
    return steps, hidden[0].shape[0]


def shaped(gradient: Array, variable: Variable) -> Array:
    """Bring a gradient of every unit, (N,), to a parameter's shape."""
    if gradient.shape == variable.shape:
        return gradient
    total = gradient.sum() if int(np.prod(variable.shape, dtype=int)) == 1 else gradient
    return total.reshape(variable.shape).astype(variable.dtype)
