"""Images that are no files of their own: where each of them lies, and which class it has.

Sources of few large files (tars, Arrow or Parquet files) are scanned once. Every class gets an
index of JSON Lines, one image a line, from which its shards are packed at random.
"""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from capsynth.datasets.imagenet import subset
from capsynth.errors import CapsynthError
from capsynth.files import read_json_lines, write_json_lines
from capsynth.fingerprints import fingerprint

Label = str | int | tuple[str, int]


@dataclass(frozen=True)
class SourceSettings:
    """Where a data set lies, and how its labels are read.

    Attributes:
        source: Name in ``sources.SOURCES``.
        path: Folder or pattern.
        label_key: webdataset: key of the JSON member that holds the label, None for ``.cls``.
        label_classes: What the numbers of labels count in: the name of an ImageNet subset or class
            identifiers; None for the classes of the data set.
        split: huggingface: the split.
        image_column: huggingface: column of the images.
        label_column: huggingface: column of the labels.
    """

    source: str
    path: str
    label_key: str | None = None
    label_classes: str | tuple[str, ...] | None = None
    split: str | None = None
    image_column: str | None = None
    label_column: str | None = None


@dataclass(frozen=True)
class SourceRow:
    """One image of a source.

    Attributes:
        key: Its name, unique within its class.
        sha256: Hex digest of its bytes.
        file: Tar that it lies in; empty for a data set of rows.
        offset: First byte in the tar.
        size: Bytes.
        row: Number of its row; -1 in a tar.
    """

    key: str
    sha256: str
    file: str = ""
    offset: int = 0
    size: int = 0
    row: int = -1


LabelledRow = tuple[Label, SourceRow]


def class_of(label: Label, class_ids: Sequence[str], label_classes: Sequence[str]) -> str | None:
    """Return the class that a label stands for; None for a class that is not asked for.

    Args:
        label: Text or a number; or both, where a data set gives its numbers names.
        class_ids: The classes that are asked for. Text that is one of them is that class.
        label_classes: What numbers count in.

    Raises:
        CapsynthError: If a number is beyond ``label_classes``.
    """
    words = label if isinstance(label, tuple) else (label,)
    for word in words:
        if str(word) in class_ids:
            return str(word)
    for word in words:
        # Python reads no number of thousands of digits; the first ones are beyond all classes.
        number = int(str(word)[:19]) if str(word).isdecimal() else None
        if number is None:
            continue
        if number >= len(label_classes):
            raise CapsynthError(
                f"label {number} is beyond the {len(label_classes)} classes that labels count in; "
                "set label_classes to all classes of the source, for example imagenet-1k"
            )
        name = label_classes[number]
        return name if name in class_ids else None
    return None


def class_rows(
    rows: Iterable[LabelledRow], class_ids: Sequence[str], settings: SourceSettings
) -> dict[str, list[SourceRow]]:
    """Return the images of each class, sorted by key.

    Raises:
        CapsynthError: If a class has no image, or two images of a class have one key.
    """
    if isinstance(settings.label_classes, str):
        label_classes: Sequence[str] = subset(settings.label_classes)
    else:
        label_classes = settings.label_classes or class_ids
    classes: dict[Label, str | None] = {}
    wanted = {class_id: None for class_id in class_ids}
    found: dict[str, list[SourceRow]] = {class_id: [] for class_id in class_ids}
    for label, row in rows:
        if label not in classes:
            classes[label] = class_of(label, list(wanted), label_classes)
        class_id = classes[label]
        if class_id is not None:
            found[class_id].append(row)
    for class_id, of_class in found.items():
        if not of_class:
            labels = ", ".join(sorted(str(label) for label in classes)[:5])
            raise CapsynthError(
                f"{settings.path}: no image of class {class_id!r}; its labels are {labels} ...; "
                "mend the classes, or label_classes"
            )
        of_class.sort(key=lambda row: row.key)
        for one, two in itertools.pairwise(of_class):
            if one.key == two.key:
                places = f"{one.file or settings.path} and {two.file or settings.path}"
                raise CapsynthError(
                    f"key {one.key!r} of class {class_id!r} occurs twice, in {places}; rename one"
                )
    return found


def rows_digest(rows: Iterable[SourceRow]) -> str:
    """Return a name of images that depends on their keys and bytes, not on where they lie."""
    return fingerprint([[row.key, row.sha256] for row in rows])


def write_rows(path: Path, rows: Iterable[SourceRow]) -> None:
    """Write the index of one class."""
    write_json_lines(path, (asdict(row) for row in rows))


def read_rows(path: Path) -> list[SourceRow]:
    """Read the index of one class."""
    return [SourceRow(**row) for row in read_json_lines(path)]
