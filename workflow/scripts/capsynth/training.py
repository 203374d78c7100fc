"""Training a classifier on a mixture of shards."""

import logging
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from capsynth.classifiers import ClassifierCard, has_fixed_size, save_classifier
from capsynth.datasets.images import ShardedImages
from capsynth.distributed import Processes, joined
from capsynth.errors import CapsynthError
from capsynth.files import require_room, write_json
from capsynth.fingerprints import file_digest, files_digest, fingerprint
from capsynth.learner import Learner
from capsynth.learning_curves import curve_steps
from capsynth.privacy.references import reference_half, reference_source
from capsynth.recipes import NEUTRAL, Recipe, total_steps
from capsynth.resuming import PartialWork
from capsynth.shards import ShardRecord
from capsynth.shares import Share
from capsynth.training_accuracy import NOTHING, MeasuredImages, held_out_images, own_images
from capsynth.training_loop import Reached, Schedule, fit
from capsynth.transforms import preprocessing_of, training_transform

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
    fraction: float | Share


def _check_recipe(recipe: Recipe, processes: Processes) -> None:
    """Raise CapsynthError if this machine, or the model, cannot do what ``recipe`` asks for."""
    if recipe.gpus != processes.count:
        raise CapsynthError(
            f"the recipe asks for {recipe.gpus} processes and {processes.count} run; start the "
            f"script with torchrun --standalone --nproc-per-node {recipe.gpus}, or change gpus"
        )
    if recipe.amp == "float16" and processes.device.type != "cuda":
        raise CapsynthError("recipe amp float16 needs a GPU; without one write bfloat16 or off")
    if recipe.test_size != recipe.image_size and has_fixed_size(recipe.model):
        raise CapsynthError(
            f"recipe model {recipe.model!r} takes images of one size only; remove eval_image_size"
        )


@dataclass(frozen=True)
class Training:
    """One training: all that its result depends on, but for the code.

    Attributes:
        recipe: Architecture and hyperparameters.
        shards: What to train on.
        class_ids: Classes in the order of the outputs.
        seed: Training seed.
        half: Number of a reference model, which is trained on its half of the images in as many
            steps as a model of all of them (``privacy.references``); None for all images.
        measured: What accuracy is measured on; the classifier does not depend on it.
    """

    recipe: Recipe
    shards: Sequence[ShardSource]
    class_ids: Sequence[str]
    seed: int
    half: int | None = None
    measured: MeasuredImages = NOTHING

    @property
    def sources(self) -> list[tuple[Path, Path, float | Share]]:
        """Tar, manifest and fraction of each shard."""
        return [(s.tar, s.manifest, s.fraction) for s in self.shards]

    def mark(self) -> str:
        """Return the fingerprint of all that the classifier depends on."""
        settings = {k: v for k, v in asdict(self.recipe).items() if k not in NEUTRAL}
        data_mark = files_digest([s.manifest for s in self.shards])
        fractions = [s.fraction for s in self.shards]
        chosen = {} if self.half is None else {"half": self.half}
        return fingerprint(
            settings, list(self.class_ids), self.seed, data_mark, fractions, *chosen.items()
        )

    def resume_mark(self, code_mark: str | None) -> str:
        """Return the fingerprint of all that the outputs depend on, the history too."""
        held_out = self.measured.held_out
        measured = [
            None if held_out is None else file_digest(held_out[1]),
            self.measured.points,
            self.measured.train_images,
        ]
        return fingerprint(self.mark(), code_mark, measured)


def train_classifier(
    training: Training, checkpoint: Path, history_path: Path, code_mark: str | None = None
) -> None:
    """Train a classifier from scratch, resuming after the last saved step.

    Everything random follows from the training seed, the step and the position of an image, so a
    run that was stopped ends in the same bytes as one that was not. Under torchrun each process
    calls this function; the first one writes.

    Args:
        training: What is trained.
        checkpoint: The trained classifier.
        history_path: JSON with the loss of every epoch, the number of images, accuracy by step and
            the checkpoint's SHA-256; small enough to be watched by checksum in the checkpoint's
            stead.
        code_mark: Name of the code; what other code has begun is not resumed.

    Raises:
        CapsynthError: If the recipe cannot be followed, or the loss is no longer finite.
        Stopped: After a step, if SIGTERM came.
    """
    with joined(training.recipe.gpus) as processes:
        _check_recipe(training.recipe, processes)
        _train(training, [checkpoint, history_path], code_mark, processes)


def _images_of(training: Training) -> ShardedImages:
    """Return the images that are trained on, augmented."""
    recipe, half = training.recipe, training.half

    def in_half(records: Sequence[ShardRecord]) -> list[bool]:
        assert half is not None
        sources = [reference_source(record) for record in records]
        seen = reference_half(sources, half)
        return [source in seen for source in sources]

    return ShardedImages(
        training.sources,
        training_transform(recipe),
        training.seed,
        None if half is None else in_half,
        again=recipe.epochs > 1 or recipe.steps is not None,
    )


def _train(
    training: Training, outputs: Sequence[Path], code_mark: str | None, processes: Processes
) -> None:
    recipe, class_ids = training.recipe, training.class_ids
    images = _images_of(training)
    held = images.class_indices
    if processes.first and len(held) < len(class_ids):
        lacking = [class_id for index, class_id in enumerate(class_ids) if index not in held]
        log.warning("without an image to train on: class %s", ", ".join(lacking))
    resume_mark = training.resume_mark(code_mark)
    if processes.first:
        PartialWork(outputs, resume_mark)  # takes over from other recipes
    processes.wait()
    work = PartialWork(outputs, resume_mark)
    if processes.any(work.is_finished()):
        if processes.first:
            work.restore()
        return

    torch.use_deterministic_algorithms(True, warn_only=True)
    learner = Learner(recipe, len(class_ids), training.seed, processes)
    if processes.first:
        # The saved state and the one that replaces it, each of weights, their average and two
        # moments; the checkpoint.
        weights = sum(tensor.nbytes for tensor in learner.result.state_dict().values())
        require_room(outputs[0], 9 * weights)
    schedule = _schedule_of(training, images)
    reached = fit(learner, schedule, work, processes)
    if not processes.first:
        return

    def write(checkpoint: Path, history_path: Path) -> None:
        card = ClassifierCard(
            recipe.model,
            recipe.image_size,
            preprocessing_of(recipe),
            tuple(class_ids),
            training.mark(),
        )
        save_classifier(checkpoint, learner.result, card)
        history = {
            "checkpoint_sha256": file_digest(checkpoint),
            "epochs": reached.epochs,
            "fingerprint": card.fingerprint,
            "images": len(images),
            "seed": training.seed,
            "steps": schedule.steps,
            **({} if training.half is None else {"half": training.half}),
            **_accuracies(training, schedule, reached, learner),
        }
        write_json(history_path, history)

    work.publish(write)


def _schedule_of(training: Training, images: ShardedImages) -> Schedule:
    """Return what is done step by step."""
    recipe, measured = training.recipe, training.measured
    steps = total_steps(recipe, math.ceil(images.available / recipe.batch_size))
    if measured.held_out is None:
        return Schedule(images, recipe, training.seed, steps)
    held_out = held_out_images(
        measured.held_out, training.class_ids, preprocessing_of(recipe), recipe.workers
    )
    points = frozenset(curve_steps(steps, measured.points))
    return Schedule(images, recipe, training.seed, steps, held_out, points)


def _accuracies(
    training: Training, schedule: Schedule, reached: Reached, learner: Learner
) -> dict[str, Any]:
    """Return what the history says of accuracy: the learning curve, and that on own images."""
    found: dict[str, Any] = {}
    if schedule.held_out is not None:
        found = {"curve": reached.curve, "curve_classes": schedule.held_out.classes}
    if training.measured.train_images:
        own = own_images(
            training.sources,
            training.measured.train_images,
            preprocessing_of(training.recipe),
            training.recipe.workers,
        )
        answers = own.measure(learner.classify)
        found["own_images"] = {**answers, "classes": own.classes, "sources": own.sources}
    return found
