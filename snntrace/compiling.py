"""`compile`: from a model, a rule and an example input to a learner."""

from __future__ import annotations

from typing import Any

import brainstate

import snntrace.rules
from snntrace.learner import Learner
from snntrace.rules.options import is_count
from snntrace.rules.rule import Rule

NAMED = {name: rule for name, rule in vars(snntrace.rules).items() if isinstance(rule, Rule)}
"""The rules with a name."""


def compile(
    model: Any, rule: Rule | str, *args: Any, batch_size: int | None = None, **options: Any
) -> Learner:
    """Make a learner: initialise a model's states, analyse its step, make its traces.

    Parameters
    ----------
    model : brainstate.nn.Module
        The model.
    rule : Rule or str
        The learning rule, e.g. ``snntrace.D_RTRL``, or its name, ``'D_RTRL'``.
    *args : pytrees
        Example arguments of `update` for one step, with the batch axis if there is one.
    batch_size : int, optional
        Samples side by side; states are made with this leading axis. None makes states without one.
    **options
        Options of `Learner`.

    Returns
    -------
    Learner
        The compiled learner.

    Raises
    ------
    TypeError
        If `rule` is no rule, or if no example input was given.
    ValueError
        If `batch_size` is not positive.
    CompileError
        If the model cannot be given exact traces as it is written.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> import snntrace
    >>> from snntrace.neurons import LIF, Recurrent
    >>> learner = snntrace.compile(Recurrent(3, LIF(4)), snntrace.D_RTRL, jnp.ones((2, 3)), batch_size=2)
    >>> learner.update(jnp.ones((2, 3))).shape
    (2, 4)
    """
    rule = NAMED.get(rule, rule) if isinstance(rule, str) else rule
    if not isinstance(rule, Rule):
        raise TypeError(
            f"compile: rule must be a snntrace.Rule or one of {', '.join(NAMED)}, got rule={rule!r}. "
            "Pass e.g. snntrace.D_RTRL."
        )
    if not args:
        raise TypeError(
            "compile: an example input must be given, got none. Pass one step's input after the rule."
        )
    if batch_size is not None and not is_count(batch_size):
        raise ValueError(
            f"compile: batch_size must be positive, got batch_size={batch_size!r}. Use 1 or more."
        )
    learner = rule(model, **options)
    if batch_size is None:
        brainstate.nn.init_all_states(model)
    else:
        brainstate.nn.init_all_states(model, batch_size=batch_size)
    learner.compile_graph(*args, batched=batch_size is not None)
    return learner
