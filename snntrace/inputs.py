"""Checks of what a learner is given at a step or for a sequence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from snntrace.compiler.step import StepProgram
from snntrace.events.spikes import Spikes
from snntrace.quantities import in_units_of

Array = Any
RANKS = (jnp.bool_, jnp.integer, jnp.inexact)


def check_arrays(who: str, flat: tuple[Any, ...]) -> None:
    """Refuse event lists where a gradient along the inputs is asked for.

    Raises
    ------
    TypeError
        If there are some.
    """
    if any(isinstance(x, Spikes) for x in flat):
        raise TypeError(
            f"{who}: inputs=True needs inputs that are arrays, got Spikes. Pass `spikes.dense()`."
        )


class StepInputs:
    """Brings inputs to the shapes and number types that a step was compiled for.

    Parameters
    ----------
    who : str
        Name for messages.
    step : StepProgram
        The step.
    rows : tuple of int
        The batch, or nothing without a batch axis.
    """

    def __init__(self, who: str, step: StepProgram, rows: tuple[int, ...]) -> None:
        self.who = who
        self.step = step
        self.rows = rows

    def arguments(self, xs: Any) -> tuple[Any, ...]:
        """Tell one argument that is a tuple from several arguments."""
        one = jax.tree.structure((xs,)) == self.step.arguments_tree
        return xs if isinstance(xs, tuple) and not one else (xs,)

    def flat(self, args: Any, sequence: bool = False) -> tuple[Array, ...]:
        """Check the arguments of a step, or of a sequence, and lay them out flat.

        Parameters
        ----------
        args : tuple of pytrees
            The arguments; of a sequence with a leading time axis.
        sequence : bool
            Whether they are a sequence's.

        Returns
        -------
        tuple of array or Spikes
            One for each argument of the step.

        Raises
        ------
        ValueError
            If shapes, lengths or number types do not fit.
        """
        expected = self.step.arguments
        converted = in_units_of(self.who, tuple(args), self.step.arguments_tree)
        flat, tree = jax.tree.flatten(converted, is_leaf=lambda x: isinstance(x, Spikes))
        lead = 1 if sequence else 0
        shapes = [jnp.shape(v)[lead:] if jnp.ndim(v) >= lead else None for v in flat]
        wanted = [v.shape for v in expected]
        lengths = {jnp.shape(v)[0] for v in flat if jnp.ndim(v) > 0} if sequence else {1}
        if tree != self.step.arguments_tree or shapes != wanted or len(lengths) != 1 or 0 in lengths:
            what = "(time, *shape)" if sequence else "shape"
            raise ValueError(
                f"{self.who}: the input must have {what} as the example it was compiled for, "
                f"{[tuple(w) for w in wanted]}, got {[jnp.shape(v) for v in flat]}. "
                "Compile again for another batch size or width."
            )
        return tuple(
            v if isinstance(v, Spikes) else self._cast(jnp.asarray(v), w.dtype)
            for v, w in zip(flat, expected, strict=True)
        )

    def _cast(self, value: Array, dtype: Any) -> Array:
        """Bring an input to the number type that was compiled, if nothing can be lost but precision."""
        rank = [
            next((i for i, r in enumerate(RANKS) if jnp.issubdtype(d, r)), -1) for d in (value.dtype, dtype)
        ]
        if rank[0] > rank[1]:
            raise ValueError(
                f"{self.who}: the input must be of the number type of the example, {dtype}, "
                f"got {value.dtype}. Compile with an example of type {value.dtype}."
            )
        return value if value.dtype == dtype else value.astype(dtype)

    def samples(self, mask: Any, name: str, lead: tuple[int, ...] = ()) -> Array:
        """Check a choice of samples.

        Parameters
        ----------
        mask : array of bool (*lead, batch)
            The samples; without a batch axis of shape `lead`.
        name : str
            What the caller calls it.
        lead : tuple of int
            The time axis of a sequence; empty for one moment.

        Returns
        -------
        array of bool
            The choice.

        Raises
        ------
        ValueError
            If its shape or number type does not fit.
        """
        array = jnp.asarray(mask)
        if array.shape != (*lead, *self.rows) or array.dtype != jnp.bool_:
            raise ValueError(
                f"{self.who}: {name} must be an array of bool of shape {(*lead, *self.rows)}, "
                f"got {name} of type {array.dtype} and shape {array.shape}. Write one bool for each sample"
                f"{' and step' if lead else ''}, True where it begins anew."
            )
        return array


def dense_inputs(xs: Sequence[Any], variables: Sequence[Any]) -> tuple[Array, ...]:
    """Write event lists among the inputs out as arrays of the compiled number type."""
    return tuple(x.dense(v.dtype) if isinstance(x, Spikes) else x for x, v in zip(xs, variables, strict=True))
