"""Find the reader for a data set by what it is."""

from pathlib import Path

import h5py

from snntrace.datasets.digits import SaccadeDigits
from snntrace.datasets.protocol import SpikeDataset
from snntrace.datasets.shd import SpikeFile
from snntrace.datasets.unpack import is_gzip

KNOWN = '"digits" (embedded handwritten digits), or the path of an .h5 or .h5.gz file in the layout of SHD'


def open_dataset(source: str | Path) -> SpikeDataset:
    """Open a data set by its name or path.

    Parameters
    ----------
    source : str or Path
        ``"digits"``, or the path of a file in the layout of SHD and SSC; the content of the file decides, not
        its name.

    Returns
    -------
    SpikeDataset
        The data set.

    Raises
    ------
    FileNotFoundError
        If `source` is neither a known name nor an existing path.
    ValueError
        If there is no reader for what `source` is.

    Examples
    --------
    >>> from snntrace.datasets import open_dataset
    >>> open_dataset("digits")
    SaccadeDigits(1797 recordings, 512 units, 0.3 s)
    """
    if source == "digits":
        return SaccadeDigits()
    path = Path(source).expanduser()
    if not path.exists():
        raise FileNotFoundError(
            f"open_dataset: source must be a known data set, got source={str(source)!r}, which does not "
            f"exist. Give {KNOWN}."
        )
    if path.is_file() and (is_gzip(path) or h5py.is_hdf5(path)):
        return SpikeFile(path)
    kind = "folder" if path.is_dir() else "file"
    raise ValueError(
        f"open_dataset: source must be a known data set, got the {kind} source={str(source)!r} that no "
        f"reader knows. Give {KNOWN}; unzip archives first."
    )
