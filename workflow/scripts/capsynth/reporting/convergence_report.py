"""Table and figure of learning curves and train-test gaps."""

import math
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from capsynth.errors import CapsynthError
from capsynth.reporting.convergence import GAIN, GAP, HELD_OUT, OWN_IMAGES, TEST, TRAIN, CurvePoint
from capsynth.reporting.scores import Score, index_scores
from capsynth.reporting.settings import ReportSettings
from capsynth.reporting.style import (
    INK,
    MARKERS,
    PALETTE,
    WIDTH_INCHES,
    chance_handles,
    draw_chance,
    hide,
    new_figure,
    paper_style,
    save_figure,
)
from capsynth.reporting.tables import (
    MISSING,
    Cell,
    Column,
    Table,
    count,
    interval_cell,
    interval_names,
    label,
)

# Lines that one panel shows; more training sets are spread over panels.
LINES_A_PANEL = 6
PANELS_A_ROW = 2
_percent = FuncFormatter(lambda value, _: f"{100 * value:g}")


def _summaries(points: Sequence[CurvePoint]) -> dict[tuple[str, str, str], list[CurvePoint]]:
    """Return the means over seeds by dataset, training set and recipe, in the order of steps."""
    found: dict[tuple[str, str, str], list[CurvePoint]] = {}
    for point in sorted(points, key=lambda point: point.step):
        if point.seed is None:
            found.setdefault((point.dataset, point.training_set, point.recipe), []).append(point)
    return found


def _interval(row: Score | None, signed: bool = False) -> Cell:
    values = (row.value, row.ci_low, row.ci_high) if row else (None, None, None)
    return interval_cell(*values, signed=signed)


def _is_rising(gain: Score | None) -> str:
    if gain is None or gain.ci_low is None or gain.ci_high is None:
        return MISSING
    if gain.ci_low > 0.0:
        return "rising"
    return "falling" if gain.ci_high < 0.0 else "not seen to change"


def convergence_table(
    points: Sequence[CurvePoint], scores: Sequence[Score], settings: ReportSettings
) -> Table:
    """Return late gains and train-test gaps, a row a training set and recipe."""
    index, curves = index_scores(scores), _summaries(points)
    curve_sets = sorted({point.eval_set for point in points})
    columns = (
        Column("Training set", ("training_set",), numeric=False),
        Column("Recipe", ("recipe",), numeric=False),
        Column("Images", ("images",), "Training"),
        Column("Steps", ("steps",), "Training"),
        Column("Images seen", ("images_seen",), "Training"),
        Column("Top-1 (%)", interval_names(HELD_OUT), "Held-out real images"),
        Column("Gained in the last quarter (points)", interval_names(GAIN), "Held-out real images"),
        Column("At the end", ("at_the_end",), "Held-out real images", numeric=False),
        Column("Own images (%)", interval_names(TRAIN), "Training and test"),
        Column("In distribution (%)", interval_names(TEST), "Training and test"),
        Column("Gap (points)", interval_names(GAP), "Training and test"),
    )
    rows = []
    for dataset, recipe in index.experiments:
        for training_set in settings.training_sets:
            run = (dataset, training_set, recipe)
            held_out, gain = (
                next((index.summaries.get((*run, s, m)) for s in curve_sets), None)
                for m in (HELD_OUT, GAIN)
            )
            own = index.summaries.get((*run, OWN_IMAGES, TRAIN))
            test, gap = (
                index.summaries.get((*run, settings.in_distribution, m)) for m in (TEST, GAP)
            )
            if held_out is None and own is None:
                continue
            end = curves[run][-1] if run in curves else None
            budget = (
                [Cell(MISSING, ("",), None)] * 3
                if end is None
                else map(count, (end.images, end.step, end.images_seen))
            )
            rising = _is_rising(gain)
            rows.append(
                (
                    *(label(x) for x in (training_set, recipe)),
                    *budget,
                    _interval(held_out),
                    _interval(gain, signed=True),
                    label("" if rising == MISSING else rising),
                    _interval(own),
                    _interval(test),
                    _interval(gap, signed=True),
                )
            )
    note = _note(points, scores, settings)
    return Table("convergence", "Convergence and train-test gap", note, columns, tuple(rows))


def _note(points: Sequence[CurvePoint], scores: Sequence[Score], settings: ReportSettings) -> str:
    """Return what the table shows, with the numbers of images and the chance level."""
    parts = [
        "Means over training seeds with 95 % intervals (images within class, and seeds; of a "
        "single seed, images alone)."
    ]
    if points:
        one = points[0]
        seeds = max(point.seeds for point in points)
        parts.append(
            f"Held-out: {one.n:,} real images of {one.eval_set}, which no training set holds and "
            f"nothing descends from; always naming one class is right on {100 * one.chance:.1f} % "
            f"of them; {seeds} seeds at most. The last quarter of the steps: accuracy at the end "
            "less that after three quarters, paired by image and run; rising or falling where the "
            "interval excludes 0, which does not correct for the number of rows. A training set "
            "that is still rising would score higher with more steps."
        )
    else:
        parts.append("No set of held-out images is configured: there are no learning curves.")
    own = sorted({row.n for row in scores if row.metric == TRAIN})
    test = sorted({row.n for row in scores if row.metric == GAP})
    if own:
        numbers = f"{own[0]:,}" if len(own) == 1 else f"{own[0]:,} to {own[-1]:,}"
        parts.append(f"Own images: {numbers} of the run's own training set, not augmented.")
    if test:
        parts.append(
            f"Gap: own images less {settings.in_distribution} ({test[0]:,} images). The own images "
            "of a synthetic training set are synthetic: its gap is one of distributions too."
        )
    return " ".join(parts)


def plot_learning_curves(
    points: Sequence[CurvePoint], settings: ReportSettings, paths: Sequence[Path]
) -> None:
    """Draw held-out accuracy by optimisation step, a line a training set, panels by recipe.

    Bands are 95 % intervals of the mean over seeds; the dotted line is chance.

    Raises:
        CapsynthError: If there is no learning curve.
    """
    curves = _summaries(points)
    panels = []
    for dataset, recipe in sorted({(name[0], name[2]) for name in curves}):
        names = [n for n in settings.training_sets if (dataset, n, recipe) in curves]
        for start in range(0, len(names), LINES_A_PANEL):
            panels.append((dataset, recipe, names[start : start + LINES_A_PANEL]))
    if not panels:
        raise CapsynthError("there is no learning curve; set learning_curves.eval_set")
    recipes = {recipe for _, recipe, _ in panels}
    columns = min(PANELS_A_ROW, len(panels))
    rows = math.ceil(len(panels) / columns)
    with paper_style():
        figure = new_figure(WIDTH_INCHES, 0.5 + (3.4 if columns == 1 else 3.0) * rows)
        grid = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel().tolist()
        for position, (axes, (dataset, recipe, names)) in enumerate(
            zip(grid, panels, strict=False)
        ):
            if len(recipes) > 1:
                axes.set_title(recipe)
            for place, name in enumerate(names):
                _curve(axes, place, name, curves[dataset, name, recipe])
            chance = points[0].chance
            draw_chance(axes, chance)
            axes.set_xlabel("optimisation step")
            axes.set_xlim(left=0)
            axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
            axes.yaxis.set_major_formatter(_percent)
            if position % columns == 0:
                axes.set_ylabel("top-1 on held-out real images (%)")
            handles = [
                *axes.get_legend_handles_labels()[0],
                *chance_handles()[:1],
            ]
            axes.legend(
                handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.16), fontsize=6.5,
                ncols=1 if columns > 1 else 2,
            )  # fmt: skip
        for axes in grid[len(panels) :]:
            hide(axes)
        one = points[0]
        seeds = sorted({point.seeds for point in points if point.seed is None})
        of_seeds = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
        figure.suptitle(
            f"{one.n:,} images of {one.eval_set}; mean of {of_seeds} training seed(s), band: 95 % "
            "interval over images and seeds",
            fontsize=7, color=INK,
        )  # fmt: skip
        save_figure(figure, paths)


def _curve(axes: Axes, place: int, name: str, points: Sequence[CurvePoint]) -> None:
    """Draw one training set; its label says its budget."""
    end = points[-1]
    text = f"{name} ({end.images:,} images, {end.step:,} steps)"
    x = [point.step for point in points]
    colour = PALETTE[place % len(PALETTE)]
    low, high = [point.ci_low for point in points], [point.ci_high for point in points]
    axes.fill_between(x, low, high, color=colour, alpha=0.12, lw=0)
    y = [point.accuracy for point in points]
    axes.plot(x, y, marker=MARKERS[place % len(MARKERS)], ms=3, lw=1.1, color=colour, label=text)
