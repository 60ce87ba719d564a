"""Where a relation's output is perturbed: behind the sums that it enters alone.

``x W_in + z W_rec + b`` has one derivative along all three terms. Following each output through additions
that nothing else looks into, relations that end at the same value share one perturbation, one Df and one
signal.
"""

from __future__ import annotations

from snntrace.compiler.graph import Graph
from snntrace.compiler.relations import Elementwise, Operation
from snntrace.jaxprs import Equation, Variable

Site = Variable | Elementwise
SUMS = frozenset({"add", "add_any"})


def find_sites(graph: Graph) -> dict[int, Site]:
    """Return the site of each temporal relation, by the relation's id."""
    program = graph.step.program
    consumers: dict[Variable, list[Equation]] = {}
    for equation in program.equations:
        for atom in equation.inputs:
            if isinstance(atom, Variable):
                consumers.setdefault(atom, []).append(equation)
    ends = {*graph.new_states, *graph.step.results, *(leaf.new for leaf in graph.step.others)}

    def climb(variable: Variable) -> Variable:
        while variable not in ends:
            users = consumers.get(variable, [])
            if len(users) != 1 or users[0].name not in SUMS:
                break
            out = users[0].outputs[0]
            if out in ends or out.shape != variable.shape or out.dtype != variable.dtype:
                break
            variable = out
        return variable

    sites: dict[int, Site] = {}
    for relation in graph.temporal:
        if isinstance(relation, Operation):
            sites[id(relation)] = climb(relation.output)
            continue
        (equation, _), *more = relation.uses
        out = equation.outputs[0]
        summed = not more and equation.name in SUMS and out.shape == relation.shape and out not in ends
        sites[id(relation)] = climb(out) if summed else relation
    return sites
