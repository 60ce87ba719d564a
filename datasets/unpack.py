"""Decompress a file once and keep the result, or unpack an archive that nobody has to trust."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import os
import secrets
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, NoReturn

from snntrace.datasets.files.events import DataFileError

WHO = "unpack"
GZIP_MAGIC = b"\x1f\x8b"
ZIP_MAGIC = b"PK\x03\x04"
BLOCK = 1 << 20
DAMAGE = (EOFError, zlib.error, gzip.BadGzipFile, zipfile.BadZipFile, tarfile.TarError, NotImplementedError)
AGAIN = "Download it again, from its official page."


@dataclass(frozen=True)
class Limits:
    """How much an archive may hold, so that a small one cannot fill a disk.

    Attributes
    ----------
    ratio : float
        Largest size of the content, as a multiple of the archive's.
    spared : int, in bytes
        Content up to this is taken whatever its ratio.
    size : int, in bytes
        Largest size of the content.
    members : int
        Most files and folders.
    header : int, in bytes
        Most that the description of one file may take.
    """

    ratio: float = 100.0
    spared: int = 1 << 26
    size: int = 1 << 39
    members: int = 1 << 20
    header: int = 1 << 22

    def most(self, packed: int) -> int:
        """Return the largest content of an archive of a size."""
        return int(min(self.size, max(self.spared, self.ratio * packed)))


LIMITS = Limits()


def cache_folder() -> Path:
    """Return the folder that decompressed files are kept in.

    The first of ``$SNNTRACE_CACHE``, ``$XDG_CACHE_HOME/snntrace`` and ``~/.cache/snntrace`` that is set.

    Returns
    -------
    Path
        The folder; it need not exist.
    """
    if chosen := os.environ.get("SNNTRACE_CACHE"):
        return Path(chosen).expanduser()
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base).expanduser() / "snntrace"
    return Path.home() / ".cache" / "snntrace"


def starts_with(path: Path, magic: bytes) -> bool:
    """Tell whether a file starts with some bytes."""
    with path.open("rb") as file:
        return file.read(len(magic)) == magic


def is_gzip(path: Path) -> bool:
    """Tell whether a file starts as gzip files do, whatever its name is.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    bool
        True for a gzip file.
    """
    return starts_with(path, GZIP_MAGIC)


def is_packed(path: Path) -> bool:
    """Tell whether a file starts as gzip and zip files do, whatever its name is.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    bool
        True for such a file.
    """
    return is_gzip(path) or starts_with(path, ZIP_MAGIC)


def packs(path: Path, magic: bytes) -> bool:
    """Tell whether what a gzip file, or a zip file's only .h5 file, holds starts with some bytes.

    Parameters
    ----------
    path : Path
        The gzip or zip file.
    magic : bytes
        The bytes.

    Returns
    -------
    bool
        True if it does, or is so damaged that it cannot be told.
    """
    try:
        if is_gzip(path):
            with gzip.open(path, "rb") as content:
                return content.read(len(magic)) == magic
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.endswith((".h5", ".hdf5"))]
            return len(names) == 1
    except (*DAMAGE, RuntimeError):
        return True


def gunzip(path: Path, limits: Limits = LIMITS) -> Iterator[bytes]:
    """Decompress a gzip file.

    Parameters
    ----------
    path : Path
        The file.
    limits : Limits, optional
        How much it may hold.

    Yields
    ------
    bytes
        The next of its content; the checksum is compared at the end.
    """
    done, most = 0, limits.most(path.stat().st_size)
    with gzip.open(path, "rb") as source:
        while block := source.read(BLOCK):
            done += len(block)
            if done > most:
                refuse(path, f"the content must be at most {most:,} bytes", "more")
            yield block


def unpacked(path: Path, folder: Path | None = None) -> Path:
    """Return the path of the decompressed content of a gzip file, or of a zip file of one HDF5 file.

    The content is written once, to a temporary name that is renamed when it is complete, and found again by
    the file's absolute path, size and time of change. A file that changes is therefore decompressed anew.

    Parameters
    ----------
    path : Path
        The gzip or zip file.
    folder : Path, optional
        Where to keep the result. Default: `cache_folder`.

    Returns
    -------
    Path
        The decompressed file.

    Raises
    ------
    ValueError
        If the file is not complete.
    OSError
        If the result cannot be written.
    """  # noqa: DOC502
    folder = cache_folder() if folder is None else folder
    status = path.stat()
    key = f"{path.resolve()}|{status.st_size}|{status.st_mtime_ns}"
    name = path.name.removesuffix(".gz").removesuffix(".zip").removesuffix(".h5")
    target = folder / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.h5"
    if not target.exists():
        decompress(path, target)
    return target


def decompress(path: Path, target: Path, limits: Limits = LIMITS, md5: str = "") -> None:
    """Write the content of a gzip file, or of a zip file of one HDF5 file, to a file.

    Parameters
    ----------
    path : Path
        The gzip or zip file.
    target : Path
        The file to write; it gets its name when it is complete.
    limits : Limits, optional
        How much it may hold.
    md5 : str, optional
        Checksum of the content.

    Raises
    ------
    ValueError
        If the file is not complete, or its content is another one.
    OSError
        If the result cannot be written.
    """
    temporary: Path | None = None
    kind = "gz" if is_gzip(path) else "zip"
    digest = hashlib.md5(usedforsecurity=False)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, created = tempfile.mkstemp(prefix=target.stem + "-", suffix=".part", dir=target.parent)
        temporary = Path(created)
        with os.fdopen(handle, "wb") as output:
            for block in gunzip(path, limits) if kind == "gz" else unzip_one(path, limits):
                output.write(block)
                digest.update(block)
            output.flush()
            os.fsync(output.fileno())
        if md5 and digest.hexdigest() != md5:
            refuse(path, f"the content must have md5={md5}", f"md5={digest.hexdigest()}")
        temporary.replace(target)
    except DAMAGE as error:
        raise ValueError(
            f"SpikeFile: a .{kind} file must be complete, got {path} of {path.stat().st_size} bytes "
            f"({error}). Download or copy it again."
        ) from error
    except OSError as error:
        raise OSError(
            f"SpikeFile: the decompressed content of {path} must fit into a writable folder, got "
            f"{target.parent} ({error}). Set SNNTRACE_CACHE to another folder, or decompress the file "
            f"yourself."
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def unzip_one(path: Path, limits: Limits) -> Iterator[bytes]:
    """Decompress the one HDF5 file in a zip file.

    Parameters
    ----------
    path : Path
        The zip file.
    limits : Limits
        How much it may hold.

    Yields
    ------
    bytes
        The next of its content; the checksum is compared at the end.
    """
    with zipfile.ZipFile(path) as archive:
        found = [info for info in archive.infolist() if info.filename.endswith((".h5", ".hdf5"))]
        if len(found) != 1:
            refuse(path, "a zip file must hold one .h5 file", f"{len(found)}")
        most = limits.most(path.stat().st_size)
        if found[0].flag_bits & 1 or found[0].file_size > most:
            refuse(path, f"{found[0].filename} must be open and have at most {most:,} bytes", "another")
        with archive.open(found[0]) as source:
            while block := source.read(BLOCK):
                yield block


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
    >>> from snntrace.datasets.unpack import extract
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> with zipfile.ZipFile(folder / "a.zip", "w") as file:
    ...     file.writestr("Test/7/00001.bin", bytes(5))
    >>> extract(folder / "a.zip", folder / "test", inside="Test").joinpath("7", "00001.bin").stat().st_size
    5
    """  # noqa: DOC502
    path, target = Path(archive).expanduser(), Path(folder).expanduser()
    if target.exists():
        raise FileExistsError(
            f"{WHO}: the folder must not exist yet, got folder={target}. Choose another, or remove it."
        )
    temporary = target.with_name(f".{target.name}-{secrets.token_hex(4)}.part")
    try:
        temporary.mkdir(parents=True)
        left = limits.most(path.stat().st_size) - unpack_into(path, temporary, limits)
        for inner in sorted(temporary.rglob("*.zip")) if nested else ():
            place = inner.with_suffix("")
            place.mkdir(exist_ok=True)
            # All of them share what the outer one may hold.
            left -= unpack_into(inner, place, replace(limits, size=max(left, 0)))
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
        if isinstance(error, FileNotFoundError) and not path.exists():
            raise FileNotFoundError(
                f"{WHO}: the archive must exist, got archive={path}. Check the spelling."
            ) from error
        raise type(error)(
            f"{WHO}: the content of {path} must fit into a folder that may be written, got {target.parent} "
            f"({error.strerror or error}). Choose another folder, or make room."
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


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
    try:
        if starts_with(path, ZIP_MAGIC):
            unpack_zip(path, shelf)
        else:
            with bounded_stream(path, shelf) as stream:
                unpack_tar(path, stream, shelf)
    except (*DAMAGE, RuntimeError, UnicodeError) as error:
        raise DataFileError(f"{WHO}: an archive must be whole, got {path} ({error}). {AGAIN}") from error
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
    with zipfile.ZipFile(path) as archive:
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
            with archive.open(member) as content:
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
    with tarfile.open(fileobj=stream, mode="r|") as archive:
        while True:
            stream.allow(shelf.limits.header)
            member = archive.next()
            if member is None:
                return
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


class Shelf:
    """The folder that members of one archive are put into, with the count of what it holds.

    Parameters
    ----------
    path : Path
        The archive, for messages.
    place : Path
        The folder.
    limits : Limits
        How much it may hold.
    """

    def __init__(self, path: Path, place: Path, limits: Limits) -> None:
        self.path, self.place, self.limits = path, place, limits
        self.most = limits.most(path.stat().st_size)
        self.members = self.size = 0

    def expect(self, members: int, size: int) -> None:
        """Refuse what would be too much.

        Parameters
        ----------
        members : int
            Files and folders.
        size : int, in bytes
            Their content.

        Raises
        ------
        OSError
            If the disk has no room.
        """
        if members > self.limits.members:
            refuse(self.path, f"there must be at most {self.limits.members:,} members", f"{members:,}")
        if size > self.most:
            refuse(self.path, f"the content must be at most {self.most:,} bytes", f"{size:,}")
        free = shutil.disk_usage(self.place).free
        if size - self.size > free:
            raise OSError(f"{free:,} bytes that are free where {size - self.size:,} are needed")

    def where(self, name: str) -> Path:
        """Return the place of a member, which is inside of the folder.

        Parameters
        ----------
        name : str
            Its name in the archive.

        Returns
        -------
        Path
            The place.
        """
        parts = [part for part in name.split("/") if part not in {"", "."}]
        odd = any(part == ".." or not part.isprintable() or len(os.fsencode(part)) > 255 for part in parts)
        if odd or name.startswith("/") or "\\" in name or (parts and parts[0][1:2] == ":"):
            refuse(self.path, "members must lie inside of the archive", f"the name {name!r}")
        return self.place.joinpath(*parts)

    def folder(self, name: str) -> None:
        """Make a folder.

        Parameters
        ----------
        name : str
            Its name in the archive.
        """
        self.members += 1
        place = self.where(name)
        try:
            place.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            refuse(self.path, "members must have different names", f"{name!r} twice")

    def file(self, name: str, content: IO[bytes], size: int) -> None:
        """Write a file.

        Parameters
        ----------
        name : str
            Its name in the archive.
        content : binary file
            What it holds.
        size : int, in bytes
            How much that is, as the archive says.
        """
        self.members += 1
        place = self.where(name)
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            output = place.open("xb")
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            refuse(self.path, "members must have different names", f"{name!r} twice")
        done = 0
        with output:
            while block := content.read(min(BLOCK, size - done + 1)):
                done += len(block)
                if done > size:
                    break
                output.write(block)
        if done != size:
            refuse(self.path, f"{name!r} must hold {size:,} bytes", "more" if done > size else f"{done:,}")
        self.size += size


def refuse(path: Path, must: str, got: str) -> NoReturn:
    """Raise the error for an archive that is not as it must be.

    Parameters
    ----------
    path : Path
        The archive.
    must : str
        What must hold.
    got : str
        What is there.

    Raises
    ------
    DataFileError
        Always.
    """
    raise DataFileError(f"{WHO}: {must}, got {got} in {path}. {AGAIN}")
