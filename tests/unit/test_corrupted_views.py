"""What a classifier sees of an image that is stored corrupted."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats

import evaluate_classifier
import pack_eval_set
from capsynth.classifiers import ClassifierCard, build_classifier, save_classifier
from capsynth.configuration import complete_recipe
from capsynth.datasets.images import ShardedImages
from capsynth.files import dump_json
from capsynth.predictions import read_predictions
from capsynth.recipes import PRESETS, Recipe
from capsynth.settings import settings_from_json
from capsynth.shards import ShardReader, read_manifest, usable
from capsynth.transforms import evaluation_transform, preprocessing_of, view_of_corrupted

IMAGENET_PRESETS = sorted(name for name in PRESETS if name != "cpu-tiny")


def recipe(**values: object) -> Recipe:
    return settings_from_json(Recipe, dump_json(complete_recipe(values)))


def pack(folder: Path, side: int | None = None, **flags: object) -> tuple[Path, Path]:
    given = {
        "folder": folder / "source",
        "class-ids": ["a", "b"],
        "format": dump_json({"side": side, "extension": "jpg"}),
        "source-token": "t",
        "tar": folder / "e.tar",
        "manifest": folder / "e.jsonl",
        "index": folder / "e.json",
        **flags,
    }
    words: list[str] = []
    for name, value in given.items():
        words += [f"--{name}", *(map(str, value) if isinstance(value, list) else [str(value)])]
    pack_eval_set.main(words)
    return folder / "e.tar", folder / "e.jsonl"


def grey_photos(folder: Path, size: tuple[int, int]) -> None:
    for class_id in ("a", "b"):
        (folder / "source" / class_id).mkdir(parents=True)
        Image.new("RGB", size, (128, 128, 128)).save(folder / "source" / class_id / "1.png")


def seen(shard: tuple[Path, Path], plan: Recipe, corrupted: bool) -> list[torch.Tensor]:
    view = preprocessing_of(plan)
    view = view_of_corrupted(view) if corrupted else view
    images = ShardedImages([(*shard, 1.0)], evaluation_transform(view))
    return [images[i][0] for i in range(len(images))]


def stored(shard: tuple[Path, Path]) -> list[torch.Tensor]:
    with ShardReader(shard[0]) as reader:
        images = [reader.read_image(record) for record in usable(read_manifest(shard[1]))]
    return [torch.from_numpy(np.array(image)).permute(2, 0, 1) for image in images]


def censored_deviation(scale: float, mean: float = 128 / 255) -> float:
    """Return the deviation of normal noise about ``mean`` that is cut off at 0 and 1."""
    low, high = -mean / scale, (1 - mean) / scale
    p_low, p_high = stats.norm.cdf(low), stats.norm.sf(high)
    inside = stats.truncnorm(low, high)
    share = 1 - p_low - p_high
    first = p_low * low + p_high * high + share * inside.mean()
    second = p_low * low**2 + p_high * high**2 + share * (inside.var() + inside.mean() ** 2)
    return float(scale * np.sqrt(second - first**2))


@pytest.mark.parametrize("preset", IMAGENET_PRESETS)
def test_noise_of_severity_3_reaches_the_classifier_as_it_was_made(
    preset: str, tmp_path: Path
) -> None:
    grey_photos(tmp_path, (500, 375))
    shard = pack(
        tmp_path,
        corruptions=["gaussian-noise"],
        severities=[3],
        **{"corruption-library": "imagecorruptions", "corruption-side": 224},
    )
    plan = recipe(base=preset)
    assert plan.test_size == 224
    expected = censored_deviation(0.18)
    assert expected == pytest.approx(0.179, abs=5e-4)
    for image in seen(shard, plan, corrupted=True):
        assert image.double().div(255).std().item() == pytest.approx(expected, rel=0.01)
    if plan.eval_resize == "center":
        # Cut once more, it would be resampled, and weaker.
        cut = seen(shard, plan, corrupted=False)[0].double().div(255).std().item()
        assert cut < 0.96 * expected


@pytest.mark.parametrize("preset", IMAGENET_PRESETS)
@pytest.mark.parametrize("image_side", [None, 160])
def test_the_published_pixels_are_what_a_classifier_of_224_pixels_sees(
    preset: str, image_side: int | None, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    published = []
    for class_id in ("a", "b"):
        folder = tmp_path / "source" / "fog" / "3" / class_id
        folder.mkdir(parents=True)
        noise = rng.integers(0, 256, (224, 224, 3), dtype=np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(noise).save(buffer, "JPEG", quality=85)
        (folder / "1.JPEG").write_bytes(buffer.getvalue())
        published.append(torch.from_numpy(np.array(Image.open(buffer))).permute(2, 0, 1))
    # A data set whose images are reduced when they are packed reduces none of these.
    shard = pack(
        tmp_path, image_side, layout="corruption-folders", corruptions=["fog"], severities=[3]
    )
    for image, original in zip(seen(shard, recipe(base=preset), True), published, strict=True):
        assert torch.equal(image, original)


@pytest.mark.parametrize("size", [32, 64, 176, 288])
@pytest.mark.parametrize("resize", ["center", "squash"])
def test_other_sizes_see_the_whole_image_resized_once(
    size: int, resize: str, tmp_path: Path
) -> None:
    grey_photos(tmp_path, (300, 260))
    shard = pack(
        tmp_path,
        corruptions=["snow"],
        severities=[5],
        **{"corruption-library": "imagecorruptions", "corruption-side": 224},
    )
    crop = {"eval_crop": 0.875} if resize == "center" else {}
    plan = recipe(model="test_resnet", image_size=size, eval_resize=resize, **crop)
    with ShardReader(shard[0]) as reader:
        images = [reader.read_image(record) for record in usable(read_manifest(shard[1]))]
    for image, whole in zip(seen(shard, plan, True), images, strict=True):
        expected = np.array(whole.resize((size, size), Image.Resampling.BILINEAR))
        assert (image.permute(1, 2, 0).numpy() == expected).all()


def test_an_image_is_corrupted_at_the_size_that_its_classifier_sees(tmp_path: Path) -> None:
    grey_photos(tmp_path, (48, 48))
    shard = pack(
        tmp_path,
        corruptions=["gaussian-noise"],
        severities=[3],
        **{"corruption-library": "tiny-imagenet-c", "corruption-side": 32},
    )
    for image in seen(shard, recipe(base="cpu-tiny"), True):
        assert image.shape == (3, 32, 32)
        # 3,072 values: four standard errors are 0.006.
        assert image.double().div(255).std().item() == pytest.approx(0.12, abs=0.007)
    for image, original in zip(
        seen(shard, recipe(base="cpu-tiny"), True), stored(shard), strict=True
    ):
        assert torch.equal(image, original)


def test_the_command_line_shows_corrupted_images_uncut(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for class_id in ("a", "b"):
        (tmp_path / "source" / class_id).mkdir(parents=True)
        for number in range(4):
            noise = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
            Image.fromarray(noise).save(tmp_path / "source" / class_id / f"{number}.png")
    shard = pack(
        tmp_path,
        corruptions=["contrast"],
        severities=[1],
        **{"corruption-library": "tiny-imagenet-c", "corruption-side": 64},
    )
    torch.manual_seed(0)
    model = build_classifier("test_resnet", 2, 64)
    answers = {}
    for name, crop, flags in (
        ("cut", 0.5, []),
        ("corrupted", 0.5, ["--corrupted"]),
        ("whole", 1.0, []),
    ):
        plan = recipe(model="test_resnet", image_size=64, eval_crop=crop)
        card = ClassifierCard("test_resnet", 64, preprocessing_of(plan), ("a", "b"), "f")
        save_classifier(tmp_path / f"{name}.safetensors", model, card)
        run = {"dataset": "d", "training_set": "t", "recipe": "r", "seed": 0, "eval_set": "e"}
        evaluate_classifier.main(
            ["--name", json.dumps(run), "--checkpoint", str(tmp_path / f"{name}.safetensors"),
             "--tar", str(shard[0]), "--manifest", str(shard[1]), "--threads", "1",
             "--output", str(tmp_path / f"{name}.parquet"), *flags]
        )  # fmt: skip
        answers[name] = read_predictions(tmp_path / f"{name}.parquet").probabilities
    assert np.array_equal(answers["corrupted"], answers["whole"])
    assert not np.array_equal(answers["corrupted"], answers["cut"])
