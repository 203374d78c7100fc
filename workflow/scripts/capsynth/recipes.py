"""Recipes: classifier architecture and training hyperparameters."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """How a classifier is trained.

    Attributes:
        model: Name of a timm architecture; its weights start from scratch.
        image_size: Side of the square input, pixels.
        epochs: Passes over the training set.
        batch_size: Images a step.
        optimizer: Name of a timm optimizer.
        learning_rate: Peak rate: linear warm-up, then half a cosine to zero, step by step.
        weight_decay: Weight decay.
        warmup_epochs: Epochs of the linear warm-up.
        label_smoothing: Share of the target spread over all classes.
        crop_scale: Smallest and largest area of the random crop, as shares of the image.
        flip: Probability of a horizontal flip.
    """

    model: str
    image_size: int
    epochs: int
    batch_size: int
    optimizer: str
    learning_rate: float
    weight_decay: float
    warmup_epochs: int
    label_smoothing: float
    crop_scale: tuple[float, float]
    flip: float
