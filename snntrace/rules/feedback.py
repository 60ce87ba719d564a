"""Feedback matrices: what projects a target, or an error, onto hidden groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from snntrace.compiler.graph import Graph
from snntrace.jaxprs import Variable

Array = Any

TIMINGS = ("per-step", "sequence-end")
ENTRIES = ("state", "output")
REDUCTIONS = ("sum", "mean")


@dataclass(frozen=True)
class Feedback:
    r"""How projected signals reach hidden groups, :math:`L_g = y^* B_g`.

    Parameters
    ----------
    B_list : sequence of (array of shape (n_target, n_units) or None), or 'normal'
        One fixed matrix for each hidden group; None leaves a group the loss's own gradient. 'normal'
        draws them.
    target_timing : {'per-step', 'sequence-end'}
        Whether a target belongs to every step, or only to those it is given for.
    signal : {'state', 'output'}
        Whether the projection is the signal at every state of the group, or at the unit's output, from
        where it goes through the surrogate derivative.
    reduction : {'sum', 'mean'}
        Whether samples of a batch are summed, or averaged as most losses are.
    scale : float
        Standard deviation of drawn matrices.
    seed : int
        Seed of drawn matrices.
    output : sequence of (int or None), optional
        For each group, which of its candidates is the unit's output, where there are several.

    Raises
    ------
    TypeError
        If `B_list` is neither a sequence nor a known word.
    ValueError
        If a choice is unknown, or a matrix is not a matrix.
    """

    B_list: Any = None
    target_timing: str = "per-step"
    signal: str = "state"
    reduction: str = "sum"
    scale: float = 1.0
    seed: int = 0
    output: Sequence[int | None] | None = None

    def check(self, who: str) -> None:
        """Validate what can be validated before a model is known."""
        for name, value, known in (
            ("target_timing", self.target_timing, TIMINGS),
            ("signal", self.signal, ENTRIES),
            ("reduction", self.reduction, REDUCTIONS),
        ):
            if value not in known:
                raise ValueError(f"{who}: {name} must be one of {known}, got {name}={value!r}. Choose one.")
        if isinstance(self.B_list, str):
            if self.B_list != "normal":
                raise ValueError(
                    f"{who}: B_list must be a sequence of matrices or 'normal', got B_list={self.B_list!r}. "
                    "Write B_list='normal' to draw them."
                )
            return
        if not isinstance(self.B_list, Sequence):
            raise TypeError(
                f"{who}: B_list must be a sequence with one matrix for each hidden group, "
                f"got B_list={type(self.B_list).__name__}. Write B_list=[B], or B_list='normal'."
            )
        for i, matrix in enumerate(self.B_list):
            if matrix is not None and jnp.ndim(matrix) != 2:
                raise ValueError(
                    f"{who}: each feedback matrix must be of shape (n_target, n_units), "
                    f"got B_list[{i}].shape={jnp.shape(matrix)}. Reshape it."
                )

    def matrices(self, who: str, graph: Graph) -> tuple[Array | None, ...]:
        """Return one matrix for each group, checked against the groups or drawn for them."""
        if isinstance(self.B_list, str):
            return self._draw(who, graph)
        if len(self.B_list) != len(graph.groups):
            names = "; ".join(f"{g.index}: {g.name}" for g in graph.groups)
            raise ValueError(
                f"{who}: B_list must have one entry for each hidden group, got {len(self.B_list)} "
                f"for {len(graph.groups)} groups ({names}). "
                "Give None for a group that takes the loss's gradient."
            )
        result: list[Array | None] = []
        for group, matrix in zip(graph.groups, self.B_list, strict=True):
            if matrix is None:
                result.append(None)
                continue
            if jnp.shape(matrix)[1] != group.width:
                raise ValueError(
                    f"{who}: a feedback matrix must have as many columns as its hidden group has units, "
                    f"got B_list[{group.index}].shape={jnp.shape(matrix)} for {group.width} units "
                    f"({group.name}). Draw it with shape (n_target, {group.width})."
                )
            result.append(jax.lax.stop_gradient(jnp.asarray(matrix)))
        sizes = {m.shape[0] for m in result if m is not None}
        if len(sizes) > 1:
            raise ValueError(
                f"{who}: all feedback matrices must have the same number of rows, got {sorted(sizes)}. "
                "Give every group the same target."
            )
        return tuple(result)

    def _draw(self, who: str, graph: Graph) -> tuple[Array | None, ...]:
        shapes = float_results(graph)
        if len(shapes) != 1 or not shapes[0]:
            raise ValueError(
                f"{who}: B_list='normal' needs a model with one result whose last axis is the target's, "
                f"got results of shapes {shapes}. Pass the matrices."
            )
        n_target = shapes[0][-1]
        readouts = _groups_of_readout(graph, n_target)
        with jax.ensure_compile_time_eval():
            keys = jax.random.split(jax.random.key(self.seed), len(graph.groups))
            return tuple(
                None
                if group.index in readouts
                else self.scale * jax.random.normal(key, (n_target, group.width))
                for key, group in zip(keys, graph.groups, strict=True)
            )


def _groups_of_readout(graph: Graph, n_target: int) -> set[int]:
    """Find groups that are the read-out itself: their state reaches the result with no weight between."""
    found: set[int] = set()
    products = {r.equation for r in graph.relations.mixing}
    if any(e in products for e in graph.readout):
        return found
    inputs = {v for e in graph.readout for v in e.inputs} | set(graph.step.results)
    for group in graph.groups:
        if group.width == n_target and any(leaf.new in inputs for leaf in group.leaves):
            found.add(group.index)
    return found


def float_results(graph: Graph) -> list[tuple[int, ...]]:
    """List the shapes of the step's results that carry gradient."""
    atoms = graph.step.results
    return [a.shape for a in atoms if not isinstance(a, Variable) or a.is_float]


def check_error_width(who: str, graph: Graph, matrices: Sequence[Array | None]) -> None:
    """Refuse matrices that cannot project the error at the step's result.

    Raises
    ------
    ValueError
        If the model has several results, or a matrix another number of rows than the result's last axis.
    """
    shapes = [atom.shape for atom in graph.step.results]
    rows = sorted({m.shape[0] for m in matrices if m is not None})
    if len(shapes) != 1 or not shapes[0] or any(r != shapes[0][-1] for r in rows):
        raise ValueError(
            f"{who}: signal='random' needs a model with one result, and as many rows in each matrix as its "
            f"last axis, got results of shapes {shapes} and {rows} rows. Return the output alone."
        )
