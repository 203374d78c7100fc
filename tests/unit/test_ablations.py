"""Training sets that differ in one setting, and the table of them."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml

from capsynth.configuration import complete
from capsynth.files import dump_json
from capsynth.reporting.ablations import (
    Ablation,
    AblationSettings,
    ablation_table,
    find_ablations,
)
from capsynth.reporting.scores import Score, index_scores, write_scores
from capsynth.reporting.tables import MINUS, MISSING
from make_ablation_table import main as make_ablation_table

CAPTION = {"strategy": "caption", "captioner": "embedded", "generator": "embedded"}
CLASS_NAME = {"strategy": "class-name", "generator": "embedded"}


@pytest.fixture
def config(repository: Path) -> dict[str, Any]:
    made: dict[str, Any] = yaml.safe_load((repository / "config.yaml").read_text())
    made["captioners"]["four"] = {**made["captioners"]["embedded"], "num_captions": 4}
    made["captioners"]["four"]["temperature"] = 1.0
    made["generators"]["other"] = {**made["generators"]["embedded"], "guidance_scale": 7.0}
    return made


def find(config: dict[str, Any], variant: dict[str, Any], **mix: Any) -> list[Ablation]:
    """Return what a training set of one more variant is an ablation of ``caption`` in."""
    config["variants"]["new"] = variant
    config["training_sets"] |= {"new": {"variants": ["new"], **mix}}
    found = find_ablations(complete(config), "caption")
    return [ablation for ablation in found if ablation.training_set == "new"]


@pytest.mark.parametrize(
    ("variant", "setting"),
    [
        (CAPTION | {"guidance_scale": 5}, ("guidance_scale", "3", "5")),
        (CAPTION | {"seed": 1}, ("seed", "0", "1")),
        (CAPTION | {"images_per_caption": 2}, ("images", "1", "2")),
        (CAPTION | {"generator": "other"}, ("generator", "embedded", "other")),
        # Four captions, a quarter of an image each: as many images as before.
        (
            CAPTION | {"captioner": "four", "images_per_caption": 0.25},
            ("captioner", "embedded", "four"),
        ),
        (CAPTION | {"negative_prompt": "blurry"}, ("negative_prompt", "none", "blurry")),
        (CLASS_NAME | {"images_per_class": 40}, ("strategy", "caption", "class-name")),
        # As many as there are real images.
        (CLASS_NAME, ("strategy", "caption", "class-name")),
    ],
)
def test_one_setting_is_an_ablation(
    config: dict[str, Any], variant: dict[str, Any], setting: tuple[str, str, str]
) -> None:
    assert find(config, variant) == [Ablation("new", *setting)]


@pytest.mark.parametrize(
    "variant",
    [
        CAPTION,
        CAPTION | {"seed": 1, "guidance_scale": 5},
        CAPTION | {"captioner": "four"},
        CAPTION | {"generator": "other", "guidance_scale": 2},
        CLASS_NAME | {"images_per_class": 160},
    ],
)
def test_none_or_two_settings_are_no_ablation(
    config: dict[str, Any], variant: dict[str, Any]
) -> None:
    assert find(config, variant) == []


def test_shares_of_real_and_synthetic_images_are_settings(config: dict[str, Any]) -> None:
    assert find(config, CAPTION, real=0.5) == [Ablation("new", "real", "0", "0.5")]
    half = find(config, CAPTION, variants={"new": 0.5})
    assert half == [Ablation("new", "images", "1", "0.5")]
    both = {"new": 1.0, "caption": 1.0}
    assert find(config, CAPTION | {"seed": 1}, variants=both) == []
    real = find_ablations(complete(config), "real")
    assert real == []  # no other training set is without synthetic images


def test_unknown_numbers_of_real_images_leave_the_strategy_the_only_setting(
    config: dict[str, Any],
) -> None:
    filled = complete(config)
    filled["dataset"]["images_per_class"] = None
    found = {one.training_set: one.setting for one in find_ablations(filled, "caption")}
    assert found["class-name"] == "strategy"


def score(training_set: str, value: float, low: float, high: float) -> Score:
    return Score("toy", training_set, "r", None, "val", "top1", value, low, high, 50)


def test_the_table_starts_with_the_baseline_and_shows_differences(tmp_path: Path) -> None:
    settings = AblationSettings(
        "caption",
        (Ablation("cold", "guidance_scale", "3", "1"), Ablation("gone", "seed", "0", "1")),
        ("val", "r"),
    )
    rows = [score("caption", 0.8, 0.7, 0.9), score("cold - caption", -0.02, -0.03, -0.01)]
    runs = [Score("toy", "caption", "r", 0, "val", "top1", 0.8, 0.7, 0.9, 50)]
    table = ablation_table(index_scores([*rows, *runs]), settings)
    difference = f"{MINUS}2.0 [{MINUS}3.0, {MINUS}1.0]"
    texts = [[cell.text for cell in row] for row in table.rows]
    assert texts == [
        ["baseline", "", "", "caption", "r", "80.0 [70.0, 90.0]", MISSING],
        ["guidance_scale", "3", "1", "cold", "r", difference, MISSING],
    ]
    assert [row[5].bold for row in table.rows] == [False, True]
    write_scores(tmp_path / "scores.csv", [*rows, *runs])
    told = dump_json(asdict(settings))
    paths = ("--scores", tmp_path / "scores.csv", "--output-dir", tmp_path)
    make_ablation_table(["--settings", told, *map(str, paths)])
    assert difference in (tmp_path / "ablations.html").read_text()
