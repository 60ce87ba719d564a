"""Hair cells, nerve fibres and bushy cells: from movement to spikes, a step at a time."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from snntrace.datasets.ear.membrane import CHANNELS, LANES

STEP = 1 / 24_000
"""Time step, in s."""

WIDTH = 64
"""Channels that are advanced side by side; a constant, so that the loops become vector code."""

FIBRES = 40
REFRACTORY = 24
"""Steps of 1 ms, in which a fibre or a bushy cell that has spiked does not do so again."""

# Of the hair cell: replenishment, release, loss, reuptake, reprocessing, permeability, firing.
Y, G, L, R, X, A, B, H, M = 5.05, 2000.0, 2500.0, 6580.0, 66.3, 5.0, 300.0, 50_000.0, 1.0
# As float32, for a double-precision constant would widen the whole loop.
OPEN, HALF_OPEN, FULL = np.float32(A), np.float32(B), np.float32(M)
Y_DT, G_DT, R_DT, X_DT = (np.float32(rate * STEP) for rate in (Y, G, R, X))
LR_DT, H_DT = np.float32((L + R) * STEP), np.float32(H * STEP)
MEMBRANE, SYNAPSE = np.float32(np.exp(-STEP / 1e-3)), np.float32(np.exp(-STEP / 0.5e-3))
WEIGHT = np.float32(13_000 / FIBRES * STEP)
ZERO, ONE, DEAD = np.float32(0), np.float32(1), np.float32(REFRACTORY)
UNIT = np.float32(2.0**-24)

Q, C, W, PROBABILITY, DRAW, FREE, COUNT, CURRENT, VOLTAGE, PAUSE, SPIKED = range(11)
"""Rows of the state of a channel."""


class Cells:
    r"""The state of all channels' cells, advanced by blocks of steps.

    The transmitter of an inner hair cell is in three pools: free :math:`q`, in the cleft :math:`c` and being
    reprocessed :math:`w`. With the movement :math:`s` and :math:`s^+ = \max(s + A, 0)`,

    .. math::

        k &= g \, \frac{s^+}{s^+ + B} \\
        \dot q &= y \max(M - q, 0) - k q + x w \\
        \dot c &= k q - (l + r) c \\
        \dot w &= r c - x w

    in Euler steps of 1/24,000 s from their rest. Each of 40 fibres releases a spike with probability
    :math:`h c \Delta t` unless it did so within 1 ms. The fibres are exchangeable, so the number of spikes is
    drawn from the binomial distribution of those that are free. They drive a leaky integrate-and-fire neuron
    (the bushy cell: membrane 1 ms, synapse 0.5 ms, refractory 1 ms, threshold 1, reset to 0).

    Random numbers come from one generator (xoshiro128+) for each channel.

    Parameters
    ----------
    seed : int
        Seed; one seed always gives the same spikes.

    References
    ----------
    R. Meddis, "Simulation of mechanical to neural transduction in the auditory receptor", The Journal of the
    Acoustical Society of America 79, 702-711 (1986).

    R. Meddis, "Simulation of auditory-neural transduction: further studies", The Journal of the Acoustical
    Society of America 83, 1056-1063 (1988).

    D. Blackman, S. Vigna, "Scrambled Linear Pseudorandom Number Generators", ACM Transactions on Mathematical
    Software 47, 36 (2021).

    Examples
    --------
    >>> import numpy as np
    >>> from snntrace.datasets.ear.cells import Cells
    >>> steps, channels = Cells(seed=0).advance(np.zeros((2400, 704), "float32"))
    >>> len(steps) < 100  # few spikes come of silence
    True
    """

    def __init__(self, seed: int) -> None:
        blocks = LANES // WIDTH
        opening = G * A / (A + B)
        cleft = M * Y * opening / (L * opening + Y * (L + R))
        self.state = np.zeros((blocks, SPIKED + 1, WIDTH), np.float32)
        self.state[:, Q] = cleft * (L + R) / opening
        self.state[:, C] = cleft
        self.state[:, W] = cleft * R / X
        self.state[:, FREE] = FIBRES
        self.fired = np.zeros((blocks, REFRACTORY, WIDTH), np.float32)
        words = np.random.SeedSequence(seed).generate_state(4 * LANES, np.uint32)
        self.generators = words.reshape(blocks, 4, WIDTH)
        self.step = 0

    def advance(self, movement: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Let time pass, and return the spikes.

        Parameters
        ----------
        movement : float32 array of shape (n_steps, LANES)
            How each channel's place on the basilar membrane moves.

        Returns
        -------
        steps : int64 array of shape (n_spikes,)
            Step of each spike since the beginning, ascending.
        channels : int64 array of shape (n_spikes,)
            Its channel, ascending within a step.
        """
        # A bushy cell pauses for REFRACTORY steps after a spike.
        most = WIDTH * (len(movement) // REFRACTORY + 2)
        found = [np.zeros((0, 2), np.int64)]
        for block in range(LANES // WIDTH):
            out = np.empty((most, 2), np.int64)
            part = movement[:, block * WIDTH : (block + 1) * WIDTH]
            state, fired, words = self.state[block], self.fired[block], self.generators[block]
            number = advance_block(part, state.ravel(), fired.ravel(), words.ravel(), self.step, out)
            out[:number, 1] += block * WIDTH
            found.append(out[:number])
        self.step += len(movement)
        spikes = np.concatenate(found)
        # The lanes that only fill up a block have cells too, which are nobody's.
        spikes = spikes[spikes[:, 1] < CHANNELS]
        spikes = spikes[np.lexsort((spikes[:, 1], spikes[:, 0]))]
        return spikes[:, 0], spikes[:, 1]


@numba.njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def binomial(u: float, n: float, p: float) -> float:
    """Return the binomial number of which a uniform number is the cumulative probability.

    Parameters
    ----------
    u : float
        Uniform in [0, 1).
    n : float
        How many may fire.
    p : float
        Probability of each.

    Returns
    -------
    float
        How many fire.
    """
    if p >= 1.0:
        return n
    mass = (1.0 - p) ** n
    total, count = mass, 0.0
    while u >= total and count < n:
        count += 1.0
        mass *= (n - count + 1.0) / count * p / (1.0 - p)
        total += mass
    return count


@numba.njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def release(s: NDArray[np.float32], state: NDArray[np.float32], words: NDArray[np.uint32]) -> None:
    """Advance the hair cells of one block by one step, and draw a random number for each.

    Parameters
    ----------
    s : float32 array of shape (WIDTH,)
        Movement.
    state : float32 array of shape (n_rows * WIDTH,)
        The block's state, row by row, changed in place.
    words : uint32 array of shape (4 * WIDTH,)
        The block's generators, changed in place.
    """
    for i in range(WIDTH):
        drive = max(s[i] + OPEN, ZERO)
        q, c, w = state[i + Q * WIDTH], state[i + C * WIDTH], state[i + W * WIDTH]
        ejected = G_DT * drive / (drive + HALF_OPEN) * q
        reprocessed = X_DT * w
        q = max(q + Y_DT * max(FULL - q, ZERO) - ejected + reprocessed, ZERO)
        w = max(w + R_DT * c - reprocessed, ZERO)
        c = max(c + ejected - LR_DT * c, ZERO)
        state[i + Q * WIDTH], state[i + C * WIDTH], state[i + W * WIDTH] = q, c, w
        state[i + PROBABILITY * WIDTH] = H_DT * c
    for i in range(WIDTH):
        a, b, c, d = words[i], words[i + WIDTH], words[i + 2 * WIDTH], words[i + 3 * WIDTH]
        state[i + DRAW * WIDTH] = np.float32(np.uint32(a + d) >> np.uint32(8)) * UNIT
        shifted = np.uint32(b << np.uint32(9))
        c, d = np.uint32(c ^ a), np.uint32(d ^ b)
        words[i + WIDTH], words[i] = np.uint32(b ^ c), np.uint32(a ^ d)
        words[i + 2 * WIDTH] = np.uint32(c ^ shifted)
        words[i + 3 * WIDTH] = np.uint32(d << np.uint32(11)) | np.uint32(d >> np.uint32(21))


@numba.njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def fire_fibres(state: NDArray[np.float32], fired: NDArray[np.float32], slot: int) -> None:
    """Draw how many fibres of each hair cell fire.

    Parameters
    ----------
    state : float32 array of shape (n_rows * WIDTH,)
        The block's state, changed in place.
    fired : float32 array of shape (REFRACTORY * WIDTH,)
        How many fired in each of the last steps, changed in place.
    slot : int
        The place of this step in `fired`, which holds the step one refractory period ago.
    """
    some = 0
    for i in range(WIDTH):
        free = state[i + FREE * WIDTH] + fired[i + slot * WIDTH]
        fired[i + slot * WIDTH] = ZERO
        state[i + FREE * WIDTH] = free
        state[i + COUNT * WIDTH] = ZERO
        # (1 - p)^n >= 1 - n p: below the bound no fibre fires, whatever the exact probability.
        some += state[i + DRAW * WIDTH] >= ONE - free * state[i + PROBABILITY * WIDTH]
    if some == 0:
        return
    for i in range(WIDTH):
        free, p, u = state[i + FREE * WIDTH], state[i + PROBABILITY * WIDTH], state[i + DRAW * WIDTH]
        if u >= ONE - free * p:
            count = np.float32(binomial(u, free, p))
            fired[i + slot * WIDTH] = count
            state[i + COUNT * WIDTH] = count
            state[i + FREE * WIDTH] = free - count


@numba.njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def integrate(state: NDArray[np.float32]) -> int:
    """Advance the bushy cells of one block by one step.

    Parameters
    ----------
    state : float32 array of shape (n_rows * WIDTH,)
        The block's state, changed in place.

    Returns
    -------
    int
        Number of cells that have spiked.
    """
    some = 0
    for i in range(WIDTH):
        v, pause = state[i + VOLTAGE * WIDTH], state[i + PAUSE * WIDTH]
        spiked = (v >= ONE) & (pause <= ZERO)
        current = state[i + CURRENT * WIDTH] * SYNAPSE + state[i + COUNT * WIDTH]
        pause = DEAD if spiked else pause
        v = ZERO if spiked else v * MEMBRANE
        v += current * WEIGHT if pause <= ZERO else ZERO
        state[i + CURRENT * WIDTH], state[i + VOLTAGE * WIDTH] = current, v
        state[i + PAUSE * WIDTH] = max(pause - ONE, ZERO)
        state[i + SPIKED * WIDTH] = ONE if spiked else ZERO
        some += spiked
    return some


@numba.njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def advance_block(
    movement: NDArray[np.float32],
    state: NDArray[np.float32],
    fired: NDArray[np.float32],
    words: NDArray[np.uint32],
    first: int,
    out: NDArray[np.int64],
) -> int:
    """Advance one block of channels by several steps.

    Parameters
    ----------
    movement : float32 array of shape (n_steps, WIDTH)
        Movement of each channel.
    state, fired, words : arrays
        The block's state, changed in place.
    first : int
        Number of the first step.
    out : int64 array of shape (most, 2)
        Takes the spikes: step and channel within the block.

    Returns
    -------
    int
        Number of spikes.
    """
    number = 0
    for step in range(movement.shape[0]):
        release(movement[step], state, words)
        fire_fibres(state, fired, (first + step) % REFRACTORY)
        if integrate(state):
            for i in range(WIDTH):
                if state[i + SPIKED * WIDTH] == ONE:
                    out[number, 0], out[number, 1] = first + step, i
                    number += 1
    return number
