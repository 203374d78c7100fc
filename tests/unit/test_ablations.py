"""Training sets that differ in one setting, and the table of them."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml

from capsynth.configuration import complete
from capsynth.files import dump_json
from capsynth.records import write_records
from capsynth.reporting.ablations import (
    Ablation,
    AblationSettings,
    ablation_table,
    find_ablations,
)
from capsynth.reporting.budgets import Budget, index_budgets
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


def score(training_set: str, value: float, low: float, high: float, metric: str = "top1") -> Score:
    return Score("toy", training_set, "r", None, "val", metric, value, low, high, 50)


SETTINGS = AblationSettings(
    "caption",
    (
        Ablation("cold", "guidance_scale", "3", "1"),
        Ablation("twice", "images", "1", "2"),
        Ablation("gone", "seed", "0", "1"),
    ),
    ("val", "r"),
)
ROWS = [
    score("caption", 0.8, 0.7, 0.9),
    score("cold", 0.78, 0.6, 0.9),
    score("cold - caption", -0.02, -0.03, -0.01),
    score("twice - caption", 0.01, -0.01, 0.03),
    *(score("caption", 0.8, 0.7, 0.9, f"top1/{name}") for name in ("bat", "car")),
    *(Score("toy", "caption", "r", seed, "val", "top1", 0.8, 0.7, 0.9, 50) for seed in (0, 1)),
]
BUDGETS = index_budgets(
    Budget("toy", name, "r", 0, 0, images, steps, 16.0)
    for name, images, steps in (("caption", 400, 208), ("cold", 400, 400), ("twice", 800, 208))
)
DIFFERENCE = f"{MINUS}2.0 [{MINUS}3.0, {MINUS}1.0]"


def test_the_table_starts_with_the_baseline_and_shows_differences(tmp_path: Path) -> None:
    table = ablation_table(index_scores(ROWS), SETTINGS, BUDGETS)
    texts = [[cell.text for cell in row] for row in table.rows]
    assert texts == [
        ["baseline", "", "", "caption", "r", "400", "208", "images+steps", "80.0 [70.0, 90.0]",
         MISSING],
        ["guidance_scale", "3", "1", "cold", "r", "400", "400 / 208", "images",
         f"{DIFFERENCE} †", MISSING],
        # The number of images is what is asked, so that it has no mark.
        ["images", "1", "2", "twice", "r", "800 / 400", "208", "steps",
         f"+1.0 [{MINUS}1.0, +3.0]", MISSING],
    ]  # fmt: skip
    assert not any(cell.bold for row in table.rows for cell in row)
    assert "† the two sides differ in optimisation steps" in table.note
    assert "‡" not in table.note
    write_scores(tmp_path / "scores.csv", ROWS)
    write_records(tmp_path / "budgets.csv", Budget, [b for of in BUDGETS.values() for b in of])
    told = dump_json(asdict(SETTINGS))
    paths = ("--scores", tmp_path / "scores.csv", "--budgets", tmp_path / "budgets.csv",
             "--output-dir", tmp_path)  # fmt: skip
    make_ablation_table(["--settings", told, *map(str, paths)])
    for suffix in ("html", "md"):
        assert f"{DIFFERENCE} †" in (tmp_path / f"ablations.{suffix}").read_text()
    assert r"$^{\dagger}$" in (tmp_path / "ablations.tex").read_text()
    assert ",400,208,images," not in (tmp_path / "ablations.csv").read_text().splitlines()[1]
    assert ",400,208,images," in (tmp_path / "ablations.csv").read_text().splitlines()[2]


def test_a_difference_of_two_sides_at_chance_is_no_evidence() -> None:
    low = [score(name, 0.5, 0.45, 0.55) for name in ("caption", "cold")]
    rows = [row for row in ROWS if row.metric != "top1" or " - " in row.training_set]
    runs = [row for row in ROWS if row.seed is not None]
    table = ablation_table(index_scores([*rows, *runs, *low]), SETTINGS, {})
    cells = [row[8] for row in table.rows]
    assert [(cell.text, cell.faint) for cell in cells] == [
        ("50.0 [45.0, 55.0]°", True),
        (f"{DIFFERENCE}°", True),
        (f"+1.0 [{MINUS}1.0, +3.0]", False),
    ]
    assert "not clearly above chance" in table.note


def test_with_one_seed_the_note_says_that_intervals_hold_images_only() -> None:
    rows = [row for row in ROWS if row.seed != 1]
    table = ablation_table(index_scores(rows), SETTINGS, BUDGETS)
    assert "images only (one training seed)" in table.note
