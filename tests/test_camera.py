"""Laws of the saccade camera; test_digits.py holds it against a plain loop."""

import numpy as np
import pytest

from snntrace.datasets import SaccadeCamera

PICTURE = np.random.default_rng(0).random((12, 9))


def by_pixel(camera, picture, seed=1):
    times, units = camera.look(picture, seed)
    assert (np.diff(times) >= 0).all()
    counts = np.bincount(units, minlength=camera.n_units)
    return counts.reshape(2, camera.sensor, camera.sensor)


def test_a_camera_that_comes_back_to_its_start_has_as_many_on_as_off_events_to_one():
    camera = SaccadeCamera(sensor=24, threshold=0.2)
    off, on = by_pixel(camera, PICTURE)
    assert on.sum() > 1000
    assert np.abs(on - off).max() == 1


def test_events_end_within_a_threshold_of_the_light_that_is_seen():
    """Half-way down the first side, the events' sum is the change of log intensity to a threshold."""
    camera = SaccadeCamera(sensor=20, threshold=0.25, threshold_spread=0.0, frames=10)
    times, units = camera.look(PICTURE, 2)
    # Frame 5 of 10 in the first saccade, half-way down its side.
    seen = times <= 0.1 * 5 / 10
    off, on = np.bincount(units[seen], minlength=800).reshape(2, 400)
    before, now = (
        camera._log_intensity(PICTURE[None].astype("float32"), camera._path[frame])[0] for frame in (0, 5)
    )
    assert np.abs(now - before).max() > 1
    np.testing.assert_array_less(np.abs(now - before - 0.25 * (on.astype(float) - off)), 0.25 * 1.5 + 1e-3)


def test_half_the_threshold_gives_twice_the_events():
    counts = [by_pixel(SaccadeCamera(sensor=24, threshold=t), PICTURE).sum() for t in (0.01, 0.02)]
    assert counts[0] / counts[1] == pytest.approx(2, rel=0.05)


def test_a_picture_without_edges_gives_events_at_its_border_alone():
    camera = SaccadeCamera(sensor=24, amplitude=2.0, threshold=0.1)
    counts = by_pixel(camera, np.full((5, 5), 0.7)).sum(0)
    # The picture covers 20 pixels, and moves by two to each side; its edge is as soft as its own pixels.
    assert counts[10:14, 10:14].sum() == 0
    assert counts.sum() > 1000


def test_noise_alone_is_uniform_at_its_rate():
    camera = SaccadeCamera(sensor=16, noise_hz=50.0)
    _, _, units = camera.look_at_all(np.zeros((40, 4, 4)), 3)
    expected = 50 * 0.3 * 512 * 40
    assert len(units) == pytest.approx(expected, abs=5 * np.sqrt(expected))
    counts = np.bincount(units, minlength=512)
    assert counts.var() / counts.mean() == pytest.approx(1, abs=0.3)


def test_several_pictures_are_each_seen_as_alone():
    camera = SaccadeCamera(sensor=18)
    pictures = np.stack([PICTURE, PICTURE[::-1]])
    recordings, times, units = camera.look_at_all(pictures, 5)
    first = recordings == 0
    offsets = np.random.default_rng(5)
    alone = camera.look_at_all(pictures[:1], offsets)
    np.testing.assert_array_equal(times[first], alone[1])
    np.testing.assert_array_equal(units[first], alone[2])
    assert (recordings[1:] >= recordings[:-1]).all()


@pytest.mark.parametrize(
    ("pictures", "message"),
    [
        (np.zeros((4, 4, 3, 1)), r"axes \(picture, height, width\), got pictures\.shape=\(4, 4, 3, 1\)"),
        (np.full((1, 4, 4), 255), r"intensities in 0 \.\. 1, got the value 255"),
        (np.full((1, 4, 4), np.nan), r"intensities in 0 \.\. 1, got the value nan"),
    ],
)
def test_what_is_no_picture_is_refused(pictures, message):
    with pytest.raises(ValueError, match=message):
        SaccadeCamera().look_at_all(pictures, 0)
