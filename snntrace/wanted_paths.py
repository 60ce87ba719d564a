"""The way that a user wants for each weight matrix: dense products, events, or whichever is faster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from snntrace.compiler.graph import Graph
from snntrace.compiler.operands import Operand, operand_of
from snntrace.compiler.relations import Operation

PATHS = ("auto", "dense", "event")


@dataclass(frozen=True, eq=False)
class Product:
    """A product with the names of its weights, and the way that a user wants for it.

    Attributes
    ----------
    relation : Operation
        The product.
    names : tuple of str
        Paths of the parameters that its weight is made of.
    operand : Operand
        What it multiplies.
    wanted : {'auto', 'dense', 'event'}
        The first pattern's way.
    """

    relation: Operation
    names: tuple[str, ...]
    operand: Operand
    wanted: str


def wanted_products(who: str, graph: Graph, patterns: Mapping[str, str]) -> tuple[Product, ...]:
    """List a model's products, with the way that is wanted for each.

    Parameters
    ----------
    who : str
        Name for messages.
    graph : Graph
        The model.
    patterns : mapping of str to {'auto', 'dense', 'event'}
        Names or patterns; the first that fits counts, and what none fits is ``'auto'``.

    Returns
    -------
    tuple of Product
        In program order.

    Raises
    ------
    ValueError
        If a pattern fits no weight matrix.
    """
    step, found = graph.step, []
    for relation in graph.relations.operations:
        leaves = [leaf for leaf in step.params if leaf.old in relation.sources]
        names = tuple(dict.fromkeys(".".join(map(str, step.param_paths[x.state])) for x in leaves))
        fitting = [way for pattern, way in patterns.items() if fits(pattern, names)]
        wanted = fitting[0] if fitting else "auto"
        found.append(Product(relation, names, operand_of(graph, relation), wanted))
    known = sorted({name for product in found for name in product.names})
    for pattern in patterns:
        if pattern != "*" and not fits(pattern, known):
            raise ValueError(
                f"{who}: path must name weight matrices, got {pattern!r}, which fits none. "
                f"Their names are {', '.join(map(repr, known)) or 'none'}."
            )
    return tuple(found)


def fits(pattern: str, names: Sequence[str]) -> bool:
    """Tell whether a pattern fits one of several names."""
    return any(fnmatchcase(name, pattern) for name in names)


def check_path(who: str, path: Any) -> None:
    """Refuse what is no path.

    Raises
    ------
    ValueError
        If a way is unknown.
    """
    known = ", ".join(PATHS)
    if isinstance(path, Mapping):
        for name, way in path.items():
            if not isinstance(name, str) or way not in PATHS:
                raise ValueError(
                    f"{who}: path must map names of weight matrices to one of {known}, "
                    f"got path={dict(path)!r}. Write e.g. path={{'*': 'auto'}}."
                )
    elif path not in PATHS:
        raise ValueError(f"{who}: path must be one of {known}, got path={path!r}. Use 'auto'.")
