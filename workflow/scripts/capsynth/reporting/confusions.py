"""Confusions: how often a class is taken for another, and how two training sets differ in that.

The rate of the confusion target → prediction is the share of the images of the class ``target``
that a run takes for ``prediction``. A comparison of two training sets has its change: the rate of
the first less that of the second, the mean over training seeds.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from capsynth import intervals, proportions, statistics
from capsynth.errors import CapsynthError
from capsynth.predictions import Predictions, read_predictions
from capsynth.reporting.budgets import Budgets, Sides, marked, marks_note, sides_of
from capsynth.reporting.scores import sources_within
from capsynth.reporting.settings import ReportSettings
from capsynth.reporting.style import (
    INK,
    MUTED,
    PALETTE,
    WIDTH_INCHES,
    hide,
    new_figure,
    paper_style,
    save_figure,
)
from capsynth.reporting.tables import (
    MINUS,
    Cell,
    Column,
    Table,
    count,
    interval_cell,
    interval_names,
    label,
    write_table,
)

# With more classes a matrix cannot be read: only the confusions that change most are kept.
MOST_CLASSES = 20
MOST_CHANGES = 100
# Of each comparison and evaluation set, in the table and in a figure without matrices.
TABLE_ROWS = 5
FIGURE_ROWS = 20
PANELS_A_ROW = 3
ARROW = "\N{RIGHTWARDS ARROW}"


@dataclass(frozen=True, order=True)
class Confusion:
    """One row of confusions.csv: how a rate differs between two training sets.

    Attributes:
        dataset: Name of the dataset.
        comparison: ``a - b``, two training sets.
        recipe: Name of the recipe.
        eval_set: Name of the evaluation set.
        target: The true class.
        prediction: The class that is answered; the target itself where the answer is right.
        value: Rate of the first training set less that of the second, a share of one.
        ci_low: Lower bound of its 95 % interval.
        ci_high: Upper bound of its 95 % interval.
        n: Samples of the true class.
    """

    dataset: str
    comparison: str
    recipe: str
    eval_set: str
    target: str
    prediction: str
    value: float
    ci_low: float
    ci_high: float
    n: int


def compare_confusions(
    paths: Iterable[Path], comparisons: Sequence[Sequence[str]]
) -> list[Confusion]:
    """Return how the confusions of the compared training sets differ, sorted by name.

    Intervals are paired as those of ``scores.collect_scores`` are: by image and seed, with the
    variance of images within class and of training seeds, which the two sides share as far as they
    agree; never narrower than two images that differ would make them. With at most 20 classes
    there is a row for every pair of classes, else for the 100 confusions that change most.

    Args:
        paths: Files of predictions, in any order; training sets that are not compared are skipped.
        comparisons: Pairs of training sets; the second is subtracted from the first.

    Raises:
        CapsynthError: If runs of one evaluation set answered different samples.
    """
    wanted = {name for pair in comparisons for name in pair}
    runs: dict[tuple[str, str, str], dict[tuple[str, int], Predictions]] = defaultdict(dict)
    for path in paths:
        run = read_predictions(path)
        if run.training_set in wanted:
            group = runs[run.dataset, run.eval_set, run.recipe]
            # Only the answers are kept: the probabilities of all runs would not fit into memory.
            group[run.training_set, run.seed] = replace(
                run, probabilities=np.empty((len(run), 0), np.float32)
            )
    rows: list[Confusion] = []
    for (_, _, recipe), found in sorted(runs.items()):
        for first, second in comparisons:
            seeds = sorted(
                {s for n, s in found if n == first} & {s for n, s in found if n == second}
            )
            if seeds:
                one, other = ([found[name, s] for s in seeds] for name in (first, second))
                rows += _compare(f"{first} - {second}", recipe, one, other)
    return sorted(rows)


def _compare(
    name: str,
    recipe: str,
    first: Sequence[Predictions],
    second: Sequence[Predictions],
) -> list[Confusion]:
    reference = first[0]
    order = np.argsort(reference.keys, kind="stable")
    targets = reference.target[order]
    answers = np.stack(
        [[_answers(run, reference, order) for run in side] for side in (first, second)]
    )
    class_ids = reference.class_ids
    classes = len(class_ids)
    # Shape (classes, classes): the rates of the first side less those of the second.
    change = np.zeros((classes, classes))
    for side, sign in zip(answers, (1, -1), strict=True):
        for predicted in side:
            np.add.at(change, (targets, predicted), sign / len(side))
    sizes = np.bincount(targets, minlength=classes)
    change /= np.maximum(1, sizes)[:, None]
    pairs = _pairs(change, sizes)
    sources = sources_within(reference)[order].tolist()
    design = statistics.image_design([class_ids[t] for t in targets], sources)
    value, low, high = _estimate(answers, targets, pairs, design)
    return [
        Confusion(
            reference.dataset,
            name,
            recipe,
            reference.eval_set,
            class_ids[target],
            class_ids[predicted],
            float(value[i]),
            max(-1.0, float(low[i])),
            min(1.0, float(high[i])),
            int(sizes[target]),
        )
        for i, (target, predicted) in enumerate(pairs)
    ]


def _answers(
    run: Predictions, reference: Predictions, order: npt.NDArray[np.integer]
) -> npt.NDArray[np.int64]:
    """Return the predictions of a run in the reference's order of keys."""
    own = np.argsort(run.keys, kind="stable")
    if (
        run.class_ids != reference.class_ids
        or not np.array_equal(run.keys[own], reference.keys[order])
        or not np.array_equal(run.target[own], reference.target[order])
    ):
        raise CapsynthError(
            f"{run.training_set}, seed {run.seed} answers other samples of {run.eval_set!r} than "
            f"{reference.training_set}; evaluate all runs on the same packed evaluation set"
        )
    return run.prediction[own]


def _pairs(
    change: npt.NDArray[np.floating], sizes: npt.NDArray[np.integer]
) -> list[tuple[int, int]]:
    """Return the pairs (target, prediction) that get a row: all, or the largest changes."""
    classes = len(change)
    if classes <= MOST_CLASSES:
        return [(t, p) for t in range(classes) if sizes[t] for p in range(classes)]
    size = np.abs(change)
    np.fill_diagonal(size, 0.0)
    largest = np.argsort(-size, axis=None, kind="stable")[:MOST_CHANGES]
    pairs = [(int(i) // classes, int(i) % classes) for i in largest]
    return [pair for pair in pairs if size[pair] > 0.0]


def _estimate(
    answers: npt.NDArray[np.integer],
    targets: npt.NDArray[np.integer],
    pairs: Sequence[tuple[int, int]],
    design: statistics.ImageDesign,
) -> npt.NDArray[np.floating]:
    """Return changes and the bounds of their intervals, shape (3, pairs).

    Args:
        answers: Of both sides, shape (2, seeds, n).
        targets: Shape (n,).
        pairs: Target and prediction of each change.
        design: Of the images.
    """
    estimates = np.zeros((3, len(pairs)))
    by_target: dict[int, list[int]] = defaultdict(list)
    for i, (target, _) in enumerate(pairs):
        by_target[target].append(i)
    for target, columns in by_target.items():
        layout = proportions.layout_of(design, np.flatnonzero(targets == target))
        predicted = np.array([pairs[i][1] for i in columns])
        said = answers[:, :, None, layout.rows] == predicted[:, None]
        one, other = said.astype(np.float64)  # each (seeds, columns, rows)
        sides = [proportions.spread_of_shares(layout, side) for side in (one, other)]
        seeds = intervals.moderated(sides)
        found = intervals.difference_of(
            proportions.spread_of_differences(layout, one - other),
            (sides[0], sides[1]),
            (seeds[0], seeds[1]),
        )
        estimates[:, columns] = found.value, found.low, found.high
    return estimates


def largest_changes(rows: Iterable[Confusion], most: int) -> list[Confusion]:
    """Return the confusions, no right answers, that change most, the largest change first."""
    wrong = [row for row in rows if row.target != row.prediction and row.value != 0.0]
    return sorted(wrong, key=lambda row: (-abs(row.value), row))[:most]


def confusion_table(rows: Sequence[Confusion], settings: ReportSettings, budgets: Budgets) -> Table:
    """Return the largest changes of each comparison and evaluation set as a table."""
    recipes = sorted({row.recipe for row in rows})
    columns = (
        Column("Comparison", ("comparison",), numeric=False),
        *((Column("Recipe", ("recipe",), numeric=False),) if len(recipes) > 1 else ()),
        Column("Evaluation set", ("eval_set",), numeric=False),
        Column("Class", ("target",), numeric=False),
        Column("Taken for", ("prediction",), numeric=False),
        Column("Change", interval_names("change")),
        Column("n", ("n",)),
    )
    cells = []
    shown: list[Sides] = []
    for first, second in settings.comparisons:
        name = f"{first} - {second}"
        for recipe in recipes:
            for eval_set in settings.eval_sets:
                place = (name, recipe, eval_set)
                mine = [row for row in rows if (row.comparison, row.recipe, row.eval_set) == place]
                changes = largest_changes(mine, TABLE_ROWS)
                sides = {
                    dataset: sides_of(budgets, dataset, (first, second), recipe)
                    for dataset in dict.fromkeys(row.dataset for row in changes)
                }
                shown += sides.values()
                cells += [
                    (
                        Cell(f"{first} {MINUS} {second}", (name,), name),
                        *((label(recipe),) if len(recipes) > 1 else ()),
                        label(eval_set),
                        label(row.target),
                        label(row.prediction),
                        marked(
                            interval_cell(row.value, row.ci_low, row.ci_high, signed=True),
                            sides[row.dataset],
                        ),
                        count(row.n),
                    )
                    for row in changes
                ]
    note = (
        f"The {TABLE_ROWS} confusions that differ most between two training sets on each "
        "evaluation set: the share of the n images of a class that are taken for another, of the "
        "first training set less that of the second, in percentage points, mean over training "
        "seeds with its paired 95 % interval. A minus is a confusion that the first training set "
        "makes less often. Rows are chosen by the size of their change and intervals are not "
        "corrected for that: take them as a description, not as tests."
    )
    note = " ".join([note, *filter(None, [marks_note(shown)])])
    return Table("confusions", "Changes of confusions", note, columns, tuple(cells))


def make_confusion_table(
    rows: Sequence[Confusion], settings: ReportSettings, budgets: Budgets, folder: Path
) -> None:
    """Write the table ``confusions`` into ``folder`` in every format."""
    write_table(confusion_table(rows, settings, budgets), folder)


def plot_confusions(
    rows: Sequence[Confusion],
    settings: ReportSettings,
    budgets: Budgets,
    comparison: tuple[str, str],
    paths: Sequence[Path],
) -> None:
    """Draw how the confusions of two training sets differ, of the first recipe.

    One panel an evaluation set. With at most 20 classes a matrix: true classes down, answers
    across, right answers on the diagonal; cells with a dot have an interval without 0. With more
    classes the 20 largest changes with their intervals.

    Args:
        rows: Rows of confusions.csv.
        settings: Names and their order.
        budgets: Images and steps of the trainings: what is not equal is said below.
        comparison: The second training set is subtracted from the first.
        paths: Files to write, .png or .svg.

    Raises:
        CapsynthError: If there is no such comparison.
    """
    name = f"{comparison[0]} - {comparison[1]}"
    of_comparison = [row for row in rows if row.comparison == name]
    if not of_comparison:
        raise CapsynthError(
            f"no confusions compare {comparison[0]!r} with {comparison[1]!r}; add the pair to "
            "report.comparisons and run compare_confusions again"
        )
    recipe = min(row.recipe for row in of_comparison)
    panels = {
        eval_set: [r for r in of_comparison if r.recipe == recipe and r.eval_set == eval_set]
        for eval_set in settings.eval_sets
    }
    panels = {eval_set: found for eval_set, found in panels.items() if found}
    # Only matrices hold the rates of right answers.
    has_matrices = all(any(r.target == r.prediction for r in found) for found in panels.values())
    sides = sides_of(budgets, of_comparison[0].dataset, comparison, recipe)
    draw = _matrices if has_matrices else _dots
    with paper_style():
        figure = draw(panels, comparison, sides.said())
        save_figure(figure, paths)


def _panels(number: int, columns: int, height: float) -> tuple[Figure, list[Axes]]:
    across = min(columns, number)
    down = math.ceil(number / across)
    figure = new_figure(WIDTH_INCHES, down * height + 0.5)
    axes = figure.subplots(down, across, squeeze=False).ravel().tolist()
    for empty in axes[number:]:
        hide(empty)
    return figure, axes


def _matrices(
    panels: dict[str, list[Confusion]], comparison: tuple[str, str], notes: Sequence[str]
) -> Figure:
    classes = list(dict.fromkeys(row.prediction for found in panels.values() for row in found))
    place = {class_id: i for i, class_id in enumerate(sorted(classes))}
    limit = max(0.01, *(abs(row.value) for found in panels.values() for row in found))
    figure, grid = _panels(len(panels), PANELS_A_ROW, 1.1 + 0.125 * len(classes))
    image = None
    for position, (axes, (eval_set, found)) in enumerate(zip(grid, panels.items(), strict=False)):
        matrix = np.zeros((len(place), len(place)))
        for row in found:
            matrix[place[row.target], place[row.prediction]] = 100 * row.value
            if not row.ci_low <= 0.0 <= row.ci_high:
                # Dark cells get a white dot.
                colour = "white" if abs(row.value) > 0.6 * limit else INK
                axes.plot(place[row.prediction], place[row.target], ".", ms=2.2, color=colour)
        image = axes.imshow(matrix, cmap="RdBu", vmin=-100 * limit, vmax=100 * limit)
        axes.set_title(eval_set)
        axes.grid(False)
        axes.tick_params(length=0)
        axes.set_xticks(range(len(place)), list(place), rotation=90, fontsize=6.5)
        axes.set_yticks(range(len(place)), list(place), fontsize=6.5)
        if position % PANELS_A_ROW:
            axes.set_yticklabels([])
        for edge in axes.spines.values():
            edge.set_visible(False)
        axes.plot([-0.5, len(place) - 0.5], [-0.5, len(place) - 0.5], color=MUTED, lw=0.4)
    assert image is not None
    bar = figure.colorbar(image, ax=grid, shrink=0.6, aspect=30, pad=0.01)
    bar.set_label("change of rate (percentage points)")
    bar.outline.set_visible(False)
    figure.supylabel("true class", fontsize=8, color=INK)
    told = f"answer (change: {comparison[0]} minus {comparison[1]})"
    figure.supxlabel("\n".join([told, *notes]), fontsize=8, color=INK)
    return figure


def _dots(
    panels: dict[str, list[Confusion]], comparison: tuple[str, str], notes: Sequence[str]
) -> Figure:
    figure, grid = _panels(len(panels), 2, 0.9 + 0.14 * FIGURE_ROWS)
    for axes, (eval_set, found) in zip(grid, panels.items(), strict=False):
        axes.set_title(eval_set)
        axes.axvline(0.0, color=INK, lw=0.8, zorder=1)
        rows = largest_changes(found, FIGURE_ROWS)[::-1]
        for y, row in enumerate(rows):
            clear = not row.ci_low <= 0.0 <= row.ci_high
            bounds = [100 * row.ci_low, 100 * row.ci_high]
            axes.plot(bounds, [y, y], color=PALETTE[0], lw=1.2, zorder=2)
            axes.plot(
                [100 * row.value], [y], "o", ms=4.5, mec=PALETTE[0], mew=1.0, zorder=3,
                mfc=PALETTE[0] if clear else "white",
            )  # fmt: skip
        names = [f"{row.target} {ARROW} {row.prediction}" for row in rows]
        axes.set_yticks(range(len(rows)), names, fontsize=6.5)
        axes.grid(False, axis="y")
        axes.tick_params(left=False)
    told = f"change of rate, {comparison[0]} minus {comparison[1]} (percentage points)"
    figure.supxlabel("\n".join([told, *notes]), fontsize=8, color=INK)
    return figure
