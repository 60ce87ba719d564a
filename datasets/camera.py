"""A simulated event camera that looks at pictures in three saccades."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

MICROSECOND = 1e-6
# Corners of the triangle in units of the amplitude, (x, y), y downwards: upper left, bottom, upper right, and
# back.
TRIANGLE = np.array([[-1.0, -1.0], [0.0, 1.0], [1.0, -1.0], [-1.0, -1.0]])


class SaccadeCamera:
    r"""A simulated event camera that moves over pictures along a triangle, as the real one of N-MNIST did.

    With the picture :math:`I`, bilinearly interpolated and displaced by the camera's position :math:`s(t)`,
    each pixel compares its log intensity

    .. math:: \ell_p(t) = \log\left(I(p - s(t)) + I_0\right)

    with a reference: each time the difference reaches the pixel's threshold, an ON (rise) or OFF (fall) event
    is emitted, and the reference moves by one threshold. What the camera saw before the recording left each
    reference anywhere within half a threshold of the first frame. The camera passes the triangle's three
    sides in turn, each with the smooth start and stop of a half period of a cosine. Between simulated frames
    the log intensity is taken as linear; times are rounded to 1 us, the resolution of a real camera.

    Unit ``(polarity * sensor + y) * sensor + x``, with polarity 0 for OFF and 1 for ON.

    Parameters
    ----------
    seed : int or numpy Generator, default 0
        What draws the pixels' thresholds. One seed always gives the same camera.
    sensor : int, default 16
        Pixels a side; ``n_units = 2 * sensor**2``. Pictures are scaled to ``sensor - 2 * amplitude`` pixels
        a side.
    amplitude : float, default 2.0, in pixels
        Half the width of the triangle.
    saccade_ms : float, default 100.0, in ms
        Duration of one of the three saccades.
    frames : int, default 20
        Simulated frames a saccade.
    threshold : float, default 0.5
        Mean change of log intensity that makes an event.
    threshold_spread : float, default 0.03
        Standard deviation of the pixels' thresholds, relative to `threshold`; the same pixels for all
        pictures.
    floor : float, default 0.1
        Intensity :math:`I_0` of the dark background, of a full stroke's 1.
    noise_hz : float, default 0.0, in Hz
        Rate of the events that each unit adds at random.
    who : str, default 'SaccadeCamera'
        Name of the caller, for the messages.

    Attributes
    ----------
    n_units : int
        ``2 * sensor**2``.
    duration : float, in s
        ``3 * saccade_ms / 1000``.

    Raises
    ------
    ValueError
        If an argument is out of range.

    References
    ----------
    G. Orchard, A. Jayawant, G. K. Cohen, N. Thakor, "Converting Static Image Datasets to Spiking Neuromorphic
    Datasets Using Saccades", Frontiers in Neuroscience 9, 437 (2015).

    H. Rebecq, D. Gehrig, D. Scaramuzza, "ESIM: an Open Event Camera Simulator", Conference on Robot Learning
    (2018).

    Examples
    --------
    >>> import numpy as np
    >>> from snntrace.datasets import SaccadeCamera
    >>> camera = SaccadeCamera(sensor=20)
    >>> times, units = camera.look(np.eye(10), seed=1)
    >>> len(times) > 100, times.max() <= camera.duration, camera.n_units
    (True, np.True_, 800)
    """

    def __init__(
        self,
        seed: int | np.random.Generator = 0,
        *,
        sensor: int = 16,
        amplitude: float = 2.0,
        saccade_ms: float = 100.0,
        frames: int = 20,
        threshold: float = 0.5,
        threshold_spread: float = 0.03,
        floor: float = 0.1,
        noise_hz: float = 0.0,
        who: str = "SaccadeCamera",
    ) -> None:
        for name, value, least in (("sensor", sensor, 1), ("frames", frames, 1)):
            if not hasattr(value, "__index__"):
                raise TypeError(
                    f"{who}: {name} must be a whole number, got {name}={value!r}. Give one, such as 20."
                )
            if operator.index(value) < least:
                raise ValueError(f"{who}: {name} must be at least {least}, got {name}={value}. Raise it.")
        if not isinstance(seed, np.random.Generator) and operator.index(seed) < 0:
            raise ValueError(f"{who}: seed must be at least 0, got seed={seed}. Raise it.")
        for name, quantity in (("saccade_ms", saccade_ms), ("threshold", threshold), ("floor", floor)):
            if not 0 < quantity < np.inf:
                raise ValueError(
                    f"{who}: {name} must be positive and finite, got {name}={quantity}. Give a positive one."
                )
        for name, quantity, bound in (
            ("amplitude", amplitude, sensor / 2),
            ("threshold_spread", threshold_spread, 0.3),
            ("noise_hz", noise_hz, np.inf),
        ):
            if not 0 <= quantity < bound:
                raise ValueError(
                    f"{who}: {name} must be at least 0 and less than {bound}, got {name}={quantity}. "
                    f"Choose one in that range."
                )
        self.sensor = sensor
        self.amplitude = amplitude
        self.floor = floor
        self.noise_hz = noise_hz
        self.n_units: int = 2 * sensor**2
        self.duration: float = 3 * saccade_ms * 1e-3
        self._who = who
        self._path = saccade_path(frames, amplitude)
        spread = np.random.default_rng(seed).standard_normal(sensor**2)
        self._thresholds = (threshold * (1 + threshold_spread * spread).clip(0.1)).astype(np.float32)

    def __repr__(self) -> str:
        """Return one line with the sizes.

        Returns
        -------
        str
            The line.
        """
        return f"SaccadeCamera({self.sensor} x {self.sensor} pixels, {self.duration:.3g} s)"

    def look(
        self, picture: ArrayLike, seed: int | np.random.Generator
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return the events of one picture.

        Parameters
        ----------
        picture : array of shape (height, width)
            Intensity, 0 to 1.
        seed : int or numpy Generator
            What draws the pixels' first references and the noise.

        Returns
        -------
        times : float64 array of shape (n_events,), in s
            When, ascending.
        units : int64 array of shape (n_events,)
            Which unit; ascending within a time.
        """
        _, steps, units = self.look_at_all(np.asarray(picture)[None], seed)
        return (steps * MICROSECOND).astype(np.float64, copy=False), units

    def look_at_all(
        self, pictures: ArrayLike, seed: int | np.random.Generator
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Return the events of several pictures, one after the other.

        Parameters
        ----------
        pictures : array of shape (n_pictures, height, width)
            Intensities, 0 to 1.
        seed : int or numpy Generator
            What draws the pixels' first references and the noise.

        Returns
        -------
        recordings : int64 array of shape (n_events,)
            Which picture, ascending.
        times : int64 array of shape (n_events,), in us
            When, ascending within a recording.
        units : int64 array of shape (n_events,)
            Which unit; ascending within a time.

        Raises
        ------
        ValueError
            If the pictures have other axes, or an intensity is out of range.
        """
        images = np.asarray(pictures, np.float32)
        if images.ndim != 3 or 0 in images.shape[1:]:
            raise ValueError(
                f"{self._who}: pictures must have the axes (picture, height, width), got "
                f"pictures.shape={images.shape}. Take one channel of coloured ones, or their mean."
            )
        if images.size and not (images.min() >= 0 and images.max() <= 1):
            wrong = images.max() if not images.max() <= 1 else images.min()
            raise ValueError(
                f"{self._who}: pictures must have intensities in 0 .. 1, got the value {wrong}. Divide "
                f"them by the largest possible one."
            )
        rng = np.random.default_rng(seed)
        last = round(self.duration / MICROSECOND)
        offsets = rng.random((len(images), self.sensor**2), np.float32) - np.float32(0.5)
        recording, frame, unit = self._changes(images, offsets)
        time = np.rint(frame * (last / (len(self._path) - 1))).astype(np.int64)
        parts = [(recording, time, unit)]
        if self.noise_hz:
            extra = int(rng.poisson(self.noise_hz * self.duration * self.n_units * len(images)))
            which = rng.integers(len(images), size=extra)
            parts.append((which, rng.integers(last, size=extra), rng.integers(self.n_units, size=extra)))
        recording, time, unit = (np.concatenate(column) for column in zip(*parts, strict=True))
        order = np.argsort((recording * (last + 1) + time) * self.n_units + unit)
        return recording[order], time[order], unit[order]

    def _log_intensity(self, images: NDArray[np.float32], position: NDArray[np.float64]) -> NDArray[Any]:
        across = interpolation(self.sensor, self.amplitude, position[0], images.shape[2])
        down = interpolation(self.sensor, self.amplitude, position[1], images.shape[1])
        seen = down @ images @ across.T
        level: NDArray[np.float32] = np.log(seen.reshape(len(images), -1) + np.float32(self.floor))
        return level

    def _changes(
        self, images: NDArray[np.float32], offsets: NDArray[np.float32]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
        # Without the offsets, a camera that returns to where it started meets a threshold to within rounding
        # at its very last step.
        steps = self._thresholds
        before = self._log_intensity(images, self._path[0])
        reference = before + offsets * steps
        found: list[tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]] = []
        for frame in range(1, len(self._path)):
            now = self._log_intensity(images, self._path[frame])
            crossings = np.trunc((now - reference) / steps)
            image, pixel = np.nonzero(crossings)
            signed = crossings[image, pixel].astype(np.int64)
            number = np.abs(signed)
            # One entry an event: pixel k's events are its 1st, 2nd, ... threshold above (or below) its
            # reference.
            entry = np.repeat(np.arange(len(signed)), number)
            nth = np.arange(len(entry)) - np.repeat(np.cumsum(number) - number, number) + 1
            image, pixel, rising = image[entry], pixel[entry], signed[entry] > 0
            level = reference[image, pixel] + np.where(rising, nth, -nth) * steps[pixel]
            start, end = before[image, pixel], now[image, pixel]
            # A pixel that rounding leaves a hair past its threshold may change by nothing in this frame.
            change = np.where(end == start, 1.0, end - start)
            part = np.clip((level - start) / change, 0.0, 1.0)
            found.append((image, frame - 1 + part.astype(np.float64), rising * self.sensor**2 + pixel))
            reference += crossings * steps
            before = now
        recordings, times, units = (np.concatenate(column) for column in zip(*found, strict=True))
        return recordings, times, units


def saccade_path(frames: int, amplitude: float) -> NDArray[np.float64]:
    """Return the picture's displacement at each frame.

    Parameters
    ----------
    frames : int
        Frames a saccade.
    amplitude : float, in pixels
        Half the width of the triangle.

    Returns
    -------
    float64 array of shape (3 * frames + 1, 2), in pixels
        Displacement (x, y), starting and ending at the upper left corner.
    """
    passed = (1 - np.cos(np.pi * np.arange(frames) / frames)) / 2
    sides = [
        start + passed[:, None] * (end - start)
        for start, end in zip(TRIANGLE[:-1], TRIANGLE[1:], strict=True)
    ]
    return amplitude * np.concatenate([*sides, TRIANGLE[-1:]])


def interpolation(sensor: int, amplitude: float, shift: float, size: int) -> NDArray[np.float32]:
    """Return the weights that interpolate one axis of a picture linearly onto one axis of the sensor.

    Parameters
    ----------
    sensor : int
        Pixels a side.
    amplitude : float, in pixels
        Free margin around the picture at rest.
    shift : float, in pixels
        Displacement of the picture.
    size : int
        The picture's own pixels along this axis.

    Returns
    -------
    float32 array of shape (sensor, size)
        Weights; rows of pixels outside the picture fall to 0.
    """
    scale = (sensor - 2 * amplitude) / size
    source = (np.arange(sensor) + 0.5 - amplitude - shift) / scale - 0.5
    weights: NDArray[np.float64] = np.maximum(0.0, 1 - np.abs(source[:, None] - np.arange(size)))
    return weights.astype(np.float32)
