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

KEPT_CALLS: set[str] = set()
"""Names of jitted functions that are equations of their own and not inlined."""

IMPLEMENTATIONS: dict[str, Callable[..., Any]] = {}
"""Primitives whose own derivatives are wrong or missing, and what is computed in their place."""

_HERE = Path(__file__).parent
_PATHS = sysconfig.get_paths()
_INSTALLED = tuple(
    {p + os.sep for p in (_PATHS["purelib"], _PATHS["platlib"], str(Path(jax.__file__).parents[1]))}
)
_STANDARD = tuple({_PATHS["stdlib"] + os.sep, _PATHS["platstdlib"] + os.sep, "<frozen"})
_LAYERS = (f"{_HERE / 'nn'}{os.sep}", f"{_HERE.parent / 'neurons'}{os.sep}")
_MACHINERY = ("jax", "jaxlib", "brainstate", "brainunit", "saiunit", "brainevent", "brainx")


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

    @property
    def dtype(self) -> Any:
        """Number type."""
        return jnp.result_type(self.value)


Atom = Variable | Constant


def _kept_name(primitive: Any, params: Mapping[str, Any]) -> str | None:
    name = params.get("name") if primitive.name in CALLS else None
    return name if isinstance(name, str) and name in KEPT_CALLS else None


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
        """Name of the primitive, or of a function that is kept whole."""
        return _kept_name(self.primitive, self.params) or str(self.primitive.name)

    @property
    def stops(self) -> bool:
        """Whether no gradient flows through: at `stop_gradient`, and where only integers come out."""
        return self.name == "stop_gradient" or not any(out.is_float for out in self.outputs)

    def bind(self, values: Sequence[Any]) -> Sequence[Any]:
        """Apply the primitive to values."""
        if self.name in IMPLEMENTATIONS:
            found = IMPLEMENTATIONS[self.name](*values, **self.params)
            return found if self.primitive.multiple_results else (found,)
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

    def slice(
        self, targets: Iterable[Atom], stops: Iterable[Variable] = (), gradient: bool = False
    ) -> tuple[Equation, ...]:
        """Equations that the targets need, in order, not looking behind `stops`.

        Parameters
        ----------
        targets : iterable of Variable or Constant
            The values that are wanted.
        stops : iterable of Variable
            Values that are given.
        gradient : bool
            Whether only equations count through which a gradient flows.

        Returns
        -------
        tuple of Equation
            In program order.
        """
        stopped = set(stops)
        if gradient:
            stopped |= {out for e in self.equations if e.stops for out in e.outputs}
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

    def constant(self, atom: Atom) -> np.ndarray[Any, Any] | None:
        """Compute a value that depends on no input; None for others, and where a constant is traced."""
        if isinstance(atom, Constant):
            return np.asarray(atom.value)
        needed = self.slice([atom])
        env = dict(self.constants)
        made = {out for e in needed for out in e.outputs}
        read = {v for e in needed for v in e.inputs if isinstance(v, Variable)} | {atom}
        if any(v not in made and v not in env for v in read):
            return None
        if any(isinstance(env.get(v), jax.core.Tracer) for v in read):
            return None
        with jax.ensure_compile_time_eval():
            for equation in needed:
                values = [a.value if isinstance(a, Constant) else env[a] for a in equation.inputs]
                env.update(zip(equation.outputs, equation.bind(values), strict=True))
            return np.asarray(env[atom])

    def made_of(self, sources: Iterable[Variable]) -> set[Variable]:
        """Collect the values that are made of some of the inputs and of constants alone."""
        found = {*sources, *self.constants}
        for equation in self.equations:
            if all(v in found for v in equation.inputs if isinstance(v, Variable)):
                found.update(equation.outputs)
        return found

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


def _origin(file: str) -> str:
    """Tell whose a file is: ``'user'``, ``'layer'`` (a library's model code) or ``'machinery'``."""
    if file.startswith(_LAYERS):
        return "layer"
    inside = _inside(file)
    if inside is not None:
        top, _, rest = inside.partition(os.sep)
        layer = top not in _MACHINERY or (top == "brainstate" and rest.startswith("nn" + os.sep))
        return "layer" if layer else "machinery"
    return "machinery" if file.startswith((*_STANDARD, str(_HERE) + os.sep)) else "user"


def _inside(file: str) -> str | None:
    """Write an installed file as its package names it; None for others."""
    return next((file[len(p) :] for p in _INSTALLED if file.startswith(p)), None)


def _layer_file(file: str) -> str:
    """Write a layer's file as its package names it."""
    own = next((f"snntrace/{Path(p).name}/{file[len(p) :]}" for p in _LAYERS if file.startswith(p)), None)
    return own or _inside(file) or file


UNKNOWN_LINE = "an unknown line"


def source_line(source_info: Any) -> str:
    """Name the line of the user's file that made an equation.

    Where no line of the user's is inside the model, it is the line of the library's layer.

    Returns
    -------
    str
        ``file:line (function)``.
    """
    traceback = getattr(source_info, "traceback", None)
    layer = ""
    for frame in traceback.frames if traceback is not None else []:
        if frame.function_name == "trace_step" and frame.file_name.startswith(str(_HERE)):
            break
        origin = _origin(frame.file_name)
        place = f"{frame.line_num} ({frame.function_name})"
        if origin == "user":
            return f"{frame.file_name}:{place}"
        if origin == "layer" and not layer:
            layer = f"{_layer_file(frame.file_name)}:{place}"
    return layer or UNKNOWN_LINE


def _of_library(jaxpr: Any) -> bool:
    """Whether a function is a library's, so that its trace may come from a cache, with other lines."""
    source = str(getattr(getattr(jaxpr, "debug_info", None), "func_src_info", None) or "")
    file = source.rpartition(" at ")[2].rpartition(":")[0]
    return bool(file) and _origin(file) != "user"


def from_closed_jaxpr(closed: Any) -> Program:
    """Convert a closed jaxpr, with every plain call inlined."""
    constants: dict[Variable, Any] = {}
    equations: list[Equation] = []

    def new(var: Any) -> Variable:
        return Variable(tuple(var.aval.shape), var.aval.dtype)

    def run(
        jaxpr: Any, consts: Sequence[Any], args: Sequence[Atom], where: str | None, cached: bool = False
    ) -> list[Atom]:
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
            line = where if where is not None and (cached or line == UNKNOWN_LINE) else line
            if eqn.primitive.name in CALLS and _kept_name(eqn.primitive, eqn.params) is None:
                inner = eqn.params.get("jaxpr", eqn.params.get("call_jaxpr"))
                inner_consts = getattr(inner, "consts", ())
                body = getattr(inner, "jaxpr", inner)
                outs = run(body, inner_consts, inputs, line, cached or _of_library(body))
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
