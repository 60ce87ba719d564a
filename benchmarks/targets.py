"""What a benchmark must show."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """What must hold, what was measured, and whether it holds."""

    what: str
    wanted: str
    got: str
    met: bool


def at_most(what: str, limit: float, got: float) -> Target:
    return Target(what, f"<= {limit:g}", f"{got:.3g}", got <= limit)


def at_least(what: str, limit: float, got: float) -> Target:
    return Target(what, f">= {limit:g}", f"{got:.3g}", got >= limit)
