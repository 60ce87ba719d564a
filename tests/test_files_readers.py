import os
import struct
import sys

import event_writers as writers
import numpy as np
import pytest
import scipy.io
from hypothesis import given
from hypothesis import strategies as st

from snntrace.datasets.files import (
    FORMATS,
    DataFileError,
    Events,
    read_aedat2,
    read_aedat3,
    read_aedat4,
    read_atis_mat,
    read_dat,
    read_es,
    read_event_stream,
    read_events,
    read_nmnist_bin,
    read_raw,
    read_stmnist_mat,
)  # fmt: skip

ROWS = ([100, 100, 250, 9000], [3, 0, 9, 1], [7, 0, 2, 9], [1, 0, 0, 1])
"""Four events: times, columns, rows, polarities."""


@st.composite
def recordings(draw, width=640, height=480, longest=5000):
    """Draw events in the order of time, with runs of neighbours that have one time and row."""
    columns = ([], [], [], [])
    time = draw(st.integers(0, 1 << 20))
    for _ in range(draw(st.integers(1, 12))):
        time += draw(st.integers(0, longest))
        y, p = draw(st.integers(0, height - 1)), draw(st.integers(0, 1))
        places = draw(st.sets(st.integers(0, width - 1), min_size=1, max_size=3))
        start = draw(st.integers(0, width - 1))
        places |= {start + k for k in range(draw(st.integers(1, 30))) if start + k < width}
        for x in sorted(places):
            for column, value in zip(columns, (time, x, y, p), strict=True):
                column.append(value)
    return columns


CASES = {
    "nmnist": (".bin", writers.nmnist, recordings(34, 34), (34, 34)),
    "dat": (".dat", writers.dat, recordings(), (640, 480)),
    "evt2": (".raw", writers.evt2, recordings(), (640, 480)),
    "evt3": (".raw", writers.evt3, recordings(longest=200_000), (640, 480)),
    "aedat2": (".aedat", writers.aedat2, recordings(128, 128), (128, 128)),
    "aedat3": (".aedat", writers.aedat3, recordings(128, 128, 1 << 30), (128, 128)),
    "aedat4": (".aedat4", writers.aedat4, recordings(346, 260), (346, 260)),
    "es": (".es", writers.es_dvs, recordings(320, 240), (320, 240)),
    "mat": (".mat", writers.atis_mat, recordings(304, 240), (304, 240)),
    "stmnist": (".mat", writers.stmnist_mat, recordings(10, 10), (10, 10)),
}


def check(events, columns, sensor):
    assert isinstance(events, Events)
    assert events.sensor == sensor
    for found, expected in zip((events.t, events.x, events.y, events.p), columns, strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("case", CASES)
def test_what_is_written_in_a_format_is_recognised_and_read_back(case, tmp_path_factory):
    ending, write, drawn, sensor = CASES[case]
    path = tmp_path_factory.mktemp(case) / f"recording{ending}"

    @given(drawn)
    def read_back(columns):
        path.write_bytes(write(*columns))
        check(read_events(path), columns, sensor)

    read_back()


@pytest.mark.parametrize("case", [name for name in CASES if name != "nmnist"])
def test_the_content_of_a_file_decides_its_format_and_not_its_name(case, tmp_path):
    _, write, _, sensor = CASES[case]
    path = tmp_path / "no_ending"
    path.write_bytes(write(*ROWS))
    check(read_events(path), ROWS, sensor)


@pytest.mark.parametrize("compression", range(5))
@pytest.mark.parametrize("closed", [True, False])
def test_aedat4_is_read_in_every_compression_and_without_an_end(compression, closed, tmp_path):
    path = tmp_path / "a.aedat4"
    path.write_bytes(writers.aedat4(*ROWS, compression=compression, closed=closed))
    check(read_aedat4(path), ROWS, (346, 260))


def test_aedat3_skips_empty_places_and_counts_overflows_of_time(tmp_path):
    path = tmp_path / "a.aedat"
    columns = ([5, (1 << 31) - 1, 1 << 31, (3 << 31) + 8], *ROWS[1:])
    path.write_bytes(writers.aedat3(*columns, room=3))
    check(read_aedat3(path), columns, (128, 128))


def test_evt3_goes_on_after_its_24_bits_of_time(tmp_path):
    path = tmp_path / "a.raw"
    columns = ([(1 << 24) - 5000, (1 << 24) + 70, (2 << 24) + 3], [1, 2, 3], [4, 5, 6], [0, 1, 0])
    path.write_bytes(writers.evt3(*columns))
    check(read_raw(path), columns, (640, 480))


def test_a_fall_of_evt3_s_low_bits_is_counted_only_on_request(tmp_path):
    path = tmp_path / "a.raw"
    # High bits 1; low bits 90, then 80; high bits 2; low bits 5: an event after each word of the low bits.
    words = [0x8001, 0x0007, 0x605A, 0x2003, 0x6050, 0x2003, 0x8002, 0x6005, 0x2003]
    path.write_bytes(b"% evt 3.0\n% geometry 640x480\n" + struct.pack("<9H", *words))
    with pytest.raises(DataFileError, match=r"must not go backwards, got 4176 us after 4186 us"):
        read_raw(path)
    assert read_raw(path, ordered=False).t.tolist() == [4096 + 90, 4096 + 80, 8192 + 5]
    counted = [4096 + 90, 2 * 4096 + 80, 4 * 4096 + 5]
    assert read_raw(path, low_falls="count").t.tolist() == read_events(path, low_falls="count").t.tolist()
    assert read_raw(path, low_falls="count").t.tolist() == counted
    with pytest.raises(ValueError, match=r"low_falls must be one of ignore, count, got low_falls='keep'"):
        read_raw(path, low_falls="keep")


@pytest.mark.parametrize(
    ("lines", "sensor"),
    [
        (["evt 3.0", "plugin_name hal_plugin_gen41_evk3"], (1280, 720)),
        (["evt 3.0", "plugin_name hal_plugin_imx636_evk4"], (1280, 720)),
        (["evt 3.0", "plugin_name hal_plugin_gen3_fx3"], (640, 480)),
        (["format EVT3;height=320;width=321", "end"], (321, 320)),
        (["evt 3.0", "geometry 999x888"], (999, 888)),
        (["evt 3.0", "Width 50", "Height 60"], (50, 60)),
    ],
)
def test_the_first_lines_of_a_raw_file_tell_its_sensor(lines, sensor, tmp_path):
    path = tmp_path / "a.raw"
    path.write_bytes(writers.evt3(*ROWS, lines=lines))
    check(read_events(path), ROWS, sensor)


def test_a_raw_file_that_does_not_name_its_sensor_needs_it(tmp_path):
    path = tmp_path / "a.raw"
    path.write_bytes(writers.evt2(*ROWS, lines=["evt 2.0"]))
    with pytest.raises(DataFileError, match=r"first lines must name the sensor.*Give its sensor="):
        read_raw(path)
    check(read_raw(path, sensor=(10, 10)), ROWS, (10, 10))


def test_an_atis_event_stream_gives_the_changes_and_all_of_them(tmp_path):
    path = tmp_path / "a.es"
    t = [0, 62, 63, 400, 70_000]
    x, y, p, exposure = [1, 2, 3, 4, 5], [0, 1, 2, 3, 4], [1, 0, 1, 0, 1], [0, 1, 1, 0, 0]
    path.write_bytes(writers.es_atis(t, x, y, p, exposure))
    check(read_es(path), [[c[i] for i in (0, 3, 4)] for c in (t, x, y, p)], (320, 240))
    stream = read_event_stream(path)
    assert (stream.kind, stream.t.tolist(), stream.x.tolist()) == ("atis", t, x)
    assert stream.flags.tolist() == [2 * b + e for b, e in zip(p, exposure, strict=True)]


def test_generic_events_of_any_length_are_read_back(tmp_path):
    path = tmp_path / "a.es"
    t, payload = [0, 253, 254, 600, 601], [b"", b"a", bytes(127), bytes(range(128)), bytes(20_000)]
    path.write_bytes(writers.es_generic(t, payload))
    stream = read_event_stream(path)
    assert (stream.kind, stream.sensor, stream.t.tolist()) == ("generic", None, t)
    assert list(stream.payload) == payload
    with pytest.raises(DataFileError, match=r"polarities \(dvs or atis\), got generic.*read_event_stream"):
        read_es(path)


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("kind", ["float64", "uint32", "int16"])
def test_matlab_files_are_read_in_every_type_of_number(compressed, kind, tmp_path):
    path = tmp_path / "a.mat"
    path.write_bytes(writers.atis_mat(*ROWS, variable="EM", compressed=compressed, kind=kind))
    check(read_atis_mat(path, "EM"), ROWS, (304, 240))
    with pytest.raises(DataFileError, match=r"variable TD \(ATIS\) or spiketrain \(ST-MNIST\), got \['EM'\]"):
        read_events(path)


def test_other_variables_of_a_matlab_file_do_not_matter(tmp_path):
    path = tmp_path / "a.mat"
    fields = {name: np.array([[1.0], [2.0]]) for name in ("x", "y", "ts")} | {"p": np.array([[0], [1]])}
    others = {
        "text": "abc",
        "cells": np.array([1, "a"], object),
        "nested": {"a": {"b": 1}},
        "z": np.array([1j]),
    }
    scipy.io.savemat(path, others | {"TD": fields, "empty": np.zeros((0, 0))})
    check(read_events(path), ([1, 2], [0, 1], [0, 1], [0, 1]), (304, 240))


def test_an_address_is_kept_where_the_chip_is_another(tmp_path):
    path = tmp_path / "a.aedat"
    lines = ["!AER-DAT2.0", " AEChip: ch.unizh.ini.jaer.chip.cochlea.CochleaAMS1c"]
    head = "".join(f"#{line.replace(' AEChip', 'AEChip')}\r\n" for line in lines).encode()
    path.write_bytes(head + struct.pack(">IIII", 807, 5, 39, 6))
    with pytest.raises(DataFileError, match=r"chip must be a DVS128, got AEChip.*chip='address'"):
        read_events(path)
    events = read_events(path, chip="address")
    check(events, ([5, 6], [807, 39], [0, 0], [0, 0]), (1 << 16, 1))
    with pytest.raises(ValueError, match=r"chip must be one of dvs128, address, got chip='davis'"):
        read_aedat2(path, chip="davis")


def test_synchronisation_pulses_of_a_dvs128_are_no_events(tmp_path):
    path = tmp_path / "a.aedat"
    path.write_bytes(writers.aedat2(*ROWS) + struct.pack(">II", 0x8000, 9001))
    check(read_aedat2(path), ROWS, (128, 128))


READERS = {
    "nmnist": (writers.nmnist, read_nmnist_bin, 5), "dat": (writers.dat, read_dat, 8),
    "evt2": (writers.evt2, read_raw, 4), "aedat2": (writers.aedat2, read_aedat2, 8),
}  # fmt: skip


@pytest.mark.parametrize("case", READERS)
def test_a_fault_is_named_with_its_place(case, tmp_path):
    write, read, size = READERS[case]
    path = tmp_path / "a.bin"
    good = write(*ROWS)
    path.write_bytes(good[:-1])
    with pytest.raises(DataFileError, match=rf"at byte {len(good) - size} of .*a\.bin\. Download"):
        read(path)
    # The last two events in the other order, or the last one far out.
    path.write_bytes(write(*([*column[:2], column[3], column[2]] for column in ROWS)))
    places = [(len(path.read_bytes()) - size, r"time must not go backwards, got 250 us after 9000 us")]
    if case == "nmnist":
        places = [(15, "time must not go backwards, got the time 250 us after a later one")]
    for place, message in places:
        with pytest.raises(DataFileError, match=rf"{message} at byte {place} of .*ordered=False"):
            read(path)
    assert read(path, ordered=False).t.tolist() == [100, 100, 9000, 250]


@pytest.mark.parametrize("case", ["dat", "evt2", "evt3", "aedat3", "aedat4", "mat"])
def test_an_event_beyond_the_sensor_is_refused_with_its_place(case, tmp_path):
    ending, write, _, _ = CASES[case]
    path = tmp_path / f"a{ending}"
    path.write_bytes(write(*ROWS))
    message = r"on the 9 x 10 sensor.*got x=\d+ and y=\d+ at (byte|event) \d+.*a\.\w+\. Download .*sensor="
    with pytest.raises(DataFileError, match=message):
        read_events(path, sensor=(9, 10))
    check(read_events(path, sensor=(10, 10)), ROWS, (10, 10))


@pytest.mark.parametrize("case", CASES)
def test_a_file_that_is_cut_off_is_refused(case, tmp_path):
    ending, write, _, _ = CASES[case]
    path = tmp_path / f"a{ending}"
    good = write(*ROWS)
    path.write_bytes(good[:-1])
    if case == "evt3":
        path.write_bytes(good + b"\0")
    if case == "aedat4":
        path.write_bytes(good[: -len(b"the table of packets") - 1])
    with pytest.raises(DataFileError, match=r"a\.\w+"):
        read_events(path)


@pytest.mark.parametrize("case", CASES)
def test_a_file_without_events_is_refused(case, tmp_path):
    ending, write, _, _ = CASES[case]
    path = tmp_path / f"a{ending}"
    path.write_bytes(b"")
    with pytest.raises(DataFileError, match=r"must not be empty, got 0 bytes in .*a\."):
        FORMATS[{"evt2": "raw", "evt3": "raw", "stmnist": "mat"}.get(case, case)].reads(path)


def test_unknown_files_list_the_formats(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("0.1,5\n")
    with pytest.raises(
        DataFileError, match=r"b'0\.1,5\\n' at byte 0.*AEDAT 2\.0.*EVT 2.*MATLAB.*N-MNIST.*open_dataset"
    ):
        read_events(path)


def test_paths_that_are_no_files_are_refused_without_waiting(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"must be an existing file, got path=.*none\.es"):
        read_events(tmp_path / "none.es")
    with pytest.raises(DataFileError, match=r"must be a file, got the folder path="):
        read_events(tmp_path)
    os.mkfifo(tmp_path / "pipe.bin")
    with pytest.raises(DataFileError, match=r"must be a file, got the device path="):
        read_events(tmp_path / "pipe.bin")


def test_paths_that_cannot_be_opened_are_named(tmp_path):
    (tmp_path / "loop.bin").symlink_to(tmp_path / "loop.bin")
    for name, message in (("loop.bin", "symbolic links"), ("x" * 300, "too long")):
        with pytest.raises(OSError, match=rf"read_nmnist_bin: path must be a file .*{name} .*{message}"):
            read_nmnist_bin(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="read_nmnist_bin: path must be an existing file"):
        read_nmnist_bin(tmp_path / "a\0b.bin")


def test_a_file_that_may_not_be_read_says_so(tmp_path, monkeypatch):
    path = tmp_path / "a.bin"
    path.write_bytes(writers.nmnist(*ROWS))

    def refuse(*arguments):
        raise PermissionError(13, "Permission denied")

    # Not by its mode, for tests may be run by a user whom no mode stops.
    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(
        PermissionError, match=r"must be a file that may be read, got path=.*a\.bin\. Change its"
    ):
        read_nmnist_bin(path)


def test_st_mnist_refuses_what_is_no_spike_train(tmp_path):
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, {"spiketrain": np.zeros((100, 3))})
    with pytest.raises(DataFileError, match=r"be numbers of shape \(101, steps\), got float64 \(100, 3\)"):
        read_stmnist_mat(path)
    scipy.io.savemat(path, {"spiketrain": np.full((101, 3), 2.0)})
    with pytest.raises(DataFileError, match=r"have -1, 0 and 1 in the taxels' rows"):
        read_stmnist_mat(path)


def test_events_become_records_and_units():
    t, x, y, p = ROWS
    events = Events(
        np.array(t), np.array(x, "uint16"), np.array(y, "uint16"), np.array(p, "uint8"), sensor=(10, 12)
    )
    records = events.structured()
    assert records.dtype.names == ("x", "y", "t", "p")
    assert records.tolist() == [(3, 7, 100, True), (0, 0, 100, False), (9, 2, 250, False), (1, 9, 9000, True)]
    assert events.units().tolist() == [(1 * 12 + 7) * 10 + 3, 0, 29, (12 + 9) * 10 + 1]
    assert events.units(polarities=1).tolist() == [73, 0, 29, 91]
    np.testing.assert_allclose(events.seconds, [1e-4, 1e-4, 2.5e-4, 9e-3])
    assert events.is_sorted
    with pytest.raises(ValueError, match=r"polarities must be 1, or 2 .*, got polarities=3"):
        events.units(polarities=3)


def test_events_that_contradict_themselves_are_refused():
    t, x, p = np.arange(3), np.arange(3, dtype="uint16"), np.zeros(3, "uint8")
    with pytest.raises(ValueError, match=r"four lists of one length, got shapes="):
        Events(t, x[:2], x, p, (3, 3))
    with pytest.raises(TypeError, match=r"x must be uint16, got x\.dtype=int64"):
        Events(t, t, x, p, (3, 3))
    with pytest.raises(ValueError, match=r"on the sensor, got x=2 and y=2 for sensor=\(3, 2\)"):
        Events(t, x, x, p, (3, 2))


@pytest.mark.parametrize(("compression", "package"), [(1, "lz4"), (3, "zstandard")])
def test_a_missing_package_for_a_compression_is_named(compression, package, tmp_path, monkeypatch):
    path = tmp_path / "a.aedat4"
    path.write_bytes(writers.aedat4(*ROWS, compression=compression))
    for module in ("lz4.frame", "zstandard"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"package {package}\S* must be installed.*snntrace\[aedat4\]"):
        read_aedat4(path)
