"""What a learner carries from step to step: read, written, reset, stored and copied."""

from __future__ import annotations

import abc
import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import brainstate
import jax
import jax.numpy as jnp

from snntrace.checkpoint import load_state_dict, state_dict
from snntrace.compiler.graph import Graph
from snntrace.executors.engine import Carried, Engine
from snntrace.executors.resets import reset_samples
from snntrace.executors.states import ModelStates
from snntrace.inputs import StepInputs
from snntrace.memory import Memory
from snntrace.rules.rule import Rule

if TYPE_CHECKING:
    from snntrace.learner import Learner

Array = Any


class EligibilityTrace(brainstate.ShortTermState):
    """The trace of one relation into one hidden group."""


class CarriedStates(abc.ABC):
    """States and traces of a learner; see `Learner`."""

    model: Any
    rule: Rule
    graph: Graph | None
    engine: Engine
    inputs: StepInputs
    memory: Memory
    model_states: ModelStates
    traces: list[EligibilityTrace]
    _options: dict[str, Any]
    _example: Any
    _batched: bool | None

    @property
    @abc.abstractmethod
    def compiled(self) -> Graph:
        """What the compiler found."""

    def reset_state(self, batch_size: int | None = None, *, where: Any = None, **kwargs: Any) -> None:
        """Put hidden states and traces back to where they began.

        Parameters
        ----------
        batch_size : int, optional
            Accepted if it is the one compiled for, as brainstate's modules take it.
        where : array of bool (batch,), optional
            The samples whose episode has ended; the others go on. All, if None. States that samples share,
            such as a counter without a batch axis, stay as they are.
        **kwargs
            Ignored, as brainstate's modules do.

        Raises
        ------
        ValueError
            If the batch size differs from the one compiled for, or `where` does not fit.
        NotCompiledError
            If the learner was compiled inside a transformation, so that its first states are unknown.
        """
        graph = self.compiled
        if batch_size is not None and graph.rows and batch_size != graph.rows[0]:
            raise ValueError(
                f"{self.rule.name}: batch_size must be the one compiled for, got batch_size={batch_size} "
                f"for {graph.rows[0]}. Compile again for another batch size."
            )
        if where is not None:
            mask = self.inputs.samples(where, "where")
            first = Carried(*self.model_states.first(graph.rows[0] if graph.rows else None), ())
            self.write(reset_samples(self.engine, first, self.carried(bool(self.traces)), mask))
            return
        self.model_states.begin()
        for state in self.traces:
            state.value = jax.tree.map(jnp.zeros_like, state.value)

    def state_dict(self) -> dict[str, Any]:
        """Return parameters, states and traces as named arrays, to store and to go on from later.

        Returns
        -------
        dict of str to array
            Copies, by names such as ``parameter/layers.0.w_in``, ``hidden/layers.0.neuron.v``, ``trace/0``.
        """
        return state_dict(cast("Learner", self))

    def load_state_dict(self, values: Mapping[str, Any]) -> None:
        """Put back what `state_dict` gave, here or in another process.

        Parameters
        ----------
        values : mapping of str to array
            The named arrays, such as ``numpy.load`` reads them from what ``numpy.savez`` wrote.

        Raises
        ------
        ValueError
            If names or shapes are not this learner's, which is left as it was.
        """
        load_state_dict(cast("Learner", self), values)

    def carried(self, traces: bool = True) -> Carried:
        """Read states and traces."""
        hidden, others = self.model_states.carried()
        if traces:
            self.memory.check_traces()
        return Carried(hidden, others, tuple(t.value for t in self.traces) if traces else ())

    def write(self, carried: Carried) -> None:
        """Write states, and traces if there are some."""
        self.model_states.write(carried.hidden, carried.others)
        for state, value in zip(self.traces, carried.traces, strict=bool(carried.traces)):
            state.value = value

    def __deepcopy__(self, memo: dict[int, Any]) -> Learner:
        """Copy the model with its states, compile it under the same rule, and copy the traces.

        Returns
        -------
        Learner
            A learner that shares nothing with this one.
        """
        twin = type(cast("Learner", self))(copy.deepcopy(self.model, memo), self.rule, **self._options)
        memo[id(self)] = twin
        if self.graph is not None:
            example = jax.tree.map(lambda v: jnp.zeros(v.shape, v.dtype), self._example)
            twin.compile_graph(*example, batched=self._batched)
            twin.load_state_dict(self.state_dict())
            twin.model_states.initial = self.model_states.initial
        return twin

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Refuse to be pickled: compiled functions and brainstate's modules cannot be.

        Raises
        ------
        TypeError
            Always.
        """
        raise TypeError(
            f"{self.rule.name}: a learner must not be pickled, since its compiled functions cannot be, got "
            f"protocol={protocol}. Store learner.state_dict(); in the other process compile the model again "
            "and call load_state_dict. copy.deepcopy copies a learner within a process."
        )
