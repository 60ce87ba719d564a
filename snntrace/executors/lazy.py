"""Streaming at the cost of events: a stream's numbers, and the kernels that work on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from snntrace.compiler.perturb import Arrays
from snntrace.compiler.relations import Dense
from snntrace.executors.engine import Carried
from snntrace.executors.events import EventPass
from snntrace.fused.backward import shaped
from snntrace.fused.places import Parameters
from snntrace.fused.rows import settle_all, settle_window, sort_events
from snntrace.fused.stepping import Stepping
from snntrace.fused.streaming import StreamKernels
from snntrace.jaxprs import Variable
from snntrace.rules.projection import Projection

Array = Any


WINDOW = 128
"""Steps of a window. More take longer at its end, fewer go to the traces more often."""


class LazySteps:
    """Steps whose traces are touched at events only.

    Parameters
    ----------
    events : EventPass
        The model's stages.
    projection : Projection
        What projects targets.
    window : int
        Steps after which traces are brought up to date where there were events.

    Raises
    ------
    NotFusable
        If the model has no such kernels; the message says why.
    """

    def __init__(self, events: EventPass, projection: Projection, window: int = WINDOW) -> None:
        self.events = events
        self.engine = events.engine
        matrices = [None if m is None else np.asarray(m) for m in projection.matrices]
        self.window = window
        self.kernels = kernels = StreamKernels(events, matrices, self.window)
        self.batch, self.dtype = kernels.batch, kernels.dtype
        self.n_target = next((m.shape[0] for m in matrices if m is not None), 0)
        feedback = projection.feedback
        mean = feedback is not None and feedback.reduction == "mean" and projection.rule.signal == "target"
        self._divisor = self.batch if mean else 1
        places = kernels.places
        self.own = places.own.zeros((self.batch,), self.dtype)
        self.integers = places.integers.zeros((self.batch,), np.int32)
        self.shared = places.shared.zeros((), self.dtype)
        self.clock = np.zeros(3, np.int64)
        self._weights = jax.jit(self.engine.functions.weights)
        self._finish = jax.jit(self._pull_back)
        self._no_target = np.zeros((self.batch, self.n_target), self.dtype)
        self._call = kernels.functions
        self._tiny = kernels.tiny
        self._rows = {s: [s.rows_of(k) for k, _ in enumerate(s.stage.incoming)] for s in kernels.stages}
        self._steps = 0
        for stage in kernels.stages:
            for k, _ in enumerate(stage.stage.incoming):
                self._integer(f"{stage.name} stamps {k}")[:] = -1

    # Places ------------------------------------------------------------------------------------

    def _own(self, name: str) -> Array:
        return self.kernels.places.own.view(self.own, name)

    def _integer(self, name: str) -> Array:
        return self.kernels.places.integers.view(self.integers, name)

    def _shared(self, name: str) -> Array:
        return self.kernels.places.shared.view(self.shared, name)

    @property
    def n_bytes(self) -> int:
        """Memory that is set aside; what was never touched is not taken."""
        return int(self.own.nbytes + self.integers.nbytes + self.shared.nbytes)

    # Parameters --------------------------------------------------------------------------------

    def load_params(self, params: Arrays) -> None:
        """Take the values of parameters; a window must not be open."""
        self.params = params
        weights = self._weights(params)
        values = self.events.values(weights)
        matrices = {r: np.asarray(w) for r, w in self.events.matrices(weights).items()}
        for stage in self.kernels.stages:
            self._load_values(stage.params, {**values, **stage.backward.constants})
            for k, product in enumerate(stage.stage.incoming):
                self._shared(f"{stage.name} weight {k}")[:] = matrices[product.relation]
            for k, product in enumerate(stage.stage.own):
                self._own(f"{stage.name} diagonal {k}")[:] = np.diagonal(matrices[product.relation])
            self._load_backs(stage, matrices)
            if stage in self.kernels.feedback_at:
                matrix = self.kernels.matrices[stage.stage.group.index]
                self._shared(f"{stage.name} feedback")[:] = matrix / self._divisor
        for result in self.kernels.results.results:
            self._load_values(result.params, values)
        for m, relation in enumerate(self.kernels.readout_at):
            self._shared(f"read-out weight {m}")[:] = matrices[relation]
        self._begin()

    def _load_values(self, params: Parameters, values: Mapping[Variable, Array]) -> None:
        for variable, name in params.names.items():
            self._own(name)[:] = np.asarray(values[variable]).reshape(-1)

    def _load_backs(self, stage: Stepping, matrices: Mapping[Dense, Array]) -> None:
        for relation, at in stage.backs.items():
            matrix = matrices[relation]
            self.shared[at : at + matrix.size].reshape(matrix.T.shape)[:] = matrix.T

    # States and traces -------------------------------------------------------------------------

    def load(self, carried: Carried) -> None:
        """Take states and traces."""
        layouts = {
            (id(x.relation), x.route.group.index): (x, t)
            for x, t in zip(self.engine.layouts, carried.traces, strict=True)
        }
        for stage in self.kernels.stages:
            group = stage.stage.group
            for q, leaf in enumerate(group.leaves):
                values = np.asarray(carried.hidden[leaf.slot]).reshape(self.batch, stage.n)
                self._own(f"{stage.name} state {q}")[:] = values
            for k, product in enumerate(stage.stage.incoming):
                _, trace = layouts[id(product.relation), group.index]
                found = np.asarray(trace).transpose(1, 2, 0, 3)
                some = found.any(axis=(2, 3))
                self._integer(f"{stage.name} stamps {k}")[:] = np.where(some, int(self.clock[1]), -1)
                if some.any():
                    self._own(f"{stage.name} trace {k}")[:] = found
            for m, relation in enumerate(stage.backward.elementwise):
                _, trace = layouts[id(relation), group.index]
                for q in range(stage.n_states):
                    self._own(f"{stage.name} unit trace {m} {q}")[:] = np.asarray(trace[q]).reshape(
                        self.batch, stage.n
                    )
        self._begin()

    def _begin(self) -> None:
        """Open a window."""
        for stage in self.kernels.stages:
            for own, integers in zip(self.own, self.integers, strict=True):
                self._call[f"{stage.name}_begin"](own, integers)
        self.clock[0] = self._steps = 0

    def close(self) -> None:
        """End the window, so that parameters may change: nothing of it is needed any more."""
        steps, window = int(self.clock[0]), int(self.clock[1])
        if steps > 0:
            for stage in self.kernels.stages:
                for own, integers in zip(self.own, self.integers, strict=True):
                    self._close(stage, own, integers, steps, window)
            self.clock[1] = window + 1
        self._begin()

    def _close(self, stage: Stepping, own: Array, integers: Array, steps: int, window: int) -> None:
        self._call[f"{stage.name}_back"](own, steps)
        self._call[f"{stage.name}_combine"](own, window, int(self.clock[2]))
        for rows in self._rows[stage]:
            sort_events(own, integers, *rows.events, steps, rows.n_pre, *rows.sorted)
            settle_window(
                own, self.shared, integers, *rows.rows, *rows.sorted, *rows.ring, *rows.posts, rows.n_pre,
                stage.n, stage.n_states, window, self._tiny,
            )  # fmt: skip

    def settle(self) -> None:
        """Bring all traces and gradients up to date."""
        self.close()
        window = int(self.clock[1])
        for stage in self.kernels.stages:
            for rows in self._rows[stage]:
                for own, integers in zip(self.own, self.integers, strict=True):
                    settle_all(
                        own, self.shared, integers, *rows.rows, *rows.ring, rows.n_pre, stage.n,
                        stage.n_states, window,
                    )  # fmt: skip
        self.clock[2] = window

    def _enter(self) -> None:
        """Count a step, in a new window if this one is full."""
        if self._steps == self.window:
            self.close()
        self._steps += 1

    def hidden(self) -> Arrays:
        """Return the present states."""
        step = self.events.stages.graph.step
        found: list[Array] = [None] * len(step.hidden)
        for stage in self.kernels.stages:
            for q, leaf in enumerate(stage.stage.group.leaves):
                found[leaf.slot] = self._own(f"{stage.name} state {q}").reshape(leaf.old.shape).copy()
        return tuple(found)

    def traces(self) -> Arrays:
        """Return the present traces, as the learner lays them out."""
        self.settle()
        found: dict[tuple[int, int], Array] = {}
        for stage in self.kernels.stages:
            index = stage.stage.group.index
            for k, product in enumerate(stage.stage.incoming):
                trace = self._own(f"{stage.name} trace {k}").transpose(2, 0, 1, 3)
                found[id(product.relation), index] = trace
            for m, relation in enumerate(stage.backward.elementwise):
                rows = [self._own(f"{stage.name} unit trace {m} {q}") for q in range(stage.n_states)]
                found[id(relation), index] = np.stack(rows)
        return tuple(
            np.array(found[id(x.relation), x.route.group.index][..., : x.shape[-1]]).reshape(x.shape)
            for x in self.engine.layouts
        )

    def reset(self, initial: Arrays, where: Array) -> None:
        """Put some samples back to where they began; what they gave the gradients stays."""
        self.settle()
        for stage in self.kernels.stages:
            for q, leaf in enumerate(stage.stage.group.leaves):
                values = np.asarray(initial[leaf.slot]).reshape(self.batch, stage.n)
                self._own(f"{stage.name} state {q}")[where] = values[where]
            for k, _ in enumerate(stage.stage.incoming):
                stamps = self._integer(f"{stage.name} stamps {k}")
                for b in np.flatnonzero(where):
                    self._own(f"{stage.name} trace {k}")[b, stamps[b] >= 0] = 0
                    stamps[b] = -1
            for m, _ in enumerate(stage.backward.elementwise):
                for q in range(stage.n_states):
                    self._own(f"{stage.name} unit trace {m} {q}")[where] = 0
        self._begin()

    # Steps -------------------------------------------------------------------------------------

    def step(self, inputs: Sequence[Array]) -> Array:
        """Run a step.

        Parameters
        ----------
        inputs : sequence of array of shape (batch, n_pre)
            The inputs, of the stream's number type and contiguous.

        Returns
        -------
        array of shape (batch, n_results)
            The results side by side.
        """
        self._enter()
        y = np.empty((self.batch, self.kernels.results.size), self.dtype)
        self._call["step"](self.own, self.integers, self.shared, self.clock, y, *inputs)
        return y

    def step_units(self, pointers: Array, units: Array, sizes: Array) -> tuple[int, Array]:
        """Run a step for units that are listed; return what is wrong with them (0: nothing), and results."""
        self._enter()
        y = np.empty((self.batch, self.kernels.results.size), self.dtype)
        wrong = self._call["step_units"](
            self.own, self.integers, self.shared, self.clock, y, pointers, units, sizes
        )
        return wrong, y

    def learn(self, error: Array, target: Array | None) -> None:
        """Learn from the present step.

        Parameters
        ----------
        error : array of shape (batch, n_results)
            The loss's gradient at the results.
        target : array of shape (batch, n_target) or None
            What is projected.
        """
        self._call["learn"](
            self.own, self.integers, self.shared, self.clock, error,
            self._no_target if target is None else target,
        )  # fmt: skip

    def run(
        self,
        length: int,
        events: tuple[Array, Array, Array, Array],
        loss: tuple[int, float, Array, Array],
        target: tuple[int, Array, Array],
    ) -> tuple[int, Array, Array]:
        """Run a recording of one input and one result.

        Parameters
        ----------
        length : int
            Its steps T.
        events : tuple
            A raster (T, batch, n_pre), or one without samples and a list's pointers, units and sizes.
        loss : tuple
            The kind of error (see `snntrace.recordings`), a factor, labels and values.
        target : tuple
            The kind of target (see `snntrace.target_rows`), labels (T, batch) and values (T, batch,
            n_target).

        Returns
        -------
        tuple
            What is wrong (0: nothing), the results (T, batch, n_results) and each step's loss.
        """
        ys = np.empty((length, self.batch, self.kernels.results.size), self.dtype)
        losses = np.zeros(length)
        kind, scale, labels, values = loss
        step = 0
        while 0 <= step < length:
            if self._steps == self.window:
                self.close()
            step = self._call["run"](
                self.own, self.integers, self.shared, self.clock, step, ys, *events, kind,
                self.dtype.type(scale), labels, values, *target, self.n_target, losses,
            )  # fmt: skip
            self._steps = int(self.clock[0])
        return min(step, 0), ys, losses

    # Gradients ---------------------------------------------------------------------------------

    def gradients(self) -> Arrays:
        """Bring the gradients up to date, and return them for the parameters."""
        self.settle()
        matrices: list[Array] = []
        rows: list[Array] = []
        for stage in self.kernels.stages:
            matrices += [
                self._shared(f"{stage.name} gradient {k}").copy() for k in range(len(stage.stage.incoming))
            ]
            rows += [self._own(f"{stage.name} total {m}").sum(0) for m in range(len(stage.place["total"]))]
        matrices += [
            self._shared(f"read-out gradient {m}").copy() for m in range(len(self.kernels.readout_at))
        ]
        for j, result in enumerate(self.kernels.results.results):
            rows += [self._own(f"result {j} total {m}").sum(0) for m in range(len(result.trained))]
        return tuple(self._finish(self.params, matrices, rows))

    def _pull_back(self, params: Arrays, matrices: Sequence[Array], rows: Sequence[Array]) -> Arrays:
        """Bring gradients where parameters act to the parameters themselves."""
        functions = self.engine.functions
        direct = [jnp.zeros(v.shape, v.dtype) for v in functions.float_vars]
        found_matrices, found_rows = iter(matrices), iter(rows)

        def add(variable: Variable, gradient: Array) -> None:
            direct[functions.float_slot[variable]] += gradient.astype(variable.dtype)

        for stage in self.kernels.stages:
            for product in stage.stage.incoming:
                relation = product.relation
                add(relation.weight, relation.unmatrix(next(found_matrices)))
            for variable in stage.backward.trained:
                add(variable, shaped(next(found_rows), variable))
            for unitwise in stage.backward.elementwise:
                shape = stage.stage.group.shape
                spread = jnp.zeros(shape, self.dtype).reshape(-1, stage.n).at[0].set(next(found_rows))
                add(unitwise.weight, unitwise.gather(spread.reshape(shape).astype(unitwise.weight.dtype)))
        for relation in self.kernels.readout_at:
            add(relation.weight, relation.unmatrix(next(found_matrices)))
        for result in self.kernels.results.results:
            for variable in result.trained:
                add(variable, shaped(next(found_rows), variable))
        return functions.pull_back(params, direct)

    def clear_gradients(self) -> None:
        """Begin the gradients anew; what is on its way from earlier steps is left out."""
        self.settle()
        for stage in self.kernels.stages:
            for k, _ in enumerate(stage.stage.incoming):
                self._shared(f"{stage.name} gradient {k}")[:] = 0
            for m, _ in enumerate(stage.place["total"]):
                self._own(f"{stage.name} total {m}")[:] = 0
        for m, _ in enumerate(self.kernels.readout_at):
            self._shared(f"read-out gradient {m}")[:] = 0
        for j, result in enumerate(self.kernels.results.results):
            for m, _ in enumerate(result.trained):
                self._own(f"result {j} total {m}")[:] = 0
