"""The network that a run trains."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from itertools import chain, repeat
from typing import Any

import brainstate
import brainunit as u
import jax
import jax.numpy as jnp

from snntrace.neurons import LI, NEURONS, FeedForward, Recurrent, SpikingNeuron, fluctuation_driven
from snntrace.nn import SpikingConv
from snntrace.train.config import TrainConfig, number

READOUT_GAIN = 1.0
HIDDEN_GAIN = 10.0
KERNEL = 5
STRIDE = 2
"""Places of a convolution's kernel along each axis, and from one unit to the next."""


class Classifier(brainstate.nn.Module):
    """Recurrent spiking layers, one after the other, and a leaky read-out; convolutional layers in front.

    Parameters
    ----------
    layers : list of Recurrent
        The hidden layers.
    readout : FeedForward
        The read-out, one unit for each class.
    convolutions : list of SpikingConv
        The layers in front of them, of which the first sees a camera of ``(height, width, polarities)``.
    """

    def __init__(
        self, layers: list[Recurrent], readout: FeedForward, convolutions: Sequence[SpikingConv] = ()
    ) -> None:
        super().__init__()
        self.convolutions = list(convolutions)
        self.layers = layers
        self.readout = readout

    def update(self, x: Any) -> jax.Array:
        """Advance by one step.

        Parameters
        ----------
        x : array of shape (..., n_in)
            The input.

        Returns
        -------
        array of shape (..., n_classes), in mV
            The read-out's voltages.
        """
        if self.convolutions:
            x = as_map(x, self.convolutions[0].in_size)
            for convolution in self.convolutions:
                x = convolution(x)
            x = x.reshape(*x.shape[:-3], -1)
        for layer in self.layers:
            x = layer(x)
        out: jax.Array = self.readout(x)
        return out

    def spikes(self) -> list[jax.Array]:
        """Return each hidden layer's spikes of the present step.

        Returns
        -------
        list of array of shape (..., n)
            0 or 1.
        """
        maps = [layer.neuron.spikes() for layer in self.convolutions]
        flat = [z.reshape(*z.shape[:-3], -1) for z in maps]
        return [*flat, *(layer.neuron.spikes() for layer in self.layers)]

    @property
    def widths(self) -> list[int]:
        """Units of each hidden layer."""
        return [*(each.neuron.n for each in self.convolutions), *(each.neuron.n for each in self.layers)]


def as_map(x: Any, size: tuple[int, ...]) -> jax.Array:
    """Arrange the units of a camera, polarity by polarity and row by row, as a map.

    Parameters
    ----------
    x : array of shape (..., n_units)
        The units.
    size : (int, int, int)
        Height, width and polarities.

    Returns
    -------
    array of shape (..., height, width, polarities)
        The map.
    """
    height, width, polarities = size
    return jnp.moveaxis(jnp.asarray(x).reshape(*jnp.shape(x)[:-1], polarities, height, width), -3, -1)


def make_neuron(config: TrainConfig, size: int | tuple[int, ...]) -> SpikingNeuron:
    """Make the units of a hidden layer.

    Parameters
    ----------
    config : TrainConfig
        A resolved configuration.
    size : int or tuple of int
        How many, or the shape of their map.

    Returns
    -------
    SpikingNeuron
        The units.
    """
    kind = NEURONS[config.neuron]
    times = {"tau_mem": number(config.tau_mem_ms) * u.ms, "dt": number(config.dt_ms) * u.ms}
    return kind(size, reset=config.reset or "soft", **times)


def build_model(
    config: TrainConfig,
    n_in: int,
    n_classes: int,
    mean_square: float = 1.0,
    sensor: tuple[int, int] | None = None,
) -> Classifier:
    r"""Draw a network.

    The first layer's weights are drawn so that its voltage fluctuates by `drive` thresholds for the data at
    hand, with gain :math:`g = \mathrm{drive} / \sqrt{\langle x^2 \rangle}`.

    Parameters
    ----------
    config : TrainConfig
        A resolved configuration.
    n_in, n_classes : int
        Input channels and classes.
    mean_square : float, optional
        Mean of the squared input over steps, recordings and channels.
    sensor : (int, int), optional
        Width and height of the camera whose pixels the inputs are; for convolutional layers.

    Returns
    -------
    Classifier
        The network, without states.

    Raises
    ------
    ValueError
        If there are convolutional layers and no camera.
    """
    brainstate.random.seed(config.seed)
    gains = chain([config.drive / math.sqrt(max(mean_square, 1e-6))], repeat(HIDDEN_GAIN))
    convolutions: list[SpikingConv] = []
    if config.channels:
        if sensor is None:
            raise ValueError(
                f"snntrace train: channels belong to recordings of a camera of two polarities, got "
                f"channels={config.channels} for {n_in} inputs that are none. Leave channels out."
            )
        size: tuple[int, ...] = (sensor[1], sensor[0], 2)
        for channels in config.channels:
            make = partial(make_neuron, config)
            places = tuple(math.ceil(n / STRIDE) for n in size[:-1])
            init = fluctuation_driven(make((*places, channels)), next(gains))
            convolutions.append(SpikingConv(size, channels, KERNEL, make, STRIDE, w_init=init))
            size = convolutions[-1].neuron.size
        n_in = math.prod(size)
    layers: list[Recurrent] = []
    for _ in range(config.layers):
        neuron = make_neuron(config, config.hidden)
        layers.append(Recurrent(n_in, neuron, w_init=fluctuation_driven(neuron, next(gains))))
        n_in = config.hidden
    out = LI(n_classes, tau_mem=number(config.tau_out_ms) * u.ms, dt=number(config.dt_ms) * u.ms)
    readout = FeedForward(n_in, out, w_init=fluctuation_driven(out, READOUT_GAIN))
    return Classifier(layers, readout, convolutions)
