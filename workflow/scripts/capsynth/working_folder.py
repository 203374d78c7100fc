"""The folder that a run works in: whether it is this user's to work in."""

import contextlib
import os
import pwd
from collections.abc import Iterator
from pathlib import Path

from capsynth.errors import CapsynthError

# What a run writes to, whatever it makes. Snakemake needs its own to look at a run, too.
WRITTEN = ("results", "logs", ".snakemake")
_SHOWN = 5


def check_folder(folder: Path) -> None:
    """Check that what runs left in a folder, and the folder itself, can be written.

    Folders further down are met by their jobs, which have words for it.

    Raises:
        CapsynthError: If not: it is another user's, or must not be written at all.
    """
    refused = [path for path in _written(folder) if not _may_work_in(path)]
    if not refused:
        return
    listed = ", ".join(
        f"{path.relative_to(folder)} (of {_owner(path)})" for path in refused[:_SHOWN]
    )
    more = f" and {len(refused) - _SHOWN} more" if len(refused) > _SHOWN else ""
    raise CapsynthError(
        f"{folder}: you, {_name(os.geteuid())}, may not write in {listed}{more}; work in a copy of "
        f"your own, without {', '.join(WRITTEN)}, or let the owner open these for you "
        "(chmod -R g+rwX, or setfacl)"
    )


def _written(folder: Path) -> Iterator[Path]:
    tops = [folder / name for name in WRITTEN]
    if not all(os.path.lexists(top) for top in tops):
        yield folder
    for top in tops:
        if os.path.isdir(top):
            yield top
            with contextlib.suppress(PermissionError), os.scandir(top) as entries:
                yield from sorted(Path(entry) for entry in entries if entry.is_dir())


def _may_work_in(path: Path) -> bool:
    return os.access(path, os.R_OK | os.W_OK | os.X_OK)


def _owner(path: Path) -> str:
    try:
        return _name(path.stat().st_uid)
    except OSError:
        return "somebody else"


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"user {user}"
