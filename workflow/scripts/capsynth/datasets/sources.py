"""The sources of images, by name, and what of them changed since they were packed.

``openmoji`` and ``folder`` are folders of images, one a class, and need no entry of their own: they
are packed file by file (``folder.py``). The other sources lie in few large files; each is one entry
of ``SOURCES``.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from capsynth.datasets import huggingface, tars
from capsynth.datasets.folder import NEVER_PACKED
from capsynth.datasets.rows import SourceRow, SourceSettings, write_rows
from capsynth.files import read_json, write_json
from capsynth.integrity import Damaged, unreadable
from capsynth.names import check_name

log = logging.getLogger(__name__)

Rows = dict[str, list[SourceRow]]
Summary = Mapping[str, Any]
# Beside the indices of the classes: what the scan found, for the next dry run.
SUMMARY = ".index.json"
CACHE = ".cache"


@dataclass(frozen=True)
class IndexedSource:
    """A source whose images lie in few large files.

    Attributes:
        paths: Those files, by name.
        scan: ``(settings, class_ids, cache) -> rows by class, summary``. The summary holds
            ``digests``, a name of the contents of each class, and what the next two need.
        files_token: ``(settings, summary, cache)``: ``summary["asked"]`` while the files are as
            they were when they were scanned, else a name of what they are now.
        digests: ``(settings, class_ids, summary, cache)``: the ``digests`` of the files now.
        open_images: ``(settings, cache)``: a function that reads the bytes of a row's image.
    """

    paths: Callable[[SourceSettings], dict[str, Path]]
    scan: Callable[[SourceSettings, Sequence[str], Path], tuple[Rows, dict[str, Any]]]
    files_token: Callable[[SourceSettings, Summary, Path], str]
    digests: Callable[[SourceSettings, Sequence[str], Summary, Path], dict[str, str]]
    open_images: Callable[[SourceSettings, Path], Callable[[SourceRow], bytes]]


SOURCES: dict[str, IndexedSource] = {
    "webdataset": IndexedSource(
        tars.paths, tars.scan, tars.files_token, tars.digests, tars.open_images
    ),
    "huggingface": IndexedSource(
        huggingface.paths,
        huggingface.scan,
        huggingface.files_token,
        huggingface.digests,
        huggingface.open_images,
    ),
}


def source_of(settings: SourceSettings) -> IndexedSource:
    """Return the source of ``settings``."""
    return SOURCES[check_name("source", settings.source, SOURCES)]


def index_source(
    settings: SourceSettings, class_ids: Sequence[str], token: str, folder: Path
) -> dict[str, int]:
    """Scan a source and write the index of each class, ``{folder}/{class_id}.jsonl``.

    Args:
        settings: The source.
        class_ids: The classes; images of others are left out.
        token: What ``index_token`` returned, recorded for the next time.
        folder: Where the indices and what was learned of the source's files are kept.

    Returns:
        Images by class.
    """
    rows, summary = source_of(settings).scan(settings, class_ids, folder / CACHE)
    for class_id, of_class in rows.items():
        write_rows(folder / f"{class_id}.jsonl", of_class)
    write_json(folder / SUMMARY, {**summary, "asked": token})
    return {class_id: len(of_class) for class_id, of_class in rows.items()}


def index_token(settings: SourceSettings, folder: Path) -> str:
    """Return a name of a source's files: another one if it has to be scanned anew."""
    if not (folder / SUMMARY).exists():
        return NEVER_PACKED
    return source_of(settings).files_token(settings, read_summary(folder), folder / CACHE)


def read_summary(folder: Path) -> dict[str, Any]:
    """Return what the last scan left; nothing if that is damaged, so that the source is scanned.

    What is asked for then has a name that no scan of whole files was asked by.
    """
    try:
        summary = read_json(folder / SUMMARY)
        if {"asked", "digests"} <= summary.keys():
            return dict(summary)
    except (Damaged, AttributeError):
        pass
    log.warning("%s is damaged: the source is scanned again", folder / SUMMARY)
    return {"asked": NEVER_PACKED, "digests": {}}


def class_digests(
    settings: SourceSettings, class_ids: Sequence[str], folder: Path
) -> dict[str, str]:
    """Return a name of the images of each class, now; none before the first scan."""
    if not (folder / SUMMARY).exists():
        return {}
    summary = read_summary(folder)
    return source_of(settings).digests(settings, class_ids, summary, folder / CACHE)


def class_token(digest: str | None, index: Path) -> str:
    """Return the token of a class shard: as long as its images are the same, that of its packing.

    Args:
        digest: Name of the images of the class, from ``class_digests``.
        index: What ``write_class_index`` wrote when the shard was packed.
    """
    if digest is None or not index.exists():
        return NEVER_PACKED
    packed = read_class_index(index)
    return packed["token"] if packed["digest"] == digest else digest


def read_class_index(index: Path) -> dict[str, str]:
    """Return what was packed of a class; what fits no class if that is damaged."""
    try:
        packed = read_json(index)
        return {name: str(packed[name]) for name in ("token", "digest")}
    except (Damaged, KeyError, TypeError):
        log.warning("%s is damaged: the images of its shard are packed again", index)
        return {"token": NEVER_PACKED, "digest": ""}


def write_class_index(index: Path, class_id: str, token: str, folder: Path) -> None:
    """Record what was packed of a class: its digest, and the token that packing was asked for."""
    summary = read_json(folder / SUMMARY)
    try:
        digest = summary["digests"][class_id]
    except (KeyError, TypeError) as error:
        raise unreadable(folder / SUMMARY, error) from error
    write_json(index, {"token": token, "digest": digest})
