"""Between spike stores and other data sets: conversion, and files in the layout of SHD."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from snntrace.datasets.hdf5 import new_file
from snntrace.datasets.protocol import SpikeDataset
from snntrace.datasets.shd_tables import MOST_CLASSES
from snntrace.datasets.store import SpikeStore
from snntrace.datasets.store_layout import TIMES, StoreInfo, encode_times, encoded
from snntrace.datasets.store_writer import InexactTimes, StoreWriter

PROBED = 8
AT_ONCE = 64
Progress = Callable[[int, int], None]


def convert(
    data: SpikeDataset | Mapping[str, SpikeDataset],
    path: str | os.PathLike[str],
    *,
    sort: bool = False,
    allow_empty: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Write a data set to a spike store.

    Times are stored in the smallest of half precision, whole microseconds, single and double precision that
    gives back every time as it is.

    Parameters
    ----------
    data : SpikeDataset, or mapping of str to SpikeDataset
        The recordings; or the official parts by their names, such as ``{"train": ..., "test": ...}``.
    path : str or Path
        The file to make.
    sort : bool, default False
        Sort events by time, in place of refusing recordings in which times decrease.
    allow_empty : bool, default False
        Keep recordings without events, in place of refusing them.
    overwrite : bool, default False
        Replace an existing file.
    progress : callable, optional
        Called with the number of recordings done and of all.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ValueError
        If parts differ in units, classes or groups, or a recording cannot be stored.
    FileExistsError
        If there is such a file.
    OSError
        If it cannot be written.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from snntrace.datasets import SaccadeDigits, SpikeStore, convert
    >>> path = convert(SaccadeDigits(), pathlib.Path(tempfile.mkdtemp()) / "digits.spikes")
    >>> store = SpikeStore(path)
    >>> len(store), store.time_type
    (1797, 'us')
    """  # noqa: DOC501, DOC502
    parts = dict(data) if isinstance(data, Mapping) else {None: data}
    if not parts:
        raise ValueError("convert: data must have at least one part, got data={}. Give a data set.")
    first, *others = parts.values()
    if any((part.groups is None) != (first.groups is None) for part in others):
        raise ValueError(
            "convert: groups must be known for all parts or none, got both. Write each part to a "
            "file of its own."
        )
    kinds = probe(first)
    for kind in kinds:
        writer = StoreWriter(
            path, info_of(first), time_type=kind, sort=sort, allow_empty=allow_empty, overwrite=overwrite,
        )  # fmt: skip
        try:
            with writer:
                fill(writer, parts, progress)
        except InexactTimes:
            if kind == kinds[-1]:
                raise
        else:
            break
    return Path(path).expanduser()


def info_of(data: SpikeDataset) -> StoreInfo:
    """Return what a store can say of a data set.

    Parameters
    ----------
    data : SpikeDataset
        The data set.

    Returns
    -------
    StoreInfo
        Its units, classes, and source, licence, citation and sensor where it has them.
    """
    known = getattr(data, "info", None)
    if isinstance(known, StoreInfo):
        return known
    groups = "" if data.groups is None else "speaker" if hasattr(data, "speakers") else "subject"
    path = getattr(data, "path", None)
    source = type(data).__name__ if path is None else f"{type(data).__name__} {Path(path).name}"
    sensor = getattr(data, "sensor", None)
    return StoreInfo(
        data.n_units,
        tuple(data.class_names),
        None if sensor is None else (int(sensor[0]), int(sensor[1])),
        groups,
        source,
        getattr(data, "licence", ""),
        getattr(data, "citation", ""),
        tuple(getattr(data, "group_names", None) or ()),
    )


def check_alike(parts: Mapping[Any, SpikeDataset], info: StoreInfo) -> None:
    """Refuse parts whose labels or units would mean something else in a store.

    Parameters
    ----------
    parts : mapping of str or None to SpikeDataset
        The parts by their names.
    info : StoreInfo
        What the store says of itself.

    Raises
    ------
    ValueError
        If they differ in units or classes, or number their groups otherwise.
    """
    for name, part in parts.items():
        groups = tuple(getattr(part, "group_names", None) or ())
        if part.groups is not None and groups != info.group_names:
            raise ValueError(
                f"convert: parts must number their groups alike, got {', '.join(groups) or 'no names'} in "
                f"{'the data' if name is None else f'part {name!r}'}, and "
                f"{', '.join(info.group_names) or 'no names'} in the store. Write them to files of their "
                f"own, or name all of their groups in one labels.csv."
            )
        names = tuple(part.class_names)
        if (part.n_units, names) != (info.n_units, info.class_names):
            pairs = enumerate(zip(names, info.class_names, strict=False))
            other = next((f" (class {k} is {a!r}, not {b!r})" for k, (a, b) in pairs if a != b), "")
            raise ValueError(
                f"convert: parts must have the same units and classes, got {part.n_units} units and "
                f"{len(names)} classes{other} in {'the data' if name is None else f'part {name!r}'}, and "
                f"{info.n_units} and {len(info.class_names)} in the store. Write them to files of their own."
            )


def probe(data: SpikeDataset) -> list[str]:
    """Tell from a few recordings how times can be stored.

    Parameters
    ----------
    data : SpikeDataset
        The data set.

    Returns
    -------
    list of str
        Time types that keep the times of these recordings, the smallest first.
    """
    rows = np.unique(np.linspace(0, len(data) - 1, PROBED).astype(int))
    probed = [np.asarray(data.events(int(row))[0], np.float64) for row in rows]
    possible = [times[np.isfinite(times)] for times in probed]
    return [kind for kind in TIMES if all(encode_times(times, kind) is not None for times in possible)]


def fill(writer: StoreWriter, parts: Mapping[Any, SpikeDataset], progress: Progress | None = None) -> None:
    """Append all recordings of a data set's parts.

    Parameters
    ----------
    writer : StoreWriter
        Where to.
    parts : mapping of str or None to SpikeDataset
        The parts by their names; None for a data set without.
    progress : callable, optional
        Called with the number of recordings done and of all.

    Raises
    ------
    ValueError
        If the parts have other units or classes than the store, or a recording cannot be stored.
    """  # noqa: DOC502
    check_alike(parts, writer.info)
    done, total = 0, sum(map(len, parts.values()))
    for given, data in parts.items():
        # What is an official test part stays one.
        name, groups = given or getattr(data, "split", None) or None, data.groups
        for row, (times, units) in enumerate(each(data)):
            group = None if groups is None else int(groups[row])
            writer.append(times, units, int(data.labels[row]), group=group, split=name)
            done += 1
            if progress is not None:
                progress(done, total)


def each(data: SpikeDataset) -> Iterator[tuple[Any, Any]]:
    """Read all recordings of a data set in their order.

    Parameters
    ----------
    data : SpikeDataset
        The data set.

    Yields
    ------
    (times, units)
        A recording.
    """
    several = getattr(data, "events_of", None)
    for start in range(0, len(data), AT_ONCE):
        rows = range(start, min(start + AT_ONCE, len(data)))
        yield from map(data.events, rows) if several is None else several(rows)


def export_shd(
    data: SpikeDataset,
    path: str | os.PathLike[str],
    *,
    time_type: str | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a data set as an HDF5 file in the layout of SHD.

    Parameters
    ----------
    data : SpikeDataset
        The recordings; of a store with official parts, one.
    path : str or Path
        The file to make; it gets its name when it is complete.
    time_type : {'float16', 'float32', 'float64'}, optional
        Number type of the times; they are rounded to it. Default: for a store, the smallest that keeps them
        as they are; else ``'float64'``. SHD's own is ``'float16'``.
    overwrite : bool, default False
        Replace an existing file.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ValueError
        If the number type is none of these or cannot hold the times, or a class's name has no form in UTF-8.
    FileExistsError
        If there is such a file.
    OSError
        If it cannot be written.
    """  # noqa: DOC501
    target = Path(path).expanduser()
    if time_type is None:
        time_type = data.time_type if isinstance(data, SpikeStore) and data.time_type != "us" else "float64"
    if time_type not in {"float16", "float32", "float64"}:
        raise ValueError(
            f"export_shd: time_type must be 'float16', 'float32' or 'float64', got time_type={time_type!r}. "
            f"Choose one."
        )
    if target.exists() and not overwrite:
        raise FileExistsError(
            f"export_shd: path must not exist, got path={target}. Take another name, or give overwrite=True."
        )
    names = encoded(data.class_names, "export_shd")
    if len(names) > MOST_CLASSES:
        raise ValueError(
            f"export_shd: the layout of SHD has at most {MOST_CLASSES} classes, got {len(names)}. Convert "
            f"to a store."
        )
    with new_file(target, "export_shd") as file:
        n, small = len(data), "uint16" if data.n_units <= 1 << 16 else "uint32"
        all_times = file.create_dataset("spikes/times", n, h5py.vlen_dtype(time_type))
        all_units = file.create_dataset("spikes/units", n, h5py.vlen_dtype(small))
        for row, (times, units) in enumerate(each(data)):
            with np.errstate(over="ignore"):
                stored = times.astype(time_type)
            all_times[row], all_units[row] = stored, units.astype(small)
            if not np.isfinite(stored).all():
                raise ValueError(
                    f"export_shd: {time_type} must hold all times, got {times.max()} s in recording {row}. "
                    f"Give time_type='float64'."
                )
        file["labels"] = data.labels.astype("uint16")
        if data.groups is not None:
            fits = data.groups.min() >= 0 and data.groups.max() < 1 << 16
            file["extra/speaker"] = data.groups.astype("uint16" if fits else "int64")
        file["extra/keys"] = np.array(names)
        file.attrs["n_units"] = data.n_units
    return target
