"""Load batches with tonic, in an environment that has tonic and torch; print one line of JSON.

What is timed is all after the imports: making the data set, which lists the files, and one epoch of batches,
then further epochs. Everything is tonic's own: its readers, `ToFrame`, `PadTensors` and torch's `DataLoader`.
"""

import argparse
import json
import os
import random
import sys
import tempfile
import time
from importlib.metadata import version
from typing import Any

import tonic
import torch
from torch.utils.data import DataLoader

FOLDERS = {"nmnist": ("NMNIST", "Train"), "shd": ("SHD", "shd_train.h5")}


def data_set(kind: str, root: str, frames: Any) -> Any:
    """Make tonic's data set on files at hand, without its check that the whole archive was downloaded."""
    name = FOLDERS[kind][0]
    own = getattr(tonic.datasets, name)
    return type(name, (own,), {"_check_exists": lambda self: True})(root, transform=frames)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=list(FOLDERS))
    parser.add_argument("path", help="the file, or the folder with the digits' folders")
    parser.add_argument("--step-us", type=int, default=4000)
    parser.add_argument("--steps", type=int, default=250)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--read", action="store_true", help="recordings alone, without frames")
    parser.add_argument("--count", action="store_true", help="also count the events of each class, untimed")
    options = parser.parse_args()
    name, file = FOLDERS[options.kind]
    # On two cores, more threads make it slower: they wait for each other by spinning.
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as root:
        os.mkdir(os.path.join(root, name))
        os.symlink(os.path.abspath(options.path), os.path.join(root, name, file))
        seconds, counts = [], {}
        for epoch in range(options.epochs):
            start = time.perf_counter()
            if epoch == 0:
                frames = tonic.transforms.ToFrame(
                    sensor_size=getattr(tonic.datasets, name).sensor_size,
                    time_window=options.step_us,
                    start_time=0,
                    end_time=options.step_us * options.steps,
                )
                data = data_set(options.kind, root, None if options.read else frames)
                loader = DataLoader(
                    data,
                    batch_size=options.batch,
                    shuffle=True,
                    num_workers=options.workers,
                    collate_fn=tonic.collation.PadTensors(batch_first=False),
                )
            if options.read:
                for row in random.Random(epoch).sample(range(len(data)), len(data)):
                    shape = data[row][0].shape
            else:
                for x, _ in loader:
                    shape = tuple(x.shape)
            seconds.append(time.perf_counter() - start)
        for x, labels in loader if options.count else ():
            totals = x.flatten(2).sum((0, 2)).tolist()
            for label, total in zip(labels.tolist(), totals, strict=True):
                counts[label] = counts.get(label, 0) + int(total)
    versions = {package: version(package) for package in ("tonic", "torch", "numpy", "h5py")}
    versions["python"] = sys.version.split()[0]
    print(json.dumps({"seconds": seconds, "events": counts, "shape": shape, "versions": versions}))


if __name__ == "__main__":
    main()
