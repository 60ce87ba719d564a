"""What a rule projects, as a stream's kernels take it: of one step, and of all steps of a recording."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from snntrace.executors.lazy import LazySteps
from snntrace.rules.projection import check_target, is_labels

if TYPE_CHECKING:
    from snntrace.stream import Stream

Array = Any

NO_TARGET, LABELS, VALUES, ERROR = 0, 1, 2, 3
"""Kinds of a recording's target, by the number that kernels take."""


def step_target(stream: Stream, lazy: LazySteps, target: Any, error: Array) -> Array | None:
    """Lay out what a rule projects at one step.

    Parameters
    ----------
    stream : Stream
        The stream.
    lazy : LazySteps
        Its steps.
    target : array or None
        The target.
    error : array of shape (batch, n_results)
        The loss's gradient at the results.

    Returns
    -------
    array of shape (batch, n_target) or None
        None if nothing is projected.

    Raises
    ------
    ValueError
        If the target does not fit.
    """
    signal = stream.engine.rule.signal
    if signal == "random":
        return error
    if signal == "backprop" or target is None:
        stream.learner.projection.check(target, ())
        return None
    check_target(stream.who, target, lazy.n_target, tuple(stream.rows))
    given = np.asarray(target)
    if not is_labels(given, len(stream.rows)):
        return np.ascontiguousarray(given, lazy.dtype).reshape(stream.batch, lazy.n_target)
    rows = np.zeros((stream.batch, lazy.n_target), lazy.dtype)
    labels = given.reshape(-1)
    known = np.flatnonzero(labels >= 0)
    rows[known, labels[known]] = 1
    return rows


def recording_target(stream: Stream, lazy: LazySteps, target: Any, length: int) -> tuple[int, Array, Array]:
    """Lay out what a rule projects at the steps of a recording.

    Parameters
    ----------
    stream : Stream
        The stream.
    lazy : LazySteps
        Its steps.
    target : array or None
        The target, which was checked; of the last step alone if the rule has one only there.
    length : int
        Steps of the recording.

    Returns
    -------
    kind : int
        Which of the two follows, if one does.
    labels : array of int (length, batch)
        Classes, -1 where there is none.
    values : array of shape (length, batch, n_target)
        Targets that are no classes.
    """
    labels, values = np.full((1, 1), -1), np.zeros((1, 1, 1), lazy.dtype)
    if stream.engine.rule.signal == "random":
        return ERROR, labels, values
    if target is None:
        return NO_TARGET, labels, values
    given, last = np.asarray(target), stream.learner.projection.at_end
    steps = 1 if last else length
    if is_labels(given, len(stream.rows) + (not last)):
        rows = np.full((length, stream.batch), -1)
        rows[-steps:] = given.reshape(steps, stream.batch)
        return LABELS, rows, values
    wide = np.zeros((length, stream.batch, lazy.n_target), lazy.dtype)
    wide[-steps:] = given.reshape(steps, stream.batch, lazy.n_target)
    return VALUES, labels, wide
