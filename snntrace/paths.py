"""Which way a sequence is computed: as dense products, or event by event, for each weight matrix."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax

from snntrace.activity import most_events, sampled_rate
from snntrace.compiler.relations import Dense, Operation
from snntrace.costs import ASSUMED, keep_trial, known_costs, known_measurements
from snntrace.crossover import Given, choose, highest_rate, work_of
from snntrace.errors import CompileError
from snntrace.events.spikes import Spikes
from snntrace.executors.engine import Engine
from snntrace.executors.events import EventPass, event_unroll
from snntrace.executors.sequence import unroll_function
from snntrace.fused.units import NotFusable
from snntrace.report.report import ProductPath
from snntrace.trials import faster, is_close, signature
from snntrace.wanted_paths import Product, fits, wanted_products

Choice = Callable[[Engine, int, int, Sequence[Given], bool], Mapping[Operation, str]]

WORTH_COMPILING = 5e-3
"""Time of a dense sequence, in s, from which on `auto` compiles kernels for inputs that are arrays."""

REPORTED = (100, 0.02)
"""Steps, and rate of the inputs, for which a report says the way."""


@dataclass(frozen=True)
class Plan:
    """How one sequence runs.

    Attributes
    ----------
    route : {'dense', 'products', 'stages'}
        Dense products; single products by events inside the step; whole layers in kernels.
    by_events : frozenset of int
        Products (by id) that go by events, on the route of products.
    dense : frozenset of int
        Products with the input (by id) that stay dense, on the route of stages.
    """

    route: str
    by_events: frozenset[int] = frozenset()
    dense: frozenset[int] = frozenset()


class Paths:
    """The ways in which a compiled learner can run a sequence; the numbers are the same.

    Parameters
    ----------
    who : str
        Name for messages.
    engine : Engine
        The graph under a rule.
    path : {'auto', 'dense', 'event'} or mapping of str to these
        One way for all weight matrices, or one for each name or pattern; the first pattern that fits counts,
        and a matrix that none fits is left to `choose`.
    window : int or None
        Steps of a window.
    fast_solve : bool
        Whether shortcuts are allowed; without, everything runs dense.
    choose : callable
        What decides on what is left open, as `snntrace.crossover.choose` does.

    Raises
    ------
    CompileError
        If a way by events is asked for where there is none.
    ValueError
        If a pattern fits no weight matrix.
    """

    def __init__(
        self,
        who: str,
        engine: Engine,
        path: str | Mapping[str, str],
        window: int | None,
        fast_solve: bool,
        choose: Choice = choose,
    ) -> None:
        self.who = who
        self.engine = engine
        self.path = path
        self.window = window
        self.fast_solve = fast_solve
        self.choose = choose
        self.patterns = {"*": path} if isinstance(path, str) else dict(path)
        self.native = jax.default_backend() == "cpu"
        self.products = wanted_products(who, engine.graph, self.patterns)
        self._passes: dict[frozenset[int], EventPass] = {}
        self._trials: dict[str, str] = {}
        self.reason = self._dense_reason()
        self.unstaged = self.reason or self._find_stages()
        self._check_events()

    # What was asked for ------------------------------------------------------------------------

    def _dense_reason(self) -> str:
        """Say why everything runs dense, if it does."""
        if self.engine.rule.recursion == "full":
            return "a rule without traces"
        if not self.fast_solve:
            return "fast_solve=False"
        if self.engine.graph.whole:
            return self.engine.graph.whole
        wanted = {product.wanted for product in self.products}
        if wanted <= {"dense"}:
            return f"path={self.path!r}"
        if not self.native and "event" not in wanted:
            return f"the kernels run on CPU, and the backend is {jax.default_backend()}"
        return ""

    def _find_stages(self) -> str:
        """Make the kernels of whole layers, or say why there are none."""
        if not self.native:
            return f"the kernels run on CPU, and the backend is {jax.default_backend()}"
        for product in self.products:
            if product.wanted == "dense" and product.operand.kind != "input":
                return f"path keeps {' and '.join(product.names)} dense"
        try:
            self._passes[frozenset()] = EventPass(self.engine)
        except NotFusable as error:
            return str(error)
        return f"window={self.window}" if self.window is not None else ""

    def _check_events(self) -> None:
        """Refuse an event path for weights that have none."""
        for pattern, way in self.patterns.items():
            meant = [p for p in self.products if fits(pattern, p.names)]
            if way != "event" or (not meant and pattern != "*"):
                continue
            obstacles = [self.reason or (p.operand.obstacle if self.unstaged else "") for p in meant]
            if all(obstacles):
                names = "; ".join(
                    f"{' and '.join(p.names)}: {why}" for p, why in zip(meant, obstacles, strict=True)
                )
                raise CompileError(
                    f"{self.who}: path={self.path!r} must leave a product to run by events, "
                    f"got {names or 'no product'}. Use path='auto' or path='dense'."
                )

    # Sequences ---------------------------------------------------------------------------------

    def plan(
        self,
        xs: Sequence[Any],
        carry: bool,
        look: bool = False,
        run: Callable[[Plan], Any] | None = None,
    ) -> Plan:
        """Decide how a sequence runs.

        Parameters
        ----------
        xs : sequence of array or Spikes, (T, ...) each
            The inputs.
        carry : bool
            Whether traces are carried.
        look : bool
            Whether to look into arrays, which cannot be traced ones then; without, arrays run dense unless
            ``path='event'``.
        run : callable, optional
            Runs the sequence by a plan and changes nothing. With it, both ways are tried where the estimates
            are close.

        Returns
        -------
        Plan
            The way to go.
        """
        if self.reason:
            return Plan("dense")
        staged = not self.unstaged and not carry
        given = [Given(most_events(x), True) if isinstance(x, Spikes) else Given(None, False) for x in xs]
        if look and staged and self._worth_compiling(int(xs[0].shape[0])):
            given = [g if g.listed else Given(sampled_rate(x), False) for g, x in zip(given, xs, strict=True)]
        tried = self._tried(int(xs[0].shape[0]), given, run if look else None) if staged else None
        if tried is not None:
            return Plan("dense") if tried == "dense" else Plan("stages")
        ways = self._ways(int(xs[0].shape[0]), given, staged)
        if not any(ways[p.relation] == "event" for p in self.products):
            return Plan("dense")
        stages = self._stage_plan(ways) if staged else None
        if stages is not None:
            return stages
        taken = [p for p in self.products if ways[p.relation] == "event" and not p.operand.obstacle]
        by_events = frozenset(id(p.relation) for p in taken)
        return Plan("products", by_events) if by_events else Plan("dense")

    @property
    def _batch(self) -> int:
        group = self.engine.graph.groups[0]
        return int(group.shape[0]) if group.n_row_axes else 1

    def _worth_compiling(self, steps: int) -> bool:
        """Whether the choice is open, and a dense sequence takes so long that kernels pay soon."""
        if not self.native or all(p.wanted != "auto" for p in self.products):
            return False
        unknown = [Given(None, False)] * len(self.engine.graph.step.arguments)
        work = work_of(self.engine, steps, self._batch, unknown)
        return known_costs().seconds(work)[1] >= WORTH_COMPILING

    def _tried(self, steps: int, given: Sequence[Given], run: Callable[[Plan], Any] | None) -> str | None:
        """Say which way was found faster where the estimates are close; None if nothing was tried."""
        known = known_measurements()
        asked = self.choose is not choose or any(p.wanted != "auto" for p in self.products)
        if asked or known is ASSUMED or all(g.rate is None for g in given):
            return None
        if not is_close(*known.costs.seconds(work_of(self.engine, steps, self._batch, given))):
            return None
        key = signature(self.engine, steps, self._batch, given)
        if run is not None and key not in known.trials and key not in self._trials:
            way = faster({"event": partial(run, Plan("stages")), "dense": partial(run, Plan("dense"))})
            self._trials[key] = way
            # Where it cannot be kept, it is tried once a learner.
            with suppress(OSError):
                keep_trial(key, way)
        return known.trials.get(key, self._trials.get(key))

    def _ways(self, steps: int, given: Sequence[Given], staged: bool) -> dict[Operation, str]:
        """Join what the user wants and what is chosen for the rest."""
        chosen = self.choose(self.engine, steps, self._batch, given, staged) if self.native else {}
        return {
            p.relation: chosen.get(p.relation, "dense") if p.wanted == "auto" else p.wanted
            for p in self.products
        }

    def _stage_plan(self, ways: Mapping[Operation, str]) -> Plan | None:
        """Plan whole layers in kernels, unless a product inside stays dense."""
        inputs = {id(p.relation) for p in self._passes[frozenset()].input_products}
        temporal = self.engine.graph.temporal
        dense = {r for r, way in ways.items() if way == "dense" and r in temporal}
        if any(id(r) not in inputs for r in dense):
            return None
        return Plan("stages", dense=frozenset(map(id, dense)))

    def unroll(self, plan: Plan, carry: bool) -> Callable[..., Any]:
        """Return the function that runs a sequence as planned.

        Returns
        -------
        callable
            ``unroll(params, xs, carried, projected)``.
        """
        if plan.route == "stages":
            if plan.dense not in self._passes:
                self._passes[plan.dense] = EventPass(self.engine, plan.dense)
            return event_unroll(self._passes[plan.dense])
        return unroll_function(self.engine, self.window if self.fast_solve else 1, carry, plan.by_events)

    # Report ------------------------------------------------------------------------------------

    def report(self) -> tuple[ProductPath, ...]:
        """Say for every product which way it goes where inputs come as `Spikes`, and why."""
        steps, rate = REPORTED
        arguments = self.engine.graph.step.arguments
        given = [Given(rate, True) if len(v.shape) == 2 else Given(None, False) for v in arguments]
        ways = {} if self.reason else self._ways(steps, given, not self.unstaged)
        staged = not self.unstaged and self._stage_plan(ways) is not None
        return tuple(
            ProductPath(p.names, *self._describe(p, ways.get(p.relation, "dense"), staged))
            for p in self.products
        )

    def _describe(self, product: Product, way: str, staged: bool) -> tuple[str, str]:
        kinds = {
            "input": "its operand is an input",
            "spikes": "its operand is spikes",
            "graded": "its operand is seldom zero",
        }
        if self.reason:
            return "dense", self.reason
        if staged and product.relation not in self.engine.graph.temporal:
            return "event", "its layer runs in a kernel"
        unlike = not isinstance(product.relation, Dense)
        if unlike or (way == "event" and not staged and product.operand.obstacle):
            return "dense", product.operand.obstacle
        wanted = f"path={self.path!r}" if isinstance(self.path, str) else "path names it"
        return way, kinds[product.operand.kind] if product.wanted == "auto" else wanted

    def __str__(self) -> str:
        """Say which path is taken, and why."""
        if self.reason:
            return f"dense ({self.reason})"
        lists = "" if self.path == "event" else " given as Spikes"
        if self.unstaged:
            return f"products by events in sequences{lists}, inside the dense step ({self.unstaged})"
        return (
            f"event-driven for whole sequences{lists}{self._limit()}, with carried traces products by events "
            f"inside the dense step (path={self.path!r})"
        )

    def _limit(self) -> str:
        """Say up to which activity events are estimated to be faster, where that is what decides."""
        if all(p.wanted != "auto" for p in self.products) or self.choose is not choose:
            return ""
        steps, costs = REPORTED[0], known_costs()
        lists, arrays = (highest_rate(self.engine, steps, self._batch, way, costs) for way in (True, False))
        if lists >= 1.0:
            return ""
        also = f" ({arrays:.0%} if they come as arrays)" if self._worth_compiling(steps) else ""
        return f" up to {lists:.0%} of active inputs{also} at {steps} steps ({costs.source})"
