"""Tables of scores: accuracy, comparisons, accuracy by class."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from capsynth.errors import CapsynthError
from capsynth.reporting.scores import Score, ScoreIndex, index_scores
from capsynth.reporting.settings import ReportSettings
from capsynth.reporting.tables import (
    MINUS,
    MISSING,
    PLUS_MINUS,
    Cell,
    Column,
    Table,
    csv_number,
    label,
    percent,
    points,
    with_best,
    write_table,
)

SIGNIFICANT = 0.05


def label_columns(index: ScoreIndex) -> tuple[Column, ...]:
    """Return the columns of dataset and recipe; the dataset only where there are several.

    ``labels`` gives their cells.
    """
    several = len({dataset for dataset, _ in index.experiments}) > 1
    dataset = (Column("Dataset", ("dataset",), numeric=False),) if several else ()
    return (*dataset, Column("Recipe", ("recipe",), numeric=False))


def labels(index: ScoreIndex, dataset: str, recipe: str) -> tuple[Cell, ...]:
    """Return the cells of dataset and recipe."""
    several = len({name for name, _ in index.experiments}) > 1
    return (*((label(dataset),) if several else ()), label(recipe))


def _group(settings: ReportSettings, eval_set: str) -> str:
    inside = eval_set == settings.in_distribution
    return "In distribution" if inside else "Out of distribution"


def spread(runs: Sequence[Score]) -> float | None:
    """Return the standard deviation (n - 1) of the runs' values; None for a single run."""
    return float(np.std([run.value for run in runs], ddof=1)) if len(runs) > 1 else None


def _accuracy_cell(runs: Sequence[Score]) -> Cell:
    if not runs:
        return Cell(MISSING, ("", ""), None)
    mean = float(np.mean([run.value for run in runs]))
    deviation = spread(runs)
    around = "" if deviation is None else f" {PLUS_MINUS} {percent(deviation)}"
    return Cell(f"{percent(mean)}{around}", (csv_number(mean), csv_number(deviation)), 100 * mean)


def _seeds_in_words(runs: Sequence[Sequence[Score]]) -> str:
    counts = sorted({len(found) for found in runs if found})
    if not counts:
        return "no run"
    number = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return f"{number} training seed{'' if counts == [1] else 's'}"


def main_table(index: ScoreIndex, settings: ReportSettings) -> Table:
    """Return top-1 accuracy: a row a training set and recipe, a column an evaluation set."""
    columns = (
        Column("Training set", ("training_set",), numeric=False),
        *label_columns(index),
        *(
            Column(name, (name, f"{name} sd"), _group(settings, name))
            for name in settings.eval_sets
        ),
    )
    rows: list[tuple[Cell, ...]] = []
    used: list[list[Score]] = []
    for dataset, recipe in index.experiments:
        found = [
            [
                index.runs.get((dataset, training_set, recipe, eval_set, "top1"), [])
                for eval_set in settings.eval_sets
            ]
            for training_set in settings.training_sets
        ]
        used += [runs for row in found for runs in row]
        by_column = [
            with_best([_accuracy_cell(row[column]) for row in found])
            for column in range(len(settings.eval_sets))
        ]
        rows += [
            (
                label(training_set),
                *labels(index, dataset, recipe),
                *(cells[position] for cells in by_column),
            )
            for position, training_set in enumerate(settings.training_sets)
            if any(found[position])
        ]
    several = " of a recipe" if len(index.experiments) > 1 else ""
    note = (
        f"Top-1 accuracy in percent: mean {PLUS_MINUS} standard deviation over "
        f"{_seeds_in_words(used)}. Bold: the highest mean of a column{several}. "
        f"In distribution: {settings.in_distribution}."
    )
    return Table("main", "Accuracy by training set", note, columns, tuple(rows))


def _p_text(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def comparison_table(index: ScoreIndex, settings: ReportSettings) -> Table:
    """Return the paired differences of the configured comparisons."""
    columns = (
        Column("Comparison", ("comparison",), numeric=False),
        *label_columns(index),
        Column("Evaluation set", ("eval_set",), numeric=False),
        Column("Difference", ("difference", "ci_low", "ci_high")),
        Column("p", ("p_value",)),
        Column("p (Holm)", ("p_holm",)),
    )
    rows = []
    for dataset, recipe in index.experiments:
        for first, second in settings.comparisons:
            for eval_set in settings.eval_sets:
                name = (dataset, f"{first} - {second}", recipe, eval_set)
                found = [index.summaries.get((*name, m)) for m in ("top1", "p_value", "p_holm")]
                top1, p_value, p_holm = found
                if top1 is None or p_value is None or p_holm is None:
                    continue
                rows.append(
                    (
                        Cell(f"{first} {MINUS} {second}", (name[1],), name[1]),
                        *labels(index, dataset, recipe),
                        label(eval_set),
                        _difference_cell(top1, p_holm.value),
                        Cell(_p_text(p_value.value), (repr(p_value.value),), p_value.value),
                        Cell(_p_text(p_holm.value), (repr(p_holm.value),), p_holm.value),
                    )
                )
    note = (
        "Paired difference in top-1 accuracy in percentage points with its 95 % interval, which "
        "holds the variance of images within class and that of training seeds. p: the t test that "
        "belongs to the interval; it asks whether the training sets differ on new images and with "
        "new seeds. Holm: corrected for all rows. Bold: the interval excludes 0 and "
        f"the corrected p is below {SIGNIFICANT}."
    )
    return Table("comparisons", "Paired comparisons of training sets", note, columns, tuple(rows))


def _difference_cell(top1: Score, p_holm: float) -> Cell:
    low, high = top1.ci_low, top1.ci_high
    if low is None or high is None:
        raise CapsynthError(f"{top1.training_set}: no interval; run collect_scores again")
    return Cell(
        f"{points(top1.value)} [{points(low)}, {points(high)}]",
        (csv_number(top1.value), csv_number(low), csv_number(high)),
        100 * top1.value,
        bold=p_holm < SIGNIFICANT and not low <= 0.0 <= high,
    )


def class_names_of(index: ScoreIndex, settings: ReportSettings) -> list[str]:
    """Return the classes that have an accuracy of their own in distribution, sorted."""
    return sorted(
        {
            name[4].removeprefix("top1/")
            for name in index.runs
            if name[3] == settings.in_distribution and name[4].startswith("top1/")
        }
    )


def class_table(index: ScoreIndex, settings: ReportSettings) -> Table:
    """Return top-1 accuracy per class: a row a class and evaluation set."""
    columns = (
        Column("Class", ("class_id",), numeric=False),
        *label_columns(index),
        Column("Evaluation set", ("eval_set",), numeric=False),
        Column("n", ("n",)),
        *(Column(name, (name, f"{name} sd")) for name in settings.training_sets),
    )
    rows = []
    used: list[list[Score]] = []
    for dataset, recipe in index.experiments:
        for eval_set in settings.eval_sets:
            for class_id in class_names_of(index, settings):
                found = [
                    index.runs.get((dataset, name, recipe, eval_set, f"top1/{class_id}"), [])
                    for name in settings.training_sets
                ]
                used += found
                if not any(found):
                    continue
                n = next(runs[0].n for runs in found if runs)
                rows.append(
                    (
                        label(class_id),
                        *labels(index, dataset, recipe),
                        label(eval_set),
                        Cell(str(n), (str(n),), float(n)),
                        *with_best([_accuracy_cell(runs) for runs in found]),
                    )
                )
    note = (
        f"Top-1 accuracy per class in percent: mean {PLUS_MINUS} standard deviation over "
        f"{_seeds_in_words(used)}, on the n samples of the class. Bold: the highest mean of a row."
    )
    return Table("per-class", "Accuracy by class", note, columns, tuple(rows))


def make_tables(
    scores: Sequence[Score], settings: ReportSettings, folder: Path, notes: Sequence[str] = ()
) -> None:
    """Write ``main``, ``comparisons`` and ``per-class`` into ``folder`` in every format.

    Args:
        scores: All scores.
        settings: What is shown.
        folder: Where to.
        notes: Sentences on the images behind the scores, which end the note of each table.

    Raises:
        CapsynthError: If none of the configured training sets has a score.
    """
    index = index_scores(scores)
    tables = [build(index, settings) for build in (main_table, comparison_table, class_table)]
    if not tables[0].rows:
        raise CapsynthError(
            "no score belongs to the training sets "
            f"{', '.join(settings.training_sets)}; run collect_scores for them"
        )
    for table in tables:
        write_table(replace(table, note=" ".join([table.note, *notes])), folder)
