"""Control flow on the way of hidden states: conditions become selections, short loops their steps.

What no hidden state passes through stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp

from snntrace.jaxprs import Abstract, Atom, Equation, Program, Variable, from_closed_jaxpr, trace_program

UNROLLED = 500
"""Equations that a loop may become; longer ones stay loops."""

UNROLLED_WITH_PARAMETERS = 4000
"""The same for a loop that holds a parameter, which can act in an opened loop only."""


def open_control_flow(
    program: Program, hidden: Iterable[Variable], params: Iterable[Variable], targets: Iterable[Atom]
) -> Program:
    """Turn conditions into selections and short loops into their steps, on the way to new hidden states.

    A condition becomes both of its branches and ``select_n``; a scan of at most `UNROLLED` equations becomes
    its steps, one after the other. Both are exact.

    Parameters
    ----------
    program : Program
        The step.
    hidden, params : iterable of Variable
        Old hidden states and parameters.
    targets : iterable of Atom
        New hidden states.

    Returns
    -------
    Program
        The same program, its inputs kept.
    """
    params = set(params)
    flowing = program.depending_on(params | set(hidden))
    trained = program.depending_on(params) - program.depending_on(set(program.inputs) - params)
    wanted = set(program.slice(targets))
    opened = _Opened(program)
    for equation in program.equations:
        floats = {v for v in equation.inputs if isinstance(v, Variable) and v.is_float}
        limit = UNROLLED_WITH_PARAMETERS if floats & trained else UNROLLED
        opened.add(equation, limit if equation in wanted and floats & flowing else 0)
    return opened.program()


class _Opened:
    """A program that is written anew, equation by equation."""

    def __init__(self, program: Program) -> None:
        self._old = program
        self._names: dict[Variable, Atom] = {}
        self._constants = dict(program.constants)
        self._equations: list[Equation] = []
        self._limit = 0

    def program(self) -> Program:
        """Return what was written."""
        outputs = tuple(self._now(a) for a in self._old.outputs)
        return replace(
            self._old, outputs=outputs, equations=tuple(self._equations), constants=self._constants
        )

    def _now(self, atom: Atom) -> Atom:
        return self._names.get(atom, atom) if isinstance(atom, Variable) else atom

    def add(self, equation: Equation, limit: int) -> None:
        """Write one equation of the old program; loops that become at most `limit` equations are opened."""
        self._limit = limit
        inputs = [self._now(a) for a in equation.inputs]
        outputs = self._write(equation, inputs)
        self._names.update(zip(equation.outputs, outputs, strict=True))

    def _write(self, equation: Equation, inputs: list[Atom]) -> Sequence[Atom]:
        opening = self._limit > 0
        if opening and equation.name == "cond" and not _has_effects(equation.params["branches"]):
            return self._select(equation, inputs)
        if opening and equation.name == "scan" and not _has_effects([equation.params["jaxpr"]]):
            body = from_closed_jaxpr(equation.params["jaxpr"])
            if len(body.equations) * equation.params["length"] <= self._limit:
                return self._unroll(equation, body, inputs)
        same = all(a is b for a, b in zip(inputs, equation.inputs, strict=True))
        kept = equation if same else replace(equation, inputs=tuple(inputs))
        self._equations.append(kept)
        return kept.outputs

    def _inline(self, inner: Program, inputs: Sequence[Atom], where: str) -> list[Atom]:
        """Write a program's equations, with values of their own."""
        names: dict[Variable, Atom] = dict(zip(inner.inputs, inputs, strict=True))
        for variable, value in inner.constants.items():
            names[variable] = Variable(variable.shape, variable.dtype)
            self._constants[names[variable]] = value  # type: ignore[index]
        for equation in inner.equations:
            fresh = tuple(Variable(v.shape, v.dtype) for v in equation.outputs)
            line = where if equation.where == "an unknown line" else equation.where
            copy = replace(equation, outputs=fresh, where=line)
            values = [names[a] if isinstance(a, Variable) else a for a in equation.inputs]
            names.update(zip(equation.outputs, self._write(copy, values), strict=True))
        return [names[a] if isinstance(a, Variable) else a for a in inner.outputs]

    def _apply(self, function: Callable[..., Any], *atoms: Atom, where: str) -> list[Atom]:
        """Write what a function of arrays does."""
        likes = [Abstract(a.shape, _dtype(a)) for a in atoms]
        return self._inline(trace_program(function, *likes), atoms, where)

    def _select(self, equation: Equation, inputs: list[Atom]) -> list[Atom]:
        index, *operands = inputs
        branches = [
            self._inline(from_closed_jaxpr(branch), operands, equation.where)
            for branch in equation.params["branches"]
        ]

        def chosen(index: Any, *cases: Any) -> Any:
            which = index.astype(bool) if len(cases) == 2 else index
            return jax.lax.select_n(which, *cases)

        outputs: list[Atom] = []
        for cases in zip(*branches, strict=True):
            same = all(case is cases[0] for case in cases)
            outputs += [cases[0]] if same else self._apply(chosen, index, *cases, where=equation.where)
        return outputs

    def _unroll(self, equation: Equation, body: Program, inputs: list[Atom]) -> list[Atom]:
        params, where = equation.params, equation.where
        n_consts, n_carry, length = params["num_consts"], params["num_carry"], params["length"]
        consts, carry = inputs[:n_consts], inputs[n_consts : n_consts + n_carry]
        xs = inputs[n_consts + n_carry :]
        rows: list[list[Atom]] = [[] for _ in equation.outputs[n_carry:]]
        for step in range(length):
            at = length - 1 - step if params["reverse"] else step
            now = [
                self._apply(lambda x, at=at: jax.lax.index_in_dim(x, at, keepdims=False), x, where=where)[0]
                for x in xs
            ]
            done = self._inline(body, [*consts, *carry, *now], where)
            carry = done[:n_carry]
            for row, value in zip(rows, done[n_carry:], strict=True):
                row.append(value)
        ordered = [row[::-1] if params["reverse"] else row for row in rows]
        stacked = [self._apply(lambda *v: jnp.stack(v), *row, where=where)[0] for row in ordered]
        return [*carry, *stacked]


def _dtype(atom: Atom) -> Any:
    return atom.dtype if isinstance(atom, Variable) else jnp.result_type(atom.value)


def _has_effects(closed: Iterable[Any]) -> bool:
    return any(c.jaxpr.effects for c in closed)
