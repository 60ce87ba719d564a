"""Ways to turn one picture into the events of a recording."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snntrace.datasets.camera import SaccadeCamera
from snntrace.datasets.encoders import latency_code, poisson_code, rate_code
from snntrace.datasets.ragged import EventList

ENCODINGS = ("rate", "poisson", "latency", "camera")
RATE = {"duration": 0.1, "max_rate": 100.0}
LATENCY = {"duration": 0.1, "tau": 0.02, "threshold": 0.2}
MARGIN = 3


class PictureCode:
    """How pictures of one size become events.

    Parameters
    ----------
    who : str
        Name of the data set, for the messages.
    encoding : {'rate', 'poisson', 'latency', 'camera'}
        ``'rate'``: each pixel gives events at equal intervals, see `rate_code`. ``'poisson'``: each pixel is
        a Poisson process, see `poisson_code`. ``'latency'``: each pixel gives one event, the brighter the
        earlier, see `latency_code`. ``'camera'``: an event camera that moves before the picture, see
        `SaccadeCamera`; its sensor is three pixels wider than the picture on all sides.
    shape : (int, int), in pixels
        Height and width of the pictures.
    seed : int
        Seed of the camera and, together with a recording's key, of the recording.
    options : mapping
        Arguments of the encoder.

    Attributes
    ----------
    n_units : int
        Number of units.
    duration : float, in s
        No event is later.
    sensor : (int, int) or None
        Width and height of the camera.

    Raises
    ------
    ValueError
        If the encoding or an option of it is unknown.
    """

    def __init__(
        self, who: str, encoding: str, shape: tuple[int, int], seed: int, options: Mapping[str, Any]
    ) -> None:
        if encoding not in ENCODINGS:
            raise ValueError(
                f"{who}: encoding must be one of {', '.join(ENCODINGS)}, got encoding={encoding!r}. Choose "
                f"one."
            )
        if seed < 0:
            raise ValueError(f"{who}: seed must be at least 0, got seed={seed}. Raise it.")
        camera_options = set(inspect.signature(SaccadeCamera).parameters) - {"seed", "who"}
        known = {"latency": set(LATENCY), "camera": camera_options}.get(encoding, set(RATE))
        if unknown := set(options) - known:
            raise ValueError(
                f"{who}: options of encoding={encoding!r} must be among {', '.join(sorted(known))}, got "
                f"{', '.join(sorted(unknown))}. Leave them out."
            )
        self.seed = seed
        self.sensor: tuple[int, int] | None = None
        self.code: Callable[[NDArray[np.float64], np.random.Generator], EventList]
        if encoding == "camera":
            sensor = {"sensor": max(shape) + 2 * MARGIN, "amplitude": float(MARGIN)}
            camera = SaccadeCamera(np.random.default_rng([seed]), who=who, **sensor | dict(options))
            self.n_units, self.duration = camera.n_units, camera.duration
            self.sensor = (camera.sensor, camera.sensor)
            self.code = camera.look
        else:
            chosen = (LATENCY if encoding == "latency" else RATE) | dict(options)
            self.n_units, self.duration = shape[0] * shape[1], float(chosen["duration"])
            if encoding == "latency":
                self.code = lambda picture, rng: latency_code(picture, **chosen)
            else:
                code = rate_code if encoding == "rate" else poisson_code
                self.code = lambda picture, rng: code(picture, seed=rng, **chosen)
            # Once, so that a value out of range is told now.
            self.code(np.zeros(0), np.random.default_rng(0))

    def events(self, picture: NDArray[np.uint8], *key: int) -> EventList:
        """Return the events of a picture.

        Parameters
        ----------
        picture : uint8 array of shape (height, width)
            Its intensities, 255 the largest.
        *key : int
            What tells its recording from others of the data set.

        Returns
        -------
        times : float64 array of shape (n_events,), in s
            When, ascending.
        units : int64 array of shape (n_events,)
            Which unit.
        """
        return self.code(picture / 255.0, np.random.default_rng([self.seed, *key]))
