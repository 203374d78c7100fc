"""Source folders: one folder of images a class. What they hold, and whether that has changed.

Packing leaves an index of what it read: name, size, time and SHA-256 of every file. From it
the workflow tells in milliseconds whether the folders still hold the same images: a file whose
size and time are as recorded is taken as unchanged, any other is read and compared by content. So
copying, touching or restoring the same bytes is no change, and no image is read twice.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from capsynth.errors import CapsynthError
from capsynth.files import read_json, write_json
from capsynth.fingerprints import file_digest, fingerprint

EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp"})
NEVER_PACKED = "not packed before"


@dataclass(frozen=True)
class SourceFile:
    """An image file of a class folder.

    Attributes:
        name: File name within the class folder.
        size: Bytes.
        mtime_ns: Time of the last change, nanoseconds since the epoch.
    """

    name: str
    size: int
    mtime_ns: int


def list_images(folder: Path) -> list[SourceFile]:
    """Return the image files of a class folder, sorted by name.

    Raises:
        CapsynthError: If the folder does not exist or holds no image.
    """
    try:
        with os.scandir(folder) as entries:
            found = [
                SourceFile(entry.name, entry.stat().st_size, entry.stat().st_mtime_ns)
                for entry in entries
                if Path(entry.name).suffix.lower() in EXTENSIONS and entry.is_file()
            ]
    except FileNotFoundError:
        raise CapsynthError(
            f"class folder {folder} does not exist; create it or take the class off dataset.classes"
        ) from None
    if not found:
        raise CapsynthError(
            f"class folder {folder} holds no image ({', '.join(sorted(EXTENSIONS))}); "
            "add images or take the class off dataset.classes"
        )
    return sorted(found, key=lambda file: file.name)


def write_index(path: Path, folders: Mapping[str, Path], token: str) -> None:
    """Record what was packed.

    Args:
        path: The index, a JSON file.
        folders: Class folders by class.
        token: The source token that the packing was asked for (see ``source_token``).
    """
    rows = {
        f"{class_id}/{file.name}": [file.size, file.mtime_ns, file_digest(folder / file.name)]
        for class_id, folder in folders.items()
        for file in list_images(folder)
    }
    write_json(path, {"token": token, "files": rows})


def source_token(folders: Mapping[str, Path], index: Path) -> str:
    """Return a name of the contents of class folders that changes only when the contents do.

    Before the first packing there is no index, and the token is a constant, so that nothing has to
    be read twice. After that it is the token of the last packing for as long as the folders hold
    the same names and bytes, and a digest of them once they do not.
    """
    if not index.exists() or not all(folder.exists() for folder in folders.values()):
        return NEVER_PACKED
    recorded = read_json(index)
    known: dict[str, list[int | str]] = recorded["files"]
    now: dict[str, str] = {}
    for class_id, folder in folders.items():
        for file in list_images(folder):
            name = f"{class_id}/{file.name}"
            size, mtime_ns, digest = known.get(name, (None, None, ""))
            same = (size, mtime_ns) == (file.size, file.mtime_ns)
            now[name] = str(digest) if same else file_digest(folder / file.name)
    if now == {name: digest for name, (_, _, digest) in known.items()}:
        return str(recorded["token"])
    return fingerprint(now)
