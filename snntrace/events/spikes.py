"""Spikes as event lists: which units spike in each step, and nothing about those that do not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray

from snntrace.events.listing import list_raster, list_steps
from snntrace.events.lists import check_lists, rounded
from snntrace.events.rasters import rows_of, written_out
from snntrace.events.steps import checked_n_steps, in_seconds, place_events

Array = Any


@partial(
    jax.tree_util.register_dataclass,
    data_fields=("pointers", "indices", "values"),
    meta_fields=("n_units",),
)
@dataclass(frozen=True, eq=False)
class Spikes:
    r"""Spikes of a batch of sequences as lists of events, in the order of their steps.

    .. math::

        x^t_{b,j} = \sum_{e = p_{b,t}}^{p_{b,t+1} - 1} v_e \, [i_e = j]

    with pointers :math:`p`, indices :math:`i` and values :math:`v`. It is a pytree of arrays, so it goes
    through `jax.jit` and `jax.vmap` as an array does.

    An event takes 4 bytes (8 with a value) and a row 4, room for further events not counted; a float32 raster
    takes 4 bytes for each unit of each step. The lists are smaller up to an activity of 80 % (40 % with
    values) whatever the capacity is rounded to; work on them is proportional to the events.

    The class itself does not look at what the arrays hold; use `from_rows` to make one of your own arrays.
    Where a capacity is too small for the events, which only a traced raster can cause, the pointers still
    count them all, products leave out those past the end, and `n_dropped` tells how many these are.

    Parameters
    ----------
    pointers : int32 array of shape (batch, time + 1)
        Row (b, t) is ``indices[pointers[b, t]:pointers[b, t + 1]]``. The rows of a sample follow each other;
        samples lie anywhere, but do not overlap.
    indices : int32 array of shape (capacity,)
        Unit of each event, ascending within a row; a repeated unit counts as often as it stands there.
    values : float array of shape (capacity,), or None
        Size of each event; None: all are 1.
    n_units : int
        Number of units.

    Examples
    --------
    >>> import numpy as np
    >>> raster = np.zeros((3, 2, 5), np.float32)
    >>> raster[0, 0, 4] = raster[2, 1, [0, 3]] = 1
    >>> spikes = Spikes.from_dense(raster)
    >>> spikes.shape, int(spikes.n_events), spikes.values is None
    ((3, 2, 5), 3, True)
    >>> np.array_equal(spikes.dense(), raster)
    True
    >>> spikes[1:].shape
    (2, 2, 5)
    """

    pointers: Array
    indices: Array
    values: Array | None
    n_units: int

    @classmethod
    def from_dense(cls, raster: Array, capacity: int | None = None, *, graded: bool | None = None) -> Self:
        """List the elements of a raster that are not zero.

        Do not use it between a spiking layer and a weight that is trained: what was zero has no place in the
        list, so a surrogate gradient could not reach it. `event_matmul` takes the raster itself.

        Parameters
        ----------
        raster : float, int or bool array of shape (time, batch, n_units)
            The spikes. It may be traced.
        capacity : int, optional
            Room for events. Default: the events, rounded up to one of few sizes; for a traced raster, which
            cannot be looked at, every element (memory that is reserved, and used as far as it is written).
        graded : bool, optional
            Keep values. Default: if one is not 1; for a traced raster, unless it is bool.

        Returns
        -------
        Spikes
            The events.

        Raises
        ------
        TypeError
            If the elements are not real numbers, or the raster is being differentiated.
        ValueError
            If the raster has not three axes, or the capacity is too small.
        """
        pointers, indices, values = list_raster(raster, capacity, graded)
        return cls(pointers, indices, values, np.shape(raster)[2])

    @classmethod
    def from_times(
        cls,
        times: Sequence[ArrayLike],
        units: Sequence[ArrayLike],
        *,
        n_units: int,
        dt: Any,
        n_steps: int | None = None,
        binary: bool = False,
        capacity: int | None = None,
    ) -> Self:
        r"""List the events of recordings, without a raster in between.

        An event at time :math:`t` belongs to step :math:`\lfloor t / \Delta t \rfloor`, as it does in
        `snntrace.datasets.bin_batch`, whose array is equal to ``dense()`` of the result.

        Parameters
        ----------
        times : sequence of arrays of shape (n_events,), in s
            Event times of each recording, in any order. They are converted to float64 first.
        units : sequence of int arrays of shape (n_events,)
            Event units of each recording.
        n_units : int
            Number of units.
        dt : scalar quantity of time, such as ``4 * u.ms``
            Width of a step.
        n_steps : int, optional
            Number of steps; events at or after ``n_steps * dt`` are dropped. Default: as many as the longest
            recording needs, at least 1.
        binary : bool, default False
            Keep one event of those that share a step and a unit, in place of all of them.
        capacity : int, optional
            Room for events. Default: the events, rounded up to one of few sizes.

        Returns
        -------
        Spikes
            The events, without values.

        Raises
        ------
        TypeError
            If `dt` is not a time with a unit, or the units are not integers.
        ValueError
            If an argument is out of range, the lists do not match, or there is no recording.

        Examples
        --------
        >>> import brainunit as u
        >>> spikes = Spikes.from_times([[0.009, 0.001]], [[1, 0]], n_units=2, dt=4 * u.ms)
        >>> spikes.dense()[:, 0].tolist()
        [[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]]
        """
        who = "Spikes.from_times"
        if len(times) != len(units) or len(times) == 0:
            raise ValueError(
                f"{who}: times and units must have one list for each recording, got {len(times)} and "
                f"{len(units)} lists. Give at least one recording."
            )
        step, limit = in_seconds(dt, who), checked_n_steps(n_steps, who)
        placed = [
            place_events(when, where, n_units=n_units, dt=step, pool=1, who=who)
            for when, where in zip(times, units, strict=True)
        ]
        return cls.from_steps(placed, n_units=n_units, n_steps=limit, binary=binary, capacity=capacity)

    @classmethod
    def from_steps(
        cls,
        placed: Sequence[tuple[NDArray[Any], NDArray[Any]]],
        *,
        n_units: int,
        n_steps: int | None = None,
        binary: bool = False,
        capacity: int | None = None,
    ) -> Self:
        """List events whose steps are known.

        Parameters
        ----------
        placed : sequence of (steps, units)
            One pair of int arrays a recording, in any order.
        n_units : int
            Number of units.
        n_steps : int, optional
            Number of steps; later events are dropped. Default: up to the last event, at least 1.
        binary : bool, default False
            Keep one event of those that share a step and a unit.
        capacity : int, optional
            Room for events. Default: the events, rounded up to one of few sizes.

        Returns
        -------
        Spikes
            The events, without values.

        Raises
        ------
        ValueError
            If a step or a unit is out of range, or the capacity is too small.

        Examples
        --------
        >>> spikes = Spikes.from_steps([([2, 0], [1, 1]), ([], [])], n_units=2)
        >>> spikes.shape, spikes.indices[:2].tolist()
        ((3, 2, 2), [1, 1])
        """
        pointers, indices = list_steps(placed, n_units, n_steps, binary, capacity)
        return cls(pointers, indices, None, n_units)

    @classmethod
    def from_rows(
        cls, pointers: ArrayLike, indices: ArrayLike, n_units: int, values: ArrayLike | None = None
    ) -> Self:
        """Take lists of your own.

        Parameters
        ----------
        pointers : int array of shape (batch, time + 1)
            Where rows begin; the last entry of a sample is where its last row ends.
        indices : int array of shape (capacity,)
            Unit of each event, ascending within a row.
        n_units : int
            Number of units.
        values : float array of shape (capacity,), optional
            Size of each event.

        Returns
        -------
        Spikes
            The events.

        Raises
        ------
        TypeError
            If pointers or indices are not integers, or values are not floats.
        ValueError
            If shapes or entries contradict each other. Entries of traced arrays cannot be looked at.

        Examples
        --------
        >>> Spikes.from_rows([[0, 1, 1, 3]], [4, 0, 3], 5).dense()[2, 0].tolist()
        [1.0, 0.0, 0.0, 1.0, 0.0]
        """
        arrays: list[Array] = [
            a if a is None or isinstance(a, jax.Array) else np.asarray(a) for a in (pointers, indices, values)
        ]
        places, units, sizes = arrays
        check_lists("Spikes.from_rows", places, units, n_units, sizes)
        return cls(places.astype(np.int32), units.astype(np.int32), sizes, n_units)

    @property
    def time(self) -> int:
        """Number of steps."""
        return int(self.pointers.shape[-1]) - 1

    @property
    def batch(self) -> int:
        """Number of samples."""
        return int(self.pointers.shape[-2])

    @property
    def capacity(self) -> int:
        """Events there is room for."""
        return int(self.indices.shape[-1])

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (time, batch, n_units) of the raster."""
        return self.time, self.batch, self.n_units

    @property
    def ndim(self) -> int:
        """Number of axes of the raster, 3."""
        return 3

    @property
    def dtype(self) -> np.dtype[Any]:
        """Number type of the values, float32 without values."""
        return np.dtype(
            jax.dtypes.canonicalize_dtype(np.float32 if self.values is None else self.values.dtype)
        )

    @property
    def nbytes(self) -> int:
        """Memory of the lists, in bytes, room for further events included."""
        arrays = (self.pointers, self.indices, self.values)
        return sum(int(a.size) * a.dtype.itemsize for a in arrays if a is not None)

    @property
    def n_events(self) -> Array:
        """Number of events, a traced number if the pointers are traced."""
        return (self.pointers[:, -1] - self.pointers[:, 0]).sum()

    @property
    def n_dropped(self) -> Array:
        """Number of events that the capacity had no room for."""
        ends = self.pointers[:, [0, -1]].clip(self.capacity) - self.capacity
        return (ends[:, 1] - ends[:, 0]).sum()

    def density(self) -> Array:
        """Return the events a unit and step, a number (traced if the pointers are)."""
        return self.n_events / max(self.time * self.batch * self.n_units, 1)

    def __getitem__(self, steps: slice) -> Self:
        """Take some steps in a row, without a look at the events.

        Parameters
        ----------
        steps : slice
            Which steps, as in ``spikes[10:20]``.

        Returns
        -------
        Spikes
            Events of these steps; the lists of all events are shared.

        Raises
        ------
        TypeError
            If `steps` is not a slice of steps that follow each other.
        """
        if not isinstance(steps, slice) or steps.step not in (None, 1):
            raise TypeError(
                f"Spikes: steps must be taken by a slice of consecutive ones, got index {steps!r}. "
                "Write spikes[a:b], or spikes.dense()[...] for anything else."
            )
        start, stop, _ = steps.indices(self.time)
        return replace(self, pointers=self.pointers[:, start : max(stop, start) + 1])

    def padded(self, capacity: int | None = None) -> Self:
        """Give the lists another capacity, so that batches of unequal numbers of events have one shape.

        Parameters
        ----------
        capacity : int, optional
            Room for events. Default: the present one, rounded up to one of few sizes.

        Returns
        -------
        Spikes
            The same events.

        Raises
        ------
        ValueError
            If the capacity is smaller than the present one.

        Examples
        --------
        >>> Spikes.from_rows([[0, 2]], [0, 3], 5).padded(8).indices.shape
        (8,)
        """
        size = rounded(self.capacity) if capacity is None else capacity
        if size < self.capacity:
            raise ValueError(
                f"Spikes.padded: capacity must be at least the present one, got capacity={capacity} for "
                f"{self.capacity}. Leave it out to round the present one up."
            )
        xp = np if isinstance(self.indices, np.ndarray) else jnp
        room = [(0, size - self.capacity)]
        values = None if self.values is None else xp.pad(self.values, room)
        return replace(self, indices=xp.pad(self.indices, room), values=values)

    def rows(self) -> Array:
        """Return the row of each place in the lists.

        Returns
        -------
        int32 array of shape (capacity,)
            ``step * batch + sample``; ``time * batch`` where no row is.
        """
        return rows_of(jnp.asarray(self.pointers), self.capacity)

    def dense(self, dtype: Any = None) -> Array:
        """Return the raster.

        Parameters
        ----------
        dtype : number type, optional
            Number type of the result. Default: that of the values, float32 without values.

        Returns
        -------
        array of shape (time, batch, n_units)
            The spikes; 0 where no event is.
        """
        kept = jnp.dtype(dtype or self.dtype)
        values = jnp.zeros(0, kept) if self.values is None else jnp.asarray(self.values)
        return written_out(jnp.asarray(self.pointers), jnp.asarray(self.indices), values, self.n_units, kept)
