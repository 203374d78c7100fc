"""Captions: their records, and what is done about those that went wrong.

All of it is pure: a raw text and whether the model ended it by itself go in, a caption and its
status come out. What the model said is kept beside the caption, so a policy can be judged.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from capsynth.errors import CapsynthError
from capsynth.names import check_name

OK = "ok"
EMPTY = "empty"
REPEATED = "repeated"
CUT = "cut"
NOT_REWRITTEN = "not-rewritten"
STATUSES = (OK, EMPTY, REPEATED, CUT, NOT_REWRITTEN)

ON_REPEATED = ("trim", "keep", "empty")
ON_CUT = ("keep", "trim", "empty")

# A phrase of one or two words is a loop from its third round on ("very very good" is English), a
# longer one from its second. Loops of longer phrases than this are not looked for.
SHORT_PHRASE, SHORT_ROUNDS, LONG_ROUNDS, LONGEST_PHRASE = 2, 3, 2, 24
# What a cut may leave dangling: "a cat and a cat and" ends as "a cat".
_DANGLING = frozenset({"and", "or", "with", "&"})

_CONTROL = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]"
)
# Tokens that tokenizers write for the start, the end and padding; a decoder that was told to leave
# them out still writes those that its tokenizer does not count as special.
_SPECIAL = re.compile(
    r"<\|[^\s<>|]*\|>"
    r"|</?s>"
    r"|<(?:pad|unk|bos|eos|mask|image|end_of_utterance|start_of_turn|end_of_turn)>"
    r"|\[(?:CLS|SEP|PAD|UNK|MASK|EOS|BOS)\]"
)
# The end of a sentence, or a comma or semicolon that a space follows.
_BOUNDARY = re.compile(r"(?P<sentence>[.!?])(?=\s|$)|[,;](?=\s)")


@dataclass(frozen=True)
class CaptionRecord:
    """One caption.

    Attributes:
        key: Key of the real image.
        class_id: Its class.
        index: Its position within the class.
        number: Which caption of the image this is, from 0.
        raw: What the model said, special tokens left out.
        caption: The text that prompts use; empty where it is not usable.
        status: One of ``STATUSES``.
        fingerprint: Fingerprint of the settings that made it.
    """

    key: str
    class_id: str
    index: int
    number: int
    raw: str
    caption: str
    status: str
    fingerprint: str


@dataclass(frozen=True)
class CaptionPolicy:
    """What is done about captions that went wrong.

    Attributes:
        on_repeated: ``trim`` keeps the first round of a loop, ``keep`` all, ``empty`` nothing.
        on_cut: ``keep`` leaves a caption that ended at ``max_new_tokens`` as it is, ``trim`` goes
            back to the last full stop or comma if there is one, ``empty`` drops it.
    """

    on_repeated: str = "trim"
    on_cut: str = "keep"

    def __post_init__(self) -> None:
        """Check both names.

        Raises:
            CapsynthError: If one is not known.
        """
        check_name("on_repeated", self.on_repeated, ON_REPEATED)
        check_name("on_cut", self.on_cut, ON_CUT)


def clean(text: str) -> str:
    """Return ``text`` on one line, without control characters and special tokens.

    Runs of white space become one space; words are left as they are, opening phrases such as
    ``a photo of`` included. Cleaning a clean text changes nothing.
    """
    # Line breaks and tabs are control characters and part words; both become spaces.
    return " ".join(_SPECIAL.sub(" ", _CONTROL.sub(" ", text)).split())


def assess(raw: str, ended: bool, policy: CaptionPolicy) -> tuple[str, str]:
    """Return the caption that is made of a raw text, and its status.

    A text is, in this order, ``empty`` if cleaning leaves no letter or digit, ``repeated`` if it
    holds a loop, ``cut`` if the model did not end it, else ``ok``. A loop that ran into the limit
    is ``repeated``, not ``cut``: the loop is why it did not end.

    Args:
        raw: What the model said.
        ended: Whether the model ended it by itself rather than at its limit of tokens.
        policy: What to do about loops and cut texts.
    """
    text = clean(raw)
    if not any(sign.isalnum() for sign in text):
        return "", EMPTY
    shorter = without_loops(text)
    if shorter != text:
        return {"trim": shorter, "keep": text, "empty": ""}[policy.on_repeated], REPEATED
    if not ended:
        return {"trim": up_to_boundary(text), "keep": text, "empty": ""}[policy.on_cut], CUT
    return text, OK


def without_loops(text: str) -> str:
    """Return a clean text with each loop cut down to its first round.

    A loop is a phrase of one or two words that stands three times in a row or more, or a phrase of
    3 to 24 words that stands twice or more; case and the signs around words do not count. What
    follows a loop is kept, unless it is only the beginning of another round. A text without loops
    comes back unchanged.
    """
    words = text.split(" ")
    while (loop := _find_loop(words)) is not None:
        start, size, end = loop
        first = words[start : start + size]
        rest = words[end:]
        if _plain(rest) == _plain(first)[: len(rest)]:
            rest = []
        kept = [*words[:start], *first]
        words = [*kept, *rest] if rest else _without_dangling(kept)
    return " ".join(words)


def _find_loop(words: Sequence[str]) -> tuple[int, int, int] | None:
    """Return start, length of the phrase and end of a loop with the shortest phrase, or None."""
    plain = _plain(words)
    for size in range(1, min(LONGEST_PHRASE, len(words) // 2) + 1):
        rounds = SHORT_ROUNDS if size <= SHORT_PHRASE else LONG_ROUNDS
        # A loop of n rounds is a run of (n - 1) * size words that each equal the one a phrase on.
        run = 0
        for position in range(len(words) - size + 1):
            here, there = position, position + size
            if there < len(words) and plain[here] == plain[there] != "":
                run += 1
                continue
            if run >= (rounds - 1) * size:
                start = here - run
                return start, size, start + (run // size + 1) * size
            run = 0
    return None


def _plain(words: Iterable[str]) -> list[str]:
    return [word.casefold().strip(".,;:!?\"'()") for word in words]


def _without_dangling(words: list[str]) -> list[str]:
    """Drop connecting words and commas from the end, as long as something is left."""
    while len(words) > 1 and words[-1].casefold().strip(",;:") in _DANGLING:
        words = words[:-1]
    last = words[-1].rstrip(",;:")
    return [*words[:-1], last] if last else words


def up_to_boundary(text: str) -> str:
    """Return a clean text up to its last full stop, or up to before its last comma.

    Whichever of the two comes last counts; a text without either comes back unchanged.
    """
    for match in reversed(list(_BOUNDARY.finditer(text))):
        kept = text[: match.end() if match["sentence"] else match.start()].rstrip()
        if any(sign.isalnum() for sign in kept):
            return kept
    return text


def count_statuses(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return how many rows have each status, in words: ``58 ok, 2 cut``."""
    counts = Counter(row["status"] for row in rows)
    return ", ".join(f"{counts[status]} {status}" for status in STATUSES if counts[status])


def by_image(
    rows: Iterable[Mapping[str, Any]], path: Path
) -> Iterator[tuple[str, dict[int, Mapping[str, Any]]]]:
    """Yield the key of each real image and its captions by number; a single one needs no number.

    Args:
        rows: Rows of a file of captions.
        path: The file, for messages.

    Raises:
        CapsynthError: If two captions of an image have one number, or do not stand together.
    """
    seen: set[str] = set()
    for source_key, group in groupby(rows, key=lambda row: str(row["key"])):
        listed = list(group)
        captions = {int(row.get("number", 0)): row for row in listed}
        if len(captions) < len(listed) or source_key in seen:
            raise CapsynthError(
                f"{path}: image {source_key!r} has two captions of one number, or captions that do "
                "not stand together; caption the images again"
            )
        seen.add(source_key)
        yield source_key, captions
