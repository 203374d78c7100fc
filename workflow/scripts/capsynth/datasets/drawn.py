"""Whether class folders that a stage has drawn were packed as their stamp says."""

import hashlib
import logging
from collections.abc import Iterable
from pathlib import Path

from capsynth.files import read_json
from capsynth.integrity import Damaged, is_result

log = logging.getLogger(__name__)


def images_digest(digests: Iterable[str]) -> str:
    """Return the name of the images of a stamp, from their SHA-256 in its order."""
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def check_drawn(folder: Path, index: Path) -> None:
    """Check that a folder that was packed held what was drawn into it, by its stamp beside it.

    A user's own folder has no stamp among the results. Images that came, went or were written after
    the stamp are somebody's purpose: they are packed as they are, and Snakemake sees to it that all
    that follows is made anew.

    Args:
        folder: A class folder, or a folder of class folders.
        index: What packing left, see ``datasets.folder``: it has read the images already.

    Raises:
        Damaged: If an image is another one although nobody has written it since.
    """
    stamp = folder.with_name(f"{folder.name}.json")
    if not is_result(stamp) or not stamp.is_file():
        return
    about = read_json(stamp)
    of_class: dict[str, list[tuple[str, int, str]]] = {name: [] for name in about["class_ids"]}
    for name, (_, mtime_ns, digest) in read_json(index)["files"].items():
        class_id, _, file = name.partition("/")
        of_class.setdefault(class_id, []).append((file, mtime_ns, digest))
    images = [image for class_id in of_class for image in sorted(of_class[class_id])]
    drawn_ns = stamp.stat().st_mtime_ns
    as_many = len(images) == about["images_per_class"] * len(about["class_ids"])
    if not as_many or any(mtime_ns > drawn_ns for _, mtime_ns, _ in images):
        log.warning("%s holds other images than were drawn: they are taken as given", folder)
    elif images_digest(digest for _, _, digest in images) != about["images_sha256"]:
        raise Damaged(
            f"an image in {folder} is not what was drawn, of which {stamp} has the checksum; "
            "delete the stamp and run the same command again, which draws them anew"
        )
