"""What the compiler found and decided, in words and as data."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snntrace.report.approximation import Approximations
from snntrace.report.drawing import draw_report
from snntrace.report.explanation import Explanation, explain
from snntrace.report.routes import Routes
from snntrace.report.tables import Section, html_of, rich_of
from snntrace.report.writing import data_of, sections_of, text_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from snntrace.executors.engine import Engine
    from snntrace.memory import Memory


@dataclass(frozen=True)
class ProductPath:
    """Which way a product goes in sequences of `Spikes`: ``'dense'`` or ``'event'``, and why."""

    parameters: tuple[str, ...]
    way: str
    reason: str


class Report:
    """Groups, relations, the route of every parameter, and what is left out of its gradient.

    Print it, `rich.print` it or let a notebook show it; `as_dict` is the same as data, `figure` a picture.

    Parameters
    ----------
    model : brainstate.nn.Module
        The model.
    engine : Engine
        The compiled engine.
    path : str
        How sequences run.
    products : tuple of ProductPath
        Which way each product goes.
    memory : Memory
        What traces and sequences take.
    initial : mapping of str to str, optional
        Hidden states with the parameters that they begin with.
    """

    def __init__(
        self,
        model: Any,
        engine: Engine,
        path: str,
        products: tuple[ProductPath, ...],
        memory: Memory,
        initial: Mapping[str, str] | None = None,
    ) -> None:
        self.memory = memory
        self.initial = dict(initial or {})
        self.path = path
        self.products = products
        self.engine = engine
        self.rule = engine.rule
        self.graph = engine.graph
        self.layouts = engine.layouts
        self.model_name = type(model).__name__
        self.approximations = Approximations(engine)
        self.routes = Routes(engine, self.approximations, self.initial)
        self.parameters = self.routes.of_parameters()

    def explain(self, path: str | Sequence[Any]) -> Explanation:
        """Explain one parameter.

        Parameters
        ----------
        path : str or tuple
            The parameter's name, or its path in ``model.states(brainstate.ParamState)``.

        Returns
        -------
        Explanation
            Its route and traces, what they leave out, and what to write instead.
        """
        return explain(self, path)

    # Forms -------------------------------------------------------------------------------------

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain data."""
        return data_of(self)

    def __str__(self) -> str:
        """Write the report as text."""
        return text_of(self)

    def __repr__(self) -> str:
        """Write the report as text."""
        return str(self)

    def sections(self) -> list[Section]:
        """Lay the report out as tables."""
        return sections_of(self)

    def _foot(self) -> str:
        return f"Memory: {self.memory}. Path: {self.path}"

    def __rich__(self) -> Any:
        """Show the report as tables in a terminal."""
        return rich_of(f"{self.model_name} under {self.rule.name}", self.sections(), self._foot())

    def _repr_html_(self) -> str:
        """Show the report as tables in a notebook."""
        return html_of(f"{self.model_name} under {self.rule.name}", self.sections(), self._foot())

    def figure(self) -> Figure:
        """Draw groups as boxes, weights as arrows between them, and routes as colours.

        Returns
        -------
        matplotlib.figure.Figure
            The picture.
        """
        return draw_report(self)

    def draw(self, path: str | os.PathLike[str]) -> None:
        """Write the picture to a file; its ending says the format, such as ``.png`` or ``.svg``.

        Parameters
        ----------
        path : path
            The file.
        """
        target = Path(path)
        partial = target.with_name(f".{target.stem}.partial{target.suffix}")
        try:
            self.figure().savefig(partial, dpi=200, bbox_inches="tight")
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
