"""One recording of a data set or a file, with what there is to tell of all it comes from."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from snntrace.datasets.catalogue import open_dataset
from snntrace.datasets.files.event_stream import read_event_stream
from snntrace.datasets.files.events import MICROSECOND, DataFileError
from snntrace.datasets.files.registry import FORMATS, format_of, named_format
from snntrace.datasets.labelled_files import ENDINGS as EVENTS
from snntrace.datasets.protocol import SpikeDataset
from snntrace.datasets.spoken import ENDINGS as SOUNDS
from snntrace.datasets.summary import Progress, event_summary, span_summary, summary

SOUND = "sound"


class Seen(NamedTuple):
    """What there is to tell and to draw.

    Attributes
    ----------
    lines : dict of str
        The numbers, by what they are.
    times, units : arrays of shape (n_events,)
        One recording; times in s.
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


def look_at(
    source: str | Path,
    name: str | None = None,
    *,
    split: str | None = None,
    index: int = 0,
    progress: Progress | None = None,
    **options: Any,
) -> Seen:
    """Open a data set, a recording of an event sensor or a sound, and count what it holds.

    Parameters
    ----------
    source : str or Path
        A name or path, as `open_dataset` takes it; or an event file, or a sound, which is heard.
    name : str, optional
        Name of the data set, to open the path as that one.
    split : str, optional
        Official part.
    index : int, default 0
        Which recording to draw.
    progress : callable, optional
        Called with the number of recordings that have been counted, and that of all.
    **options
        Passed on to the data set's class or to the reader of the file, such as ``sensor=(240, 180)`` or
        ``chip="address"``.

    Returns
    -------
    Seen
        What was found.

    Raises
    ------
    ValueError
        If an option does not go with the file.

    Examples
    --------
    >>> from snntrace.datasets.looking import look_at
    >>> seen = look_at("digits", index=3)
    >>> seen.title, seen.sensor, seen.lines["units"]
    ('recording 3: 3', (16, 16), '512')
    """
    path = Path(source).expanduser()
    kind = None
    if name is None and path.is_file():
        # An event file by its name is told what is wrong with it.
        with nullcontext() if path.suffix.lower() in EVENTS else suppress(DataFileError):
            kind = format_of(path)
        if kind is None and path.suffix.lower() in SOUNDS:
            kind = SOUND
    if kind != "aedat2" and "chip" in options:
        raise ValueError(
            f"look_at: chip must be left out but for an AEDAT 2.0 file, got chip={options['chip']!r} for "
            f"{source}. Leave it out."
        )
    if kind is None:
        return of_dataset(open_dataset(source, name, split=split, **options), index, progress)
    if split is not None or index != 0:
        raise ValueError(
            f"look_at: split and index must be left out for a file of one recording, got split={split!r} and "
            f"index={index} for {path}. Leave them out."
        )
    known = inspect.signature(FORMATS[kind].reads).parameters if kind in FORMATS else {}
    if unknown := [option for option in options if option not in known]:
        raise ValueError(
            f"look_at: {', '.join(unknown)} must be left out for a file that says it or has none, got "
            f"{options} for {path}. Leave it out."
        )
    return of_sound(path) if kind == SOUND else of_events(path, kind, options)


def of_dataset(data: SpikeDataset, index: int, progress: Progress | None = None) -> Seen:
    """Look at a data set.

    Parameters
    ----------
    data : SpikeDataset
        The data set.
    index : int
        Which recording.
    progress : callable, optional
        As of `look_at`.

    Returns
    -------
    Seen
        What was found.
    """
    times, units = data.events(index)
    title = f"recording {index}: {data.class_names[int(data.labels[index])]}"
    sensor = getattr(data, "sensor", None)
    return Seen(summary(data, progress), times, units, data.n_units, sensor, title)


def of_events(path: Path, kind: str, options: Mapping[str, Any]) -> Seen:
    """Look at an event file.

    Parameters
    ----------
    path : Path
        The file.
    kind : str
        Its format, a key of `FORMATS`.
    options : mapping of str
        Options of its reader.

    Returns
    -------
    Seen
        What was found; a recording without polarities is of one unit a pixel, one without places of one unit.
    """
    if kind == "es":
        stream = read_event_stream(path)
        if stream.kind in {"generic", "color"}:
            width, height = stream.sensor or (1, 1)
            units = np.zeros(stream.t.size, np.int64)
            if stream.sensor:
                units = stream.y.astype(np.int64) * width + stream.x
            times = stream.t.astype(np.float64) * MICROSECOND
            lines = span_summary(times, f"{named_format(path, kind)}: {stream.kind}")
            if stream.sensor:
                lines["sensor"] = f"{width} x {height}"
            return Seen(lines, from_zero(times), units, width * height, None, path.name)
    events = FORMATS[kind].reads(path, **options)
    lines = event_summary(events, named_format(path, kind))
    n_units = 2 * events.sensor[0] * events.sensor[1]
    return Seen(lines, from_zero(events.seconds), events.units(), n_units, events.sensor, path.name)


def of_sound(path: Path) -> Seen:
    """Look at a sound as the ear hears it.

    Parameters
    ----------
    path : Path
        A sound file.

    Returns
    -------
    Seen
        What was found.
    """
    from snntrace.datasets.ear import listen, read_sound

    sound, rate = read_sound(path)
    times, units = listen(sound, rate)
    lines = span_summary(times, "sound, heard by the model of the ear")
    lines |= {"units": "700", "sound": f"{sound.size / rate:.3f} s at {rate:,} Hz"}
    return Seen(lines, times, units, 700, None, path.name)


def from_zero(times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return times that start with the first event."""
    return times - times.min() if times.size else times
