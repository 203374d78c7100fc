"""The check of the demo's tables: what it finds unfair."""

import csv
import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def checks(repository: Path) -> ModuleType:
    """The script, which is no part of the library."""
    spec = importlib.util.spec_from_file_location("checks", repository / ".ci/check_tables.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def scores(folder: Path, *values: tuple[float, float]) -> Path:
    """Write the accuracy of real images and its lower bound on some sets; return the file."""
    path = folder / "scores.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["training_set", "metric", "seed", "eval_set", "value", "ci_low"])
        for number, (value, low) in enumerate(values):
            writer.writerow(["real", "top1", "", f"set{number}", value, low])
            writer.writerow(["caption", "top1", "", f"set{number}", 0.1, 0.05])
            writer.writerow(["real", "top1", "0", f"set{number}", 0.1, 0.05])
    return path


def history(folder: Path, training_set: str, steps: int, images: int) -> None:
    path = folder / training_set / "tiny" / "seed0.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"steps": steps, "images": images}), encoding="utf-8")


@pytest.mark.parametrize(
    ("value", "low", "passes"),
    [(0.25, 0.11, True), (0.24, 0.2, False), (0.3, 0.1, False), (0.096, 0.07, False)],
)
def test_real_images_have_to_reach_two_and_a_half_times_chance_on_every_set(
    checks: ModuleType, tmp_path: Path, value: float, low: float, passes: bool
) -> None:
    path = scores(tmp_path, (0.9, 0.8), (value, low))
    found = checks.sets_at_chance(path, 2, 10)
    assert found == ([] if passes else [f"real reaches {value:.3f}, from {low:.3f}, on set1"])
    assert checks.sets_at_chance(path, 3, 10)[0].endswith("not 3")


def test_trainings_have_to_make_as_many_steps_and_variants_to_have_as_many_images(
    checks: ModuleType, tmp_path: Path
) -> None:
    for name in ("real", "class-name", "caption"):
        history(tmp_path, name, 300, 400)
    history(tmp_path, "real+caption", 300, 800)
    assert checks.unequal_trainings(tmp_path) == []
    history(tmp_path, "more", 600, 800)
    assert checks.unequal_trainings(tmp_path)[0].endswith("trainings of [300, 600] steps")
    other = tmp_path / "other"
    history(other, "real", 300, 400)
    history(other, "class-name", 300, 550)
    history(other, "caption", 300, 400)
    assert checks.unequal_trainings(other) == ["class-name has 550 images, real 400"]
