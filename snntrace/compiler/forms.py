"""Operations of a weight and other values: how the gradient of one is formed, and so what its trace holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial, wraps
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from snntrace.jaxprs import KEPT_CALLS, Atom, Equation

Array = Any
Values = Callable[[Atom], "np.ndarray[Any, Any] | None"]
"""Gives the value of a constant of the program, or None for what is not constant."""


@dataclass(frozen=True, eq=False)
class Form:
    r"""How the gradient of an operation that is linear in a weight is formed.

    .. math:: \nabla W = \mathrm{einsum}(\text{axes}, \text{patches}(x), \text{columns}(\bar y))

    Parameters
    ----------
    kind : str
        What reports call the operation.
    axes : str
        Letters of the axes of patches, columns and weight, as in ``"bpc,bpo->co"``.
    patches : callable, optional
        ``patches(*operands)``: what each output is the product of with weights. None is the only operand.
    columns : callable, optional
        Lays a value in the output's shape out along the letters. None is the output as it is.
    n_row_axes : int, optional
        How many leading axes of the output are not units but rows; all that share weights if None.
    checked : bool
        Whether the compiler holds the form to the operation's own derivative.
    """

    kind: str
    axes: str
    patches: Callable[..., Array] | None = None
    columns: Callable[[Array], Array] | None = None
    n_row_axes: int | None = None
    checked: bool = False


Builder = Callable[[Equation, int, Values], Form | str]
"""Makes the form of an equation for the weight at a place, or says why there is none."""

BUILDERS: dict[str, Builder] = {}


def builds(*names: str) -> Callable[[Builder], Builder]:
    """Name the primitives that a builder knows."""

    def remember(builder: Builder) -> Builder:
        BUILDERS.update(dict.fromkeys(names, builder))
        return builder

    return remember


class Axes:
    """The axes of a form, sorted into groups, rows, presynaptic and postsynaptic axes.

    Laid out along them, an operation is a product ``y[a, f, k] = sum_j x[a, f, j] W[a, j, k]``. Without
    groups the axis a is left out.

    Parameters
    ----------
    axes : str
        The form's letters.
    patches, columns, weight : tuple of int
        The three shapes.

    Raises
    ------
    ValueError
        If letters and shapes contradict each other.
    """

    def __init__(
        self, axes: str, patches: Sequence[int], columns: Sequence[int], weight: Sequence[int]
    ) -> None:
        self.patches, self.columns, self.weight = _letters(axes, len(patches), len(columns))
        self.weight_shape = tuple(weight)
        sizes: dict[str, int] = {}
        for letters, shape in ((self.patches, patches), (self.columns, columns)):
            for letter, size in zip(letters, shape, strict=True):
                if sizes.setdefault(letter, size) != size or letters.count(letter) > 1:
                    raise ValueError(f"the axis {letter!r} has one size, got {sizes[letter]} and {size}")
        x, y, w = set(self.patches), set(self.columns), set(self.weight)
        if x - y - w or y - x - w or w - x - y or np.prod([sizes[c] for c in self.weight]) != np.prod(weight):
            raise ValueError(
                f"each letter of axes={axes!r} stands in two or three of patches {tuple(patches)}, output "
                f"{tuple(columns)} and weight {tuple(weight)}"
            )
        self.sizes = sizes
        self.groups = "".join(c for c in self.weight if c in x and c in y)
        self.rows = "".join(c for c in self.patches if c in y and c not in w)
        self.pre = "".join(c for c in self.weight if c in x and c not in y)
        self.post = "".join(c for c in self.weight if c in y and c not in x)

    def size(self, letters: str) -> int:
        """Multiply the sizes of some axes."""
        return int(np.prod([self.sizes[c] for c in letters], dtype=int))

    def lay(self, value: Array, letters: str, *parts: str) -> Array:
        """Transpose and reshape a value with axes `letters` to one axis for each of `parts`, groups first."""
        parts = (self.groups, *parts) if self.groups else parts
        order = [letters.index(c) for c in "".join(parts)]
        if order != list(range(len(order))):
            value = jnp.transpose(value, order)
        return value.reshape([self.size(part) for part in parts])

    def to_weight(self, gradient: Array) -> Array:
        """Bring a gradient laid out as (groups, j, k) back to the weight's own axes."""
        order = self.groups + self.pre + self.post
        shaped = gradient.reshape([self.sizes[c] for c in order])
        if order != self.weight:
            shaped = jnp.transpose(shaped, [order.index(c) for c in self.weight])
        return shaped.reshape(self.weight_shape)


def _letters(axes: str, n_patches: int, n_columns: int) -> tuple[str, str, str]:
    """Read ``"...c,...o->co"``: the dots stand for any number of axes."""
    try:
        inputs, weight = axes.replace(" ", "").split("->")
        patches, columns = inputs.split(",")
    except ValueError:
        raise ValueError(f"axes must be written like 'bpc,bpo->co', got axes={axes!r}") from None
    free = [c for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if c not in axes]
    dots = "".join(free[: max(n_patches - len(patches.replace("...", "")), 0)])
    patches, columns = patches.replace("...", dots), columns.replace("...", dots)
    if len(patches) != n_patches or len(columns) != n_columns or not (patches + weight).isalpha():
        raise ValueError(f"axes={axes!r} must name {n_patches} axes of patches and {n_columns} of the output")
    return patches, columns, weight


def register_operation(
    target: Any = None,
    *,
    weight: int,
    axes: str,
    patches: Callable[..., Array] | None = None,
    kind: str | None = None,
) -> Any:
    r"""Give an operation eligibility traces.

    The operation is linear in its weight. What its traces hold follows from the form of its gradient,

    .. math:: \nabla W = \mathrm{einsum}(\text{axes}, \text{patches}(x), \bar y),

    with :math:`\bar y` the gradient at the output: each output has one trace for each weight that acts on it.
    The compiler compares this form with the operation's own derivative, at random values, whenever a model
    uses it.

    Parameters
    ----------
    target : callable or jax Primitive
        A function of arrays that returns one array; the model must call the function that comes back. Or a
        primitive, whose first result counts. Left out, the function is a decorator.
    weight : int
        Place of the weight among the arguments.
    axes : str
        Letters of the axes of patches, output and weight. ``...`` stands for any number of axes that patches
        and output share.
    patches : callable, optional
        ``patches(*others)`` makes of the arguments but the weight what the weights are multiplied with. A
        primitive's parameters follow as keywords. None for the only other argument as it is.
    kind : str, optional
        What reports call it; the name by default.

    Returns
    -------
    callable or Primitive
        The function to call in models, or the primitive.

    Raises
    ------
    TypeError
        If `target` is no function or primitive.
    ValueError
        If `weight` or `axes` cannot be read.

    Examples
    --------
    A layer whose every position has weights of its own:

    >>> import jax.numpy as jnp
    >>> import snntrace
    >>> def windows(x):
    ...     return jnp.stack([x[:, i : i + 3] for i in range(x.shape[1] - 2)], 1)
    >>> @snntrace.register_operation(weight=1, axes="bpc,bpo->pco", patches=windows, kind="local")
    ... def local(x, w):
    ...     return jnp.einsum("bpc,pco->bpo", windows(x), w)
    >>> local(jnp.ones((2, 5)), jnp.ones((3, 3, 4))).shape
    (2, 3, 4)
    """
    if not isinstance(weight, int) or weight < 0:
        raise ValueError(
            f"register_operation: weight must be the place of an argument, got weight={weight!r}. "
            "Give 0 for the first."
        )
    if not isinstance(axes, str) or axes.count(",") != 1 or axes.count("->") != 1:
        raise ValueError(
            f"register_operation: axes must name the axes of patches, output and weight, got axes={axes!r}. "
            "Write e.g. 'bpc,bpo->co'."
        )
    if target is None:
        return partial(register_operation, weight=weight, axes=axes, patches=patches, kind=kind)
    if hasattr(target, "bind") and hasattr(target, "name"):
        BUILDERS[str(target.name)] = _registered(weight, axes, patches, kind or str(target.name), True)
        return target
    if not callable(target):
        raise TypeError(
            f"register_operation: target must be a function or a jax Primitive, got {target!r}. "
            "Put it over a function as a decorator."
        )
    name = getattr(target, "__name__", type(target).__name__)

    @wraps(target)
    def operation(*operands: Array) -> Array:
        return target(*operands)

    operation.__name__ = f"operation_{len(KEPT_CALLS)}_{name}"
    KEPT_CALLS.add(operation.__name__)
    BUILDERS[operation.__name__] = _registered(weight, axes, patches, kind or name, False)
    return jax.jit(operation)


def _registered(
    place: int, axes: str, patches: Callable[..., Array] | None, kind: str, with_params: bool
) -> Builder:
    def build(equation: Equation, side: int, values: Values) -> Form | str:
        if side != place:
            return f"{kind!r} is registered for the weight at place {place}, not at {side}"
        made = patches
        if made is not None and with_params:
            made = partial(made, **equation.params)
        return Form(kind, axes, made, checked=True)

    return build
