"""Neurons one unit and one step at a time, in plain float64: slow, and sharing no line with the package."""

import math

import numpy as np

# In the order of the arguments below: tau_mem, tau_second in ms; v_th, v_rest, v_reset, beta in mV.
DEFAULTS = {
    "tau_mem": 20.0,
    "tau_second": 5.0,
    "v_th": 1.0,
    "v_rest": 0.0,
    "v_reset": None,
    "beta": 0.2,
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
    v, a, i, last, idle = o["v_rest"], 0.0, 0.0, 0, 0
    spikes, voltages = [], []
    for x in xs:
        if kind == "alif":
            a = second * a + last
        if kind == "cuba":
            i = second * i + x
            x = i
        if last and o["reset"] == "soft":
            v = v - (o["v_th"] - o["v_rest"])
        if last and o["reset"] == "hard":
            v = v_reset
        idle = o["held_steps"] if last else max(idle - 1, 0)
        if idle == 0:
            v = o["v_rest"] + alpha * (v - o["v_rest"]) + c * x
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
