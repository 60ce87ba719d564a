"""The training run from beginning to end."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import brainstate
import numpy as np

import snntrace
from snntrace.train.config import TrainConfig, count
from snntrace.train.data import RunData, load, parts_of, pooled_camera
from snntrace.train.learning import Optimiser, chosen_path, forward, make_learner, train_step, validation_step
from snntrace.train.loss import Score
from snntrace.train.model import Classifier, build_model
from snntrace.train.pictures import Sample, learning_curve, spike_raster
from snntrace.train.run_folder import RunFolder
from snntrace.train.suit import suited
from snntrace.train.weights import named_weights

PACKAGES = (
    "snntrace",
    "jax",
    "jaxlib",
    "brainstate",
    "brainunit",
    "braintools",
    "numpy",
    "scikit-learn",
    "h5py",
)

Row = dict[str, float]


class Watcher:
    """What a run tells while it goes on. This one listens and says nothing; a console overrides it."""

    def begin(self, config: TrainConfig, data: RunData, learner: snntrace.Learner) -> None:
        """Hear that the network is compiled.

        Parameters
        ----------
        config : TrainConfig
            The resolved configuration.
        data : RunData
            The data.
        learner : Learner
            The compiled network.
        """

    def batch(self, epoch: int, done: int, total: int, loss: float, accuracy: float) -> None:
        """Hear that a batch has been learnt.

        Parameters
        ----------
        epoch : int
            Number of the epoch, from 1.
        done, total : int
            Batches of this epoch.
        loss : float, in nat
            Mean over the epoch so far.
        accuracy : float
            Mean over the epoch so far.
        """

    def epoch(self, row: Row) -> None:
        """Hear that an epoch has ended.

        Parameters
        ----------
        row : dict
            Its row of ``metrics.csv``.
        """


@dataclasses.dataclass(frozen=True)
class Result:
    """What a run leaves.

    Attributes
    ----------
    accuracy : float
        Held-out accuracy of the final weights.
    metrics : list of dict
        One row for each epoch.
    model : Classifier
        The network with its final weights.
    learner : Learner
        The learner around it.
    config : TrainConfig
        The resolved configuration.
    folder : Path or None
        Where the files are.
    """

    accuracy: float
    metrics: list[Row]
    model: Classifier
    learner: snntrace.Learner
    config: TrainConfig
    folder: Path | None


def train(
    config: TrainConfig | None = None,
    folder: RunFolder | Callable[[], RunFolder] | None = None,
    watcher: Watcher | None = None,
) -> Result:
    """Train a recurrent spiking network.

    Parameters
    ----------
    config : TrainConfig, optional
        What to do; all defaults if left out.
    folder : RunFolder, or callable that makes one, optional
        Where files go; none are written if left out. A callable is called when the network is compiled, so
        that a run that cannot begin leaves no folder.
    watcher : Watcher, optional
        Who hears how it goes.

    Returns
    -------
    Result
        The network and its accuracies.

    Raises
    ------
    ValueError
        If the configuration does not fit the data.
    FileNotFoundError
        If there are no such data.

    Examples
    --------
    >>> from snntrace.train import TrainConfig, train
    >>> result = train(TrainConfig(epochs=1, hidden=16, dt_ms=20, hold_out=0.8))
    >>> 0 <= result.accuracy <= 1
    True
    """
    config, watcher = config or TrainConfig(), watcher or Watcher()
    parts = parts_of(config)
    config = config.resolved(suited(parts.dataset, len(parts.kept), config.signal))
    data = load(config, parts=parts)
    first = next(data.train.epoch(0))
    classes = len(data.dataset.class_names)
    model = build_model(
        config, data.train.n_channels, classes, float(np.mean(first.x**2)),
        pooled_camera(parts.dataset, count(config.pool)),
    )  # fmt: skip
    learner = make_learner(config, model, first.x.shape[1:], classes)
    if config.path == "auto":
        path = chosen_path(learner, first.x, count(config.epochs) * len(data.train))
        config = dataclasses.replace(config, path=path)
        learner = make_learner(config, model, first.x.shape[1:], classes)
    if config.path == "event":
        data = load(config, "events", parts)
    files = folder() if callable(folder) else folder
    if files is not None:
        files.write_config(reproduction(config, data))
        files.write_text("report.txt", f"{learner.report}\n")
    watcher.begin(config, data, learner)
    metrics = epochs(config, data, model, learner, files, watcher)
    result = Result(
        metrics[-1]["val_acc"], metrics, model, learner, config, None if files is None else files.path
    )
    if files is not None:
        files.write_weights(named_weights(model))
        files.write_bytes("learning_curve.png", learning_curve(metrics, classes))
        files.write_bytes("spike_raster.png", spike_raster(sample(config, data, model)))
    return result


def epochs(
    config: TrainConfig,
    data: RunData,
    model: Classifier,
    learner: snntrace.Learner,
    files: RunFolder | None,
    watcher: Watcher,
) -> list[Row]:
    """Train epoch by epoch, and score the held-out recordings after each.

    Parameters
    ----------
    config : TrainConfig
        The resolved configuration.
    data : RunData
        The data.
    model : Classifier
        The network.
    learner : Learner
        The learner around it.
    files : RunFolder, optional
        Where the metrics go after each epoch.
    watcher : Watcher
        Who hears how it goes.

    Returns
    -------
    list of dict
        The metrics, one row for each epoch.
    """
    total = len(data.train)
    optimiser = Optimiser(config, model, count(config.epochs) * total)
    learn = train_step(config, learner, optimiser)
    validate = validation_step(model, count(config.batch_size))
    rows: list[Row] = []
    for number in range(1, count(config.epochs) + 1):
        start = time.perf_counter()
        sums = np.zeros(3)
        for done, batch in enumerate(data.train.epoch(number - 1), 1):
            sums += _floats(learn(batch.x, batch.labels, batch.mask))
            watcher.batch(number, done, total, float(sums[0] / sums[2]), float(sums[1] / sums[2]))
        held, rates = np.zeros(3), np.zeros(len(model.widths))
        for batch in data.validation.epoch(0):
            score, rate = validate(batch.x, batch.labels, batch.mask)
            held += _floats(score)
            rates += np.asarray(rate, np.float64)
        rows.append(
            {
                "epoch": number,
                "train_loss": float(sums[0] / sums[2]),
                "train_acc": float(sums[1] / sums[2]),
                "val_loss": float(held[0] / held[2]),
                "val_acc": float(held[1] / held[2]),
                "hidden_rate": float(rates.mean() / held[2]),
                "seconds": time.perf_counter() - start,
            }
        )
        if files is not None:
            files.write_metrics(rows)
        watcher.epoch(rows[-1])
    return rows


def _floats(score: Score) -> Any:
    return np.array([float(value) for value in score])


def sample(config: TrainConfig, data: RunData, model: Classifier) -> Sample:
    """Run one held-out recording through the network.

    Parameters
    ----------
    config : TrainConfig
        The resolved configuration.
    data : RunData
        The data.
    model : Classifier
        The network.

    Returns
    -------
    Sample
        The first recording of the validation part.
    """
    batch = next(data.validation.epoch(0))
    run = brainstate.transform.jit(forward(model, count(config.batch_size)))
    outs, spikes = run(batch.x)
    steps = int(batch.lengths[0])
    names = data.dataset.class_names
    return Sample(
        batch.x[:steps, 0],
        [np.asarray(z)[:steps, 0] for z in spikes],
        np.asarray(outs)[:steps, 0],
        int(batch.labels[0]),
        names,
        float(config.dt_ms or 0.0),
        int(batch.indices[0]),
    )


def reproduction(config: TrainConfig, data: RunData) -> dict[str, Any]:
    """Return what has to be known to repeat a run.

    Parameters
    ----------
    config : TrainConfig
        The resolved configuration.
    data : RunData
        The data.

    Returns
    -------
    dict
        The options, the division and the versions.
    """
    return {
        "config": dataclasses.asdict(config),
        "data": {
            "recordings": repr(data.dataset),
            "train": data.n_train,
            "validation": data.n_validation,
            "held_out": data.division,
            "channels": data.train.n_channels,
            "classes": list(data.dataset.class_names),
        },
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in PACKAGES},
        },
    }
