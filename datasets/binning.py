"""From lists of events to dense arrays of axes (time, batch, unit)."""

import operator
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from snntrace.events.steps import checked_n_steps, in_seconds, place_events


class Binned(NamedTuple):
    """Recordings as one dense array, with what tells the data from the padding.

    Attributes
    ----------
    x : float32 array of shape (time, batch, channel)
        Number of events in each bin (or 0 and 1).
    lengths : int64 array of shape (batch,)
        Number of steps up to and including the last event, at least 1 and at most ``time``.
    mask : bool array of shape (time, batch)
        True for the steps before ``lengths``.
    """

    x: NDArray[np.float32]
    lengths: NDArray[np.int64]
    mask: NDArray[np.bool_]


def n_channels(n_units: int, pool: int, who: str) -> int:
    """Return the number of channels left when `pool` neighbouring units share one.

    Parameters
    ----------
    n_units : int
        Number of units.
    pool : int
        Units a channel.
    who : str
        Name of the caller, for the message.

    Returns
    -------
    int
        ``n_units / pool``.

    Raises
    ------
    ValueError
        If `pool` does not divide `n_units`.
    """
    if pool < 1 or n_units % pool:
        divisors = [k for k in range(1, min(n_units, 100) + 1) if n_units % k == 0]
        raise ValueError(
            f"{who}: pool must divide the number of units, got pool={pool} for {n_units} units. "
            f"Choose one of {divisors}."
        )
    return n_units // pool


def width_of(dt: Any, count: int | None, who: str) -> tuple[float, int | None]:
    """Return how wide bins are: in time, or in events.

    Parameters
    ----------
    dt : scalar quantity of time, or None
        Bin width in time.
    count : int or None
        Events of a bin.
    who : str
        Name of the caller, for the messages.

    Returns
    -------
    dt : float, in s
        Bin width; 1 if bins are of events.
    count : int or None
        Events of a bin.

    Raises
    ------
    ValueError
        If not exactly one is given, or `count` is less than 1.
    """
    if count is None:
        if dt is None:
            raise ValueError(f"{who}: dt or count must be given, got neither. Write for example dt=4 * u.ms.")
        return in_seconds(dt, who), None
    if dt is not None or operator.index(count) < 1:
        raise ValueError(
            f"{who}: bins must be of dt or of a count of at least 1 event, got dt={dt} and count={count}. "
            f"Leave one out."
        )
    return 1.0, operator.index(count)


def ranks(times: NDArray[Any]) -> NDArray[np.int64]:
    """Return the place of each event in the order of time; simultaneous ones keep their order.

    Parameters
    ----------
    times : array of shape (n_events,)
        Event times.

    Returns
    -------
    int64 array of shape (n_events,)
        The places, from 0.

    Examples
    --------
    >>> ranks(np.array([0.3, 0.1, 0.3, 0.2]))
    array([2, 0, 3, 1])
    """
    found = np.arange(times.size)
    if not (times[1:] >= times[:-1]).all():
        found[np.argsort(times, kind="stable")] = np.arange(times.size)
    return found


def lengths_of(
    placed: Sequence[tuple[NDArray[Any], NDArray[Any]]], n_steps: int | None
) -> tuple[int, NDArray[np.int64]]:
    """Return the number of steps and, of each recording, those up to its last event.

    Parameters
    ----------
    placed : sequence of (steps, channels)
        One pair of int arrays a recording.
    n_steps : int or None
        Number of steps. None: as many as the longest recording needs.

    Returns
    -------
    total : int
        Number of steps.
    lengths : int64 array of shape (batch,)
        At least 1 and at most `total`.
    """
    ends = np.array([int(steps.max()) + 1 if steps.size else 1 for steps, _ in placed], np.int64)
    total = int(ends.max()) if n_steps is None else n_steps
    checked_n_steps(total, "bin_batch")
    return total, np.minimum(ends, total)


def scatter(
    placed: Sequence[tuple[NDArray[Any], NDArray[Any]]], *, n_steps: int | None, channels: int, binary: bool
) -> Binned:
    """Count placed events into one dense array.

    Parameters
    ----------
    placed : sequence of (steps, channels)
        One pair of int arrays a recording, as `place_events` returns them.
    n_steps : int or None
        Number of steps; later events are dropped. None: as many as the longest recording needs.
    channels : int
        Number of channels.
    binary : bool
        At most one event a bin.

    Returns
    -------
    Binned
        The arrays.
    """
    total, lengths = lengths_of(placed, n_steps)
    batch = len(placed)
    flat = np.concatenate(
        [
            (np.minimum(steps, total) * batch + row) * channels + channel
            for row, (steps, channel) in enumerate(placed)
        ]
    )
    x = np.zeros(total * batch * channels, np.float32)
    flat = flat[flat < x.size]
    if binary:
        x[flat] = 1.0
    else:
        # Several times faster than `bincount` here, which fills an int64 array of the full size first.
        np.add.at(x, flat, np.float32(1))
    return Binned(x.reshape(total, batch, channels), lengths, np.arange(total)[:, None] < lengths)


def bin_events(
    times: ArrayLike,
    units: ArrayLike,
    *,
    n_units: int,
    dt: Any = None,
    count: int | None = None,
    n_steps: int | None = None,
    pool: int = 1,
    binary: bool = False,
) -> NDArray[np.float32]:
    r"""Count the events of one recording in bins of time and channel.

    .. math:: x_{k,c} = \#\{i : \lfloor t_i / \Delta t \rfloor = k, \lfloor u_i / \mathrm{pool} \rfloor = c\}

    An event on the border of two bins belongs to the later one.

    Parameters
    ----------
    times : array of shape (n_events,), in s
        Event times, in any order.
    units : int array of shape (n_events,)
        Event units.
    n_units : int
        Number of units.
    dt : scalar quantity of time, such as ``4 * u.ms``
        Bin width.
    count : int, optional
        In place of `dt`: bin ``k`` holds the events ``k * count .. (k + 1) * count - 1`` in the order of
        time.
    n_steps : int, optional
        Number of bins. Later events are dropped; a recording that ends earlier is
        followed by silence. Default: up to and including the last event, at least 1.
    pool : int, default 1
        Number of neighbouring units that are counted together; it must divide `n_units`.
    binary : bool, default False
        Give 1 for a bin with events, in place of their number.

    Returns
    -------
    float32 array of shape (time, channel)
        The counts.

    Raises
    ------
    TypeError
        If `dt` is not a time with a unit, or the units are not integers.
    ValueError
        If an argument is out of range.

    Examples
    --------
    >>> import brainunit as u
    >>> from snntrace.datasets import bin_events
    >>> bin_events([0.001, 0.004, 0.0045], [0, 1, 1], n_units=2, dt=4 * u.ms)
    array([[1., 0.],
           [0., 2.]], dtype=float32)
    """
    recordings = [(times, units)]
    x = bin_batch(
        recordings, n_units=n_units, dt=dt, count=count, n_steps=n_steps, pool=pool, binary=binary
    ).x
    return x[:, 0]


def bin_batch(
    recordings: Sequence[tuple[ArrayLike, ArrayLike]],
    *,
    n_units: int,
    dt: Any = None,
    count: int | None = None,
    n_steps: int | None = None,
    pool: int = 1,
    binary: bool = False,
) -> Binned:
    """Count the events of several recordings, of unequal lengths, in one dense array.

    Parameters
    ----------
    recordings : sequence of (times, units)
        Events of each recording, as `bin_events` takes them.
    n_units : int
        Number of units.
    dt : scalar quantity of time, such as ``4 * u.ms``
        Bin width.
    count : int, optional
        Events of a bin, in place of `dt`.
    n_steps : int, optional
        Number of bins; later events are dropped. Default: as many as the longest
        recording needs.
    pool : int, default 1
        Number of neighbouring units that are counted together.
    binary : bool, default False
        Give 1 for a bin with events, in place of their number.

    Returns
    -------
    Binned
        ``x`` of shape (time, batch, channel), ``lengths`` of shape (batch,), ``mask`` of shape (time, batch).
        A recording without events counts as one silent step, so that a mean over its steps exists.

    Raises
    ------
    TypeError
        If `dt` is not a time with a unit, or the units are not integers.
    ValueError
        If an argument is out of range, or there is no recording.

    Examples
    --------
    >>> import brainunit as u
    >>> from snntrace.datasets import bin_batch
    >>> binned = bin_batch([([0.001], [0]), ([0.002, 0.009], [1, 0])], n_units=2, dt=4 * u.ms)
    >>> binned.x.shape, binned.lengths, binned.mask.sum()
    ((3, 2, 2), array([1, 3]), np.int64(4))
    """
    if len(recordings) == 0:
        raise ValueError(
            "bin_batch: recordings must not be empty, got recordings=[]. Give at least one recording."
        )
    step, number = width_of(dt, count, "bin_batch")
    channels = n_channels(n_units, pool, "bin_batch")
    limit = checked_n_steps(n_steps, "bin_batch")
    placed = [
        place_events(times, units, n_units=n_units, dt=step, pool=pool, who="bin_batch")
        for times, units in recordings
    ]
    if number is not None:
        placed = [
            (ranks(np.asarray(times)) // number, channels)
            for (times, _), (_, channels) in zip(recordings, placed, strict=True)
        ]
    return scatter(placed, n_steps=limit, channels=channels, binary=binary)
