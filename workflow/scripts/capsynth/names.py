"""Names: what was meant when one is mistyped, and how that of a file may be shown."""

import difflib
import re
from collections.abc import Iterable

from capsynth.errors import CapsynthError

# Control characters, marks of direction, and the lone surrogates that stand for
# bytes that are no UTF-8.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


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


def shown(name: str) -> str:
    """Return the name of a file as it may stand in messages, JSON and tables: one line of UTF-8."""
    return _UNPRINTABLE.sub(_escaped, name)


def printable(name: str) -> str:
    """Return a name with ``_`` in the place of each character that ``shown`` would write out."""
    return _UNPRINTABLE.sub("_", name)


def _escaped(match: re.Match[str]) -> str:
    sign = match[0]
    # os.fsdecode puts byte 0xNN at U+DCNN.
    return f"\\x{ord(sign) - 0xDC00:02x}" if "\udc80" <= sign <= "\udcff" else ascii(sign)[1:-1]
