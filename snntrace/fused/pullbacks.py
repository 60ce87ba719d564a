"""The derivatives that a stage's way back needs, as unit-wise programs.

Both are ordinary derivatives of the model's own equations, taken by JAX: the transition with the products'
outputs held (``D^T lam`` and ``Df . lam``), and the value at a port.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from snntrace.compiler.graph import Group
from snntrace.compiler.perturb import Point, StepFunctions, Weights, run
from snntrace.compiler.sites import Site
from snntrace.events.lists import result
from snntrace.fused.stages import Port, Stages
from snntrace.fused.units import NotFusable, UnitCode
from snntrace.jaxprs import Program, Variable, from_closed_jaxpr, read

Array = Any


@dataclass(frozen=True, eq=False)
class Pullback:
    """A unit-wise program with named inputs and outputs.

    `inputs` maps the program's variables to the step's (states, products, parameters) or to the names of
    signals; `outputs` are keyed as their makers say. `constants` are per-unit numbers met on the way.
    """

    program: Program
    inputs: Mapping[Variable, Variable | str]
    outputs: Mapping[Any, Any]
    constants: Mapping[Variable, Array]

    def emit(
        self, shape: tuple[int, ...], names: Mapping[Any, str], prefix: str, wanted: Sequence[Any]
    ) -> tuple[UnitCode, list[str]]:
        """Write the statements for some of the outputs.

        Returns
        -------
        UnitCode
            The statements.
        list of str
            The expressions of the outputs.
        """
        targets = [self.outputs[key] for key in wanted]
        known = {v: names[w] for v, w in self.inputs.items() if w in names}
        known |= {v: names[v] for v in self.constants if v in names}
        code = UnitCode(shape, known, prefix)
        code.run(self.program.slice(targets, known))
        return code, [code.read(t) for t in targets]

    def reads(self, wanted: Sequence[Any]) -> set[Variable | str]:
        """Collect what the outputs depend on."""
        targets = [self.outputs[key] for key in wanted]
        variables = {v for e in self.program.slice(targets) for v in e.inputs if isinstance(v, Variable)}
        variables |= {t for t in targets if isinstance(t, Variable)}
        found: set[Variable | str] = {w for v, w in self.inputs.items() if v in variables}
        return found | {v for v in self.constants if v in variables}


def transition_pullback(stages: Stages, group: Group) -> Pullback:
    """Differentiate a group's transition, products held.

    Returns
    -------
    Pullback
        Signals ``lam0``, ``lam1``, ... at the new states give outputs ``("mu", q)`` at the old ones and
        ``("post", site)`` at the sites.
    """
    functions = stages.functions
    step = stages.graph.step
    sites = functions.sites_of(group)
    own = [leaf.old for leaf in group.leaves]
    inputs = [*functions.float_vars, *functions.other_vars, *(r.output for r in functions.products), *own]
    new = [leaf.new for leaf in group.leaves]

    def back(*values: Array) -> tuple[Any, ...]:
        env = dict(zip(inputs, values, strict=False))
        lam = values[len(inputs) :]
        weights = Weights(
            tuple(env[v] for v in functions.float_vars), tuple(env[v] for v in functions.other_vars)
        )
        missing = Point(
            tuple(jnp.zeros(v.shape, v.dtype) for v in step.arguments),
            tuple(env.get(leaf.old, jnp.zeros(leaf.old.shape, leaf.old.dtype)) for leaf in step.hidden),
            tuple(jnp.zeros(leaf.new.shape, leaf.new.dtype) for leaf in step.hidden),
            (),
            tuple(env[r.output] for r in functions.products),
        )

        def local(old: tuple[Array, ...], deltas: tuple[Array, ...]) -> tuple[Array, ...]:
            return functions.local(group, weights, missing, old, dict(zip(sites, deltas, strict=True)))

        zeros = tuple(jnp.zeros(s.shape, _dtype(s)) for s in sites)
        _, vjp = jax.vjp(local, tuple(env[v] for v in own), zeros)
        mu, posts = vjp(tuple(lam))
        return (*mu, *posts)

    keys: list[Any] = [("mu", q) for q in range(len(own))] + [("post", s) for s in sites]
    signals = [f"lam{q}" for q in range(len(own))]
    return _pullback(stages, back, inputs, new, signals, keys)


def port_pullback(stages: Stages, port: Port) -> Pullback:
    """Differentiate the value at a port.

    Returns
    -------
    Pullback
        A signal ``zbar`` gives outputs ``("state", q)`` and ``("param", variable)``.
    """
    functions: StepFunctions = stages.functions
    group = port.group
    trained = [v for v in port.params if v in functions.float_slot]
    inputs = [*port.params, *port.states]

    def back(*values: Array) -> tuple[Any, ...]:
        env = dict(zip(inputs, values, strict=False))
        zbar = values[-1]

        def value(states: tuple[Array, ...], deltas: tuple[Array, ...]) -> Array:
            spread = dict(zip(trained, deltas, strict=True))
            local = dict(stages.graph.step.program.constants) | env
            local |= dict(zip(port.states, states, strict=True))
            replaced = {
                (e, i): jnp.broadcast_to(env[a], group.shape) + spread[a]
                for e in port.equations
                for i, a in enumerate(e.inputs)
                if isinstance(a, Variable) and a in spread
            }
            run(port.equations, local, replaced)
            return read(local, port.variable)

        zeros = tuple(jnp.zeros(group.shape, v.dtype) for v in trained)
        _, vjp = jax.vjp(value, tuple(env[v] for v in port.states), zeros)
        states, params = vjp(zbar)
        return (*states, *params)

    keys: list[Any] = [("state", q) for q in range(len(port.states))] + [("param", v) for v in trained]
    return _pullback(stages, back, inputs, [port.states[0]], ["zbar"], keys)


def _pullback(
    stages: Stages,
    function: Any,
    inputs: Sequence[Variable],
    signals_like: Sequence[Variable],
    signals: Sequence[str],
    keys: Sequence[Any],
) -> Pullback:
    likes = [result(v.shape, v.dtype) for v in (*inputs, *signals_like)]
    program = from_closed_jaxpr(jax.make_jaxpr(function)(*likes))
    known: dict[Variable, Variable | str] = dict(zip(program.inputs, (*inputs, *signals), strict=True))
    constants = {}
    step_constants = stages.graph.step.program.constants
    for variable, value in program.constants.items():
        same = [v for v, c in step_constants.items() if _equal(c, value)]
        if same:
            known[variable] = same[0]
        else:
            constants[variable] = value
    return Pullback(program, known, dict(zip(keys, program.outputs, strict=True)), constants)


def _equal(a: Any, b: Any) -> bool:
    return np.shape(a) == np.shape(b) and np.array_equal(np.asarray(a), np.asarray(b))


def _dtype(site: Site) -> Any:
    return site.dtype if isinstance(site, Variable) else site.weight.dtype


def check_emits(pullback: Pullback, shape: tuple[int, ...], wanted: Sequence[Any]) -> None:
    """Refuse derivatives that have no code for single units.

    Raises
    ------
    NotFusable
        If an equation does not act unit by unit.
    """
    names: dict[Any, str] = {w: "0" for w in pullback.reads(wanted)}
    pullback.emit(shape, names, "c", wanted)
    for value in pullback.constants.values():
        if np.ndim(value) and np.shape(value)[-1] != shape[-1]:
            raise NotFusable("an array of constants")
