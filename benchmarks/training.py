"""Training: capsynth's stage, a plain loop on decoded images in memory, and on ready batches.

The plain loop has the same model, optimizer, order, transforms and batch size, and ends in the same
weights. Ready batches are transformed before the time begins, those of all epochs. Two processes
are compared with one by the stage's command line, start included.
"""

import functools
import random
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn

from benchmarks.configured import Shard, draw_shards, read_experiment, use_threads
from benchmarks.harness import Benchmark, Work, run_measured
from capsynth.classifiers import build_classifier
from capsynth.files import dump_json
from capsynth.learner import build_optimizer
from capsynth.recipes import NORMALISATIONS, Recipe, learning_rate
from capsynth.seeding import derive_seed
from capsynth.shards import ShardReader, read_manifest
from capsynth.training import ShardSource, Training, train_classifier
from capsynth.training_loop import StepBatches
from capsynth.transforms import normalise, training_transform

SCRIPT = Path(__file__).resolve().parents[1] / "workflow" / "scripts" / "train_classifier.py"
CLASSES, IMAGES, EPOCHS = 10, 80, 4
SEED = 0
# What the plain loop does not do.
OFF = {"mixup": 0, "cutmix": 0, "bce_loss": False, "ema_decay": 0, "clip_grad": 0, "compile": False}


@dataclass(frozen=True)
class Decoded:
    """Images in memory.

    Attributes:
        images: The images, in the order of the shards.
        targets: Their class indices.
    """

    images: Sequence[Image.Image]
    targets: Sequence[int]


Batches = Callable[[], Iterator[tuple[Tensor, Tensor]]]


def stage(recipe: Recipe, shards: Sequence[Shard], folder: Path) -> float:
    """Train through capsynth's stage: a checkpoint and a history."""
    sources = [ShardSource(shard.tar, shard.manifest, 1.0) for shard in shards]
    class_ids = [shard.about.class_id for shard in shards]
    training = Training(recipe, sources, class_ids, SEED)
    train_classifier(training, folder / "c.safetensors", folder / "c.json")
    return recipe.epochs * sum(len(read_manifest(shard.manifest)) for shard in shards)


def decode(shards: Sequence[Shard]) -> Decoded:
    """Read all images into memory."""
    images, targets = [], []
    for shard in shards:
        with ShardReader(shard.tar) as reader:
            for record in read_manifest(shard.manifest):
                images.append(reader.read_image(record))
                targets.append(record.class_index)
    return Decoded(images, targets)


def batches(recipe: Recipe, data: Decoded) -> Iterator[tuple[Tensor, Tensor]]:
    """Transform the images, step by step."""
    transform = training_transform(recipe)
    steps = recipe.epochs * -(-len(data.images) // recipe.batch_size)
    for places in StepBatches(len(data.images), recipe.batch_size, SEED, range(steps), 0, 1):
        pixels = [
            transform(data.images[i], random.Random(derive_seed("augment", SEED, epoch, i)))
            for epoch, i in places
        ]
        yield torch.stack(pixels), torch.tensor([data.targets[i] for _, i in places])


def plain_loop(recipe: Recipe, classes: int, images: int, loader: Batches) -> nn.Module:
    """Train as a tutorial does: nothing is saved, and nothing is looked after."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    layout = torch.channels_last
    torch.manual_seed(derive_seed("init", SEED))
    model = build_classifier(
        recipe.model, classes, recipe.image_size, recipe.dropout, recipe.drop_path
    ).to(device, memory_format=layout)
    model.train()
    optimizer = build_optimizer(model, recipe)
    scaler = torch.amp.GradScaler(device.type, enabled=recipe.amp == "float16")
    criterion = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)
    mean, std = NORMALISATIONS[recipe.normalisation]
    steps = recipe.epochs * -(-images // recipe.batch_size)
    number_format = torch.bfloat16 if recipe.amp == "off" else getattr(torch, recipe.amp)
    for step, (pixels, targets) in enumerate(loader()):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(recipe, step, steps)
        x = normalise(pixels.to(device, non_blocking=True), mean, std).contiguous(
            memory_format=layout
        )
        with torch.autocast(device.type, number_format, enabled=recipe.amp != "off"):
            logits = model(x)
        loss = criterion(logits.float(), targets.to(device, non_blocking=True))
        optimizer.zero_grad(set_to_none=True)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return model


def in_processes(recipe: Recipe, shards: Sequence[Shard], folder: Path, count: int) -> Work:
    """Train by the command line in so many processes of one thread."""
    flags = {
        "recipe": [dump_json(asdict(replace(recipe, gpus=count)))],
        "class-ids": [shard.about.class_id for shard in shards],
        "seed": [str(SEED)],
        "folders": [str(shards[0].tar.parent)],
        "fractions": ["1.0"],
        "parts-per-class": ["1"],
        "threads": [str(count)],
        "checkpoint": [str(folder / "c.safetensors")],
        "history": [str(folder / "c.json")],
    }
    start = [sys.executable]
    if count > 1:
        start += ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
    words = [word for name, values in flags.items() for word in (f"--{name}", *values)]
    images = recipe.epochs * sum(len(read_manifest(shard.manifest)) for shard in shards)
    return run_measured([*start, str(SCRIPT), *words], images)


def benchmarks(work: Path, config_file: Path) -> Iterator[Benchmark]:
    """Yield the benchmarks of training."""
    use_threads(1)
    experiment = read_experiment(config_file)
    recipe = replace(experiment.recipe, steps=None, warmup_epochs=0, epochs=EPOCHS, **OFF)
    shards = draw_shards(experiment, work, CLASSES, IMAGES)
    data = decode(shards)
    images = len(data.images)
    ready = list(batches(recipe, data))
    made = work / "made"

    def prepare() -> None:
        shutil.rmtree(made, ignore_errors=True)

    def loop(loader: Batches) -> float:
        plain_loop(recipe, len(shards), images, loader)
        return recipe.epochs * images

    name = f"{experiment.name}, {recipe.model}"
    yield Benchmark(
        f"training, {name}",
        "images",
        {
            "stage": functools.partial(stage, recipe, shards, made),
            "plain loop on images in memory": functools.partial(
                loop, functools.partial(batches, recipe, data)
            ),
            "plain loop on ready batches": functools.partial(loop, lambda: iter(ready)),
        },
        bounds={"plain loop on images in memory": 0.90},
        prepare=prepare,
    )
    if torch.cuda.is_available() and torch.cuda.device_count() < 2:
        return
    longer = replace(recipe, epochs=2 * EPOCHS)
    yield Benchmark(
        f"training in two processes, {name}",
        "images",
        {
            "two processes": functools.partial(in_processes, longer, shards, made, 2),
            "one process": functools.partial(in_processes, longer, shards, made, 1),
        },
        most_rounds=3,
        prepare=prepare,
    )
