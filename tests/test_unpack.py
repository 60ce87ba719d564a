import gzip
import io
import os
import stat
import tarfile
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest

from snntrace.datasets.archives import extract
from snntrace.datasets.files.events import DataFileError
from snntrace.datasets.unpack import Limits, decompress, unpacked

MEMBERS = {"Train/3/00001.bin": b"abcde", "Train/4/00002.bin": bytes(100_000), "Read me.txt": b"hello"}


def zipped(path, members=MEMBERS, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


def tarred(path, members=MEMBERS, mode="w:gz"):
    with tarfile.open(path, mode) as file:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            file.addfile(entry, io.BytesIO(content))
    return path


def with_member(path, **attributes):
    """Write a .tar.gz file with one member of any kind after a good one."""
    with tarfile.open(path, "w:gz") as file:
        good = tarfile.TarInfo("good")
        file.addfile(good, io.BytesIO())
        entry = tarfile.TarInfo("bad")
        for name, value in attributes.items():
            setattr(entry, name, value)
        file.addfile(entry, io.BytesIO(bytes(entry.size)))
    return path


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def refused(tmp_path, archive, match, error=DataFileError, **options):
    """Check that an archive is refused, and that nothing of it is left anywhere."""
    inside = tmp_path / "place"
    inside.mkdir()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(error, match=match):
        extract(archive, inside / "made", **options)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("pack", [zipped, tarred, lambda path: tarred(path, mode="w")])
def test_an_archive_becomes_a_folder(tmp_path, pack):
    archive = pack(tmp_path / "no_suffix")
    assert contents(extract(archive, tmp_path / "made")) == MEMBERS
    assert sorted(p.name for p in tmp_path.iterdir()) == ["made", "no_suffix"]


def test_one_folder_of_an_archive_is_kept_wherever_it_lies(tmp_path):
    archive = zipped(tmp_path / "a.zip", {"deep/Train/1/a.bin": b"1", "Train.txt": b"2", "b/Train/c": b"3"})
    made = extract(archive, tmp_path / "made", inside="Train")
    assert contents(made) in ({"1/a.bin": b"1"}, {"c": b"3"})
    refused(tmp_path, archive, "must hold a folder Test, got none", inside="Test")


def test_an_archive_in_an_archive_is_unpacked_on_request(tmp_path):
    inner = zipped(tmp_path / "inner.zip").read_bytes()
    archive = zipped(tmp_path / "a.zip", {"x/Data.zip": inner})
    assert contents(extract(archive, tmp_path / "as it is")) == {"x/Data.zip": inner}
    assert contents(extract(archive, tmp_path / "made", inside="Train", nested=True)) == {
        "3/00001.bin": b"abcde", "4/00002.bin": bytes(100_000),
    }  # fmt: skip


def test_a_folder_that_exists_is_kept(tmp_path):
    (tmp_path / "made").mkdir()
    with pytest.raises(FileExistsError, match="must not exist yet"):
        extract(zipped(tmp_path / "a.zip"), tmp_path / "made")


def test_an_archive_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"path must be an existing file, got path=.*a\.zip"):
        extract(tmp_path / "a.zip", tmp_path / "made")


OUTSIDE = [
    "../evil", "a/../../evil", "/evil", "\\evil", "..\\evil", "a\\b", "C:/evil", "c:evil", "a\nb", "x" * 300,
]  # fmt: skip


@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize("pack", [zipped, tarred])
def test_a_member_outside_of_the_folder_is_refused(tmp_path, pack, name):
    archive = pack(tmp_path / "a", {"good": b"1", name: b"2"})
    refused(tmp_path, archive, "members must lie inside of the archive, got the name")


KINDS = {
    "symbolic link": {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"},
    "hard link": {"type": tarfile.LNKTYPE, "linkname": "good"},
    "device": {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 3},
    "block device": {"type": tarfile.BLKTYPE},
    "pipe": {"type": tarfile.FIFOTYPE},
    "sparse": {"type": tarfile.GNUTYPE_SPARSE},
}


@pytest.mark.parametrize("kind", KINDS)
def test_links_devices_and_pipes_of_a_tar_file_are_refused(tmp_path, kind):
    archive = with_member(tmp_path / "a.tar.gz", **KINDS[kind])
    refused(tmp_path, archive, "members must be plain files and folders, got 'bad'|must be whole")


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO, stat.S_IFSOCK])
def test_links_devices_and_pipes_of_a_zip_file_are_refused(tmp_path, kind):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        entry = zipfile.ZipInfo("link")
        entry.external_attr = (kind | 0o777) << 16
        file.writestr(entry, "/etc/passwd")
    refused(tmp_path, tmp_path / "a.zip", "members must be plain files and folders, got 'link'")


@pytest.mark.parametrize(
    "names", [["a/b", "a/b"], ["a/b", "a//b"], ["a/b", "./a/b"], ["a", "a/b"], ["a/b", "a"], ["a", "a/"]]
)
@pytest.mark.parametrize("pack", ["zip", "tar"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_name_are_refused(tmp_path, names, pack):
    archive = tmp_path / "a"
    if pack == "zip":
        with zipfile.ZipFile(archive, "w") as file:
            for name in names:
                file.writestr(name, b"")
    else:
        with tarfile.open(archive, "w") as file:
            for name in names:
                entry = tarfile.TarInfo(name.rstrip("/"))
                entry.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
                file.addfile(entry, io.BytesIO())
    refused(tmp_path, archive, r"members must have different names, got '.*' twice")


def test_an_encrypted_member_is_refused(tmp_path):
    archive = zipped(tmp_path / "a.zip", {"a": b"secret"})
    raw = bytearray(archive.read_bytes())
    raw[raw.index(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(raw)
    refused(tmp_path, archive, "must be plain files")


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_a_bomb_is_refused_by_its_ratio(tmp_path, pack):
    archive = pack(tmp_path / "bomb", {"a": bytes(70_000_000)})
    assert archive.stat().st_size < 200_000
    refused(tmp_path, archive, "the content must be at most 67,108,864 bytes, got 70,000,000")


def test_archives_in_an_archive_share_its_limit(tmp_path):
    inner = zipped(tmp_path / "inner", {"zeros": bytes(40_000_000)}).read_bytes()
    archive = zipped(tmp_path / "a.zip", {"1.zip": inner, "2.zip": inner})
    refused(tmp_path, archive, "the content must be at most 27,0.* bytes, got 40,000,000", nested=True)


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_total_size_and_number_of_members_are_limited(tmp_path, pack):
    archive = pack(tmp_path / "a")
    refused(tmp_path, archive, "at most 100,004 bytes", limits=Limits(size=100_004))
    (tmp_path / "place").rmdir()
    refused(tmp_path, archive, "at most 2 members", limits=Limits(members=2))


def test_a_zip_file_that_holds_more_than_it_says_is_refused(tmp_path):
    archive = zipped(tmp_path / "a.zip", {"a": bytes(100_000)})
    raw = bytearray(archive.read_bytes())
    for place, offset in ((raw.index(b"PK\x01\x02"), 24), (raw.index(b"PK\x03\x04"), 22)):
        raw[place + offset : place + offset + 4] = (10).to_bytes(4, "little")
    archive.write_bytes(raw)
    refused(tmp_path, archive, "an archive must be whole")


@pytest.mark.parametrize("before", [0, 1])
def test_a_tar_file_with_an_endless_description_is_refused(tmp_path, before):
    with tarfile.open(tmp_path / "a", "w:gz", format=tarfile.PAX_FORMAT) as file:
        for k in range(before):
            file.addfile(tarfile.TarInfo(f"good {k}"))
        entry = tarfile.TarInfo("a")
        entry.pax_headers = {"comment": "x" * 8_000_000}
        file.addfile(entry)
    refused(tmp_path, tmp_path / "a", "its description short, got more bytes")


def test_a_gzip_bomb_behind_a_tar_file_is_refused(tmp_path):
    raw = gzip.decompress(tarred(tmp_path / "a").read_bytes())
    (tmp_path / "a").write_bytes(gzip.compress(raw + bytes(80_000_000)))
    refused(tmp_path, tmp_path / "a", "the content must be at most 67,108,864 bytes, got more")


@pytest.mark.parametrize("pack", [zipped, tarred, lambda path: tarred(path, mode="w")])
def test_a_cut_or_changed_archive_is_refused(tmp_path, pack):
    archive = pack(tmp_path / "a")
    whole = archive.read_bytes()
    archive.write_bytes(whole[: len(whole) // 2])
    refused(tmp_path, archive, r"an archive must be whole|must be a \.zip")


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_a_flipped_bit_is_told_by_the_checksum(tmp_path, pack):
    archive = pack(tmp_path / "a", {"a": os.urandom(5000)})
    raw = bytearray(archive.read_bytes())
    raw[3000] ^= 4
    archive.write_bytes(raw)
    refused(tmp_path, archive, "an archive must be whole")


@pytest.mark.parametrize("kind", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA, zipfile.ZIP_DEFLATED])
def test_damage_in_any_compression_is_not_taken_for_a_full_disk(tmp_path, kind):
    archive = zipped(tmp_path / "a.zip", {"a.h5": np.random.default_rng(0).bytes(3000)}, kind)
    content = bytearray(archive.read_bytes())
    content[60:90] = bytes(30)
    archive.write_bytes(content)
    refused(tmp_path, archive, r"an archive must be whole, got .*a\.zip")
    with pytest.raises(DataFileError, match=r"an archive must be whole, got .*a\.zip"):
        unpacked(archive, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def with_size(path, field):
    """Write a tar file whose only member has a size that is written as `field`."""
    header = bytearray(tarfile.TarInfo("a").tobuf(tarfile.GNU_FORMAT))
    header[124:136], header[148:156] = field, b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    path.write_bytes(header + bytes(1 << 12))
    return path


def with_notes(path, **notes):
    """Write a tar file with notes on its only member, which replace what its header says."""
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        member = tarfile.TarInfo("a")
        member.pax_headers = {name.replace("_", "."): value for name, value in notes.items()}
        archive.addfile(member)
    return path


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: with_size(path, b"\xff" * 10 + b"\x00\x00"), "'a' must have a size, got -65536"),
        (lambda path: with_size(path, b"\xff" + bytes(11)), "'a' must have a size, got -"),
        (lambda path: with_notes(path, size="-5"), "'a' must have a size, got -5"),
        (lambda path: with_notes(path, GNU_sparse_size="x"), "an archive must be whole"),
    ],
)
def test_sizes_that_cannot_be_are_refused(tmp_path, make, message):
    refused(tmp_path, make(tmp_path / "a.tar"), message)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({".zip": b""}, r"members must have different names, got '\.zip' and what it is unpacked to"),
        ({"a.zip": b"", "a": b""}, r"members must have different names, got 'a\.zip'"),
        ({"b/a.zip": b"no"}, r"must be a \.zip, .* at byte 0 of b/a\.zip in .*outer\.zip"),
        ({"a/" * 40 + "b": b""}, "members must lie inside of the archive"),
    ],
)
def test_an_odd_archive_in_an_archive_is_named(tmp_path, members, message):
    inner = zipped(tmp_path / "inner.zip").read_bytes()
    members = {name: content or inner for name, content in members.items()}
    refused(tmp_path, zipped(tmp_path / "outer.zip", members), message, nested=True)


def test_a_folder_that_is_named_as_an_archive_is_kept(tmp_path):
    archive = zipped(tmp_path / "a.zip", {"b.zip/c": b"content"})
    assert contents(extract(archive, tmp_path / "made", nested=True)) == {"b.zip/c": b"content"}


def test_a_folder_that_another_process_makes_meanwhile_is_kept(tmp_path, monkeypatch):
    archive, target = zipped(tmp_path / "a.zip"), tmp_path / "made"
    monkeypatch.setattr("os.sync", lambda: (target.mkdir(), (target / "other").touch()))
    with pytest.raises(FileExistsError, match=r"must not appear meanwhile, got folder=.*made"):
        extract(archive, target)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip", "made"]
    assert contents(target) == {"other": b""}


def test_what_is_no_file_is_no_archive(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", ""):
        with pytest.raises(DataFileError, match="path must be a file, got the (device|folder)"):
            extract(tmp_path / name, tmp_path / "made")


def test_another_kind_of_file_is_named(tmp_path):
    for content in (b"", b"x", b"<html>" * 200, gzip.compress(b"no tar" * 200)):
        (tmp_path / "a").write_bytes(content)
        with pytest.raises(
            DataFileError, match=r"must be a \.zip, \.tar or \.tar\.gz file, got b|must not be empty"
        ):
            extract(tmp_path / "a", tmp_path / "made")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_full_disk_is_an_error_and_leaves_nothing_behind(tmp_path, files_up_to):
    archive = zipped(tmp_path / "a.zip")
    with files_up_to(50_000), pytest.raises(OSError, match="may be written, got .*File too large"):
        extract(archive, tmp_path / "made")
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


def test_a_disk_without_room_is_told_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1000))
    refused(tmp_path, zipped(tmp_path / "a"), r"1,000 bytes that are free where 100,010 are needed", OSError)


def test_a_zip_file_of_one_hdf5_file_is_decompressed_once(tmp_path):
    archive = zipped(tmp_path / "a.h5.zip", {"x/a.h5": b"content", "note.txt": b""})
    path = unpacked(archive, tmp_path / "cache")
    assert path.read_bytes() == b"content"
    os.utime(path, (0, 0))
    assert unpacked(archive, tmp_path / "cache").stat().st_mtime == 0
    with pytest.raises(DataFileError, match=r"must hold one \.h5 file, got 2"):
        unpacked(zipped(tmp_path / "b.zip", {"a.h5": b"", "b.h5": b""}), tmp_path / "cache")


def test_decompressed_bombs_and_wrong_checksums_leave_nothing(tmp_path):
    (tmp_path / "a.gz").write_bytes(gzip.compress(bytes(70_000_000)))
    with pytest.raises(DataFileError, match="at most 67,108,864 bytes"):
        decompress(tmp_path / "a.gz", tmp_path / "a")
    bomb = zipped(tmp_path / "b.zip", {"b.h5": bytes(70_000_000)})
    with pytest.raises(DataFileError, match="at most 67,108,864 bytes"):
        decompress(bomb, tmp_path / "a")
    with pytest.raises(DataFileError, match="must have md5=0, got md5="):
        decompress(zipped(tmp_path / "c.zip", {"c.h5": b"1"}), tmp_path / "a", md5="0")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.gz", "b.zip", "c.zip"]
