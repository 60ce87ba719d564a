"""The pooling layer whose windows are units that spike."""

import math
from collections.abc import Sequence
from typing import Any, final

import brainstate
import jax
import jax.numpy as jnp
import numpy as np

from snntrace.neurons import LIF
from snntrace.neurons.parameters import one_of
from snntrace.neurons.weights import threshold_distance
from snntrace.nn.sliding import sliding
from snntrace.nn.spiking_conv import MakeNeuron, map_of

KINDS = ("sum", "mean", "max")


@final
class SpikingPool(brainstate.nn.Module):
    r"""Neurons that each see one window of one channel, through a fixed weight.

    .. math::

        I^t_{p,c} = g \, \frac{V_{th,c} - V_{rest,c}}{c_{drive}} \, \mathrm{pool}_d \, x^t_{s p + d, c}

    With ``kind="sum"`` and a gain of 1, each spike in a window brings its unit from rest to the threshold;
    what arrives at the same time is kept by a soft reset, and spikes later. With ``"mean"``, the whole window
    has to spike for that, and with ``"max"`` any of it.

    The weight stays as it is made: where thresholds are learnt, it is that of the initial ones.

    There are no weights to train. Where a pooling without units is enough, use ``brainstate.nn.MaxPool2d`` or
    ``AvgPool2d``.

    Parameters
    ----------
    in_size : tuple of int
        The input's map, ``(*places, channels)``, with one to three axes of places.
    window : int or tuple of int
        The window's places along each axis.
    neuron : callable
        Makes the neuron from the shape ``(*places, channels)``, as for `SpikingConv`.
    stride : int or tuple of int, optional
        Places from one window to the next; `window` if None.
    padding : {'SAME', 'VALID'}, int, or tuple of int or (int, int)
        Zeros around the input, as for `SpikingConv`. A mean divides by the whole window there, too, and a
        maximum is not below zero.
    kind : {'sum', 'mean', 'max'}
        What is made of a window. The gradient of a maximum goes to one place of the window, the first that
        has it (never padding, at a tie); that of the others to all.
    gain : float
        The g of the equation.
    name : str, optional
        Name of the module.

    Raises
    ------
    TypeError
        If `neuron` makes no neuron.
    ValueError
        If a size is not positive, the window does not fit into the map, or an option is unknown.

    Examples
    --------
    >>> import brainstate
    >>> import jax.numpy as jnp
    >>> from snntrace.nn import SpikingPool
    >>> layer = SpikingPool((4, 4, 2), 2)
    >>> _ = brainstate.nn.init_all_states(layer)
    >>> layer(jnp.eye(4)[:, :, None] * jnp.ones(2))[..., 0].tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """

    def __init__(
        self,
        in_size: Sequence[int],
        window: int | Sequence[int],
        neuron: MakeNeuron = LIF,
        stride: int | Sequence[int] | None = None,
        padding: Any = "VALID",
        kind: str = "sum",
        gain: float = 1.0,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        who = "SpikingPool"
        self.kind = one_of(who, "kind", kind, KINDS)
        self.window = sliding(
            who, in_size, window, window if stride is None else stride, padding, 1, "window"
        )
        if not isinstance(gain, (int, float, np.number)) or not 0 < gain < math.inf:
            raise ValueError(f"{who}: gain must be a positive number, got gain={gain!r}. Write gain=1.0.")
        self.gain = float(gain)
        self.in_size = self.window.in_size
        self.out_size = jax.eval_shape(self.pooled, jnp.zeros(self.in_size)).shape
        self.neuron = map_of(who, neuron, self.out_size)
        self.distance = np.asarray(threshold_distance(self.neuron), brainstate.environ.dftype())

    def pooled(self, x: jax.Array) -> jax.Array:
        """Pool a map.

        Parameters
        ----------
        x : array of shape (..., in_size)
            The map.

        Returns
        -------
        array of shape (..., out_size)
            The sum, the mean or the maximum of each window.
        """
        whole = math.prod(self.window.window)
        if self.kind == "max":
            most = self.window.reduce(x, -jnp.inf, jax.lax.max)
            inside = self.window.reduce(jnp.ones(self.in_size), 0.0, jax.lax.add)
            return jnp.where((most < 0) & (inside < whole), jnp.zeros_like(most), most)
        total = self.window.reduce(x, 0.0, jax.lax.add)
        return total / whole if self.kind == "mean" else total

    def update(self, x: Any) -> jax.Array:
        """Advance by one step.

        Parameters
        ----------
        x : array of shape (..., in_size)
            The input, spikes or values.

        Returns
        -------
        array of shape (..., out_size)
            What the neuron returns.
        """
        pooled = self.pooled(self.window.checked_map("SpikingPool", x))
        return jnp.asarray(self.neuron(self.gain * self.distance / self.neuron.drive_factor() * pooled))
