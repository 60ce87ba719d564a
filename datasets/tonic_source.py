"""Data sets of tonic, and other sequences of records and targets, as data sets here."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from snntrace.datasets.transforms.arguments import geometry
from snntrace.datasets.transforms.kinds import checked, places, seconds, units_of

WHO = "TonicSource"


class Items(Protocol):
    """Anything with a length whose items are ``(records, target)``."""

    def __len__(self) -> int:
        """Return the number of items."""
        ...

    def __getitem__(self, index: int, /) -> Any:
        """Return records and target."""
        ...


class TonicSource:
    """A data set of tonic, read through tonic.

    An item is an array of records with the fields ``t`` (in us), ``x`` and, where there are such, ``y`` and
    ``p``, beside a target. An event of polarity `p` at column `x`, row `y` is of unit
    ``(p * height + y) * width + x``. tonic itself is not needed: any sequence of such items will do.

    Recordings are read when they are asked for. Targets that the source does not list in `targets`, and the
    times of the last events, are read once, at their first use; that reads every recording.

    Parameters
    ----------
    source : sequence of (structured array, target)
        A data set of tonic, without a transform that makes frames or tensors.
    sensor : (int, int, int), optional
        Width, height and polarities. Default: the source's ``sensor_size``.
    class_names : sequence of str, optional
        Names of the classes. Default: the source's ``classes``, or the targets themselves.
    groups : int array of shape (n_recordings,), optional
        Speaker or subject of each recording. Default: the source's ``speaker``, if it has one.
    split : str, optional
        The official part that this is; by ``'test'``, nothing may be selected. Default: ``'test'`` if the
        source says so, as tonic's SHD, SSC and N-MNIST do, else none.

    Attributes
    ----------
    source : sequence
        The source.
    sensor : (int, int, int)
        Width, height and polarities.
    n_units : int
        Their product.
    split : str
        The official part; empty if it is not known.

    Raises
    ------
    ValueError
        If the sensor is not known.

    References
    ----------
    G. Lenz, K. Chaney, S. B. Shrestha, et al., "Tonic: event-based datasets and transformations", Zenodo
    (2021), doi:10.5281/zenodo.5079802.

    Examples
    --------
    >>> import numpy as np
    >>> from snntrace.datasets import TonicSource
    >>> records = np.zeros(2, [("x", "i2"), ("y", "i2"), ("t", "i8"), ("p", "?")])
    >>> records["x"], records["y"], records["t"], records["p"] = [3, 1], [0, 2], [1000, 2000], [0, 1]
    >>> data = TonicSource([(records, "left"), (records, "right")], sensor=(4, 3, 2))
    >>> data.class_names, data.labels, data.events(1), data.duration
    (('left', 'right'), array([0, 1]), (array([0.001, 0.002]), array([ 3, 21])), 0.002)
    """

    def __init__(
        self,
        source: Items,
        sensor: Sequence[int] | None = None,
        *,
        class_names: Sequence[str] | None = None,
        groups: ArrayLike | None = None,
        split: str | None = None,
    ) -> None:
        size = getattr(source, "sensor_size", None) if sensor is None else sensor
        if size is None:
            raise ValueError(
                f"{WHO}: sensor must be given for a source without sensor_size, got none. Give it."
            )
        self.source = source
        self.sensor = geometry(WHO, size)
        self.n_units = self.sensor[0] * self.sensor[1] * self.sensor[2]
        self.split = known_part(source) if split is None else split
        self._names = class_names
        found = getattr(source, "speaker", None) if groups is None else groups
        self.groups: NDArray[np.int64] | None = None if found is None else np.asarray(found, np.int64)
        if len(self) == 0 or (self.groups is not None and self.groups.shape != (len(self),)):
            shape = None if self.groups is None else self.groups.shape
            raise ValueError(
                f"{WHO}: there must be recordings, and groups one for each, got {len(self)} recordings and "
                f"groups.shape={shape}. Give the group of each recording."
            )

    def __len__(self) -> int:
        """Return the number of recordings.

        Returns
        -------
        int
            The number.
        """
        return len(self.source)

    def __repr__(self) -> str:
        """Return one line with the source and the sizes.

        Returns
        -------
        str
            The line.
        """
        part = f"{self.split}, " if self.split else ""
        return (
            f"TonicSource({type(self.source).__name__}: {part}{len(self)} recordings, {self.n_units} units)"
        )

    @cached_property
    def targets(self) -> list[Any]:
        """Target of each recording, as the source gives it."""
        listed = getattr(self.source, "targets", None)
        same = getattr(self.source, "target_transform", None) is None
        if same and getattr(self.source, "transforms", None) is None and listed is not None:
            known = [plain(target) for target in listed]
            if len(known) == len(self):
                return known
        return self._scan[0]

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """Name of each class."""
        kinds = set(map(type, self.targets))
        if kinds != {int}:
            # Not numbers: the sorted names are the classes.
            found = sorted({str(target) for target in self.targets})
            return tuple(self._names) if self._names is not None else tuple(found)
        lowest, highest = min(self.targets), max(self.targets)
        names = self._names if self._names is not None else getattr(self.source, "classes", None)
        if lowest < 0 or (self._names is not None and highest >= len(self._names)):
            raise ValueError(
                f"{WHO}: targets must be in 0 .. {len(self._names or ()) - 1}, the classes that are named, "
                f"got targets {lowest} .. {highest}. Name all classes."
            )
        if names is None or len(names) <= highest:
            return tuple(str(number) for number in range(highest + 1))
        return tuple(name.decode() if isinstance(name, bytes) else str(name) for name in names)

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """Class of each recording."""
        names, targets = self.class_names, self.targets
        if set(map(type, targets)) == {int}:
            labels = np.array(targets, np.int64)
        else:
            missing = sorted({str(target) for target in targets} - set(names))
            if missing:
                raise ValueError(
                    f"{WHO}: targets must be names of classes, got {missing[:5]} for {names[:5]}. Name all "
                    f"classes."
                )
            labels = np.array([names.index(str(target)) for target in targets], np.int64)
        labels.setflags(write=False)
        return labels

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Number of events of each recording."""
        return self._scan[1]

    @property
    def durations(self) -> NDArray[np.float64]:
        """Time of the last event of each recording, in s."""
        return self._scan[2]

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
            Which unit.

        Raises
        ------
        IndexError
            If there is no such recording.
        TypeError
            If the source gives no records.
        ValueError
            If an event is not on the sensor, or before time 0.
        """  # noqa: DOC502
        row = operator.index(index)
        if not 0 <= row < len(self):
            raise IndexError(
                f"{WHO}: index must be in 0 .. {len(self) - 1}, got index={index}. Choose an existing "
                f"recording."
            )
        return self._events(row, self.source[row])

    def _events(self, row: int, item: Any) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        records = item[0]
        if not isinstance(records, np.ndarray) or records.dtype.names is None:
            raise TypeError(
                f"{WHO}: recordings must be arrays of records with the fields t and x, got "
                f"{type(records).__name__} for recording {row}. Leave the source's transform out; bin with "
                f"snntrace.datasets.batches."
            )
        records = checked(WHO, records)
        times = seconds(records)
        if times.size and not (np.isfinite(times).all() and times.min() >= 0):
            raise ValueError(
                f"{WHO}: times must be finite and not negative, got t={records['t'].min()} in recording "
                f"{row}. Repair the source."
            )
        return times, units_of(places(WHO, records, self.sensor), self.sensor)

    @cached_property
    def _scan(self) -> tuple[list[Any], NDArray[np.int64], NDArray[np.float64]]:
        targets: list[Any] = []
        lengths, ends = np.zeros(len(self), np.int64), np.zeros(len(self))
        for row, item in enumerate(self._items()):
            times, _ = self._events(row, item)
            targets.append(plain(item[1]))
            lengths[row], ends[row] = times.size, times.max(initial=0.0)
        return targets, lengths, ends

    def _items(self) -> Iterator[Any]:
        for row in range(len(self)):
            yield self.source[row]


def known_part(source: Any) -> str:
    """Tell whether a source is an official test part.

    Parameters
    ----------
    source : object
        A data set of tonic.

    Returns
    -------
    str
        ``'test'`` if it is not for training, or its file is named so; empty if that is not known.
    """
    named = "_test" in str(getattr(source, "data_filename", ""))
    return "test" if named or getattr(source, "train", None) is False else ""


def plain(target: Any) -> Any:
    """Return a target as an int where it is a whole number, as a text where it is bytes.

    Parameters
    ----------
    target : object
        What a source gives.

    Returns
    -------
    object
        The same, in Python's own types.

    Examples
    --------
    >>> import numpy as np
    >>> plain(np.array(3)), plain(np.int64(3)), plain(b"left")
    (3, 3, 'left')
    """
    if isinstance(target, bytes):
        return target.decode()
    found = np.asarray(target)
    return int(found) if found.ndim == 0 and found.dtype.kind in "iu" else target
