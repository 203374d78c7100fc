"""Tables of scores: accuracy, comparisons, accuracy by class."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from capsynth.errors import CapsynthError
from capsynth.reporting.budgets import (
    UNEQUAL_STEPS,
    Budgets,
    Sides,
    budget_cells,
    budget_columns,
    marked,
    marks_note,
    shared_seeds,
    sides_cells,
    sides_columns,
    sides_of,
)
from capsynth.reporting.chance import NOTE as CHANCE_NOTE
from capsynth.reporting.chance import NOTE_DIFFERENCE as CHANCE_NOTE_OF_DIFFERENCES
from capsynth.reporting.chance import (
    ChanceLevels,
    both_at_chance,
    chance_cell,
    chance_levels,
    faint,
    score_over_seeds,
)
from capsynth.reporting.row_labels import class_names_of, label_columns, labels
from capsynth.reporting.scores import Score, ScoreIndex, index_scores
from capsynth.reporting.settings import ReportSettings
from capsynth.reporting.tables import (
    MINUS,
    MISSING,
    PLUS_MINUS,
    Cell,
    Column,
    Table,
    count,
    csv_number,
    interval_cell,
    interval_names,
    label,
    percent,
    write_table,
)

SIGNIFICANT = 0.05
TRAINED_ON = "Trained on"
# The row of chance was trained on nothing.
NO_BUDGET = (Cell("", ("", ""), None), *[Cell("", ("",), None)] * 2)


def _group(settings: ReportSettings, eval_set: str) -> str:
    inside = eval_set == settings.in_distribution
    return "In distribution" if inside else "Out of distribution"


def spread(runs: Sequence[Score]) -> float | None:
    """Return the standard deviation (n - 1) of the runs' values; None for a single run."""
    return float(np.std([run.value for run in runs], ddof=1)) if len(runs) > 1 else None


@dataclass(frozen=True)
class _Accuracy:
    """An accuracy as a table shows it.

    Attributes:
        cell: Its cell.
        score: The mean over seeds with its interval; None where there is none.
        seeds: Training seeds behind it.
    """

    cell: Cell
    score: Score | None
    seeds: int


def _accuracy(
    index: ScoreIndex, levels: ChanceLevels, name: tuple[str, str, str, str, str]
) -> _Accuracy:
    runs, score = index.runs.get(name, []), score_over_seeds(index, name)
    if not runs:
        return _Accuracy(Cell(MISSING, ("", "", "", ""), None), None, 0)
    mean = float(np.mean([run.value for run in runs]))
    low, high = (None, None) if score is None else (score.ci_low, score.ci_high)
    around = ""
    if low is not None and high is not None:
        around = f" {PLUS_MINUS} {percent(max(high - mean, mean - low))}"
    values = (csv_number(mean), csv_number(low), csv_number(high), csv_number(spread(runs)))
    cell = Cell(f"{percent(mean)}{around}", values, 100 * mean)
    return _Accuracy(faint(cell) if levels.reached_by(score) else cell, score, len(runs))


def _accuracy_names(name: str) -> tuple[str, ...]:
    """Return the names in the CSV of the column of an accuracy."""
    return (*interval_names(name), f"{name}_sd")


def with_supported_best(found: Sequence[_Accuracy]) -> list[Cell]:
    """Return the cells, in bold the highest and all that the data do not tell from it.

    These are the cells above chance whose interval overlaps that of the highest. None is bold
    where these are all there are, or where one has a single training seed.
    """
    cells = [one.cell for one in found]
    known = [one for one in found if one.score is not None]
    above = [one.score for one in known if one.score is not None and not one.cell.faint]
    if len(known) < 2 or not above or any(one.seeds < 2 for one in known):
        return cells
    best = max(above, key=lambda score: score.value)

    def is_tied(score: Score | None) -> bool:
        if score is None or score.ci_high is None or best.ci_low is None:
            return False
        return score.ci_high >= best.ci_low

    if all(is_tied(one.score) for one in known):
        return cells
    return [replace(one.cell, bold=not one.cell.faint and is_tied(one.score)) for one in found]


def _interval_note(found: Sequence[_Accuracy]) -> str:
    """Return what stands behind the sign of plus and minus, and how many seeds."""
    counts = sorted({one.seeds for one in found if one.seeds})
    if counts == [1]:
        return (
            f"{PLUS_MINUS}: half of the 95 % interval, the longer side. One training seed: the "
            "interval holds images only, and nothing is bold."
        )
    number = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}" if counts else 0
    return (
        f"Means over {number} training seeds; {PLUS_MINUS}: half of the 95 % interval, the longer "
        "side, which holds images within class and training seeds."
    )


def _bold_note(found: Sequence[_Accuracy], of: str) -> str:
    if {one.seeds for one in found if one.seeds} == {1}:
        return ""
    return (
        f"Bold: the highest mean of a {of} and all whose interval overlaps its own, which the "
        "data do not tell from it; none where these are all."
    )


def _chance_note(cells: Iterable[Cell]) -> str:
    return CHANCE_NOTE if any(cell.faint for cell in cells) else ""


def _sentences(*parts: str) -> str:
    return " ".join(part for part in parts if part)


def main_table(index: ScoreIndex, settings: ReportSettings, budgets: Budgets) -> Table:
    """Return top-1 accuracy: a row a training set and recipe, a column an evaluation set.

    Rows with the images, steps and epochs of each; the last row of a dataset is chance.
    """
    levels = chance_levels(index)
    columns = (
        Column("Training set", ("training_set",), numeric=False),
        *label_columns(index),
        *budget_columns(TRAINED_ON),
        *(
            Column(name, _accuracy_names(name), _group(settings, name))
            for name in settings.eval_sets
        ),
    )
    rows: list[tuple[Cell, ...]] = []
    used: list[_Accuracy] = []
    unequal = []
    for dataset, recipe in index.experiments:
        found = [
            [
                _accuracy(index, levels, (dataset, training_set, recipe, eval_set, "top1"))
                for eval_set in settings.eval_sets
            ]
            for training_set in settings.training_sets
        ]
        used += [one for row in found for one in row]
        by_column = [
            with_supported_best([row[column] for row in found])
            for column in range(len(settings.eval_sets))
        ]
        of_recipe = [budgets.get((dataset, name, recipe), []) for name in settings.training_sets]
        rows += [
            (
                label(training_set),
                *labels(index, dataset, recipe),
                *budget_cells(of_recipe[position]),
                *(cells[position] for cells in by_column),
            )
            for position, training_set in enumerate(settings.training_sets)
            if any(one.seeds for one in found[position])
        ]
        steps = [rows for rows in of_recipe if rows]
        if any(not Sides(steps[0], other).equal_steps for other in steps[1:]):
            unequal.append(recipe)
    shown = list(rows)
    for dataset in dict.fromkeys(dataset for dataset, _ in index.experiments):
        if rows:
            chances = (chance_cell(levels.top(dataset, name), 3) for name in settings.eval_sets)
            rows.append((label("chance"), *labels(index, dataset, ""), *NO_BUDGET, *chances))
    several = " of a recipe" if len(index.experiments) > 1 else ""
    note = _sentences(
        f"Top-1 accuracy in percent. {_interval_note(used)}",
        _bold_note(used, f"column{several}"),
        "chance: the largest class's share of the images, which an answer that ignores the image "
        "can reach.",
        _chance_note(cell for row in shown for cell in row),
        "Images: real + synthetic where there are both.",
        f"Steps differ between training sets: {UNEQUAL_STEPS} in the comparisons."
        if unequal
        else "",
        f"In distribution: {settings.in_distribution}.",
        _sizes_note(used, settings),
    )
    return Table("main", "Accuracy by training set", note, columns, tuple(rows))


def _sizes_note(found: Sequence[_Accuracy], settings: ReportSettings) -> str:
    """Return how many images each evaluation set has."""
    sizes = {one.score.eval_set: one.score.n for one in found if one.score is not None}
    said = ", ".join(f"{name} {sizes[name]:,}" for name in settings.eval_sets if name in sizes)
    return f"Images of a set: {said}." if said else ""


def _p_text(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def comparison_table(index: ScoreIndex, settings: ReportSettings, budgets: Budgets) -> Table:
    """Return the paired differences of the configured comparisons, and what they hold equal."""
    levels = chance_levels(index)
    columns = (
        Column("Comparison", ("comparison",), numeric=False),
        *label_columns(index),
        Column("Evaluation set", ("eval_set",), numeric=False),
        Column("Difference", ("difference", "ci_low", "ci_high")),
        Column("p", ("p_value",)),
        Column("p (Holm)", ("p_holm",)),
        *sides_columns(),
    )
    rows, marks, seeds = [], [], set()
    for dataset, recipe in index.experiments:
        for pair in settings.comparisons:
            sides = sides_of(budgets, dataset, pair, recipe)
            for eval_set in settings.eval_sets:
                name = (dataset, f"{pair[0]} - {pair[1]}", recipe, eval_set)
                top1, p_value, p_holm = (
                    index.summaries.get((*name, m)) for m in ("top1", "p_value", "p_holm")
                )
                if top1 is None:
                    continue
                marks.append(sides)
                seeds.add(shared_seeds(index, dataset, pair, recipe, eval_set))
                place = (dataset, recipe, eval_set, "top1")
                at_chance = both_at_chance(index, levels, pair, place)
                difference = _difference_cell(top1, None if p_holm is None else p_holm.value)
                tests = [replace(_p_cell(row), faint=at_chance) for row in (p_value, p_holm)]
                rows.append(
                    (
                        Cell(f"{pair[0]} {MINUS} {pair[1]}", (name[1],), name[1]),
                        *labels(index, dataset, recipe),
                        label(eval_set),
                        marked(faint(difference) if at_chance else difference, sides),
                        *tests,
                        *sides_cells(sides),
                    )
                )
    if seeds == {1}:
        tested = (
            "One training seed: the interval holds images only, there is no p value, and nothing "
            "is bold."
        )
    else:
        tested = (
            "The interval holds the variance of images within class and that of training seeds. "
            "p: the t test that belongs to the interval; it asks whether the training sets differ "
            "on new images and with new seeds. Holm: corrected for all rows that have it. Bold: "
            f"the interval excludes 0 and the corrected p is below {SIGNIFICANT}."
        )
    note = _sentences(
        "Paired difference in top-1 accuracy in percentage points with its 95 % interval.",
        tested,
        CHANCE_NOTE_OF_DIFFERENCES if any(c.faint for row in rows for c in row) else "",
        "Images, steps: of both sides (one number where they are alike); equal: which of them are.",
        marks_note(marks),
    )
    return Table("comparisons", "Paired comparisons of training sets", note, columns, tuple(rows))


def _p_cell(row: Score | None) -> Cell:
    if row is None:
        return Cell(MISSING, ("",), None)
    return Cell(_p_text(row.value), (repr(row.value),), row.value)


def _difference_cell(top1: Score, p_holm: float | None) -> Cell:
    """Return a difference with its interval; without one where nothing was seen to vary."""
    low, high = top1.ci_low, top1.ci_high
    is_clear = low is not None and high is not None and not low <= 0.0 <= high
    cell = interval_cell(top1.value, low, high, signed=True)
    return replace(cell, bold=is_clear and p_holm is not None and p_holm < SIGNIFICANT)


def class_table(index: ScoreIndex, settings: ReportSettings) -> Table:
    """Return top-1 accuracy per class: a row a class and evaluation set."""
    levels = chance_levels(index)
    columns = (
        Column("Class", ("class_id",), numeric=False),
        *label_columns(index),
        Column("Evaluation set", ("eval_set",), numeric=False),
        Column("n", ("n",)),
        Column("Chance", ("chance",)),
        *(Column(name, _accuracy_names(name)) for name in settings.training_sets),
    )
    rows = []
    used: list[_Accuracy] = []
    for dataset, recipe in index.experiments:
        for eval_set in settings.eval_sets:
            for class_id in class_names_of(index, settings):
                found = [
                    _accuracy(index, levels, (dataset, name, recipe, eval_set, f"top1/{class_id}"))
                    for name in settings.training_sets
                ]
                used += found
                if not any(one.seeds for one in found):
                    continue
                score = next(one.score for one in found if one.score is not None)
                rows.append(
                    (
                        label(class_id),
                        *labels(index, dataset, recipe),
                        label(eval_set),
                        count(score.n),
                        chance_cell(levels.of(score), 0),
                        *with_supported_best(found),
                    )
                )
    note = _sentences(
        f"Top-1 accuracy per class in percent, on the n images of the class. "
        f"{_interval_note(used)}",
        _bold_note(used, "row"),
        "Chance: an even guess among the classes.",
        _chance_note(one.cell for one in used),
    )
    return Table("per-class", "Accuracy by class", note, columns, tuple(rows))


def make_tables(
    scores: Sequence[Score],
    settings: ReportSettings,
    budgets: Budgets,
    folder: Path,
    notes: Sequence[str] = (),
) -> None:
    """Write ``main``, ``comparisons`` and ``per-class`` into ``folder`` in every format.

    Args:
        scores: All scores.
        settings: What is shown.
        budgets: Images and steps of the trainings.
        folder: Where to.
        notes: Sentences on the images behind the scores, which end the note of each table.

    Raises:
        CapsynthError: If none of the configured training sets has a score.
    """
    index = index_scores(scores)
    tables = [
        main_table(index, settings, budgets),
        comparison_table(index, settings, budgets),
        class_table(index, settings),
    ]
    if not tables[0].rows:
        raise CapsynthError(
            "no score belongs to the training sets "
            f"{', '.join(settings.training_sets)}; run collect_scores for them"
        )
    for table in tables:
        write_table(replace(table, note=" ".join([table.note, *notes])), folder)
