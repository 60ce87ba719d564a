"""What a spike store holds: its version, the types of its numbers, and what it says of itself."""

from __future__ import annotations

import json
import operator
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from snntrace.datasets.files.events import DataFileError

WHO = "SpikeStore"
FORMAT = "snntrace-spikes"
VERSION = 1
MOST_UNITS = 1 << 32
AGAIN = "Copy the file again, or convert its source again with `snntrace data convert`."

TIMES: dict[str, tuple[np.dtype[Any], float]] = {
    "float16": (np.dtype("<f2"), 1.0),
    "us": (np.dtype("<u4"), 1e-6),
    "float32": (np.dtype("<f4"), 1.0),
    "float64": (np.dtype("<f8"), 1.0),
}
"""Ways to store times: number type, and seconds that a 1 stands for."""


@dataclass(frozen=True)
class StoreInfo:
    """What a spike store says of itself, beside its recordings.

    Attributes
    ----------
    n_units : int
        Number of units.
    class_names : tuple of str
        Name of each class.
    sensor : (int, int), in pixels, or None
        Width and height of the event camera.
    grouped_by : str
        What the groups are, such as ``"speaker"``; empty if there are none.
    source : str
        Where the recordings come from.
    licence, citation : str
        Of the source; empty where not known.
    group_names : tuple of str
        Name of each group; empty if they are only numbers.
    """

    n_units: int
    class_names: tuple[str, ...]
    sensor: tuple[int, int] | None = None
    grouped_by: str = ""
    source: str = ""
    licence: str = ""
    citation: str = ""
    group_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what cannot be.

        Raises
        ------
        TypeError
            If a number is not whole, or a text is none.
        ValueError
            If a value is out of range.
        """  # noqa: DOC502
        # Numbers of numpy are no numbers of JSON.
        object.__setattr__(self, "n_units", operator.index(self.n_units))
        if self.sensor is not None:
            width, height = map(operator.index, self.sensor)
            object.__setattr__(self, "sensor", (width, height))
        if not 1 <= self.n_units <= MOST_UNITS:
            raise ValueError(
                f"StoreInfo: n_units must be in 1 .. {MOST_UNITS}, got n_units={self.n_units}. Give the "
                f"number of input units."
            )
        if not self.class_names:
            raise ValueError(
                "StoreInfo: class_names must name at least one class, got class_names=(). Name the classes."
            )
        encoded(self.class_names, "StoreInfo")
        for name in ("grouped_by", "source", "licence", "citation"):
            text = getattr(self, name)
            if not isinstance(text, str):
                raise TypeError(f"StoreInfo: {name} must be a text, got {name}={text!r}. Leave it out.")
            # A path may have bytes that are no UTF-8.
            object.__setattr__(self, name, text.encode("utf-8", "backslashreplace").decode())

    def to_json(self, splits: tuple[str, ...]) -> bytes:
        """Return the text that is stored.

        Parameters
        ----------
        splits : tuple of str
            Names of the official parts.

        Returns
        -------
        bytes
            JSON in UTF-8.
        """
        return json.dumps(asdict(self) | {"splits": splits}, ensure_ascii=False).encode()

    @classmethod
    def from_json(cls, text: bytes) -> tuple[StoreInfo, tuple[str, ...]]:
        """Read what `to_json` wrote.

        Parameters
        ----------
        text : bytes
            JSON in UTF-8.

        Returns
        -------
        info : StoreInfo
            The values.
        splits : tuple of str
            Names of the official parts.

        Raises
        ------
        ValueError
            If it is another text.
        """  # noqa: DOC501
        try:
            found = json.loads(text)
            splits, sensor = found.pop("splits"), found.pop("sensor")
            names = found.pop("class_names")
            words: dict[str, Any] = {
                name: found.pop(name) for name in ("grouped_by", "source", "licence", "citation")
            }
            groups = found.pop("group_names", [])
            if not all(isinstance(word, str) for word in [*names, *splits, *groups, *words.values()]):
                raise TypeError("a text is no text")
            width_height = None if sensor is None else (int(sensor[0]), int(sensor[1]))
            words["group_names"] = tuple(groups)
            return cls(int(found["n_units"]), tuple(names), width_height, **words), tuple(splits)
        except (KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
            raise ValueError(f"{WHO}: metadata must have all entries, got {error!r}. {AGAIN}") from error


def encode_times(times: NDArray[np.float64], kind: str) -> NDArray[Any] | None:
    """Return times as they are stored.

    Parameters
    ----------
    times : float64 array, in s
        Finite and not negative.
    kind : {'float16', 'us', 'float32', 'float64'}
        How.

    Returns
    -------
    array, or None
        None if a time would not be read back as it is.
    """
    dtype, seconds = TIMES[kind]
    with np.errstate(over="ignore"):
        # Zero may have a sign, which makes its bits those of a large number.
        whole = np.rint(times / seconds) if dtype.kind == "u" else times + 0.0
        if dtype.kind == "u" and whole.size and whole.max() >= 2.0 ** (8 * dtype.itemsize):
            return None
        stored = whole.astype(dtype)
    return stored if np.array_equal(stored.astype(np.float64) * seconds, times) else None


def damaged(path: str | os.PathLike[str], place: str, must: str, got: object, do: str = AGAIN) -> NoReturn:
    """Raise the error for a store that is not as it must be.

    Parameters
    ----------
    path : path
        The file.
    place : str
        Where in it.
    must : str
        What must hold there.
    got : object
        What is there.
    do : str, optional
        The remedy.

    Raises
    ------
    DataFileError
        Always.
    """
    raise DataFileError(f"{WHO}: {must}, got {got} at {place} of {os.fspath(path)}. {do}")


def encoded(class_names: Sequence[str], who: str) -> list[bytes]:
    """Return names of classes in UTF-8.

    Parameters
    ----------
    class_names : sequence of str
        The names.
    who : str
        Name of the caller, for the message.

    Returns
    -------
    list of bytes
        The encoded names.

    Raises
    ------
    ValueError
        If one has no such form: that of a folder whose name is of another encoding.
    """
    for name in class_names:
        if any("\ud800" <= letter <= "\udfff" for letter in name):
            raise ValueError(
                f"{who}: names of classes must have a form in UTF-8, got {name!r}. Rename the folder of that "
                f"class."
            )
    return [name.encode() for name in class_names]
