"""Generated digits with the statistics of N-MNIST, for where the real ones are not at hand."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from snntrace.datasets.about import ABOUT
from snntrace.datasets.asked import row_of
from snntrace.datasets.camera import SaccadeCamera
from snntrace.datasets.digits import load_images
from snntrace.datasets.generated import Generated
from snntrace.datasets.ragged import EventList

SENSOR = 34
CAMERA: dict[str, Any] = {"amplitude": 3.5, "saccade_ms": 102.5, "threshold": 0.34, "noise_hz": 0.3}
CONTRASTS = (0.12, 1.0)
BORDER = (1, 2)
EVERY_FIFTH = 5


class NMNISTLike(Generated):
    """Generated digits with sensor, rates, durations and classes as those of N-MNIST.

    The 1,797 digits that come with scikit-learn, with a border as wide as that of MNIST's, seen by a
    simulated camera of 34 x 34 pixels in three saccades (see `SaccadeCamera`), whose threshold, contrast and
    noise are such that recordings have as many events as those of N-MNIST. Every fifth digit is of the test
    part.

    Parameters
    ----------
    split : {'train', 'test'}, optional
        Which digits to take. Default: ``'train'``.
    seed : int, default 0
        Seed of what is random. One seed always gives the same events.

    Attributes
    ----------
    labels : int64 array of shape (n_recordings,)
        The digit.
    class_names : tuple of str
        ``"0"`` to ``"9"``.
    n_units : int
        2312 = 2 * 34 * 34, in the order of `NMNIST`.
    sensor : (int, int)
        ``(34, 34)``, width and height.
    groups : None
        The data do not say who wrote a digit.
    duration : float, in s
        No event is later.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Examples
    --------
    >>> from snntrace.datasets import NMNISTLike
    >>> NMNISTLike("test")
    NMNISTLike(test: 360 recordings, 2312 units, 10 classes)
    """  # noqa: DOC502

    groups = None
    sensor = (SENSOR, SENSOR)
    class_names = ABOUT["nmnist_like"].class_names
    licence = ABOUT["nmnist_like"].licence

    def __init__(self, split: str | None = None, *, seed: int = 0) -> None:
        super().__init__(split, seed)
        self._camera = SaccadeCamera(np.random.default_rng([seed]), sensor=SENSOR, **CAMERA)
        self.n_units, self.duration = self._camera.n_units, self._camera.duration
        images, labels = load_images()
        rows = np.flatnonzero((np.arange(len(labels)) % EVERY_FIFTH == 0) == (self.split == "test"))
        self.labels: NDArray[np.int64] = labels[rows]
        self.labels.setflags(write=False)
        self._pictures = np.pad(images[rows], ((0, 0), BORDER, BORDER))

    def events(self, index: int) -> EventList:
        """Return the events of one digit, in order of time.

        Parameters
        ----------
        index : int
            Number of the digit, ``0 .. len(self) - 1``.

        Returns
        -------
        times : float64 array of shape (n_events,), in s
            When.
        units : int64 array of shape (n_events,)
            Which unit.

        Raises
        ------
        IndexError
            If there is no such digit.
        """  # noqa: DOC502
        row = row_of("NMNISTLike", index, len(self))
        rng = np.random.default_rng([self.seed, self.splits.index(self.split), row])
        # Some digits are faint, so that numbers of events differ as those of N-MNIST do.
        return self._camera.look(self._pictures[row] * rng.uniform(*CONTRASTS), rng)
