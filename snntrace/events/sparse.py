"""Weights of which few exist: compressed rows, and a fixed number of targets for each unit."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from snntrace.events.lists import MOST, check_range
from snntrace.events.sparse_products import matrix, sparse_matmul_p
from snntrace.events.spikes import Spikes

Array = Any


@partial(
    jax.tree_util.register_dataclass, data_fields=("starts", "targets", "values"), meta_fields=("n_post",)
)
@dataclass(frozen=True, eq=False)
class CSRWeight:
    r"""Weights compressed by presynaptic unit.

    .. math:: W_{i,j} = \sum_{k = s_i}^{s_{i+1} - 1} w_k \, [j_k = j]

    with starts :math:`s`, targets :math:`j` and values :math:`w`. The class does not look at what the arrays
    hold; make one with `of`, `from_dense` or `from_fan_in`.

    Parameters
    ----------
    starts : int32 array of shape (n_pre + 1,)
        The weights of unit i are ``values[starts[i]:starts[i + 1]]``.
    targets : int32 array of shape (n_weights,)
        Postsynaptic unit of each weight; several weights between two units add up.
    values : float32 or float64 array of shape (n_weights,)
        The weights.
    n_post : int
        Number of postsynaptic units.

    Examples
    --------
    >>> w = CSRWeight.of([0, 2, 3], [0, 2, 1], [1.0, 2.0, 3.0], n_post=3)
    >>> w.todense().tolist()
    [[1.0, 0.0, 2.0], [0.0, 3.0, 0.0]]
    """

    starts: Array
    targets: Array
    values: Array
    n_post: int

    @classmethod
    def of(cls, starts: ArrayLike, targets: ArrayLike, values: ArrayLike, n_post: int) -> Self:
        """Take arrays of your own.

        Parameters
        ----------
        starts : int array of shape (n_pre + 1,)
            Where the weights of each unit begin, and where the last end.
        targets : int array of shape (n_weights,)
            Postsynaptic units.
        values : float array of shape (n_weights,)
            The weights; they may be traced.
        n_post : int
            Number of postsynaptic units.

        Returns
        -------
        CSRWeight
            The weights.

        Raises
        ------
        TypeError
            If starts or targets are not integers, or values are not floats.
        ValueError
            If shapes or entries contradict each other.
        """
        begin, reached, w = np.asarray(starts), np.asarray(targets), jnp.asarray(values)
        _check_kinds("CSRWeight", {"starts": begin, "targets": reached}, w)
        if begin.ndim != 1 or reached.ndim != 1 or begin.size == 0 or w.shape != reached.shape:
            raise ValueError(
                "CSRWeight: starts must have shape (n_pre + 1,), targets and values one shape (n_weights,), "
                f"got starts.shape={begin.shape}, targets.shape={reached.shape} and values.shape={w.shape}. "
                "Give one target and one value for each weight."
            )
        if begin[0] != 0 or begin[-1] != reached.size or (np.diff(begin.astype(np.int64)) < 0).any():
            raise ValueError(
                f"CSRWeight: starts must rise from 0 to the number of weights, got starts={begin} for "
                f"{reached.size} weights. Give the running sum of the weights of each unit, after a 0."
            )
        check_range("CSRWeight", "targets", reached, n_post)
        return cls(jnp.asarray(begin, jnp.int32), jnp.asarray(reached, jnp.int32), w, n_post)

    @classmethod
    def from_dense(cls, w: ArrayLike) -> Self:
        """Keep the elements of a matrix that are not zero.

        Parameters
        ----------
        w : float array of shape (n_pre, n_post)
            The matrix.

        Returns
        -------
        CSRWeight
            The weights that exist.

        Raises
        ------
        ValueError
            If `w` is no matrix.
        """
        full = np.asarray(w)
        if full.ndim != 2:
            raise ValueError(
                f"CSRWeight.from_dense: w must have shape (n_pre, n_post), got w.shape={full.shape}. "
                "Reshape it."
            )
        pre, post = np.nonzero(full)
        starts = np.searchsorted(pre, np.arange(full.shape[0] + 1))
        return cls.of(starts, post, full[pre, post], full.shape[1])

    @classmethod
    def from_fan_in(cls, sources: ArrayLike, values: ArrayLike, n_pre: int) -> Self:
        """Sort weights that are given for each postsynaptic unit by the presynaptic one.

        Parameters
        ----------
        sources : int array of shape (n_post, k)
            The presynaptic units of each unit.
        values : float array of shape (n_post, k)
            Their weights.
        n_pre : int
            Number of presynaptic units.

        Returns
        -------
        CSRWeight
            The same weights.

        Raises
        ------
        TypeError
            If the sources are not integers, or the values not floats.
        ValueError
            If the shapes differ, or a source does not exist.

        Examples
        --------
        >>> CSRWeight.from_fan_in([[1], [0]], [[2.0], [3.0]], n_pre=3).todense().tolist()
        [[0.0, 3.0], [2.0, 0.0], [0.0, 0.0]]
        """
        pre, w = _checked_pairs("CSRWeight.from_fan_in", "sources", sources, values, n_pre)
        order = np.argsort(pre.ravel(), kind="stable")
        starts = np.searchsorted(pre.ravel()[order], np.arange(n_pre + 1))
        return cls.of(starts, order // max(pre.shape[1], 1), w.ravel()[order], pre.shape[0])

    @property
    def shape(self) -> tuple[int, int]:
        """Shape (n_pre, n_post) of the matrix."""
        return int(self.starts.shape[-1]) - 1, self.n_post

    @property
    def dtype(self) -> np.dtype[Any]:
        """Number type of the weights."""
        kept: np.dtype[Any] = np.dtype(self.values.dtype)
        return kept

    def todense(self) -> Array:
        """Return the matrix.

        Returns
        -------
        array of shape (n_pre, n_post)
            The weights; 0 where none is.
        """
        return matrix(self.starts, self.targets, self.values, self.n_post)


@partial(jax.tree_util.register_dataclass, data_fields=("targets", "values"), meta_fields=("n_post",))
@dataclass(frozen=True, eq=False)
class FanOutWeight:
    r"""The same number of weights for each presynaptic unit.

    .. math:: W_{i,j} = \sum_k w_{i,k} \, [j_{i,k} = j]

    Parameters
    ----------
    targets : int32 array of shape (n_pre, k)
        Postsynaptic units of each unit; several weights between two units add up.
    values : float32 or float64 array of shape (n_pre, k)
        The weights.
    n_post : int
        Number of postsynaptic units.

    Examples
    --------
    >>> FanOutWeight.of([[0, 2], [1, 0]], [[1.0, 2.0], [3.0, 4.0]], n_post=3).todense().tolist()
    [[1.0, 0.0, 2.0], [4.0, 3.0, 0.0]]
    """

    targets: Array
    values: Array
    n_post: int

    @classmethod
    def of(cls, targets: ArrayLike, values: ArrayLike, n_post: int) -> Self:
        """Take arrays of your own.

        Parameters
        ----------
        targets : int array of shape (n_pre, k)
            Postsynaptic units of each unit.
        values : float array of shape (n_pre, k)
            The weights; they may be traced.
        n_post : int
            Number of postsynaptic units.

        Returns
        -------
        FanOutWeight
            The weights.

        Raises
        ------
        TypeError
            If the targets are not integers, or the values not floats.
        ValueError
            If the shapes differ, or a target does not exist.
        """
        post, w = _checked_pairs("FanOutWeight", "targets", targets, values, n_post)
        return cls(jnp.asarray(post, jnp.int32), w, n_post)

    @property
    def shape(self) -> tuple[int, int]:
        """Shape (n_pre, n_post) of the matrix."""
        return int(self.targets.shape[0]), self.n_post

    @property
    def dtype(self) -> np.dtype[Any]:
        """Number type of the weights."""
        kept: np.dtype[Any] = np.dtype(self.values.dtype)
        return kept

    def compressed(self) -> CSRWeight:
        """Return the same weights as compressed rows, without copying them.

        Returns
        -------
        CSRWeight
            The weights.
        """
        n_pre, k = self.targets.shape
        starts = jnp.arange(n_pre + 1, dtype=jnp.int32) * k
        return CSRWeight(starts, self.targets.ravel(), self.values.ravel(), self.n_post)

    def todense(self) -> Array:
        """Return the matrix.

        Returns
        -------
        array of shape (n_pre, n_post)
            The weights; 0 where none is.
        """
        return self.compressed().todense()


def sparse_matmul(x: Spikes | Array, weight: CSRWeight | FanOutWeight) -> Array:
    """Multiply spikes by weights of which few exist; `event_matmul` checks the operands."""
    w = weight.compressed() if isinstance(weight, FanOutWeight) else weight
    structure = jnp.asarray(w.starts), jnp.asarray(w.targets)
    if isinstance(x, Spikes):
        values = jnp.zeros(0, w.dtype) if x.values is None else jnp.asarray(x.values)
        lists = jnp.asarray(x.pointers), jnp.asarray(x.indices)
    else:
        # Lists of every element: the kernels pass over zeros, and the derivative by x is taken at them too.
        flat = jnp.asarray(x).reshape(1, -1, w.shape[0])
        values = flat.ravel() if jnp.issubdtype(flat.dtype, jnp.floating) else flat.ravel().astype(w.dtype)
        n_rows = flat.shape[1]
        lists = (
            jnp.arange(n_rows + 1, dtype=jnp.int32)[None] * w.shape[0],
            jnp.tile(jnp.arange(w.shape[0], dtype=jnp.int32), n_rows),
        )
    dtype = jnp.promote_types(values.dtype, w.dtype)
    out = sparse_matmul_p.bind(
        *lists, values.astype(dtype), *structure, w.values.astype(dtype), n_post=w.n_post
    )
    return out if isinstance(x, Spikes) else out.reshape(*np.shape(x)[:-1], w.n_post)


def _check_kinds(who: str, integers: dict[str, Any], values: Array) -> None:
    for name, array in integers.items():
        if array.size and array.dtype.kind not in "iu":
            raise TypeError(f"{who}: {name} must be integers, got {name}.dtype={array.dtype}. Convert them.")
    if not jnp.issubdtype(values.dtype, jnp.floating):
        raise TypeError(f"{who}: values must be floats, got values.dtype={values.dtype}. Convert them.")
    if values.size > MOST:
        raise ValueError(f"{who}: there must be at most {MOST} weights, got {values.size}. Use several.")


def _checked_pairs(
    who: str, name: str, units: ArrayLike, values: ArrayLike, size: int
) -> tuple[np.ndarray[Any, Any], Array]:
    """Return units and weights of one shape (unit, k)."""
    found, w = np.asarray(units), jnp.asarray(values)
    _check_kinds(who, {name: found}, w)
    if found.ndim != 2 or w.shape != found.shape:
        raise ValueError(
            f"{who}: {name} and values must have one shape (unit, k), got {name}.shape={found.shape} and "
            f"values.shape={w.shape}. Give one weight for each entry."
        )
    check_range(who, name, found, size)
    return found, w
