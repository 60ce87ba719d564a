"""The command ``snntrace data info``."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from snntrace.store_cli import Encoding, Name, Sensor, progressing, reported, settings

if TYPE_CHECKING:
    from snntrace.datasets.looking import Seen


def register(group: typer.Typer) -> None:
    """Add this command to a group.

    Parameters
    ----------
    group : Typer
        The group ``data``.
    """
    group.command()(info)


def info(
    source: Annotated[
        str,
        typer.Argument(
            help="Path of a data set, an event file or a sound, or a name of `snntrace data list`."
        ),
    ],
    name: Name = None,
    split: Annotated[str | None, typer.Option(help="Official part.")] = None,
    index: Annotated[int, typer.Option(help="Which recording to draw.")] = 0,
    encoding: Encoding = None,
    sensor: Sensor = None,
    chip: Annotated[
        str | None, typer.Option(help="Of an AEDAT 2.0 file that does not say it: dvs128, or address.")
    ] = None,
    picture: Annotated[Path | None, typer.Option(help="Write a raster of it to this PNG file.")] = None,
    frames: Annotated[Path | None, typer.Option(help="Write a camera's frames to this PNG file.")] = None,
    film: Annotated[Path | None, typer.Option(help="Write a camera's film to this GIF file.")] = None,
) -> None:
    """Tell what a data set or a recording holds: kind, counts, rates, duration, classes, and a raster."""
    from rich.table import Column, Table

    from snntrace.datasets.catalogue import DATASETS, is_absent
    from snntrace.datasets.looking import look_at
    from snntrace.datasets.text_raster import text_raster

    console = Console()
    table = Table("", Column("", overflow="fold"), show_header=False, box=None)
    if name is None and is_absent(source):
        for what, value in DATASETS[source].about.lines().items():
            table.add_row(what, value)
        table.add_row("on this machine", "no; `snntrace data list` tells how to get it")
        console.print(table)
        return
    with reported(), progressing("counting") as progress:
        check_pictures(picture, frames, film)
        options = settings(encoding=encoding, sensor=sensor, chip=chip)
        seen = look_at(source, name, split=split, index=index, progress=progress, **options)
        width = min(72, max(20, console.width - len(str(seen.n_units - 1)) - len(" ||")))
        drawn = text_raster(seen.times, seen.units, n_units=seen.n_units, width=width)
        draw(seen, picture, frames, film)
    for what, value in seen.lines.items():
        table.add_row(what, value)
    console.print(table)
    console.print(f"\n{seen.title}", highlight=False, markup=False)
    console.print(drawn, highlight=False, markup=False, no_wrap=True, overflow="crop")


def check_pictures(picture: Path | None, frames: Path | None, film: Path | None) -> None:
    """Refuse names of pictures that do not tell what is in the file.

    Parameters
    ----------
    picture, frames, film : Path, optional
        Where to write the raster, the frames and the film.

    Raises
    ------
    ValueError
        If a file's ending is another.
    """
    for option, path, ending in (
        ("--picture", picture, ".png"), ("--frames", frames, ".png"), ("--film", film, ".gif")
    ):  # fmt: skip
        if path is not None and path.suffix.lower() != ending:
            raise ValueError(
                f"snntrace data info: the file of {option} must end in {ending}, got {path}. Name another."
            )


def draw(seen: Seen, picture: Path | None, frames: Path | None, film: Path | None) -> None:
    """Write the pictures that are asked for.

    Parameters
    ----------
    seen : Seen
        What to draw.
    picture, frames, film : Path, optional
        Where to write the raster, the frames and the film.

    Raises
    ------
    ValueError
        If frames are asked for that are not a camera's.
    """
    for option, path in (("--frames", frames), ("--film", film)):
        if path is not None and seen.sensor is None:
            raise ValueError(
                f"snntrace data info: {option} must be of a camera's recording, got one without a sensor. "
                f"Leave it out."
            )
    if picture is None and frames is None and film is None:
        return
    from snntrace.datasets.pictures import animate_events, plot_events, plot_raster

    events = seen.times, seen.units
    if picture is not None:
        figure = plot_raster(*events, n_units=seen.n_units, title=seen.title)
        write(picture, lambda path: figure.savefig(path, format="png"))
    if frames is not None and seen.sensor is not None:
        shown = plot_events(*events, seen.sensor, title=seen.title)
        write(frames, lambda path: shown.savefig(path, format="png"))
    if film is not None and seen.sensor is not None:
        moving = animate_events(*events, seen.sensor)
        write(film, lambda path: moving.save(path, writer="pillow"))


def write(path: Path, save: Callable[[Path], Any]) -> None:
    """Write a file under a hidden name, and name it when it is whole.

    Parameters
    ----------
    path : Path
        Its name.
    save : callable
        Writes it to a path.
    """
    temporary = path.with_name(f".{path.stem}-{os.getpid()}{path.suffix}")
    try:
        save(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
