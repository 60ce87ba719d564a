"""Decompress a gzip file once and keep the result."""

import gzip
import hashlib
import os
import shutil
import tempfile
import zlib
from pathlib import Path

GZIP_MAGIC = b"\x1f\x8b"
BLOCK = 1 << 20


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
    with path.open("rb") as file:
        return file.read(len(GZIP_MAGIC)) == GZIP_MAGIC


def unpacked(path: Path, folder: Path | None = None) -> Path:
    """Return the path of the decompressed content of a gzip file.

    The content is written once, to a temporary name that is renamed when it is complete, and found again by
    the file's absolute path, size and time of change. A file that changes is therefore decompressed anew.

    Parameters
    ----------
    path : Path
        The gzip file.
    folder : Path, optional
        Where to keep the result. Default: `cache_folder`.

    Returns
    -------
    Path
        The decompressed file.

    Raises
    ------
    ValueError
        If the file is not a complete gzip file.
    OSError
        If the result cannot be written.
    """
    folder = cache_folder() if folder is None else folder
    status = path.stat()
    key = f"{path.resolve()}|{status.st_size}|{status.st_mtime_ns}"
    name = path.name.removesuffix(".gz").removesuffix(".h5")
    target = folder / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.h5"
    if target.exists():
        return target
    temporary: Path | None = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, created = tempfile.mkstemp(prefix=target.stem + "-", suffix=".part", dir=folder)
        temporary = Path(created)
        with os.fdopen(handle, "wb") as output, gzip.open(path, "rb") as source:
            shutil.copyfileobj(source, output, BLOCK)
        temporary.replace(target)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(
            f"SpikeFile: a .gz file must be complete, got {path} of {status.st_size} bytes ({error}). "
            f"Download or copy it again."
        ) from error
    except OSError as error:
        raise OSError(
            f"SpikeFile: the decompressed content of {path} must fit into a writable folder, got {folder} "
            f"({error}). Set SNNTRACE_CACHE to another folder, or decompress the file yourself."
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
    return target
