"""Where the data sets are on the net, and how they get into a folder of this machine."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snntrace.datasets.about import ABOUT
from snntrace.datasets.archives import extract
from snntrace.datasets.download import download
from snntrace.datasets.download_part import held
from snntrace.datasets.download_source import Source
from snntrace.datasets.unpack import cache_folder, decompress

WHO = "obtain"
HELD = ".obtain.part"
"""The file that is in a folder while something is downloaded to it."""
Told = Callable[[str, int, int | None], None]
"""Called with the name of a file, the bytes that are there and all of them (None: not known)."""


@dataclass(frozen=True)
class Remote:
    """A file on the net, and what it becomes here.

    Attributes
    ----------
    source : Source
        The file.
    leaves : str
        What is in the data set's folder afterwards; another name than the file's if it is unpacked.
    split : str
        The official part that it is of; nothing if all parts need it.
    unpacks : {'', 'one', 'folder'}
        Keep the file as it is; decompress it to one file; unpack it to a folder.
    inside : str
        The folder in the archive that is kept.
    md5 : str
        Checksum of the decompressed file, where it is known.
    """

    source: Source
    leaves: str
    split: str = ""
    unpacks: str = ""
    inside: str = ""
    md5: str = ""


def heidelberg(file: str, packing: str, split: str, md5: str, md5_inside: str = "") -> Remote:
    """Return a file of SHD or SSC."""
    servers = ("https://zenkelab.org/datasets/", "https://compneuro.net/datasets/")
    name = file + packing
    source = Source(name, tuple(server + name for server in servers), md5)
    return Remote(source, file, split, "one", md5=md5_inside)


def pictures(servers: tuple[str, ...], md5s: dict[str, str]) -> tuple[Remote, ...]:
    """Return the four files of MNIST or a set in its format."""
    return tuple(
        Remote(
            Source(name, tuple(server + name for server in servers), md5),
            name,
            "train" if name.startswith("train") else "test",
        )
        for name, md5 in md5s.items()
    )


def mendeley(name: str, place: str, md5: str, leaves: str, split: str = "") -> Remote:
    """Return an archive of the recordings of an event camera."""
    url = f"https://data.mendeley.com/public-files/datasets/{place}/file_downloaded"
    return Remote(Source(name, (url,), md5), leaves, split, "folder", inside=leaves)


SOURCES: dict[str, tuple[Remote, ...]] = {
    "shd": (
        heidelberg(
            "shd_train.h5", ".gz", "train", "d47c9825dee33347913e8ce0f2be08b0",
            "8e9877c85f29a28dd353ea6a54402667",
        ),
        heidelberg(
            "shd_test.h5", ".gz", "test", "3062a80ec0c5719404d5b02e166543b1",
            "207ad1295a0ab611e22d1734989c254e",
        ),
    ),
    "ssc": (
        heidelberg("ssc_train.h5", ".zip", "train", "d102be95e7144fcc0553d1f45ba94170"),
        heidelberg("ssc_valid.h5", ".zip", "valid", "b4eee3516a4a90dd0c71a6ac23a8ae43"),
        heidelberg("ssc_test.h5", ".zip", "test", "a35ff1e9cffdd02a20eb850c17c37748"),
    ),
    "nmnist": (
        mendeley(
            "Train.zip", "468j46mzdv/files/39c25547-014b-4137-a934-9d29fa53c7a0",
            "20959b8e626244a1b502305a9e6e2031", "Train", "train",
        ),
        mendeley(
            "Test.zip", "468j46mzdv/files/05a4d654-7e03-4c15-bdfa-9bb2bcbea494",
            "69ca8762b2fe404d9b9bad1103e97832", "Test", "test",
        ),
    ),
    "ncaltech101": (
        mendeley(
            "N-Caltech101-archive.zip", "cy6cvx3ryv/files/36b5c52a-b49d-4853-addb-a836a8883e49",
            "66201824eabb0239c7ab992480b50ba3", "Caltech101",
        ),
    ),
    "ntidigits": (
        Remote(
            Source(
                "n-tidigits.hdf5",
                (
                    "https://www.dropbox.com/scl/fi/1x4lxt9yyw25sc3tez8oi/n-tidigits.hdf5"
                    "?e=2&rlkey=w8gi5udvib2zqzosusa5tr3wq&dl=1",
                ),
                "360a2d11e5429555c9197381cf6b58e0",
            ),
            "n-tidigits.hdf5",
        ),
    ),
    "mnist": pictures(
        ("https://ossci-datasets.s3.amazonaws.com/mnist/", "http://yann.lecun.com/exdb/mnist/"),
        {
            "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
            "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
            "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
        },
    ),
    "fashion_mnist": pictures(
        ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
        {
            "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
            "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
            "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
        },
    ),
    "braille": (
        Remote(
            Source(
                "tutorial5_braille_spiking_data.pkl.gz",
                (
                    "https://raw.githubusercontent.com/fzenke/spytorch/main/notebooks/data/"
                    "tutorial5_braille_spiking_data.pkl.gz",
                ),
                form="gzip",
            ),
            "tutorial5_braille_spiking_data.pkl.gz",
        ),
    ),
}  # fmt: skip
"""The files of the data sets that have public servers, by the names of the data sets."""

BY_HAND = {
    "dvs_gesture": (
        "its licence is to be agreed to on https://research.ibm.com/interactive/dvsgesture/. Unpack "
        "DvsGesture.tar.gz, and give the path of its folder"
    ),
}
"""Data sets that have to be downloaded by hand, and how."""


def data_folder(name: str) -> Path:
    """Return the folder that a data set is downloaded to if none is named.

    It is the data set's own in ``$SNNTRACE_DATA``, else in the folder ``data`` of the cache
    (``$SNNTRACE_CACHE``, ``$XDG_CACHE_HOME/snntrace`` or ``~/.cache/snntrace``).

    Parameters
    ----------
    name : str
        Name of the data set.

    Returns
    -------
    Path
        The folder; it need not exist.
    """
    base = os.environ.get("SNNTRACE_DATA")
    return (Path(base).expanduser() if base else cache_folder() / "data") / name


def remotes_of(name: str, split: str | None) -> list[Remote]:
    """Return the files that a data set needs.

    Parameters
    ----------
    name : str
        Name of the data set.
    split : str or None
        Official part; None for all of them.

    Returns
    -------
    list of Remote
        The files.

    Raises
    ------
    ValueError
        If there are none on public servers, or there is no such part.
    """
    if name not in SOURCES:
        why = BY_HAND.get(name, f"only these have public servers: {', '.join(SOURCES)}")
        raise ValueError(f"{WHO}: name must be a data set that can be downloaded, got name={name!r}; {why}.")
    parts = list(dict.fromkeys(remote.split for remote in SOURCES[name] if remote.split))
    if split is not None and parts and split not in parts:
        raise ValueError(f"{WHO}: split must be one of {', '.join(parts)}, got split={split!r}. Choose one.")
    return [r for r in SOURCES[name] if split is None or r.split in {"", split}]


def is_there(name: str, folder: Path, split: str | None) -> bool:
    """Tell whether a data set, or a part of it, has been downloaded.

    Parameters
    ----------
    name : str
        Name of the data set.
    folder : Path
        Where.
    split : str or None
        Official part; None for all of them.

    Returns
    -------
    bool
        Whether everything is there.
    """
    return all((folder / remote.leaves).exists() for remote in remotes_of(name, split))


def obtain(
    name: str,
    folder: str | os.PathLike[str] | None = None,
    *,
    split: str | None = None,
    told: Told | None = None,
    **options: Any,
) -> Path:
    """Download a data set and unpack it, as far as it is not there.

    Parameters
    ----------
    name : str
        Name of the data set, a key of `SOURCES`.
    folder : str or Path, optional
        Where to. Default: `data_folder`.
    split : str, optional
        The official part that is wanted. Default: all.
    told : callable, optional
        Called while a file is downloaded, with its name, the bytes that are there and all of them.
    **options
        ``timeout``, ``attempts`` and ``wait`` of `snntrace.datasets.download.download`.

    Returns
    -------
    Path
        What `open_dataset` opens: the folder, or the file if the data set is a single one.

    Raises
    ------
    ValueError
        If the data set has no public server, there is no such part, or an archive is damaged.
    DownloadError
        If no server gives the right files.
    OSError
        If the folder may not be written, or is full.
    """  # noqa: DOC502
    remotes = remotes_of(name, split)
    place = data_folder(name) if folder is None else Path(folder).expanduser()
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise type(error)(
            f"{WHO}: folder must be one that may be written, got folder={place} ({error.strerror}). Choose "
            f"another one."
        ) from error
    if not is_there(name, place, split):
        with held(place / HELD):
            for remote in remotes:
                if not (place / remote.leaves).exists():
                    fetch(remote, place, told, options)
    return place / SOURCES[name][0].leaves if len(SOURCES[name]) == 1 else place


def located(
    name: str,
    path: str | os.PathLike[str] | None,
    split: str | None = None,
    download: bool = False,
    find: Callable[[Path], object] | None = None,
) -> Path:
    """Return where a data set is; download what is not there, if that is wanted.

    Parameters
    ----------
    name : str
        Name of the data set.
    path : str or Path, optional
        Its folder or file. Default: where downloads are kept (`data_folder`).
    split : str, optional
        The official part that is wanted. Default: the one for training.
    download : bool, default False
        Download what is not in the folder.
    find : callable, optional
        Looks in a folder that is named for the data in all layouts that their reader takes, before anything
        is downloaded to it: returns what it finds, or nothing, or raises FileNotFoundError.

    Returns
    -------
    Path
        Its file or folder. One that is named need not exist.

    Raises
    ------
    FileNotFoundError
        If none is named, and the data set has not been downloaded.
    """
    place = data_folder(name) if path is None else Path(path).expanduser()
    there = not download or place.is_file() or (path and find and found(find, place))
    if path is not None and there:
        return place
    part = split or next(iter(ABOUT[name].splits), None)
    if not download and (name not in SOURCES or not is_there(name, place, part)):
        how = f"give download=True, call `snntrace data download {name}`, or " if name in SOURCES else ""
        raise FileNotFoundError(
            f"{name}: the data set must be on this machine, got nothing in {place}. Please {how}give its "
            f"path."
        )
    return obtain(name, place, split=part)


def found(find: Callable[[Path], object], place: Path) -> bool:
    """Tell whether data are in a place that nobody downloads to now, for an archive is no data set yet."""
    try:
        return not (place / HELD).exists() and bool(find(place))
    except FileNotFoundError:
        return False


def fetch(remote: Remote, place: Path, told: Told | None, options: dict[str, Any]) -> None:
    """Download one file of a data set and unpack it; an archive that was there before stays.

    Parameters
    ----------
    remote : Remote
        The file.
    place : Path
        The data set's folder.
    told : callable, optional
        Called with the name, the bytes that are there and all of them.
    options : dict
        Of `download`.
    """
    name, target = remote.source.name, place / remote.leaves
    own = (place / name).exists()
    progress = None if told is None else lambda done, total: told(name, done, total)
    path = download(remote.source, place, progress=progress, **options)
    if remote.unpacks == "folder":
        extract(path, target, inside=remote.inside, nested=True)
    elif remote.unpacks == "one":
        decompress(path, target, md5=remote.md5)
    if remote.unpacks and not own:
        path.unlink(missing_ok=True)
