"""Download a file: resumed where it broke off, checked, and seen under its name only when it is whole."""

from __future__ import annotations

import fcntl
import hashlib
import http.client
import io
import json
import os
import re
import shutil
import ssl
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py

from snntrace.datasets.unpack import BLOCK, gunzip

WHO = "download"
AGENT = "snntrace (https://pypi.org/project/snntrace)"
PASSING = (408, 425, 429)
"""Answers of 400 to 499 that may be another one later."""
LONGEST_WAIT = 30.0
Progress = Callable[[int, int | None], None]
"""Called with the bytes that are there and all of them, or None where the server does not say."""


class DownloadError(OSError):
    """A file cannot be had from any of its servers; the message says what each of them did."""


class Broken(Exception):
    """A transfer ended early, and the next attempt may go on."""

    def __init__(self, why: str, wait: float = 0.0) -> None:
        super().__init__(why)
        self.wait = wait


class Refused(Exception):
    """A server will not give the file, however often it is asked."""


@dataclass(frozen=True)
class Source:
    """A file on the net: where it is, and how to tell that it is the right one.

    Parameters
    ----------
    name : str
        Name of the file here.
    urls : tuple of str
        Where it is: http or https, the same content everywhere.
    md5 : str, optional
        Checksum of the file, 32 hexadecimal digits.
    form : {'', 'gzip', 'hdf5', 'zip'}, optional
        What the file is, for one without a known checksum: it is then read to its end, and for ``'zip'`` and
        ``'gzip'`` compared with the checksums that it holds itself.

    Raises
    ------
    ValueError
        If there is neither a checksum nor a form, or an address or a name cannot be one.

    Examples
    --------
    >>> from snntrace.datasets.download import Source
    >>> Source("a.zip", ("https://example.org/a.zip",), form="zip").check
    'zip checksums only'
    """

    name: str
    urls: tuple[str, ...]
    md5: str = ""
    form: str = ""

    def __post_init__(self) -> None:
        """Refuse what cannot be checked.

        Raises
        ------
        ValueError
            If there is neither a checksum nor a form, or an address or a name cannot be one.
        """
        if not self.name or self.name != os.path.basename(self.name) or self.name.startswith("."):
            raise ValueError(
                f"Source: name must be that of a file, got name={self.name!r}. Leave out folders."
            )
        if not self.urls or not all(url.startswith(("http://", "https://")) for url in self.urls):
            raise ValueError(
                f"Source: urls must be one or more of http or https, got urls={self.urls}. Give addresses."
            )
        if self.md5 and not re.fullmatch(r"[0-9a-f]{32}", self.md5):
            raise ValueError(
                f"Source: md5 must be 32 lower hexadecimal digits, got md5={self.md5!r}. Copy it again."
            )
        if self.form not in {"", "gzip", "hdf5", "zip"} or not (self.md5 or self.form):
            raise ValueError(
                f"Source: there must be an md5, or a form of 'gzip', 'hdf5' or 'zip', got md5={self.md5!r} "
                f"and form={self.form!r}. A file that nothing checks is not taken."
            )

    @property
    def check(self) -> str:
        """How the file is checked, in words."""
        own = {"gzip": "gzip checksum only", "zip": "zip checksums only", "hdf5": "readable HDF5 only"}
        return "md5" if self.md5 else own[self.form]

    def fault(self, path: Path) -> str:
        """Tell what is wrong with a downloaded file.

        Parameters
        ----------
        path : Path
            The file.

        Returns
        -------
        str
            Nothing if it is the right file.
        """
        if self.md5:
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "md5").hexdigest()
            size = path.stat().st_size
            return "" if found == self.md5 else f"md5={found} of {size:,} bytes in place of md5={self.md5}"
        try:
            if self.form == "zip":
                with zipfile.ZipFile(path) as archive:
                    wrong = archive.testzip()
                return f"a damaged {wrong} in the zip file" if wrong else ""
            if self.form == "gzip":
                for _ in gunzip(path):
                    pass
                return ""
            with h5py.File(path, "r"):
                return ""
        except Exception as error:
            # Whatever a reader of a damaged file stumbles over.
            return f"no whole {self.form} file ({error})"


def download(
    source: Source,
    folder: str | os.PathLike[str],
    *,
    progress: Progress | None = None,
    timeout: float = 30.0,
    attempts: int = 5,
    wait: float = 1.0,
) -> Path:
    """Download a file, or return it if it is there.

    What has come is kept in ``.<name>.part`` and goes on from there, after a broken connection and in a later
    call, where the server can; a file that changed meanwhile on a server starts again. Servers are asked in
    turn. The file gets its name when it is complete, checked and on the disk. While one process downloads it,
    others wait. Proxies are those of the environment (``https_proxy``, ``http_proxy``, ``no_proxy``).

    Parameters
    ----------
    source : Source
        The file.
    folder : str or Path
        Where to; made if it does not exist.
    progress : callable, optional
        Called with the bytes that are there, and with all of them, or None where the server does not say.
    timeout : float, default 30.0, in s
        How long a server may be silent.
    attempts : int, default 5
        How often a server is asked in a row without that any more comes.
    wait : float, default 1.0, in s
        Pause before the second attempt; it doubles each time, up to half a minute.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    DownloadError
        If no server gives the right file.
    FileExistsError
        If there is another file of this name.
    OSError
        If the folder may not be written, or is full.
    """  # noqa: DOC502
    target = Path(folder).expanduser() / source.name
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with held(target.with_name(f".{source.name}.part")) as part:
            if target.exists():
                if fault := source.fault(target):
                    raise FileExistsError(
                        f"{WHO}: the file {target} must be the official one, got {fault}. Move it away, and "
                        f"download again."
                    )
                return target
            Transfer(source, part, progress, timeout, attempts, wait).run()
            part.file.flush()
            os.fsync(part.file.fileno())
            part.path.replace(target)
            part.forget()
            sync_folder(target.parent)
    except OSError as error:
        if str(error).startswith(WHO):
            raise
        raise type(error)(
            f"{WHO}: the folder of {target} must be one that may be written and has room, got "
            f"{error.strerror or error}. Choose another folder, or make room; what has come is kept."
        ) from error
    return target


def sync_folder(folder: Path) -> None:
    """Put the names of a folder's files on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class Part:
    """The bytes that have come so far, and what is known of the file that they are of.

    Parameters
    ----------
    path : Path
        The file.
    file : binary file
        The same, open for this process alone.
    """

    def __init__(self, path: Path, file: io.FileIO) -> None:
        self.path, self.file = path, file
        self._record = path.with_name(path.name + ".json")

    @property
    def size(self) -> int:
        """Number of bytes."""
        return os.fstat(self.file.fileno()).st_size

    def add(self, block: bytes) -> None:
        """Append bytes."""
        self.file.seek(0, os.SEEK_END)
        view = memoryview(block)
        while view:
            view = view[self.file.write(view) :]

    def known(self) -> dict[str, Any]:
        """Return what `begin` was told; nothing if there is none, or it was written in part."""
        try:
            found = json.loads(self._record.read_text())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def begin(self, **record: Any) -> None:
        """Drop all bytes, and note what the next ones are of."""
        self.forget()
        self.file.truncate(0)
        self._record.write_text(json.dumps(record))

    def forget(self) -> None:
        """Forget what the bytes are of."""
        self._record.unlink(missing_ok=True)


@contextmanager
def held(path: Path) -> Iterator[Part]:
    """Open the part of a file for this process alone; wait for another one that has it open.

    Parameters
    ----------
    path : Path
        The part.

    Yields
    ------
    Part
        The open part.
    """
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        # Unbuffered: what has been written is there for the next attempt, whatever ends this one.
        with os.fdopen(handle, "r+b", buffering=0) as file:
            fcntl.flock(handle, fcntl.LOCK_EX)
            if not names(path, handle):
                # Who had it has finished and renamed it meanwhile.
                continue
            part = Part(path, file)
            try:
                yield part
            finally:
                if names(path, handle) and part.size == 0:
                    part.forget()
                    path.unlink(missing_ok=True)
            return


def names(path: Path, handle: int) -> bool:
    """Tell whether a path is that of an open file."""
    try:
        there, mine = path.stat(), os.fstat(handle)
    except FileNotFoundError:
        return False
    return (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino)


class Transfer:
    """One download of a file's bytes into its part, over all servers and attempts.

    Parameters
    ----------
    source : Source
        The file.
    part : Part
        Where the bytes go.
    progress, timeout, attempts, wait
        As of `download`.
    """

    def __init__(
        self,
        source: Source,
        part: Part,
        progress: Progress | None,
        timeout: float,
        attempts: int,
        wait: float,
    ) -> None:
        self.source, self.part = source, part
        self.progress = progress or (lambda done, total: None)
        self.timeout, self.attempts, self.wait = timeout, attempts, wait
        # Built for each download, for it reads the proxies from the environment now.
        self.opener = urllib.request.build_opener()

    def run(self) -> None:
        """Ask the servers in turn until the part is the right file.

        Raises
        ------
        DownloadError
            If none gives it.
        """
        faults = []
        for url in self.source.urls:
            try:
                faults.append(f"{url}: {self._whole(url)}")
            except Refused as error:
                faults.append(f"{url}: {error}")
            if faults[-1] == f"{url}: ":
                return
        raise DownloadError(
            f"{WHO}: {self.source.name} must come whole from one of its servers, got "
            f"{'; '.join(faults)}. Try again later, or download it by hand and give its path."
        )

    def _whole(self, url: str) -> str:
        """Fetch all bytes from one server, and tell what is wrong with them."""
        resumed = self.part.size > 0
        self._persist(url)
        fault = self.source.fault(self.part.path)
        if fault and resumed:
            # The bytes from before may be what is wrong.
            self._drop()
            self._persist(url)
            fault = self.source.fault(self.part.path)
        if fault:
            self._drop()
        return fault

    def _drop(self) -> None:
        self.part.forget()
        self.part.file.truncate(0)

    def _persist(self, url: str) -> None:
        """Ask one server again as long as more comes."""
        failures, most = 0, self.part.size
        while True:
            try:
                self._once(url)
                return
            except Broken as error:
                failures = 1 if self.part.size > most else failures + 1
                most = max(most, self.part.size)
                if failures >= self.attempts:
                    raise Refused(f"{error}, {failures} times") from error
                time.sleep(min(max(self.wait * 2 ** (failures - 1), error.wait), LONGEST_WAIT))

    def _once(self, url: str) -> None:
        """Ask one server once, from where the part ends."""
        known = self.part.known()
        headers = {"User-Agent": AGENT, "Accept-Encoding": "identity"}
        if self.part.size and self._resumable(known, url):
            if self.part.size == known.get("total"):
                return
            headers["Range"] = f"bytes={self.part.size}-"
            if known.get("url") == url and known.get("version"):
                headers["If-Range"] = known["version"]
        with self._opened(urllib.request.Request(url, headers=headers)) as response:
            self._receive(response, url)

    def _resumable(self, known: dict[str, Any], url: str) -> bool:
        """Whether bytes from before may be joined with new ones: the checksum or the server can tell."""
        return bool(self.source.md5) or (known.get("url") == url and bool(known.get("version")))

    def _opened(self, request: urllib.request.Request) -> Any:
        try:
            return self.opener.open(request, timeout=self.timeout)
        except urllib.error.HTTPError as error:
            error.close()
            answer = f"answer {error.code} ({error.reason})"
            if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
                self._drop()
                raise Broken(answer) from error
            if error.code >= 500 or error.code in PASSING:
                pause = error.headers.get("Retry-After", "")
                raise Broken(answer, float(pause) if pause.isascii() and pause.isdigit() else 0.0) from error
            raise Refused(answer) from error
        except urllib.error.URLError as error:
            if isinstance(error.reason, ssl.SSLCertVerificationError):
                raise Refused(f"a certificate that is not valid ({error.reason})") from error
            raise Broken(f"no connection ({error.reason})") from error
        except (OSError, http.client.HTTPException) as error:
            raise Broken(f"no answer ({error or type(error).__name__})") from error

    def _receive(self, response: Any, url: str) -> None:
        """Append what a server sends."""
        total = self._begun(response, url)
        missing = (total or 0) - self.part.size
        free = shutil.disk_usage(self.part.path.parent).free
        if missing > free:
            raise OSError(f"{free:,} bytes that are free where {missing:,} are needed")
        self.progress(self.part.size, total)
        while True:
            try:
                # What one call of the system gives, so that nothing is lost if the next one fails.
                block = response.read1(BLOCK)
            except (OSError, ValueError, http.client.HTTPException) as error:
                # A ValueError where the size of a chunk is no number.
                raise Broken(f"a break after {self.part.size:,} bytes ({error or 'cut off'})") from error
            if not block:
                break
            self.part.add(block)
            self.progress(self.part.size, total)
        if total is not None and self.part.size != total:
            if self.part.size > total:
                self._drop()
            raise Broken(f"an end after {self.part.size:,} of {total:,} bytes")

    def _begun(self, response: Any, url: str) -> int | None:
        """Look at how an answer begins, and return the size of the whole file if it says so."""
        headers = response.headers
        if headers.get("Content-Encoding", "identity") != "identity":
            raise Refused(f"the encoding {headers['Content-Encoding']!r} that was not asked for")
        if response.status == http.client.PARTIAL_CONTENT:
            match = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", headers.get("Content-Range", ""))
            if match is None or int(match[1]) != self.part.size:
                self._drop()
                raise Broken(f"another part than was asked for, {headers.get('Content-Range')!r}")
            total = int(match[2])
            before = self.part.known().get("total")
            if before not in {None, total}:
                self._drop()
                raise Broken(f"a file of {total:,} bytes that had {before:,} before")
            return total
        if response.status != http.client.OK:
            raise Refused(f"answer {response.status}")
        length = headers.get("Content-Length", "")
        whole = int(length) if length.isascii() and length.isdigit() else None
        version = headers.get("ETag", "")
        if not version or version.startswith("W/"):
            # A weak tag may stay as it is while the bytes change.
            version = headers.get("Last-Modified", "")
        self.part.begin(url=url, version=version, total=whole)
        return whole
