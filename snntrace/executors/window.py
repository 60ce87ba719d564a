"""Windows and whole sequences: the same sum, regrouped into one matrix product for each weight.

Within a window the signal goes back inside each unit only,

    lam^t = L^t + D^(t+1)T lam^(t+1),      grad W = sum_t x^t (Df^t . lam^t) + mu . eps^a,

where ``mu`` is what is left of lam at the window's start and ``eps^a`` the trace that came into it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from snntrace.compiler.graph import Group
from snntrace.compiler.perturb import Arrays, Point, Signals, Weights, run
from snntrace.compiler.relations import Dense
from snntrace.executors.engine import (
    Carried,
    Engine,
    Given,
    instantiate,
    primal_values,
    projected_signals,
    refuse_input_gradients,
)
from snntrace.executors.recursion import Coefficients
from snntrace.jaxprs import Equation, Variable, read

Array = Any


class Record(NamedTuple):
    """A window's forward pass: its results, its points (time leading), and what it leaves."""

    results: Arrays
    points: Point
    hidden: Arrays
    others: Arrays


class Recorder:
    """The forward pass over a window.

    What depends on the input alone is computed for all steps at once, before the scan; the step's
    result is computed for all steps at once, behind it.
    """

    def __init__(self, engine: Engine) -> None:
        self.functions = functions = engine.functions
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
        self.passed = tuple(v for v in made_ahead if v in wanted)
        needed = set(step.program.slice(self.passed))
        self.ahead = tuple(e for e in ahead if e in needed)
        self.kept_others = self._others_that_replay_needs(engine)

    def _others_that_replay_needs(self, engine: Engine) -> tuple[int, ...]:
        graph = engine.graph
        places = [graph.readout, *(graph.closure(g) for g in graph.groups)]
        inputs = {v for equations in places for e in equations for v in e.inputs} | set(graph.step.results)
        return tuple(leaf.slot for leaf in graph.step.others if leaf.old in inputs)

    def __call__(self, weights: Weights, xs: Arrays, hidden: Arrays, others: Arrays) -> Record:
        """Run a window forward."""
        functions, step = self.functions, self.functions.graph.step
        passed = jax.vmap(lambda x: self._run_ahead(weights, x))(xs)

        def body(carry: tuple[Arrays, Arrays], now: tuple[Arrays, Arrays]) -> Any:
            old, old_others = carry
            x, values = now
            env = functions.environment(weights, x, old, old_others)
            env.update(zip(self.passed, values, strict=True))
            run(self.inside, env)
            new = tuple(read(env, leaf.new) for leaf in step.hidden)
            new_others = tuple(read(env, leaf.new) for leaf in step.others)
            products = tuple(
                env[r.output] for r in functions.products if r.output not in self.products_ahead
            )
            return (new, new_others), (new, products, tuple(old_others[i] for i in self.kept_others))

        carry, (new, inside, kept) = jax.lax.scan(body, (hidden, others), (xs, passed))
        ahead = dict(zip(self.passed, passed, strict=True))
        inner = iter(inside)
        products = tuple(
            ahead[r.output] if r.output in self.products_ahead else next(inner) for r in functions.products
        )
        length = jax.tree.leaves(xs)[0].shape[0]
        # States that no replay reads are not stacked: their place holds what the window began with.
        all_others = [jnp.broadcast_to(o, (length, *o.shape)) for o in others]
        for slot, values in zip(self.kept_others, kept, strict=True):
            all_others[slot] = values
        old = tuple(jnp.concatenate([h[None], n[:-1]]) for h, n in zip(hidden, new, strict=True))
        points = Point(xs, old, new, tuple(all_others), products)
        zeros = functions.zero_signals()
        results = jax.vmap(lambda p: functions.spatial(weights, p, zeros)[0])(points)
        return Record(results, points, *carry)

    def _run_ahead(self, weights: Weights, x: Arrays) -> Arrays:
        step = self.functions.graph.step
        env = dict(step.program.constants)
        env.update(zip(self.functions.float_vars, weights.floats, strict=True))
        env.update(zip(self.functions.other_vars, weights.others, strict=True))
        env.update(zip(step.arguments, x, strict=True))
        run(self.ahead, env)
        return tuple(env[v] for v in self.passed)


class Adjoint(NamedTuple):
    """The signal inside a group's units over a window: lam (T, S, ...), and mu (S, ...) at its start."""

    lam: Array
    mu: Array


def adjoint(d: Array, signal: Array, before: Array | None) -> Adjoint:
    """Carry a signal back inside each unit.

    Parameters
    ----------
    d : array of shape (T, S, S, *group shape)
        The recursion.
    signal : array of shape (T, S, *group shape)
        The learning signal at the new states.
    before : array of the same shape, optional
        The learning signal at the old states.
    """
    n = d.shape[1]

    def back(mu: Array, now: tuple[Array, Array, Array | None]) -> tuple[Array, Array]:
        d_t, signal_t, before_t = now
        lam = signal_t + mu
        mu = jnp.stack([sum(d_t[s, q] * lam[s] for s in range(n)) for q in range(n)])
        return (mu if before_t is None else mu + before_t), lam

    mu, lam = jax.lax.scan(back, jnp.zeros_like(signal[0]), (d, signal, before), reverse=True)
    return Adjoint(lam, mu)


class WindowBackward:
    """Gradients of a window, and the traces at its end."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def coefficients(self, weights: Weights, points: Point) -> list[Coefficients]:
        """D and Df of every group at every step of a window."""
        engine = self.engine
        prepared = engine.recursion.prepare(weights)
        return [
            jax.vmap(lambda p, g=g: engine.recursion(g, weights, p, prepared))(points)
            for g in engine.graph.groups
        ]

    def _post(self, layout: Any, df: Array, lam: Array) -> Array:
        """Contract Df with lam over the states, at the relation's output: (T, *output shape)."""
        at = layout.at_output(lam)
        return sum(df[:, s] * at[:, s] for s in range(df.shape[1]))

    def end_traces(
        self, weights: Weights, points: Point, traces: Arrays, found: list[Coefficients] | None = None
    ) -> Arrays:
        """Compute the traces at a window's end from those at its start."""
        engine = self.engine
        found = found if found is not None else self.coefficients(weights, points)
        bases = [self._basis(g, found[g.index].d) for g in engine.graph.groups]
        result = []
        for layout, trace in zip(engine.layouts, traces, strict=True):
            basis = bases[layout.route.group.index]
            df = found[layout.route.group.index].df[id(layout.relation)]
            post = jax.vmap(lambda lam, layout=layout, df=df: self._post(layout, df, lam))(basis.lam)
            phi = layout.at_output(basis.mu)  # (S, S, *output shape): state at the end, state before
            if isinstance(layout.relation, Dense):
                x = jax.vmap(lambda p, r=layout.relation: engine.operand(r, weights, p))(points)
                columns = jax.vmap(jax.vmap(layout.columns))
                grown = jnp.einsum("tfj,stfk->sfjk", x, columns(post))
                past = jnp.einsum("sqfk,qfjk->sfjk", columns(phi), trace)
            else:
                grown = post.sum(1)
                past = (phi * trace[None]).sum(1)
            result.append(past + grown)
        return tuple(result)

    def _basis(self, group: Group, d: Array) -> Adjoint:
        """Send a one back from each state at the window's end."""
        n, length = group.n_states, d.shape[0]

        def one(s: int) -> Adjoint:
            signal = jnp.zeros((length, n, *group.shape), d.dtype).at[-1, s].set(1)
            return adjoint(d, signal, None)

        rows = [one(s) for s in range(n)]
        return Adjoint(jnp.stack([r.lam for r in rows]), jnp.stack([r.mu for r in rows]))

    def gradients(
        self, weights: Weights, points: Point, given: Given, traces: Arrays | None, found: list[Coefficients]
    ) -> list[Array]:
        """Compute the window's gradient at the end of each weight chain."""
        engine = self.engine
        direct, signals = self._open_steps(weights, points, given)
        stacked = jax.vmap(engine.group_signals)(signals)
        adjoints = [
            adjoint(found[g.index].d, new, old)
            for g, (new, old) in zip(engine.graph.groups, stacked, strict=True)
        ]
        side = dict(zip(map(id, engine.functions.side_relations), signals.relations, strict=True))
        posts: dict[int, Array] = dict(side)
        for layout in engine.layouts:
            index, key = layout.route.group.index, id(layout.relation)
            post = self._post(layout, found[index].df[key], adjoints[index].lam)
            posts[key] = posts[key] + post if key in posts else post
        for relation in engine.graph.temporal:
            slot = engine.functions.float_slot[relation.weight]
            post = posts[id(relation)]
            if isinstance(relation, Dense):
                x = jax.vmap(lambda p, r=relation: engine.operand(r, weights, p))(points)
                y = jax.vmap(relation.columns)(post)
                product = x.reshape(-1, x.shape[-1]).T @ y.reshape(-1, y.shape[-1])
                direct[slot] = direct[slot] + relation.unmatrix(product)
            else:
                direct[slot] = direct[slot] + relation.gather(post.sum(0))
        for layout, trace in zip(engine.layouts, traces or (), strict=traces is not None):
            slot = engine.functions.float_slot[layout.relation.weight]
            mu = adjoints[layout.route.group.index].mu
            direct[slot] = direct[slot] + layout.to_weight(layout.contract(mu, trace))
        return direct

    def _open_steps(
        self, weights: Weights, points: Point, given: Given
    ) -> tuple[list[Array], Signals]:
        """Open all steps of a window at once; the direct gradients are summed over time."""
        engine = self.engine
        length = points.new[0].shape[0]
        zeros = jax.tree.map(lambda z: jnp.zeros((length, *z.shape), z.dtype), engine.functions.zero_signals())

        def spatial(floats: Arrays, zeros: Signals) -> Any:
            full = Weights(floats, weights.others)
            return jax.vmap(lambda p, z: engine.functions.spatial(full, p, z))(points, zeros)

        return engine.pull_through(spatial, weights.floats, zeros, given)


def unroll_function(
    engine: Engine, window: int | None, carry: bool
) -> Callable[..., tuple[Arrays, Carried]]:
    """Make the differentiable pass over a sequence.

    Parameters
    ----------
    engine : Engine
        The graph under a rule.
    window : int, optional
        Steps of a window; the whole sequence if None.
    carry : bool
        Whether to start from the given traces and to leave new ones. Without, the sequence stands
        alone: no trace is made for a single window.

    Returns
    -------
    callable
        ``unroll(params, xs, carried, projected) -> (results, carried)``.
    """
    record, back = Recorder(engine), WindowBackward(engine)

    def chunks(xs: Any) -> tuple[int, int]:
        length = jax.tree.leaves(xs)[0].shape[0]
        size = length if window is None else min(window, length)
        return size, length

    def scan_windows(function: Callable[..., Any], state: Any, values: Any) -> tuple[Any, Any]:
        """Scan over whole windows, then over the rest."""
        size, length = chunks(values)
        whole = length // size
        head = jax.tree.map(lambda v: v[: whole * size].reshape(whole, size, *v.shape[1:]), values)
        if whole == 1:
            state, out = function(state, jax.tree.map(lambda v: v[0], head))
            out = jax.tree.map(lambda v: v[None], out)
        else:
            state, out = jax.lax.scan(function, state, head)
        if whole * size == length:
            return state, [out]
        state, rest = function(state, jax.tree.map(lambda v: v[whole * size :], values))
        return state, [out, jax.tree.map(lambda v: v[None], rest)]

    def joined(parts: list[Any]) -> Any:
        flat = [jax.tree.map(lambda v: v.reshape(-1, *v.shape[2:]), part) for part in parts]
        return flat[0] if len(flat) == 1 else jax.tree.map(lambda *v: jnp.concatenate(v), *flat)

    def forward(params: Arrays, xs: Arrays, carried: Carried) -> tuple[Arrays, Carried]:
        weights = engine.functions.weights(params)

        def one(state: Carried, x: Arrays) -> tuple[Carried, Arrays]:
            done = record(weights, x, state.hidden, state.others)
            traces = back.end_traces(weights, done.points, state.traces) if carry else state.traces
            return Carried(done.hidden, done.others, traces), done.results

        after, results = scan_windows(one, carried, xs)
        return joined(results), after

    @jax.custom_vjp
    def unroll(params: Arrays, xs: Arrays, carried: Carried, projected: Any) -> tuple[Arrays, Carried]:
        return forward(params, xs, carried)

    def unroll_fwd(params: Any, xs: Any, carried: Any, projected: Any) -> tuple[Any, Any]:
        refuse_input_gradients(xs)
        params, xs, carried, projected = primal_values((params, xs, carried, projected))
        return forward(params, xs, carried), (params, xs, carried, projected)

    def unroll_bwd(residuals: Any, cotangents: Any) -> tuple[Any, None, None, None]:
        params, xs, carried, projected = residuals
        results_ct, carried_ct = instantiate(cotangents)
        weights = engine.functions.weights(params)
        size, length = chunks(xs)
        signals = _project(engine, results_ct, projected, length)
        states_ct = tuple(
            jnp.zeros((length, *c.shape), c.dtype).at[-1].set(c) for c in carried_ct.hidden
        )
        keep_traces = carry or size < length
        zero = [jnp.zeros_like(v) for v in weights.floats]

        def one(state: Any, now: Any) -> tuple[Any, None]:
            at, total = state
            x, results_t, states_t, signals_t = now
            done = record(weights, x, at.hidden, at.others)
            found = back.coefficients(weights, done.points)
            given = Given(results_t, states_t, signals_t)
            step = back.gradients(weights, done.points, given, at.traces if keep_traces else None, found)
            traces = (
                back.end_traces(weights, done.points, at.traces, found) if size < length else at.traces
            )
            total = [a + b for a, b in zip(total, step, strict=True)]
            return (Carried(done.hidden, done.others, traces), total), None

        start = carried if keep_traces else carried._replace(traces=())
        (_, total), _ = scan_windows(one, (start, zero), (xs, results_ct, states_ct, signals))
        return engine.functions.pull_back(params, total), None, None, None

    unroll.defvjp(unroll_fwd, unroll_bwd, symbolic_zeros=True)
    return unroll


def _project(engine: Engine, results_ct: Arrays, projected: Any, length: int) -> tuple[Array | None, ...]:
    """Bring every group's signal to (T, ...)."""
    return tuple(
        None if p is None else jnp.broadcast_to(p, (length, *p.shape[1:]))
        for p in projected_signals(engine, results_ct, projected)
    )
