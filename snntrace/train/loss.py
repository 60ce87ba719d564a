"""What a run minimises."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Score(NamedTuple):
    """Sums over the recordings of a batch.

    Attributes
    ----------
    loss : array of shape ()
        Sum of the cross-entropies, in nat.
    correct : array of shape ()
        Recordings whose class was found.
    number : array of shape ()
        Recordings.
    """

    loss: jax.Array
    correct: jax.Array
    number: jax.Array


def mean_readout(outs: jax.Array, mask: jax.Array) -> jax.Array:
    r"""Average the read-out over the steps of each recording.

    .. math:: \bar y_b = \frac{1}{T_b} \sum_{t < T_b} y_b^t

    Parameters
    ----------
    outs : array of shape (time, batch, class), in mV
        The read-out's voltages.
    mask : bool array of shape (time, batch)
        True for the steps before a recording's end.

    Returns
    -------
    array of shape (batch, class), in mV
        The averages; zero for rows without a step.
    """
    weight = mask.astype(outs.dtype)
    total = jnp.einsum("tbc,tb->bc", outs, weight)
    return total / jnp.maximum(weight.sum(0), 1.0)[:, None]


def cross_entropy(outs: jax.Array, labels: jax.Array, mask: jax.Array) -> tuple[jax.Array, Score]:
    r"""Return the cross-entropy of the averaged read-out.

    .. math:: \ell = -\frac{1}{N} \sum_b \ln \mathrm{softmax}(\bar y_b)_{c_b}

    Parameters
    ----------
    outs : array of shape (time, batch, class), in mV
        The read-out's voltages.
    labels : int array of shape (batch,)
        Classes; negative for rows that do not count.
    mask : bool array of shape (time, batch)
        True for the steps before a recording's end.

    Returns
    -------
    loss : array of shape (), in nat
        The mean over the rows that count.
    score : Score
        The sums.
    """
    logits = mean_readout(outs, mask)
    counts = labels >= 0
    chosen = jnp.maximum(labels, 0)[:, None]
    losses = -jnp.take_along_axis(jax.nn.log_softmax(logits), chosen, axis=1)[:, 0]
    total = jnp.where(counts, losses, 0.0).sum()
    number = counts.sum()
    correct = (counts & (logits.argmax(1) == labels)).sum()
    return total / jnp.maximum(number, 1), Score(total, correct, number)
