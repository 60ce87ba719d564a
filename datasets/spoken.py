"""A folder of spoken words, heard once by the model of the ear."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from snntrace.datasets.download_part import held
from snntrace.datasets.files.contents import mapped
from snntrace.datasets.shd import SpikeFile
from snntrace.datasets.unpack import cache_folder as default_folder

WHO = "SpokenWords"
ENDINGS = {".wav", ".flac", ".ogg"}


class SpokenWords(SpikeFile):
    """Sound files of one word each, as the spikes of the 700 units of the model of the ear.

    All files of the folder and of folders in it are heard once, which takes about a second a file, and kept
    as a file in the layout of SHD in the cache; it is found again by the sounds' names and contents, the seed
    and the version of this package. Names of the Heidelberg Digits
    (``lang-german_speaker-04_trial-14_digit-1.flac``) say class and speaker; any other file is of the class
    that its folder is named after. Folders whose names start with ``_`` or ``.`` (such as the noises of
    Speech Commands) are left out.

    Parameters
    ----------
    path : str or Path
        The folder.
    seed : int, default 0
        Seed of the ear's nerve fibres.
    mix : bool, default False
        Take the mean of several channels, in place of refusing them.
    cache_folder : str or Path, optional
        Where the spikes are kept. Default: the folder of `snntrace.datasets.unpack.cache_folder`.
    on_heard : callable, optional
        Called with the number of files heard so far and that of all.

    Attributes
    ----------
    path : Path
        The file of spikes.
    folder : Path
        The folder of sounds.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    ImportError
        If the package soundfile is missing.
    ValueError
        If it holds no sound files, or one cannot be heard.
    OSError
        If the cache cannot be written.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> import soundfile
    >>> from snntrace.datasets import SpokenWords
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> (folder / "beep").mkdir()
    >>> soundfile.write(folder / "beep" / "1.wav", 0.5 * np.sin(0.1 * np.arange(4800)), 48_000)
    >>> words = SpokenWords(folder, cache_folder=folder / "cache")
    >>> len(words), words.class_names, words.n_units
    (1, ('beep',), 700)
    """  # noqa: DOC502

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        seed: int = 0,
        mix: bool = False,
        cache_folder: str | os.PathLike[str] | None = None,
        on_heard: Callable[[int, int], None] = lambda number, total: None,
    ) -> None:
        # Here and not above: the ear's tables take a second that readers of other data need not wait for.
        from snntrace.datasets.ear import hear_files

        self.folder = Path(path).expanduser()
        if not self.folder.is_dir():
            raise FileNotFoundError(
                f"{WHO}: path must be an existing folder, got path={self.folder}. Check the spelling."
            )
        files = sorted(sounds_in(self.folder))
        if not files:
            raise ValueError(
                f"{WHO}: path must hold sound files ({', '.join(sorted(ENDINGS))}), got path={self.folder} "
                f"without. Put them into folders that are named after their classes."
            )
        cache = default_folder() if cache_folder is None else Path(cache_folder).expanduser()
        cache.mkdir(parents=True, exist_ok=True)
        key = hashlib.sha256(f"{importlib.metadata.version('snntrace')}|{seed}|{mix}".encode())
        for file in files:
            # For its errors: opening a pipe would wait for someone to write into it.
            mapped(file, WHO)
            with file.open("rb") as content:
                digest = hashlib.file_digest(content, "sha256").hexdigest()
            key.update(f"|{file.relative_to(self.folder)}|{digest}".encode(errors="surrogateescape"))
        target = cache / f"heard-{key.hexdigest()[:24]}.h5"
        if not target.exists():
            with held(target.with_suffix(".lock")):
                if not target.exists():
                    hear_files(
                        files, target, seed, mix=mix, on_heard=lambda number, _: on_heard(number, len(files))
                    )
        SpikeFile.__init__(self, target)

    def __repr__(self) -> str:
        """Return one line with the folder and the sizes.

        Returns
        -------
        str
            The line.
        """
        return (
            f"SpokenWords({str(self.folder)!r}: {len(self)} recordings, {self.n_units} units, "
            f"{len(self.class_names)} classes)"
        )


def sounds_in(folder: Path) -> Iterator[Path]:
    """Find the sound files of a folder and of the folders in it.

    Parameters
    ----------
    folder : Path
        The folder.

    Yields
    ------
    Path
        A file.
    """
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name[0] not in "._")
        for name in names:
            if name[0] != "." and os.path.splitext(name)[1].lower() in ENDINGS:
                yield Path(place) / name


def is_spoken(path: Path) -> bool:
    """Tell whether a path is a folder of sound files.

    Parameters
    ----------
    path : Path
        Any path.

    Returns
    -------
    bool
        True where it, or a folder in it, holds one.
    """
    return path.is_dir() and next(sounds_in(path), None) is not None
