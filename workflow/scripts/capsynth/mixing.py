"""Soft targets, mixup and CutMix."""

import math

import numpy as np
from torch import Tensor
from torch.nn import functional


def soft_targets(targets: Tensor, classes: int, smoothing: float) -> Tensor:
    """Return class indices, shape (n,), as probabilities, shape (n, classes).

    A share ``smoothing`` is spread over all classes, the true one included.
    """
    hard = functional.one_hot(targets, classes).float()
    return hard * (1 - smoothing) + smoothing / classes


def mix(
    images: Tensor, targets: Tensor, mixup: float, cutmix: float, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Mix every image of a batch with the one opposite, and their targets in the same proportion.

    Mixup (Zhang et al., arXiv 1710.09412) averages two images, CutMix (Yun et al., arXiv
    1905.04899) puts a rectangle of one into the other. One proportion is drawn for the batch, as
    in timm; where both are on, either is taken with even odds. An image in the middle of an odd
    batch is its own partner.

    Args:
        images: Shape (n, 3, height, width).
        targets: Probabilities, shape (n, classes).
        mixup: Parameter of mixup's beta distribution; 0 for none.
        cutmix: Parameter of CutMix's beta distribution; 0 for none.
        rng: Source of randomness.

    Returns:
        Images and targets, new tensors.
    """
    cuts = cutmix > 0 and (mixup <= 0 or rng.random() < 0.5)
    alpha = cutmix if cuts else mixup
    if alpha <= 0:
        return images, targets
    share = float(rng.beta(alpha, alpha))
    others = images.flip(0)
    if cuts:
        height, width = images.shape[-2:]
        top, bottom, left, right = _rectangle(height, width, share, rng)
        mixed = images.clone()
        mixed[..., top:bottom, left:right] = others[..., top:bottom, left:right]
        # The rectangle may reach over the border: what is left of it counts.
        share = 1 - (bottom - top) * (right - left) / (height * width)
    else:
        mixed = images * share + others * (1 - share)
    return mixed, targets * share + targets.flip(0) * (1 - share)


def _rectangle(
    height: int, width: int, share: float, rng: np.random.Generator
) -> tuple[int, int, int, int]:
    """Return top, bottom, left and right of a rectangle around a random point.

    It covers 1 - ``share`` of the image, less what lies outside.
    """
    side = math.sqrt(1 - share)
    half_height, half_width = int(height * side) // 2, int(width * side) // 2
    y, x = int(rng.integers(height)), int(rng.integers(width))
    return (
        max(0, y - half_height),
        min(height, y + half_height),
        max(0, x - half_width),
        min(width, x + half_width),
    )
