"""Images of several shards as one map-style data set."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset

from capsynth.errors import CapsynthError
from capsynth.seeding import bucket, derive_seed
from capsynth.shards import ShardReader, ShardRecord, read_manifest, usable


def take_fraction(records: Sequence[ShardRecord], fraction: float) -> list[ShardRecord]:
    """Return a fixed share of ``records``, chosen by their keys: larger shares hold smaller ones.

    Each record has a place in [0, 1) that its key alone decides; the share is those below
    ``fraction``. Its size is therefore near, not exactly, ``fraction`` of all.
    """
    resolution = 1 << 30
    limit = fraction * resolution
    return [r for r in records if bucket(f"fraction/{r.key}", resolution) < limit]


class ShardedImages(Dataset[tuple[torch.Tensor, int, str]]):
    """The usable images of several shards: ``(transformed image, class index, key)``.

    The order is that of the shards and of their manifests. Every image is read by its offset, so a
    global shuffle costs nothing, and any number of workers sees every image exactly once.
    """

    def __init__(
        self,
        shards: Sequence[tuple[Path, Path, float]],
        transform: Callable[[Any, torch.Generator | None], torch.Tensor],
        seed: int | None = None,
    ) -> None:
        """Open shards.

        Args:
            shards: Tar, manifest and the fraction to use of each shard.
            transform: Maps a PIL image, and a generator for what is random, to a tensor.
            seed: Seed of the transform's randomness; None for a transform without any.

        Raises:
            CapsynthError: If no usable image is left.
        """
        self._items: list[tuple[int, ShardRecord]] = []
        self._readers: list[ShardReader] = []
        for number, (tar, manifest, fraction) in enumerate(shards):
            records = usable(read_manifest(manifest))
            self._readers.append(ShardReader(tar))
            self._items += [(number, r) for r in take_fraction(records, fraction)]
        if not self._items:
            raise CapsynthError(
                f"no usable image in {len(shards)} shards; look for rejected records in "
                f"{shards[0][1] if shards else 'an empty list'}"
            )
        self._transform = transform
        self._seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int, str]:
        number, record = self._items[i]
        image = self._readers[number].read_image(record)
        generator = None
        if self._seed is not None:
            # Of its own seed a sample an epoch: the same with any number of workers.
            seed = derive_seed("augment", self._seed, self.epoch, i)
            generator = torch.Generator().manual_seed(seed)
        return self._transform(image, generator), record.class_index, record.key
