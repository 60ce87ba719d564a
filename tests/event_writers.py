"""Writers of event files, made from the formats' descriptions, to test the readers with.

Each takes times in us, columns, rows and polarities, in the order of time, and gives the bytes of a file.
"""

import io
import struct

import lz4.frame
import numpy as np
import scipy.io
import zstandard


def nmnist(t, x, y, p):
    bits = (f"{b:08b}{c:08b}{d:01b}{a:023b}" for a, b, c, d in zip(t, x, y, p, strict=True))
    return b"".join(int(event, 2).to_bytes(5, "big") for event in bits)


def dat(t, x, y, p, lines=("Version 2", "Width 640", "Height 480"), kind=12):
    text = "".join(f"% {line}\n" for line in lines).encode()
    events = (struct.pack("<II", a, b | c << 14 | d << 28) for a, b, c, d in zip(t, x, y, p, strict=True))
    return text + bytes([kind, 8]) + b"".join(events)


def evt2(t, x, y, p, lines=("evt 2.0", "geometry 640x480")):
    words, high = [0x0A00_0000 | 5 << 11, 0xA000_0001], None
    for a, b, c, d in zip(t, x, y, p, strict=True):
        if a >> 6 != high:
            high = a >> 6
            words.append(8 << 28 | high)
        words.append(d << 28 | (a & 63) << 22 | b << 11 | c)
    text = "".join(f"% {line}\n" for line in lines).encode()
    return text + struct.pack(f"<{len(words)}I", *words)


def evt3(t, x, y, p, lines=("evt 3.0", "geometry 640x480")):
    """Write vectors for the events of one time, row and polarity in growing columns."""
    words, state, i = [0x0005, 0x2007, 0xA001], {}, 0

    def tell(name, kind, value):
        if state.get(name) != value:
            state[name] = value
            words.append(kind << 12 | value)
            return True
        return False

    previous = t[0] >> 12
    while i < len(t):
        # A sensor tells each value of the high bits, also where nothing happens.
        for high in range(previous + 1, t[i] >> 12):
            tell("high", 8, high & 0xFFF)
        previous = t[i] >> 12
        if tell("high", 8, t[i] >> 12 & 0xFFF):
            state.pop("low", None)
        tell("low", 6, t[i] & 0xFFF)
        tell("y", 0, y[i])
        stop = i + 1
        while stop < len(t) and (t[stop], y[stop], p[stop]) == (t[i], y[i], p[i]) and x[stop] > x[stop - 1]:
            stop += 1
        if stop - i < 3:
            words.append(2 << 12 | p[i] << 11 | x[i])
            i += 1
            continue
        words.append(3 << 12 | p[i] << 11 | x[i])
        base, columns = x[i], set(x[i:stop])
        while base <= max(columns):
            width = 12 if len(words) % 2 else 8
            mask = sum(1 << k for k in range(width) if base + k in columns)
            words.append((4 if width == 12 else 5) << 12 | mask)
            base += width
        i = stop
    text = "".join(f"% {line}\n" for line in lines).encode()
    return text + struct.pack(f"<{len(words)}H", *words)


def aedat2(t, x, y, p, lines=("!AER-DAT2.0", " This is a raw AE data file")):
    text = "".join(f"#{line}\r\n" for line in lines).encode()
    addresses = [b << 1 | c << 8 | (1 - d) for b, c, d in zip(x, y, p, strict=True)]
    return text + b"".join(struct.pack(">II", b, a) for a, b in zip(t, addresses, strict=True))


def aedat3(t, x, y, p, lines=("!AER-DAT3.1", "Format: RAW", "Source 1: DVS128", "!END-HEADER"), room=0):
    """Write packets of 7 events, each followed by `room` empty places, an invalid event and other packets."""
    parts = ["".join(f"#{line}\r\n" for line in lines).encode()]
    for start in range(0, len(t), 7):
        part = slice(start, start + 7)
        # A packet belongs to one overflow of the time.
        for overflow in sorted({a >> 31 for a in t[part]}):
            rows = [
                row
                for row in zip(t[part], x[part], y[part], p[part], strict=True)
                if row[0] >> 31 == overflow
            ]
            data = b"".join(
                struct.pack("<II", b << 17 | c << 2 | d << 1 | 1, a & 0x7FFFFFFF) for a, b, c, d in rows
            )
            data += struct.pack("<II", 9 << 17 | 9 << 2, 0) + bytes(8 * room)
            number = len(rows) + 1
            parts.append(
                struct.pack("<HHIIIIII", 1, 1, 8, 4, overflow, number + room, number, number - 1) + data
            )
        parts.append(struct.pack("<HHIIIIII", 0, 1, 4, 0, 0, 2, 2, 2) + bytes(8))
    return b"".join(parts)


def packed_table(identifier, fields, tail):
    """Give a flatbuffer whose root table has `fields` (format, value) and is followed by `tail`."""
    sizes = [struct.calcsize("<" + kind) for kind, _ in fields]
    places = [4 + sum(sizes[:i]) for i in range(len(fields))]
    listing = struct.pack(f"<{2 + len(fields)}H", 4 + 2 * len(fields), 4 + sum(sizes), *places)
    listing += bytes(-len(listing) % 4)
    table = struct.pack("<i", len(listing)) + b"".join(
        struct.pack("<" + kind, value) for kind, value in fields
    )
    body = struct.pack("<I", 8 + len(listing)) + identifier + listing + table + tail
    return struct.pack("<I", len(body)) + body


def aedat4(t, x, y, p, compression=1, size=(346, 260), closed=True):
    """Write packets of 11 events between those of another stream."""
    node = (
        '<node name="{}"><attr key="typeIdentifier" type="string">{}</attr><node name="info">{}</node></node>'
    )
    sides = "".join(
        f'<attr key="size{k}" type="int">{side}</attr>' for k, side in zip("XY", size, strict=True)
    )
    nodes = node.format(0, "FRME", "") + node.format(2, "EVTS", sides)
    xml = f'<dv version="2.0"><node name="outInfo">{nodes}</node></dv>'.encode()
    packets = b""
    for start in range(0, len(t), 11):
        rows = zip(*(column[start : start + 11] for column in (t, x, y, p)), strict=True)
        structs = b"".join(struct.pack("<qhhB3x", *row) for row in rows)
        content = packed_table(b"EVTS", [("I", 4)], struct.pack("<I", len(structs) // 16) + structs)
        content = {0: bytes, 1: lz4.frame.compress, 2: lz4.frame.compress}.get(
            compression, zstandard.ZstdCompressor().compress
        )(content)
        packets += struct.pack("<ii", 0, 3) + b"abc" + struct.pack("<ii", 2, len(content)) + content
    text = struct.pack("<I", len(xml)) + xml
    start = len(b"#!AER-DAT4.0\r\n" + packed_table(b"IOHE", [("i", 0), ("q", 0), ("I", 4)], text))
    position = start + len(packets) if closed else -1
    table = packed_table(b"IOHE", [("i", compression), ("q", position), ("I", 4)], text)
    return b"#!AER-DAT4.0\r\n" + table + packets + (b"the table of packets" if closed else b"")


def overflows(step, most):
    """Give how often a step of time overflows, and its rest."""
    return divmod(step, most)


def es_dvs(t, x, y, p, size=(320, 240)):
    data, last = b"Event Stream" + bytes([2, 0, 0, 1]) + struct.pack("<HH", *size), 0
    for a, b, c, d in zip(t, x, y, p, strict=True):
        whole, rest = overflows(a - last, 127)
        data += b"\xff" * whole + struct.pack("<BHH", rest << 1 | d, b, c)
        last = a
    return data


def es_atis(t, x, y, p, exposure, size=(320, 240)):
    data, last = b"Event Stream" + bytes([2, 0, 0, 2]) + struct.pack("<HH", *size), 0
    for a, b, c, d, e in zip(t, x, y, p, exposure, strict=True):
        whole, rest = overflows(a - last, 63)
        thrice, once = divmod(whole, 3)
        data += b"\xff" * thrice + (bytes([0xFC | once]) if once else b"")
        data += struct.pack("<BHH", rest << 2 | d << 1 | e, b, c)
        last = a
    return data


def es_generic(t, payload):
    data, last = b"Event Stream" + bytes([2, 0, 0, 0]), 0
    for a, content in zip(t, payload, strict=True):
        whole, rest = overflows(a - last, 254)
        data += b"\xff" * whole + bytes([rest])
        size = len(content)
        while True:
            data += bytes([(size & 127) << 1 | (size > 127)])
            size >>= 7
            if not size:
                break
        data += content
        last = a
    return data


def atis_mat(t, x, y, p, variable="TD", compressed=True, kind=float):
    file = io.BytesIO()
    fields = {"x": np.array(x) + 1, "y": np.array(y) + 1, "ts": np.array(t), "p": np.array(p)}
    columns = {name: values.astype(kind)[:, None] for name, values in fields.items()}
    scipy.io.savemat(file, {variable: columns}, do_compression=compressed)
    return file.getvalue()


def stmnist_mat(t, x, y, p):
    file, train = io.BytesIO(), np.zeros((101, len(t)))
    train[np.array(y) * 10 + np.array(x), np.arange(len(t))] = 2 * np.array(p) - 1
    train[100] = np.array(t) * 1e-6
    scipy.io.savemat(file, {"spiketrain": train})
    return file.getvalue()
