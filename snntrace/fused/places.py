"""What a stream's arenas hold: event lists, rows of synapses, parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from snntrace.fused.arena import Arena
from snntrace.fused.forward import RowNames
from snntrace.jaxprs import Variable


@dataclass(frozen=True)
class EventList:
    """Where the events of a source are: one row of them for each step of a window.

    `pointers` and `units` are places among the integers, `sizes` among a sample's numbers; `shift` is the row
    of a window's first step where a product reads it.
    """

    pointers: int
    units: int
    sizes: int
    width: int


@dataclass(frozen=True)
class Rows:
    """Where the rows of a product are, as the functions of `snntrace.fused.rows` take it.

    `events` is its list (pointers, units, sizes), `sorted` room for it in the order of units, `rows` where
    gradient, traces and stamps are, `ring` the units' transitions and room for a block of columns, `posts`
    the window's signals in channel 0 and the distance to the next channel.
    """

    events: tuple[int, int, int]
    n_pre: int
    sorted: tuple[int, int, int]
    rows: tuple[int, int, int]
    ring: tuple[int, int]
    posts: tuple[int, int]


class Places:
    """The arenas of a stream: of each sample, its numbers and its integers; of all, weights and gradients."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.own = Arena()
        self.integers = Arena()
        self.shared = Arena()

    def event_list(self, name: str, width: int) -> EventList:
        """Take room for a list with a row for each step, and one for what was before them."""
        rows = self.steps + 1
        return EventList(
            self.integers.new(f"{name} pointers", rows + 1),
            self.integers.new(f"{name} units", rows * width),
            self.own.new(f"{name} sizes", rows * width),
            width,
        )


class At(RowNames):
    """Writes places of an arena as `RowNames` writes rows of scratch memory."""

    def at(self, row: int) -> str:
        """Write the place of unit i in a row that begins at `row`."""
        return f"w[{row} + i]"


class Parameters:
    """Unit-wise parameters of some code, kept among each sample's numbers.

    Parameters
    ----------
    places : Places
        The arenas.
    name : str
        Beginning of their places' names.
    variables : sequence of Variable
        The parameters.
    width : int
        Number of units.
    """

    def __init__(self, places: Places, name: str, variables: Sequence[Variable], width: int) -> None:
        self.names = {v: f"{name} {m}" for m, v in enumerate(variables)}
        self.codes: dict[Variable, str] = {}
        self.loads: list[str] = []
        for m, (v, place) in enumerate(self.names.items()):
            one = int(np.prod(v.shape, dtype=int)) == 1
            at = places.own.new(place, 1 if one else width)
            kind = np.dtype(v.dtype).kind
            code = f"p{m}" if one else f"w[{at} + i]"
            if one:
                self.loads.append(f"p{m} = w[{at}]")
            self.codes[v] = f"({code} != 0)" if kind == "b" else f"np.int64({code})" if kind in "iu" else code
