"""A learning rule: four choices."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from snntrace.learner import Learner

RECURSIONS = ("diagonal", "coupled", "scalar", "none", "full")
SIGNALS = ("backprop", "random", "target")
FACTORISATIONS = ("per-synapse", "io")
LEGAL = {
    "full": ("backprop",),
    "diagonal": SIGNALS,
    "coupled": SIGNALS,
    "scalar": SIGNALS,
    "none": SIGNALS,
}
"""For each recursion, the learning signals it can be joined with."""

Decay = float | int | tuple[float | int, float | int]


@dataclass(frozen=True)
class Rule:
    r"""A learning rule as a value.

    .. math::

        \epsilon^t = D^t \epsilon^{t-1} + D_f^t x^t, \qquad \nabla W = \sum_t L^t \cdot \epsilon^t

    Parameters
    ----------
    recursion : {'diagonal', 'coupled', 'scalar', 'none', 'full'}
        What D is: the unit's own dynamics with products held; the unit's block of the step's true
        Jacobian; a fixed leak; nothing; or no trace at all but backpropagation through time.
    signal : {'backprop', 'random', 'target'}
        What L is: the loss's gradient inside the step; the loss's gradient at the result, projected
        by fixed matrices; the target, projected by fixed matrices.
    leak : float, optional
        The factor of ``recursion='scalar'``, in [0, 1).
    factorisation : {'per-synapse', 'io'}
        How a synapse's trace is kept: by itself, or as the product of a factor for its input and one for its
        unit.
    decay_or_rank : float, int or pair of these, optional
        What smooths the factors of ``factorisation='io'``; a pair is for input and unit. A float in [0, 1) is
        the decay a step. A whole number r of at least 1 stands for the decay (r - 1) / (r + 1): the smoothing
        is as old on average as a plain mean over r steps. None leaves it to the learner's option.
    name : str
        A name for reports.
    paper : str
        What to cite.

    Raises
    ------
    ValueError
        If a choice is unknown, or if two choices cannot be joined.

    Examples
    --------
    >>> from snntrace import Rule
    >>> Rule(recursion="diagonal", signal="random").signal
    'random'
    """

    recursion: str = "diagonal"
    signal: str = "backprop"
    leak: float | None = None
    factorisation: str = "per-synapse"
    decay_or_rank: Decay | None = None
    name: str = "Rule"
    paper: str = ""

    def __post_init__(self) -> None:
        """Refuse unknown and illegal choices."""
        if self.recursion not in RECURSIONS:
            raise ValueError(
                f"Rule: recursion must be one of {RECURSIONS}, got recursion={self.recursion!r}. "
                "Choose one of them."
            )
        if self.signal not in SIGNALS:
            raise ValueError(
                f"Rule: signal must be one of {SIGNALS}, got signal={self.signal!r}. Choose one of them."
            )
        if self.signal not in LEGAL[self.recursion]:
            raise ValueError(
                f"Rule: recursion={self.recursion!r} goes with signal in {LEGAL[self.recursion]}, "
                f"got signal={self.signal!r}. Choose one of them, or another recursion."
            )
        if (self.recursion == "scalar") != (self.leak is not None):
            raise ValueError(
                f"Rule: leak belongs to recursion='scalar' alone, got recursion={self.recursion!r} "
                f"and leak={self.leak!r}. Give both or neither."
            )
        if self.leak is not None and not 0 <= self.leak < 1:
            raise ValueError(f"Rule: leak must be in [0, 1), got leak={self.leak!r}. Choose e.g. 0.9.")

        self._check_factors()

    def _check_factors(self) -> None:
        if self.factorisation not in FACTORISATIONS:
            raise ValueError(
                f"Rule: factorisation must be one of {FACTORISATIONS}, got "
                f"factorisation={self.factorisation!r}. Choose one of them."
            )
        if self.factorisation == "io" and self.recursion == "full":
            raise ValueError(
                "Rule: factorisation='io' must go with a recursion that has traces, got recursion='full'. "
                "Use recursion='diagonal'."
            )
        if self.decay_or_rank is None:
            return
        if self.factorisation != "io":
            raise ValueError(
                "Rule: decay_or_rank belongs to factorisation='io' alone, got "
                f"factorisation={self.factorisation!r} and decay_or_rank={self.decay_or_rank!r}. "
                "Give both or neither."
            )
        _ = self.decays

    @property
    def decays(self) -> tuple[float, float] | None:
        """The decays of the presynaptic and the postsynaptic factor; None if there are none."""
        given = self.decay_or_rank
        if given is None:
            return None
        pair = given if isinstance(given, (tuple, list)) else (given, given)
        if len(pair) != 2:
            raise ValueError(
                f"Rule: decay_or_rank must be one value or a pair, got decay_or_rank={given!r}. "
                "Give e.g. 0.9, or (0.9, 0.8) for input and unit."
            )
        return _decay(pair[0]), _decay(pair[1])

    def smoothed(self, decay_or_rank: Decay | None) -> Rule:
        """Return the rule with what smooths its factors; itself if that is not given.

        Parameters
        ----------
        decay_or_rank : float, int or pair of these, optional
            As in `Rule`.

        Returns
        -------
        Rule
            The rule to compile.

        Raises
        ------
        TypeError
            If a rule without factors is given one.
        ValueError
            If a rule with factors has none, or one out of range.
        """
        if decay_or_rank is not None and self.factorisation != "io":
            raise TypeError(
                f"{self.name}: options must have an effect, got decay_or_rank, which a rule with "
                f"factorisation={self.factorisation!r} does not use. Leave it out, or choose pp_prop."
            )
        rule = self if decay_or_rank is None else replace(self, decay_or_rank=decay_or_rank)
        if rule.factorisation == "io" and rule.decay_or_rank is None:
            raise ValueError(
                f"{self.name}: decay_or_rank must be given, got none. Pass the decay a step as a float, e.g. "
                "decay_or_rank=0.9, or a number of steps, e.g. decay_or_rank=19, which is the same."
            )
        return rule

    @property
    def projects(self) -> bool:
        """Whether the rule needs feedback matrices."""
        return self.signal in ("random", "target")

    def __call__(self, model: Any, *args: Any, **options: Any) -> Learner:
        """Wrap a model in a learner under this rule; see `snntrace.Learner` for the options.

        A rule with factors whose smoothing is open takes it behind the model.

        Returns
        -------
        Learner
            The learner, to be compiled.
        """
        from snntrace.learner import Learner

        is_open = self.factorisation == "io" and self.decay_or_rank is None
        if args and is_open and "decay_or_rank" not in options:
            options["decay_or_rank"], *args = args  # type: ignore[assignment]
        return Learner(model, self, *args, **options)


def _decay(value: Any) -> float:
    """Return the decay that a float is, or that a whole number of steps stands for."""
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if whole and value >= 1:
        return (int(value) - 1) / (int(value) + 1)
    if isinstance(value, (float, np.floating)) and 0 <= value < 1:
        return float(value)
    raise ValueError(
        "Rule: decay_or_rank must be a float in [0, 1) or a whole number of at least 1, got "
        f"decay_or_rank={value!r}. Give e.g. 0.9, or 19, which is the same."
    )
