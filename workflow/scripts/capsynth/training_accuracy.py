"""Accuracy measured in a training: on held-out images by step, on its own ones at the end."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from capsynth.datasets.batches import load_batches
from capsynth.datasets.images import ShardedImages
from capsynth.errors import CapsynthError
from capsynth.learning_curves import pack_answers
from capsynth.seeding import derive_seed
from capsynth.shards import ShardRecord
from capsynth.shares import Share
from capsynth.transforms import Preprocessing, evaluation_transform

# Images a forward pass: as many as where classifiers are evaluated.
BATCH_SIZE = 100

# From pixels, uint8 of shape (n, 3, height, width), to the class index that is answered.
Classify = Callable[[Tensor], npt.NDArray[np.int64]]


@dataclass(frozen=True)
class MeasuredImages:
    """What accuracy is measured on in a training.

    Attributes:
        held_out: Tar and manifest of images that no training set holds; None for no learning curve.
        points: Points of the learning curve.
        train_images: Most images of the training set that accuracy is measured on after the last
            step; 0 for none.
    """

    held_out: tuple[Path, Path] | None = None
    points: int = 0
    train_images: int = 0


# Nothing is measured.
NOTHING = MeasuredImages()


class AccuracyOfImages:
    """Images, prepared as for an evaluation, and how many of them are recognised."""

    def __init__(self, images: ShardedImages, workers: int) -> None:
        """Take images, transformed as for an evaluation, and the number of processes that read."""
        self._images, self._workers = images, workers

    @property
    def classes(self) -> list[int]:
        """Class index of every image."""
        return [record.class_index for record in self._images.records]

    @property
    def sources(self) -> list[int]:
        """A number for every image: the same for a real image and what descends from it."""
        codes: dict[tuple[str, str], int] = {}
        return [
            codes.setdefault((record.class_id, record.source_key or record.key), len(codes))
            for record in self._images.records
        ]

    def measure(self, classify: Classify) -> dict[str, Any]:
        """Return accuracy, the right answers and their number, see ``pack_answers``."""
        n = len(self._images)
        batches = [range(start, min(start + BATCH_SIZE, n)) for start in range(0, n, BATCH_SIZE)]
        correct: list[bool] = []
        with contextlib.closing(
            load_batches(self._images, batches, BATCH_SIZE, self._workers)
        ) as loader:
            for batch in loader:
                assert batch is not None  # none is empty
                correct += (classify(batch[0]) == np.array(batch[1])).tolist()
        return pack_answers(correct)


def held_out_images(
    held_out: tuple[Path, Path],
    class_ids: Sequence[str],
    preprocessing: Preprocessing,
    workers: int,
) -> AccuracyOfImages:
    """Return the images of a learning curve.

    Raises:
        CapsynthError: If one is of a class that the classifier does not have at that index.
    """
    tar, manifest = held_out
    images = ShardedImages([(tar, manifest, 1.0)], evaluation_transform(preprocessing), again=True)
    for record in images.records:
        if list(class_ids[record.class_index : record.class_index + 1]) != [record.class_id]:
            raise CapsynthError(
                f"{manifest}: class {record.class_id!r} has index {record.class_index}, which is "
                "another class in this training; pack the set for the same classes"
            )
    return AccuracyOfImages(images, workers)


def own_images(
    shards: Sequence[tuple[Path, Path, float | Share]],
    most: int,
    preprocessing: Preprocessing,
    workers: int,
) -> AccuracyOfImages:
    """Return images of a training set, not augmented: all, or ``most`` chosen by a hash."""

    def chosen(records: Sequence[ShardRecord]) -> list[bool]:
        places = [
            derive_seed("own-images", record.class_id, record.key, record.source_key or "")
            for record in records
        ]
        kept = set(sorted(range(len(records)), key=lambda i: (places[i], i))[:most])
        return [i in kept for i in range(len(records))]

    images = ShardedImages(shards, evaluation_transform(preprocessing), keep=chosen)
    return AccuracyOfImages(images, workers)
