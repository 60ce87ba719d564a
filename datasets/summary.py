"""What a data set holds, in words and numbers."""

from __future__ import annotations

import numpy as np

from snntrace.datasets.protocol import SpikeDataset
from snntrace.datasets.reading import events_of

AT_ONCE = 256


def summary(data: SpikeDataset) -> dict[str, str]:
    """Count recordings, classes and events; all recordings are read.

    Parameters
    ----------
    data : SpikeDataset
        The data set.

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
    if data.groups is not None:
        lines["groups"] = f"{len(np.unique(data.groups))}"
    parts = getattr(data, "splits", ())
    if parts:
        lines["parts"] = f"{', '.join(parts)}; this is {getattr(data, 'split', '')}"
    info = getattr(data, "info", data)
    for name in ("sensor", "source", "licence", "citation"):
        value = getattr(info, name, None)
        if value:
            lines[name] = " x ".join(map(str, value)) if name == "sensor" else str(value)
    if hasattr(data, "time_type"):
        lines["times"] = str(data.time_type)
    return lines
