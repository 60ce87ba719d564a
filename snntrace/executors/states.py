"""Reading and writing the states of a compiled model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import brainstate
import jax
import jax.numpy as jnp
import numpy as np

from snntrace.compiler.perturb import Arrays
from snntrace.compiler.step import Path, StateLeaf, StepProgram, leaves_of, write_leaves
from snntrace.errors import NotCompiledError
from snntrace.quantities import is_quantity

Array = Any

SETTINGS = ("dt", "fit", "t", "i")
"""Entries of brainstate.environ that a step reads while it is traced, and never again."""


def environment_settings() -> dict[str, str]:
    """Describe the settings, of those that are made, that a compiled step has fixed."""
    values = {name: brainstate.environ.get(name, None) for name in SETTINGS}
    return {name: _described(value) for name, value in values.items() if value is not None}


def _described(value: Any) -> str:
    if is_quantity(value):  # which would print itself as a traced array inside a transformation
        return f"{_described(value.mantissa)} {value.unit}"
    return "a traced value" if isinstance(value, jax.core.Tracer) else str(value)


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
    trained : mapping of str to str, optional
        Hidden states that begin with a parameter's value, each with the parameter's name.

    Raises
    ------
    ValueError
        If a name in `trained` is unknown, or a parameter does not broadcast to its state.
    """

    def __init__(
        self, who: str, model: Any, step: StepProgram, trained: Mapping[str, str] | None = None
    ) -> None:
        self.who = who
        self.model = model
        self.step = step
        self.paths = {id(s): path for path, s in model.states().items()}
        self.settings = environment_settings()
        self.trained = self._find_trained(trained or {})
        initial = leaves_of(self._transient())
        known = not any(isinstance(v, jax.core.Tracer) for v in initial)
        self.initial = initial if known else None

    def live(self, states: Sequence[Any]) -> list[Any]:
        """Find the states that stand in the model now for those it was compiled with."""
        present = self.model.states()
        return [present.get(self.paths[id(s)], s) if id(s) in self.paths else s for s in states]

    def _transient(self) -> list[Any]:
        """List the states that a sequence begins anew with."""
        short = [s for s in self.step.other_states if isinstance(s, brainstate.ShortTermState)]
        return self.live([*self.step.hidden_states, *short])

    def _read(self, states: Sequence[Any], leaves: Sequence[StateLeaf]) -> Arrays:
        values = leaves_of(self.live(states))
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

    def by_path(self, flat: Sequence[Array]) -> dict[Path, Any]:
        """Give arrays of the parameters, such as gradients, the parameters' structure.

        Parameters
        ----------
        flat : sequence of array
            As `params` lists them.

        Returns
        -------
        dict
            By path; zeros for parameters that the step does not read.
        """
        step, leaves = self.step, iter(flat)
        found: dict[Path, Any] = {}
        for path, state in zip(step.param_paths, step.param_states, strict=True):
            found[path] = jax.tree.map(lambda _: next(leaves), state.value)
        for path, state in zip(step.unread_paths, step.unread_states, strict=True):
            found[path] = jax.tree.map(np.zeros_like, state.value)
        return found

    def carried(self) -> tuple[Arrays, Arrays]:
        """Read the hidden and the other states."""
        return (
            self._read(self.step.hidden_states, self.step.hidden),
            self._read(self.step.other_states, self.step.others),
        )

    def write(self, hidden: Arrays, others: Arrays) -> None:
        """Write the hidden and the other states."""
        write_leaves(self.live(self.step.hidden_states), hidden)
        write_leaves(self.live(self.step.other_states), others)

    def first(self, batch: int | None) -> tuple[Arrays, tuple[Array | None, ...]]:
        """Return the hidden and the other states that a sample begins with.

        Parameters
        ----------
        batch : int, optional
            Samples side by side; None without a batch axis.

        Returns
        -------
        hidden : tuple of array
            The hidden states.
        others : tuple of array or None
            The other states; None for those that samples share.

        Raises
        ------
        NotCompiledError
            If the first states are unknown.
        """
        values = iter(self._known_initial())
        hidden = tuple(next(values) for _ in self.step.hidden)
        others: list[Array | None] = []
        for state in self.step.other_states:
            for _ in jax.tree.leaves(state.value):
                value = next(values) if isinstance(state, brainstate.ShortTermState) else None
                own = value is not None and (batch is None or jnp.shape(value)[:1] == (batch,))
                others.append(value if own else None)
        return hidden, tuple(others)

    def _known_initial(self) -> list[Array]:
        """Return what the states began with.

        Returns
        -------
        list of array
            One for each leaf.

        Raises
        ------
        NotCompiledError
            If it is unknown.
        """
        if self.initial is None:
            raise NotCompiledError(
                f"{self.who}: the initial states must be known, got a learner that was compiled inside a "
                "transformation. Initialise the model's states and call compile_graph again."
            )
        result = list(self.initial)
        for slot, path in self.trained.items():
            leaf = self.step.hidden[slot]
            value = self.model.states(brainstate.ParamState)[path].value
            result[slot] = jnp.broadcast_to(value, leaf.old.shape).astype(leaf.old.dtype)
        return result

    def _find_trained(self, names: Mapping[str, str]) -> dict[int, Path]:
        """Look names of states and parameters up."""
        hidden = {leaf.label: leaf for leaf in self.step.hidden}
        params = {".".join(map(str, p)): p for p in self.model.states(brainstate.ParamState)}
        found: dict[int, Path] = {}
        for state, param in names.items():
            if state not in hidden or param not in params:
                raise ValueError(
                    f"{self.who}: initial must map hidden states to parameters, got {state!r}: {param!r}. "
                    f"There are the states {sorted(hidden)} and the parameters {sorted(params)}."
                )
            shape, wanted = jnp.shape(self.model.states()[params[param]].value), hidden[state].old.shape
            if len(shape) > len(wanted) or any(
                a not in (1, b) for a, b in zip(shape[::-1], wanted[::-1], strict=False)
            ):
                raise ValueError(
                    f"{self.who}: an initial value must broadcast to its state, got {param!r} of shape "
                    f"{shape} for {state!r} of shape {wanted}. Give it one value for each unit."
                )
            found[hidden[state].slot] = params[param]
        return found

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
        initial = self._known_initial()
        states = self._transient()
        present = leaves_of(states)
        self._check_shapes([jnp.shape(v) for v in present], [jnp.shape(v) for v in initial])
        write_leaves(states, initial)
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
