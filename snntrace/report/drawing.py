"""A picture of a report: hidden groups as boxes in layers, weights as arrows, routes as colours."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from snntrace.report.tables import COLOURS
from snntrace.report.wiring import INPUT, OUTPUT, Wire, wires_of

if TYPE_CHECKING:
    from snntrace.report.report import Report

WIDTH, GAP_X, GAP_Y, LINE = 2.5, 2.3, 1.3, 0.2
"""Width of a box, gaps between boxes, and height of a line of text, in inches."""

Place = tuple[float, float, float]
"""Left and lower edge of a box, and its height."""


def draw_report(report: Report) -> Figure:
    """Draw a report.

    Parameters
    ----------
    report : Report
        The report.

    Returns
    -------
    Figure
        The picture.
    """
    wires = wires_of(report)
    texts = _texts(report)
    places = _places(_columns(wires, list(texts)), texts)
    right = max(x for x, _, _ in places.values()) + WIDTH
    steps = [places[w.target][0] - places[w.source][0] for w in wires if w.source != w.target]
    bent = any(abs(step - WIDTH - GAP_X) > 1e-6 for step in steps)
    loops = max((sum(w.source == w.target == name for w in wires) for name in places), default=0)
    low = min(y for _, y, _ in places.values()) - (1.4 if bent else 0.2)
    high = (
        max(y + h for _, y, h in places.values()) + 0.7 + max(0.4 + LINE * loops if loops else 0, 0.9 * bent)
    )
    figure = Figure(figsize=(right + 0.6, high - low + 0.5))
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_xlim(-0.3, right + 0.3)
    axes.set_ylim(low - 0.5, high)
    axes.axis("off")
    for name, place in places.items():
        _draw_box(axes, place, texts[name], filled=name >= 0)
    _draw_wires(axes, wires, places)
    title = f"{report.model_name} under {report.rule.name}"
    axes.text(-0.1, high - 0.15, title, fontsize=12, fontweight="bold", va="top")
    _draw_legend(axes, {p.route for p in report.parameters} | {w.route for w in wires})
    return figure


def _texts(report: Report) -> dict[int, list[tuple[str, str]]]:
    """Write what stands in each box: lines, each with a colour."""
    step = report.graph.step
    shapes = ", ".join(str(v.shape) for v in step.arguments)
    results = ", ".join(str(a.shape) for a in step.results)
    texts = {INPUT: [("input", "black"), (shapes, "#555555")]}
    routes = {".".join(map(str, p.path)): p.route for p in report.parameters}
    for group in report.graph.groups:
        lines = [(f"group {group.index}  {group.shape}", "black")]
        lines += [(leaf.label, "#333333") for leaf in group.leaves]
        inside = [r.relation for r in report.graph.routes if r.group is group and not r.relation.mixing]
        shown = {leaf for r in inside for leaf in step.params if leaf.old in r.sources}
        for leaf in (leaf for leaf in step.params if leaf in shown):
            route = routes[".".join(map(str, step.param_paths[leaf.state]))]
            lines.append((leaf.label, COLOURS[route]))
        texts[group.index] = lines
    return texts | {OUTPUT: [("output", "black"), (results, "#555555")]}


def _columns(wires: list[Wire], names: list[int]) -> dict[int, int]:
    """Give every box a column: one behind all that it reads in the same step."""
    column = dict.fromkeys(names, 0)
    for name in names:
        if name not in (INPUT, OUTPUT):
            column[name] = 1
    for _ in names:
        for wire in wires:
            if not wire.late and wire.source != wire.target:
                column[wire.target] = max(column[wire.target], column[wire.source] + 1)
    column[OUTPUT] = max(column[n] for n in names if n != OUTPUT) + 1
    return column


def _places(columns: dict[int, int], texts: dict[int, list[tuple[str, str]]]) -> dict[int, Place]:
    """Put the boxes side by side, each column centred."""
    stacks: dict[int, list[int]] = defaultdict(list)
    for name, column in columns.items():
        stacks[column].append(name)
    places: dict[int, Place] = {}
    for column, names in stacks.items():
        heights = [LINE * len(texts[name]) + 0.3 for name in names]
        top = (sum(heights) + GAP_Y * (len(names) - 1)) / 2
        for name, height in zip(names, heights, strict=True):
            places[name] = (column * (WIDTH + GAP_X), top - height, height)
            top -= height + GAP_Y
    return places


def _draw_box(axes: Any, place: Place, lines: list[tuple[str, str]], filled: bool) -> None:
    x, y, height = place
    face = "#eef3f7" if filled else "white"
    shape = "round,pad=0,rounding_size=0.08"
    look: dict[str, Any] = {"facecolor": face, "edgecolor": "#5c6b78", "linewidth": 1.2}
    axes.add_patch(FancyBboxPatch((x, y), WIDTH, height, boxstyle=shape, **look))
    for i, (text, colour) in enumerate(lines):
        weight = "bold" if i == 0 else "normal"
        at = (x + WIDTH / 2, y + height - 0.15 - LINE * (i + 0.5))
        axes.text(
            *at, _short(text, 36), color=colour, fontsize=8, fontweight=weight, ha="center", va="center"
        )


def _short(text: str, length: int) -> str:
    """Cut a long name in its middle."""
    half = (length - 3) // 2
    return text if len(text) <= length else f"{text[:half]}...{text[-half:]}"


def _draw_wires(axes: Any, wires: list[Wire], places: dict[int, Place]) -> None:
    """Draw one arrow for each pair of places, with a line of text for each parameter on it."""
    bundles: dict[tuple[int, int, bool], list[Wire]] = defaultdict(list)
    for wire in wires:
        bundles[wire.source, wire.target, wire.late].append(wire)
    loops: dict[int, int] = defaultdict(int)
    for (source, target, late), bundle in bundles.items():
        (x0, y0, h0), (x1, y1, h1) = places[source], places[target]
        routes = {w.route for w in bundle}
        colour = COLOURS[routes.pop()] if len(routes) == 1 and bundle[0].route else "#8c8c8c"
        if len(routes) > 0:
            colour = "#555555"
        if source == target:
            start, end = (x0 + WIDTH * 0.72, y0 + h0), (x0 + WIDTH * 0.28, y0 + h0)
            curve, at = 0.9, (x0 + WIDTH / 2, y0 + h0 + 0.68 + 0.2 * loops[source])
            loops[source] += len(bundle)
        elif x1 > x0:
            start, end = (x0 + WIDTH, y0 + h0 / 2), (x1, y1 + h1 / 2)
            far = x1 - x0 > WIDTH + GAP_X + 1e-6
            # A long way goes around what stands between: above it from a higher box, else below.
            up = 1 if start[1] > end[1] + 1e-6 else -1
            curve = -0.28 * up if far else 0.0
            rise = up * 0.14 * (x1 - x0) - (0.1 if up < 0 else 0.0) if far else 0.1
            at = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2 + rise)
        else:
            start, end = (x0 + WIDTH / 2, y0), (x1 + WIDTH / 2, y1)
            curve, at = -0.3, ((start[0] + end[0]) / 2, min(y0, y1) - 0.15 * (x0 - x1) - 0.1)
        axes.add_patch(
            FancyArrowPatch(
                start, end, connectionstyle=f"arc3,rad={curve}", arrowstyle="-|>", mutation_scale=13,
                linestyle="--" if late else "-", linewidth=1.5, color=colour, shrinkA=0, shrinkB=0, zorder=1,
            )
        )  # fmt: skip
        for i, wire in enumerate(w for w in bundle if w.label):
            axes.text(
                at[0], at[1] + LINE * i, _short(wire.label, 30), color=COLOURS.get(wire.route, "#555555"),
                fontsize=8, ha="center", va="bottom",
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8, "alpha": 0.85},
            )  # fmt: skip


def _draw_legend(axes: Any, routes: set[str]) -> None:
    handles = [Line2D([], [], color=c, linewidth=2.5, label=r) for r, c in COLOURS.items() if r in routes]
    handles.append(Line2D([], [], color="#555555", linestyle="--", label="from the step before"))
    axes.legend(handles=handles, loc="lower left", ncols=len(handles), frameon=False, fontsize=8)
