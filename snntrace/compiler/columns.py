"""HiddenGroupState: several states of each unit in one array, the last axis counting them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import jax
import jax.numpy as jnp

from snntrace.jaxprs import Abstract, Atom, Constant, Equation, Program, Variable, trace_program


def split_columns(program: Program, n_args: int, n_results: int, joined: Sequence[bool]) -> Program:
    """Give every column of a HiddenGroupState a variable of its own.

    Parameters
    ----------
    program : Program
        The step: arguments and states in, results and states out.
    n_args, n_results : int
        How many inputs and outputs come before the states.
    joined : sequence of bool
        For each array of a state, whether its last axis counts states of a unit.

    Returns
    -------
    Program
        The step, with the columns in the place of such an array.
    """
    if not any(joined):
        return program
    constants = dict(program.constants)
    inputs, outputs = list(program.inputs[:n_args]), list(program.outputs[:n_results])
    head: list[Equation] = []
    tail: list[Equation] = []
    pairs = zip(program.inputs[n_args:], program.outputs[n_results:], joined, strict=True)
    for old, new, split in pairs:
        if not split:
            inputs.append(old)
            outputs.append(new)
            continue
        if isinstance(new, Constant):
            program, new = replace(program, constants=constants).name_constant(new, old)
            constants = dict(program.constants)
        column = Variable(old.shape[:-1], old.dtype)
        columns = [Variable(column.shape, column.dtype) for _ in range(old.shape[-1])]
        like = Abstract(column.shape, column.dtype)
        head += _named(
            trace_program(lambda *v: jnp.stack(v, axis=-1), *[like] * len(columns)), columns, [old]
        )
        for i in range(len(columns)):
            fresh = Variable(column.shape, column.dtype)
            taken = trace_program(
                lambda v, i=i: jax.lax.index_in_dim(v, i, axis=-1, keepdims=False),
                Abstract(old.shape, old.dtype),
            )
            tail += _named(taken, [new], [fresh])
            outputs.append(fresh)
        inputs += columns
    return Program(tuple(inputs), tuple(outputs), (*head, *program.equations, *tail), constants)


def _named(program: Program, inputs: Sequence[Variable], outputs: Sequence[Variable]) -> list[Equation]:
    """Return a program's equations between given values."""
    names = dict(zip(program.inputs, inputs, strict=True))
    names.update(zip(program.outputs, outputs, strict=True))  # type: ignore[arg-type]
    for variable in [v for e in program.equations for v in e.outputs]:
        names.setdefault(variable, variable)

    def now(atom: Atom) -> Atom:
        return names[atom] if isinstance(atom, Variable) else atom

    return [
        replace(e, inputs=tuple(map(now, e.inputs)), outputs=tuple(names[v] for v in e.outputs))
        for e in program.equations
    ]
