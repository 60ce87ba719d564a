"""Streams: learning from one step at a time, outside of JAX."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from snntrace.errors import CompileError
from snntrace.executors.dense_steps import DenseSteps
from snntrace.executors.engine import Carried
from snntrace.executors.events import EventPass
from snntrace.executors.lazy import WINDOW, LazySteps
from snntrace.executors.states import ModelStates
from snntrace.executors.unit_lists import raster_of, unit_lists, wrong_units
from snntrace.fused.units import ALIASES, NotFusable
from snntrace.recordings import Recording, Teaching, run_recording
from snntrace.rules.options import is_count
from snntrace.step_shapes import StepShapes
from snntrace.target_rows import step_target
from snntrace.wanted_paths import PATHS

if TYPE_CHECKING:
    from snntrace.learner import Learner

Array = Any


class Stream:
    r"""A learner that takes one step at a time, at the cost of the step's events.

    The gradient is that of `Learner.update` step by step,

    .. math:: \nabla W = \sum_t L^t \cdot \epsilon^t + G^t,

    but a row of synapses is touched only in windows in which its input had events, and once in a while
    otherwise. Everything is numpy, and nothing goes through XLA. A stream has states and traces of its own,
    which begin as the learner's are when it is made. Make one with `Learner.stream`.

    Parameters
    ----------
    learner : Learner
        A compiled learner, under a rule with traces.
    states : ModelStates
        Its model's states.
    carried : Carried
        What the stream begins with.
    batch : int, optional
        Samples side by side; must be those that the learner was compiled for.
    window : int
        Steps after which traces are brought up to date where there were events. It changes cost and memory,
        never the gradient.
    path : {'auto', 'event', 'dense'}
        By events where the model allows it; by events or not at all; or by dense products.

    Attributes
    ----------
    path : str
        Which way is taken, and why if it is the dense one.

    Raises
    ------
    CompileError
        If ``path='event'`` and the model has no kernels.
    ValueError
        If the rule has no traces, or an option is out of its range.
    """

    def __init__(
        self,
        learner: Learner,
        states: ModelStates,
        carried: Carried,
        *,
        batch: int | None = None,
        window: int = WINDOW,
        path: str = "auto",
    ) -> None:
        self.learner = learner
        self.engine = engine = learner.engine
        self.graph = graph = engine.graph
        self.who = learner.rule.name
        self._states = states
        rows = graph.groups[0].shape[: graph.groups[0].n_row_axes]
        self.rows = rows
        self.batch = int(np.prod(rows, dtype=int))
        self._check_options(batch, window, path)
        self.shapes = StepShapes(self.who, graph.step, self.batch)
        self.lazy: LazySteps | None = None
        self.path = self._choose(window, path)
        self.dense = DenseSteps(engine)
        self._others = carried.others
        if self.lazy is not None:
            self.lazy.load_params(states.params())
            self.lazy.load(carried)
        else:
            self.dense.load(states.params(), carried)
        self._steps = self.dense if self.lazy is None else self.lazy
        self._earlier: tuple[Array, ...] | None = None
        self.present = False

    def _check_options(self, batch: int | None, window: int, path: str) -> None:
        who = self.who
        if self.engine.rule.recursion == "full":
            raise ValueError(
                f"{who}: stream must run under a rule with traces, got rule={who}. Use an online rule."
            )
        if batch is not None and batch != self.batch:
            raise ValueError(
                f"{who}: batch must be the one compiled for, got batch={batch} for {self.batch}. "
                "Compile again for another batch size."
            )
        if not is_count(window):
            raise ValueError(
                f"{who}: window must be a positive number of steps, got window={window!r}. Give e.g. 128."
            )
        if path not in PATHS:
            raise ValueError(f"{who}: path must be one of {', '.join(PATHS)}, got path={path!r}. Use 'auto'.")

    def _choose(self, window: int, path: str) -> str:
        """Make the event-driven steps if there are any, and say which way is taken."""
        if path == "dense":
            reason = "path='dense'"
        elif not self.learner.fast_solve:
            reason = "fast_solve=False"
        elif jax.default_backend() != "cpu":
            reason = f"the kernels run on CPU, and the backend is {jax.default_backend()}"
        else:
            try:
                self.lazy = LazySteps(EventPass(self.engine), self.learner.projection, window)
            except NotFusable as error:
                reason = str(error)
            else:
                return "event"
        if path == "event":
            raise CompileError(
                f"{self.who}: path='event' needs a step whose layers follow each other and act unit by "
                f"unit, got {reason}. Use path='auto' or path='dense'."
            )
        return f"dense ({reason})"

    def __repr__(self) -> str:
        """Name the rule, the samples and the path."""
        return f"Stream({self.who}, batch={self.batch}, path={self.path!r})"

    @property
    def n_bytes(self) -> int:
        """Memory that the event-driven path sets aside; 0 on the dense path."""
        return 0 if self.lazy is None else self.lazy.n_bytes

    # Steps -------------------------------------------------------------------------------------

    def step(self, *args: Any, units: Any = None, sizes: Any = None) -> Any:
        """Run a step.

        Parameters
        ----------
        *args : pytrees
            The model's input, as `Learner.update` takes it.
        units : array of int (n_events,), or one array for each sample, optional
            The active units instead, for a model of one input.
        sizes : array of float, or one for each sample, optional
            The size of each event; all 1 if left out.

        Returns
        -------
        pytree of array
            The model's result.

        Raises
        ------
        ValueError
            If the input does not fit what was compiled.
        """
        if units is not None:
            return self._step_units(args, units, sizes)
        if sizes is not None:
            raise ValueError(f"{self.who}: sizes must come with units, got sizes alone. Give units, too.")
        if self.lazy is None:
            results = self.shapes.results(self.dense.step(self.shapes.arguments(args)))
        else:
            rows = self.shapes.input_rows(args, self.lazy.dtype)
            results = self.shapes.results_of_rows(self.lazy.step(rows))
        self.present = True
        return results

    def _step_units(self, args: tuple[Any, ...], units: Any, sizes: Any) -> Any:
        step = self.graph.step
        if args or len(step.arguments) != 1:
            raise ValueError(
                f"{self.who}: units must be the only input of a model that takes one, got {len(args)} "
                f"arguments besides for a model of {len(step.arguments)}. Give arrays."
            )
        width = step.arguments[0].shape[-1]
        pointers, flat, given = unit_lists(self.who, units, sizes, self.batch, width)
        if self.lazy is None:
            return self.step(raster_of(pointers, flat, given, width))
        weights = np.zeros(0, self.lazy.dtype) if given is None else given.astype(self.lazy.dtype)
        wrong, y = self.lazy.step_units(pointers, flat, weights)
        if wrong:
            raise ValueError(wrong_units(self.who, width))
        self.present = True
        return self.shapes.results_of_rows(y)

    # Learning ----------------------------------------------------------------------------------

    def learn(self, error: Any, *, y_target: Any = None) -> None:
        """Learn from the present step.

        Calls for one step add up; a step without a call teaches nothing.

        Parameters
        ----------
        error : pytree of array
            The loss's gradient at the step's result, in its shape.
        y_target : array, optional
            The target, for rules that project it, as `Learner.update` takes it.

        Raises
        ------
        ValueError
            If no step is present, or an argument does not fit.
        """
        if not self.present:
            raise ValueError(
                f"{self.who}: learn must follow the step it belongs to, got none since the stream was made, "
                "reset, updated or asked for gradients. Call step first."
            )
        if self.lazy is None:
            self.dense.learn(self.shapes.errors(error), self.learner.projection(y_target, ()))
            return
        rows = self.shapes.error_rows(error, self.lazy.dtype)
        self.lazy.learn(rows, step_target(self, self.lazy, y_target, rows))

    def run(
        self,
        xs: Any,
        *,
        loss: str | None = None,
        labels: Any = None,
        values: Any = None,
        errors: Any = None,
        y_target: Any = None,
        scale: float = 1.0,
    ) -> Recording:
        r"""Run a recording, and learn from every step of it where there is a loss.

        The loss of a recording is ``scale`` times the sum over its steps of the mean over its samples of

        .. math::

            -\log \mathrm{softmax}(y^t)_{c^t} \qquad \text{or} \qquad \tfrac12 \sum_k (y_k^t - y_k^{*t})^2.

        Parameters
        ----------
        xs : Spikes, or array of shape (time, batch, n_in)
            The input, for a model of one input and one result.
        loss : {'cross_entropy', 'squared_error'}, optional
            Of `labels`, or of `values`; none: nothing is learnt unless `errors` are given.
        labels : array of int (time, batch), optional
            The classes; -1 where there is none.
        values : array of shape (time, batch, n_out), optional
            The wanted results.
        errors : array of shape (time, batch, n_out), optional
            The loss's gradient at every result, where it is known beforehand.
        y_target : array, optional
            As in `Learner.unroll`, for rules that project a target.
        scale : float
            A factor of the loss.

        Returns
        -------
        Recording
            The results (time, batch, n_out), and the loss (0 with `errors`).

        Raises
        ------
        ValueError
            If an argument does not fit.
        """
        teaching = Teaching(loss, labels, values, errors, y_target, scale)
        return run_recording(self, xs, teaching)

    # Gradients and parameters ------------------------------------------------------------------

    def gradients(self) -> dict[Any, Any]:
        """Return the gradients since the stream was made or `reset_gradients` was called.

        All traces are brought up to date for it, which costs as much as some dense steps.

        Returns
        -------
        dict
            With the keys of ``model.states(brainstate.ParamState)``.
        """
        self.present = False
        found = self._states.by_path(self._gradients())
        return {path: found[path] for path in self.learner.param_states if path in found}

    def _gradients(self) -> tuple[Array, ...]:
        flat = tuple(np.asarray(g) for g in self._steps.gradients())
        if self._earlier is not None:
            flat = tuple(a + b for a, b in zip(flat, self._earlier, strict=True))
        return flat

    def reset_gradients(self) -> None:
        """Begin the gradients anew; states and traces stay."""
        self.present = False
        self._earlier = None
        self._steps.clear_gradients()

    def update(self, params: Mapping[Any, Any] | None = None) -> None:
        """Go on with other parameters; states, traces and gradients stay.

        Parameters
        ----------
        params : mapping, optional
            New values with the keys of the gradients, which are written to the model, too. None takes the
            model's own, as an optimiser left them.

        Raises
        ------
        ValueError
            If a name is unknown.
        """
        states = self.learner.param_states
        for path, value in (params or {}).items():
            if path not in states:
                raise ValueError(
                    f"{self.who}: params must have the keys of the gradients, got {path!r}. "
                    f"Use some of {list(states)}."
                )
            states[path].value = value
        self.present = False
        if self.lazy is not None:
            if any(e.name not in ALIASES for e in self.engine.functions.chain):
                # What was gathered belongs to the parameters that it was gathered under.
                self._earlier = self._gradients()
                self.lazy.clear_gradients()
            self.lazy.close()
        self._steps.load_params(self._states.params())

    # States ------------------------------------------------------------------------------------

    def reset(self, where: Any = None) -> None:
        """Put states and traces back to where they began; gradients stay.

        Parameters
        ----------
        where : array of bool (batch,), optional
            The samples; all if None.

        Raises
        ------
        ValueError
            If `where` is of another shape.
        NotCompiledError
            If the learner does not know its first states.
        """
        mask = np.ones(self.batch, bool) if where is None else np.asarray(where, bool).reshape(-1)
        if mask.size != self.batch:
            raise ValueError(
                f"{self.who}: where must be one bool for each of {self.batch} samples, got "
                f"{np.shape(where)}. Leave it out to reset all."
            )
        present = self._states.begin()
        hidden, others = self._states.carried()
        self._states.put_back(present)
        self.present = False
        if self.lazy is not None:
            self.lazy.reset(hidden, mask)
        elif mask.all():
            self.dense.reset(Carried(hidden, others, ()), mask)
        else:
            self.dense.reset(Carried(*self._states.first(self.batch), ()), mask)

    def carried(self) -> Carried:
        """Return the present states and traces, as the learner carries them.

        Returns
        -------
        Carried
            ``hidden``, ``others`` and ``traces``.
        """
        self.present = False
        if self.lazy is None:
            return self.dense.carried
        return Carried(self.lazy.hidden(), self._others, self.lazy.traces())

    def sync(self) -> None:
        """Write states and traces to the model and the learner, so that `Learner.update` can go on."""
        carried = self.carried()
        self._states.write(
            jax.tree.map(jax.numpy.asarray, carried.hidden), jax.tree.map(jax.numpy.asarray, carried.others)
        )
        for state, value in zip(self.learner.traces, carried.traces, strict=True):
            state.value = jax.numpy.asarray(value)
