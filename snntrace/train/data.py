"""Open, divide and bin the data of a run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import brainunit as u
import numpy as np
from numpy.typing import NDArray

from snntrace.datasets import Batches, SpikeDataset, batches, by_group, hold_out, open_dataset
from snntrace.datasets.official import refuse_test
from snntrace.datasets.transforms import pool_space, pooled_sensor
from snntrace.train.config import TrainConfig, count, number
from snntrace.train.suit import sensor_of

FRACTION = 0.1
VALIDATION = ("valid", "validation")
AHEAD = 2
"""Batches that are made while others are learnt from."""


@dataclass(frozen=True)
class RunData:
    """The data of a run.

    Attributes
    ----------
    dataset : SpikeDataset
        The recordings, those of an official part for validation left out.
    train, validation : Batches
        What is trained on, in a new order each epoch, and what is held out, in its own order. All batches
        have one shape; the last validation batch is filled up with rows of label -1.
    division : str
        How the recordings were divided, in words.
    n_train, n_validation : int
        Recordings of each part.
    """

    dataset: SpikeDataset
    train: Batches
    validation: Batches
    division: str
    n_train: int
    n_validation: int


def default_speakers(groups: NDArray[np.int64] | None) -> tuple[int, ...] | None:
    """Choose the speakers to hold out when none are named.

    Parameters
    ----------
    groups : int array of shape (n_recordings,), or None
        Speaker of each recording.

    Returns
    -------
    tuple of two int, or None
        The speakers a third and two thirds along the list of speakers, so that the choice depends on nothing
        else; None where there are fewer than three speakers, or none are known.

    Examples
    --------
    >>> import numpy as np
    >>> default_speakers(np.array([0, 1, 2, 3, 6, 7, 8, 9, 10, 11]))
    (3, 8)
    """
    if groups is None:
        return None
    speakers = np.unique(groups)
    if len(speakers) < 3:
        return None
    return int(speakers[len(speakers) // 3]), int(speakers[2 * len(speakers) // 3])


def divide(config: TrainConfig, dataset: SpikeDataset) -> tuple[NDArray[np.int64], NDArray[np.int64], str]:
    """Divide the recordings into those to train on and those held out.

    Parameters
    ----------
    config : TrainConfig
        Says how.
    dataset : SpikeDataset
        The recordings.

    Returns
    -------
    train, validation : int64 arrays
        Numbers of the recordings.
    words : str
        What was done.
    """
    refuse_test(
        dataset, "snntrace train", allow_test=config.allow_test,
        remedy="give allow_test=True (--allow-test)",
    )  # fmt: skip
    speakers = config.hold_out_speakers
    if speakers is None and config.hold_out is None:
        speakers = default_speakers(dataset.groups)
    if speakers is not None:
        kept, held = by_group(dataset, speakers, allow_test=True)
        return kept, held, "speakers " + ", ".join(map(str, speakers))
    fraction = FRACTION if config.hold_out is None else config.hold_out
    kept, held = hold_out(dataset, fraction, seed=config.seed, allow_test=True)
    return kept, held, f"{fraction:g} of every class"


@dataclass(frozen=True)
class Parts:
    """The recordings of a run.

    Attributes
    ----------
    dataset, held_in : SpikeDataset
        Where those are that are trained on, and those that are held out; the same but for data with an
        official part for validation.
    kept, held : int64 arrays
        Numbers of the recordings in each.
    words : str
        How they were divided.
    """

    dataset: SpikeDataset
    held_in: SpikeDataset
    kept: NDArray[np.int64]
    held: NDArray[np.int64]
    words: str


def parts_of(config: TrainConfig) -> Parts:
    """Open the data of a run and divide them.

    Parameters
    ----------
    config : TrainConfig
        Says what and how.

    Returns
    -------
    Parts
        The recordings.
    """
    options: dict[str, Any] = {} if config.encoding is None else {"encoding": config.encoding}
    dataset = open_dataset(config.data, **options)
    if (
        config.hold_out is None
        and config.hold_out_speakers is None
        and getattr(dataset, "split", "") == "train"
    ):
        for name in VALIDATION:
            if name in getattr(dataset, "splits", ()):
                held_in = open_dataset(config.data, split=name, **options)
                rows = np.arange(len(dataset)), np.arange(len(held_in))
                return Parts(dataset, held_in, *rows, f"the official part {name}")
    return Parts(dataset, dataset, *divide(config, dataset))


def load(config: TrainConfig, layout: str = "dense", parts: Parts | None = None) -> RunData:
    """Make the batches of a run.

    Parameters
    ----------
    config : TrainConfig
        A resolved configuration.
    layout : {'dense', 'events'}
        How the batches that are trained on come; those held out come dense.
    parts : Parts, optional
        The recordings. Default: those of `config`.

    Returns
    -------
    RunData
        The batches.
    """
    parts = parts_of(config) if parts is None else parts
    pool, sensor = count(config.pool), sensor_of(parts.dataset)
    shared: dict[str, Any] = {"pool": pool}
    if sensor is not None and pool > 1:
        pixels = (*sensor, 2)
        joined = math.prod(pooled_sensor(pixels, pool))
        shared = {"transform": partial(pool_space, sensor=pixels, factor=pool), "n_units": joined}
    shared |= {
        "dt": number(config.dt_ms) * u.ms, "n_steps": count(config.steps), "seed": config.seed,
        "cache": True, "prefetch": AHEAD,
    }  # fmt: skip
    size = count(config.batch_size)
    return RunData(
        parts.dataset,
        batches(parts.dataset, parts.kept, size, drop_last=True, layout=layout, **shared),
        batches(parts.held_in, parts.held, size, shuffle=False, pad_last=True, **shared),
        parts.words,
        len(parts.kept),
        len(parts.held),
    )


def pooled_camera(dataset: SpikeDataset, pool: int) -> tuple[int, int] | None:
    """Return the pixels of the data's camera, counted together.

    Parameters
    ----------
    dataset : SpikeDataset
        The data.
    pool : int
        Pixels along each side of a square that is counted together.

    Returns
    -------
    (int, int), or None
        Width and height; None where there is no camera.
    """
    sensor = sensor_of(dataset)
    return None if sensor is None else pooled_sensor((*sensor, 2), pool)[:2]
