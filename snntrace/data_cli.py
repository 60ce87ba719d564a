"""The commands ``snntrace data``: make and look at files of spikes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from snntrace import catalogue_cli, info_cli, store_cli

data = typer.Typer(help="Get, make and look at recordings of spikes.", no_args_is_help=True)
catalogue_cli.register(data)
store_cli.register(data)
info_cli.register(data)


@data.command()
def ear(
    files: Annotated[list[Path], typer.Argument(help="Sound files (WAV, FLAC, Ogg), of one word each.")],
    out: Annotated[Path, typer.Option(help="File to write, in the layout of SHD.")],
    seed: Annotated[int, typer.Option(help="Seed of the first file; the next has the next.")] = 0,
    mix: Annotated[bool, typer.Option("--mix", help="Take the mean of several channels.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
) -> None:
    """Turn sounds into spikes of 700 units, by the model of the ear that made SHD.

    Labels are read off the names of the Heidelberg Digits; any other files are of the class that their folder
    is named after.
    """  # noqa: DOC501
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from snntrace.datasets.ear import hear_files

    console = Console()
    columns = TextColumn("listening"), BarColumn(bar_width=24), MofNCompleteColumn(), TimeElapsedColumn()
    try:
        with Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task("listening", total=len(files))
            hear_files(
                files, out, seed, mix=mix, overwrite=overwrite,
                on_heard=lambda number, _: progress.update(task, completed=number),
            )  # fmt: skip
    except (ValueError, TypeError, OSError, ImportError) as error:
        raise typer.BadParameter(str(error)) from error
    console.print(f"{store_cli.counted(len(files))} in {out}", highlight=False, soft_wrap=True)
