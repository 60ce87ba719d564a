"""Streams: learning from one step at a time, outside of JAX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from snntrace.errors import CompileError
from snntrace.executors.dense_steps import DenseSteps
from snntrace.executors.engine import Carried
from snntrace.executors.events import EventPass
from snntrace.executors.lazy import WINDOW, LazySteps
from snntrace.executors.states import ModelStates
from snntrace.executors.unit_lists import unit_lists, wrong_units
from snntrace.fused.units import ALIASES, NotFusable
from snntrace.paths import PATHS
from snntrace.recordings import Recording, Teaching, run_recording
from snntrace.rules.options import is_count
from snntrace.rules.projection import check_target

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
        self._single = len(graph.step.results) == 1 and graph.step.results_tree == jax.tree.structure(0)
        self.lazy: LazySteps | None = None
        self.path = self._choose(window, path)
        self.dense = DenseSteps(engine)
        self._others = carried.others
        if self.lazy is not None:
            self._prepare(self.lazy)
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

    def _prepare(self, lazy: LazySteps) -> None:
        """Look up once what every step needs."""
        step = self.graph.step
        self.dtype = lazy.dtype
        self._widths = [(self.batch, events.width) for events in lazy.kernels.inputs.values()]
        self._shapes = [tuple(r.shape) for r in step.results]
        self._size = lazy.kernels.results.size
        self._no_sizes = np.zeros(0, self.dtype)
        self._zero_error = np.zeros((self.batch, self._size), self.dtype)

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
            given = self._dense_inputs(args)
            self.present = True
            return self._unflatten(self.dense.step(given))
        flat: Sequence[Any] = args if len(args) == len(self._widths) else jax.tree.leaves(args)
        if len(flat) != len(self._widths):
            raise self._wrong_input(args)
        inputs = []
        for x, shape in zip(flat, self._widths, strict=True):
            value = np.ascontiguousarray(x, self.dtype)
            if value.shape != shape:
                value = self._one_sample(value, shape, args)
            inputs.append(value)
        self.present = True
        return self._results(self.lazy.step(inputs))

    def _one_sample(self, value: Array, shape: tuple[int, int], args: Any) -> Array:
        if value.shape != shape[1:] or self.batch != 1:
            raise self._wrong_input(args)
        return value.reshape(shape)

    def _wrong_input(self, args: Any) -> ValueError:
        wanted = [tuple(v.shape) for v in self.graph.step.arguments]
        found = [np.shape(v) for v in jax.tree.leaves(args)]
        return ValueError(
            f"{self.who}: the input must have the shapes of the example it was compiled for, {wanted}, "
            f"got {found}. Compile again for another batch size or width."
        )

    def _dense_inputs(self, args: Any) -> tuple[Array, ...]:
        arguments = self.graph.step.arguments
        flat = jax.tree.leaves(args)
        if len(flat) != len(arguments):
            raise self._wrong_input(args)
        found = []
        for x, v in zip(flat, arguments, strict=True):
            value = np.asarray(x, v.dtype)
            if value.size != int(np.prod(v.shape, dtype=int)) or value.shape[-1:] != v.shape[-1:]:
                raise self._wrong_input(args)
            found.append(value.reshape(v.shape))
        return tuple(found)

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
            raster = np.zeros((self.batch, width))
            sample = np.repeat(np.arange(self.batch), np.diff(pointers).reshape(-1))
            np.add.at(raster, (sample, flat), 1.0 if given is None else given)
            return self.step(raster)
        weights = self._no_sizes if given is None else given.astype(self.dtype)
        wrong, y = self.lazy.step_units(pointers, flat, weights)
        if wrong:
            raise ValueError(wrong_units(self.who, width))
        self.present = True
        return self._results(y)

    def _results(self, y: Array) -> Any:
        if self._single:
            return y.reshape(self._shapes[0])
        found, at = [], 0
        for shape in self._shapes:
            found.append(y[:, at : at + shape[-1]].reshape(shape))
            at += shape[-1]
        return self._unflatten(found)

    def _unflatten(self, results: Sequence[Array]) -> Any:
        return jax.tree.unflatten(self.graph.step.results_tree, [np.asarray(r) for r in results])

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
            errors = [np.asarray(e).reshape(s.shape) for e, s in zip(*self._error_leaves(error), strict=True)]
            self.dense.learn(errors, self.learner.projection(y_target, ()))
            return
        if self._single:
            flat = np.ascontiguousarray(error, self.dtype)
            if flat.shape != self._zero_error.shape:
                flat = self._shaped_error(flat)
        else:
            leaves, _ = self._error_leaves(error)
            flat = np.concatenate([np.asarray(e, self.dtype).reshape(self.batch, -1) for e in leaves], axis=1)
            flat = self._shaped_error(flat)
        self.lazy.learn(flat, self._target(y_target, flat))

    def _error_leaves(self, error: Any) -> tuple[list[Any], list[Any]]:
        leaves, tree = jax.tree.flatten(error)
        results = self.graph.step.results
        shapes = [np.shape(e) for e in leaves]
        if tree != self.graph.step.results_tree or shapes != [r.shape for r in results]:
            raise ValueError(
                f"{self.who}: error must be as the step's result, {[r.shape for r in results]}, "
                f"got {shapes}. Give the loss's gradient at the result."
            )
        pairs = [(e, r) for e, r in zip(leaves, results, strict=True) if getattr(r, "is_float", True)]
        return [e for e, _ in pairs], [r for _, r in pairs]

    def _shaped_error(self, error: Array) -> Array:
        if error.size != self._zero_error.size or error.shape[-1:] != self._zero_error.shape[-1:]:
            raise ValueError(
                f"{self.who}: error must be as the step's result, {self._shapes}, got {error.shape}. "
                "Give the loss's gradient at the result."
            )
        return error.reshape(self._zero_error.shape)

    def _target(self, target: Any, error: Array) -> Array | None:
        """Bring what a rule projects into the form (batch, n_target)."""
        signal, lazy = self.engine.rule.signal, self.lazy
        if signal == "random":
            return error
        if signal == "backprop" or target is None or lazy is None:
            self.learner.projection.check(target, ())
            return None
        check_target(self.who, target, lazy.n_target, tuple(self.rows))
        given = np.asarray(target)
        if given.dtype.kind in "iu" and given.ndim == len(self.rows):
            rows = np.zeros((self.batch, lazy.n_target), self.dtype)
            labels = given.reshape(-1)
            known = np.flatnonzero(labels >= 0)
            rows[known, labels[known]] = 1
            return rows
        return np.ascontiguousarray(given, self.dtype).reshape(self.batch, lazy.n_target)

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
        flat = self._gradients()
        step = self.graph.step
        found: dict[Any, Any] = {}
        for i, (path, state) in enumerate(zip(step.param_paths, step.param_states, strict=True)):
            leaves = [g for g, leaf in zip(flat, step.params, strict=True) if leaf.state == i]
            found[path] = jax.tree.unflatten(jax.tree.structure(state.value), leaves)
        for path, state in zip(step.unread_paths, step.unread_states, strict=True):
            found[path] = jax.tree.map(np.zeros_like, state.value)
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
