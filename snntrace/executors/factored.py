r"""Traces in two factors: what came in and what the units made of it are smoothed apart.

With decays :math:`\alpha_x` and :math:`\alpha_f`,

.. math::

    \epsilon_x^t = \alpha_x \epsilon_x^{t-1} + x^t, \qquad
    \epsilon_f^t = \alpha_f D^t \epsilon_f^{t-1} + (1 - \alpha_f) D_f^t, \qquad
    \epsilon^t \approx \epsilon_x^t \otimes \frac{\epsilon_f^t}{1 - \alpha_f^{\,n}},

where n counts the steps since the trace began: the weights of the smoothed derivatives sum to
:math:`1 - \alpha_f^n`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from snntrace.compiler.perturb import Point
from snntrace.compiler.relations import Operation
from snntrace.executors.layout import Layout
from snntrace.executors.recursion import total

Array = Any


class Post(NamedTuple):
    """The postsynaptic factor.

    `values` are (S, *output shape); `seen` is the sum of the smoothing's weights, one for each sample.
    """

    values: Array
    seen: Array


class Factors(NamedTuple):
    """A trace in two factors; `pre` is (a, f, j), groups a if there are any."""

    pre: Array
    post: Post


@dataclass(frozen=True, eq=False)
class FactoredLayout(Layout):
    """A route of an operation whose trace is kept in two factors.

    `decays` are those of the presynaptic and of the postsynaptic factor.
    """

    decays: tuple[float, float]

    @property
    def operation(self) -> Operation:
        """The relation, which is an operation."""
        return self.route.relation  # type: ignore[return-value]

    @property
    def shape(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Shapes of both factors."""
        return self.operation.sizes[:-1], (self.route.group.n_states, *self.operation.shape)

    @property
    def samples(self) -> tuple[int, ...]:
        """The batch of the group, if it has one."""
        group = self.route.group
        return group.shape[: min(group.n_row_axes, 1)]

    @property
    def form(self) -> str:
        """What one entry of the trace belongs to."""
        pre, post = self.decays
        return f"one for each input and one for each unit, smoothed by {pre:.4g} and {post:.4g}"

    @property
    def n_bytes(self) -> int:
        """Memory of the trace."""
        n = sum(int(np.prod(s, dtype=np.int64)) for s in (*self.shape, self.samples))
        return n * int(np.dtype(self.dtype).itemsize)

    def zero(self) -> Factors:
        """Return a trace that has seen nothing."""
        return Factors(jnp.zeros(self.shape[0], self.dtype), self.zero_post())

    def zero_post(self) -> Post:
        """Return a postsynaptic factor that has seen nothing."""
        return Post(jnp.zeros(self.shape[1], self.dtype), jnp.zeros(self.samples, self.dtype))

    # Samples, rows and outputs -----------------------------------------------------------------

    def spread(self, per_sample: Array) -> Array:
        """Bring one value for each sample to the output's shape; zero where an output reaches no unit."""
        shape = self.route.group.shape
        per_sample = per_sample.reshape(*self.samples, *(1,) * (len(shape) - len(self.samples)))
        return self.at_output(jnp.broadcast_to(per_sample, shape))

    @cached_property
    def _sample_of_row(self) -> np.ndarray[Any, Any]:
        """The sample that each row (a, f) belongs to."""
        with jax.ensure_compile_time_eval():
            samples = jnp.arange(int(np.prod(self.samples, dtype=int)), dtype=np.float32)
            return np.asarray(self.operation.columns(self.spread(samples)).max(-1)).astype(np.int64)

    def at_rows(self, per_sample: Array) -> Array:
        """Bring one value for each sample to the rows, (a, f, 1)."""
        return per_sample.reshape(-1)[self._sample_of_row][..., None]

    def past(self, point: Point, values: Array) -> Array:
        """Set values at the output to zero where a sample began anew."""
        if point.fresh is None:
            return values
        return values * self.spread(point.past(jnp.ones(self.samples, values.dtype)))

    # Steps -------------------------------------------------------------------------------------

    def grow(self, post: Post, found: Any, point: Point | None = None) -> Post:
        """Apply one step to the postsynaptic factor.

        Parameters
        ----------
        post : Post
            The factor.
        found : Coefficients
            D and Df of the group at this step.
        point : Point, optional
            The step's point, if samples may begin anew.

        Returns
        -------
        Post
            The factor after the step.
        """
        decay, df = self.decays[1], found.df[self.site]
        rows = []
        for s, row in enumerate(found.d):
            past = [self.at_output(d) * post.values[q] for q, d in enumerate(row) if d is not None]
            rows.append(decay * total(past, df[s]) + (1 - decay) * df[s])
        seen = post.seen if point is None else point.past(post.seen)
        return Post(jnp.stack(rows), decay * seen + (1 - decay))

    def mean(self, post: Post) -> Array:
        """Divide the smoothed derivatives by the sum of their weights; nothing seen gives zero."""
        seen = self.spread(post.seen)
        return jnp.where(seen > 0, post.values / jnp.where(seen > 0, seen, 1), 0)

    def weigh(self, signal: Sequence[Array], mean: Array) -> Array:
        """Sum signal x postsynaptic factor over states, in the output's shape."""
        terms = [self.at_output(values) * mean[s] for s, values in enumerate(signal)]
        return total(terms, mean[0])

    def advance(self, trace: Factors, found: Any, operand: Array | None) -> Factors:
        """Apply one step to both factors.

        Parameters
        ----------
        trace : Factors
            The trace.
        found : Coefficients
            D and Df of the group at this step.
        operand : array of shape (a, f, j)
            The presynaptic operand.

        Returns
        -------
        Factors
            The trace after the step.
        """
        pre = self.decays[0] * trace.pre + jnp.asarray(operand).astype(self.dtype)
        return Factors(pre, self.grow(trace.post, found))

    def contract(self, signal: Sequence[Array], trace: Factors) -> Array:
        """Multiply the presynaptic factor with signal x postsynaptic factor.

        Parameters
        ----------
        signal : sequence of array of the group's shape
            The learning signal at each state.
        trace : Factors
            The trace.

        Returns
        -------
        array of shape (a, j, k)
            The gradient.
        """
        return self.outer(trace.pre, self.weigh(signal, self.mean(trace.post)))

    def outer(self, pre: Array, output: Array) -> Array:
        """Multiply a presynaptic factor with a value in the output's shape, summed over rows."""
        return jnp.swapaxes(pre, -1, -2) @ self.operation.columns(output)

    def keep(self, trace: Factors, stays: Array) -> Factors:
        """Set the trace of samples that begin anew to zero; `stays` is true for the others."""
        stays = jnp.broadcast_to(jnp.asarray(stays, self.dtype), self.samples)
        post = Post(trace.post.values * self.spread(stays), trace.post.seen * stays)
        return Factors(trace.pre * self.at_rows(stays), post)
