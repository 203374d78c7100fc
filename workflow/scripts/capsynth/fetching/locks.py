"""What was fetched: a stamp beside each folder, and one lock file over all of them.

A stamp ``{name}.json`` says what the folder ``{name}`` beside it holds. It bears no date: the same
content gives the same bytes. ``lock.json`` holds every stamp by section and name; what it says is
fetched again exactly, whoever asks for it and wherever.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from capsynth.errors import CapsynthError
from capsynth.files import read_json, write_json

# Folders below the download folder: registered downloads, and models and data sets of the hub.
DATA, MODELS, DATASETS = "data", "models", "datasets"
SECTIONS = (DATA, MODELS, DATASETS)

Stamp = Mapping[str, Any]


@dataclass(frozen=True)
class HubFile:
    """One file of a hub repository.

    Attributes:
        size: Its bytes.
        sha256: Its SHA-256, hex.
    """

    size: int
    sha256: str


def folder_of(stamp: Path) -> Path:
    """Return the folder that a stamp speaks of."""
    return stamp.with_name(stamp.name.removesuffix(".json"))


def read_stamp(path: Path) -> dict[str, Any]:
    """Read a stamp.

    Raises:
        CapsynthError: If it is not there or not a stamp.
    """
    try:
        stamp = read_json(path)
    except (OSError, ValueError) as error:
        raise CapsynthError(f"{path} cannot be read: {error}") from None
    if not isinstance(stamp, dict) or not ("revision" in stamp or "sha256" in stamp):
        raise CapsynthError(f"{path} is not a stamp of capsynth; delete it")
    return stamp


def write_stamp(path: Path, stamp: Stamp) -> None:
    """Write a stamp; one that says the same already keeps its time."""
    if not path.exists() or read_stamp(path) != stamp:
        write_json(path, stamp)


def hub_files(stamp: Stamp) -> dict[str, HubFile]:
    """Return the files that the stamp of a hub repository lists, by path."""
    return {name: HubFile(**values) for name, values in stamp["files"].items()}


def missing_files(stamp: Stamp, folder: Path) -> list[str]:
    """Return what ``folder`` lacks of what its stamp lists: files that are not there or cut.

    Sizes are compared, not checksums: this runs at the start of every job.
    """
    if not folder.is_dir():
        return [str(folder)]
    if "revision" not in stamp:
        return []
    return [
        str(folder / name)
        for name, file in hub_files(stamp).items()
        if not (folder / name).is_file() or (folder / name).stat().st_size != file.size
    ]


def count_files(folder: Path) -> int:
    """Return the number of files below ``folder``."""
    return sum(path.is_file() for path in folder.rglob("*"))


def read_lock(path: Path) -> dict[str, dict[str, Any]]:
    """Return the stamps of a lock file by section and name; empty sections if there is no file.

    Raises:
        CapsynthError: If the file is damaged.
    """
    try:
        lock = read_json(path) if path.exists() else {}
    except ValueError as error:
        raise CapsynthError(f"{path} is damaged ({error}); restore it or delete it") from None
    if not isinstance(lock, dict) or set(lock) - set(SECTIONS):
        raise CapsynthError(f"{path} is not a lock file of capsynth; move it away")
    return {section: dict(lock.get(section, {})) for section in SECTIONS}


def locked(lock: Path, stamp: Path) -> dict[str, Any] | None:
    """Return what a lock file says about a stamp, None if nothing."""
    entry: dict[str, Any] | None = read_lock(lock)[stamp.parent.name].get(folder_of(stamp).name)
    return entry


def write_lock(lock: Path, stamps: Iterable[Path]) -> None:
    """Put ``stamps`` into a lock file; entries of other experiments stay."""
    entries = read_lock(lock)
    for stamp in stamps:
        entries[stamp.parent.name][folder_of(stamp).name] = read_stamp(stamp)
    write_json(lock, entries)
