"""Common corruptions of images at five severities, from two libraries.

``imagecorruptions`` is the 15 corruptions of ImageNet-C, for images of 224 pixels: 13 of the
package of that name, a port of the authors' code with the differences that docs/evaluation-sets.md
lists, and two of ``published_corruptions``. ``tiny-imagenet-c`` is this module's own, for small
images.
Its definitions follow Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common
Corruptions and Perturbations" (ICLR 2019, arXiv 1903.12261). The values per severity are those of
Tiny ImageNet-C (64x64 images; ``make_tinyimagenet_c.py`` of the paper's code): images of the
embedded experiment are 48x48, and values for 224x224 would leave nothing of them. Unlike the
published sets, corrupted images are not stored as JPEG, so nothing but the corruption is added.
"""

import contextlib
import io
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from capsynth import published_corruptions
from capsynth.errors import CapsynthError
from capsynth.names import check_name

SEVERITIES = (1, 2, 3, 4, 5)
# The common corruptions of ImageNet-C, in the order of the paper, by their names in its folders.
IMAGENET_C = (
    "gaussian-noise",
    "shot-noise",
    "impulse-noise",
    "defocus-blur",
    "glass-blur",
    "motion-blur",
    "zoom-blur",
    "snow",
    "frost",
    "fog",
    "brightness",
    "contrast",
    "elastic-transform",
    "pixelate",
    "jpeg-compression",
)
LIBRARIES = ("tiny-imagenet-c", "imagecorruptions")
# Shorter side of the images that a square is cut out of, over the square's: ImageNet-C was made of
# 224 of 256 pixels, Tiny ImageNet-C of whole images.
MARGINS = {"tiny-imagenet-c": 1.0, "imagecorruptions": 256 / 224}
# What the package defines otherwise than ImageNet-C was made.
_AS_PUBLISHED = {
    "elastic-transform": published_corruptions.elastic_transform,
    "frost": published_corruptions.frost,
}
# What the package refuses.
LEAST_SIDE = 32
# These draw from a generator of their own, which takes its seed as an argument.
_SEEDED = frozenset({"impulse-noise", "glass-blur"})
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


@dataclass(frozen=True)
class CorruptionSettings:
    """How the images of an evaluation set are corrupted.

    Attributes:
        library: One of ``LIBRARIES``.
        names: Corruptions of that library.
        severities: Severities, each applied with each corruption.
        side: Images are first resized and cut to a square of this many pixels; 0 leaves them.
    """

    library: str
    names: tuple[str, ...]
    severities: tuple[int, ...]
    side: int

    @property
    def kinds(self) -> list[tuple[str, int]]:
        """Every corruption at every severity, in order."""
        return [(name, severity) for name in self.names for severity in self.severities]


def cut_square(image: Image.Image, side: int, margin: float) -> Image.Image:
    """Return the centre of an image, a square of ``side`` pixels, as torchvision cuts it.

    The shorter side is resized to ``margin`` times ``side``, up or down, linearly; then a square
    is cut out. With 224 and 256 / 224 these are Resize(256) and CenterCrop(224), the view of an
    image that ImageNet-C was made of.

    Args:
        image: Any image.
        side: Of the square, pixels.
        margin: 1 for the largest square that the image holds.
    """
    short, resized = min(image.size), round(margin * side)
    width, height = (
        resized if length == short else int(resized * length / short) for length in image.size
    )
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = round((width - side) / 2), round((height - side) / 2)
    return image.crop((left, top, left + side, top + side))


def corrupt_by(
    settings: CorruptionSettings, image: Image.Image, name: str, severity: int, seed: int
) -> Image.Image:
    """Corrupt an RGB image by the library of ``settings``.

    Args:
        settings: The library, and the size to corrupt at.
        image: The clean image; it is not changed.
        name: A corruption of the library.
        severity: 1 (weakest) to 5.
        seed: Seed of what is random.

    Raises:
        CapsynthError: If the name or severity is unknown, or the image does not suit the library.
    """
    library = check_name("corruption library", settings.library, LIBRARIES)
    if settings.side:
        image = cut_square(image, settings.side, MARGINS[library])
    if library == "imagecorruptions":
        return corrupt_as_imagenet_c(image, name, severity, seed)
    return corrupt(image, name, severity, np.random.default_rng(seed))


def corrupt_as_imagenet_c(image: Image.Image, name: str, severity: int, seed: int) -> Image.Image:
    """Corrupt an RGB image with the package ``imagecorruptions``, or as published.

    Elastic transform and frost are those of ``published_corruptions``. The package draws from
    numpy's global generator, which is seeded here and put back as it was; impulse noise and glass
    blur (whose loop is compiled, with a generator of its own) are given the seed. The result is
    rounded down to whole values, as the package does, and not compressed.

    Raises:
        CapsynthError: If the name or severity is unknown, or a side is below 32 pixels.
    """
    check_name("corruption", name, IMAGENET_C)
    if severity not in SEVERITIES:
        raise CapsynthError(f"severity {severity} of {name!r} does not exist; give 1 to 5")
    if min(image.size) < LEAST_SIDE:
        raise CapsynthError(
            f"{name!r} of imagecorruptions needs images of {LEAST_SIDE} pixels or more, not "
            f"{image.width}x{image.height}; set corruption_library: tiny-imagenet-c"
        )
    if name in _AS_PUBLISHED:
        apply = _AS_PUBLISHED[name]
        pixels = np.asarray(image.convert("RGB"))
        return Image.fromarray(apply(pixels, severity, np.random.default_rng(seed)), "RGB")
    # Half a second of imports, and seconds of compilation for glass blur: only for who needs them.
    import imagecorruptions

    seed %= 1 << 32  # numpy's global generator takes 32 bits
    before = np.random.get_state()
    np.random.seed(seed)
    try:
        # The package prints on standard output what it works round.
        with contextlib.redirect_stdout(sys.stderr):
            pixels = imagecorruptions.corrupt(
                np.asarray(image.convert("RGB")),
                severity=severity,
                corruption_name=name.replace("-", "_"),
                **({"seed": seed} if name in _SEEDED else {}),
            )
    finally:
        np.random.set_state(before)
    return Image.fromarray(pixels, "RGB")
