"""Randman: classes that are random smooth manifolds of spike times."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from snntrace.datasets.about import FREE, ZENKE
from snntrace.datasets.asked import row_of
from snntrace.datasets.generated import Generated, at_least
from snntrace.datasets.ragged import EventList, Ragged

WHO = "Randman"
FINEST = 1e-3
MOST_WAVES = 1000
REFERENCE = 1024


class Randman(Generated):
    r"""Spike times on random smooth manifolds, one for each class.

    In class `c`, the point :math:`x \in [0, 1]^D` of a manifold makes unit `i` spike once, at
    :math:`t_i = T \, \hat f_i(x)` with

    .. math::

        f_i(x) = \prod_{j=1}^{D} \sum_{k=1}^{K} k^{-\alpha} \, \theta_{ijk}
        \sin\left(2 \pi (k \, x_j \, \chi_{ijk} + \varphi_{ijk})\right)

    where :math:`\theta, \chi, \varphi` are uniform in [0, 1) and drawn once for each class, `K` is where
    :math:`k^{-\alpha}` falls below 1/1000 (at most 1000), and :math:`\hat f_i` is :math:`f_i`, shifted and
    scaled to [0, 1] by its range over 1,024 points, and clipped to it. Recordings of a class are points drawn
    uniformly; the two parts are other points of the same manifolds.

    The rate of a unit tells nothing of the class; only times do. The smaller `alpha` and the larger `dim`,
    the harder it is.

    Parameters
    ----------
    split : {'train', 'test'}, optional
        Which points to draw. Default: ``'train'``.
    n_classes : int, default 10
        Number of classes.
    n_units : int, default 20
        Number of input units: the dimension of the space that the manifolds are in.
    n_per_class : int, default 200
        Recordings of each class.
    dim : int, default 1
        Dimension :math:`D` of the manifolds.
    alpha : float, default 2.0
        Smoothness :math:`\alpha`.
    duration : float, default 0.1, in s
        Length :math:`T` of a recording.
    seed : int, default 0
        Seed of manifolds and points. One seed always gives the same ones.

    Attributes
    ----------
    labels : int64 array of shape (n_recordings,)
        The class.
    class_names : tuple of str
        ``"0"``, ``"1"``, ...
    groups : None
        Nobody made them.
    licence, bibtex : str
        None is needed; what to cite.

    Raises
    ------
    ValueError
        If an argument is out of range.

    References
    ----------
    F. Zenke, T. P. Vogels, "The Remarkable Robustness of Surrogate Gradient Learning for Instilling Complex
    Function in Spiking Neural Networks", Neural Computation 33, 899-925 (2021).

    Examples
    --------
    >>> from snntrace.datasets import Randman
    >>> data = Randman(n_classes=2, n_units=5, n_per_class=3, seed=1)
    >>> data, data.labels, data.events(0)[1].size
    (Randman(train: 6 recordings, 5 units, 2 classes), array([0, 0, 0, 1, 1, 1]), 5)
    """

    groups = None
    licence = FREE
    bibtex = ZENKE

    def __init__(
        self,
        split: str | None = None,
        *,
        n_classes: int = 10,
        n_units: int = 20,
        n_per_class: int = 200,
        dim: int = 1,
        alpha: float = 2.0,
        duration: float = 0.1,
        seed: int = 0,
    ) -> None:
        super().__init__(split, seed)
        at_least(WHO, n_classes=n_classes, n_units=n_units, n_per_class=n_per_class, dim=dim)
        for name, value in (("alpha", alpha), ("duration", duration)):
            if not 0 < value < np.inf:
                raise ValueError(f"{WHO}: {name} must be positive and finite, got {name}={value}. Raise it.")
        self.n_units: int = n_units
        self.duration: float = float(duration)
        self.class_names = tuple(str(c) for c in range(n_classes))
        self.labels: NDArray[np.int64] = np.repeat(np.arange(n_classes), n_per_class)
        self.labels.setflags(write=False)
        found: list[EventList] = []
        for c in range(n_classes):
            waves = manifold(np.random.default_rng([seed, c]), n_units, dim, alpha)
            seen = points(waves, np.random.default_rng([seed, c, 0]).random((REFERENCE, dim)), alpha)
            low, high = seen.min(axis=0), seen.max(axis=0)
            part = 1 + self.splits.index(self.split)
            values = points(waves, np.random.default_rng([seed, c, part]).random((n_per_class, dim)), alpha)
            times = duration * np.clip((values - low) / np.maximum(high - low, 1e-12), 0.0, 1.0)
            order = np.argsort(times, axis=1, kind="stable")
            found += zip(np.take_along_axis(times, order, axis=1), order, strict=True)
        self._recordings = Ragged.joined(found)

    def events(self, index: int) -> EventList:
        """Return the events of one recording: each unit spikes once.

        Parameters
        ----------
        index : int
            Number of the recording, ``0 .. len(self) - 1``.

        Returns
        -------
        times : float64 array of shape (n_units,), in s
            When, ascending.
        units : int64 array of shape (n_units,)
            Which unit.

        Raises
        ------
        IndexError
            If there is no such recording.
        """  # noqa: DOC502
        times, units = self._recordings[row_of(WHO, index, len(self))]
        return times.copy(), units.copy()


def manifold(rng: np.random.Generator, n_units: int, dim: int, alpha: float) -> NDArray[np.float64]:
    r"""Draw the waves of one class's manifold.

    Parameters
    ----------
    rng : numpy Generator
        What draws them.
    n_units, dim : int
        Units, and dimension of the manifold.
    alpha : float
        Smoothness.

    Returns
    -------
    float64 array of shape (3, n_units, dim, n_waves)
        :math:`\theta`, :math:`\chi` and :math:`\varphi`.
    """
    waves = min(MOST_WAVES, int(np.ceil(FINEST ** (-1 / alpha))))
    return rng.random((3, n_units, dim, waves))


def points(waves: NDArray[np.float64], x: NDArray[np.float64], alpha: float) -> NDArray[np.float64]:
    """Return where points of a manifold lie in the space of the units.

    Parameters
    ----------
    waves : float64 array of shape (3, n_units, dim, n_waves)
        As `manifold` draws them.
    x : float64 array of shape (n_points, dim)
        The points.
    alpha : float
        Smoothness.

    Returns
    -------
    float64 array of shape (n_points, n_units)
        The function of each unit.
    """
    theta, chi, phi = waves
    k = np.arange(1, waves.shape[-1] + 1)
    amplitudes = theta * k**-alpha
    # Unit by unit, for all at once are (points, units, dim, waves).
    columns = [
        np.prod(
            np.sum(a * np.sin(2 * np.pi * (k * c * x[:, :, None] + f)), axis=2), axis=1
        )
        for a, c, f in zip(amplitudes, chi, phi, strict=True)
    ]  # fmt: skip
    return np.stack(columns, axis=1)
