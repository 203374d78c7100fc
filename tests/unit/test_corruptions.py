"""Corruptions: what every one of them promises, and what single ones do."""

import hashlib
import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import functional

import capsynth
from capsynth.corruptions import (
    CORRUPTIONS,
    IMAGENET_C,
    LIBRARIES,
    MARGINS,
    SEVERITIES,
    CorruptionSettings,
    corrupt,
    corrupt_as_imagenet_c,
    corrupt_by,
    cut_square,
)
from capsynth.datasets.openmoji.splits import draw_real_scene
from capsynth.datasets.openmoji.world import CLASSES
from capsynth.errors import CapsynthError

RANDOM = ("gaussian-noise", "shot-noise", "impulse-noise")


@pytest.fixture(scope="module")
def scenes() -> list[Image.Image]:
    return [
        draw_real_scene("val", 3, c.class_id, index, 0.5)[0] for c in CLASSES for index in range(3)
    ]


def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def floats(image: Image.Image) -> np.ndarray:
    return np.asarray(image, np.float64)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_severity_raises_the_mean_squared_error(name, scenes):
    errors = []
    for severity in SEVERITIES:
        source = rng()
        squares = [
            (floats(corrupt(scene, name, severity, source)) - floats(scene)) ** 2
            for scene in scenes
        ]
        errors.append(np.mean(squares))
    assert errors[0] > 0
    assert all(low < high for low, high in itertools.pairwise(errors)), errors


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("size", [(48, 48), (64, 40), (33, 47)])
def test_size_and_mode_are_kept_and_the_clean_image_too(name, size, scenes):
    clean = scenes[0].resize(size)
    before = clean.tobytes()
    for severity in SEVERITIES:
        image = corrupt(clean, name, severity, rng())
        assert (image.mode, image.size) == ("RGB", size)
    assert clean.tobytes() == before


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_equal_generators_give_equal_images_and_only_noise_depends_on_them(name, scenes):
    one, two = (corrupt(scenes[0], name, 3, rng()) for _ in range(2))
    other = corrupt(scenes[0], name, 3, np.random.default_rng(8))
    assert one.tobytes() == two.tobytes()
    assert (one.tobytes() != other.tobytes()) == (name in RANDOM)


@pytest.mark.parametrize("severity", [0, 6, -1])
def test_a_severity_outside_of_1_to_5_is_refused(severity, scenes):
    with pytest.raises(CapsynthError, match=f"severity {severity} of 'jpeg'.*1 to 5"):
        corrupt(scenes[0], "jpeg", severity, rng())


def test_an_unknown_corruption_is_refused_with_the_nearest_name(scenes):
    with pytest.raises(CapsynthError, match="did you mean 'gaussian-noise'"):
        corrupt(scenes[0], "gausian-noise", 1, rng())


def test_an_image_that_is_not_rgb_is_refused(scenes):
    with pytest.raises(CapsynthError, match="needs an RGB image, not L"):
        corrupt(scenes[0].convert("L"), "contrast", 1, rng())


def test_gaussian_noise_has_the_deviation_of_its_severity():
    grey = Image.new("RGB", (200, 200), (128, 128, 128))
    noisy = floats(corrupt(grey, "gaussian-noise", 2, rng())) / 255
    assert noisy.std() == pytest.approx(0.08, rel=0.02)


def test_shot_noise_has_the_variance_of_its_photons():
    grey = Image.new("RGB", (200, 200), (128, 128, 128))
    noisy = floats(corrupt(grey, "shot-noise", 2, rng())) / 255
    assert noisy.var() == pytest.approx((128 / 255) / 100, rel=0.03)


def test_impulse_noise_hits_its_share_of_values_half_with_salt():
    grey = Image.new("RGB", (200, 200), (128, 128, 128))
    noisy = np.asarray(corrupt(grey, "impulse-noise", 5, rng()))
    assert (noisy != 128).mean() == pytest.approx(0.14, rel=0.03)
    assert (noisy == 255).mean() == pytest.approx(0.07, rel=0.05)
    assert (noisy == 0).mean() == pytest.approx(0.07, rel=0.05)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_blur_leaves_flat_images_alone_and_spreads_a_point_evenly(severity):
    flat = Image.new("RGB", (32, 32), (200, 90, 10))
    assert corrupt(flat, "defocus-blur", severity, rng()).tobytes() == flat.tobytes()
    point = Image.new("RGB", (33, 33))
    point.putpixel((16, 16), (255, 255, 255))
    spread = floats(corrupt(point, "defocus-blur", severity, rng()))[..., 0]
    assert spread.sum() == pytest.approx(255, rel=0.15)
    assert (spread == spread.T).all()
    assert (spread == spread[::-1, ::-1]).all()


def test_brightness_keeps_the_ratio_of_channels_and_makes_black_grey():
    image = Image.new("RGB", (2, 1), (100, 50, 0))
    image.putpixel((1, 0), (0, 0, 0))
    bright = corrupt(image, "brightness", 2, rng())
    assert bright.getpixel((0, 0)) == (151, 76, 0)
    assert bright.getpixel((1, 0)) == (51, 51, 51)


def test_contrast_keeps_the_mean_and_shrinks_the_spread(scenes):
    for severity, kept in zip(SEVERITIES, (0.4, 0.3, 0.2, 0.1, 0.05), strict=True):
        before, after = floats(scenes[4]), floats(corrupt(scenes[4], "contrast", severity, rng()))
        assert after.mean(axis=(0, 1)) == pytest.approx(before.mean(axis=(0, 1)), abs=0.5)
        spread = before.std(axis=(0, 1)) * kept
        assert after.std(axis=(0, 1)) == pytest.approx(spread, abs=0.5)


def test_pixelate_halves_the_resolution_at_severity_five(scenes):
    blocks = floats(corrupt(scenes[0], "pixelate", 5, rng())).reshape(24, 2, 24, 2, 3)
    assert (blocks == blocks[:, :1, :, :1]).all()


# ---- the package imagecorruptions ---------------------------------------------------------------


@pytest.mark.parametrize("name", IMAGENET_C)
def test_imagenet_c_is_the_same_for_a_seed_and_leaves_the_global_generator_alone(name, scenes):
    np.random.seed(3)
    before = np.random.get_state()[1].tolist()
    one = corrupt_as_imagenet_c(scenes[0], name, 3, 7)
    assert np.random.get_state()[1].tolist() == before
    np.random.random(5)
    two = corrupt_as_imagenet_c(scenes[0], name, 3, 7)
    other = corrupt_as_imagenet_c(scenes[0], name, 3, 8)
    assert one.tobytes() == two.tobytes() != scenes[0].tobytes()
    fixed = ("defocus", "zoom", "brightness", "contrast", "pixelate", "jpeg")
    assert (one.tobytes() == other.tobytes()) == name.startswith(fixed)
    assert (one.mode, one.size) == ("RGB", scenes[0].size)


def test_imagenet_c_has_the_names_of_the_package_in_its_order():
    import imagecorruptions

    names = [name.replace("_", "-") for name in imagecorruptions.get_corruption_names("common")]
    assert names == list(IMAGENET_C)


def test_corruptions_are_the_same_in_another_process(scenes):
    names = ("glass-blur", "impulse-noise", "snow")
    make = (
        "import sys, hashlib; from PIL import Image;"
        f"sys.path.insert(0, {str(Path(capsynth.__file__).parents[1])!r});"
        "from capsynth.corruptions import corrupt_as_imagenet_c as c;"
        f"image = Image.frombytes('RGB', {scenes[0].size}, sys.stdin.buffer.read());"
        f"print([hashlib.md5(c(image, n, 2, 5).tobytes()).hexdigest() for n in {names}])"
    )
    done = subprocess.run(
        [sys.executable, "-c", make], input=scenes[0].tobytes(), capture_output=True, check=True
    )
    here = [
        hashlib.md5(corrupt_as_imagenet_c(scenes[0], name, 2, 5).tobytes()).hexdigest()
        for name in names
    ]
    assert done.stdout.decode().strip() == str(here)


@pytest.mark.parametrize(
    ("name", "severity", "side", "message"),
    [
        ("jpeg", 1, 48, "unknown corruption 'jpeg'"),
        ("snow", 6, 48, "severity 6 of 'snow' does not exist"),
        ("snow", 1, 31, "32 pixels or more, not 31x31; set corruption_library: tiny-imagenet-c"),
    ],
)
def test_what_imagenet_c_cannot_do_is_named(name, severity, side, message):
    with pytest.raises(CapsynthError, match=message):
        corrupt_as_imagenet_c(Image.new("RGB", (side, side)), name, severity, 0)


@pytest.mark.parametrize("size", [(500, 375), (375, 500), (256, 300), (240, 600), (48, 32)])
def test_images_are_cut_as_torchvision_cuts_what_imagenet_c_is_made_of(size):
    noise = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    resized = functional.resize(image, 256, functional.InterpolationMode.BILINEAR)
    theirs = functional.center_crop(resized, 224)
    ours = cut_square(image, 224, MARGINS["imagecorruptions"])
    assert ours.tobytes() == theirs.tobytes()


def test_small_images_of_the_own_library_are_shown_whole(scenes):
    cut = cut_square(scenes[0], 32, MARGINS["tiny-imagenet-c"])
    assert cut.tobytes() == scenes[0].resize((32, 32), Image.Resampling.BILINEAR).tobytes()
    assert cut_square(scenes[0], 48, MARGINS["tiny-imagenet-c"]).tobytes() == scenes[0].tobytes()


def test_the_library_decides_what_a_name_means(scenes):
    both = [CorruptionSettings(library, ("snow", "contrast"), (1, 2), 0) for library in LIBRARIES]
    assert both[0].kinds == [("snow", 1), ("snow", 2), ("contrast", 1), ("contrast", 2)]
    one, two = (corrupt_by(s, scenes[0], "gaussian-noise", 1, 5) for s in both)
    assert one.tobytes() != two.tobytes()
    assert (
        one.tobytes() == corrupt(scenes[0], "gaussian-noise", 1, np.random.default_rng(5)).tobytes()
    )
