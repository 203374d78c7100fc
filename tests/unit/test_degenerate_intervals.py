"""Answers that do not vary: no table of measured numbers has an interval of zero width."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from capsynth.files import write_json_lines
from capsynth.groups import GroupSettings
from capsynth.predictions import UNKNOWN, write_predictions
from capsynth.prompting import PromptRecord
from capsynth.reporting import subgroup_tables
from capsynth.reporting.calibration_scores import measure_calibration
from capsynth.reporting.confusions import compare_confusions
from capsynth.reporting.estimation import collect_scores
from capsynth.reporting.group_scores import measure_groups
from capsynth.reporting.label_rows import measure_labels
from capsynth.reporting.label_tables import label_table
from capsynth.reporting.measured_tables import (
    calibration_table,
    corruption_table,
    robustness_table,
)
from capsynth.reporting.probes import measure_probes, probe_table
from capsynth.reporting.prompt_rows import measure_prompts
from capsynth.reporting.prompt_tables import PromptTableSettings, prompt_table
from capsynth.reporting.robustness_scores import RobustnessSettings, measure_robustness
from capsynth.reporting.score_tables import class_table, comparison_table, main_table
from capsynth.reporting.scores import index_scores
from capsynth.reporting.settings import ReportSettings
from capsynth.reporting.tables import Table
from capsynth.reporting.unknown_scores import measure_unknown
from capsynth.reporting.variance_scores import measure_variance, variance_table
from capsynth.shards import ShardRecord

CLASSES = ("bat", "car", "dog")
PAIRS = [("a", "b")]
SETTINGS = ReportSettings("val", ("a", "b"), ("val", "c"), (("a", "b"),))
ROBUSTNESS = RobustnessSettings("val", {}, {}, (), {"c": "made here"})
DRAWS = 40

Answer = Callable[[np.ndarray], np.ndarray]
ANSWERS: dict[str, Answer] = {
    "all right": lambda targets: targets,
    "all wrong": lambda targets: (targets + 1) % len(CLASSES),
    "one answer for all": np.zeros_like,
}


class Runs:
    """Predictions of runs whose answers are all of one kind."""

    def __init__(self, folder: Path, answer: Answer, seeds: int, each: int) -> None:
        self.folder, self.answer, self.seeds, self.each = folder, answer, seeds, each
        self.keys = [f"{c}_{i:06d}" for c in CLASSES for i in range(each)]

    def write(self, eval_set: str, training_sets: Sequence[str] = ("a", "b")) -> list[Path]:
        """Write what every run answers, confidence the same for all."""
        keys, targets = self.keys, np.repeat(np.arange(len(CLASSES)), self.each)
        if eval_set == "c":
            keys = [f"{key}.jpeg-{level}" for key in keys for level in (1, 5)]
            targets = np.repeat(targets, 2)
        odds = np.full((len(keys), len(CLASSES)), 0.05, dtype=np.float32)
        odds[np.arange(len(keys)), self.answer(targets)] = 0.9
        is_unknown = eval_set == "u"
        paths = []
        for training_set in training_sets:
            for seed in range(self.seeds):
                paths.append(
                    self.folder / f"{training_set}-{seed}-{eval_set}.parquet".replace("/", "-")
                )
                write_predictions(
                    paths[-1], keys=keys,
                    targets=np.full(len(keys), UNKNOWN) if is_unknown else targets,
                    probabilities=odds, class_ids=CLASSES, dataset="toy",
                    training_set=training_set, recipe="tiny", seed=seed, eval_set=eval_set,
                    fingerprint="f", log_sum_exp=np.ones(len(keys)),
                    unknown_class_ids=["thing"] * len(keys) if is_unknown else None,
                )  # fmt: skip
        return paths


def scores(runs: Runs) -> tuple[Iterable[Any], list[Table]]:
    rows = collect_scores([*runs.write("val"), *runs.write("c")], PAIRS, DRAWS)
    index = index_scores(rows)
    tables = [
        main_table(index, SETTINGS, {}),
        comparison_table(index, SETTINGS, {}),
        class_table(index, SETTINGS),
        subgroup_tables.worst_class_table(index, SETTINGS),
        subgroup_tables.precision_table(index, SETTINGS),
    ]
    return rows, tables


def calibration(runs: Runs) -> tuple[Iterable[Any], list[Table]]:
    rows, bins = measure_calibration([*runs.write("val"), *runs.write("c")], [], DRAWS)
    return [*rows, *bins], [calibration_table(rows, SETTINGS)]


def robustness(runs: Runs) -> tuple[Iterable[Any], list[Table]]:
    paths = [*runs.write("val"), *runs.write("c")]
    known = collect_scores(paths, [], DRAWS)
    rows, points = measure_robustness(paths, ROBUSTNESS, DRAWS)
    tables = [
        robustness_table(known, rows, points, SETTINGS, ROBUSTNESS),
        corruption_table(known, rows, SETTINGS, ROBUSTNESS),
    ]
    return rows, tables


def confusions(runs: Runs) -> tuple[Iterable[Any], list[Table]]:
    return compare_confusions(runs.write("val"), PAIRS), []


def variance(runs: Runs) -> tuple[Iterable[Any], list[Table]]:
    if runs.seeds == 1:
        return [], []
    rows = measure_variance(runs.write("val"), [["a", "b"]], DRAWS)
    return rows, [variance_table(rows)]


def unknown(runs: Runs) -> tuple[Iterable[Any], list[Table]]:
    rows = measure_unknown(runs.write("val"), runs.write("u"), PAIRS, DRAWS)
    return rows, [subgroup_tables.unknown_table(rows, SETTINGS, ["u"])]


def groups(runs: Runs) -> tuple[Iterable[Any], list[Table]]:
    lines = ["key,group,aligned"]
    lines += [f"{k},{'sea,yes' if i % 2 else 'land,no'}" for i, k in enumerate(runs.keys)]
    (runs.folder / "groups.csv").write_text("\n".join(lines) + "\n")
    records = [
        ShardRecord(
            key, key.split("_")[0], CLASSES.index(key.split("_")[0]), i, "ok", "f", "png", 0, 1
        )
        for i, key in enumerate(runs.keys)
    ]
    write_json_lines(runs.folder / "val.jsonl", map(asdict, records))
    settings = GroupSettings(str(runs.folder / "groups.csv"))
    sets = {"val": (runs.folder / "val.jsonl", settings)}
    rows = measure_groups(runs.write("val"), sets, 1, DRAWS)
    tables = [
        subgroup_tables.group_table(rows, SETTINGS, ["val"], 1),
        subgroup_tables.group_accuracy_table(rows, SETTINGS, ["val"]),
    ]
    return rows, tables


def probes(runs: Runs) -> tuple[Iterable[Any], list[Table]]:
    rows = measure_probes([*runs.write("u2/linear"), *runs.write("u2/knn")])
    return rows, [probe_table(rows, SETTINGS)]


def labels(runs: Runs) -> tuple[Iterable[Any], list[Table]]:
    rows = measure_labels(runs.write("caption", ["real"]), runs.write("val", ["real"]), DRAWS)
    settings = PromptTableSettings(("caption",), "real")
    return rows, [label_table(rows, settings, by_class) for by_class in (False, True)]


def prompts(runs: Runs) -> tuple[Iterable[Any], list[Table]]:
    records = [
        PromptRecord(key, key.split("_")[0], 0, 0, "a bat", 0, None, "ok", None, "f")
        for key in runs.keys
    ]
    write_json_lines(runs.folder / "prompts.jsonl", map(asdict, records))
    files = {"caption": [runs.folder / "prompts.jsonl"]}
    rows = measure_prompts(files, runs.write("caption", ["real"]), runs.write("val", ["real"]))
    settings = PromptTableSettings(("caption",), "real")
    return rows, [prompt_table(rows, settings, by_class) for by_class in (False, True)]


MADE = (
    scores, calibration, robustness, confusions, variance, unknown, groups, probes, labels, prompts
)  # fmt: skip


@pytest.mark.parametrize("made", MADE, ids=lambda made: made.__name__)
@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("each", [1, 4])
def test_no_interval_has_zero_width(
    tmp_path: Path,
    made: Callable[[Runs], tuple[Iterable[Any], list[Table]]],
    answer: str,
    seeds: int,
    each: int,
) -> None:
    rows, tables = made(Runs(tmp_path, ANSWERS[answer], seeds, each))
    flat = [
        row
        for row in rows
        if getattr(row, "ci_low", None) is not None and not row.ci_low < row.ci_high
    ]
    assert flat == []
    outside = [
        row
        for row in rows
        if getattr(row, "ci_low", None) is not None
        and not row.ci_low - 1e-9 <= getattr(row, "value", row.ci_low) <= row.ci_high + 1e-9
    ]
    assert outside == []
    for table in tables:
        for row in table.rows:
            for cell, column in zip(row, table.columns, strict=True):
                values = dict(zip(column.csv_names, cell.csv_values, strict=True))
                for name in column.csv_names:
                    low, high = values.get(f"{name}_low", ""), values.get(f"{name}_high", "")
                    assert not low or float(low) < float(high), (table.name, column.title, cell)
