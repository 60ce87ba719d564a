"""The unit's output: the elementwise value that leaves a group towards the first thing that mixes it."""

from __future__ import annotations

from collections.abc import Sequence

from snntrace.compiler.graph import Graph, Group
from snntrace.compiler.positions import IDENTITY, act_on
from snntrace.compiler.primitives import is_elementwise
from snntrace.errors import CompileError
from snntrace.jaxprs import Equation, Variable


def unit_outputs(
    graph: Graph, wanted: Sequence[bool], chosen: Sequence[int | None] | None
) -> tuple[Variable | None, ...]:
    """Find each group's output.

    Parameters
    ----------
    graph : Graph
        What the compiler found.
    wanted : sequence of bool
        The groups that need one.
    chosen : sequence of int or None, optional
        For each group, which of several candidates to take.

    Returns
    -------
    tuple of Variable or None
        One for each group.

    Raises
    ------
    ValueError
        If `chosen` has not one entry for each group.
    CompileError
        If a group has no output, or several and none was chosen.
    """
    if chosen is not None and len(chosen) != len(graph.groups):
        raise ValueError(
            f"signal='output': output must have one entry for each hidden group, got {len(chosen)} for "
            f"{len(graph.groups)} groups. Give None for a group with one output."
        )
    result: list[Variable | None] = []
    for group, needed in zip(graph.groups, wanted, strict=True):
        candidates = output_candidates(graph, group) if needed else []
        pick = chosen[group.index] if chosen is not None else None
        if not needed:
            result.append(None)
        elif pick is not None and 0 <= pick < len(candidates):
            result.append(candidates[pick][0])
        elif len(candidates) == 1 and pick is None:
            result.append(candidates[0][0])
        else:
            listed = "; ".join(f"{i}: {where}" for i, (_, where) in enumerate(candidates)) or "none"
            raise CompileError(
                f"signal='output': a hidden group must have one output after its new state, got for "
                f"group {group.index} ({group.name}) these candidates: {listed}. "
                "Choose with output=[...], one number for each group, or use signal='state'."
            )
    return tuple(result)


def output_candidates(graph: Graph, group: Group) -> list[tuple[Variable, str]]:
    """List the values of a group's new states that something mixing, or the result, takes."""
    program = graph.step.program
    own = {leaf.new for leaf in group.leaves}
    follows: dict[Variable, str] = {v: "the state itself" for v in own}
    for equation in program.equations:
        if is_elementwise(equation) and any(a in follows for a in equation.inputs):
            out = equation.outputs[0]
            if out.is_float and out.shape == group.shape and _differentiable(equation):
                follows[out] = equation.where
    taken: dict[Variable, str] = {}
    for equation in program.equations:
        if not is_elementwise(equation):
            taken.update((a, follows[a]) for a in equation.inputs if a in follows)
    taken.update((a, follows[a]) for a in graph.step.results if a in follows)
    closure = set(graph.closure(group))
    merged: dict[tuple[object, ...], tuple[Variable, str]] = {}
    producers = {out: e for e in program.equations for out in e.outputs}
    for variable, where in taken.items():
        maker = producers.get(variable)
        if maker in closure and variable not in own:
            continue
        merged.setdefault(_signature(variable, producers, own), (variable, where))
    return list(merged.values())


def _differentiable(equation: Equation) -> bool:
    if equation.name == "stop_gradient":
        return False
    reached, _ = act_on([equation], {equation.outputs[0]: IDENTITY}, equation.outputs[0].shape, ())
    return any(v is not equation.outputs[0] for v in reached)


def _signature(
    variable: Variable, producers: dict[Variable, Equation], own: set[Variable]
) -> tuple[object, ...]:
    """Describe how a value is made, so that the same computation written twice counts once."""
    maker = producers.get(variable)
    if maker is None or variable in own:
        return (id(variable),)
    inputs = tuple(
        _signature(a, producers, own) if isinstance(a, Variable) else ("constant", str(a.value))
        for a in maker.inputs
    )
    return (maker.name, str(sorted(maker.params.items(), key=lambda kv: kv[0])), *inputs)
