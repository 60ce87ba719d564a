"""A whole model one step at a time: its stages' kernels in a few functions that Python calls.

A stream's clock holds, as integers, the steps of the present window, its number, and the oldest window that
a row of traces may still wait for.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numba
import numpy as np

from snntrace.compiler.relations import Dense
from snntrace.executors.events import EventPass
from snntrace.fused.kernels import FAST, Source
from snntrace.fused.places import EventList, Places
from snntrace.fused.results import Results
from snntrace.fused.rows import HELPERS
from snntrace.fused.stepping import Stepping
from snntrace.fused.units import NotFusable
from snntrace.jaxprs import Variable


class StreamKernels:
    """The kernels of a model.

    Parameters
    ----------
    events : EventPass
        The model's stages.
    matrices : sequence of array (n_target, n_units) or None
        What projects a signal onto each group.
    steps : int
        Steps K of a window.

    Raises
    ------
    NotFusable
        If the step reads its input other than by products, or its results are not elementwise.
    """

    def __init__(self, events: EventPass, matrices: Sequence[Any], steps: int) -> None:
        self.events = events
        self.steps = steps
        graph = events.stages.graph
        self.places = places = Places(steps)
        self.batch = int(np.prod(graph.groups[0].shape[: graph.groups[0].n_row_axes], dtype=int))
        self.dtype = np.dtype(graph.step.hidden[0].old.dtype)
        self.matrices = matrices
        self.inputs = self._inputs()
        self.results = Results(events, places)
        self.stages = self._stages()
        self.readout_at = {}
        for m, (_, relation) in enumerate(events.readouts):
            _, pre, post = relation.sizes
            self.readout_at[relation] = (
                places.shared.new(f"read-out weight {m}", pre, post),
                places.shared.new(f"read-out gradient {m}", pre, post),
            )
        self.feedback_at = {
            s: places.shared.new(f"{s.name} feedback", *np.shape(matrices[s.stage.group.index]))
            for s in self.stages
            if matrices[s.stage.group.index] is not None
        }
        self.tiny = tiny(self.dtype.name)
        self.functions = _built(tuple(self._sources()), self.dtype.name)

    # Parts -------------------------------------------------------------------------------------

    def _inputs(self) -> dict[Variable, EventList]:
        """Take event lists for the arguments that products read."""
        arguments = self.events.stages.graph.step.arguments
        found: dict[Variable, EventList] = {}
        for product in self.events.input_products:
            operand = product.relation.operand
            if operand not in arguments:
                raise NotFusable("a product with something computed from the input")
            if operand not in found:
                width = product.relation.sizes[1]
                found[operand] = self.places.event_list(f"input {len(found)}", width)
        if len(found) != len(arguments):
            raise NotFusable("an input that no product reads")
        return {v: found[v] for v in arguments}

    def _stages(self) -> list[Stepping]:
        events, graph = self.events, self.events.stages.graph
        used = {v for result in self.results.results for v in result.above}
        lists: dict[Any, EventList] = {}
        found = []
        arguments = {p.relation: self.inputs[p.relation.operand] for p in events.input_products}
        for s, (backward, forward) in enumerate(events.kernels((False,) * len(events.input_products))):
            group = backward.stage.group
            given = {q for q, leaf in enumerate(group.leaves) if leaf.new in used}
            wanted = [k for k, p in enumerate(backward.stage.incoming) if events.needs_signal(p)]
            stage = Stepping(
                f"stage{s}", forward, backward, self.places, arguments, lists, given, wanted,
                self.matrices[group.index] is not None,
            )  # fmt: skip
            lists.update(stage.lists)
            found.append(stage)
        self.lists: dict[Dense, EventList] = {
            r: lists[port] for stage in found for port in stage.stage.ports for r in port.outgoing
        }
        if len({tuple(g.shape[: g.n_row_axes]) for g in graph.groups}) > 1:
            raise NotFusable("groups of different numbers of samples")
        return found

    # Source ------------------------------------------------------------------------------------

    def _sources(self) -> list[tuple[str, str]]:
        """Write all functions, each before those that call it."""
        state_at = {leaf.new: s.states[q] for s in self.stages for q, leaf in enumerate(s.stage.group.leaves)}
        given_at = {
            s.stage.group.leaves[q].new: s.place["given"][m]
            for s in self.stages
            for m, q in enumerate(s.given.states)
        }
        signals = dict(self.results.signal_at)
        for s in self.stages:
            signals |= {s.stage.incoming[k].relation: at for k, at in s.down.items()}
        weights = {r: at for r, (at, _) in self.readout_at.items()}
        gradients = {r: at for r, (_, at) in self.readout_at.items()}
        found = [
            ("results", self.results.step(self.lists, weights, state_at)),
            ("errors", self.results.learn(self.lists, gradients, state_at, given_at)),
        ]
        for s in self.stages:
            found += [
                (f"{s.name}_begin", s.begin()),
                (f"{s.name}_step", s.step()),
                (f"{s.name}_learn", s.learn(signals)),
                (f"{s.name}_back", s.back()),
                (f"{s.name}_combine", s.combine()),
            ]
        found += [
            ("advance", self._advance()), ("take", self._take()), ("learn", self._learn()),
            ("step", self._step()), ("step_units", self._step_units()),
            ("loss", _LOSS), ("project", _PROJECT), ("run", self._run()),
        ]  # fmt: skip
        return found

    def _advance(self) -> str:
        """Write a sample's step behind its input's events."""
        source = Source()
        with source.block("def kernel(w, m, g, t, y):"):
            source(*(f"{s.name}_step(w, m, g, t)" for s in self.stages), "results(w, m, g, t, y)")
        return source.text

    def _take(self) -> str:
        """Write how given units become a row of the first input's list; -1: a unit that does not exist."""
        events, source = next(iter(self.inputs.values())), Source()
        with source.block("def kernel(w, m, t, units, sizes, first, stop):"):
            source(f"at = m[{events.pointers} + t]")
            with source.block("for e in range(first, stop):"):
                with source.block(f"if units[e] < 0 or units[e] >= {events.width}:"):
                    source("return -1")
                with source.block(f"if at < {(self.steps + 1) * events.width}:"):
                    source(f"m[{events.units} + at] = units[e]")
                    source(f"w[{events.sizes} + at] = sizes[e] if sizes.size > 0 else F(1)", "at += 1")
                with source.block("else:"):
                    source("return -2")
            source(f"m[{events.pointers + 1} + t] = at", "return 0")
        return source.text

    def _learn(self) -> str:
        source = Source()
        with source.block("def kernel(own, m_all, g, clock, error, target):"):
            source("t = clock[0] - 1")
            with source.block("for b in range(own.shape[0]):"):
                source("w, m = own[b], m_all[b]", "errors(w, m, g, t, error[b])")
                for s in reversed(self.stages):
                    if s in self.feedback_at:
                        at, to = self.feedback_at[s], s.place["projected"][0]
                        source(f"fill(w, {to}, {s.n}, F(0))")
                        source(f"add_signal(w, {to}, target[b], g, {at}, {s.n})")
                    source(f"{s.name}_learn(w, g, t)")
        return source.text

    def _step(self) -> str:
        source = Source()
        names = [f"x{j}" for j in range(len(self.inputs))]
        with source.block(f"def kernel(own, m_all, g, clock, y, {', '.join(names)}):"):
            source("t = clock[0]")
            with source.block("for b in range(own.shape[0]):"):
                source("w, m = own[b], m_all[b]")
                for name, events in zip(names, self.inputs.values(), strict=True):
                    source(
                        f"m[{events.pointers + 1} + t] = list_events({name}[b], w, m, {events.units}, "
                        f"{events.sizes}, m[{events.pointers} + t])"
                    )
                source("advance(w, m, g, t, y[b])")
            source("clock[0] = t + 1")
        return source.text

    def _step_units(self) -> str:
        source = Source()
        with source.block("def kernel(own, m_all, g, clock, y, pointers, units, sizes):"):
            source("t = clock[0]")
            with source.block("for b in range(own.shape[0]):"):
                source("found = take(own[b], m_all[b], t, units, sizes, pointers[b, 0], pointers[b, 1])")
                with source.block("if found != 0:"):
                    source("return found")
            with source.block("for b in range(own.shape[0]):"):
                source("advance(own[b], m_all[b], g, t, y[b])")
            source("clock[0] = t + 1", "return 0")
        return source.text

    def _run(self) -> str:
        """Write steps of a recording until the window is full, with errors by a loss, and learning."""
        events = next(iter(self.inputs.values()))
        return _RUN.format(
            size=self.results.size, steps=self.steps, pointers=events.pointers, units=events.units,
            sizes=events.sizes, stop=events.pointers + 1,
        )  # fmt: skip


_RUN = """
def kernel(
    own, m_all, g, clock, begin, ys, xs, pointers, units, sizes, kind, scale, labels, values,
    target_kind, target_labels, target_values, n_target, losses,
):
    error = np.zeros((own.shape[0], {size}), F)
    target = np.zeros((own.shape[0], n_target), F)
    dense = xs.shape[1] > 0
    for step in range(begin, ys.shape[0]):
        if clock[0] == {steps}:
            return step
        t, y = clock[0], ys[step]
        for b in range(own.shape[0]):
            w, m = own[b], m_all[b]
            if dense:
                m[{stop} + t] = list_events(xs[step, b], w, m, {units}, {sizes}, m[{pointers} + t])
            else:
                wrong = take(w, m, t, units, sizes, pointers[b, step], pointers[b, step + 1])
                if wrong != 0:
                    return wrong
            advance(w, m, g, t, y[b])
        clock[0] = t + 1
        if kind > 0:
            losses[step] = loss(kind, scale, y, step, labels, values, error)
            project(target_kind, step, target_labels, target_values, error, target)
            learn(own, m_all, g, clock, error, target)
    return ys.shape[0]
"""

_PROJECT = """
def kernel(kind, step, labels, values, error, target):
    for b in range(target.shape[0]):
        for i in range(target.shape[1]):
            if kind == 1:
                target[b, i] = F(1) if labels[step, b] == i else F(0)
            elif kind == 2:
                target[b, i] = values[step, b, i]
            elif kind == 3:
                target[b, i] = error[b, i]
"""

_LOSS = """
def kernel(kind, scale, y, step, labels, values, error):
    total = 0.0
    for b in range(y.shape[0]):
        if kind == 1:
            for i in range(y.shape[1]):
                error[b, i] = values[step, b, i]
        elif kind == 2:
            label = labels[step, b]
            top = y[b, 0]
            for i in range(1, y.shape[1]):
                top = max(top, y[b, i])
            norm = F(0)
            for i in range(y.shape[1]):
                error[b, i] = math.exp(y[b, i] - top)
                norm += error[b, i]
            weight = scale if label >= 0 else F(0)
            if label >= 0:
                total += scale * (math.log(norm) + top - y[b, label])
            for i in range(y.shape[1]):
                error[b, i] = weight * (error[b, i] / norm - (F(1) if i == label else F(0)))
        else:
            for i in range(y.shape[1]):
                difference = y[b, i] - values[step, b, i]
                error[b, i] = scale * difference
                total += 0.5 * scale * difference * difference
    return total
"""


_CALLS = re.compile(rf"\b({'|'.join((*HELPERS, 'stage[0-9]+_[a-z_]+'))})\(")
_INTEGERS = re.compile(r"(?<![\w.])\d+(?![\w.])")


def _without_literals(text: str) -> str:
    """Hide literal integers in calls: a function would be compiled anew for each of them."""
    lines = text.splitlines()
    return "\n".join(_INTEGERS.sub(r"I(\g<0>)", x) if _CALLS.search(x) else x for x in lines) + "\n"


def tiny(dtype: str) -> Any:
    """Return the number below which traces are taken for zero: smaller ones soon lose their digits."""
    number = np.finfo(dtype)
    return np.dtype(dtype).type(number.tiny / number.eps)


@cache
def _built(sources: tuple[tuple[str, str], ...], dtype: str) -> Mapping[str, Any]:
    """Compile functions that call each other; what was met before is not compiled again."""
    number = np.dtype(dtype).type
    scope: dict[str, Any] = {"np": np, "math": math, "F": number, "I": np.int64, **HELPERS}
    scope["TINY"] = tiny(dtype)
    found = {}
    for name, text in sources:
        exec(compile(_without_literals(text), f"<snntrace {name}>", "exec"), scope)
        found[name] = numba.njit(fastmath=set(FAST), nogil=True, error_model="numpy")(scope.pop("kernel"))
        scope[name] = found[name]
    return found
