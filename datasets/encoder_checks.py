"""Checks of what codes are given."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def real_numbers(values: ArrayLike, who: str, name: str) -> NDArray[np.float64]:
    """Return an array of finite numbers in double precision.

    Parameters
    ----------
    values : array
        The numbers.
    who, name : str
        Names of the caller and of its argument, for the messages.

    Returns
    -------
    float64 array of the shape of `values`
        The numbers.

    Raises
    ------
    TypeError
        If they are not real numbers.
    ValueError
        If one is not finite.
    """
    raw = np.asarray(values)
    if raw.dtype.kind not in "biuf":
        raise TypeError(
            f"{who}: {name} must be real numbers, got dtype={raw.dtype}. Give an array of integers or floats."
        )
    x = raw.astype(np.float64)
    if not np.isfinite(x).all():
        raise ValueError(
            f"{who}: {name} must be finite, got the value {x[~np.isfinite(x)].flat[0]}. Replace it."
        )
    return x


def checked_intensities(intensities: ArrayLike, who: str) -> NDArray[np.float64]:
    """Return intensities as one list.

    Parameters
    ----------
    intensities : array of any shape
        Numbers from 0 to 1.
    who : str
        Name of the caller, for the messages.

    Returns
    -------
    float64 array of shape (n_units,)
        The numbers, in row-major order.

    Raises
    ------
    ValueError
        If one is out of range.
    """
    x = real_numbers(intensities, who, "intensities").ravel()
    if x.size and not (x.min() >= 0 and x.max() <= 1):
        wrong = x.min() if x.min() < 0 else x.max()
        raise ValueError(
            f"{who}: intensities must be in 0 .. 1, got the value {wrong}. Divide them by their maximum."
        )
    return x


def check_positive(who: str, **arguments: Any) -> None:
    """Refuse arguments that are not positive and finite.

    Parameters
    ----------
    who : str
        Name of the caller, for the message.
    **arguments : float
        The arguments by their names.

    Raises
    ------
    ValueError
        If one is not positive and finite.
    """
    for name, value in arguments.items():
        if not 0 < value < np.inf:
            raise ValueError(
                f"{who}: {name} must be positive and finite, got {name}={value}. Give a positive number."
            )
