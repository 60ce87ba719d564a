import errno
import gzip
import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from flaky_server import serving

from snntrace.datasets import DownloadError
from snntrace.datasets.download import download
from snntrace.datasets.download_opener import Redirects
from snntrace.datasets.download_source import Source

CONTENT = np.random.default_rng(0).bytes(300_000)
MD5 = hashlib.md5(CONTENT).hexdigest()
QUICK = {"timeout": 0.4, "wait": 0.01}


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def get(server, folder, md5=MD5, form="", **options):
    return download(Source("a.bin", (server.url,), md5, form), folder, **QUICK | options)


def left(folder):
    return sorted(path.name for path in folder.iterdir())


def ranges(server):
    return [headers.get("Range") for _, headers in server.seen]


def test_a_file_comes_whole_and_alone(tmp_path):
    told = []
    with serving(CONTENT) as server:
        path = get(server, tmp_path / "new" / "folder", progress=lambda *step: told.append(step))
    assert path.read_bytes() == CONTENT
    assert left(path.parent) == ["a.bin"]
    assert told[0] == (0, len(CONTENT))
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert "snntrace" in server.seen[0][1]["User-Agent"]


def test_a_file_that_is_there_is_not_asked_for_again(tmp_path):
    with serving(CONTENT) as server:
        get(server, tmp_path)
        get(server, tmp_path)
    assert len(server.seen) == 1
    assert left(tmp_path) == ["a.bin"]


def test_another_file_of_that_name_is_kept_and_named(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"mine")
    with serving(CONTENT) as server, pytest.raises(FileExistsError, match="must be the official one"):
        get(server, tmp_path)
    assert (tmp_path / "a.bin").read_bytes() == b"mine"
    assert not server.seen
    assert left(tmp_path) == ["a.bin"]


def test_a_cut_file_goes_on_where_it_was_cut(tmp_path):
    with serving(CONTENT, plan=[("cut", 100_000), ("cut", 50_000)]) as server:
        assert get(server, tmp_path).read_bytes() == CONTENT
    assert ranges(server) == [None, "bytes=100000-", "bytes=150000-"]
    assert server.seen[1][1]["If-Range"] == '"1"'


def test_more_cuts_than_attempts_do_not_end_a_download_that_goes_on(tmp_path):
    with serving(CONTENT, plan=[("cut", 10_000)] * 12) as server:
        assert get(server, tmp_path, attempts=2).read_bytes() == CONTENT
    assert len(server.seen) == 13


def test_a_stalled_server_is_left_and_asked_again(tmp_path):
    with serving(CONTENT, plan=[("stall", 100_000)]) as server:
        assert get(server, tmp_path).read_bytes() == CONTENT
    assert ranges(server) == [None, "bytes=100000-"]


def test_a_server_that_stalls_before_its_answer_is_given_up(tmp_path):
    with (
        serving(CONTENT, plan=[("stall", 0)] * 2) as server,
        pytest.raises(DownloadError, match="timed out.*2 times.*by hand"),
    ):
        get(server, tmp_path, attempts=2)
    assert left(tmp_path) == []


NO_WAY = [
    OSError(errno.ENETUNREACH, "Network is unreachable"),
    socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"),
    TimeoutError("timed out"),
    OSError("Tunnel connection failed: 403 Forbidden"),
]


@pytest.mark.parametrize("fault", NO_WAY, ids=str)
def test_a_server_that_no_way_leads_to_is_given_up_at_once(fault, tmp_path, monkeypatch):
    limits = []

    def fails(address, timeout, *arguments):
        limits.append(timeout)
        raise fault

    monkeypatch.setattr(socket, "create_connection", fails)
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail(f"waits {seconds} s"))
    source = Source("a.bin", ("http://one.invalid/a", "https://two.invalid/a"), MD5)
    with pytest.raises(DownloadError, match=r"one\.invalid/a: no way to it.*two.*: no way.*https_proxy"):
        download(source, tmp_path, timeout=600.0)
    assert len(limits) == 2
    assert max(limits) <= 10
    assert left(tmp_path) == []


@pytest.mark.parametrize("fault", NO_WAY[:3], ids=str)
def test_a_way_that_is_lost_for_a_while_is_waited_for(fault, tmp_path, monkeypatch):
    connect, faults = socket.create_connection, [None, fault, fault, None]

    def sometimes(*arguments, **options):
        if (now := faults.pop(0)) is not None:
            raise now
        return connect(*arguments, **options)

    monkeypatch.setattr(socket, "create_connection", sometimes)
    with serving(CONTENT, plan=[("cut", 100_000)]) as server:
        assert get(server, tmp_path).read_bytes() == CONTENT
    assert ranges(server) == [None, "bytes=100000-"]
    assert faults == []


@pytest.mark.parametrize("tag", ['"1"', None])
def test_a_later_call_goes_on_where_an_earlier_one_was_broken(tmp_path, tag):
    with serving(CONTENT, plan=[("cut", 100_000), 500, 500], tag=tag) as server:
        with pytest.raises(DownloadError, match="answer 500.*2 times"):
            get(server, tmp_path, attempts=2)
        assert left(tmp_path) == [".a.bin.part", ".a.bin.part.json"]
        assert get(server, tmp_path).read_bytes() == CONTENT
    assert ranges(server)[-1] == "bytes=100000-"
    assert left(tmp_path) == ["a.bin"]


def test_a_server_without_ranges_starts_again(tmp_path):
    with serving(CONTENT, plan=[("cut", 100_000)], ranges=False) as server:
        assert get(server, tmp_path).read_bytes() == CONTENT
    assert ranges(server) == [None, "bytes=100000-"]


def test_a_server_without_ranges_that_is_always_cut_at_one_place_is_given_up(tmp_path):
    with (
        serving(CONTENT, plan=[("cut", 100_000)] * 50, ranges=False) as server,
        pytest.raises(DownloadError, match="100,000 of 300,000 bytes, 4 times"),
    ):
        get(server, tmp_path, attempts=4)
    assert len(server.seen) == 4


def test_a_file_that_changes_meanwhile_starts_again(tmp_path):
    with serving(bytes(200_000), plan=[("cut", 100_000)], tag='"0"') as server:
        download_until_cut(server, tmp_path)
        server.content, server.tag = CONTENT, '"1"'
        assert get(server, tmp_path).read_bytes() == CONTENT
    assert server.seen[-1][1]["If-Range"] == '"0"'


def download_until_cut(server, folder):
    with pytest.raises(DownloadError):
        get(server, folder, attempts=1)


def test_old_bytes_that_do_not_fit_are_dropped_once_the_checksum_tells(tmp_path):
    with serving(CONTENT, plan=[("cut", 100_000)], tag=None) as server:
        download_until_cut(server, tmp_path)
        part = tmp_path / ".a.bin.part"
        part.write_bytes(bytes(100_000))
        assert get(server, tmp_path).read_bytes() == CONTENT
    assert ranges(server) == [None, "bytes=100000-", None]


def test_bytes_that_nothing_can_be_compared_with_are_not_joined(tmp_path):
    packed = gzip.compress(CONTENT)
    with serving(packed, plan=[("cut", 100_000)], tag='W/"weak"') as server:
        with pytest.raises(DownloadError):
            get(server, tmp_path, md5="", form="gzip", attempts=1)
        assert get(server, tmp_path, md5="", form="gzip").read_bytes() == packed
    assert ranges(server) == [None, None]


def test_the_date_of_a_file_serves_where_its_tag_is_weak(tmp_path):
    date = "Wed, 01 Jan 2025 00:00:00 GMT"
    packed = gzip.compress(CONTENT)
    with serving(packed, plan=[("cut", 100_000)], tag='W/"weak"', modified=date) as server:
        assert get(server, tmp_path, md5="", form="gzip").read_bytes() == packed
    assert server.seen[1][1]["If-Range"] == date


def test_a_complete_part_is_checked_and_not_asked_for_again(tmp_path):
    with serving(CONTENT) as server:
        (tmp_path / ".a.bin.part").write_bytes(CONTENT)
        record = {"url": server.url, "version": '"1"', "total": len(CONTENT)}
        (tmp_path / ".a.bin.part.json").write_text(json.dumps(record))
        assert get(server, tmp_path).read_bytes() == CONTENT
    assert not server.seen


@pytest.mark.parametrize(
    "record",
    [
        "", "{", "[]", "3", "[" * 99_999, '{"url": 3}', '{"url": "U", "version": "", "total": "x"}',
        '{"url": "U", "version": ["a"], "total": 9}', '{"url": "U", "version": "a\\r\\nb", "total": 9}',
        '{"url": "U", "version": "a", "total": [9]}',
    ],
)  # fmt: skip
def test_a_damaged_note_is_no_obstacle(tmp_path, record):
    with serving(CONTENT) as server:
        (tmp_path / ".a.bin.part").write_bytes(CONTENT[:9])
        (tmp_path / ".a.bin.part.json").write_text(record)
        assert get(server, tmp_path).read_bytes() == CONTENT


def test_a_part_that_is_longer_than_the_file_starts_again(tmp_path):
    with serving(CONTENT) as server:
        (tmp_path / ".a.bin.part").write_bytes(CONTENT + b"more")
        assert get(server, tmp_path).read_bytes() == CONTENT
    assert ranges(server) == ["bytes=300004-", None]


def test_a_server_that_sends_another_part_than_asked_for_is_not_believed(tmp_path):
    with serving(CONTENT, plan=[("cut", 100_000), ("shift", None)]) as server:
        assert get(server, tmp_path).read_bytes() == CONTENT
    assert ranges(server) == [None, "bytes=100000-", None]


@pytest.mark.parametrize(
    "place", ["file:///etc/passwd", "ftp://127.0.0.1/a", "data:,a", "http://[::1", "//["]
)
def test_a_redirection_to_anything_but_the_net_is_not_followed(tmp_path, place):
    with (
        serving(CONTENT, plan=[place] * 9) as server,
        pytest.raises(DownloadError, match=r"not allowed|IPv6"),
    ):
        get(server, tmp_path)
    assert len(server.seen) == 1


def test_a_redirection_to_another_server_is_followed_but_not_from_https_to_http(tmp_path):
    with serving(CONTENT) as other, serving(b"", plan=[other.url]) as server:
        assert get(server, tmp_path).read_bytes() == CONTENT
    request = urllib.request.Request("https://example.org/a")
    with pytest.raises(urllib.error.HTTPError, match="not allowed"):
        Redirects().redirect_request(request, None, 302, "Found", {}, "http://example.org/a")


def test_what_comes_beyond_the_end_of_the_file_is_not_waited_for(tmp_path):
    told = []
    with serving(CONTENT, plan=[("cut", 100_000), ("more", None)]) as server:
        path = get(server, tmp_path, progress=lambda *step: told.append(step[0]))
    assert path.read_bytes() == CONTENT
    assert ranges(server) == [None, "bytes=100000-", None]
    assert max(told) < 3_000_000


def test_a_part_of_another_version_is_not_joined_though_the_server_gives_it(tmp_path):
    """Nothing but the version tells of a file without a checksum, whose size is the same."""
    first, second = tmp_path / "1.h5", tmp_path / "2.h5"
    for path, value in ((first, 1), (second, 2)):
        with h5py.File(path, "w") as file:
            file["a"] = np.full(50_000, value)
    plan = [("cut", 100_000), ("deaf", None)]
    with serving(first.read_bytes(), plan=plan, tag='"1"') as server:
        with pytest.raises(DownloadError):
            get(server, tmp_path / "new", md5="", form="hdf5", attempts=1)
        server.content, server.tag = second.read_bytes(), '"2"'
        path = get(server, tmp_path / "new", md5="", form="hdf5")
    assert path.read_bytes() == second.read_bytes()
    assert ranges(server) == [None, "bytes=100000-", None]


@pytest.mark.parametrize("length", ["9" * 5000, "-5", "x"])
def test_a_size_that_is_none_is_no_obstacle(tmp_path, length):
    with serving(CONTENT) as server:
        server.length = length
        assert get(server, tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_has_the_name_of_the_file_and_is_none_is_kept_and_named(tmp_path, make):
    make(tmp_path / "a.bin")
    with serving(CONTENT) as server, pytest.raises(FileExistsError, match=r"a\.bin must be .*, got no file"):
        get(server, tmp_path)
    assert left(tmp_path) == ["a.bin"]


@pytest.mark.parametrize("chunked", [False, True])
def test_a_wrong_checksum_names_both_and_leaves_nothing(tmp_path, chunked):
    wrong = hashlib.md5(b"").hexdigest()
    with serving(CONTENT) as server:
        server.chunked = chunked
        with pytest.raises(DownloadError, match=f"got {server.url}: md5={MD5} of 300,000 .*md5={wrong}"):
            get(server, tmp_path, md5=wrong)
    assert left(tmp_path) == []


def test_a_corrupted_file_is_not_taken_and_the_mirror_is_asked(tmp_path):
    with serving(CONTENT, plan=[("corrupt", None)]) as bad, serving(CONTENT) as good:
        path = download(Source("a.bin", (bad.url, good.url), MD5), tmp_path, **QUICK)
    assert path.read_bytes() == CONTENT
    assert (len(bad.seen), len(good.seen)) == (1, 1)


@pytest.mark.parametrize("status", [403, 404, 410])
def test_what_a_server_does_not_have_is_asked_for_once_and_then_elsewhere(tmp_path, status):
    with serving(CONTENT, plan=[status] * 9) as bad, serving(CONTENT) as good:
        path = download(Source("a.bin", (bad.url, good.url), MD5), tmp_path, **QUICK)
    assert path.read_bytes() == CONTENT
    assert len(bad.seen) == 1


def test_a_mirror_goes_on_with_what_the_first_server_gave(tmp_path):
    with serving(CONTENT, plan=[("cut", 100_000)] + [500] * 9) as bad, serving(CONTENT, tag='"2"') as good:
        path = download(Source("a.bin", (bad.url, good.url), MD5), tmp_path, attempts=2, **QUICK)
    assert path.read_bytes() == CONTENT
    assert ranges(good) == ["bytes=100000-"]
    assert "If-Range" not in good.seen[0][1]


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_server_with_too_much_to_do_is_asked_again(tmp_path, status):
    with serving(CONTENT, plan=[status] * 3) as server:
        assert get(server, tmp_path).read_bytes() == CONTENT


def test_all_servers_and_what_they_did_are_named(tmp_path):
    with serving(CONTENT, plan=[404]) as first, serving(CONTENT, plan=[503] * 9) as second:
        source = Source("a.bin", (first.url, second.url, "http://127.0.0.1:9/a.bin"), MD5)
        with pytest.raises(
            DownloadError, match=r"404.*; .*503.*2 times; .*refused.*2 times. Try again later"
        ):
            download(source, tmp_path, attempts=2, **QUICK)
    assert left(tmp_path) == []


def test_an_encoding_that_was_not_asked_for_is_refused(tmp_path):
    with serving(CONTENT, encoding="br") as server, pytest.raises(DownloadError, match="encoding 'br'"):
        get(server, tmp_path)
    assert server.seen[0][1]["Accept-Encoding"] == "identity"


def test_a_size_that_is_not_told_is_no_obstacle(tmp_path):
    told = []
    with serving(CONTENT, plan=[("cut", 100_000)]) as server:
        server.chunked = True
        path = get(server, tmp_path, progress=lambda *step: told.append(step))
    assert path.read_bytes() == CONTENT
    assert told[0] == (0, None)


def test_a_page_in_place_of_a_file_without_known_checksum_is_refused(tmp_path):
    with serving(b"<html>log in</html>") as server:
        for form in ("zip", "gzip", "hdf5"):
            with pytest.raises(DownloadError, match=f"no whole {form} file"):
                get(server, tmp_path, md5="", form=form)
    assert left(tmp_path) == []


def test_a_damaged_gzip_file_is_told_by_its_own_checksum(tmp_path):
    packed = bytearray(gzip.compress(CONTENT))
    packed[-6] ^= 1
    with serving(bytes(packed)) as server, pytest.raises(DownloadError, match="no whole gzip file"):
        get(server, tmp_path, md5="", form="gzip")


@pytest.mark.parametrize(
    "arguments",
    [
        {"md5": ""}, {"md5": MD5.upper()}, {"md5": MD5[1:]}, {"urls": ()}, {"urls": ("file:///etc/passwd",)},
        {"name": "../a"}, {"name": ""}, {"name": ".hidden"}, {"md5": "", "form": "tar"},
    ],
)  # fmt: skip
def test_a_source_that_cannot_be_checked_is_refused(arguments):
    with pytest.raises(ValueError, match=r"^Source: .*, got "):
        Source(**{"name": "a", "urls": ("http://a/a",), "md5": MD5} | arguments)


def test_a_proxy_of_the_environment_is_asked(tmp_path, monkeypatch):
    with serving(CONTENT) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url.removesuffix("/a.bin"))
        path = download(Source("a.bin", ("http://data.invalid/b/a.bin",), MD5), tmp_path, **QUICK)
        assert path.read_bytes() == CONTENT
        assert proxy.seen[0][0] == "http://data.invalid/b/a.bin"
        monkeypatch.setenv("no_proxy", "data.invalid")
        with pytest.raises(DownloadError, match="no way to it"):
            download(Source("b.bin", ("http://data.invalid/b",), MD5), tmp_path, attempts=1, **QUICK)
    assert len(proxy.seen) == 1


def test_a_full_disk_is_an_error_and_what_has_come_goes_on_later(tmp_path, files_up_to):
    with serving(CONTENT) as server:
        with files_up_to(100_000), pytest.raises(OSError, match="and has room, got File too large") as caught:
            get(server, tmp_path)
        assert "a.bin must be one that may be written" in str(caught.value)
        assert not (tmp_path / "a.bin").exists()
        assert get(server, tmp_path).read_bytes() == CONTENT
    assert ranges(server) == [None, "bytes=100000-"]


def test_a_disk_without_room_is_told_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1000))
    with serving(CONTENT) as server, pytest.raises(OSError, match="has room, got 1,000 bytes that are free"):
        get(server, tmp_path)
    assert left(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with serving(CONTENT) as server:
        for folder in (tmp_path / "file", tmp_path / "file" / "inside"):
            with pytest.raises(OSError, match=r"file.*a\.bin must be one that may be written"):
                get(server, folder)
    assert not server.seen


def test_a_folder_that_may_not_be_written_is_named(tmp_path, monkeypatch):
    def refuse(*arguments, **options):
        raise PermissionError(13, "Permission denied")

    # Not by its mode, for tests may be run by a user whom no mode stops.
    monkeypatch.setattr(os, "open", refuse)
    source = Source("a.bin", ("http://127.0.0.1:9/a.bin",), MD5)
    with pytest.raises(PermissionError, match=r"a\.bin must be one that may be written.*Permission denied"):
        download(source, tmp_path)


def test_two_threads_ask_once(tmp_path):
    with serving(CONTENT, plan=[("stall", 100_000)]) as server:
        threads = [threading.Thread(target=get, args=(server, tmp_path)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert len(server.seen) == 2
    assert left(tmp_path) == ["a.bin"]


OTHER = """
import hashlib, pathlib, sys
from snntrace.datasets.download import download
from snntrace.datasets.download_source import Source
path = download(Source("a.bin", (sys.argv[1],), sys.argv[2]), sys.argv[3], timeout=0.4, wait=0.01)
print(hashlib.md5(path.read_bytes()).hexdigest())
"""


@pytest.mark.slow
def test_two_processes_ask_once(tmp_path):
    with serving(CONTENT, plan=[("stall", 100_000)]) as server:
        command = [sys.executable, "-c", OTHER, server.url, MD5, str(tmp_path)]
        others = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
        assert [other.communicate(timeout=120)[0].strip() for other in others] == [MD5, MD5]
    assert len(server.seen) == 2
