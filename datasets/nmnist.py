"""N-MNIST: MNIST's digits before a moving event camera."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from snntrace.datasets.bin_recordings import BinRecordings, recordings_in
from snntrace.datasets.files.nmnist_bin import NMNIST as SENSOR
from snntrace.datasets.ragged import EventList, Ragged
from snntrace.datasets.sources import located

DIGITS = tuple(str(digit) for digit in range(10))
OFFICIAL = {"train": 60_000, "test": 10_000}
LAYOUT = "folders Train and Test, each with folders 0 to 9 of .bin files"
WHERE = "Give download=True, or unzip Train.zip and Test.zip of N-MNIST (doi:10.17632/468j46mzdv.1)."


class NMNIST:
    """A folder of N-MNIST: an event camera looks at MNIST's digits in three saccades.

    Recording ``<part>/<digit>/<number>.bin`` is of class `digit`; `number` is the picture's place in MNIST,
    from 1. They come in the order of the digits and, within a digit, of the numbers. An event of polarity
    `p` (1: ON) at column `x`, row `y` is of unit ``(p * 34 + y) * 34 + x``.

    A recording is read when it is asked for, or all of them at once with `preload`. The camera moves for
    0.3 s, the first 0.1 s of which are the first saccade.

    Parameters
    ----------
    path : str or Path, optional
        The folder that holds ``Train`` and ``Test`` (of any case), or one of these itself. Default: where
        downloads are kept (`snntrace.datasets.sources.data_folder`).
    split : {'train', 'test'}, optional
        The official part to take. Default: the folder's own, if `path` is one part; else ``'train'``.
    download : bool, default False
        Download what is not there, to the folder `path`.
    preload : bool, default False
        Read all files now and keep their bytes, 5 an event (1.3 GB for the training part).
    ordered : bool, default True
        Refuse a recording in which time goes backwards. False: keep its events as they are.

    Attributes
    ----------
    path : Path
        The folder of the part.
    split : str
        Which part it is.
    labels : int64 array of shape (n_recordings,)
        The digit.
    numbers : int64 array of shape (n_recordings,)
        The picture's number in this part of MNIST, from 1; 0 for a file that has another name.
    class_names : tuple of str
        ``"0"`` to ``"9"``.
    n_units : int
        2312 = 2 * 34 * 34.
    sensor : (int, int)
        ``(34, 34)``, width and height.
    groups : None
        The data do not say who wrote a digit.
    licence, citation : str
        CC BY-SA 4.0; what to cite.

    Raises
    ------
    FileNotFoundError
        If there is no such folder, or no such part in it.
    ValueError
        If it is no folder of N-MNIST, or not the part that `split` names.

    References
    ----------
    G. Orchard, A. Jayawant, G. K. Cohen, N. Thakor, "Converting Static Image Datasets to Spiking Neuromorphic
    Datasets Using Saccades", Frontiers in Neuroscience 9, 437 (2015).

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from snntrace.datasets import NMNIST
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> (folder / "Train" / "7").mkdir(parents=True)
    >>> _ = (folder / "Train" / "7" / "00016.bin").write_bytes(bytes([3, 33, 0x80, 1, 0]))
    >>> data = NMNIST(folder)
    >>> data, data.labels, data.numbers, data.events(0)
    (NMNIST(train: 1 of 60000 recordings, 2312 units), array([7]), array([16]),
     (array([0.000256]), array([2281])))
    """

    groups = None
    class_names = DIGITS
    sensor = SENSOR
    n_units = 2 * SENSOR[0] * SENSOR[1]
    licence = "CC BY-SA 4.0"
    citation = (
        "G. Orchard, A. Jayawant, G. K. Cohen, N. Thakor, Converting Static Image Datasets to Spiking "
        "Neuromorphic Datasets Using Saccades, Frontiers in Neuroscience 9, 437 (2015)."
    )

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        split: str | None = None,
        *,
        download: bool = False,
        preload: bool = False,
        ordered: bool = True,
    ) -> None:
        self.path, self.split = part_of(
            located("nmnist", path, split, download, lambda folder: part_of(folder, split)), split
        )
        files: list[str] = []
        labels: list[int] = []
        for digit in DIGITS:
            found = recordings_in(self.path / digit)
            files += found
            labels += [int(digit)] * len(found)
        if not labels:
            raise ValueError(
                f"NMNIST: path must hold recordings, got no .bin file in the folders 0 to 9 of "
                f"path={self.path}. {WHERE}"
            )
        self.labels: NDArray[np.int64] = np.array(labels, np.int64)
        self.labels.setflags(write=False)
        self._recordings = BinRecordings("NMNIST", files, SENSOR, ordered=ordered, preload=preload)

    def __len__(self) -> int:
        """Return the number of recordings.

        Returns
        -------
        int
            The number.
        """
        return len(self._recordings)

    def __repr__(self) -> str:
        """Return one line with the part and the sizes.

        Returns
        -------
        str
            The line.
        """
        return f"NMNIST({self.split}: {len(self)} of {OFFICIAL[self.split]} recordings, {self.n_units} units)"

    @property
    def ordered(self) -> bool:
        """Whether a recording in which time goes backwards is refused."""
        return self._recordings.ordered

    @ordered.setter
    def ordered(self, ordered: bool) -> None:
        self._recordings.ordered = ordered

    @cached_property
    def numbers(self) -> NDArray[np.int64]:
        """The picture's number in this part of MNIST, from 1; 0 for a file that has another name."""
        stems = [Path(file).stem for file in self._recordings.files]
        whole = (stem.isascii() and stem.isdigit() and len(stem) < 10 for stem in stems)
        pairs = zip(stems, whole, strict=True)
        return np.array([int(stem) if possible else 0 for stem, possible in pairs], np.int64)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Number of events of each recording; the first use of this or `durations` reads all of them."""
        return self._recordings.scan[0]

    @property
    def durations(self) -> NDArray[np.float64]:
        """Time of the last event of each recording, in s."""
        return self._recordings.scan[1]

    @property
    def duration(self) -> float:
        """Time of the last event of all recordings, in s."""
        return float(self.durations.max())

    def events(self, index: int) -> EventList:
        """Return the events of one recording.

        Parameters
        ----------
        index : int
            Number of the recording, ``0 .. len(self) - 1``.

        Returns
        -------
        times : float64 array of shape (n_events,), in s
            When.
        units : int64 array of shape (n_events,)
            Which unit.

        Raises
        ------
        IndexError
            If there is no such recording.
        DataFileError
            If the file is damaged.
        OSError
            If it cannot be read.
        """  # noqa: DOC502
        return self._recordings.events(index)

    def events_of(self, indices: Iterable[int]) -> Ragged:
        """Return the events of several recordings, whose files the system reads side by side.

        Parameters
        ----------
        indices : iterable of int
            Numbers of the recordings.

        Returns
        -------
        sequence of (times, units)
            As `events` gives them; their events follow each other in memory.
        """
        return self._recordings.events_of(indices)


def part_of(path: Path, split: str | None) -> tuple[Path, str]:
    """Find the folder of one official part.

    Parameters
    ----------
    path : Path
        The folder of all parts, or of one.
    split : {'train', 'test'} or None
        Which part; None: what `path` is, or ``'train'``.

    Returns
    -------
    folder : Path
        The part's folder.
    split : str
        Which part it is.

    Raises
    ------
    FileNotFoundError
        If there is no such folder, or no such part in it.
    ValueError
        If `path` is another part, or `split` is none.
    """
    if split not in {None, *OFFICIAL}:
        raise ValueError(f"NMNIST: split must be 'train' or 'test', got split={split!r}. Choose one.")
    if not path.exists():
        raise FileNotFoundError(f"NMNIST: path must be an existing folder, got path={path}. {WHERE}")
    if not path.is_dir():
        raise ValueError(f"NMNIST: path must be a folder, got the file path={path}. {WHERE}")
    if any((path / digit).is_dir() for digit in DIGITS):
        own = path.resolve().name.lower()
        if own in OFFICIAL and split not in {None, own}:
            raise ValueError(
                f"NMNIST: split must be the part that path is, got split={split!r} and path={path}. "
                f"Give the folder above it."
            )
        return path, own if own in OFFICIAL else split or "train"
    wanted = split or "train"
    for folder in sorted(path.iterdir()):
        if folder.name.lower() == wanted and folder.is_dir():
            return folder, wanted
    raise FileNotFoundError(
        f"NMNIST: path must hold {LAYOUT}, got no folder {wanted.capitalize()} in path={path}. {WHERE}"
    )


def is_nmnist(path: Path) -> bool:
    """Tell whether a path is a folder of N-MNIST or one of its parts.

    Parameters
    ----------
    path : Path
        Any path.

    Returns
    -------
    bool
        True where there are .bin files in folders 0 to 9, of the path or of its parts.
    """
    if not path.is_dir():
        return False
    parts = [path, *(part for part in path.iterdir() if part.name.lower() in OFFICIAL)]
    return any(recordings_in(part / digit) for part in parts for digit in DIGITS)
