"""A recording of an event sensor: times, places and polarities, and where they may lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

STRUCTURED = np.dtype([("x", np.int16), ("y", np.int16), ("t", np.int64), ("p", np.bool_)])
"""The record type that tonic uses."""

Columns = tuple[NDArray[np.int64], NDArray[np.uint16], NDArray[np.uint16], NDArray[np.uint8]]
"""Times, columns, rows and polarities."""

ARRAYS = (("t", np.int64), ("x", np.uint16), ("y", np.uint16), ("p", np.uint8))
MICROSECOND = 1e-6


class DataFileError(ValueError):
    """A recording file is damaged, or is not what it is taken for.

    The message names the file, the place in it and what to do.
    """


@dataclass(frozen=True, eq=False)
class Events:
    r"""The events of one recording, in the order of the file.

    Event :math:`i` is a change at time :math:`t_i` of the pixel in column :math:`x_i` and row :math:`y_i`,
    with polarity :math:`p_i` (1: ON, brighter; 0: OFF). Sensors without rows, such as cochleae and tactile
    arrays, have the channel as :math:`x`, and :math:`y = 0`.

    Parameters
    ----------
    t : int64 array of shape (n_events,), in us
        When. Readers keep the order of the file, see `is_sorted`.
    x, y : uint16 arrays of shape (n_events,), in pixels
        Where.
    p : uint8 array of shape (n_events,)
        Polarity.
    sensor : (int, int), in pixels
        Width and height: ``x < width``, ``y < height``.

    Raises
    ------
    TypeError
        If an array is of another type.
    ValueError
        If the arrays differ in length, or an event lies outside of the sensor.

    Examples
    --------
    >>> import numpy as np
    >>> from snntrace.datasets.files import Events
    >>> events = Events(
    ...     t=np.array([10, 25]), x=np.array([3, 0], "uint16"), y=np.array([1, 0], "uint16"),
    ...     p=np.array([1, 0], "uint8"), sensor=(4, 2),
    ... )
    >>> len(events), events.units(), events.seconds
    (2, array([15,  0]), array([1.0e-05, 2.5e-05]))
    """

    t: NDArray[np.int64]
    x: NDArray[np.uint16]
    y: NDArray[np.uint16]
    p: NDArray[np.uint8]
    sensor: tuple[int, int]

    def __post_init__(self) -> None:
        """Check that the arrays go together."""  # noqa: DOC501
        shapes = {name: getattr(self, name).shape for name, _ in ARRAYS}
        if len(set(shapes.values())) != 1 or len(shapes["t"]) != 1:
            raise ValueError(
                f"Events: t, x, y and p must be four lists of one length, got shapes={shapes}. "
                f"Give one of each for every event."
            )
        for name, kind in ARRAYS:
            if getattr(self, name).dtype != kind:
                raise TypeError(
                    f"Events: {name} must be {np.dtype(kind)}, got {name}.dtype={getattr(self, name).dtype}. "
                    f"Convert it with .astype({str(np.dtype(kind))!r})."
                )
        if len(self) and (self.x.max() >= self.sensor[0] or self.y.max() >= self.sensor[1]):
            raise ValueError(
                f"Events: x and y must lie on the sensor, got x={self.x.max()} and y={self.y.max()} for "
                f"sensor={self.sensor}. Give the sensor's width and height."
            )

    def __len__(self) -> int:
        """Return the number of events.

        Returns
        -------
        int
            The number.
        """
        return len(self.t)

    def __repr__(self) -> str:
        """Return one line with the sizes.

        Returns
        -------
        str
            The line.
        """
        span = f", {self.t.min()} .. {self.t.max()} us" if len(self) else ""
        return f"Events({len(self)} events{span}, {self.sensor[0]} x {self.sensor[1]})"

    @property
    def seconds(self) -> NDArray[np.float64]:
        """Times, in s."""
        return self.t.astype(np.float64) * MICROSECOND

    @property
    def is_sorted(self) -> bool:
        """Whether no time is less than the one before it."""
        return bool((self.t[1:] >= self.t[:-1]).all())

    def units(self, polarities: int = 2) -> NDArray[np.int64]:
        r"""Return the input unit of each event.

        .. math:: u = (p H + y) W + x

        on a sensor of width :math:`W` and height :math:`H`.

        Parameters
        ----------
        polarities : {2, 1}, default 2
            1: leave the polarity out, :math:`u = y W + x`.

        Returns
        -------
        int64 array of shape (n_events,)
            Units, in ``0 .. polarities * W * H - 1``.

        Raises
        ------
        ValueError
            If `polarities` is neither, or 2 for events with more than two polarities.
        """
        most = int(self.p.max(initial=0))
        if polarities not in {1, 2} or (polarities == 2 and most > 1):
            raise ValueError(
                f"Events: polarities must be 1, or 2 for polarities 0 and 1, got polarities={polarities} for "
                f"polarities up to {most}. Give 1 to leave them out."
            )
        width, height = self.sensor
        units = self.y.astype(np.int64)
        if polarities == 2:
            units += self.p * np.int64(height)
        units *= width
        units += self.x
        return units

    def structured(self) -> NDArray[Any]:
        """Return one array of records with the fields ``x, y, t, p``, as tonic uses.

        Returns
        -------
        structured array of shape (n_events,)
            Fields ``x`` and ``y`` (int16), ``t`` (int64, us) and ``p`` (bool: is the polarity not 0).
        """
        records = np.empty(len(self), STRUCTURED)
        for name in STRUCTURED.names or ():
            records[name] = getattr(self, name)
        return records
