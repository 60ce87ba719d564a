"""Initial values of weights."""

import math
from collections.abc import Callable
from typing import Any

import brainstate
import brainunit as u
import jax
import jax.numpy as jnp
import numpy as np

from snntrace.neurons.base import Neuron
from snntrace.neurons.parameters import value_of
from snntrace.neurons.spiking import SpikingNeuron


def fluctuation_driven(neuron: Neuron, gain: float) -> Callable[[tuple[int, ...]], jax.Array]:
    r"""Return an initialiser with which the input's fluctuations reach the threshold.

    .. math::

        W_{ji} \sim \mathcal N(0, \sigma_w^2), \quad
        \sigma_w = \frac{g \, (V_{th} - V_{rest})}{\sqrt{n_{pre}} \, \sigma_k}

    with :math:`\sigma_k` the neuron's `fluctuation`. If each presynaptic unit spikes with probability p in a
    step, the voltage without spikes has standard deviation :math:`g \sqrt p` thresholds, at any time
    constant, time step and drive.

    Parameters
    ----------
    neuron : Neuron
        The postsynaptic units; without a threshold, 1 mV stands in for it.
    gain : float
        The g of the equation.

    Returns
    -------
    callable
        Makes an array from a shape ``(n_pre, n_post)``, with ``brainstate.random``; for a kernel, of shape
        ``(*kernel, channels_pre, channels_post)``, all axes but the last make up :math:`n_{pre}`.

    References
    ----------
    J. Rossbroich, J. Gygax, F. Zenke, "Fluctuation-driven initialization for spiking neural network
    training", Neuromorphic Computing and Engineering 2, 044016, 2022.
    """
    distance = float(np.mean(threshold_distance(neuron)))

    def draw(shape: tuple[int, ...]) -> jax.Array:
        scale = gain * distance / (math.sqrt(math.prod(shape[:-1])) * neuron.fluctuation())
        return jnp.asarray(brainstate.random.normal(0.0, scale, shape), brainstate.environ.dftype())

    return draw


def threshold_distance(neuron: Neuron) -> np.ndarray:
    """Return how far the threshold lies above rest.

    Parameters
    ----------
    neuron : Neuron
        The units; without a threshold, 1 mV stands in for it.

    Returns
    -------
    array of shape () or (n,), in mV
        The distance, of the parameters' shape.
    """
    if not isinstance(neuron, SpikingNeuron):
        return np.ones(())
    distance: np.ndarray = np.asarray(value_of(neuron.v_th)) - np.asarray(value_of(neuron.v_rest))
    return distance


def initial_array(who: str, name: str, init: Any, shape: tuple[int, ...]) -> jax.Array:
    """Make the initial value of a weight.

    Parameters
    ----------
    who : str
        The class that asks, for the error message.
    name : str
        The argument's name, for the error message.
    init : callable or array of that shape or float
        An initialiser of ``braintools.init`` or ``brainstate.nn.init``, any function of a shape, or values.
    shape : tuple of int
        The shape.

    Returns
    -------
    array of that shape
        The value.

    Raises
    ------
    TypeError
        If `init` is none of these, or has a unit.
    ValueError
        If the array has another shape.
    """
    value = init(shape) if callable(init) else init
    if value is None or isinstance(value, (str, u.Quantity)):
        raise TypeError(
            f"{who}: {name} must give a plain array, got {name}={init!r}. "
            "Pass an initialiser of braintools.init, an array or a number."
        )
    array = jnp.asarray(value, brainstate.environ.dftype())
    if array.ndim == 0:
        return jnp.broadcast_to(array, shape)
    if array.shape != shape:
        raise ValueError(
            f"{who}: {name} must have shape {shape}, got {name} of shape {array.shape}. "
            "Weights are (pre, post): transpose or resize it."
        )
    return array
