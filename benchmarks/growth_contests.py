"""Nets whose time is measured as they grow: ways to their gradients, and the operations these take."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import brainstate
import jax
import numpy as np
from contestants import backpropagation
from nets import Net, Shape, loss, spikes_and_labels
from problems import Problem, poisson

import snntrace
from snntrace.compiler.step import leaves_of
from snntrace.executors.events import EventPass

Run = Callable[[], Any]
SAMPLES = 16
"""Samples on which the input weights are scaled."""


class Contest:
    """One net and one batch.

    Attributes
    ----------
    whole : callable
        Loss and gradients by events.
    forward, backward : callable
        The two ways of the event path apart, compiled apart: what lies between them is stored and read.
    input_events, hidden_events : int
        Spikes of the batch.
    """

    def __init__(self, kind: str, shape: Shape) -> None:
        self.kind, self.shape = kind, shape
        self.problem: Problem = poisson(shape, str(shape), math.inf)
        spikes, labels = self.problem.spikes, self.problem.labels
        learner = self._learner("event")
        gradient = learner.value_and_grad(loss)
        self.whole: Run = lambda: gradient(spikes, labels)
        self._apart(learner)
        self.input_events = int(spikes.pointers[:, -1].sum() - spikes.pointers[:, 0].sum())

    def _learner(self, path: str) -> snntrace.Learner:
        net, x0 = Net(self.kind, self.shape), self.problem.raster[0]
        return snntrace.compile(net, snntrace.D_RTRL, x0, batch_size=self.shape.batch, path=path)

    def _apart(self, learner: snntrace.Learner) -> None:
        """Compile the way forward and the way back apart, and count what the hidden units do."""
        events = EventPass(learner.engine)
        step = learner.engine.graph.step
        params, hidden = tuple(leaves_of(step.param_states)), tuple(leaves_of(step.hidden_states))
        xs, labels = (self.problem.spikes,), self.problem.labels
        nothing = [None] * max(len(hidden), len(learner.engine.graph.groups))

        forward = jax.jit(events.run)
        results, _, tape = forward(params, xs, hidden)
        signals = jax.jit(jax.grad(lambda outs: loss(outs[0], labels)))(results)
        backward = jax.jit(
            lambda tape, signals: events.gradients(params, xs, hidden, tape, signals, nothing, nothing)
        )
        self.forward: Run = lambda: forward(params, xs, hidden)
        self.backward: Run = lambda: backward(tape, signals)
        (lists,) = next(iter(tape[1].values())).lists
        counts = np.diff(np.asarray(lists.pointers), axis=1)
        # Row 0 are the units before the first step, who are silent; the last step's spikes meet no weight
        # of the layer itself.
        self.hidden_events = int(counts[:, 1:].sum())
        self.recurrent_events = int(counts[:, :-1].sum())

    def dense(self) -> dict[str, Run]:
        """Make the contestants that multiply dense rasters: their time does not depend on the spikes."""
        gradient = self._learner("dense").value_and_grad(loss)
        problem = self.problem
        return {
            "BPTT": backpropagation(self.kind, self.shape, problem.raster, problem.labels),
            "dense": lambda: gradient(problem.raster, problem.labels),
        }

    @property
    def operations(self) -> int:
        """Additions of a weight, one way: each event once for each weight of its unit."""
        s = self.shape
        return (self.input_events + self.recurrent_events) * s.n + self.hidden_events * s.n_out

    @property
    def unit_steps(self) -> int:
        """Updates of a hidden unit's state."""
        s = self.shape
        return s.steps * s.batch * s.n

    @property
    def activity(self) -> float:
        """The share of steps in which a hidden unit spikes."""
        return self.hidden_events / self.unit_steps

    def as_dict(self) -> dict[str, Any]:
        s = self.shape
        return {
            "n_in": s.n_in,
            "n": s.n,
            "batch": s.batch,
            "steps": s.steps,
            "drive": s.drive,
            "input_rate": s.input_rate,
            "activity": self.activity,
            "operations": 2 * self.operations,
            "unit_steps": self.unit_steps,
        }


def held(kind: str, shape: Shape, rates: tuple[float, ...], activity: float) -> list[Shape]:
    """Scale the input weights for each input rate so that the hidden units spike as often as is wanted."""
    small = replace(shape, batch=min(SAMPLES, shape.batch), drive=1.0)
    layer = Net(kind, small).recurrent
    weights = layer.w_in.value

    @brainstate.transform.jit
    def spiking(xs: Any, drive: Any) -> Any:
        brainstate.nn.init_all_states(layer, batch_size=small.batch)
        layer.w_in.value = weights * drive
        return brainstate.transform.for_loop(layer, xs).mean()

    found = []
    for rate in rates:
        xs, _ = spikes_and_labels(replace(small, input_rate=rate))
        low, high = 0.02, 50.0
        for _ in range(12):
            drive = math.sqrt(low * high)
            low, high = (drive, high) if float(spiking(xs, drive)) < activity else (low, drive)
        found.append(replace(shape, input_rate=rate, drive=round(math.sqrt(low * high), 3)))
    return found
