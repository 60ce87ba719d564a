"""Whole recordings on a stream: every step of one in compiled code, where the loss is a known one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from snntrace.events.spikes import Spikes
from snntrace.executors.lazy import LazySteps
from snntrace.executors.unit_lists import wrong_units
from snntrace.rules.projection import check_target
from snntrace.target_rows import recording_target

if TYPE_CHECKING:
    from snntrace.stream import Stream

Array = Any

GIVEN, CROSS_ENTROPY, SQUARED_ERROR = 1, 2, 3
LOSSES = {None: 0, "cross_entropy": CROSS_ENTROPY, "squared_error": SQUARED_ERROR}
"""The losses, by the number that kernels take; `GIVEN` stands for errors that are known beforehand."""


class Recording(NamedTuple):
    """What a recording gave: the results of all steps, and the sum of their losses."""

    outs: Array
    loss: float


@dataclass(frozen=True)
class Teaching:
    """What a recording is learnt from; see `Stream.run`."""

    loss: str | None
    labels: Any
    values: Any
    errors: Any
    y_target: Any
    scale: float

    @property
    def kind(self) -> int:
        """The number of the loss."""
        return LOSSES[self.loss] if self.errors is None else GIVEN

    @property
    def given(self) -> Any:
        """Values or errors, whichever there are."""
        return self.values if self.errors is None else self.errors


def run_recording(stream: Stream, xs: Any, teaching: Teaching) -> Recording:
    """Run a recording, and learn from it.

    Parameters
    ----------
    stream : Stream
        The stream.
    xs : Spikes, or array of shape (time, batch, n_in)
        The input.
    teaching : Teaching
        What is learnt.

    Returns
    -------
    Recording
        The results and the loss.

    Raises
    ------
    ValueError
        If an argument does not fit.
    """
    xs = xs if isinstance(xs, Spikes) else np.asarray(xs)
    check_recording(stream, xs, teaching)
    length = int(xs.shape[0])
    shape = (length, stream.batch, stream.graph.step.results[0].shape[-1])
    kind, given = teaching.kind, teaching.given
    if given is not None and np.size(given) != int(np.prod(shape)):
        raise ValueError(
            f"{stream.who}: values and errors must be of shape {shape}, got {np.shape(given)}. "
            "Give one number for each result."
        )
    labels = np.zeros((1, stream.batch), np.int64)
    if teaching.labels is not None:
        check_target(stream.who, np.asarray(teaching.labels), shape[-1], (length, *stream.rows))
        labels = np.ascontiguousarray(teaching.labels, np.int64).reshape(length, stream.batch)
    if kind > 0:
        stream.learner.projection.check(teaching.y_target, (length,))
    lazy = stream.lazy
    if lazy is None:
        return _run_dense(stream, xs, teaching, labels)
    numbers = np.zeros((1, 1, 1)) if given is None else np.asarray(given).reshape(shape)
    numbers = np.ascontiguousarray(numbers, lazy.dtype)
    wrong, ys, losses = lazy.run(
        length,
        _event_arguments(stream, xs, lazy),
        (kind, teaching.scale / stream.batch, labels, numbers),
        recording_target(stream, lazy, teaching.y_target, length),
    )
    if wrong:
        raise ValueError(wrong_units(stream.who, stream.graph.step.arguments[0].shape[-1]))
    stream.present = True
    return Recording(ys.reshape(length, *stream.graph.step.results[0].shape), float(losses.sum()))


def loss_and_error(kind: int, y: Array, wanted: Array, scale: float) -> tuple[float, Array]:
    """Compute a step's loss and its gradient at the result, as the kernels do.

    Parameters
    ----------
    kind : int
        1: `wanted` is the gradient; 2: cross-entropy of labels; 3: squared error of values.
    y : array of shape (batch, n)
        The result.
    wanted : array
        Labels (batch,) or values (batch, n).
    scale : float
        A factor of the loss.

    Returns
    -------
    loss : float
        The loss, 0 for a given gradient.
    error : array of shape (batch, n)
        Its gradient.
    """
    if kind == GIVEN:
        return 0.0, np.asarray(wanted).reshape(y.shape)
    if kind == SQUARED_ERROR:
        difference = y - np.asarray(wanted).reshape(y.shape)
        return 0.5 * scale * float((difference**2).sum()), scale * difference
    shifted = np.exp(y - y.max(1, keepdims=True))
    share = shifted / shifted.sum(1, keepdims=True)
    known = np.flatnonzero(wanted >= 0)
    error = np.zeros_like(share)
    error[known] = scale * share[known]
    error[known, wanted[known]] -= scale
    return -scale * float(np.log(share[known, wanted[known]]).sum()), error


def check_recording(stream: Stream, xs: Any, teaching: Teaching) -> None:
    """Refuse an input or a loss that does not fit.

    Raises
    ------
    ValueError
        If something does not fit.
    """
    step, who, loss = stream.graph.step, stream.who, teaching.loss
    if len(step.arguments) != 1 or len(step.results) != 1:
        raise ValueError(
            f"{who}: run must have a model of one input and one result, got {len(step.arguments)} and "
            f"{len(step.results)}. Call step and learn."
        )
    shape = tuple(step.arguments[0].shape)
    wanted = (stream.batch, shape[-1]) if isinstance(xs, Spikes) else shape
    if tuple(xs.shape[1:]) != wanted or xs.shape[0] == 0:
        raise ValueError(
            f"{who}: the input must be of shape (time, {', '.join(map(str, wanted))}), "
            f"got {tuple(xs.shape)}. Compile again for another batch size or width."
        )
    if loss not in LOSSES:
        raise ValueError(
            f"{who}: loss must be 'cross_entropy', 'squared_error' or None, got loss={loss!r}. "
            "Use step and learn for another one."
        )
    needed = {
        "labels": loss == "cross_entropy",
        "values": loss == "squared_error",
        "errors": teaching.errors is not None and loss is None,
    }
    for name, need in needed.items():
        present = getattr(teaching, name) is not None
        if present != need:
            raise ValueError(
                f"{who}: labels go with loss='cross_entropy', values with 'squared_error', errors with "
                f"neither, got loss={loss!r} {'with' if present else 'without'} {name}. "
                "Give what the loss needs."
            )


def _event_arguments(stream: Stream, xs: Any, lazy: LazySteps) -> tuple[Array, Array, Array, Array]:
    none, no_sizes = np.zeros(0, np.int32), np.zeros(0, lazy.dtype)
    if not isinstance(xs, Spikes):
        raster = np.ascontiguousarray(xs, lazy.dtype).reshape(len(xs), stream.batch, -1)
        return raster, np.zeros((stream.batch, 1), np.int32), none, no_sizes
    return (
        np.zeros((1, 0, 0), lazy.dtype),
        np.ascontiguousarray(xs.pointers, np.int32),
        np.ascontiguousarray(xs.indices, np.int32),
        no_sizes if xs.values is None else np.ascontiguousarray(xs.values, lazy.dtype),
    )


def _run_dense(stream: Stream, xs: Any, teaching: Teaching, labels: Array) -> Recording:
    """Run a recording step by step."""
    step, kind, given = stream.graph.step, teaching.kind, teaching.given
    outs, total = [], 0.0
    length, last = xs.shape[0], stream.learner.projection.at_end
    raster = np.asarray(xs.dense()) if isinstance(xs, Spikes) else xs
    for t in range(length):
        out = np.asarray(stream.step(raster[t].reshape(step.arguments[0].shape)))
        outs.append(out)
        if kind == 0:
            continue
        wanted = labels[t] if kind == CROSS_ENTROPY else np.asarray(given[t])
        scale = teaching.scale / stream.batch
        loss, error = loss_and_error(kind, out.reshape(stream.batch, -1), wanted, scale)
        total += loss
        target = teaching.y_target
        if target is not None and last:
            target = target if t == length - 1 else None
        elif target is not None:
            target = target[t]
        stream.learn(error.reshape(out.shape), y_target=target)
    return Recording(np.stack(outs), total)
