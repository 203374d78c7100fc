"""Training a classifier on a mixture of shards."""

import logging
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader

from capsynth.classifiers import ClassifierCard, build_classifier, save_classifier
from capsynth.datasets.images import ShardedImages
from capsynth.files import write_json
from capsynth.fingerprints import file_digest, files_digest, fingerprint
from capsynth.progress import Progress
from capsynth.recipes import Recipe
from capsynth.resuming import PartialWork
from capsynth.seeding import derive_seed
from capsynth.training_state import (
    load_optimizer_tensors,
    load_state,
    optimizer_tensors,
    save_state,
)
from capsynth.transforms import normalise, training_transform

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ShardSource:
    """A shard that a training set reads.

    Attributes:
        tar: The shard.
        manifest: Its manifest.
        fraction: Share of its images that is used.
    """

    tar: Path
    manifest: Path
    fraction: float


def learning_rate(recipe: Recipe, step: int, steps_per_epoch: int) -> float:
    """Return the rate of ``step``: linear warm-up, then half a cosine to zero."""
    warmup = recipe.warmup_epochs * steps_per_epoch
    if step < warmup:
        return recipe.learning_rate * (step + 1) / warmup
    done = (step - warmup) / max(1, recipe.epochs * steps_per_epoch - warmup)
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


def train_classifier(
    recipe: Recipe,
    shards: Sequence[ShardSource],
    class_ids: Sequence[str],
    seed: int,
    workers: int,
    checkpoint: Path,
    history_path: Path,
) -> None:
    """Train a classifier from scratch, resuming after the last finished epoch.

    Everything random follows from ``seed``, the epoch and the position of an image, so a run that
    was stopped ends in the same bytes as one that was not.

    Args:
        recipe: Architecture and hyperparameters.
        shards: What to train on.
        class_ids: Classes in the order of the outputs.
        seed: Training seed.
        workers: Processes that read images; 0 reads in this one. Does not change the result.
        checkpoint: The trained classifier.
        history_path: JSON with the loss of every epoch, the number of images and the checkpoint's
            SHA-256; small enough to be watched by checksum in the checkpoint's stead.
    """
    import timm.optim

    transform = training_transform(recipe.image_size, recipe.crop_scale, recipe.flip)
    images = ShardedImages([(s.tar, s.manifest, s.fraction) for s in shards], transform, seed)
    data_mark = files_digest([s.manifest for s in shards])
    fractions = [s.fraction for s in shards]
    mark = fingerprint(asdict(recipe), list(class_ids), seed, data_mark, fractions)
    work = PartialWork(checkpoint, mark)
    state_path = work.path(0, ".safetensors")

    torch.use_deterministic_algorithms(True, warn_only=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(derive_seed("init", seed))
    model = build_classifier(recipe.model, len(class_ids)).to(device)
    optimizer = timm.optim.create_optimizer_v2(
        model, opt=recipe.optimizer, lr=recipe.learning_rate, weight_decay=recipe.weight_decay
    )
    criterion = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)
    steps_per_epoch = math.ceil(len(images) / recipe.batch_size)
    epochs: list[dict[str, float]] = []
    if state_path.exists():
        groups, value = load_state(state_path)
        model.load_state_dict(groups["model"])
        load_optimizer_tensors(optimizer, groups["optimizer"])
        epochs = value["epochs"]

    with Progress(f"train {checkpoint.stem}", recipe.epochs, "epoch") as progress:
        progress.skip(len(epochs))
        for epoch in range(len(epochs), recipe.epochs):
            images.epoch = epoch
            order = torch.randperm(
                len(images),
                generator=torch.Generator().manual_seed(derive_seed("order", seed, epoch)),
            ).tolist()
            loader = DataLoader(
                images, batch_size=recipe.batch_size, sampler=order, num_workers=workers
            )
            # Dropout and stochastic depth draw from the global generator.
            torch.manual_seed(derive_seed("epoch", seed, epoch))
            model.train()
            total = 0.0
            for i, (x, target, _) in enumerate(loader):
                for group in optimizer.param_groups:
                    scale = group.get("lr_scale", 1.0)
                    rate = learning_rate(recipe, epoch * steps_per_epoch + i, steps_per_epoch)
                    group["lr"] = rate * scale
                loss = criterion(model(normalise(x.to(device))), target.to(device))
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                total += loss.item() * len(x)
            epochs.append({"loss": total / len(images)})
            groups = {"model": model.state_dict(), "optimizer": optimizer_tensors(optimizer)}
            save_state(state_path, groups, {"epochs": epochs})
            progress.advance(1)

    card = ClassifierCard(recipe.model, recipe.image_size, tuple(class_ids), mark)
    save_classifier(checkpoint, model, card)
    history = {
        "checkpoint_sha256": file_digest(checkpoint),
        "epochs": epochs,
        "fingerprint": mark,
        "images": len(images),
        "seed": seed,
    }
    write_json(history_path, history)
    work.clear()
