"""Source folders: one folder of images per class. What they hold, and whether that has changed.

Packing leaves an index of what it read: name, size, time and SHA-256 of every file. From it
the workflow tells in milliseconds whether the folders still hold the same images: a file whose
size and time are as recorded is taken as unchanged, any other is read and compared by content. So
copying, touching or restoring the same bytes is no change, and no image is read twice.
"""

import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from capsynth.datasets.drawn import images_digest
from capsynth.errors import CapsynthError
from capsynth.files import read_json, write_json
from capsynth.fingerprints import fingerprint
from capsynth.integrity import Damaged
from capsynth.names import shown
from capsynth.reading import FileState, ReadFailed, Unusable, digest_file, read_file

log = logging.getLogger(__name__)

# .jfif, .jpe, .pjpeg and .pjp are JPEG files by the names that browsers and cameras give them.
EXTENSIONS = frozenset(
    {".png", ".jpg", ".jpeg", ".jfif", ".jpe", ".pjpeg", ".pjp", ".webp", ".bmp", ".gif", ".tif"}
    | {".tiff"}
)
# A photo of 100 megapixels takes less.
MAX_IMAGE_BYTES = 1 << 29
NEVER_PACKED = "not packed before"
# In the place of the checksum of what cannot be read, and of its time: it is looked at every time.
UNREADABLE, NO_TIME = "unreadable", -1
# A file that is watched: its name in the index, where it lies, bytes, time of change in ns.
Watched = tuple[str, Path | str, int, int]


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
    """Return what is named like an image in a class folder, sorted by name.

    That may be no file, or one that cannot be read: whoever reads it has to say so.

    Raises:
        CapsynthError: If the folder does not exist, cannot be read or holds no image.
    """
    try:
        with os.scandir(folder) as entries:
            found = [_source_file(e) for e in entries if is_named_like_an_image(e.name)]
    except FileNotFoundError:
        raise CapsynthError(
            f"class folder {folder} does not exist; create it or take the class off dataset.classes"
        ) from None
    except OSError as error:
        raise CapsynthError(
            f"class folder {folder} cannot be read ({error.strerror}); mend it or take the class "
            "off dataset.classes"
        ) from None
    if not found:
        left = left_out(folder)
        raise CapsynthError(
            f"class folder {folder} holds no image ({', '.join(sorted(EXTENSIONS))})"
            f"{f', but {left}' if left else ''}; add images or take the class off dataset.classes"
        )
    return sorted(found, key=lambda file: file.name)


def left_out(folder: Path) -> str | None:
    """Return what of a class folder is not read, in words with counts; None if nothing is.

    Files in subfolders are counted where they are named like images.
    """
    subfolders = inside = 0
    files: Counter[str] = Counter()
    for name in os.listdir(folder):
        if name.startswith(".") or is_named_like_an_image(name):
            continue
        if os.path.isdir(f"{folder}/{name}"):  # not so of a link that leads nowhere or to itself
            subfolders += 1
            inside += sum(map(is_named_like_an_image, _files_below(f"{folder}/{name}")))
        else:
            files[os.path.splitext(name)[1].lower()] += 1
    words = [f"{files[suffix]} {shown(suffix) or 'without extension'}" for suffix in sorted(files)]
    if subfolders:
        named = "subfolder" if subfolders == 1 else "subfolders"
        words.append(f"{subfolders} {named} with {inside} images")
    return ", ".join(words) or None


def _files_below(folder: str) -> Iterator[str]:
    for _, _, names in os.walk(folder):
        yield from names


def is_named_like_an_image(name: str) -> bool:
    """Say whether a file's name ends as those of images do that are read."""
    return os.path.splitext(name)[1].lower() in EXTENSIONS


def _source_file(entry: os.DirEntry[str]) -> SourceFile:
    try:
        status = entry.stat()
    except OSError:  # a link that leads nowhere, or to itself
        status = entry.stat(follow_symlinks=False)
    return SourceFile(entry.name, status.st_size, status.st_mtime_ns)


def read_image_file(path: Path) -> tuple[bytes, FileState]:
    """Return the bytes of an image file, and its state as they were read.

    Raises:
        Unusable: If it is no file, hidden, larger than images are, or may not be read.
        ReadFailed: If it cannot be read now.
    """
    if _is_hidden(path):
        raise Unusable("a hidden file")
    try:
        return read_file(path, MAX_IMAGE_BYTES)
    except FileNotFoundError as error:
        # It was there when its folder was listed.
        raise ReadFailed(path, error) from error


def _is_hidden(path: Path) -> bool:
    return path.name.startswith(".")


class FolderReads:
    """Class folders as they were listed for packing, and what was read of their images.

    An index of it names the bytes that were packed. A second look at the files would name others if
    one was replaced meanwhile, or could be read only then, and nothing would tell.
    """

    def __init__(self) -> None:
        self._listed: dict[str, Watched] = {}
        self._read: dict[str, FileState | None] = {}

    def list(self, label: str, folder: Path) -> list[SourceFile]:
        """Return the images of a class folder, as ``list_images``, and note them."""
        files = list_images(folder)
        self._listed.update((watched[0], watched) for watched in _of_folder(label, folder, files))
        return files

    def read(self, label: str, folder: Path, name: str) -> bytes:
        """Return the bytes of an image that was listed, as ``read_image_file``; note its state."""
        key = f"{label}/{shown(name)}"
        self._read[key] = None
        data, self._read[key] = read_image_file(folder / name)
        return data

    def write_index(self, path: Path, token: str) -> None:
        """Record what was packed.

        Args:
            path: The index, a JSON file.
            token: The source token that the packing was asked for (see ``source_token``).
        """
        rows = {}
        for name, file, size, mtime_ns in self._listed.values():
            state = self._read[name] if name in self._read else _state(Path(file))
            if state is None:
                rows[name] = [size, mtime_ns if _is_hidden(Path(file)) else NO_TIME, UNREADABLE]
            elif name in self._read:
                rows[name] = [state.size, state.mtime_ns, state.sha256]
            else:
                rows[name] = [size, mtime_ns, state.sha256]
        write_json(path, {"token": token, "files": rows})


def file_states(files: Mapping[str, Path]) -> dict[str, FileState]:
    """Return what files hold that are about to be packed, by their names."""
    return {name: digest_file(path, None) for name, path in files.items()}


def write_files_index(
    path: Path, files: Mapping[str, Path], states: Mapping[str, FileState], token: str
) -> None:
    """Record files that were packed, as ``FolderReads`` records class folders.

    Args:
        path: The index.
        files: The files, by name.
        states: What ``file_states`` returned before they were packed.
        token: As there.

    Raises:
        CapsynthError: If one has changed since.
    """
    for name, _, size, mtime_ns in _watched(files):
        if (size, mtime_ns) != (states[name].size, states[name].mtime_ns):
            raise CapsynthError(f"{files[name]} changed while it was packed; start again")
    rows = {name: [state.size, state.mtime_ns, state.sha256] for name, state in states.items()}
    write_json(path, {"token": token, "files": rows})


def source_token(folders: Mapping[str, Path], index: Path) -> str:
    """Return a name of the contents of class folders that changes only when the contents do.

    Before the first packing there is no index, and the token is a constant, so that nothing has to
    be read twice. After that it is the token of the last packing for as long as the folders hold
    the same names and bytes, and a digest of them once they do not.

    Raises:
        CapsynthError: If a folder that does exist holds no image.
    """
    if not index.exists() or not all(folder.exists() for folder in folders.values()):
        return NEVER_PACKED
    recorded = read_packed(index)
    if _is_unchanged(folders, recorded["files"]):
        return str(recorded["token"])
    return _token(_images_of(folders), recorded)


def files_token(files: Mapping[str, Path], index: Path) -> str:
    """Return a name of the contents of files that changes only when the contents do.

    As ``source_token``, for data that lies in few large files.
    """
    if not index.exists() or not files or not all(path.exists() for path in files.values()):
        return NEVER_PACKED
    return _token(_watched(files), read_packed(index))


def read_packed(index: Path) -> dict[str, Any]:
    """Return what packing recorded.

    An index that is damaged, or cut, tells of no file: so all are read and compared with nothing,
    the token is a new one, and packing writes a new index.
    """
    try:
        recorded = read_json(index)
        if type(recorded["token"]) is str and all(len(r) == 3 for r in recorded["files"].values()):
            return dict(recorded)
    except (Damaged, AttributeError, KeyError, TypeError):
        pass
    log.warning("%s is damaged: the images that it tells of are packed again", index)
    return {"token": NEVER_PACKED, "files": {}}


def drawn_token(root: Path, stamp: Path, index: Path) -> str:
    """Return a name of the contents of folders that were drawn, a constant as long as they are so.

    It depends on no earlier packing: a job that draws and one that packs may run one after the
    other on a node, where the token must be what it was before on the login node. The folders are
    as they were drawn before and after; only somebody's edit of them makes a difference.

    Args:
        root: The folder of the class folders.
        stamp: What was drawn, see ``datasets.openmoji.folders``.
        index: What was packed of it; spares reading files that have not changed since.

    Raises:
        CapsynthError: If a folder that does exist holds no image.
    """
    try:
        drawn = read_json(stamp) if stamp.exists() else {}
    except Damaged:
        drawn = {}  # another one is an input that changed; whoever packs says what is wrong with it
    folders = {class_id: root / class_id for class_id in drawn.get("class_ids", [])}
    if not folders or not all(folder.exists() for folder in folders.values()):
        return NEVER_PACKED
    known = read_packed(index)["files"] if index.exists() else {}
    now = _digests(_images_of(folders), known)
    is_as_drawn = images_digest(now.values()) == drawn.get("images_sha256")
    return NEVER_PACKED if is_as_drawn else fingerprint(now)


def _is_unchanged(folders: Mapping[str, Path], known: Mapping[str, list[int | str]]) -> bool:
    """Say whether sizes and times of all images are as recorded, and no image came or went.

    A dry run on ImageNet asks this of 1.3 million files: each costs one system call, little else.
    """
    seen = 0
    for label, folder in folders.items():
        with os.scandir(folder) as entries:
            for entry in entries:
                row = known.get(f"{label}/{entry.name}")
                if row is None:
                    if is_named_like_an_image(entry.name):
                        return False
                    continue
                if row[1] == NO_TIME:
                    return False
                try:
                    status = entry.stat()
                except OSError:
                    return False
                if status.st_size != row[0] or status.st_mtime_ns != row[1]:
                    return False
                seen += 1
    return seen == len(known)


def _images_of(folders: Mapping[str, Path]) -> Iterator[Watched]:
    for label, folder in folders.items():
        yield from _of_folder(label, folder, list_images(folder))


def _of_folder(label: str, folder: Path, files: Iterable[SourceFile]) -> Iterator[Watched]:
    for file in files:
        yield f"{label}/{shown(file.name)}", f"{folder}/{file.name}", file.size, file.mtime_ns


def _watched(files: Mapping[str, Path]) -> Iterator[Watched]:
    for name, path in files.items():
        status = path.stat()
        yield name, path, status.st_size, status.st_mtime_ns


def _state(path: Path) -> FileState | None:
    """Return what a file holds now; None if it is gone, or unusable as packing has it."""
    is_image = is_named_like_an_image(path.name)
    if is_image and _is_hidden(path):
        return None
    try:
        # A hole of terabytes would be read for hours.
        return digest_file(path, MAX_IMAGE_BYTES if is_image else None)
    except (Unusable, FileNotFoundError):
        return None


def _digest(path: Path) -> str:
    state = _state(path)
    return UNREADABLE if state is None else state.sha256


def _token(files: Iterable[Watched], recorded: Mapping[str, Any]) -> str:
    known: dict[str, list[int | str]] = recorded["files"]
    now = _digests(files, known)
    if len(now) == len(known) and all(now.get(name) == row[2] for name, row in known.items()):
        return str(recorded["token"])
    return fingerprint(now)


def _digests(files: Iterable[Watched], known: Mapping[str, list[int | str]]) -> dict[str, str]:
    """Return the digests of files by name; those that are as recorded are not read."""
    missing: list[int | str] = [-1, -1, ""]
    now: dict[str, str] = {}
    for name, file, size, mtime_ns in files:
        then = known.get(name, missing)
        same = then[0] == size and then[1] == mtime_ns
        now[name] = str(then[2]) if same else _digest(Path(file))
    return now
