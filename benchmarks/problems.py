"""The batches on which the event path is measured: Poisson-like input, and recordings."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import brainunit as u
import jax
import jax.numpy as jnp
import numpy as np
from nets import SEED, Net, Shape, spikes_and_labels

from snntrace import Spikes
from snntrace.datasets import batches, open_dataset

SHARED = Path(os.environ.get("SNNTRACE_SHARED", Path(__file__).parents[2] / "shared")) / "data"


@dataclass(frozen=True, eq=False)
class Problem:
    """One batch: as a raster (T, B, n_in) of float32 and as event lists, with a label (T, B) for each step.

    `limit` is the highest ratio to BPTT's time that is allowed.
    """

    name: str
    shape: Shape
    raster: jax.Array
    spikes: Spikes
    labels: jax.Array
    limit: float

    @property
    def input_rate(self) -> float:
        """The share of steps in which an input spikes."""
        return float((self.raster != 0).mean())

    def __str__(self) -> str:
        s = self.shape
        return (
            f"{self.name}: {s.n_in}-{s.n}-{s.n_out}, batch {s.batch}, T = {s.steps}, "
            f"{self.input_rate:.2%} input spikes"
        )

    def write(self, kind: str, folder: Path) -> dict[str, Path]:
        """Write weights, events and labels for a peer, and return the paths."""
        net = Net(kind, self.shape)
        layer, w_out = net.recurrent, net.readout.weight.value["weight"]
        files = {
            "weights": folder / "weights.npz",
            "raster": folder / "events.npz",
            "labels": folder / "labels.npy",
        }
        np.savez(files["weights"], w_in=layer.w_in.value, w_rec=layer.w_rec.value, w_out=w_out)
        time, sample, channel = np.nonzero(np.asarray(self.raster))
        np.savez(files["raster"], time=time, sample=sample, channel=channel)
        np.save(files["labels"], np.asarray(self.labels))
        return files


def poisson(shape: Shape, name: str, limit: float) -> Problem:
    """Make input whose units spike independently."""
    raster, labels = spikes_and_labels(shape)
    return Problem(name, shape, raster, on_device(Spikes.from_dense(np.asarray(raster))), labels, limit)


def recorded(shape: Shape, name: str, source: Path, dt: Any, limit: float) -> Problem:
    """Bin the first batch of a data set, one spike a bin at most; the class is the label of every step."""
    data = open_dataset(source)
    options: dict[str, Any] = {"n_steps": shape.steps, "binary": True, "seed": SEED}
    rows = np.arange(len(data))
    dense = next(iter(batches(data, rows, shape.batch, dt, **options)))
    events = next(iter(batches(data, rows, shape.batch, dt, layout="events", **options)))
    labels = jnp.asarray(np.broadcast_to(dense.labels, (shape.steps, shape.batch)))
    return Problem(name, shape, jnp.asarray(dense.x), on_device(events.x), labels, limit)


def on_device(spikes: Spikes) -> Spikes:
    """Make a batch's lists arrays of JAX, as a raster is."""
    found: Spikes = jax.tree.map(jnp.asarray, spikes)
    return found


def problems() -> tuple[list[Problem], list[str]]:
    """Return all problems, and a line on each whose data is not there."""
    found = [
        poisson(Shape(steps=100, input_rate=0.02), "T = 100", 0.2),
        poisson(Shape(steps=1000, input_rate=0.01), "T = 1,000", 0.12),
    ]
    n_mnist = Shape(n_in=2312, n=200, n_out=10, batch=32, steps=300)
    spoken = Shape(steps=250, drive=0.5)
    sources = (
        ("N-MNIST", n_mnist, SHARED / "nmnist", 1 * u.ms, 0.1),
        ("SHD format", spoken, SHARED / "shd_regen" / "shd_regen_small_train.h5.gz", 4 * u.ms, 0.15),
    )
    left_out = []
    for name, shape, source, dt, limit in sources:
        if source.exists():
            found.append(recorded(shape, name, source, dt, limit))
        else:
            left_out.append(f"{name}: left out, because {source.name} is not there (SNNTRACE_SHARED).")
    return found, left_out
