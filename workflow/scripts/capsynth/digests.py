"""SHA-256 of large files, worked out once as long as they stay as they are.

What a file held is kept beside what the file system says of it: path, inode, size, and the times of
its last change of content and of anything. Whoever writes to a file changes the last one, which no
program can set. What rots on a disk without being written is found when the file is hashed anew.
"""

import contextlib
import os
import time
from pathlib import Path

from capsynth.errors import CapsynthError
from capsynth.files import read_json, write_json
from capsynth.fingerprints import file_digest, fingerprint

# A file that was changed this lately may change again within the resolution of its times.
SETTLED_S = 2.0

# What the file system says of a file: while it is the same, so is its content.
State = tuple[str, int, int, int, int]

_taken: dict[Path, State] = {}
_doubts: list[str] = []


def state_of(path: Path) -> State:
    """Return what tells a file from what it may become.

    Raises:
        OSError: If it is not there.
    """
    about = path.stat()
    place = os.path.realpath(path)
    return place, about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns


def cached_digest(path: Path, cache: Path | None = None) -> str:
    """Return the SHA-256 of a file, hex.

    Args:
        path: The file.
        cache: Folder of what is known already; it is filled, if it can be written.

    Raises:
        OSError: If the file cannot be read.
    """
    if cache is None:
        return file_digest(path)
    state = state_of(path)
    entry = cache / f"{fingerprint(state[0])}.json"
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):  # none, or a damaged one
        known = read_json(entry)
        if known["state"] == [*state] and known["check"] == fingerprint(state, known["sha256"]):
            return str(known["sha256"])
    digest = file_digest(path)
    settled = time.time() - max(state[3:]) / 1e9 > SETTLED_S
    if settled and state_of(path) == state:
        with contextlib.suppress(OSError, CapsynthError):  # it is only a cache
            check = fingerprint(state, digest)
            write_json(entry, {"state": state, "sha256": digest, "check": check})
    return digest


def note_taken(path: Path) -> None:
    """Note that a file is as it should be now, before it is loaded."""
    _taken[path] = state_of(path)


def note_doubt(reason: str) -> None:
    """Note why what is loaded may not be used: told after loading, whose errors say more."""
    _doubts.append(reason)


def forget_taken() -> None:
    """Forget what was noted for an earlier load."""
    _taken.clear()
    _doubts.clear()


def require_as_taken() -> None:
    """Raise CapsynthError if a noted file was changed, being half of each, or is in doubt."""
    taken, doubts = dict(_taken), list(_doubts)
    forget_taken()
    if doubts:
        raise CapsynthError(doubts[0])
    for path, state in taken.items():
        if not path.is_file() or state_of(path) != state:
            raise CapsynthError(
                f"{path} was changed while it was being loaded; start again when it stays as it is"
            )
