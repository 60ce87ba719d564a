"""Real handwritten digits, seen by a simulated event camera in three saccades."""

import operator

import numpy as np
from numpy.typing import NDArray

DIGIT_PIXELS = 8
BRIGHTEST = 16.0
MICROSECOND = 1e-6
# Corners of the triangle in units of the amplitude, (x, y), y downwards: upper left, bottom, upper right, and
# back.
TRIANGLE = np.array([[-1.0, -1.0], [0.0, 1.0], [1.0, -1.0], [-1.0, -1.0]])


class SaccadeDigits:
    r"""1,797 handwritten digits as the events of a camera that moves over them in three saccades.

    N-MNIST was recorded by moving a real event camera before MNIST's digits, along a triangle. Here the
    camera is simulated and the digits are the 8 x 8 ones that come with scikit-learn, so nothing has to be
    downloaded. With the image :math:`I`, bilinearly interpolated and displaced by the camera's position
    :math:`s(t)`, each pixel compares its log intensity

    .. math:: \ell_p(t) = \log\left(I(p - s(t)) + I_0\right)

    with a reference: each time the difference reaches the pixel's threshold, an ON (rise) or OFF (fall) event
    is emitted, and the reference moves by one threshold. What the camera saw before the recording left each
    reference anywhere within half a threshold of the first frame. The camera passes the triangle's three
    sides in turn, each with the smooth start and stop of a half period of a cosine. Between simulated frames
    the log intensity is taken as linear; times are rounded to 1 us, the resolution of a real camera.

    Unit ``(polarity * sensor + y) * sensor + x``, with polarity 0 for OFF and 1 for ON.

    Parameters
    ----------
    seed : int, default 0
        Seed of what is random: the pixels' thresholds and first references, and the noise. One seed always
        gives the same events.
    sensor : int, default 16
        Pixels a side; ``n_units = 2 * sensor**2``. The digit is enlarged to ``sensor - 2 * amplitude``
        pixels.
    amplitude : float, default 2.0, in pixels
        Half the width of the triangle.
    saccade_ms : float, default 100.0, in ms
        Duration of one of the three saccades.
    frames : int, default 20
        Simulated frames a saccade.
    threshold : float, default 0.5
        Mean change of log intensity that makes an event.
    threshold_spread : float, default 0.03
        Standard deviation of the pixels' thresholds, relative to `threshold`; the same pixels for all digits.
    floor : float, default 0.1
        Intensity :math:`I_0` of the dark background, of a full stroke's 1.
    noise_hz : float, default 0.0, in Hz
        Rate of the events that each unit adds at random.

    Attributes
    ----------
    labels : int64 array of shape (1797,)
        The digit.
    class_names : tuple of str
        ``"0"`` to ``"9"``.
    n_units : int
        ``2 * sensor**2``.
    groups : None
        The data do not say who wrote a digit.
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

    E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository
    (1998).

    Examples
    --------
    >>> from snntrace.datasets import SaccadeDigits
    >>> digits = SaccadeDigits()
    >>> times, units = digits.events(0)
    >>> len(digits), digits.labels[0], digits.n_units, times.max() <= digits.duration
    (1797, np.int64(0), 512, np.True_)
    """

    groups = None

    def __init__(
        self,
        seed: int = 0,
        *,
        sensor: int = 16,
        amplitude: float = 2.0,
        saccade_ms: float = 100.0,
        frames: int = 20,
        threshold: float = 0.5,
        threshold_spread: float = 0.03,
        floor: float = 0.1,
        noise_hz: float = 0.0,
    ) -> None:
        for name, value, least in (("sensor", sensor, 1), ("frames", frames, 1), ("seed", seed, 0)):
            if operator.index(value) < least:
                raise ValueError(
                    f"SaccadeDigits: {name} must be at least {least}, got {name}={value}. Raise it."
                )
        for name, quantity in (("saccade_ms", saccade_ms), ("threshold", threshold), ("floor", floor)):
            if not 0 < quantity < np.inf:
                raise ValueError(
                    f"SaccadeDigits: {name} must be positive and finite, got {name}={quantity}. Give a "
                    f"positive one."
                )
        for name, quantity, bound in (
            ("amplitude", amplitude, sensor / 2),
            ("threshold_spread", threshold_spread, 0.3),
            ("noise_hz", noise_hz, np.inf),
        ):
            if not 0 <= quantity < bound:
                raise ValueError(
                    f"SaccadeDigits: {name} must be at least 0 and less than {bound}, got {name}={quantity}. "
                    f"Choose one in that range."
                )
        images, labels = load_images()
        self.labels: NDArray[np.int64] = labels
        self.class_names: tuple[str, ...] = tuple(str(digit) for digit in range(10))
        self.n_units: int = 2 * sensor**2
        self.duration: float = 3 * saccade_ms * 1e-3
        rng = np.random.default_rng(seed)
        thresholds = threshold * (1 + threshold_spread * rng.standard_normal(sensor**2)).clip(0.1)
        positions = saccade_path(frames, amplitude)
        offsets = rng.random((len(images), sensor**2), np.float32) - np.float32(0.5)
        recorded = camera_events(
            images, positions, thresholds, offsets, sensor=sensor, amplitude=amplitude, floor=floor
        )
        last = round(self.duration / MICROSECOND)
        times = np.rint(recorded[1] * (last / (len(positions) - 1))).astype(np.int64)
        parts = [(recorded[0], times, recorded[2])]
        if noise_hz:
            extra = int(rng.poisson(noise_hz * self.duration * self.n_units * len(images)))
            recordings = rng.integers(len(images), size=extra)
            parts.append((recordings, rng.integers(last, size=extra), rng.integers(self.n_units, size=extra)))
        recording, time, unit = (np.concatenate(column) for column in zip(*parts, strict=True))
        order = np.argsort((recording * (last + 1) + time) * self.n_units + unit)
        self._times = time[order] * MICROSECOND
        self._units = unit[order]
        self._starts = np.searchsorted(recording[order], np.arange(len(images) + 1))

    def __len__(self) -> int:
        """Return the number of digits.

        Returns
        -------
        int
            1,797.
        """
        return len(self.labels)

    def __repr__(self) -> str:
        """Return one line with the sizes.

        Returns
        -------
        str
            The line.
        """
        return f"SaccadeDigits({len(self)} recordings, {self.n_units} units, {self.duration:.3g} s)"

    def events(self, index: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return the events of one digit, in order of time.

        Parameters
        ----------
        index : int
            Number of the digit, ``0 .. len(self) - 1``.

        Returns
        -------
        times : float64 array of shape (n_events,), in s
            When.
        units : int64 array of shape (n_events,)
            Which unit.

        Raises
        ------
        IndexError
            If there is no such digit.
        """
        row = operator.index(index)
        if not 0 <= row < len(self):
            raise IndexError(
                f"SaccadeDigits: index must be in 0 .. {len(self) - 1}, got index={index}. Choose an "
                f"existing digit."
            )
        part = slice(self._starts[row], self._starts[row + 1])
        return self._times[part].copy(), self._units[part].copy()


def load_images() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return scikit-learn's digits.

    Returns
    -------
    images : float32 array of shape (1797, 8, 8)
        Intensity, 0 to 1.
    labels : int64 array of shape (1797,)
        The digits.
    """
    # Here and not above: importing scikit-learn takes a second that readers of other data need not wait for.
    from sklearn.datasets import load_digits

    raw = load_digits()
    labels = raw.target.astype(np.int64)
    labels.setflags(write=False)
    return (raw.images / BRIGHTEST).astype(np.float32), labels


def saccade_path(frames: int, amplitude: float) -> NDArray[np.float64]:
    """Return the image's displacement at each frame.

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


def interpolation(sensor: int, amplitude: float, shift: float) -> NDArray[np.float32]:
    """Return the weights that interpolate one axis of a digit linearly onto one axis of the sensor.

    Parameters
    ----------
    sensor : int
        Pixels a side.
    amplitude : float, in pixels
        Free margin around the digit at rest.
    shift : float, in pixels
        Displacement of the digit.

    Returns
    -------
    float32 array of shape (sensor, 8)
        Weights; rows of pixels outside the digit fall to 0.
    """
    scale = (sensor - 2 * amplitude) / DIGIT_PIXELS
    source = (np.arange(sensor) + 0.5 - amplitude - shift) / scale - 0.5
    weights: NDArray[np.float64] = np.maximum(0.0, 1 - np.abs(source[:, None] - np.arange(DIGIT_PIXELS)))
    return weights.astype(np.float32)


def camera_events(
    images: NDArray[np.float32],
    positions: NDArray[np.float64],
    thresholds: NDArray[np.float64],
    offsets: NDArray[np.float32],
    *,
    sensor: int,
    amplitude: float,
    floor: float,
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """Return the events of all images, frame by frame.

    Parameters
    ----------
    images : float32 array of shape (n_images, 8, 8)
        Intensities.
    positions : float64 array of shape (n_frames + 1, 2), in pixels
        Displacement (x, y) of the image at each frame.
    thresholds : float64 array of shape (sensor**2,)
        Change of log intensity that makes an event, for each pixel.
    offsets : float32 array of shape (n_images, sensor**2)
        First references, in thresholds from the first frame's log intensity. Without them, a camera that
        returns to where it started meets a threshold to within rounding at its very last step.
    sensor : int
        Pixels a side.
    amplitude : float, in pixels
        Margin around the digit.
    floor : float
        Background intensity.

    Returns
    -------
    recordings : int64 array of shape (n_events,)
        Which image.
    times : float64 array of shape (n_events,), in frames
        When.
    units : int64 array of shape (n_events,)
        Polarity and pixel.
    """
    steps = thresholds.astype(np.float32)

    def log_intensity(position: NDArray[np.float64]) -> NDArray[np.float32]:
        across = interpolation(sensor, amplitude, position[0])
        down = interpolation(sensor, amplitude, position[1])
        seen = down @ images @ across.T
        level: NDArray[np.float32] = np.log(seen.reshape(len(images), -1) + np.float32(floor))
        return level

    before = log_intensity(positions[0])
    reference = before + offsets * steps
    found: list[tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]] = []
    for frame in range(1, len(positions)):
        now = log_intensity(positions[frame])
        crossings = np.trunc((now - reference) / steps)
        image, pixel = np.nonzero(crossings)
        signed = crossings[image, pixel].astype(np.int64)
        number = np.abs(signed)
        # One entry an event: pixel k's events are its 1st, 2nd, ... threshold above (or below) its reference.
        entry = np.repeat(np.arange(len(signed)), number)
        nth = np.arange(len(entry)) - np.repeat(np.cumsum(number) - number, number) + 1
        image, pixel, rising = image[entry], pixel[entry], signed[entry] > 0
        level = reference[image, pixel] + np.where(rising, nth, -nth) * steps[pixel]
        start, end = before[image, pixel], now[image, pixel]
        # A pixel that rounding leaves a hair past its threshold may change by nothing in this frame.
        change = np.where(end == start, 1.0, end - start)
        part = np.clip((level - start) / change, 0.0, 1.0)
        found.append((image, frame - 1 + part.astype(np.float64), rising * sensor**2 + pixel))
        reference += crossings * steps
        before = now
    recordings, times, units = (np.concatenate(column) for column in zip(*found, strict=True))
    return recordings, times, units
