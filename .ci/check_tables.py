"""Check that the tables of the default experiment are whole and fair: check_tables.py CHECKOUT."""

import csv
import json
import sys
from pathlib import Path

import yaml

TABLES = (
    *("main", "comparisons", "per-class", "ablations", "confusions", "robustness", "corruptions"),
    *("calibration", "privacy", "leakage", "fidelity", "fidelity-per-class"),
    *("prompts", "prompts-per-class", "cost", "cost-of-accuracy"),
)
# What the table in another format cannot be without.
MARKS = {"html": "<table", "md": "|", "tex": "\\toprule"}


def problems(root: Path) -> list[str]:
    """Return what is missing."""
    folder = root / "results/report/tables"
    found = []
    for name in TABLES:
        path = folder / f"{name}.csv"
        if not path.exists() or len(path.read_text(encoding="utf-8").splitlines()) < 2:
            found.append(f"{path}: is missing or has no row")
        for suffix, mark in MARKS.items():
            path = folder / f"{name}.{suffix}"
            if not path.exists() or mark not in path.read_text(encoding="utf-8"):
                found.append(f"{path}: is missing or has no {mark}")
    if not found:
        config = yaml.safe_load((root / "config.yaml").read_text(encoding="utf-8"))
        with (folder / "main.csv").open(encoding="utf-8", newline="") as file:
            rows = {row["training_set"] for row in csv.DictReader(file)}
        found += [
            f"main.csv has no row for {name}"
            for name in config["training_sets"]
            if name not in rows
        ]
    return found


def sets_at_chance(scores: Path, eval_sets: int, classes: int) -> list[str]:
    """Return the evaluation sets that say little: on which real images teach too little.

    Training on the real images has to reach 2.5 times chance, and its interval has to lie above
    chance, or what synthetic images reach there is no evidence.
    """
    with scores.open(encoding="utf-8", newline="") as file:
        rows = [
            row
            for row in csv.DictReader(file)
            if (row["training_set"], row["metric"], row["seed"]) == ("real", "top1", "")
        ]
    chance = 1 / classes
    found = []
    if len(rows) != eval_sets:
        found.append(f"{scores}: {len(rows)} sets have an accuracy of real images, not {eval_sets}")
    for row in rows:
        value, low = float(row["value"]), float(row["ci_low"] or 0)
        if value < 2.5 * chance or low <= chance:
            found.append(f"real reaches {value:.3f}, from {low:.3f}, on {row['eval_set']}")
    return found


def unequal_trainings(checkpoints: Path) -> list[str]:
    """Return how trainings differ in steps, and synthetic sets from the real one in images."""
    told = {
        path.relative_to(checkpoints): json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(checkpoints.glob("*/*/seed*.json"))
    }
    steps = {path: about["steps"] for path, about in told.items()}
    found = [f"{checkpoints}: trainings of {sorted(set(steps.values()))} steps"]
    found *= len(set(steps.values())) != 1
    images = {path.parts[0]: about["images"] for path, about in told.items()}
    for name in ("class-name", "caption"):
        if images.get(name) != images.get("real"):
            found.append(f"{name} has {images.get(name)} images, real {images.get('real')}")
    return found


def every_problem(root: Path) -> list[str]:
    """Return what is missing, and what is no fair comparison."""
    found = problems(root)
    if found:
        return found
    config = yaml.safe_load((root / "config.yaml").read_text(encoding="utf-8"))
    name = config["dataset"]["name"]
    unreported = {config["report"]["calibration_set"], config["learning_curves"]["eval_set"]}
    eval_sets = len(config["eval_sets"].keys() - unreported)
    classes = len(config["dataset"]["classes"])
    found += sets_at_chance(root / "results/scores.csv", eval_sets, classes)
    return found + unequal_trainings(root / f"results/{name}/checkpoints")


if __name__ == "__main__":
    sys.exit("\n".join(every_problem(Path(sys.argv[1]))) or None)
