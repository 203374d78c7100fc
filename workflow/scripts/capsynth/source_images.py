"""Images of others: the bytes that are stored of them.

Whatever a folder, a tar or a data set holds, it ends as RGB without metadata or as an error with a
reason: images that are none, and those that no stage could work with.
"""

import io
import re
import struct
from dataclasses import dataclass

from PIL import Image, UnidentifiedImageError

from capsynth.names import shown
from capsynth.shards import encode_image

# What images are decoded from, whatever their names say. Pillow knows many more formats; some hand
# a file to another program (EPS), and few are fuzzed as these are.
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

_JPEG, _PNG = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"
_EXTENSIONS = {"PNG": "png", "JPEG": "jpg", "MPO": "jpg"}
# The end of compressed data: a marker that is neither an escaped 0xFF nor a restart.
_AFTER_SCAN = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]")
_SCAN, _END, _COMMENT, _COLOUR_PROFILE = 0xDA, 0xD9, 0xFE, 0xE2
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})
# Of application segments: JFIF and Adobe's colour transform, which decoding needs.
_KEPT_SEGMENTS = frozenset({0xE0, 0xEE})
_KEPT_CHUNKS = frozenset(
    {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"sBIT", b"pHYs"}
)


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
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            image.load()
            return _stored(image, data, image_format)
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


def _stored(image: Image.Image, data: bytes, image_format: ImageFormat) -> tuple[bytes, str]:
    short, long = sorted(image.size)
    if long > MAX_ASPECT * short:
        raise ValueError(f"{image.width}x{image.height} pixels are no shape of a picture")
    turn = _TURNS.get(_orientation(image))
    extension = _EXTENSIONS.get(image.format or "")
    small = image_format.side is None or short <= image_format.side
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
    if image.mode.startswith("I;16"):
        # Pillow cuts 16 bits off at 255; 257 maps white to white.
        image = image.convert("I").point(lambda value: value * (1 / 257) + 0.5).convert("L")
    if image.mode in ("I", "F"):
        raise ValueError("32 bits a pixel, of which nothing says what is white; convert it")
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
    """Return a JPEG or PNG file with what decoding needs and its colour profile, nothing else.

    EXIF, XMP, IPTC, comments, text, times, previews, further frames and what follows the image go;
    the pixels stay as they are.

    Raises:
        ValueError: If it is neither, or its parts do not follow one another as they should.
    """
    if data.startswith(_PNG):
        return _bare_png(data)
    if data.startswith(_JPEG):
        return _bare_jpeg(data)
    raise ValueError("neither a JPEG nor a PNG file")


def _bare_jpeg(data: bytes) -> bytes:
    kept, at, scans = [_JPEG], len(_JPEG), 0
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != _END:
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte before a marker
            at += 1
            continue
        if marker in _WITHOUT_LENGTH:
            at += 2
            continue
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == _SCAN:
            scans += 1
            after = _AFTER_SCAN.search(data, end)
            end = after.start() if after else len(data)
        if _is_kept(marker, data[at + 4 : at + 16]):
            kept.append(data[at:end])
        at = end
    if not scans:
        raise ValueError("JPEG file without an image")
    return b"".join((*kept, b"\xff\xd9"))


def _is_kept(marker: int, content: bytes) -> bool:
    if marker == _COLOUR_PROFILE:
        return content.startswith(b"ICC_PROFILE\0")
    is_application = 0xE0 <= marker <= 0xEF
    return marker != _COMMENT and (not is_application or marker in _KEPT_SEGMENTS)


def _bare_png(data: bytes) -> bytes:
    kept, at = [_PNG], len(_PNG)
    while at + 12 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        kind = data[at + 4 : at + 8]
        if kind in _KEPT_CHUNKS:
            kept.append(data[at:end])
        if kind == b"IEND":
            return b"".join(kept)
        at = end
    raise ValueError("PNG file without an end")
