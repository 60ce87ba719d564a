"""One training step, and one validation step, as compiled functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import brainstate
import braintools
import jax
import jax.numpy as jnp
import numpy as np

import snntrace
from snntrace.costs import known_costs
from snntrace.crossover import Given, work_of
from snntrace.train.config import TrainConfig, number
from snntrace.train.loss import Score, cross_entropy
from snntrace.train.model import Classifier

RULES = {
    "osttp": snntrace.OSTTP,
    "d_rtrl": snntrace.D_RTRL,
    "ostl": snntrace.OSTLRecurrent,
    "bptt": snntrace.BPTT,
}
FEEDBACK_STREAM = 1
COMPILING = 5.0
"""Time that a layer's kernels take to compile, in s."""


def feedback_matrices(
    config: TrainConfig, n_classes: int, widths: Sequence[int]
) -> list[np.ndarray[Any, Any] | None]:
    r"""Draw OSTTP's feedback matrices, one for each hidden layer; the read-out takes the loss's gradient.

    .. math:: B_{ci} = G_{ci} - \frac{1}{C} \sum_{c'} G_{c'i}, \quad G_{ci} \sim \mathcal N(0, s^2)

    The mean over the classes is taken away, so that the signal of a unit averages to zero over them: it then
    tells classes apart and does not drive the unit as a whole up or down.

    Parameters
    ----------
    config : TrainConfig
        The configuration.
    n_classes : int
        Number of classes.
    widths : sequence of int
        Units of each hidden layer.

    Returns
    -------
    list of (array of shape (n_classes, width) or None)
        One entry for each layer, the read-out's last.
    """
    rng = np.random.default_rng([config.seed, FEEDBACK_STREAM])
    matrices: list[np.ndarray[Any, Any] | None] = []
    for width in widths:
        drawn = rng.normal(0.0, config.feedback_scale, (n_classes, width))
        matrices.append((drawn - drawn.mean(0)).astype(np.float32))
    return [*matrices, None]


def make_learner(
    config: TrainConfig, model: Classifier, shape: tuple[int, int], n_classes: int
) -> snntrace.Learner:
    """Compile a network under the configuration's rule.

    Parameters
    ----------
    config : TrainConfig
        A resolved configuration.
    model : Classifier
        The network.
    shape : (batch, channel)
        Shape of one step's input.
    n_classes : int
        Number of classes.

    Returns
    -------
    Learner
        The learner.
    """
    options: dict[str, Any] = {"path": config.path}
    if config.window is not None:
        options["window"] = config.window
    if config.rule == "osttp":
        matrices = feedback_matrices(config, n_classes, model.widths)
        options.update(B_list=matrices, signal="output", reduction="mean")
    example = jnp.zeros(shape, brainstate.environ.dftype())
    return snntrace.compile(model, RULES[config.rule], example, batch_size=shape[0], **options)


def chosen_path(learner: snntrace.Learner, raster: Any, n_updates: int) -> str:
    """Choose how a run learns: by events where that saves more time than their kernels take to compile.

    Parameters
    ----------
    learner : Learner
        The compiled network.
    raster : array of shape (time, batch, channel)
        A batch that is like the others.
    n_updates : int
        Batches of the run.

    Returns
    -------
    {'event', 'dense'}
        The path.
    """
    engine = learner.engine
    if learner.paths.unstaged:
        return "dense"
    given = [Given(float(np.mean(raster != 0)), True)]
    event, dense = known_costs().seconds(work_of(engine, raster.shape[0], raster.shape[1], given))
    return "event" if n_updates * (dense - event) > COMPILING * len(engine.graph.groups) else "dense"


class Optimiser:
    """Adam with one step size for the hidden layers, one for the read-out, both falling along a cosine.

    Parameters
    ----------
    config : TrainConfig
        A resolved configuration.
    model : Classifier
        The network.
    n_updates : int
        Updates until the step size is zero.
    """

    def __init__(self, config: TrainConfig, model: Classifier, n_updates: int) -> None:
        states = model.states(brainstate.ParamState)
        self.parts = []
        for lr, of_readout in ((number(config.hidden_lr), False), (number(config.lr), True)):
            part = {k: v for k, v in states.items() if (k[0] == "readout") is of_readout}
            schedule = braintools.optim.CosineAnnealingLR(base_lr=lr, T_max=n_updates)
            adam = braintools.optim.Adam(lr=schedule, grad_clip_norm=config.clip)
            adam.register_trainable_weights(part)
            self.parts.append((adam, schedule, tuple(part)))

    def update(self, grads: dict[Any, Any]) -> None:
        """Take one step.

        Parameters
        ----------
        grads : dict
            Gradients, with the keys of the model's parameters.
        """
        for adam, schedule, keys in self.parts:
            adam.step({k: grads[k] for k in keys})
            schedule.step()


def step_labels(labels: jax.Array, mask: jax.Array) -> jax.Array:
    """Return OSTTP's target: the label at every step of the recording, -1 (no target) after its end.

    Parameters
    ----------
    labels : int array of shape (batch,)
        Classes.
    mask : bool array of shape (time, batch)
        True for the steps before a recording's end.

    Returns
    -------
    int array of shape (time, batch)
        The target.
    """
    return jnp.where(mask, labels[None, :], -1)


def train_step(
    config: TrainConfig, learner: snntrace.Learner, optimiser: Optimiser
) -> Callable[[Any, Any, Any], Score]:
    """Make the function that learns from one batch.

    Parameters
    ----------
    config : TrainConfig
        The configuration.
    learner : Learner
        The compiled network.
    optimiser : Optimiser
        Changes its weights.

    Returns
    -------
    callable
        ``f(x, labels, mask) -> Score``, before the update.
    """
    gradient = learner.value_and_grad(cross_entropy, has_aux=True)

    def step(x: Any, labels: Any, mask: Any) -> Score:
        target = {"y_target": step_labels(labels, mask)} if config.rule == "osttp" else {}
        score: Score
        (_, score), grads = gradient(x, labels, mask, **target)
        optimiser.update(grads)
        return score

    jitted: Callable[[Any, Any, Any], Score] = brainstate.transform.jit(step)
    return jitted


def forward(model: Classifier, batch_size: int) -> Callable[[Any], tuple[jax.Array, list[jax.Array]]]:
    """Make the function that runs a batch without learning.

    Parameters
    ----------
    model : Classifier
        The network.
    batch_size : int
        Recordings side by side.

    Returns
    -------
    callable
        ``f(x) -> (outs, spikes)``: the read-out (time, batch, class) in mV, and the spikes of each hidden
        layer (time, batch, neuron). The states are at rest before and after.
    """

    def one(x: Any) -> tuple[jax.Array, list[jax.Array]]:
        out = model.update(x)
        return out, model.spikes()

    def run(x: Any) -> tuple[jax.Array, list[jax.Array]]:
        brainstate.nn.reset_all_states(model, batch_size=batch_size)
        found: tuple[jax.Array, list[jax.Array]] = brainstate.transform.for_loop(one, x)
        brainstate.nn.reset_all_states(model, batch_size=batch_size)
        return found

    return run


def validation_step(model: Classifier, batch_size: int) -> Callable[[Any, Any, Any], tuple[Score, jax.Array]]:
    """Make the function that scores one batch without learning.

    Parameters
    ----------
    model : Classifier
        The network.
    batch_size : int
        Recordings side by side.

    Returns
    -------
    callable
        ``f(x, labels, mask) -> (Score, rates)``, with the sum over the recordings of each hidden layer's mean
        number of spikes a unit and step, (layer,).
    """
    run = forward(model, batch_size)

    def step(x: Any, labels: Any, mask: Any) -> tuple[Score, jax.Array]:
        outs, spikes = run(x)
        weight = mask / jnp.maximum(mask.sum(0), 1)
        rates = jnp.stack([jnp.einsum("tb,tb->", z.mean(2), weight) for z in spikes])
        return cross_entropy(outs, labels, mask)[1], rates

    jitted: Callable[[Any, Any, Any], tuple[Score, jax.Array]] = brainstate.transform.jit(step)
    return jitted
