"""N-TIDIGITS18: spoken digits as the spikes of a silicon cochlea."""

from __future__ import annotations

import operator
import os
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import h5py
import numpy as np
from numpy.typing import NDArray

from snntrace.datasets.files.contents import mapped
from snntrace.datasets.files.events import DataFileError
from snntrace.datasets.hdf5 import FOREIGN, own_table
from snntrace.datasets.shd_tables import texts
from snntrace.datasets.sources import located

WHO = "NTIDIGITS18"
SPLITS = ("train", "test")
DIGITS = ("o", "1", "2", "3", "4", "5", "6", "7", "8", "9", "z")
CHANNELS = 64
WHERE = "Download n-tidigits.hdf5 again."
Found = TypeVar("Found")


class NTIDIGITS18:
    """The single digits of N-TIDIGITS18, spoken by adults and heard by a silicon cochlea of 64 channels.

    In the HDF5 file, ``train_labels`` and ``test_labels`` list the recordings' names, which are
    ``<gender>-<speaker>-<repetition>-<digits>``; ``train_timestamps/<name>`` are times in s and
    ``train_addresses/<name>`` are channels. Names with several digits, which have no class, are left out.
    The unit of an event is its channel. The speakers of the two parts are different ones.

    Parameters
    ----------
    path : str or Path, optional
        The HDF5 file. Default: where downloads are kept (`snntrace.datasets.sources.data_folder`).
    split : {'train', 'test'}, default 'train'
        The official part to take.
    download : bool, default False
        Download the file if it is not there, to the folder `path`.
    ordered : bool, default True
        Refuse a recording in which time goes backwards. False: keep its events as they are.

    Attributes
    ----------
    path : Path
        The file.
    split : str
        Which part it is.
    ordered : bool
        As given.
    names : tuple of str
        Name of each recording.
    labels : int64 array of shape (n_recordings,)
        The digit, an index into `class_names`.
    groups : int64 array of shape (n_recordings,), or None
        Number of the speaker, a place in `group_names`; None if a name does not tell.
    group_names : tuple of str
        Gender and name of the speakers of all parts, such as ``"man-ae"``, in alphabetical order.
    class_names : tuple of str
        ``"o"`` (oh), ``"1"`` to ``"9"``, ``"z"`` (zero).
    n_units : int
        64.
    citation : str
        What to cite. TIDIGITS itself is licensed by the Linguistic Data Consortium.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not such a file, or is damaged.

    References
    ----------
    J. Anumula, D. Neil, T. Delbruck, S.-C. Liu, "Feature Representations for Neuromorphic Audio Spike
    Streams", Frontiers in Neuroscience 12, 23 (2018).
    """

    class_names = DIGITS
    n_units = CHANNELS
    citation = (
        "J. Anumula, D. Neil, T. Delbruck, S.-C. Liu, Feature Representations for Neuromorphic Audio Spike "
        "Streams, Frontiers in Neuroscience 12, 23 (2018)."
    )

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        split: str = "train",
        *,
        download: bool = False,
        ordered: bool = True,
    ) -> None:
        if split not in SPLITS:
            raise ValueError(f"{WHO}: split must be 'train' or 'test', got split={split!r}. Choose one.")
        self.path = located("ntidigits", path, split, download)
        self.split = split
        self.ordered = ordered
        # For its errors: HDF5 says the same of a missing file and of a damaged one.
        mapped(self.path, WHO)
        names = self._read(f"{split}_labels", texts)
        self.names = tuple(name for name in names if name.rsplit("-", 1)[-1] in DIGITS)
        if not self.names:
            raise self._damaged(f"{split}_labels must name single digits", f"{len(names)} other names")
        self.labels: NDArray[np.int64] = np.array(
            [DIGITS.index(name.rsplit("-", 1)[-1]) for name in self.names], np.int64
        )
        self.labels.setflags(write=False)
        # Of all parts, so that a number is the same speaker in each of them.
        others = [f"{part}_labels" for part in SPLITS if part != split]
        with h5py.File(self.path, "r") as file:
            others = [key for key in others if key in file]
        there = [name for key in others for name in self._read(key, texts)]
        self.group_names, self.groups = speakers_of(self.names, there)

    def __len__(self) -> int:
        """Return the number of recordings.

        Returns
        -------
        int
            The number.
        """
        return len(self.names)

    def __repr__(self) -> str:
        """Return one line with the part and the sizes.

        Returns
        -------
        str
            The line.
        """
        return f"NTIDIGITS18({self.split}: {len(self)} recordings, {self.n_units} units)"

    @cached_property
    def durations(self) -> NDArray[np.float64]:
        """Time of the last event of each recording, in s; the first use reads all of them."""
        return np.array([self.events(row)[0].max(initial=0.0) for row in range(len(self))])

    @property
    def duration(self) -> float:
        """Time of the last event of all recordings, in s."""
        return float(self.durations.max())

    def events(self, index: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
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
            Which channel.

        Raises
        ------
        IndexError
            If there is no such recording.
        DataFileError
            If the file is damaged.
        """  # noqa: DOC502
        row = operator.index(index)
        if not 0 <= row < len(self):
            raise IndexError(
                f"{WHO}: index must be in 0 .. {len(self) - 1}, got index={index}. Choose an existing "
                f"recording."
            )
        name = self.names[row]
        times = self._read(f"{self.split}_timestamps/{name}", numbers)
        units = self._read(f"{self.split}_addresses/{name}", numbers)
        if (
            times.ndim != 1
            or times.shape != units.shape
            or times.dtype.kind != "f"
            or units.dtype.kind not in "iuf"
        ):
            got = f"{times.dtype} {times.shape} and {units.dtype} {units.shape}"
            raise self._damaged(f"{name} must have as many times as addresses", got)
        with np.errstate(over="ignore"):
            # What is no number of double precision becomes infinite, which is refused.
            seconds = times.astype(np.float64)
        if not (np.isfinite(seconds).all() and (seconds >= 0).all()):
            raise self._damaged(f"the times of {name} must be finite and not negative", "others")
        if self.ordered and (seconds[1:] < seconds[:-1]).any():
            at = int(np.argmax(seconds[1:] < seconds[:-1])) + 1
            raise DataFileError(
                f"{WHO}: the times of {name} must not decrease, got {seconds[at]} after {seconds[at - 1]} at "
                f"event {at} in {self.path}. Sort them with `snntrace data convert --sort`, or give "
                f"ordered=False to keep their order."
            )
        if not ((units >= 0) & (units < CHANNELS) & (units == np.floor(units))).all():
            got = f"{units.min()} to {units.max()}"
            raise self._damaged(f"the addresses of {name} must be in 0 .. {CHANNELS - 1}", got)
        return seconds, units.astype(np.int64)

    def _read(self, key: str, reads: Callable[[Any, Any], Found]) -> Found:
        # Opened anew each time, so that copies in other processes and after a fork need no care.
        try:
            with h5py.File(self.path, "r") as file:
                table = own_table(file, key, WHO, self.path)
                if table is None or table.nbytes > 8 * self.path.stat().st_size + (1 << 20):
                    raise TypeError("no data set of the file's size")
                return reads(file, table)
        except PermissionError:
            raise
        except FOREIGN as error:
            if isinstance(error, DataFileError):
                raise
            raise self._damaged(f"the data set {key} must be readable", f"{error}") from error

    def _damaged(self, must: str, got: str) -> DataFileError:
        return DataFileError(f"{WHO}: {must}, got {got} in {self.path}. {WHERE}")


def numbers(file: Any, table: Any) -> NDArray[Any]:
    """Return the numbers of a table; of rows of variable length HDF5 would believe what the file says."""
    if table.dtype.kind not in "iuf":
        raise TypeError(f"{table.dtype} in place of numbers")
    return np.asarray(table[()])


def speakers_of(
    names: Sequence[str], others: Sequence[str] = ()
) -> tuple[tuple[str, ...], NDArray[np.int64] | None]:
    """Return the speakers, and who of them made each recording.

    Parameters
    ----------
    names : sequence of str
        Names of the recordings, ``<gender>-<speaker>-<repetition>-<digits>``.
    others : sequence of str
        Names of recordings whose speakers are counted, too.

    Returns
    -------
    speakers : tuple of str
        Gender and name of all of them, in alphabetical order; empty if a name has no such parts.
    numbers : int64 array of shape (n_recordings,), or None
        Place of the speaker of each of `names` among them.

    Examples
    --------
    >>> speakers_of(("woman-ac-a-1", "man-bd-b-z"), ("man-ae-b-9",))
    (('man-ae', 'man-bd', 'woman-ac'), array([2, 1]))
    """
    parts = [name.split("-") for name in (*names, *others)]
    if any(len(part) < 3 for part in parts):
        return (), None
    speakers, numbers = np.unique(["-".join(part[:2]) for part in parts], return_inverse=True)
    return tuple(speakers.tolist()), numbers[: len(names)].astype(np.int64)


def is_ntidigits(path: Path) -> bool:
    """Tell whether a path is the file of N-TIDIGITS18, by its content.

    Parameters
    ----------
    path : Path
        An existing path.

    Returns
    -------
    bool
        True for an HDF5 file with one of its lists of names.
    """
    if not path.is_file() or not h5py.is_hdf5(path):
        return False
    try:
        with h5py.File(path, "r") as file:
            # The link alone: what it points to may be in another file.
            return any(file.get(f"{split}_labels", getlink=True) is not None for split in SPLITS)
    except FOREIGN:
        return False
