"""A sequence step by step, with the names that braintrace has for it."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping
from typing import Any

import brainstate
import jax
import jax.numpy as jnp

from snntrace.events.spikes import Spikes
from snntrace.rules.options import is_count
from snntrace.step_data import sequence_length

Array = Any
REDUCTIONS = ("mean", "sum")
LOSS_OUTPUTS = ("per_step", "masked", "scalar")


class StepwiseDrivers(abc.ABC):
    """Loops over `update`, for learners; see `Learner`."""

    unroll: Callable[..., Any]

    @property
    @abc.abstractmethod
    def param_states(self) -> dict[Any, Any]:
        """The parameters."""

    def etrace_grad(
        self,
        *sequences: Any,
        step_fn: Callable[..., Any],
        mask: Any = None,
        chunk_size: int | None = None,
        weights: Mapping[Any, Any] | None = None,
        reduction: str = "mean",
        loss_output: str = "per_step",
        has_aux: bool = False,
        return_value: bool = False,
    ) -> Any:
        r"""Sum the gradients of every step of a sequence, taken one step, or some steps, at a time.

        .. math:: \nabla W = \sum_t m^t \nabla \ell^t \Big/ \sum_t m^t

        Where the loss is a function of all outputs, `value_and_grad` gives the same gradient in a fraction of
        the time; this is for losses that are computed step by step.

        Parameters
        ----------
        *sequences : pytrees with a leading time axis
            What `step_fn` takes, one slice at a time.
        step_fn : callable
            ``step_fn(*slices) -> loss``, which calls the learner once and returns a scalar; with `has_aux`,
            ``(loss, aux)``. With `chunk_size`, slices are (chunk_size, ...), it calls `unroll`, or the
            learner with `MultiStepData`, and returns one loss for each step.
        mask : array of shape (T,), optional
            Weights of the steps' losses. The traces go on at steps of weight zero.
        chunk_size : int, optional
            Steps at a time, a divisor of the sequence's length; one by one if None. The gradient is the same,
            and from some steps on it is faster.
        weights : mapping of path to state, optional
            The parameters to differentiate; all if None.
        reduction : {'mean', 'sum'}
            Whether to divide by the sum of the mask, if that is above 1.
        loss_output : {'per_step', 'masked', 'scalar'}
            What `return_value` returns: the losses, the losses times the mask, or the reduced loss.
        has_aux : bool
            Whether `step_fn` returns something besides the loss.
        return_value : bool
            Whether to return losses.

        Returns
        -------
        grads, or tuple
            ``grads``, then the losses with `return_value`, then what `has_aux` says.

        Raises
        ------
        TypeError
            If a sequence is `Spikes`.
        ValueError
            If an option is unknown, sequences differ in length or do not divide into chunks, or a loss has
            a wrong shape.
        """
        if reduction not in REDUCTIONS:
            raise ValueError(
                f"etrace_grad: reduction must be one of {REDUCTIONS}, got {reduction!r}. Use 'mean'."
            )
        if loss_output not in LOSS_OUTPUTS:
            raise ValueError(
                f"etrace_grad: loss_output must be one of {LOSS_OUTPUTS}, got loss_output={loss_output!r}. "
                "Use 'per_step'."
            )
        length = step_count("etrace_grad", sequences)
        scale = jnp.ones(length) if mask is None else jnp.asarray(mask, jnp.result_type(float))
        if scale.shape != (length,):
            raise ValueError(
                f"etrace_grad: mask must have one entry for each step, got mask of shape {scale.shape} for "
                f"{length} steps. Give an array of shape ({length},)."
            )
        cut = chunks("etrace_grad", chunk_size, length)
        states = self.param_states if weights is None else weights

        def objective(slices: Any, scale: Array) -> Any:
            found = step_fn(*slices)
            loss, aux = found if has_aux else (found, None)
            if jnp.shape(loss) != scale.shape:
                what = "one loss for each step of a chunk" if scale.shape else "a scalar loss"
                raise ValueError(
                    f"etrace_grad: step_fn must return {what}, of shape {scale.shape}, got shape "
                    f"{jnp.shape(loss)}. Take the mean over the batch inside step_fn."
                )
            return (scale * loss).sum(), (loss, aux)

        gradient = brainstate.transform.grad(objective, states, has_aux=True)

        def body(total: Any, now: Any) -> Any:
            grads, (loss, aux) = gradient(*now)
            return jax.tree.map(jnp.add, total, grads), (loss, aux)

        zeros = jax.tree.map(jnp.zeros_like, {path: state.value for path, state in states.items()})
        total, (losses, aux) = brainstate.transform.scan(body, zeros, jax.tree.map(cut, (sequences, scale)))
        losses = losses.reshape(length)
        divisor = jnp.maximum(scale.sum(), 1.0) if reduction == "mean" else 1.0
        grads = jax.tree.map(lambda g: g / divisor, total)
        masked = losses * scale
        value = {"per_step": losses, "masked": masked, "scalar": masked.sum() / divisor}[loss_output]
        result = (grads, *((value,) if return_value else ()), *((aux,) if has_aux else ()))
        return result if len(result) > 1 else grads

    def etrace_evolve(
        self,
        *sequences: Any,
        step_fn: Callable[..., Any] | None = None,
        chunk_size: int | None = None,
        return_outputs: bool = False,
    ) -> Any:
        """Run a sequence without a gradient, one step, or some steps, at a time; states and traces go on.

        ``unroll`` does the same at once.

        Parameters
        ----------
        *sequences : pytrees with a leading time axis
            The model's inputs, or what `step_fn` takes.
        step_fn : callable, optional
            What to call at each step, or with each chunk of steps; the learner itself if None.
        chunk_size : int, optional
            Steps at a time, a divisor of the sequence's length; one by one if None.
        return_outputs : bool
            Whether to return what each call gave.

        Returns
        -------
        pytree with a leading time axis, or None
            The outputs of each call.

        Raises
        ------
        TypeError
            If a sequence is `Spikes`.
        ValueError
            If sequences differ in length, or do not divide into chunks.
        """
        cut = chunks("etrace_evolve", chunk_size, step_count("etrace_evolve", sequences))
        plain: Any = self if chunk_size is None else self.unroll
        call = plain if step_fn is None else step_fn

        def body(*slices: Any) -> Any:
            out = call(*slices)
            return out if return_outputs else None

        return brainstate.transform.for_loop(body, *jax.tree.map(cut, sequences))


def step_count(who: str, sequences: tuple[Any, ...]) -> int:
    """Return the number of steps of sequences that are cut along time.

    Parameters
    ----------
    who : str
        Name for messages.
    sequences : tuple of pytrees
        The sequences.

    Returns
    -------
    int
        Steps.

    Raises
    ------
    TypeError
        If there are event lists, which have no time axis to cut.
    """
    leaves = jax.tree.leaves(sequences, is_leaf=lambda v: isinstance(v, Spikes))
    if any(isinstance(leaf, Spikes) for leaf in leaves):
        raise TypeError(
            f"{who}: sequences must be arrays, which are cut along time, got Spikes. "
            "Use unroll or value_and_grad, or pass `spikes.dense()`."
        )
    return sequence_length(who, sequences)


def chunks(who: str, size: Any, length: int) -> Callable[[Any], Any]:
    """Make the function that cuts a sequence into chunks.

    Parameters
    ----------
    who : str
        Name for messages.
    size : int, optional
        Steps of a chunk; None leaves sequences as they are.
    length : int
        Steps of the sequence.

    Returns
    -------
    callable
        From (T, ...) to (T / size, size, ...), with a size of 1 too.

    Raises
    ------
    ValueError
        If the size is no count, or does not divide the length.
    """
    if size is not None and (not is_count(size) or length % size):
        raise ValueError(
            f"{who}: chunk_size must be a whole number that divides the sequence's {length} steps, got "
            f"chunk_size={size!r}. Give a divisor, or cut the sequence to a multiple."
        )
    if size is None:
        return lambda value: value
    return lambda value: value.reshape(length // size, size, *jnp.shape(value)[1:])
