"""SHD and SSC as folders with their official parts."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from snntrace.datasets.asked import checked_split
from snntrace.datasets.shd import SpikeFile
from snntrace.datasets.sources import located

ENDINGS = (".h5", ".h5.gz", ".h5.zip")


class SHD(SpikeFile):
    """The Spiking Heidelberg Digits: spoken digits in English and German, in a folder with both parts.

    The parts are files in the layout that `SpikeFile` reads. Speakers 4 and 5 are in the test part only;
    there is no part for validation: hold out speakers of the training part (`by_group`).

    Parameters
    ----------
    path : str or Path, optional
        The folder with ``shd_train.h5`` and ``shd_test.h5``, each as it is or compressed (``.gz``, ``.zip``);
        or one of these files. Default: where downloads are kept (`snntrace.datasets.sources.data_folder`).
    split : {'train', 'test'}, optional
        The official part to take. Default: the file's own, if `path` is one; else ``'train'``.
    download : bool, default False
        Download what is not there, to the folder `path`.
    cache_folder : str or Path, optional
        Where the decompressed content of a compressed file is kept.
    ordered : bool, default True
        Refuse a recording in which time goes backwards. False: keep its events as they are.

    Attributes
    ----------
    split : str
        Which part it is; empty for a file whose name does not tell.
    splits : tuple of str
        The parts there are.
    licence, citation : str
        CC BY 4.0; what to cite.

    Raises
    ------
    FileNotFoundError
        If there is no such folder, or no such part in it.
    ValueError
        If a file is damaged, or not the part that `split` names.

    References
    ----------
    B. Cramer, Y. Stradmann, J. Schemmel, F. Zenke, "The Heidelberg Spiking Data Sets for the Systematic
    Evaluation of Spiking Neural Networks", IEEE Transactions on Neural Networks and Learning Systems 33,
    2744-2757 (2022).
    """  # noqa: DOC502

    stem: ClassVar[str] = "shd"
    splits: ClassVar[tuple[str, ...]] = ("train", "test")
    licence = "CC BY 4.0"
    citation = (
        "B. Cramer, Y. Stradmann, J. Schemmel, F. Zenke, The Heidelberg Spiking Data Sets for the Systematic "
        "Evaluation of Spiking Neural Networks, IEEE Transactions on Neural Networks and Learning Systems "
        "33, 2744-2757 (2022)."
    )

    def __init__(
        self,
        path: str | Path | None = None,
        split: str | None = None,
        *,
        download: bool = False,
        cache_folder: str | Path | None = None,
        ordered: bool = True,
    ) -> None:
        checked_split(type(self).__name__, split, self.splits)
        place = located(self.stem, path, split, download, lambda folder: self._part(folder, split))
        file, self.split = self._part(place, split)
        SpikeFile.__init__(self, file, cache_folder=cache_folder, ordered=ordered)

    def _part(self, path: Path, split: str | None) -> tuple[Path, str]:
        """Find the file of a part."""
        who = type(self).__name__
        wanted = split or self.splits[0]
        if path.is_file():
            own = next((part for part in self.splits if path.name.startswith(f"{self.stem}_{part}.")), "")
            if split not in {None, own}:
                raise ValueError(
                    f"{who}: split must be the part that path is, got split={split!r} and path={path}. Give "
                    f"the folder of the parts."
                )
            return path, own
        for ending in ENDINGS:
            file = path / f"{self.stem}_{wanted}{ending}"
            if file.is_file():
                return file, wanted
        there = [p.name for p in sorted(path.glob(f"{self.stem}_*"))] if path.is_dir() else []
        raise FileNotFoundError(
            f"{who}: path must be a folder with {self.stem}_{wanted}.h5, as it is or with .gz or .zip, got "
            f"path={path} with {', '.join(there) or 'none of the parts'}. Download it from "
            f"https://zenkelab.org/datasets/, or give download=True."
        )


class SSC(SHD):
    """The Spiking Speech Commands: 35 English words of many speakers, in a folder with the three parts.

    Parameters
    ----------
    path : str or Path, optional
        The folder with ``ssc_train.h5``, ``ssc_valid.h5`` and ``ssc_test.h5``, or one of these files, as of
        `SHD`.
    split : {'train', 'valid', 'test'}, optional
        The official part to take.
    download, cache_folder, ordered
        As of `SHD`.

    References
    ----------
    B. Cramer, Y. Stradmann, J. Schemmel, F. Zenke, "The Heidelberg Spiking Data Sets for the Systematic
    Evaluation of Spiking Neural Networks", IEEE Transactions on Neural Networks and Learning Systems 33,
    2744-2757 (2022).
    """

    stem = "ssc"
    splits = ("train", "valid", "test")


def is_part_of(stem: str, path: Path) -> bool:
    """Tell whether a path is a folder with a part of SHD or SSC, or a part by its name.

    Parameters
    ----------
    stem : {'shd', 'ssc'}
        Which.
    path : Path
        Any path.

    Returns
    -------
    bool
        True for such a folder or file.
    """
    parts = SHD.splits if stem == SHD.stem else SSC.splits
    names = [f"{stem}_{part}{ending}" for part in parts for ending in ENDINGS]
    if path.is_dir():
        return any((path / name).is_file() for name in names)
    # By its name alone, for a test part is to be known as one.
    return path.name in names
