"""The convolutional spiking layer."""

from collections.abc import Callable, Sequence
from typing import Any, final

import brainstate
import jax
import jax.numpy as jnp

from snntrace.neurons import LIF, Neuron, SpikingNeuron, fluctuation_driven
from snntrace.neurons.parameters import unit_count
from snntrace.neurons.synapses import INPUT_GAIN, RECURRENT_GAIN
from snntrace.neurons.weights import initial_array
from snntrace.nn.sliding import sliding

MakeNeuron = Callable[[tuple[int, ...]], Neuron]


def map_of(who: str, neuron: MakeNeuron, size: tuple[int, ...]) -> Neuron:
    """Make the units of a map.

    Parameters
    ----------
    who : str
        The class that asks, for the error message.
    neuron : callable
        Makes a neuron from the map's shape.
    size : tuple of int
        The map, ``(*places, channels)``.

    Returns
    -------
    Neuron
        The units.

    Raises
    ------
    TypeError
        If `neuron` is no such function.
    ValueError
        If it makes units of another arrangement.
    """
    made = neuron(size) if callable(neuron) and not isinstance(neuron, Neuron) else None
    if not isinstance(made, Neuron):
        raise TypeError(
            f"{who}: neuron must make a neuron of snntrace.neurons from the shape of a map, got "
            f"neuron={neuron!r}. Write neuron=LIF, or neuron=lambda size: LIF(size, reset='hard')."
        )
    if made.size != size:
        raise ValueError(
            f"{who}: neuron must make units of the shape {size}, got {made.size}. "
            "Pass on the shape that it is given."
        )
    return made


@final
class SpikingConv(brainstate.nn.Module):
    r"""Maps of neurons behind a convolution in one, two or three dimensions.

    .. math:: I^t_{p,k} = \sum_{d, c} x^t_{s p + d, c} \, W^{in}_{d,c,k}
        + \sum_{d, c} z^{t-1}_{p + d, c} \, W^{rec}_{d,c,k} + b_k

    with places :math:`p`, the kernel's places :math:`d`, the stride :math:`s`, and channels :math:`c` and
    :math:`k`; the second sum is left out unless there is a `recurrent_kernel_size`. A unit has its own place
    and channel, and shares its weights with all others of the channel.

    The channels are the last axis. The states are the neuron's: make them with
    ``brainstate.nn.init_all_states(model, batch_size=...)``, and read them as ``layer.neuron.v.value``.

    Parameters
    ----------
    in_size : tuple of int
        The input's map, ``(*places, channels)``, with one to three axes of places.
    channels : int
        The number of maps of neurons.
    kernel_size : int or tuple of int
        The kernel's places along each axis.
    neuron : callable
        Makes the neuron from the shape ``(*places, channels)``: a class such as `LIF`, or a function such as
        ``lambda size: ALIF(size, tau_mem=10 * brainunit.ms)``.
    stride, dilation : int or tuple of int
        Places from one unit to the next, and from one place of the kernel to the next.
    padding : {'SAME', 'VALID'}, int, or tuple of int or (int, int)
        Zeros around the input: as many as keep ``places / stride``, none, or so many before and after.
    groups : int
        Into how many groups the channels are divided; each is convolved on its own.
    recurrent_kernel_size : int or tuple of int, optional
        Places of the kernel from the maps' own last spikes; no recurrent weights if None.
    w_init : callable or array of shape (\*kernel_size, in_channels / groups, channels), in mV
        Input weights. If left out: `fluctuation_driven` with gain 10 by the kernel's fan-in, for inputs that
        spike in about 2 % of the steps.
    w_rec_init : callable or array of shape (\*recurrent_kernel_size, channels, channels), in mV
        Recurrent weights; `fluctuation_driven` with gain 2 if left out.
    bias : bool
        Whether there is a bias for each channel, zero at first.
    name : str, optional
        Name of the module.

    Raises
    ------
    TypeError
        If `neuron` makes no neuron, or one that does not spike where there are recurrent weights.
    ValueError
        If a size is not positive, the kernel does not fit into the map, the groups do not divide the
        channels, or an array has the wrong shape.

    Examples
    --------
    >>> import brainstate
    >>> import jax.numpy as jnp
    >>> from snntrace.nn import SpikingConv
    >>> layer = SpikingConv((34, 34, 2), 8, kernel_size=5, stride=2)
    >>> _ = brainstate.nn.init_all_states(layer, batch_size=4)
    >>> layer(jnp.ones((4, 34, 34, 2))).shape
    (4, 17, 17, 8)
    """

    def __init__(
        self,
        in_size: Sequence[int],
        channels: int,
        kernel_size: int | Sequence[int],
        neuron: MakeNeuron = LIF,
        stride: int | Sequence[int] = 1,
        padding: Any = "SAME",
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        recurrent_kernel_size: int | Sequence[int] | None = None,
        w_init: Any = None,
        w_rec_init: Any = None,
        bias: bool = True,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        who = "SpikingConv"
        self.window = sliding(who, in_size, kernel_size, stride, padding, dilation)
        n, self.groups = unit_count(who, channels, "channels"), unit_count(who, groups, "groups")
        if self.window.channels % self.groups or n % self.groups:
            raise ValueError(
                f"{who}: groups must divide the channels, got groups={groups} for {self.window.channels} "
                f"input channels and channels={n}. Write groups=1."
            )
        shape = (*self.window.window, self.window.channels // self.groups, n)
        self.in_size = self.window.in_size
        size = jax.eval_shape(self._convolved, jnp.zeros(self.in_size), jnp.zeros(shape)).shape
        self.out_size = size
        self.neuron = map_of(who, neuron, size)
        init = fluctuation_driven(self.neuron, INPUT_GAIN) if w_init is None else w_init
        self.w_in = brainstate.ParamState(initial_array(who, "w_init", init, shape))
        self.bias = brainstate.ParamState(initial_array(who, "bias", 0.0, (n,))) if bias else None
        self.w_rec: brainstate.ParamState | None = None
        if recurrent_kernel_size is not None:
            self._set_recurrent(who, recurrent_kernel_size, w_rec_init)
        elif w_rec_init is not None:
            raise ValueError(
                f"{who}: w_rec_init belongs to recurrent weights, got it with recurrent_kernel_size=None. "
                "Give a recurrent_kernel_size."
            )

    def _set_recurrent(self, who: str, kernel_size: int | Sequence[int], init: Any) -> None:
        if not isinstance(self.neuron, SpikingNeuron):
            raise TypeError(
                f"{who}: neuron must spike where there are recurrent weights, got neuron={self.neuron!r}. "
                "Choose LIF, for instance, or leave recurrent_kernel_size out."
            )
        size, n = self.neuron.size, self.neuron.channels
        self.recurrent_window = sliding(who, size, kernel_size, 1, "SAME", 1, "recurrent_kernel_size")
        init = fluctuation_driven(self.neuron, RECURRENT_GAIN) if init is None else init
        shape = (*self.recurrent_window.window, n, n)
        self.w_rec = brainstate.ParamState(initial_array(who, "w_rec_init", init, shape))

    def _convolved(self, x: jax.Array, w: jax.Array) -> jax.Array:
        return self.window.convolve(x, w, self.groups)

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
        current = self._convolved(self.window.checked_map("SpikingConv", x), self.w_in.value)
        if self.w_rec is not None and isinstance(self.neuron, SpikingNeuron):
            current = current + self.recurrent_window.convolve(self.neuron.spikes(), self.w_rec.value)
        if self.bias is not None:
            current = current + self.bias.value
        return jnp.asarray(self.neuron(current))
