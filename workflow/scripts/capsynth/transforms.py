"""Image transforms of training and evaluation: PIL images to pixels, batches to numbers."""

import math
import random
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image

# Maps to [-1, 1].
MEAN = 0.5
STD = 0.5
# Aspect ratios of the random crop and number of tries before a centre crop, as in
# torchvision's RandomResizedCrop (Szegedy et al., arXiv 1409.4842).
RATIO = (3 / 4, 4 / 3)
TRIES = 10

Transform = Callable[[Image.Image, random.Random | None], torch.Tensor]
Box = tuple[int, int, int, int]


def random_crop(width: int, height: int, scale: tuple[float, float], rng: random.Random) -> Box:
    """Draw a crop of random area and aspect ratio.

    Args:
        width: Width of the image, pixels.
        height: Height of the image, pixels.
        scale: Smallest and largest area, as shares of the image's.
        rng: Source of randomness.

    Returns:
        Left, upper, right and lower pixel of the crop; the largest centred square if no drawn
        crop fits into the image.
    """
    for _ in range(TRIES):
        area = width * height * rng.uniform(*scale)
        ratio = math.exp(rng.uniform(math.log(RATIO[0]), math.log(RATIO[1])))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            left, upper = rng.randint(0, width - w), rng.randint(0, height - h)
            return left, upper, left + w, upper + h
    return centre_square(width, height)


def centre_square(width: int, height: int) -> Box:
    """Return the largest square in the middle of an image."""
    side = min(width, height)
    left, upper = (width - side) // 2, (height - side) // 2
    return left, upper, left + side, upper + side


def to_pixels(image: Image.Image) -> torch.Tensor:
    """Return an RGB image as uint8, shape (3, height, width)."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def normalise(pixels: torch.Tensor) -> torch.Tensor:
    """Map a batch of uint8 pixels, shape (n, 3, height, width), to floats in [-1, 1]."""
    return pixels.float().div_(255 * STD).sub_(MEAN / STD).contiguous()


def training_transform(size: int, scale: tuple[float, float], flip: float) -> Transform:
    """Return random resized crop and horizontal flip with probability ``flip``."""

    def transform(image: Image.Image, rng: random.Random | None) -> torch.Tensor:
        if rng is None:
            raise ValueError("the training transform needs a source of randomness")
        box = random_crop(*image.size, scale, rng)
        image = image.resize((size, size), Image.Resampling.BILINEAR, box)
        if rng.random() < flip:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return to_pixels(image)

    return transform


def evaluation_transform(size: int) -> Transform:
    """Return the largest centred square, resized to ``size``."""

    def transform(image: Image.Image, rng: random.Random | None) -> torch.Tensor:
        box = centre_square(*image.size)
        return to_pixels(image.resize((size, size), Image.Resampling.BILINEAR, box))

    return transform
