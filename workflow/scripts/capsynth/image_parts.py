"""What JPEG and PNG files consist of, and TIFF files say of themselves, without decoding them."""

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

JPEG, PNG = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"
SCAN, END = 0xDA, 0xD9
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})
# The end of compressed data: a marker that is neither an escaped 0xFF nor a restart.
_AFTER_SCAN = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]")
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
# Of each pass of an interlaced PNG file: first column and row, steps between them.
_ADAM7 = (
    (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
    (0, 1, 1, 2),
)  # fmt: skip
# Kinds of values of TIFF files that are kept as they are: bytes, text.
_TIFF_BYTES = frozenset({1, 2, 6, 7})
_INFLATED_AT_ONCE = 1 << 16


@dataclass(frozen=True)
class Segment:
    """A part of a JPEG file.

    Attributes:
        marker: Its second byte.
        start: Where it begins, with its marker.
        head: Where its header ends, and with a scan the compressed data begin.
        end: Where it ends.
    """

    marker: int
    start: int
    head: int
    end: int


def jpeg_segments(data: bytes) -> tuple[list[Segment], int]:
    """Return the parts of a JPEG file up to its end marker, and where they end.

    They end early, not at an end marker, where something is no part.
    """
    found, at = [], len(JPEG)
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != END:
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte before a marker
            at += 1
            continue
        if marker in _WITHOUT_LENGTH:
            at += 2
            continue
        head = end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == SCAN:
            after = _AFTER_SCAN.search(data, head)
            end = after.start() if after else len(data)
        found.append(Segment(marker, at, head, end))
        at = end
    return found, at


def png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield kind and content of the chunks of a PNG file, up to its end.

    Raises:
        ValueError: If it has no end, or a chunk is not what its checksum says.
    """
    at = len(PNG)
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        kind, content = data[at + 4 : at + 8], data[at + 8 : end]
        if zlib.crc32(data[at + 4 : end]).to_bytes(4, "big") != data[end : end + 4]:
            raise ValueError(f"PNG chunk {kind!r} is damaged")
        yield kind, content
        if kind == b"IEND":
            return
        at = end + 4
    raise ValueError("PNG file without an end")


def png_excess(chunks: list[tuple[bytes, bytes]]) -> int | None:
    """Return how many bytes the compressed data of a PNG file hold beyond its pixels.

    Fewer than its pixels need make it negative; None stands for data behind the compressed ones.

    Raises:
        ValueError: If the header is none or the data cannot be decompressed.
    """
    if not chunks or chunks[0][0] != b"IHDR" or len(chunks[0][1]) != 13:
        raise ValueError("PNG file without a header")
    needed = _png_bytes(chunks[0][1])
    inflater, size = zlib.decompressobj(), 0
    try:
        for kind, content in chunks:
            waiting = content if kind == b"IDAT" else b""
            if waiting and inflater.eof:
                return None
            while waiting and not inflater.eof and size <= needed:
                size += len(inflater.decompress(waiting, _INFLATED_AT_ONCE))
                waiting = inflater.unconsumed_tail
            if size > needed:
                break
    except zlib.error as error:
        raise ValueError(str(error)) from error
    return None if inflater.unused_data else size - needed


def _png_bytes(header: bytes) -> int:
    """Return how many bytes the rows of a PNG file have before they are compressed."""
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    bits = _CHANNELS.get(colour, 0) * depth
    if not interlaced:
        return int(height * (1 + (width * bits + 7) // 8))
    total = 0
    for left, top, across, down in _ADAM7:
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        if columns > 0 and rows > 0:
            total += rows * (1 + (columns * bits + 7) // 8)
    return total


def tiff_values(data: bytes) -> int:
    """Return how many numbers the first directory of a TIFF file has, text and bytes not counted.

    A few bytes may announce any number; those beyond the file are none.
    """
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None or len(data) < 16:
        return 0
    is_big = struct.unpack_from(f"{order}H", data, 2)[0] == 43  # BigTIFF
    number, entries_form, step = ("Q", "Q", 20) if is_big else ("I", "H", 12)
    (at,) = struct.unpack_from(f"{order}{number}", data, 8 if is_big else 4)
    first = at + struct.calcsize(f"={entries_form}")
    if first > len(data):
        return 0
    (entries,) = struct.unpack_from(f"{order}{entries_form}", data, at)
    total = 0
    for place in range(first, min(first + step * entries, len(data) - step + 1), step):
        kind, count = struct.unpack_from(f"{order}H{number}", data, place + 2)
        total += 0 if kind in _TIFF_BYTES else min(count, len(data))
    return total
