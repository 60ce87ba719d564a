"""A window that slides over the places of a map, as a convolution and a pooling do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from snntrace.neurons.parameters import unit_count

PADDINGS = ("SAME", "VALID")


@dataclass(frozen=True)
class Sliding:
    """A window over the places of a map, with one entry for each of the map's axes but the last.

    Attributes
    ----------
    in_size : tuple of int
        The map, ``(*places, channels)``.
    window, stride, dilation : tuple of int
        Sizes of the window, from one place to the next, and between the window's own places.
    padding : {'SAME', 'VALID'} or tuple of (int, int)
        Zeros around the map: as many as keep ``places / stride``, none, or so many before and after.
    """

    in_size: tuple[int, ...]
    window: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: Any

    @property
    def channels(self) -> int:
        """Channels of the map."""
        return self.in_size[-1]

    @property
    def dimensions(self) -> str:
        """Letters of the places' axes."""
        return "DHW"[-len(self.window) :]

    def convolve(self, x: jax.Array, kernel: jax.Array, groups: int = 1) -> jax.Array:
        """Multiply what is under the window at every place with a kernel.

        Parameters
        ----------
        x : array of shape (..., *in_size)
            The map.
        kernel : array of shape (*window, channels / groups, out)
            The kernel.
        groups : int
            Into how many groups the channels are divided.

        Returns
        -------
        array of shape (..., *places, out)
            The products.
        """
        lead = x.shape[: x.ndim - len(self.in_size)]
        letters = self.dimensions
        y = jax.lax.conv_general_dilated(
            x if len(lead) == 1 else x.reshape(-1, *self.in_size),
            kernel,
            self.stride,
            self.padding,
            rhs_dilation=self.dilation,
            dimension_numbers=(f"N{letters}C", f"{letters}IO", f"N{letters}C"),
            feature_group_count=groups,
        )
        return y if len(lead) == 1 else y.reshape(*lead, *y.shape[1:])

    def reduce(self, x: jax.Array, start: float, join: Any) -> jax.Array:
        """Join what is under the window at every place, channel by channel.

        Parameters
        ----------
        x : array of shape (..., *in_size)
            The map.
        start : float
            The joint value of nothing.
        join : callable
            ``jax.lax.add`` or ``jax.lax.max``.

        Returns
        -------
        array of shape (..., *places, channels)
            The joint values.
        """
        before = x.ndim - len(self.in_size)
        window, stride, dilation = (
            (1,) * before + v + (1,) for v in (self.window, self.stride, self.dilation)
        )
        padding = self.padding
        if not isinstance(padding, str):
            padding = ((0, 0),) * before + padding + ((0, 0),)
        found: jax.Array = jax.lax.reduce_window(
            x, start, join, window, stride, padding, window_dilation=dilation
        )
        return found

    def checked_map(self, who: str, x: Any) -> jax.Array:
        """Check the input of one step.

        Parameters
        ----------
        who : str
            The class that asks, for the error message.
        x : array of shape (..., *in_size)
            The input.

        Returns
        -------
        array of shape (..., *in_size)
            The input, of the type of floats.

        Raises
        ------
        ValueError
            If its last axes are not the map's.
        """
        array = jnp.asarray(x)
        if array.shape[-len(self.in_size) :] != self.in_size:
            raise ValueError(
                f"{who}: x must have the shape (..., {', '.join(map(str, self.in_size))}), got x of shape "
                f"{array.shape}. Reshape it to places and channels, channels last, or change in_size."
            )
        if not jnp.issubdtype(array.dtype, jnp.inexact):
            array = array.astype(jnp.result_type(float))
        return array


def sliding(
    who: str,
    in_size: Sequence[int],
    window: Any,
    stride: Any,
    padding: Any,
    dilation: Any = 1,
    name: str = "kernel_size",
) -> Sliding:
    """Check a window and the map it slides over.

    Parameters
    ----------
    who : str
        The class that asks, for the error message.
    in_size : tuple of int
        The map, ``(*places, channels)``, with one to three axes of places.
    window, stride, dilation : int or tuple of int
        As in `Sliding`; an int counts for all axes.
    padding : {'SAME', 'VALID'}, int, or tuple of int or (int, int)
        As in `Sliding`; an int counts before and after.
    name : str
        The window's argument, for the error message.

    Returns
    -------
    Sliding
        The window.

    Raises
    ------
    ValueError
        If the map has another number of axes, or the window does not fit into it.
    """
    if not isinstance(in_size, (tuple, list)) or not 2 <= len(in_size) <= 4:
        raise ValueError(
            f"{who}: in_size must be the shape of a map with 1 to 3 axes of places and one of channels, "
            f"got in_size={in_size!r}. Write in_size=(34, 34, 2), for instance."
        )
    size = tuple(unit_count(who, n, f"in_size[{axis}]") for axis, n in enumerate(in_size))
    n = len(size) - 1
    found = Sliding(
        size,
        _each(who, name, window, n),
        _each(who, "stride", stride, n),
        _each(who, "dilation", dilation, n),
        _pads(who, padding, n),
    )
    reach = [(k - 1) * d + 1 for k, d in zip(found.window, found.dilation, strict=True)]
    around = [(0, 0)] * len(reach) if isinstance(found.padding, str) else found.padding
    room = [n + low + high for n, (low, high) in zip(size, around, strict=False)]
    if found.padding != "SAME" and any(r > n for r, n in zip(reach, room, strict=True)):
        raise ValueError(
            f"{who}: {name} must fit into the map, got a window of {tuple(reach)} places over {tuple(room)}. "
            "Make it smaller, or write padding='SAME'."
        )
    return found


def _each(who: str, name: str, value: Any, n: int) -> tuple[int, ...]:
    values = tuple(value) if isinstance(value, (tuple, list)) else (value,) * n
    if len(values) != n:
        raise ValueError(
            f"{who}: {name} must be an int or have one entry for each of the {n} axes of places, "
            f"got {name}={value!r}. Leave channels out."
        )
    return tuple(unit_count(who, each, name) for each in values)


def _pads(who: str, padding: Any, n: int) -> Any:
    if padding in PADDINGS:
        return padding
    values = padding if isinstance(padding, (tuple, list)) else (padding,) * n
    pairs = tuple(tuple(v) if isinstance(v, (tuple, list)) else (v, v) for v in values)
    whole = all(isinstance(v, int) and v >= 0 for pair in pairs for v in pair)
    if len(pairs) != n or not whole or any(len(pair) != 2 for pair in pairs):
        raise ValueError(
            f"{who}: padding must be 'SAME', 'VALID', an int, or one int or pair of ints for each of the {n} "
            f"axes of places, got padding={padding!r}. Write padding=1, for instance."
        )
    return pairs
