"""Training a classifier on a mixture of shards."""

import contextlib
import itertools
import logging
import math
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Sampler

from capsynth.classifiers import (
    ClassifierCard,
    build_classifier,
    has_fixed_size,
    save_classifier,
)
from capsynth.datasets.batches import Batch, load_batches
from capsynth.datasets.images import ShardedImages
from capsynth.distributed import Processes, joined
from capsynth.errors import CapsynthError, Stopped
from capsynth.files import require_room, write_json
from capsynth.fingerprints import file_digest, files_digest, fingerprint
from capsynth.mixing import mix, soft_targets
from capsynth.names import check_name
from capsynth.privacy.references import reference_half, reference_source
from capsynth.progress import Progress
from capsynth.recipes import NEUTRAL, NORMALISATIONS, Recipe, learning_rate, total_steps
from capsynth.resuming import PartialWork
from capsynth.seeding import derive_seed
from capsynth.shards import ShardRecord
from capsynth.stopping import deferred_stop
from capsynth.training_state import (
    load_optimizer_scalars,
    load_optimizer_tensors,
    load_state,
    optimizer_scalars,
    optimizer_tensors,
    save_state,
)
from capsynth.transforms import normalise, preprocessing_of, training_transform

log = logging.getLogger(__name__)

# After so many steps several processes ask one another whether one of them is to stop.
AGREE_STEPS = 10
# The state after step 12 is 000012.safetensors: the newest one counts, however late a slower copy
# of the training saves its own.
STATE = ".safetensors"


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


class StepBatches(Sampler[list[tuple[int, int]]]):
    """The images of every step as (epoch, position), those of one process.

    Every epoch has an order of its own; step b of it takes the images b * batch size and on, and
    of these process r of n takes every n-th, from the r-th. So an epoch shows every image once,
    with any number of processes; the last step of it may be smaller, and leave a process nothing.
    """

    def __init__(
        self, images: int, batch_size: int, seed: int, steps: range, rank: int, count: int
    ) -> None:
        """Plan ``steps`` for process ``rank`` of ``count``."""
        self._images, self._batch_size, self._seed = images, batch_size, seed
        self._steps, self._rank, self._count = steps, rank, count

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order: list[int] = []
        ordered = -1
        for step in self._steps:
            epoch, number = divmod(step, math.ceil(self._images / self._batch_size))
            if epoch != ordered:
                seed = derive_seed("order", self._seed, epoch)
                generator = torch.Generator().manual_seed(seed)
                order, ordered = torch.randperm(self._images, generator=generator).tolist(), epoch
            batch = order[number * self._batch_size : (number + 1) * self._batch_size]
            yield [(epoch, position) for position in batch[self._rank :: self._count]]

    def __len__(self) -> int:
        return len(self._steps)


def build_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Return the optimizer of a recipe.

    Raises:
        CapsynthError: If timm has none of that name, or it needs more than a gradient, or a GPU or
            package that is not there.
    """
    from timm import optim

    check_name("recipe optimizer", recipe.optimizer, optim.list_optimizers())
    if optim.get_optimizer_info(recipe.optimizer).second_order:
        raise CapsynthError(
            f"recipe optimizer {recipe.optimizer!r} needs second derivatives, which this training "
            "does not compute; write for example adamw"
        )
    try:
        return optim.create_optimizer_v2(
            model,
            opt=recipe.optimizer,
            lr=recipe.learning_rate,
            weight_decay=recipe.weight_decay,
            momentum=recipe.momentum,
            filter_bias_and_bn=not recipe.decay_all,
        )
    except (AssertionError, ImportError) as error:
        raise CapsynthError(
            f"recipe optimizer {recipe.optimizer!r} cannot run here ({error}); choose another"
        ) from error


class Learner:
    """A model in training: everything that one step changes.

    Attributes:
        model: The model as it is trained.
    """

    def __init__(self, recipe: Recipe, classes: int, seed: int, processes: Processes) -> None:
        """Build model, optimizer and what else the recipe asks for."""
        from timm.utils import ModelEmaV3

        self._recipe, self._classes, self._seed = recipe, classes, seed
        self._processes = processes
        device = processes.device
        torch.manual_seed(derive_seed("init", seed))
        self.model = build_classifier(
            recipe.model, classes, recipe.image_size, recipe.dropout, recipe.drop_path
        ).to(device)
        if device.type == "cuda":
            self.model.to(memory_format=torch.channels_last)
        self._optimizer = build_optimizer(self.model, recipe)
        self._ema = None
        if recipe.ema_decay > 0 and processes.first:
            # The warm-up forgets the random weights of the start, in short trainings too.
            self._ema = ModelEmaV3(self.model, decay=recipe.ema_decay, use_warmup=True)
        self._scaler = torch.amp.GradScaler(device.type, enabled=recipe.amp == "float16")
        self._mean, self._std = NORMALISATIONS[recipe.normalisation]
        norm = nn.modules.batchnorm._BatchNorm
        self._norms = [module for module in self.model.modules() if isinstance(module, norm)]
        self._mode: tuple[bool, bool] | None = None
        self._shared: nn.Module = self.model
        if processes.count > 1:
            # Statistics of batch norm are each process's own; those of the first are kept.
            self._shared = nn.parallel.DistributedDataParallel(
                self.model,
                device_ids=[device.index] if device.type == "cuda" else None,
                forward_sync_buffers=False,
            )
        self._forward: Callable[[Tensor], Tensor] = self._shared
        if recipe.compile:
            self._forward = torch.compile(self._shared)

    @property
    def result(self) -> nn.Module:
        """The model that is kept: the moving average of the weights, if there is one."""
        return self.model if self._ema is None else self._ema.module

    def state(self) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
        """Return all that the next step depends on: groups of tensors, and a JSON value."""
        groups = {
            "model": self.model.state_dict(),
            "optimizer": optimizer_tensors(self._optimizer),
        }
        if self._ema is not None:
            groups["ema"] = self._ema.module.state_dict()
        scalars = optimizer_scalars(self._optimizer)
        return groups, {"optimizer": scalars, "scaler": self._scaler.state_dict()}

    def load(self, groups: dict[str, dict[str, Tensor]], value: dict[str, Any]) -> None:
        """Put back what ``state`` returned."""
        self.model.load_state_dict(groups["model"])
        # Not every optimizer has tensors: SGD without momentum has none.
        load_optimizer_tensors(self._optimizer, groups.get("optimizer", {}))
        load_optimizer_scalars(self._optimizer, value["optimizer"])
        if self._ema is not None:
            self._ema.module.load_state_dict(groups["ema"])
        self._scaler.load_state_dict(value["scaler"])

    def learn(self, batch: Batch | None, size: int, rate: float, step: int) -> Tensor:
        """Make one step.

        Everything random in it follows from the training seed, the step and the process.

        Args:
            batch: Pixels, class indices and keys of this process's share; None if it has none.
            size: Images of this step over all processes.
            rate: Learning rate.
            step: Number of the step, from 0.

        Returns:
            Sum of the losses of this process's images, float64, shape ().
        """
        for group in self._optimizer.param_groups:
            group["lr"] = rate * group.get("lr_scale", 1.0)
        rank = self._processes.rank
        # As torch.manual_seed, which looks for devices of every kind and takes ten times as long.
        torch.default_generator.manual_seed(derive_seed("step", self._seed, step, rank))
        if self._processes.device.type == "cuda":
            torch.cuda.manual_seed(derive_seed("step", self._seed, step, rank))
        if batch is None:
            mean, images = self._nothing(), 0
        else:
            rng = np.random.default_rng(derive_seed("mix", self._seed, step, rank))
            mean, images = self._loss(batch[0], batch[1], rng), len(batch[0])
        # The gradient is that of the mean over all processes' images. Every process has the mean
        # over its own, and gradients are averaged over processes: those of fewer images weigh less.
        share = images * self._processes.count / size
        loss = mean if share == 1 else mean * share
        self._optimizer.zero_grad(set_to_none=True)
        self._scaler.scale(loss).backward()
        if self._recipe.clip_grad > 0:
            self._scaler.unscale_(self._optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), self._recipe.clip_grad)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        if self._ema is not None:
            self._ema.update(self.model, step + 1)
        return mean.detach().double() * images

    def _loss(self, x: Tensor, targets: Sequence[int], rng: np.random.Generator) -> Tensor:
        """Return the mean loss of a batch."""
        recipe, device = self._recipe, self._processes.device
        pixels = normalise(x.to(device, non_blocking=True), self._mean, self._std)
        target = torch.tensor(targets, device=device)
        mixed = recipe.mixup > 0 or recipe.cutmix > 0
        # One image has no statistics of its own to speak of, and at 1 x 1 positions none at all.
        self._set_training(True, norms=len(x) > 1)
        if not mixed and not recipe.bce_loss:
            logits = self._logits(pixels)
            return nn.functional.cross_entropy(
                logits, target, label_smoothing=recipe.label_smoothing
            )
        wanted = soft_targets(target, self._classes, recipe.label_smoothing)
        pixels, wanted = mix(pixels, wanted, recipe.mixup, recipe.cutmix, rng)
        logits = self._logits(pixels)
        if recipe.bce_loss:
            return nn.functional.binary_cross_entropy_with_logits(logits, wanted)
        return nn.functional.cross_entropy(logits, wanted)

    def _logits(self, pixels: Tensor) -> Tensor:
        if self._processes.device.type == "cuda":
            pixels = pixels.contiguous(memory_format=torch.channels_last)
        precision: contextlib.AbstractContextManager[Any] = contextlib.nullcontext()
        if self._recipe.amp != "off":
            precision = torch.autocast(
                self._processes.device.type, getattr(torch, self._recipe.amp)
            )
        with precision:
            logits = self._forward(pixels)
        return logits.float()

    def _nothing(self) -> Tensor:
        """Return a loss of zero that takes part in the exchange of gradients.

        In evaluation mode, so that the blank image leaves no trace in a batch norm.
        """
        side = self._recipe.image_size
        self._set_training(False, norms=False)
        return self._logits(torch.zeros(1, 3, side, side, device=self._processes.device)).sum() * 0

    def _set_training(self, on: bool, norms: bool) -> None:
        """Put the model, and its batch norms apart, into training or evaluation mode."""
        # Walking through all modules costs as much as a small layer: only where it changes.
        if (on, norms) != self._mode:
            self._mode = on, norms
            self._shared.train(on)
            for norm in self._norms:
                norm.train(norms)


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


def train_classifier(
    recipe: Recipe,
    shards: Sequence[ShardSource],
    class_ids: Sequence[str],
    seed: int,
    checkpoint: Path,
    history_path: Path,
    code_mark: str | None = None,
    half: int | None = None,
) -> None:
    """Train a classifier from scratch, resuming after the last saved step.

    Everything random follows from ``seed``, the step and the position of an image, so a run that
    was stopped ends in the same bytes as one that was not. Under torchrun each process calls this
    function; the first one writes.

    Args:
        recipe: Architecture and hyperparameters.
        shards: What to train on.
        class_ids: Classes in the order of the outputs.
        seed: Training seed.
        checkpoint: The trained classifier.
        history_path: JSON with the loss of every epoch, the number of images and the checkpoint's
            SHA-256; small enough to be watched by checksum in the checkpoint's stead.
        code_mark: Name of the code; what other code has begun is not resumed.
        half: Number of a reference model, which is trained on its half of the images in as many
            steps as a model of all of them (``privacy.references``); None for all images.

    Raises:
        CapsynthError: If the recipe cannot be followed, or the loss is no longer finite.
        Stopped: After a step, if SIGTERM came.
    """
    with joined(recipe.gpus) as processes:
        _check_recipe(recipe, processes)
        _train(
            recipe, shards, class_ids, seed, checkpoint, history_path, code_mark, half, processes
        )


def _train(
    recipe: Recipe,
    shards: Sequence[ShardSource],
    class_ids: Sequence[str],
    seed: int,
    checkpoint: Path,
    history_path: Path,
    code_mark: str | None,
    half: int | None,
    processes: Processes,
) -> None:
    def in_half(records: Sequence[ShardRecord]) -> list[bool]:
        assert half is not None
        sources = [reference_source(record) for record in records]
        seen = reference_half(sources, half)
        return [source in seen for source in sources]

    transform = training_transform(recipe)
    images = ShardedImages(
        [(s.tar, s.manifest, s.fraction) for s in shards],
        transform,
        seed,
        None if half is None else in_half,
        again=recipe.epochs > 1 or recipe.steps is not None,
    )
    held = images.class_indices
    if processes.first and len(held) < len(class_ids):
        lacking = [class_id for index, class_id in enumerate(class_ids) if index not in held]
        log.warning("without an image to train on: class %s", ", ".join(lacking))
    steps = total_steps(recipe, math.ceil(images.available / recipe.batch_size))
    data_mark = files_digest([s.manifest for s in shards])
    fractions = [s.fraction for s in shards]
    settings = {k: v for k, v in asdict(recipe).items() if k not in NEUTRAL}
    chosen = {} if half is None else {"half": half}
    mark = fingerprint(settings, list(class_ids), seed, data_mark, fractions, *chosen.items())

    outputs = [checkpoint, history_path]
    resume_mark = fingerprint(mark, code_mark)
    if processes.first:
        PartialWork(outputs, resume_mark)  # takes over from other recipes
    processes.wait()
    work = PartialWork(outputs, resume_mark)
    if processes.any(work.is_finished()):
        if processes.first:
            work.restore()
        return

    torch.use_deterministic_algorithms(True, warn_only=True)
    learner = Learner(recipe, len(class_ids), seed, processes)
    if processes.first:
        # The saved state and the one that replaces it, each of weights, their average and two
        # moments; the checkpoint.
        weights = sum(tensor.nbytes for tensor in learner.result.state_dict().values())
        require_room(checkpoint, 9 * weights)
    epochs = _fit(learner, images, recipe, seed, steps, work, processes)
    if not processes.first:
        return
    card = ClassifierCard(
        recipe.model, recipe.image_size, preprocessing_of(recipe), tuple(class_ids), mark
    )

    def write(checkpoint: Path, history_path: Path) -> None:
        save_classifier(checkpoint, learner.result, card)
        history = {
            "checkpoint_sha256": file_digest(checkpoint),
            "epochs": epochs,
            "fingerprint": mark,
            "images": len(images),
            "seed": seed,
            "steps": steps,
            **chosen,
        }
        write_json(history_path, history)

    work.publish(write)


def _fit(
    learner: Learner,
    images: ShardedImages,
    recipe: Recipe,
    seed: int,
    steps: int,
    work: PartialWork,
    processes: Processes,
) -> list[dict[str, float]]:
    """Make all steps from the last saved one on; return what is known of each epoch.

    Where another copy of this training is ahead, it goes on from the state of that one.

    Raises:
        CapsynthError: If the loss is no longer finite.
        Stopped: After a step, if SIGTERM came; all is saved.
        Superseded: After an epoch, if another start has taken over.
    """
    steps_per_epoch = math.ceil(len(images) / recipe.batch_size)
    # Several processes would have to agree on it.
    watches_others = processes.count == 1
    # Loss of the epoch so far.
    total = torch.zeros((), dtype=torch.float64, device=processes.device)
    done = 0
    with contextlib.ExitStack() as stack:
        stop = stack.enter_context(deferred_stop())
        progress = None
        if processes.first:
            title = f"train {work.outputs[0].stem}"
            progress = stack.enter_context(Progress(title, steps, "step"))
        while True:
            if watches_others and work.is_finished():
                return []  # another copy has written the outputs
            start, epochs, seen = 0, [], 0
            total.zero_()
            saved = _saved_step(work, steps)
            with contextlib.suppress(
                FileNotFoundError
            ):  # none yet, or another copy has a newer one
                groups, value = load_state(work.path(saved, STATE))
                learner.load(groups, value)
                start, epochs, seen = value["step"], value["epochs"], value["seen"]
                if processes.first:
                    total += value["loss"]
            looked = time.time_ns()
            if watches_others and _saved_step(work, steps) > start:
                continue  # loading takes a while
            if progress is not None:
                progress.skip(start - done)
                work.note(start, "begun", looked)
            # The other processes have loaded the state before the first one writes a new one.
            processes.wait()
            loader = load_steps(images, recipe, seed, range(start, steps), processes)
            stack.enter_context(contextlib.closing(loader))
            overtaken = False
            for step, batch in zip(itertools.count(start), loader, strict=False):
                number = step % steps_per_epoch
                size = min(recipe.batch_size, len(images) - number * recipe.batch_size)
                total += learner.learn(batch, size, learning_rate(recipe, step, steps), step)
                seen += size
                done = step + 1
                if progress is not None:
                    progress.advance(1)
                ends = number + 1 == steps_per_epoch or done == steps
                # Several processes must agree to stop, which costs them time: not at each step.
                agree = processes.count == 1 or done % AGREE_STEPS == 0
                stops = agree and processes.any(stop.asked)
                saves = recipe.save_steps is not None and done % recipe.save_steps == 0
                if not (ends or stops or saves):
                    continue
                loss = float(processes.total(total))
                # As after a resumption: the first process carries the sum on.
                total.fill_(loss if processes.first else 0.0)
                if not math.isfinite(loss):
                    raise CapsynthError(
                        f"training diverged in epoch {step // steps_per_epoch + 1}: the loss is "
                        f"{loss}; lower the learning_rate of the recipe or lengthen its warm-up"
                    )
                if ends:
                    epochs.append({"loss": loss / seen})
                    loss, seen = 0.0, 0
                    total.zero_()
                overtaken = watches_others and _saved_step(work, steps) > done
                if processes.first and not overtaken:
                    work.check_owner()
                    groups, value = learner.state()
                    value |= {"step": done, "epochs": epochs, "seen": seen, "loss": loss}
                    save_state(work.path(done, STATE), groups, value)
                    work.seal(done)
                    for number in work.numbers(STATE):
                        if number < done:
                            work.drop(number)
                    work.note(start, "finished")
                    start, looked = done, time.time_ns()
                    overtaken = watches_others and _saved_step(work, steps) > done
                    if done < steps and not stops and not overtaken:
                        work.note(start, "begun", looked)
                if stops and done < steps:
                    raise Stopped(f"{done} of {steps} steps are saved")
                if overtaken:
                    break  # go on from where the other copy is
            loader.close()
            if not overtaken:
                return epochs


def _saved_step(work: PartialWork, steps: int) -> int:
    """Return how many steps any copy of this training has saved."""
    saved = max(work.numbers(STATE), default=0)
    # Asked last: who finishes deletes the states.
    return steps if work.is_finished() else saved


def load_steps(
    images: ShardedImages, recipe: Recipe, seed: int, steps: range, processes: Processes
) -> Generator[Batch | None, None, None]:
    """Return this process's images, a batch a step; None where it has none: ``load_batches``."""
    batches = StepBatches(
        len(images), recipe.batch_size, seed, steps, processes.rank, processes.count
    )
    size = math.ceil(recipe.batch_size / processes.count)
    on_gpu = processes.device.type == "cuda"
    return load_batches(images, batches, size, recipe.workers, pin_memory=on_gpu)
