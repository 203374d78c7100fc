"""Which images of a source are taken: a slice of it, and so many of each class.

Both are decided by a hash of an image's class and name in the source, so they are the same on every
machine, for training images and evaluation sets alike, and do not move when others come or go.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from capsynth.seeding import bucket

RESOLUTION = 1 << 30
T = TypeVar("T")


@dataclass(frozen=True)
class Selection:
    """What is taken of a source.

    Attributes:
        share: Images whose place in [0, 1) is at least the first number and below the second are
            taken: slices that do not overlap have no image in common.
        images_per_class: At most so many of each class, chosen by their hash: more contain fewer;
            None for all.
        sample_seed: Another one chooses another sample of each class.
    """

    share: tuple[float, float] = (0.0, 1.0)
    images_per_class: int | None = None
    sample_seed: int = 0


ALL = Selection()


def place_of(class_id: str, name: str) -> float:
    """Return the place in [0, 1) of an image, which its class and name alone decide.

    It has nothing to do with the fraction that a training set takes of its shards.
    """
    return bucket(f"share/{class_id}/{name}", RESOLUTION) / RESOLUTION


def select(
    items: Sequence[T], class_id: str, selection: Selection, name_of: Callable[[T], str]
) -> list[T]:
    """Return the items of one class that are taken, in the order given.

    Args:
        items: The images of the class.
        class_id: The class.
        selection: What to take.
        name_of: The name of an item in its source.
    """
    low, high = selection.share
    taken = [
        item
        for item in items
        if (low, high) == (0.0, 1.0) or low <= place_of(class_id, name_of(item)) < high
    ]
    limit = selection.images_per_class
    if limit is None or len(taken) <= limit:
        return taken

    # Seed 0 is the draw of versions that knew no seed.
    draw = f"choice-{selection.sample_seed}" if selection.sample_seed else "choice"

    def rank(item: T) -> tuple[int, str]:
        name = name_of(item)
        return bucket(f"{draw}/{class_id}/{name}", RESOLUTION), name

    chosen = {name_of(item) for item in sorted(taken, key=rank)[:limit]}
    return [item for item in taken if name_of(item) in chosen]
