"""N-Caltech101: Caltech101's pictures before a moving event camera."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from snntrace.datasets.bin_recordings import BinRecordings, recordings_in
from snntrace.datasets.files.nmnist_bin import NCALTECH101 as SENSOR
from snntrace.datasets.ragged import EventList, Ragged
from snntrace.datasets.sources import located

FOLDER = "Caltech101"
WHERE = "Give download=True, or unzip Caltech101.zip of N-Caltech101 (doi:10.17632/cy6cvx3ryv.1)."


class NCaltech101:
    """A folder of N-Caltech101: an event camera looks at pictures of 101 classes in three saccades.

    Recording ``Caltech101/<class>/image_<number>.bin`` is of class ``<class>``. They come in the order of the
    classes' names and, within a class, of the files'. An event of polarity `p` (1: ON) at column `x`, row `y`
    is of unit ``(p * 180 + y) * 240 + x``; pictures are smaller than the sensor and lie in its corner. There
    are no official parts: divide with `hold_out`.

    Parameters
    ----------
    path : str or Path, optional
        The folder ``Caltech101``, or the one that holds it. Default: where downloads are kept
        (`snntrace.datasets.sources.data_folder`).
    download : bool, default False
        Download what is not there, to the folder `path`.
    preload : bool, default False
        Read all files now and keep their bytes, 5 an event.
    ordered : bool, default True
        Refuse a recording in which time goes backwards. False: keep its events as they are.

    Attributes
    ----------
    path : Path
        The folder of the classes.
    labels : int64 array of shape (n_recordings,)
        Class of each recording.
    class_names : tuple of str
        Names of the folders that hold recordings, in alphabetical order.
    n_units : int
        86400 = 2 * 240 * 180.
    sensor : (int, int)
        ``(240, 180)``, width and height.
    groups : None
        The pictures' makers are not known.
    licence, citation : str
        CC BY 4.0; what to cite.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    ValueError
        If it is no folder of N-Caltech101.

    References
    ----------
    G. Orchard, A. Jayawant, G. K. Cohen, N. Thakor, "Converting Static Image Datasets to Spiking Neuromorphic
    Datasets Using Saccades", Frontiers in Neuroscience 9, 437 (2015).

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from snntrace.datasets import NCaltech101
    >>> folder = pathlib.Path(tempfile.mkdtemp()) / "Caltech101"
    >>> (folder / "ant").mkdir(parents=True)
    >>> _ = (folder / "ant" / "image_0001.bin").write_bytes(bytes([200, 150, 0x80, 1, 0]))
    >>> data = NCaltech101(folder)
    >>> data, data.class_names, data.events(0)
    (NCaltech101(1 recordings of 1 classes, 86400 units), ('ant',), (array([0.000256]), array([79400])))
    """

    groups = None
    sensor = SENSOR
    n_units = 2 * SENSOR[0] * SENSOR[1]
    licence = "CC BY 4.0"
    citation = (
        "G. Orchard, A. Jayawant, G. K. Cohen, N. Thakor, Converting Static Image Datasets to Spiking "
        "Neuromorphic Datasets Using Saccades, Frontiers in Neuroscience 9, 437 (2015)."
    )

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        download: bool = False,
        preload: bool = False,
        ordered: bool = True,
    ) -> None:
        given = located("ncaltech101", path, None, download, lambda folder: classes_in(folder)[1])
        if not given.exists():
            raise FileNotFoundError(
                f"NCaltech101: path must be an existing folder, got path={given}. {WHERE}"
            )
        self.path, classes = classes_in(given)
        if not classes:
            raise ValueError(
                f"NCaltech101: path must hold a folder of .bin files for each class, got none in "
                f"path={self.path}. {WHERE}"
            )
        self.class_names = tuple(name for name, _ in classes)
        sizes = [len(files) for _, files in classes]
        self.labels: NDArray[np.int64] = np.repeat(np.arange(len(classes)), sizes)
        self.labels.setflags(write=False)
        files = [file for _, found in classes for file in found]
        self._recordings = BinRecordings("NCaltech101", files, SENSOR, ordered=ordered, preload=preload)

    @property
    def ordered(self) -> bool:
        """Whether a recording in which time goes backwards is refused."""
        return self._recordings.ordered

    @ordered.setter
    def ordered(self, ordered: bool) -> None:
        self._recordings.ordered = ordered

    def __len__(self) -> int:
        """Return the number of recordings.

        Returns
        -------
        int
            The number.
        """
        return len(self._recordings)

    def __repr__(self) -> str:
        """Return one line with the sizes.

        Returns
        -------
        str
            The line.
        """
        return f"NCaltech101({len(self)} recordings of {len(self.class_names)} classes, {self.n_units} units)"

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


def class_folders(path: Path) -> list[str]:
    """Return the names of the folders in a folder, in alphabetical order."""
    if not path.is_dir():
        return []
    return sorted(entry.name for entry in path.iterdir() if entry.is_dir())


def classes_in(path: Path) -> tuple[Path, list[tuple[str, list[str]]]]:
    """Return the folder of the classes, and the name and the files of each that has any."""
    folder = path / FOLDER if (path / FOLDER).is_dir() else path
    classes = [(name, recordings_in(folder / name)) for name in class_folders(folder)]
    return folder, [(name, files) for name, files in classes if files]


def is_ncaltech101(path: Path) -> bool:
    """Tell whether a path is a folder of N-Caltech101, or holds one.

    Parameters
    ----------
    path : Path
        Any path.

    Returns
    -------
    bool
        True where there are files ``image_*.bin`` in folders of the path or of ``Caltech101`` in it.
    """
    files = (file for _, found in classes_in(path)[1] for file in found)
    return any(os.path.basename(file).startswith("image_") for file in files)
