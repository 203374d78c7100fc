"""Images that a configuration names and that are not there: told in words, all at once."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from capsynth.datasets.entries import folder_problem

WORDNET_ID = re.compile(r"n\d{8}")
SHOWN = 3

IMAGENET = (
    "ImageNet has to be fetched by hand: ask for an account at image-net.org, download "
    "ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar, and unpack them into one folder a class, "
    "named by WordNet identifier (n01440764)"
)
OWN = "put one folder of images per class there, or mend the path"
GUIDE = "docs/data-sources.md and docs/evaluation-sets.md tell how to get each set"


def missing_message(
    wanted: Iterable[tuple[str, Sequence[str], Sequence[Path]]], class_ids: Sequence[str]
) -> str:
    """Return what is missing and how to get it; nothing if all is there.

    Args:
        wanted: For each key of the configuration its roots, folders or patterns, and the class
            folders that it needs.
        class_ids: The classes of the data set.
    """
    lines = []
    for key, roots, folders in wanted:
        gone = [root for root in roots if not _is_there(root)]
        if gone:
            lines.append(f"{key}: {', '.join(gone)} does not exist")
            continue
        lacking = [folder for folder in folders if not folder.is_dir()]
        if lacking:
            shown = ", ".join(map(_with_reason, lacking[:SHOWN]))
            more = f" and {len(lacking) - SHOWN} more" if len(lacking) > SHOWN else ""
            lines.append(f"{key}: lacks {shown}{more} of {len(folders)} class folders")
    if not lines:
        return ""
    is_imagenet = all(WORDNET_ID.fullmatch(class_id) for class_id in class_ids)
    remedy = f"{IMAGENET if is_imagenet else OWN}; {GUIDE}"
    return "images are missing:\n" + "".join(f"  {line}\n" for line in lines) + remedy


def _with_reason(folder: Path) -> str:
    problem = folder_problem(folder)
    return f"{folder} (it {problem})" if problem else str(folder)


def _is_there(root: str) -> bool:
    # A pattern is looked at by who reads it.
    return bool(set(root) & set("*?[{")) or Path(root).exists()
