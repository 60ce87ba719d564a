"""The commands ``snntrace data convert``, ``export`` and ``check``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from rich.console import Console

if TYPE_CHECKING:
    from snntrace.datasets import SpikeDataset

Split = Annotated[list[str] | None, typer.Option("--split", help="Official part; may be given again.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")]
Name = Annotated[str | None, typer.Option("--name", help="Name of the data set, if the path does not tell.")]
Source = Annotated[str, typer.Argument(help="Path of a data set, or a name of `snntrace data list`.")]
Encoding = Annotated[
    str | None, typer.Option(help="How pictures become events: rate, poisson, latency or camera.")
]
Sensor = Annotated[
    str | None,
    typer.Option(help="Width and height of the camera, where files do not say it, such as 240x180."),
]


def register(group: typer.Typer) -> None:
    """Add these commands to a group.

    Parameters
    ----------
    group : Typer
        The group ``data``.
    """
    for command in (convert, export, check):
        group.command()(command)


def convert(
    source: Source,
    file: Annotated[Path, typer.Argument(help="Store to make.")],
    name: Name = None,
    split: Split = None,
    part: Annotated[
        str | None, typer.Option("--as", help="Store the recordings as this official part.")
    ] = None,
    encoding: Encoding = None,
    sensor: Sensor = None,
    append: Annotated[bool, typer.Option("--append", help="Add to an existing store.")] = False,
    sort: Annotated[bool, typer.Option("--sort", help="Sort events by time.")] = False,
    allow_empty: Annotated[bool, typer.Option("--allow-empty", help="Keep silent recordings.")] = False,
    overwrite: Overwrite = False,
) -> None:
    """Convert a data set to a spike store, once, to read it fast from then on."""
    from snntrace.datasets.store_convert import convert as make
    from snntrace.datasets.store_convert import fill
    from snntrace.datasets.store_writer import StoreWriter

    with reported(), progressing("converting") as progress:
        if part and split:
            raise ValueError("snntrace data convert: --as and --split must not be combined. Give one.")
        if append and overwrite:
            raise ValueError(
                "snntrace data convert: --append must keep what there is, got --overwrite. Leave one out."
            )
        parts = opened(source, name, split, part, encoding=encoding, sensor=sensor)
        for data in parts.values():
            # What is sorted need not be in order.
            if sort and hasattr(data, "ordered"):
                cast(Any, data).ordered = False
        if append:
            with StoreWriter.extending(file, sort=sort, allow_empty=allow_empty) as writer:
                fill(writer, parts, progress)
        else:
            make(
                parts.get(None, parts), file, sort=sort, allow_empty=allow_empty, overwrite=overwrite,
                progress=progress,
            )  # fmt: skip
    told = f"{counted(sum(map(len, parts.values())))} in {file}, {in_bytes(file.stat().st_size)}"
    Console().print(told, highlight=False, soft_wrap=True)


def export(
    source: Source,
    file: Annotated[Path, typer.Argument(help="HDF5 file in the layout of SHD to make.")],
    name: Name = None,
    split: Annotated[str | None, typer.Option(help="Official part.")] = None,
    encoding: Encoding = None,
    sensor: Sensor = None,
    times: Annotated[
        str | None, typer.Option(help="Type of times (float16, float32, float64), to which they are rounded.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Write a data set as an HDF5 file in the layout of SHD, which other programs read."""
    from snntrace.datasets.store_convert import export_shd

    with reported():
        chosen = [split] if split else None
        (data,) = opened(source, name, chosen, None, encoding=encoding, sensor=sensor).values()
        export_shd(data, file, time_type=times, overwrite=overwrite)
    Console().print(f"{counted(len(data))} in {file}", highlight=False, soft_wrap=True)


def check(file: Annotated[Path, typer.Argument(help="Store to check.")]) -> None:
    """Read all of a store, and compare its checksums."""
    from snntrace.datasets import SpikeStore

    with reported(), SpikeStore(file) as store:
        store.check()
        console = Console()
        console.print(f"{store!r} is whole", highlight=False, markup=False, soft_wrap=True)


def counted(n: int) -> str:
    """Return a number of recordings in words."""
    return f"{n:,} recording{'s' if n != 1 else ''}"


def in_bytes(size: int) -> str:
    """Return a size in kB or MB."""
    return f"{size / 1e6:,.1f} MB" if size >= 1e6 else f"{size / 1e3:,.1f} kB"


def settings(*, sensor: str | None = None, **options: str | None) -> dict[str, Any]:
    """Return the options of a data set that are given, as its class takes them.

    Parameters
    ----------
    sensor : str, optional
        Width and height with an x between them.
    **options : str, optional
        Others.

    Returns
    -------
    dict
        Those that are not None.

    Raises
    ------
    ValueError
        If `sensor` is not two numbers.
    """
    found: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    if sensor is not None:
        sides = re.fullmatch(r"(\d+)\s*[x,]\s*(\d+)", sensor.strip())
        if sides is None:
            raise ValueError(
                f"--sensor must be a width and a height, got {sensor!r}. Write them like 240x180."
            )
        found["sensor"] = int(sides[1]), int(sides[2])
    return found


def opened(
    source: str, name: str | None, splits: list[str] | None, part: str | None, **options: str | None
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
    **options : str, optional
        As `settings` takes them.

    Returns
    -------
    dict of SpikeDataset
        The data sets by the names of the parts; by None if there are no names.
    """
    from snntrace.datasets import open_dataset

    chosen = settings(**options)
    if not splits:
        return {part: open_dataset(source, name, **chosen)}
    return {split: open_dataset(source, name, split=split, **chosen) for split in splits}


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
    except (ValueError, TypeError, IndexError, OSError, ImportError) as error:
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
