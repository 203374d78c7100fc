"""Scores of probes: how well the features of classifiers tell things that they never saw."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from capsynth import intervals, proportions
from capsynth.probing import NEIGHBOURS, TEMPERATURE, C
from capsynth.reporting.chance import NOTE as CHANCE_NOTE
from capsynth.reporting.chance import chance_cell, faint, reaches
from capsynth.reporting.convergence import estimated_runs, share_of
from capsynth.reporting.estimation import sources_over
from capsynth.reporting.scores import (
    Answers,
    RunName,
    Score,
    design_of,
    in_order,
    index_scores,
    read_answers,
)
from capsynth.reporting.settings import ReportSettings
from capsynth.reporting.tables import (
    Cell,
    Column,
    Table,
    interval_cell,
    interval_names,
    label,
)

METRIC = "top1"
# The share of the largest class among the images that are answered.
CHANCE = "chance"
TITLES = {"linear": "Linear probe (%)", "knn": "Nearest neighbours (%)"}


def measure_probes(predictions: Sequence[Path]) -> list[Score]:
    """Return the accuracy of probes, of every run and of the mean over seeds.

    Rows have the name of the probe behind that of the evaluation set: ``openmoji-unknown/knn``.
    Intervals are as in scores.csv; the images that fit the probe are taken as they are.

    Args:
        predictions: What ``probe_classifier`` wrote, in any order.
    """
    rows = []
    for answers in read_answers(predictions).values():
        samples = answers.samples
        layout = proportions.layout_of(design_of(samples), np.arange(len(samples.keys)))
        chance = float(max(np.bincount(samples.targets)) / layout.n)
        for found in estimated_runs(answers.runs, partial(_accuracies, answers, layout)):
            value, bounds = share_of(found.estimate, layout.n)
            accuracy = Score(
                samples.dataset,
                *found.run,
                samples.eval_set,
                METRIC,
                value,
                *bounds,
                layout.n,
                len(found.runs),
                sources_over(len(found.runs), bounds[0]),
                layout.units,
            )
            rows.append(accuracy)
            of_nothing = sources_over(0, None)
            rows.append(
                replace(
                    accuracy, metric=CHANCE, value=chance, ci_low=None, ci_high=None,
                    sources=of_nothing,
                )
            )  # fmt: skip
    return in_order(rows)


def _accuracies(
    answers: Answers, layout: proportions.Layout, of: Sequence[RunName]
) -> intervals.Spread:
    """Return what runs that differ in their seed show of accuracy."""
    correct = np.stack([answers.runs[run].correct[layout.rows] for run in of])
    return proportions.spread_of_shares(layout, correct.astype(np.float64)[:, None])


def probe_table(rows: Sequence[Score], settings: ReportSettings) -> Table:
    """Return the accuracy of probes: a row a training set, recipe and evaluation set.

    Args:
        rows: From ``measure_probes``.
        settings: Names of training sets, in the order of rows.
    """
    index = index_scores(rows)
    sets = sorted({row.eval_set.rpartition("/")[0] for row in rows})
    columns = (
        Column("Training set", ("training_set",), numeric=False),
        Column("Recipe", ("recipe",), numeric=False),
        Column("Images", ("eval_set",), numeric=False),
        Column("Chance (%)", ("chance",)),
        *(Column(title, interval_names(probe)) for probe, title in TITLES.items()),
    )
    found: list[tuple[Cell, ...]] = []
    for dataset, recipe in index.experiments:
        for training_set in settings.training_sets:
            for eval_set in sets:
                names = [(dataset, training_set, recipe, f"{eval_set}/{p}") for p in TITLES]
                scores = [index.summaries.get((*name, METRIC)) for name in names]
                levels = [index.summaries.get((*name, CHANCE)) for name in names]
                if any(scores):
                    level = next(row.value for row in levels if row)
                    labels = (label(x) for x in (training_set, recipe, eval_set))
                    cells = [_cell(score, level) for score in scores]
                    found.append((*labels, chance_cell(level, 0), *cells))
    n = sorted({row.n for row in rows})
    seeds = max((row.seeds for row in rows), default=0)
    note = (
        "Features before the last layer of trained classifiers, frozen, on images of other "
        "classes; half of each class fits the probe, the other half is answered: "
        f"{n[0] if n else 0:,}{f' to {n[-1]:,}' if len(n) > 1 else ''} images. Top-1 "
        f"accuracy, means over {seeds} training seeds at most, with 95 % intervals (images within "
        "class, and seeds; the images that fit are taken as they are). Linear: logistic regression "
        f"on standardised features, C = {C:g}; nearest neighbours: {NEIGHBOURS}, cosine, weighted "
        f"with temperature {TEMPERATURE:g}. Neither was tuned. Chance: the largest class's share."
    )
    if any(cell.faint for row in found for cell in row[4:]):
        note = f"{note} {CHANCE_NOTE}"
    return Table("probes", "Probes of features", note, columns, tuple(found))


def _cell(row: Score | None, chance: float) -> Cell:
    if row is None:
        return interval_cell(None, None, None)
    cell = interval_cell(row.value, row.ci_low, row.ci_high)
    return faint(cell) if reaches(row.ci_low, row.ci_high, chance) else cell
