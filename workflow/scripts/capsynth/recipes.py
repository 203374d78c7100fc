"""Recipes: classifier architecture and training hyperparameters, and presets with their sources."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# Channel means and standard deviations of pixels in [0, 1], by the name that recipes give them.
NORMALISATIONS: Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    # Statistics of ImageNet's training images, as in torchvision and timm.
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    # Those of CLIP's preprocessing (openai/CLIP, clip/clip.py).
    "clip": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    # Maps to [-1, 1].
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}


@dataclass(frozen=True)
class Recipe:
    """How a classifier is trained; the schema of the configuration describes every field.

    Attributes:
        model: Name of a timm architecture; its weights start from scratch.
        image_size: Side of the square input in training, pixels.
        eval_image_size: Side of the square input in evaluation, pixels; None for ``image_size``.
        eval_resize: ``center`` cuts a centred square out, ``squash`` takes the whole image.
        eval_crop: Side of that square as a share of the image's short side.
        interpolation: ``bilinear`` or ``bicubic``, in training and in evaluation.
        normalisation: One of ``NORMALISATIONS``.
        epochs: Passes over the training set; with ``steps`` the unit of the schedule only.
        steps: Optimisation steps, the same for every training set; None to count epochs.
        batch_size: Images a step, over all processes.
        gpus: Processes, one a GPU if there are GPUs.
        workers: Processes that read images, for each training process; 0 reads in it.
        optimizer: Name of a timm optimizer.
        momentum: Momentum of optimizers that have one.
        learning_rate: Peak rate, reached by a linear warm-up.
        weight_decay: Weight decay.
        decay_all: Whether biases and parameters of norms are decayed too.
        schedule: ``cosine``, ``multistep`` or ``constant``.
        milestones: Epochs at which the multistep schedule lowers the rate.
        decay_rate: What it multiplies the rate with; None for other schedules.
        warmup_epochs: Epochs of the linear warm-up.
        min_learning_rate: Rate at the end of the cosine.
        label_smoothing: Share of the target spread over all classes.
        crop_scale: Smallest and largest area of the random crop, as shares of the image.
        crop_ratio: Smallest and largest ratio of its width to its height.
        flip: Probability of a horizontal flip.
        color_jitter: Largest relative change of brightness, contrast and saturation.
        auto_augment: Policy in timm's notation, or ``none``.
        random_erasing: Probability that a rectangle is replaced by noise.
        mixup: Parameter of the beta distribution of mixup; 0 for none.
        cutmix: Parameter of the beta distribution of CutMix; 0 for none.
        bce_loss: Binary cross-entropy over classes instead of cross-entropy.
        drop_path: Probability of stochastic depth.
        dropout: Probability of dropout before the last layer.
        ema_decay: Decay of the moving average of weights that is kept; 0 keeps the last weights.
        clip_grad: Largest norm of the gradient; 0 for no limit.
        amp: Number format of the forward pass: ``off`` (float32), ``bfloat16`` or ``float16``.
        compile: Whether the model is compiled by torch.
        save_steps: Steps after which the state is saved, besides every epoch; None for epochs only.
    """

    model: str
    image_size: int
    eval_image_size: int | None
    eval_resize: str
    eval_crop: float
    interpolation: str
    normalisation: str
    epochs: int
    steps: int | None
    batch_size: int
    gpus: int
    workers: int
    optimizer: str
    momentum: float
    learning_rate: float
    weight_decay: float
    decay_all: bool
    schedule: str
    milestones: tuple[int, ...]
    decay_rate: float | None
    warmup_epochs: int
    min_learning_rate: float
    label_smoothing: float
    crop_scale: tuple[float, float]
    crop_ratio: tuple[float, float]
    flip: float
    color_jitter: float
    auto_augment: str
    random_erasing: float
    mixup: float
    cutmix: float
    bce_loss: bool
    drop_path: float
    dropout: float
    ema_decay: float
    clip_grad: float
    amp: str
    compile: bool
    save_steps: int | None

    @property
    def test_size(self) -> int:
        """Side of the square input in evaluation, pixels."""
        return self.eval_image_size or self.image_size


# What changes how long a training takes, and not what comes out of it.
NEUTRAL = ("workers", "save_steps")


def total_steps(recipe: Recipe, steps_per_epoch: int) -> int:
    """Return the optimisation steps of a training whose data fill ``steps_per_epoch`` steps."""
    return recipe.steps or recipe.epochs * steps_per_epoch


def learning_rate(recipe: Recipe, step: int, steps: int) -> float:
    """Return the learning rate of one step.

    Linear warm-up, then half a cosine (Loshchilov and Hutter, arXiv 1608.03983, without restarts),
    a staircase, or a constant. The recipe counts in epochs, of which it always has as many as it
    says: where it fixes the number of steps, warm-up and milestones shrink or stretch with it.

    Args:
        recipe: Gives the schedule.
        step: From 0 to ``steps`` - 1.
        steps: All steps of the training.
    """
    epoch = steps / recipe.epochs
    warmup = recipe.warmup_epochs * epoch
    if step < warmup:
        return min(recipe.learning_rate, recipe.learning_rate * (step + 1) / warmup)
    if recipe.schedule == "constant":
        return recipe.learning_rate
    if recipe.schedule == "multistep":
        passed = sum(step >= milestone * epoch for milestone in recipe.milestones)
        return recipe.learning_rate * (recipe.decay_rate or 1.0) ** passed
    done = (step - warmup) / max(1, recipe.epochs * epoch - warmup)
    low = recipe.min_learning_rate
    return low + (recipe.learning_rate - low) * 0.5 * (1 + math.cos(math.pi * done))


@dataclass(frozen=True)
class Preset:
    """A recipe that others know, by name.

    Attributes:
        values: What it sets, under the names of the configuration.
        source: Where the values can be read.
        known: What the source shows.
        unknown: What it does not show, or what this project does otherwise.
        score: Accuracy that the source reports, with its spread; None where none could be read.
        hardware: What it was trained on there; None where the source could not be read for it.
        run_time: How long that took.
    """

    values: Mapping[str, Any]
    source: str
    known: str
    unknown: str
    score: str | None = None
    hardware: str | None = None
    run_time: str | None = None


PRESETS: Mapping[str, Preset] = {
    "paper-subset": Preset(
        values={
            "model": "resnet50",
            "image_size": 224,
            "eval_resize": "squash",
            "interpolation": "bicubic",
            "normalisation": "clip",
            "epochs": 200,
            "batch_size": 128,
            "optimizer": "momentum",
            "momentum": 0.9,
            "learning_rate": 0.1,
            "weight_decay": 5e-4,
            "decay_all": True,
            "schedule": "multistep",
            "milestones": [50, 100, 150],
            "decay_rate": 0.2,
            "crop_scale": [0.5, 1.0],
            "flip": 0.5,
        },
        source="LeavesLei/Caption_in_Prompt: eval_dataset.py, utils.py, load_data.py",
        known=(
            "all values; batch 128 on one GPU for ImageNette, 512 on four for ImageNet-100 at the "
            "same learning rate; float32"
        ),
        unknown=(
            "the scores; network.py, where the release defines its ResNet-50, could not be read; "
            "the release makes a new optimizer every epoch, which forgets the momentum, this "
            "project does not"
        ),
    ),
    "paper-imagenet1k": Preset(
        values={
            "model": "resnet50",
            "image_size": 224,
            "eval_crop": 0.875,
            "interpolation": "bicubic",
            "normalisation": "imagenet",
            "epochs": 300,
            "batch_size": 128,
            "optimizer": "sgd",
            "momentum": 0.9,
            "learning_rate": 0.05,
            "weight_decay": 2e-5,
            "schedule": "cosine",
            "warmup_epochs": 5,
            "label_smoothing": 0.1,
            "crop_scale": [0.08, 1.0],
            "flip": 0.5,
            "color_jitter": 0.4,
        },
        source="LeavesLei/Caption_in_Prompt: defaults of train_timm.py, a fork of timm's script",
        known="optimizer, schedule, smoothing; learning rate 0.1 for 256 images, here at batch 128",
        unknown=(
            "the flags that were used, so any of these values; the number of GPUs; crop scale and "
            "colour jitter, which are timm's usual defaults here; crop share and interpolation, "
            "which timm takes from the model and which change with its version"
        ),
    ),
    "timm-a3": Preset(
        values={
            "model": "resnet50",
            "image_size": 160,
            "eval_image_size": 224,
            "eval_crop": 0.95,
            "interpolation": "bicubic",
            "normalisation": "imagenet",
            "epochs": 100,
            "batch_size": 2048,
            "optimizer": "lamb",
            "learning_rate": 8e-3,
            "weight_decay": 0.02,
            "schedule": "cosine",
            "warmup_epochs": 5,
            "min_learning_rate": 1e-6,
            "crop_scale": [0.08, 1.0],
            "flip": 0.5,
            "auto_augment": "rand-m6-mstd0.5-inc1",
            "mixup": 0.1,
            "cutmix": 1.0,
            "bce_loss": True,
            "amp": "float16",
        },
        source=(
            "Wightman et al., ResNet strikes back, arXiv 2110.00476, procedure A3; sizes, crop and "
            "normalisation: timm/resnet50.a3_in1k; lowest learning rate: open-mmlab/mmpretrain, "
            "configs/_base_/schedules/imagenet_bs2048_rsb.py"
        ),
        known="the values, as mmpretrain reproduces them and the model's page gives them",
        unknown=(
            "what the paper's own table says, which was not read; the spread over seeds; every "
            "mixed class counts for its share here, in the paper as a full target (mmpretrain's "
            "reproduction, which does as it is done here: 78.30 %)"
        ),
        score="78.1 % top-1 on ImageNet (timm's model card: 78.06 %)",
    ),
    "vit-b16": Preset(
        values={
            "model": "vit_base_patch16_224",
            "image_size": 224,
            "eval_crop": 0.875,
            "interpolation": "bicubic",
            "normalisation": "imagenet",
            "epochs": 300,
            "batch_size": 1024,
            "optimizer": "adamw",
            "learning_rate": 1e-3,
            "weight_decay": 0.05,
            "schedule": "cosine",
            "warmup_epochs": 5,
            "min_learning_rate": 1e-5,
            "label_smoothing": 0.1,
            "crop_scale": [0.08, 1.0],
            "flip": 0.5,
            "auto_augment": "rand-m9-mstd0.5-inc1",
            "random_erasing": 0.25,
            "mixup": 0.8,
            "cutmix": 1.0,
            "drop_path": 0.1,
            "amp": "float16",
        },
        source="Touvron et al., DeiT, arXiv 2012.12877; facebookresearch/deit: main.py, README",
        known="all values: learning rate 5e-4 for every 512 images, at batch 1024",
        unknown=(
            "the spread over seeds; DeiT shows every image of an epoch three times and so a third "
            "of the images (repeated augmentation), this project does not, so its score may differ"
        ),
        score="81.8 % top-1 on ImageNet",
        hardware="two nodes of 8 GPUs; or one",
        run_time="37 hours; or 53",
    ),
    "cpu-tiny": Preset(
        values={
            "model": "test_resnet",
            "image_size": 32,
            "epochs": 16,
            "batch_size": 32,
            "optimizer": "adamw",
            "learning_rate": 2e-3,
            "weight_decay": 0.05,
            "warmup_epochs": 2,
            "label_smoothing": 0.1,
            "crop_scale": [0.6, 1.0],
            "flip": 0.5,
        },
        source="config.yaml: the embedded experiment, which adds steps and color_jitter",
        known="all values; chosen for two CPU cores, not for accuracy",
        unknown="nothing; the report of the embedded experiment has the scores",
        hardware="one CPU core",
    ),
}

# Keys that have a meaning only beside one value of another key: where a recipe changes that other
# key, what its preset says of them is void.
DEPENDENT: Mapping[str, tuple[str, str]] = {
    "milestones": ("schedule", "multistep"),
    "decay_rate": ("schedule", "multistep"),
    "min_learning_rate": ("schedule", "cosine"),
    "eval_crop": ("eval_resize", "center"),
}


def with_preset(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``recipe`` with the values of the preset that it names; its own keys win.

    A recipe without ``base``, or with one that is not known, is returned as it is.
    """
    base = recipe.get("base")
    preset = PRESETS.get(base) if isinstance(base, str) else None
    if preset is None:
        return dict(recipe)
    merged = {**preset.values, **recipe}
    for key, (other, value) in DEPENDENT.items():
        if key not in recipe and recipe.get(other, value) != value:
            merged.pop(key, None)
    return merged
