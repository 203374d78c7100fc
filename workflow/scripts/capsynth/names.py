"""Names that users write: looking them up, and saying what was meant when they are mistyped."""

import difflib
from collections.abc import Iterable

from capsynth.errors import CapsynthError


def check_name(kind: str, name: str, known: Iterable[str]) -> str:
    """Return ``name`` if it is one of ``known``.

    Args:
        kind: What the name stands for, for example ``split``.
        name: The name to check.
        known: The names that exist, in the order in which they are listed to the user.

    Raises:
        CapsynthError: If it is not; the message gives the nearest known name and all of them.
    """
    names = list(known)
    if name in names:
        return name
    nearest = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean {nearest[0]!r}? " if nearest else ""
    raise CapsynthError(f"unknown {kind} {name!r}; {hint}known: {', '.join(names)}")
