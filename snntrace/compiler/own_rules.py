"""Forms of look-ups that bring a gradient rule of their own, as ``brainstate.nn.Embedding`` does."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from snntrace.compiler.builtin_forms import lookup
from snntrace.compiler.forms import Form, Values, builds
from snntrace.jaxprs import Equation, Program, Variable, from_closed_jaxpr, read

Array = Any
OTHER_RULE = "its gradient rule is neither that of a look-up nor scales the gradient of rows"
NO_LOOKUP = "it has a gradient rule of its own, and is no look-up"
DRAWS = 4


@builds("custom_vjp_call", "custom_vjp_call_jaxpr")
def lookup_with_a_rule(equation: Equation, side: int, values: Values) -> Form | str:
    """Take a look-up whose rule scales what each row gets: by 1, by 0, by how often it is looked up."""
    inner = from_closed_jaxpr(equation.params.get("call_jaxpr", equation.params.get("fun_jaxpr")))
    weight = inner.inputs[side]
    uses = [e for e in inner.equations if weight in e.inputs]
    if len(inner.outputs) != 1 or len(uses) != 1 or uses[0].name != "gather":
        return NO_LOOKUP
    gather = uses[0]
    plain = lookup(gather, 0, values)
    if gather.outputs[0] is not inner.outputs[0] or gather.inputs[0] is not weight:
        return NO_LOOKUP
    if isinstance(plain, str) or plain.patches is None:
        return plain if isinstance(plain, str) else NO_LOOKUP
    one_hot = plain.patches
    letters, of_weight = plain.axes.split(",")[0], plain.axes.split("->")[1]
    rows = tuple(a for a, letter in enumerate(letters) if letter not in of_weight)
    indexed = tuple(slice(None) if letter in letters else 0 for letter in of_weight)

    def patches(*others: Array) -> Array:
        taken = one_hot(_indices(inner, gather, side, others))
        total = _pulled_back(equation, side, others, None)[indexed]
        return taken * (total / jnp.maximum(taken.sum(rows), 1))

    form = Form("look-up", plain.axes, patches)
    n_rows = min(n for n, letter in zip(weight.shape, of_weight, strict=True) if letter in letters)
    return form if _holds(equation, side, form, n_rows) else OTHER_RULE


def _indices(inner: Program, gather: Equation, side: int, others: tuple[Array, ...]) -> Array:
    """Compute what the look-up inside a function looks up."""
    given = [v for i, v in enumerate(inner.inputs) if i != side]
    env: dict[Variable, Any] = {**inner.constants, **dict(zip(given, others, strict=True))}
    for equation in inner.slice([gather.inputs[1]]):
        env.update(zip(equation.outputs, equation.bind([read(env, a) for a in equation.inputs]), strict=True))
    return read(env, gather.inputs[1])


def _pulled_back(equation: Equation, side: int, others: tuple[Array, ...], y: Array | None) -> Array:
    """Bring a value at the output back to the weight by the function's own rule; ones if None."""

    def apply(w: Array) -> Array:
        return equation.bind((*others[:side], w, *others[side:]))[0]

    weight, out = equation.inputs[side], equation.outputs[0]
    _, vjp = jax.vjp(apply, jnp.zeros(weight.shape, weight.dtype))
    found: Array = vjp(jnp.ones(out.shape, out.dtype) if y is None else y)[0]
    return found


def _holds(equation: Equation, side: int, form: Form, n_rows: int) -> bool:
    """Compare a form with the function's own rule, at random indices and values."""
    rng = np.random.default_rng(0)
    out = equation.outputs[0]
    with jax.ensure_compile_time_eval():
        for _ in range(DRAWS):
            others = tuple(
                jnp.asarray(rng.integers(0, n_rows, a.shape), a.dtype)
                for i, a in enumerate(equation.inputs)
                if i != side
            )
            y = jnp.asarray(rng.normal(size=out.shape), out.dtype)
            found = jnp.einsum(form.axes, form.patches(*others), y)  # type: ignore[misc]
            exact = _pulled_back(equation, side, others, y)
            if float(jnp.abs(found - exact).max()) > 1e-3 * max(float(jnp.abs(exact).max()), 1e-6):
                return False
    return True
