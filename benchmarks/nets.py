"""The net that is measured, its weights and its data: the same on every side."""

from dataclasses import dataclass
from typing import Any

import brainstate
import braintools
import jax
import jax.numpy as jnp
import numpy as np

from snntrace.neurons import ALIF, LIF, Recurrent
from snntrace.nn import Linear

NEURONS = {"LIF": LIF, "ALIF": ALIF}
SEED = 0


@dataclass(frozen=True)
class Shape:
    """Sizes of the net, the batch and the sequence, and the share of steps in which an input spikes.

    `drive` multiplies the input weights, for data whose activity is far from what the initialisation assumes.
    """

    n_in: int = 700
    n: int = 256
    n_out: int = 20
    batch: int = 64
    steps: int = 100
    input_rate: float = 0.02
    drive: float = 1.0

    def __str__(self) -> str:
        return (
            f"{self.n_in}-{self.n}-{self.n_out}, batch {self.batch}, T = {self.steps}, "
            f"{self.input_rate:.0%} input spikes"
        )


class Net(brainstate.nn.Module):
    """A recurrent layer of spiking units and a linear read-out of its spikes.

    The recurrent layer's weights are drawn by its own default, fluctuation-driven initialisation (standard
    deviations 10 and 2 thresholds over the root of the fan-in, scaled to the membrane), from a fixed seed.
    """

    def __init__(self, kind: str, shape: Shape) -> None:
        super().__init__()
        with brainstate.random.seed_context(SEED):
            self.recurrent = Recurrent(shape.n_in, NEURONS[kind](shape.n))
            self.readout = Linear(shape.n, shape.n_out)
        self.recurrent.w_in.value = self.recurrent.w_in.value * shape.drive

    def update(self, x: Any) -> jax.Array:
        return self.readout(self.recurrent(x))


def spikes_and_labels(shape: Shape) -> tuple[jax.Array, jax.Array]:
    """Return Poisson-like input spikes (T, batch, n_in) and a label for each step and sample (T, batch)."""
    rng = np.random.default_rng(SEED)
    xs = rng.random((shape.steps, shape.batch, shape.n_in)) < shape.input_rate
    labels = rng.integers(0, shape.n_out, (shape.steps, shape.batch))
    return jnp.asarray(xs, jnp.float32), jnp.asarray(labels, jnp.int32)


def loss(outs: Any, labels: Any) -> jax.Array:
    """Return the cross-entropy, averaged over all steps and samples that there are."""
    return jnp.mean(braintools.metric.softmax_cross_entropy_with_integer_labels(outs, labels))


def activity(kind: str, shape: Shape, xs: jax.Array) -> float:
    """Return the share of steps in which a hidden unit spikes."""
    layer = Net(kind, shape).recurrent
    brainstate.nn.init_all_states(layer, batch_size=shape.batch)
    run = brainstate.transform.jit(lambda inputs: brainstate.transform.for_loop(layer, inputs))
    return float(run(xs).mean())
