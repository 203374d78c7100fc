"""Probing the features of one trained classifier with the images of one evaluation set."""

import contextlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from capsynth.classifiers import load_classifier
from capsynth.datasets.batches import load_batches
from capsynth.datasets.images import ShardedImages
from capsynth.devices import device
from capsynth.errors import CapsynthError
from capsynth.evaluation import RunName
from capsynth.fingerprints import file_digest, fingerprint
from capsynth.predictions import write_predictions
from capsynth.probing import PROBES, fitting_half
from capsynth.progress import Progress
from capsynth.transforms import Preprocessing, evaluation_transform, normalise

BATCH_SIZE = 100


def features_before_the_head(model: nn.Module, pixels: Tensor) -> Tensor:
    """Return what the last layer of a timm model is given, pooled: shape (n, dimensions)."""
    found: Tensor = model.forward_head(model.forward_features(pixels), pre_logits=True)  # type: ignore[operator]
    return found.float()


def features_of(
    model: nn.Module, preprocessing: Preprocessing, images: ShardedImages, title: str
) -> npt.NDArray[np.float32]:
    """Return the features of images, prepared as for an evaluation: shape (n, dimensions)."""
    place = torch.device(device())
    model.to(place).eval()
    n = len(images)
    batches = [range(start, min(start + BATCH_SIZE, n)) for start in range(0, n, BATCH_SIZE)]
    found = []
    loader = load_batches(images, batches, BATCH_SIZE, 0)
    with contextlib.closing(loader), Progress(title, n, "image") as progress:
        for batch in loader:
            assert batch is not None  # none is empty
            pixels = normalise(batch[0].to(place), preprocessing.mean, preprocessing.std)
            with torch.inference_mode():
                found.append(features_before_the_head(model, pixels).cpu().numpy())
            progress.advance(len(batch[0]))
    return np.concatenate(found)


def probe_classifier(
    name: RunName, checkpoint: Path, tar: Path, manifest: Path, outputs: Mapping[str, Path]
) -> None:
    """Write what probes of a classifier's features answer to half of some labelled images.

    The other half fits them (``probing.fitting_half``): the same images for every classifier.
    Labels are the class identifiers of the manifest; the classifier need not know them.

    Args:
        name: Names that the predictions carry; the probe is added to that of the evaluation set.
        checkpoint: The classifier.
        tar: The images.
        manifest: Their manifest.
        outputs: Predictions of each of ``probing.PROBES``.

    Raises:
        CapsynthError: If there are fewer than two classes, or one has a single image.
    """
    model, card = load_classifier(checkpoint)
    transform = evaluation_transform(card.preprocessing)
    images = ShardedImages([(tar, manifest, 1.0)], transform)
    names = [record.class_id for record in images.records]
    class_ids = sorted(set(names))
    least = min(names.count(class_id) for class_id in class_ids)
    if len(class_ids) < 2 or least < 2:
        raise CapsynthError(
            f"{manifest}: {len(class_ids)} classes of {least} images and more; a probe needs two "
            "of each at least"
        )
    keys = [f"{record.class_id}/{record.key}" for record in images.records]
    targets = np.array([class_ids.index(class_id) for class_id in names])
    features = features_of(model, card.preprocessing, images, f"probe on {name.eval_set}")
    fits = fitting_half(names, keys)
    for probe, path in outputs.items():
        probabilities = PROBES[probe](
            features[fits], targets[fits], features[~fits], len(class_ids)
        )
        write_predictions(
            path,
            keys=[key for key, fit in zip(keys, fits, strict=True) if not fit],
            targets=targets[~fits],
            probabilities=probabilities.astype(np.float32),
            class_ids=class_ids,
            dataset=name.dataset,
            training_set=name.training_set,
            recipe=name.recipe,
            seed=name.seed,
            eval_set=f"{name.eval_set}/{probe}",
            fingerprint=fingerprint(card.fingerprint, file_digest(manifest), probe),
        )
