"""Streams: learning from one step at a time, outside of JAX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from snntrace.compiler.step import write_leaves
from snntrace.errors import CompileError
from snntrace.events.spikes import Spikes
from snntrace.executors.dense_steps import DenseSteps
from snntrace.executors.engine import Carried
from snntrace.executors.events import EventPass
from snntrace.executors.lazy import WINDOW, LazySteps
from snntrace.executors.states import ModelStates
from snntrace.fused.units import ALIASES, NotFusable
from snntrace.paths import PATHS
from snntrace.rules.options import is_count
from snntrace.rules.projection import check_target

if TYPE_CHECKING:
    from snntrace.learner import Learner

Array = Any
LOSSES = {None: 0, "cross_entropy": 2, "squared_error": 3}


class Recording(NamedTuple):
    """What a recording gave: the results of all steps, and the sum of their losses."""

    outs: Array
    loss: float


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
        self._graph = graph = engine.graph
        self._who = learner.rule.name
        self._states = states
        rows = graph.groups[0].shape[: graph.groups[0].n_row_axes]
        self._rows = rows
        self.batch = int(np.prod(rows, dtype=int))
        self._check_options(batch, window, path)
        self._single = len(graph.step.results) == 1 and graph.step.results_tree == jax.tree.structure(0)
        self._lazy: LazySteps | None = None
        self.path = self._choose(window, path)
        self._dense = DenseSteps(engine) if self._lazy is None else None
        self._others = carried.others
        self._steps: LazySteps | DenseSteps
        if self._lazy is not None:
            self._steps = self._lazy
            self._prepare(self._lazy)
            self._lazy.load_params(states.params())
            self._lazy.load(carried)
        elif self._dense is not None:
            self._steps = self._dense
            self._dense.load(states.params(), carried)
        self._earlier: tuple[Array, ...] | None = None
        self._present = False

    def _check_options(self, batch: int | None, window: int, path: str) -> None:
        who = self._who
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
                self._lazy = LazySteps(EventPass(self.engine), self.learner.projection, window)
            except NotFusable as error:
                reason = str(error)
            else:
                return "event"
        if path == "event":
            raise CompileError(
                f"{self._who}: path='event' needs a step whose layers follow each other and act unit by unit, "
                f"got {reason}. Use path='auto' or path='dense'."
            )
        return f"dense ({reason})"

    def _prepare(self, lazy: LazySteps) -> None:
        """Look up once what every step needs."""
        step = self._graph.step
        self._dtype = lazy.dtype
        self._widths = [(self.batch, events.width) for events in lazy.kernels.inputs.values()]
        self._shapes = [tuple(r.shape) for r in step.results]
        self._size = lazy.kernels.results.size
        self._no_sizes = np.zeros(0, self._dtype)
        self._zero_error = np.zeros((self.batch, self._size), self._dtype)

    def __repr__(self) -> str:
        """Name the rule, the samples and the path."""
        return f"Stream({self._who}, batch={self.batch}, path={self.path!r})"

    @property
    def n_bytes(self) -> int:
        """Memory that the event-driven path sets aside; 0 on the dense path."""
        return 0 if self._lazy is None else self._lazy.n_bytes

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
            raise ValueError(f"{self._who}: sizes must come with units, got sizes alone. Give units, too.")
        if self._lazy is None:
            flat = self._dense_inputs(args)
            self._present = True
            return self._unflatten(self._dense_steps.step(flat))
        flat = list(args) if len(args) == len(self._widths) else jax.tree.leaves(args)
        if len(flat) != len(self._widths):
            raise self._wrong_input(args)
        inputs = []
        for x, shape in zip(flat, self._widths, strict=True):
            value = np.ascontiguousarray(x, self._dtype)
            if value.shape != shape:
                value = self._one_sample(value, shape, args)
            inputs.append(value)
        self._present = True
        return self._results(self._lazy.step(inputs))

    @property
    def _dense_steps(self) -> DenseSteps:
        if self._dense is None:
            raise RuntimeError("Stream: the dense steps must exist, got none. Report this.")
        return self._dense

    def _one_sample(self, value: Array, shape: tuple[int, int], args: Any) -> Array:
        if value.shape != shape[1:] or self.batch != 1:
            raise self._wrong_input(args)
        return value.reshape(shape)

    def _wrong_input(self, args: Any) -> ValueError:
        wanted = [tuple(v.shape) for v in self._graph.step.arguments]
        found = [np.shape(v) for v in jax.tree.leaves(args)]
        return ValueError(
            f"{self._who}: the input must have the shapes of the example it was compiled for, {wanted}, "
            f"got {found}. Compile again for another batch size or width."
        )

    def _dense_inputs(self, args: Any) -> tuple[Array, ...]:
        arguments = self._graph.step.arguments
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
        step = self._graph.step
        if args or len(step.arguments) != 1:
            raise ValueError(
                f"{self._who}: units must be the only input of a model that takes one, got {len(args)} arguments "
                f"besides for a model of {len(step.arguments)}. Give arrays."
            )
        lists = [units] if self.batch == 1 and np.ndim(units[0] if len(units) else 0) == 0 else list(units)
        values = [sizes] if self.batch == 1 and len(lists) == 1 and lists[0] is units else sizes
        if len(lists) != self.batch or (sizes is not None and len(values) != self.batch):
            raise ValueError(
                f"{self._who}: units must be one list for each of {self.batch} samples, got {len(lists)}. "
                "Give an empty list to a silent sample."
            )
        bounds = np.concatenate([[0], np.cumsum([len(v) for v in lists])]).astype(np.int32)
        flat = np.concatenate([np.asarray(v, np.int32) for v in lists])
        weights = np.zeros(0) if sizes is None else np.concatenate([np.asarray(v, float) for v in values])
        if sizes is not None and weights.size != flat.size:
            raise ValueError(
                f"{self._who}: sizes must be as many as units, got {weights.size} for {flat.size}. "
                "Give one for each event."
            )
        width = step.arguments[0].shape[-1]
        if flat.size and (flat.min() < 0 or flat.max() >= width):
            raise self._wrong_units(width)
        if self._lazy is None:
            raster = np.zeros((self.batch, width))
            sample = np.repeat(np.arange(self.batch), np.diff(bounds))
            np.add.at(raster, (sample, flat), weights if sizes is not None else 1.0)
            return self.step(raster)
        pointers = np.stack([bounds[:-1], bounds[1:]], axis=1)
        wrong, y = self._lazy.step_units(pointers, flat, weights.astype(self._dtype))
        if wrong:
            raise self._wrong_units(width)
        self._present = True
        return self._results(y)

    def _wrong_units(self, width: int) -> ValueError:
        return ValueError(
            f"{self._who}: units must be in 0..{width - 1}, each at most once a step on average of a window, "
            "got others. Number the units from 0, and add up the sizes of repeated ones."
        )

    def _results(self, y: Array) -> Any:
        if self._single:
            return y.reshape(self._shapes[0])
        found, at = [], 0
        for shape in self._shapes:
            found.append(y[:, at : at + shape[-1]].reshape(shape))
            at += shape[-1]
        return self._unflatten(found)

    def _unflatten(self, results: Sequence[Array]) -> Any:
        return jax.tree.unflatten(self._graph.step.results_tree, [np.asarray(r) for r in results])

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
        if not self._present:
            raise ValueError(
                f"{self._who}: learn must follow the step it belongs to, got none since the stream was made, "
                "reset, updated or asked for gradients. Call step first."
            )
        if self._lazy is None:
            errors = [np.asarray(e).reshape(s.shape) for e, s in zip(*self._error_leaves(error), strict=True)]
            self._dense_steps.learn(errors, self.learner.projection(y_target, ()))
            return
        if self._single:
            flat = np.ascontiguousarray(error, self._dtype)
            if flat.shape != self._zero_error.shape:
                flat = self._shaped_error(flat)
        else:
            leaves, _ = self._error_leaves(error)
            flat = np.concatenate([np.asarray(e, self._dtype).reshape(self.batch, -1) for e in leaves], axis=1)
            flat = self._shaped_error(flat)
        self._lazy.learn(flat, self._target(y_target, flat))

    def _error_leaves(self, error: Any) -> tuple[list[Any], list[Any]]:
        leaves, tree = jax.tree.flatten(error)
        results = self._graph.step.results
        shapes = [np.shape(e) for e in leaves]
        if tree != self._graph.step.results_tree or shapes != [r.shape for r in results]:
            raise ValueError(
                f"{self._who}: error must be as the step's result, {[r.shape for r in results]}, got {shapes}. "
                "Give the loss's gradient at the result."
            )
        pairs = [(e, r) for e, r in zip(leaves, results, strict=True) if getattr(r, "is_float", True)]
        return [e for e, _ in pairs], [r for _, r in pairs]

    def _shaped_error(self, error: Array) -> Array:
        if error.size != self._zero_error.size or error.shape[-1:] != self._zero_error.shape[-1:]:
            raise ValueError(
                f"{self._who}: error must be as the step's result, {self._shapes}, got {error.shape}. "
                "Give the loss's gradient at the result."
            )
        return error.reshape(self._zero_error.shape)

    def _target(self, target: Any, error: Array) -> Array | None:
        """Bring what a rule projects into the form (batch, n_target)."""
        signal, lazy = self.engine.rule.signal, self._lazy
        if signal == "random":
            return error
        if signal == "backprop" or target is None or lazy is None:
            self.learner.projection.check(target, ())
            return None
        check_target(self._who, target, lazy.n_target, tuple(self._rows))
        given = np.asarray(target)
        if given.dtype.kind in "iu" and given.ndim == len(self._rows):
            rows = np.zeros((self.batch, lazy.n_target), self._dtype)
            labels = given.reshape(-1)
            known = np.flatnonzero(labels >= 0)
            rows[known, labels[known]] = 1
            return rows
        return np.ascontiguousarray(given, self._dtype).reshape(self.batch, lazy.n_target)

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

        .. math:: -\log \mathrm{softmax}(y^t)_{c^t} \qquad \text{or} \qquad \tfrac12 \sum_k (y_k^t - y_k^{*t})^2.

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
        spikes = isinstance(xs, Spikes)
        xs = xs if spikes else np.asarray(xs)
        length = int(xs.shape[0])
        self._check_recording(xs, loss, labels, values, errors)
        shape = (length, self.batch, self._graph.step.results[0].shape[-1])
        kind = 1 if errors is not None else LOSSES[loss]
        given = values if errors is None else errors
        if given is not None and np.size(given) != int(np.prod(shape)):
            raise ValueError(
                f"{self._who}: values and errors must be of shape {shape}, got {np.shape(given)}. "
                "Give one number for each result."
            )
        classes = np.zeros((1, self.batch), np.int64)
        if labels is not None:
            check_target(self._who, np.asarray(labels), shape[-1], (length, *self._rows))
            classes = np.ascontiguousarray(labels, np.int64).reshape(length, self.batch)
        taught = kind > 0
        self.learner.projection.check(y_target if taught else None, (length,)) if taught else None
        if self._lazy is None:
            return self._run_dense(xs, kind, scale, classes, given, y_target)
        number = np.zeros((1, 1, 1)) if given is None else np.asarray(given).reshape(shape)
        events = self._event_arguments(xs, self._lazy)
        target = self._target_arguments(y_target, length, self._lazy)
        error = (kind, scale / self.batch, classes, np.ascontiguousarray(number, self._dtype))
        wrong, ys, losses = self._lazy.run(length, events, error, target)
        if wrong:
            raise self._wrong_units(self._graph.step.arguments[0].shape[-1])
        self._present = length > 0 or self._present
        return Recording(ys.reshape(length, *self._shapes[0]), float(losses.sum()))

    def _check_recording(self, xs: Any, loss: Any, labels: Any, values: Any, errors: Any) -> None:
        step, who = self._graph.step, self._who
        if len(step.arguments) != 1 or len(step.results) != 1:
            raise ValueError(
                f"{who}: run must have a model of one input and one result, got {len(step.arguments)} and "
                f"{len(step.results)}. Call step and learn."
            )
        shape = tuple(step.arguments[0].shape)
        wanted = (self.batch, shape[-1]) if isinstance(xs, Spikes) else shape
        if tuple(xs.shape[1:]) != wanted:
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
            "errors": errors is not None and loss is None,
        }
        for name, value in (("labels", labels), ("values", values), ("errors", errors)):
            if (value is not None) != needed[name]:
                raise ValueError(
                    f"{who}: labels go with loss='cross_entropy', values with 'squared_error', errors with "
                    f"neither, got loss={loss!r} {'with' if value is not None else 'without'} {name}. "
                    "Give what the loss needs."
                )

    def _event_arguments(self, xs: Any, lazy: LazySteps) -> tuple[Array, Array, Array, Array]:
        none = np.zeros(0, np.int32)
        if not isinstance(xs, Spikes):
            raster = np.ascontiguousarray(xs, self._dtype).reshape(len(xs), *self._widths[0])
            return raster, np.zeros((self.batch, 1), np.int32), none, self._no_sizes
        sizes = self._no_sizes if xs.values is None else np.ascontiguousarray(xs.values, self._dtype)
        return (
            np.zeros((1, 0, 0), self._dtype),
            np.ascontiguousarray(xs.pointers, np.int32),
            np.ascontiguousarray(xs.indices, np.int32),
            sizes,
        )

    def _target_arguments(self, target: Any, length: int, lazy: LazySteps) -> tuple[int, Array, Array]:
        labels, values = np.full((1, 1), -1), np.zeros((1, 1, 1), self._dtype)
        if self.engine.rule.signal == "random":
            return 3, labels, values
        if target is None:
            return (1, np.full((length, self.batch), -1), values) if lazy.n_target else (0, labels, values)
        given, last = np.asarray(target), self.learner.projection.at_end
        lead = (1,) if last else (length,)
        if given.dtype.kind in "iu" and given.ndim == len(self._rows) + (not last):
            rows = np.full((length, self.batch), -1)
            rows[-lead[0] :] = given.reshape(*lead, self.batch)
            return 1, rows, values
        wide = np.zeros((length, self.batch, lazy.n_target), self._dtype)
        wide[-lead[0] :] = given.reshape(*lead, self.batch, lazy.n_target)
        return 2, labels, wide

    def _run_dense(
        self, xs: Any, kind: int, scale: float, labels: Array, given: Any, y_target: Any
    ) -> Recording:
        """Run a recording step by step."""
        step, outs, total = self._graph.step, [], 0.0
        length, last = xs.shape[0], self.learner.projection.at_end
        raster = np.asarray(xs.dense()) if isinstance(xs, Spikes) else xs
        shape = step.results[0].shape
        for t in range(length):
            out = np.asarray(self.step(raster[t].reshape(step.arguments[0].shape)))
            outs.append(out)
            if kind == 0:
                continue
            wanted = labels[t] if kind == 2 else np.asarray(given[t])
            loss, error = loss_and_error(kind, out.reshape(self.batch, -1), wanted, scale / self.batch)
            total += loss
            target = None if y_target is None or (last and t < length - 1) else y_target
            target = target if last or target is None else target[t]
            tree = jax.tree.unflatten(step.results_tree, [error.reshape(shape)])
            self.learn(tree, y_target=target)
        return Recording(np.stack(outs), total)

    # Gradients and parameters ------------------------------------------------------------------

    def gradients(self) -> dict[Any, Any]:
        """Return the gradients since the stream was made or `reset_gradients` was called.

        All traces are brought up to date for it, which costs as much as some dense steps.

        Returns
        -------
        dict
            With the keys of ``model.states(brainstate.ParamState)``.
        """
        self._present = False
        flat = self._gradients()
        step = self._graph.step
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
        self._present = False
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
                    f"{self._who}: params must have the keys of the gradients, got {path!r}. "
                    f"Use some of {list(states)}."
                )
            states[path].value = value
        self._present = False
        if self._lazy is not None:
            if any(e.name not in ALIASES for e in self.engine.functions.chain):
                # What was gathered belongs to the parameters that it was gathered under.
                self._earlier = self._gradients()
                self._lazy.clear_gradients()
            self._lazy.close()
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
                f"{self._who}: where must be one bool for each of {self.batch} samples, got "
                f"{np.shape(where)}. Leave it out to reset all."
            )
        present = self._states.begin()
        hidden, others = self._states.carried()
        self._states.put_back(present)
        self._present = False
        if self._lazy is not None:
            self._lazy.reset(hidden, mask)
        else:
            self._dense_steps.reset(Carried(hidden, others, ()), mask)

    def carried(self) -> Carried:
        """Return the present states and traces, as the learner carries them.

        Returns
        -------
        Carried
            ``hidden``, ``others`` and ``traces``.
        """
        self._present = False
        if self._lazy is None:
            return self._dense_steps.carried
        return Carried(self._lazy.hidden(), self._others, self._lazy.traces())

    def sync(self) -> None:
        """Write states and traces to the model and the learner, so that `Learner.update` can go on."""
        carried = self.carried()
        self._states.write(
            jax.tree.map(jax.numpy.asarray, carried.hidden), jax.tree.map(jax.numpy.asarray, carried.others)
        )
        for state, value in zip(self.learner.traces, carried.traces, strict=True):
            state.value = jax.numpy.asarray(value)


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
    if kind == 1:
        return 0.0, np.asarray(wanted).reshape(y.shape)
    if kind == 3:
        difference = y - np.asarray(wanted).reshape(y.shape)
        return 0.5 * scale * float((difference**2).sum()), scale * difference
    shifted = np.exp(y - y.max(1, keepdims=True))
    share = shifted / shifted.sum(1, keepdims=True)
    known = np.flatnonzero(wanted >= 0)
    error = np.zeros_like(share)
    error[known] = scale * share[known]
    error[known, wanted[known]] -= scale
    return -scale * float(np.log(share[known, wanted[known]]).sum()), error
