"""The pictures of a run."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

DPI = 120
DENSE = 0.1
BLUE, ORANGE, INK = "#1f5a94", "#d1600a", "#222222"


@dataclass(frozen=True)
class Sample:
    """One recording and what the network made of it.

    Attributes
    ----------
    x : array of shape (time, channel)
        Input events in each bin.
    spikes : list of array of shape (time, neuron)
        Spikes of each hidden layer.
    out : array of shape (time, class), in mV
        The read-out's voltages.
    label : int
        The right class.
    class_names : sequence of str
        Names of the classes.
    dt_ms : float, in ms
        Time step.
    index : int
        Number of the recording in the data set.
    """

    x: NDArray[Any]
    spikes: list[NDArray[Any]]
    out: NDArray[Any]
    label: int
    class_names: Sequence[str]
    dt_ms: float
    index: int


def png(figure: Figure) -> bytes:
    """Draw a figure.

    Parameters
    ----------
    figure : Figure
        The figure; no display is needed.

    Returns
    -------
    bytes
        The picture as PNG.
    """
    content = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(content, format="png")
    return content.getvalue()


def learning_curve(metrics: Sequence[Mapping[str, float]], n_classes: int) -> bytes:
    """Draw loss, accuracy and hidden rate over epochs.

    Parameters
    ----------
    metrics : sequence of mapping
        One row for each epoch.
    n_classes : int
        Number of classes, for the level of chance.

    Returns
    -------
    bytes
        The picture as PNG.
    """
    figure = Figure(figsize=(9.6, 3.4), dpi=DPI, layout="constrained")
    axes = figure.subplots(1, 3)
    epoch = [row["epoch"] for row in metrics]

    def curve(axis: Any, key: str, color: str, label: str, scale: float = 1.0) -> None:
        axis.plot(epoch, [scale * row[key] for row in metrics], color=color, label=label, marker="o", ms=3)

    curve(axes[0], "train_loss", BLUE, "training")
    curve(axes[0], "val_loss", ORANGE, "held out")
    axes[0].set(title="Loss", ylabel="cross-entropy (nat)")
    axes[0].set_ylim(bottom=0)
    curve(axes[1], "train_acc", BLUE, "training", 100)
    curve(axes[1], "val_acc", ORANGE, "held out", 100)
    axes[1].axhline(100 / n_classes, color="0.5", ls=":", lw=1, label="chance")
    axes[1].set(title=f"Accuracy (held out: {100 * metrics[-1]['val_acc']:.1f} %)", ylabel="%", ylim=(0, 102))
    curve(axes[2], "hidden_rate", INK, "hidden layers", 100)
    axes[2].set(title="Hidden spikes, held out", ylabel="% of units a step")
    axes[2].set_ylim(bottom=0)
    for axis in axes:
        axis.set_xlabel("epoch")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].legend(frameon=False)
    axes[1].legend(frameon=False, loc="lower right")
    return png(figure)


def spike_raster(sample: Sample) -> bytes:
    """Draw the input, the hidden spikes and the read-out of one recording.

    Parameters
    ----------
    sample : Sample
        The recording.

    Returns
    -------
    bytes
        The picture as PNG.
    """
    rows = 2 + len(sample.spikes)
    figure = Figure(figsize=(8.4, 3.0 * rows), dpi=DPI, layout="constrained")
    axes = figure.subplots(rows, 1, sharex=True)
    end = len(sample.x) * sample.dt_ms
    names = ["input channel", *(f"hidden unit, layer {i + 1}" for i in range(len(sample.spikes)))]
    if len(sample.spikes) == 1:
        names[1] = "hidden unit"
    for axis, name, events in zip(axes, names, [sample.x, *sample.spikes], strict=False):
        _raster(axis, events, sample.dt_ms)
        axis.set(ylabel=name, ylim=(-1, events.shape[1]))
        axis.set_title(f"{100 * (events > 0).mean():.1f} % of bins occupied", fontsize=9, loc="right")
    _readout(axes[-1], sample)
    axes[0].set_title(f"Held-out recording {sample.index}", fontsize=10, loc="left")
    axes[-1].set(xlabel="time (ms)", ylabel="read-out (mV)", xlim=(0, end))
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    return png(figure)


def _raster(axis: Any, events: NDArray[Any], dt_ms: float) -> None:
    if (events > 0).mean() < DENSE:
        step, unit = np.nonzero(events)
        height = float(np.clip(900 / events.shape[1], 1.2, 5.0))
        axis.scatter((step + 0.5) * dt_ms, unit, marker="|", s=height**2, lw=0.9, color=INK)
        return
    # Marks would run into each other: a box for each bin instead.
    extent = (0.0, len(events) * dt_ms, -0.5, events.shape[1] - 0.5)
    axis.imshow(
        events.T > 0, cmap="Greys", aspect="auto", origin="lower", extent=extent, interpolation="nearest"
    )


def _readout(axis: Any, sample: Sample) -> None:
    time = (np.arange(len(sample.out)) + 1) * sample.dt_ms
    mean = sample.out.mean(0)
    answer = int(mean.argmax())
    for c in np.argsort(mean):
        if c not in (answer, sample.label):
            axis.plot(time, sample.out[:, c], color="0.75", lw=0.9)
    if answer != sample.label:
        axis.plot(
            time, sample.out[:, answer], color=ORANGE, lw=2, label=f"answer: {sample.class_names[answer]}"
        )
    axis.plot(
        time,
        sample.out[:, sample.label],
        color=BLUE,
        lw=2,
        label=f"label: {sample.class_names[sample.label]}",
    )
    axis.plot([], [], color="0.75", lw=0.9, label="other classes")
    axis.set_title(
        f"label {sample.class_names[sample.label]}, answer {sample.class_names[answer]} (largest mean)",
        fontsize=9, loc="right",
    )  # fmt: skip
    low, high = axis.get_ylim()
    axis.set_ylim(low, high + 0.2 * (high - low))
    axis.legend(frameon=False, fontsize=8, loc="upper left", ncols=3)
