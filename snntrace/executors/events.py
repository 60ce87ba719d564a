"""A whole sequence, event-driven: stage after stage forward, and back in the other order.

It computes what `snntrace.executors.sequence` does for one window without a past, and costs what the spikes
cost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp

from snntrace.compiler.perturb import Arrays, Weights, run
from snntrace.compiler.relations import Dense
from snntrace.events.spikes import Spikes
from snntrace.executors.engine import (
    Carried,
    Engine,
    instantiate,
    primal_values,
    projected_signals,
    refuse_input_gradients,
)
from snntrace.executors.event_operands import EventOperands, graded_inputs
from snntrace.fused.backward import Backward, Gradients
from snntrace.fused.forward import Forward, Ran
from snntrace.fused.stages import Incoming, Port, Stage
from snntrace.fused.unit_signals import Signals
from snntrace.fused.units import NotFusable
from snntrace.jaxprs import Variable, read

Array = Any


class EventPass(EventOperands):
    """Runs sequences stage by stage, and differentiates them.

    Parameters
    ----------
    engine : Engine
        The graph under a rule.
    dense : frozenset of int
        Products with the input (by id) that stay matrix products.

    Raises
    ------
    NotFusable
        If the step has no stages; the message says why.
    """

    def __init__(self, engine: Engine, dense: frozenset[int] = frozenset()) -> None:
        if engine.graph.whole:
            raise NotFusable(engine.graph.whole)
        super().__init__(engine, dense)
        self._kernels: dict[tuple[bool, ...], list[tuple[Backward, Forward]]] = {}
        self.kernels((False,) * len(self.input_products))

    def kernels(self, graded: tuple[bool, ...]) -> list[tuple[Backward, Forward]]:
        """Make the kernels of all stages, for inputs with or without values."""
        if graded not in self._kernels:
            flags = dict(zip(map(id, self.input_products), graded, strict=True))
            made = []
            for stage in self.stages.stages:
                events = [id(p.relation) not in self.dense for p in stage.incoming]
                values = [flags[id(p)] if p.port is None else not p.port.binary for p in stage.incoming]
                backward = Backward(self.stages, stage, events, values)
                made.append((backward, events, values))
            self._kernels[graded] = [
                (b, Forward(b.stage, self.stages.equations(b.stage.group), b.sums, e, v)) for b, e, v in made
            ]
        return self._kernels[graded]

    # Forward -----------------------------------------------------------------------------------

    def run(self, params: Arrays, xs: Sequence[Any], hidden: Arrays) -> tuple[Arrays, Arrays, Any]:
        """Run a sequence.

        Returns
        -------
        results : tuple of array (T, ...)
            The step's results.
        hidden : tuple of array
            The states behind the last step.
        tape : object
            What the way back needs.
        """
        weights = self.engine.functions.weights(params)
        inputs = self._inputs(weights, xs)
        length = xs[0].shape[0]
        matrices, values = self.matrices(weights), self.values(weights)
        kernels = self.kernels(graded_inputs(inputs))
        ran: dict[int, Ran] = {}
        last = list(hidden)
        for backward, forward in kernels:
            stage = backward.stage
            operands = [self._incoming(p, inputs, ran, forward=True) for p in stage.incoming]
            start = self._start(stage, hidden)
            done = forward(values | backward.constants, matrices, operands, start, length)
            ran[stage.group.index] = done
            for leaf, value in zip(stage.group.leaves, done.last, strict=True):
                last[leaf.slot] = value.reshape(leaf.old.shape)
        results = self._rest(weights.floats, weights.others, self._above(ran), self._dense(xs))
        return results, tuple(last), (inputs, ran)

    def _start(self, stage: Stage, hidden: Arrays) -> list[Array]:
        return [hidden[leaf.slot].reshape(-1, stage.width) for leaf in stage.group.leaves]

    def _incoming(
        self, product: Incoming, inputs: Sequence[Any], ran: Mapping[int, Ran], forward: bool
    ) -> Any:
        if product.own:
            return None
        if product.port is not None:
            ports = self.stages.of_group[product.port.group.index].ports
            return ran[product.port.group.index].lists[ports.index(product.port)]
        found = inputs[self.input_products.index(product)]
        return found if isinstance(found, Spikes) else found[1 if forward else 0]

    @cached_property
    def _read_by_rest(self) -> tuple[Variable, ...]:
        """What the read-out takes: outputs of products, and new states."""
        step = self.stages.graph.step
        used = {v for e in self.stages.rest for v in e.inputs} | set(step.results)
        outs = [r.output for _, r in self.readouts]
        return (*outs, *(leaf.new for leaf in step.hidden if leaf.new in used))

    @cached_property
    def readouts(self) -> list[tuple[int, Dense]]:
        """Products of the read-out, by their group, in the order in which stages give them."""
        return [
            (forward.stage.group.index, forward.stage.ports[j].outgoing[r])
            for _, forward in next(iter(self._kernels.values()))
            for j, r in forward.outgoing
        ]

    def _above(self, ran: Mapping[int, Ran]) -> tuple[Array, ...]:
        """Collect what the read-out takes."""
        found: dict[Variable, Array] = {}
        for stage in self.stages.stages:
            done = ran[stage.group.index]
            relations = [r for index, r in self.readouts if index == stage.group.index]
            found |= {
                r.output: y.reshape(-1, *r.shape) for r, y in zip(relations, done.readouts, strict=True)
            }
            for q, path in done.trajectories.items():
                leaf = stage.group.leaves[q]
                found[leaf.new] = path.reshape(-1, *leaf.new.shape)
        return tuple(found[v] for v in self._read_by_rest)

    def _rest(self, floats: Arrays, others: Arrays, above: Arrays, xs: Arrays) -> Arrays:
        """Compute the step's result behind products and states, for all steps side by side."""
        step = self.stages.graph.step

        def one(values: Arrays, args: Arrays) -> Arrays:
            env = self._environment(Weights(floats, others), args)
            env.update(zip(self._read_by_rest, values, strict=True))
            run(self.stages.rest, env)
            return tuple(read(env, a) for a in step.results)

        return tuple(jax.vmap(one)(above, xs))

    # Backward ----------------------------------------------------------------------------------

    def gradients(
        self,
        params: Arrays,
        xs: Sequence[Any],
        hidden: Arrays,
        tape: Any,
        results_ct: Arrays,
        last_ct: Sequence[Array | None],
        projected: Sequence[Array | None],
    ) -> Arrays:
        """Compute the gradient of a sequence along the parameters."""
        functions = self.engine.functions
        weights = functions.weights(params)
        inputs, ran = tape
        matrices, values = self.matrices(weights), self.values(weights)
        dense_xs = self._dense(xs)
        _, vjp = jax.vjp(
            lambda floats, above: self._rest(floats, weights.others, above, dense_xs),
            weights.floats,
            self._above(ran),
        )
        floats_ct, above_ct = vjp(tuple(results_ct))
        direct, above = list(floats_ct), dict(zip(self._read_by_rest, above_ct, strict=True))
        down: dict[Dense, Array] = {
            r: above[r.output].reshape(-1, r.sizes[0], r.sizes[2]) for _, r in self.readouts
        }
        for backward, _ in reversed(self.kernels(graded_inputs(inputs))):
            stage = backward.stage
            operands = [self._incoming(p, inputs, ran, forward=False) for p in stage.incoming]
            start = self._start(stage, hidden)
            signals = self._signals(backward, down, above, last_ct, projected, xs[0].shape[0])
            wanted = [k for k, product in enumerate(stage.incoming) if self.needs_signal(product)]
            found = backward(
                values | backward.constants, matrices, operands, start,
                ran[stage.group.index], signals, wanted,
            )  # fmt: skip
            down.update(found.down)
            own = self._own_ports(weights, stage, found, matrices, start, ran[stage.group.index])
            self._add(direct, found, stage, operands, own)
        return functions.pull_back(params, direct)

    def needs_signal(self, product: Incoming) -> bool:
        """Whether a signal at the operand of a product goes anywhere within the step."""
        port, functions = product.port, self.engine.functions
        if port is None:
            return False
        trained = any(v in functions.float_slot for v in port.params)
        return trained or not (product.own or self.engine.signals.cut[port.group.index])

    def _own_ports(
        self,
        weights: Weights,
        stage: Stage,
        found: Gradients,
        matrices: Mapping[Dense, Array],
        start: Sequence[Array],
        ran: Ran,
    ) -> dict[Variable, Array]:
        """Differentiate recurrent operands along their own parameters (a threshold, say).

        Within a step a signal reaches them through the recurrent weight: ``W (Df . L)``.

        Returns
        -------
        dict of Variable to array
            Their gradients.
        """
        gradients: dict[Variable, Array] = {}
        values, shape = self.values(weights), stage.group.shape
        kept = sorted(ran.trajectories)
        old = [jnp.concatenate([start[q][None], ran.trajectories[q][:-1]]).reshape(-1, *shape) for q in kept]
        for product in stage.own:
            port = product.port
            if port is None or product.relation not in found.down:
                continue
            zbar = (found.down[product.relation] @ matrices[product.relation].T).reshape(-1, *shape)
            trained = [v for v in port.params if v in self.engine.functions.float_slot]
            at_port = partial(_port_value, port, values, trained, [port.states[q] for q in kept])
            _, vjp = jax.vjp(
                lambda params, at=at_port: jax.vmap(partial(at, params))(old), [values[v] for v in trained]
            )
            for v, gradient in zip(trained, vjp(zbar)[0], strict=True):
                gradients[v] = gradients[v] + gradient if v in gradients else gradient
        return gradients

    def _signals(
        self,
        backward: Backward,
        down: Mapping[Dense, Array],
        above: Mapping[Variable, Array],
        last_ct: Sequence[Array | None],
        projected: Sequence[Array | None],
        length: int,
    ) -> Signals:
        stage = backward.stage
        group, n = stage.group, stage.width
        products = {r: down[r] for p in stage.ports for r in p.outgoing if r in down}
        states: dict[int, Array] = {}
        for q, leaf in enumerate(group.leaves):
            given = above.get(leaf.new) if not backward.cut else None
            end = last_ct[leaf.slot]
            if end is not None:
                zeros = jnp.zeros((length, *leaf.old.shape), leaf.old.dtype) if given is None else given
                given = zeros.at[-1].add(end)
            if given is not None:
                states[q] = given.reshape(length, -1, n)
        signal = projected[group.index]
        return Signals(products, states, None if signal is None else signal.reshape(length, -1, n))

    def _add(
        self,
        direct: list[Array],
        found: Gradients,
        stage: Stage,
        operands: Sequence[Any],
        own: Mapping[Variable, Array],
    ) -> None:
        functions = self.engine.functions
        for relation, gradient in found.matrices.items():
            slot = functions.float_slot[relation.weight]
            direct[slot] = direct[slot] + relation.unmatrix(gradient)
        for k, product in enumerate(stage.incoming):
            if product.relation in found.posts:
                relation, x = product.relation, operands[k]
                post = found.posts[relation]
                gradient = x.reshape(-1, x.shape[-1]).T @ post.reshape(-1, post.shape[-1])
                slot = functions.float_slot[relation.weight]
                direct[slot] = direct[slot] + relation.unmatrix(gradient)
        for variable, gradient in (*found.params.items(), *own.items()):
            slot = functions.float_slot[variable]
            direct[slot] = direct[slot] + gradient


def _port_value(
    port: Port,
    values: Mapping[Variable, Array],
    trained: Sequence[Variable],
    states: Sequence[Variable],
    params: Sequence[Array],
    old: Sequence[Array],
) -> Array:
    """Compute a port's value from states and from the parameters that are trained there."""
    env = {**values, **dict(zip(trained, params, strict=True)), **dict(zip(states, old, strict=True))}
    run(port.equations, env)
    return env[port.variable]


def event_unroll(events: EventPass) -> Callable[..., tuple[Arrays, Carried]]:
    """Make ``unroll(params, xs, carried, projected)`` as `unroll_function` does, event-driven.

    Returns
    -------
    callable
        An input may be `Spikes`. Traces are neither taken nor left.
    """
    engine = events.engine

    @jax.custom_vjp
    def unroll(params: Arrays, xs: Any, carried: Carried, projected: Any) -> tuple[Arrays, Carried]:
        results, hidden, _ = events.run(params, xs, carried.hidden)
        return results, carried._replace(hidden=hidden)

    def unroll_fwd(params: Any, xs: Any, carried: Any, projected: Any) -> tuple[Any, Any]:
        refuse_input_gradients(xs)
        params, xs, carried, projected = primal_values((params, xs, carried, projected))
        results, hidden, tape = events.run(params, xs, carried.hidden)
        return (results, carried._replace(hidden=hidden)), (params, xs, carried, projected, tape)

    def unroll_bwd(residuals: Any, cotangents: Any) -> tuple[Any, None, None, None]:
        params, xs, carried, projected, tape = residuals
        given, after = cotangents
        silent = jax.custom_derivatives.SymbolicZero
        last = [None if isinstance(c, silent) else c for c in after.hidden]
        results_ct = instantiate(given)
        signals = projected_signals(engine, results_ct, projected)
        return events.gradients(params, xs, carried.hidden, tape, results_ct, last, signals), None, None, None

    unroll.defvjp(unroll_fwd, unroll_bwd, symbolic_zeros=True)
    return unroll
