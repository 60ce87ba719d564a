"""Load batches with snntrace, in a fresh process; print one line of JSON.

What is timed is all after the imports and after one epoch of a small data set of the same kind, which loads
compiled kernels from disk as an import loads a compiled extension: opening the data set, which lists the
files, and one epoch of batches; then further epochs. How long the small one took is told beside it.
"""

import argparse
import json
import time
from typing import Any

import brainunit as u
import numpy as np

from snntrace.datasets import NMNIST, SpikeFile, SpikeStore, batches

OPENS: dict[str, Any] = {"nmnist": NMNIST, "shd": SpikeFile, "store": SpikeStore}


def epoch_of(data: Any, loader: Any, epoch: int, read: bool) -> tuple[int, ...]:
    """Read one epoch; return the shape of what was read last."""
    if read:
        for row in np.random.default_rng(epoch).permutation(len(data)):
            shape = data.events(row)[0].shape
    else:
        for batch in loader.epoch(epoch):
            shape = tuple(batch.x.shape)
    return shape


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=list(OPENS))
    parser.add_argument("path")
    parser.add_argument("small", help="a small data set of the same kind")
    parser.add_argument("--step-us", type=int, default=4000)
    parser.add_argument("--steps", type=int, default=250)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--layout", default="dense")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--prefetch", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--cache", action="store_true", help="keep what was read in memory")
    parser.add_argument("--read", action="store_true", help="recordings alone, without bins")
    parser.add_argument("--count", action="store_true", help="also count the events of each class, untimed")
    options = parser.parse_args()

    def opened(path: str) -> tuple[Any, Any]:
        data = OPENS[options.kind](path)
        return data, batches(
            data, range(len(data)), options.batch, options.step_us * u.us, n_steps=options.steps,
            layout=options.layout, dtype=options.dtype, prefetch=options.prefetch, workers=options.workers,
            cache=options.cache,
        )  # fmt: skip

    seconds, counts = [], {}
    for path, epochs in ((options.small, 1), (options.path, options.epochs)):
        for epoch in range(epochs):
            start = time.perf_counter()
            if epoch == 0:
                data, loader = opened(path)
            shape = epoch_of(data, loader, epoch, options.read)
            seconds.append(time.perf_counter() - start)
    begin, *seconds = seconds
    for batch in loader if options.count else ():
        x = batch.x if options.layout == "dense" else batch.x.dense()
        for label, total in zip(batch.labels.tolist(), np.asarray(x).sum((0, 2)).tolist(), strict=True):
            counts[label] = counts.get(label, 0) + int(total)
    print(json.dumps({"begin": begin, "seconds": seconds, "events": counts, "shape": shape}))


if __name__ == "__main__":
    main()
