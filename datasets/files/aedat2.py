"""AEDAT 2.0, the files of jAER: an address and a time an event."""

from __future__ import annotations

import os

import numpy as np

from snntrace.datasets.files.checks import checked_events
from snntrace.datasets.files.contents import contents, damaged, header, whole_records
from snntrace.datasets.files.events import Events

WHO = "read_aedat2"
MAGIC = "!AER-DAT2"
SIZE = 8
RECORD = np.dtype([("address", ">u4"), ("t", ">u4")])
CHIPS = {"dvs128": (128, 128), "address": (1 << 16, 1)}
SPECIAL = 0x8000


def read_aedat2(path: str | os.PathLike[str], *, chip: str | None = None, ordered: bool = True) -> Events:
    """Read an AEDAT 2.0 recording, as jAER writes them.

    Lines that start with ``#`` are followed by a 32-bit address and a 32-bit time in us for each event, the
    highest byte first. What the bits of an address mean depends on the chip. Of a DVS128, bits 8 to 14 are
    the row, 1 to 7 the column, and bit 0 is set where the light **decreased** (jAER turns it, and so does the
    polarity here: 1 is ON). Events with bit 15 are synchronisation pulses, which are left out.

    Many files do not say which chip they are of, and one is then as good as another: give `chip` for a
    recording that is not of a DVS128, such as one of a cochlea.

    Parameters
    ----------
    path : str or path
        The file.
    chip : {'dvs128', 'address'}, optional
        What the addresses mean. ``'address'``: nothing, the whole address is the column, on a sensor of 65536
        x 1 with polarity 0. Default: what a line ``AEChip`` says, else ``'dvs128'``.
    ordered : bool, default True
        Refuse a file in which time goes backwards, such as one that is longer than the 71 minutes of 32 bits.
        False: keep its events as they are.

    Returns
    -------
    Events
        The events.

    Raises
    ------
    DataFileError
        If the file is of another chip or version, cut off or damaged.
    OSError
        If it cannot be read.
    ValueError
        If there is no such chip.
    """  # noqa: DOC502
    if chip not in {None, *CHIPS}:
        raise ValueError(f"{WHO}: chip must be one of {', '.join(CHIPS)}, got chip={chip!r}. Choose one.")
    raw = contents(path, WHO)
    lines, start = header(raw, b"#")
    if not lines or not lines[0].startswith(MAGIC):
        damaged(WHO, path, 0, f"an AEDAT 2.0 file must start with '#{MAGIC}.0'", f"{bytes(raw[:12])!r}")
    named = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("AEChip:")), None)
    if chip is None and named is not None and named.rsplit(".", 1)[-1].lower() != "dvs128":
        damaged(
            WHO, path, 0, "the chip must be a DVS128", f"AEChip: {named}",
            "Give chip='address' to have the addresses as they are.",
        )  # fmt: skip
    whole_records(WHO, path, raw, start, SIZE)
    records = raw[start:].view(RECORD)
    address, t = records["address"].astype(np.uint32), records["t"].astype(np.int64)
    place = np.arange(len(records))
    if chip == "address":
        beyond = address >> 16 != 0
        fields = (address, np.zeros_like(address), np.zeros_like(address))
    else:
        beyond = address >= 2 * SPECIAL
        pixels = address & SPECIAL == 0
        place, t = place[pixels | beyond], t[pixels | beyond]
        address, beyond = address[pixels | beyond], beyond[pixels | beyond]
        fields = (address >> 1 & 0x7F, address >> 8 & 0x7F, ~address & 1)
    if beyond.any():
        i = int(np.argmax(beyond))
        damaged(WHO, path, start + int(place[i]) * SIZE, "addresses must be less than 65536", f"{address[i]}")
    x, y, p = fields
    columns = (t, x.astype(np.uint16), y.astype(np.uint16), p.astype(np.uint8))
    sensor = CHIPS[chip or "dvs128"]
    return checked_events(WHO, path, columns, sensor, ordered, lambda i: start + int(place[i]) * SIZE)
