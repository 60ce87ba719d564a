"""Recurrent cells in plain numpy: a cell's products, its local step, and its traces by central differences.

States are (S, B, n). A cell is two functions: `products(h, x, w)` names every matrix product as (operand,
value), in order; `local(h, y, x, w)` makes the new states from the old ones and the products' values. The
diagonal recursion holds those values.
"""

import numpy as np
import oracles


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def beside(x, h):
    return np.concatenate([x, h], -1)


class NumpyCell:
    """One cell: for each product its matrix and bias among the weights; other weights act unit by unit."""

    STATES = 1
    PRODUCTS = ()

    def products(self, h, x, w):
        found = {}
        for name in self.PRODUCTS:
            operand = self.operand(name, h, x, found)
            value = operand @ w[f"{name}.weight"]
            found[name] = (operand, value + w[f"{name}.bias"] if f"{name}.bias" in w else value)
        return found

    def operand(self, name, h, x, found):
        return beside(x, h[-1])

    def local(self, h, y, x, w):
        raise NotImplementedError

    def step(self, h, x, w):
        values = {name: value for name, (_, value) in self.products(h, x, w).items()}
        return self.local(h, values, x, w)


class VanillaRNN(NumpyCell):
    PRODUCTS = ("W",)

    def local(self, h, y, x, w):
        return np.tanh(y["W"])[None]


class GRU(NumpyCell):
    PRODUCTS = ("Wz", "Wr", "Wh")

    def operand(self, name, h, x, found):
        return beside(x, sigmoid(found["Wr"][1]) * h[0] if name == "Wh" else h[0])

    def local(self, h, y, x, w):
        z = sigmoid(y["Wz"])
        return (1 - z) * h + z * np.tanh(y["Wh"])


class GRUAfter(GRU):
    PRODUCTS = ("Wz", "Wr", "Wh", "Uh")

    def operand(self, name, h, x, found):
        return {"Wh": x, "Uh": h[0]}.get(name, beside(x, h[0]))

    def local(self, h, y, x, w):
        z = sigmoid(y["Wz"])
        return (1 - z) * h + z * np.tanh(y["Wh"] + sigmoid(y["Wr"]) * y["Uh"])


class MGU(NumpyCell):
    PRODUCTS = ("Wf", "Wh")

    def operand(self, name, h, x, found):
        return beside(x, sigmoid(found["Wf"][1]) * h[0] if name == "Wh" else h[0])

    def local(self, h, y, x, w):
        f = sigmoid(y["Wf"])
        return (1 - f) * h + f * np.tanh(y["Wh"])


class MinimalRNN(NumpyCell):
    PRODUCTS = ("Wx", "Uh", "Uz")

    def operand(self, name, h, x, found):
        return {"Wx": x, "Uh": h[0]}[name] if name != "Uz" else np.tanh(found["Wx"][1])

    def local(self, h, y, x, w):
        gate = sigmoid(y["Uh"] + y["Uz"])
        return gate * h + (1 - gate) * np.tanh(y["Wx"])


class LSTM(NumpyCell):
    STATES = 2
    PRODUCTS = ("Wi", "Wg", "Wf", "Wo")

    def local(self, h, y, x, w):
        c = sigmoid(y["Wf"] + 1) * h[0] + sigmoid(y["Wi"]) * np.tanh(y["Wg"])
        return np.stack([c, sigmoid(y["Wo"]) * np.tanh(c)])


class URLSTM(NumpyCell):
    STATES = 2
    PRODUCTS = ("Wf", "Wr", "Wu", "Wo")

    def local(self, h, y, x, w):
        f, r = sigmoid(y["Wf"] + w["forget_bias"]), sigmoid(y["Wr"] - w["forget_bias"])
        g = 2 * r * f + (1 - 2 * r) * f**2
        c = g * h[0] + (1 - g) * np.tanh(y["Wu"])
        return np.stack([c, sigmoid(y["Wo"]) * np.tanh(c)])


class CFN(NumpyCell):
    PRODUCTS = ("Wf", "Wi", "Wh")

    def operand(self, name, h, x, found):
        return x if name == "Wh" else beside(x, h[0])

    def local(self, h, y, x, w):
        return sigmoid(y["Wf"]) * np.tanh(h) + sigmoid(y["Wi"]) * np.tanh(y["Wh"])


class MiniGRU(NumpyCell):
    PRODUCTS = ("Wz", "Wh")

    def operand(self, name, h, x, found):
        return x

    def local(self, h, y, x, w):
        z = sigmoid(y["Wz"])
        return (1 - z) * h + z * y["Wh"]


class MiniLSTM(MiniGRU):
    PRODUCTS = ("Wf", "Wi", "Wh")

    def local(self, h, y, x, w):
        f, i = sigmoid(y["Wf"]), sigmoid(y["Wi"])
        return (f * h + i * y["Wh"]) / (f + i)


def lru(weights, xs, h):
    """Run the linear recurrent unit in complex numbers; return its outputs."""
    leak = np.exp(-np.exp(weights["nu"]) + 1j * np.exp(weights["theta"]))
    b, c = weights["B_re"] + 1j * weights["B_im"], weights["C_re"] + 1j * weights["C_im"]
    outs = []
    for x in xs:
        h = leak * h + np.exp(weights["gamma"]) * (x @ b)
        outs.append((h @ c).real + x @ weights["D.weight"])
    return np.stack(outs)


def run(cell, weights, xs, h):
    """Return the last state of every step, (T, B, n): the cell's output."""
    outs = []
    for x in xs:
        h = cell.step(h, x, weights)
        outs.append(h[-1])
    return np.stack(outs)


def by_unit(function, value):
    """Differentiate states (S, B, n) along states (Q, B, n) at the same unit: (S, Q, B, n)."""
    value, eps = np.array(value, float), 1e-6
    columns = []
    for q in range(value.shape[0]):
        up, down = value.copy(), value.copy()
        up[q] += eps
        down[q] -= eps
        columns.append((function(up) - function(down)) / (2 * eps))
    return np.stack(columns, 1)


def trace_gradients(cell, weights, xs, ys, h):
    """Sum the diagonal recursion's traces under the loss sum (h - y)^2 / 2 of the last state.

    eps^t = D^t eps^(t-1) + Df^t x^t with the products held; the gradient is L . D eps^(t-1), plus the whole
    derivative of the step's own loss.
    """
    batch, n = h.shape[1:]
    eps, grads = {}, {name: np.zeros(np.shape(w)) for name, w in weights.items()}
    for name, w in weights.items():
        rows = (np.shape(w)[0],) if name.endswith(".weight") else ()
        eps[name] = np.zeros((cell.STATES, batch, *rows, n))
    for x, target in zip(xs, ys, strict=True):
        found = cell.products(h, x, weights)
        values = {name: value for name, (_, value) in found.items()}
        d = by_unit(lambda old, values=values, x=x: cell.local(old, values, x, weights), h)
        new = cell.step(h, x, weights)
        error = new[-1] - target
        for name, w in weights.items():
            inside = oracles.central_difference(
                lambda v, name=name, x=x, h=h: cell.step(h, x, weights | {name: v})[-1], w
            )
            grads[name] += np.tensordot(error, inside, 2)
            grown, operand = own_part(cell, weights, name, h, values, found, x)
            spread = d if eps[name].ndim == 3 else d[:, :, :, None]
            past = (spread * eps[name][None]).sum(1)
            signal = error if eps[name].ndim == 3 else error[:, None]
            grads[name] += (signal * past[-1]).sum(0)
            eps[name] = past + (grown if operand is None else grown[:, :, None] * operand[None, ..., None])
        h = new
    return grads


def own_part(cell, weights, name, h, values, found, x):
    """Return Df and the operand of a weight; for one that acts unit by unit, its own derivative."""
    product, _, kind = name.partition(".")
    if not kind:
        base = np.broadcast_to(weights[name], h.shape[1:])
        return by_unit(lambda v: cell.local(h, values, x, weights | {name: v[0]}), base[None])[:, 0], None
    df = by_unit(lambda y: cell.local(h, values | {product: y[0]}, x, weights), values[product][None])[:, 0]
    return df, found[product][0] if kind == "weight" else None
