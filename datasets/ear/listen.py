"""The whole ear: from a sound to the spikes of 700 units."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from snntrace.datasets.ear.cells import STEP, Cells
from snntrace.datasets.ear.membrane import (
    CHANNELS,
    DECAY,
    MASS,
    SOFTENING,
    STIFFNESS,
    channel_places,
    movements,
)
from snntrace.datasets.ear.sound import at_ears_rate, at_level, checked_sound


def listen(
    sound: ArrayLike, rate: Any, seed: Any = 0, *, level: bool = True
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    r"""Turn a sound into the spikes of 700 units, by the model of the ear that made SHD.

    The sound is brought to 48 kHz and to a root mean square of 0.3. The basilar membrane is a shallow-water
    model, a bank of 700 filters from the base (unit 0, high tones) to the apex (unit 699, low tones); each
    place has an inner hair cell, whose 40 nerve fibres drive a bushy cell. The bushy cells' spikes are the
    unit's. See `snntrace.datasets.ear.membrane` and `snntrace.datasets.ear.cells` for the equations.

    Unit `i` hears best near the frequency :math:`f` at which the membrane resonates,

    .. math:: m (2 \pi f)^2 = C_0 e^{-\alpha c_i} - a, \qquad c_i = 3.5 \, i / 699

    which falls from 22.5 kHz to 110 Hz. The first call of a process takes some seconds, for the tables.

    SHD was made without a known seed, so its recordings cannot be had again spike by spike; their rates over
    20 ms and 20 units can.

    Parameters
    ----------
    sound : array of shape (n_samples,)
        The samples of one channel.
    rate : int, in Hz
        Samples a second, 1,000 to 1,000,000; converted to 48,000.
    seed : int, default 0
        Seed of the nerve fibres. One seed always gives the same spikes.
    level : bool, default True
        Bring the sound to a root mean square of 0.3. False: take its samples as they are.

    Returns
    -------
    times : float64 array of shape (n_spikes,), in s
        When, multiples of 1/24,000 s, ascending.
    units : int64 array of shape (n_spikes,)
        Which unit, 0 to 699, ascending within a time.

    Raises
    ------
    TypeError
        If the samples are not real numbers, or the rate or the seed is not an integer.
    ValueError
        If the sound has several channels, is not finite or shorter than 1 ms, or another argument is out of
        range.

    References
    ----------
    B. Cramer, Y. Stradmann, J. Schemmel, F. Zenke, "The Heidelberg Spiking Data Sets for the Systematic
    Evaluation of Spiking Neural Networks", IEEE Transactions on Neural Networks and Learning Systems 33,
    2744-2757 (2022).

    Examples
    --------
    >>> import numpy as np
    >>> from snntrace.datasets.ear import listen
    >>> tone = np.sin(2 * np.pi * 1000 * np.arange(4800) / 48_000)
    >>> times, units = listen(tone, 48_000, seed=1)
    >>> len(times) > 500, 350 < np.median(units) < 450
    (True, np.True_)
    """
    samples, per_second = checked_sound(sound, rate, "listen")
    try:
        start = operator.index(seed)
    except TypeError as error:
        raise TypeError(f"listen: seed must be an integer, got seed={seed!r}. Give 0 or more.") from error
    if start < 0:
        raise ValueError(f"listen: seed must not be negative, got seed={start}. Give 0 or more.")
    heard = at_ears_rate(samples, per_second)
    cells = Cells(start)
    found = [cells.advance(block) for block in movements(at_level(heard) if level else heard)]
    steps, units = (np.concatenate(column) for column in zip(*found, strict=True))
    return steps * STEP, units


def best_frequency(units: ArrayLike) -> NDArray[np.float64]:
    r"""Return the frequency at which each unit's place on the membrane resonates.

    .. math:: f_i = \frac{1}{2 \pi} \sqrt{\frac{C_0 e^{-\alpha c_i} - a}{m}}, \qquad c_i = 3.5 \, i / 699

    A place moves most at a somewhat lower frequency, which its damping decides.

    Parameters
    ----------
    units : int array
        Units, 0 to 699.

    Returns
    -------
    float64 array of the shape of `units`, in Hz
        The frequencies.

    Raises
    ------
    TypeError
        If the units are not integers.
    ValueError
        If a unit is out of range.

    Examples
    --------
    >>> from snntrace.datasets.ear import best_frequency
    >>> best_frequency([0, 400, 699]).round()
    array([22508.,  1115.,   110.])
    """
    wanted = np.asarray(units)
    if wanted.dtype.kind not in "iu":
        raise TypeError(
            f"best_frequency: units must be integers, got dtype={wanted.dtype}. Convert them with "
            f".astype(int)."
        )
    if wanted.size and not (wanted.min() >= 0 and wanted.max() < CHANNELS):
        wrong = wanted.min() if wanted.min() < 0 else wanted.max()
        raise ValueError(
            f"best_frequency: units must be in 0 .. {CHANNELS - 1}, got unit={wrong}. Choose existing ones."
        )
    places = channel_places()[wanted]
    return np.asarray(np.sqrt((STIFFNESS * np.exp(-DECAY * places) - SOFTENING) / MASS) / (2 * np.pi))
