"""A classifier in training: its model, its optimizer, and what one step changes of them."""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from capsynth.classifiers import build_classifier
from capsynth.datasets.batches import Batch
from capsynth.distributed import Processes
from capsynth.errors import CapsynthError
from capsynth.mixing import mix, soft_targets
from capsynth.names import check_name
from capsynth.recipes import NORMALISATIONS, Recipe
from capsynth.seeding import derive_seed
from capsynth.training_state import (
    load_optimizer_scalars,
    load_optimizer_tensors,
    optimizer_scalars,
    optimizer_tensors,
)
from capsynth.transforms import normalise


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
        # Images come pixel by pixel; a convolution that reads them so is quicker, on CPUs too.
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

    def classify(self, x: Tensor) -> npt.NDArray[np.int64]:
        """Return the class that ``result`` gives each image, in float32 as evaluations compute.

        Nothing that a step depends on changes: statistics of batch norm stay as they are, and every
        step seeds what it draws.

        Args:
            x: Pixels, uint8, shape (n, 3, height, width).
        """
        if self._ema is None:  # the moving average is never in training mode
            self._set_training(False, norms=False)
        with torch.inference_mode():
            logits = self.result(normalise(x.to(self._processes.device), self._mean, self._std))
        classes: npt.NDArray[np.int64] = logits.float().cpu().numpy().argmax(axis=1)
        return classes

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
