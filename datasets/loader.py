"""Batches of binned recordings, in an order that one seed fixes."""

import math
import operator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from snntrace.datasets.batch import Batches
from snntrace.datasets.binning import n_channels, width_of
from snntrace.datasets.order import Order, buckets_of
from snntrace.datasets.protocol import SpikeDataset
from snntrace.datasets.reading import Reader, steps_of
from snntrace.datasets.split import whole_numbers
from snntrace.datasets.transforms.composing import Mix, Transform
from snntrace.events.lists import check_units
from snntrace.events.steps import checked_n_steps, step_of

LAYOUTS = ("dense", "events")
DTYPES = ("float32", "int16", "uint8")


def batches(
    dataset: SpikeDataset,
    indices: ArrayLike,
    batch_size: int,
    dt: Any = None,
    *,
    count: int | None = None,
    n_steps: int | None = None,
    pool: int = 1,
    binary: bool = False,
    seed: int = 0,
    shuffle: bool = True,
    drop_last: bool = False,
    pad_last: bool = False,
    cache: bool = False,
    layout: str = "dense",
    dtype: str = "float32",
    buckets: int = 1,
    shard: tuple[int, int] = (0, 1),
    prefetch: int = 0,
    workers: int = 1,
    transform: Transform | None = None,
    mix: Mix | None = None,
    n_units: int | None = None,
) -> Batches:
    """Bin recordings of a data set batch by batch.

    Every batch has the same number of steps, so a compiled function is compiled once; or one of few, with
    `buckets`. The last batch of an epoch can be smaller than the others, be left out (`drop_last`, usual in
    training) or be filled up with silent rows (`pad_last`, for evaluation at a fixed batch size).

    Everything random is fixed by the seed, the number of the epoch and that of the recording, whatever
    `prefetch`, `workers` and `shard` are, and whether the epoch was begun here or by another run.

    Parameters
    ----------
    dataset : SpikeDataset
        Where the recordings are.
    indices : int array of shape (n,)
        Which of them.
    batch_size : int
        Recordings a batch.
    dt : scalar quantity of time, such as ``4 * u.ms``
        Bin width.
    count : int, optional
        In place of `dt`: events of a bin, in the order of time.
    n_steps : int, optional
        Steps a batch; later events are dropped. Default: enough for every event of the
        data set (for a file, the first use of its `duration` reads all times).
    pool : int, default 1
        Number of neighbouring units that are counted together.
    binary : bool, default False
        Give 1 for a bin with events, in place of their number.
    seed : int, default 0
        Seed of the order; together with the number of the epoch it fixes it.
    shuffle : bool, default True
        Draw a new order each epoch. False: as in `indices`.
    drop_last : bool, default False
        Leave out the recordings that do not fill a batch.
    pad_last : bool, default False
        Fill the last batch with rows without events, of label -1, length 0 and mask False.
    cache : bool, default False
        Keep the place of each event in memory after its first use, for 2 to 4 bytes an event (120 to 250 MB
        for the 61 million events of 8,156 recordings in SHD's layout), in place of reading it again each
        epoch. With `transform`, its time and unit, for 9 to 12 bytes.
    layout : {'dense', 'events'}, default 'dense'
        Give `Batch.x` as an array, or as `snntrace.Spikes`, whose memory and work are those of the events.
        Its capacity is one of few sizes, so that a function is compiled for few shapes.
    dtype : {'float32', 'int16', 'uint8'}, default 'float32'
        Number type of a dense ``x``. Integers take a half or a quarter of the memory, of the time to write it
        and of the way to another device; a bin with more events than it can hold is an error. Convert them
        where they are used, ``jnp.float32(batch.x)`` within a compiled function.
    buckets : int, default 1
        Put recordings of similar length together: in as many buckets of about equal size, each with the steps
        of its longest recording. More than 1 needs the time of each recording's last event, or their number
        (``dataset.durations`` and ``dataset.lengths``; without these, all are read).
    shard : (int, int), default (0, 1)
        ``(i, n)``: the batches of process ``i`` of ``n``. All processes make the same batches and take every
        n-th; with `drop_last` or `pad_last`, equally many.
    prefetch : int, default 0
        Batches that are made ahead, on other threads; 2 is usual. 0: each when it is asked for.
    workers : int, default 1
        Threads that make batches, with `prefetch`.
    transform : callable, optional
        Called with each recording, a pair of times (in s) and units, and a `numpy.random.Generator`, before
        it is binned; returns a pair. See `snntrace.datasets.transforms`. Events after the last step are
        dropped.
    mix : callable, optional
        Called with each recording, another one drawn from `indices`, both transformed, and a generator;
        returns a recording and the weight of the first one's label, as `cut_mix` does. `Batch.partners` and
        `Batch.weights` tell what was mixed. Not with `buckets`.
    n_units : int, optional
        Number of units after the transform. Default: the data set's.

    Returns
    -------
    Batches
        The iterable.

    Raises
    ------
    TypeError
        If `dt` is not a time with a unit.
    ValueError
        If an argument is out of range, not exactly one of `dt` and `count` is given, or there would be no
        batch.

    Examples
    --------
    >>> import brainunit as u
    >>> from snntrace.datasets import SaccadeDigits, batches
    >>> loader = batches(SaccadeDigits(), range(100), 32, 4 * u.ms, drop_last=True)
    >>> len(loader), next(iter(loader)).x.shape
    (3, (76, 32, 512))
    """
    step, per_bin = width_of(dt, count, "batches")
    limit = checked_n_steps(n_steps, "batches")
    chosen = checked_indices(indices, dataset, "batches")
    if drop_last and pad_last:
        raise ValueError(
            "batches: the last batch must be dropped or filled, got drop_last=True and pad_last=True. Choose "
            "one."
        )
    if seed < 0:
        raise ValueError(f"batches: seed must not be negative, got seed={seed}. Give 0 or more.")
    if layout not in LAYOUTS:
        raise ValueError(f"batches: layout must be one of {LAYOUTS}, got layout={layout!r}. Choose one.")
    kind = checked_dtype(dtype, layout)
    batch_size, most = operator.index(batch_size), chosen.size if drop_last else math.inf
    if chosen.size == 0 or not 1 <= batch_size <= most:
        raise ValueError(
            f"batches: there must be at least one batch, got {chosen.size} recordings, "
            f"batch_size={batch_size} and drop_last={drop_last}. Give more recordings or another batch size."
        )
    part = checked_work(shard, buckets, prefetch, workers, "batches")
    check_mixing(mix, buckets)
    units = checked_units(dataset, n_units, pool, "batches")
    if limit is None and buckets == 1:
        longest = step_of(np.array([dataset.duration]), step) + 1
        if per_bin is not None:
            longest = steps_of(dataset, np.arange(len(dataset)), step, per_bin)
        limit = int(longest.max())
    steps, bucket = np.array([limit or 1]), np.zeros(chosen.size, np.int64)
    if buckets > 1:
        each = steps_of(dataset, chosen, step, per_bin)
        steps, bucket = buckets_of(each if limit is None else np.minimum(each, limit), buckets)
    checked_n_steps(int(steps.max()), "batches")
    order = Order(chosen, batch_size, seed, shuffle, drop_last, pad_last, part, steps, bucket)
    if len(order) == 0:
        raise ValueError(
            f"batches: there must be at least one batch, got {chosen.size} recordings in {len(steps)} "
            f"buckets, batch_size={batch_size} and shard={shard}. Give fewer buckets or processes."
        )
    reader = Reader(
        dataset, step, per_bin, pool, units, int(steps.max()), seed, transform, mix, chosen, cache
    )
    return Batches(
        order, reader, binary=binary, layout=layout, dtype=kind, prefetch=prefetch, workers=workers
    )


def check_mixing(mix: Mix | None, buckets: int) -> None:
    """Refuse to mix recordings of several buckets, of which the longer one would be cut off but named."""
    if mix is not None and buckets > 1:
        raise ValueError(
            f"batches: recordings that are mixed must be of one bucket, got buckets={buckets} and a mix. "
            f"Leave out one of them."
        )


def checked_dtype(dtype: str, layout: str) -> np.dtype[Any]:
    """Return the number type of dense batches.

    Parameters
    ----------
    dtype : str
        Its name.
    layout : {'dense', 'events'}
        What batches are.

    Returns
    -------
    dtype
        The type.

    Raises
    ------
    ValueError
        If it is none of those that there are, or batches are no arrays.
    """
    names = [name for name in DTYPES if np.dtype(name) == dtype]
    if not names:
        raise ValueError(f"batches: dtype must be one of {DTYPES}, got dtype={dtype!r}. Choose one.")
    if layout == "events" and names != ["float32"]:
        raise ValueError(
            f"batches: dtype must be left out for events, which are no numbers, got dtype={dtype!r} and "
            f"layout={layout!r}. Leave out one of them."
        )
    return np.dtype(names[0])


def checked_indices(indices: ArrayLike, dataset: SpikeDataset, who: str) -> NDArray[np.int64]:
    """Return the numbers of recordings.

    Parameters
    ----------
    indices : int array of shape (n,)
        The numbers.
    dataset : SpikeDataset
        Where the recordings are.
    who : str
        Name of the caller, for the message.

    Returns
    -------
    int64 array of shape (n,)
        The numbers.

    Raises
    ------
    ValueError
        If there is no such recording.
    """
    chosen = whole_numbers(indices, who)
    if chosen.size and not (chosen.min() >= 0 and chosen.max() < len(dataset)):
        wrong = chosen.min() if chosen.min() < 0 else chosen.max()
        raise ValueError(
            f"{who}: indices must be in 0 .. {len(dataset) - 1}, got index={wrong}. Choose existing "
            f"recordings."
        )
    return chosen


def checked_units(dataset: SpikeDataset, n_units: int | None, pool: int, who: str) -> int:
    """Return the number of units that are binned.

    Parameters
    ----------
    dataset : SpikeDataset
        The data set.
    n_units : int or None
        Number of units after a transform; None: the data set's.
    pool : int
        Neighbouring units that are counted together.
    who : str
        Name of the caller, for the messages.

    Returns
    -------
    int
        The number.

    Raises
    ------
    ValueError
        If it is less than 1 or too large, or `pool` does not divide it.
    """
    units = dataset.n_units if n_units is None else operator.index(n_units)
    if units < 1:
        raise ValueError(f"{who}: n_units must be at least 1, got n_units={n_units}. Leave it out.")
    check_units(who, units)
    n_channels(units, pool, who)
    return units


def checked_work(
    shard: tuple[int, int], buckets: int, prefetch: int, workers: int, who: str
) -> tuple[int, int]:
    """Refuse what no work can be divided by.

    Parameters
    ----------
    shard : (int, int)
        Number of this process, and of all.
    buckets : int
        Buckets of similar length.
    prefetch : int
        Batches that are made ahead.
    workers : int
        Threads.
    who : str
        Name of the caller, for the message.

    Returns
    -------
    (int, int)
        The shard.

    Raises
    ------
    ValueError
        If one is out of range.
    """
    mine, of = (operator.index(part) for part in shard)
    if not 0 <= mine < of:
        raise ValueError(
            f"{who}: shard must be (i, n) with i in 0 .. n - 1, got shard={shard}. Give the number of this "
            f"process and that of all."
        )
    if buckets < 1 or prefetch < 0 or workers < 1 or (workers > 1 and prefetch == 0):
        raise ValueError(
            f"{who}: buckets and workers must be at least 1, and workers have something to fetch, got "
            f"buckets={buckets}, prefetch={prefetch} and workers={workers}. Give prefetch=2 or more."
        )
    return mine, of
