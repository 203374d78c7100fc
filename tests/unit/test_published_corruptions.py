"""Elastic transform and frost against their published definition, worked out another way."""

import itertools

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from torchvision.transforms import functional

from capsynth.corruptions import SEVERITIES, corrupt_as_imagenet_c
from capsynth.datasets.imagenet import package_file
from capsynth.published_corruptions import elastic_transform, frost

# make_imagenet_c.py of hendrycks/robustness, at severities 1 to 5.
AMPLITUDE = (488.0, 488.0, 12.2, 17.08, 29.28)
DEVIATION = (170.8, 19.52, 2.44, 2.44, 2.44)
SHIFT = (24.4, 48.8, 4.88, 4.88, 4.88)
OF_IMAGE = (1.0, 0.8, 0.7, 0.65, 0.6)
OF_FROST = (0.4, 0.6, 0.7, 0.7, 0.75)
PICTURES = ("frost1.png", "frost2.png", "frost3.png", "frost4.jpg", "frost5.jpg", "frost6.jpg")


def waves(side: int) -> np.ndarray:
    y, x = np.mgrid[:side, :side]
    channels = [np.sin(x / 9), np.cos(y / 7), np.sin((x + y) / 11)]
    return (127 + 100 * np.stack(channels, axis=2)).astype(np.uint8)


def smoothed(field: np.ndarray, deviation: float) -> np.ndarray:
    """Convolve with a Gaussian of three deviations, axis after axis; edges mirror."""
    reach = int(3 * deviation + 0.5)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / deviation) ** 2)
    weights /= weights.sum()
    for axis in (0, 1):
        width = [(reach, reach) if a == axis else (0, 0) for a in (0, 1)]
        padded = np.pad(field, width, "symmetric")
        field = np.apply_along_axis(np.convolve, axis, padded, weights, "valid")
    return field


@pytest.mark.parametrize("severity", SEVERITIES)
def test_the_elastic_transform_is_its_formula(severity: int) -> None:
    pixels = waves(224)
    rng = np.random.default_rng(severity)
    # Centre (112, 112), a third of 224 rounded down around it.
    points = np.array([[186, 186], [186, 38], [38, 38]], float)
    shift = SHIFT[severity - 1]
    moved = points + rng.uniform(-shift, shift, (3, 2))
    fields = [
        AMPLITUDE[severity - 1] * smoothed(rng.uniform(-1, 1, (224, 224)), DEVIATION[severity - 1])
        for _ in range(2)
    ]
    # (x, y, 1) of the moved points -> (x, y) of the points: where each pixel comes from.
    back = np.linalg.solve(np.column_stack([moved, np.ones(3)]), points)
    rows, columns = np.mgrid[:224, :224].astype(float)
    x, y = np.moveaxis(np.stack([columns, rows, np.ones_like(rows)], axis=-1) @ back, -1, 0)
    expected = []
    for channel in range(3):
        warped = ndimage.map_coordinates(
            pixels[..., channel].astype(float), [y, x], order=1, mode="mirror"
        )
        places = [rows + fields[1], columns + fields[0]]
        expected.append(ndimage.map_coordinates(warped, places, order=1, mode="reflect"))
    ours = elastic_transform(pixels, severity, np.random.default_rng(severity))
    # OpenCV counts places in 1/32 of a pixel, and the result is rounded down.
    off = np.stack(expected, axis=-1) - ours
    assert np.abs(off).max() < 3
    assert np.abs(off).mean() < 0.7


def test_elastic_lengths_grow_with_the_image() -> None:
    small, large = (
        elastic_transform(np.zeros((side, side, 3), np.uint8), 1, np.random.default_rng(0))
        for side in (48, 300)
    )
    assert small.shape == (48, 48, 3)
    assert large.shape == (300, 300, 3)
    # A ramp tells how far columns move: half the image at most, whatever its side.
    spans = []
    for side in (56, 224):
        ramp = np.repeat(np.linspace(0, 255, side)[None, :, None], side, axis=0).repeat(3, axis=2)
        ramp = ramp.round().astype(np.uint8)
        moved = [
            np.abs(elastic_transform(ramp, 2, np.random.default_rng(s)) - ramp.astype(float)).mean()
            for s in range(40)
        ]
        spans.append(np.mean(moved))
    assert spans[0] == pytest.approx(spans[1], rel=0.25)


def picture(name: str) -> np.ndarray:
    with Image.open(package_file("imagecorruptions", "frost", name)) as image:
        return np.asarray(image.convert("RGB"), float)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_frost_is_a_part_of_a_picture_at_its_own_size(severity: int) -> None:
    weight = OF_FROST[severity - 1]
    pictures = {name: np.floor(weight * picture(name)).astype(int) for name in PICTURES}
    black, grey = (np.full((224, 224, 3), shade, np.uint8) for shade in (0, 60))
    found = set()
    for seed in range(8):
        made = frost(black, severity, np.random.default_rng(seed)).astype(int)
        places = []
        for name, whole in pictures.items():
            # Places where a few pixels agree; decoders of JPEG may differ by a level or two.
            height, width = whole.shape[0] - 223, whole.shape[1] - 223
            near = np.ones((height, width), bool)
            for y, x in itertools.product((0, 90, 223), repeat=2):
                off = np.abs(whole[y : y + height, x : x + width] - made[y, x])
                near &= (off <= 3).all(axis=-1)
            for top, left in np.argwhere(near):
                off = np.abs(whole[top : top + 224, left : left + 224] - made)
                places.append((name, off.mean()))
        assert places, f"seed {seed} shows no part of a picture"
        name, off = min(places, key=lambda place: place[1])
        assert off < 0.5
        found.add(name)
        mixed = frost(grey, severity, np.random.default_rng(seed))
        expected = np.clip(made + OF_IMAGE[severity - 1] * 60, 0, 255)
        assert np.abs(mixed - expected).max() <= 1
    assert len(found) > 1
    assert "frost6.jpg" not in found


def test_the_five_first_pictures_are_drawn_alike() -> None:
    black = np.zeros((224, 224, 3), np.uint8)
    shades = [frost(black, 3, np.random.default_rng(seed)).mean() for seed in range(600)]
    means, spreads = [], []
    for name in PICTURES[:5]:
        whole = np.clip(0.7 * picture(name), 0, 255)
        rng = np.random.default_rng(0)
        tops = rng.integers(whole.shape[0] - 224, size=100)
        lefts = rng.integers(whole.shape[1] - 224, size=100)
        parts = [
            whole[t : t + 224, left : left + 224].mean()
            for t, left in zip(tops, lefts, strict=True)
        ]
        means.append(np.mean(parts))
        spreads.append(np.var(parts))
    deviation = np.sqrt(np.mean(spreads) + np.var(means))
    # Rounding down takes half a level.
    assert np.mean(shades) + 0.5 == pytest.approx(np.mean(means), abs=4 * deviation / 600**0.5)


def test_larger_images_get_frost_enlarged_as_far_as_needed() -> None:
    for size in ((400, 700), (600, 300), (48, 48)):
        assert frost(np.zeros((*size, 3), np.uint8), 1, np.random.default_rng(1)).shape == (
            *size,
            3,
        )


def test_the_library_of_imagenet_c_takes_them() -> None:
    image = functional.to_pil_image(waves(224))
    for name, apply in (("elastic-transform", elastic_transform), ("frost", frost)):
        ours = np.asarray(corrupt_as_imagenet_c(image, name, 3, 7))
        assert (ours == apply(waves(224), 3, np.random.default_rng(7))).all()
