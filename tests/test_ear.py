"""The ear: each part against the papers' equations, and the whole against published spikes."""

import h5py
import numpy as np
import pytest
import soundfile
from ear_oracle import DT, bushy_cell, gathered, hair_cell, velocity, xi, xoshiro
from scipy import stats

from snntrace.datasets import SpikeFile, unpacked
from snntrace.datasets.ear import best_frequency, hear_files, listen, read_sound
from snntrace.datasets.ear import cells as ear_cells
from snntrace.datasets.ear.cells import FIBRES, REFRACTORY, STEP, WIDTH, Cells
from snntrace.datasets.ear.membrane import channel_places, impedance, movements, phase, transfer
from snntrace.datasets.ear.recordings import DIGITS, HEIDELBERG, classes_of
from snntrace.datasets.ear.sound import at_ears_rate, at_level

FREQUENCIES = np.array([60.0, 250.0, 1000.0, 4000.0, 11_000.0, 20_000.0])
CHANNELS = [0, 90, 250, 400, 560, 699]


def likeness(one, other):
    """Correlate two recordings' maps of counts: 20 ms by 35 channels of 20 units."""
    edges = [np.arange(0, max(one[0].max(), other[0].max()) + 0.04, 0.02), np.arange(0, 701, 20)]
    maps = [np.histogram2d(times, units, edges)[0].ravel() for times, units in (one, other)]
    assert all(map_.std() > 0 for map_ in maps)
    return np.corrcoef(*maps)[0, 1]


def chirp(seconds=0.3, rate=48_000):
    t = np.arange(int(seconds * rate)) / rate
    return np.sin(2 * np.pi * (200 * t + 2000 * t**2)) * np.hanning(t.size)


# The basilar membrane.


def test_the_impedance_is_that_of_the_model():
    omega, places = 2 * np.pi * FREQUENCIES, channel_places()[CHANNELS]
    found = impedance(omega, places)
    np.testing.assert_allclose(found, [[xi(w, c) for c in places] for w in omega], rtol=1e-12)


def test_the_phase_in_closed_form_is_the_integral():
    omega, places = 2 * np.pi * FREQUENCIES, channel_places()[CHANNELS]
    found = phase(omega, places)
    np.testing.assert_allclose(found, [[gathered(w, c) for c in places] for w in omega], rtol=1e-7)


def test_the_transfer_function_is_that_of_bessel_and_hankel_functions():
    omega, places = 2 * np.pi * FREQUENCIES, channel_places()[CHANNELS]
    found = transfer(omega, places)
    faded = np.abs(found) == 0
    # A tone does not get past its place: high ones rest where low ones arrive.
    assert not faded[0].any()
    assert faded[-1, -1]
    assert 0.2 < faded.mean() < 0.6
    for i, w in enumerate(omega):
        for j, c in enumerate(places):
            if not faded[i, j]:
                np.testing.assert_allclose(found[i, j], velocity(w, c), rtol=1e-6)


def test_a_tone_moves_the_place_of_its_frequency_most():
    unit = int(np.abs(best_frequency(np.arange(700)) - 1000).argmin())
    strength = np.abs(transfer(2 * np.pi * np.array([1000.0]), channel_places()))[0]
    assert unit - 60 < strength.argmax() <= unit
    with pytest.raises(ValueError, match=r"units must be in 0 \.\. 699, got unit=700"):
        best_frequency([3, 700])
    with pytest.raises(TypeError, match="units must be integers, got dtype=float64"):
        best_frequency(3.5)


def test_movements_in_blocks_are_the_transform_of_the_whole_sound():
    sound = np.random.default_rng(0).standard_normal(30_001)
    found = np.concatenate(list(movements(sound)))
    assert found.shape == (15_001, 704)
    assert (found[:, 700:] == 0).all()
    steps = 32_768
    padded = np.zeros(2 * steps)
    padded[16_384 : 16_384 + sound.size] = sound
    omega = 2 * np.pi * 48_000 / (2 * steps) * np.arange(1, steps)
    response = np.zeros((steps, len(CHANNELS)), complex)
    response[1:] = transfer(omega, channel_places()[CHANNELS])
    whole = np.fft.ifft(response * np.fft.fft(padded)[:steps, None], axis=0).real
    expected = whole[8192 : 8192 + 15_001]
    assert np.abs(expected).max(0).min() > 0.1
    # Blocks have coarser frequencies, and so lose more of what is near 0 Hz, which unit 0 alone hears.
    largest = np.abs(expected).max(0)
    np.testing.assert_allclose(found[:, CHANNELS] / largest, expected / largest, atol=5e-3)
    np.testing.assert_allclose(found[:, CHANNELS[1:]] / largest[1:], expected[:, 1:] / largest[1:], atol=2e-3)


# Hair cells, fibres and bushy cells.


def a_block(seed=0):
    cells = Cells(seed)
    return cells.state[0], cells.fired[0], cells.generators[0]


def released(movement):
    """Step one block's hair cells; return its pools and probabilities after each step."""
    state, _, words = a_block()
    rows = []
    for s in movement:
        ear_cells.release(np.full(WIDTH, s, np.float32), state.ravel(), words.ravel())
        rows.append(state[[ear_cells.Q, ear_cells.C, ear_cells.W, ear_cells.PROBABILITY], 0].tolist())
    return np.array(rows)


def test_a_hair_cell_follows_meddis_s_equations():
    rest = a_block()[0][:3, 0].astype(float)
    movement = 200 * np.random.default_rng(1).standard_normal(3000)
    expected = hair_cell(movement, *rest)
    assert expected[:, 0].min() < 0.5 * rest[0]
    np.testing.assert_allclose(released(movement), expected, rtol=2e-3, atol=1e-6)


def test_a_hair_cell_at_rest_stays_so():
    pools = released(np.zeros(2400))
    np.testing.assert_allclose(pools, np.broadcast_to(pools[0], pools.shape), rtol=1e-3)


def test_a_steady_sound_gives_the_closed_form_s_steady_release():
    s = 40.0
    k = 2000 * (s + 5) / (s + 5 + 300)
    # 0 = y (1 - q) - k q + x w = k q - (l + r) c = r c - x w, so that y (1 - q) = l c.
    c = 5.05 * k / (2500 * k + 5.05 * (2500 + 6580))
    q, w = c * 9080 / k, c * 6580 / 66.3
    settled = released(np.full(60_000, s))[-1]
    np.testing.assert_allclose(settled, [q, c, w, 50_000 * c * DT], rtol=1e-3)


def test_transmitter_is_made_and_lost_but_not_otherwise_changed():
    """Per step, all pools together gain y (1 - q) and lose l c: what is released is not created."""
    pools = released(150 * np.sin(np.arange(4000) / 20))[:, :3]
    q, c = pools[:-1, 0], pools[:-1, 1]
    gained = np.cumsum((5.05 * np.maximum(1 - q, 0) - 2500 * c) * DT)
    np.testing.assert_allclose(pools[1:].sum(1) - pools[0].sum(), gained, atol=5e-4)
    assert np.ptp(pools[:, 0]) > 0.05


def test_random_numbers_are_those_of_xoshiro128():
    state, _, words = a_block(5)
    expected = [xoshiro(words[:, lane], 100) for lane in range(3)]
    for step in range(100):
        ear_cells.release(np.zeros(WIDTH, np.float32), state.ravel(), words.ravel())
        drawn = state[ear_cells.DRAW, :3] * 2**24
        assert drawn.tolist() == [expected[lane][step] >> 8 for lane in range(3)]


def test_counts_of_fibres_are_quantiles_of_the_binomial_distribution():
    u = np.random.default_rng(0).random(200)
    for n in (1, 7, 40):
        for p in (1e-4, 0.03, 0.4, 0.97):
            found = [ear_cells.binomial(x, float(n), p) for x in u]
            np.testing.assert_array_equal(found, stats.binom.ppf(u, n, p))
    assert ear_cells.binomial(0.3, 9.0, 1.0) == 9.0


@pytest.mark.parametrize("p", [0.002, 0.02, 0.3])
def test_fibres_fire_as_often_as_ones_that_pause_after_each_spike(p):
    """A fibre that fires with p a step and then pauses for 23 fires every 23 + 1 / p steps on average."""
    state, fired, _ = a_block()
    state[ear_cells.PROBABILITY] = p
    rng, steps, warm = np.random.default_rng(3), 3000, 600
    counts = np.zeros((steps, WIDTH))
    for step in range(steps):
        state[ear_cells.DRAW] = rng.integers(0, 1 << 24, WIDTH) * 2.0**-24
        ear_cells.fire_fibres(state.ravel(), fired.ravel(), step % REFRACTORY)
        counts[step] = state[ear_cells.COUNT]
        # Those that are free and those that pause are all there are.
        np.testing.assert_array_equal(state[ear_cells.FREE] + fired.sum(0), FIBRES)
    n, interval, spread = FIBRES * WIDTH, REFRACTORY - 1 + 1 / p, np.sqrt(1 - p) / p
    expected = n * (steps - warm) / interval
    deviation = np.sqrt(n * (steps - warm) * spread**2 / interval**3)
    assert abs(counts[warm:].sum() - expected) < 5 * deviation + 1e-3 * expected


def test_a_bushy_cell_answers_one_volley_with_the_closed_form():
    state, _, _ = a_block()
    voltages = []
    for step in range(200):
        state[ear_cells.COUNT] = 5.0 if step == 0 else 0.0
        assert ear_cells.integrate(state.ravel()) == 0
        voltages.append(float(state[ear_cells.VOLTAGE, 0]))
    m, s, n = np.exp(-DT / 1e-3), np.exp(-DT / 0.5e-3), np.arange(1, 201)
    expected = 5 * 13_000 / 40 * DT * (m**n - s**n) / (m - s)
    assert 0.3 < expected.max() < 1
    np.testing.assert_allclose(voltages, expected, rtol=1e-4, atol=1e-7)


def test_a_bushy_cell_spikes_and_pauses_as_a_plain_loop_s_does():
    counts = np.random.default_rng(2).poisson(3.0, 4000)
    state, _, _ = a_block()
    found = []
    for step, count in enumerate(counts):
        state[ear_cells.COUNT] = count
        number = ear_cells.integrate(state.ravel())
        assert number in (0, WIDTH)
        found += [step] * (number > 0)
    _, expected = bushy_cell(counts)
    assert found == expected
    assert len(found) > 100
    assert min(np.diff(found)) >= REFRACTORY


# The whole.


def test_one_seed_gives_one_list_of_spikes_and_another_seed_another():
    one, same, other = listen(chirp(), 48_000, 3), listen(chirp(), 48_000, 3), listen(chirp(), 48_000, 4)
    for a, b in zip(one, same, strict=True):
        np.testing.assert_array_equal(a, b)
    assert len(one[0]) != len(other[0]) or not np.array_equal(one[1], other[1])
    assert likeness(one, other) > 0.95


def test_spikes_are_on_the_grid_in_order_within_the_sound():
    times, units = listen(chirp(), 48_000)
    steps = times / STEP
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-6)
    assert (np.diff(times) >= 0).all()
    assert (np.diff(units)[np.diff(times) == 0] > 0).all()
    assert units.min() >= 0
    assert units.max() <= 699
    assert times.max() < 0.3
    for unit in np.unique(units)[::25]:
        assert np.diff(times[units == unit], prepend=-1).min() >= 1e-3 - 1e-9


@pytest.mark.parametrize("rate", [16_000, 44_100, 96_000])
def test_a_sound_of_another_rate_is_heard_alike(rate):
    assert likeness(listen(chirp(rate=rate), rate, 1), listen(chirp(), 48_000, 2)) > 0.95
    assert len(at_ears_rate(chirp(rate=rate), rate)) == pytest.approx(0.3 * 48_000, abs=2)


def test_only_with_a_level_of_its_own_does_loudness_matter():
    soft, loud = 0.01 * chirp(), 0.5 * chirp()
    assert at_level(soft) == pytest.approx(at_level(loud))
    np.testing.assert_array_equal(listen(soft, 48_000)[1], listen(loud, 48_000)[1])
    counts = [len(listen(sound, 48_000, level=False)[0]) for sound in (soft, loud)]
    assert counts[1] > 1.2 * counts[0]
    assert np.sqrt(np.mean(at_level(loud) ** 2)) == pytest.approx(0.3)


def test_silence_is_heard_as_few_chance_spikes():
    times, units = listen(np.zeros(24_000), 48_000)
    assert 0.2 < len(times) / (0.5 * 700) < 2
    assert np.bincount(units).max() <= 6
    assert len(times) < 0.2 * len(listen(chirp(0.5), 48_000)[0])


@pytest.mark.parametrize(
    ("sound", "rate", "seed", "error", "message"),
    [
        (np.zeros((480, 2)), 48_000, 0, ValueError, r"one channel, got sound\.shape=\(480, 2\).*Mix it"),
        (np.zeros(480), 48_000.0, 0, TypeError, r"rate must be an integer, got rate=48000\.0"),
        (np.zeros(480), 500, 0, ValueError, r"rate must be in 1000 \.\. 1000000 Hz, got rate=500"),
        (np.zeros(40), 48_000, 0, ValueError, "at least 1 ms, got 40 samples"),
        ([], 48_000, 0, ValueError, "at least 1 ms, got 0 samples"),
        (np.zeros(700_000), 1000, 0, ValueError, "at most 600 s, got 700000 samples at rate=1000. Cut it"),
        (np.array([0.0] * 60 + [np.nan]), 48_000, 0, ValueError, r"finite, got sound\[60\]=nan"),
        (np.zeros(480, complex), 48_000, 0, TypeError, "real numbers, got dtype=complex128"),
        (np.zeros(480), 48_000, 0.5, TypeError, r"seed must be an integer, got seed=0\.5"),
        (np.zeros(480), 48_000, -1, ValueError, "seed must not be negative, got seed=-1"),
    ],
)
def test_what_cannot_be_heard_is_refused(sound, rate, seed, error, message):
    with pytest.raises(error, match=rf"^listen: .*{message}"):
        listen(sound, rate, seed)


# Sound files.


def test_the_samples_of_a_file_are_those_of_the_library(tmp_path):
    sound = 0.4 * chirp(0.05)
    for name, kind in (("a.wav", "PCM_16"), ("b.wav", "FLOAT"), ("c.flac", "PCM_16"), ("d.flac", "PCM_24")):
        soundfile.write(tmp_path / name, sound, 48_000, subtype=kind)
        found, rate = read_sound(tmp_path / name)
        expected, _ = soundfile.read(tmp_path / name)
        assert rate == 48_000
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_allclose(found, sound, atol=1e-4)


def test_several_channels_are_mixed_only_on_request(tmp_path):
    path = tmp_path / "two.wav"
    soundfile.write(path, np.stack([chirp(0.05), 0 * chirp(0.05)], 1), 48_000, subtype="FLOAT")
    with pytest.raises(ValueError, match=r"one channel, got 2 channels in path=.*two\.wav.*mix=True.*--mix"):
        read_sound(path)
    np.testing.assert_allclose(read_sound(path, mix=True)[0], chirp(0.05) / 2, atol=1e-7)


def flac_with_other_samples(path):
    """Give one file's checksum the samples of another: what a decoder that skips a frame would make of it."""
    data = bytearray(path.read_bytes())
    data[26] ^= 1
    path.write_bytes(data)


def cut(path):
    path.write_bytes(path.read_bytes()[:-1000])


def emptied(path):
    path.write_bytes(b"")


def text(path):
    path.write_text("no sound at all")


DAMAGES = [
    ("a.flac", flac_with_other_samples, "samples must have the checksum that the file names"),
    ("a.flac", cut, "must be whole|whole sound file"),
    ("a.wav", cut, r"as long as it says, got \d+ of \d+ bytes"),
    ("a.wav", emptied, "must not be empty, got 0 bytes"),
    ("a.flac", text, "whole sound file such as WAV or FLAC"),
]


@pytest.mark.parametrize(("name", "damage", "message"), DAMAGES)
def test_a_damaged_sound_file_is_refused_by_name(tmp_path, name, damage, message):
    path = tmp_path / name
    soundfile.write(path, chirp(), 48_000)
    read_sound(path)
    damage(path)
    with pytest.raises(ValueError, match=rf"^read_sound: .*(?:{message}).*a\.\w+") as caught:
        read_sound(path)
    assert str(caught.value).rstrip().endswith(("again.", "it."))
    with pytest.raises(ValueError, match=r"a\.\w+"):
        hear_files([path], tmp_path / "out.h5")
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


def test_a_file_without_a_header_and_one_that_is_too_long_are_refused(tmp_path):
    (tmp_path / "a.raw").write_bytes(bytes(5000))
    with pytest.raises(ValueError, match=r"whole sound file such as WAV or FLAC, got path=.*a\.raw"):
        read_sound(tmp_path / "a.raw")
    soundfile.write(tmp_path / "long.flac", np.zeros(601 * 1000), 1000)
    with pytest.raises(ValueError, match=r"at most 600 s, got 601 s in path=.*long\.flac.*Cut it into words"):
        read_sound(tmp_path / "long.flac")
    with pytest.raises(FileNotFoundError, match=r"existing file, got path=.*none\.wav"):
        read_sound(tmp_path / "none.wav")


def test_names_of_the_heidelberg_digits_tell_label_and_speaker(tmp_path):
    names = ["lang-german_speaker-04_trial-14_digit-1", "lang-english_speaker-11_trial-2_digit-9"]
    found = classes_of([tmp_path / f"{name}.flac" for name in names])
    assert found.labels.tolist() == [11, 9]
    assert [found.names[label] for label in found.labels] == ["eins", "nine"]
    assert found.speakers.tolist() == [4, 11]
    # Numbers of speakers that 16 bits do not hold would be those of others.
    odd = tmp_path / "x" / "lang-german_speaker-65540_trial-14_digit-1.flac"
    assert classes_of([odd]).names == ("x",)
    folders = classes_of([tmp_path / "yes" / "1.wav", tmp_path / "no" / "1.wav"])
    assert (folders.names, folders.labels.tolist(), folders.speakers) == (("no", "yes"), [1, 0], None)


def test_files_are_heard_to_one_file_in_the_layout_of_shd(tmp_path):
    paths = []
    for name in ("yes/1.wav", "no/2.wav"):
        paths.append(tmp_path / name)
        paths[-1].parent.mkdir()
        soundfile.write(paths[-1], chirp(), 16_000)
    heard = []
    out = hear_files(
        paths, tmp_path / "out.h5", seed=7, on_heard=lambda n, path: heard.append((n, path.name))
    )
    assert heard == [(1, "1.wav"), (2, "2.wav")]
    with h5py.File(out) as file:
        assert h5py.check_vlen_dtype(file["spikes/times"].dtype) == np.float16
        assert h5py.check_vlen_dtype(file["spikes/units"].dtype) == np.uint16
    with SpikeFile(out) as data:
        assert (data.class_names, data.labels.tolist(), data.groups) == (("no", "yes"), [1, 0], None)
        times, units = data.events(1)
    expected = listen(*read_sound(paths[1]), seed=8)
    np.testing.assert_array_equal(np.sort(expected[0].astype("float16")), times)
    np.testing.assert_array_equal(np.bincount(expected[1]), np.bincount(units))
    with pytest.raises(FileExistsError, match=r"out must not exist yet, got out=.*out\.h5"):
        hear_files(paths, out)
    with pytest.raises(FileNotFoundError, match="folder of out must exist"):
        hear_files(paths, tmp_path / "none" / "out.h5")
    with pytest.raises(ValueError, match="there must be sound files"):
        hear_files([], tmp_path / "b.h5")
    soundfile.write(tmp_path / "short.wav", np.zeros(10), 48_000)
    with pytest.raises(ValueError, match=r"short\.wav must be a sound that can be heard.*at least 1 ms"):
        hear_files([paths[0], tmp_path / "short.wav"], tmp_path / "b.h5")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["no", "out.h5", "short.wav", "yes"]


# Published spikes.


@pytest.fixture(scope="module")
def regenerated(shared):
    """Give the recordings with the spikes that the published converter made of them."""
    with h5py.File(unpacked(shared / "data" / "shd_regen" / "shd_regen_train.h5.gz")) as file:
        rows = np.stack([file["labels"][:], file["extra/speaker"][:], file["extra/trial"][:]], 1)
        found = []
        for path in sorted((shared / "data" / "hd_audio_sample").glob("*.flac")):
            parts = HEIDELBERG.match(path.stem)
            label = int(parts["digit"]) + len(DIGITS["english"]) * (parts["language"] == "german")
            trial = int(path.stem.split("trial-")[1].split("_")[0])
            (row,) = np.flatnonzero((rows == [label, int(parts["speaker"]), trial]).all(1))
            spikes = file["spikes/times"][row].astype(float), file["spikes/units"][row].astype(int)
            found.append((path, spikes))
    assert len(found) == 60
    return found


@pytest.mark.shared
@pytest.mark.parametrize("number", [0, 31, 58])
def test_a_recording_is_heard_as_the_published_converter_heard_it(regenerated, number):
    path, expected = regenerated[number]
    found = listen(*read_sound(path))
    assert likeness(found, expected) >= 0.9
    assert len(found[0]) == pytest.approx(len(expected[0]), rel=0.1)


@pytest.mark.shared
def test_other_recordings_are_not_that_alike(regenerated):
    """The measure tells words and takes apart: without this, a likeness of 0.9 would say little."""
    first, *others = (spikes for _, spikes in regenerated[::6])
    assert max(likeness(first, other) for other in others) < 0.9


@pytest.mark.shared
def test_a_real_recording_of_shd_is_heard_as_its_makers_heard_it(shared):
    folder = shared / "data" / "shd_real_sample"
    steps, units = np.loadtxt(folder / "shd_test_sample_1ms.csv", delimiter=",", dtype=int).T
    assert len(steps) == 9386
    sound = read_sound(folder / "lang-german_speaker-04_trial-14_digit-1.flac")
    assert likeness(listen(*sound), ((steps + 0.5) * 1e-3, units)) >= 0.9


@pytest.mark.shared
@pytest.mark.slow
def test_all_sixty_recordings_are_heard_as_the_published_converter_heard_them(regenerated):
    found = {path.stem: likeness(listen(*read_sound(path)), spikes) for path, spikes in regenerated}
    assert {name: value for name, value in found.items() if value < 0.9} == {}
