"""How the folders of an evaluation set on disk are arranged, and which class each of them holds."""

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from capsynth.datasets.entries import class_entries
from capsynth.datasets.folder import EXTENSIONS
from capsynth.datasets.imagenet import wordnet_ids
from capsynth.errors import CapsynthError
from capsynth.names import check_name, shown
from capsynth.user_files import csv_rows, json_value, read_text

CLASS_FOLDERS = "class-folders"
INDEX_FOLDERS = "index-folders"
CORRUPTION_FOLDERS = "corruption-folders"
LAYOUTS = (CLASS_FOLDERS, INDEX_FOLDERS, CORRUPTION_FOLDERS)

# How a set of images that are of no class is arranged: in folders of any names, or in none.
UNKNOWN_LAYOUT = "unknown"
# What images are called that lie in no folder of their own.
UNKNOWN_FOLDER = "unknown"

MAP_COLUMNS = ("folder", "class_id")
ClassMap = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class ClassFolder:
    """A folder of images of one class.

    Attributes:
        class_id: The class.
        path: The folder.
        label: Its name within the set, unique.
        prefix: Before the keys of its images; empty unless the set has several roots.
        corruption: ``{corruption}-{severity}`` of images that are stored corrupted, else empty.
    """

    class_id: str
    path: Path
    label: str
    prefix: str = ""
    corruption: str = ""


def read_class_map(path: Path) -> dict[str, list[str]]:
    """Read which classes a folder stands for.

    Args:
        path: JSON, an object of folder names and a class identifier or a list of them each; or CSV
            with the columns ``folder`` and ``class_id``, one row a pair.

    Raises:
        CapsynthError: If the file cannot be read, is neither, or has an entry without a class or
            twice.
    """
    form = 'write JSON {"folder": "class_id"} or CSV with the columns folder,class_id'
    try:
        text = read_text(path)
        if path.suffix.lower() == ".csv":
            rows = csv_rows(path, text, MAP_COLUMNS, unique=MAP_COLUMNS)
            classes: dict[str, list[str]] = {}
            for _, row in rows:
                classes.setdefault(row["folder"], []).append(row["class_id"])
        else:
            classes = _json_map(path, json_value(path, text))
        if not classes:
            raise CapsynthError(f"{path}: names no folder")
    except CapsynthError as error:
        raise CapsynthError(f"class_map {error}; {form}") from None
    return classes


def _json_map(path: Path, value: Any) -> dict[str, list[str]]:
    if not isinstance(value, dict):
        raise CapsynthError(f"{path}: is no JSON object")
    classes: dict[str, list[str]] = {}
    for name, said in value.items():
        folder = name.strip()
        ids = [said] if isinstance(said, str) else said
        if not isinstance(ids, list) or not all(isinstance(one, str) for one in ids):
            raise CapsynthError(f"{path}: {name!r} stands for {said!r}, which is no text")
        ids = [one.strip() for one in ids]
        if not folder or not ids or "" in ids:
            raise CapsynthError(f"{path}: {name!r} has no folder or no class_id")
        if folder in classes or len(set(ids)) < len(ids):
            raise CapsynthError(f"{path}: {name!r}, or a class of it, is there twice")
        classes[folder] = ids
    return classes


def check_mapped(class_map: ClassMap, class_ids: Sequence[str]) -> None:
    """Check that no class of a map is one of the data set but for its case.

    Other classes may stand there: the map of a published set has all that the set has.

    Raises:
        CapsynthError: If one is.
    """
    known = {class_id.casefold(): class_id for class_id in class_ids}
    for folder, ids in class_map.items():
        for class_id in ids:
            meant = known.get(class_id.casefold(), class_id)
            if meant != class_id and class_id not in class_ids:
                raise CapsynthError(
                    f"class_map: folder {folder!r} stands for {class_id!r}, which the data set "
                    f"spells {meant!r}; write it so"
                )


def mapped_class(class_ids: Sequence[str], wanted: Sequence[str]) -> str | None:
    """Return the class that a folder of ``class_ids`` counts as: the first that is wanted.

    The others are right answers too, see ``answer_groups``.
    """
    return next((class_id for class_id in class_ids if class_id in wanted), None)


def mapped_classes(class_map: ClassMap, wanted: Sequence[str]) -> set[str]:
    """Return the classes that folders count as: the classes of the set."""
    found = {mapped_class(class_ids, wanted) for class_ids in class_map.values()}
    return {class_id for class_id in found if class_id is not None}


def answer_groups(class_map: ClassMap, wanted: Collection[str]) -> dict[str, list[str]]:
    """Return the answers that are right for each class of a set, itself first.

    ObjectNet counts so: a folder that stands for several classes of ImageNet is recognised by any
    of them (Barbu et al., ObjectNet, NeurIPS 2019).

    Raises:
        CapsynthError: If two folders share a class and not the list of classes, so that one answer
            would be right for images of two classes.
    """
    owners: dict[str, tuple[str, list[str]]] = {}
    for folder, class_ids in class_map.items():
        group = [class_id for class_id in class_ids if class_id in wanted]
        for class_id in group:
            other, known = owners.setdefault(class_id, (folder, group))
            if known != group:
                raise CapsynthError(
                    f"class_map: folders {other!r} and {folder!r} share the class {class_id!r} and "
                    "not their lists of classes; give both the same list, or the class to one"
                )
    return {group[0]: group for _, group in owners.values()}


def root_prefixes(roots: Sequence[Path]) -> list[str]:
    """Return what tells the images of several roots apart; nothing if there is one root."""
    if len(roots) == 1:
        return [""]
    names = [root.name for root in roots]
    if len(set(names)) < len(names):
        names = [f"{number}-{name}" for number, name in enumerate(names)]
    return names


def class_folders(
    roots: Sequence[Path],
    layout: str,
    class_ids: Sequence[str],
    class_map: ClassMap | None = None,
    corruptions: Sequence[tuple[str, int]] = (),
) -> list[ClassFolder]:
    """Return the folders of a set, by root and class; they need not exist.

    Args:
        roots: Where the set lies; several make one set together.
        layout: One of ``LAYOUTS``.
        class_ids: The classes of the set.
        class_map: Class folders only: classes of each folder, whose names are then no class
            identifiers. An image has the first that is one of ``class_ids``.
        corruptions: Corruption folders only: names and severities that are taken.

    Raises:
        CapsynthError: If the layout is unknown, or index folders are asked for a class that
            ImageNet does not have.
    """
    check_name("layout", layout, LAYOUTS)
    found: list[ClassFolder] = []
    for root, prefix in zip(roots, root_prefixes(roots), strict=True):
        start = f"{prefix}/" if prefix else ""
        if layout == CORRUPTION_FOLDERS:
            # The published set comes in several archives: each root has some of the corruptions.
            for name, severity in corruptions:
                for class_id in class_ids:
                    folder = f"{name.replace('-', '_')}/{severity}/{class_id}"
                    found.append(
                        ClassFolder(
                            class_id, root / folder, start + folder, "", f"{name}-{severity}"
                        )
                    )
            continue
        for class_id, folder in _folder_names(layout, class_ids, class_map):
            found.append(ClassFolder(class_id, root / folder, start + folder, prefix))
    if layout == CORRUPTION_FOLDERS and len(roots) > 1:
        # A dead link is no corruption that another root has: it is missing, which is told.
        present = {f.path.parent for f in found if os.path.lexists(f.path.parent)}
        held = {f.corruption for f in found if f.path.parent in present}
        found = [f for f in found if f.path.parent in present or f.corruption not in held]
    return found


def unknown_folders(roots: Sequence[Path]) -> list[ClassFolder]:
    """Return the folders of a set whose images are of no class, whatever the folders are called.

    Images that lie in a root itself are taken too; they are called ``unknown``.

    Raises:
        CapsynthError: If a root cannot be read, holds something that may be a folder of images and
            cannot be read, or holds neither folders nor images.
    """
    found: list[ClassFolder] = []
    for root, prefix in zip(roots, root_prefixes(roots), strict=True):
        try:
            names, problems, others = class_entries(root)
        except OSError as error:
            raise CapsynthError(
                f"{root} cannot be read ({error.strerror}); name a folder of images, or of folders "
                "of images"
            ) from None
        if problems:
            raise CapsynthError(
                f"in {root} {'; '.join(problems[:3])}; mend it or move it elsewhere"
            )
        start = f"{prefix}/" if prefix else ""
        if any(Path(name).suffix.lower() in EXTENSIONS for name in others):
            found.append(ClassFolder(UNKNOWN_FOLDER, root, f"{start}.", prefix))
        found += [ClassFolder(shown(n), root / n, start + n, prefix) for n in names]
    if not found:
        listed = ", ".join(map(str, roots))
        raise CapsynthError(f"{listed} holds no images and no folders; put some there")
    return found


def _folder_names(
    layout: str, class_ids: Sequence[str], class_map: ClassMap | None
) -> list[tuple[str, str]]:
    """Return class and folder name of the class folders of one root."""
    if layout == INDEX_FOLDERS:
        # Folder 10 is class 10 in WordNet order, not the third after 0 and 1 as strings sort.
        indices = {name: index for index, name in enumerate(wordnet_ids())}
        for class_id in class_ids:
            if class_id not in indices:
                raise CapsynthError(
                    f"index-folders: {class_id!r} is no class of ImageNet, whose indices name the "
                    "folders; use class-folders with a class_map"
                )
        return [(class_id, str(indices[class_id])) for class_id in class_ids]
    if class_map is not None:
        pairs = [(mapped_class(ids, class_ids), folder) for folder, ids in class_map.items()]
        order = {class_id: place for place, class_id in enumerate(class_ids)}
        mapped = [(class_id, folder) for class_id, folder in pairs if class_id is not None]
        return sorted(mapped, key=lambda pair: (order[pair[0]], pair[1]))
    return [(class_id, class_id) for class_id in class_ids]
