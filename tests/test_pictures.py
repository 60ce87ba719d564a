"""Pictures show where and when events were: read off the drawn pixels."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from snntrace.datasets import SaccadeDigits
from snntrace.datasets.pictures import animate_events, coloured, frames, plot_events, plot_raster
from snntrace.datasets.text_raster import SHADES, text_raster


def drawn(figure):
    """Return the picture's colours, 0 to 1, with row 0 at the bottom as matplotlib counts."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[::-1, :, :3] / 255


def marks_inside(figure):
    """Return where an axis has ink away from its frame, in its own units."""
    image, (axis,) = drawn(figure), figure.axes
    box = axis.get_window_extent()
    rows, columns = np.nonzero(image.mean(2) < 0.6)
    inside = (columns > box.x0 + 6) & (columns < box.x1 - 2) & (rows > box.y0 + 6) & (rows < box.y1 - 2)
    places = np.stack([columns[inside], rows[inside]], 1)
    return axis.transData.inverted().transform(places)


def test_a_raster_has_a_mark_at_each_event_and_nowhere_else():
    times, units = np.array([0.2, 0.5, 0.9]), np.array([20, 75, 50])
    figure = plot_raster(times, units, n_units=100, duration=1.0, title="three")
    x, y = marks_inside(figure).T
    near = np.array(
        [(np.abs(x - 1e3 * t) < 8) & (np.abs(y - u) < 8) for t, u in zip(times, units, strict=True)]
    )
    assert near.any(1).all()
    assert near.any(0).all()
    (axis,) = figure.axes
    assert axis.get_xlabel() == "time (ms)"
    assert axis.get_ylabel() == "unit"
    assert (axis.get_title(loc="left"), axis.get_title(loc="right")) == ("three", "3 events")
    assert axis.get_xlim() == (0, 1000)


def test_a_raster_of_very_many_events_shows_a_part_and_says_how_many_there_are():
    rng = np.random.default_rng(0)
    n = 450_000
    figure = plot_raster(np.sort(rng.uniform(0, 1, n)), rng.integers(0, 700, n), n_units=700)
    (axis,) = figure.axes
    assert len(axis.collections[0].get_offsets()) == 150_000
    assert axis.get_title(loc="right") == "450,000 events, each 3rd drawn"


def test_a_raster_goes_to_an_axis_that_is_given():
    figure = plot_raster([0.1], [0], n_units=2)
    assert plot_raster([0.2], [1], axis=figure.axes[0]) is figure
    assert len(figure.axes[0].collections) == 2
    empty = plot_raster([], [], n_units=3)
    assert len(marks_inside(empty)) == 0


def test_frames_are_histograms_of_time_polarity_and_place():
    rng = np.random.default_rng(1)
    times, units = rng.uniform(0, 0.8, 5000), rng.integers(0, 2 * 5 * 7, 5000)
    found = frames(times, units, (7, 5), n_frames=6, duration=0.6)
    p, y, x = units // 35, units // 7 % 5, units % 7
    edges = [np.linspace(0, 0.6, 7), np.arange(3), np.arange(6), np.arange(8)]
    expected, _ = np.histogramdd(np.stack([times, p, y, x], 1), edges)
    np.testing.assert_array_equal(found, expected)


def test_colours_tell_polarity_and_number():
    counts = np.zeros((2, 1, 4), int)
    counts[1, 0, 1], counts[0, 0, 2], counts[1, 0, 3] = 9, 9, 1
    white, on, off, faint = coloured(counts, 9)[0]
    assert white.tolist() == [1, 1, 1]
    assert on[2] > on[0] + 0.3
    assert off[0] > off[2] + 0.3
    assert on.mean() < faint.mean() < 1


def test_frames_in_a_grid_show_each_frame_s_events():
    # A point that moves to the right, ON in its first half and OFF in the second.
    times = np.linspace(0, 0.399, 400)
    x, p = (times * 20).astype(int), (times < 0.2).astype(int)
    figure = plot_events(times, (p * 8 + 3) * 8 + x, (8, 8), n_frames=4, duration=0.4)
    assert [axis.get_title() for axis in figure.axes] == ["0 ms", "100 ms", "200 ms", "300 ms"]
    for k, axis in enumerate(figure.axes):
        image = axis.images[0].get_array()
        rows, columns = np.nonzero(image.min(2) < 0.99)
        assert set(rows) == {3}
        assert set(columns) == {2 * k, 2 * k + 1}
        red, _, blue = image[3, 2 * k]
        assert (blue > red) == (k < 2)


def test_rows_of_frames_are_filled_and_no_empty_axis_is_left():
    figure = plot_events(*SaccadeDigits().events(0), (16, 16), n_frames=10, title="digit")
    assert len(figure.axes) == 10
    assert drawn(figure).min() < 0.5


def test_a_film_has_a_picture_for_each_frame(tmp_path):
    times = np.linspace(0, 0.399, 400)
    units = (1 * 8 + 3) * 8 + (times * 20).astype(int)
    film = animate_events(times, units, (8, 8), n_frames=4, duration=0.4, interval_ms=80)
    film.save(tmp_path / "a.gif", writer="pillow")
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.n_frames == 4
        assert gif.info["duration"] == 80
        for k in range(4):
            gif.seek(k)
            image = np.asarray(gif.convert("RGB")) / 255
            side = image.shape[0] / 8
            cells = image[int(3.5 * side), ((np.arange(8) + 0.5) * side).astype(int)]
            assert np.flatnonzero(cells.min(1) < 0.9).tolist() == [2 * k, 2 * k + 1]


def test_a_raster_in_letters_has_its_darkest_letter_where_most_events_are():
    times = np.repeat([0.05, 0.55, 0.95], [1, 9, 100])
    units = np.repeat([0, 10, 19], [1, 9, 100])
    lines = text_raster(times, units, n_units=20, duration=1.0, width=10, height=4).splitlines()
    assert lines == [
        "19 |         █|",
        "   |     ▒    |",
        "   |          |",
        " 0 |░         |",
        "    0  1000 ms",
    ]
    assert SHADES[0] == " "
    assert "█" not in text_raster([], [], n_units=3)
    with pytest.raises(ValueError, match="width and height must be at least 1, got width=0"):
        text_raster([], [], width=0)


@pytest.mark.parametrize("draw", [plot_raster, text_raster, lambda t, u: frames(t, u, (2, 2))])
def test_lists_of_unequal_length_are_refused(draw):
    with pytest.raises(ValueError, match=r"two lists of one length, got times\.shape=\(2,\)"):
        draw([0.1, 0.2], [1])


@pytest.mark.parametrize("options", [{"n_frames": 0}, {}])
def test_frames_off_the_sensor_or_none_are_refused(options):
    with pytest.raises(ValueError, match=r"frames: units must be in 0 \.\. 7 for a sensor of 2 x 2 pixels"):
        frames([0.1], [0 if options else 8], (2, 2), **options)
