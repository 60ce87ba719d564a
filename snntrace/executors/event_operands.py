"""What goes into event-driven stages: operands as lists of events, weights as matrices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from snntrace.compiler.perturb import Arrays, Weights, run
from snntrace.compiler.relations import Dense
from snntrace.events.spikes import Spikes
from snntrace.executors.engine import Engine
from snntrace.fused.stages import Incoming, Stages
from snntrace.jaxprs import Variable

Array = Any


class EventOperands:
    """Brings inputs and weights into the form that kernels take.

    Parameters
    ----------
    engine : Engine
        The graph under a rule.
    dense : frozenset of int
        Products with the input (by id) that stay matrix products.
    """

    def __init__(self, engine: Engine, dense: frozenset[int]) -> None:
        self.engine = engine
        self.stages = Stages(engine)
        self.dense = dense

    @property
    def input_products(self) -> list[Incoming]:
        """Products whose operand the step's input makes."""
        return [p for s in self.stages.stages for p in s.incoming if p.port is None]

    def _inputs(self, weights: Weights, xs: Sequence[Any]) -> tuple[Any, ...]:
        """Bring the operands of products with the input into the form that kernels take."""
        found: list[Any] = []
        for product in self.input_products:
            relation = product.relation
            operand = self._operand(weights, xs, relation)
            if id(relation) in self.dense:
                x = operand.dense() if isinstance(operand, Spikes) else operand
                rows, pre, post = relation.sizes
                value = x.reshape(-1, pre) @ relation.matrix(self._weight(weights, relation))
                found.append((x.reshape(-1, rows, pre), value.reshape(-1, rows, post)))
            elif isinstance(operand, Spikes):
                found.append(operand)
            else:
                rows, pre, _ = relation.sizes
                found.append(Spikes.from_dense(operand.reshape(-1, rows, pre)))
        return tuple(found)

    def _operand(self, weights: Weights, xs: Sequence[Any], relation: Dense) -> Any:
        step, functions = self.stages.graph.step, self.engine.functions
        if relation.operand in step.arguments:
            return xs[step.arguments.index(relation.operand)]
        arrays = tuple(x.dense() if isinstance(x, Spikes) else x for x in xs)
        equations = [e for e in step.program.slice([relation.operand]) if e not in functions.chain_set]

        def one(args: Arrays) -> Array:
            env = self._environment(weights, args)
            run(equations, env)
            return env[relation.operand]

        return jax.vmap(one)(arrays)

    def values(self, weights: Weights) -> dict[Variable, Array]:
        """Collect the values of parameters and constants."""
        env = dict(self.stages.graph.step.program.constants)
        env.update(zip(self.engine.functions.float_vars, weights.floats, strict=True))
        env.update(zip(self.engine.functions.other_vars, weights.others, strict=True))
        return env

    def _environment(self, weights: Weights, args: Sequence[Array]) -> dict[Variable, Array]:
        return self.values(weights) | dict(zip(self.stages.graph.step.arguments, args, strict=True))

    def _weight(self, weights: Weights, relation: Dense) -> Array:
        return weights.floats[self.engine.functions.float_slot[relation.weight]]

    def matrices(self, weights: Weights) -> dict[Dense, Array]:
        """Lay the weights of all products out as (pre, post)."""
        relations = [p.relation for s in self.stages.stages for p in s.incoming] + list(self.stages.readouts)
        return {r: r.matrix(self._weight(weights, r)) for r in relations}

    def _dense(self, xs: Sequence[Any]) -> Arrays:
        """Bring the inputs that the read-out reads to arrays; the others are left out."""
        step = self.stages.graph.step
        used = {v for e in self.stages.rest for v in e.inputs} | set(step.results)
        flat = []
        for x, variable in zip(xs, step.arguments, strict=True):
            if variable not in used:
                flat.append(jnp.zeros((x.shape[0], 0)))
            else:
                flat.append(x.dense().reshape(-1, *variable.shape) if isinstance(x, Spikes) else x)
        return tuple(flat)


def graded_inputs(inputs: Sequence[Any]) -> tuple[bool, ...]:
    """Tell which inputs have values."""
    return tuple(isinstance(v, Spikes) and v.values is not None for v in inputs)
