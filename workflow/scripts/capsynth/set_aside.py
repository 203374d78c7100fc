"""Images that are left out of a class: how many may be, and that something of it is left."""

from collections.abc import Iterable, Iterator, Sequence

from capsynth.datasets.selection import Selection
from capsynth.errors import CapsynthError
from capsynth.shards import OK, REJECTED, Sample

# Reasons or names that a message gives; the log has all.
FEW = 3


def with_few_rejected(
    samples: Iterable[Sample], total: int, allowed: int, shard: str
) -> Iterator[Sample]:
    """Yield the samples; raise CapsynthError after the last if more were set aside than allowed."""
    reasons = []
    for sample in samples:
        if sample.record.status == REJECTED:
            reasons.append(str(sample.record.reason))
        yield sample
    if len(reasons) > allowed:
        more = f"; and {len(reasons) - FEW} more" if len(reasons) > FEW else ""
        raise CapsynthError(
            f"shard {shard}: {len(reasons)} of {total} images are set aside, and "
            f"dataset.max_rejected allows {allowed}: {'; '.join(reasons[:FEW])}{more}. Mend or "
            "remove them (the log names all), or raise dataset.max_rejected"
        )


def not_all_rejected(
    samples: Iterable[Sample],
    class_id: str,
    total: int,
    others: Iterable[bool],
) -> Iterator[Sample]:
    """Yield the samples of a part; raise CapsynthError after the last if the class has no image.

    Args:
        samples: What is packed.
        class_id: The class.
        total: Images of the class.
        others: Whether each image of its other parts can be used: asked for only if all of this
            part were set aside, and up to the first that can.
    """
    reasons, usable = [], False
    for sample in samples:
        usable = usable or sample.record.status == OK
        if sample.record.status == REJECTED:
            reasons.append(str(sample.record.reason))
        yield sample
    if reasons and not usable and not any(others):
        more = f"; and {len(reasons) - FEW} more" if len(reasons) > FEW else ""
        raise CapsynthError(
            f"class {class_id}: none of its {total} images can be used: "
            f"{'; '.join(reasons[:FEW])}{more}. Mend them, or take the class off dataset.classes"
        )


def check_taken(class_id: str, taken: int, images: int, selection: Selection) -> None:
    """Raise CapsynthError if nothing is taken of a class of the data set."""
    if not taken:
        low, high = selection.share
        raise CapsynthError(
            f"class {class_id}: dataset.share [{low:g}, {high:g}] takes none of its {images} "
            "images; give a larger share, add images, or take the class off dataset.classes"
        )


def check_classes(found: Iterable[str], class_ids: Sequence[str], eval_set: str) -> None:
    """Raise CapsynthError if nothing is taken of a class, which accuracy would leave out."""
    held = set(found)
    if lacking := [class_id for class_id in class_ids if class_id not in held]:
        more = f" and {len(lacking) - FEW} more" if len(lacking) > FEW else ""
        raise CapsynthError(
            f"eval_sets.{eval_set}: nothing is taken of class {', '.join(lacking[:FEW])}{more}; "
            "give it a larger share, add images, or list the other classes in its classes"
        )
