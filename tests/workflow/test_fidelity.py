"""What the report has of fidelity, prompts, cost and guidance, and when."""

import copy
import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from planning import plan

CONFIG = Path(__file__).resolve().parents[1] / "configs" / "tiny.yaml"


def guided(*scales: float, **others: Any) -> dict[str, Any]:
    """The tiny experiment with a variant and a training set for each guidance scale."""
    config = yaml.safe_load(CONFIG.read_text())
    for number, scale in enumerate(scales):
        variant = {**config["variants"]["class-name"], "guidance_scale": scale}
        config["variants"][f"g{number}"] = variant | (others if number == 0 else {})
        config["training_sets"][f"g{number}"] = {"variants": [f"g{number}"]}
    return config


@pytest.mark.parametrize(
    ("config", "is_drawn"),
    [
        (guided(), False),
        (guided(1.0), False),
        # With the variant that takes the guidance of its generator there are three.
        (guided(1.0, 4.0), True),
        (guided(1.0, 4.0, seed=7), False),
        (guided(1.0, 2.0), False),
        (guided(1.0, 4.0) | {"feature_extractors": {}}, False),
    ],
)
def test_guidance_is_drawn_where_three_variants_differ_in_it_alone(
    checkout: Callable[[], Path], tmp_path: Path, config: dict[str, Any], is_drawn: bool
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    rules = {job.rule for job in plan(checkout(), path)}
    assert ("plot_guidance" in rules) == is_drawn
    assert "measure_prompts" in rules


def test_judges_are_trained_on_all_real_images_and_nothing_else(
    checkout: Callable[[], Path], tmp_path: Path
) -> None:
    config = yaml.safe_load(CONFIG.read_text())
    path = tmp_path / "config.yaml"
    folder = checkout()
    judged = [job for job in plan(folder, CONFIG) if job.rule == "judge_images"]
    assert len(judged) == 2 * len(config["training_seeds"])
    assert all("/checkpoints/real/" in " ".join(job.inputs) for job in judged)
    config["training_sets"]["real"] = {"real": 0.5}
    path.write_text(yaml.safe_dump(config))
    rules = {job.rule for job in plan(folder, path)}
    assert not rules & {"judge_images", "measure_label_quality", "make_label_tables"}
    assert "make_prompt_tables" in rules


def test_without_synthetic_images_there_is_nothing_to_compare(
    checkout: Callable[[], Path], tmp_path: Path
) -> None:
    config = yaml.safe_load(CONFIG.read_text())
    config["training_sets"] = {"real": {"real": 1.0}}
    config["report"]["comparisons"] = []
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    rules = {job.rule for job in plan(checkout(), path)}
    assert not rules & {"measure_prompts", "measure_fidelity", "judge_images", "extract_features"}
    assert "make_cost_tables" in rules


def rows(experiment: Any, name: str) -> list[dict[str, str]]:
    with (experiment.folder / "results" / name).open(newline="") as file:
        return list(csv.DictReader(file))


def test_synthetic_images_are_compared_with_the_evaluation_set_that_is_named(
    checkout: Callable[[], Path], tmp_path: Path
) -> None:
    config = yaml.safe_load(CONFIG.read_text())
    config["eval_sets"]["openmoji-v2"] = {
        "source": "openmoji", "split": "v2", "images_per_class": 4,
    }  # fmt: skip
    folder, path = checkout(), tmp_path / "config.yaml"
    for reference, compared in ((None, "openmoji-val"), ("openmoji-v2", "openmoji-v2")):
        config["report"]["fidelity"] = {"reference": reference}
        path.write_text(yaml.safe_dump(config))
        (job,) = (job for job in plan(folder, path) if job.rule == "measure_fidelity")
        read = {Path(file).stem for file in job.inputs if "features/tiny/eval_sets" in file}
        assert read == {compared}


@pytest.mark.slow
def test_the_finished_experiment_has_its_tables(tiny_experiment: Any) -> None:
    tables = tiny_experiment.folder / "results" / "report" / "tables"
    for name in ("fidelity", "prompts", "fidelity-per-class", "prompts-per-class"):
        assert {path.suffix for path in tables.glob(f"{name}.*")} == {
            ".csv",
            ".html",
            ".md",
            ".tex",
        }
    fidelity = rows(tiny_experiment, "fidelity.csv")
    assert {row["name"] for row in fidelity} == {
        "caption",
        "class-name",
        "openmoji",
        "openmoji-val",
    }
    assert {(row["kind"], row["name"]) for row in fidelity if row["kind"] != "variant"} == {
        ("real", "openmoji"),
        ("reference", "openmoji-val"),
    }
    assert {row["class_id"] for row in fidelity} == {"", "bat", "car"}
    note = (tables / "fidelity.md").read_text()
    assert "no variant was made from: openmoji-val" in note
    # The extractor is the model that captions.
    assert "encoder of the captioner tiny: circular" in note
    # Eight images are more than five neighbours, four of a class are not.
    precise = {row["class_id"]: row["value"] for row in fidelity if row["metric"] == "precision"}
    assert precise[""] != ""
    assert precise["bat"] == ""
    judged = [row for row in rows(tiny_experiment, "prompts.csv") if row["recipe"]]
    assert {(row["kind"], row["name"]) for row in judged} == {
        *(("variant", "class-name"), ("variant", "caption"), ("eval_set", "openmoji-val"))
    }
    costs = {(row["stage"], row["name"]): row for row in rows(tiny_experiment, "costs.csv")}
    assert costs["generate_images", "caption"]["images"] == "8"
    assert costs["generate_images", "caption"]["gpu_hours"] == "0.0"
    assert int(costs["pack_real", ""]["disk_bytes"]) > 1000
    assert tiny_experiment.owed() == set()


@pytest.mark.slow
def test_a_captioner_that_says_nothing_is_told_in_every_table(tiny_experiment: Any) -> None:
    tables = tiny_experiment.folder / "results" / "report" / "tables"
    for name in ("prompts", "prompts-per-class"):
        assert ("8 of 8" if name == "prompts" else "4 of 4") in (tables / f"{name}.md").read_text()
    for name in ("main", "comparisons", "per-class"):
        assert "variant caption, 8 (100.0%) fell back" in (tables / f"{name}.md").read_text()


@pytest.mark.slow
def test_labels_are_judged_in_the_finished_experiment(tiny_experiment: Any) -> None:
    found = rows(tiny_experiment, "label-quality.csv")
    assert {(row["kind"], row["name"]) for row in found} == {
        *(("variant", "class-name"), ("variant", "caption"), ("eval_set", "openmoji-val"))
    }
    assert {(row["n"], row["seeds"]) for row in found if not row["class_id"]} == {("8", "2")}
    # Two tables measure one thing.
    prompts = rows(tiny_experiment, "prompts.csv")
    shares = [
        {(r["name"], r["class_id"]): r["value"] for r in of if r["metric"] == "disagreement"}
        for of in (found, prompts)
    ]
    assert shares[0] == shares[1]


@pytest.mark.slow
def test_other_settings_of_the_comparison_measure_anew_and_nothing_else(experiment: Any) -> None:
    config = copy.deepcopy(experiment.config)
    config["report"]["fidelity"] = {"neighbours": 3}
    experiment.write_config(config)
    assert experiment.owed() == {"measure_fidelity", "make_fidelity_tables", "plot_fidelity"}
