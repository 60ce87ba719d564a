"""Primitives that are linear in some of their operands, with a native kernel on CPU.

`jax.jvp`, `jax.vjp`, `jax.vmap` and `jax.jit` need one rule each. The first two are tables, because a product
that is linear in an operand is its own derivative, and its transpose is another product.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.interpreters import batching, mlir

from snntrace.events.lists import result
from snntrace.events.native import n_threads, native_call
from snntrace.jaxprs import Primitive, ad

Array = Any
Rule = Callable[..., Any]


def native_primitive(name: str, shape: Rule, kernel: Any, portable: Rule) -> Any:
    """Define an operation that is a kernel on CPU and made of JAX's own operations elsewhere.

    Parameters
    ----------
    name : str
        Name in programs.
    shape : callable
        ``shape(*operands, **params)`` returns the shape of the result. Its number type is the last operand's.
    kernel : numba function
        ``kernel(*operands, threads, result)``.
    portable : callable
        ``portable(*operands, **params)`` returns the result.

    Returns
    -------
    Primitive
        The operation.
    """
    primitive = Primitive(name)

    def native(*operands: Array, **params: Any) -> Array:
        threads = np.array([n_threads()], np.int32)
        out = result(shape(*operands, **params), operands[-1].dtype)
        return native_call(kernel, [out], *operands, threads)[0]

    def abstract(*operands: Any, **params: Any) -> Any:
        return jax.core.ShapedArray(shape(*operands, **params), operands[-1].dtype)

    @cache
    def compiled(**params: Any) -> Any:
        return jax.jit(partial(primitive.bind, **params))

    primitive.def_abstract_eval(abstract)
    primitive.def_impl(lambda *operands, **params: compiled(**params)(*operands))
    mlir.register_lowering(primitive, mlir.lower_fun(portable, multiple_results=False))
    mlir.register_lowering(primitive, mlir.lower_fun(native, multiple_results=False), platform="cpu")
    return primitive


def linear_in(primitive: Any, tangents: dict[int, Rule], transposes: dict[int, Rule]) -> None:
    """Give a primitive its derivatives.

    Parameters
    ----------
    primitive : Primitive
        The operation.
    tangents : dict of int to callable
        For each operand that can be differentiated, ``rule(tangent, *operands, **params)`` returns the
        tangent of the result.
    transposes : dict of int to callable
        For each operand that the operation itself is linear in, ``rule(cotangent, *operands, **params)``
        returns the cotangent of the operand.
    """

    def transpose(cotangent: Array, *operands: Any, **params: Any) -> list[Any]:
        def of(place: int, operand: Any) -> Any:
            if not ad.is_undefined_primal(operand):
                return None
            if type(cotangent) is ad.Zero:
                return ad.Zero(operand.aval)
            return transposes[place](cotangent, *operands, **params)

        return [of(place, operand) for place, operand in enumerate(operands)]

    n = max(tangents) + 1
    ad.defjvp(primitive, *(tangents.get(place) for place in range(n)))
    ad.primitive_transposes[primitive] = transpose


def mapped_over(primitive: Any, merge: Callable[..., tuple[Array, int] | None]) -> None:
    """Give a primitive its rule for `jax.vmap`.

    Parameters
    ----------
    primitive : Primitive
        The operation.
    merge : callable
        ``merge(operands, mapped, **params)`` does all positions in one call, where that is possible, and
        returns the result and its new axis, else None. Mapped operands have the axis first.
    """

    def rule(operands: Sequence[Any], axes: Sequence[Any], **params: Any) -> tuple[Array, int]:
        mapped = [axis is not batching.not_mapped for axis in axes]
        moved = [
            jnp.moveaxis(operand, axis, 0) if is_mapped else operand
            for operand, axis, is_mapped in zip(operands, axes, mapped, strict=True)
        ]
        merged = merge(moved, mapped, **params)
        if merged is not None:
            return merged

        def one(parts: list[Array]) -> Array:
            rest = iter(parts)
            return primitive.bind(
                *(next(rest) if m else o for o, m in zip(moved, mapped, strict=True)), **params
            )

        return jax.lax.map(one, [o for o, m in zip(moved, mapped, strict=True) if m]), 0

    batching.primitive_batchers[primitive] = rule
