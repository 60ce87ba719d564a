"""Tables of a report, for terminals and notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from rich.console import Group
from rich.table import Table
from rich.text import Text

COLOURS = {"temporal": "#2a7fb8", "instantaneous": "#d9822b", "both": "#7d4fa6", "unreached": "#8c8c8c"}
"""A colour for each route of a parameter."""


class Section(NamedTuple):
    """A table with a title."""

    title: str
    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


def rich_of(title: str, sections: Sequence[Section], foot: str) -> Group:
    """Lay sections out for a terminal.

    Parameters
    ----------
    title, foot : str
        Lines above and below.
    sections : sequence of Section
        The tables.

    Returns
    -------
    Group
        What `rich.print` shows.
    """
    parts: list[Text | Table] = [Text(title, style="bold")]
    for section in sections:
        table = Table(title=section.title, title_justify="left", title_style="bold", header_style="")
        for name in section.header:
            table.add_column(name, overflow="fold")
        for row in section.rows:
            table.add_row(*(Text(cell, style=COLOURS.get(cell, "")) for cell in row))
        parts.append(table)
    return Group(*parts, Text(foot))


def html_of(title: str, sections: Sequence[Section], foot: str) -> str:
    """Lay sections out for a notebook.

    Parameters
    ----------
    title, foot : str
        Lines above and below.
    sections : sequence of Section
        The tables.

    Returns
    -------
    str
        HTML.
    """
    parts = [f"<b>{escape(title)}</b>"]
    for section in sections:
        head = "".join(f"<th style='text-align:left'>{escape(name)}</th>" for name in section.header)
        body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in section.rows)
        caption = f"<caption style='text-align:left'>{escape(section.title)}</caption>"
        parts.append(f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")
    return "\n".join([*parts, f"<p>{escape(foot)}</p>"])


def _cell(text: str) -> str:
    colour = f";color:{COLOURS[text]}" if text in COLOURS else ""
    return f"<td style='text-align:left{colour}'>{escape(text)}</td>"
