"""What a run takes for options that are left open, from the recordings themselves."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from snntrace.datasets import SaccadeDigits, SpikeDataset
from snntrace.datasets.reading import events_of
from snntrace.train.config import DEFAULTS

PROBED = 64
EARS_UNITS = 700
MOST_STEPS = 128
MOST_CHANNELS = 2400
MOST_TOGETHER = 64
FEWEST_UPDATES = 10
SHOWN = 60_000
EPOCHS = (4, 20)
STEPS_OF_MEMORY = 4


def suited(data: SpikeDataset, n_train: int, signal: str) -> dict[str, Any]:
    r"""Choose values for the options of a run that are left open.

    The embedded digits and the 700 units of the ear have values of their own (`DEFAULTS`). For others, 95 %
    of 64 recordings spread over the data have ended at the duration `T`; the time step is the shortest of
    1, 2, 5, 10, ... ms (or tenths and hundredths of a millisecond) with :math:`T / \Delta t \le 128`; time
    constants are at least four steps; inputs are counted together until there are at most 2,400 of them.

    Parameters
    ----------
    data : SpikeDataset
        The data.
    n_train : int
        How many recordings are trained on.
    signal : {'target', 'gradient'}
        What the rule learns from, a row of `DEFAULTS`.

    Returns
    -------
    dict
        ``duration_ms`` and options of `TrainConfig` by their names.

    Raises
    ------
    ValueError
        If there are no events.

    Examples
    --------
    >>> from snntrace.datasets import Randman
    >>> found = suited(Randman(), 1800, "gradient")
    >>> found["dt_ms"], found["duration_ms"], found["pool"], found["epochs"]
    (1.0, 100.0, 1, 20)
    """
    if isinstance(data, SaccadeDigits):
        found = dict(DEFAULTS["digits"])
    elif data.n_units == EARS_UNITS and sensor_of(data) is None:
        found = dict(DEFAULTS["file"])
    else:
        duration = 1e3 * typical_duration(data)
        dt = time_step(duration)
        found = {
            "epochs": int(np.clip(round(SHOWN / n_train), *EPOCHS)),
            "batch_size": MOST_TOGETHER,
            "dt_ms": dt,
            "duration_ms": dt * math.ceil(duration / dt - 1e-9),
            "pool": pool_of(data),
            "tau_out_ms": max(20.0, STEPS_OF_MEMORY * dt),
            "tau_mem_ms": max(DEFAULTS[signal]["tau_mem_ms"], STEPS_OF_MEMORY * dt),
        }
    # Enough updates an epoch where there are few recordings.
    most = 1 << max(0, int(math.log2(max(n_train // FEWEST_UPDATES, 1))))
    found["batch_size"] = min(int(found["batch_size"]), most)
    return found


def typical_duration(data: SpikeDataset) -> float:
    """Return when nearly all recordings have ended.

    Parameters
    ----------
    data : SpikeDataset
        The data.

    Returns
    -------
    float, in s
        The time.

    Raises
    ------
    ValueError
        If the recordings that are looked at have no events.
    """
    rows = np.unique(np.linspace(0, len(data) - 1, PROBED).astype(np.int64))
    ends = [float(times.max(initial=0.0)) for times, _ in events_of(data, rows)]
    end = float(np.quantile(ends, 0.95))
    if end <= 0:
        raise ValueError(
            f"snntrace train: recordings must have events after time 0, got none in {len(rows)} of {data!r}. "
            f"Give --dt-ms and --steps, or other data."
        )
    return end


def time_step(duration: float) -> float:
    """Return the shortest round time step that is not too short.

    Parameters
    ----------
    duration : float, in ms
        Of the recordings.

    Returns
    -------
    float, in ms
        1, 2 or 5 times a power of ten.

    Examples
    --------
    >>> time_step(100.0), time_step(307.0), time_step(1900.0), time_step(4.0)
    (1.0, 5.0, 20.0, 0.05)
    """
    least = duration / MOST_STEPS
    decade = 10.0 ** math.floor(math.log10(least))
    return next(round(k * decade, 12) for k in (1, 2, 5, 10) if k * decade >= least * (1 - 1e-9))


def pool_of(data: SpikeDataset) -> int:
    """Return how many neighbouring inputs are counted together.

    Parameters
    ----------
    data : SpikeDataset
        The data.

    Returns
    -------
    int
        Pixels along each side, a power of two, for a camera; else a divisor of the number of units.
    """
    sensor = sensor_of(data)
    if sensor is None:
        parts = range(1, data.n_units + 1)
        return next(p for p in parts if data.n_units % p == 0 and data.n_units // p <= MOST_CHANNELS)
    factor = 1
    while 2 * math.ceil(sensor[0] / factor) * math.ceil(sensor[1] / factor) > MOST_CHANNELS:
        factor *= 2
    return factor


def sensor_of(data: SpikeDataset) -> tuple[int, int] | None:
    """Return the pixels of the camera that recorded the data.

    Parameters
    ----------
    data : SpikeDataset
        The data.

    Returns
    -------
    (int, int), or None
        Width and height; None where there is no camera, or units are not its pixels of two polarities.
    """
    sensor = getattr(data, "sensor", None) or getattr(getattr(data, "info", None), "sensor", None)
    if sensor is None or data.n_units != 2 * sensor[0] * sensor[1]:
        return None
    return int(sensor[0]), int(sensor[1])
