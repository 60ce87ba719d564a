r"""The basilar membrane: how each place along the cochlea moves when a sound arrives."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import fft, special

SOUND_RATE = 48_000
CHANNELS = 700
LANES = 704
"""Columns of the arrays: the channels, filled up to what the compiled cells take at a time."""

LENGTH = 3.5
STIFFNESS, DECAY, SOFTENING = 1e9, 3.0, 3500.0
DENSITY, DAMPING, HEIGHT, MASS = 1.0, 0.15, 0.1, 0.05
RESISTANCE = DAMPING * np.sqrt(STIFFNESS * MASS)

BLOCK = 8192
"""Output samples of one inverse transform."""

AHEAD, BEHIND = 3072, 1024
"""Output samples by which a response may come before and after its cause."""

FADED = 25.0
"""Attenuation, in nepers, beyond which a place is taken to rest."""


def impedance(omega: NDArray[np.float64], places: NDArray[np.float64]) -> NDArray[np.complex128]:
    r"""Return the membrane's impedance, times :math:`-i\omega`.

    .. math:: \xi(\omega, c) = C_0 e^{-\alpha c} - a - m \omega^2 - i \omega r_0 e^{-\alpha c / 2}

    Parameters
    ----------
    omega : float64 array of shape (n_frequencies,), in rad/s
        Angular frequencies.
    places : float64 array of shape (n_places,), in cm
        Distances from the base.

    Returns
    -------
    complex128 array of shape (n_frequencies, n_places)
        The impedance.
    """
    y = np.exp(-DECAY * places / 2)
    w = omega[:, None]
    xi: NDArray[np.complex128] = STIFFNESS * y**2 - SOFTENING - MASS * w**2 - 1j * w * RESISTANCE * y
    return xi


def phase(omega: NDArray[np.float64], places: NDArray[np.float64]) -> NDArray[np.complex128]:
    r"""Return the complex phase that a wave gathers from far before the base up to each place.

    .. math::

        G(\omega, c) = \frac{2}{\alpha} g(\omega, 0) + \int_0^c g(\omega, x) \, dx, \qquad
        g = \omega \sqrt{\frac{\rho}{h \xi}}

    With :math:`y = e^{-\alpha x / 2}`, :math:`\xi` is a quadratic polynomial of :math:`y` with the constant
    term :math:`-b^2 = -(a + m \omega^2)`, and the integral is

    .. math::

        \frac{2 \omega}{\alpha} \sqrt{\frac{\rho}{h}} \left[ F(y(c)) - F(1) \right], \qquad
        F(y) = \frac{1}{i b} \log \frac{-2 b^2 - i \omega r_0 y + 2 i b \sqrt{\xi}}{y}

    Parameters
    ----------
    omega : float64 array of shape (n_frequencies,), in rad/s
        Angular frequencies.
    places : float64 array of shape (n_places,), in cm
        Distances from the base.

    Returns
    -------
    complex128 array of shape (n_frequencies, n_places)
        The phase. Its imaginary part is the attenuation.
    """
    w = omega[:, None]
    b = np.sqrt(SOFTENING + MASS * w**2)

    def antiderivative(at: NDArray[np.float64]) -> NDArray[np.complex128]:
        y = np.exp(-DECAY * at / 2)
        inner = -2 * b**2 - 1j * w * RESISTANCE * y + 2j * b * np.sqrt(impedance(omega, at))
        return np.asarray(np.log(inner / y) / (1j * b))

    base = np.zeros(1)
    scale = 2 * w / DECAY * np.sqrt(DENSITY / HEIGHT)
    gathered = scale * (antiderivative(places) - antiderivative(base))
    return np.asarray(scale / np.sqrt(impedance(omega, base)) + gathered)


def transfer(omega: NDArray[np.float64], places: NDArray[np.float64]) -> NDArray[np.complex128]:
    r"""Return how strongly each place moves at each frequency of the sound.

    .. math::

        v(\omega, c) = \frac{2 \omega}{\xi(\omega, c)} \frac{p(\omega, c)}{p(\omega, 0)} Z(\omega), \qquad
        p = \sqrt{G / g} \, H_0^{(1)}(G), \qquad
        Z = \sqrt{\frac{2 C_0}{h}} \frac{i J_0(z) + Y_0(z)}{J_1(z) - i Y_1(z)}, \quad
        z = \frac{2 \omega}{\alpha} \sqrt{\frac{2}{h C_0}}

    Parameters
    ----------
    omega : float64 array of shape (n_frequencies,), in rad/s
        Angular frequencies, positive.
    places : float64 array of shape (n_places,), in cm
        Distances from the base.

    Returns
    -------
    complex128 array of shape (n_frequencies, n_places)
        The transfer function; 0 where the wave has faded by more than `FADED` nepers.

    References
    ----------
    N. Sieroka, H. G. Dosch, A. Rupp, "Semirealistic models of the cochlea", The Journal of the Acoustical
    Society of America 120, 297-304 (2006).
    """
    base = np.zeros(1)
    xi, from_base, to_place = impedance(omega, places), phase(omega, base), phase(omega, places)
    heard = np.nonzero((to_place - from_base).imag < FADED)
    argument, first = to_place[heard], from_base[heard[0], 0]
    z = 2 * omega / DECAY * np.sqrt(2 / (HEIGHT * STIFFNESS))
    entry = np.sqrt(2 * STIFFNESS / HEIGHT) * (
        (1j * special.j0(z) + special.y0(z)) / (special.j1(z) - 1j * special.y1(z))
    )
    # Of p(c) / p(0), sqrt(G(c) / g(c)) over sqrt(G(0) / g(0)); the ratio of g is that of 1 / sqrt(xi).
    widening = np.sqrt(argument * np.sqrt(xi[heard]))
    widening /= np.sqrt(first * np.sqrt(impedance(omega, base)[heard[0], 0]))
    # Scaled Hankel functions leave out exp(iG), which alone would underflow.
    wave = special.hankel1e(0, argument) * np.exp(1j * (argument - first))
    wave /= special.hankel1e(0, from_base[:, 0])[heard[0]]
    found = np.zeros(xi.shape, np.complex128)
    found[heard] = (2 * omega * entry)[heard[0]] / xi[heard] * widening * wave
    return found


def channel_places() -> NDArray[np.float64]:
    """Return the place of each channel.

    Returns
    -------
    float64 array of shape (700,), in cm
        Distances from the base.
    """
    return np.linspace(0.0, LENGTH, CHANNELS)


@cache
def response_tables() -> tuple[NDArray[np.complex64], NDArray[np.complex64], int]:
    """Return the transfer function at the frequencies of one block.

    Returns
    -------
    low : complex64 array of shape (BLOCK / 2 + 1, LANES)
        From 0 to 12 kHz.
    high : complex64 array of shape (BLOCK / 2 + 1, n_high)
        From 24 down to 12 kHz, conjugated, for the channels that hear it, the first `n_high`.
    n_high : int
        Their number.
    """
    omega = 2 * np.pi * SOUND_RATE / (2 * BLOCK) * np.arange(1, BLOCK)
    table = np.zeros((BLOCK + 1, LANES), np.complex64)
    for start in range(0, CHANNELS, 50):
        part = slice(start, start + 50)
        table[1:BLOCK, start : start + 50] = transfer(omega.astype(np.float64), channel_places()[part])
    half = BLOCK // 2
    high = table[half:][::-1].conj()
    loudest = np.abs(high).max(0)
    n_high = int(np.flatnonzero(loudest > 1e-6 * np.abs(table).max(0).clip(1e-30))[-1]) + 1
    # The mean of a spectrum and its mirrored conjugate is that of the real part.
    low = table[: half + 1] / 2
    return low, np.ascontiguousarray(high[:, :n_high]) / 2, n_high


def movements(sound: NDArray[np.float64]) -> Iterator[NDArray[np.float32]]:
    r"""Yield how the membrane moves, in blocks of consecutive steps.

    .. math:: s(t, c) = \mathrm{Re} \frac{1}{M} \sum_{k=0}^{M-1} v(\omega_k, c) X_k e^{i \omega_k t}

    where :math:`X` is the sound's Fourier transform. Only frequencies below half the sound's rate take part,
    so half the rate of the sound suffices for the movement. Blocks overlap by what a response lasts, and
    memory does not grow with the sound.

    As in the published converter, the transfer function of waves :math:`e^{-i \omega t}` is applied to
    components :math:`e^{+i \omega t}`. A place therefore moves *before* the sound that moves it, by up to
    some 50 ms at the apex; causal responses do not reproduce the published spikes.

    Parameters
    ----------
    sound : float64 array of shape (n_samples,)
        The sound, at 48 kHz.

    Yields
    ------
    float32 array of shape (n_steps, LANES)
        Movement of each channel, at 24 kHz; ``(n_samples + 1) // 2`` steps in all. Columns beyond the
        channels are 0.
    """
    low, high, n_high = response_tables()
    total = (len(sound) + 1) // 2
    useful = BLOCK - AHEAD - BEHIND
    padded = np.zeros(2 * (BEHIND + total + BLOCK), np.float32)
    padded[2 * BEHIND : 2 * BEHIND + len(sound)] = sound
    for start in range(0, total, useful):
        spectrum = fft.rfft(padded[2 * start : 2 * (start + BLOCK)])[:BLOCK]
        mirrored = np.append(spectrum[BLOCK // 2 :], 0)[::-1].conj()
        folded = low * spectrum[: BLOCK // 2 + 1, None]
        folded[:, :n_high] += high * mirrored[:, None]
        block = fft.irfft(folded, BLOCK, axis=0, overwrite_x=True)
        yield np.ascontiguousarray(block[BEHIND : BEHIND + min(useful, total - start)])
