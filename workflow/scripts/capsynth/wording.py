"""Words of captions and class names: what names the class, and where the subject ends."""

# Words that say nothing of a class: a caption with "of" has no word of "kite (bird of prey)".
_SMALL_WORDS = frozenset("a an and at by for from in of on or s the to with".split())
# Words after which an English caption says where its subject is.
_PLACE_WORDS = frozenset(
    "above across against along amid among around at behind below beneath beside between by during "
    "in inside near next on onto outside over past through toward towards under underneath "
    "upon within".split()
)


def words_of(text: str) -> list[str]:
    """Return the words of a text in their order: runs of letters and digits, in lower case."""
    return "".join(c if c.isalnum() else " " for c in text.lower()).split()


def has_class_word(caption: str, class_name: str) -> bool:
    """Return whether a caption has a word of the class name, in singular or plural.

    Words are compared in lower case, letters and digits only; a word matches itself with ``s`` or
    ``es`` at its end. Small words such as ``of`` do not count, unless the name has no others.
    """
    every = set(words_of(class_name))
    named = every - _SMALL_WORDS or every
    said = set(words_of(caption))
    either = {word + ending for word in named for ending in ("", "s", "es")}
    return bool(either & said or {word + ending for word in said for ending in ("s", "es")} & named)


def _words_before_place(caption: str) -> str:
    """Return a caption up to its first word of place; empty where it begins with one."""
    words = caption.split()
    places = (i for i, word in enumerate(words) if word.lower().strip(",.;:") in _PLACE_WORDS)
    return " ".join(words[: next(places, len(words))]).rstrip(",;:")


def has_subject(caption: str) -> bool:
    """Return whether anything stands before the first word of place of an English caption."""
    return bool(_words_before_place(caption))


def subject_of(caption: str) -> str:
    """Return an English caption up to its first word of place: its subject without its background.

    ``a bird standing`` of ``a bird standing in shallow water``. A rule of thumb, no grammar: what
    stands before the subject (``in a park, a dog``) or without such a word (``a wet street``) is
    taken for what it is not. A caption that begins with a place is left as it is.
    """
    return _words_before_place(caption) or caption
