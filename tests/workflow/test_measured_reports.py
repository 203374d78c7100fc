"""Ablations, calibration, robustness, curves, variances: a configuration that has them all."""

import copy
import json
from typing import Any

import pytest

pytestmark = pytest.mark.slow


def test_a_configuration_with_a_calibration_set_controls_and_replicates_reports_them_all(
    experiment: Any,
) -> None:
    config = copy.deepcopy(experiment.config)
    config["training_seeds"] = [0, 1]
    config["eval_sets"]["held-out"] = {
        "source": "openmoji",
        "split": "calibration",
        "images_per_class": 4,
    }
    config["eval_sets"]["of-curves"] = {
        "source": "openmoji",
        "split": "held-out",
        "images_per_class": 3,
    }
    config["learning_curves"] = {"eval_set": "of-curves", "points": 4, "train_images": 5}
    again = {**config["variants"]["class-name"], "seed": 1}
    config["variants"]["class-name-again"] = again
    config["training_sets"] |= {
        "real-half": {"real": 0.5},
        "real-quarter": {"real": 0.25},
        "class-name-half": {"variants": {"class-name": 0.5}},
        "class-name-quarter": {"variants": {"class-name": 0.25}},
        "class-name-again": {"variants": ["class-name-again"]},
    }
    config["report"] |= {
        "ablation_baseline": "class-name",
        "calibration_set": "held-out",
        "generation_replicates": [["class-name", "class-name-again"]],
    }
    experiment.write_config(config)
    experiment.run()
    assert experiment.owed() == set()

    report = experiment.folder / "results" / "report"
    tables = {path.stem for path in (report / "tables").glob("*.tex")}
    assert {"ablations", "calibration", "robustness", "corruptions", "variance"} <= tables
    assert "convergence" in tables
    ablations = (report / "tables/ablations.csv").read_text().splitlines()[1:]
    assert {tuple(line.split(",")[:4]) for line in ablations} == {
        ("baseline", "", "", "class-name"),
        ("images", "1", "0.5", "class-name-half"),
        ("images", "1", "0.25", "class-name-quarter"),
        ("seed", "0", "1", "class-name-again"),
    }
    figures = {path.stem for path in report.glob("*.png")}
    assert {
        "corruptions-openmoji-c",
        "learning-curves",
        "real-fraction",
        "reliability-openmoji-c",
        "reliability-openmoji-val",
        "robustness",
        "scaling",
    } <= figures
    assert "reliability-held-out" not in figures
    # What temperatures are fitted on is reported nowhere else.
    assert "held-out" not in (experiment.folder / "results" / "scores.csv").read_text()
    assert "held-out" not in (experiment.folder / "results" / "robustness.csv").read_text()
    # Images of learning curves are answered in trainings, and by no other job.
    results = experiment.folder / "results"
    assert "of-curves" not in (results / "scores.csv").read_text()
    assert not list(results.glob("openmoji/predictions/*/*/*/of-curves.parquet"))
    curves = (results / "learning-curves.csv").read_text().splitlines()[1:]
    steps = [
        json.loads(path.read_text())["steps"]
        for path in results.glob("openmoji/checkpoints/*/tiny/seed0.json")
    ]
    assert len(steps) == len(config["training_sets"])
    # Two seeds and their mean, each with as many points as there are steps, four at most.
    assert len(curves) == (2 + 1) * sum(min(4, of_run) for of_run in steps)
    assert {line.split(",")[4] for line in curves} == {"of-curves"}
    lines = (experiment.folder / "results" / "calibration.csv").read_text().splitlines()
    assert {line.split(",")[5] for line in lines if ",held-out," in line} == {"temperature"}


def test_without_them_the_report_says_what_is_missing_and_has_no_empty_figures(
    tiny_experiment: Any,
) -> None:
    report = tiny_experiment.folder / "results" / "report"
    assert "No calibration set is configured" in (report / "tables/calibration.md").read_text()
    convergence = (report / "tables/convergence.md").read_text()
    assert "No set of held-out images is configured" in convergence
    assert "No line is fitted" in (report / "tables/robustness.md").read_text()
    assert not any((report / f"{name}.png").exists() for name in ("real-fraction", "scaling"))
    assert not (report / "learning-curves.png").exists()
    for table in ("variance", "ablations"):
        assert not (report / f"tables/{table}.html").exists()
