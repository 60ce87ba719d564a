"""Programs: JAX's jaxprs in a form that a pass can read, slice and replay.

This is the only file that touches `jax.extend` and differences between JAX releases.
"""

from __future__ import annotations

import os
import sysconfig
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core as jex_core
from jax.interpreters import ad as jax_ad

# Their types are incomplete.
Primitive: Any = jex_core.Primitive
ad: Any = jax_ad
Abstract: Any = jax.ShapeDtypeStruct

CALLS = frozenset({"jit", "pjit", "closed_call", "core_call", "remat", "remat2", "checkpoint"})
"""Primitives that only wrap a jaxpr: inlining them changes nothing."""

_LIBRARIES = tuple({sysconfig.get_paths()["purelib"], sysconfig.get_paths()["stdlib"]})
_HERE = str(Path(__file__).parent) + os.sep


@dataclass(frozen=True, eq=False)
class Variable:
    """A value of a program, known by identity."""

    shape: tuple[int, ...]
    dtype: Any

    @property
    def is_float(self) -> bool:
        """Whether a gradient can flow through the value."""
        return bool(jax.numpy.issubdtype(self.dtype, jax.numpy.inexact))


@dataclass(frozen=True, eq=False)
class Constant:
    """A literal number in an equation."""

    value: Any

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the number."""
        return tuple(np.shape(self.value))


Atom = Variable | Constant


@dataclass(frozen=True, eq=False)
class Equation:
    """One application of a JAX primitive."""

    primitive: Any
    params: Mapping[str, Any]
    inputs: tuple[Atom, ...]
    outputs: tuple[Variable, ...]
    where: str

    @property
    def name(self) -> str:
        """Name of the primitive."""
        return str(self.primitive.name)

    def bind(self, values: Sequence[Any]) -> Sequence[Any]:
        """Apply the primitive to values."""
        bound = self.primitive.get_bind_params(self.params)
        subfuns, params = bound if isinstance(bound, tuple) else ((), bound)
        result = self.primitive.bind(*subfuns, *values, **params)
        return result if self.primitive.multiple_results else (result,)


@dataclass(frozen=True, eq=False)
class Program:
    """A straight list of equations from inputs to outputs."""

    inputs: tuple[Variable, ...]
    outputs: tuple[Atom, ...]
    equations: tuple[Equation, ...]
    constants: dict[Variable, Any] = field(default_factory=dict)

    def slice(self, targets: Iterable[Atom], stops: Iterable[Variable] = ()) -> tuple[Equation, ...]:
        """Equations that the targets need, in order, not looking behind `stops`."""
        stopped = set(stops)
        wanted = {v for v in targets if isinstance(v, Variable)} - stopped
        kept = []
        for equation in reversed(self.equations):
            if any(out in wanted for out in equation.outputs):
                kept.append(equation)
                wanted.update(v for v in equation.inputs if isinstance(v, Variable) and v not in stopped)
        return tuple(reversed(kept))

    def name_constant(self, constant: Constant, like: Variable) -> tuple[Program, Variable]:
        """Make a variable of a constant, in the shape of another variable."""
        variable = Variable(like.shape, like.dtype)
        value = np.broadcast_to(np.asarray(constant.value, like.dtype), like.shape)
        return replace(self, constants={**self.constants, variable: value}), variable

    def copied(self, variable: Variable) -> tuple[Program, Variable]:
        """Add an equation that gives a value a second name."""
        one = np.ones((), variable.dtype)
        (equation,) = trace_program(lambda v: v * one, jnp.zeros(variable.shape, variable.dtype)).equations
        copy = replace(equation, inputs=(variable, Constant(one)))
        return replace(self, equations=(*self.equations, copy)), copy.outputs[0]

    def depending_on(self, sources: Iterable[Variable]) -> set[Variable]:
        """Collect the values that depend on some of the inputs."""
        found = set(sources)
        for equation in self.equations:
            if any(v in found for v in equation.inputs):
                found.update(equation.outputs)
        return found


def read(env: Mapping[Variable, Any], atom: Atom) -> Any:
    """Return the value of an atom in an environment."""
    return atom.value if isinstance(atom, Constant) else env[atom]


def source_line(source_info: Any) -> str:
    """Name the user's file and line that made an equation."""
    traceback = getattr(source_info, "traceback", None)
    frames = traceback.frames if traceback is not None else []
    for frame in frames:
        name = frame.file_name
        if (
            name.startswith("<frozen")
            or name.startswith(_HERE)
            or any(name.startswith(p) for p in _LIBRARIES)
        ):
            continue
        return f"{name}:{frame.line_num} ({frame.function_name})"
    return "an unknown line"


def from_closed_jaxpr(closed: Any) -> Program:
    """Convert a closed jaxpr, with every plain call inlined."""
    constants: dict[Variable, Any] = {}
    equations: list[Equation] = []

    def new(var: Any) -> Variable:
        return Variable(tuple(var.aval.shape), var.aval.dtype)

    def run(jaxpr: Any, consts: Sequence[Any], args: Sequence[Atom], where: str | None) -> list[Atom]:
        env: dict[Any, Atom] = {}
        for var, value in zip(jaxpr.constvars, consts, strict=True):
            env[var] = new(var)
            constants[env[var]] = value  # type: ignore[index]
        env.update(zip(jaxpr.invars, args, strict=True))

        def look(atom: Any) -> Atom:
            return Constant(atom.val) if isinstance(atom, jex_core.Literal) else env[atom]

        for eqn in jaxpr.eqns:
            inputs = tuple(look(a) for a in eqn.invars)
            line = source_line(eqn.source_info)
            line = where if where is not None and line == "an unknown line" else line
            if eqn.primitive.name in CALLS:
                inner = eqn.params.get("jaxpr", eqn.params.get("call_jaxpr"))
                inner_consts = getattr(inner, "consts", ())
                outs = run(getattr(inner, "jaxpr", inner), inner_consts, inputs, line)
                env.update(zip(eqn.outvars, outs, strict=True))
                continue
            outputs = tuple(new(v) for v in eqn.outvars)
            env.update(zip(eqn.outvars, outputs, strict=True))
            equations.append(Equation(eqn.primitive, eqn.params, inputs, outputs, line))
        return [look(a) for a in jaxpr.outvars]

    inputs = tuple(new(v) for v in closed.jaxpr.invars)
    outputs = run(closed.jaxpr, closed.consts, inputs, None)
    return Program(inputs, tuple(outputs), tuple(equations), constants)


def trace_program(function: Callable[..., Any], *args: Any) -> Program:
    """Trace a function of arrays into a program."""
    return from_closed_jaxpr(jax.make_jaxpr(function)(*args))
