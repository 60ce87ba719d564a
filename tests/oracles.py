"""Eligibility traces one step at a time in plain float64, written from the equations, sharing no line.

Axes: a layer's states are (S, B, n), S states of a unit leading; its traces are (S, B, pre, n).

    eps^t = D^t eps^(t-1) + Df^t x^t          grad W = sum_t L^t . eps^t
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

HEIGHT, WIDTH = 0.3, 1.0


def relative_error(found, expected):
    """Largest absolute difference over the largest absolute value expected."""
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    assert found.shape == expected.shape, (found.shape, expected.shape)
    scale = np.abs(expected).max()
    return float(np.abs(found - expected).max() / scale) if scale > 0 else float(np.abs(found).max())


def assert_close(found, expected, tolerance, alive=1e-6):
    """Hold two dicts of arrays together, array by array; an expectation of all zeros is no test."""
    assert set(found) == set(expected), set(found) ^ set(expected)
    for name, value in expected.items():
        assert np.abs(value).max() > alive, f"{name}: nothing to compare, all zero"
        error = relative_error(found[name], value)
        assert error < tolerance, f"{name}: relative error {error:.3g}"


def assert_alive(nets, spiking=(0.02, 0.5), support=(0.05, 0.95)):
    """Hold every layer's spike rate and its share of units inside the surrogate's support between bounds."""
    for i, layer in enumerate(nets):
        assert spiking[0] <= layer.spike_rate <= spiking[1], (
            f"layer {i}: {layer.spike_rate:.3f} spikes a step"
        )
        assert support[0] <= layer.in_support <= support[1], (
            f"layer {i}: {layer.in_support:.3f} inside the support"
        )


def central_difference(function, value, step=1e-6):
    """Differentiate a scalar or array function of one array, by differences in float64."""
    value = np.array(value, np.float64)
    first = np.asarray(function(value))
    result = np.zeros((*first.shape, *value.shape))
    for index in np.ndindex(value.shape):
        up, down = value.copy(), value.copy()
        up[index] += step
        down[index] -= step
        result[(..., *index)] = (np.asarray(function(up)) - np.asarray(function(down))) / (2 * step)
    return result


def heaviside(u):
    return (u >= 0).astype(np.float64)


def triangle(u):
    return HEIGHT * np.maximum(0.0, WIDTH - np.abs(u))


@dataclass
class Local:
    """A transition and its derivatives with the current held: D (S, S, B, n), the others (S, B, n)."""

    new: Any
    d: Any
    df: Any
    own: dict = field(default_factory=dict)


class Cell:
    """A neuron: `transition` from state to state, and `spike` from state to output."""

    n_states = 1

    def above(self, h, p):
        raise NotImplementedError

    def slope(self, p):
        """Derivative of `above` along each state."""
        raise NotImplementedError

    def spike(self, h, p):
        """Return z, dz/dh (S, B, n) and dz/dv_th (B, n)."""
        u = self.above(h, p)
        psi = triangle(u)
        return heaviside(u), np.stack([s * psi for s in self.slope(p)]), -psi


def leak_of(p):
    """Return the membrane's decay and its derivative along ln tau."""
    tau = np.exp(p["log_tau"])
    alpha = np.exp(-1.0 / tau)
    return alpha, alpha / tau


class LIFCell(Cell):
    """v' = alpha (v - v_th z) + I, the reset detached."""

    def above(self, h, p):
        return h[0] - p["v_th"]

    def slope(self, p):
        return (1.0,)

    def transition(self, h, current, p):
        (v,), (alpha, dalpha) = h, leak_of(p)
        z, _, _ = self.spike(h, p)
        after = v - p["v_th"] * z
        one = np.ones_like(v)
        return Local(
            np.stack([alpha * after + current]),
            (alpha * one)[None, None],
            one[None],
            {"log_tau": (dalpha * after)[None], "v_th": (-alpha * z)[None]},
        )


class ALIFCell(Cell):
    """a' = rho a + z, v' = alpha (v - v_th z) + I; z = S(v - v_th - beta a); states (v, a)."""

    n_states = 2

    def __init__(self, rho, beta):
        self.rho, self.beta = rho, beta

    def above(self, h, p):
        return h[0] - p["v_th"] - self.beta * h[1]

    def slope(self, p):
        return (1.0, -self.beta)

    def transition(self, h, current, p):
        (v, a), (alpha, dalpha) = h, leak_of(p)
        z, psi, by_threshold = self.spike(h, p)
        after, one, nil = v - p["v_th"] * z, np.ones_like(v), np.zeros_like(v)
        return Local(
            np.stack([alpha * after + current, self.rho * a + z]),
            np.stack([np.stack([alpha * one, nil]), np.stack([psi[0], self.rho + psi[1]])]),
            np.stack([one, nil]),
            {
                "log_tau": np.stack([dalpha * after, nil]),
                "v_th": np.stack([-alpha * z, by_threshold]),
            },
        )


class AdLIFCell(Cell):
    """w' = rho w + (1 - rho) a v + b z, v' = alpha (v - v_th z) + I - (1 - alpha) w; states (v, w).

    With `symplectic`, w' stands in the place of w in v'. z is detached in the reset, and not in w'.
    """

    n_states = 2

    def __init__(self, rho, a, b, symplectic=False):
        self.rho, self.a, self.b, self.symplectic = rho, a, b, symplectic

    def above(self, h, p):
        return h[0] - p["v_th"]

    def slope(self, p):
        return (1.0, 0.0)

    def transition(self, h, current, p):
        (v, w), (alpha, dalpha) = h, leak_of(p)
        z, psi, by_threshold = self.spike(h, p)
        after, one, nil = v - p["v_th"] * z, np.ones_like(v), np.zeros_like(v)
        new_w = self.rho * w + (1 - self.rho) * self.a * v + self.b * z
        w_by = [(1 - self.rho) * self.a + self.b * psi[0], self.rho * one, self.b * by_threshold]
        acting, by = (new_w, w_by) if self.symplectic else (w, [nil, one, nil])
        return Local(
            np.stack([alpha * after + current - (1 - alpha) * acting, new_w]),
            np.stack([np.stack([alpha - (1 - alpha) * by[0], -(1 - alpha) * by[1]]), np.stack(w_by[:2])]),
            np.stack([one, nil]),
            {
                "log_tau": np.stack([dalpha * (after + acting), nil]),
                "v_th": np.stack([-alpha * z - (1 - alpha) * by[2], w_by[2]]),
            },
        )


class CurrentLIFCell(Cell):
    """i' = a_syn i + I, v' = alpha (v - v_th z) + i'; states (v, i)."""

    n_states = 2

    def __init__(self, decay):
        self.decay = decay

    def above(self, h, p):
        return h[0] - p["v_th"]

    def slope(self, p):
        return (1.0, 0.0)

    def transition(self, h, current, p):
        (v, i), (alpha, dalpha) = h, leak_of(p)
        z, _, _ = self.spike(h, p)
        after, one, nil = v - p["v_th"] * z, np.ones_like(v), np.zeros_like(v)
        new_i = self.decay * i + current
        return Local(
            np.stack([alpha * after + new_i, new_i]),
            np.stack([np.stack([alpha * one, self.decay * one]), np.stack([nil, self.decay * one])]),
            np.stack([one, one]),
            {"log_tau": np.stack([dalpha * after, nil]), "v_th": np.stack([-alpha * z, nil])},
        )


class ThreeStateCell(Cell):
    """States (v, i, a), each feeding the next in the same step.

    i' = .8 i + I, a' = .9 a + .5 z, v' = alpha (v - v_th z) + i' - .2 a'; z = S(v - v_th - .1 a),
    detached in v'.
    """

    n_states = 3

    def above(self, h, p):
        return h[0] - p["v_th"] - 0.1 * h[2]

    def slope(self, p):
        return (1.0, 0.0, -0.1)

    def transition(self, h, current, p):
        (v, i, a), (alpha, dalpha) = h, leak_of(p)
        z, psi, by_threshold = self.spike(h, p)
        after, one, nil = v - p["v_th"] * z, np.ones_like(v), np.zeros_like(v)
        new_i, new_a = 0.8 * i + current, 0.9 * a + 0.5 * z
        to_a = [0.5 * psi[0], nil, 0.9 + 0.5 * psi[2]]
        to_v = [alpha - 0.2 * to_a[0], 0.8 * one, -0.2 * to_a[2]]
        return Local(
            np.stack([alpha * after + new_i - 0.2 * new_a, new_i, new_a]),
            np.stack([np.stack(to_v), np.stack([nil, 0.8 * one, nil]), np.stack(to_a)]),
            np.stack([one, one, nil]),
            {
                "log_tau": np.stack([dalpha * after, nil, nil]),
                "v_th": np.stack([-alpha * z - 0.1 * by_threshold, nil, 0.5 * by_threshold]),
            },
        )


@dataclass
class Layer:
    """A cell with its weights (pre, post); `w_rec` and `bias` may be None; `log_tau`, `v_th` are (n,)."""

    cell: Cell
    w_in: Any
    w_rec: Any = None
    bias: Any = None
    log_tau: Any = None
    v_th: Any = None
    signal: tuple | None = None
    spike_rate: float = 0.0
    in_support: float = 0.0
    raster: Any = None

    @property
    def own(self):
        return {"log_tau": np.asarray(self.log_tau, float), "v_th": np.asarray(self.v_th, float)}


class LayerRun:
    """A layer that runs, with its traces; with `decays` (x, f), those of its matrices are in two factors.

    epsx^t = x epsx^(t-1) + x^t,  epsf^t = f D^t epsf^(t-1) + (1 - f) Df^t,  eps^t = epsx^t epsf^t / (1 - f^t)
    """

    def __init__(self, layer, batch, recursion, decays=None):
        self.layer, self.recursion, self.decays = layer, recursion, decays
        n_pre, n = layer.w_in.shape
        s = layer.cell.n_states
        self.h = np.zeros((s, batch, n))
        self.eps = {"w_in": np.zeros((s, batch, n_pre, n)), "bias": np.zeros((s, batch, n))}
        self.eps |= {name: np.zeros((s, batch, n)) for name in layer.own}
        if layer.w_rec is not None:
            self.eps["w_rec"] = np.zeros((s, batch, n, n))
        self.steps, self.post = 0, np.zeros((s, batch, n))
        self.pre = {name: np.zeros(e.shape[1:3]) for name, e in self.eps.items() if e.ndim == 4}
        self.grads = {name: np.zeros(e.shape[2:]) for name, e in self.eps.items()}
        self.supports, self.rasters = [], []

    def forward(self, x):
        layer, p = self.layer, self.layer.own
        z_old, psi_old, self.old_by_threshold = layer.cell.spike(self.h, p)
        current = x @ layer.w_in + (0.0 if layer.bias is None else layer.bias)
        if layer.w_rec is not None:
            current = current + z_old @ layer.w_rec
        local = layer.cell.transition(self.h, current, p)
        d = local.d
        if self.recursion == "coupled" and layer.w_rec is not None:
            own_weight = np.diag(layer.w_rec)
            d = d + local.df[:, None] * own_weight * psi_old[None, :]
        operands = {"w_in": x, "w_rec": z_old}
        self.steps += 1
        if self.decays is not None:
            past = np.einsum("sqbi,qbi->sbi", d, self.post)
            self.post = self.decays[1] * past + (1 - self.decays[1]) * local.df
        for name, eps in self.eps.items():
            if name in operands and self.decays is not None:
                self.pre[name] = self.decays[0] * self.pre[name] + operands[name]
                post = self.post / (1 - self.decays[1] ** self.steps)
                self.eps[name] = np.einsum("sbi,bj->sbji", post, self.pre[name])
            elif name in operands:
                past = np.einsum("sqbi,qbji->sbji", d, eps)
                self.eps[name] = past + np.einsum("sbi,bj->sbji", local.df, operands[name])
            else:
                source = local.df if name == "bias" else local.own[name]
                self.eps[name] = np.einsum("sqbi,qbi->sbi", d, eps) + source
        self.h, self.local = local.new, local
        self.z, self.psi, self.by_threshold = layer.cell.spike(self.h, p)
        u = layer.cell.above(self.h, p)
        self.supports.append(np.mean(np.abs(u) < WIDTH))
        self.rasters.append(self.z)
        return self.z

    def backward(self, from_above, projected):
        """Take the signal at the spikes, or a projected one; return the signal at the layer's input."""
        self.grads["v_th"] += (from_above * self.by_threshold).sum(0)
        if projected is None:
            signal = self.psi * from_above
        elif projected[0] == "output":
            signal = self.psi * projected[1]
            self.grads["v_th"] += (projected[1] * self.by_threshold).sum(0)
        else:
            signal = np.broadcast_to(projected[1], self.h.shape)
        for name, eps in self.eps.items():
            expression = "sbi,sbji->ji" if eps.ndim == 4 else "sbi,sbi->i"
            self.grads[name] += np.einsum(expression, signal, eps)
        at_current = (signal * self.local.df).sum(0)
        if self.layer.w_rec is not None:
            # The threshold also acts on the spikes that the recurrent weights carry into this very step.
            self.grads["v_th"] += ((at_current @ self.layer.w_rec.T) * self.old_by_threshold).sum(0)
        return at_current @ self.layer.w_in.T


def trace_gradients(layers, w_out, b_out, xs, ys, recursion="diagonal", decays=None):
    """Run stacked layers and a linear read-out on xs (T, B, n_in) under the loss sum (out - y)^2 / 2.

    With `decays`, traces of matrices are in two factors.
    A layer's `signal` is None, or (entry, kind, B): entry 'state' or 'output', kind 'target' or 'random'.
    Returns outs (T, B, n_out) and one dict of gradients a layer, the read-out's last.
    """
    runs = [LayerRun(layer, xs.shape[1], recursion, decays) for layer in layers]
    outs, grad_w, grad_b = [], np.zeros(w_out.shape), np.zeros(b_out.shape)
    for x, y in zip(xs, ys, strict=True):
        value = x
        for run in runs:
            value = run.forward(value)
        out = value @ w_out + b_out
        error = out - y
        grad_w += value.T @ error
        grad_b += error.sum(0)
        below = error @ w_out.T
        for run in reversed(runs):
            projected = None
            if run.layer.signal is not None:
                entry, kind, matrix = run.layer.signal
                projected = (entry, (y if kind == "target" else error) @ matrix)
            below = run.backward(below, projected)
            if projected is not None:
                # What a projected signal does to the layers below is a question of its own: not asked here.
                below = np.zeros_like(below)
        outs.append(out)
    for run in runs:
        run.layer.spike_rate = float(np.mean(run.rasters))
        run.layer.in_support = float(np.mean(run.supports))
        run.layer.raster = np.stack(run.rasters)
    return np.stack(outs), [*(run.grads for run in runs), {"w_out": grad_w, "b_out": grad_b}]


def coupled_gradients(step, h0, weights, traced, xs, signal):
    """Sum a smooth cell's traces with every derivative by central differences.

    `step(h, x, weights) -> h` maps states (S, n); D is the S x S diagonal block of its full Jacobian.
    `traced` names the weights that meet their own unit's states directly, with an axis of n or a multiple of
    n last: column k belongs to unit k % n. Other weights get what they do within the step. `signal` is L
    (T, S, n).
    """
    states, n = h0.shape
    h = np.array(h0, float)
    units = np.arange(n)
    eps = {name: np.zeros((states, *weights[name].shape)) for name in traced}
    grads = {name: np.zeros(w.shape) for name, w in weights.items()}
    for x, at_state in zip(xs, signal, strict=True):
        jacobian = central_difference(lambda old, x=x: step(old, x, weights), h)
        d = jacobian[:, units, :, units].transpose(1, 2, 0)
        for name, weight in weights.items():
            inside = central_difference(
                lambda w, h=h, x=x, name=name: step(h, x, weights | {name: w}), weight
            )
            grads[name] += np.tensordot(at_state, inside, 2)
            if name not in traced:
                continue
            unit = np.arange(weight.shape[-1]) % n
            past = np.einsum("sqk,q...k->s...k", d[:, :, unit], eps[name])
            grads[name] += np.einsum("sk,s...k->...k", at_state[:, unit], past)
            own = np.moveaxis(np.stack([inside[:, unit[k], ..., k] for k in range(len(unit))]), 0, -1)
            eps[name] = past + own
        h = step(h, x, weights)
    return grads
