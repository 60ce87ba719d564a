"""The commands ``snntrace data convert``, ``export``, ``check`` and ``info``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

if TYPE_CHECKING:
    from snntrace.datasets import SpikeDataset

Split = Annotated[list[str] | None, typer.Option("--split", help="Official part; may be given again.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")]
Name = Annotated[str | None, typer.Option("--name", help="Name of the data set, if the path does not tell.")]


def register(group: typer.Typer) -> None:
    """Add these commands to a group.

    Parameters
    ----------
    group : Typer
        The group ``data``.
    """
    for command in (convert, export, check, info):
        group.command()(command)


def convert(
    source: Annotated[str, typer.Argument(help="'digits', or the path of a data set.")],
    file: Annotated[Path, typer.Argument(help="Store to make.")],
    name: Name = None,
    split: Split = None,
    part: Annotated[
        str | None, typer.Option("--as", help="Store the recordings as this official part.")
    ] = None,
    append: Annotated[bool, typer.Option("--append", help="Add to an existing store.")] = False,
    level: Annotated[int | None, typer.Option(help="Compression, 0 (none, fast) to 9.")] = None,
    sort: Annotated[bool, typer.Option("--sort", help="Sort events by time.")] = False,
    allow_empty: Annotated[bool, typer.Option("--allow-empty", help="Keep silent recordings.")] = False,
    overwrite: Overwrite = False,
) -> None:
    """Convert a data set to a spike store, once, to read it fast from then on."""
    from snntrace.datasets.store_convert import convert as make
    from snntrace.datasets.store_convert import fill
    from snntrace.datasets.store_writer import LEVEL, StoreWriter

    with reported(), progressing("converting") as progress:
        if part and split:
            raise ValueError("snntrace data convert: --as and --split must not be combined. Give one.")
        if append and (level is not None or overwrite):
            raise ValueError(
                "snntrace data convert: --append must keep what there is, got --level or --overwrite. Leave "
                "them out."
            )
        parts = opened(source, name, split, part)
        if append:
            with StoreWriter.extending(file, sort=sort, allow_empty=allow_empty) as writer:
                fill(writer, parts, progress)
        else:
            make(
                parts.get(None, parts), file, level=LEVEL if level is None else level,
                sort=sort, allow_empty=allow_empty, overwrite=overwrite, progress=progress,
            )  # fmt: skip
    Console().print(
        f"{sum(map(len, parts.values()))} recordings in {file}, {file.stat().st_size / 1e6:,.1f} MB",
        highlight=False, soft_wrap=True,
    )  # fmt: skip


def export(
    source: Annotated[str, typer.Argument(help="A store, or any other data set.")],
    file: Annotated[Path, typer.Argument(help="HDF5 file in the layout of SHD to make.")],
    name: Name = None,
    split: Annotated[str | None, typer.Option(help="Official part.")] = None,
    times: Annotated[
        str | None, typer.Option(help="Type of times (float16, float32, float64), to which they are rounded.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Write a data set as an HDF5 file in the layout of SHD, which other programs read."""
    from snntrace.datasets.store_convert import export_shd

    with reported():
        (data,) = opened(source, name, [split] if split else None, None).values()
        export_shd(data, file, time_type=times, overwrite=overwrite)
    Console().print(f"{len(data)} recordings in {file}", highlight=False, soft_wrap=True)


def check(file: Annotated[Path, typer.Argument(help="Store to check.")]) -> None:
    """Read all of a store, and compare its checksums."""
    from snntrace.datasets import SpikeStore

    with reported(), SpikeStore(file) as store:
        store.check()
        console = Console()
        console.print(f"{store!r} is whole", highlight=False, markup=False, soft_wrap=True)


def info(
    source: Annotated[str, typer.Argument(help="'digits', or the path of a data set.")],
    name: Name = None,
    split: Annotated[str | None, typer.Option(help="Official part.")] = None,
    picture: Annotated[Path | None, typer.Option(help="Draw one recording to this PNG file.")] = None,
    index: Annotated[int, typer.Option(help="Which recording to draw.")] = 0,
) -> None:
    """Tell what a data set holds: recordings, classes, events, rates, and a picture on request."""
    from rich.table import Table

    from snntrace.datasets.pictures import plot_raster
    from snntrace.datasets.summary import summary

    with reported():
        (data,) = opened(source, name, [split] if split else None, None).values()
        table = Table(show_header=False, box=None)
        for what, value in summary(data).items():
            table.add_row(what, value)
        if picture is not None:
            times, units = data.events(index)
            label = data.class_names[int(data.labels[index])]
            figure = plot_raster(times, units, n_units=data.n_units, title=f"recording {index}: {label}")
            figure.savefig(picture, format="png")
    Console().print(table)


def opened(
    source: str, name: str | None, splits: list[str] | None, part: str | None
) -> dict[Any, SpikeDataset]:
    """Open the parts of a data set.

    Parameters
    ----------
    source : str
        What to open.
    name : str, optional
        Name of the data set.
    splits : list of str, optional
        Official parts.
    part : str, optional
        Name to give to the one part that is opened.

    Returns
    -------
    dict of SpikeDataset
        The data sets by the names of the parts; by None if there are no names.
    """
    from snntrace.datasets import open_dataset

    if not splits:
        return {part: open_dataset(source, name)}
    return {split: open_dataset(source, name, split=split) for split in splits}


@contextmanager
def reported() -> Iterator[None]:
    """Show errors as those of the command.

    Yields
    ------
    None
        Nothing.

    Raises
    ------
    BadParameter
        For an error of the data.
    """  # noqa: DOC501
    try:
        yield
    except (ValueError, TypeError, IndexError, OSError) as error:
        raise typer.BadParameter(str(error)) from error


@contextmanager
def progressing(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar while something goes on.

    Parameters
    ----------
    what : str
        What goes on.

    Yields
    ------
    callable
        To be called with the number done and that of all.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = TextColumn(what), BarColumn(bar_width=24), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=Console(), transient=True) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, of: progress.update(task, completed=done, total=of)
