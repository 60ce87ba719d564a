"""Which way a sequence is computed: as dense products, or event by event."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax

from snntrace.errors import CompileError
from snntrace.events.spikes import Spikes
from snntrace.executors.engine import Engine
from snntrace.executors.events import EventPass, event_unroll
from snntrace.fused.units import NotFusable

Array = Any
PATHS = ("auto", "dense", "event")


class Paths:
    """The ways in which a compiled learner can run a sequence; the numbers are the same.

    Parameters
    ----------
    who : str
        Name for messages.
    engine : Engine
        The graph under a rule.
    path : {'auto', 'dense', 'event'}
        ``'auto'`` takes the event path for inputs that come as `Spikes`, where the step allows it;
        ``'event'`` takes it for every whole sequence, ``'dense'`` never.
    window : int or None
        Steps of a window; windows run dense.
    fast_solve : bool
        Whether shortcuts are allowed; without, everything runs dense.

    Raises
    ------
    CompileError
        If ``path='event'`` and the step cannot run that way.
    """

    def __init__(self, who: str, engine: Engine, path: str, window: int | None, fast_solve: bool) -> None:
        self.path = path
        self.events: EventPass | None = None
        self.reason = ""
        if path == "dense":
            self.reason = "path='dense'"
        elif not fast_solve or window is not None:
            self.reason = "fast_solve=False" if not fast_solve else f"window={window}"
        elif jax.default_backend() != "cpu":
            self.reason = f"the kernels run on CPU, and the backend is {jax.default_backend()}"
        else:
            try:
                self.events = EventPass(engine)
            except NotFusable as error:
                self.reason = str(error)
        forced = path == "event" and self.events is None
        if forced and jax.default_backend() == "cpu":
            raise CompileError(
                f"{who}: path='event' needs a step whose layers follow each other and act unit by unit, "
                f"got {self.reason}. Use path='auto' or path='dense'."
            )

    def by_events(self, xs: Sequence[Any], carry: bool) -> bool:
        """Tell whether a sequence runs event by event."""
        lists = self.path == "event" or any(isinstance(x, Spikes) for x in xs)
        return self.events is not None and lists and not carry

    def unroll(self) -> Callable[..., Any]:
        """Return the event-driven function for a sequence.

        Returns
        -------
        callable
            As `event_unroll` makes it.

        Raises
        ------
        ValueError
            If there is none.
        """
        if self.events is None:
            raise ValueError(f"Paths: there must be an event path, got none: {self.reason}.")
        return event_unroll(self.events)

    def __str__(self) -> str:
        """Say which path is taken, and why."""
        if self.events is None:
            return f"dense ({self.reason})"
        taken = "whole sequences" if self.path == "event" else "whole sequences given as Spikes"
        return f"event-driven for {taken} without carried traces, dense for the rest (path={self.path!r})"


def dense_inputs(xs: Sequence[Any], variables: Sequence[Any]) -> tuple[Array, ...]:
    """Write event lists among the inputs out as arrays of the compiled number type."""
    return tuple(x.dense(v.dtype) if isinstance(x, Spikes) else x for x, v in zip(xs, variables, strict=True))
