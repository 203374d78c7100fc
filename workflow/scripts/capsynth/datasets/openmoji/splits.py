"""The data sets drawn from the embedded world: which scenes each of them shows, and why.

Every scene is drawn from a generator of its own, seeded by split, world seed and index, so any
scene can be drawn alone and a longer split begins with the shorter one.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from capsynth.datasets.openmoji.drawing import (
    UNUSUAL_BACKGROUNDS,
    Pose,
    draw_background,
    draw_cropped_pose,
    draw_pose,
    glyph,
    place,
)
from capsynth.datasets.openmoji.renditions import STYLES, draw_rendition, draw_sketch
from capsynth.datasets.openmoji.unknown import UNKNOWN, UNKNOWN_BY_ID, UNKNOWN_SUBTYPES
from capsynth.datasets.openmoji.world import (
    BACKGROUND_PHRASES,
    BACKGROUNDS,
    CLASS_BY_ID,
    CLASSES,
    SUBTYPE_BY_ID,
    WEB_BARE_CAPTION,
    WEB_OTHER_SENSE,
    WEB_SUBTYPE_PRIOR,
    ObjectClass,
    Subtype,
    caption,
    subtype_prior,
)
from capsynth.errors import CapsynthError
from capsynth.names import check_name
from capsynth.seeding import derive_seed

IMAGE_SIDE = 48
# Large objects near the middle, hardly tilted: the poses of the web, of the training images and of
# every evaluation set that does not shift the pose.
POSE_SIZE = (0.62, 0.86)
POSE_OFFSET = 0.09
POSE_ANGLE = 12.0


@dataclass(frozen=True)
class WebScene:
    """One captioned scene of the web.

    Attributes:
        caption: What the web says, in uneven detail.
        full_caption: Subtype and background in words.
        class_id: The class whose name the caption uses; the scene may show its other sense.
        subtype_id: What is shown.
        background: What it is shown on.
    """

    caption: str
    full_caption: str
    class_id: str
    subtype_id: str
    background: str


def scene_rng(split: str, seed: int, *parts: str | int) -> np.random.Generator:
    """Return the generator of one scene."""
    return np.random.default_rng(derive_seed("openmoji", split, seed, *parts))


def draw_scene(
    subtype: Subtype, background: str, pose: Pose, rng: np.random.Generator, side: int = IMAGE_SIDE
) -> Image.Image:
    """Draw ``subtype`` in ``pose`` on ``background`` as an RGB image."""
    return place(draw_background(background, rng, side), glyph(subtype), pose)


def draw_web_scene(seed: int, index: int) -> tuple[Image.Image, WebScene]:
    """Draw scene ``index`` of the captioned web.

    The web shows both senses of an ambiguous name, common subtypes more often than rare ones,
    and backgrounds evenly; its captions say the less the more common the thing is.
    """
    rng = scene_rng("web", seed, index)
    object_class = CLASSES[rng.integers(len(CLASSES))]
    senses = [object_class.subtypes]
    if object_class.other_sense:
        senses.append(object_class.other_sense)
    subtypes = senses[int(rng.random() < WEB_OTHER_SENSE) if len(senses) > 1 else 0]
    rank = int(rng.choice(len(subtypes), p=subtype_prior(WEB_SUBTYPE_PRIOR, len(subtypes))))
    subtype = subtypes[rank]
    background = BACKGROUNDS[rng.integers(len(BACKGROUNDS))]
    pose = draw_pose(rng, POSE_SIZE, POSE_OFFSET, POSE_ANGLE)
    text = _web_caption(object_class, subtype, rank, background, rng)
    image = draw_scene(subtype, background, pose, rng)
    full = caption(subtype, background)
    return image, WebScene(text, full, object_class.class_id, subtype.subtype_id, background)


def _web_caption(
    object_class: ObjectClass,
    subtype: Subtype,
    rank: int,
    background: str,
    rng: np.random.Generator,
) -> str:
    name = f"a {object_class.class_id}"
    place_phrase = BACKGROUND_PHRASES[background]
    if rng.random() < WEB_BARE_CAPTION[rank]:
        return f"a photo of {name}" if rng.random() < 0.7 else name
    detail = rng.random()
    if detail < 0.50:
        return f"a photo of {name}, {subtype.phrase} {place_phrase}"
    if detail < 0.75:
        return f"{subtype.phrase} {place_phrase}"
    if detail < 0.85:
        return f"a photo of {name}, {subtype.phrase}"
    if detail < 0.90:
        return subtype.phrase
    return f"a photo of {name} {place_phrase}"


# The real data set --------------------------------------------------------------------------------

# Name of the background of scenes that have none, and of the style of plain scenes.
NO_BACKGROUND = "none"
PLAIN = "plain"


@dataclass(frozen=True)
class PoseRange:
    """The poses of a split.

    Attributes:
        size: Smallest and largest size, as fractions of the image side.
        offset: Largest distance of the centre from the middle, per axis, as a fraction of the
            image side. Not used where ``cropped`` is given.
        angle: Largest tilt, degrees.
        cropped: Smallest and largest share of the object's extent that one edge of the frame cuts
            off; None if the object stands free.
    """

    size: tuple[float, float]
    offset: float
    angle: float
    cropped: tuple[float, float] | None = None

    def draw(self, rng: np.random.Generator, ink_size: tuple[int, int]) -> Pose:
        """Draw a pose for a glyph of ``ink_size`` (width, height)."""
        if self.cropped is None:
            return draw_pose(rng, self.size, self.offset, self.angle)
        return draw_cropped_pose(rng, self.size, self.cropped, self.angle, ink_size)


@dataclass(frozen=True)
class RealScene:
    """What a scene of the real data set shows.

    Attributes:
        class_id: The class; always its right sense.
        subtype_id: The subtype shown.
        background: What it is shown on; ``none`` for sketches.
        style: One of ``renditions.STYLES``, ``sketch`` or ``plain``.
        pose: Where and how the object stands.
    """

    class_id: str
    subtype_id: str
    background: str
    style: str
    pose: Pose


Painter = Callable[[RealScene, np.random.Generator, int], Image.Image]


def _paint_plain(scene: RealScene, rng: np.random.Generator, side: int) -> Image.Image:
    return draw_scene(SUBTYPE_BY_ID[scene.subtype_id], scene.background, scene.pose, rng, side)


def _paint_unknown(scene: RealScene, rng: np.random.Generator, side: int) -> Image.Image:
    return draw_scene(UNKNOWN_SUBTYPES[scene.subtype_id], scene.background, scene.pose, rng, side)


def _paint_sketch(scene: RealScene, rng: np.random.Generator, side: int) -> Image.Image:
    return draw_sketch(SUBTYPE_BY_ID[scene.subtype_id], scene.pose, rng, side)


def _paint_rendition(scene: RealScene, rng: np.random.Generator, side: int) -> Image.Image:
    subtype = SUBTYPE_BY_ID[scene.subtype_id]
    return draw_rendition(subtype, scene.background, scene.pose, scene.style, rng, side)


def uniform_prior(n: int) -> tuple[float, ...]:
    """Return equal probabilities of ``n`` subtypes."""
    return (1 / n,) * n


def rare_first_prior(n: int) -> tuple[float, ...]:
    """Return the web's probabilities of ``n`` subtypes, given to them in the reverse order."""
    return subtype_prior(WEB_SUBTYPE_PRIOR, n)[::-1]


USUAL_POSES = PoseRange(POSE_SIZE, POSE_OFFSET, POSE_ANGLE)


@dataclass(frozen=True)
class Split:
    """One split of the real data set: the distribution of its scenes.

    Attributes:
        name: Name in the configuration.
        differs: What differs from the training images, in a few words.
        poses: Sizes, places and tilts.
        prior: Probabilities of a class's subtypes, given their number.
        bias_factor: Share of the context bias that this split keeps: 1 as in training, 0 none.
        backgrounds: Backgrounds that scenes without a typical one choose from, evenly.
        typical_too: Whether those include the typical backgrounds of the class.
        styles: Styles, chosen evenly.
        painter: What draws a scene.
    """

    name: str
    differs: str
    poses: PoseRange = USUAL_POSES
    prior: Callable[[int], tuple[float, ...]] = uniform_prior
    bias_factor: float = 1.0
    backgrounds: tuple[str, ...] = BACKGROUNDS
    typical_too: bool = True
    styles: tuple[str, ...] = (PLAIN,)
    painter: Painter = _paint_plain


_SPLITS = (
    Split("train", "nothing: these are the training images"),
    Split("val", "nothing but the draw: fresh scenes of the same distribution"),
    Split("calibration", "nothing but the draw, as val: held out to fit temperatures on"),
    Split("held-out", "nothing but the draw, as val: for learning curves"),
    Split(
        "v2",
        "rare subtypes are common, half the context bias, objects smaller and freer",
        poses=PoseRange(size=(0.52, 0.80), offset=0.13, angle=18.0),
        prior=rare_first_prior,
        bias_factor=0.5,
    ),
    Split(
        "sketch",
        "black strokes on white: no colour, no background",
        bias_factor=0.0,
        backgrounds=(NO_BACKGROUND,),
        styles=("sketch",),
        painter=_paint_sketch,
    ),
    Split(
        "r",
        "renditions: other palettes and textures",
        styles=tuple(STYLES),
        painter=_paint_rendition,
    ),
    Split(
        "a",
        "cut by the frame, tilted, on a background the class is not seen on",
        poses=PoseRange(size=POSE_SIZE, offset=0.0, angle=30.0, cropped=(0.05, 0.20)),
        bias_factor=0.0,
        backgrounds=BACKGROUNDS + UNUSUAL_BACKGROUNDS,
        typical_too=False,
    ),
)
SPLITS: dict[str, Split] = {split.name: split for split in _SPLITS}
# Beside them the one whose things are of no class.
ALL_SPLITS: dict[str, Split] = {
    **SPLITS,
    UNKNOWN: Split(UNKNOWN, "the things: none is of a class", painter=_paint_unknown),
}


def classes_of(split: str) -> dict[str, ObjectClass]:
    """Return what a split shows, by name."""
    return UNKNOWN_BY_ID if split == UNKNOWN else CLASS_BY_ID


def is_typical(split: str, class_id: str, background: str) -> bool:
    """Return whether a class is usually seen on a background."""
    return background in classes_of(split)[class_id].typical_backgrounds


def background_probabilities(
    split: Split, object_class: ObjectClass, context_bias: float
) -> dict[str, float]:
    """Return how likely each background is behind ``object_class`` in ``split``.

    With probability ``context_bias`` (times the share that the split keeps) the background is one
    of the class's two typical ones, otherwise any of the split's. Impossible ones are left out.
    """
    typical = object_class.typical_backgrounds
    bias = context_bias * split.bias_factor
    others = [b for b in split.backgrounds if split.typical_too or b not in typical]
    chances = dict.fromkeys(others, (1 - bias) / len(others))
    if bias > 0:
        for background in typical:
            chances[background] = chances.get(background, 0.0) + bias / len(typical)
    return chances


def plan_real_scene(
    split: str, seed: int, class_id: str, index: int, context_bias: float
) -> RealScene:
    """Decide what scene ``index`` of a class shows in a split, without drawing it.

    The context bias moves backgrounds only: subtype, pose and style of a scene are the same at any
    bias, and a scene that is on a typical background by the bias stays on it when the bias grows.

    Raises:
        CapsynthError: If the split or the class is unknown or the bias is not in [0, 1].
    """
    about = ALL_SPLITS[check_name("split", split, ALL_SPLITS)]
    known = classes_of(split)
    object_class = known[check_name("class", class_id, known)]
    if not 0 <= context_bias <= 1:
        raise CapsynthError(f"context bias {context_bias} is not a share; give one from 0 to 1")
    rng = scene_rng(split, seed, class_id, index)
    subtypes = object_class.subtypes
    subtype = subtypes[int(rng.choice(len(subtypes), p=about.prior(len(subtypes))))]
    pose = about.poses.draw(rng, glyph(subtype).size)
    style = about.styles[rng.integers(len(about.styles))]
    # All three are drawn in any case, so that the draws that follow do not depend on the bias.
    is_biased = rng.random() < context_bias * about.bias_factor
    typical = object_class.typical_backgrounds
    habitual = typical[rng.integers(len(typical))]
    others = [b for b in about.backgrounds if about.typical_too or b not in typical]
    free = others[rng.integers(len(others))]
    background = habitual if is_biased else free
    return RealScene(class_id, subtype.subtype_id, background, style, pose)


def draw_real_scene(
    split: str,
    seed: int,
    class_id: str,
    index: int,
    context_bias: float,
    side: int = IMAGE_SIDE,
) -> tuple[Image.Image, RealScene]:
    """Draw scene ``index`` of a class in a split of the real data set.

    Args:
        split: One of ``SPLITS``.
        seed: Seed of the data set.
        class_id: One of the world's classes; only its right sense is shown.
        index: Position within the class: a longer split begins with the shorter one.
        context_bias: Share of the training scenes that are put on a typical background of their
            class; see ``background_probabilities``.
        side: Side of the square image in pixels.

    Returns:
        The RGB image and what it shows.

    Raises:
        CapsynthError: If the split or the class is unknown or the bias is not in [0, 1].
    """
    scene = plan_real_scene(split, seed, class_id, index, context_bias)
    rng = scene_rng(split, seed, class_id, index, "paint")
    return ALL_SPLITS[split].painter(scene, rng, side), scene


def background_only_accuracy(split: str, class_ids: tuple[str, ...], context_bias: float) -> float:
    """Return the best accuracy of a classifier that sees nothing but the background's name.

    It answers, for each background, the class that is shown on it most often (Bayes' rule with
    equal class sizes).
    """
    about = SPLITS[check_name("split", split, SPLITS)]
    chances = [background_probabilities(about, CLASS_BY_ID[c], context_bias) for c in class_ids]
    backgrounds = sorted({b for row in chances for b in row})
    return sum(max(row.get(b, 0.0) for row in chances) for b in backgrounds) / len(class_ids)
