"""Images of others: the bytes that are stored of them.

Whatever a folder, a tar or a data set holds, it ends as RGB without metadata or as an error with a
reason: images that are none, and those that no stage could work with.
"""

import io
import struct
import zlib
from dataclasses import dataclass

from PIL import Image, TiffImagePlugin, UnidentifiedImageError, WebPImagePlugin

from capsynth.image_costs import check_complete, check_cost, check_file
from capsynth.image_parts import JPEG, PNG, SCAN, jpeg_segments, png_chunks, png_excess
from capsynth.names import shown
from capsynth.shards import encode_image

# What images are decoded from, whatever their names say. Pillow knows many more formats; some hand
# a file to another program (EPS), and few are fuzzed as these are.
# Pillow imports the others by itself, and these when it first needs them: a full table of open
# files would then make an image of an unknown kind.
_LOADED = (TiffImagePlugin, WebPImagePlugin)
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
# Beyond it a stage that scales the shorter side up would make a huge image of a small one.
MAX_ASPECT = 100

_ORIENTATION = 0x0112  # tag of EXIF
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_EXTENSIONS = {"PNG": "png", "JPEG": "jpg", "MPO": "jpg"}
# What decoding a JPEG file needs: frames, tables, restart intervals, scans.
_JPEG_KEPT = frozenset({*range(0xC0, 0xD0), 0xDA, 0xDB, 0xDD}) - {0xC8}
# What says how its colours are stored: marker, beginning and bytes. The last two of JFIF's are the
# size of a preview, which follows.
_JPEG_COLOURS = {0xE0: (b"JFIF\0", 14), 0xEE: (b"Adobe", 12)}
# Of a PNG file, what decoding needs, and numbers that say what its colours are: once each, with
# so many bytes at most.
_PNG_KEPT = {b"IHDR": 13, b"gAMA": 4, b"cHRM": 32, b"sRGB": 1, b"sBIT": 4, b"pHYs": 9, b"PLTE": 768}
_PALETTE = 3  # a colour type
# Rows that are converted at once.
_STRIP_PIXELS = 1 << 20


@dataclass(frozen=True)
class ImageFormat:
    """How images are stored.

    Attributes:
        side: Shorter side in pixels that larger images are reduced to, None to keep them.
        extension: ``png`` or ``jpg`` for images that have to be encoded anew; an image that is
            already RGB PNG or JPEG and small enough keeps its bytes.
    """

    side: int | None
    extension: str


def stored_bytes(data: bytes, image_format: ImageFormat) -> tuple[bytes, str]:
    """Return an image's bytes as they are stored, and their extension.

    An image stands upright as its EXIF orientation says, on white where it is transparent, and no
    metadata is kept: photos carry the place where they were taken. Of several frames the first is
    taken. Sizes count after turning.

    Raises:
        ValueError: If it is no image, or none that can be used; the message says why.
    """
    try:
        check_file(data)
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            small = _is_small(image, image_format)
            check_cost(image, data, turned=False, encoded=small)
            image.load()
            check_complete(image, data)
            # It may stand behind the pixels.
            turn = _TURNS.get(_orientation(image))
            check_cost(image, data, turned=turn is not None, encoded=small)
            return _stored(image, data, image_format, turn, small)
    except MemoryError:
        raise
    except Exception as error:
        if isinstance(error, OSError):
            # Of the machine, not of the image: nothing here opens a file but a module of Pillow's.
            if error.errno is not None:
                raise
            if "out of memory" in str(error):
                raise MemoryError(str(error)) from error
        # Pillow's decoders raise whatever they meet in damaged data: IndexError, KeyError,
        # SyntaxError, struct.error, zlib.error ... The reason is all that is left of it.
        raise ValueError(_reason(error)) from error


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "no image (" + ", ".join(FORMATS) + ")"
    text = shown(str(error)) or type(error).__name__
    return text if type(error) in (ValueError, OSError) else f"{type(error).__name__}: {text}"


def _is_small(image: Image.Image, image_format: ImageFormat) -> bool:
    return image_format.side is None or min(image.size) <= image_format.side


def _stored(
    image: Image.Image,
    data: bytes,
    image_format: ImageFormat,
    turn: Image.Transpose | None,
    small: bool,
) -> tuple[bytes, str]:
    short, long = sorted(image.size)
    if long > MAX_ASPECT * short:
        raise ValueError(f"{image.width}x{image.height} pixels are no shape of a picture")
    extension = _EXTENSIONS.get(image.format or "")
    plain = image.mode == "RGB" and not image.has_transparency_data
    if extension and plain and small and turn is None:
        try:
            return without_metadata(data), extension
        except ValueError:
            pass  # Pillow decodes what is not quite to the letter; it is encoded anew
    rgb = _as_rgb(image)
    if turn is not None:
        rgb = rgb.transpose(turn)
    # Encoders write what they find here.
    rgb.info = {}
    if not small and image_format.side is not None:
        scale = image_format.side / short
        size = (round(rgb.width * scale), round(rgb.height * scale))
        rgb = rgb.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    return encode_image(rgb, image_format.extension), image_format.extension


def _orientation(image: Image.Image) -> int:
    """Return how an image is to be turned, by EXIF; damaged EXIF says nothing."""
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except (KeyError, OSError, SyntaxError, TypeError, ValueError, struct.error):
        return 1


def _as_rgb(image: Image.Image) -> Image.Image:
    """Return an image as RGB, on white; by a few rows: copies of a large image are large."""
    if image.mode in ("I", "F"):
        raise ValueError("32 bits a pixel, of which nothing says what is white; convert it")
    if image.mode == "RGB" and not image.has_transparency_data:
        return image
    rgb = Image.new("RGB", image.size)
    rows = max(1, _STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height)))
        rgb.paste(_strip_as_rgb(strip), (0, top))
    return rgb


def _strip_as_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        # Pillow cuts 16 bits off at 255; 257 maps white to white.
        image = image.convert("I").point(lambda value: value * (1 / 257) + 0.5).convert("L")
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return image.convert("RGB")


def is_bare(data: bytes) -> bool:
    """Say whether data is a JPEG or PNG file in which nothing is but its image."""
    try:
        return without_metadata(data) == data
    except ValueError:
        return False


def without_metadata(data: bytes) -> bytes:
    """Return a JPEG or PNG file with what decoding needs, nothing else.

    EXIF, XMP, IPTC, colour profiles, comments, text, times, previews, further frames and what
    follows the image go; the pixels stay as they are.

    Raises:
        ValueError: If it is neither, or its parts do not follow one another as they should.
    """
    if data.startswith(PNG):
        return _bare_png(data)
    if data.startswith(JPEG):
        return _bare_jpeg(data)
    raise ValueError("neither a JPEG nor a PNG file")


def _bare_jpeg(data: bytes) -> bytes:
    kept, seen = [JPEG], set[bytes]()
    segments, _ = jpeg_segments(data)
    for segment in segments:
        content = data[segment.start + 4 : segment.head]
        if segment.marker in _JPEG_KEPT:
            kept.append(data[segment.start : segment.end])
        if segment.marker not in _JPEG_COLOURS:
            continue
        name, size = _JPEG_COLOURS[segment.marker]
        # Decoders take no notice of a shorter one.
        if content.startswith(name) and len(content) >= size and name not in seen:
            seen.add(name)
            whole = content[:size] if name == b"Adobe" else content[: size - 2] + b"\0\0"
            kept += [bytes([0xFF, segment.marker]), (2 + size).to_bytes(2, "big"), whole]
    if all(segment.marker != SCAN for segment in segments):
        raise ValueError("JPEG file without an image")
    return b"".join((*kept, b"\xff\xd9"))


def _bare_png(data: bytes) -> bytes:
    chunks = list(png_chunks(data))
    if png_excess(chunks) != 0:
        raise ValueError("PNG file whose data are not those of its pixels")
    has_palette = chunks[0][1][9] == _PALETTE
    kept, seen = [PNG], set[bytes]()
    for kind, content in chunks:
        is_kept = len(content) <= _PNG_KEPT.get(kind, -1) and kind not in seen
        if kind in (b"IDAT", b"IEND") or (is_kept and (kind != b"PLTE" or has_palette)):
            body = kind + (b"" if kind == b"IEND" else content)
            kept += [(len(body) - 4).to_bytes(4, "big"), body, zlib.crc32(body).to_bytes(4, "big")]
        seen.add(kind)
    return b"".join(kept)
