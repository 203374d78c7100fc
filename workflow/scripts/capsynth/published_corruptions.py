"""Elastic transform and frost as ImageNet-C was made.

Written from their definition in ``ImageNet-C/create_c/make_imagenet_c.py`` of hendrycks/robustness
(Hendrycks and Dietterich, Benchmarking Neural Network Robustness to Common Corruptions and
Perturbations, ICLR 2019): the package ``imagecorruptions`` has another definition of both. It
leaves the affine part of the elastic transform out, and enlarges the pictures of frost and draws
from six of them. ImageNet-C was made without seeds, so single images differ from the published.
"""

import functools
import importlib.util
from pathlib import Path

import numpy as np
import numpy.typing as npt

from capsynth.errors import CapsynthError

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.floating]

# Parameters are for images of this side. What the elastic transform has in pixels is written in
# parts of 244 there, a slip for 224 that the published images have.
SIDE = 224
_UNIT = 244
# At severities 1 to 5, in parts of _UNIT: the field's amplitude, the deviation of the Gaussian that
# smooths it, and how far each of three points is moved at most.
ELASTIC = ((2.0, 0.7, 0.1), (2.0, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02),
           (0.12, 0.01, 0.02))  # fmt: skip
# At severities 1 to 5: weights of the image and of the picture of frost.
FROST = ((1.0, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75))
# Six pictures were named, of which one of the first five was drawn.
FROST_PICTURES = ("frost1.png", "frost2.png", "frost3.png", "frost4.jpg", "frost5.jpg")


def elastic_points(height: int, width: int) -> npt.NDArray[np.float32]:
    """Return the three points that the affine part moves, as (x, y), shape (3, 2), float32.

    They lie a third of the shorter side around the centre, on two sides of a square.
    """
    centre = np.array([width // 2, height // 2], np.float32)
    reach = min(height, width) // 3
    return centre + reach * np.array([[1, 1], [1, -1], [-1, -1]], np.float32)


def elastic_transform(pixels: Bytes, severity: int, rng: np.random.Generator) -> Bytes:
    """Move the pixels of an image: a random affine map, then a smoothed random field.

    The affine map takes three points to places that are uniformly off in each coordinate; edges
    mirror. Each coordinate of the field is uniform in [-1, 1] a pixel, smoothed by a Gaussian that
    ends at three deviations, times an amplitude. Values between pixels are linear.

    Args:
        pixels: Shape (height, width, 3), uint8; lengths grow with the shorter side from 224 pixels.
        severity: 1 to 5.
        rng: Source of randomness.

    Returns:
        The same shape, rounded down.
    """
    import cv2
    from scipy import ndimage

    height, width = pixels.shape[:2]
    unit = _UNIT * min(height, width) / SIDE
    amplitude, deviation, shift = (unit * share for share in ELASTIC[severity - 1])
    points = elastic_points(height, width)
    moved = points + rng.uniform(-shift, shift, points.shape).astype(np.float32)
    affine = cv2.getAffineTransform(points, moved)
    image = cv2.warpAffine(
        pixels.astype(np.float32), affine, (width, height), borderMode=cv2.BORDER_REFLECT_101
    )

    def field() -> Floats:
        drawn = rng.uniform(-1, 1, (height, width))
        return amplitude * ndimage.gaussian_filter(drawn, deviation, mode="reflect", truncate=3)

    across, down = field(), field()
    rows, columns = np.mgrid[:height, :width]
    places = [rows + down, columns + across]
    channels = [
        ndimage.map_coordinates(image[..., channel], places, order=1, mode="reflect")
        for channel in range(3)
    ]
    return np.clip(np.stack(channels, axis=-1), 0, 255).astype(np.uint8)


@functools.cache
def frost_picture(name: str) -> Bytes:
    """Return a picture of frost as RGB; they come with the package ``imagecorruptions``.

    Raises:
        CapsynthError: If the package is not installed or lacks the picture.
    """
    import cv2

    spec = importlib.util.find_spec("imagecorruptions")
    places = [] if spec is None else spec.submodule_search_locations or []
    read = [cv2.imread(str(Path(place, "frost", name))) for place in places]
    if not read or read[0] is None:
        raise CapsynthError(
            f"the package imagecorruptions has no frost/{name}; "
            "pip install --no-deps -r requirements-nodeps.txt"
        )
    return np.ascontiguousarray(read[0][..., ::-1])


def frost(pixels: Bytes, severity: int, rng: np.random.Generator) -> Bytes:
    """Mix an image with a random part of a picture of frost, of the same size.

    The picture is one of five, at its own size; only where the image is larger it is enlarged as
    far as needed, which images of 224 pixels never are.

    Args:
        pixels: Shape (height, width, 3), uint8.
        severity: 1 to 5.
        rng: Source of randomness.

    Returns:
        The same shape, rounded down.
    """
    import cv2

    height, width = pixels.shape[:2]
    picture = frost_picture(FROST_PICTURES[rng.integers(len(FROST_PICTURES))])
    scale = max(height / picture.shape[0], width / picture.shape[1])
    if scale > 1:
        size = (
            max(width, round(picture.shape[1] * scale)),
            max(height, round(picture.shape[0] * scale)),
        )
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC).astype(np.uint8)
    # The last place is never drawn, as published.
    top = rng.integers(max(1, picture.shape[0] - height))
    left = rng.integers(max(1, picture.shape[1] - width))
    part = picture[top : top + height, left : left + width]
    of_image, of_frost = FROST[severity - 1]
    return np.clip(of_image * pixels + of_frost * part.astype(np.float64), 0, 255).astype(np.uint8)
