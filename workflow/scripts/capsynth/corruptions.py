"""Common corruptions of images at five severities.

Definitions follow Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common
Corruptions and Perturbations" (ICLR 2019, arXiv 1903.12261). The values per severity are those of
Tiny ImageNet-C (64x64 images; ``make_tinyimagenet_c.py`` of the paper's code): images of the
embedded experiment are 48x48, and values for 224x224 would leave nothing of them. Unlike the
published sets, corrupted images are not stored as JPEG, so nothing but the corruption is added.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from capsynth.errors import CapsynthError
from capsynth.names import check_name

SEVERITIES = (1, 2, 3, 4, 5)
FloatArray = npt.NDArray[np.float64]


def _to_array(image: Image.Image) -> FloatArray:
    """Return an RGB image as floats in [0, 1], shape (height, width, 3)."""
    return np.asarray(image, np.float64) / 255


def _to_image(pixels: FloatArray) -> Image.Image:
    return Image.fromarray((np.clip(pixels, 0, 1) * 255).round().astype(np.uint8), "RGB")


def _gaussian_noise(image: Image.Image, scale: float, rng: np.random.Generator) -> Image.Image:
    """Add normal noise of standard deviation ``scale`` (of the range [0, 1])."""
    pixels = _to_array(image)
    return _to_image(pixels + rng.normal(scale=scale, size=pixels.shape))


def _shot_noise(image: Image.Image, photons: float, rng: np.random.Generator) -> Image.Image:
    """Count Poisson photons, of which white has ``photons`` on average."""
    return _to_image(rng.poisson(_to_array(image) * photons) / photons)


def _impulse_noise(image: Image.Image, share: float, rng: np.random.Generator) -> Image.Image:
    """Set a ``share`` of the values (per channel) to 0 or 1, evenly."""
    pixels = _to_array(image)
    is_hit = rng.random(pixels.shape) < share
    is_salt = rng.random(pixels.shape) < 0.5
    return _to_image(np.where(is_hit, is_salt.astype(np.float64), pixels))


def _disk(radius: float, alias_blur: float) -> FloatArray:
    """Return a disk of ``radius`` pixels, its rim softened by a 3x3 Gaussian; its sum is one."""
    reach = int(np.ceil(radius)) + 1
    steps = np.arange(-reach, reach + 1)
    disk = (steps[:, None] ** 2 + steps**2 <= radius**2).astype(np.float64)
    side = np.exp(-0.5 / alias_blur**2)
    taps = np.asarray((side, 1.0, side)) / (1 + 2 * side)
    for axis in (0, 1):
        disk = np.apply_along_axis(np.convolve, axis, disk, taps, "same")
    kernel: FloatArray = disk / disk.sum()
    return kernel


def _defocus_blur(
    image: Image.Image, parameter: tuple[float, float], rng: np.random.Generator
) -> Image.Image:
    """Convolve with a disk of (radius, softness of its rim), both in pixels; edges mirror."""
    kernel = _disk(*parameter)
    reach = kernel.shape[0] // 2
    pixels = _to_array(image)
    height, width = pixels.shape[:2]
    padded = np.pad(pixels, ((reach, reach), (reach, reach), (0, 0)), "reflect")
    blurred = np.zeros_like(pixels)
    for dy, dx in zip(*np.nonzero(kernel > 1e-9), strict=True):
        blurred += kernel[dy, dx] * padded[dy : dy + height, dx : dx + width]
    return _to_image(blurred)


def _brightness(image: Image.Image, added: float, rng: np.random.Generator) -> Image.Image:
    """Add to the value of HSV: hue and saturation stay, so channels grow by one factor."""
    pixels = _to_array(image)
    value = pixels.max(axis=-1, keepdims=True)
    brighter = np.minimum(value + added, 1)
    factor = np.divide(brighter, value, out=np.zeros_like(value), where=value > 0)
    return _to_image(np.where(value > 0, pixels * factor, brighter))


def _contrast(image: Image.Image, kept: float, rng: np.random.Generator) -> Image.Image:
    """Shrink the distance of each value from its channel's mean to the share ``kept``."""
    pixels = _to_array(image)
    mean = pixels.mean(axis=(0, 1), keepdims=True)
    return _to_image((pixels - mean) * kept + mean)


def _pixelate(image: Image.Image, scale: float, rng: np.random.Generator) -> Image.Image:
    """Reduce to ``scale`` times the size and enlarge again, with box filters."""
    small = (max(1, int(image.width * scale)), max(1, int(image.height * scale)))
    return image.resize(small, Image.Resampling.BOX).resize(image.size, Image.Resampling.BOX)


def _jpeg(image: Image.Image, quality: int, rng: np.random.Generator) -> Image.Image:
    """Compress as JPEG of ``quality`` with Pillow's default chroma subsampling."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    with Image.open(buffer) as decoded:
        return decoded.convert("RGB")


@dataclass(frozen=True)
class Corruption:
    """One kind of corruption.

    Attributes:
        name: Name in the configuration.
        parameters: Parameter of ``apply`` at severities 1 to 5.
        apply: ``(RGB image, parameter, rng) -> RGB image`` of the same size.
    """

    name: str
    parameters: tuple[Any, Any, Any, Any, Any]
    apply: Callable[[Image.Image, Any, np.random.Generator], Image.Image]


_ALL = (
    Corruption("gaussian-noise", (0.04, 0.08, 0.12, 0.15, 0.18), _gaussian_noise),
    Corruption("shot-noise", (250, 100, 50, 30, 15), _shot_noise),
    Corruption("impulse-noise", (0.01, 0.02, 0.05, 0.08, 0.14), _impulse_noise),
    Corruption(
        "defocus-blur", ((0.5, 0.6), (1, 0.1), (1.5, 0.1), (2.5, 0.01), (3, 0.1)), _defocus_blur
    ),
    Corruption("brightness", (0.1, 0.2, 0.3, 0.4, 0.5), _brightness),
    Corruption("contrast", (0.4, 0.3, 0.2, 0.1, 0.05), _contrast),
    Corruption("pixelate", (0.9, 0.8, 0.7, 0.6, 0.5), _pixelate),
    Corruption("jpeg", (65, 58, 50, 40, 25), _jpeg),
)
CORRUPTIONS: dict[str, Corruption] = {corruption.name: corruption for corruption in _ALL}


def corrupt(image: Image.Image, name: str, severity: int, rng: np.random.Generator) -> Image.Image:
    """Corrupt an RGB image.

    Args:
        image: The clean image; it is not changed.
        name: One of ``CORRUPTIONS``.
        severity: 1 (weakest) to 5.
        rng: Source of randomness; corruptions that are not random do not use it.

    Returns:
        An RGB image of the same size.

    Raises:
        CapsynthError: If the name or the severity is unknown or the image is not RGB.
    """
    corruption = CORRUPTIONS[check_name("corruption", name, CORRUPTIONS)]
    if severity not in SEVERITIES:
        raise CapsynthError(f"severity {severity} of {name!r} does not exist; give 1 to 5")
    if image.mode != "RGB":
        raise CapsynthError(f"{name!r} needs an RGB image, not {image.mode}; convert it first")
    return corruption.apply(image, corruption.parameters[severity - 1], rng)
