"""Whether class folders that a stage has drawn are still what their stamp says."""

import hashlib
import logging
from collections.abc import Iterable
from pathlib import Path

from capsynth.files import read_json
from capsynth.fingerprints import file_digest
from capsynth.integrity import Damaged, is_result

log = logging.getLogger(__name__)


def images_digest(digests: Iterable[str]) -> str:
    """Return the name of the images of a stamp, from their SHA-256 in its order."""
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def check_drawn(root: Path, stamp: Path) -> None:
    """Check folders that were drawn; a user's own have no stamp among the results.

    Images that came, went or were written after the stamp are somebody's purpose: they are packed
    as they are, and Snakemake sees to it that all that follows is made anew.

    Args:
        root: The folder of the class folders.
        stamp: What was written when those that it names were complete.

    Raises:
        Damaged: If an image is another one although nobody has written it since.
    """
    if not is_result(stamp) or not stamp.is_file():
        return
    about = read_json(stamp)
    images = [
        path
        for class_id in about["class_ids"]
        for path in sorted((root / class_id).glob(f"{class_id}_*.png"))
    ]
    drawn_ns = stamp.stat().st_mtime_ns
    as_many = len(images) == about["images_per_class"] * len(about["class_ids"])
    if not as_many or any(image.stat().st_mtime_ns > drawn_ns for image in images):
        log.warning("%s holds other images than were drawn into it: they are taken as given", root)
    elif images_digest(map(file_digest, images)) != about["images_sha256"]:
        raise Damaged(
            f"an image in {root} is not what was drawn, of which {stamp} has the checksum; delete "
            "the stamp and run the same command again, which draws them anew"
        )
