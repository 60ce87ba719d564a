"""MATLAB files (.mat) of event cameras and of ST-MNIST's tactile sensor."""

from __future__ import annotations

import os
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from snntrace.datasets.files.checks import OTHER_SENSOR, checked_events
from snntrace.datasets.files.contents import AGAIN
from snntrace.datasets.files.events import DataFileError, Events
from snntrace.datasets.files.mat5 import read_mat5

ATIS = (304, 240)
TAXELS = (10, 10)
FIELDS = ("x", "y", "ts", "p")


def read_atis_mat(
    path: str | os.PathLike[str],
    variable: str = "TD",
    *,
    sensor: tuple[int, int] = ATIS,
    ordered: bool = True,
) -> Events:
    """Read a recording of an ATIS that is saved as a MATLAB struct.

    The struct has the fields `x`, `y` (from 1), `ts` (in us) and `p` (0 or 1), with one element an event.

    Parameters
    ----------
    path : str or path
        The file.
    variable : str, default 'TD'
        The struct: ``'TD'`` (changes of light) or ``'EM'`` (crossings of the exposures' thresholds).
    sensor : (int, int), default (304, 240), in pixels
        Width and height.
    ordered : bool, default True
        Refuse a file in which time goes backwards. False: keep its events as they are.

    Returns
    -------
    Events
        The events, with `x` and `y` from 0.

    Raises
    ------
    DataFileError
        If the file is damaged, or has no such struct.
    OSError
        If it cannot be read.
    """  # noqa: DOC502
    who = "read_atis_mat"
    table = read_mat5(who, path).get(variable)
    if not isinstance(table, dict) or any(table.get(name) is None for name in FIELDS):
        refuse(who, path, variable, f"be a struct of numbers {', '.join(FIELDS)}", described(table), AGAIN)
    fields = {name: field.ravel() for name in FIELDS if (field := table[name]) is not None}
    whole = {name: found for name in FIELDS if (found := as_integers(fields[name])) is not None}
    if len(whole) < len(FIELDS) or len({field.size for field in fields.values()}) != 1:
        got = ", ".join(f"{name}: {described(field)}" for name, field in fields.items())
        refuse(who, path, variable, "have whole numbers, as many in each field", got, AGAIN)
    x, y, t, p = (whole[name] for name in FIELDS)
    width, height = sensor
    outside = (x < 1) | (x > width) | (y < 1) | (y > height)
    if outside.any():
        i = int(np.argmax(outside))
        must = f"have places on the {width} x {height} sensor, from 1"
        refuse(who, path, variable, must, f"x={x[i]} and y={y[i]} at event {i}", OTHER_SENSOR)
    if ((p != 0) & (p != 1)).any():
        i = int(np.argmax((p != 0) & (p != 1)))
        refuse(who, path, variable, "have the polarities 0 and 1", f"p={p[i]} at event {i}", AGAIN)
    columns = (t, (x - 1).astype(np.uint16), (y - 1).astype(np.uint16), p.astype(np.uint8))
    # An element has no place of its own in a compressed file: its number stands for it.
    return checked_events(who, path, columns, sensor, ordered, int)


def read_stmnist_mat(path: str | os.PathLike[str], *, ordered: bool = True) -> Events:
    """Read a recording of ST-MNIST, digits written on a tactile sensor of 10 x 10 taxels.

    The matrix ``spiketrain`` has a row for each of the 100 taxels, with 1 or -1 where the pressure rose or
    fell, and a last row of times in s. Taxel `k` (from 0) is taken to be in row ``k // 10`` and column ``k %
    10``, so that `Events.units` counts the taxels as the file does.

    Parameters
    ----------
    path : str or path
        The file.
    ordered : bool, default True
        Refuse a file in which time goes backwards. False: keep its events as they are.

    Returns
    -------
    Events
        The events, with times rounded to us, and polarity 1 where the pressure rose.

    Raises
    ------
    DataFileError
        If the file is damaged, or has no such matrix.
    OSError
        If it cannot be read.

    References
    ----------
    H. H. See, B. Lim, S. Li, H. Yao, W. Cheng, H. Soh, B. C. K. Tee, "ST-MNIST: the Spiking Tactile MNIST
    Neuromorphic Dataset", arXiv 2005.04319 (2020).
    """  # noqa: DOC502
    who, name = "read_stmnist_mat", "spiketrain"
    train = read_mat5(who, path).get(name)
    n_taxels = TAXELS[0] * TAXELS[1]
    if (
        not isinstance(train, np.ndarray)
        or train.dtype.kind not in "iuf"
        or train.shape[:-1] != (n_taxels + 1,)
    ):
        refuse(who, path, name, f"be numbers of shape ({n_taxels + 1}, steps)", described(train), AGAIN)
    spikes, seconds = train[:-1], train[-1].astype(np.float64)
    if not np.isin(spikes, (-1, 0, 1)).all():
        refuse(who, path, name, "have -1, 0 and 1 in the taxels' rows", "other numbers", AGAIN)
    if not (np.isfinite(seconds).all() and (np.abs(seconds) < 1e9).all()):
        refuse(who, path, name, "have finite times in s in its last row", "others", AGAIN)
    step, taxel = np.nonzero(spikes.T)
    columns = (
        np.rint(seconds[step] * 1e6).astype(np.int64), (taxel % TAXELS[0]).astype(np.uint16),
        (taxel // TAXELS[0]).astype(np.uint16), (spikes[taxel, step] > 0).astype(np.uint8),
    )  # fmt: skip
    return checked_events(who, path, columns, TAXELS, ordered, int)


def as_integers(field: NDArray[Any]) -> NDArray[np.int64] | None:
    """Return numbers as integers, or None if they are not whole.

    Parameters
    ----------
    field : array
        The numbers; MATLAB saves whole ones as floating-point ones, too.

    Returns
    -------
    int64 array or None
        The same numbers.
    """
    if field.dtype.kind not in "iuf":
        return None
    if field.dtype.kind == "f" and not (np.isfinite(field).all() and (np.abs(field) < 2**53).all()):
        return None
    whole = field.astype(np.int64)
    return whole if (whole == field).all() else None


def described(value: Any) -> str:
    """Return what a variable is, in few words.

    Parameters
    ----------
    value : object
        The variable.

    Returns
    -------
    str
        Its type and shape, or that there is none.
    """
    if value is None:
        return "none"
    if isinstance(value, dict):
        return f"a struct of {', '.join(value)}"
    return f"{value.dtype} {value.shape}"


def refuse(who: str, path: str | os.PathLike[str], variable: str, must: str, got: str, do: str) -> NoReturn:
    """Raise the error for a variable that is not as it must be."""
    raise DataFileError(f"{who}: the variable {variable!r} must {must}, got {got} in {os.fspath(path)}. {do}")
