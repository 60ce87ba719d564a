"""The commands ``snntrace data list`` and ``download``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from snntrace.store_cli import reported

if TYPE_CHECKING:
    from snntrace.datasets.sources import Told


def register(group: typer.Typer) -> None:
    """Add these commands to a group.

    Parameters
    ----------
    group : Typer
        The group ``data``.
    """
    group.command("list")(listing)
    group.command()(download)


def listing() -> None:
    """List the data sets: name, classes, recordings, licence, and whether they can be downloaded."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Column, Table

    from snntrace.datasets import DATASETS

    # In a narrow terminal, a name that is cut short would be of no use.
    columns = [Column("name", no_wrap=True, min_width=max(map(len, DATASETS)))]
    columns += [
        Column(head, overflow="fold")
        for head in ("what it is", "classes", "recordings", "licence", "download")
    ]
    table = Table(*columns, box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name, entry in DATASETS.items():
        about = entry.about
        known = about.lines()
        classes = str(len(about.class_names)) if about.class_names else "any"
        parts = known.get("parts") or known.get("recordings") or "any"
        table.add_row(name, about.title, classes, parts, about.licence, way(name))
    Console().print(table)


def way(name: str) -> str:
    """Say how a data set gets onto this machine.

    Parameters
    ----------
    name : str
        Its name.

    Returns
    -------
    str
        A few words.
    """
    from snntrace.datasets import DATASETS
    from snntrace.datasets.sources import BY_HAND, SOURCES

    if name in SOURCES:
        checks = sorted({remote.source.check for remote in SOURCES[name]})
        return f"yes ({', '.join(checks)})"
    if name in BY_HAND:
        return "by hand"
    return "generated" if DATASETS[name].recognises is None else "your own"


def download(
    name: Annotated[str, typer.Argument(help="Name of a data set; `snntrace data list` lists them.")],
    to: Annotated[
        Path | None, typer.Option("--to", help="Folder; left out, the one where open_dataset looks.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Official part; all of them if left out.")] = None,
) -> None:
    """Download a data set and unpack it; what was broken off goes on, what is there stays."""
    from snntrace.datasets import obtain

    with reported(), transfers() as told:
        path = obtain(name, to, split=split, told=told)
    Console().print(f"{name} is in {path}", highlight=False, soft_wrap=True)


@contextmanager
def transfers() -> Iterator[Told]:
    """Show a bar for each file that comes.

    Yields
    ------
    callable
        To be called with the name of a file, the bytes that are there and all of them.
    """
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TaskID,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}"), BarColumn(bar_width=24), DownloadColumn(), TransferSpeedColumn(),
        TimeRemainingColumn(),
    )  # fmt: skip
    tasks: dict[str, TaskID] = {}
    with Progress(*columns, console=Console(), transient=True) as progress:

        def told(name: str, done: int, total: int | None) -> None:
            if name not in tasks:
                tasks[name] = progress.add_task(name, total=total)
            progress.update(tasks[name], completed=done, total=total)

        yield told
