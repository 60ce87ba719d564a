"""Find the reader for a data set by its name, or by what it is."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import h5py

from snntrace.datasets.about import ABOUT, About
from snntrace.datasets.braille import BrailleLetters, is_braille
from snntrace.datasets.digits import SaccadeDigits
from snntrace.datasets.dvs_gesture import DVSGesture, is_dvs_gesture
from snntrace.datasets.event_folder import EventFolder, is_event_folder
from snntrace.datasets.heidelberg import SHD, SSC, is_part_of
from snntrace.datasets.mnist import MNIST, FashionMNIST, is_fashion_mnist, is_mnist
from snntrace.datasets.ncaltech101 import NCaltech101, is_ncaltech101
from snntrace.datasets.nmnist import NMNIST, is_nmnist
from snntrace.datasets.nmnist_like import NMNISTLike
from snntrace.datasets.ntidigits import NTIDIGITS18, is_ntidigits
from snntrace.datasets.protocol import SpikeDataset
from snntrace.datasets.randman import Randman
from snntrace.datasets.shd import SpikeFile
from snntrace.datasets.shd_like import SHDLike
from snntrace.datasets.shd_tables import said_units
from snntrace.datasets.sources import SOURCES, data_folder, is_there, located
from snntrace.datasets.spoken import SpokenWords, is_spoken
from snntrace.datasets.store import SpikeStore, is_store
from snntrace.datasets.unknown import remedy
from snntrace.datasets.unpack import is_packed, packs

HDF5 = b"\x89HDF"


class Entry(NamedTuple):
    """A data set, or a layout that anyone's recordings may be in.

    Attributes
    ----------
    what : str
        What a path must be.
    recognises : callable, or None
        Tells whether a path is this data set, by its content; None for one that is generated.
    opens : callable
        Makes the data set, of a path unless it is generated.
    about : About
        Parts, classes, licence, citation.
    """

    what: str
    recognises: Callable[[Path], bool] | None
    opens: Callable[..., SpikeDataset]
    about: About


def is_spike_file(path: Path) -> bool:
    """Tell whether a path is a file that `SpikeFile` may read, by its content.

    Parameters
    ----------
    path : Path
        An existing path.

    Returns
    -------
    bool
        True for HDF5 files, as they are or compressed by gzip or alone in a zip file.
    """
    return path.is_file() and (h5py.is_hdf5(path) or (is_packed(path) and packs(path, HDF5)))


READERS: dict[str, tuple[str, Callable[[Path], bool] | None, Callable[..., SpikeDataset]]] = {
    "digits": ("embedded handwritten digits", None, SaccadeDigits),
    "randman": ("generated spike times on random manifolds", None, Randman),
    "shd_like": ("generated words", None, SHDLike),
    "nmnist_like": ("generated digits of N-MNIST's size", None, NMNISTLike),
    "store": ("a spike store made by `snntrace data convert`", is_store, SpikeStore),
    "ntidigits": ("the file n-tidigits.hdf5 of N-TIDIGITS18", is_ntidigits, NTIDIGITS18),
    "shd": ("the folder with shd_train.h5 and shd_test.h5", partial(is_part_of, "shd"), SHD),
    "ssc": ("the folder with ssc_train.h5, ssc_valid.h5 and ssc_test.h5", partial(is_part_of, "ssc"), SSC),
    "spikes": ("an .h5 or .h5.gz file in the layout of SHD", is_spike_file, SpikeFile),
    "braille": ("an .npz or .pkl.gz file of Braille letters", is_braille, BrailleLetters),
    "fashion_mnist": ("the folder of Fashion-MNIST's IDX files", is_fashion_mnist, FashionMNIST),
    "mnist": ("the folder of MNIST's IDX files", is_mnist, MNIST),
    "nmnist": ("the folder of N-MNIST, which holds Train and Test", is_nmnist, NMNIST),
    "dvs_gesture": ("the folder of DVS128 Gesture", is_dvs_gesture, DVSGesture),
    "ncaltech101": ("the folder of N-Caltech101", is_ncaltech101, NCaltech101),
    "recordings": ("a folder of event files, one folder a class or labels.csv", is_event_folder, EventFolder),
    "audio": ("a folder of sound files, one folder a class", is_spoken, SpokenWords),
}

DATASETS = {name: Entry(*reader, ABOUT[name]) for name, reader in READERS.items()}
"""Data sets by their names, in the order in which a path is tried."""


def open_dataset(
    source: str | Path,
    name: str | None = None,
    *,
    split: str | None = None,
    download: bool = False,
    **options: Any,
) -> SpikeDataset:
    """Open a data set by its name or path.

    Parameters
    ----------
    source : str or Path
        The path of a file or folder, whose content decides which data set it is, not its name. Or the name of
        a data set, a key of `DATASETS`, which is generated or has been downloaded.
    name : str, optional
        Name of the data set, to open the path `source` as that one.
    split : str, optional
        The official part to open, such as ``"test"``. Default: the one for training.
    download : bool, default False
        Download what is not there: to the folder `source` if `name` is given too, else to where downloads are
        kept (`snntrace.datasets.sources.data_folder`).
    **options
        Further arguments of the data set's class, such as ``encoding="camera"`` of `MNIST`.

    Returns
    -------
    SpikeDataset
        The data set.

    Raises
    ------
    FileNotFoundError
        If `source` is neither a known name nor an existing path, or has not been downloaded.
    ValueError
        If there is no reader for what `source` is, no data set of this name, no such part or option, or it
        cannot be downloaded.

    Examples
    --------
    >>> from snntrace.datasets import open_dataset
    >>> open_dataset("digits")
    SaccadeDigits(1797 recordings, 512 units, 0.3 s)
    >>> open_dataset("randman", split="test", n_per_class=5)
    Randman(test: 50 recordings, 20 units, 10 classes)
    """
    if name is not None and name not in DATASETS:
        raise ValueError(
            f"open_dataset: name must be one of {', '.join(DATASETS)}, got name={name!r}. Choose one."
        )
    path = Path(source).expanduser()
    chosen = name
    if name is None and str(source) in DATASETS:
        chosen = str(source)
        if DATASETS[chosen].recognises is None:
            return opened(chosen, None, split, options)
        if not path.exists():
            return opened(chosen, located(chosen, None, split, download), split, options)
        chosen = None
    if download:
        if chosen is None:
            raise ValueError(
                f"open_dataset: download must come with the name of a data set, got source={str(source)!r} "
                f"and name=None. Give one of {', '.join(SOURCES)} as name."
            )
        if chosen in SOURCES:
            # The class knows in which layouts the data may be there.
            return opened(chosen, path, split, {"download": True, **options})
        path = located(chosen, path, split, download)
    if not path.exists():
        raise FileNotFoundError(
            f"open_dataset: source must be a known data set, got source={str(source)!r}, which does not "
            f"exist. {remedy(str(source), DATASETS)}"
        )
    return opened(chosen or recognised(path), path, split, options)


def is_absent(source: str) -> bool:
    """Tell whether a name is that of a data set that has not been downloaded.

    Parameters
    ----------
    source : str
        A name or path.

    Returns
    -------
    bool
        True if `open_dataset` would not find it, though there is such a data set.
    """
    if source not in DATASETS or DATASETS[source].recognises is None or Path(source).expanduser().exists():
        return False
    part = next(iter(DATASETS[source].about.splits), None)
    return source not in SOURCES or not is_there(source, data_folder(source), part)


def about_of(data: SpikeDataset) -> About | None:
    """Return what there is to know of an open data set.

    Parameters
    ----------
    data : SpikeDataset
        The data set.

    Returns
    -------
    About, or None
        None for one that is not in `DATASETS`.
    """
    return next((entry.about for entry in DATASETS.values() if entry.opens is type(data)), None)


def recognised(path: Path) -> str:
    """Tell which data set a path is, by its content.

    Parameters
    ----------
    path : Path
        An existing path.

    Returns
    -------
    str
        A key of `DATASETS`.

    Raises
    ------
    ValueError
        If there is no reader for it.
    """
    for name, entry in DATASETS.items():
        if entry.recognises is not None and entry.recognises(path):
            return name
    kind = "folder" if path.is_dir() else "file"
    raise ValueError(
        f"open_dataset: source must be a known data set, got the {kind} source={str(path)!r} that no "
        f"reader knows. {remedy(str(path), DATASETS)}"
    )


def opened(name: str, path: Path | None, split: str | None, options: dict[str, Any]) -> SpikeDataset:
    """Open a data set, or one of its official parts.

    Parameters
    ----------
    name : str
        Which, a key of `DATASETS`.
    path : Path or None
        Where it is; None for one that is generated.
    split : str or None
        The part.
    options : dict
        Further arguments.

    Returns
    -------
    SpikeDataset
        The data set.

    Raises
    ------
    ValueError
        If there are no parts, or no such options.
    """
    entry = DATASETS[name]
    known = inspect.signature(entry.opens).parameters
    any_option = any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values())
    if unknown := [option for option in options if option not in known and not any_option]:
        raise ValueError(
            f"open_dataset: options of {name} must be among {', '.join(known)}, got {', '.join(unknown)}. "
            f"Leave them out."
        )
    if split is not None:
        if "split" not in known:
            raise ValueError(
                f"open_dataset: split must be left out for {entry.what}, which has no official parts, got "
                f"split={split!r}. Leave it out."
            )
        options = {"split": split, **options}
    if name == "spikes" and path is not None and "n_units" not in options:
        said = said_units(path)
        options = options if said is None else {"n_units": said, **options}
    place = () if path is None else (path,)
    return entry.opens(*place, **options)
