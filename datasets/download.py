"""Download a file: resumed where it broke off, checked, and seen under its name only when it is whole."""

from __future__ import annotations

import os
from pathlib import Path

from snntrace.datasets.download_part import held, sync_folder
from snntrace.datasets.download_source import Source
from snntrace.datasets.download_transfer import WHO, Progress, Transfer


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
