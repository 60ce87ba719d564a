"""From a model to its step program: one jaxpr whose inputs and outputs have names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import brainstate
import jax
import jax.numpy as jnp
from brainstate.transform import StatefulFunction

from snntrace.compiler.columns import split_columns
from snntrace.compiler.control_flow import open_control_flow
from snntrace.compiler.indices import write_out_indices
from snntrace.compiler.loops import refuse_loops
from snntrace.errors import CompileError
from snntrace.jaxprs import Atom, Constant, Program, Variable, from_closed_jaxpr
from snntrace.quantities import is_quantity

Path = tuple[Any, ...]


@dataclass(frozen=True, eq=False)
class StateLeaf:
    """One array of a model's state, before and after a step.

    `slot` is the position among all leaves of its kind; `state` is the position of its State.
    """

    path: Path
    state: int
    slot: int
    old: Variable
    new: Variable

    @property
    def label(self) -> str:
        """The path as a user would write it."""
        return ".".join(str(p) for p in self.path)


@dataclass(frozen=True, eq=False)
class StepProgram:
    """A model's `update`, as a program over flat lists of arrays.

    Inputs are, in this order, the arguments of `update` and the states; outputs are the result of
    `update` and the new states.
    """

    program: Program
    arguments: tuple[Variable, ...]
    arguments_tree: Any
    results: tuple[Atom, ...]
    results_tree: Any
    params: tuple[StateLeaf, ...]
    hidden: tuple[StateLeaf, ...]
    others: tuple[StateLeaf, ...]
    param_states: tuple[Any, ...]
    hidden_states: tuple[Any, ...]
    other_states: tuple[Any, ...]
    param_paths: tuple[Path, ...]
    unread_paths: tuple[Path, ...]
    unread_states: tuple[Any, ...]


def keys_of(state: Any) -> list[Path]:
    """Name the arrays of a state within it: the leaves of its value, or the columns of a HiddenGroupState."""
    if isinstance(state, brainstate.HiddenGroupState):
        return [(name,) for name in sorted(state.name2index, key=state.name2index.__getitem__)]
    values = jax.tree_util.tree_leaves_with_path(state.value, is_leaf=is_quantity)
    return [tuple(getattr(k, "key", getattr(k, "idx", k)) for k in key) for key, _ in values]


def leaves_of(states: Sequence[Any]) -> list[Any]:
    """Read the arrays of some states, flat."""
    found: list[Any] = []
    for state in states:
        leaves = jax.tree.leaves(state.value)
        if isinstance(state, brainstate.HiddenGroupState):
            leaves = [leaf[..., i] for leaf in leaves for i in range(leaf.shape[-1])]
        found += leaves
    return found


def write_leaves(states: Sequence[Any], leaves: Sequence[Any]) -> None:
    """Write flat arrays back into states."""
    remaining = iter(leaves)
    for state in states:
        if isinstance(state, brainstate.HiddenGroupState):
            columns = jnp.stack([next(remaining) for _ in keys_of(state)], axis=-1)
            state.value = jax.tree.map(lambda _, columns=columns: columns, state.value)
        else:
            state.value = jax.tree.map(lambda _: next(remaining), state.value)


def kind_of(state: Any) -> str:
    """Tell whether a state is a parameter, a hidden state or another one."""
    if isinstance(state, brainstate.ParamState):
        return "param"
    if isinstance(state, brainstate.HiddenState):
        leaves = jax.tree.leaves(state.value)
        if all(jnp.issubdtype(jnp.result_type(leaf), jnp.inexact) for leaf in leaves):
            return "hidden"
    return "other"


def _made(program: Program, variable: Any) -> str:
    """Say which operation made a value, and on which line; nothing for what no operation made."""
    maker = next((e for e in program.equations if variable in e.outputs), None)
    return f" in {maker.name!r} at {maker.where}" if maker is not None else ""


def _check_kept(program: Program, leaf: StateLeaf) -> None:
    """Refuse a step that changes a state's shape or number type."""
    if (leaf.new.shape, leaf.new.dtype) != (leaf.old.shape, leaf.old.dtype):
        raise CompileError(
            f"compile: a step must keep the shape and number type of every state, got {leaf.label!r} as "
            f"{leaf.new.dtype}{list(leaf.new.shape)} after {leaf.old.dtype}{list(leaf.old.shape)}"
            f"{_made(program, leaf.new)}. "
            "Initialise the state with the shape and type that `update` gives it."
        )


def _normalised(program: Program, n_results: int, old: Sequence[Variable], kinds: Sequence[str]) -> Program:
    """Bring a step into a form that keeps positions in sight."""
    hidden, params = (
        [v for v, k in zip(old, kinds, strict=True) if k == kind] for kind in ("hidden", "param")
    )
    new = program.outputs[n_results:]
    targets = [a for a, kind in zip(new, kinds, strict=True) if kind == "hidden"]
    program = open_control_flow(program, hidden, params, targets)
    targets = [a for a, kind in zip(program.outputs[n_results:], kinds, strict=True) if kind == "hidden"]
    refuse_loops(program, [*hidden, *params], [*program.outputs[:n_results], *targets])
    return write_out_indices(program)


def trace_step(model: Any, args: Sequence[Any]) -> StepProgram:
    """Trace a model's `update` once.

    Parameters
    ----------
    model : brainstate.nn.Module
        The model; its states must be initialised.
    args : sequence of pytrees
        Example arguments of `update` for one step.

    Returns
    -------
    StepProgram
        The step with every input and output named.

    Raises
    ------
    CompileError
        If the step writes a parameter, changes a state's shape or number type, or has a `while` loop on the
        way of a gradient that mixes positions.
    """
    stateful = StatefulFunction(model, return_only_write=False)
    stateful.make_jaxpr(*args)
    closed = stateful.get_jaxpr(*args)
    states = stateful.get_states(*args)
    out_shapes = stateful.get_out_shapes(*args)
    program = from_closed_jaxpr(closed)

    flat_args, args_tree = jax.tree.flatten(tuple(args))
    n_args = len(flat_args)
    n_results = len(jax.tree.leaves(out_shapes[0]))
    known = {id(s): p for p, s in model.states().items()}
    joined = [isinstance(s, brainstate.HiddenGroupState) for s in states for _ in jax.tree.leaves(s.value)]
    program = split_columns(program, n_args, n_results, joined)
    old_vars = list(program.inputs[n_args:])
    kinds = [kind_of(state) for state in states for _ in keys_of(state)]
    program = _normalised(program, n_results, old_vars, kinds)
    new_vars = list(program.outputs[n_results:])
    given = [v for v, kind in zip(old_vars, kinds, strict=True) if kind != "param"]
    moving = program.depending_on([*program.inputs[:n_args], *given])
    leaves: dict[str, list[StateLeaf]] = {"param": [], "hidden": [], "other": []}
    grouped: dict[str, list[Any]] = {"param": [], "hidden": [], "other": []}
    position = 0
    for state in states:
        kind = kind_of(state)
        base = known.get(id(state), (getattr(state, "name", None) or type(state).__name__,))
        for key in keys_of(state):
            path = (*base, *key)
            new = new_vars[position]
            if isinstance(new, Constant):
                program, new = program.name_constant(new, old_vars[position])
            if kind == "hidden" and new not in moving:
                program, new = program.copied(new)
            leaf = StateLeaf(path, len(grouped[kind]), len(leaves[kind]), old_vars[position], new)
            _check_kept(program, leaf)
            leaves[kind].append(leaf)
            position += 1
        grouped[kind].append(state)

    for leaf in leaves["param"]:
        if leaf.new is not leaf.old:
            raise CompileError(
                f"compile: a step must not write a ParamState, got a new value for {leaf.label!r}"
                f"{_made(program, leaf.new)}. "
                "Keep what the step changes in a ShortTermState or LongTermState."
            )
    read_ids = {id(s) for s in grouped["param"]}
    all_params = model.states(brainstate.ParamState)
    unread = {p: s for p, s in all_params.items() if id(s) not in read_ids}
    return StepProgram(
        program=program,
        arguments=program.inputs[:n_args],
        arguments_tree=args_tree,
        results=program.outputs[:n_results],
        results_tree=jax.tree.structure(out_shapes[0]),
        params=tuple(leaves["param"]),
        hidden=tuple(leaves["hidden"]),
        others=tuple(leaves["other"]),
        param_states=tuple(grouped["param"]),
        hidden_states=tuple(grouped["hidden"]),
        other_states=tuple(grouped["other"]),
        param_paths=tuple(known.get(id(s), (s.name,)) for s in grouped["param"]),
        unread_paths=tuple(unread),
        unread_states=tuple(unread.values()),
    )
