"""Data set folders of others: nothing in them may have a file outside of them read.

The library ``datasets`` reads what a folder's card, its saved state or its rows name: other
folders, addresses, files of any kind. A folder that somebody else made is to be read as it lies.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from capsynth.errors import CapsynthError
from capsynth.files import read_json
from capsynth.names import shown

# Kinds of files, by the name of the library's module, that hold pictures and name no other file
# but in a column of paths, which is looked at row by row.
KINDS = ("arrow", "csv", "imagefolder", "json", "parquet", "webdataset")


def is_inside(root: Path, path: Path) -> bool:
    """Say whether a path, links resolved, lies in a folder.

    A folder of the hub's own cache, ``snapshots/{revision}``, is links to ``blobs`` beside it.
    """
    real, home = Path(os.path.realpath(path)), Path(os.path.realpath(root))
    blobs = home.parents[1] / "blobs" if home.parent.name == "snapshots" else home
    return real.is_relative_to(home) or real.is_relative_to(blobs)


def _refused(root: Path, where: str, name: object) -> CapsynthError:
    return CapsynthError(
        f"data set {root}: {where} names {shown(str(name))!r}, which is not in its folder and is "
        f"not read; mend {where}"
    )


def check_card(root: Path) -> None:
    """Check the files that a folder's card names, before the library looks for them.

    Raises:
        CapsynthError: If one is an address, an absolute path, or leads out of the folder.
    """
    for where, about in _cards(root):
        for name in _names(about.get("configs")):
            parts = Path(name).parts
            if "://" in name or "::" in name or os.path.isabs(name) or {"..", "~"} & set(parts):
                raise _refused(root, where, name)


def _cards(root: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    from huggingface_hub import DatasetCard

    if (root / "README.md").is_file():
        yield "README.md", DatasetCard.load(str(root / "README.md")).data.to_dict()
    alone = root / ".huggingface.yaml"
    if alone.exists():
        about = yaml.safe_load(alone.read_text(encoding="utf-8"))
        yield alone.name, about if isinstance(about, dict) else {}


def _names(configs: Any) -> Iterator[str]:
    """Yield what stands in ``data_files`` and ``data_dir`` of configurations, and below."""
    for config in configs if isinstance(configs, list) else []:
        waiting = [
            config.get(key) for key in ("data_files", "data_dir") if isinstance(config, dict)
        ]
        while waiting:
            value = waiting.pop()
            if isinstance(value, str):
                yield value
            elif isinstance(value, dict):
                waiting += value.values()
            elif isinstance(value, list):
                waiting += value


def check_builder(root: Path, builder: Any) -> None:
    """Check the files that the library has found, before it reads them.

    Args:
        root: The folder.
        builder: A ``datasets.DatasetBuilder``.

    Raises:
        CapsynthError: If one lies outside the folder, or they are of a kind that is not read.
    """
    kind = type(builder).__module__.split(".")[-1]
    if kind not in KINDS:
        raise CapsynthError(
            f"data set {root} is one of {kind} files, which are not read; known kinds: "
            f"{', '.join(KINDS)}"
        )
    for files in (builder.config.data_files or {}).values():
        for file in files:
            if not is_inside(root, Path(file)):
                raise _refused(root, "its card, or a link in it,", file)


def check_saved(root: Path) -> None:
    """Check the files that a folder names that ``save_to_disk`` wrote.

    Raises:
        CapsynthError: If one lies outside the folder.
    """
    folders = [root]
    if (root / "dataset_dict.json").exists():
        splits = read_json(root / "dataset_dict.json")["splits"]
        folders = [root / str(split) for split in splits]
        for split, folder in zip(splits, folders, strict=True):
            if "://" in str(split) or not is_inside(root, folder):
                raise _refused(root, "dataset_dict.json", split)
    for folder in folders:
        for file in read_json(folder / "state.json")["_data_files"]:
            if not is_inside(root, folder / file["filename"]):
                raise _refused(root, "state.json", file["filename"])
