"""MNIST and Fashion-MNIST from their own files, coded as events."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snntrace.datasets.about import ABOUT, CLOTHES, DIGITS
from snntrace.datasets.asked import checked_split, row_of
from snntrace.datasets.files.events import DataFileError
from snntrace.datasets.idx import read_idx
from snntrace.datasets.picture_codes import PictureCode
from snntrace.datasets.ragged import EventList
from snntrace.datasets.sources import located

PREFIXES = {"train": "train", "test": "t10k"}
KINDS = {
    "images": ("images-idx3-ubyte", "images.idx3-ubyte"),
    "labels": ("labels-idx1-ubyte", "labels.idx1-ubyte"),
}
FIRST_CLOTHES = {"train": [9, 0, 0, 3, 0, 2, 7, 2, 5, 5], "test": [9, 2, 1, 1, 6, 1, 4, 6, 5, 7]}
"""The first labels of Fashion-MNIST, whose files have the names of MNIST's."""
WHERE = "Download the four files, such as train-images-idx3-ubyte.gz, or give download=True."


class MNIST:
    """MNIST's handwritten digits from its IDX files, each coded as the events of a recording.

    A picture is coded when it is asked for; the seed, the part and its number fix its events. Unit
    ``y * 28 + x`` is a pixel; with ``encoding="camera"``, units are those of `SaccadeCamera`.

    Parameters
    ----------
    path : str or Path, optional
        The folder of the files ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte``, ``t10k-...`` (or
        ``.idx3-ubyte``), compressed (``.gz``) or not; or a folder in which they are in ``raw`` or
        ``MNIST/raw``. Default: where downloads are kept (`snntrace.datasets.sources.data_folder`).
    split : {'train', 'test'}, optional
        The official part to take. Default: ``'train'``.
    download : bool, default False
        Download what is not there, to the folder `path`.
    encoding : {'rate', 'poisson', 'latency', 'camera'}, default 'rate'
        ``'rate'``: each pixel gives events at equal intervals (``duration`` 0.1 s, ``max_rate`` 100 Hz).
        ``'poisson'``: each is a Poisson process of that rate.
        ``'latency'``: one event a pixel, the brighter the earlier (``duration`` 0.1 s, ``tau`` 0.02 s,
        ``threshold`` 0.2). ``'camera'``: a moving event camera of 34 x 34 pixels.
    seed : int, default 0
        Seed of everything that is random. One seed always gives the same events.
    **options
        Other values for what is in brackets; for the camera, the arguments of `SaccadeCamera`.

    Attributes
    ----------
    path : Path
        The folder of the files.
    split : str
        Which part it is.
    pictures : uint8 array of shape (n_recordings, height, width)
        The pictures.
    labels : int64 array of shape (n_recordings,)
        Class of each.
    class_names : tuple of str
        Name of each class.
    n_units : int
        Number of units.
    duration : float, in s
        No event is later.
    groups : None
        The data do not say who wrote a digit.

    Raises
    ------
    FileNotFoundError
        If there is no such folder, or a file is missing.
    DataFileError
        If a file is damaged, or pictures and labels do not match.
    ValueError
        If an argument is unknown or out of range.

    References
    ----------
    Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-Based Learning Applied to Document Recognition",
    Proceedings of the IEEE 86, 2278-2324 (1998).

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from snntrace.datasets import MNIST
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> head = bytes([0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 2])
    >>> _ = (folder / "train-images-idx3-ubyte").write_bytes(head + bytes([0, 255, 128, 0]))
    >>> _ = (folder / "train-labels-idx1-ubyte").write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 1, 7]))
    >>> data = MNIST(folder, encoding="latency")
    >>> data, data.labels, data.events(0)[1]
    (MNIST(train: 1 recordings, 4 units, latency), array([7]), array([1, 2]))
    """

    groups = None
    splits = tuple(PREFIXES)
    name = "mnist"
    names = DIGITS
    licence = ABOUT["mnist"].licence
    citation = (
        "Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, Gradient-Based Learning Applied to Document "
        "Recognition, Proceedings of the IEEE 86, 2278-2324 (1998)."
    )

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        split: str | None = None,
        *,
        download: bool = False,
        encoding: str = "rate",
        seed: int = 0,
        **options: Any,
    ) -> None:
        who = type(self).__name__
        self.split = checked_split(who, split, self.splits)
        self.encoding, self.seed = encoding, seed
        place = located(
            self.name, path, self.split, download, lambda folder: files_of(folder, self.split, who)
        )
        images, labels = files_of(place, self.split, who)
        self.path = images.parent
        self.pictures: NDArray[np.uint8] = read_idx(images, axes=3)
        self.labels: NDArray[np.int64] = read_idx(labels, axes=1).astype(np.int64)
        if self.pictures.dtype != np.uint8 or len(self.pictures) != len(self.labels) or not len(self.labels):
            raise DataFileError(
                f"{who}: there must be as many labels as pictures of bytes, got {len(self.labels)} and "
                f"{len(self.pictures)} of {self.pictures.dtype} in {images} and {labels.name}. Download them "
                f"again."
            )
        most = int(self.labels.max())
        self.class_names = self.names if most < len(self.names) else tuple(map(str, range(most + 1)))
        for array in (self.pictures, self.labels):
            array.setflags(write=False)
        height, width = self.pictures.shape[1:]
        self._code = PictureCode(who, encoding, (height, width), seed, options)
        self.n_units, self.duration = self._code.n_units, self._code.duration
        self.sensor = self._code.sensor

    def __len__(self) -> int:
        """Return the number of recordings.

        Returns
        -------
        int
            The number.
        """
        return len(self.labels)

    def __repr__(self) -> str:
        """Return one line with the sizes.

        Returns
        -------
        str
            The line.
        """
        return (
            f"{type(self).__name__}({self.split}: {len(self)} recordings, {self.n_units} units, "
            f"{self.encoding})"
        )

    def events(self, index: int) -> EventList:
        """Return the events of one picture.

        Parameters
        ----------
        index : int
            Number of the picture, ``0 .. len(self) - 1``.

        Returns
        -------
        times : float64 array of shape (n_events,), in s
            When, ascending.
        units : int64 array of shape (n_events,)
            Which unit.

        Raises
        ------
        IndexError
            If there is no such picture.
        """  # noqa: DOC502
        row = row_of(type(self).__name__, index, len(self))
        return self._code.events(self.pictures[row], self.splits.index(self.split), row)


class FashionMNIST(MNIST):
    """Fashion-MNIST's pictures of clothes from its IDX files, coded as `MNIST` is.

    The files have the names of MNIST's; `open_dataset` tells them apart by their first labels. The folder
    that torchvision makes is ``FashionMNIST/raw``.

    Parameters
    ----------
    path, split, download, encoding, seed, **options
        As of `MNIST`.

    References
    ----------
    H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning
    Algorithms", arXiv:1708.07747 (2017).
    """

    name = "fashion_mnist"
    names = CLOTHES
    licence = ABOUT["fashion_mnist"].licence
    citation = (
        "H. Xiao, K. Rasul, R. Vollgraf, Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine "
        "Learning Algorithms, arXiv:1708.07747 (2017)."
    )


def files_of(path: Path, split: str, who: str) -> tuple[Path, Path]:
    """Find the pictures and labels of an official part.

    Parameters
    ----------
    path : Path
        The folder.
    split : {'train', 'test'}
        The part.
    who : str
        Name of the data set, for the message and the folder that torchvision makes.

    Returns
    -------
    images, labels : Path
        The files.

    Raises
    ------
    FileNotFoundError
        If there is none.
    """
    for folder in ("", "raw", f"{who}/raw"):
        found = [
            next((file for name in names for ending in ("", ".gz")
                  if (file := path / folder / f"{PREFIXES[split]}-{name}{ending}").is_file()), None)
            for names in KINDS.values()
        ]  # fmt: skip
        if found[0] and found[1]:
            return found[0], found[1]
    wanted = f"{PREFIXES[split]}-images-idx3-ubyte and {PREFIXES[split]}-labels-idx1-ubyte"
    raise FileNotFoundError(
        f"{who}: path must hold {wanted}, as they are or with .gz, got path={path} without one of them. "
        f"{WHERE}"
    )


def labels_in(path: Path, who: str) -> tuple[str, Path] | None:
    """Return the first part of a data set in a folder and the file of its labels; None if there is none."""
    if not path.is_dir():
        return None
    for split in PREFIXES:
        try:
            return split, files_of(path, split, who)[1]
        except FileNotFoundError:
            continue
    return None


def is_mnist(path: Path) -> bool:
    """Tell whether a path is a folder of pictures and labels in files named as MNIST's.

    Parameters
    ----------
    path : Path
        Any path.

    Returns
    -------
    bool
        True where both files of a part are there.
    """
    return labels_in(path, "MNIST") is not None


def is_fashion_mnist(path: Path) -> bool:
    """Tell whether a path is a folder of Fashion-MNIST, by its first labels.

    Parameters
    ----------
    path : Path
        Any path.

    Returns
    -------
    bool
        True for such a folder.
    """
    found = labels_in(path, "FashionMNIST")
    if found is None:
        return False
    try:
        return bool(read_idx(found[1], axes=1)[:10].tolist() == FIRST_CLOTHES[found[0]])
    except DataFileError:
        return False
