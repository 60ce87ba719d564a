"""The forward pass over a window, and what it leaves for the way back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from snntrace.compiler.perturb import Arrays, Point, Weights, run
from snntrace.executors.blocks import block_size, scan_blocks, split_length
from snntrace.executors.engine import Engine
from snntrace.executors.generic_events import EventProducts, Inputs
from snntrace.executors.resets import Resets, restart
from snntrace.jaxprs import Equation, Variable, read

Array = Any


class Tape(NamedTuple):
    """A window's forward pass, time leading.

    `new` are the hidden states, `products` the outputs of products, `others` the old other states that a
    replay reads. `before` are the hidden states and all other states before the first step, `first` those
    that a sample begins anew with.
    """

    new: Arrays
    products: Arrays
    others: Arrays
    before: Any
    first: Resets | None = None


class Recorder:
    """Runs a window forward.

    What depends on the input alone is computed for a block of steps at once, before the scan; the step's
    result is computed for a block at once, behind it.

    Parameters
    ----------
    engine : Engine
        The graph under a rule.
    events : EventProducts
        The products that go by events.
    """

    def __init__(self, engine: Engine, events: EventProducts) -> None:
        self.events = events
        self.functions = functions = engine.functions
        self.spatial = engine.signals.spatial
        step = functions.graph.step
        ready: set[Variable] = {*step.arguments, *functions.float_vars, *functions.other_vars}
        ready |= set(step.program.constants)
        ahead: list[Equation] = []
        for equation in functions.body:
            if all(v in ready for v in equation.inputs if isinstance(v, Variable)):
                ahead.append(equation)
                ready.update(equation.outputs)
        self.products_ahead = frozenset(r.output for r in functions.products if r.output in ready)
        products_inside = [r.output for r in functions.products if r.output not in ready]
        new = [leaf.new for leaf in (*step.hidden, *step.others)]
        made_ahead = {out for e in ahead for out in e.outputs}
        inside = step.program.slice([*new, *products_inside], made_ahead)
        self.inside = tuple(e for e in inside if e not in functions.chain_set)
        wanted = {v for e in self.inside for v in e.inputs} | set(new) | self.products_ahead
        self.passed = tuple(v for e in ahead for v in e.outputs if v in wanted)
        needed = set(step.program.slice(self.passed))
        self.ahead = tuple(e for e in ahead if e in needed)
        self.kept_others = self._others_that_replay_needs(engine)

    def _others_that_replay_needs(self, engine: Engine) -> tuple[int, ...]:
        graph = engine.graph
        places = [graph.readout, *(graph.closure(g) for g in graph.groups)]
        inputs = {v for equations in places for e in equations for v in e.inputs} | set(graph.step.results)
        return tuple(leaf.slot for leaf in graph.step.others if leaf.old in inputs)

    def __call__(
        self, weights: Weights, xs: Inputs, hidden: Arrays, others: Arrays, first: Resets | None
    ) -> tuple[Arrays, Tape, Arrays, Arrays]:
        """Run a window; `first` is what samples begin anew with.

        Returns
        -------
        results : tuple of array (T, ...)
            The step's results.
        tape : Tape
            What the way back needs.
        hidden, others : tuple of array
            The states behind the last step.
        """
        zeros = self.spatial.zero_signals()

        def block(state: tuple[Arrays, Arrays], x: Inputs) -> Any:
            after, tape = self._block(weights, x, *state, first)
            points = self.points(x, tape)
            results = jax.vmap(lambda p: self.spatial(weights, p, zeros)[0])(points)
            return after, (results, tape.new, tape.products, tape.others)

        after, (results, new, products, kept) = scan_blocks(
            block, (hidden, others), xs, block_size(xs.length)
        )
        return results, Tape(new, products, kept, (hidden, others), first), *after

    def _block(
        self, weights: Weights, xs: Inputs, hidden: Arrays, others: Arrays, first: Resets | None
    ) -> tuple[Any, Tape]:
        functions, step = self.functions, self.functions.graph.step
        listed = self.events.listed(weights, xs)
        products = self.events.scanned(weights)

        def ahead_of(x: Arrays, values: Arrays) -> Arrays:
            return self._run_ahead(weights, x, dict(zip(listed, values, strict=True)), products)

        passed = jax.vmap(ahead_of)(xs.arrays, tuple(listed.values()))

        def body(carry: tuple[Arrays, Arrays], now: tuple[Arrays, Arrays, Array | None]) -> Any:
            old, old_others = carry
            x, values, fresh = now
            if first is not None:
                old, old_others = restart(fresh, first.hidden, old), restart(fresh, first.others, old_others)
            env = functions.environment(weights, x, old, old_others)
            env.update(zip(self.passed, values, strict=True))
            run(self.inside, env, products=products)
            new = tuple(read(env, leaf.new) for leaf in step.hidden)
            new_others = tuple(read(env, leaf.new) for leaf in step.others)
            inside = tuple(env[r.output] for r in functions.products if r.output not in self.products_ahead)
            return (new, new_others), (new, inside, tuple(old_others[i] for i in self.kept_others))

        after, (new, inside, kept) = jax.lax.scan(body, (hidden, others), (xs.arrays, passed, xs.fresh))
        ahead = dict(zip(self.passed, passed, strict=True))
        inner = iter(inside)
        recorded = tuple(
            ahead[r.output] if r.output in self.products_ahead else next(inner) for r in functions.products
        )
        return after, Tape(new, recorded, kept, (hidden, others), first)

    def _run_ahead(
        self, weights: Weights, x: Arrays, known: Mapping[Variable, Array], products: Mapping[Equation, Any]
    ) -> Arrays:
        step = self.functions.graph.step
        env = dict(step.program.constants)
        env.update(zip(self.functions.float_vars, weights.floats, strict=True))
        env.update(zip(self.functions.other_vars, weights.others, strict=True))
        env.update(zip(step.arguments, x, strict=True))
        env.update(known)
        run(self.ahead, env, products=products)
        return tuple(env[v] for v in self.passed)

    def points(self, xs: Inputs, tape: Tape) -> Point:
        """Lay a tape out as points."""
        hidden, others = tape.before
        length = xs.length
        # What no replay reads is not on the tape: its place holds what the window began with.
        all_others = [jnp.broadcast_to(o, (length, *jnp.shape(o))) for o in others]
        for slot, values in zip(self.kept_others, tape.others, strict=True):
            all_others[slot] = values
        old = tuple(jnp.concatenate([h[None], n[:-1]]) for h, n in zip(hidden, tape.new, strict=True))
        if tape.first is not None:
            old = restart(xs.fresh, tape.first.hidden, old)
        return Point(xs.arrays, old, tape.new, tuple(all_others), tape.products, xs.fresh)

    def before_blocks(self, tape: Tape, size: int) -> Any:
        """Return the states before each block of a tape."""
        hidden, others = tape.before
        whole, size, left = split_length(tape.new[0].shape[0], size)
        count = whole + bool(left)
        starts = tuple(
            jnp.concatenate([h[None], n[size - 1 : (count - 1) * size : size]])
            for h, n in zip(hidden, tape.new, strict=True)
        )
        return starts, tuple(jnp.broadcast_to(o, (count, *jnp.shape(o))) for o in others)
