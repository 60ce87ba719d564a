"""Layers: a neuron with weights in front of it."""

from typing import Any, final

import brainstate
import jax
import jax.numpy as jnp

from snntrace.neurons.base import Neuron
from snntrace.neurons.parameters import unit_count
from snntrace.neurons.spiking import SpikingNeuron
from snntrace.neurons.weights import fluctuation_driven, initial_array

INPUT_GAIN = 10.0
RECURRENT_GAIN = 2.0


def _input_row(who: str, x: Any, n_in: int) -> jax.Array:
    array = jnp.asarray(x)
    if array.ndim == 0 or array.shape[-1] != n_in:
        raise ValueError(
            f"{who}: x must have {n_in} entries on its last axis, got x of shape {array.shape}. "
            f"Pass (batch, {n_in}) or ({n_in},), or change n_in."
        )
    return array


def _row(who: str, neuron: Neuron) -> int:
    if len(neuron.size) != 1:
        raise ValueError(
            f"{who}: neuron must be a row of units, got neuron of size {neuron.size}. "
            f"Write n={neuron.n}, or use snntrace.nn.SpikingConv for a map."
        )
    return neuron.n


@final
class FeedForward(brainstate.nn.Module):
    r"""A neuron with input weights.

    .. math:: I^t = x^t W_{in} + b

    The states are the neuron's: make them with ``brainstate.nn.init_all_states(model, batch_size=...)``, and
    read them as ``layer.neuron.v.value``.

    Parameters
    ----------
    n_in : int
        The number of inputs.
    neuron : Neuron
        The dynamics, with `n` units; also `LI`.
    w_init : callable or array of shape (n_in, n), in mV
        Input weights. If left out: `fluctuation_driven` with gain 10, which keeps a layer alive whose inputs
        spike in about 2 % of the steps. ``brainstate.random.seed`` fixes what is drawn.
    bias : bool
        Whether there is a bias, zero at first.
    name : str, optional
        Name of the module.

    Raises
    ------
    TypeError
        If `neuron` is not a neuron.
    ValueError
        If `n_in` is not positive, an array has the wrong shape, or the units stand on a map.

    Examples
    --------
    >>> import brainstate
    >>> import jax.numpy as jnp
    >>> from snntrace.neurons import LIF, FeedForward
    >>> layer = FeedForward(5, LIF(3))
    >>> _ = brainstate.nn.init_all_states(layer, batch_size=2)
    >>> layer(jnp.ones((2, 5))).shape
    (2, 3)
    """

    def __init__(
        self, n_in: int, neuron: Neuron, w_init: Any = None, bias: bool = True, name: str | None = None
    ) -> None:
        super().__init__(name=name)
        who = type(self).__name__
        if not isinstance(neuron, Neuron):
            raise TypeError(
                f"{who}: neuron must be a neuron of snntrace.neurons, got neuron={neuron!r}. "
                "Write `LIF(n)`, for instance."
            )
        n_in, n = unit_count(who, n_in, "n_in"), _row(who, neuron)
        self.in_size, self.out_size = (n_in,), (n,)
        self.neuron = neuron
        init = fluctuation_driven(neuron, INPUT_GAIN) if w_init is None else w_init
        self.w_in = brainstate.ParamState(initial_array(who, "w_init", init, (n_in, n)))
        self.bias = brainstate.ParamState(initial_array(who, "bias", 0.0, (n,))) if bias else None

    def update(self, x: Any) -> jax.Array:
        """Advance by one step.

        Parameters
        ----------
        x : array of shape (..., n_in)
            The input, spikes or values.

        Returns
        -------
        array of shape (..., n)
            What the neuron returns.
        """
        current = _input_row(type(self).__name__, x, self.in_size[0]) @ self.w_in.value
        if self.bias is not None:
            current = current + self.bias.value
        return jnp.asarray(self.neuron(current))


@final
class Recurrent(brainstate.nn.Module):
    r"""A spiking neuron with input weights and weights from each unit's last spike.

    .. math:: I^t = x^t W_{in} + z^{t-1} W_{rec} + b

    The states are the neuron's: make them with ``brainstate.nn.init_all_states(model, batch_size=...)``, and
    read them as ``layer.neuron.v.value``.

    Parameters
    ----------
    n_in : int
        The number of inputs.
    neuron : SpikingNeuron
        The dynamics, with `n` units.
    w_init : callable or array of shape (n_in, n), in mV
        Input weights; as in `FeedForward` if left out.
    w_rec_init : callable or array of shape (n, n), in mV
        Recurrent weights; `fluctuation_driven` with gain 2 if left out.
    bias : bool
        Whether there is a bias, zero at first.
    self_connections : bool
        Whether a unit's spike reaches the unit itself; without, the diagonal of `w_rec` has no effect.
    name : str, optional
        Name of the module.

    Raises
    ------
    TypeError
        If `neuron` does not spike.
    ValueError
        If `n_in` is not positive, an array has the wrong shape, or the units stand on a map.

    Examples
    --------
    >>> import brainstate
    >>> import jax.numpy as jnp
    >>> from snntrace.neurons import ALIF, Recurrent
    >>> layer = Recurrent(5, ALIF(3), self_connections=False)
    >>> _ = brainstate.nn.init_all_states(layer)
    >>> layer(jnp.ones(5)).shape
    (3,)
    """

    def __init__(
        self,
        n_in: int,
        neuron: SpikingNeuron,
        w_init: Any = None,
        w_rec_init: Any = None,
        bias: bool = True,
        self_connections: bool = True,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        who = type(self).__name__
        if not isinstance(neuron, SpikingNeuron):
            raise TypeError(
                f"{who}: neuron must be a neuron that spikes, got neuron={neuron!r}. "
                "Write `LIF(n)`, for instance, or use FeedForward."
            )
        n_in, n = unit_count(who, n_in, "n_in"), _row(who, neuron)
        self.in_size, self.out_size = (n_in,), (n,)
        self.neuron = neuron
        self.self_connections = bool(self_connections)
        init = fluctuation_driven(neuron, INPUT_GAIN) if w_init is None else w_init
        rec_init = fluctuation_driven(neuron, RECURRENT_GAIN) if w_rec_init is None else w_rec_init
        self.w_in = brainstate.ParamState(initial_array(who, "w_init", init, (n_in, n)))
        self.w_rec = brainstate.ParamState(initial_array(who, "w_rec_init", rec_init, (n, n)))
        self.bias = brainstate.ParamState(initial_array(who, "bias", 0.0, (n,))) if bias else None

    def update(self, x: Any) -> jax.Array:
        """Advance by one step.

        Parameters
        ----------
        x : array of shape (..., n_in)
            The input, spikes or values.

        Returns
        -------
        array of shape (..., n)
            The spikes at the end of the step.
        """
        w_rec = self.w_rec.value
        if not self.self_connections:
            w_rec = w_rec * (1.0 - jnp.eye(w_rec.shape[0], dtype=w_rec.dtype))
        x = _input_row(type(self).__name__, x, self.in_size[0])
        current = x @ self.w_in.value + self.neuron.spikes() @ w_rec
        if self.bias is not None:
            current = current + self.bias.value
        return jnp.asarray(self.neuron(current))
