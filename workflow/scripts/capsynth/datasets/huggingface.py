"""Data sets of Hugging Face's hub, or made with its ``datasets`` library, read from a local folder.

Rows are read by their numbers from memory-mapped Arrow files. Folders that ``save_to_disk`` wrote
are read as they are; Parquet files and image folders are first converted by the library, once, into
the folder that is given as cache.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from capsynth.datasets.folder import files_token as content_token
from capsynth.datasets.rows import Label, LabelledRow, SourceRow, SourceSettings, class_rows
from capsynth.errors import CapsynthError
from capsynth.files import write_json
from capsynth.fingerprints import file_digest, fingerprint

SUMMARY = "files.json"


def paths(settings: SourceSettings) -> dict[str, Path]:
    """Return the files of the folder, by their names in it.

    Raises:
        CapsynthError: If there is no such folder or it is empty.
    """
    root = Path(settings.path)
    found = {
        str(path.relative_to(root)): path
        for path in sorted(root.rglob("*"))
        if path.is_file() and not any(part[0] == "." for part in path.relative_to(root).parts)
    }
    if not found:
        raise CapsynthError(
            f"data set {root} does not exist or is empty; `snakemake prefetch` fetches "
            "data sets of the hub"
        )
    return found


def _load(settings: SourceSettings, cache: Path) -> Any:
    """Return the split as a ``datasets.Dataset`` whose images are not decoded."""
    import datasets

    root, split = Path(settings.path), settings.split
    datasets.disable_progress_bars()
    try:
        if (root / "dataset_dict.json").exists() or (root / "state.json").exists():
            whole: Any = datasets.load_from_disk(str(root))
        else:
            whole = datasets.load_dataset(str(root), cache_dir=str(cache / "arrow"))
    except (ValueError, OSError, datasets.exceptions.DatasetsError) as error:
        raise CapsynthError(f"data set {root} cannot be read: {error}") from error
    if isinstance(whole, datasets.DatasetDict):
        if split not in whole:
            raise CapsynthError(
                f"data set {root} has no split {split!r}; it has {', '.join(sorted(whole))}"
            )
        whole = whole[split]
    for key in ("image_column", "label_column"):
        column = getattr(settings, key)
        if column not in whole.column_names:
            raise CapsynthError(
                f"data set {root} has no column {column!r}; set {key} to one of "
                f"{', '.join(whole.column_names)}"
            )
    return whole.cast_column(settings.image_column, datasets.Image(decode=False))


def _bytes(image: Mapping[str, Any]) -> bytes:
    return image["bytes"] if image["bytes"] is not None else Path(image["path"]).read_bytes()


def _rows(settings: SourceSettings, cache: Path) -> Iterator[LabelledRow]:
    import datasets

    table = _load(settings, cache)
    kind = table.features[settings.label_column]
    names = kind.names if isinstance(kind, datasets.ClassLabel) else None
    for number, row in enumerate(table):
        image, value = row[settings.image_column], row[settings.label_column]
        if image is None or value is None or (names is not None and value < 0):
            continue  # rows of a test split have no label
        label: Label = (names[value], value) if names is not None else value
        stem = Path(image["path"] or "").stem
        digest = hashlib.sha256(_bytes(image)).hexdigest()
        yield (
            label,
            SourceRow(f"{stem}-{number:08d}" if stem else f"{number:08d}", digest, row=number),
        )


def scan(
    settings: SourceSettings, class_ids: Sequence[str], cache: Path
) -> tuple[dict[str, list[SourceRow]], dict[str, Any]]:
    """Return the images of each class, and what ``digests`` needs to tell later what changed."""
    files = {
        name: [path.stat().st_size, path.stat().st_mtime_ns, file_digest(path)]
        for name, path in paths(settings).items()
    }
    token = fingerprint({name: row[2] for name, row in files.items()})
    write_json(cache / SUMMARY, {"token": token, "files": files})
    rows = class_rows(_rows(settings, cache), class_ids, settings)
    return rows, {"token": token, "digests": {class_id: token for class_id in class_ids}}


def files_token(settings: SourceSettings, summary: Mapping[str, Any], cache: Path) -> str:
    """Return a name of the folder that changes with its bytes: pinned data sets do not change."""
    now = content_token(paths(settings), cache / SUMMARY)
    if "token" not in summary:  # it was damaged: this name no scan was asked by
        return fingerprint("scanned again", now)
    return str(summary["asked"]) if now == summary["token"] else now


def digests(
    settings: SourceSettings, class_ids: Sequence[str], summary: Mapping[str, Any], cache: Path
) -> dict[str, str]:
    """Return a name of the images of each class: that of the whole folder."""
    now = content_token(paths(settings), cache / SUMMARY)
    return {class_id: now for class_id in class_ids}


def open_images(settings: SourceSettings, cache: Path) -> Callable[[SourceRow], bytes]:
    """Return a function that reads the image of a row."""
    column = _load(settings, cache)

    def read(row: SourceRow) -> bytes:
        data = _bytes(column[row.row][settings.image_column])
        if hashlib.sha256(data).hexdigest() != row.sha256:
            raise CapsynthError(f"{settings.path}: row {row.row} changed; run again")
        return data

    return read
