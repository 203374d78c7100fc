"""What exists in the embedded world: classes, subtypes, senses, backgrounds, and their words.

A class name says less than an image does: every class has subtypes that look different, and two
class names have a second sense (bat, mouse). Subtypes are listed from common to rare, as the web
shows them.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Subtype:
    """One way an object looks.

    Attributes:
        subtype_id: Stable kebab-case identifier.
        phrase: Noun phrase with its article, the object's part of a caption.
        glyph: OpenMoji code point.
        fill: ``(old, new)`` RGB colours where the glyph is recoloured, else None: the luminance of
            ``old`` becomes the colour ``new``.
    """

    subtype_id: str
    phrase: str
    glyph: int
    fill: tuple[tuple[int, int, int], tuple[int, int, int]] | None = None


@dataclass(frozen=True)
class ObjectClass:
    """A class: its name, its subtypes in the right sense, and those of another sense of the name.

    Attributes:
        class_id: Stable identifier; for this world also the name.
        typical_backgrounds: Backgrounds on which the class is usually photographed.
        subtypes: Subtypes of the class, common ones first.
        other_sense: Subtypes of another thing with the same name; never members of the class.
    """

    class_id: str
    typical_backgrounds: tuple[str, str]
    subtypes: tuple[Subtype, ...]
    other_sense: tuple[Subtype, ...] = ()


BAT_GREY = (63, 63, 63)
MOUSE_GREY = (208, 207, 206)

CLASSES: tuple[ObjectClass, ...] = (
    ObjectClass(
        "car",
        ("road", "desert"),
        (
            Subtype("taxi", "a yellow taxi", 0x1F695),
            Subtype("jeep", "a blue jeep", 0x1F699),
            Subtype("pickup", "a red pickup truck", 0x1F6FB),
            Subtype("van", "a grey van", 0x1F690),
        ),
    ),
    ObjectClass(
        "dog",
        ("grass", "room"),
        (
            Subtype("hound", "a ginger hound", 0x1F415),
            Subtype("puppy-face", "the face of a puppy", 0x1F436),
            Subtype("poodle", "a grey poodle", 0x1F429),
            Subtype("guide-dog", "a brown guide dog", 0x1F9AE),
        ),
    ),
    ObjectClass(
        "bird",
        ("sky", "sea"),
        (
            Subtype("duck", "a brown duck with a green head", 0x1F986),
            Subtype("parrot", "a red parrot", 0x1F99C),
            Subtype("flamingo", "a pink flamingo", 0x1F9A9),
            Subtype("penguin", "a black and white penguin", 0x1F427),
        ),
    ),
    ObjectClass(
        "fish",
        ("sea", "room"),
        (
            Subtype("blue-fish", "a blue fish", 0x1F41F),
            Subtype("angelfish", "a striped angelfish", 0x1F420),
            Subtype("shark", "a grey shark", 0x1F988),
            Subtype("pufferfish", "a round brown pufferfish", 0x1F421),
        ),
    ),
    ObjectClass(
        "flower",
        ("grass", "room"),
        (
            Subtype("rose", "a red rose", 0x1F339),
            Subtype("sunflower", "a yellow sunflower", 0x1F33B),
            Subtype("tulip", "an orange tulip", 0x1F337),
            Subtype("lotus", "a pink lotus", 0x1FAB7),
        ),
    ),
    ObjectClass(
        "tree",
        ("grass", "snow"),
        (
            Subtype("oak", "a leafy oak tree", 0x1F333),
            Subtype("fir", "a green fir tree", 0x1F332),
            Subtype("palm", "a palm tree", 0x1F334),
            Subtype("christmas-tree", "a christmas tree with a star", 0x1F384),
        ),
    ),
    ObjectClass(
        "fruit",
        ("room", "grass"),
        (
            Subtype("apple", "a red apple", 0x1F34E),
            Subtype("banana", "a yellow banana", 0x1F34C),
            Subtype("grapes", "a bunch of purple grapes", 0x1F347),
            Subtype("watermelon", "a slice of watermelon", 0x1F349),
        ),
    ),
    ObjectClass(
        "house",
        ("snow", "road"),
        (
            Subtype("cottage", "a white cottage with a red roof", 0x1F3E0),
            Subtype("castle", "a grey stone castle", 0x1F3F0),
            Subtype("garden-house", "a house with a green garden", 0x1F3E1),
            Subtype("hut", "a brown straw hut", 0x1F6D6),
        ),
    ),
    ObjectClass(
        "bat",
        ("night", "sky"),
        (
            Subtype("black-bat", "a black bat with wings", 0x1F987),
            Subtype("brown-bat", "a brown bat with wings", 0x1F987, (BAT_GREY, (150, 84, 40))),
            Subtype("white-bat", "a white bat with wings", 0x1F987, (BAT_GREY, (240, 236, 226))),
        ),
        (
            Subtype("cricket-bat", "a wooden cricket bat with a ball", 0x1F3CF),
            Subtype("table-tennis-bat", "a red table tennis bat with a ball", 0x1F3D3),
        ),
    ),
    ObjectClass(
        "mouse",
        ("room", "night"),
        (
            Subtype("grey-mouse", "a grey mouse with a tail", 0x1F401),
            Subtype(
                "brown-mouse",
                "a brown mouse with a tail",
                0x1F401,
                (MOUSE_GREY, (176, 112, 58)),
            ),
            Subtype("mouse-face", "the face of a mouse", 0x1F42D),
        ),
        (
            Subtype("grey-computer-mouse", "a grey computer mouse", 0x1F5B1),
            Subtype(
                "black-computer-mouse",
                "a black computer mouse",
                0x1F5B1,
                (MOUSE_GREY, (64, 64, 72)),
            ),
        ),
    ),
)

BACKGROUND_PHRASES: dict[str, str] = {
    "grass": "on the grass",
    "sea": "in the sea",
    "night": "at night",
    "desert": "in the desert",
    "snow": "in the snow",
    "room": "in a room",
    "road": "on a road",
    "sky": "in the sky",
}
BACKGROUNDS: tuple[str, ...] = tuple(BACKGROUND_PHRASES)

CLASS_BY_ID: dict[str, ObjectClass] = {c.class_id: c for c in CLASSES}
ALL_SUBTYPES: tuple[Subtype, ...] = tuple(s for c in CLASSES for s in (*c.subtypes, *c.other_sense))
SUBTYPE_BY_ID: dict[str, Subtype] = {s.subtype_id: s for s in ALL_SUBTYPES}

# How often the web shows the first, second, ... subtype of a sense, and how often its caption
# then says no more than the class name: what is common goes without saying. Together they make
# `a photo of a car` a taxi in 59, a jeep in 25, a pickup in 11 and a van in 5 cases of 100.
WEB_SUBTYPE_PRIOR = (0.40, 0.27, 0.20, 0.13)
WEB_BARE_CAPTION = (0.40, 0.25, 0.15, 0.10)
# Half of the web's bats and mice are the other sense.
WEB_OTHER_SENSE = 0.5


def caption(subtype: Subtype, background: str) -> str:
    """Return the full caption of a scene, for example ``a yellow taxi on a road``."""
    return f"{subtype.phrase} {BACKGROUND_PHRASES[background]}"


def subtype_prior(weights: tuple[float, ...], n: int) -> tuple[float, ...]:
    """Return the first ``n`` weights, normalised to sum to one."""
    total = sum(weights[:n])
    return tuple(w / total for w in weights[:n])
