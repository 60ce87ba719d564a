"""Small nets with fixed weights, their oracles' layers, and the three ways to run a learner."""

import contextlib

import brainstate
import braintools
import brainunit as u
import jax
import jax.numpy as jnp
import numpy as np
import oracles

import snntrace
from snntrace.neurons import ALIF, LIF, AdLIF, CurrentLIF, FeedForward, Recurrent
from snntrace.nn import Linear


@contextlib.contextmanager
def double_precision():
    """Compute in float64, and put everything back."""
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    try:
        with brainstate.environ.context(precision=64):
            yield
    finally:
        jax.config.update("jax_enable_x64", before)


def spike(value):
    return braintools.surrogate.ReluGrad(alpha=0.3, width=1.0)(value)


def draw_weights(model, gain=0.9, seed=0):
    """Draw every matrix of a model, so that its units spike and do not saturate."""
    rng = np.random.default_rng(seed)
    for state in model.states(brainstate.ParamState).values():
        shape = jnp.shape(jax.tree.leaves(state.value)[0])
        if len(shape) == 2 and not isinstance(state.value, dict):
            scale = gain / np.sqrt(shape[0]) if shape[0] != shape[1] else 0.5 * gain / np.sqrt(shape[0])
            state.value = jnp.asarray(rng.normal(0.3 * scale, 1.5 * scale, shape), state.value.dtype)
    return model


class ThreeState(brainstate.nn.Module):
    """The cell of `oracles.ThreeStateCell`, as a user would write it."""

    def __init__(self, n_in, n):
        super().__init__()
        dtype = brainstate.environ.dftype()
        self.n = n
        self.in_size, self.out_size = (n_in,), (n,)
        self.w_in = brainstate.ParamState(jnp.zeros((n_in, n), dtype))
        self.w_rec = brainstate.ParamState(jnp.zeros((n, n), dtype))
        self.bias = brainstate.ParamState(jnp.zeros((n,), dtype))
        self.log_tau = brainstate.ParamState(jnp.zeros((n,), dtype))
        self.v_th = brainstate.ParamState(jnp.ones((n,), dtype))

    def init_state(self, batch_size=None, **kwargs):
        shape = (self.n,) if batch_size is None else (batch_size, self.n)
        for name in "via":
            setattr(self, name, brainstate.HiddenState(jnp.zeros(shape, brainstate.environ.dftype())))

    def spikes(self):
        return spike(self.v.value - self.v_th.value - 0.1 * self.a.value)

    def update(self, x):
        z = self.spikes()
        alpha = jnp.exp(-1.0 / jnp.exp(self.log_tau.value))
        self.i.value = 0.8 * self.i.value + x @ self.w_in.value + z @ self.w_rec.value + self.bias.value
        self.a.value = 0.9 * self.a.value + 0.5 * z
        after = self.v.value - self.v_th.value * jax.lax.stop_gradient(z)
        self.v.value = alpha * after + self.i.value - 0.2 * self.a.value
        return self.spikes()


class Net(brainstate.nn.Module):
    """Layers, one on the other, and a linear read-out of the last one's spikes."""

    def __init__(self, layers, n_out):
        super().__init__()
        self.layers = layers
        for i, layer in enumerate(layers):
            setattr(self, f"layer{i}", layer)
        # Weights are filled in later: zeros spare the time that compiling random generators takes.
        self.out = Linear(layers[-1].out_size[0], n_out, w_init=0.0)

    def update(self, x):
        for layer in self.layers:
            x = layer(x)
        return self.out(x)


KINDS = ("lif", "alif", "current", "three")


def neuron_of(kind, n, learn):
    learn = ("tau_mem", "v_th") if learn else ()
    if kind == "lif":
        return LIF(n, tau_mem=10 * u.ms, learn=learn)
    if kind == "alif":
        return ALIF(n, tau_mem=10 * u.ms, tau_adapt=30 * u.ms, beta=0.3 * u.mV, learn=learn)
    if kind.startswith("adlif"):
        scheme = "symplectic" if kind.endswith("symplectic") else "euler"
        options = {"a": 3.0, "b": 0.4 * u.mV, "scheme": scheme}
        return AdLIF(n, tau_mem=10 * u.ms, tau_w=30 * u.ms, learn=learn, **options)
    return CurrentLIF(n, tau_mem=10 * u.ms, tau_syn=3 * u.ms, learn=learn)


def cell_of(kind):
    return {
        "lif": oracles.LIFCell(),
        "alif": oracles.ALIFCell(np.exp(-1 / 30), 0.3),
        "adlif": oracles.AdLIFCell(np.exp(-1 / 30), 3.0, 0.4),
        "adlif symplectic": oracles.AdLIFCell(np.exp(-1 / 30), 3.0, 0.4, symplectic=True),
        "current": oracles.CurrentLIFCell(np.exp(-1 / 3)),
        "three": oracles.ThreeStateCell(),
    }[kind]


GAIN = {"lif": 1.0, "alif": 1.1, "adlif": 1.2, "adlif symplectic": 1.2, "current": 0.45, "three": 0.4}


class Case:
    """A net of one kind with drawn weights, inputs and targets, as a model and as oracle layers."""

    def __init__(
        self,
        kind="lif",
        sizes=(6, 8),
        n_out=3,
        batch=3,
        length=12,
        recurrent=True,
        learn=False,
        gain=1.0,
        seed=0,
    ):
        rng = np.random.default_rng(seed)
        self.kind, self.batch, self.recurrent = kind, batch, recurrent
        self.learn = learn or kind == "three"
        gain = gain * GAIN[kind]
        self.layers, modules = [], []
        for n_pre, n in zip(sizes[:-1], sizes[1:], strict=True):
            values = {
                "w_in": rng.normal(0, gain * 1.6 / np.sqrt(n_pre), (n_pre, n)),
                "w_rec": rng.normal(0, gain * 0.8 / np.sqrt(n), (n, n)) if recurrent else None,
                "bias": gain * rng.normal(0.12, 0.1, n),
                "log_tau": np.log(10.0) * np.ones(n) if not self.learn else np.log(rng.uniform(5, 15, n)),
                "v_th": np.ones(n) if not self.learn else rng.uniform(0.8, 1.2, n),
            }
            if recurrent:
                # Strong self-connections, or the coupled recursion could not be told from the diagonal one.
                values["w_rec"][np.arange(n), np.arange(n)] += gain * rng.choice([-0.6, 0.6], n)
            learnt = [k for k, v in values.items() if v is not None and (self.learn or k != "log_tau")]
            values |= {k: values[k].astype(np.float32).astype(float) for k in learnt}
            self.layers.append(oracles.Layer(cell_of(kind), **values))
            if kind == "three":
                modules.append(ThreeState(n_pre, n))
            else:
                neuron = neuron_of(kind, n, self.learn)
                own = {"w_rec_init": 0.0} if recurrent else {}
                modules.append((Recurrent if recurrent else FeedForward)(n_pre, neuron, w_init=0.0, **own))
        self.w_out = rng.normal(0, 1, (sizes[-1], n_out)).astype(np.float32).astype(float)
        self.b_out = rng.normal(0, 0.3, n_out).astype(np.float32).astype(float)
        self.xs = (rng.random((length, batch, sizes[0])) < 0.4).astype(float)
        self.ys = np.eye(n_out)[rng.integers(0, n_out, (length, batch))]
        self.model = Net(modules, n_out)
        self._fill()

    def _fill(self):
        dtype = brainstate.environ.dftype()
        for i, layer in enumerate(self.layers):
            for name, state in self._states(i).items():
                state.value = jnp.asarray(getattr(layer, name), dtype)
        self.model.out.weight.value = {
            "weight": jnp.asarray(self.w_out, dtype),
            "bias": jnp.asarray(self.b_out, dtype),
        }

    def _states(self, i):
        module = getattr(self.model, f"layer{i}")
        states = {"w_in": module.w_in, "bias": module.bias}
        if self.recurrent:
            states["w_rec"] = module.w_rec
        if self.kind == "three":
            states |= {"log_tau": module.log_tau, "v_th": module.v_th}
        elif self.learn:
            states |= {"log_tau": module.neuron.tau_mem, "v_th": module.neuron.v_th}
        return states

    def named(self, grads):
        """Give a learner's gradients the oracle's names."""
        by_state = {id(s): grads[path] for path, s in self.model.states(brainstate.ParamState).items()}
        result = {
            f"{i}.{name}": np.asarray(by_state[id(state)])
            for i in range(len(self.layers))
            for name, state in self._states(i).items()
        }
        last = by_state[id(self.model.out.weight)]
        return result | {"out.w_out": np.asarray(last["weight"]), "out.b_out": np.asarray(last["bias"])}

    def oracle(self, recursion="diagonal", signals=None, decays=None):
        """Return outputs and named gradients of the numpy trace, of what the model trains."""
        for i, layer in enumerate(self.layers):
            layer.signal = None if signals is None else signals[i]
        outs, grads = oracles.trace_gradients(
            self.layers, self.w_out, self.b_out, self.xs, self.ys, recursion, decays
        )
        named = {f"{i}.{k}": grads[i][k] for i in range(len(self.layers)) for k in self._states(i)}
        return outs, named | {f"out.{k}": v for k, v in grads[-1].items()}

    def compile(self, rule, **options):
        dtype = brainstate.environ.dftype()
        return snntrace.compile(
            self.model, rule, jnp.asarray(self.xs[0], dtype), batch_size=self.batch, **options
        )

    @property
    def inputs(self):
        return jnp.asarray(self.xs, brainstate.environ.dftype())

    @property
    def targets(self):
        return jnp.asarray(self.ys, brainstate.environ.dftype())

    def sequence(self, learner, **given):
        """Return outputs and named gradients of one pass over the sequence."""

        def loss_and_outs(outs, ys):
            return loss(outs, ys), outs

        (_, outs), grads = learner.value_and_grad(loss_and_outs, has_aux=True)(
            self.inputs, self.targets, **given
        )
        return np.asarray(outs), self.named(grads)

    def streaming(self, learner, start=0, stop=None, targets=False):
        """Return outputs and named gradients summed over steps, update by update."""
        grads, outs = streamed(
            learner, self.model, self.inputs[start:stop], self.targets[start:stop], targets
        )
        return np.asarray(outs), self.named(grads)


def loss(outs, ys):
    return 0.5 * jnp.sum((outs - ys) ** 2)


def streamed(learner, model, xs, ys, targets=False):
    """Sum ``brainstate.transform.grad`` around `update` over the steps."""
    weights = model.states(brainstate.ParamState)

    def step_loss(x, y):
        out = learner.update(x, y_target=y) if targets else learner.update(x)
        return loss(out, y), out

    @brainstate.transform.jit
    def run(xs, ys):
        def step(total, now):
            grads, out = brainstate.transform.grad(step_loss, weights, has_aux=True)(*now)
            return jax.tree.map(jnp.add, total, grads), out

        zeros = jax.tree.map(jnp.zeros_like, {path: s.value for path, s in weights.items()})
        return brainstate.transform.scan(step, zeros, (xs, ys))

    return run(xs, ys)


def bptt(model, batch_size, xs, ys):
    """Differentiate a plain loop over the model itself: no learner."""
    brainstate.nn.init_all_states(model, batch_size=batch_size)
    weights = model.states(brainstate.ParamState)

    def total():
        return loss(brainstate.transform.for_loop(model, xs), ys)

    return brainstate.transform.jit(lambda: brainstate.transform.grad(total, weights)())()
