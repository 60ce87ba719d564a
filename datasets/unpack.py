"""Decompress a file once, and keep the result."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import lzma
import os
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from snntrace.datasets.files.events import DataFileError
from snntrace.datasets.files.limits import LIMITS, Limits

WHO = "unpack"
GZIP_MAGIC = b"\x1f\x8b"
ZIP_MAGIC = b"PK\x03\x04"
BLOCK = 1 << 20
DAMAGE = (
    EOFError, OSError, ValueError, OverflowError, RuntimeError, struct.error, zlib.error, lzma.LZMAError,
    zipfile.BadZipFile, tarfile.TarError,
)  # fmt: skip
"""What the libraries raise on damaged archives."""
AGAIN = "Download it again, from its official page."


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
    except DAMAGE:
        return True


@contextlib.contextmanager
def whole(path: Path) -> Iterator[None]:
    """Take whatever a library stumbles over as damage of the archive that it reads.

    Parameters
    ----------
    path : Path
        The archive.

    Yields
    ------
    None
        Once.

    Raises
    ------
    DataFileError
        If reading fails.
    """
    try:
        yield
    except DataFileError:
        raise
    except DAMAGE as error:
        raise DataFileError(f"{WHO}: an archive must be whole, got {path} ({error}). {AGAIN}") from error


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
    with whole(path), gzip.open(path, "rb") as source:
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
    target = folder / f"{name}-{hashlib.sha256(os.fsencode(key)).hexdigest()[:16]}.h5"
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
    digest = hashlib.md5(usedforsecurity=False)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, created = tempfile.mkstemp(prefix=target.stem + "-", suffix=".part", dir=target.parent)
        temporary = Path(created)
        with os.fdopen(handle, "wb") as output:
            for block in gunzip(path, limits) if is_gzip(path) else unzip_one(path, limits):
                output.write(block)
                digest.update(block)
            output.flush()
            os.fsync(output.fileno())
        if md5 and digest.hexdigest() != md5:
            refuse(path, f"the content must have md5={md5}", f"md5={digest.hexdigest()}")
        temporary.replace(target)
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
    with whole(path), zipfile.ZipFile(path) as archive:
        found = [info for info in archive.infolist() if info.filename.endswith((".h5", ".hdf5"))]
        if len(found) != 1:
            refuse(path, "a zip file must hold one .h5 file", f"{len(found)}")
        most = limits.most(path.stat().st_size)
        if found[0].flag_bits & 1 or found[0].file_size > most:
            refuse(path, f"{found[0].filename} must be open and have at most {most:,} bytes", "another")
        with archive.open(found[0]) as source:
            while block := source.read(BLOCK):
                yield block


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
