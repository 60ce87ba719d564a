"""Run every installed peer on a small net and hold it against snntrace: ``python -m peers.check``.

Run it in the folder benchmarks. It exits with 1 if a peer fails, or lacks spikes or gradients that should
be ours.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

import jax
import numpy as np
from contestants import backpropagation, sequence
from measure import milliseconds, relative_difference, table
from nets import Net, Shape, activity, spikes_and_labels

import snntrace
from peers import PEERS, PeerError, Program

SHAPE = Shape(n_in=50, n=32, n_out=5, batch=4, steps=40, input_rate=0.05)
AGREEMENT = 1e-3
HEADER = ("peer", "units", "ms", "MiB", "activity", "loss", "gradients from ours", "result")


class Reference:
    """Our loss, activity and gradients on one net, and its files for the workers."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind = kind
        xs, labels = spikes_and_labels(SHAPE)
        self.activity = activity(kind, SHAPE, xs)
        self.loss, bptt = backpropagation(kind, SHAPE, xs, labels)()
        _, d_rtrl = sequence(kind, SHAPE, snntrace.D_RTRL, xs, labels)()
        self.gradients = {"BPTT": named(bptt), "D_RTRL": named(d_rtrl)}
        self.files = write(kind, folder, xs, labels)

    def judge(self, program: Program, found: dict[str, float], grads: dict[str, np.ndarray]) -> list[str]:
        """Return the difference of the gradients, and what is wrong."""
        exact = self.kind in program.same_spikes
        close = abs(found["loss"] - float(self.loss)) < AGREEMENT and (
            abs(found["activity"] - self.activity) < AGREEMENT
        )
        if exact and not close:
            return ["", f"other spikes: {self.activity:.3f}, loss {self.loss:.4f} here"]
        if not (exact and program.gradient):
            return ["", "same spikes" if exact else "runs"]
        ours = self.gradients[program.gradient]
        given = {name: grad for name, grad in grads.items() if grad.any()}
        difference = max(relative_difference(grad, ours[name]) for name, grad in given.items())
        verdict = "same gradients" if difference < AGREEMENT else "other gradients"
        return [f"{difference:.1e} ({program.gradient})", verdict]


def named(grads: Any) -> dict[str, np.ndarray]:
    """Return our gradients under the names of the workers' weights."""
    found = {name: grads["recurrent", name] for name in ("w_in", "w_rec")}
    found["w_out"] = grads["readout", "weight"]["weight"]
    return {name: np.asarray(value) for name, value in found.items()}


def write(kind: str, folder: Path, xs: jax.Array, labels: jax.Array) -> dict[str, Path]:
    """Write weights, events and labels; return their paths."""
    names = {"weights": "weights.npz", "raster": "events.npz", "labels": "labels.npy"}
    files = {what: folder / name for what, name in names.items()}
    net = Net(kind, SHAPE)
    layer, w_out = net.recurrent, net.readout.weight.value["weight"]
    np.savez(files["weights"], w_in=layer.w_in.value, w_rec=layer.w_rec.value, w_out=w_out)
    time, sample, channel = np.nonzero(np.asarray(xs))
    np.savez(files["raster"], time=time, sample=sample, channel=channel)
    np.save(files["labels"], np.asarray(labels))
    return files


def row(program: Program, reference: Reference) -> list[str]:
    """Run one peer and return its line of the table."""
    try:
        with program.start() as peer:
            found = peer.prepare(kind=reference.kind, **reference.files)
            seconds = min(peer.run() for _ in range(3))
            measured = [milliseconds(seconds), f"{peer.peak_mib():.0f}"]
            measured += [f"{found['activity']:.3f}", f"{found['loss']:.4f}"]
            measured += reference.judge(program, found, peer.gradients())
            return [program.name, reference.kind, *measured]
    except PeerError as error:
        return [program.name, reference.kind, *[""] * 5, str(error)]


def main() -> int:
    rows = []
    for kind in ("LIF", "ALIF"):
        with tempfile.TemporaryDirectory() as folder:
            reference = Reference(kind, Path(folder))
            programs = [program for program in PEERS.values() if kind in program.kinds]
            rows += [row(program, reference) for program in programs]
    print(f"{SHAPE}\n\n{table(HEADER, rows)}")
    good = ("same gradients", "same spikes", "runs")
    return 0 if all(row[-1] in good or "not installed" in row[-1] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
