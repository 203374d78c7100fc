"""Pictures of scenes in another medium: pen sketches, and renditions in eight styles.

Everything random comes in as a ``numpy.random.Generator``. Pictures are worked at ``DETAIL`` times
the size and reduced at the end, so strokes, dots and stitches may be finer than a pixel. Float
images are arrays of shape (height, width, 3) in [0, 1].
"""

import colorsys
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from capsynth.datasets.openmoji.drawing import Pose, draw_background, glyph, pose_ink
from capsynth.datasets.openmoji.world import Subtype

DETAIL = 3
FloatArray = npt.NDArray[np.floating[Any]]
LUMA = np.asarray([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True)
class Layers:
    """A scene before it is composed, at ``DETAIL`` times its final size.

    Attributes:
        background: Float image of what lies behind the object.
        colours: Float image of the object; meaningless where ``alpha`` is 0.
        alpha: Coverage of the object, shape (height, width), in [0, 1].
        lines: Coverage of the object's drawn lines, shape (height, width), in [0, 1].
    """

    background: FloatArray
    colours: FloatArray
    alpha: FloatArray
    lines: FloatArray


def _luma(image: FloatArray) -> FloatArray:
    return image @ LUMA


def _blur(image: FloatArray, radius: float) -> FloatArray:
    """Return a Gaussian blur of a float image of shape (height, width) or (height, width, 3)."""
    blurred = _to_picture(image).filter(ImageFilter.GaussianBlur(radius))
    return np.asarray(blurred, np.float32) / 255


def _to_picture(image: FloatArray) -> Image.Image:
    return Image.fromarray((np.clip(image, 0, 1) * 255).round().astype(np.uint8))


def _noise(rng: np.random.Generator, side: int, cells: int) -> FloatArray:
    """Return smooth noise of unit variance at its knots, ``cells`` knots along each axis."""
    knots = Image.fromarray(rng.standard_normal((cells, cells), dtype=np.float32))
    return np.asarray(knots.resize((side, side), Image.Resampling.BICUBIC), np.float32)


def _warp(image: FloatArray, dx: FloatArray, dy: FloatArray) -> FloatArray:
    """Move every pixel by (dx, dy) pixels, rounded; edges repeat."""
    height, width = image.shape[:2]
    rows, columns = np.indices((height, width))
    rows = np.clip(rows + np.rint(dy).astype(np.intp), 0, height - 1)
    columns = np.clip(columns + np.rint(dx).astype(np.intp), 0, width - 1)
    return image[rows, columns]


def _mix(under: FloatArray, over: FloatArray, share: FloatArray) -> FloatArray:
    """Lay ``over`` on ``under`` with coverage ``share`` of shape (height, width)."""
    return under + (over - under) * share[..., None]


def _hue(hue: float, saturation: float, value: float) -> FloatArray:
    return np.asarray(colorsys.hsv_to_rgb(hue % 1.0, saturation, value), np.float32)


@functools.cache
def line_ink(subtype: Subtype) -> Image.Image:
    """Return the lines of a subtype's glyph as RGBA: black, with their coverage as alpha.

    Lines are the glyph's black strokes, and thinner ones where two fills meet without a stroke.
    Dark fills (the black bat, car windows) are no lines: only what is darker than they are is.
    """
    pixels = np.asarray(glyph(subtype), np.float32)
    opaque = pixels[..., 3] / 255
    luma = pixels[..., :3] @ LUMA
    strokes = np.clip((44 - luma) / 32, 0, 1) * opaque
    # A stroke's soft rim lies between black and a fill: it must not count as a meeting of fills.
    near_stroke = np.asarray(_to_picture(strokes).filter(ImageFilter.MaxFilter(5))) > 24
    fill = pixels[..., :3]
    meeting = np.zeros_like(luma)
    for axis in (0, 1):
        step = np.abs(fill - np.roll(fill, 2, axis)).max(axis=-1)
        inside = (opaque > 0.9) & (np.roll(opaque, 2, axis) > 0.9)
        free = ~near_stroke & ~np.roll(near_stroke, 2, axis)
        meeting = np.maximum(meeting, np.where(inside & free, np.clip(step / 60, 0, 1), 0))
    alpha = np.maximum(strokes, meeting)
    ink = np.zeros((*alpha.shape, 4), np.uint8)
    ink[..., 3] = (alpha * 255).round()
    return Image.fromarray(ink, "RGBA")


def _posed_alpha(ink: Image.Image, pose: Pose, side: int) -> FloatArray:
    posed, corner = pose_ink(ink, pose, side)
    frame = Image.new("L", (side, side))
    frame.paste(posed.getchannel("A"), corner)
    return np.asarray(frame, np.float32) / 255


def _reduced(image: FloatArray, side: int) -> Image.Image:
    return _to_picture(image).resize((side, side), Image.Resampling.BOX).convert("RGB")


def draw_sketch(subtype: Subtype, pose: Pose, rng: np.random.Generator, side: int) -> Image.Image:
    """Draw ``subtype`` as black strokes on white, gone over once or twice by an unsteady hand."""
    big = side * DETAIL
    lines = _posed_alpha(line_ink(subtype), pose, big)
    paper = np.ones_like(lines)
    for stroke in range(int(rng.integers(1, 3))):
        unsteady = 0.9 if stroke == 0 else 1.7
        dx, dy = (unsteady * _noise(rng, big, 7) for _ in range(2))
        # Pressure thickens the line (threshold below one half) or thins it.
        pressure = np.clip(0.29 + 0.10 * _noise(rng, big, 5), 0.14, 0.40)
        soft = _blur(_warp(lines, dx, dy), 0.9)
        drawn = np.clip((soft - pressure) * 5, 0, 1)
        paper *= 1 - drawn * (1.0 if stroke == 0 else 0.7)
    return _reduced(paper, side)


# Styles of renditions -----------------------------------------------------------------------------


def _composed(layers: Layers) -> FloatArray:
    return _mix(layers.background, layers.colours, layers.alpha)


def _turn_hues(image: FloatArray, turns: float) -> FloatArray:
    """Rotate hues by a share of the full circle, in the YIQ plane, which keeps the luma."""
    to_yiq = np.asarray(
        [[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]], np.float32
    )
    angle = 2 * math.pi * turns
    cos, sin = math.cos(angle), math.sin(angle)
    turn = np.asarray([[1, 0, 0], [0, cos, -sin], [0, sin, cos]], np.float32)
    matrix = np.linalg.inv(to_yiq) @ turn @ to_yiq
    return np.clip(image @ matrix.T, 0, 1).astype(np.float32)


def _other_hues(layers: Layers, rng: np.random.Generator) -> FloatArray:
    """The scene in false colours: hues turned, greys tinted."""
    turns, behind = rng.uniform(0.25, 0.75, 2)
    tint = _hue(float(rng.uniform()), 0.65, 1.0)
    spread = layers.colours.max(axis=-1) - layers.colours.min(axis=-1)
    tinted = layers.colours * tint
    colours = _turn_hues(layers.colours, float(turns))
    colours = _mix(tinted, colours, np.clip(spread * 4, 0, 1))
    return _mix(_turn_hues(layers.background, float(behind)), colours, layers.alpha)


def _pop_art(layers: Layers, rng: np.random.Generator) -> FloatArray:
    """Few flat inks: one pair for the background, brighter ones for the object."""
    hue = float(rng.uniform())
    luma = _luma(layers.background)
    split = np.quantile(luma, 0.5)
    dark, light = _hue(hue, 0.75, 0.72), _hue(hue + 0.05, 0.6, 0.95)
    ground = np.where((luma > split)[..., None], light, dark)
    inks = np.stack(
        [
            np.asarray((0.08, 0.05, 0.12), np.float32),
            _hue(hue + 0.42, 0.85, 0.75),
            _hue(hue + 0.5, 0.65, 1.0),
            np.asarray((1.0, 0.98, 0.9), np.float32),
        ]
    )
    level = np.digitize(_luma(layers.colours), (0.17, 0.46, 0.82))
    return _mix(ground, inks[level], layers.alpha)


def _duotone(layers: Layers, rng: np.random.Generator) -> FloatArray:
    """A print in one ink on coloured paper, in four tones, a little out of register."""
    hue = float(rng.uniform())
    paper, ink = _hue(hue + 0.5, 0.12, 0.98), _hue(hue, 0.85, 0.35)
    ground = 0.45 + 0.55 * _luma(layers.background)
    tone = np.floor(
        np.clip(_luma(_mix(ground[..., None], layers.colours, layers.alpha)), 0, 0.999) * 4
    )
    return ink + (paper - ink) * (tone / 3)[..., None]


def _watercolour(layers: Layers, rng: np.random.Generator) -> FloatArray:
    """Washes that run out before the edge of a grainy paper; lines soften into the colours."""
    side = layers.alpha.shape[0]
    dx, dy = (1.6 * _noise(rng, side, 12) for _ in range(2))
    flow = [_warp(a, dx, dy) for a in (layers.colours, layers.alpha, layers.lines)]
    picture = _to_picture(flow[0]).filter(ImageFilter.MaxFilter(5)).filter(ImageFilter.BoxBlur(1))
    fill = np.asarray(picture, np.float32) / 255
    fill = 0.12 + 0.88 * fill
    paper = np.asarray((0.985, 0.97, 0.93), np.float32)
    behind = _blur(layers.background, 5) * 0.55 + paper * 0.45
    edge = np.minimum.reduce(np.indices((side, side)))
    edge = np.minimum(edge, edge[::-1, ::-1])
    washed = np.clip((edge + 2.5 * _noise(rng, side, 16) - 6) / 4, 0, 1).astype(np.float32)
    scene = _mix(np.broadcast_to(paper, behind.shape), behind, washed)
    pigment = 1 + 0.10 * _noise(rng, side, 14)
    scene = _mix(scene, fill * pigment[..., None], 0.92 * flow[1])
    scene = _mix(scene, scene * 0.35, 0.8 * _blur(flow[2], 0.8))
    grain = 1 + 0.035 * rng.standard_normal((side, side), dtype=np.float32)
    return np.clip(scene * grain[..., None], 0, 1)


def _halftone(layers: Layers, rng: np.random.Generator) -> FloatArray:
    """Comic print: dots in the local colour on cream paper, flat fills and black lines on top."""
    side = layers.alpha.shape[0]
    rows, columns = np.indices((side, side), dtype=np.float32)
    angle = math.radians(float(rng.uniform(15, 75)))
    pitch = 3.0 * DETAIL
    u = (columns * math.cos(angle) + rows * math.sin(angle)) * (2 * math.pi / pitch)
    v = (-columns * math.sin(angle) + rows * math.cos(angle)) * (2 * math.pi / pitch)
    screen = (np.cos(u) + np.cos(v)) / 4 + 0.5
    paper = np.asarray((0.99, 0.96, 0.86), np.float32)
    scene = _composed(layers)
    tone = np.clip(1.05 - _luma(scene), 0, 1)
    strongest = scene.max(axis=-1, keepdims=True)
    ink = np.clip(scene / np.maximum(strongest, 1e-3), 0, 1) ** 1.6 * (0.25 + 0.6 * strongest)
    covered = np.clip((screen - (1 - 0.25 - 0.65 * tone)) * 6, 0, 1)
    # The object keeps a flat tint between its dots, or its small parts would fall through them.
    tint = _mix(np.broadcast_to(paper, scene.shape), scene, 0.7 * layers.alpha)
    printed = _mix(tint, ink, covered * (1 - 0.5 * layers.alpha))
    return _mix(printed, np.zeros_like(printed), np.clip(layers.lines * 1.2, 0, 1))


def _embroidery(layers: Layers, rng: np.random.Generator) -> FloatArray:
    """Threads on linen: slanted stitches, those of the object across those of the ground."""
    side = layers.alpha.shape[0]
    rows, columns = np.indices((side, side), dtype=np.float32)
    angle = float(rng.uniform(0.5, 1.1))
    pitch, length = 2.0 * DETAIL, 7.0 * DETAIL
    threads: list[FloatArray] = []
    for turn in (angle, angle + math.pi / 2):
        along = columns * math.cos(turn) + rows * math.sin(turn)
        across = -columns * math.sin(turn) + rows * math.cos(turn)
        row = np.floor(across / pitch)
        round_thread = np.sin(np.pi * (across / pitch - row))
        stitch = along / length + 0.38 * row
        ends = np.clip(np.sin(np.pi * (stitch - np.floor(stitch))) * 5, 0, 1)
        threads.append(round_thread * (0.55 + 0.45 * ends))
    sheen = threads[0] + (threads[1] - threads[0]) * (layers.alpha > 0.5)
    linen = np.asarray((0.90, 0.85, 0.74), np.float32)
    ground = _blur(layers.background, 3) * 0.6 + linen * 0.4
    colours = np.round(layers.colours * 5) / 5
    scene = _mix(ground, 0.1 + 0.9 * colours, layers.alpha)
    return np.clip(scene * (0.58 + 0.55 * sheen)[..., None], 0, 1)


def _mosaic(layers: Layers, rng: np.random.Generator) -> FloatArray:
    """Tesserae of uneven brightness in light grout: small ones in the object, large around it."""
    side = layers.alpha.shape[0]
    scene = _composed(layers)
    rows, columns = np.indices((side, side), dtype=np.float32)
    angle = float(rng.uniform(-0.5, 0.5))
    u = columns * math.cos(angle) + rows * math.sin(angle) + 4 * side
    v = -columns * math.sin(angle) + rows * math.cos(angle) + 4 * side
    tiled = []
    for pitch, grout in ((3.5 * DETAIL, 0.6), (1.8 * DETAIL, 0.4)):
        i, j = np.floor(u / pitch), np.floor(v / pitch)
        cu, cv = (i + 0.5) * pitch - 4 * side, (j + 0.5) * pitch - 4 * side
        x = np.clip(cu * math.cos(angle) - cv * math.sin(angle), 0, side - 1).astype(np.intp)
        y = np.clip(cu * math.sin(angle) + cv * math.cos(angle), 0, side - 1).astype(np.intp)
        shades = 1 + 0.07 * rng.standard_normal((16, 16), dtype=np.float32)
        shade = shades[i.astype(np.intp) % 16, j.astype(np.intp) % 16]
        tile = _blur(scene, pitch / 6)[y, x] * shade[..., None]
        rim = np.minimum(
            np.minimum(u % pitch, pitch - u % pitch), np.minimum(v % pitch, pitch - v % pitch)
        )
        tiled.append(_mix(tile, np.full_like(tile, 0.86), np.clip(grout - rim / 2, 0, 1)))
    laid = _mix(tiled[0], tiled[1], (layers.alpha > 0.5).astype(np.float32))
    return np.clip(_mix(laid, laid * 0.25, 0.7 * layers.lines), 0, 1)


def _neon(layers: Layers, rng: np.random.Generator) -> FloatArray:
    """Glowing tubes before a dark wall."""
    hue = float(rng.uniform())
    wall = layers.background * np.asarray((0.16, 0.14, 0.22), np.float32)
    lit = _mix(wall, layers.colours * 0.35 + _hue(hue + 0.15, 0.8, 0.16), layers.alpha)
    tube = _hue(hue, 0.75, 1.0)
    glow = np.clip(_blur(layers.lines, 4) * 1.6, 0, 1)[..., None] * tube
    scene = 1 - (1 - np.clip(lit, 0, 1)) * (1 - 0.8 * glow)
    core = 0.55 * tube + 0.45
    return _mix(scene, np.broadcast_to(core, scene.shape), np.clip(layers.lines * 1.1, 0, 1))


Style = Callable[[Layers, np.random.Generator], FloatArray]
STYLES: dict[str, Style] = {
    "other-hues": _other_hues,
    "pop-art": _pop_art,
    "duotone": _duotone,
    "watercolour": _watercolour,
    "halftone": _halftone,
    "embroidery": _embroidery,
    "mosaic": _mosaic,
    "neon": _neon,
}


def draw_rendition(
    subtype: Subtype,
    background: str,
    pose: Pose,
    style: str,
    rng: np.random.Generator,
    side: int,
) -> Image.Image:
    """Draw ``subtype`` on ``background`` in one of ``STYLES``."""
    big = side * DETAIL
    # Backgrounds have details of fixed size in pixels: draw at the final size, then enlarge.
    behind = draw_background(background, rng, side).resize((big, big), Image.Resampling.BICUBIC)
    posed, corner = pose_ink(glyph(subtype), pose, big)
    frame = Image.new("RGBA", (big, big))
    frame.paste(posed, corner)
    pixels = np.asarray(frame, np.float32) / 255
    layers = Layers(
        background=np.asarray(behind, np.float32) / 255,
        colours=pixels[..., :3],
        alpha=pixels[..., 3],
        lines=_posed_alpha(line_ink(subtype), pose, big),
    )
    return _reduced(STYLES[style](layers, rng), side)
