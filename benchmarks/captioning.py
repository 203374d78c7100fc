"""Captioning: capsynth's stage, one image at a time, and the model alone.

The model is loaded before any way is timed. All ways decode greedily, or in the beams that the
configuration asks for.
"""

import functools
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from PIL import Image

from benchmarks.configured import MARK, Shard, draw_shards, read_experiment, use_threads
from benchmarks.harness import Benchmark
from capsynth import captioning
from capsynth.captioners import Captioner, load_captioner
from capsynth.datasets.folder import list_images
from capsynth.decoding import continue_text
from capsynth.files import read_json_lines
from capsynth.resuming import batches

CLASSES = 2
# Whole batches a shard: the images that a last short batch is filled up with are not counted.
BATCHES = 4


def stage(captioner: Captioner, shards: Sequence[Shard], folder: Path) -> float:
    """Caption shards through capsynth's stage: JSON Lines each."""
    count = 0
    with mock.patch.object(captioning, "load_captioner", return_value=captioner):
        for shard in shards:
            output = folder / f"{shard.tar.stem}.jsonl"
            captioning.caption_shard(captioner.settings, shard.tar, shard.manifest, output, MARK)
            count += len(read_json_lines(output))
    return count


def image_files(shards: Sequence[Shard]) -> list[Path]:
    """Return the images that shards were packed from, in the shards' order."""
    return [shard.folder / file.name for shard in shards for file in list_images(shard.folder)]


def one_by_one(captioner: Captioner, shards: Sequence[Shard], folder: Path) -> float:
    """Caption one image file after the other; write the captions of a class as lines."""
    count = 0
    for shard in shards:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / f"{shard.about.class_id}.txt").open("w", encoding="utf-8") as out:
            for path in image_files([shard]):
                with Image.open(path) as image:
                    inputs = prepare_inputs(captioner, [image.convert("RGB")])
                (said,) = continue_text(
                    captioner.model,
                    captioner.tokenizer,
                    inputs,
                    captioner.settings.decoding,
                    seeds=[0],
                    prompt_length=captioner.prompt_length(inputs),
                    end_tokens=captioner.end_tokens(),
                )
                out.write(said.text + "\n")
                count += 1
    return count


def prepare_inputs(captioner: Captioner, images: Sequence[Image.Image]) -> Mapping[str, Any]:
    """Return what the model takes for images, on its device."""
    inputs = captioner.inputs(images)
    return {name: captioner._placed(value) for name, value in inputs.items()}


def prepare_batches(captioner: Captioner, shards: Sequence[Shard]) -> list[Mapping[str, Any]]:
    """Read and prepare the images of the stage's batches."""
    ready = []
    for shard in shards:
        for _, paths in batches(image_files([shard]), captioner.settings.batch_size):
            images = []
            for path in paths:
                with Image.open(path) as image:
                    images.append(image.convert("RGB"))
            ready.append(prepare_inputs(captioner, images))
    return ready


def bare(captioner: Captioner, ready: Sequence[Mapping[str, Any]]) -> list[torch.Tensor]:
    """Generate the tokens of batches, and do nothing else."""
    decoding = captioner.settings.decoding
    with torch.inference_mode():
        return [
            captioner.model.generate(
                **inputs,
                max_new_tokens=decoding.max_new_tokens,
                num_beams=decoding.num_beams,
                do_sample=False,
            ).cpu()
            for inputs in ready
        ]


def benchmarks(work: Path, config_file: Path) -> Iterator[Benchmark]:
    """Yield the benchmark of captioning."""
    use_threads(1)
    experiment = read_experiment(config_file)
    settings = replace(experiment.captioner, num_captions=1, temperature=None, top_p=None)
    captioner = load_captioner(settings)
    shards = draw_shards(experiment, work, CLASSES, BATCHES * settings.batch_size)
    ready = prepare_batches(captioner, shards)
    captions = work / "captions"

    def prepare() -> None:
        shutil.rmtree(captions, ignore_errors=True)

    yield Benchmark(
        f"captioning, {experiment.name}",
        "images",
        {
            "stage": functools.partial(stage, captioner, shards, captions),
            "one image at a time": functools.partial(one_by_one, captioner, shards, captions),
            "generate alone": lambda: float(sum(map(len, bare(captioner, ready)))),
        },
        bounds={"generate alone": 0.85},
        prepare=prepare,
    )
