"""Image transforms of training and evaluation: PIL images to normalised tensors."""

import math
from collections.abc import Callable

import torch
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

# Maps to [-1, 1].
MEAN = (0.5, 0.5, 0.5)
STD = (0.5, 0.5, 0.5)
# Aspect ratios of the random crop and number of tries before a centre crop, as in
# torchvision's RandomResizedCrop (Szegedy et al., arXiv 1409.4842).
RATIO = (3 / 4, 4 / 3)
TRIES = 10

Transform = Callable[[Image.Image, torch.Generator | None], torch.Tensor]


def _uniform(low: float, high: float, generator: torch.Generator) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator))


def random_crop(
    width: int, height: int, scale: tuple[float, float], generator: torch.Generator
) -> tuple[int, int, int, int]:
    """Draw a crop of random area and aspect ratio.

    Args:
        width: Width of the image, pixels.
        height: Height of the image, pixels.
        scale: Smallest and largest area, as shares of the image's.
        generator: Source of randomness.

    Returns:
        Top, left, height and width of the crop, pixels; the largest centred square if no drawn
        crop fits into the image.
    """
    for _ in range(TRIES):
        area = width * height * _uniform(*scale, generator)
        ratio = math.exp(_uniform(math.log(RATIO[0]), math.log(RATIO[1]), generator))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            top = int(torch.randint(0, height - h + 1, (), generator=generator))
            left = int(torch.randint(0, width - w + 1, (), generator=generator))
            return top, left, h, w
    side = min(width, height)
    return (height - side) // 2, (width - side) // 2, side, side


def training_transform(size: int, scale: tuple[float, float], flip: float) -> Transform:
    """Return random resized crop, horizontal flip with probability ``flip``, normalisation."""

    def transform(image: Image.Image, generator: torch.Generator | None) -> torch.Tensor:
        if generator is None:
            raise ValueError("the training transform needs a generator")
        crop = random_crop(*image.size, scale, generator)
        image = F.resized_crop(image, *crop, [size, size], InterpolationMode.BILINEAR)
        if float(torch.rand((), generator=generator)) < flip:
            image = F.hflip(image)
        return F.normalize(F.to_tensor(image), list(MEAN), list(STD))

    return transform


def evaluation_transform(size: int) -> Transform:
    """Return resize of the shorter side to ``size``, centre crop, normalisation."""

    def transform(image: Image.Image, generator: torch.Generator | None) -> torch.Tensor:
        if min(image.size) != size:
            image = F.resize(image, [size], InterpolationMode.BILINEAR)
        image = F.center_crop(image, [size, size])
        return F.normalize(F.to_tensor(image), list(MEAN), list(STD))

    return transform
