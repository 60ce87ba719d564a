"""Open a spike store, and read it in several processes at once, that are forked and that are spawned.

A program of its own, so that the parent has no other threads when it forks, and so that a spawned child can
import what it is to run.
"""

import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor

from snntrace.datasets import SpikeStore

PROCESSES, ROUNDS = 2, 20
KEPT = {}


def keep(store):
    """Take the store: a forked child has the parent's object with its open file, a spawned one a pickle's."""
    KEPT["store"] = store


def read_all():
    return [units.tolist() for _, units in KEPT["store"].events_of(range(len(KEPT["store"])))]


def main(path):
    keep(SpikeStore(path))
    expected = read_all()
    for method in ("fork", "spawn"):
        context = multiprocessing.get_context(method)
        with ProcessPoolExecutor(PROCESSES, context, keep, (KEPT["store"],)) as pool:
            reads = [pool.submit(read_all) for _ in range(PROCESSES * ROUNDS)]
            for _ in range(ROUNDS):
                if read_all() != expected:
                    sys.exit(f"{method}: the parent read something else")
            if any(read.result() != expected for read in reads):
                sys.exit(f"{method}: a child read something else")
        print(method, sum(map(len, expected)))


if __name__ == "__main__":
    main(sys.argv[1])
