"""The ear as the papers write it, in plain float64: slow, and made of nothing of the package."""

import numpy as np
from scipy import integrate, special

C0, ALPHA, A, RHO, DELTA, H, MASS = 1e9, 3.0, 3500.0, 1.0, 0.15, 0.1, 0.05
R0 = DELTA * np.sqrt(C0 * MASS)
DT = 1 / 24_000


def xi(w, c):
    s = C0 * np.exp(-ALPHA * c) - A
    return s - MASS * w**2 - 1j * w * R0 * np.exp(-ALPHA * c / 2)


def g(w, c):
    return w * np.sqrt(RHO / (H * xi(w, c)))


def gathered(w, c):
    """Integrate the phase by quadrature, from what a wave has gathered at the base."""
    # Of a complex function, the real and the imaginary part come together.
    total = integrate.quad(lambda x: g(w, x), 0, c, epsabs=0, epsrel=1e-11, limit=500, complex_func=True)[0]
    return 2 / ALPHA * g(w, 0.0) + total


def velocity(w, c):
    def pressure(at):
        phase = gathered(w, at)
        return np.sqrt(phase / g(w, at)) * special.hankel1(0, phase)

    z = 2 * w / ALPHA * np.sqrt(2 / (H * C0))
    j0, j1, y0, y1 = special.jv(0, z), special.jv(1, z), special.yv(0, z), special.yv(1, z)
    entry = np.sqrt(2 * C0 / H) * (1j * j0 + y0) / (j1 - 1j * y1)
    return 2 * w / xi(w, c) * pressure(c) / pressure(0.0) * entry


def hair_cell(movement, q, c, w):
    """Follow Meddis's three pools; return them and the probability of release after each step."""
    rows = []
    for s in movement:
        k = 2000.0 * max(s + 5.0, 0.0) / (max(s + 5.0, 0.0) + 300.0)
        dq = 5.05 * max(1.0 - q, 0.0) - k * q + 66.3 * w
        dc = k * q - (2500.0 + 6580.0) * c
        dw = 6580.0 * c - 66.3 * w
        q, c, w = q + dq * DT, c + dc * DT, w + dw * DT
        rows.append((q, c, w, 50_000.0 * c * DT))
    return np.array(rows)


def bushy_cell(counts):
    """Integrate nerve spikes; return the voltage after each step and the steps of the cell's spikes."""
    tau_mem, tau_syn, weight = 1e-3, 0.5e-3, 13_000 / 40 * DT
    current = voltage = 0.0
    blocked, voltages, spikes = 0, [], []
    for step, count in enumerate(counts):
        spiked = voltage >= 1 and blocked == 0
        current = current * np.exp(-DT / tau_syn) + count
        voltage = 0.0 if spiked else voltage * np.exp(-DT / tau_mem)
        if spiked:
            blocked = 24
            spikes.append(step)
        if blocked == 0:
            voltage += weight * current
        blocked = max(blocked - 1, 0)
        voltages.append(voltage)
    return np.array(voltages), spikes


def xoshiro(words, n):
    """Draw from xoshiro128+ in Python's own integers."""
    a, b, c, d = (int(word) for word in words)
    mask, drawn = 0xFFFFFFFF, []
    for _ in range(n):
        drawn.append(a + d & mask)
        shifted = b << 9 & mask
        c, d = c ^ a, d ^ b
        b, a = b ^ c, a ^ d
        c, d = c ^ shifted, (d << 11 | d >> 21) & mask
    return drawn
