"""Operations under the names that braintrace has for them.

The compiler finds every operation as it is written, so nothing here is needed: these functions compute what
they say, and let scripts run that were written with them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

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
