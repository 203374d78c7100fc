"""Recipes: schedules, presets, mixed targets and the transforms that a recipe asks for."""

import math
import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from timm.scheduler import CosineLRScheduler
from torchvision.transforms import InterpolationMode, functional

from capsynth.configuration import complete_recipe
from capsynth.errors import CapsynthError
from capsynth.files import dump_json
from capsynth.mixing import mix, soft_targets
from capsynth.recipes import NORMALISATIONS, PRESETS, Recipe, learning_rate, total_steps
from capsynth.schema_messages import as_yaml_number
from capsynth.settings import settings_from_json
from capsynth.training_loop import StepBatches
from capsynth.transforms import (
    Preprocessing,
    evaluation_box,
    evaluation_transform,
    global_randomness,
    normalise,
    preprocessing_of,
    training_transform,
)

ROOT = Path(__file__).resolve().parents[2]


def recipe(**values: Any) -> Recipe:
    values = {"model": "test_resnet", **values} if "base" not in values else values
    return settings_from_json(Recipe, dump_json(complete_recipe(values)))


def photo(width: int, height: int) -> Image.Image:
    """Return a smooth picture, on which ways of resizing differ little."""
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(x / 9), np.cos(y / 7), np.sin((x + y) / 11)]
    return Image.fromarray((127 + 100 * np.stack(waves, axis=2)).astype(np.uint8))


# ---- schedules ----------------------------------------------------------------------------------


def test_the_multistep_schedule_is_torchs() -> None:
    plan = recipe(base="paper-subset", epochs=8, milestones=[2, 4, 6])
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    other = torch.optim.lr_scheduler.MultiStepLR(optimizer, [2, 4, 6], gamma=0.2)
    for epoch in range(8):
        for step in range(5 * epoch, 5 * epoch + 5):
            assert learning_rate(plan, step, 40) == pytest.approx(other.get_last_lr()[0])
        optimizer.step()
        other.step()


def test_the_cosine_schedule_is_timms_counted_in_steps() -> None:
    plan = recipe(
        base="vit-b16", epochs=10, warmup_epochs=2, learning_rate=0.1, min_learning_rate=1e-3
    )
    steps, warmup = 70, 14
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    other = CosineLRScheduler(
        optimizer,
        t_initial=steps - warmup,
        lr_min=1e-3,
        warmup_t=warmup,
        warmup_prefix=True,
        t_in_epochs=False,
    )
    for step in range(warmup, steps):
        other.step_update(step)
        assert learning_rate(plan, step, steps) == pytest.approx(optimizer.param_groups[0]["lr"])


@given(st.integers(1, 50), st.integers(0, 9), st.sampled_from(["cosine", "multistep", "constant"]))
def test_a_warm_up_rises_to_the_highest_rate_and_nothing_exceeds_it(
    steps_per_epoch: int, warmup: int, schedule: str
) -> None:
    milestones = {"milestones": [5]} if schedule == "multistep" else {}
    plan = recipe(epochs=10, warmup_epochs=warmup, schedule=schedule, **milestones)
    steps = total_steps(plan, steps_per_epoch)
    rates = [learning_rate(plan, step, steps) for step in range(steps)]
    rise = rates[: warmup * steps_per_epoch]
    assert rise == sorted(rise)
    assert max(rates) <= plan.learning_rate
    assert all(rate > 0 for rate in rates)
    assert rates[warmup * steps_per_epoch :] == sorted(rates[len(rise) :], reverse=True)


def test_with_matched_steps_milestones_and_warm_up_scale() -> None:
    plan = recipe(base="paper-subset", steps=1000, warmup_epochs=10)
    assert {total_steps(plan, n) for n in (1, 7, 900)} == {1000}
    rates = [learning_rate(plan, step, 1000) for step in range(1000)]
    falls = [i for i in range(51, 1000) if rates[i] < rates[i - 1]]
    assert falls == [250, 500, 750]  # epochs 50, 100 and 150 of 200
    assert rates[49] == 0.1
    assert rates[0] == pytest.approx(0.1 / 50)


# ---- presets ------------------------------------------------------------------------------------


def test_presets_hold_the_values_of_their_sources() -> None:
    paper, imagenet = recipe(base="paper-subset"), recipe(base="paper-imagenet1k")
    a3, vit = recipe(base="timm-a3"), recipe(base="vit-b16")
    assert (paper.epochs, paper.batch_size, paper.weight_decay) == (200, 128, 5e-4)
    assert paper.milestones == (50, 100, 150)
    assert [learning_rate(paper, step, 200) for step in (0, 49, 50, 100, 199)] == pytest.approx(
        [0.1, 0.1, 0.02, 0.004, 0.0008]
    )
    assert (paper.eval_resize, paper.crop_scale, paper.label_smoothing) == ("squash", (0.5, 1), 0)
    assert imagenet.learning_rate == 0.1 * imagenet.batch_size / 256
    assert (a3.image_size, a3.test_size, a3.eval_crop) == (160, 224, 0.95)
    assert (a3.optimizer, a3.learning_rate, a3.batch_size) == ("lamb", 8e-3, 2048)
    assert (a3.weight_decay, a3.bce_loss, a3.mixup, a3.cutmix) == (0.02, True, 0.1, 1.0)
    assert vit.learning_rate == 5e-4 * vit.batch_size / 512
    assert (vit.drop_path, vit.random_erasing, vit.mixup) == (0.1, 0.25, 0.8)


def as_yaml(value: Any) -> str | None:
    if isinstance(value, list):
        return f"[{', '.join(map(str, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return as_yaml_number(str(value)) if isinstance(value, float) else str(value)


def test_the_docs_tell_of_every_preset_what_the_code_does() -> None:
    text = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    for name, preset in PRESETS.items():
        part = text.split(f"### `{name}`")[1].split("\n### ")[0].split("\n## ")[0]
        said = " ".join(part.split())
        for fact in (preset.source, preset.known, preset.unknown):
            assert fact in said, (name, fact)
        assert (preset.score or "not known") in said
        for key, value in preset.values.items():
            assert f"`{key}: {as_yaml(value)}`" in said, (name, key)


# ---- order of the images ------------------------------------------------------------------------


@given(st.integers(1, 40), st.integers(1, 12), st.integers(1, 5), st.integers(0, 2**32))
def test_processes_together_show_every_image_of_an_epoch_once(
    images: int, batch_size: int, count: int, seed: int
) -> None:
    per_epoch = math.ceil(images / batch_size)
    steps = range(2 * per_epoch)
    alone = [*StepBatches(images, batch_size, seed, steps, 0, 1)]
    parts = [[*StepBatches(images, batch_size, seed, steps, r, count)] for r in range(count)]
    for step in steps:
        shown = sorted(place for part in parts for place in part[step])
        assert shown == sorted(alone[step])
        assert max(len(p[step]) for p in parts) - min(len(p[step]) for p in parts) <= 1
    seen = Counter(place for batch in alone for place in batch)
    assert seen == Counter((epoch, i) for epoch in range(2) for i in range(images))


def test_the_order_after_a_resumption_is_that_of_an_undisturbed_run() -> None:
    whole = [*StepBatches(10, 4, 3, range(9), 0, 1)]
    assert [*StepBatches(10, 4, 3, range(4, 9), 0, 1)] == whole[4:]


# ---- targets ------------------------------------------------------------------------------------


@given(
    st.integers(1, 7), st.floats(0, 0.9), st.floats(0, 2), st.floats(0, 2), st.integers(0, 2**32)
)
def test_mixed_targets_sum_to_one(
    n: int, smoothing: float, mixup: float, cutmix: float, seed: int
) -> None:
    targets = soft_targets(torch.arange(n) % 5, 5, smoothing)
    _, mixed = mix(torch.zeros(n, 3, 6, 8), targets, mixup, cutmix, np.random.default_rng(seed))
    assert mixed.shape == (n, 5)
    assert torch.allclose(mixed.sum(dim=1), torch.ones(n), atol=1e-5)
    assert (mixed >= 0).all()


@pytest.mark.parametrize(("mixup", "cutmix"), [(1.0, 0.0), (0.0, 1.0), (1.0, 1.0)])
def test_targets_are_mixed_as_the_pixels_are(mixup: float, cutmix: float) -> None:
    images = torch.stack([torch.zeros(3, 8, 8), torch.ones(3, 8, 8)])
    for seed in range(20):
        rng = np.random.default_rng(seed)
        pixels, targets = mix(images, torch.eye(2), mixup, cutmix, rng)
        assert torch.allclose(pixels.mean(dim=(1, 2, 3)), targets[:, 1], atol=1e-6)


def test_label_smoothing_is_torchs() -> None:
    logits, targets = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)), torch.arange(6)
    loss = torch.nn.functional.cross_entropy
    ours = loss(logits, soft_targets(targets % 4, 4, 0.1))
    assert torch.allclose(ours, loss(logits, targets % 4, label_smoothing=0.1))


# ---- transforms ---------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(90, 70), (60, 111)])
def test_squash_is_torchvisions_resize(size: tuple[int, int]) -> None:
    image = photo(*size)
    ours = evaluation_transform(preprocessing_of(recipe(base="paper-subset")))(image, None)
    theirs = functional.resize(image, [224, 224], InterpolationMode.BICUBIC)
    assert torch.equal(ours, functional.pil_to_tensor(theirs))


@pytest.mark.parametrize("size", [(180, 140), (121, 222)])
@pytest.mark.parametrize("crop", [0.875, 0.95, 1.0])
def test_center_is_torchvisions_resize_and_centre_crop(size: tuple[int, int], crop: float) -> None:
    image = photo(*size)
    plan = recipe(image_size=96, eval_crop=crop, interpolation="bicubic")
    ours = evaluation_transform(preprocessing_of(plan))(image, None).int()
    resized = functional.resize(image, math.floor(96 / crop), InterpolationMode.BICUBIC)
    theirs = functional.pil_to_tensor(functional.center_crop(resized, 96)).int()
    assert (ours - theirs).abs().max() <= 2
    assert (ours - theirs).abs().float().mean() < 0.2


@given(st.integers(1, 400), st.integers(1, 400), st.integers(16, 256), st.floats(0.1, 1))
def test_the_square_that_is_kept_lies_within_the_image(
    width: int, height: int, size: int, crop: float
) -> None:
    left, upper, right, lower = evaluation_box(width, height, size, crop)
    assert 0 <= left < right <= width
    assert 0 <= upper < lower <= height
    side = min(width, height)
    assert right - left == pytest.approx(lower - upper, rel=0.1, abs=1)
    assert lower - upper == pytest.approx(side * crop, rel=0.1, abs=1)


def test_a_square_image_is_kept_whole() -> None:
    assert evaluation_box(48, 48, 32, 1.0) == (0, 0, 48, 48)


def test_half_is_the_old_scale_to_the_last_bit() -> None:
    pixels = torch.arange(256, dtype=torch.uint8).repeat(3, 1).view(1, 3, 16, 16)
    expected = pixels.float().div_(255 * 0.5).sub_(1.0)
    assert torch.equal(normalise(pixels, *NORMALISATIONS["half"]), expected)


@pytest.mark.parametrize("name", NORMALISATIONS)
def test_normalising_is_torchvisions(name: str) -> None:
    pixels = torch.randint(0, 256, (2, 3, 5, 5), generator=torch.Generator().manual_seed(0))
    mean, std = NORMALISATIONS[name]
    theirs = functional.normalize(pixels.float() / 255, [*mean], [*std])
    assert torch.allclose(normalise(pixels.to(torch.uint8), mean, std), theirs, atol=1e-5)


AUGMENTATIONS: dict[str, dict[str, Any]] = {
    "colours": {"color_jitter": 0.4},
    "RandAugment": {"auto_augment": "rand-m9-mstd0.5-inc1"},
    "AutoAugment": {"auto_augment": "original"},
    "AugMix": {"auto_augment": "augmix-m3-w2"},
    "erasing": {"random_erasing": 1.0},
}


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_an_augmentation_depends_on_its_own_seed_alone(name: str) -> None:
    plain = training_transform(recipe(image_size=32))
    transform = training_transform(recipe(image_size=32, **AUGMENTATIONS[name]))
    image = photo(60, 50)
    random.seed(1)
    np.random.seed(1)
    first = [transform(image, random.Random(i)) for i in range(8)]
    random.seed(2)
    np.random.seed(2)
    state = random.getstate()
    again = [transform(image, random.Random(i)) for i in range(8)]
    assert random.getstate() == state
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert first[0].shape == (3, 32, 32)
    assert first[0].dtype == torch.uint8
    without = [plain(image, random.Random(i)) for i in range(8)]
    assert any(not torch.equal(a, b) for a, b in zip(first, without, strict=True))


def test_global_generators_are_put_back_after_an_error() -> None:
    state = random.getstate(), np.random.get_state()[1].tolist()
    with pytest.raises(ZeroDivisionError), global_randomness(random.Random(0)):
        raise ZeroDivisionError
    assert (random.getstate(), np.random.get_state()[1].tolist()) == state


def test_an_unknown_policy_is_named() -> None:
    with pytest.raises(CapsynthError, match="auto_augment 'autoaugmen' is not a policy"):
        training_transform(recipe(auto_augment="autoaugmen"))


def test_preprocessing_holds_numbers_not_names() -> None:
    values = preprocessing_of(recipe(base="timm-a3"))
    assert values == Preprocessing(
        224, "center", 0.95, "bicubic", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    )
