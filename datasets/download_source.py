"""A file on the net: where it is, and how to tell that it is the right one."""

from __future__ import annotations

import hashlib
import os
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path

import h5py

from snntrace.datasets.unpack import gunzip


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
    >>> from snntrace.datasets.download_source import Source
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
        if not path.is_file():
            return "no file"
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
            # It is locked for this process, which the library would take for another one's doing.
            with h5py.File(path, "r", locking=False):
                return ""
        except Exception as error:
            # Whatever a reader of a damaged file stumbles over.
            return f"no whole {self.form} file ({error})"
