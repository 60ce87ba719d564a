"""A data set of a few lines, which counts how often it is read and can take its time."""

import threading
import time

import numpy as np


class Clicks:
    """Recording i has 1 + i % 7 events, one each 10 ms, of unit i % 6."""

    n_units = 6
    class_names = ("a", "b", "c")
    groups = None
    duration = 0.07

    def __init__(self, n=40, *, seconds=0.0, broken=()):
        self.labels = np.arange(n) % 3
        self.reads = []
        self.seconds = seconds
        self.broken = broken
        self.threads = set()

    def __len__(self):
        return len(self.labels)

    def events(self, index):
        self.reads.append(index)
        self.threads.add(threading.current_thread().name)
        time.sleep(self.seconds)
        if index in self.broken:
            raise OSError(f"recording {index} is gone")
        n = 1 + index % 7
        return 0.01 * np.arange(1, n + 1), np.full(n, index % 6)


def same(one, two):
    """Compare two batches, or two samples, number by number."""
    for name in ("labels", "lengths", "mask", "indices", "partners", "weights"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    if isinstance(one.x, np.ndarray):
        np.testing.assert_array_equal(one.x, two.x)
    else:
        np.testing.assert_array_equal(one.x.pointers, two.x.pointers)
        n = int(one.x.pointers[-1, -1])
        np.testing.assert_array_equal(one.x.indices[:n], two.x.indices[:n])


def all_same(some, others):
    some, others = list(some), list(others)
    assert len(some) == len(others)
    for one, two in zip(some, others, strict=True):
        same(one, two)
