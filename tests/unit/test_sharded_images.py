"""Images of many shards: every one is read, however few files a process may have open."""

import multiprocessing
import os
import random
import resource
from pathlib import Path

import pytest
from PIL import Image

from capsynth.datasets.images import ShardedImages
from capsynth.files import OTHER_FILES
from capsynth.shards import Sample, ShardRecord, encode_image, write_shard
from capsynth.transforms import to_pixels

SHARDS = 40
Shards = list[tuple[Path, Path, float]]


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Shards:
    """Return shards of one image each, whose red is the number of its shard."""
    folder = tmp_path_factory.mktemp("shards")
    found = []
    for number in range(SHARDS):
        tar, manifest = folder / f"c{number}-0.tar", folder / f"c{number}-0.jsonl"
        record = ShardRecord("k", f"c{number}", number, 0, "ok", "m", extension="png")
        image = encode_image(Image.new("RGB", (2, 2), (number, 0, 0)), "png")
        write_shard(tar, manifest, [Sample(record, image)])
        found.append((tar, manifest, 1.0))
    return found


def read_at_random(shards: Shards, soft: int, hard: int, most_open: int) -> None:
    """Read all images three times under limits of open files."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    images = ShardedImages(shards, lambda image, rng: to_pixels(image))
    before = len(os.listdir("/proc/self/fd"))
    rng = random.Random(0)
    for _ in range(3):
        for i in rng.sample(range(SHARDS), SHARDS):
            images.announce([i])
            pixels, target, _ = images[i]
            assert int(pixels[0, 0, 0]) == target == i
            assert len(os.listdir("/proc/self/fd")) <= before + most_open
    assert len(os.listdir("/proc/self/fd")) == before + most_open


@pytest.mark.parametrize(
    ("soft", "hard", "most_open"),
    [
        (64, OTHER_FILES + 7, 7),  # as many as may be
        (64, OTHER_FILES + 500, SHARDS),  # the limit is raised
        (64, 64, 1),
    ],
)
def test_shards_are_read_whatever_the_limit_of_open_files(
    soft: int, hard: int, most_open: int, shards: Shards
) -> None:
    # In a process of its own: a hard limit cannot be raised again.
    process = multiprocessing.get_context("fork").Process(
        target=read_at_random, args=(shards, soft, hard, most_open)
    )
    process.start()
    process.join()
    assert process.exitcode == 0
