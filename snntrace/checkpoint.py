"""Everything that a learner carries as named arrays, and back: to go on in the middle of a sequence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from snntrace.compiler.step import StateLeaf, leaves_of, write_leaves

if TYPE_CHECKING:
    from snntrace.learner import Learner

Array = Any


def state_dict(learner: Learner) -> dict[str, NDArray[Any]]:
    """Return parameters, states and traces of a learner as named arrays.

    Parameters
    ----------
    learner : Learner
        A compiled learner.

    Returns
    -------
    dict of str to array
        Copies, by names such as ``parameter/layers.0.w_in``, ``hidden/layers.0.neuron.v`` and ``trace/0``.
    """
    return {name: np.array(_data(value)) for name, value in _named(learner).items()}


def load_state_dict(learner: Learner, values: Mapping[str, Any]) -> None:
    """Put named arrays back into a learner.

    Parameters
    ----------
    learner : Learner
        A compiled learner of the same model, rule and batch size.
    values : mapping of str to array
        What `state_dict` gave.

    Raises
    ------
    ValueError
        If names or shapes are others; the learner is left as it was.
    """
    present = _named(learner)
    wanted = {name: tuple(jnp.shape(_data(v))) for name, v in present.items()}
    found = {name: tuple(np.shape(v)) for name, v in values.items()}
    if wanted != found:
        differ = sorted(n for n in wanted.keys() | found.keys() if wanted.get(n) != found.get(n))
        listed = ", ".join(f"{n}: {found.get(n, 'missing')} for {wanted.get(n, 'none')}" for n in differ[:6])
        raise ValueError(
            f"{learner.rule.name}: a state_dict must have this learner's names and shapes, got {listed}. "
            "Compile the same model under the same rule for the same batch size."
        )
    new = {name: _like(values[name], old) for name, old in present.items()}
    params, hidden, others = _leaves(learner)
    step, states = learner.compiled.step, learner.model_states
    write_leaves(states.live(step.param_states), [new[n] for n in params])
    states.write(tuple(new[n] for n in hidden), tuple(new[n] for n in others))
    unread = [n for n in new if n.startswith("parameter/") and n not in params]
    write_leaves(states.live(step.unread_states), [new[n] for n in unread])
    for i, trace in enumerate(learner.traces):
        parts = [new[name] for name in _parts(i, trace.value)]
        trace.value = jax.tree.unflatten(jax.tree.structure(trace.value), parts)


def _leaves(learner: Learner) -> tuple[list[str], list[str], list[str]]:
    """Name the leaves of parameters, hidden and other states that the step uses."""
    step = learner.compiled.step

    def names(kind: str, leaves: tuple[StateLeaf, ...]) -> list[str]:
        found = [f"{kind}/{leaf.label}" for leaf in leaves]
        return [name if found.count(name) == 1 else f"{name}.{i}" for i, name in enumerate(found)]

    return names("parameter", step.params), names("hidden", step.hidden), names("other", step.others)


def _named(learner: Learner) -> dict[str, Array]:
    """Collect what is carried, by name."""
    step, states = learner.compiled.step, learner.model_states
    params, hidden, others = _leaves(learner)
    carried = states.carried()
    found = dict(zip(params, states.params(), strict=True))
    for path, state in zip(step.unread_paths, states.live(step.unread_states), strict=True):
        for i, value in enumerate(leaves_of([state])):
            found[f"parameter/{'.'.join(map(str, path))}{f'.{i}' if i else ''}"] = value
    found |= dict(zip(hidden, carried[0], strict=True)) | dict(zip(others, carried[1], strict=True))
    for i, trace in enumerate(learner.traces):
        found |= _parts(i, trace.value)
    return found


def _parts(index: int, trace: Any) -> dict[str, Array]:
    """Name the arrays of a trace: ``trace/0``, or ``trace/0/pre`` and so on where it has several."""
    leaves = jax.tree.leaves_with_path(trace)
    return {"/".join([f"trace/{index}", *(key.name for key in path)]): leaf for path, leaf in leaves}


def _data(value: Array) -> Array:
    """Write random keys as numbers."""
    is_key = hasattr(value, "dtype") and jnp.issubdtype(value.dtype, jax.dtypes.prng_key)
    return jax.random.key_data(value) if is_key else value


def _like(value: Any, old: Array) -> Array:
    """Bring a stored value to the number type that a state has."""
    if hasattr(old, "dtype") and jnp.issubdtype(old.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(jnp.asarray(value), impl=jax.random.key_impl(old))
    return jnp.asarray(value, jnp.result_type(old))
