"""What lies in a folder of class folders: classes, what may be one, and what is none."""

import errno
import os
import stat
from pathlib import Path

from capsynth.names import shown

ARCHIVES = (".tar", ".tgz", ".tbz2", ".txz", ".zip", ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar")
# Files that lie beside class folders and are none, by the beginning of their names or its end.
_NOTES = tuple(
    "readme license licence copying notice citation authors changelog version makefile md5sum "
    "sha256sum checksum thumbs.db desktop.ini".split()
)
_TEXTS = tuple(
    ".txt .md .rst .csv .tsv .json .jsonl .xml .yaml .yml .toml .html .htm .pdf .bib .cff .log "
    ".ini .cfg .py .sh .ipynb .mat .npy .npz .pkl .db .md5 .sha1 .sha256 .lst".split()
)


def folder_problem(path: Path) -> str | None:
    """Return why a path is no folder that can be read; None if it is one, or is not there."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        if error.errno == errno.ELOOP:
            return "is a link that leads to itself"
        if path.is_symlink():
            return f"is a link that leads nowhere, to {shown(os.readlink(path))}"
        archive = next((a for a in ARCHIVES if path.with_name(path.name + a).exists()), None)
        return f"is not unpacked: {path.name}{archive} is there" if archive else None
    if stat.S_ISDIR(mode):
        return None
    if not stat.S_ISREG(mode):
        return "is a pipe or device"
    return "is not unpacked" if path.name.lower().endswith(ARCHIVES) else "is a file, no folder"


def is_harmless(name: str) -> bool:
    """Say whether a file beside class folders is hidden, a note or a list: none of the data."""
    low = name.lower()
    return low.startswith((".", *_NOTES)) or low.endswith(("~", *_TEXTS))


def class_entries(root: Path) -> tuple[list[str], list[str], list[str]]:
    """Return what lies in a folder of class folders, each sorted.

    Returns:
        Names of the class folders; a line on each entry that may be a class and cannot be read: a
        dead link, an archive, a file without an extension, a pipe; names of other files that are
        not harmless, images that belong to no class among them.

    Raises:
        OSError: If the folder cannot be read.
    """
    folders, problems, others = [], [], []
    for entry in sorted(root.iterdir(), key=lambda entry: entry.name):
        name = entry.name
        if name.startswith("."):
            continue
        problem = folder_problem(entry)
        if problem is None:
            folders.append(name)
        elif entry.is_file() and is_harmless(name):
            continue
        elif entry.is_file() and entry.suffix and not name.lower().endswith(ARCHIVES):
            others.append(name)
        else:
            problems.append(f"{shown(name)} {problem}")
    return folders, problems, others
