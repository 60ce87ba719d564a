"""Real handwritten digits, seen by a simulated event camera in three saccades."""

import operator

import numpy as np
from numpy.typing import NDArray

from snntrace.datasets.camera import MICROSECOND, SaccadeCamera

BRIGHTEST = 16.0


class SaccadeDigits:
    """1,797 handwritten digits as the events of a camera that moves over them in three saccades.

    N-MNIST was recorded by moving a real event camera before MNIST's digits, along a triangle. Here the
    camera is simulated (`snntrace.datasets.SaccadeCamera`) and the digits are the 8 x 8 ones that come with
    scikit-learn, so nothing has to be downloaded.

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
    sensor : (int, int), in pixels
        Width and height.
    licence, citation : str
        Of the handwritten digits.
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
    licence = "CC BY 4.0"
    citation = (
        "E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository "
        "(1998)."
    )

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
        if operator.index(seed) < 0:
            raise ValueError(f"SaccadeDigits: seed must be at least 0, got seed={seed}. Raise it.")
        rng = np.random.default_rng(seed)
        camera = SaccadeCamera(
            rng, sensor=sensor, amplitude=amplitude, saccade_ms=saccade_ms, frames=frames,
            threshold=threshold, threshold_spread=threshold_spread, floor=floor, noise_hz=noise_hz,
            who="SaccadeDigits",
        )  # fmt: skip
        images, labels = load_images()
        self.labels: NDArray[np.int64] = labels
        self.class_names: tuple[str, ...] = tuple(str(digit) for digit in range(10))
        self.n_units: int = camera.n_units
        self.sensor = (camera.sensor, camera.sensor)
        self.duration: float = camera.duration
        recordings, times, self._units = camera.look_at_all(images, rng)
        self._times = times * MICROSECOND
        self._starts = np.searchsorted(recordings, np.arange(len(images) + 1))

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
        return self._times[part].astype(np.float64), self._units[part].copy()


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
