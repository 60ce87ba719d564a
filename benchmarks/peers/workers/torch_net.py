"""What the torch peers share: the triangular surrogate, fixed layers, and loss with gradients."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from serving import SURROGATE_HEIGHT, THREADS, Problem, Training


class Triangle(torch.autograd.Function):
    """A step whose derivative is a triangle."""

    @staticmethod
    def forward(ctx: Any, distance: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(distance)
        return (distance > 0).to(distance.dtype)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
        (distance,) = ctx.saved_tensors
        return grad * SURROGATE_HEIGHT * torch.relu(1.0 - distance.abs())


def spike(distance: torch.Tensor) -> torch.Tensor:
    return Triangle.apply(distance)


def set_weight(layer: torch.nn.Linear, weight: np.ndarray) -> torch.nn.Linear:
    """Give a layer a weight (pre, post)."""
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight.T.copy()))
    return layer


def linear(weight: np.ndarray) -> torch.nn.Linear:
    """Return a layer without bias that has a weight (pre, post)."""
    return set_weight(torch.nn.Linear(*weight.shape, bias=False), weight)


def training(
    problem: Problem,
    weights: Sequence[torch.Tensor],
    hidden: Callable[[torch.Tensor], torch.Tensor],
    readout: torch.nn.Module,
    scale: float = 1.0,
) -> Training:
    """Return the batch of a net that makes spikes (T, batch, n) with `hidden`.

    The weights are those of input, recurrence and read-out, (post, pre), the first two times `scale`.
    """
    torch.set_num_threads(THREADS)
    xs = torch.from_numpy(problem.xs)
    labels = torch.from_numpy(problem.labels.astype(np.int64)).flatten()

    def run() -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        outs = readout(hidden(xs))
        loss = torch.nn.functional.cross_entropy(outs.flatten(0, 1), labels)
        return loss.detach(), torch.autograd.grad(loss, weights)

    def activity() -> float:
        # With gradients on, as otherwise the compiler would begin anew.
        return float(hidden(xs).detach().mean())

    def named(grads: tuple[torch.Tensor, ...]) -> dict[str, np.ndarray]:
        scales = {"w_in": scale, "w_rec": scale, "w_out": 1.0}
        return {name: s * g.numpy().T for (name, s), g in zip(scales.items(), grads, strict=True)}

    return Training(run, activity, named)
