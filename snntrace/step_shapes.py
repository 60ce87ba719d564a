"""What goes into and comes out of one compiled step: as a user has it, and as rows of the batch in numpy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from snntrace.compiler.step import StepProgram

Array = Any


class StepShapes:
    """Brings inputs and errors of a step to the shapes that it was compiled for, and results back.

    Parameters
    ----------
    who : str
        Name for messages.
    step : StepProgram
        The compiled step.
    batch : int
        Samples side by side.
    """

    def __init__(self, who: str, step: StepProgram, batch: int) -> None:
        self.who = who
        self.step = step
        self.batch = batch
        self._rows = [(batch, int(np.prod(v.shape, dtype=int)) // batch) for v in step.arguments]
        self._results = [tuple(r.shape) for r in step.results]
        self._single = len(step.results) == 1 and step.results_tree == jax.tree.structure(0)
        self._errors = (batch, sum(shape[-1] for shape in self._results if shape))

    # Inputs ------------------------------------------------------------------------------------

    def arguments(self, args: Any) -> tuple[Array, ...]:
        """Lay an input out as the step takes it.

        Parameters
        ----------
        args : pytrees
            The input.

        Returns
        -------
        tuple of array
            One array for each argument, in its shape and number type.

        Raises
        ------
        ValueError
            If the input does not fit.
        """
        flat = jax.tree.leaves(args)
        if len(flat) != len(self.step.arguments):
            raise self._wrong_input(args)
        found = []
        for x, v in zip(flat, self.step.arguments, strict=True):
            value = np.asarray(x, v.dtype)
            if value.size != int(np.prod(v.shape, dtype=int)) or value.shape[-1:] != v.shape[-1:]:
                raise self._wrong_input(args)
            found.append(value.reshape(v.shape))
        return tuple(found)

    def input_rows(self, args: Any, dtype: Any) -> list[Array]:
        """Lay an input out as kernels take it.

        Parameters
        ----------
        args : pytrees
            The input.
        dtype : dtype
            The kernels' number type.

        Returns
        -------
        list of array of shape (batch, n_pre)
            One array for each argument.

        Raises
        ------
        ValueError
            If the input does not fit.
        """
        flat: Sequence[Any] = args if len(args) == len(self._rows) else jax.tree.leaves(args)
        if len(flat) != len(self._rows):
            raise self._wrong_input(args)
        found = []
        for x, shape in zip(flat, self._rows, strict=True):
            value = np.ascontiguousarray(x, dtype)
            if value.shape != shape:
                if self.batch != 1 or value.shape != shape[1:]:
                    raise self._wrong_input(args)
                value = value.reshape(shape)
            found.append(value)
        return found

    def _wrong_input(self, args: Any) -> ValueError:
        wanted = [tuple(v.shape) for v in self.step.arguments]
        found = [np.shape(v) for v in jax.tree.leaves(args)]
        return ValueError(
            f"{self.who}: the input must have the shapes of the example it was compiled for, {wanted}, "
            f"got {found}. Compile again for another batch size or width."
        )

    # Results -----------------------------------------------------------------------------------

    def results(self, arrays: Sequence[Array]) -> Any:
        """Give results the structure in which the model returns them."""
        return jax.tree.unflatten(self.step.results_tree, [np.asarray(r) for r in arrays])

    def results_of_rows(self, rows: Array) -> Any:
        """Cut results that lie side by side, (batch, n_results), into those that the model returns."""
        if self._single:
            return rows.reshape(self._results[0])
        found, at = [], 0
        for shape in self._results:
            found.append(rows[:, at : at + shape[-1]].reshape(shape))
            at += shape[-1]
        return self.results(found)

    # Errors ------------------------------------------------------------------------------------

    def errors(self, error: Any) -> list[Array]:
        """Take the loss's gradient at the results that carry one.

        Parameters
        ----------
        error : pytree of array
            The gradient, as the model returns its results.

        Returns
        -------
        list of array
            One for each result of floating-point numbers.

        Raises
        ------
        ValueError
            If it does not fit.
        """
        leaves, tree = jax.tree.flatten(error)
        results = self.step.results
        shapes = [np.shape(e) for e in leaves]
        if tree != self.step.results_tree or shapes != [r.shape for r in results]:
            raise self._wrong_error([r.shape for r in results], shapes)
        return [np.asarray(e) for e, r in zip(leaves, results, strict=True) if getattr(r, "is_float", True)]

    def error_rows(self, error: Any, dtype: Any) -> Array:
        """Lay the loss's gradient out as kernels take it.

        Parameters
        ----------
        error : pytree of array
            The gradient, as the model returns its results; that of a single result may come in any shape
            with its last axis.
        dtype : dtype
            The kernels' number type.

        Returns
        -------
        array of shape (batch, n_results)
            The gradient at all results side by side.

        Raises
        ------
        ValueError
            If it does not fit.
        """
        if not self._single:
            rows = [np.asarray(e, dtype).reshape(self.batch, -1) for e in self.errors(error)]
            return np.concatenate(rows, axis=1)
        found = np.ascontiguousarray(error, dtype)
        if found.shape == self._errors:
            return found
        if found.size != self._errors[0] * self._errors[1] or found.shape[-1:] != self._errors[1:]:
            raise self._wrong_error(self._results, found.shape)
        return found.reshape(self._errors)

    def _wrong_error(self, wanted: Any, found: Any) -> ValueError:
        return ValueError(
            f"{self.who}: error must be as the step's result, {wanted}, got {found}. "
            "Give the loss's gradient at the result."
        )
