"""Pictures of events: rasters, frames and films."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from snntrace.datasets.text_raster import matched, time_scale, told_time

DPI = 120
INK, FRAME = "#222222", "#cccccc"
MOST_MARKS = 200_000


def plot_raster(
    times: ArrayLike,
    units: ArrayLike,
    *,
    n_units: int | None = None,
    duration: float | None = None,
    title: str = "",
    axis: Any = None,
) -> Figure:
    """Draw one mark for each event: time to the right, units upwards.

    Parameters
    ----------
    times : array of shape (n_events,), in s
        When.
    units : int array of shape (n_events,)
        Which unit.
    n_units : int, optional
        Number of units. Default: up to the last that has an event.
    duration : float, in s, optional
        Time that is shown. Default: up to the last event.
    title : str, optional
        What to write above it.
    axis : matplotlib axis, optional
        Where to draw. Default: a new figure.

    Returns
    -------
    Figure
        The picture; ``figure.savefig("a.png")`` writes it, without a display.

    Raises
    ------
    ValueError
        If the lists do not match.

    Examples
    --------
    >>> from snntrace.datasets import SaccadeDigits
    >>> from snntrace.datasets.pictures import plot_raster
    >>> figure = plot_raster(*SaccadeDigits().events(0), n_units=512)
    >>> figure.axes[0].get_xlabel()
    'time (ms)'
    """
    when, where = matched("plot_raster", times, units)
    figure = Figure(figsize=(8.4, 4.2), dpi=DPI, layout="constrained") if axis is None else axis.figure
    axis = figure.subplots() if axis is None else axis
    top = int(where.max(initial=0)) + 1 if n_units is None else n_units
    end = float(when.max(initial=0.0)) if duration is None else duration
    height = float(np.clip(900 / top, 0.8, 5.0))
    # A drawing program takes minutes for millions of marks, which would be one black area anyhow.
    nth = -(-when.size // MOST_MARKS) or 1
    shown = slice(None, None, nth)
    factor, unit = time_scale(end)
    marks = factor * when[shown], where[shown]
    axis.scatter(*marks, marker="|", s=height**2, lw=0.6, color=INK, rasterized=True)
    axis.set(xlabel=f"time ({unit})", ylabel="unit", xlim=(0, factor * end or 1.0), ylim=(-0.5, top - 0.5))
    axis.spines[["top", "right"]].set_visible(False)
    drawn = f", each {ordinal(nth)} drawn" if nth > 1 else ""
    axis.set_title(f"{when.size:,} events{drawn}", fontsize=9, loc="right")
    axis.set_title(title, fontsize=10, loc="left")
    return figure


def ordinal(number: int) -> str:
    """Return a number as it is said in a row: 2nd, 3rd, 4th."""
    teen = number // 10 % 10 == 1
    return f"{number}{'th' if teen else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"


def frames(
    times: ArrayLike,
    units: ArrayLike,
    sensor: tuple[int, int],
    *,
    n_frames: int = 8,
    duration: float | None = None,
) -> NDArray[np.int64]:
    """Count the events of a camera in frames of equal duration.

    Parameters
    ----------
    times : array of shape (n_events,), in s
        When.
    units : int array of shape (n_events,)
        ``(p * height + y) * width + x``, with polarity `p` 1 for ON.
    sensor : (int, int), in pixels
        Width and height.
    n_frames : int, default 8
        Number of frames.
    duration : float, in s, optional
        Time that they share. Default: up to the last event.

    Returns
    -------
    int64 array of shape (n_frames, 2, height, width)
        Events of each polarity and pixel.

    Raises
    ------
    ValueError
        If a unit is not on the sensor, or an argument is out of range.

    Examples
    --------
    >>> frames([0.0, 0.1], [0, 11], (3, 2), n_frames=2).nonzero()
    (array([0, 1]), array([0, 1]), array([0, 1]), array([0, 2]))
    """
    when, where = matched("frames", times, units)
    width, height = sensor
    size = 2 * width * height
    if n_frames < 1 or min(sensor) < 1 or not 0 <= where.min(initial=0) <= where.max(initial=0) < size:
        raise ValueError(
            f"frames: units must be in 0 .. {size - 1} for a sensor of {width} x {height} pixels, and there "
            f"must be a frame, got units up to {where.max(initial=0)} and n_frames={n_frames}. Give the "
            f"camera's sensor."
        )
    end = float(when.max(initial=0.0)) if duration is None else duration
    frame = np.minimum((when * (n_frames / max(end, 1e-12))).astype(np.int64), n_frames - 1)
    inside = when <= end
    flat = np.bincount(frame[inside] * size + where[inside], minlength=n_frames * size)
    return flat.reshape(n_frames, 2, height, width)


def plot_events(
    times: ArrayLike,
    units: ArrayLike,
    sensor: tuple[int, int],
    *,
    n_frames: int = 8,
    duration: float | None = None,
    title: str = "",
) -> Figure:
    """Draw the frames of a camera's recording side by side: ON blue, OFF orange.

    Parameters
    ----------
    times, units, sensor, n_frames, duration
        As `frames` takes them.
    title : str, optional
        What to write above it.

    Returns
    -------
    Figure
        The picture.

    Examples
    --------
    >>> from snntrace.datasets import SaccadeDigits
    >>> from snntrace.datasets.pictures import plot_events
    >>> figure = plot_events(*SaccadeDigits().events(0), (16, 16), n_frames=6)
    >>> len(figure.axes)
    6
    """
    counts = frames(times, units, sensor, n_frames=n_frames, duration=duration)
    end = float(np.max(times, initial=0.0)) if duration is None else duration
    columns = min(n_frames, 8)
    rows = -(-n_frames // columns)
    figure = Figure(figsize=(1.5 * columns, 1.8 * rows), dpi=DPI, layout="constrained")
    axes = np.ravel(figure.subplots(rows, columns, squeeze=False))
    for axis in axes[n_frames:]:
        axis.remove()
    for k, axis in enumerate(axes[:n_frames]):
        axis.imshow(coloured(counts[k], full_colour(counts)), interpolation="nearest")
        axis.set_title(told_time(k * end / n_frames, end), fontsize=8)
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_color(FRAME)
    figure.suptitle(title, fontsize=10)
    figure.supxlabel("ON blue, OFF orange", fontsize=8, color=INK)
    return figure


def animate_events(
    times: ArrayLike,
    units: ArrayLike,
    sensor: tuple[int, int],
    *,
    n_frames: int = 60,
    duration: float | None = None,
    interval_ms: float = 50.0,
) -> Any:
    """Make a film of a camera's recording.

    Parameters
    ----------
    times, units, sensor, n_frames, duration
        As `frames` takes them.
    interval_ms : float, default 50
        How long each frame is shown.

    Returns
    -------
    matplotlib.animation.FuncAnimation
        The film; ``film.save("a.gif", writer="pillow")`` writes it, ``film.to_jshtml()`` shows it in a
        notebook.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from snntrace.datasets import SaccadeDigits
    >>> from snntrace.datasets.pictures import animate_events
    >>> film = animate_events(*SaccadeDigits().events(0), (16, 16), n_frames=3)
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "digit.gif"
    >>> film.save(path, writer="pillow")
    >>> path.read_bytes()[:3]
    b'GIF'
    """
    from matplotlib.animation import FuncAnimation
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    counts = frames(times, units, sensor, n_frames=n_frames, duration=duration)
    most = full_colour(counts)
    figure = Figure(figsize=(4, 4 * sensor[1] / sensor[0]), dpi=DPI)
    FigureCanvasAgg(figure)
    axis = figure.add_axes((0, 0, 1, 1))
    axis.set_axis_off()
    image = axis.imshow(coloured(counts[0], most), interpolation="nearest")

    def show(k: int) -> list[Any]:
        image.set_data(coloured(counts[k], most))
        return [image]

    return FuncAnimation(figure, show, frames=n_frames, interval=interval_ms, blit=True)


def full_colour(counts: NDArray[np.int64]) -> int:
    """Return the count that has the full colour.

    Parameters
    ----------
    counts : int array
        Events of frames.

    Returns
    -------
    int
        So that one in a hundred pixels with events has more: a single noisy one would make all others pale.
    """
    some = counts[counts > 0]
    return int(np.ceil(np.percentile(some, 99))) if some.size else 1


def coloured(counts: NDArray[np.int64], most: int) -> NDArray[np.float64]:
    """Return the colours of one frame.

    Parameters
    ----------
    counts : int array of shape (2, height, width)
        OFF and ON events.
    most : int
        Count of the full colour.

    Returns
    -------
    float64 array of shape (height, width, 3)
        Red, green and blue, 0 to 1; white where there are no events.
    """
    off, on = np.sqrt(counts / max(most, 1))
    blue, orange = np.array([0.88, 0.65, 0.42]), np.array([0.18, 0.62, 0.96])
    white = 1 - on[..., None] * blue - off[..., None] * orange
    clipped: NDArray[np.float64] = np.clip(white, 0, 1)
    return clipped
