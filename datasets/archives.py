"""Unpack an archive that nobody has to trust."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import secrets
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from snntrace.datasets.archive_shelf import Shelf
from snntrace.datasets.files.contents import mapped
from snntrace.datasets.files.events import DataFileError
from snntrace.datasets.files.limits import LIMITS, Limits
from snntrace.datasets.unpack import BLOCK, WHO, ZIP_MAGIC, is_gzip, refuse, starts_with, whole


def extract(
    archive: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    inside: str = "",
    nested: bool = False,
    limits: Limits = LIMITS,
) -> Path:
    """Unpack a .zip, .tar or .tar.gz file into a new folder, which appears when it is complete.

    Refused, before or while it is unpacked: places outside of the folder, absolute ones and those with
    backslashes; links, devices, pipes and sparse files; two members of one name; encrypted members; content
    that is larger than `limits` allow, by what the archive says and by what comes out of it. Owners and modes
    of the archive are not taken over.

    Parameters
    ----------
    archive : str or Path
        The archive; its content decides what it is, not its name.
    folder : str or Path
        The folder to make.
    inside : str, optional
        Name of a folder in the archive, wherever it lies: only this is kept, and becomes `folder`.
    nested : bool, default False
        Unpack .zip files in the archive as well.
    limits : Limits, optional
        How much the archive may hold.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    FileExistsError
        If the folder exists.
    DataFileError
        If the archive is damaged, hostile or of another kind.
    FileNotFoundError
        If there is no such archive.
    OSError
        If the archive cannot be read, or the folder cannot be written or is full.

    Examples
    --------
    >>> import pathlib, tempfile, zipfile
    >>> from snntrace.datasets.archives import extract
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> with zipfile.ZipFile(folder / "a.zip", "w") as file:
    ...     file.writestr("Test/7/00001.bin", bytes(5))
    >>> extract(folder / "a.zip", folder / "test", inside="Test").joinpath("7", "00001.bin").stat().st_size
    5
    """  # noqa: DOC502
    path, target = Path(archive).expanduser(), Path(folder).expanduser()
    # For its errors: an archive that is missing, forbidden, empty or no file.
    mapped(path, WHO)
    if target.exists():
        raise FileExistsError(
            f"{WHO}: the folder must not exist yet, got folder={target}. Choose another, or remove it."
        )
    temporary = target.with_name(f".{target.name}-{secrets.token_hex(4)}.part")
    try:
        temporary.mkdir(parents=True)
        left = limits.most(path.stat().st_size) - unpack_into(path, temporary, limits)
        for inner in sorted(p for p in temporary.rglob("*.zip") if p.is_file()) if nested else ():
            # All of them share what the outer one may hold.
            left -= unpack_inner(path, temporary, inner, replace(limits, size=max(left, 0)))
            inner.unlink()
        kept = temporary
        if inside:
            found = sorted((p for p in temporary.rglob(inside) if p.is_dir()), key=lambda p: len(p.parts))
            if not found:
                refuse(path, f"the archive must hold a folder {inside}", "none")
            kept = found[0]
        # Thousands of files: all of them to the disk at once, before the folder gets its name.
        os.sync()
        kept.rename(target)
    except OSError as error:
        if target.exists():
            raise FileExistsError(
                f"{WHO}: the folder must not appear meanwhile, got folder={target} of another process. It is "
                f"kept; choose another."
            ) from error
        raise type(error)(
            f"{WHO}: the content of {path} must fit into a folder that may be written, got {target.parent} "
            f"({error.strerror or error}). Choose another folder, or make room."
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


def unpack_inner(path: Path, folder: Path, inner: Path, limits: Limits) -> int:
    """Unpack an archive that was in another one beside itself.

    Parameters
    ----------
    path : Path
        The outer archive, for messages.
    folder : Path
        Where it has been unpacked to.
    inner : Path
        The archive in that folder.
    limits : Limits
        How much it may hold.

    Returns
    -------
    int
        Bytes of its content.

    Raises
    ------
    DataFileError
        If it is damaged or hostile.
    """
    place, name = inner.with_suffix(""), inner.relative_to(folder)
    if place == inner or (place.exists() and not place.is_dir()):
        refuse(path, "members must have different names", f"{str(name)!r} and what it is unpacked to")
    place.mkdir(exist_ok=True)
    try:
        return unpack_into(inner, place, limits)
    except DataFileError as error:
        # The folder goes away again, and its name would tell nobody anything.
        raise DataFileError(str(error).replace(str(inner), f"{name} in {path}")) from error


def unpack_into(path: Path, folder: Path, limits: Limits) -> int:
    """Unpack an archive into an existing folder.

    Parameters
    ----------
    path : Path
        The archive.
    folder : Path
        The folder.
    limits : Limits
        How much the archive may hold.

    Returns
    -------
    int
        Bytes of its content.

    Raises
    ------
    DataFileError
        If the archive is damaged, hostile or of another kind.
    """
    shelf = Shelf(path, folder, limits)
    if starts_with(path, ZIP_MAGIC):
        unpack_zip(path, shelf)
    else:
        with bounded_stream(path, shelf) as stream:
            unpack_tar(path, stream, shelf)
    return shelf.size


def unpack_zip(path: Path, shelf: Shelf) -> None:
    """Put the members of a zip file on a shelf.

    Parameters
    ----------
    path : Path
        The file.
    shelf : Shelf
        Where to.
    """
    with contextlib.ExitStack() as stack:
        with whole(path):
            archive = stack.enter_context(zipfile.ZipFile(path))
        members = archive.infolist()
        # Before anything is written: what the list of contents says already may be too much.
        shelf.expect(len(members), sum(member.file_size for member in members))
        for member in members:
            kind = stat.S_IFMT(member.external_attr >> 16)
            if member.flag_bits & 1 or kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
                refuse(path, "members must be plain files and folders", f"{member.filename!r}")
            if member.is_dir():
                shelf.folder(member.filename)
                continue
            with whole(path):
                content = archive.open(member)
            with content:
                shelf.file(member.filename, content, member.file_size)


def unpack_tar(path: Path, stream: Bounded, shelf: Shelf) -> None:
    """Put the members of a tar file on a shelf.

    Parameters
    ----------
    path : Path
        The file, for messages.
    stream : Bounded
        Its content.
    shelf : Shelf
        Where to.
    """
    with whole(path):
        archive = tarfile.open(fileobj=stream, mode="r|")  # noqa: SIM115
    with archive:
        while True:
            stream.allow(shelf.limits.header)
            with whole(path):
                member = archive.next()
            if member is None:
                return
            if member.size < 0:
                refuse(path, f"{member.name!r} must have a size", f"{member.size}")
            if member.issparse() or not (member.isreg() or member.isdir()):
                refuse(path, "members must be plain files and folders", f"{member.name!r}")
            shelf.expect(shelf.members + 1, shelf.size + member.size)
            stream.allow(member.size + 2 * tarfile.RECORDSIZE)
            if member.isdir():
                shelf.folder(member.name)
                continue
            content = archive.extractfile(member)
            if content is None:
                refuse(path, "members must be plain files and folders", f"{member.name!r}")
            shelf.file(member.name, content, member.size)


@contextlib.contextmanager
def bounded_stream(path: Path, shelf: Shelf) -> Iterator[Bounded]:
    """Open the content of a .tar or .tar.gz file.

    Parameters
    ----------
    path : Path
        The file.
    shelf : Shelf
        Its limits.

    Yields
    ------
    Bounded
        The content.

    Raises
    ------
    DataFileError
        If it is of another kind.
    """
    with contextlib.ExitStack() as stack:
        raw: Any = stack.enter_context(path.open("rb"))
        if is_gzip(path):
            raw = stack.enter_context(gzip.GzipFile(fileobj=raw))
        with whole(path):
            head = raw.read(tarfile.BLOCKSIZE)
        try:
            tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            raise DataFileError(
                f"{WHO}: an archive must be a .zip, .tar or .tar.gz file, got {head[:8]!r} at byte 0 of "
                f"{path}. Unpack it yourself."
            ) from error
        raw.seek(0)
        yield Bounded(raw, path, shelf.limits.header)
        # To the end, where the checksum is.
        with whole(path):
            while raw.read(BLOCK):
                if raw.tell() > shelf.most:
                    refuse(path, f"the content must be at most {shelf.most:,} bytes", "more")


class Bounded(io.RawIOBase):
    """A stream of which no more can be read than was allowed.

    Parameters
    ----------
    raw : binary file
        The stream.
    path : Path
        Where it is from, for messages.
    allowed : int
        How many bytes may come until `allow` is called.
    """

    def __init__(self, raw: IO[bytes], path: Path, allowed: int) -> None:
        self.raw, self.path, self.left = raw, path, allowed

    def allow(self, size: int) -> None:
        """Set how many bytes may come from now on."""
        self.left = size

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes."""
        data = self.raw.read(min(size, self.left + 1) if size >= 0 else self.left + 1)
        self.left -= len(data)
        if self.left < 0:
            refuse(self.path, "a member must be as long as it says, and its description short", "more bytes")
        return data
