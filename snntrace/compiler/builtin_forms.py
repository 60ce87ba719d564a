"""Forms of JAX's own operations: products, convolutions and look-ups."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from string import ascii_letters
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from snntrace.compiler.forms import Form, Values, builds
from snntrace.jaxprs import Equation

Array = Any


@builds("dot_general")
def product(equation: Equation, side: int, values: Values) -> Form | str:
    """Take a product over any axes, with any number of axes that both operands share."""
    contracted, shared = equation.params["dimension_numbers"]
    pool = iter(ascii_letters)
    names = [[""] * len(operand.shape) for operand in equation.inputs]
    for pairs in (shared, contracted):
        for one, other in zip(*pairs, strict=True):
            names[0][one] = names[1][other] = next(pool)
    free = [[a for a, letter in enumerate(name) if not letter] for name in names]
    for name, axes in zip(names, free, strict=True):
        for axis in axes:
            name[axis] = next(pool)
    out = [names[0][a] for a in (*shared[0], *free[0])] + [names[1][a] for a in free[1]]
    x, w = "".join(names[1 - side]), "".join(names[side])
    return Form("product", f"{x},{''.join(out)}->{w}")


@builds("conv_general_dilated")
def convolution(equation: Equation, side: int, values: Values) -> Form | str:
    """Take a convolution: each output position has a trace for each element of its kernel."""
    params = equation.params
    if side != 1:
        return "the weight must be the kernel, not the image"
    if params["batch_group_count"] != 1:
        return f"batch_group_count must be 1, got {params['batch_group_count']}"
    groups = int(params["feature_group_count"])
    x_axes, w_axes, y_axes = params["dimension_numbers"]
    x_shape, w_shape = equation.inputs[0].shape, equation.inputs[1].shape
    y_shape = equation.outputs[0].shape
    kernel = tuple(w_shape[a] for a in w_axes[2:])
    places = tuple(y_shape[a] for a in y_axes[2:])
    n_out = y_shape[y_axes[1]]
    pool = iter(c for c in ascii_letters if c not in "bcgo")
    k, p = (("".join(next(pool) for _ in kernel)) for _ in range(2))

    def patches(x: Array) -> Array:
        found = jax.lax.conv_general_dilated_patches(
            jnp.transpose(x, x_axes),
            kernel,
            params["window_strides"],
            params["padding"],
            params["lhs_dilation"],
            params["rhs_dilation"],
            precision=jax.lax.Precision.HIGHEST,
        )
        channels = x_shape[x_axes[1]]
        return found.reshape(len(found), groups, channels // groups, *kernel, *places)

    def columns(y: Array) -> Array:
        return jnp.transpose(y, y_axes).reshape(-1, groups, n_out // groups, *places)

    weight = [""] * len(w_shape)
    for axis, letter in zip(w_axes, ("go", "c", *k), strict=True):
        weight[axis] = letter
    rows = 1 if y_axes[0] == 0 else 0
    return Form("convolution", f"bgc{k}{p},bgo{p}->{''.join(weight)}", patches, columns, rows)


@builds("gather")
def lookup(equation: Equation, side: int, values: Values) -> Form | str:
    """Take a look-up of whole rows, as in an embedding: each row has a trace for each place it can go to."""
    numbers, slices = equation.params["dimension_numbers"], equation.params["slice_sizes"]
    shape = equation.inputs[0].shape
    looked, batched = tuple(numbers.start_index_map), tuple(numbers.operand_batching_dims)
    whole = all(s == (1 if a in looked else shape[a]) for a, s in enumerate(slices))
    if side != 0 or batched or sorted(looked) != sorted(numbers.collapsed_slice_dims) or not whole:
        return "only whole rows of a weight can be looked up"
    pool = iter(ascii_letters)
    weight = [next(pool) for _ in shape]
    kept = iter(c for a, c in enumerate(weight) if a not in looked)
    out = [
        next(kept) if a in numbers.offset_dims else next(pool) for a in range(len(equation.outputs[0].shape))
    ]
    rows = [c for c in out if c not in weight]
    n_rows = tuple(n for n, c in zip(equation.outputs[0].shape, out, strict=True) if c in rows)
    find = partial(
        jax.lax.gather,
        dimension_numbers=numbers,
        slice_sizes=(1,) * len(shape),
        mode=equation.params["mode"],
        fill_value=-1,
    )
    indexed = "".join(weight[a] for a in sorted(looked))
    axes = f"{''.join(rows)}{indexed},{''.join(out)}->{''.join(weight)}"
    return Form("look-up", axes, _one_hot(shape, looked, n_rows, find, equation.inputs[0].dtype))


@builds("dynamic_slice")
def row(equation: Equation, side: int, values: Values) -> Form | str:
    """Take one row of a weight whose number is computed."""
    shape, slices = equation.inputs[0].shape, equation.params["slice_sizes"]
    looked = tuple(a for a, (s, n) in enumerate(zip(slices, shape, strict=True)) if s != n)
    if side != 0 or any(slices[a] != 1 for a in looked):
        return "only whole rows of a weight can be looked up"
    pool = iter(ascii_letters)
    weight = [next(pool) for _ in shape]
    out = [next(pool) if a in looked else c for a, c in enumerate(weight)]

    def find(numbers: Array, *starts: Array) -> Array:
        return jax.lax.dynamic_slice(numbers, starts, (1,) * len(shape))

    rows, indexed = "".join(out[a] for a in looked), "".join(weight[a] for a in looked)
    patches = _one_hot(shape, looked, (1,) * len(looked), find, equation.inputs[0].dtype)
    return Form("look-up", f"{rows}{indexed},{''.join(out)}->{''.join(weight)}", patches, None, 0)


def _one_hot(
    shape: Sequence[int], looked: Sequence[int], rows: tuple[int, ...], find: Any, dtype: Any
) -> Any:
    """Make the patches of a look-up: 1 at the row that is taken, found by looking up the rows' numbers."""
    sizes = tuple(shape[a] for a in sorted(looked))
    numbers = np.arange(np.prod(sizes, dtype=int), dtype=np.int32)
    numbers = numbers.reshape([n if a in looked else 1 for a, n in enumerate(shape)])

    def patches(*indices: Array) -> Array:
        taken = find(jnp.asarray(numbers), *indices).reshape(rows)
        return jax.nn.one_hot(taken, numbers.size, dtype=dtype).reshape(*rows, *sizes)

    return patches
