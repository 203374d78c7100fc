"""Data sets of Hugging Face's hub, or made with its ``datasets`` library, read from a local folder.

Rows are read by their numbers from memory-mapped Arrow files. Folders that ``save_to_disk`` wrote
are read as they are; Parquet files and image folders are first converted by the library, once, into
the folder that is given as cache.
"""

import contextlib
import hashlib
import logging
import math
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from capsynth.datasets.folder import MAX_IMAGE_BYTES
from capsynth.datasets.folder import files_token as content_token
from capsynth.datasets.foreign import check_builder, check_card, check_saved, is_inside
from capsynth.datasets.rows import Label, LabelledRow, SourceRow, SourceSettings, class_rows
from capsynth.errors import CapsynthError, storage_problem
from capsynth.files import write_json
from capsynth.fingerprints import file_digest, fingerprint
from capsynth.names import shown
from capsynth.reading import Unusable, read_file

log = logging.getLogger(__name__)

SUMMARY, ARROW = "files.json", "arrow"
# In the place of the checksum of an image that cannot be read.
NONE = ""
# What a library says of damaged data may be as long as the data.
MOST_WORDS = 500


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
    with _in_words(root):
        if (root / "dataset_dict.json").exists() or (root / "state.json").exists():
            check_saved(root)
            whole: Any = datasets.load_from_disk(str(root))
        else:
            check_card(root)
            arrow = str(cache / ARROW)
            check_builder(root, datasets.load_dataset_builder(str(root), cache_dir=arrow))
            whole = datasets.load_dataset(str(root), cache_dir=arrow)
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
    with _in_words(root, f" as images of column {settings.image_column!r}"):
        return whole.cast_column(settings.image_column, datasets.Image(decode=False))


@contextlib.contextmanager
def _in_words(root: Path, how: str = "") -> Iterator[None]:
    """Raise CapsynthError of whatever the library raises of files that are not as they should be.

    What the disk says of files that it writes stays what it is.
    """
    try:
        yield
    except (CapsynthError, MemoryError):
        raise
    except Exception as error:
        if storage_problem(error):
            raise
        text = shown(str(error))[:MOST_WORDS] or type(error).__name__
        raise CapsynthError(f"data set {root} cannot be read{how}: {text}") from error


def _bytes(settings: SourceSettings, number: int, image: Mapping[str, Any]) -> bytes:
    """Return the bytes of a row's image: its own, or those of a file of the data set.

    Raises:
        Unusable: If there are none.
        CapsynthError: If the row names a file outside the data set's folder: whoever made the data
            set could have any file of this machine packed.
    """
    data: bytes | None = image["bytes"]
    if data is not None:
        if len(data) > MAX_IMAGE_BYTES:
            raise Unusable(f"{len(data)} bytes are more than an image has")
        return data
    name = image["path"]
    if not name or "\0" in name:
        raise Unusable("neither bytes nor the path of a file")
    path = Path(settings.path) / name
    if not is_inside(Path(settings.path), path):
        raise CapsynthError(
            f"data set {settings.path}: row {number} names {shown(name)!r}, a file outside its "
            "folder, which is not read; put the image's bytes into the row, or the file into the "
            "folder"
        )
    try:
        return read_file(path, MAX_IMAGE_BYTES)[0]
    except FileNotFoundError:
        raise Unusable(f"its file {shown(name)} is missing") from None


def _label_reader(settings: SourceSettings, table: Any) -> Callable[[Any], Label | None]:
    """Return what reads a value of the column of labels; it returns None of no label.

    Raises:
        CapsynthError: If the column holds no labels.
    """
    import datasets
    import pyarrow as pa

    kind = table.features[settings.label_column]
    if isinstance(kind, datasets.ClassLabel):
        names = kind.names

        def named(value: int) -> Label | None:
            if value >= len(names):
                raise CapsynthError(
                    f"data set {settings.path}: label {value} of column "
                    f"{settings.label_column!r} is beyond its {len(names)} names; mend the column"
                )
            return (names[value], value) if value >= 0 else None

        return named
    of = pa.types
    type_ = table.data.schema.field(settings.label_column).type
    if of.is_string(type_) or of.is_large_string(type_) or of.is_integer(type_):
        return lambda value: value
    if of.is_boolean(type_):
        return int
    if of.is_floating(type_):  # numbers some of which are missing
        return lambda value: (
            None if math.isnan(value) else int(value) if value.is_integer() else str(value)
        )
    raise CapsynthError(
        f"data set {settings.path}: column {settings.label_column!r} holds {kind}, and a label is "
        "one text or number a row; set label_column to another, or make such a column"
    )


def _rows(settings: SourceSettings, cache: Path) -> Iterator[LabelledRow]:
    table = _load(settings, cache)
    label_of = _label_reader(settings, table)
    without = 0
    with _in_words(Path(settings.path)):
        for number, row in enumerate(table):
            image, value = row[settings.image_column], row[settings.label_column]
            label = None if value is None else label_of(value)
            if image is None or label is None:
                without += 1  # rows of a test split have no label
                continue
            try:
                digest = hashlib.sha256(_bytes(settings, number, image)).hexdigest()
            except Unusable:
                digest = NONE  # packing sets it aside, with the reason
            stem = Path(image["path"] or "").stem
            key = f"{stem}-{number:08d}" if stem else f"{number:08d}"
            yield label, SourceRow(key, digest, row=number)
    if without:
        log.info("%s: %d rows without an image or a label are left out", settings.path, without)


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


def _lost(cache: Path) -> bool:
    """Say whether the scan was forgotten; see ``open_images``."""
    return not (cache / SUMMARY).exists()


def files_token(settings: SourceSettings, summary: Mapping[str, Any], cache: Path) -> str:
    """Return a name of the folder that changes with its bytes: pinned data sets do not change.

    It changes too if a row was found to hold other bytes than were scanned.
    """
    if _lost(cache):
        return fingerprint(summary["token"], summary["asked"])
    now = content_token(paths(settings), cache / SUMMARY)
    if "token" not in summary:  # it was damaged: this name no scan was asked by
        return fingerprint("scanned again", now)
    return str(summary["asked"]) if now == summary["token"] else now


def digests(
    settings: SourceSettings, class_ids: Sequence[str], summary: Mapping[str, Any], cache: Path
) -> dict[str, str]:
    """Return a name of the images of each class: that of the whole folder."""
    if _lost(cache):
        now = fingerprint({name: file_digest(path) for name, path in paths(settings).items()})
    else:
        now = content_token(paths(settings), cache / SUMMARY)
    return {class_id: now for class_id in class_ids}


def open_images(settings: SourceSettings, cache: Path) -> Callable[[SourceRow], bytes]:
    """Return a function that reads the image of a row.

    An image that is not the one that was found there is refused, and the scan is forgotten with
    what was converted: sizes and times of the files may be as they were.
    """
    table = _load(settings, cache)

    def read(row: SourceRow) -> bytes:
        data = _bytes(settings, row.row, table[row.row][settings.image_column])
        if hashlib.sha256(data).hexdigest() != row.sha256:
            (cache / SUMMARY).unlink(missing_ok=True)
            shutil.rmtree(cache / ARROW, ignore_errors=True)
            raise CapsynthError(
                f"{settings.path}: row {row.row} changed while it was packed, or since the data "
                "set was scanned; start again, it is scanned anew"
            )
        return data

    return read
