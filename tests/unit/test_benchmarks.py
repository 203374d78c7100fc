"""The benchmarks of the stages compare like with like: all their ways do the same work."""

import importlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks import captioning, generation, reading, training
from benchmarks.__main__ import OF_MODELS, TOPICS
from benchmarks.configured import (
    Experiment,
    Shard,
    draw_photos,
    draw_scenes,
    prompt_shards,
    read_experiment,
)
from safetensors.torch import load_file

from capsynth.captioners import load_captioner
from capsynth.files import read_json_lines
from capsynth.generators import DiffusersGenerator
from capsynth.shards import ShardReader, read_manifest

IMAGES = 3


@pytest.fixture(scope="module")
def experiment(repository: Path) -> Experiment:
    """The embedded experiment, in batches of two images."""
    read = read_experiment(repository / "config.yaml")
    return replace(
        read,
        captioner=replace(read.captioner, batch_size=2),
        generator=replace(read.generator, batch_size=2, num_inference_steps=3),
    )


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> list[Shard]:
    return draw_scenes(tmp_path_factory.mktemp("scenes"), 2, IMAGES, 0.5)


def test_every_topic_can_be_measured() -> None:
    assert set(OF_MODELS) < set(TOPICS)
    for topic in TOPICS:
        assert callable(importlib.import_module(f"benchmarks.{topic}").benchmarks)


@pytest.mark.slow
def test_all_ways_to_generate_draw_the_images_of_the_stage(
    experiment: Experiment, shards: list[Shard], tmp_path: Path
) -> None:
    settings = experiment.generator
    files = prompt_shards(experiment, shards, tmp_path)
    generator = DiffusersGenerator(settings)
    pipeline = generator._pipeline
    assert generation.stage(generator, files, tmp_path / "drawn") == 2 * IMAGES
    drawn = []
    for prompts in files:
        tar = tmp_path / "drawn" / f"{prompts.stem}.tar"
        with ShardReader(tar) as reader:
            records = read_manifest(tar.with_suffix(".jsonl"))
            drawn += [np.asarray(reader.read_image(record)) for record in records]
    ready = generation.prepare_batches(pipeline, settings, files)
    pixels = torch.cat(generation.bare(pipeline, settings, ready)).permute(0, 2, 3, 1)
    alone = (pixels.numpy() * 255).round().astype(np.uint8)
    assert len(alone) == len(drawn) == 2 * IMAGES
    assert all((one == other).all() for one, other in zip(alone, drawn, strict=True))
    assert generation.one_by_one(pipeline, settings, files, tmp_path / "saved") == 2 * IMAGES
    assert len(list((tmp_path / "saved").rglob("*.jpg"))) == 2 * IMAGES


def test_all_ways_to_caption_say_what_the_stage_says(
    experiment: Experiment, shards: list[Shard], tmp_path: Path
) -> None:
    captioner = load_captioner(experiment.captioner)
    assert captioning.stage(captioner, shards, tmp_path / "stage") == 2 * IMAGES
    said = [
        row["raw"]
        for shard in shards
        for row in read_json_lines(tmp_path / "stage" / f"{shard.tar.stem}.jsonl")
    ]
    ready = captioning.prepare_batches(captioner, shards)
    rows = [row for tokens in captioning.bare(captioner, ready) for row in tokens[:, 1:].tolist()]
    assert [utterance.text for utterance in captioner.in_words(rows)] == said
    assert captioning.one_by_one(captioner, shards, tmp_path / "alone") == 2 * IMAGES
    files = [tmp_path / "alone" / f"{shard.about.class_id}.txt" for shard in shards]
    assert [line for file in files for line in file.read_text().splitlines()] == said


@pytest.mark.parametrize("kind", ["scenes", "photos"])
@pytest.mark.parametrize("workers", [0, 1])
def test_all_ways_to_read_give_every_image_once(
    kind: str, workers: int, experiment: Experiment, tmp_path: Path
) -> None:
    photos = kind == "photos"
    shards = draw_photos(tmp_path, 2, 3) if photos else draw_scenes(tmp_path, 2, 3, 0.5)
    recipe = replace(experiment.recipe, batch_size=4, workers=workers)
    readers = reading.Readers(shards, 224 if photos else 48, recipe)
    readers.new_and_cold()
    assert {name: way() for name, way in readers.ways().items()} == {
        "training reader": 6,
        "ImageFolder": 6,
        "webdataset": 6,
        "decoding alone": 6,
    }


def test_the_reader_gives_the_pixels_that_decoding_gives(
    experiment: Experiment, shards: list[Shard]
) -> None:
    recipe = replace(experiment.recipe, batch_size=4, workers=0)
    readers = reading.Readers(shards, 48, recipe)
    readers.new()
    data = training.decode(shards)
    for i, image in enumerate(data.images):
        pixels, target, _ = readers.images[i]
        assert (pixels == readers.transform(image)).all()
        assert target == data.targets[i]


def test_the_plain_loop_ends_in_the_weights_of_the_stage(
    experiment: Experiment, shards: list[Shard], tmp_path: Path
) -> None:
    recipe = replace(experiment.recipe, epochs=2, batch_size=4, warmup_epochs=0)
    data = training.decode(shards)
    assert training.stage(recipe, shards, tmp_path) == 2 * 2 * IMAGES
    ready = list(training.batches(recipe, data))
    model = training.plain_loop(recipe, 2, len(data.images), lambda: iter(ready))
    kept = load_file(tmp_path / "c.safetensors")
    own = model.state_dict()
    assert kept.keys() == own.keys()
    assert all(torch.equal(kept[name], own[name]) for name in kept)
