"""Predictions and scores of a small made-up experiment."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from capsynth.predictions import write_predictions
from capsynth.records import write_records
from capsynth.reporting.budgets import Budget
from collect_scores import main as collect_scores
from measure_robustness import main as measure_robustness

CLASS_IDS = ["bat", "car", "dog"]
COMPARISONS = [["caption", "class-name"]]
SETTINGS = {
    "in_distribution": "toy-val",
    "training_sets": ["real", "class-name", "caption"],
    "eval_sets": ["toy-val", "toy-r", "toy-c"],
    "comparisons": COMPARISONS,
}
SHIFTS = {"toy-val": 0.0, "toy-r": -0.8, "toy-c": -0.4}
# Each clearly above chance, a third, on the shifted sets too.
CONTROLS = {"real-80": 4.5, "real-65": 4.0, "real-half": 3.5, "real-35": 3.3, "real-quarter": 2.6}
SKILL = {"real": 3.0, "class-name": 0.3, "caption": 1.5}


def _keys(eval_set: str) -> list[tuple[str, int]]:
    images = [(f"{c}_{i:06d}", target) for target, c in enumerate(CLASS_IDS) for i in range(8)]
    if eval_set != "toy-c":
        return images
    levels = [f"{kind}-{severity}" for kind in ("jpeg", "contrast") for severity in (1, 5)]
    return [(f"{key}.{level}", target) for key, target in images for level in levels]


def _predict(
    folder: Path, rng: np.random.Generator, sets: dict[str, float], skills: dict[str, float]
) -> list[Path]:
    """Write predictions of 3 seeds of training sets by their skill, on sets by their shift."""
    paths = []
    for eval_set, shift in sets.items():
        samples = _keys(eval_set)
        targets = np.array([target for _, target in samples])
        for training_set, skill in skills.items():
            for seed in range(3):
                logits = rng.normal(size=(len(samples), len(CLASS_IDS)))
                logits[np.arange(len(samples)), targets] += skill + shift
                odds = np.exp(logits)
                path = folder / training_set / f"seed{seed}" / f"{eval_set}.parquet"
                write_predictions(
                    path,
                    keys=[key for key, _ in samples],
                    targets=targets,
                    probabilities=(odds / odds.sum(axis=1, keepdims=True)).astype(np.float32),
                    class_ids=CLASS_IDS,
                    dataset="toy",
                    training_set=training_set,
                    recipe="tiny",
                    seed=seed,
                    eval_set=eval_set,
                    fingerprint="f",
                )
                paths.append(path)
    return paths


@pytest.fixture(scope="session")
def prediction_files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Files of 3 training sets, 3 seeds and 3 evaluation sets, one of them of corruptions."""
    folder = tmp_path_factory.mktemp("predictions")
    return _predict(folder, np.random.default_rng(0), SHIFTS, SKILL)


@pytest.fixture(scope="session")
def calibration_files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Files of the same training sets and seeds on a calibration set."""
    folder = tmp_path_factory.mktemp("calibration")
    return _predict(folder, np.random.default_rng(1), {"toy-calibration": 0.0}, SKILL)


@pytest.fixture(scope="session")
def control_files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Files of training sets of fewer real images."""
    folder = tmp_path_factory.mktemp("controls")
    return _predict(folder, np.random.default_rng(2), SHIFTS, CONTROLS)


@pytest.fixture(scope="session")
def scores_csv(prediction_files: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scores of the predictions."""
    path = tmp_path_factory.mktemp("scores") / "scores.csv"
    files = [str(file) for file in prediction_files]
    pairs = json.dumps(COMPARISONS)
    collect_scores(
        ["--predictions", *files, "--comparisons", pairs, "--draws", "200", "--output", str(path)]
    )
    return path


@pytest.fixture(scope="session")
def budgets_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The budgets of the trainings: caption has twice the steps of class-name."""
    path = tmp_path_factory.mktemp("budgets") / "budgets.csv"
    rows = [
        Budget("toy", name, "tiny", seed, real, synthetic, steps, 16.0)
        for name, real, synthetic, steps in (
            ("real", 24, 0, 16),
            ("class-name", 0, 24, 16),
            ("caption", 0, 24, 32),
        )
        for seed in range(3)
    ]
    write_records(path, Budget, rows)
    return path


@dataclass(frozen=True)
class Measured:
    """What measure_robustness wrote of the predictions, and what it was told.

    Attributes:
        settings: JSON of its settings.
        scores: Its rows.
        lines: Its lines.
    """

    settings: str
    scores: Path
    lines: Path


@pytest.fixture(scope="session")
def measured(
    prediction_files: list[Path],
    control_files: list[Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Measured:
    """Robustness, with a line through six controls."""
    folder = tmp_path_factory.mktemp("robustness")
    controls = ["real", *CONTROLS]
    settings = {"in_distribution": "toy-val", "clean": {}, "published": {"toy-r": "imagenet-r"},
                "controls": controls, "mce_obstacles": {}}  # fmt: skip
    made = Measured(json.dumps(settings), folder / "robustness.csv", folder / "lines.csv")
    files = [str(file) for file in (*prediction_files, *control_files)]
    measure_robustness(
        ["--predictions", *files, "--settings", made.settings, "--draws", "200",
         "--output", str(made.scores), "--lines", str(made.lines)]
    )  # fmt: skip
    return made


@pytest.fixture(scope="session")
def settings_json() -> str:
    """The report's settings."""
    return json.dumps(SETTINGS)
