"""What a learner hands to a step as signals from outside."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from snntrace.compiler.graph import Graph, Group
from snntrace.rules.feedback import Feedback
from snntrace.rules.rule import Rule

Array = Any


class Projection:
    """Turns targets into signals for hidden groups.

    Parameters
    ----------
    rule : Rule
        The learning rule.
    feedback : Feedback, optional
        How it projects.
    graph : Graph
        The model's groups.
    matrices : tuple of array or None
        One feedback matrix for each group.
    """

    def __init__(
        self, rule: Rule, feedback: Feedback | None, graph: Graph, matrices: tuple[Array | None, ...]
    ) -> None:
        self.rule = rule
        self.feedback = feedback
        self.graph = graph
        self.matrices = matrices

    @property
    def at_end(self) -> bool:
        """Whether only a sequence's last step has a target."""
        return self.feedback is not None and self.feedback.target_timing == "sequence-end"

    def check(self, target: Any, leading: tuple[int, ...]) -> None:
        """Refuse a target that is missing, superfluous, of a wrong shape or no class.

        Parameters
        ----------
        target : array or None
            A target for one step, or for a sequence.
        leading : tuple of int
            The time axis of a sequence; empty for one step.

        Raises
        ------
        ValueError
            If the target does not fit.
        """
        who = self.rule.name
        if self.rule.signal != "target":
            if target is not None:
                raise ValueError(
                    f"{who}: y_target belongs to rules that project a target, got y_target with "
                    f"signal={self.rule.signal!r}. Leave it out, or choose OSTTP."
                )
            return
        if target is None:
            if not self.at_end:
                raise ValueError(
                    f"{who}: target_timing='per-step' needs y_target at every step, got y_target=None. "
                    "Pass y_target, or use target_timing='sequence-end'."
                )
            return
        for group, matrix in zip(self.graph.groups, self.matrices, strict=True):
            if matrix is not None:
                rows = (*(() if self.at_end else leading), *group.shape[: group.n_row_axes])
                check_target(who, target, matrix.shape[0], rows)

    def __call__(self, target: Any, leading: tuple[int, ...]) -> tuple[Array | None, ...]:
        """Project a target, ``y* B``.

        Parameters
        ----------
        target : array or None
            A target for one step, or for a sequence.
        leading : tuple of int
            The time axis of a sequence; empty for one step.

        Returns
        -------
        tuple of array or None
            For each group, its signal in (*leading, *group shape). A rule with random feedback gets the
            matrices: it projects the error once that is known.
        """
        self.check(target, leading)
        if self.rule.signal != "target":
            return self.matrices
        signals: list[Array | None] = []
        for group, matrix in zip(self.graph.groups, self.matrices, strict=True):
            if matrix is None:
                signals.append(None)
                continue
            silent = jnp.zeros((*leading, *group.shape), group.leaves[0].old.dtype)
            if target is None:
                signals.append(silent)
            elif self.at_end and leading:
                signals.append(silent.at[-1].set(self._project(target, matrix, group, ())))
            else:
                signals.append(self._project(target, matrix, group, leading))
        return tuple(signals)

    def _project(self, target: Any, matrix: Array, group: Group, leading: tuple[int, ...]) -> Array:
        dtype = group.leaves[0].old.dtype
        n_rows = len(leading) + group.n_row_axes
        array = jnp.asarray(target)
        if is_labels(array, n_rows):
            array = jax.nn.one_hot(array, matrix.shape[0], dtype=dtype)
        signal = array.astype(dtype) @ matrix.astype(dtype)
        if self.feedback is not None and self.feedback.reduction == "mean":
            signal = signal / int(np.prod(group.shape[: group.n_row_axes], dtype=int))
        return signal.reshape(*leading, *group.shape)


def is_labels(target: Array, n_rows: int) -> bool:
    """Tell whether a target is class labels: integers of the batch's rank, -1 where there is none."""
    return bool(jnp.issubdtype(target.dtype, jnp.integer)) and target.ndim == n_rows


def check_target(who: str, target: Any, n_target: int, rows: tuple[int, ...]) -> None:
    """Refuse a target that fits neither (*rows, n_target) nor, as labels, rows.

    Raises
    ------
    ValueError
        If the shape fits neither, or if a label that is known is no class.
    """
    array = jnp.asarray(target)
    labels = is_labels(array, len(rows))
    if array.shape != (rows if labels else (*rows, n_target)):
        raise ValueError(
            f"{who}: y_target must be of shape {(*rows, n_target)}, or class labels of shape {rows}, "
            f"got y_target.shape={array.shape}. Its last axis must be the rows of the feedback matrices."
        )
    if labels and not isinstance(array, jax.core.Tracer) and array.size:
        # In numpy: inside a trace, jax.numpy would make tracers of known labels.
        known = np.asarray(target)
        low, high = int(known.min()), int(known.max())
        if low < -1 or high >= n_target:
            raise ValueError(
                f"{who}: class labels must be in 0..{n_target - 1}, or -1 for no target, got labels from "
                f"{low} to {high}. Number the classes from 0, or give the feedback matrices more rows."
            )
