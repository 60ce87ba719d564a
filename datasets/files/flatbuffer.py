"""The root table of a flatbuffer, with every place in it checked."""

from __future__ import annotations

import struct


class Flatbuffer:
    """The root table of a flatbuffer that its size precedes.

    A table starts with the distance back to its list of fields: of each field, the distance from the table's
    start, or 0 for a field that has its default value.

    Parameters
    ----------
    data : bytes
        The size (32 bits), the flatbuffer, and what may follow it.
    identifier : str
        The four letters that the flatbuffer must have.

    Attributes
    ----------
    size : int
        Bytes of the flatbuffer and its size.

    Raises
    ------
    ValueError
        If it is another one, or does not lie within its size.
    """

    def __init__(self, data: bytes, identifier: str) -> None:
        if len(data) < 12:
            raise ValueError(f"{len(data)} bytes")
        self.size = 4 + int(struct.unpack_from("<I", data)[0])
        if self.size > len(data):
            raise ValueError(f"{len(data)} of {self.size} bytes")
        self._data = data[4 : self.size]
        found = self._data[4:8]
        if found != identifier.encode():
            raise ValueError(f"the identifier {found!r}")
        self._table = self._read("<I", 0)
        self._fields = self._table - self._read("<i", self._table)
        self._n_fields = (self._read("<H", self._fields) - 4) // 2

    def int32(self, field: int, default: int) -> int:
        """Return a field that is a 32-bit integer."""
        place = self._place(field)
        return default if place is None else self._read("<i", place)

    def int64(self, field: int, default: int) -> int:
        """Return a field that is a 64-bit integer."""
        place = self._place(field)
        return default if place is None else self._read("<q", place)

    def vector(self, field: int, item: int) -> bytes:
        """Return the bytes of a field that is a vector of structs of `item` bytes.

        Parameters
        ----------
        field : int
            Number of the field.
        item : int
            Bytes of an element.

        Returns
        -------
        bytes
            All elements.

        Raises
        ------
        ValueError
            If they do not lie within the flatbuffer.
        """
        place = self._place(field)
        if place is None:
            return b""
        start = place + self._read("<I", place)
        stop = start + 4 + self._read("<I", start) * item
        if stop > len(self._data):
            raise ValueError(f"a vector up to byte {stop} of {len(self._data)}")
        return self._data[start + 4 : stop]

    def string(self, field: int) -> str:
        """Return a field that is text."""
        return self.vector(field, 1).decode("utf-8")

    def _place(self, field: int) -> int | None:
        if field >= self._n_fields:
            return None
        distance = self._read("<H", self._fields + 4 + 2 * field)
        return self._table + distance if distance else None

    def _read(self, kind: str, place: int) -> int:
        if not 0 <= place <= len(self._data) - struct.calcsize(kind):
            raise ValueError(f"a place at byte {place} of {len(self._data)}")
        return int(struct.unpack_from(kind, self._data, place)[0])
