"""Sound files to one file of spikes in the layout of SHD."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from snntrace.datasets.ear.listen import listen
from snntrace.datasets.ear.sound import read_sound, seconds_of
from snntrace.datasets.hdf5 import new_file
from snntrace.datasets.store_layout import encoded

DIGITS = {
    "english": ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    "german": ("null", "eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun"),
}
HEIDELBERG = re.compile(
    r"lang-(?P<language>english|german)_speaker-(?P<speaker>\d{1,4})_trial-\d+_digit-(?P<digit>\d)$"
)
HALF_PRECISION_UNTIL = 2.0


class Classes(NamedTuple):
    """What the names of sound files say.

    Attributes
    ----------
    labels : int64 array of shape (n_files,)
        Class of each file.
    names : tuple of str
        Name of each class.
    speakers : int64 array of shape (n_files,), or None
        Who speaks.
    """

    labels: NDArray[np.int64]
    names: tuple[str, ...]
    speakers: NDArray[np.int64] | None


def classes_of(files: Sequence[Path]) -> Classes:
    """Tell the classes of sound files by their names.

    The names of the Heidelberg Digits, ``lang-german_speaker-04_trial-14_digit-1.flac``, say the digit and
    the speaker; the classes are then SHD's twenty, in SHD's order. Any other files are of the class that
    their folder is named after, as in Speech Commands.

    Parameters
    ----------
    files : sequence of Path
        The files.

    Returns
    -------
    Classes
        Labels, names and, for the Heidelberg Digits, speakers.
    """
    found = [HEIDELBERG.match(file.stem) for file in files]
    if all(found):
        parts = [match.groupdict() for match in found if match]
        labels = [int(part["digit"]) + 10 * (part["language"] == "german") for part in parts]
        speakers = [int(part["speaker"]) for part in parts]
        return Classes(np.array(labels), DIGITS["english"] + DIGITS["german"], np.array(speakers))
    # Of the folder that they are found in, not of one that a link leads to.
    folders = [Path(os.path.abspath(file)).parent.name or "/" for file in files]
    names = sorted(set(folders))
    return Classes(np.array([names.index(folder) for folder in folders]), tuple(names), None)


def hear_files(
    files: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    seed: int = 0,
    *,
    mix: bool = False,
    overwrite: bool = False,
    on_heard: Callable[[int, Path], None] = lambda number, file: None,
) -> Path:
    """Listen to sound files, and write their spikes to one file in the layout of SHD.

    File `i` is heard with the seed ``seed + i``. Times are float16 seconds, as in SHD, and float32 if a sound
    is longer than 2 s, after which the steps of half precision exceed 1 ms. Spikes of the same (rounded) time
    are in the order of their units. Labels come from the files' names, see `classes_of`.

    The file is written under a temporary name beside `out` and renamed at the end.

    Parameters
    ----------
    files : sequence of str or Path
        Sound files, at least one.
    out : str or Path
        File to write.
    seed : int, default 0
        Seed of the first file.
    mix : bool, default False
        Take the mean of sounds of several channels, in place of refusing them.
    overwrite : bool, default False
        Replace an existing file.
    on_heard : callable, optional
        Called with the number of files heard so far and the last one.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    FileExistsError
        If `out` exists and may not be replaced.
    FileNotFoundError
        If a file, or the folder of `out`, does not exist.
    OSError
        If `out` cannot be written.
    ValueError
        If there are no files, or one is not a sound the ear can hear; the message names it.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> import soundfile
    >>> from snntrace.datasets import SpikeFile
    >>> from snntrace.datasets.ear import hear_files
    >>> folder = pathlib.Path(tempfile.mkdtemp()) / "beep"
    >>> folder.mkdir()
    >>> soundfile.write(folder / "1.wav", 0.5 * np.sin(0.1 * np.arange(4800)), 48_000)
    >>> with SpikeFile(hear_files([folder / "1.wav"], folder / "spikes.h5")) as heard:
    ...     heard.class_names, heard.labels, len(heard.events(0)[0]) > 100
    (('beep',), array([0]), True)
    """
    paths = [Path(file).expanduser() for file in files]
    target = Path(out).expanduser()
    if not paths:
        raise ValueError("hear_files: there must be sound files, got files=[]. Name at least one.")
    if target.exists() and not overwrite:
        raise FileExistsError(
            f"hear_files: out must not exist yet, got out={str(target)!r}. Choose another name, or "
            f"overwrite it."
        )
    if not target.parent.is_dir():
        raise FileNotFoundError(
            f"hear_files: the folder of out must exist, got out={str(target)!r}. Make the folder first."
        )
    # All headers first: a wrong name is not to end hours of listening.
    longest = max(seconds_of(path, mix=mix) for path in paths)
    classes = classes_of(paths)
    names = encoded(classes.names, "hear_files")
    dtype = np.dtype(np.float16 if longest <= HALF_PRECISION_UNTIL else np.float32)
    with new_file(target, "hear_files") as file:
        times = file.create_dataset("spikes/times", len(paths), h5py.vlen_dtype(dtype))
        units = file.create_dataset("spikes/units", len(paths), h5py.vlen_dtype(np.uint16))
        for row, path in enumerate(paths):
            sound, rate = read_sound(path, mix=mix)
            try:
                when, where = listen(sound, rate, seed + row)
            except ValueError as error:
                raise ValueError(f"hear_files: {path} must be a sound that can be heard. {error}") from error
            rounded = when.astype(dtype)
            order = np.lexsort((where, rounded))
            times[row], units[row] = rounded[order], where[order].astype(np.uint16)
            on_heard(row + 1, path)
        file["labels"] = classes.labels.astype(np.uint16)
        file["extra/keys"] = np.array(names)
        if classes.speakers is not None:
            file["extra/speaker"] = classes.speakers.astype(np.uint16)
    return target
