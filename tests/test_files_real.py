"""Real recordings, against what other programs make of them."""

import csv
import hashlib
import re
import zlib

import numpy as np
import pytest
import scipy.io

from snntrace.datasets import NMNIST, BrailleLetters, SpikeFile
from snntrace.datasets.ear import read_sound
from snntrace.datasets.files import (
    format_of,
    read_atis_mat,
    read_event_stream,
    read_events,
    read_nmnist_bin,
    read_raw,
    read_stmnist_mat,
)  # fmt: skip
from snntrace.datasets.idx import read_idx

pytestmark = pytest.mark.shared

PEERS = {
    # Number of events and CRC-32 of t, x, y and p as little-endian 64-bit integers: aedat 2.3.0 for AEDAT 4,
    # expelliarmus 1.1.12 for EVT 2 and .dat, event_stream 1.6.3 for .es, tonic 1.7.0 for .bin.
    "tonic/sample.aedat4": (111954, (1231361461, 828355067, 2444565237, 3899995725)),
    "aestream/davis.aedat4": (117667, (4267156144, 1828040898, 3045239657, 2920641523)),
    "expelliarmus/evt2_sample.raw": (539481, (1126662282, 208039064, 901435283, 1264990772)),
    "faery/evt2.raw": (521252, (2845961598, 1717972345, 3304482311, 936186145)),
    "tonic/sample_ncars.dat": (2009, (814612299, 136547613, 299980583, 2394597051)),
    "faery/dvs.es": (473225, (4149783995, 2153943521, 605429503, 1911393409)),
    "tonic/sample_nmnist.bin": (4325, (1591817044, 3438161698, 2845487243, 1316827772)),
}
FORMATS = {
    "tonic/sample.aedat4": "aedat4", "expelliarmus/evt2_sample.raw": "raw", "faery/evt2.raw": "raw",
    "tonic/sample_ncars.dat": "dat", "faery/dvs.es": "es", "tonic/sample_nmnist.bin": "nmnist",
    "jaer/MovingDarkBox.aedat": "aedat2", "gorchard/example_data.mat": "mat",
    "tonic/sample_stmnist.mat": "mat",
}  # fmt: skip


@pytest.fixture(scope="module")
def recordings(shared):
    return shared / "data" / "events"


def checksum(values):
    return zlib.crc32(np.ascontiguousarray(values).astype("<i8").tobytes())


@pytest.mark.parametrize("name", PEERS)
def test_a_recording_is_decoded_as_its_makers_programs_decode_it(name, recordings):
    events = read_events(recordings / name)
    n, sums = PEERS[name]
    assert len(events) == n
    assert tuple(checksum(column) for column in (events.t, events.x, events.y, events.p)) == sums


@pytest.mark.parametrize("name", FORMATS)
def test_the_format_of_a_recording_is_recognised(name, recordings):
    assert format_of(recordings / name) == FORMATS[name]


@pytest.mark.parametrize(
    ("name", "count", "sensor"),
    [
        ("tonic/sample.aedat4", None, (320, 240)),
        ("aestream/davis.aedat4", None, (346, 260)),
        ("jaer/MovingDarkBox.aedat", 489_834, (128, 128)),
        ("jaer/VowelSounds.aedat", 111_318, (65536, 1)),
        ("expelliarmus/evt2_sample.raw", 539_481, (640, 480)),
        ("faery/evt2.raw", 521_252, (640, 480)),
        ("expelliarmus/evt3_sample.raw", 219_596, (1280, 720)),
        ("tonic/sample_ncars.dat", 2_009, (304, 240)),
        ("tonic/sample_nmnist.bin", 4_325, (34, 34)),
        ("tonic/sample_stmnist.mat", 2_346, (10, 10)),
    ],
)
def test_numbers_of_events_are_those_that_the_provenance_tells(name, count, sensor, recordings):
    options = {"chip": "address"} if "Vowel" in name else {}
    events = read_events(recordings / name, **options)
    assert events.sensor == sensor
    assert events.is_sorted
    if count is not None:
        assert len(events) == count
        told = re.sub(r"[,\s]+", "", (recordings / "PROVENANCE.txt").read_text())
        assert str(count) in told


def test_evt3_counting_falls_is_equal_to_the_reference_array(recordings):
    events = read_raw(recordings / "expelliarmus" / "evt3_sample.raw", low_falls="count")
    reference = np.load(recordings / "expelliarmus" / "evt3_sample.npy")
    assert len(reference) == 219_596
    for name in "txyp":
        np.testing.assert_array_equal(getattr(events, name), reference[name])


def test_evt3_lasts_as_long_as_its_words_of_the_high_bits_tell(recordings):
    """The reference array takes each of 11 falls of the low 12 bits for 4096 us that went by.

    The words of the high bits, one every 16 us, take three values that follow each other: all of it lasts
    9 ms. Two of the falls go with new high bits, and are counted twice; the others are of a few us.
    """
    path = recordings / "expelliarmus" / "evt3_sample.raw"
    events, reference = read_raw(path), np.load(recordings / "expelliarmus" / "evt3_sample.npy")
    for name in "xyp":
        np.testing.assert_array_equal(getattr(events, name), reference[name])
    raw = path.read_bytes()
    words = np.frombuffer(raw[raw.index(b"% system_ID 48\n") + 15 :], "<u2").astype(np.int64)
    kind = words >> 12
    low = words[kind == 6] & 0xFFF
    falls = np.concatenate([[0], np.cumsum(np.diff(low) < 0)])
    assert falls[-1] == 11
    assert np.unique(words[kind == 8] & 0xFFF).tolist() == [2861, 2862, 2863]
    assert events.t[-1] - events.t[0] == pytest.approx(16 * (kind == 8).sum(), rel=0.02)
    assert reference["t"][-1] - reference["t"][0] == pytest.approx(53_900, rel=0.01)
    # How many words of the low bits came before each event.
    events_of_word = np.select(
        [kind == 2, kind == 4, kind == 5],
        [1, *(np.array([int(w).bit_count() for w in words & mask]) for mask in (0xFFF, 0xFF))],
        0,
    )
    before = np.repeat(np.cumsum(kind == 6), events_of_word)
    np.testing.assert_array_equal(reference["t"] - 4096 * falls[before - 1], events.t)


def test_every_kind_of_event_stream_is_read(recordings):
    colour = read_event_stream(recordings / "faery" / "color.es")
    assert (colour.kind, colour.sensor, colour.t.size) == ("color", (320, 240), 473_225)
    columns = (colour.t, colour.x, colour.y, *colour.payload.T)
    assert [checksum(column) for column in columns] == [
        4149783995, 2153943521, 605429503, 3996266934, 2143499460, 313218053,
    ]  # fmt: skip
    generic = read_event_stream(recordings / "faery" / "generic.es")
    assert (generic.kind, generic.t.size, generic.payload[:2]) == ("generic", 70, (b"Lorem", b"ipsum"))
    assert (checksum(generic.t), zlib.crc32(b"|".join(generic.payload))) == (2321661385, 1426415408)


@pytest.mark.parametrize("variable", ["TD", "EM"])
def test_an_atis_struct_is_what_scipy_reads(variable, recordings):
    path = recordings / "gorchard" / "example_data.mat"
    table = scipy.io.loadmat(path)[variable][0, 0]
    events = read_atis_mat(path, variable)
    assert len(events) == {"TD": 242_040, "EM": 442_382}[variable]
    for column, name, first in (
        (events.t, "ts", 0),
        (events.x, "x", 1),
        (events.y, "y", 1),
        (events.p, "p", 0),
    ):
        np.testing.assert_array_equal(column.astype(int), table[name][:, 0].astype(int) - first)


def test_a_tactile_spike_train_is_what_scipy_reads(recordings):
    path = recordings / "tonic" / "sample_stmnist.mat"
    train = scipy.io.loadmat(path)["spiketrain"]
    events = read_stmnist_mat(path)
    again = np.zeros((100, train.shape[1]))
    again[events.units(polarities=1), np.arange(len(events))] = 2.0 * events.p - 1
    np.testing.assert_array_equal(again, train[:100])
    np.testing.assert_allclose(events.seconds, train[100], atol=0.5001e-6)


def test_off_events_lead_a_dark_box(recordings):
    """The front of what is dark takes light away: of a DVS128 the set bit is OFF."""
    events = read_events(recordings / "jaer" / "MovingDarkBox.aedat")
    edges = np.searchsorted(events.t, np.arange(events.t[0], events.t[-1], 20_000))
    middles = np.full((len(edges) - 1, 2, 2), np.nan)
    for k, (start, stop) in enumerate(zip(edges[:-1], edges[1:], strict=True)):
        for p in (0, 1):
            chosen = start + np.flatnonzero(events.p[start:stop] == p)
            if len(chosen) > 20:
                middles[k, p] = np.median(events.x[chosen]), np.median(events.y[chosen])
    velocity = (middles[4:].sum(1) - middles[:-4].sum(1)) / 2
    lead = ((middles[2:-2, 0] - middles[2:-2, 1]) * velocity).sum(-1)[np.hypot(*velocity.T) > 4]
    assert len(lead) > 500
    assert (lead > 0).mean() > 0.7


def test_every_n_mnist_file_has_the_events_and_the_label_of_its_manifest(shared):
    root = shared / "data" / "nmnist"
    with (root / "MANIFEST.csv").open() as file:
        rows = sorted(csv.DictReader(file), key=lambda row: row["path"])
    assert len(rows) == 1338
    for row in rows:
        raw = (root / row["path"]).read_bytes()
        assert hashlib.md5(raw, usedforsecurity=False).hexdigest() == row["md5"]
        events = read_nmnist_bin(root / row["path"])
        assert len(events) == int(row["events"])
        assert events.is_sorted
    data = NMNIST(root)
    assert data.labels.tolist() == [int(row["label"]) for row in rows]
    assert data.lengths.tolist() == [int(row["events"]) for row in rows]


def events_in(path):
    options = {"chip": "address"} if "Vowel" in path.name else {}
    return len(read_events(path, **options))


def sound_in(path):
    sound, rate = read_sound(path)
    assert rate == 48_000
    assert np.abs(sound).max() > 0.01
    return 1


def recordings_in(path):
    with SpikeFile(path) as data:
        assert sum(len(units) for _, units in data.events_of(range(0, len(data), 40))) > 1000
        return len(data)


READ_BY = {
    # A pattern of paths: what reads them, how many files there are, and what all of them together hold.
    "nmnist/Train/*/*.bin": (events_in, 1338, None),
    "events/*/Moving*.aedat": (events_in, 1, 489_834),
    "events/*/Vowel*.aedat": (events_in, 1, 111_318),
    "events/*/*.aedat4": (events_in, 2, 111_954 + 117_667),
    "events/*/evt2*.raw": (events_in, 2, 539_481 + 521_252),
    "events/*/evt3*.raw": (events_in, 1, 219_596),
    "events/*/*.dat": (events_in, 1, 2009),
    "events/*/*.bin": (events_in, 1, 4325),
    "events/*/*.mat": (events_in, 2, 242_040 + 2346),
    "events/*/*.es": (lambda path: len(read_event_stream(path).t), 3, 2 * 473_225 + 70),
    "events/*/*.npy": (lambda path: len(np.load(path)), 1, 219_596),
    "shd_regen/*.gz": (recordings_in, 3, 8156 + 400 + 200),
    "shd_real_sample/*.csv": (lambda path: len(np.loadtxt(path, delimiter=",")), 1, 9386),
    "shd_real_sample/*/*.npz": (lambda path: np.load(path)["arr_0"].shape[0], 5, 5 * 2),
    "shd_real_sample/*.flac": (sound_in, 2, 2),
    "hd_audio_sample/*.flac": (sound_in, 60, 60),
    "mnist/*-images-*.gz": (lambda path: len(read_idx(path, 3)), 2, 70_000),
    "mnist/*-labels-*.gz": (lambda path: len(read_idx(path, 1)), 2, 70_000),
    "braille/*.npz": (lambda path: len(BrailleLetters(path)), 1, 1350),
}
DOCUMENTS = {"README.md", "PROVENANCE.txt", "MANIFEST.csv"}


def test_every_file_of_the_shared_data_is_read_and_holds_what_is_told(shared):
    root, read = shared / "data", set()
    for pattern, (reads, files, content) in READ_BY.items():
        paths = sorted(root.glob(pattern))
        assert len(paths) == files, pattern
        held = [reads(path) for path in paths]
        assert min(held) > 0
        assert content is None or sum(held) == content, pattern
        read |= set(paths)
    found = {path for path in root.rglob("*") if path.is_file() and path.name not in DOCUMENTS}
    assert sorted(found - read) == []
