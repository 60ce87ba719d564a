"""The transfer of a file's bytes, over all of its servers and as many attempts as it takes."""

from __future__ import annotations

import http.client
import re
import shutil
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

from snntrace.datasets.download_opener import is_unreachable, opener
from snntrace.datasets.download_part import Part
from snntrace.datasets.download_source import Source
from snntrace.datasets.unpack import BLOCK

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
        # Made for each download, for it reads the proxies from the environment now.
        self.opener = opener()
        self.answered = False

    def run(self) -> None:
        """Ask the servers in turn until the part is the right file.

        Raises
        ------
        DownloadError
            If none gives it.
        """
        faults = []
        for url in self.source.urls:
            self.answered = False
            try:
                faults.append(f"{url}: {self._whole(url)}")
            except Refused as error:
                faults.append(f"{url}: {error}")
            if faults[-1] == f"{url}: ":
                return
        raise DownloadError(
            f"{WHO}: {self.source.name} must come whole from one of its servers, got "
            f"{'; '.join(faults)}. Try again later, or download it by hand and give its path; where a proxy "
            f"leads to the net, set https_proxy."
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
            self.answered = True
            self._receive(response, url)

    def _resumable(self, known: dict[str, Any], url: str) -> bool:
        """Whether bytes from before may be joined with new ones: the checksum or the server can tell."""
        return bool(self.source.md5) or (known.get("url") == url and bool(known.get("version")))

    def _opened(self, request: urllib.request.Request) -> Any:
        try:
            return self.opener.open(request, timeout=self.timeout)
        except urllib.error.HTTPError as error:
            error.close()
            self.answered = True
            answer = f"answer {error.code} ({' '.join(str(error.reason).split())})"
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
            if not self.answered and is_unreachable(error.reason):
                # Nothing has come from there yet, and more attempts would take minutes.
                raise Refused(f"no way to it from here ({error.reason})") from error
            raise Broken(f"no connection ({error.reason})") from error
        except (OSError, http.client.HTTPException) as error:
            raise Broken(f"no answer ({error or type(error).__name__})") from error
        except ValueError as error:
            # A redirection to what is no address.
            raise Refused(f"no answer ({error})") from error

    def _receive(self, response: Any, url: str) -> None:
        """Append what a server sends."""
        total = self._begun(response, url)
        missing = (total or 0) - self.part.size
        free = shutil.disk_usage(self.part.path.parent).free
        if missing > free:
            raise OSError(f"{free:,} bytes that are free where {missing:,} are needed")
        self.progress(self.part.size, total)
        while total is None or self.part.size <= total:
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
            match = re.fullmatch(r"bytes (\d{1,19})-\d{1,19}/(\d{1,19})", headers.get("Content-Range", ""))
            if match is None or int(match[1]) != self.part.size:
                self._drop()
                raise Broken(f"another part than was asked for, {headers.get('Content-Range')!r}")
            total, known = int(match[2]), self.part.known()
            if known.get("total") not in {None, total}:
                self._drop()
                raise Broken(f"a file of {total:,} bytes that had {known['total']:,} before")
            if known.get("url") == url and known.get("version") != (version := version_of(headers)) != "":
                self._drop()
                raise Broken(f"a part of another version of the file, {version}")
            return total
        if response.status != http.client.OK:
            raise Refused(f"answer {response.status}")
        length = headers.get("Content-Length", "")
        whole = int(length) if re.fullmatch(r"[0-9]{1,19}", length) else None
        self.part.begin(url=url, version=version_of(headers), total=whole)
        return whole


def version_of(headers: Any) -> str:
    """Return what tells a version of a file from another one; nothing where the server does not say."""
    tag = str(headers.get("ETag", ""))
    # A weak tag may stay as it is while the bytes change.
    version = tag if tag and not tag.startswith("W/") else str(headers.get("Last-Modified", ""))
    return version if version.isprintable() else ""
