r"""How long each path takes on this machine: the model behind ``path='auto'``.

For a sequence of T steps and B samples, layers of n units and products of p presynaptic and q postsynaptic
units whose operands are active with rate a,

.. math::
    t_{event} &= c_0 + \frac{T B}{h} \sum (c_1 n + c_2 a p + (c_3 + c_4 m) a p q) + c_5 \sum p q, \\
    t_{dense} &= d_0 + d_1 T + d_2 T B \sum n + d_3 T B \sum p q,

with h the threads that share a batch, and m from 0 to 1 as the matrices outgrow the caches. Who does not find
the input in the form that it takes pays for making it. ``snntrace bench --calibrate`` measures the constants;
without, those of a machine with two cores hold.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from scipy.optimize import brentq

from snntrace.compiler.operands import operand_of
from snntrace.compiler.relations import Dense, Operation
from snntrace.costs import CACHED, SATURATED, Costs, Work, known_costs
from snntrace.events.native import n_threads
from snntrace.executors.engine import Engine

GRADED = 1.0
"""Rate of an operand that is seldom zero."""


class Given(NamedTuple):
    """An argument of a step.

    Attributes
    ----------
    rate : float or None
        The share of its elements that are not zero, at most; None if it is not known.
    listed : bool
        Whether it comes as `Spikes`.
    """

    rate: float | None
    listed: bool


def work_of(engine: Engine, steps: int, batch: int, given: Sequence[Given]) -> Work:
    """Size up a sequence.

    Units inside are taken to be as active as the inputs on average, up to a third of the steps.

    Parameters
    ----------
    engine : Engine
        The graph under a rule.
    steps, batch : int
        Steps, and samples side by side.
    given : sequence of Given
        The inputs.

    Returns
    -------
    Work
        The sizes.
    """
    graph = engine.graph
    rates = rates_of(engine, given)
    arguments = graph.step.arguments
    n_rows = steps * batch
    elements = [float(steps * math.prod(v.shape)) for v in arguments]
    pairs = {r: float(r.sizes[1] * r.sizes[2]) for r in graph.relations.dense}
    return Work(
        steps=float(steps),
        threads=float(max(min(n_threads(), batch), 1)),
        units=float(n_rows * sum(g.width for g in graph.groups)),
        products=n_rows * sum(pairs.values()),
        visits=n_rows * sum(rates[r] * r.sizes[1] for r in pairs),
        operations=n_rows * sum(rates[r] * pair for r, pair in pairs.items()),
        weights=sum(pairs.values()),
        listed=sum(n for n, g in zip(elements, given, strict=True) if g.rate is not None and not g.listed),
        written=sum(n for n, g in zip(elements, given, strict=True) if g.listed),
    )


def rates_of(engine: Engine, given: Sequence[Given]) -> dict[Dense, float]:
    """Estimate how active the operand of each product is.

    Parameters
    ----------
    engine : Engine
        The graph under a rule.
    given : sequence of Given
        The inputs.

    Returns
    -------
    dict of Dense to float
        The rates.
    """
    known = [g.rate for g in given if g.rate is not None]
    inside = min(sum(known) / len(known), SATURATED) if known else GRADED
    rates = {}
    for relation in engine.graph.relations.dense:
        operand = operand_of(engine.graph, relation)
        if operand.argument is not None:
            rate = given[operand.argument].rate
            rates[relation] = GRADED if rate is None else rate
        else:
            rates[relation] = inside if operand.kind == "spikes" else GRADED
    return rates


def choose(
    engine: Engine, steps: int, batch: int, given: Sequence[Given], staged: bool, costs: Costs | None = None
) -> dict[Operation, str]:
    """Choose dense or event products, for what the user leaves open.

    Where whole layers can run in kernels, the two estimates are compared. Elsewhere each product goes by
    events if its own part of them is less.

    Parameters
    ----------
    engine : Engine
        The graph under a rule.
    steps, batch : int
        Steps, and samples side by side.
    given : sequence of Given
        The inputs.
    staged : bool
        Whether whole layers can run in kernels.
    costs : Costs, optional
        This machine's; those that were measured last, by default.

    Returns
    -------
    dict of Operation to str
        ``'dense'`` or ``'event'`` for every product of two arrays in the step.
    """
    relations = engine.graph.relations.dense
    if all(g.rate is None for g in given):
        return dict.fromkeys(relations, "dense")
    costs = costs or known_costs()
    if staged:
        event, dense = costs.seconds(work_of(engine, steps, batch, given))
        return dict.fromkeys(relations, "event" if event <= dense else "dense")
    rates, threads = rates_of(engine, given), max(min(n_threads(), batch), 1)
    ways: dict[Operation, str] = {}
    for relation in relations:
        operand = operand_of(engine.graph, relation)
        listed = operand.argument is not None and given[operand.argument].listed
        inside = operand.kind == "spikes" and any(g.listed for g in given)
        cheap = _per_operation(costs, relation) * rates[relation] / threads <= costs.dense[3]
        ways[relation] = "event" if cheap and (listed or inside) else "dense"
    return ways


def _per_operation(costs: Costs, relation: Dense) -> float:
    """Return the seconds of a synaptic operation, with its part of the visit of a row."""
    _, pre, post = relation.sizes
    return costs.event[2] / post + costs.event[3] + costs.event[4] * min(1.0, pre * post / CACHED)


def highest_rate(engine: Engine, steps: int, batch: int, listed: bool, costs: Costs | None = None) -> float:
    """Return the rate of inputs up to which the event path is estimated to be faster.

    Parameters
    ----------
    engine : Engine
        The graph under a rule, whose layers can run in kernels.
    steps, batch : int
        Steps, and samples side by side.
    listed : bool
        Whether inputs come as `Spikes`, not as arrays.
    costs : Costs, optional
        This machine's.

    Returns
    -------
    float
        Between 0 (never) and 1 (always).
    """
    costs = costs or known_costs()
    arguments = engine.graph.step.arguments

    def gain(rate: float) -> float:
        given = [Given(rate, listed) if len(v.shape) == 2 else Given(None, False) for v in arguments]
        event, dense = costs.seconds(work_of(engine, steps, batch, given))
        return dense - event

    if gain(0.0) <= 0:
        return 0.0
    return 1.0 if gain(1.0) >= 0 else float(brentq(gain, 0.0, 1.0, xtol=1e-4))
