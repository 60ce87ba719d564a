"""The step's results behind the stages, number by number, and what comes back from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from snntrace.compiler.perturb import run
from snntrace.events.lists import result as like
from snntrace.executors.events import EventPass
from snntrace.fused.kernels import Source
from snntrace.fused.places import Parameters, Places
from snntrace.fused.pullbacks import Pullback
from snntrace.fused.units import NotFusable, UnitCode
from snntrace.jaxprs import Equation, Variable, from_closed_jaxpr, read

Array = Any


@dataclass(frozen=True, eq=False)
class Result:
    """One of the step's results: its place, its equations and what they read."""

    atom: Variable
    width: int
    at: int
    equations: tuple[Equation, ...]
    above: tuple[Variable, ...]
    params: Parameters
    trained: tuple[Variable, ...]
    totals: tuple[int, ...]
    error: int


class Results:
    """Writes the code of the step's results.

    Parameters
    ----------
    events : EventPass
        The model's stages.
    places : Places
        The arenas.

    Raises
    ------
    NotFusable
        If a result is no elementwise function of new states and read-out products.
    """

    def __init__(self, events: EventPass, places: Places) -> None:
        self.events = events
        self.functions = events.engine.functions
        graph = events.stages.graph
        self.products = [r for _, r in events.readouts]
        self.states = {leaf.new for leaf in graph.step.hidden}
        self.results: list[Result] = []
        self.size = 0
        for j, atom in enumerate(graph.step.results):
            self.results.append(self._result(places, j, atom))
        self.product_at = {
            r: places.own.new(f"read-out {m}", r.sizes[2]) for m, r in enumerate(self.products)
        }
        self.signal_at = {
            r: places.own.new(f"read-out signal {m}", r.sizes[2]) for m, r in enumerate(self.products)
        }

    def _result(self, places: Places, j: int, atom: Any) -> Result:
        if not isinstance(atom, Variable) or not atom.is_float or not atom.shape:
            raise NotFusable("a result that is no row of floating-point numbers for each sample")
        graph = self.events.stages.graph
        rows = graph.groups[0].shape[: graph.groups[0].n_row_axes]
        if atom.shape[:-1] != tuple(rows):
            raise NotFusable(f"a result of shape {atom.shape}")
        held = self.states | {r.output for r in self.products}
        chain = self.functions.chain_set
        equations = tuple(e for e in graph.step.program.slice([atom], held) if e not in chain)
        made = {out for e in equations for out in e.outputs}
        inputs = dict.fromkeys(
            v for e in equations for v in e.inputs if isinstance(v, Variable) and v not in made
        )
        if atom in held:
            inputs = {atom: None}
        constants = graph.step.program.constants
        params = [
            v
            for v in inputs
            if v in constants or v in (*self.functions.float_vars, *self.functions.other_vars)
        ]
        above = tuple(v for v in inputs if v in held)
        if set(inputs) - set(params) - set(above):
            raise NotFusable("a result that reads the input itself")
        width = atom.shape[-1]
        for v in (*above, *params):
            size = int(np.prod(v.shape, dtype=int))
            if size != 1 and v.shape[-1] != width:
                raise NotFusable(f"a result of {width} numbers of values of shape {v.shape}")
            if v in params and size not in (1, width):
                raise NotFusable(f"a parameter of shape {v.shape} behind the states")
        trained = tuple(v for v in params if v in self.functions.float_slot)
        at = self.size
        self.size += width
        return Result(
            atom, width, at, equations, above,
            Parameters(places, f"result {j} parameter", params, width), trained,
            tuple(places.own.new(f"result {j} total {m}", width) for m in range(len(trained))),
            places.own.new(f"error {j}", width),
        )  # fmt: skip

    def _names(self, result: Result, state_at: Mapping[Variable, int]) -> dict[Any, str]:
        names: dict[Any, str] = dict(result.params.codes)
        products = {r.output: at for r, at in self.product_at.items()}
        for v in result.above:
            names[v] = f"w[{products.get(v, state_at.get(v, 0))} + i]"
        return names

    def step(
        self, lists: Mapping[Any, Any], weights: Mapping[Any, int], state_at: Mapping[Variable, int]
    ) -> str:
        """Write ``results(w, m, g, t, y)``: read-out products, and the results in `y`.

        Parameters
        ----------
        lists : mapping
            For each read-out product, the events of its operand.
        weights : mapping
            For each, where its weights are.
        state_at : mapping of Variable to int
            Where the new states are.

        Returns
        -------
        str
            The code.
        """
        source = Source()
        with source.block("def kernel(w, m, g, t, y):"):
            for relation, at in self.product_at.items():
                events, width = lists[relation], relation.sizes[2]
                source(
                    f"fill(w, {at}, {width}, F(0))",
                    f"add_events(w, {at}, {width}, g, {weights[relation]}, m, {events.units}, "
                    f"{events.sizes}, m[{events.pointers + 1} + t], m[{events.pointers + 2} + t])",
                )
            for result in self.results:
                source(*result.params.loads)
                with source.block(f"for i in range({result.width}):"):
                    code = UnitCode(result.atom.shape, self._names(result, state_at), "c")
                    code.run(result.equations)
                    source(*code.lines, f"y[{result.at} + i] = {code.read(result.atom)}")
        return source.text

    def learn(
        self,
        lists: Mapping[Any, Any],
        gradients: Mapping[Any, int],
        state_at: Mapping[Variable, int],
        given_at: Mapping[Variable, int],
    ) -> str:
        """Write ``back(w, m, g, t, error)``: signals at read-out products and states, and direct gradients.

        Parameters
        ----------
        lists, state_at
            As in `step`.
        gradients : mapping
            For each read-out product, where its gradient is.
        given_at : mapping of Variable to int
            Where the signals at new states are wanted.

        Returns
        -------
        str
            The code.
        """
        source = Source()
        signals = {r.output: at for r, at in self.signal_at.items()}
        with source.block("def kernel(w, m, g, t, error):"):
            for relation, at in self.signal_at.items():
                source(f"fill(w, {at}, {relation.sizes[2]}, F(0))")
            for v, at in given_at.items():
                source(f"fill(w, {at}, {v.shape[-1]}, F(0))")
            for j, result in enumerate(self.results):
                source(*result.params.loads)
                with source.block(f"for i in range({result.width}):"):
                    source(f"w[{result.error} + i] = error[{result.at} + i]")
                names = {**self._names(result, state_at), "error": f"w[{result.error} + i]"}
                pullback = self._pullback(result)
                with source.block(f"for i in range({result.width}):"):
                    keys = list(pullback.outputs)
                    code, found = pullback.emit(result.atom.shape, names, f"d{j}", keys)
                    source(*code.lines, "pass")
                    for (kind, which), value in zip(keys, found, strict=True):
                        if kind == "param":
                            source(f"w[{result.totals[result.trained.index(which)]} + i] += {value}")
                        elif which in signals or which in given_at:
                            source(f"w[{signals.get(which, given_at.get(which, 0))} + i] += {value}")
            for relation, at in self.signal_at.items():
                events = lists[relation]
                source(
                    f"add_to_rows(g, {gradients[relation]}, {relation.sizes[2]}, w, {at}, m, {events.units}, "
                    f"{events.sizes}, m[{events.pointers + 1} + t], m[{events.pointers + 2} + t])"
                )
        return source.text

    def _pullback(self, result: Result) -> Pullback:
        """Differentiate a result along what it reads."""
        step = self.events.stages.graph.step
        params = tuple(result.params.codes)
        inputs: Sequence[Variable] = [*params, *result.above]

        def back(*values: Array) -> tuple[Any, ...]:
            env = dict(zip(inputs, values, strict=False))

            def value(above: tuple[Array, ...], deltas: tuple[Array, ...]) -> Array:
                spread = dict(zip(result.trained, deltas, strict=True))
                local = dict(step.program.constants) | env | dict(zip(result.above, above, strict=True))
                replaced = {
                    (e, i): jnp.broadcast_to(env[a], result.atom.shape) + spread[a]
                    for e in result.equations
                    for i, a in enumerate(e.inputs)
                    if isinstance(a, Variable) and a in spread
                }
                run(result.equations, local, replaced)
                return read(local, result.atom)

            zeros = tuple(jnp.zeros(result.atom.shape, v.dtype) for v in result.trained)
            _, vjp = jax.vjp(value, tuple(env[v] for v in result.above), zeros)
            above, deltas = vjp(values[-1])
            return (*above, *deltas)

        likes = [like(v.shape, v.dtype) for v in (*inputs, result.atom)]
        program = from_closed_jaxpr(jax.make_jaxpr(back)(*likes))
        known: dict[Variable, Variable | str] = dict(zip(program.inputs, (*inputs, "error"), strict=True))
        for variable, value in program.constants.items():
            same = [
                v for v in params if v in step.program.constants and _same(step.program.constants[v], value)
            ]
            if not same:
                raise NotFusable("an array of constants behind the states")
            known[variable] = same[0]
        keys = [("above", v) for v in result.above] + [("param", v) for v in result.trained]
        return Pullback(program, known, dict(zip(keys, program.outputs, strict=True)), {})


def _same(a: Any, b: Any) -> bool:
    return np.shape(a) == np.shape(b) and np.array_equal(np.asarray(a), np.asarray(b))
