"""The network that a run trains."""

from __future__ import annotations

import math
from typing import Any

import brainstate
import brainunit as u
import jax

from snntrace.neurons import LI, NEURONS, FeedForward, Recurrent, SpikingNeuron, fluctuation_driven
from snntrace.train.config import TrainConfig, number

READOUT_GAIN = 1.0
HIDDEN_GAIN = 10.0


class Classifier(brainstate.nn.Module):
    """Recurrent spiking layers, one after the other, and a leaky read-out.

    Parameters
    ----------
    layers : list of Recurrent
        The hidden layers.
    readout : FeedForward
        The read-out, one unit for each class.
    """

    def __init__(self, layers: list[Recurrent], readout: FeedForward) -> None:
        super().__init__()
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
        return [layer.neuron.spikes() for layer in self.layers]


def make_neuron(config: TrainConfig) -> SpikingNeuron:
    """Make the units of a hidden layer.

    Parameters
    ----------
    config : TrainConfig
        A resolved configuration.

    Returns
    -------
    SpikingNeuron
        The units.
    """
    kind = NEURONS[config.neuron]
    times = {"tau_mem": number(config.tau_mem_ms) * u.ms, "dt": number(config.dt_ms) * u.ms}
    return kind(config.hidden, reset=config.reset or "soft", **times)


def build_model(config: TrainConfig, n_in: int, n_classes: int, mean_square: float = 1.0) -> Classifier:
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

    Returns
    -------
    Classifier
        The network, without states.
    """
    brainstate.random.seed(config.seed)
    layers = []
    width = n_in
    for i in range(config.layers):
        neuron = make_neuron(config)
        gain = HIDDEN_GAIN if i else config.drive / math.sqrt(max(mean_square, 1e-6))
        layers.append(Recurrent(width, neuron, w_init=fluctuation_driven(neuron, gain)))
        width = config.hidden
    out = LI(n_classes, tau_mem=number(config.tau_out_ms) * u.ms, dt=number(config.dt_ms) * u.ms)
    return Classifier(layers, FeedForward(width, out, w_init=fluctuation_driven(out, READOUT_GAIN)))
