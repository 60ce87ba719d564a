"""What a data set or a recording holds, in words and numbers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from snntrace.datasets.catalogue import about_of
from snntrace.datasets.files.events import Events
from snntrace.datasets.protocol import SpikeDataset
from snntrace.datasets.reading import events_of

AT_ONCE = 256
MOST_GROUPS = 40
Progress = Callable[[int, int], None]


def summary(data: SpikeDataset, progress: Progress | None = None) -> dict[str, str]:
    """Count recordings, classes and events; all recordings are read.

    Parameters
    ----------
    data : SpikeDataset
        The data set.
    progress : callable, optional
        Called with the number of recordings that have been counted, and that of all.

    Returns
    -------
    dict of str
        One line for each thing there is to know.

    Examples
    --------
    >>> from snntrace.datasets import SaccadeDigits
    >>> found = summary(SaccadeDigits())
    >>> found["recordings"], found["units"], found["duration"]
    ('1797', '512', '0.291 to 0.300 s, mean 0.298 s')
    """
    counts, ends, per_unit = [], [], np.zeros(data.n_units, np.int64)
    for start in range(0, len(data), AT_ONCE):
        for times, units in events_of(data, range(start, min(start + AT_ONCE, len(data)))):
            counts.append(len(times))
            ends.append(float(times.max(initial=0.0)))
            per_unit += np.bincount(units, minlength=data.n_units)
        if progress is not None:
            progress(len(counts), len(data))
    classes = np.bincount(data.labels, minlength=len(data.class_names))
    names = ", ".join(f"{name} {n}" for name, n in zip(data.class_names, classes, strict=True))
    total, duration = sum(counts), sum(ends)
    rate = total / (duration * data.n_units) if duration else 0.0
    lines = {
        "kind": type(data).__name__,
        "recordings": f"{len(data)}",
        "units": f"{data.n_units}",
        "classes": f"{len(data.class_names)}: {names}",
        "events": f"{total:,}; {min(counts):,} to {max(counts):,} a recording, mean {np.mean(counts):,.0f}",
        "duration": f"{min(ends):.3f} to {max(ends):.3f} s, mean {np.mean(ends):.3f} s",
        "rate": f"{rate:.2f} events a unit and s; {100 * np.mean(per_unit == 0):.1f} % of units are silent",
    }
    return lines | described(data)


def described(data: SpikeDataset) -> dict[str, str]:
    """Return what a data set says of itself, and what is known of it.

    Parameters
    ----------
    data : SpikeDataset
        The data set.

    Returns
    -------
    dict of str
        One line for each thing there is to know.
    """
    lines = {} if data.groups is None else {"groups": group_line(data)}
    about = about_of(data)
    said = about.lines() if about else {}
    parts = getattr(data, "splits", ()) or tuple(about.splits if about else ())
    if parts:
        lines["parts"] = f"{', '.join(parts)}; this is {getattr(data, 'split', '')}"
    info = getattr(data, "info", data)
    for name in ("sensor", "source", "licence", "citation"):
        value = getattr(info, name, None)
        if value:
            lines[name] = " x ".join(map(str, value)) if name == "sensor" else str(value)
    if hasattr(data, "time_type"):
        lines["times"] = str(data.time_type)
    lines |= {what: said[what] for what in ("licence", "cite", "page") if what in said and what not in lines}
    if "cite" in lines:
        lines.pop("citation", None)
    return lines


def group_line(data: SpikeDataset) -> str:
    """Return who made the recordings, and how many.

    Parameters
    ----------
    data : SpikeDataset
        A data set with groups.

    Returns
    -------
    str
        The number of groups; where there are not too many, each with the number of its recordings.
    """
    present, counts = np.unique(np.asarray(data.groups), return_counts=True)
    if len(present) > MOST_GROUPS:
        return f"{len(present)}"
    names = getattr(data, "group_names", None)
    said = [f"{number} = {names[number]}" if names else f"{number}" for number in present.tolist()]
    return f"{len(present)}: " + ", ".join(f"{name} ({n})" for name, n in zip(said, counts, strict=True))


def span_summary(times: NDArray[np.float64], kind: str) -> dict[str, str]:
    """Count the events of one recording by their times alone.

    Parameters
    ----------
    times : float64 array of shape (n_events,), in s
        When.
    kind : str
        What it is.

    Returns
    -------
    dict of str
        One line for each thing there is to know.

    Examples
    --------
    >>> import numpy as np
    >>> span_summary(np.array([0.5, 1.5]), "made up")["rate"]
    '2 events a s'
    """
    lines = {"kind": kind, "recordings": "1", "events": f"{times.size:,}"}
    if times.size:
        first, last = float(times.min()), float(times.max())
        lines["duration"] = f"{last - first:.3f} s, from {first:.3f} s to {last:.3f} s"
        lines["rate"] = f"{times.size / (last - first):,.0f} events a s" if last > first else "one instant"
    return lines


def event_summary(events: Events, kind: str) -> dict[str, str]:
    """Count the events of one recording.

    Parameters
    ----------
    events : Events
        The recording.
    kind : str
        What its file is.

    Returns
    -------
    dict of str
        One line for each thing there is to know.

    Examples
    --------
    >>> import numpy as np
    >>> from snntrace.datasets.files import Events
    >>> x, p = np.array([3, 0, 3], "uint16"), np.array([1, 0, 1], "uint8")
    >>> found = event_summary(Events(np.array([10, 25, 100_010]), x, x, p, (4, 4)), "made up")
    >>> found["duration"], found["polarities"]
    ('0.100 s, from 0.000 s to 0.100 s', '66.7 % ON')
    """
    first, last = float(events.seconds.min()), float(events.seconds.max())
    duration = last - first
    pixels = np.unique(events.units(polarities=1)).size
    width, height = events.sensor
    rate = len(events) / duration if duration else 0.0
    return {
        "kind": kind,
        "recordings": "1",
        "sensor": f"{width} x {height}",
        "events": f"{len(events):,} at {pixels:,} of {width * height:,} pixels",
        "duration": f"{duration:.3f} s, from {first:.3f} s to {last:.3f} s",
        "rate": f"{rate:,.0f} events a s; {rate / (width * height):.2f} a pixel and s",
        "polarities": f"{100 * np.mean(events.p > 0):.1f} % ON",
    }
