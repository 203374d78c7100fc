"""Reading: the reader of training, torchvision's ImageFolder, webdataset, and decoding alone.

All ways decode with Pillow, cut the same square out and count what arrives as batches of pixels,
except for decoding alone: a loop over the images, in as many processes, that hands over nothing.
The cold ways begin with none of the images in memory; what the kernel knows of folders and files
stays. The configuration says nothing here: the images are scenes of the embedded experiment, and
JPEGs in the size of photos.
"""

import functools
import io
import multiprocessing
import os
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
import webdataset
from PIL import Image
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder

from benchmarks.configured import Shard, draw_photos, draw_scenes, read_experiment, use_threads
from benchmarks.harness import Benchmark
from capsynth.datasets.images import ShardedImages
from capsynth.distributed import Processes
from capsynth.recipes import Recipe
from capsynth.shards import read_manifest
from capsynth.training_loop import load_steps
from capsynth.transforms import centre_square, to_pixels

CLASSES = 10
SCENES, PHOTOS = 3000, 400
# Images a batch: small images need large batches, or handing them over is what is measured.
SCENE_BATCH, PHOTO_BATCH = 256, 64
WARM, COLD = (0, 1, 2), (1, 2)
# Samples that webdataset shuffles among, as in its documentation.
SHUFFLED = 1000


class Cut:
    """Cuts the middle out of an image: hardly any work, and equal shapes."""

    def __init__(self, side: int) -> None:
        self.side = side

    def __call__(self, image: Image.Image, rng: random.Random | None = None) -> torch.Tensor:
        """Return uint8 pixels, shape (3, side, side)."""
        left, upper, right, lower = centre_square(*image.size)
        margin = (right - left - self.side) // 2
        if margin or right - left != image.width or lower - upper != image.height:
            left, upper = left + margin, upper + margin
            image = image.crop((left, upper, left + self.side, upper + self.side))
        return to_pixels(image)


def count(batches: DataLoader[object]) -> float:
    """Return how many images arrive."""
    return sum(len(batch[0]) for batch in batches)  # type: ignore[index, misc]  # of any loader


def training_reader(images: ShardedImages, recipe: Recipe) -> float:
    """Read an epoch as a training does."""
    steps = -(-len(images) // recipe.batch_size)
    alone = Processes(0, 1, torch.device("cpu"))
    return sum(len(b[0]) for b in load_steps(images, recipe, 0, range(steps), alone) if b)


def image_folder(images: ImageFolder, recipe: Recipe) -> float:
    """Read the class folders with torchvision, shuffled."""
    return count(DataLoader(images, recipe.batch_size, shuffle=True, num_workers=recipe.workers))


def web_dataset(tars: Sequence[Path], transform: Cut, recipe: Recipe) -> float:
    """Stream the tars with webdataset, shuffled as far as a stream can be."""
    images = (
        webdataset.WebDataset([str(tar) for tar in tars], shardshuffle=len(tars))
        .shuffle(SHUFFLED)
        .decode("pil")
        .to_tuple("png;jpg", "cls")
        .map_tuple(transform, int)
        .batched(recipe.batch_size)
    )
    return count(DataLoader(images, batch_size=None, num_workers=recipe.workers))


def decode_alone(places: Sequence[tuple[Path, int, int]], transform: Cut, workers: int) -> float:
    """Decode images in as many processes, and drop them."""
    if workers == 0:
        return _decode(places, transform)
    context = multiprocessing.get_context("fork")
    processes = [
        context.Process(target=_decode, args=(places[rank::workers], transform))
        for rank in range(workers)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        if process.exitcode:
            raise RuntimeError("a process that decodes has failed")
    return len(places)


def _decode(places: Sequence[tuple[Path, int, int]], transform: Cut) -> float:
    files = {path: os.open(path, os.O_RDONLY) for path in {path for path, _, _ in places}}
    for path, offset, size in places:
        with Image.open(io.BytesIO(os.pread(files[path], size, offset))) as image:
            transform(image.convert("RGB"))
    for file in files.values():
        os.close(file)
    return len(places)


def forget_pages(paths: Sequence[Path]) -> None:
    """Have the kernel drop what it holds of files in memory."""
    for path in paths:
        file = os.open(path, os.O_RDONLY)
        os.fsync(file)  # what is not written yet stays
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(file)


class Readers:
    """The ways to read what was packed, and what has to be undone between them."""

    def __init__(self, shards: Sequence[Shard], side: int, recipe: Recipe) -> None:
        self.transform = Cut(side)
        self._shards, self._recipe = shards, recipe
        self._places = [
            (shard.tar, record.offset, record.size)
            for shard in shards
            for record in read_manifest(shard.manifest)
        ]
        self._folder = ImageFolder(str(shards[0].folder.parent), self.transform)

    def new(self) -> None:
        """Begin with a data set that has no image in memory."""
        sources = [(shard.tar, shard.manifest, 1.0) for shard in self._shards]
        self.images = ShardedImages(sources, self.transform)

    def new_and_cold(self) -> None:
        """Begin with no image in the memory of the kernel either."""
        self.new()
        files = [path for shard in self._shards for path in shard.folder.iterdir()]
        forget_pages([*files, *(shard.tar for shard in self._shards)])

    def ways(self) -> dict[str, Callable[[], float]]:
        """Return the ways by name."""
        tars = [shard.tar for shard in self._shards]
        return {
            "training reader": lambda: training_reader(self.images, self._recipe),
            "ImageFolder": functools.partial(image_folder, self._folder, self._recipe),
            "webdataset": functools.partial(web_dataset, tars, self.transform, self._recipe),
            "decoding alone": functools.partial(
                decode_alone, self._places, self.transform, self._recipe.workers
            ),
        }


def benchmarks(
    work: Path, config_file: Path, scenes: int = SCENES, photos: int = PHOTOS
) -> Iterator[Benchmark]:
    """Yield benchmarks of reading, by kind of image, number of workers and state of the cache."""
    use_threads(1)
    recipe = read_experiment(config_file).recipe
    kinds = {
        "scenes": (draw_scenes(work / "scenes", CLASSES, scenes, 0.5), 48, SCENE_BATCH),
        "photos": (draw_photos(work / "photos", CLASSES, photos), 224, PHOTO_BATCH),
    }
    for kind, (shards, side, size) in kinds.items():
        for state, numbers in (("warm", WARM), ("cold", COLD)):
            for workers in numbers:
                settings = replace(recipe, batch_size=size, workers=workers)
                readers = Readers(shards, side, settings)
                yield Benchmark(
                    f"reading {kind}, {state}, {workers} workers",
                    "images",
                    readers.ways(),
                    bounds={"ImageFolder": 1.0, "webdataset": 1.0, "decoding alone": 0.90},
                    prepare=readers.new if state == "warm" else readers.new_and_cold,
                )
