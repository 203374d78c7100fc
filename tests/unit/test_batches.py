"""Batches that workers read are those that one process reads, for as long as they are in use."""

import multiprocessing
import os
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import pytest
import torch
from PIL import Image

from capsynth.datasets import batches
from capsynth.datasets.batches import AHEAD, load_batches
from capsynth.datasets.images import Sample, ShardedImages
from capsynth.integrity import Damaged
from capsynth.shards import Sample as Stored
from capsynth.shards import ShardRecord, encode_image, read_manifest, write_shard
from capsynth.transforms import to_pixels

SIDE, IMAGES, SIZE = 6, 29, 4


class Noise:
    """Images that are noise of their place."""

    def __getitem__(self, place: tuple[int, int]) -> Sample:
        rng = random.Random(str(place))
        values = [rng.randrange(256) for _ in range(3 * SIDE * (SIDE + 2))]
        pixels = torch.tensor(values, dtype=torch.uint8).view(SIDE, SIDE + 2, 3)
        return pixels.permute(2, 0, 1), sum(place), f"key{place}"

    def announce(self, places: Sequence[tuple[int, int]]) -> None:
        """They lie on no disk."""


IMAGES_OF_NOISE = cast(ShardedImages, Noise())


def places(epochs: int = 3) -> list[list[tuple[int, int]]]:
    """Return the places of the batches: the last one of an epoch is short, one is empty."""
    starts = range(0, IMAGES, SIZE)
    found = [
        [(epoch, i) for i in range(start, min(start + SIZE, IMAGES))]
        for epoch in range(epochs)
        for start in starts
    ]
    return [*found[:5], [], *found[5:]]


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_a_batch_stays_as_it_was_read_until_the_next_is_asked_for(workers: int) -> None:
    expected = list(load_batches(IMAGES_OF_NOISE, places(), SIZE, 0))
    seen = 0
    for number, batch in enumerate(load_batches(IMAGES_OF_NOISE, places(), SIZE, workers)):
        if number < 3 * workers * (AHEAD + 1):
            time.sleep(0.02)  # workers fill all that they may fill
        wanted = expected[number]
        if batch is None or wanted is None:
            assert batch is wanted
        else:
            assert torch.equal(batch[0], wanted[0])
            assert batch[0].shape[1:] == (3, SIDE, SIDE + 2)
            assert batch[1:] == wanted[1:]
        seen += 1
    assert seen == len(expected)


def test_workers_hand_over_no_memory_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(samples: Sequence[Sample]) -> None:
        raise AssertionError("collated in memory of its own")

    monkeypatch.setattr(batches, "collate", refuse)
    assert len(list(load_batches(IMAGES_OF_NOISE, places(1), SIZE, 2))) == len(places(1))


def test_the_images_of_a_batch_and_of_the_next_are_asked_for_before_the_first_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tar, manifest = tmp_path / "bat-0.tar", tmp_path / "bat-0.jsonl"
    records = [ShardRecord(f"k{i}", "bat", 0, i, "ok", "m", extension="png") for i in range(4)]
    drawn = [encode_image(Image.new("RGB", (4, 4), (i, 0, 0)), "png") for i in range(4)]
    write_shard(tar, manifest, [Stored(r, d) for r, d in zip(records, drawn, strict=True)])
    offsets = [record.offset for record in read_manifest(manifest)]
    images = ShardedImages([(tar, manifest, 1.0)], lambda image, rng: to_pixels(image), again=True)
    done: list[tuple[str, int]] = []
    advise, read = os.posix_fadvise, os.pread

    def note_advice(file: int, offset: int, size: int, advice: int) -> None:
        assert advice == os.POSIX_FADV_WILLNEED
        done.append(("asked", offsets.index(offset)))
        advise(file, offset, size, advice)

    def note_reading(file: int, size: int, offset: int) -> bytes:
        done.append(("read", offsets.index(offset)))
        return read(file, size, offset)

    monkeypatch.setattr(os, "posix_fadvise", note_advice)
    monkeypatch.setattr(os, "pread", note_reading)
    red = [
        [int(image[0, 0, 0]) for image in batch[0]]
        for batch in load_batches(images, [[(0, 2), (0, 0)], [(0, 1)], [(1, 2), (1, 3)]], 2, 0)
        if batch
    ]
    assert red == [[2, 0], [1], [2, 3]]
    assert done == [
        *(("asked", 2), ("asked", 0), ("asked", 1), ("read", 2), ("read", 0)),
        *(("asked", 3), ("read", 1), ("read", 3)),  # the image that is used again is still decoded
    ]


def test_an_image_of_another_shape_is_an_error_and_leaves_no_worker() -> None:
    class Uneven(Noise):
        def __getitem__(self, place: tuple[int, int]) -> Sample:
            pixels, target, key = super().__getitem__(place)
            return pixels[:, :3] if place == (0, 9) else pixels, target, key

    with pytest.raises(RuntimeError, match="size"):
        list(load_batches(cast(ShardedImages, Uneven()), places(1), SIZE, 1))
    # It ignores SIGTERM: the end of this process would wait for it.
    assert multiprocessing.active_children() == []


def test_an_image_that_a_worker_cannot_read_is_told_in_one_line(tmp_path: Path) -> None:
    tar, manifest = tmp_path / "car-0.tar", tmp_path / "car-0.jsonl"
    image = encode_image(Image.new("RGB", (8, 8)), "png")
    records = [ShardRecord(f"k{i}", "car", 0, i, "ok", "f", extension="png") for i in range(4)]
    write_shard(tar, manifest, [Stored(record, image) for record in records])
    damaged = read_manifest(manifest)[3]
    assert damaged.offset is not None
    data = bytearray(tar.read_bytes())
    data[damaged.offset + 40] ^= 1
    tar.write_bytes(data)
    images = ShardedImages([(tar, manifest, 1.0)], lambda image, rng: to_pixels(image))
    said = []
    for workers in (0, 1):
        with pytest.raises(Damaged) as told:
            list(load_batches(images, [[0, 1], [2, 3]], 2, workers))
        said.append(str(told.value))
    assert said[0].startswith(f"{tar}: image 'k3' is not the one")
    assert said[0] == said[1]
