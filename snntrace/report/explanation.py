"""One parameter explained: its way to the loss, its traces, and what they leave out."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from snntrace.compiler.relations import Temporal
from snntrace.report.approximation import Approximation
from snntrace.report.collapse import why_collapsed
from snntrace.report.tables import Section, html_of, rich_of

if TYPE_CHECKING:
    from snntrace.report.report import Report


@dataclass(frozen=True)
class TraceOf:
    """One trace of a parameter.

    Attributes
    ----------
    group : int
        The hidden group that it leads into.
    states : tuple of str
        The group's states.
    primitive, where : str
        The operation with which the parameter acts, and the line that made it.
    shape : tuple
        Shape of the trace; of a factored one, the shapes of both factors.
    form : str
        What one entry of it belongs to.
    n_bytes : int
        Its memory.
    collapsed : bool
        Whether one trace serves all units.
    why : str
        Why it does, or why not.
    """

    group: int
    states: tuple[str, ...]
    primitive: str
    where: str
    shape: tuple[Any, ...]
    form: str
    n_bytes: int
    collapsed: bool
    why: str


@dataclass(frozen=True)
class Explanation:
    """How one parameter gets its gradient, what that leaves out, and what to write instead.

    Attributes
    ----------
    name : str
        The parameter's name in the report.
    rule : str
        The learning rule.
    route, reason : str
        As in the report.
    traces : tuple of TraceOf
        Its traces.
    direct : tuple of str
        The operations, with their lines, in which the step's own gradient reaches it.
    approximations : tuple of Approximation
        What the rule leaves out; nothing if the gradient is that of backpropagation through time.
    """

    name: str
    rule: str
    route: str
    reason: str
    traces: tuple[TraceOf, ...]
    direct: tuple[str, ...]
    approximations: tuple[Approximation, ...]

    @property
    def exact(self) -> bool:
        """Whether the gradient is that of backpropagation through time."""
        return not self.approximations

    def as_dict(self) -> dict[str, Any]:
        """Return the explanation as plain data."""
        return {**asdict(self), "exact": self.exact}

    def sections(self) -> list[Section]:
        """Lay the explanation out as tables."""
        result = [Section("Parameter", ("name", "rule", "route", "reason"), [self._head()])]
        if self.traces:
            head = ("operation", "line", "group", "trace", "MiB", "one for all units")
            result.append(Section("Traces", head, [self._trace_row(t) for t in self.traces]))
        if self.direct:
            result.append(Section("The step's own gradient", ("operation",), [(d,) for d in self.direct]))
        rows = [(a.what, a.place, a.instead) for a in self.approximations]
        if rows:
            result.append(Section("Left out", ("what", "operation", "instead"), rows))
        return result

    def _head(self) -> tuple[str, ...]:
        return (self.name, self.rule, self.route, self.reason)

    def _trace_row(self, t: TraceOf) -> tuple[str, ...]:
        shared = f"{'yes' if t.collapsed else 'no'}: {t.why}"
        group = f"{t.group}: {', '.join(t.states)}"
        return (t.primitive, t.where, group, str(t.shape), f"{t.n_bytes / 2**20:.2f}", shared)

    def __str__(self) -> str:
        """Write the explanation as text."""
        lines = [f"{self.name} under {self.rule}: {self.route}, {self.reason}"]
        for t in self.traces:
            lines += [
                "",
                f"Trace into group {t.group} ({', '.join(t.states)})",
                f"  by {t.primitive} at {t.where}",
                f"  shape {t.shape}, {t.n_bytes / 2**20:.2f} MiB; {t.form}: {t.why}",
            ]
        if self.direct:
            lines += ["", "The step's own gradient", *(f"  by {place}" for place in self.direct)]
        for a in self.approximations:
            lines += ["", f"Left out: {a.what}", f"  by {a.place}", f"  instead: {a.instead}"]
        return "\n".join([*lines, "", f"Accuracy: {self.accuracy}"])

    @property
    def accuracy(self) -> str:
        """What the approximations cost, in a sentence."""
        if self.route == "unreached":
            return "its gradient is zero, and that is exact"
        if self.exact:
            return "exact, the gradient of backpropagation through time"
        return "an approximation; learner.against_bptt(loss_fn)(xs, ...) measures how good it is on your data"

    def __rich__(self) -> Any:
        """Show the explanation as tables in a terminal."""
        return rich_of(f"{self.name} under {self.rule}", self.sections(), f"Accuracy: {self.accuracy}")

    def _repr_html_(self) -> str:
        """Show the explanation as tables in a notebook."""
        return html_of(f"{self.name} under {self.rule}", self.sections(), f"Accuracy: {self.accuracy}")


def explain(report: Report, path: str | Sequence[Any]) -> Explanation:
    """Explain one parameter of a report.

    Parameters
    ----------
    report : Report
        The report.
    path : str or tuple
        The parameter's name, or its path in ``model.states(brainstate.ParamState)``.

    Returns
    -------
    Explanation
        How it gets its gradient.

    Raises
    ------
    KeyError
        If there is no such parameter.
    """
    wanted = path if isinstance(path, str) else ".".join(map(str, path))
    known = {".".join(map(str, p.path)): p for p in report.parameters}
    if wanted not in known:
        near = difflib.get_close_matches(wanted, known, 3) or list(known)[:20]
        raise KeyError(
            f"explain: path must name a parameter of the report, got path={path!r}. "
            f"Write e.g. {' or '.join(map(repr, near))}."
        )
    parameter = known[wanted]
    leaves = report.routes.arrays_of(parameter.path)
    mine = [layout for layout in report.layouts if leaves & layout.relation.sources]
    return Explanation(
        wanted,
        report.rule.name,
        parameter.route,
        parameter.reason,
        tuple(_trace(report, layout) for layout in mine),
        tuple(f"{e.name} at {e.where}" for e in report.routes.plain_uses(leaves)),
        parameter.approximations,
    )


def _trace(report: Report, layout: Any) -> TraceOf:
    relation: Temporal = layout.relation
    equation, _ = relation.uses[0]
    group = layout.route.group
    states = tuple(leaf.label for leaf in group.leaves)
    return TraceOf(
        group.index,
        states,
        equation.name,
        equation.where,
        tuple(layout.shape),
        layout.form,
        layout.n_bytes,
        layout.collapsed,
        why_collapsed(report.engine, layout),
    )
