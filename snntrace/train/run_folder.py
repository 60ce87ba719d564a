"""The folder of a run: where it is, and files that are either whole or absent."""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FILES = (
    "config.json", "metrics.csv", "learning_curve.png", "spike_raster.png", "weights.npz", "report.txt",
)  # fmt: skip
COLUMNS = ("epoch", "train_loss", "train_acc", "val_loss", "val_acc", "hidden_rate", "seconds")


class RunFolder:
    """A folder for one run.

    Parameters
    ----------
    path : Path
        The folder. It is made at once.
    overwrite : bool
        Whether an earlier run's files may be there. They are removed when this run writes its first file, and
        not before; other files stay.

    Raises
    ------
    FileExistsError
        If there are files of a run, and `overwrite` is False, or if the path is no folder.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from snntrace.train import RunFolder
    >>> folder = RunFolder(Path(tempfile.mkdtemp()) / "first")
    >>> folder.write_text("report.txt", "all well").name
    'report.txt'
    """

    def __init__(self, path: Path, overwrite: bool = False) -> None:
        self.check(path, overwrite)
        self.path = path
        self._old = [path / name for name in FILES if (path / name).exists()]
        path.mkdir(parents=True, exist_ok=True)

    @staticmethod
    def check(path: Path, overwrite: bool = False) -> None:
        """Refuse a folder that cannot be used, without making it.

        Parameters
        ----------
        path : Path
            The folder.
        overwrite : bool
            Whether an earlier run's files may be there.

        Raises
        ------
        FileExistsError
            If it holds files of a run and `overwrite` is False, or if it is no folder.
        """
        if path.exists() and not path.is_dir():
            raise FileExistsError(
                f"RunFolder: the run's folder must not be a file, got out={str(path)!r}. Choose another name."
            )
        if not overwrite and any((path / name).exists() for name in FILES):
            raise FileExistsError(
                f"RunFolder: the run's folder must not hold another run, got out={str(path)!r}. "
                "Choose another name with --out, or add --overwrite."
            )

    @classmethod
    def numbered(cls, parent: Path, stem: str) -> RunFolder:
        """Make a folder with the first free number.

        Parameters
        ----------
        parent : Path
            Where runs are.
        stem : str
            What the name begins with.

        Returns
        -------
        RunFolder
            ``parent/stem-001``, or a higher number.
        """
        parent.mkdir(parents=True, exist_ok=True)
        numbers = itertools.count(1)
        while True:
            path = parent / f"{stem}-{next(numbers):03d}"
            try:
                path.mkdir()
            except FileExistsError:
                continue
            return cls(path)

    def write_bytes(self, name: str, content: bytes) -> Path:
        """Write a file under a temporary name, then give it its own.

        Parameters
        ----------
        name : str
            Name of the file.
        content : bytes
            All of it.

        Returns
        -------
        Path
            The file.
        """
        while self._old:
            self._old.pop().unlink(missing_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{name}.", dir=self.path)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            # mkstemp makes files that only their owner can read.
            os.chmod(temporary, 0o644)
            os.replace(temporary, self.path / name)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        return self.path / name

    def write_text(self, name: str, content: str) -> Path:
        """Write a text file.

        Parameters
        ----------
        name : str
            Name of the file.
        content : str
            All of it.

        Returns
        -------
        Path
            The file.
        """
        return self.write_bytes(name, content.encode())

    def write_config(self, values: Mapping[str, Any]) -> Path:
        """Write ``config.json``.

        Parameters
        ----------
        values : mapping
            What JSON can hold.

        Returns
        -------
        Path
            The file.
        """
        return self.write_text("config.json", json.dumps(values, indent=2) + "\n")

    def write_metrics(self, rows: Sequence[Mapping[str, float]]) -> Path:
        """Write ``metrics.csv``.

        Parameters
        ----------
        rows : sequence of mapping
            One row for each epoch, with the keys `COLUMNS`.

        Returns
        -------
        Path
            The file.
        """
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        for row in rows:
            values = [row["epoch"], *(f"{row[k]:.6f}" for k in COLUMNS[1:-1]), f"{row['seconds']:.2f}"]
            writer.writerow(values)
        return self.write_text("metrics.csv", text.getvalue())

    def write_weights(self, weights: Mapping[str, NDArray[Any]]) -> Path:
        """Write ``weights.npz``.

        Parameters
        ----------
        weights : mapping of str to array
            The weights by name.

        Returns
        -------
        Path
            The file.
        """
        content = io.BytesIO()
        arrays: Any = dict(weights)
        np.savez(content, **arrays)
        return self.write_bytes("weights.npz", content.getvalue())
