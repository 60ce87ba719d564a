"""Find the reader for a data set by what it is."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, cast

import h5py

from snntrace.datasets.braille import BrailleLetters, is_braille
from snntrace.datasets.digits import SaccadeDigits
from snntrace.datasets.dvs_gesture import DVSGesture, is_dvs_gesture
from snntrace.datasets.ncaltech101 import NCaltech101, is_ncaltech101
from snntrace.datasets.nmnist import NMNIST, is_nmnist
from snntrace.datasets.ntidigits import NTIDIGITS18, is_ntidigits
from snntrace.datasets.protocol import SpikeDataset
from snntrace.datasets.shd import SpikeFile
from snntrace.datasets.store import SpikeStore, is_store
from snntrace.datasets.unpack import is_gzip


class Entry(NamedTuple):
    """A data set that is read from a file or folder.

    Attributes
    ----------
    what : str
        What a path must be.
    recognises : callable
        Tells whether a path is this data set, by its content.
    opens : callable
        Makes the data set.
    """

    what: str
    recognises: Callable[[Path], bool]
    opens: Callable[[Path], SpikeDataset]


def is_spike_file(path: Path) -> bool:
    """Tell whether a path is a file that `SpikeFile` may read, by its content.

    Parameters
    ----------
    path : Path
        An existing path.

    Returns
    -------
    bool
        True for HDF5 and gzip files.
    """
    return path.is_file() and (is_gzip(path) or h5py.is_hdf5(path))


DATASETS = {
    "store": Entry("a spike store made by `snntrace data convert`", is_store, SpikeStore),
    "ntidigits": Entry("the file n-tidigits.hdf5 of N-TIDIGITS18", is_ntidigits, NTIDIGITS18),
    "shd": Entry("an .h5 or .h5.gz file in the layout of SHD", is_spike_file, SpikeFile),
    "braille": Entry("an .npz file of Braille letters", is_braille, BrailleLetters),
    "nmnist": Entry("the folder of N-MNIST, which holds Train and Test", is_nmnist, NMNIST),
    "dvs_gesture": Entry("the folder of DVS128 Gesture", is_dvs_gesture, DVSGesture),
    "ncaltech101": Entry("the folder of N-Caltech101", is_ncaltech101, NCaltech101),
}
"""Data sets by their names, in the order in which a path is tried."""

KNOWN = '"digits" (embedded handwritten digits), or the path of ' + "; ".join(
    f"{entry.what} ({name})" for name, entry in DATASETS.items()
)


def open_dataset(source: str | Path, name: str | None = None, *, split: str | None = None) -> SpikeDataset:
    """Open a data set by its name or path.

    Parameters
    ----------
    source : str or Path
        ``"digits"``, or the path of a file or folder; its content decides which data set it is, not its name.
        Of a data set with official parts, the one for training is opened.
    name : str, optional
        Name of the data set, a key of `DATASETS`, to open `source` as that one.
    split : str, optional
        The official part to open, such as ``"test"``. Default: the one for training.

    Returns
    -------
    SpikeDataset
        The data set.

    Raises
    ------
    FileNotFoundError
        If `source` is neither a known name nor an existing path.
    ValueError
        If there is no reader for what `source` is, or no data set of this name.

    Examples
    --------
    >>> from snntrace.datasets import open_dataset
    >>> open_dataset("digits")
    SaccadeDigits(1797 recordings, 512 units, 0.3 s)
    """
    if name is not None and name not in DATASETS:
        raise ValueError(
            f"open_dataset: name must be one of {', '.join(DATASETS)}, got name={name!r}. Choose one."
        )
    if source == "digits" and name is None and split is None:
        return SaccadeDigits()
    path = Path(source).expanduser()
    if not path.exists():
        raise FileNotFoundError(
            f"open_dataset: source must be a known data set, got source={str(source)!r}, which does not "
            f"exist. Give {KNOWN}."
        )
    if name is not None:
        return opened(DATASETS[name], path, split)
    for entry in DATASETS.values():
        if entry.recognises(path):
            return opened(entry, path, split)
    kind = "folder" if path.is_dir() else "file"
    raise ValueError(
        f"open_dataset: source must be a known data set, got the {kind} source={str(source)!r} that no "
        f"reader knows. Give {KNOWN}; unzip archives first."
    )


def opened(entry: Entry, path: Path, split: str | None) -> SpikeDataset:
    """Open a data set, or one of its official parts.

    Parameters
    ----------
    entry : Entry
        The data set.
    path : Path
        Where it is.
    split : str, optional
        The part.

    Returns
    -------
    SpikeDataset
        The data set.

    Raises
    ------
    ValueError
        If there are no parts.
    """
    if split is None:
        return entry.opens(path)
    if "split" not in inspect.signature(entry.opens).parameters:
        raise ValueError(
            f"open_dataset: split must be left out for {entry.what}, which has no official parts, got "
            f"split={split!r}. Leave it out."
        )
    return cast("Callable[..., SpikeDataset]", entry.opens)(path, split=split)
