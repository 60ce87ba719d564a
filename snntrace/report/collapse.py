"""Why one trace serves all units of a group, or why each needs its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from snntrace.compiler.uniform import can_collapse
from snntrace.executors.factored import FactoredLayout

if TYPE_CHECKING:
    from snntrace.executors.engine import Engine
    from snntrace.executors.layout import Layout


def why_collapsed(engine: Engine, layout: Layout) -> str:
    """Say why one trace serves all units, or why not.

    Parameters
    ----------
    engine : Engine
        The graph under a rule.
    layout : Layout
        The trace.

    Returns
    -------
    str
        The reason.
    """
    group = layout.route.group
    if isinstance(layout, FactoredLayout):
        return "the rule keeps what came in and what units made of it apart"
    if layout.collapsed:
        return "D and D_f are the same for all units"
    if not group.diagonal:
        return "units act on each other without a weight: every state has a sensitivity to every weight"
    if layout.route.through:
        return "it acts through another weight: every state has a sensitivity to each of its elements"
    if not layout.relation.mixing:
        return "each element of the parameter has its own"
    if not can_collapse(layout.route):
        return "it acts on a part of the group"
    if engine.recursion.couples(group):
        return "what a unit does to itself through its recurrent weight differs from unit to unit"
    if group.index not in engine.uniform:
        return "fast_solve=False"
    uniform, labels = engine.uniform[group.index], [leaf.label for leaf in group.leaves]
    uneven = [
        f"d {labels[s]} / d {labels[q]} of the step before"
        for s, row in enumerate(uniform.d)
        for q, same in enumerate(row)
        if not same
    ]
    if engine.rule.recursion not in ("diagonal", "coupled"):
        uneven = []
    uneven += [f"d {labels[s]} / d its input" for s, same in enumerate(uniform.df[layout.site]) if not same]
    return f"{' and '.join(uneven)} {'differs' if len(uneven) == 1 else 'differ'} from unit to unit"
