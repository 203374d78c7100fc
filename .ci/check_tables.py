"""Check that the tables of the default experiment are whole: check_tables.py CHECKOUT."""

import csv
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


if __name__ == "__main__":
    sys.exit("\n".join(problems(Path(sys.argv[1]))) or None)
