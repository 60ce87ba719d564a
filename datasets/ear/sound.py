"""Sounds: read from files, checked, and brought to the ear's sampling rate."""

from __future__ import annotations

import hashlib
import math
import operator
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import signal

from snntrace.datasets.ear.membrane import SOUND_RATE
from snntrace.datasets.files.contents import mapped

LEVEL = 0.3
WHOLE = {"PCM_S8": 1, "PCM_16": 2, "PCM_24": 3, "PCM_32": 4}
"""Bytes of whole-numbered samples."""

SHORTEST = 1e-3
LONGEST = 600.0
"""Sounds of words last seconds; an hour of them would take gigabytes."""

LOWEST_RATE, HIGHEST_RATE = 1_000, 1_000_000


def read_sound(path: str | os.PathLike[str], *, mix: bool = False) -> tuple[NDArray[np.float64], int]:
    """Read a sound file: WAV, FLAC, Ogg and what else the package soundfile reads.

    Parameters
    ----------
    path : str or Path
        The file.
    mix : bool, default False
        Take the mean of several channels. False: refuse a file of several channels.

    Returns
    -------
    sound : float64 array of shape (n_samples,)
        The samples, full scale is 1.
    rate : int, in Hz
        Samples a second.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ImportError
        If the package soundfile is missing.
    ValueError
        If it is no sound file, is cut off or damaged, has several channels or is longer than 10 minutes.

    Notes
    -----
    The checksum (MD5) of a FLAC file's samples is compared. WAV files have none: of them, only the length is.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> import soundfile
    >>> from snntrace.datasets.ear import read_sound
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "click.wav"
    >>> soundfile.write(path, np.array([0.0, 0.5, -0.5, 0.0]), 48_000)
    >>> read_sound(path)
    (array([ 0. ,  0.5, -0.5,  0. ]), 48000)
    """  # noqa: DOC502
    with opened(path, mix) as file:
        whole = file.subtype in WHOLE
        # 32 bits hold each whole number as it is, shifted to the highest bits.
        raw = file.read(dtype="int32" if whole else "float64", always_2d=True)
        if len(raw) != file.frames:
            raise ValueError(
                f"read_sound: the file must be whole, got {len(raw)} of {file.frames} samples in "
                f"path={os.fspath(path)!r}. Download it again."
            )
        if file.format == "FLAC":
            check_flac(Path(path).expanduser(), raw, WHOLE[file.subtype])
        samples = raw * 2.0**-31 if whole else raw
        return np.ascontiguousarray(samples.mean(axis=1)), int(file.samplerate)


def check_flac(path: Path, raw: NDArray[np.int32], width: int) -> None:
    """Refuse a FLAC file whose samples do not have the checksum that is written in it.

    Parameters
    ----------
    path : Path
        The file.
    raw : int32 array of shape (n_samples, n_channels)
        Its samples, in the highest bits.
    width : int
        Bytes of a sample.

    Raises
    ------
    ValueError
        If they are others.
    """
    with path.open("rb") as file:
        head = file.read(42)
    # An encoder that does not know the samples beforehand writes zeros.
    expected = head[26:42]
    if head[:4] != b"fLaC" or not any(expected):
        return
    found = raw.astype("<i4").view(np.uint8).reshape(-1, 4)[:, 4 - width :]
    if hashlib.md5(found.tobytes(), usedforsecurity=False).digest() != expected:
        raise ValueError(
            f"read_sound: the samples must have the checksum that the file names, got others in "
            f"path={os.fspath(path)!r}. Download it again."
        )


def check_riff(path: Path) -> None:
    """Refuse a WAV file that is shorter than it says.

    Parameters
    ----------
    path : Path
        The file.

    Raises
    ------
    ValueError
        If it is cut off.
    """
    with path.open("rb") as file:
        head = file.read(12)
    said = int.from_bytes(head[4:8], "little") + 8
    size = path.stat().st_size
    # A program that does not know the length beforehand writes the largest one, or none.
    if head[:4] == b"RIFF" and head[8:] == b"WAVE" and size < said < 0xFFFFFF00:
        raise ValueError(
            f"read_sound: a WAV file must be as long as it says, got {size} of {said} bytes in "
            f"path={os.fspath(path)!r}. Download it again."
        )


def seconds_of(path: str | os.PathLike[str], *, mix: bool = False) -> float:
    """Return how long a sound file says it is.

    Parameters
    ----------
    path : str or Path
        The file.
    mix : bool, default False
        Allow several channels.

    Returns
    -------
    float, in s
        The duration.
    """
    with opened(path, mix) as file:
        return float(file.frames / file.samplerate)


@contextmanager
def opened(path: str | os.PathLike[str], mix: bool) -> Iterator[Any]:
    """Open a sound file, and name it in whatever error follows.

    Parameters
    ----------
    path : str or Path
        The file.
    mix : bool
        Allow several channels.

    Yields
    ------
    soundfile.SoundFile
        The open file.

    Raises
    ------
    ImportError
        If the package soundfile is missing.
    ValueError
        If it is no sound file, is damaged, too long, or has several channels.
    """
    name = os.fspath(path)
    file = Path(path).expanduser()
    # For its errors: the library says the same of a missing, a forbidden and a damaged file.
    mapped(file, "read_sound")
    check_riff(file)
    try:
        import soundfile
    except ImportError as error:
        raise ImportError(
            f"read_sound: the package soundfile must be installed, got path={name!r}. "
            f"Run: pip install 'snntrace[audio]'."
        ) from error
    try:
        # In bytes, for the library knows only names in UTF-8.
        with soundfile.SoundFile(os.fsencode(file)) as sound:
            if sound.channels != 1 and not mix:
                raise ValueError(
                    f"read_sound: the sound must have one channel, got {sound.channels} channels in "
                    f"path={name!r}. Mix them with mix=True (on the command line: --mix)."
                )
            if sound.frames > LONGEST * sound.samplerate:
                raise ValueError(
                    f"read_sound: the sound must last at most {LONGEST:g} s, got "
                    f"{sound.frames / sound.samplerate:g} s in path={name!r}. Cut it into words."
                )
            yield sound
    # A file named as one without a header makes the library ask for its rate, by a TypeError.
    except (soundfile.SoundFileError, TypeError) as error:
        raise ValueError(
            f"read_sound: the file must be a whole sound file such as WAV or FLAC, got path={name!r} "
            f"({error}). Convert it, or download it again."
        ) from error


def checked_sound(sound: ArrayLike, rate: Any, who: str) -> tuple[NDArray[np.float64], int]:
    """Return a sound and its rate if the ear can hear them.

    Parameters
    ----------
    sound : array of shape (n_samples,)
        The samples.
    rate : int, in Hz
        Samples a second.
    who : str
        Name of the caller, for the messages.

    Returns
    -------
    sound : float64 array of shape (n_samples,)
        The samples.
    rate : int, in Hz
        Samples a second.

    Raises
    ------
    TypeError
        If the samples are not real numbers, or the rate is not an integer.
    ValueError
        If they are no single channel, not finite, too few or too many, or the rate is out of range.
    """
    raw = np.asarray(sound)
    if raw.dtype.kind not in "iuf":
        raise TypeError(
            f"{who}: sound must be real numbers, got dtype={raw.dtype}. Give an array of integers or floats."
        )
    try:
        per_second = operator.index(rate)
    except TypeError as error:
        raise TypeError(
            f"{who}: rate must be an integer, got rate={rate!r}. Give the number of samples a second."
        ) from error
    if not LOWEST_RATE <= per_second <= HIGHEST_RATE:
        raise ValueError(
            f"{who}: rate must be in {LOWEST_RATE} .. {HIGHEST_RATE} Hz, got rate={per_second}. Give the "
            f"number of samples a second."
        )
    if raw.ndim != 1:
        raise ValueError(
            f"{who}: sound must have one channel, got sound.shape={raw.shape}. Mix it, for example with "
            f"sound.mean(axis=1)."
        )
    samples = raw.astype(np.float64)
    if len(samples) < SHORTEST * per_second:
        raise ValueError(
            f"{who}: sound must last at least {SHORTEST * 1e3:g} ms, got {len(samples)} samples at "
            f"rate={per_second}. Give a longer one."
        )
    if len(samples) > LONGEST * per_second:
        raise ValueError(
            f"{who}: sound must last at most {LONGEST:g} s, got {len(samples)} samples at rate={per_second}. "
            f"Cut it into words."
        )
    wrong = ~np.isfinite(samples)
    if wrong.any():
        where = int(wrong.argmax())
        raise ValueError(
            f"{who}: sound must be finite, got sound[{where}]={samples[where]}. Cut out or replace such "
            f"samples."
        )
    return samples, per_second


def at_ears_rate(sound: NDArray[np.float64], rate: int) -> NDArray[np.float64]:
    """Convert a sound to 48 kHz, with a low-pass filter of constant delay.

    Parameters
    ----------
    sound : float64 array of shape (n_samples,)
        The samples.
    rate : int, in Hz
        Samples a second.

    Returns
    -------
    float64 array of shape (ceil(n_samples * 48000 / rate),)
        The sound at 48 kHz.
    """
    if rate == SOUND_RATE:
        return sound
    common = math.gcd(rate, SOUND_RATE)
    # A sound that begins or ends away from zero would otherwise begin or end with a step.
    return np.asarray(
        signal.resample_poly(sound, SOUND_RATE // common, rate // common, padtype="line"), np.float64
    )


def at_level(sound: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scale a sound to a root mean square of 0.3; silence stays silent.

    Parameters
    ----------
    sound : float64 array of shape (n_samples,)
        The samples.

    Returns
    -------
    float64 array of shape (n_samples,)
        The scaled sound.
    """
    # By the largest sample first: squares of very small or large ones are beyond the range of numbers.
    peak = float(np.abs(sound).max())
    if peak == 0:
        return sound
    scaled = sound / peak
    return np.asarray(scaled * (LEVEL / np.sqrt(np.mean(scaled**2))))
