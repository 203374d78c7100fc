"""What an image of others may cost to decode, and whether it is all there.

A file of a few bytes may ask for gigabytes of memory or minutes of a processor; one whose header
promises more than its data hold would be filled up with grey.
"""

import hashlib
import io

from PIL import Image

from capsynth.image_parts import JPEG, PNG, SCAN, jpeg_segments, png_chunks, png_excess, tiff_values

# A job that packs has 2,000 MB, of which Python and the libraries take a tenth.
MAX_MEMORY_BYTES = 1_700_000_000
# Ten scans, as progressive files have them, of the largest image that Pillow opens are fewer; so
# many take ten seconds.
MAX_SCANNED_PIXELS = 2_500_000_000
# Numbers in the directory of a TIFF file, which Pillow makes objects of: tiles of 16 x 16 pixels
# of an image of 250 megapixels.
MAX_TIFF_VALUES = 1 << 20
# An image may be in pieces, one a channel; no more often is a pixel decoded.
MAX_TIMES_DECODED = 8
# Bytes of memory a pixel while WebP is decoded, and those that are held afterwards; measured.
_WEBP_DECODING, _WEBP_HELD = 16, 12
# Data that nobody has packed behind an image, and after each marker at which a decoder may go on.
_NOISE = b"".join(hashlib.sha256(bytes([i])).digest() for i in range(8)).replace(b"\xff", b"\xfe")
_NOISE += b"".join(bytes([0xFF, 0xD0 + i]) + _NOISE for i in range(8))


def check_file(data: bytes) -> None:
    """Check what has to be known before Pillow looks at a file.

    Raises:
        ValueError: If looking at it would take more memory than it may.
    """
    if tiff_values(data) > MAX_TIFF_VALUES:
        raise ValueError(f"more than {MAX_TIFF_VALUES} numbers in its TIFF directory")


def check_cost(image: Image.Image, data: bytes, turned: bool, encoded: bool) -> None:
    """Check what an image that is open, and not yet decoded, will cost.

    Args:
        image: The image.
        data: Its file.
        turned: Whether it will be turned.
        encoded: Whether it will be encoded in its full size.

    Raises:
        ValueError: If that is more than it may.
    """
    pixels = image.width * image.height
    tiles = getattr(image, "tile", [])
    decoded = sum((box[2] - box[0]) * (box[3] - box[1]) for _, box, *_ in tiles if box)
    if decoded > MAX_TIMES_DECODED * pixels:
        raise ValueError("its pieces are larger than the image")
    scans = 1
    if image.format in ("JPEG", "MPO"):
        segments, end = jpeg_segments(data)
        # A decoder goes on where these end early.
        ended = data[end : end + 2] == b"\xff\xd9"
        scans = sum(segment.marker == SCAN for segment in segments)
        scans += 0 if ended else data.count(bytes([0xFF, SCAN]), end)
        if scans * pixels > MAX_SCANNED_PIXELS:
            raise ValueError(f"{scans} scans of {image.width}x{image.height} pixels take too long")
    needed = 2 * len(data) + pixels * _bytes_a_pixel(image, scans, turned, encoded)
    if needed > MAX_MEMORY_BYTES:
        raise ValueError(
            f"{image.width}x{image.height} pixels as {image.format} would take "
            f"{needed / 1e9:.1f} GB of memory; make it smaller"
        )


def _bytes_a_pixel(image: Image.Image, scans: int, turned: bool, encoded: bool) -> int:
    """Return bytes of memory a pixel, at most; Pillow has four for each pixel of colour."""
    held = 1 if image.mode in ("1", "L", "P") else 4
    decoding = held
    if image.format == "WEBP":
        decoding, held = _WEBP_DECODING, _WEBP_HELD
    elif image.format == "TIFF":
        decoding += 4  # it may be in one piece, which is decoded by itself
    elif scans > 1:
        # Two bytes for each coefficient, until the last scan is read.
        decoding += 2 * len(image.getbands())
    copies = (4 if image.mode != "RGB" else 0) + (4 if turned else 0)
    # What is encoded lies in a buffer, and is copied out of it.
    return max(decoding, held + copies + (6 if encoded else 0))


def check_complete(image: Image.Image, data: bytes) -> None:
    """Check that the data of a decoded JPEG or PNG image are those of all of its pixels.

    Raises:
        ValueError: If they end before.
    """
    if data.startswith(PNG) and _png_is_short(data):
        raise ValueError(f"its data end before its {image.width}x{image.height} pixels do")
    if data.startswith(JPEG) and _ends_flat(image) and _jpeg_is_short(data):
        raise ValueError(f"its data end before its {image.width}x{image.height} pixels do")


def _png_is_short(data: bytes) -> bool:
    try:
        excess = png_excess(list(png_chunks(data)))
    except ValueError:
        return False  # Pillow has decoded it
    return excess is not None and excess < 0


def _ends_flat(image: Image.Image) -> bool:
    """Say whether the last pixels are of one colour: a decoder fills what is missing so."""
    box = (max(0, image.width - 4), max(0, image.height - 4), image.width, image.height)
    colours = image.crop(box).convert("RGB").getcolors(maxcolors=2)
    return colours is not None and len(colours) == 1


def _jpeg_is_short(data: bytes) -> bool:
    """Say whether a decoder comes to the end of a scan's data before it has all pixels of it.

    It does if it makes something of what is put there; behind a complete scan it passes it over.
    """
    segments, _ = jpeg_segments(data)
    parts, at = [], 0
    for segment in segments:
        if segment.marker == SCAN:
            parts += [data[at : segment.end], _NOISE]
            at = segment.end
    return _small(data) != _small(b"".join((*parts, data[at:])))


def _small(data: bytes) -> bytes:
    """Return the pixels of a JPEG image at an eighth of its size, which a decoder makes at once."""
    with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
        image.draft(None, (image.width // 8, image.height // 8))
        return image.tobytes()
