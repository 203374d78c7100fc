"""What was fetched: a stamp beside each folder, and one lock file over all of them.

A stamp ``{name}.json`` says what the folder ``{name}`` beside it holds. It bears no date: the same
content gives the same bytes. ``lock.json`` holds every stamp by section and name; what it says is
fetched again exactly, whoever asks for it and wherever.
"""

import hashlib
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from capsynth.errors import CapsynthError
from capsynth.files import read_json, write_json
from capsynth.fingerprints import file_digest

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
    except (OSError, ValueError, RecursionError) as error:
        raise CapsynthError(f"{path} cannot be read: {error}") from None
    if not _is_stamp(stamp):
        raise CapsynthError(f"{path} is not a stamp of capsynth; delete it")
    return dict(stamp)


def _is_stamp(stamp: Any) -> bool:
    """Return whether a value is a stamp, as far as jobs need it."""
    if not isinstance(stamp, dict):
        return False
    if "revision" not in stamp:
        return _has(stamp, sha256=str)
    return _has(stamp, revision=str, files=dict) and all(
        isinstance(file, dict) and file.keys() == {"size", "sha256"} and _has(file, size=int)
        for file in stamp["files"].values()
    )


def _is_whole_stamp(stamp: Any) -> bool:
    """Return whether a value is a stamp by which something can be fetched again."""
    if not _is_stamp(stamp):
        return False
    if "revision" not in stamp:
        return _has(stamp, url=str, bytes=int, files=int)
    return _has(stamp, id=str, kind=str, wanted=list, bytes=int)


def _has(values: Mapping[str, Any], **kinds: type) -> bool:
    return all(isinstance(values.get(name), kind) for name, kind in kinds.items())


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


def files_below(folder: Path) -> list[Path]:
    """Return the files below ``folder``, sorted."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def listing_digest(folder: Path) -> str:
    """Return a name of what lies below ``folder``: of the names and sizes of all files."""
    return _digest_of(((file, str(file.stat().st_size)) for file in files_below(folder)), folder)


def content_digest(folder: Path) -> str:
    """Return a name of what lies below ``folder``: of the names and contents of all files."""
    files = files_below(folder)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return _digest_of(zip(files, pool.map(file_digest, files), strict=True), folder)


def _digest_of(files: Iterable[tuple[Path, str]], folder: Path) -> str:
    digest = hashlib.sha256()
    for path, value in files:
        digest.update(os.fsencode(path.relative_to(folder)) + b"\0" + value.encode() + b"\n")
    return digest.hexdigest()


def is_whole(stamp: Stamp, folder: Path) -> bool:
    """Return whether ``folder`` has the files that its stamp tells of, by their names and sizes.

    Of a registered download that was unpacked by an earlier release only their number is known.
    """
    if missing_files(stamp, folder):
        return False
    if "revision" in stamp:
        return True
    if "listing" in stamp:
        return bool(stamp["listing"] == listing_digest(folder))
    return bool(stamp["files"] == len(files_below(folder)))


def is_as_stamped(stamp: Stamp, folder: Path) -> bool:
    """Return whether ``folder`` holds, bit for bit, what a stamp tells of, and nothing else.

    For a folder that is there without its stamp, whoever put it there.
    """
    if not folder.is_dir():
        return False
    if "revision" not in stamp:
        return bool(stamp.get("content") == content_digest(folder))
    known = {folder / name: file.sha256 for name, file in hub_files(stamp).items()}
    is_listed = is_whole(stamp, folder) and set(files_below(folder)) == known.keys()
    return is_listed and all(file_digest(path) == sha256 for path, sha256 in known.items())


def read_lock(path: Path) -> dict[str, dict[str, Any]]:
    """Return the stamps of a lock file by section and name; empty sections if there is no file.

    Raises:
        CapsynthError: If the file is damaged.
    """
    try:
        lock = read_json(path) if path.exists() else {}
    except (ValueError, RecursionError) as error:
        raise CapsynthError(f"{path} is damaged ({error}); restore it or delete it") from None
    is_lock = isinstance(lock, dict) and all(isinstance(part, dict) for part in lock.values())
    if not is_lock or set(lock) - set(SECTIONS):
        raise CapsynthError(f"{path} is not a lock file of capsynth; move it away")
    for section, entries in lock.items():
        for name, entry in entries.items():
            if not _is_whole_stamp(entry):
                raise CapsynthError(
                    f"{path}: its entry {section}/{name} is damaged; restore the file, or delete "
                    "the entry to take what is there today"
                )
    return {section: dict(lock.get(section, {})) for section in SECTIONS}


def locked(lock: Path, stamp: Path) -> dict[str, Any] | None:
    """Return what a lock file says about a stamp, None if nothing."""
    entry: dict[str, Any] | None = read_lock(lock)[stamp.parent.name].get(folder_of(stamp).name)
    return entry


def write_lock(lock: Path, stamps: Iterable[Path]) -> None:
    """Put ``stamps`` into a lock file; entries of other experiments stay."""
    entries = read_lock(lock)
    for stamp in stamps:
        values = read_stamp(stamp)
        if not _is_whole_stamp(values):
            raise CapsynthError(f"{stamp} is damaged; delete it")
        entries[stamp.parent.name][folder_of(stamp).name] = values
    write_json(lock, entries)
