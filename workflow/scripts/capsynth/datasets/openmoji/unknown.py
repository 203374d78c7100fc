"""Things that the embedded world does not know: none of its classes, nor their other senses.

There are as many kinds as classes, and each is seen where the class at its place in the list is
usually seen. Over all images the backgrounds, poses and the context bias of the split ``unknown``
are therefore those of ``val``: only the things differ.
"""

from capsynth.datasets.openmoji.world import CLASSES, ObjectClass, Subtype

UNKNOWN = "unknown"

_KINDS: tuple[tuple[str, tuple[Subtype, ...]], ...] = (
    (
        "clock",
        (
            Subtype("alarm-clock", "an alarm clock", 0x23F0),
            Subtype("mantel-clock", "a brown mantel clock", 0x1F570),
            Subtype("watch", "a grey watch", 0x231A),
        ),
    ),
    (
        "instrument",
        (
            Subtype("guitar", "a red guitar", 0x1F3B8),
            Subtype("violin", "a brown violin", 0x1F3BB),
            Subtype("drum", "a red drum with sticks", 0x1F941),
        ),
    ),
    (
        "shoe",
        (
            Subtype("running-shoe", "a grey running shoe", 0x1F45F),
            Subtype("high-heel", "a red shoe with a high heel", 0x1F460),
            Subtype("boot", "a brown boot", 0x1F97E),
        ),
    ),
    (
        "hat",
        (
            Subtype("top-hat", "a black top hat", 0x1F3A9),
            Subtype("sun-hat", "a yellow sun hat", 0x1F452),
            Subtype("crown", "a yellow crown", 0x1F451),
        ),
    ),
    (
        "book",
        (
            Subtype("red-book", "a red book", 0x1F4D5),
            Subtype("green-book", "a green book", 0x1F4D7),
            Subtype("blue-book", "a blue book", 0x1F4D8),
        ),
    ),
    (
        "key",
        (
            Subtype("yellow-key", "a yellow key", 0x1F511),
            Subtype("old-key", "an old black key", 0x1F5DD),
        ),
    ),
    (
        "tool",
        (
            Subtype("hammer", "a hammer", 0x1F528),
            Subtype("wrench", "a grey wrench", 0x1F527),
            Subtype("scissors", "a pair of scissors", 0x2702),
        ),
    ),
    (
        "telephone",
        (
            Subtype("mobile", "a grey mobile telephone", 0x1F4F1),
            Subtype("desk-telephone", "a red telephone", 0x260E),
        ),
    ),
    (
        "cup",
        (
            Subtype("teacup", "a white cup on a saucer", 0x2615),
            Subtype("beer", "a mug of beer", 0x1F37A),
            Subtype("straw-cup", "a cup with a straw", 0x1F964),
        ),
    ),
    (
        "furniture",
        (
            Subtype("chair", "a yellow chair", 0x1FA91),
            Subtype("couch", "a blue couch with a lamp", 0x1F6CB),
        ),
    ),
)

UNKNOWN_CLASSES: tuple[ObjectClass, ...] = tuple(
    ObjectClass(kind, like.typical_backgrounds, subtypes)
    for (kind, subtypes), like in zip(_KINDS, CLASSES, strict=True)
)
UNKNOWN_BY_ID: dict[str, ObjectClass] = {c.class_id: c for c in UNKNOWN_CLASSES}
UNKNOWN_SUBTYPES: dict[str, Subtype] = {
    s.subtype_id: s for c in UNKNOWN_CLASSES for s in c.subtypes
}
