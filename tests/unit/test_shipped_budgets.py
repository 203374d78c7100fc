"""The configurations that are shipped hold equal what they say they hold equal."""

from pathlib import Path
from typing import Any

import pytest
import yaml

PAPER = ["imagenette", "imagenet100", "imagenet1k", "imagenet1k-fast"]
# Real images of fast.ai's Imagenette, whose training set has ten classes, and the paper's batches.
IMAGENETTE, BATCH, EPOCHS = 9469, 128, 200


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text())
    return found


def test_the_embedded_experiments_compare_at_equal_steps(repository: Path) -> None:
    recipes = read(repository / "config.yaml")["recipes"]
    for recipe in recipes.values():
        assert isinstance(recipe["steps"], int)
    for name in ("full", "findings", "findings-again"):  # put over it
        for recipe, keys in read(repository / f"config/{name}.yaml").get("recipes", {}).items():
            assert recipe in recipes
            assert keys.get("steps", 1) is not None


@pytest.mark.parametrize("name", PAPER)
def test_class_names_have_as_many_images_as_captions(name: str, repository: Path) -> None:
    variants = read(repository / f"config/{name}.yaml")["variants"]
    # Without a number a variant has as many images of a class as there are real ones, with captions
    # or without.
    for variant in variants.values():
        assert variant.keys().isdisjoint({"images_per_class", "images_per_caption"})


@pytest.mark.parametrize("name", PAPER)
def test_the_papers_prompts_and_captions_are_the_released_ones(name: str, repository: Path) -> None:
    config = read(repository / f"config/{name}.yaml")
    assert {variant["strategy"] for variant in config["variants"].values()} == {
        "class-name-paper",
        "caption-paper",
    }
    assert {captioner["on_repeated"] for captioner in config["captioners"].values()} == {"keep"}


def test_scales_have_equal_images_and_steps(repository: Path) -> None:
    config = read(repository / "config/ablations/scale.yaml")
    for name, caption in config["variants"].items():
        if name.startswith("caption"):
            class_name = config["variants"][name.replace("caption", "class-name")]
            drawn = caption["images_per_caption"] * IMAGENETTE
            assert 10 * class_name["images_per_class"] == pytest.approx(drawn, rel=0.01)
    steps = EPOCHS * -(-IMAGENETTE // BATCH)
    assert config["recipes"]["paper-subset"]["steps"] == pytest.approx(steps, rel=0.01)


@pytest.mark.parametrize("name", ["captioner", "guidance", "prompt-strategies", "sampler"])
def test_ablations_change_no_number_of_images(name: str, repository: Path) -> None:
    config = read(repository / f"config/ablations/{name}.yaml")
    captions = {
        captioner: entry.get("num_captions", 1)
        for entries in (config.get("captioners", {}), config.get("rewriters", {}))
        for captioner, entry in entries.items()
    }
    for variant in config["variants"].values():
        assert "images_per_class" not in variant
        number = captions.get(variant.get("captioner"), 1)
        assert variant.get("images_per_caption", 1) * number == 1
