"""AEDAT 4, the files of DV: compressed packets of events as flatbuffers."""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Iterator
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from snntrace.datasets.files.checks import checked_events
from snntrace.datasets.files.contents import contents, damaged
from snntrace.datasets.files.events import DataFileError, Events
from snntrace.datasets.files.flatbuffer import Flatbuffer
from snntrace.datasets.files.limits import LIMITS

WHO = "read_aedat4"
MAGIC = b"#!AER-DAT4.0\r\n"
EVENTS = "EVTS"
RECORD = np.dtype([("t", "<i8"), ("x", "<i2"), ("y", "<i2"), ("p", "u1"), ("unused", "u1", 3)])
NONE, LZ4, ZSTD = (0,), (1, 2), (3, 4)
BLOCK = 1 << 20


class Recording(NamedTuple):
    """What the header of a file tells.

    Attributes
    ----------
    compression : int
        0: none, 1 and 2: LZ4, 3 and 4: Zstandard.
    start, end : int
        The bytes of the packets.
    stream : int
        The stream of events.
    sensor : (int, int) or None, in pixels
        Its width and height.
    """

    compression: int
    start: int
    end: int
    stream: int
    sensor: tuple[int, int] | None


def read_aedat4(
    path: str | os.PathLike[str], *, sensor: tuple[int, int] | None = None, ordered: bool = True
) -> Events:
    """Read the events of an AEDAT 4 recording.

    A flatbuffer names the streams (in XML) and the compression. Packets follow, each with the number of its
    stream; those of a stream of events are flatbuffers with 16 bytes an event. Frames, motion and triggers
    are left out. Of several streams of events, the one with the lowest number is read.

    Needs the packages ``lz4`` or ``zstandard`` for files that are compressed so: ``pip install
    snntrace[aedat4]``.

    Parameters
    ----------
    path : str or path
        The file.
    sensor : (int, int), optional, in pixels
        Width and height. Default: what the file says.
    ordered : bool, default True
        Refuse a file in which time goes backwards. False: keep its events as they are.

    Returns
    -------
    Events
        The events; times are those of the computer's clock, in us since 1970.

    Raises
    ------
    DataFileError
        If the file has no events, is cut off or damaged.
    ImportError
        If the package for its compression is missing.
    OSError
        If it cannot be read.
    """  # noqa: DOC502
    raw = contents(path, WHO)
    recording = read_header(path, raw)
    size = sensor or recording.sensor
    if size is None:
        damaged(
            WHO, path, 0, "the file must name the sensor's size", "none", "Give its sensor=(width, height)."
        )
    parts, places, place = [np.empty(0, RECORD)], [], recording.start
    left = LIMITS.most(raw.size)
    while place < recording.end:
        if recording.end - place < 8:
            damaged(WHO, path, place, "a packet must start with 8 bytes", f"{recording.end - place}")
        stream, length = struct.unpack("<ii", raw[place : place + 8].tobytes())
        if not 0 <= length <= recording.end - place - 8:
            damaged(
                WHO, path, place, f"a packet's {length} bytes must follow it", f"{recording.end - place - 8}"
            )
        if stream == recording.stream:
            data = expanded(path, raw[place + 8 : place + 8 + length], recording.compression, place, left)
            left -= len(data)
            parts.append(events_in(path, data, place))
            places.append(place)
        place += 8 + length
    records = np.concatenate(parts)
    ends = np.cumsum([part.size for part in parts[1:]])

    def byte_of(i: int) -> int:
        return places[int(np.searchsorted(ends, i, side="right"))]

    if records["p"].max(initial=0) > 1:
        i = int(np.argmax(records["p"] > 1))
        damaged(WHO, path, byte_of(i), "polarities must be 0 or 1", f"{records['p'][i]} in the packet")
    # Negative places become the greatest ones, which lie on no sensor.
    columns = (
        records["t"].astype(np.int64), records["x"].astype(np.uint16), records["y"].astype(np.uint16),
        records["p"].astype(np.uint8),
    )  # fmt: skip
    return checked_events(WHO, path, columns, size, ordered, byte_of)


def read_header(path: str | os.PathLike[str], raw: NDArray[np.uint8]) -> Recording:
    """Read what comes before the packets.

    Parameters
    ----------
    path : str or path
        The file.
    raw : uint8 array
        Its bytes.

    Returns
    -------
    Recording
        What it tells.
    """
    start = len(MAGIC)
    if bytes(raw[:start]) != MAGIC:
        damaged(WHO, path, 0, f"an AEDAT 4 file must start with {MAGIC!r}", f"{bytes(raw[:start])!r}")
    try:
        table = Flatbuffer(raw[start:].tobytes(), "IOHE")
        compression, position = table.int32(0, 0), table.int64(1, -1)
        text, end_of_header = table.string(2), start + table.size
    except ValueError as error:
        damaged(WHO, path, start, "the header must be a flatbuffer IOHE", f"{error}")
    if compression not in {*NONE, *LZ4, *ZSTD}:
        damaged(WHO, path, start, "the compression must be 0 to 4", f"{compression}")
    # Below 0: the recording was not closed, and its packets reach to the end.
    end = raw.size if position < 0 else position
    if not end_of_header <= end <= raw.size:
        damaged(WHO, path, start, f"packets must end between {end_of_header} and {raw.size}", f"{position}")
    try:
        stream, sensor = event_stream(text)
    except (ElementTree.ParseError, ValueError) as error:
        damaged(WHO, path, start, "the header must name a stream of events in XML", f"{error}")
    return Recording(compression, end_of_header, end, stream, sensor)


def event_stream(text: str) -> tuple[int, tuple[int, int] | None]:
    """Find the first stream of events in a header's XML.

    Parameters
    ----------
    text : str
        The XML.

    Returns
    -------
    stream : int
        Its number.
    sensor : (int, int) or None
        Its width and height.

    Raises
    ------
    ValueError
        If there is none.
    """
    if "<!" in text:
        raise ValueError("declarations, which DV does not write")
    found = {}
    for node in ElementTree.fromstring(text).iter("node"):
        name, values = node.get("name", ""), attributes(node)
        if name.isascii() and name.isdigit() and len(name) < 10 and values.get("typeIdentifier") == EVENTS:
            info = next((child for child in node.findall("node") if child.get("name") == "info"), None)
            found[int(name)] = {} if info is None else attributes(info)
    if not found:
        raise ValueError("no stream of type EVTS")
    stream = min(found)
    sides = [found[stream].get(key, "") for key in ("sizeX", "sizeY")]
    if not all(side.isascii() and side.isdigit() and 0 < int(side[:6]) <= 1 << 16 for side in sides):
        return stream, None
    return stream, (int(sides[0]), int(sides[1]))


def attributes(node: ElementTree.Element) -> dict[str, str]:
    """Return the ``<attr key="...">`` of an XML node."""
    return {child.get("key", ""): child.text or "" for child in node.findall("attr")}


def expanded(
    path: str | os.PathLike[str], data: NDArray[np.uint8], compression: int, place: int, most: int
) -> bytes:
    """Return the content of a packet.

    Parameters
    ----------
    path : str or path
        The file.
    data : uint8 array
        Its compressed bytes.
    compression : int
        How they are compressed.
    place : int
        Where it is in the file.
    most : int, in bytes
        How much it may hold.

    Returns
    -------
    bytes
        The content.

    Raises
    ------
    ImportError
        If the package for the compression is missing.
    DataFileError
        If they are damaged.
    """
    try:
        content = b"".join(blocks_of(data.tobytes(), compression, most))
    except ImportError as error:
        raise ImportError(
            f"{WHO}: the package {error.name} must be installed, got the compressed file "
            f"{os.fspath(path)}. "
            f"Run: pip install 'snntrace[aedat4]'."
        ) from error
    except Exception as error:
        raise DataFileError(
            f"{WHO}: a packet must be whole, got {type(error).__name__} ({error}) at byte {place} of "
            f"{os.fspath(path)}. Download or copy the file again."
        ) from error
    if len(content) > most:
        must = f"all packets must hold at most {LIMITS.ratio:g} times the file's bytes"
        damaged(WHO, path, place, must, "more")
    return content


def blocks_of(packed: bytes, compression: int, most: int) -> Iterator[bytes]:
    """Decompress bytes block by block, for the libraries make room for as many as are asked for.

    Parameters
    ----------
    packed : bytes
        The compressed bytes.
    compression : int
        How they are compressed.
    most : int, in bytes
        No block begins after so many.

    Yields
    ------
    bytes
        The next of the content.
    """
    if compression in NONE:
        yield packed
        return
    done, size = 0, min(BLOCK, 4 * len(packed) + 4096)
    if compression in LZ4:
        from lz4.frame import LZ4FrameDecompressor

        frame = LZ4FrameDecompressor()
        while done <= most and not frame.eof and (block := frame.decompress(packed, size)):
            done, packed = done + len(block), b""
            yield block
        return
    from zstandard import ZstdDecompressor

    with ZstdDecompressor().stream_reader(io.BytesIO(packed)) as reader:
        while done <= most and (block := reader.read(size)):
            done += len(block)
            yield block


def events_in(path: str | os.PathLike[str], data: bytes, place: int) -> NDArray[np.void]:
    """Return the events of a packet's content.

    Parameters
    ----------
    path : str or path
        The file.
    data : bytes
        The content.
    place : int
        Where the packet is in the file.

    Returns
    -------
    structured array
        Time, place and polarity of each event.
    """
    try:
        elements = Flatbuffer(data, EVENTS).vector(0, RECORD.itemsize)
    except ValueError as error:
        damaged(WHO, path, place, "a packet of events must be a flatbuffer EVTS", f"{error}")
    return np.frombuffer(elements, RECORD)
