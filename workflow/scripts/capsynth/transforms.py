"""Image transforms of training and evaluation: PIL images to pixels, batches to numbers."""

import contextlib
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image, ImageEnhance

from capsynth.errors import CapsynthError
from capsynth.recipes import NORMALISATIONS, Recipe

# Number of tries before a centre crop, as in torchvision's RandomResizedCrop (Szegedy et al.,
# arXiv 1409.4842).
TRIES = 10
# Area of an erased rectangle as a share of the image, and its aspect ratio: Zhong et al., arXiv
# 1708.04896, with the bounds that timm takes.
ERASED_AREA = (0.02, 1 / 3)
ERASED_RATIO = 0.3

RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}

Transform = Callable[[Image.Image, random.Random | None], torch.Tensor]
Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Preprocessing:
    """What evaluation does to an image, in numbers: no library's default takes part in it.

    Attributes:
        size: Side of the square input, pixels.
        resize: ``center`` cuts a centred square out, ``squash`` takes the whole image.
        crop: Side of that square as a share of the image's short side.
        interpolation: One of ``RESAMPLING``.
        mean: Mean of each channel, of pixels in [0, 1].
        std: Standard deviation of each channel.
    """

    size: int
    resize: str
    crop: float
    interpolation: str
    mean: tuple[float, ...]
    std: tuple[float, ...]


def preprocessing_of(recipe: Recipe) -> Preprocessing:
    """Return what evaluation does to an image for a classifier of ``recipe``."""
    mean, std = NORMALISATIONS[recipe.normalisation]
    return Preprocessing(
        size=recipe.test_size,
        resize=recipe.eval_resize,
        crop=recipe.eval_crop,
        interpolation=recipe.interpolation,
        mean=mean,
        std=std,
    )


def view_of_corrupted(preprocessing: Preprocessing) -> Preprocessing:
    """Return what is done to an image that is stored corrupted: nothing is cut off.

    It was cut before it was corrupted. At the classifier's size its pixels stay as they are, as
    in ImageNet-C's own evaluation; at another size the whole image is resized once. Of an image
    that is not square, ``center`` takes the largest square.
    """
    return replace(preprocessing, crop=1.0)


def random_crop(
    width: int,
    height: int,
    scale: tuple[float, float],
    ratio: tuple[float, float],
    rng: random.Random,
) -> Box:
    """Draw a crop of random area and aspect ratio.

    Args:
        width: Width of the image, pixels.
        height: Height of the image, pixels.
        scale: Smallest and largest area, as shares of the image's.
        ratio: Smallest and largest width over height.
        rng: Source of randomness.

    Returns:
        Left, upper, right and lower pixel of the crop; the largest centred square if no drawn
        crop fits into the image.
    """
    for _ in range(TRIES):
        area = width * height * rng.uniform(*scale)
        aspect = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            left, upper = rng.randint(0, width - w), rng.randint(0, height - h)
            return left, upper, left + w, upper + h
    return centre_square(width, height)


def centre_square(width: int, height: int) -> Box:
    """Return the largest square in the middle of an image."""
    side = min(width, height)
    left, upper = (width - side) // 2, (height - side) // 2
    return left, upper, left + side, upper + side


def evaluation_box(
    width: int, height: int, size: int, crop: float
) -> tuple[float, float, float, float]:
    """Return the square that evaluation keeps, in pixels of the image and fractions of them.

    It is what torchvision's Resize to ``size / crop`` and CenterCrop to ``size`` leave of an
    image, as timm evaluates, rounded as they round: one resampling of it gives their pixels.
    """
    short = min(width, height)
    resized = math.floor(size / crop)
    bounds = []
    for side in (width, height):
        length = resized if side == short else int(resized * side / short)
        start = round((length - size) / 2)
        bounds.append((start * side / length, min(float(side), (start + size) * side / length)))
    (left, right), (upper, lower) = bounds
    return left, upper, right, lower


def to_pixels(image: Image.Image) -> torch.Tensor:
    """Return an RGB image as uint8, shape (3, height, width)."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def normalise(
    pixels: torch.Tensor, mean: tuple[float, ...], std: tuple[float, ...]
) -> torch.Tensor:
    """Map a batch of uint8 pixels, shape (n, 3, height, width), to (pixel / 255 - mean) / std."""

    def per_channel(values: list[float]) -> torch.Tensor:
        return torch.tensor(values, device=pixels.device).view(-1, 1, 1)

    scale = per_channel([255 * s for s in std])
    offset = per_channel([m / s for m, s in zip(mean, std, strict=True)])
    return pixels.float().div_(scale).sub_(offset).contiguous()


def jitter_colours(image: Image.Image, strength: float, rng: random.Random) -> Image.Image:
    """Change brightness, contrast and saturation by up to ``strength``, in a random order."""
    kinds = [ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color]
    rng.shuffle(kinds)
    for kind in kinds:
        image = kind(image).enhance(rng.uniform(max(0.0, 1 - strength), 1 + strength))
    return image


@contextlib.contextmanager
def global_randomness(rng: random.Random) -> Iterator[None]:
    """Seed the generators of ``random`` and numpy from ``rng``; put them back afterwards."""
    python, numpy = random.getstate(), np.random.get_state()
    random.seed(rng.getrandbits(64))
    np.random.seed(rng.getrandbits(32))
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


def augmentation_policy(
    policy: str, size: int, interpolation: str, mean: tuple[float, ...]
) -> Callable[[Image.Image], Image.Image]:
    """Return an augmentation policy in timm's notation, for example ``rand-m9-mstd0.5-inc1``.

    It draws from the global generators of ``random`` and numpy.

    Args:
        policy: ``rand-...`` (RandAugment), ``augmix-...``, or an AutoAugment policy (``original``,
            ``v0``, ``3a`` ...).
        size: Side of the images, pixels; the furthest shift is 0.45 of it, as in timm.
        interpolation: One of ``RESAMPLING``.
        mean: Channel means; what moves in from outside is filled with them.

    Raises:
        CapsynthError: If timm does not know the policy.
    """
    from timm.data import auto_augment

    settings = {
        "translate_const": int(size * 0.45),
        "img_mean": tuple(min(255, round(255 * m)) for m in mean),
        "interpolation": RESAMPLING[interpolation],
    }
    try:
        if policy.startswith("augmix"):
            return auto_augment.augment_and_mix_transform(policy, settings)
        if policy.startswith("rand"):
            return auto_augment.rand_augment_transform(policy, settings)
        return auto_augment.auto_augment_transform(policy, settings)
    except (AssertionError, KeyError, ValueError, IndexError) as error:
        raise CapsynthError(
            f"recipe auto_augment {policy!r} is not a policy that timm knows ({error}); "
            "write for example rand-m9-mstd0.5-inc1, or none"
        ) from error


def erase(
    pixels: torch.Tensor,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    rng: random.Random,
) -> torch.Tensor:
    """Replace a random rectangle of uint8 pixels, shape (3, height, width), by noise, in place.

    The noise has the channels' mean and standard deviation, cut off where pixels end.
    """
    height, width = pixels.shape[-2:]
    for _ in range(TRIES):
        area = height * width * rng.uniform(*ERASED_AREA)
        aspect = math.exp(rng.uniform(math.log(ERASED_RATIO), math.log(1 / ERASED_RATIO)))
        h, w = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < h < height and 0 < w < width:
            top, left = rng.randint(0, height - h), rng.randint(0, width - w)
            noise = np.random.default_rng(rng.getrandbits(64)).normal(
                np.reshape(mean, (-1, 1, 1)), np.reshape(std, (-1, 1, 1)), (len(mean), h, w)
            )
            drawn = torch.from_numpy(np.clip(255 * noise, 0, 255).round().astype(np.uint8))
            pixels[:, top : top + h, left : left + w] = drawn
            break
    return pixels


def training_transform(recipe: Recipe) -> Transform:
    """Return the augmentation of a recipe.

    Random resized crop, flip, colours, policy and erasing, in timm's order. Everything random
    comes from the generator that the transform is given.

    Raises:
        CapsynthError: If timm does not know the policy.
    """
    size = recipe.image_size
    mean, std = NORMALISATIONS[recipe.normalisation]
    resampling = RESAMPLING[recipe.interpolation]
    policy = None
    if recipe.auto_augment != "none":
        policy = augmentation_policy(recipe.auto_augment, size, recipe.interpolation, mean)

    def transform(image: Image.Image, rng: random.Random | None) -> torch.Tensor:
        if rng is None:
            raise ValueError("the training transform needs a source of randomness")
        box = random_crop(*image.size, recipe.crop_scale, recipe.crop_ratio, rng)
        image = image.resize((size, size), resampling, box)
        if rng.random() < recipe.flip:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if recipe.color_jitter > 0:
            image = jitter_colours(image, recipe.color_jitter, rng)
        if policy is not None:
            with global_randomness(rng):
                image = policy(image)
        pixels = to_pixels(image)
        if recipe.random_erasing > 0 and rng.random() < recipe.random_erasing:
            pixels = erase(pixels, mean, std, rng)
        return pixels

    return transform


def evaluation_transform(preprocessing: Preprocessing) -> Transform:
    """Return the transform of evaluation, up to the normalisation: nothing in it is random."""
    size = (preprocessing.size, preprocessing.size)
    resampling = RESAMPLING[preprocessing.interpolation]

    def transform(image: Image.Image, rng: random.Random | None) -> torch.Tensor:
        if preprocessing.resize == "squash":
            return to_pixels(image.resize(size, resampling))
        box = evaluation_box(*image.size, preprocessing.size, preprocessing.crop)
        return to_pixels(image.resize(size, resampling, box))

    return transform
