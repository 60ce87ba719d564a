"""Reading and writing the states of a compiled model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import brainstate
import jax
import jax.numpy as jnp

from snntrace.compiler.perturb import Arrays
from snntrace.compiler.step import StateLeaf, StepProgram, leaves_of, write_leaves
from snntrace.errors import NotCompiledError

Array = Any

SETTINGS = ("dt", "fit", "t", "i")
"""Entries of brainstate.environ that a step reads while it is traced, and never again."""


def environment_settings() -> dict[str, str]:
    """Describe the settings, of those that are made, that a compiled step has fixed."""
    values = {name: brainstate.environ.get(name, None) for name in SETTINGS}
    return {name: str(value) for name, value in values.items() if value is not None}


class ModelStates:
    """A model's states, found by their paths: states that were made anew take the place of the old ones.

    Parameters
    ----------
    who : str
        Name for messages.
    model : brainstate.nn.Module
        The model, with the states that the step was traced with.
    step : StepProgram
        The step.
    """

    def __init__(self, who: str, model: Any, step: StepProgram) -> None:
        self.who = who
        self.model = model
        self.step = step
        self.paths = {id(s): path for path, s in model.states().items()}
        self.settings = environment_settings()
        initial = leaves_of(self._transient())
        known = not any(isinstance(v, jax.core.Tracer) for v in initial)
        self.initial = initial if known else None

    def _live(self, states: Sequence[Any]) -> list[Any]:
        present = self.model.states()
        return [present.get(self.paths[id(s)], s) if id(s) in self.paths else s for s in states]

    def _transient(self) -> list[Any]:
        """List the states that a sequence begins anew with."""
        short = [s for s in self.step.other_states if isinstance(s, brainstate.ShortTermState)]
        return self._live([*self.step.hidden_states, *short])

    def _read(self, states: Sequence[Any], leaves: Sequence[StateLeaf]) -> Arrays:
        values = leaves_of(self._live(states))
        self._check_shapes([jnp.shape(v) for v in values], [leaf.old.shape for leaf in leaves])
        return tuple(values)

    def _check_shapes(self, found: list[tuple[int, ...]], wanted: list[tuple[int, ...]]) -> None:
        if found != wanted:
            raise NotCompiledError(
                f"{self.who}: states must have the shapes they were compiled with, got {found} for {wanted}. "
                "Reset with learner.reset_state(), or, under brainstate.nn.Vmap, make the states and call "
                "compile_graph again."
            )

    def params(self) -> Arrays:
        """Read the parameters."""
        return self._read(self.step.param_states, self.step.params)

    def carried(self) -> tuple[Arrays, Arrays]:
        """Read the hidden and the other states."""
        return (
            self._read(self.step.hidden_states, self.step.hidden),
            self._read(self.step.other_states, self.step.others),
        )

    def write(self, hidden: Arrays, others: Arrays) -> None:
        """Write the hidden and the other states."""
        write_leaves(self._live(self.step.hidden_states), hidden)
        write_leaves(self._live(self.step.other_states), others)

    def begin(self) -> list[Array]:
        """Put short-term states back to where they began.

        Returns
        -------
        list of array
            What they were.

        Raises
        ------
        NotCompiledError
            If the first states are unknown, or of another shape.
        """
        if self.initial is None:
            raise NotCompiledError(
                f"{self.who}: the initial states must be known, got a learner that was compiled inside a "
                "transformation. Initialise the model's states and call compile_graph again."
            )
        states = self._transient()
        present = leaves_of(states)
        self._check_shapes([jnp.shape(v) for v in present], [jnp.shape(v) for v in self.initial])
        write_leaves(states, self.initial)
        return present

    def put_back(self, values: Sequence[Array]) -> None:
        """Undo `begin`."""
        write_leaves(self._transient(), values)

    def check_settings(self) -> None:
        """Refuse to run under settings that the compiled step does not know.

        Raises
        ------
        ValueError
            If a setting has changed.
        """
        for name, now in environment_settings().items():
            if name in self.settings and self.settings[name] != now:
                raise ValueError(
                    f"{self.who}: brainstate.environ[{name!r}] must be as it was at compilation, "
                    f"{self.settings[name]}, got {now}. Compile a learner for each, or let `update` take it "
                    "as an argument and set it."
                )
