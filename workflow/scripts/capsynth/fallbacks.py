"""Prompts that fell back: they lack what their strategy is named after, each with its reason.

A variant of captions whose captions are all empty trains on class names, under the name of the
captions. So every prompt says whether it fell back and why, the tables show how many did, and a
class shard in which more did than ``max_fallback`` allows is refused before an image is drawn.
"""

import math
from collections import Counter
from collections.abc import Mapping

from capsynth.captions import NOT_REWRITTEN
from capsynth.errors import CapsynthError

# The caption holds nothing: the captioner or rewriter said nothing usable, or a policy emptied it.
EMPTY_CAPTION = "empty-caption"
# The caption begins with a place, so {subject} is the whole of it, background included.
NO_SUBJECT = "no-subject"
# The caption has no word of the class name, and on_classless is class-name.
NO_CLASS_WORD = "no-class-word"
# And captions.NOT_REWRITTEN: the caption stands as it was before the rewriter.
REASONS: Mapping[str, str] = {
    EMPTY_CAPTION: "empty",
    NOT_REWRITTEN: "not rewritten",
    NO_SUBJECT: "without a subject before the place",
    NO_CLASS_WORD: "without a word of the class name",
}
# What nobody asked for; on_classless: class-name asks for the other one.
UNASKED = (EMPTY_CAPTION, NOT_REWRITTEN, NO_SUBJECT)


def fallback_of(
    is_empty: bool, gives_way: bool, caption_status: str | None, lacks_subject: bool
) -> str | None:
    """Return why a prompt made from a caption falls back, the first of ``REASONS``; None if not.

    Args:
        is_empty: Whether the caption holds nothing.
        gives_way: Whether the class name stands in its place, as it has no word of it.
        caption_status: Status of the caption, one of ``captions.STATUSES``.
        lacks_subject: Whether the template asks for its subject and there is none.
    """
    if is_empty:
        return EMPTY_CAPTION
    if caption_status == NOT_REWRITTEN:
        return NOT_REWRITTEN
    if gives_way:
        return NO_CLASS_WORD
    return NO_SUBJECT if lacks_subject else None


def check_fallbacks(
    reasons: Mapping[str, int], captions: int, max_fallback: float, variant: str, shard: str
) -> None:
    """Check that few captions of a class shard fell back without being asked to.

    Args:
        reasons: How many captions fell back, by reason.
        captions: Captions that prompts are made from.
        max_fallback: Share that may fall back, rounded up to whole captions; below 1 never all.
        variant: Name of the variant, for the message.
        shard: Class shard, for the message.

    Raises:
        CapsynthError: If more did; the message names variant, class shard, counts and remedy.
    """
    lost = sum(reasons.get(reason, 0) for reason in UNASKED)
    allowed = math.ceil(round(max_fallback * captions, 6))
    if lost <= allowed and (lost < captions or not captions or max_fallback >= 1):
        return
    raise CapsynthError(
        f"variants.{variant}, class shard {shard}: {lost} of {captions} captions cannot be used as "
        f"its strategy asks ({told(reasons)}), and max_fallback {max_fallback:g} allows {allowed}; "
        "its images would be those of other prompts under its name. The captions and what the "
        f"model said under raw are in the file given as --captions. {_remedy(reasons)}; or raise "
        f"variants.{variant}.max_fallback (1 allows all), and the tables will say how many"
    )


def told(reasons: Mapping[str, int]) -> str:
    """Return counts in words: ``57 empty, 2 not rewritten``; ``none`` if there are none."""
    counts = Counter(reasons)
    return ", ".join(f"{counts[r]} {REASONS[r]}" for r in REASONS if counts[r]) or "none"


def _remedy(reasons: Mapping[str, int]) -> str:
    main = max(UNASKED, key=lambda reason: reasons.get(reason, 0))
    return {
        EMPTY_CAPTION: (
            "Mend the captioner (model, prompt, max_new_tokens, on_repeated, on_cut) and caption "
            "again"
        ),
        NOT_REWRITTEN: (
            "Mend the rewriter (prompt, retries, min_words, max_words, ascii_only) and rewrite "
            "again"
        ),
        NO_SUBJECT: "Take the strategy caption-background, which asks for no subject",
    }[main]
