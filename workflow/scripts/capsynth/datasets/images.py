"""Images of several shards as one map-style data set."""

import itertools
import random
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from PIL import Image
from torch.utils.data import Dataset

from capsynth.errors import CapsynthError
from capsynth.files import files_to_keep_open
from capsynth.seeding import derive_seed
from capsynth.shards import ShardReader, ShardRecord, read_manifest, usable
from capsynth.shares import Share, take_share
from capsynth.transforms import Transform

# Of images that are read again, those that fit into this many bytes stay decoded, in each process.
CACHE_BYTES = 256 * 2**20

# Where an image is: its position, or (epoch, position) where randomness is wanted.
Place = int | tuple[int, int]
# An image, as a data set gives it: pixels, class index and key.
Sample = tuple[torch.Tensor, int, str]


class ShardedImages(Dataset[Sample]):
    """The usable images of several shards: ``(transformed pixels, class index, key)``.

    The order is that of the shards and of their manifests. Every image is read by its offset, so a
    global shuffle costs nothing, and any number of workers sees every image exactly once.

    Attributes:
        available: Images that there were to choose from, before ``keep`` chose.
    """

    def __init__(
        self,
        shards: Sequence[tuple[Path, Path, float | Share]],
        transform: Transform,
        seed: int | None = None,
        keep: Callable[[Sequence[ShardRecord]], Sequence[bool]] | None = None,
        again: bool = False,
    ) -> None:
        """Open shards.

        Args:
            shards: Tar, manifest and the fraction to use of each shard.
            transform: Maps a PIL image, and a generator for what is random, to uint8 pixels.
            seed: Seed of the transform's randomness; None for a transform without any.
            keep: Says of all images that the fractions leave which are used; None for all.
            again: Whether images are read more than once.

        Raises:
            CapsynthError: If no usable image is left.
        """
        self._items: list[tuple[int, ShardRecord]] = []
        self._readers: list[ShardReader] = []
        for number, (tar, manifest, fraction) in enumerate(shards):
            records = usable(read_manifest(manifest))
            self._readers.append(ShardReader(tar))
            self._items += [(number, r) for r in take_share(records, fraction)]
        self.available = len(self._items)
        if keep is not None:
            kept = keep([record for _, record in self._items])
            self._items = list(itertools.compress(self._items, kept))
        if not self._items:
            raise CapsynthError(
                f"no usable image in {len(shards)} shards; look for rejected records in "
                f"{shards[0][1] if shards else 'an empty list'}"
            )
        # Tars that are open, the one that was read last at the end.
        self._opened: OrderedDict[int, None] = OrderedDict()
        self._most_opened = files_to_keep_open(len(self._readers))
        self._transform = transform
        self._seed = seed
        # Positions that this process has read: of an image that is read in every epoch, comparing
        # the bytes with their checksum each time would cost more than it can find.
        self._seen = bytearray(len(self._items))
        self._cache: dict[int, Image.Image] = {}
        self._cache_room = CACHE_BYTES if again else 0

    def __len__(self) -> int:
        return len(self._items)

    @property
    def records(self) -> list[ShardRecord]:
        """What the manifests say of every image."""
        return [record for _, record in self._items]

    @property
    def class_indices(self) -> set[int]:
        """The classes that have an image."""
        return {record.class_index for _, record in self._items}

    def __getitem__(self, place: Place) -> Sample:
        """Return the image at a position, or at (epoch, position) where randomness is wanted."""
        epoch, i = place if isinstance(place, tuple) else (0, place)
        record = self._items[i][1]
        rng = None
        if self._seed is not None:
            # Of its own seed a sample an epoch: the same with any number of workers.
            rng = random.Random(derive_seed("augment", self._seed, epoch, i))
        return self._transform(self._image(i), rng), record.class_index, record.key

    def announce(self, places: Sequence[Place]) -> None:
        """Have the kernel fetch the images at these positions, which will be read."""
        for place in places:
            i = place[1] if isinstance(place, tuple) else place
            if i not in self._cache:
                number, record = self._items[i]
                self._reader(number).announce(record)

    def _reader(self, number: int) -> ShardReader:
        """Return the reader of a shard; if too many are open, close the one that rests longest."""
        self._opened[number] = None
        self._opened.move_to_end(number)
        if len(self._opened) > self._most_opened:
            oldest, _ = self._opened.popitem(last=False)
            self._readers[oldest].close()
        return self._readers[number]

    def _image(self, i: int) -> Image.Image:
        image = self._cache.get(i)
        if image is None:
            number, record = self._items[i]
            image = self._reader(number).read_image(record, check=not self._seen[i])
            self._seen[i] = True
            size = 3 * image.width * image.height
            if size <= self._cache_room:
                self._cache[i] = image
                self._cache_room -= size
        return image
