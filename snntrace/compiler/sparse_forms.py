"""Forms of products with weights of which few exist: JAX's, brainevent's and our own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.experimental.sparse import bcoo_dot_general_p

from snntrace.compiler.forms import Form, Values, builds
from snntrace.events.products import raster
from snntrace.jaxprs import IMPLEMENTATIONS, Equation

Array = Any

MOVING = "its connections must be constants of the step"


def pairs(pre: Any, post: Any, patches: Callable[..., Array], rows: str = "f") -> Form:
    """Make the form of a product with one weight for each pair of units; units lead, rows follow."""

    def picked(*operands: Array) -> Array:
        return patches(*operands).at[pre].get(mode="fill", fill_value=0)

    def columns(y: Array) -> Array:
        return y.at[post].get(mode="fill", fill_value=0)

    return Form("sparse product", f"e{rows},e{rows}->e", picked, columns)


def expand(indptr: Any, count: int) -> Any:
    """Return the row of each element of compressed rows."""
    return np.searchsorted(indptr, np.arange(count), side="right") - 1


def _by_pairs(equation: Equation, side: int, row: Any, column: Any) -> Form | str:
    """Take ``data, ..., x`` with x of shape (unit,) or (unit, row)."""
    if side != 0:
        return "only the stored weights can be trained"
    dtype = equation.inputs[0].dtype
    pre, post = (row, column) if equation.params["transpose"] else (column, row)
    rows = "f" * (len(equation.outputs[0].shape) - 1)
    if equation.inputs[0].shape != row.shape:  # one weight for all pairs
        n_post = equation.outputs[0].shape[0]

        def reached(*operands: Array) -> Array:
            x = operands[2].astype(dtype)
            return jnp.zeros((n_post, *x.shape[1:]), dtype).at[post].add(x[pre])

        return Form("sparse product", f"u{rows},u{rows}->", reached)
    return pairs(pre, post, lambda *operands: operands[2].astype(dtype), rows)


@builds("csr_matvec", "csr_matmat", "csrmv", "csrmm", "binary_csrmv", "binary_csrmm")
def compressed_rows(equation: Equation, side: int, values: Values) -> Form | str:
    """Take a product with compressed rows (`jax.experimental.sparse`, brainunit, brainevent)."""
    indices, indptr = values(equation.inputs[1]), values(equation.inputs[2])
    if indices is None or indptr is None:
        return MOVING
    return _by_pairs(equation, side, expand(indptr, indices.size), indices)


@builds("coo_matvec", "coo_matmat")
def coordinates(equation: Equation, side: int, values: Values) -> Form | str:
    """Take a product with coordinates (`jax.experimental.sparse`, brainunit)."""
    row, column = values(equation.inputs[1]), values(equation.inputs[2])
    if row is None or column is None:
        return MOVING
    return _by_pairs(equation, side, row, column)


@builds("binary_densemv", "binary_densemm")
def binary_product(equation: Equation, side: int, values: Values) -> Form | str:
    """Take a product of a matrix and spikes (brainevent), of shape (unit,) or (unit, row)."""
    if side != 0:
        return "only the matrix can be trained"
    dtype, rows = equation.inputs[0].dtype, "f" * (len(equation.outputs[0].shape) - 1)
    weight = "io" if equation.params["transpose"] else "oi"
    return Form("product", f"i{rows},o{rows}->{weight}", lambda spikes: spikes.astype(dtype))


@builds("bcoo_dot_general")
def batched_coordinates(equation: Equation, side: int, values: Values) -> Form | str:
    """Take a product of a matrix `jax.experimental.sparse.BCOO` and an array."""
    indices = values(equation.inputs[1])
    ((contracted, along), (batch, _)) = equation.params["dimension_numbers"]
    if indices is None:
        return MOVING
    plain = side == 0 and indices.ndim == 2 and indices.shape[1] == 2
    if not plain or batch or len(contracted) != 1 or len(equation.inputs[0].shape) != 1:
        return "only matrices without batch and dense axes can be trained"
    (inner,) = contracted
    rows = "fghijkl"[: len(equation.outputs[0].shape) - 1]

    def patches(indices: Array, x: Array) -> Array:
        return jnp.moveaxis(x, along[0], 0)

    return pairs(indices[:, inner], indices[:, 1 - inner], patches, rows)


@builds("sparse_matmul")
def event_rows(equation: Equation, side: int, values: Values) -> Form | str:
    """Take `snntrace.events.event_matmul` with a `CSRWeight` or a `FanOutWeight`."""
    starts, targets = values(equation.inputs[3]), values(equation.inputs[4])
    if starts is None or targets is None:
        return MOVING
    if side != 5:
        return "only the stored weights can be trained"
    dtype, pre, post = equation.inputs[5].dtype, expand(starts, targets.size), targets

    def patches(pointers: Array, indices: Array, spiking: Array, *structure: Array) -> Array:
        x = raster(pointers, indices, spiking, len(starts) - 1, dtype)
        return x[..., pre]

    return Form("sparse product", "tbe,tbe->e", patches, lambda y: y[..., post])


@builds("lists_matmul")
def event_lists(equation: Equation, side: int, values: Values) -> Form | str:
    """Take `snntrace.events.event_matmul` of lists and a matrix."""
    if side != 3:
        return "only the matrix can be trained"
    weight = equation.inputs[3]

    def patches(pointers: Array, indices: Array, spiking: Array) -> Array:
        return raster(pointers, indices, spiking, weight.shape[0], weight.dtype)

    return Form("product", "tbi,tbo->io", patches)


@builds("array_matmul")
def event_array(equation: Equation, side: int, values: Values) -> Form | str:
    """Take `snntrace.events.event_matmul` of an array and a matrix."""
    return Form("product", "ri,ro->io") if side == 1 else "only the matrix can be trained"


def sparse_product(
    data: Array, row: Array, column: Array, x: Array, shape: tuple[int, int], transpose: bool
) -> Array:
    """Multiply a matrix of coordinates, or its transpose, with x of shape (unit,) or (unit, row)."""
    pre, post, size = (row, column, shape[1]) if transpose else (column, row, shape[0])
    weighted = data.reshape(-1, *(1,) * (x.ndim - 1)) * x[pre]
    return jnp.zeros((size, *x.shape[1:]), weighted.dtype).at[post].add(weighted)


def of_rows(data: Array, indices: Array, indptr: Array, x: Array, *, shape: Any, transpose: bool) -> Array:
    """Multiply compressed rows with x."""
    row = jnp.searchsorted(indptr, jnp.arange(indices.size), side="right") - 1
    return sparse_product(data, row, indices, x, shape, transpose)


def of_coordinates(
    data: Array, row: Array, column: Array, x: Array, *, spinfo: Any, transpose: bool
) -> Array:
    """Multiply coordinates with x."""
    return sparse_product(data, row, column, x, spinfo.shape, transpose)


def of_batched_coordinates(data: Array, indices: Array, x: Array, **params: Any) -> Array:
    """Multiply a matrix `BCOO` with an array; what has batch or dense axes is left to JAX."""
    ((contracted, along), (batch, _)) = params["dimension_numbers"]
    if indices.ndim != 2 or indices.shape[1] != 2 or data.ndim != 1 or batch or len(contracted) != 1:
        primitive: Any = bcoo_dot_general_p
        return primitive.bind(data, indices, x, **params)
    pre, post = indices[:, contracted[0]], indices[:, 1 - contracted[0]]
    picked = jnp.moveaxis(x, along[0], 0).at[pre].get(mode="fill", fill_value=0)
    weighted = data.reshape(-1, *(1,) * (x.ndim - 1)) * picked
    size = params["lhs_spinfo"].shape[1 - contracted[0]]
    return jnp.zeros((size, *weighted.shape[1:]), weighted.dtype).at[post].add(weighted, mode="drop")


# JAX (0.10) cannot map all of these, and differentiates a transposed CSR or COO matrix by its data as if it
# were not transposed.
IMPLEMENTATIONS.update({"csr_matvec": of_rows, "csr_matmat": of_rows})
IMPLEMENTATIONS.update({"coo_matvec": of_coordinates, "coo_matmat": of_coordinates})
IMPLEMENTATIONS["bcoo_dot_general"] = of_batched_coordinates
