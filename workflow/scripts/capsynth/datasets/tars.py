"""WebDataset tars as a source: ``{key}.jpg|jpeg|png|webp`` beside ``{key}.cls`` or ``{key}.json``.

A key ends at the last dot of a member's name: ``c.v1.jpg`` and ``c.v1.cls`` are a sample. Where
there is no label of that key, it ends at the first dot, as the library webdataset has it: then
``c.seg.png`` is one more part of the sample ``c`` and not its image, which is ``c.jpg``.

A tar is read once, from its beginning to its end; what was found in it is kept beside the index, so
a tar that did not change is never read again, and its images are fetched by their offsets.
"""

import contextlib
import hashlib
import json
import logging
import re
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from capsynth.datasets.folder import MAX_IMAGE_BYTES
from capsynth.datasets.rows import LabelledRow, SourceRow, SourceSettings, class_rows, rows_digest
from capsynth.errors import CapsynthError
from capsynth.files import read_json, write_json
from capsynth.fingerprints import fingerprint
from capsynth.integrity import Damaged
from capsynth.reading import open_steady
from capsynth.tar_headers import bounded_headers

log = logging.getLogger(__name__)

IMAGE_EXTENSIONS = ("jpg", "jpeg", "png", "webp")
# ImageNet in one tar, an image and its label each, has a quarter of this.
MAX_MEMBERS = 10_000_000
MAX_LABEL_BYTES = 1 << 20
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")


def expand_braces(pattern: str) -> list[str]:
    """Return the words of a pattern such as ``a-{000..002}.tar`` or ``{train,extra}.tar``."""
    match = _BRACES.search(pattern)
    if match is None:
        return [pattern]
    span = _RANGE.fullmatch(match[1])
    if span:
        first, last = int(span[1]), int(span[2])
        words = [str(number).zfill(len(span[1])) for number in range(first, last + 1)]
    else:
        words = match[1].split(",")
    rests = expand_braces(pattern[match.end() :])
    return [f"{pattern[: match.start()]}{word}{rest}" for word in words for rest in rests]


def list_tars(path: str) -> dict[str, Path]:
    """Return the tars of a folder, or of a pattern with ``*``, ``?`` and braces, by their names.

    Raises:
        CapsynthError: If there are none, or a name of a pattern without wildcards is missing.
    """
    if Path(path).is_dir():
        found = sorted(Path(path).glob("*.tar"))
    else:
        found = []
        for word in expand_braces(path):
            if not set(word) & set("*?["):
                found.append(Path(word))
                continue
            start = Path(Path(word).anchor or ".")
            found += sorted(start.glob(str(Path(word).relative_to(Path(word).anchor))))
    missing = [tar for tar in found if not tar.is_file()]
    if missing or not found:
        raise CapsynthError(
            f"tar {missing[0]} does not exist; mend path"
            if missing
            else f"path {path!r} names no tar; give a folder of *.tar files, or a pattern"
        )
    return {str(tar): tar for tar in dict.fromkeys(found)}


@dataclass(frozen=True)
class _Unfit:
    """A member that is no image or label; that matters only if it is one of a sample."""

    reason: str


class _Members:
    """Images and labels of a tar, by their keys up to the last dot."""

    def __init__(self, path: Path, label_key: str | None) -> None:
        self._path, self._label_key = path, label_key
        self._wanted = "cls" if label_key is None else "json"
        self._images: dict[str, SourceRow | _Unfit] = {}
        self._labels: dict[str, str | int | _Unfit] = {}

    def add(self, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        """Note a member, if it is named like an image or a label."""
        folder, _, base = member.name.removeprefix("./").rpartition("/")
        stem, _, extension = base.rpartition(".")
        extension = extension.lower()
        # ``._a.jpg`` is what macOS notes of ``a.jpg``.
        is_other = extension != self._wanted and extension not in IMAGE_EXTENSIONS
        if is_other or not stem or base.startswith("."):
            return
        name = f"{folder}/{stem}" if folder else stem
        try:
            self._add(tar, member, name, extension)
        except CapsynthError as error:
            if "." not in stem:
                raise
            known: Any = self._labels if extension == self._wanted else self._images
            known[name] = _Unfit(str(error))

    def _add(
        self, tar: tarfile.TarFile, member: tarfile.TarInfo, name: str, extension: str
    ) -> None:
        is_label = extension == self._wanted
        _check_member(self._path, member, MAX_LABEL_BYTES if is_label else MAX_IMAGE_BYTES)
        file = tar.extractfile(member)
        assert file is not None  # it is a regular file
        data = file.read()
        if is_label:
            label = _label(data, self._label_key, f"{self._path}: {member.name}")
            if self._labels.setdefault(name, label) != label:
                raise CapsynthError(f"{self._path}: {name!r} has two labels; remove one")
            return
        if name in self._images:
            raise CapsynthError(f"{self._path}: {name!r} has two images; remove one")
        self._images[name] = SourceRow(
            key=name.replace("/", "_"),
            sha256=hashlib.sha256(data).hexdigest(),
            file=str(self._path),
            offset=member.offset_data,
            size=member.size,
        )

    def rows(self) -> list[LabelledRow]:
        """Return the images with their labels, in the order of the tar."""
        rows: list[LabelledRow] = []
        for name, image in self._images.items():
            label = self._labels.get(name)
            if label is None:
                self._check_part(name)
                continue
            if isinstance(label, _Unfit):
                raise CapsynthError(label.reason)
            if isinstance(image, _Unfit):
                raise CapsynthError(image.reason)
            rows.append((label, image))
        alone = [
            name
            for name in self._labels
            if name not in self._images and _first_part(name) not in self._images
        ]
        if alone:
            log.warning(
                "%s: %d labels without an image (%s), the first %s.%s, are left out",
                self._path, len(alone), ", ".join(IMAGE_EXTENSIONS), alone[0], self._wanted,
            )  # fmt: skip
        return rows

    def _check_part(self, name: str) -> None:
        """Raise CapsynthError if an image without a label is not one more part of a sample."""
        sample = _first_part(name)
        if sample != name and sample in self._labels and sample in self._images:
            return
        also = f"; {sample}.{self._wanted} is there, of another key" if sample != name else ""
        raise CapsynthError(
            f"{self._path}: {name}.{self._wanted} is missing; add it, or set label_key"
            + (also if sample in self._labels else "")
        )


def _first_part(name: str) -> str:
    """Return a member's key up to the first dot of its base."""
    folder, slash, base = name.rpartition("/")
    return folder + slash + base.partition(".")[0]


def scan_tar(path: Path, label_key: str | None) -> list[LabelledRow]:
    """Return the images of a tar, in its order.

    Args:
        path: The tar, not compressed: a compressed one cannot be read at random.
        label_key: Key of ``{key}.json`` that holds the label; None reads ``{key}.cls``.

    Raises:
        CapsynthError: If it is no tar, has members that no data set has (see ``_check_member``), or
            an image has no label; or if it cannot be read.
    """
    members = _Members(path, label_key)
    try:
        with (
            open_steady(path) as file,
            tarfile.open(fileobj=file, mode="r:", tarinfo=bounded_headers(path)) as tar,
        ):
            for count, member in enumerate(tar, start=1):
                tar.members = []  # type: ignore[attr-defined]  # tarfile keeps them all
                if count > MAX_MEMBERS:
                    raise CapsynthError(f"{path}: more than {MAX_MEMBERS} members; divide it")
                # Links, devices and folders are no images. Nothing is ever unpacked.
                if member.isfile():
                    members.add(tar, member)
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        # tarfile trusts the numbers in headers; a seek to a negative place is a ValueError.
        raise CapsynthError(
            f"{path}: {error}; it is damaged or compressed; fetch it again, or gunzip it"
        ) from None
    return members.rows()


def _check_member(path: Path, member: tarfile.TarInfo, limit: int) -> None:
    """Raise CapsynthError if a member is larger than it may be, or says so of holes in it."""
    if member.issparse():
        raise CapsynthError(f"{path}: {member.name!r} is a sparse file; pack the tar without them")
    if member.size > limit:
        raise CapsynthError(
            f"{path}: {member.name!r} has {member.size} bytes, and at most {limit} make sense; "
            "remove it"
        )


def _label(data: bytes, label_key: str | None, where: str) -> str | int:
    try:
        if label_key is None:
            return data.decode().strip()
        value = json.loads(data)[label_key]
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise CapsynthError(f"{where}: no label {label_key!r} ({error}); set label_key") from None
    return value if isinstance(value, int) else str(value)


def _status(tar: Path) -> list[int]:
    status = tar.stat()
    return [status.st_size, status.st_mtime_ns]


def _kept(cache: Path, name: str, label_key: str | None) -> Path:
    """Return where the scan of a tar is kept."""
    return cache / f"{fingerprint(name, label_key)}.json"


def _rows(
    tars: Mapping[str, Path], label_key: str | None, cache: Path, keep: bool
) -> Iterator[LabelledRow]:
    """Yield the images of all tars; tars that are as they were are not read again."""
    for name, tar in tars.items():
        kept = _kept(cache, name, label_key)
        status = _status(tar)
        known = _read_kept(kept)
        if known.get("status") == status:
            rows = [
                (row[0], SourceRow(row[1], row[2], name, row[3], row[4])) for row in known["rows"]
            ]
        else:
            rows = scan_tar(tar, label_key)
            if keep:
                plain = [[label, r.key, r.sha256, r.offset, r.size] for label, r in rows]
                about = {"status": status, "rows": plain}
                write_json(kept, {**about, "fingerprint": fingerprint(about)})
        yield from rows


def _read_kept(path: Path) -> dict[str, Any]:
    """Return what is kept of a tar; nothing if there is none, or it is not what was written."""
    try:
        about: dict[str, Any] = read_json(path)
        # Older versions kept none.
        said = about.pop("fingerprint", None)
        return about if said in (None, fingerprint(about)) else {}
    except (FileNotFoundError, Damaged, AttributeError):
        return {}


def scan(
    settings: SourceSettings, class_ids: Sequence[str], cache: Path
) -> tuple[dict[str, list[SourceRow]], dict[str, Any]]:
    """Return the images of each class, and what ``digests`` needs to tell later what changed."""
    tars = list_tars(settings.path)
    statuses = {name: _status(tar) for name, tar in tars.items()}
    rows = class_rows(_rows(tars, settings.label_key, cache, keep=True), class_ids, settings)
    return rows, {
        "files": statuses,
        "digests": {class_id: rows_digest(of_class) for class_id, of_class in rows.items()},
    }


def _lost(
    settings: SourceSettings, statuses: Mapping[str, Any], summary: Mapping[str, Any], cache: Path
) -> list[str]:
    """Return the tars whose scan is gone though they look as they did; see ``open_images``."""
    return [
        name
        for name, status in statuses.items()
        if summary["files"].get(name) == status
        and not _kept(cache, name, settings.label_key).exists()
    ]


def files_token(settings: SourceSettings, summary: Mapping[str, Any], cache: Path) -> str:
    """Return a name of the tars that changes with the name, size or time of any of them.

    It changes too if one was found to hold other bytes than were scanned.
    """
    now = {name: _status(tar) for name, tar in list_tars(settings.path).items()}
    if "files" not in summary:  # it was damaged: this name no scan was asked by
        return fingerprint("scanned again", now)
    if lost := _lost(settings, now, summary, cache):
        return fingerprint(now, summary["asked"], lost)
    return str(summary["asked"]) if now == summary["files"] else fingerprint(now)


def digests(
    settings: SourceSettings, class_ids: Sequence[str], summary: Mapping[str, Any], cache: Path
) -> dict[str, str]:
    """Return a name of the images of each class.

    Tars whose size or time is not as recorded are read; nothing is written.
    """
    tars = list_tars(settings.path)
    now = {name: _status(tar) for name, tar in tars.items()}
    if now == summary.get("files") and not _lost(settings, now, summary, cache):
        return dict(summary["digests"])
    rows = class_rows(_rows(tars, settings.label_key, cache, keep=False), class_ids, settings)
    return {class_id: rows_digest(of_class) for class_id, of_class in rows.items()}


def open_images(settings: SourceSettings, cache: Path) -> Callable[[SourceRow], bytes]:
    """Return a function that reads an image by its offset; one tar is kept open at a time.

    An image that is not the one that was found there is refused, and the scan of its tar is
    forgotten: size and time of the tar may be as they were, and it would not be read again.
    """
    opened: list[Any] = []

    def read(row: SourceRow) -> bytes:
        if not opened or opened[0] != row.file:
            if opened:
                opened[1].close()
            opened[:] = [row.file, open_steady(Path(row.file))]
        opened[1].seek(row.offset)
        data: bytes = opened[1].read(row.size)
        if hashlib.sha256(data).hexdigest() != row.sha256:
            with contextlib.suppress(OSError):
                _kept(cache, row.file, settings.label_key).unlink(missing_ok=True)
            raise CapsynthError(
                f"{row.file}: {row.key!r} changed while it was packed, or since the tar was "
                "scanned; start again, it is scanned anew"
            )
        return data

    return read


def paths(settings: SourceSettings) -> dict[str, Path]:
    """Return the files that the source lies in, by name."""
    return list_tars(settings.path)
