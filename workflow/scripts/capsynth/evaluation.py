"""Evaluating a classifier: one row of probabilities an image."""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader

from capsynth.classifiers import load_classifier
from capsynth.datasets.images import ShardedImages
from capsynth.errors import CapsynthError
from capsynth.fingerprints import file_digest, fingerprint
from capsynth.predictions import write_predictions
from capsynth.progress import Progress
from capsynth.shards import read_manifest, usable
from capsynth.transforms import evaluation_transform, normalise

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunName:
    """Names of what is evaluated: a run, and the evaluation set."""

    dataset: str
    training_set: str
    recipe: str
    seed: int
    eval_set: str


def evaluate_classifier(
    name: RunName,
    checkpoint: Path,
    tar: Path,
    manifest: Path,
    batch_size: int,
    workers: int,
    output: Path,
) -> None:
    """Write the probabilities of every image of an evaluation set.

    Args:
        name: Names that the predictions carry.
        checkpoint: The classifier.
        tar: The evaluation set.
        manifest: Its manifest.
        batch_size: Images a forward pass.
        workers: Processes that read images; 0 reads in this one.
        output: The predictions, see ``predictions.write_predictions``.

    Raises:
        CapsynthError: If the evaluation set has a class that the classifier does not know, or
            knows under another index.
    """
    model, card = load_classifier(checkpoint)
    for record in usable(read_manifest(manifest)):
        expected = dict(enumerate(card.class_ids)).get(record.class_index)
        if expected != record.class_id:
            raise CapsynthError(
                f"{manifest}: class {record.class_id!r} has index {record.class_index}, which is "
                f"{expected!r} in {checkpoint}; pack the evaluation set for the same classes"
            )
    images = ShardedImages([(tar, manifest, 1.0)], evaluation_transform(card.image_size))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model.to(device)
    keys: list[str] = []
    targets, probabilities = [], []
    loader = DataLoader(images, batch_size=batch_size, num_workers=workers)
    with Progress(f"evaluate {name.eval_set}", len(images), "image") as progress:
        for x, target, key in loader:
            with torch.inference_mode():
                logits = model(normalise(x.to(device))).float()
                probabilities.append(logits.softmax(dim=1).cpu().numpy())
            targets.append(target.numpy())
            keys += key
            progress.advance(len(x))
    write_predictions(
        output,
        keys=keys,
        targets=np.concatenate(targets),
        probabilities=np.concatenate(probabilities),
        class_ids=card.class_ids,
        dataset=name.dataset,
        training_set=name.training_set,
        recipe=name.recipe,
        seed=name.seed,
        eval_set=name.eval_set,
        fingerprint=fingerprint(card.fingerprint, file_digest(manifest)),
    )
