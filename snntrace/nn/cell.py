"""What the recurrent cells share: their hidden states, gates and an activation."""

from collections.abc import Callable
from typing import Any, ClassVar

import brainstate
import jax
import jax.numpy as jnp

from snntrace.neurons.parameters import unit_count
from snntrace.neurons.weights import initial_array
from snntrace.nn.linear import Linear

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
    """A layer of units with one or several hidden states of shape (n,) or (batch, n); `h` is its output.

    Parameters
    ----------
    num_in : int
        The number of inputs.
    num_out : int
        The number of units.
    state_init : callable or float or array of shape (num_out,)
        Every state before the first step.
    activation : str or callable
        Name in ``jax.nn`` or ``jax.numpy``, or an elementwise function.
    name : str, optional
        Name of the module.
    """

    STATES: ClassVar[tuple[str, ...]] = ("h",)
    h: brainstate.HiddenState

    def __init__(
        self,
        num_in: int,
        num_out: int,
        state_init: Any = 0.0,
        activation: str | Activation = "tanh",
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        who = type(self).__name__
        self.num_in, self.num_out = unit_count(who, num_in, "num_in"), unit_count(who, num_out, "num_out")
        self.in_size, self.out_size = (self.num_in,), (self.num_out,)
        self.state_init = state_init
        self.activation = activation_function(who, activation)

    def gate(self, n_in: int, w_init: Any, b_init: Any) -> Linear:
        """Make a dense layer from some inputs to the units.

        Parameters
        ----------
        n_in : int
            The number of inputs.
        w_init : callable or array of shape (n_in, num_out)
            Weights; ``brainstate.nn.init.Orthogonal()`` if None.
        b_init : callable or array of shape (num_out,) or None
            Bias; None for none.

        Returns
        -------
        Linear
            The layer.
        """
        init = brainstate.nn.init.Orthogonal() if w_init is None else w_init
        return Linear(n_in, self.num_out, w_init=init, b_init=b_init)

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
        shape = (self.num_out,) if batch_size is None else (batch_size, self.num_out)
        who = type(self).__name__
        if callable(self.state_init):
            return initial_array(who, "state_init", self.state_init, shape)
        return jnp.broadcast_to(initial_array(who, "state_init", self.state_init, (self.num_out,)), shape)

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
    """
    return jnp.concatenate([checked_input(cell, x, h), h], axis=-1)
