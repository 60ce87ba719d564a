"""The commands ``snntrace data convert``, ``export``, ``check`` and ``info``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, cast

import numpy as np
import typer
from numpy.typing import NDArray
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
        parts = opened(source, name, split, part)
        for data in parts.values():
            # What is sorted need not be in order; readers without this refuse nothing.
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
    source: Annotated[str, typer.Argument(help="'digits', or the path of a data set or an event file.")],
    name: Name = None,
    split: Annotated[str | None, typer.Option(help="Official part.")] = None,
    index: Annotated[int, typer.Option(help="Which recording to draw.")] = 0,
    chip: Annotated[
        str | None, typer.Option(help="Of an AEDAT 2.0 file that does not say it: dvs128, or address.")
    ] = None,
    picture: Annotated[Path | None, typer.Option(help="Write a raster of it to this PNG file.")] = None,
    frames: Annotated[Path | None, typer.Option(help="Write a camera's frames to this PNG file.")] = None,
    film: Annotated[Path | None, typer.Option(help="Write a camera's film to this GIF file.")] = None,
) -> None:
    """Tell what a data set or a recording holds: kind, counts, rates, duration, classes, and a raster."""
    from rich.table import Table

    from snntrace.datasets.catalogue import DATASETS, is_absent
    from snntrace.datasets.text_raster import text_raster

    if name is None and is_absent(source):
        known = Table(show_header=False, box=None)
        for what, value in DATASETS[source].about.lines().items():
            known.add_row(what, value)
        known.add_row("on this machine", "no; `snntrace data list` tells how to get it")
        Console().print(known)
        return
    with reported():
        seen = looked_at(source, name, split, index, chip)
        table = Table(show_header=False, box=None)
        for what, value in seen.lines.items():
            table.add_row(what, value)
        drawn = text_raster(seen.times, seen.units, n_units=seen.n_units)
        draw(seen, picture, frames, film)
    console = Console()
    console.print(table)
    console.print(f"\n{seen.title}", highlight=False, markup=False)
    console.print(drawn, highlight=False, markup=False, no_wrap=True, overflow="crop")


class Seen(NamedTuple):
    """What there is to tell and to draw.

    Attributes
    ----------
    lines : dict of str
        The numbers, by what they are.
    times, units : arrays of shape (n_events,)
        One recording.
    n_units : int
        Number of units.
    sensor : (int, int) or None
        Width and height, of a camera.
    title : str
        Which recording it is.
    """

    lines: dict[str, str]
    times: NDArray[np.float64]
    units: NDArray[np.int64]
    n_units: int
    sensor: tuple[int, int] | None
    title: str


def looked_at(source: str, name: str | None, split: str | None, index: int, chip: str | None) -> Seen:
    """Open a data set or an event file, and count what it holds.

    Parameters
    ----------
    source : str
        What to open.
    name : str, optional
        Name of the data set.
    split : str, optional
        Official part.
    index : int
        Which recording to draw.
    chip : str, optional
        What the addresses of an AEDAT 2.0 file mean.

    Returns
    -------
    Seen
        What was found.

    Raises
    ------
    ValueError
        If an option does not go with the file.
    """
    from snntrace.datasets.files import FORMATS, DataFileError, format_of
    from snntrace.datasets.summary import event_summary, summary

    path = Path(source).expanduser()
    form = None
    if name is None and path.is_file():
        with suppress(DataFileError):
            form = FORMATS[format_of(path)]
    if chip is not None and form is not FORMATS["aedat2"]:
        raise ValueError(
            f"snntrace data info: --chip must be left out but for an AEDAT 2.0 file, got chip={chip!r} for "
            f"{source}. Leave it out."
        )
    if form is not None:
        if split is not None or index != 0:
            raise ValueError(
                f"snntrace data info: --split and --index must be left out for an event file, which is one "
                f"recording, got split={split!r} and index={index} for {path}. Leave them out."
            )
        events = form.reads(path) if chip is None else form.reads(path, chip=chip)
        first = events.seconds - events.seconds.min()
        n_units = 2 * events.sensor[0] * events.sensor[1]
        lines = event_summary(events, form.what)
        return Seen(lines, first, events.units(), n_units, events.sensor, path.name)
    (data,) = opened(source, name, [split] if split else None, None).values()
    times, units = data.events(index)
    title = f"recording {index}: {data.class_names[int(data.labels[index])]}"
    return Seen(summary(data), times, units, data.n_units, getattr(data, "sensor", None), title)


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
        If frames are asked for that are not a camera's, or a file's ending is another.
    """
    for option, path, ending in (
        ("--picture", picture, ".png"), ("--frames", frames, ".png"), ("--film", film, ".gif")
    ):  # fmt: skip
        if path is not None and path.suffix.lower() != ending:
            raise ValueError(
                f"snntrace data info: the file of {option} must end in {ending}, got {path}. Name another."
            )
        if path is not None and option != "--picture" and seen.sensor is None:
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
