"""Generation: capsynth's stage, the way of the paper's released code, and the model alone.

The model is loaded before any way is timed; the text of the prompts is that of the stage's own
prompt files, and so is the noise: all ways draw the same images.
"""

import functools
import inspect
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from benchmarks.configured import (
    MARK,
    Experiment,
    draw_shards,
    prompt_shards,
    read_experiment,
    use_threads,
)
from benchmarks.harness import Benchmark
from capsynth import generation
from capsynth.files import read_json_lines
from capsynth.generators import DiffusersGenerator, GeneratorSettings
from capsynth.resuming import batches

CLASSES = 3
# Whole batches a shard: the images that a last short batch is filled up with are not counted.
BATCHES = 2
ONE_BY_ONE = "one prompt at a time"


@dataclass(frozen=True)
class Ready:
    """All that denoising starts from, on the model's device.

    Attributes:
        texts: Embeddings of a batch of prompts, of the empty ones before them under guidance.
        noise: Its noise.
        count: How many of its images are wanted; the others fill the batch up.
    """

    texts: torch.Tensor
    noise: torch.Tensor
    count: int


def stage(
    generator: DiffusersGenerator, files: Sequence[Path], folder: Path, extension: str = "png"
) -> float:
    """Draw prompt files through capsynth's stage: a tar and a manifest each."""
    count = 0
    with mock.patch.object(generation, "DiffusersGenerator", return_value=generator):
        for prompts in files:
            tar = folder / f"{prompts.stem}.tar"
            manifest = tar.with_suffix(".jsonl")
            generation.generate_shard(generator.settings, prompts, extension, tar, manifest, MARK)
            count += len(generation.read_manifest(manifest))
    return count


def one_by_one(
    pipeline: Any, settings: GeneratorSettings, files: Sequence[Path], folder: Path
) -> float:
    """Draw one prompt after the other and save each image as a file, as the released code does."""
    count = 0
    for row in _rows(files):
        noise = torch.Generator("cpu").manual_seed(row["seed"])
        with torch.inference_mode():
            image = pipeline(
                row["prompt"],
                num_inference_steps=settings.num_inference_steps,
                guidance_scale=settings.guidance_scale,
                negative_prompt=settings.negative_prompt,
                height=settings.height,
                width=settings.width,
                generator=noise,
            ).images[0]
        place = folder / row["class_id"] / f"{row['key']}.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        image.save(place)
        count += 1
    return count


def prepare_batches(
    pipeline: Any, settings: GeneratorSettings, files: Sequence[Path]
) -> list[Ready]:
    """Encode the prompts and draw the noise of the stage's batches."""
    ready = []
    unet = pipeline.unet
    side = 2 ** (len(pipeline.vae.config.block_out_channels) - 1)
    shape = (1, unet.config.in_channels, settings.height // side, settings.width // side)
    for prompts in files:
        for _, batch in batches(_rows([prompts]), settings.batch_size):
            rows = [*batch, *[batch[-1]] * (settings.batch_size - len(batch))]
            with torch.inference_mode():
                texts, empty = pipeline.encode_prompt(
                    [row["prompt"] for row in rows],
                    pipeline.device,
                    1,
                    settings.guidance_scale > 1,
                    [settings.negative_prompt or ""] * len(rows),
                )
            if settings.guidance_scale > 1:
                texts = torch.cat([empty, texts])
            noise = [_noise(shape, row["seed"], texts.dtype) for row in rows]
            ready.append(Ready(texts, torch.cat(noise).to(pipeline.device), len(batch)))
    return ready


def bare(pipeline: Any, settings: GeneratorSettings, ready: Sequence[Ready]) -> list[torch.Tensor]:
    """Denoise and decode batches, and do nothing else; return their pixels, from 0 to 1."""
    images = []
    scheduler = pipeline.scheduler
    takes = inspect.signature(scheduler.step).parameters
    guided = settings.guidance_scale > 1
    for batch in ready:
        scheduler.set_timesteps(settings.num_inference_steps, device=pipeline.device)
        latents = batch.noise * scheduler.init_noise_sigma
        # The samplers that take a generator add noise of it at every step.
        more = {"generator": None} if "generator" in takes else {}
        with torch.inference_mode():
            for time in scheduler.timesteps:
                x = scheduler.scale_model_input(
                    torch.cat([latents] * 2 if guided else [latents]), time
                )
                predicted = pipeline.unet(x, time, batch.texts, return_dict=False)[0]
                if guided:
                    empty, asked = predicted.chunk(2)
                    predicted = empty + settings.guidance_scale * (asked - empty)
                latents = scheduler.step(predicted, time, latents, return_dict=False, **more)[0]
            decoded = pipeline.vae.decode(
                latents / pipeline.vae.config.scaling_factor, return_dict=False
            )[0]
        images.append((decoded / 2 + 0.5).clamp(0, 1)[: batch.count].cpu())
    return images


def _noise(shape: Sequence[int], seed: int, dtype: torch.dtype) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator("cpu").manual_seed(seed), dtype=dtype)


def _rows(files: Sequence[Path]) -> list[dict[str, Any]]:
    rows = [row for prompts in files for row in read_json_lines(prompts)]
    return [row for row in rows if row["prompt"] is not None]


def benchmarks(work: Path, config_file: Path) -> Iterator[Benchmark]:
    """Yield the benchmarks of generation: on one thread, then on all cores."""
    experiment: Experiment = read_experiment(config_file)
    settings = experiment.generator
    cores = len(os.sched_getaffinity(0))
    use_threads(1)
    classes = CLASSES if torch.cuda.is_available() else max(CLASSES, 2 * cores)
    shards = draw_shards(experiment, work, classes, BATCHES * settings.batch_size)
    files = prompt_shards(experiment, shards, work)
    generator = DiffusersGenerator(settings)
    pipeline = generator._pipeline
    if not hasattr(pipeline, "unet"):
        raise ValueError(f"{settings.model} has no unet: the bare loop is Stable Diffusion's")
    some = files[:CLASSES]
    ready = prepare_batches(pipeline, settings, some)
    drawn, saved = work / "drawn", work / "saved"

    def prepare(threads: int) -> None:
        use_threads(threads)
        for folder in (drawn, saved):
            shutil.rmtree(folder, ignore_errors=True)

    def limit() -> float:
        return sum(map(len, bare(pipeline, settings, ready)))

    yield Benchmark(
        f"generation, {experiment.name}",
        "images",
        {
            "stage": functools.partial(stage, generator, some, drawn),
            ONE_BY_ONE: functools.partial(one_by_one, pipeline, settings, some, saved),
            "denoising and decoding alone": limit,
        },
        bounds={ONE_BY_ONE: 3.0, "denoising and decoding alone": 0.90},
        prepare=functools.partial(prepare, 1),
    )
    if torch.cuda.is_available():
        return  # one job has the GPU
    with ProcessPoolExecutor(
        cores, get_context("spawn"), initializer=_load, initargs=(settings,)
    ) as jobs:

        def a_job_a_core() -> float:
            parts = [[prompts] for prompts in files]
            return sum(jobs.map(_stage_of_job, parts, [drawn] * len(parts)))

        yield Benchmark(
            f"generation on {cores} cores, {experiment.name}",
            "images",
            {
                "stage, a job a core": a_job_a_core,
                ONE_BY_ONE: functools.partial(one_by_one, pipeline, settings, files, saved),
            },
            bounds={ONE_BY_ONE: 3.0},
            prepare=functools.partial(prepare, cores),
        )


_of_job: dict[str, DiffusersGenerator] = {}


def _load(settings: GeneratorSettings) -> None:
    """Load the model in a process that stands for a job."""
    use_threads(1)
    _of_job["generator"] = DiffusersGenerator(settings)


def _stage_of_job(files: Sequence[Path], folder: Path) -> float:
    return stage(_of_job["generator"], files, folder)
