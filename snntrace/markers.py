"""Operations under the names that braintrace has for them.

The compiler finds every operation as it is written, so nothing here is needed: these functions compute what
they say, and let scripts run that were written with them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

Array = Any
WeightFn = Callable[[Array], Array]


def _through(function: WeightFn | None, value: Array) -> Array:
    return value if function is None else function(value)


def _with_bias(y: Array, bias: Array | None, bias_fn: WeightFn | None) -> Array:
    return y if bias is None else y + _through(bias_fn, bias)


def matmul(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    *,
    weight_fn: WeightFn | None = None,
    bias_fn: WeightFn | None = None,
) -> Array:
    """Compute ``x @ weight_fn(weight) + bias_fn(bias)``.

    Parameters
    ----------
    x : array of shape (..., n_pre)
        The operand, with any leading axes.
    weight : array of shape (n_pre, n_post)
        The matrix.
    bias : array of shape (n_post,), optional
        What is added.
    weight_fn, bias_fn : callable, optional
        What parameters go through first.

    Returns
    -------
    array of shape (..., n_post)
        The product.
    """
    return _with_bias(x @ _through(weight_fn, weight), bias, bias_fn)


def element_wise(weight: Array, *, weight_fn: WeightFn | None = None) -> Array:
    """Return ``weight_fn(weight)``, for a parameter that acts position by position.

    Parameters
    ----------
    weight : array
        The parameter.
    weight_fn : callable, optional
        What it goes through.

    Returns
    -------
    array
        The parameter, to be added or multiplied.
    """
    return _through(weight_fn, weight)


def lora_matmul(
    x: Array,
    B: Array,
    A: Array,
    *,
    alpha: float = 1.0,
    bias: Array | None = None,
    b_fn: WeightFn | None = None,
    a_fn: WeightFn | None = None,
    bias_fn: WeightFn | None = None,
) -> Array:
    """Compute ``alpha x @ (b_fn(B) @ a_fn(A)) + bias_fn(bias)``, a product with a matrix of low rank.

    The factors are multiplied first, so that both have a trace: that of their product.

    Parameters
    ----------
    x : array of shape (..., n_pre)
        The operand.
    B : array of shape (n_pre, rank)
        The first factor.
    A : array of shape (rank, n_post)
        The second factor.
    alpha : float
        A scale.
    bias : array of shape (n_post,), optional
        What is added.
    b_fn, a_fn, bias_fn : callable, optional
        What parameters go through first.

    Returns
    -------
    array of shape (..., n_post)
        The product.
    """
    return _with_bias(x @ (alpha * (_through(b_fn, B) @ _through(a_fn, A))), bias, bias_fn)


def conv(
    x: Array,
    kernel: Array,
    bias: Array | None = None,
    *,
    strides: Sequence[int] = (1,),
    padding: Any = "SAME",
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    feature_group_count: int = 1,
    batch_group_count: int = 1,
    dimension_numbers: Any = None,
    kernel_fn: WeightFn | None = None,
    bias_fn: WeightFn | None = None,
) -> Array:
    """Convolve a batch with ``kernel_fn(kernel)``, and add ``bias_fn(bias)``.

    Parameters
    ----------
    x : array of shape (batch, channels, ...), or as `dimension_numbers` says
        The operand.
    kernel : array of shape (channels, channels, ...), or as `dimension_numbers` says
        The kernel.
    bias : array of shape (channels,), optional
        What is added to each channel; another shape is added as it is.
    strides, padding, lhs_dilation, rhs_dilation, feature_group_count, batch_group_count, dimension_numbers
        As in `jax.lax.conv_general_dilated`; one stride stands for all axes.
    kernel_fn, bias_fn : callable, optional
        What parameters go through first.

    Returns
    -------
    array
        The convolution.
    """
    kernel = _through(kernel_fn, kernel)
    steps = tuple(strides) * (x.ndim - 2) if len(strides) == 1 else tuple(strides)
    numbers = jax.lax.conv_dimension_numbers(x.shape, kernel.shape, dimension_numbers)
    y = jax.lax.conv_general_dilated(
        x, kernel, steps, padding, lhs_dilation, rhs_dilation, numbers,
        feature_group_count=feature_group_count, batch_group_count=batch_group_count,
    )  # fmt: skip
    if bias is None:
        return y
    added = _through(bias_fn, bias)
    if added.ndim == 1:
        shape = [1] * y.ndim
        shape[numbers.out_spec[1]] = added.shape[0]
        added = added.reshape(shape)
    return y + added


def embedding(indices: Array, weight: Array, *, weight_fn: WeightFn | None = None) -> Array:
    """Look rows of ``weight_fn(weight)`` up.

    Parameters
    ----------
    indices : integer array of shape (...)
        The rows.
    weight : array of shape (n_rows, n_post)
        The table.
    weight_fn : callable, optional
        What the table goes through first.

    Returns
    -------
    array of shape (..., n_post)
        The rows.

    Raises
    ------
    TypeError
        If the indices are no whole numbers.
    """
    rows = jnp.asarray(indices)
    if not jnp.issubdtype(rows.dtype, jnp.integer):
        raise TypeError(
            f"embedding: indices must be whole numbers, got indices of type {rows.dtype}. "
            "Pass labels, or a one-hot input to matmul."
        )
    return _through(weight_fn, weight)[rows]


def einsum(equation: str, x: Array, weight: Array, *, weight_fn: WeightFn | None = None) -> Array:
    """Compute ``einsum(equation, x, weight_fn(weight))``.

    Parameters
    ----------
    equation : str
        Two operands and a result, as in ``'bgi,gio->bgo'``.
    x : array
        The first operand.
    weight : array
        The second operand.
    weight_fn : callable, optional
        What the weight goes through first.

    Returns
    -------
    array
        The result.
    """
    return jnp.einsum(equation, x, _through(weight_fn, weight))


def grouped_matmul(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    *,
    weight_fn: WeightFn | None = None,
    bias_fn: WeightFn | None = None,
) -> Array:
    """Multiply each group of inputs with a matrix of its own.

    Parameters
    ----------
    x : array of shape (..., n_groups, n_pre)
        The operand.
    weight : array of shape (n_groups, n_pre, n_post)
        A matrix for each group.
    bias : array of shape (n_groups, n_post), optional
        What is added.
    weight_fn, bias_fn : callable, optional
        What parameters go through first.

    Returns
    -------
    array of shape (..., n_groups, n_post)
        The products.
    """
    y = jnp.einsum("...gi,gio->...go", x, _through(weight_fn, weight))
    return _with_bias(y, bias, bias_fn)


def sparse_matmul(
    x: Array,
    weight: Array,
    *,
    sparse_mat: Any,
    bias: Array | None = None,
    weight_fn: WeightFn | None = None,
    bias_fn: WeightFn | None = None,
) -> Array:
    """Multiply with a sparse matrix whose connections are fixed and whose values are trained.

    Parameters
    ----------
    x : array of shape (..., n_pre)
        The operand.
    weight : array of shape (n_connections,)
        The values.
    sparse_mat : sparse matrix with ``with_data``, such as `brainevent.CSR`, of shape (n_pre, n_post)
        The connections.
    bias : array of shape (n_post,), optional
        What is added.
    weight_fn, bias_fn : callable, optional
        What parameters go through first.

    Returns
    -------
    array of shape (..., n_post)
        The product.

    Raises
    ------
    TypeError
        If `sparse_mat` cannot take other values.
    """
    if not hasattr(sparse_mat, "with_data"):
        raise TypeError(
            f"sparse_matmul: sparse_mat must be a sparse matrix with `with_data`, got "
            f"sparse_mat={type(sparse_mat).__name__}. Use e.g. brainevent.CSR."
        )
    return _with_bias(x @ sparse_mat.with_data(_through(weight_fn, weight)), bias, bias_fn)
