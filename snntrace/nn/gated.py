"""What the gated cells share: dense layers that they read through, and an activation."""

from collections.abc import Callable
from typing import Any, ClassVar

import brainstate
import jax
import jax.numpy as jnp

from snntrace.nn.cell import RecurrentCell
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


class GatedCell(RecurrentCell):
    """A cell that reads its input, its output, or both side by side, through one dense layer for each gate.

    `GATES` names the layers in the order in which they are drawn, and what each reads: ``"x"``, ``"h"`` or
    ``"xh"``.

    Parameters
    ----------
    num_in : int
        The number of inputs.
    num_out : int
        The number of units.
    w_init : callable or array
        Weights of each layer, rows of the input first; ``brainstate.nn.init.Orthogonal()`` if None.
    b_init : callable or array of shape (num_out,) or None
        Biases; None for none.
    state_init : callable or float or array of shape (num_out,)
        Every state before the first step.
    name : str, optional
        Name of the module.
    """

    GATES: ClassVar[dict[str, str]]
    WITHOUT_BIAS: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        num_in: int,
        num_out: int,
        w_init: Any = None,
        b_init: Any = 0.0,
        state_init: Any = 0.0,
        name: str | None = None,
    ) -> None:
        super().__init__(num_in, num_out, state_init, name)
        for gate, reads in self.GATES.items():
            setattr(self, gate, self.gate(reads, w_init, None if gate in self.WITHOUT_BIAS else b_init))

    def gate(self, reads: str, w_init: Any, b_init: Any) -> Linear:
        """Make a dense layer to the units.

        Parameters
        ----------
        reads : {'x', 'h', 'xh'}
            What it reads.
        w_init : callable or array
            Weights; ``brainstate.nn.init.Orthogonal()`` if None.
        b_init : callable or array of shape (num_out,) or None
            Bias; None for none.

        Returns
        -------
        Linear
            The layer.
        """
        init = brainstate.nn.init.Orthogonal() if w_init is None else w_init
        sizes = {"x": self.num_in, "h": self.num_out}
        return Linear(sum(sizes[part] for part in reads), self.num_out, w_init=init, b_init=b_init)


class ActivatedCell(GatedCell):
    """A gated cell with an activation.

    Parameters
    ----------
    num_in, num_out, w_init, b_init, state_init, name
        As for `GatedCell`.
    activation : str or callable
        Name in ``jax.nn`` or ``jax.numpy``, or an elementwise function.
    """

    def __init__(
        self,
        num_in: int,
        num_out: int,
        w_init: Any = None,
        b_init: Any = 0.0,
        state_init: Any = 0.0,
        activation: str | Activation = "tanh",
        name: str | None = None,
    ) -> None:
        super().__init__(num_in, num_out, w_init, b_init, state_init, name)
        self.activation = activation_function(type(self).__name__, activation)


def beside(x: jax.Array, h: jax.Array) -> jax.Array:
    """Put the input and a hidden vector side by side, the input first.

    Parameters
    ----------
    x : array of shape (..., num_in)
        The input.
    h : array of shape (..., num_out)
        The hidden vector.

    Returns
    -------
    array of shape (..., num_in + num_out)
        Both.
    """
    return jnp.concatenate([x, h], axis=-1)
