"""Evaluating a classifier: one row of probabilities an image."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from capsynth.classifiers import ClassifierCard, load_classifier
from capsynth.datasets.batches import load_batches
from capsynth.datasets.images import ShardedImages
from capsynth.devices import device
from capsynth.errors import CapsynthError
from capsynth.fingerprints import file_digest, fingerprint
from capsynth.predictions import UNKNOWN, write_predictions
from capsynth.progress import Progress
from capsynth.shards import read_manifest, usable
from capsynth.transforms import Preprocessing, evaluation_transform, normalise, view_of_corrupted


@dataclass(frozen=True)
class RunName:
    """Names of what is evaluated: a run, and the evaluation set.

    Attributes:
        dataset: Name of the dataset.
        training_set: Name of the training set.
        recipe: Name of the recipe.
        seed: Training seed; of a reference model its number.
        eval_set: Name of the evaluation set; of other images the end of their folder's name.
    """

    dataset: str
    training_set: str
    recipe: str
    seed: int
    eval_set: str


@dataclass(frozen=True, eq=False)
class Answers:
    """What a classifier said about n images.

    Attributes:
        keys: Key of every image, n of them.
        targets: Class index of every image in the evaluation set, shape (n,).
        probabilities: Shape (n, classes), float32.
        log_sum_exp: Of the logits that take part, shape (n,), float32: the negative energy.
    """

    keys: list[str]
    targets: npt.NDArray[np.int64]
    probabilities: npt.NDArray[np.float32]
    log_sum_exp: npt.NDArray[np.float32]


def classify(
    model: torch.nn.Module,
    preprocessing: Preprocessing,
    shards: Sequence[tuple[Path, Path]],
    batch_size: int,
    workers: int,
    outputs: Sequence[Sequence[int]] | None = None,
    title: str = "evaluate",
    progress: Progress | None = None,
) -> Answers:
    """Return a classifier's probabilities for every image of some shards, computed in float32.

    Args:
        model: Any model with one logit a class.
        preprocessing: What is done to an image first.
        shards: Tar and manifest of each.
        batch_size: Images a forward pass.
        workers: Processes that read images; 0 reads in this one.
        outputs: Of each answer the logits that stand for it, of which the greatest counts; None for
            all, one an answer.
        title: What progress is shown under.
        progress: Is told of images instead, where these are a part of what a job does.
    """
    sources = [(tar, manifest, 1.0) for tar, manifest in shards]
    images = ShardedImages(sources, evaluation_transform(preprocessing))
    place = torch.device(device())
    model.to(place).eval()
    keys: list[str] = []
    targets: list[int] = []
    probabilities, log_sum_exp = [], []
    starts = range(0, len(images), batch_size)
    batches = [range(start, min(start + batch_size, len(images))) for start in starts]
    loader = load_batches(images, batches, batch_size, workers)
    own = Progress(title, len(images), "image") if progress is None else None
    with contextlib.closing(loader), own or contextlib.nullcontext(progress) as counted:
        for batch in loader:
            assert batch is not None  # none is empty
            x, target, key = batch
            pixels = normalise(x.to(place), preprocessing.mean, preprocessing.std)
            with torch.inference_mode():
                logits = model(pixels).float()
                if outputs is not None:
                    logits = merged(logits, outputs)
                probabilities.append(logits.softmax(dim=1).cpu().numpy())
                log_sum_exp.append(logits.logsumexp(dim=1).cpu().numpy())
            targets += target
            keys += key
            assert counted is not None  # the caller's, or its own
            counted.advance(len(x))
    return Answers(
        keys,
        np.array(targets, dtype=np.int64),
        np.concatenate(probabilities),
        np.concatenate(log_sum_exp),
    )


def merged(logits: torch.Tensor, groups: Sequence[Sequence[int]]) -> torch.Tensor:
    """Return the greatest logit of each group of columns: shape (n, groups).

    The greatest of them all stays so: where groups share no column, an answer is right by group if
    and only if it is one of the group's.
    """
    return torch.stack([logits[:, list(group)].amax(dim=1) for group in groups], dim=1)


def evaluate_classifier(
    name: RunName,
    checkpoint: Path,
    shards: Sequence[tuple[Path, Path]],
    class_ids: Sequence[str] | None,
    batch_size: int,
    workers: int,
    output: Path,
    corrupted: bool = False,
    answer_groups: Mapping[str, Sequence[str]] | None = None,
    is_unknown: bool = False,
) -> None:
    """Write the probabilities of every image of an evaluation set, or of other shards.

    As ``answer`` does, with a classifier that is loaded from ``checkpoint``.
    """
    answer(
        name,
        load_classifier(checkpoint),
        checkpoint,
        shards,
        class_ids,
        batch_size,
        workers,
        output,
        corrupted,
        answer_groups,
        is_unknown,
    )


def answer(
    name: RunName,
    classifier: tuple[torch.nn.Module, ClassifierCard],
    checkpoint: Path,
    shards: Sequence[tuple[Path, Path]],
    class_ids: Sequence[str] | None,
    batch_size: int,
    workers: int,
    output: Path,
    corrupted: bool = False,
    answer_groups: Mapping[str, Sequence[str]] | None = None,
    is_unknown: bool = False,
    progress: Progress | None = None,
) -> None:
    """Write the probabilities of every image of an evaluation set, or of other shards.

    Args:
        name: Names that the predictions carry.
        classifier: The classifier and its card, which says how images are prepared for it.
        checkpoint: Where it was loaded from, for messages.
        shards: Tar and manifest of the evaluation set, or of each shard; class indices are those
            of the classifier.
        class_ids: Classes that may be answered, in the classifier's order; None for all of the
            classifier's. The probabilities are those of these classes alone.
        batch_size: Images a forward pass.
        workers: Processes that read images; 0 reads in this one.
        output: The predictions, see ``predictions.write_predictions``.
        corrupted: Whether the images are stored corrupted, so that they are shown uncut; see
            ``transforms.view_of_corrupted``.
        answer_groups: Of classes, all that are right answers, itself among them; the probabilities
            are then those of the greatest logit of each. None for the class alone.
        is_unknown: Whether the images are of none of the classes.
        progress: Is told of images, where these are a part of what a job does.

    Raises:
        CapsynthError: If a class is not the classifier's, or has another index there, or if the
            evaluation set has images of a class that may not be answered.
    """
    model, card = classifier
    mask = _mask(card.class_ids, class_ids, checkpoint)
    for _, manifest in () if is_unknown else shards:
        _check_classes(manifest, checkpoint, card.class_ids, mask)
    whole = mask == list(range(len(card.class_ids))) and not answer_groups
    groups = [(answer_groups or {}).get(card.class_ids[i], [card.class_ids[i]]) for i in mask]
    outputs = [_mask(card.class_ids, group, checkpoint, in_order=False) for group in groups]
    answers = classify(
        model,
        view_of_corrupted(card.preprocessing) if corrupted else card.preprocessing,
        shards,
        batch_size,
        workers,
        None if whole else outputs,
        f"evaluate {name.eval_set}",
        progress,
    )
    position = {index: place for place, index in enumerate(mask)}
    names, targets = None, [position.get(int(target), UNKNOWN) for target in answers.targets]
    if is_unknown:
        # In the order of the answers, which is that of shards and manifests.
        names = [r.class_id for _, manifest in shards for r in usable(read_manifest(manifest))]
        targets = [UNKNOWN] * len(answers.keys)
    write_predictions(
        output,
        keys=answers.keys,
        targets=np.array(targets),
        probabilities=answers.probabilities,
        class_ids=[card.class_ids[index] for index in mask],
        dataset=name.dataset,
        training_set=name.training_set,
        recipe=name.recipe,
        seed=name.seed,
        eval_set=name.eval_set,
        fingerprint=fingerprint(card.fingerprint, *(file_digest(path) for _, path in shards)),
        sources=sources_by_content([manifest for _, manifest in shards], answers.keys),
        log_sum_exp=answers.log_sum_exp,
        unknown_class_ids=names,
    )


def sources_by_content(manifests: Sequence[Path], keys: Sequence[str]) -> list[str] | None:
    """Return which photograph every sample shows: the first key of its class with the same bytes.

    Sets of several roots, such as the mixture of ImageNet-V2's variants, hold one photograph under
    several keys. It is drawn as one by what measures how much images vary.

    Args:
        manifests: Manifests of the shards.
        keys: Keys of the samples, in the order of the shards.

    Returns:
        None where all samples differ, and where they are made of others, which their keys say.
    """
    records = [record for path in manifests for record in usable(read_manifest(path))]
    first: dict[tuple[str, str], str] = {}
    sources = []
    for record in records:
        if record.source_key is not None or record.sha256 is None:
            return None
        sources.append(first.setdefault((record.class_id, record.sha256), record.key))
    if len(first) == len(records) or [record.key for record in records] != list(keys):
        return None
    return sources


def _mask(
    known: Sequence[str], wanted: Sequence[str] | None, checkpoint: Path, in_order: bool = True
) -> list[int]:
    """Return the outputs that belong to the classes ``wanted``.

    Raises:
        CapsynthError: If a class is unknown, named twice or out of order.
    """
    if wanted is None:
        return list(range(len(known)))
    index = {class_id: place for place, class_id in enumerate(known)}
    strange = [class_id for class_id in wanted if class_id not in index]
    if strange:
        raise CapsynthError(
            f"{checkpoint} does not know the classes {', '.join(strange[:5])}"
            f"{' ...' if len(strange) > 5 else ''}; train on them, or evaluate on others"
        )
    mask = [index[class_id] for class_id in wanted]
    if in_order and mask != sorted(set(mask)):
        raise CapsynthError("--class-ids: name each class once, in the order of the classifier")
    return mask


def _check_classes(
    manifest: Path, checkpoint: Path, known: Sequence[str], mask: Sequence[int]
) -> None:
    allowed = set(mask)
    for record in usable(read_manifest(manifest)):
        index = record.class_index
        expected = known[index] if 0 <= index < len(known) else None
        if expected != record.class_id:
            raise CapsynthError(
                f"{manifest}: class {record.class_id!r} has index {index}, which is "
                f"{expected!r} in {checkpoint}; pack the evaluation set for the same classes"
            )
        if index not in allowed:
            raise CapsynthError(
                f"{manifest}: {record.key} is of class {record.class_id!r}, which --class-ids "
                "leaves out; add the class, or pack the evaluation set without it"
            )
