"""The way forward of a stage over a window, event-driven."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from snntrace.compiler.relations import Dense
from snntrace.events.lists import result
from snntrace.events.native import n_threads, native_call
from snntrace.events.spikes import Spikes
from snntrace.fused.kernels import Source, compiled, open_kernel
from snntrace.fused.stages import Incoming, Port, Stage
from snntrace.fused.units import UnitCode
from snntrace.jaxprs import Equation, Variable

Array = Any


class Ran(NamedTuple):
    """What a stage leaves behind.

    `lists` holds for each port its events with one row more than there are steps: those of the states before
    the window come first. `readouts` are the outputs of its read-out products.
    """

    trajectories: dict[int, Array]
    sums: dict[int, Array]
    lists: tuple[Spikes, ...]
    readouts: tuple[Array, ...]
    last: tuple[Array, ...]


class Forward:
    """Runs a stage over a window.

    Parameters
    ----------
    stage : Stage
        The stage.
    equations : sequence of Equation
        Its transition.
    sums : sequence of int
        Products (by position in ``stage.incoming``) whose outputs the way back needs.
    events : sequence of bool
        For each product, whether its operand comes as events; else its output comes ready.
    graded : sequence of bool
        For each product with events, whether these have values.
    """

    def __init__(
        self,
        stage: Stage,
        equations: Sequence[Equation],
        sums: Sequence[int],
        events: Sequence[bool],
        graded: Sequence[bool],
    ) -> None:
        self.stage = stage
        self.equations = equations
        self.sums = tuple(sums)
        self.events = tuple(events)
        self.graded = tuple(graded)
        self.kept = tuple(sorted(stage.kept))
        self.dtype = np.dtype(stage.group.leaves[0].old.dtype)
        self.kernel = compiled(self._source(), self.dtype.name)

    # Source ------------------------------------------------------------------------------------

    def _arguments(self) -> tuple[list[str], list[str]]:
        stage, ins = self.stage, []
        for k, product in enumerate(stage.incoming):
            if not self.events[k]:
                ins.append(f"ready{k}")
            elif product.own:
                ins.append(f"weight{k}")
            else:
                ins += [f"rows{k}", f"units{k}", *([f"sizes{k}"] if self.graded[k] else []), f"weight{k}"]
        ins += [f"p{m}" for m in range(len(self.params))] + [f"h{q}" for q in range(stage.group.n_states)]
        ins += [f"readout{j}_{r}" for j, r in self.outgoing]
        outs = [f"last{q}" for q in range(stage.group.n_states)] + [f"path{q}" for q in self.kept]
        outs += [f"sum{k}" for k in self.sums]
        for j, port in enumerate(stage.ports):
            outs += [f"rows_{j}", f"units_{j}", *([] if port.binary else [f"sizes_{j}"])]
        outs += [f"out{j}_{r}" for j, r in self.outgoing]
        return ins, outs

    @property
    def params(self) -> tuple[Variable, ...]:
        """Parameters that the transition or a port reads."""
        return tuple(dict.fromkeys((*self.stage.params, *(v for p in self.stage.ports for v in p.params))))

    @property
    def outgoing(self) -> list[tuple[int, int]]:
        """Read-out products, by port and number: those that no other stage takes in."""
        return [
            (j, r)
            for j, port in enumerate(self.stage.ports)
            for r, relation in enumerate(port.outgoing)
            if relation in self.stage.readouts
        ]

    def _source(self) -> str:
        stage, n = self.stage, self.stage.width
        ins, outs = self._arguments()
        rows = RowNames(n)
        source = Source()
        with open_kernel(source, ins + outs):
            loads = [rows.parameter(f"p{m}", v) for m, v in enumerate(self.params)]
            codes = {v: e for v, (_, e) in zip(self.params, loads, strict=True)}
            states = [rows.new() for _ in stage.group.leaves]
            sums = [rows.new() for _ in stage.incoming]
            values = [rows.new() for _ in stage.ports]
            source("w = np.zeros(SCRATCH, F)")
            source(*(line for lines, _ in loads for line in lines))
            with source.block("for b in range(begin, end):"):
                with source.block(f"for i in range({n}):"):
                    source(*(f"{rows.at(s)} = h{q}[b, i]" for q, s in enumerate(states)), "pass")
                with source.block(f"for i in range({n}):"):
                    self.write_ports(source, rows, codes, [rows.at(s) for s in states], values)
                for j, _ in enumerate(stage.ports):
                    source(f"at{j} = b * (steps + 1) * {n}", f"rows_{j}[b, 0] = at{j}")
                self._list(source, rows, values, "0")
                with source.block("for t in range(steps):"):
                    self._gather(source, rows, sums)
                    with source.block(f"for i in range({n}):"):
                        self.write_transition(source, rows, codes, states, sums, values)
                    self._record(source, rows, states, sums)
                    self._list(source, rows, values, "t + 1")
                    self._readouts(source)
                with source.block(f"for i in range({n}):"):
                    source(*(f"last{q}[b, i] = {rows.at(s)}" for q, s in enumerate(states)))
        return source.text.replace("SCRATCH", str(rows.count * n))

    def _gather(self, source: Source, rows: RowNames, sums: Sequence[int]) -> None:
        """Add up the weights of the events of a step."""
        n = self.stage.width
        for k, product in enumerate(self.stage.incoming):
            at = sums[k] * n
            if not self.events[k]:
                with source.block(f"for i in range({n}):"):
                    source(f"w[{at} + i] = ready{k}[t, b, i]")
                continue
            source(f"clear(w, {at}, {n})")
            row_from, units, sizes, shift = event_names(self.stage, k, product, self.graded[k])
            first, stop = f"{row_from}[b, t + {shift}]", f"{row_from}[b, t + {shift + 1}]"
            source(
                f"add_graded_rows(w, {at}, weight{k}, {units}, {sizes}, {first}, {stop}, {n})"
                if sizes
                else f"add_rows(w, {at}, weight{k}, {units}, {first}, {stop}, {n})"
            )

    def write_transition(
        self,
        source: Source,
        rows: RowNames,
        codes: Mapping[Variable, str],
        states: Sequence[int],
        sums: Sequence[int],
        values: Sequence[int],
    ) -> None:
        """Write the new states and the values at the ports, unit by unit."""
        group = self.stage.group
        names = {leaf.old: f"a{q}" for q, leaf in enumerate(group.leaves)} | dict(codes)
        names |= {p.relation.output: f"y{k}" for k, p in enumerate(self.stage.incoming)}
        source(*(f"a{q} = {rows.at(s)}" for q, s in enumerate(states)))
        source(*(f"y{k} = {rows.at(s)}" for k, s in enumerate(sums)))
        code = UnitCode(group.shape, names, "c")
        code.run(self.equations)
        source(*code.lines)
        new = [code.read(leaf.new) for leaf in group.leaves]
        source(*(f"{rows.at(s)} = {v}" for s, v in zip(states, new, strict=True)))
        self.write_ports(source, rows, codes, new, values)

    def write_ports(
        self,
        source: Source,
        rows: RowNames,
        codes: Mapping[Variable, str],
        states: Sequence[str],
        values: Sequence[int],
    ) -> None:
        """Write the values at the ports for given states."""
        for j, port in enumerate(self.stage.ports):
            lines, result = port_code(port, j, states, [codes[v] for v in port.params])
            source(*lines, f"{rows.at(values[j])} = {result}")
        source("pass")

    def _record(self, source: Source, rows: RowNames, states: Sequence[int], sums: Sequence[int]) -> None:
        for q in self.kept:
            with source.block(f"for i in range({self.stage.width}):"):
                source(f"path{q}[t, b, i] = {rows.at(states[q])}")
        for k in self.sums:
            with source.block(f"for i in range({self.stage.width}):"):
                source(f"sum{k}[t, b, i] = {rows.at(sums[k])}")

    def _list(self, source: Source, rows: RowNames, values: Sequence[int], row: str) -> None:
        n = self.stage.width
        for j, port in enumerate(self.stage.ports):
            source(f"from{j} = at{j}", f"at{j} = list_units(w, {values[j] * n}, {n}, units_{j}, at{j})")
            if not port.binary:
                source(f"list_values(w, {values[j] * n}, units_{j}, sizes_{j}, from{j}, at{j})")
            source(f"rows_{j}[b, {row} + 1] = at{j}")

    def _readouts(self, source: Source) -> None:
        for j, r in self.outgoing:
            width = self.stage.ports[j].outgoing[r].sizes[2]
            source(f"row = out{j}_{r}[t]", f"clear(row[b], 0, {width})")
            size = "F(1)" if self.stage.ports[j].binary else f"sizes_{j}[e]"
            with source.block(f"for e in range(from{j}, at{j}):"):
                source(f"add_between(row, b, readout{j}_{r}, units_{j}[e], {size}, {width})")

    # Call --------------------------------------------------------------------------------------

    def __call__(
        self,
        params: Mapping[Variable, Array],
        weights: Mapping[Dense, Array],
        operands: Sequence[Spikes | Array | None],
        hidden: Sequence[Array],
        steps: int,
    ) -> Ran:
        """Run the stage.

        Parameters
        ----------
        params : mapping of Variable to array
            Values of unit-wise parameters.
        weights : mapping of Dense to array of shape (pre, post)
            The matrices.
        operands : sequence of Spikes, array (T, B, N) or None
            For each product its events, or its output; None for a recurrent one.
        hidden : sequence of array (B, N)
            The states before the window.
        steps : int
            The length T of the window.

        Returns
        -------
        Ran
            What it leaves.
        """
        stage, n, batch = self.stage, self.stage.width, hidden[0].shape[0]
        ins: list[Array] = []
        for k, product in enumerate(stage.incoming):
            operand = operands[k]
            if not self.events[k]:
                ins.append(operand)
                continue
            if isinstance(operand, Spikes):
                ins += [operand.pointers, operand.indices, *([operand.values] if self.graded[k] else [])]
            ins.append(weights[product.relation])
        ins += [flat(params[v], self.dtype) for v in self.params] + list(hidden)
        ins += [weights[stage.ports[j].outgoing[r]] for j, r in self.outgoing]
        path = result((steps, batch, n), self.dtype)
        outs = [result((batch, n), self.dtype)] * len(hidden)
        outs += [path] * (len(self.kept) + len(self.sums))
        room = batch * (steps + 1) * n
        for port in stage.ports:
            outs.append(result((batch, steps + 2), jnp.int32))
            outs.append(result((room,), jnp.int32))
            outs += [] if port.binary else [result((room,), self.dtype)]
        for j, r in self.outgoing:
            width = stage.ports[j].outgoing[r].sizes[2]
            outs.append(result((steps, batch, width), self.dtype))
        extent = np.array([batch, steps], np.int32)
        parts = min(n_threads(), batch)
        found = iter(native_call(self.kernel, outs, extent, *ins, parts=parts))
        last = tuple(next(found) for _ in hidden)
        paths = {q: next(found) for q in self.kept}
        sums = {k: next(found) for k in self.sums}
        lists = []
        for port in stage.ports:
            pointers, indices = next(found), next(found)
            lists.append(Spikes(pointers, indices, None if port.binary else next(found), n))
        readouts = tuple(next(found) for _ in self.outgoing)
        return Ran(paths, sums, tuple(lists), readouts, last)


class RowNames:
    """Names for rows of scratch memory."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.count = 0

    def new(self) -> int:
        """Take a row."""
        self.count += 1
        return self.count - 1

    def at(self, row: int) -> str:
        """Write the place of unit i in a row."""
        return f"w[{row * self.width} + i]"

    def parameter(self, name: str, variable: Variable) -> tuple[list[str], str]:
        """Write how a parameter is loaded, and its expression."""
        if int(np.prod(variable.shape, dtype=int)) == 1:
            return [f"{name}_ = {name}[0]"], f"{name}_"
        row = self.new()
        return [f"copy_row(w, {row * self.width}, {name}, {self.width})"], self.at(row)


def event_names(stage: Stage, k: int, product: Incoming, graded: bool) -> tuple[str, str, str, int]:
    """Name the event lists of a product: pointers, units, values ('' if binary), and the row of step 0."""
    if product.own and product.port is not None:
        j = stage.ports.index(product.port)
        return f"rows_{j}", f"units_{j}", "" if product.port.binary else f"sizes_{j}", 0
    shift = 0 if product.port is None else 1
    return f"rows{k}", f"units{k}", f"sizes{k}" if graded else "", shift


def port_code(port: Port, j: int, states: Sequence[str], params: Sequence[str]) -> tuple[list[str], str]:
    """Write a port's statements for given states."""
    lines = [f"o{j}a{q} = {s}" for q, s in enumerate(states)]
    lines += [f"o{j}b{m} = {p}" for m, p in enumerate(params)]
    names = {f"a{q}" for q in range(len(states))} | {f"b{m}" for m in range(len(params))}
    names |= {line.split(" = ", 1)[0] for line in port.code}

    def rename(text: str) -> str:
        return "".join(f"o{j}{word}" if word in names else word for word in _words(text))

    return [*lines, *(rename(line) for line in port.code)], rename(port.result)


def _words(text: str) -> list[str]:
    words, word = [], ""
    for sign in text:
        if sign.isalnum() or sign == "_":
            word += sign
            continue
        words += [word, sign]
        word = ""
    return [*words, word]


def flat(value: Array, dtype: Any) -> Array:
    """Lay a parameter out as one number, or one for each unit."""
    value = jnp.asarray(value).reshape(-1)
    return value if value.dtype == jnp.bool_ or value.dtype.kind in "iu" else value.astype(dtype)
