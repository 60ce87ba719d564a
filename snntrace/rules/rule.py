"""A learning rule: four choices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from snntrace.learner import Learner

RECURSIONS = ("diagonal", "coupled", "scalar", "none", "full")
SIGNALS = ("backprop", "random", "target")
LEGAL = {
    "full": ("backprop",),
    "diagonal": SIGNALS,
    "coupled": SIGNALS,
    "scalar": SIGNALS,
    "none": SIGNALS,
}
"""For each recursion, the learning signals it can be joined with."""


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

    @property
    def projects(self) -> bool:
        """Whether the rule needs feedback matrices."""
        return self.signal in ("random", "target")

    def __call__(self, model: Any, *args: Any, **options: Any) -> Learner:
        """Wrap a model in a learner under this rule; see `snntrace.Learner` for the options."""
        from snntrace.learner import Learner

        return Learner(model, self, *args, **options)
