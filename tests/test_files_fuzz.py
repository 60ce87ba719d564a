import time

import event_writers as writers
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from snntrace.datasets.files import DataFileError, EventStream, read_event_stream, read_events

SEED = 7


def some_events(n=400, width=34, height=34, step=60):
    rng = np.random.default_rng(SEED)
    t = np.cumsum(rng.integers(0, step, n)) + 100
    columns = (t, rng.integers(0, width, n), rng.integers(0, height, n), rng.integers(0, 2, n))
    return [column.tolist() for column in columns]


GENERIC = ([3, 300, 5000], [b"", b"ab", b"x" * 200])
BASES = {
    "nmnist.bin": lambda: writers.nmnist(*some_events()),
    "width.dat": lambda: writers.dat(*some_events()),
    "evt2.raw": lambda: writers.evt2(*some_events(width=640, height=480)),
    "evt3.raw": lambda: writers.evt3(*some_events(width=640, height=480)),
    "jaer.aedat": lambda: writers.aedat2(*some_events(width=128, height=128)),
    "caer.aedat": lambda: writers.aedat3(*some_events(width=128, height=128)),
    "lz4.aedat4": lambda: writers.aedat4(*some_events(), compression=1),
    "zstd.aedat4": lambda: writers.aedat4(*some_events(), compression=3),
    "plain.aedat4": lambda: writers.aedat4(*some_events(), compression=0),
    "dvs.es": lambda: writers.es_dvs(*some_events()),
    "atis.es": lambda: writers.es_atis(*some_events(), exposure=[0] * 400),
    "generic.es": lambda: writers.es_generic(*GENERIC),
    "atis.mat": lambda: writers.atis_mat(*some_events(), compressed=False),
    "packed.mat": lambda: writers.atis_mat(*some_events()),
    "tactile.mat": lambda: writers.stmnist_mat(*some_events(n=60, width=10, height=10)),
}
MOST_A_BYTE = 12
"""A word of EVT 3 has two bytes and up to 12 events; packets of some formats are compressed."""

fraction = st.floats(0, 1, exclude_max=True)
# The first bytes, where the header is, half of the time.
place = st.one_of(fraction, fraction.map(lambda f: f / 20))
mutation = st.one_of(
    st.tuples(st.just("set"), place, st.integers(0, 255)),
    st.tuples(st.just("flip"), place, st.integers(0, 7)),
    st.tuples(st.just("cut"), fraction, st.just(0)),
    st.tuples(st.just("remove"), place, st.integers(1, 40)),
    st.tuples(st.just("insert"), place, st.binary(min_size=1, max_size=20)),
    st.tuples(st.just("fill"), place, st.sampled_from([0, 255])),
)


def mutated(data, mutations):
    data = bytearray(data)
    for kind, where, value in mutations:
        if not data:
            break
        i = int(where * len(data))
        if kind == "set":
            data[i] = value
        elif kind == "flip":
            data[i] ^= 1 << value
        elif kind == "cut":
            del data[i:]
        elif kind == "remove":
            del data[i : i + value]
        elif kind == "insert":
            data[i:i] = value
        else:
            data[i : i + 8] = bytes([value]) * len(data[i : i + 8])
    return bytes(data)


def check_that_a_file_is_read_or_refused(path, size):
    """A damaged file may be read only as events that could be; else it is refused by its name."""
    start = time.perf_counter()
    found, refusal = read_or_refusal(path)
    assert time.perf_counter() - start < 5
    if refusal is not None:
        assert path.name in refusal
    elif isinstance(found, EventStream):
        assert sum(map(len, found.payload)) <= size
        assert (np.diff(found.t) >= 0).all()
    else:
        assert 0 < len(found) <= MOST_A_BYTE * size or path.suffix in {".aedat4", ".mat"}
        assert found.is_sorted
        assert found.x.max() < found.sensor[0]
        assert found.y.max() < found.sensor[1]
        assert found.p.max() <= 1


def read_or_refusal(path):
    try:
        return (read_event_stream if path.name == "generic.es" else read_events)(path), None
    except DataFileError as error:
        return None, str(error)


def fuzz(name, folder, examples):
    data, path = BASES[name](), folder / name
    path.write_bytes(data)
    intact, _ = read_or_refusal(path)
    assert intact.t.size == (3 if name == "generic.es" else 60 if name == "tactile.mat" else 400)

    @settings(
        max_examples=examples, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck),
        database=None,
    )  # fmt: skip
    @given(st.lists(mutation, min_size=1, max_size=4))
    def try_one(mutations):
        changed = mutated(data, mutations)
        path.write_bytes(changed)
        check_that_a_file_is_read_or_refused(path, len(changed))

    try_one()


@pytest.mark.parametrize("name", BASES)
def test_a_damaged_file_is_read_as_possible_events_or_refused_by_name(name, tmp_path):
    fuzz(name, tmp_path, 40)


@pytest.mark.slow
@pytest.mark.parametrize("name", BASES)
def test_a_thousand_damaged_files_are_read_as_possible_events_or_refused_by_name(name, tmp_path):
    fuzz(name, tmp_path, 1200)
