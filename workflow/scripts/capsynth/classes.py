"""Classes: their identifiers, names, definitions and hypernyms, and where these come from."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from capsynth.datasets import imagenet
from capsynth.errors import CapsynthError
from capsynth.names import check_name
from capsynth.user_files import csv_rows, read_text

# The signs that folders and file names of class shards may have; the same as in the schema.
CLASS_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")
FILE_SUFFIXES = (".txt", ".csv")
COLUMNS = ("class_id", "class_name", "definition", "hypernym")

# What the user says of a class: some of the fields of ClassInfo.
_Given = Mapping[str, str]


@dataclass(frozen=True)
class ClassInfo:
    """What is known of a class.

    Attributes:
        class_id: Its stable identifier; for ImageNet the WordNet identifier.
        class_name: Its name, for people and prompts.
        definition: What it is, in one phrase; None if unknown or not asked for.
        hypernym: A more general word for it; None if unknown or not asked for.
    """

    class_id: str
    class_name: str
    definition: str | None = None
    hypernym: str | None = None


def class_table(
    classes: Sequence[str] | Mapping[str, Any] | str, fields: Collection[str] = ()
) -> dict[str, ClassInfo]:
    """Return what is known of each class, in the order of the class indices.

    What the user says wins. For the rest, WordNet identifiers get the name and the words that
    ``datasets.imagenet`` finds, and any other identifier is its own name.

    Args:
        classes: Identifiers; or a mapping from identifiers to names, or to mappings with ``name``,
            ``definition`` and ``hypernym``; or a name in ``imagenet.SUBSETS``; or the path of a
            file (see ``read_classes``).
        fields: Which of ``definition`` and ``hypernym`` to look up; others are None unless given.

    Raises:
        CapsynthError: If the subset is unknown, or the file cannot be read or is malformed.
    """
    given = _given(classes)
    wordnet = [class_id for class_id in given if imagenet.is_wordnet_id(class_id)]
    names = imagenet.class_names() if wordnet else {}
    definitions = imagenet.definitions() if wordnet and "definition" in fields else {}
    hypernyms = imagenet.hypernyms(wordnet) if wordnet and "hypernym" in fields else {}
    return {
        class_id: ClassInfo(
            class_id,
            said.get("class_name") or names.get(class_id, class_id),
            said.get("definition") or definitions.get(class_id),
            said.get("hypernym") or hypernyms.get(class_id),
        )
        for class_id, said in given.items()
    }


def _given(classes: Sequence[str] | Mapping[str, Any] | str) -> dict[str, _Given]:
    if isinstance(classes, str):
        if classes.endswith(FILE_SUFFIXES):
            return read_classes(Path(classes))
        return {i: {} for i in imagenet.subset(check_name("subset", classes, imagenet.SUBSETS))}
    if not isinstance(classes, Mapping):
        return {class_id: {} for class_id in classes}
    return {
        class_id: {"class_name": said} if isinstance(said, str) else _renamed(said)
        for class_id, said in classes.items()
    }


def _renamed(said: Mapping[str, str]) -> _Given:
    """Return what a configuration says of a class under the names of ``ClassInfo``."""
    return {"class_name" if key == "name" else key: value for key, value in said.items()}


def read_classes(path: Path) -> dict[str, _Given]:
    """Read a file of classes: identifiers, and whatever else it says of them.

    A ``.txt`` file has one identifier a line, and after a tab its name if it has one. A ``.csv``
    file has a heading with ``class_id`` and any of ``class_name``, ``definition`` and
    ``hypernym``; empty cells count as not given. Empty lines are skipped.

    Raises:
        CapsynthError: If the file cannot be read, holds fewer than two classes, or has an
            identifier that is no file name, that is there twice, or differs from another only in
            case; the message names file and line.
    """
    try:
        text = read_text(path)
    except CapsynthError as error:
        raise CapsynthError(
            f"dataset.classes: {error}; name a file of classes, or one of the subsets "
            f"{', '.join(imagenet.SUBSETS)}"
        ) from None
    is_csv = path.suffix == ".csv"
    rows = csv_rows(path, text, COLUMNS[:1], COLUMNS[1:]) if is_csv else _txt_rows(path, text)
    classes: dict[str, _Given] = {}
    seen: dict[str, tuple[str, int]] = {}
    for line, row in rows:
        class_id = row.get("class_id", "")
        if CLASS_ID.fullmatch(class_id) is None:
            raise CapsynthError(
                f"{path}:{line}: {class_id!r} cannot be a class_id; use at most 100 letters, "
                "digits and ._+-, beginning with a letter or digit"
            )
        other, before = seen.setdefault(class_id.lower(), (class_id, line))
        if before != line:
            twice = "is" if other == class_id else f"or {other!r}, which differs only in case, is"
            raise CapsynthError(
                f"{path}:{line}: {class_id!r} {twice} on line {before} already; remove one"
            )
        classes[class_id] = {key: value for key, value in row.items() if value}
    if len(classes) < 2:
        raise CapsynthError(f"{path}: holds {len(classes)} classes; list at least two, one a line")
    return classes


def _txt_rows(path: Path, text: str) -> list[tuple[int, dict[str, str]]]:
    rows = []
    for number, line in enumerate(text.split("\n"), start=1):
        words = [word.strip() for word in line.split("\t")]
        if len(words) > 2:
            raise CapsynthError(
                f"{path}:{number}: has {len(words)} columns; write the class_id, a tab and the "
                "class name, or use a .csv file"
            )
        if any(words):
            rows.append((number, dict(zip(COLUMNS, words, strict=False))))
    return rows
