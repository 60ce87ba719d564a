"""What the recurrent cells share: their sizes and their hidden states."""

import abc
from typing import Any, ClassVar

import brainstate
import jax
import jax.numpy as jnp

from snntrace.neurons.parameters import unit_count
from snntrace.neurons.weights import initial_array


class RecurrentCell(brainstate.nn.Module):
    """A layer of units with hidden states of shape (n,) or (batch, n), the last of them its output.

    Parameters
    ----------
    num_in : int
        The number of inputs.
    num_out : int
        The number of units.
    state_init : callable or float or array of shape (num_out,)
        Every state before the first step; a callable is given the state's shape, ``(batch, num_out)`` with a
        batch axis.
    name : str, optional
        Name of the module.
    """

    STATES: ClassVar[tuple[str, ...]] = ("h",)

    def __init__(self, num_in: int, num_out: int, state_init: Any = 0.0, name: str | None = None) -> None:
        super().__init__(name=name)
        who = type(self).__name__
        self.num_in, self.num_out = unit_count(who, num_in, "num_in"), unit_count(who, num_out, "num_out")
        self.in_size, self.out_size = (self.num_in,), (self.num_out,)
        self.n_units = self.num_out
        self.state_init = state_init

    @abc.abstractmethod
    def step(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the cell's equation.

        Parameters
        ----------
        *args : arrays
            The input of one step, of shape (..., num_in), and the hidden states in the order of `STATES`.
        **kwargs
            None.

        Returns
        -------
        array, or tuple of arrays
            The new hidden states.
        """

    def update(self, x: Any) -> jax.Array:
        """Advance by one step.

        Parameters
        ----------
        x : array of shape (..., num_in)
            The input.

        Returns
        -------
        array of shape (..., num_out)
            The last of the new hidden states.
        """
        states = [getattr(self, name).value for name in self.STATES]
        new = self.step(checked_input(self, x, states[-1]), *states)
        values = new if isinstance(new, tuple) else (new,)
        for name, value in zip(self.STATES, values, strict=True):
            getattr(self, name).value = value
        output: jax.Array = values[-1]
        return output

    def initial_state(self, batch_size: int | None) -> jax.Array:
        """Return a hidden state before the first step.

        Parameters
        ----------
        batch_size : int, optional
            The number of samples.

        Returns
        -------
        array of shape (n,) or (batch_size, n)
            The state.
        """
        shape = (self.n_units,) if batch_size is None else (batch_size, self.n_units)
        who = type(self).__name__
        if callable(self.state_init):
            return initial_array(who, "state_init", self.state_init, shape)
        return jnp.broadcast_to(initial_array(who, "state_init", self.state_init, (self.n_units,)), shape)

    def init_state(self, batch_size: int | None = None, **kwargs: Any) -> None:
        """Make the hidden states.

        Parameters
        ----------
        batch_size : int, optional
            The number of samples; None for states without a batch axis.
        **kwargs
            Taken for the sake of ``brainstate.nn.init_all_states``, which passes on what it gets.
        """
        for name in self.STATES:
            setattr(self, name, brainstate.HiddenState(self.initial_state(batch_size)))

    def reset_state(self, batch_size: int | None = None, **kwargs: Any) -> None:
        """Put the hidden states back to where they started.

        Parameters
        ----------
        batch_size : int, optional
            The number of samples; None for states without a batch axis.
        **kwargs
            Taken for the sake of ``brainstate.nn.reset_all_states``, which passes on what it gets.
        """
        for name in self.STATES:
            getattr(self, name).value = self.initial_state(batch_size)


def checked_input(cell: RecurrentCell, x: Any, h: jax.Array) -> jax.Array:
    """Check the input of one step against a state.

    Parameters
    ----------
    cell : RecurrentCell
        The cell, for its sizes.
    x : array of shape (..., num_in)
        The input.
    h : array of shape (..., n)
        A hidden state.

    Returns
    -------
    array of shape (..., num_in)
        The input.

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
    return array
