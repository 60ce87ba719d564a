"""Arguments of transforms: sensors, quantities, numbers, and pairs of them."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any, cast

import brainunit as u
import numpy as np

from snntrace.datasets.transforms.kinds import Sensor


def geometry(who: str, sensor: Sequence[int]) -> Sensor:
    """Return a sensor's width, height and polarities.

    Parameters
    ----------
    who : str
        Name of the transform, for the messages.
    sensor : (int, int) or (int, int, int)
        Width, height and polarities; 2 polarities if they are left out.

    Returns
    -------
    (int, int, int)
        The three.

    Raises
    ------
    ValueError
        If they are not two or three positive numbers.
    """
    try:
        sides = tuple(operator.index(side) for side in sensor)
    except TypeError:
        sides = ()
    if len(sides) not in {2, 3} or min(sides) < 1:
        raise ValueError(
            f"{who}: sensor must be a width, a height and a number of polarities, got sensor={sensor!r}. "
            f"Give e.g. (34, 34, 2) for N-MNIST or (700, 1, 1) for SHD."
        )
    return sides[0], sides[1], sides[2] if len(sides) == 3 else 2


def quantity(who: str, name: str, value: Any, unit: Any, *, above: float = 0.0) -> float:
    """Return a quantity in the base unit of its kind.

    Parameters
    ----------
    who, name : str
        Names of the transform and of its option, for the messages.
    value : scalar quantity
        What was given.
    unit : brainunit.Unit
        A unit of the wanted kind, such as ``u.ms`` or ``u.Hz``.
    above : float
        The least that is allowed.

    Returns
    -------
    float
        Its size in s, or in Hz.

    Raises
    ------
    TypeError
        If it has no unit, or that of another kind.
    ValueError
        If it is not one finite number of at least `above`.
    """
    if not isinstance(value, u.Quantity) or value.unit.dim != unit.dim:
        raise TypeError(
            f"{who}: {name} must be a quantity such as 2 * u.{unit}, got {name}={value!r}. Give its unit."
        )
    size = np.asarray(value.mantissa, np.float64)
    if size.size != 1 or not (math.isfinite(size.item()) and size.item() >= above):
        raise ValueError(
            f"{who}: {name} must be one finite number that is not negative, got {name}={value!r}. Give e.g. "
            f"2 * u.{unit}."
        )
    return size.item() * float(value.unit.magnitude)


def number(who: str, name: str, value: float, *, most: float = math.inf) -> float:
    """Return a number that is not negative.

    Parameters
    ----------
    who, name : str
        Names of the transform and of its option, for the messages.
    value : float
        What was given.
    most : float
        The most that is allowed.

    Returns
    -------
    float
        The number.

    Raises
    ------
    ValueError
        If it is out of range.
    """
    if not (0 <= value <= most and math.isfinite(value)):
        limit = "not be negative" if most == math.inf else f"be in 0 .. {most:g}"
        raise ValueError(f"{who}: {name} must {limit}, got {name}={value!r}. Give e.g. {min(most, 1) / 2:g}.")
    return float(value)


def two(who: str, name: str, value: float | Sequence[float], sensor: Sensor) -> tuple[float, float]:
    """Return a number for columns and one for rows, 0 for an axis along which there is one pixel.

    Parameters
    ----------
    who, name : str
        Names of the transform and of its option, for the messages.
    value : float or (float, float)
        What was given: one for both axes, or one each.
    sensor : (int, int, int)
        Width, height and polarities.

    Returns
    -------
    (float, float)
        The numbers.

    Raises
    ------
    ValueError
        If they are not one or two numbers that are not negative.
    """
    if np.ndim(value) == 0:
        one = number(who, name, cast("float", value))
        return one * (sensor[0] > 1), one * (sensor[1] > 1)
    pair = tuple(cast("Sequence[float]", value))
    if len(pair) != 2:
        raise ValueError(
            f"{who}: {name} must be one number or one for columns and one for rows, got {name}={value!r}. "
            f"Give e.g. (2, 1)."
        )
    return number(who, name, pair[0]), number(who, name, pair[1])
