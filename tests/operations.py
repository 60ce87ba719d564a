"""Small nets with every operation, and an oracle that knows none of them.

The oracle takes the plain step of a net, differentiates it as a whole in float64, and adds up the traces in
numpy, one number for each pair of a state and a parameter:

    eps^t = D^t eps^(t-1) + dh^t / dp,        grad p = sum_t L^t . eps^t + dloss^t / dp
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import brainevent
import brainstate
import brainunit as u
import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import oracles
from jax.experimental import sparse as jax_sparse
from nets import double_precision, loss, spike, streamed

import snntrace
from snntrace.events import CSRWeight, FanOutWeight, event_matmul

T, B, N_OUT, WINDOW = 9, 2, 3, 4
ORDERS = ("streaming", "window", "sequence")


def draw(*shape, seed=0, scale=1.0):
    """Draw numbers that float32 holds exactly."""
    values = np.random.default_rng([seed, *shape]).normal(0, scale, shape)
    return values.astype(np.float32).astype(float)


# Cells -----------------------------------------------------------------------------------------


class LIF:
    """v' = leak (v - v_th z) + I, the reset detached."""

    states = "v"

    def out(self, h, p):
        return spike(h[0] - p.get("v_th", 1.0))

    def step(self, h, current, p):
        v, z = h[0], jax.lax.stop_gradient(self.out(h, p))
        return (p.get("leak", 0.9) * (v - p.get("v_th", 1.0) * z) + current,)


class ALIF:
    """a' = .95 a + z, v' = leak (v - v_th z) + I; z = S(v - v_th - .3 a), detached in v'."""

    states = "va"

    def out(self, h, p):
        return spike(h[0] - p.get("v_th", 1.0) - 0.3 * h[1])

    def step(self, h, current, p):
        (v, a), z = h, self.out(h, p)
        after = v - p.get("v_th", 1.0) * jax.lax.stop_gradient(z)
        return p.get("leak", 0.9) * after + current, 0.95 * a + z


class Tanh:
    """v' = leak v + .3 tanh(v) + I, read as tanh(v - v_th): smooth."""

    states = "v"

    def out(self, h, p):
        return jnp.tanh(h[0] - p.get("v_th", 0.0))

    def step(self, h, current, p):
        return (p.get("leak", 0.6) * h[0] + 0.3 * jnp.tanh(h[0]) + 0.7 * (current - 0.2),)


CELLS = {"LIF": LIF(), "ALIF": ALIF(), "tanh": Tanh()}


# Nets ------------------------------------------------------------------------------------------


@dataclass
class Net:
    """An operation in front of units.

    `current(p, x, z)` gives the units' input of parameters p, input x and the units' last output z, which is
    None where a net is not recurrent; `read(p, z)` is added to the read-out. `reference` is `current` in a
    form that JAX can differentiate forward, if it is another. `exact` asks for ``nondiagonal="exact"``.
    """

    params: dict
    current: Callable
    units: tuple = (5,)
    inputs: tuple | Callable = (4,)
    recurrent: bool = False
    read: Callable | None = None
    reference: Callable | None = None
    fast: bool = False
    exact: bool = False

    @cached_property
    def xs(self):
        rng = np.random.default_rng(1)
        if callable(self.inputs):
            return self.inputs(rng)
        return (rng.random((T, B, *self.inputs)) < 0.5).astype(float)

    @cached_property
    def ys(self):
        return draw(T, B, N_OUT, seed=2)

    @cached_property
    def out(self):
        return draw(int(np.prod(self.units)), N_OUT, seed=3, scale=0.7)

    @cached_property
    def scale(self):
        """The factor and shift that bring currents to where units spike and do not saturate."""
        p = {k: jnp.asarray(v) for k, v in self.params.items()}
        z = jnp.zeros((B, *self.units)) if self.recurrent else None
        found = np.stack([np.asarray(self.current(p, jnp.asarray(x), z)) for x in self.xs])
        gain = 0.6 / found.std()
        return float(np.float32(gain)), float(np.float32(0.25 - gain * found.mean()))

    def drive(self, p, x, z):
        gain, shift = self.scale
        current = gain * self.current(p, x, z if self.recurrent else None) + shift
        return current.reshape(B, *self.units)

    def result(self, p, z):
        found = z.reshape(B, -1) @ jnp.asarray(self.out, z.dtype)
        return found if self.read is None else found + self.read(p, z)


class Model(brainstate.nn.Module):
    """A net as a user would write it."""

    def __init__(self, net, cell):
        super().__init__()
        _ = net.scale  # chosen here, outside of any transformation
        self.net, self.cell = net, cell
        dtype = brainstate.environ.dftype()
        self.params = {k: brainstate.ParamState(jnp.asarray(v, dtype)) for k, v in net.params.items()}

    def init_state(self, *args, **kwargs):
        shape = (B, *self.net.units)
        for name in self.cell.states:
            setattr(self, name, brainstate.HiddenState(jnp.zeros(shape, brainstate.environ.dftype())))

    def update(self, x):
        p = {k: s.value for k, s in self.params.items()}
        states = [getattr(self, name) for name in self.cell.states]
        h = tuple(s.value for s in states)
        new = self.cell.step(h, self.net.drive(p, x, self.cell.out(h, p)), p)
        for state, value in zip(states, new, strict=True):
            state.value = value
        return self.net.result(p, self.cell.out(new, p))


# The oracle ------------------------------------------------------------------------------------


def forward_jacobian(function, p):
    """Differentiate along one element of each parameter after the other, leading axes those of the result.

    Not with `jax.jacobian`: not every operation can be mapped, and the transposes of some are wrong in JAX.
    """
    flat, unravel = jax.flatten_util.ravel_pytree(p)
    columns = jax.lax.map(
        lambda e: jax.jvp(function, (p,), (unravel(e),))[1], jnp.eye(flat.size, dtype=flat.dtype)
    )
    lead = columns.shape[1:]
    along = jnp.moveaxis(columns, 0, -1).reshape(-1, flat.size)
    found = jax.vmap(unravel)(along)
    return {k: v.reshape(*lead, *p[k].shape) for k, v in found.items()}


def trace_gradients(net, cell):
    """Sum the traces in float64.

    Returns the gradients, the outputs z (T, B, *units), and the gradients of backpropagation through time,
    which are the same where a net is not recurrent.
    """
    net = net if net.reference is None else replace(net, current=net.reference)
    _ = net.scale  # chosen here, outside of any transformation
    with double_precision():
        p = {k: jnp.asarray(v, float) for k, v in net.params.items()}
        zeros = jnp.zeros((B, *net.units))
        start = (zeros,) * len(cell.states)

        def step(h, p, x):
            return cell.step(h, net.drive(p, x, cell.out(h, p)), p)

        def step_loss(h, p, y):
            return 0.5 * jnp.sum((net.result(p, cell.out(h, p)) - y) ** 2)

        @jax.jit
        def derivatives(h, p, x, y):
            current = net.drive(p, x, cell.out(h, p))
            ones = [tuple(jnp.ones_like(v) * (i == q) for i, v in enumerate(h)) for q in range(len(h))]
            held = [jax.jvp(lambda h: cell.step(h, current, p), (h,), (one,))[1] for one in ones]
            jacobian = forward_jacobian(lambda p: jnp.stack(step(h, p, x)), p)
            new = step(h, p, x)
            signal, direct = jax.grad(step_loss, (0, 1))(new, p, y)
            return new, held, jacobian, signal, direct, cell.out(new, p)

        def total(p):
            h, value = start, 0.0
            for x, y in zip(jnp.asarray(net.xs), jnp.asarray(net.ys), strict=True):
                h = step(h, p, x)
                value = value + step_loss(h, p, y)
            return value

        h, eps, outs = start, None, []
        grads = {k: np.zeros(v.shape) for k, v in net.params.items()}
        for x, y in zip(jnp.asarray(net.xs), jnp.asarray(net.ys), strict=True):
            h, held, jacobian, signal, direct, out = derivatives(h, p, x, y)
            d = np.stack([np.stack(column) for column in held], 1)  # (s, q, batch, *units)
            lead = d.shape[1:]
            flat = {k: np.asarray(v).reshape(*lead, -1) for k, v in jacobian.items()}
            if eps is None:
                eps = flat
            else:
                eps = {k: np.einsum("sq...,q...w->s...w", d, eps[k]) + flat[k] for k in flat}
            at = np.stack(signal)
            for k in grads:
                inner = np.tensordot(at, eps[k], at.ndim)
                grads[k] += inner.reshape(grads[k].shape) + np.asarray(direct[k])
            outs.append(np.asarray(out))
        exact = {k: np.asarray(v) for k, v in jax.jit(lambda p: forward_jacobian(total, p))(p).items()}
        return grads, np.stack(outs), exact


def finite_differences(net, cell, direction, size=1e-5):
    """Differentiate the loss of the whole sequence along a direction, in float64."""
    with double_precision():

        @jax.jit
        def total(p):
            h, value = (jnp.zeros((B, *net.units)),) * len(cell.states), 0.0
            for x, y in zip(jnp.asarray(net.xs), jnp.asarray(net.ys), strict=True):
                h = cell.step(h, net.drive(p, x, cell.out(h, p)), p)
                value = value + 0.5 * jnp.sum((net.result(p, cell.out(h, p)) - y) ** 2)
            return value

        up, down = (
            {k: jnp.asarray(v + sign * size * direction[k], float) for k, v in net.params.items()}
            for sign in (1, -1)
        )
        return float(total(up) - total(down)) / (2 * size)


def assert_alive(outs, cell):
    """Hold a net's activity between bounds."""
    activity = float(np.abs(outs).mean())
    low, high = (0.05, 0.9) if isinstance(cell, Tanh) else (0.03, 0.6)
    assert low < activity < high, f"activity {activity:.3f}"


# Measuring -------------------------------------------------------------------------------------


def learnt(net, cell, orders=ORDERS, rule=snntrace.D_RTRL, **options):
    """Return the gradients of each order, by parameter."""
    model = Model(net, cell)
    dtype = brainstate.environ.dftype()
    xs, ys = jnp.asarray(net.xs), jnp.asarray(net.ys, dtype)
    xs = xs if jnp.issubdtype(xs.dtype, jnp.integer) else xs.astype(dtype)
    found = {}
    if net.exact:
        options["nondiagonal"] = "exact"
    for order in orders:
        window = {"window": WINDOW} if order == "window" else {}
        learner = snntrace.compile(model, rule, xs[0], batch_size=B, **window, **options)
        if order == "streaming":
            grads, _ = streamed(learner, model, xs, ys)
        else:
            grads = learner.value_and_grad(loss)(xs, ys)[1]
        found[order] = {path[-1]: np.asarray(value) for path, value in grads.items()}
    return found


def errors(name, cell_name, orders=ORDERS):
    """Compare the orders with the oracle; return the largest relative error of each, over parameters."""
    net, cell = NETS[name], CELLS[cell_name]
    expected, outs, exact = trace_gradients(net, cell)
    assert_alive(outs, cell)
    for k, value in expected.items():
        assert np.abs(value).max() > 1e-3, f"{name}: the gradient of {k} is zero"
        equal = oracles.relative_error(value, exact[k]) < 1e-9
        assert equal or net.recurrent, f"{name}: the oracle's gradient of {k} is not backpropagation's"
    if cell_name == "tanh" and not net.recurrent:
        direction = {k: draw(*v.shape, seed=7) for k, v in net.params.items()}
        along = sum(float(np.sum(expected[k] * direction[k])) for k in expected)
        assert abs(finite_differences(net, cell, direction) / along - 1) < 1e-6
    found = learnt(net, cell, orders)
    return {
        order: max(oracles.relative_error(grads[k], expected[k]) for k in expected)
        for order, grads in found.items()
    }


# Operations ------------------------------------------------------------------------------------

W = draw(4, 5)
MASK = (np.random.default_rng(5).random((6, 5)) < 0.5).astype(float)
PRE, POST = (a.astype(np.int32) for a in np.nonzero(MASK))
STARTS = np.searchsorted(PRE, np.arange(7)).astype(np.int32)
SIGNS = np.array([1.0, -1, 1, -1])[:, None]


def conv(x, w, **options):
    """Convolve channels-first images."""
    n = x.ndim - 2
    given = {"window_strides": (1,) * n, "padding": "VALID", **options}
    return jax.lax.conv_general_dilated(x, w, **given)


def labels(*shape, high):
    return lambda rng: rng.integers(0, high, (T, B, *shape)).astype(np.int32)


def standardised(w, gain):
    mean, std = w.mean(0, keepdims=True), w.std(0, keepdims=True)
    return gain * (w - mean) / (std + 0.1)


def windows(x):
    return jnp.stack([x[:, i : i + 3] for i in range(x.shape[1] - 2)], 1)


@snntrace.register_operation(weight=1, axes="bpc,bpo->pco", patches=windows, kind="local product")
def local(x, w):
    return jnp.einsum("bpc,pco->bpo", windows(x), w)


@jax.custom_vjp
def handmade(w, x):
    return x @ w


handmade.defvjp(lambda w, x: (x @ w, (w, x)), lambda kept, ct: (kept[1].T @ ct, ct @ kept[0].T))
custom = snntrace.register_operation(handmade, weight=0, axes="...i,...o->io", kind="handmade product")


def events_of_rows(p, x):
    targets = np.array([[0, 3], [1, 4], [2, 0], [4, 2], [3, 1], [2, 4]])
    return event_matmul(x, FanOutWeight.of(targets, p["w"], 5))


NETS = {
    "product": Net({"w": W, "b": draw(5)}, lambda p, x, z: x @ p["w"] + p["b"], fast=True),
    "product, recurrent": Net(
        {"w": W, "r": draw(5, 5, scale=0.3)},
        lambda p, x, z: x @ p["w"] + z @ p["r"],
        recurrent=True,
        fast=True,
    ),
    "product over rows": Net({"w": W}, lambda p, x, z: x @ p["w"], units=(3, 5), inputs=(3, 4)),
    "product over several axes": Net(
        {"w": draw(2, 3, 2, 3)},
        lambda p, x, z: jnp.einsum("bij,ijkl->bkl", x, p["w"]),
        units=(2, 3),
        inputs=(2, 3),
    ),
    "product, weight first": Net({"w": W.T}, lambda p, x, z: (p["w"] @ x.T).T),
    "grouped product": Net(
        {"w": draw(3, 4, 5)},
        lambda p, x, z: jnp.einsum("bgi,gio->bgo", x, p["w"]),
        units=(3, 5),
        inputs=(3, 4),
        fast=True,
    ),
    "grouped product over rows": Net(
        {"w": draw(3, 4, 2)},
        lambda p, x, z: jnp.einsum("bpgi,gio->bpgo", x, p["w"]),
        units=(2, 3, 2),
        inputs=(2, 3, 4),
    ),
    "one product a unit": Net(
        {"w": draw(3, 4)}, lambda p, x, z: jnp.einsum("bgi,gi->bg", x, p["w"]), units=(3,), inputs=(3, 4)
    ),
    "convolution 1 d": Net(
        {"w": draw(3, 2, 3), "b": draw(3, 1)},
        lambda p, x, z: conv(x, p["w"], padding="SAME") + p["b"],
        units=(3, 6),
        inputs=(2, 6),
    ),
    "convolution 1 d, stride, dilation": Net(
        {"w": draw(3, 2, 3)},
        lambda p, x, z: conv(x, p["w"], window_strides=(2,), rhs_dilation=(2,), padding=[(2, 1)]),
        units=(3, 4),
        inputs=(2, 8),
    ),
    "convolution 2 d, channels last": Net(
        {"w": draw(2, 3, 2, 3)},
        lambda p, x, z: conv(x, p["w"], padding="SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")),
        units=(4, 3, 3),
        inputs=(4, 3, 2),
        fast=True,
    ),
    "convolution 2 d, groups": Net(
        {"w": draw(6, 2, 2, 2)},
        lambda p, x, z: conv(x, p["w"], feature_group_count=2, window_strides=(1, 2)),
        units=(6, 3, 2),
        inputs=(4, 4, 4),
    ),
    "convolution 2 d, by channel": Net(
        {"w": draw(3, 1, 2, 2)},
        lambda p, x, z: conv(x, p["w"], feature_group_count=3),
        units=(3, 2, 3),
        inputs=(3, 3, 4),
    ),
    "convolution 3 d": Net(
        {"w": draw(2, 2, 2, 2, 2)},
        lambda p, x, z: conv(x, p["w"]),
        units=(2, 2, 1, 2),
        inputs=(2, 3, 2, 3),
    ),
    "convolution, transposed": Net(
        {"w": draw(3, 2, 2)},
        lambda p, x, z: jax.lax.conv_transpose(
            x, p["w"], (2,), "VALID", dimension_numbers=("NHC", "HIO", "NHC")
        ),
        units=(9, 2),
        inputs=(4, 2),
    ),
    "convolution, recurrent": Net(
        {"w": draw(2, 2, 3), "r": draw(2, 2, 3, scale=0.3)},
        lambda p, x, z: conv(x, p["w"], padding="SAME") + conv(z, p["r"], padding="SAME"),
        units=(2, 5),
        inputs=(2, 5),
        recurrent=True,
        fast=True,
    ),
    "embedding": Net({"w": draw(6, 5)}, lambda p, x, z: p["w"][x], inputs=labels(high=6)),
    "embedding of words": Net(
        {"w": draw(6, 5)}, lambda p, x, z: jnp.take(p["w"], x, axis=0), units=(3, 5), inputs=labels(3, high=6)
    ),
    "look-up in two axes": Net(
        {"w": draw(3, 4, 5)},
        lambda p, x, z: p["w"][x[:, 0], :, x[:, 1]],
        units=(4,),
        inputs=labels(2, high=3),
    ),
    "sparse rows, jax": Net(
        {"w": draw(PRE.size)},
        lambda p, x, z: (jax_sparse.CSR((p["w"], POST, STARTS), shape=(6, 5)).T @ x.T).T,
        inputs=(6,),
    ),
    "sparse rows, brainunit": Net(
        {"w": draw(PRE.size)},
        lambda p, x, z: x @ u.sparse.CSR((p["w"], POST, STARTS), shape=(6, 5)),
        inputs=(6,),
    ),
    "sparse coordinates, brainunit": Net(
        {"w": draw(PRE.size)},
        lambda p, x, z: x @ u.sparse.COO((p["w"], PRE, POST), shape=(6, 5)),
        inputs=(6,),
        fast=True,
    ),
    "sparse coordinates, jax": Net(
        {"w": draw(PRE.size)},
        lambda p, x, z: x @ jax_sparse.BCOO((p["w"], np.stack([PRE, POST], 1)), shape=(6, 5)),
        inputs=(6,),
    ),
    "sparse rows, brainevent": Net(
        {"w": draw(PRE.size)},
        lambda p, x, z: x @ brainevent.CSR((p["w"], POST, STARTS), shape=(6, 5)),
        inputs=(6,),
    ),
    "sparse events, brainevent": Net(
        {"w": draw(PRE.size)},
        lambda p, x, z: brainevent.BinaryArray(x) @ brainevent.CSR((p["w"], POST, STARTS), shape=(6, 5)),
        inputs=(6,),
    ),
    "product of events, brainevent": Net(
        {"w": W}, lambda p, x, z: brainevent.BinaryArray(x) @ p["w"], reference=lambda p, x, z: x @ p["w"]
    ),
    "product of one sample's events, brainevent": Net(
        {"w": W.T},
        lambda p, x, z: jnp.stack([p["w"] @ brainevent.BinaryArray(row) for row in x]),
        reference=lambda p, x, z: x @ p["w"].T,
    ),
    "sparse rows of events": Net(
        {"w": draw(PRE.size)},
        lambda p, x, z: event_matmul(x, CSRWeight.of(STARTS, POST, p["w"], 5)),
        inputs=(6,),
    ),
    "sparse rows of events, recurrent": Net(
        {"w": draw(PRE.size), "r": draw(5, 5, scale=0.3)[MASK[:5] > 0]},
        lambda p, x, z: (
            event_matmul(x, CSRWeight.of(STARTS, POST, p["w"], 5))
            + event_matmul(z, CSRWeight.of(STARTS[:6], POST[: STARTS[5]], p["r"], 5))
        ),
        inputs=(6,),
        recurrent=True,
    ),
    "fixed fan-out of events": Net({"w": draw(6, 2)}, lambda p, x, z: events_of_rows(p, x), inputs=(6,)),
    "product of events": Net({"w": W}, lambda p, x, z: event_matmul(x, p["w"])),
    "low rank": Net({"p": draw(4, 2), "q": draw(2, 5)}, lambda p, x, z: x @ (p["p"] @ p["q"])),
    "low rank beside a fixed matrix": Net(
        {"p": draw(4, 2), "q": draw(2, 5)},
        lambda p, x, z: x @ W + x @ p["p"] @ p["q"] * 0.5,
    ),
    "three products in a row": Net(
        {"p": draw(4, 2), "q": draw(2, 3)}, lambda p, x, z: x @ p["p"] @ p["q"] @ draw(3, 5)
    ),
    "masked": Net(
        {"w": draw(6, 5)}, lambda p, x, z: x @ (p["w"] * jnp.asarray(MASK, p["w"].dtype)), inputs=(6,)
    ),
    "signed": Net({"w": W}, lambda p, x, z: x @ (jnp.abs(p["w"]) * jnp.asarray(SIGNS, p["w"].dtype))),
    "weight-standardised": Net(
        {"w": W, "gain": 1 + 0.3 * draw(5)}, lambda p, x, z: x @ standardised(p["w"], p["gain"])
    ),
    "weight-standardised convolution": Net(
        {"w": draw(3, 2, 2), "gain": 1 + 0.3 * draw(2)},
        lambda p, x, z: conv(
            x, standardised(p["w"], p["gain"]), dimension_numbers=("NHC", "HIO", "NHC"), padding="SAME"
        ),
        units=(5, 2),
        inputs=(5, 2),
    ),
    "transposed": Net({"w": W.T}, lambda p, x, z: x @ p["w"].T),
    "one weight twice": Net({"w": W}, lambda p, x, z: x @ p["w"] + jnp.cos(x) @ p["w"]),
    "one weight twice, in time and space": Net(
        {"w": draw(5, 5)}, lambda p, x, z: x @ p["w"] + 0.3 * z @ p["w"].T, inputs=(5,), recurrent=True
    ),
    "one kernel in two convolutions": Net(
        {"w": draw(2, 2, 3)},
        lambda p, x, z: (
            conv(x, p["w"], padding="SAME") + conv(x, p["w"], padding=[(2, 2)], rhs_dilation=(2,))
        ),
        units=(2, 5),
        inputs=(2, 5),
    ),
    "embedding that is the read-out too": Net(
        {"w": draw(6, 5)},
        lambda p, x, z: p["w"][x],
        inputs=labels(high=6),
        read=lambda p, z: 0.3 * z @ p["w"][:N_OUT].T,
        fast=True,
    ),
    "gain and bias before a product": Net(
        {"g": 1 + 0.3 * draw(4), "b": draw(4), "w": W},
        lambda p, x, z: (x * p["g"] + p["b"]) @ p["w"],
        fast=True,
    ),
    "gain behind a product": Net(
        {"g": 1 + 0.3 * draw(5), "w": W},
        lambda p, x, z: (x @ p["w"]) * p["g"],
    ),
    "gain and bias for each channel": Net(
        {"g": 1 + 0.3 * draw(3, 1), "b": draw(3, 1), "w": draw(3, 2, 3)},
        lambda p, x, z: conv(x, p["w"], padding="SAME") * p["g"] + p["b"],
        units=(3, 5),
        inputs=(2, 5),
    ),
    "threshold": Net({"w": W, "v_th": 1 + 0.1 * draw(5)}, lambda p, x, z: x @ p["w"], fast=True),
    "leak": Net({"w": W, "leak": 0.7 + 0.05 * draw(5)}, lambda p, x, z: x @ p["w"]),
    "product into a product": Net(
        {"a": draw(4, 3), "b": draw(3), "w": draw(3, 5)},
        lambda p, x, z: jnp.tanh(x @ p["a"] + p["b"]) @ p["w"],
        fast=True,
        exact=True,
    ),
    "products into a product": Net(
        {"a": draw(4, 3), "b": draw(3, 3), "w": draw(3, 5)},
        lambda p, x, z: jnp.tanh(jnp.tanh(x @ p["a"]) @ p["b"]) @ p["w"],
        exact=True,
    ),
    "product into a product and beside it": Net(
        {"a": draw(4, 5), "w": draw(5, 5)},
        lambda p, x, z: (y := jnp.tanh(x @ p["a"])) @ p["w"] + y,
        exact=True,
    ),
    "convolution into a convolution": Net(
        {"a": draw(2, 2, 3), "b": draw(2, 1), "w": draw(3, 2, 3)},
        lambda p, x, z: conv(jnp.tanh(conv(x, p["a"], padding="SAME") + p["b"]), p["w"], padding="SAME"),
        units=(3, 4),
        inputs=(2, 4),
        exact=True,
    ),
    "embedding into a product": Net(
        {"a": draw(6, 3), "w": draw(3, 5)},
        lambda p, x, z: jnp.tanh(p["a"][x]) @ p["w"],
        inputs=labels(high=6),
        exact=True,
    ),
    "sparse product into a product": Net(
        {"a": draw(PRE.size), "w": draw(5, 5)},
        lambda p, x, z: jnp.tanh(x @ u.sparse.COO((p["a"], PRE, POST), shape=(6, 5))) @ p["w"],
        inputs=(6,),
        exact=True,
    ),
    "product into a sparse product": Net(
        {"a": draw(4, 6), "w": draw(PRE.size)},
        lambda p, x, z: jnp.tanh(x @ p["a"]) @ u.sparse.CSR((p["w"], POST, STARTS), shape=(6, 5)),
        exact=True,
    ),
    "grouped product into a product": Net(
        {"a": draw(2, 3, 2), "w": draw(4, 5)},
        lambda p, x, z: jnp.tanh(jnp.einsum("bgi,gio->bgo", x, p["a"])).reshape(-1, 4) @ p["w"],
        inputs=(2, 3),
        exact=True,
    ),
    "gate in front of a recurrent product": Net(
        {"w": W, "g": draw(4, 5), "r": draw(5, 5, scale=0.5)},
        lambda p, x, z: x @ p["w"] + (jax.nn.sigmoid(x @ p["g"]) * z) @ p["r"],
        recurrent=True,
        fast=True,
        exact=True,
    ),
    "threshold in front of a recurrent product": Net(
        {"w": W, "v_th": 1 + 0.1 * draw(5), "r": draw(5, 5, scale=0.5)},
        lambda p, x, z: x @ p["w"] + z @ p["r"],
        recurrent=True,
        exact=True,
    ),
    "registered function": Net(
        {"w": draw(4, 3, 2)},
        lambda p, x, z: local(x, p["w"]),
        units=(4, 2),
        inputs=(6,),
    ),
    "registered function with a gradient of its own": Net(
        {"w": W}, lambda p, x, z: custom(p["w"], x), reference=lambda p, x, z: x @ p["w"]
    ),
}
