"""Braille letters under a robot's fingertip, as events of rising and falling pressure."""

from __future__ import annotations

import operator
import os
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from snntrace.datasets.braille_pickle import is_pickle, tables_of_pickle
from snntrace.datasets.encoders import delta_code
from snntrace.datasets.files.contents import mapped
from snntrace.datasets.files.events import DataFileError
from snntrace.datasets.files.limits import LIMITS
from snntrace.datasets.sources import located
from snntrace.datasets.unpack import is_gzip

WHO = "BrailleLetters"
TAXELS = 12
RATE_HZ = 40.0
TABLES = ("taxels", "length", "letter", "repetition")
WHERE = "Write the tables with numpy.savez."


class BrailleLetters:
    r"""Readings of 12 taxels that slide over Braille letters, coded by level crossings.

    The sensor is read 40 times a second. Between two readings the pressure is taken as linear, and each time
    it has moved by the threshold :math:`\theta` from the level of the last event (at first, the first
    reading), taxel :math:`k` emits an event: ON, of unit :math:`12 + k`, where it rose, and OFF, of unit
    :math:`k`, where it fell. The file is a NumPy archive (.npz) of the tables

    ============== ========================= =====================================
    ``taxels``     uint8, (readings, 12)     all readings, one recording after the other
    ``length``     integer, (recordings,)    readings of each recording
    ``letter``     text, (recordings,)       ``Space`` or ``A`` to ``Z``
    ``repetition`` integer, (recordings,)    which of 50 repetitions
    ============== ========================= =====================================

    The recordings are also published as a compressed pickle (.pkl.gz), which is read without letting it run
    anything. There are no official parts: divide with `hold_out`.

    Parameters
    ----------
    path : str or Path, optional
        The .npz or .pkl.gz file. Default: where downloads are kept (`snntrace.datasets.sources.data_folder`).
    download : bool, default False
        Download the file if it is not there, to the folder `path`.
    threshold : float, default 1.0
        Change of a reading (0 to 255) that makes an event.

    Attributes
    ----------
    path : Path
        The file.
    threshold : float
        The threshold.
    labels : int64 array of shape (n_recordings,)
        The letter, an index into `class_names`.
    repetitions : int64 array of shape (n_recordings,)
        Which repetition of its letter a recording is.
    class_names : tuple of str
        ``Space`` first, then the letters that there are, in alphabetical order.
    n_units : int
        24.
    groups : None
        One finger read all of them.
    duration : float, in s
        Time of the last reading of the longest recording.
    licence, citation : str
        CC BY 4.0; what to cite.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not such a file, or is damaged, or the threshold is not positive.

    References
    ----------
    S. F. Mueller-Cleve, V. Fra, L. Khacef, et al., "Braille Letter Reading: A Benchmark for Spatio-Temporal
    Pattern Recognition on Neuromorphic Hardware", Frontiers in Neuroscience 16, 951164 (2022).

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> from snntrace.datasets import BrailleLetters
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "letters.npz"
    >>> readings = np.zeros((3, 12), "uint8")
    >>> readings[1, 4] = 20
    >>> np.savez(path, taxels=readings, length=[3], letter=["A"], repetition=[0])
    >>> times, units = BrailleLetters(path, threshold=10.0).events(0)
    >>> times, units
    (array([0.0125, 0.025 , 0.0375, 0.05  ]), array([16, 16,  4,  4]))
    """

    groups = None
    n_units = 2 * TAXELS
    licence = "CC BY 4.0"
    citation = (
        "S. F. Mueller-Cleve, V. Fra, L. Khacef, et al., Braille Letter Reading: A Benchmark for "
        "Spatio-Temporal Pattern Recognition on Neuromorphic Hardware, Frontiers in Neuroscience 16, 951164 "
        "(2022)."
    )

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        download: bool = False,
        threshold: float = 1.0,
    ) -> None:
        if not 0 < threshold < np.inf:
            raise ValueError(
                f"{WHO}: threshold must be positive and finite, got threshold={threshold}. Give "
                f"a positive one."
            )
        self.path = located("braille", path, None, download)
        self.threshold = float(threshold)
        taxels, lengths, letters, repetitions = tables_of(self.path)
        self._readings = taxels
        self._starts = np.concatenate([[0], np.cumsum(lengths)])
        names = sorted(set(letters), key=lambda name: (name != "Space", name))
        self.class_names = tuple(names)
        self.labels: NDArray[np.int64] = np.array([names.index(name) for name in letters], np.int64)
        self.repetitions = repetitions
        for array in (self.labels, self.repetitions):
            array.setflags(write=False)
        self.duration = float(lengths.max() - 1) / RATE_HZ

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
            f"BrailleLetters({len(self)} recordings of {len(self.class_names)} classes, "
            f"{self.n_units} units, threshold {self.threshold:g})"
        )

    def events(self, index: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return the events of one recording, in the order of their times.

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
        """
        row = operator.index(index)
        if not 0 <= row < len(self):
            raise IndexError(
                f"{WHO}: index must be in 0 .. {len(self) - 1}, got index={index}. Choose an existing "
                f"recording."
            )
        readings = self._readings[self._starts[row] : self._starts[row + 1]].astype(np.float64)
        return delta_code(readings, RATE_HZ, self.threshold)


def tables_of(
    path: Path,
) -> tuple[NDArray[np.uint8], NDArray[np.int64], list[str], NDArray[np.int64]]:
    """Read the tables of a file.

    Parameters
    ----------
    path : Path
        The .npz or .pkl.gz file.

    Returns
    -------
    taxels : uint8 array of shape (n_readings, 12)
        All readings.
    lengths : int64 array of shape (n_recordings,)
        Readings of each recording.
    letters : list of str
        Letter of each recording.
    repetitions : int64 array of shape (n_recordings,)
        Which repetition it is.

    Raises
    ------
    DataFileError
        If the file is damaged, or its tables contradict each other.
    """  # noqa: DOC501
    mapped(path, WHO)
    if is_gzip(path):
        return tables_of_pickle(path)
    try:
        # Opened here, for numpy leaves a damaged archive open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            size = sum(member.file_size for member in archive.zip.infolist())
            if size > (most := LIMITS.most(path.stat().st_size)):
                raise ValueError(f"{size:,} bytes of tables, more than {most:,}")
            # A table that says to be shorter than it is would be read without its checksum.
            if damaged := archive.zip.testzip():
                raise zipfile.BadZipFile(f"Bad CRC-32 for file {damaged!r}")
            taxels, lengths, letters, repetitions = (np.asarray(archive[name]) for name in TABLES)
    # Whatever can be wrong in a damaged archive, the parser meets it as another type of error.
    except Exception as error:
        raise DataFileError(
            f"{WHO}: the file must be a NumPy archive of {', '.join(TABLES)}, got {type(error).__name__} "
            f"({error}) in {path}. {WHERE}"
        ) from error
    n = lengths.size
    fits = (
        n > 0 and lengths.shape == letters.shape == repetitions.shape == (n,) and letters.dtype.kind == "U"
        and lengths.dtype.kind in "iu" and repetitions.dtype.kind in "iu" and taxels.dtype == np.uint8
        and bool((lengths > 0).all()) and lengths.max() <= len(taxels)
        and taxels.shape == (int(lengths.sum(dtype=np.int64)), TAXELS)
    )  # fmt: skip
    if not fits:
        got = {
            name: (str(a.dtype), a.shape)
            for name, a in zip(TABLES, (taxels, lengths, letters, repetitions), strict=True)
        }
        raise DataFileError(
            f"{WHO}: the tables must be uint8 readings of {TAXELS} taxels, and the number of readings, the "
            f"letter and the repetition of each recording, got {got} in {path}. {WHERE}"
        )
    return taxels, lengths.astype(np.int64), [str(name) for name in letters], repetitions.astype(np.int64)


def is_braille(path: Path) -> bool:
    """Tell whether a path is a file of Braille letters, by the names of its tables.

    Parameters
    ----------
    path : Path
        An existing path.

    Returns
    -------
    bool
        True for a NumPy archive of these tables, and for a compressed pickle.
    """
    if not path.is_file():
        return False
    if is_pickle(path):
        return True
    if not zipfile.is_zipfile(path):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return {f"{name}.npy" for name in TABLES} <= set(archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False
