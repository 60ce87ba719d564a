"""Neurons one unit and one step at a time, in plain float64: slow, and sharing no line with the package."""

import math

import numpy as np

# In the order of the arguments below: tau_mem, tau_second in ms; v_th, v_rest, v_reset, beta, b in mV.
DEFAULTS = {
    "tau_mem": 20.0,
    "tau_second": 5.0,
    "v_th": 1.0,
    "v_rest": 0.0,
    "v_reset": None,
    "beta": 0.2,
    "a": 1.0,
    "b": 0.2,
    "scheme": "euler",
    "reset": "soft",
    "held_steps": 0,
    "drive": "delta",
    "dt": 1.0,
}


def unit(kind, xs, **given):
    """Simulate one unit of `kind` on the inputs `xs` of shape (T,); return spikes and voltages."""
    o = DEFAULTS | given
    v_reset = o["v_rest"] if o["v_reset"] is None else o["v_reset"]
    alpha = math.exp(-o["dt"] / o["tau_mem"])
    second = math.exp(-o["dt"] / o["tau_second"])
    c = 1.0 if o["drive"] == "delta" else 1.0 - alpha
    v, a, i, w, last, idle = o["v_rest"], 0.0, 0.0, 0.0, 0, 0
    spikes, voltages = [], []
    for x in xs:
        if kind == "alif":
            a = second * a + last
        if kind == "cuba":
            i = second * i + x
            x = i
        pull = 0.0
        if kind == "adlif":
            old = w
            w = second * w + (1.0 - second) * o["a"] * (v - o["v_rest"]) + o["b"] * last
            pull = (1.0 - alpha) * (old if o["scheme"] == "euler" else w)
        if last and o["reset"] == "soft":
            v = v - (o["v_th"] - o["v_rest"])
        if last and o["reset"] == "hard":
            v = v_reset
        idle = o["held_steps"] if last else max(idle - 1, 0)
        if idle == 0:
            v = o["v_rest"] + alpha * (v - o["v_rest"]) + c * x - pull
        threshold = o["v_th"] + (o["beta"] * a if kind == "alif" else 0.0)
        last = int(kind != "li" and idle == 0 and v >= threshold)
        spikes.append(last)
        voltages.append(v)
    return np.array(spikes), np.array(voltages)


def layer(kind, xs, per_unit=None, **given):
    """Simulate on inputs of shape (T, ..., n); `per_unit` holds lists of n values."""
    spikes, voltages = np.zeros(xs.shape), np.zeros(xs.shape)
    for index in np.ndindex(xs.shape[1:]):
        own = {name: values[index[-1]] for name, values in (per_unit or {}).items()}
        spikes[(slice(None), *index)], voltages[(slice(None), *index)] = unit(
            kind, xs[(slice(None), *index)], **(given | own)
        )
    return spikes, voltages


def recurrent_gradient_of_voltage(xs, detach, reset, alpha, width=1.0, height=0.3):
    """d V^T / d x^t of one LIF unit without recurrent weights, by the chain rule written out."""
    v, last, tangents = 0.0, 0, np.zeros(len(xs))
    for t, x in enumerate(xs):
        slope = height * max(0.0, width - abs(v - 1.0))
        if reset == "soft":
            inner = 1.0 - (0.0 if detach else slope)
            after = v - last
        elif reset == "hard":
            inner = (1.0 - last) - (0.0 if detach else slope * v)
            after = v * (1 - last)
        else:
            inner, after = 1.0, v
        tangents *= alpha * inner
        tangents[t] = 1.0
        v = alpha * after + x
        last = int(v >= 1.0)
    return tangents


def adlif_gradient_of_voltage(xs, scheme, tau_mem, v_th, tau_w, a, b, width=1.0, height=0.3):
    """d V^T / d parameter of one adLIF unit at rest 0 with a detached soft reset: tangents carried forward.

    Of the time constants, the derivative is along their logarithm.
    """
    names = ("tau_mem", "v_th", "tau_w", "a", "b")
    alpha, rho = math.exp(-1.0 / tau_mem), math.exp(-1.0 / tau_w)
    along = {name: float(name == "tau_mem") * alpha / tau_mem for name in names}
    along_rho = {name: float(name == "tau_w") * rho / tau_w for name in names}
    v, w, last = 0.0, 0.0, 0
    dv, dw = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0.0)
    for x in xs:
        slope = height * max(0.0, width - abs(v - v_th))
        new_w = rho * w + (1 - rho) * a * v + b * last
        acting = w if scheme == "euler" else new_w
        for name in names:
            dz = slope * (dv[name] - float(name == "v_th"))
            new_dw = rho * dw[name] + (1 - rho) * a * dv[name] + b * dz + along_rho[name] * (w - a * v)
            new_dw += (1 - rho) * v * float(name == "a") + last * float(name == "b")
            d_acting = dw[name] if scheme == "euler" else new_dw
            after = dv[name] - last * float(name == "v_th")
            dv[name] = alpha * after - (1 - alpha) * d_acting + along[name] * (v - v_th * last + acting)
            dw[name] = new_dw
        v, w = alpha * (v - v_th * last) + x - (1 - alpha) * acting, new_w
        last = int(v >= v_th)
    return dv
