"""What the recurrent cells share: one hidden state `h` and an activation."""

from collections.abc import Callable
from typing import Any

import brainstate
import jax
import jax.numpy as jnp

from snntrace.neurons.parameters import unit_count
from snntrace.neurons.weights import initial_array

Activation = Callable[[jax.Array], jax.Array]


def activation_function(who: str, activation: str | Activation) -> Activation:
    """Find an activation.

    Parameters
    ----------
    who : str
        The class that asks, for the error message.
    activation : str or callable
        A name in ``jax.nn`` or ``jax.numpy``, or an elementwise function.

    Returns
    -------
    callable
        The elementwise function.

    Raises
    ------
    ValueError
        If there is no such name.
    """
    if callable(activation):
        return activation
    function = getattr(jax.nn, activation, None) or getattr(jnp, activation, None)
    if not callable(function):
        raise ValueError(
            f"{who}: activation must be a function of jax.nn or jax.numpy, got activation={activation!r}. "
            "Write 'tanh', 'relu' or 'sigmoid', or pass a function."
        )
    found: Activation = function
    return found


class RecurrentCell(brainstate.nn.Module):
    """A layer of units with one hidden state `h` of shape (n,) or (batch, n)."""

    num_in: int
    num_out: int
    state_init: Any
    h: brainstate.HiddenState

    def initial_state(self, batch_size: int | None) -> jax.Array:
        """Return the hidden state before the first step.

        Parameters
        ----------
        batch_size : int, optional
            The number of samples.

        Returns
        -------
        array of shape (n,) or (batch_size, n)
            The state.
        """
        shape = (self.num_out,) if batch_size is None else (batch_size, self.num_out)
        who = type(self).__name__
        if callable(self.state_init):
            return initial_array(who, "state_init", self.state_init, shape)
        return jnp.broadcast_to(initial_array(who, "state_init", self.state_init, (self.num_out,)), shape)

    def init_state(self, batch_size: int | None = None, **kwargs: Any) -> None:
        """Make the hidden state.

        Parameters
        ----------
        batch_size : int, optional
            The number of samples; None for a state without a batch axis.
        **kwargs
            Taken for the sake of ``brainstate.nn.init_all_states``, which passes on what it gets.
        """
        self.h = brainstate.HiddenState(self.initial_state(batch_size))

    def reset_state(self, batch_size: int | None = None, **kwargs: Any) -> None:
        """Put the hidden state back to where it started.

        Parameters
        ----------
        batch_size : int, optional
            The number of samples; None for a state without a batch axis.
        **kwargs
            Taken for the sake of ``brainstate.nn.reset_all_states``, which passes on what it gets.
        """
        self.h.value = self.initial_state(batch_size)


def with_state(cell: RecurrentCell, x: Any, h: jax.Array) -> jax.Array:
    """Put the input and a hidden vector side by side, the input first.

    Parameters
    ----------
    cell : RecurrentCell
        The cell, for its sizes.
    x : array of shape (..., num_in)
        The input.
    h : array of shape (..., num_out)
        The hidden vector.

    Returns
    -------
    array of shape (..., num_in + num_out)
        Both.

    Raises
    ------
    ValueError
        If the input's shape does not fit the state's.
    """
    array = jnp.asarray(x)
    expected = (*h.shape[:-1], cell.num_in)
    if array.shape != expected:
        raise ValueError(
            f"{type(cell).__name__}: x must have shape {expected}, got x of shape {array.shape}. "
            "Make the states with the input's batch size, or change num_in."
        )
    return jnp.concatenate([array, h], axis=-1)


def cell_sizes(who: str, num_in: int, num_out: int) -> tuple[int, int]:
    """Check the sizes of a cell.

    Parameters
    ----------
    who : str
        The class that asks, for the error message.
    num_in : int
        The number of inputs.
    num_out : int
        The number of units.

    Returns
    -------
    tuple of int
        Both.
    """
    return unit_count(who, num_in, "num_in"), unit_count(who, num_out, "num_out")
