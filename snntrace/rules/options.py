"""Checks of a learner's options."""

from __future__ import annotations

from typing import Any

import numpy as np

from snntrace.rules.rule import Rule

NONDIAGONAL = ("refuse", "exact")
VJP_METHODS = ("single-step", "multi-step")


def is_count(value: Any) -> bool:
    """Tell whether a value is a whole number of at least 1."""
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    return whole and int(value) >= 1


def check_options(who: str, vjp_method: Any, window: Any, nondiagonal: Any, limit: Any) -> None:
    """Refuse values that a learner's options do not take.

    Raises
    ------
    ValueError
        If there is one.
    """
    if vjp_method not in VJP_METHODS:
        raise ValueError(
            f"{who}: vjp_method must be one of {', '.join(VJP_METHODS)}, got vjp_method={vjp_method!r}. "
            "Leave it out: both give the same gradient here."
        )
    if window is not None and not is_count(window):
        raise ValueError(
            f"{who}: window must be a positive number of steps or None, got window={window!r}. "
            "Give e.g. window=20."
        )
    if nondiagonal not in NONDIAGONAL:
        raise ValueError(
            f"{who}: nondiagonal must be one of {', '.join(NONDIAGONAL)}, "
            f"got nondiagonal={nondiagonal!r}. Use 'exact' for the whole Jacobian."
        )
    number = isinstance(limit, (int, float, np.integer, np.floating)) and not isinstance(limit, bool)
    if limit is not None and not (number and limit > 0):
        raise ValueError(
            f"{who}: memory_limit must be a positive number of bytes or None, got memory_limit={limit!r}. "
            "Write e.g. memory_limit=8e9, or float('inf') for no limit."
        )


def check_effect(
    rule: Rule, given: dict[str, Any], window: int | None, fast_solve: bool, nondiagonal: str = "refuse"
) -> None:
    """Refuse options that would have no effect.

    Raises
    ------
    TypeError
        If there are some.
    """
    without = ""
    names: list[str] = []
    if not rule.projects:
        names, without = list(given), "a rule that does not project a signal"
    elif rule.signal == "random":
        names, without = [n for n in ("target_timing", "reduction") if n in given], "random feedback"
    if not names and rule.projects and not isinstance(given.get("B_list"), str):
        names, without = [n for n in ("scale", "seed") if n in given], "matrices that are given"
    if not names and given.get("signal") != "output" and "output" in given:
        names, without = ["output"], "signal='state'"
    if not names and rule.recursion == "full":
        used = {
            "window": window is not None, "fast_solve": not fast_solve, "nondiagonal": nondiagonal != "refuse"
        }  # fmt: skip
        names, without = [n for n, is_given in used.items() if is_given], "backpropagation through time"
    if names:
        raise TypeError(
            f"{rule.name}: options must have an effect, got {', '.join(names)}, which {without} does not "
            "use. Leave them out, or choose another rule."
        )
