"""Figures drawn from scores."""

import math
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from capsynth.errors import CapsynthError
from capsynth.reporting.budgets import Budgets, shared_seeds, sides_of
from capsynth.reporting.chance import both_at_chance, chance_levels
from capsynth.reporting.robustness_scores import CONTROLS, LinePoint, RobustnessSettings
from capsynth.reporting.scores import Score, ScoreIndex, index_scores
from capsynth.reporting.settings import ReportSettings
from capsynth.reporting.style import (
    INK,
    MARKERS,
    MUTED,
    NO_EVIDENCE,
    PALETTE,
    WIDTH_INCHES,
    chance_handles,
    draw_chance,
    hide,
    new_figure,
    paper_style,
    save_figure,
)

SCALES = ("linear", "logit")
PANELS_A_ROW = 3
# Entries of a legend that an empty panel has room for, and a line below the panels.
HANDLES_A_CELL = 9
HANDLES_A_LINE = 4
# More classes than this are cut to the largest gains and the largest losses.
MOST_CLASSES = 40
LOGIT_TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)

_percent = FuncFormatter(lambda value, _: f"{100 * value:g}")
_signed_percent = FuncFormatter(lambda value, _: f"{round(100 * value, 3):+g}" if value else "0")


def _round_steps() -> MaxNLocator:
    return MaxNLocator(5, steps=[1, 2, 2.5, 5, 10])


def _bounds(score: Score) -> tuple[float, float]:
    if score.ci_low is None or score.ci_high is None:
        raise CapsynthError(
            f"{score.training_set} on {score.eval_set}: no interval; run collect_scores again"
        )
    return score.ci_low, score.ci_high


def _inside(value: float, n: int, scale: str) -> float:
    """Return a share that the scale can show: logits of 0 and 1 are drawn half an image inside."""
    return min(max(value, 0.5 / n), 1.0 - 0.5 / n) if scale == "logit" else value


def plot_robustness(
    scores: Sequence[Score],
    settings: ReportSettings,
    measured: RobustnessSettings,
    lines: Sequence[LinePoint],
    scale: str,
    paths: Sequence[Path],
) -> None:
    """Draw accuracy out of distribution against accuracy in distribution.

    One panel a shifted evaluation set; one small point a run, one large marker a mean over seeds
    with its 95 % intervals on both axes; colours are training sets; shapes are training sets
    or, where there are several, recipes. Lines that accuracies are expected on are drawn with
    their band, dashed beyond the classifiers they were fitted to.

    Args:
        scores: Rows of scores.csv.
        settings: Names and their order.
        measured: Which set in distribution belongs to which shifted one.
        lines: Points of the expected lines.
        scale: ``linear`` or ``logit``, for both axes.
        paths: Files to write, .png or .svg.

    Raises:
        CapsynthError: If the scale is not known or no run has a score in distribution.
    """
    if scale not in SCALES:
        raise CapsynthError(f"scale {scale!r} is not known; known scales: {', '.join(SCALES)}")
    index = index_scores(scores)
    if not any(name[3] == settings.in_distribution for name in index.runs):
        raise CapsynthError(
            f"no run has a score on {settings.in_distribution!r}; evaluate the runs on it or "
            "change report.in_distribution"
        )
    if not settings.shifted:
        raise CapsynthError("there is no evaluation set but the one in distribution; add one")
    with paper_style():
        save_figure(_robustness_figure(index, settings, measured, lines, scale), paths)


def _robustness_figure(
    index: ScoreIndex,
    settings: ReportSettings,
    measured: RobustnessSettings,
    lines: Sequence[LinePoint],
    scale: str,
) -> Figure:
    panels = [name for name in settings.shifted if name not in measured.clean.values()]
    columns = min(PANELS_A_ROW, len(panels))
    rows = math.ceil(len(panels) / columns)
    handles = [*_legend_handles(index, settings), *_line_handles(lines)]
    fits_a_cell = columns * rows > len(panels) and len(handles) <= HANDLES_A_CELL
    lines_below = 0 if fits_a_cell else math.ceil(len(handles) / HANDLES_A_LINE)
    figure = new_figure(WIDTH_INCHES, 0.35 + 2.25 * rows + 0.16 * lines_below)
    same = len({measured.inside(name) for name in panels}) == 1
    grid = figure.subplots(rows, columns, squeeze=False, sharex=same).ravel().tolist()
    for position, (axes, eval_set) in enumerate(zip(grid, panels, strict=False)):
        of_set = [point for point in lines if point.eval_set == eval_set]
        _robustness_panel(axes, index, settings, (measured.inside(eval_set), eval_set), scale)
        _expected_lines(axes, of_set)
        # The axes of the panel above an empty cell carry the labels that would stand below.
        if position + columns >= len(panels) or not same:
            axes.set_xlabel(f"{measured.inside(eval_set)}, top-1 (%)")
            axes.tick_params(labelbottom=True)
        if position % columns == 0:
            axes.set_ylabel("shifted set, top-1 (%)")
    for axes in grid[len(panels) :]:
        hide(axes)
    if fits_a_cell:
        grid[len(panels)].legend(handles=handles, loc="center left", borderaxespad=0.0)
    else:
        columns = min(HANDLES_A_LINE, len(handles))
        figure.legend(handles=handles, loc="outside lower center", ncols=columns)
    return figure


def _robustness_panel(
    axes: Axes, index: ScoreIndex, settings: ReportSettings, pair: tuple[str, str], scale: str
) -> None:
    in_distribution, eval_set = pair
    axes.set_title(eval_set)
    levels = chance_levels(index)
    seen: list[tuple[float, float]] = []
    for place, training_set in enumerate(settings.training_sets):
        for dataset, recipe in index.experiments:
            colour = PALETTE[place % len(PALETTE)]
            marker = _marker(index, place, recipe)
            name = (dataset, training_set, recipe)
            inside = index.summaries.get((*name, in_distribution, "top1"))
            outside = index.summaries.get((*name, eval_set, "top1"))
            if inside is None or outside is None:
                continue
            if levels.reached_by(inside) or levels.reached_by(outside):
                colour = NO_EVIDENCE
            by_seed = {run.seed: run for run in index.runs[(*name, in_distribution, "top1")]}
            points = [
                (
                    _inside(by_seed[run.seed].value, by_seed[run.seed].n, scale),
                    _inside(run.value, run.n, scale),
                )
                for run in index.runs[(*name, eval_set, "top1")]
                if run.seed in by_seed
            ]
            xs, ys = [x for x, _ in points], [y for _, y in points]
            axes.plot(xs, ys, marker, ms=3, mfc="white", mec=colour, mew=0.7, zorder=2)
            (x, x_error), (y, y_error) = (_with_error(s, scale) for s in (inside, outside))
            axes.errorbar(
                [x], [y], xerr=x_error, yerr=y_error, fmt=marker, ms=5.5, mfc=colour,
                mec=colour, mew=0.0, ecolor=colour, elinewidth=1.0, zorder=3,
            )  # fmt: skip
            seen += [*points, (x - x_error[0][0], y - y_error[0][0])]
            seen.append((x + x_error[1][0], y + y_error[1][0]))
    for axis in (axes.xaxis, axes.yaxis):
        _set_scale(axes, axis.axis_name, scale)
    if seen:
        _set_limits(axes, seen, scale)
    limits = axes.get_xlim(), axes.get_ylim()
    axes.plot([0.001, 0.999], [0.001, 0.999], ":", color=MUTED, lw=0.9, zorder=1)
    for dataset in dict.fromkeys(dataset for dataset, _ in index.experiments):
        draw_chance(axes, levels.top(dataset, eval_set))
        draw_chance(axes, levels.top(dataset, in_distribution), upright=True)
    axes.set(xlim=limits[0], ylim=limits[1])


def _expected_lines(axes: Axes, points: Sequence[LinePoint]) -> None:
    """Draw the lines of one shifted set within the limits of its panel."""
    limits = axes.get_xlim(), axes.get_ylim()
    for fit in dict.fromkeys(point.fit for point in points):
        of_fit = [point for point in points if point.fit == fit]
        colour = _line_colour(fit)
        x = [point.accuracy for point in of_fit]
        low = [point.ci_low for point in of_fit if point.ci_low is not None]
        high = [point.ci_high for point in of_fit if point.ci_high is not None]
        if low and high:
            axes.fill_between(x, low, high, color=colour, alpha=0.12, lw=0, zorder=0)
        axes.plot(x, [p.expected for p in of_fit], "--", color=colour, lw=0.9, zorder=1)
        within = [p for p in of_fit if p.lowest <= p.accuracy <= p.highest]
        axes.plot(
            [p.accuracy for p in within], [p.expected for p in within], color=colour, lw=1.2,
            zorder=1,
        )  # fmt: skip
    axes.set(xlim=limits[0], ylim=limits[1])


def _line_colour(fit: str) -> str:
    return INK if fit == CONTROLS else PALETTE[5]


def _line_handles(lines: Sequence[LinePoint]) -> list[Line2D]:
    return [
        Line2D([], [], color=_line_colour(fit), lw=1.2, label=f"line of {fit} (dashed: beyond)")
        for fit in dict.fromkeys(point.fit for point in lines)
    ]


def _marker(index: ScoreIndex, place: int, recipe: str) -> str:
    recipes = sorted({name for _, name in index.experiments})
    return MARKERS[(place if len(recipes) == 1 else recipes.index(recipe)) % len(MARKERS)]


def _with_error(score: Score, scale: str) -> tuple[float, list[list[float]]]:
    """Return a value and its distances to the bounds, as matplotlib wants them."""
    low, high = (_inside(bound, score.n, scale) for bound in _bounds(score))
    value = _inside(score.value, score.n, scale)
    return value, [[max(0.0, value - low)], [max(0.0, high - value)]]


def _set_scale(axes: Axes, name: str, scale: str) -> None:
    axis = axes.xaxis if name == "x" else axes.yaxis
    if scale == "logit":
        (axes.set_xscale if name == "x" else axes.set_yscale)("logit")
        axis.set_major_locator(FixedLocator(LOGIT_TICKS))
        axis.set_minor_locator(NullLocator())
    else:
        axis.set_major_locator(_round_steps())
    axis.set_major_formatter(_percent)


def _logit(share: float) -> float:
    return math.log(share / (1.0 - share))


def _padded(values: Sequence[float], scale: str) -> tuple[float, float]:
    """Return limits a twelfth beyond the values, on the axis' own scale."""
    if scale == "logit":
        low, high = _logit(min(values)), _logit(max(values))
        pad = max(0.15, (high - low) / 12)
        return 1 / (1 + math.exp(pad - low)), 1 / (1 + math.exp(-pad - high))
    low, high = min(values), max(values)
    pad = max(0.01, (high - low) / 12)
    return max(0.0, low - pad), min(1.0, high + pad)


def _set_limits(axes: Axes, seen: Sequence[tuple[float, float]], scale: str) -> None:
    axes.set_xlim(_padded([x for x, _ in seen], scale))
    axes.set_ylim(_padded([y for _, y in seen], scale))


def _legend_handles(index: ScoreIndex, settings: ReportSettings) -> list[Line2D]:
    recipes = sorted({recipe for _, recipe in index.experiments})
    several = len(recipes) > 1
    handles = [
        _handle(
            training_set, "o" if several else MARKERS[i % len(MARKERS)], PALETTE[i % len(PALETTE)]
        )
        for i, training_set in enumerate(settings.training_sets)
    ]
    if several:
        handles += [
            _handle(recipe, MARKERS[i % len(MARKERS)], MUTED) for i, recipe in enumerate(recipes)
        ]
    return [
        *handles,
        _handle("one run (small, open)", "o", "white", edge=MUTED, size=3.0),
        Line2D([], [], ls=":", color=MUTED, lw=0.9, label="no drop (y = x)"),
        *chance_handles(),
    ]


def _handle(label: str, marker: str, colour: str, edge: str = "none", size: float = 6.0) -> Line2D:
    return Line2D([], [], ls="", marker=marker, ms=size, mfc=colour, mec=edge, mew=0.7, label=label)


def plot_class_gains(
    scores: Sequence[Score],
    settings: ReportSettings,
    budgets: Budgets,
    comparison: tuple[str, str],
    paths: Sequence[Path],
) -> None:
    """Draw the difference in top-1 accuracy of each class between two training sets.

    One panel an evaluation set; classes in the order of their difference in distribution;
    bars are 95 % intervals of the paired difference. Of more than 40 classes the 20 largest gains
    and the 20 largest losses are drawn. What the two sides do not have equal, images or steps, is
    said below. Classes on which neither side is clearly above an even guess are grey, and with one
    training seed no marker is filled.

    Args:
        scores: Rows of scores.csv.
        settings: Names and their order.
        budgets: Images and steps of the trainings.
        comparison: The second training set is subtracted from the first.
        paths: Files to write, .png or .svg.

    Raises:
        CapsynthError: If the scores hold no such comparison.
    """
    index = index_scores(scores)
    name = f"{comparison[0]} - {comparison[1]}"
    if not any(key[1] == name for key in index.summaries):
        raise CapsynthError(
            f"no scores compare {comparison[0]!r} with {comparison[1]!r}; add the pair to "
            "report.comparisons and run collect_scores again"
        )
    with paper_style():
        save_figure(_class_gains_figure(index, settings, budgets, comparison), paths)


def _class_gains_figure(
    index: ScoreIndex, settings: ReportSettings, budgets: Budgets, comparison: tuple[str, str]
) -> Figure:
    name = f"{comparison[0]} - {comparison[1]}"
    gains: dict[tuple[str, str, str], dict[str, Score]] = {}
    for (dataset, training_set, recipe, eval_set, metric), score in index.summaries.items():
        if training_set == name and metric.startswith("top1/"):
            found = gains.setdefault((dataset, recipe, eval_set), {})
            found[metric.removeprefix("top1/")] = score
    pairs = [pair for pair in index.experiments if (*pair, settings.in_distribution) in gains]
    if not pairs:
        raise CapsynthError(
            f"{name}: no run of both training sets on {settings.in_distribution!r}; evaluate them"
        )
    reference = gains[(*pairs[0], settings.in_distribution)]
    classes = sorted(reference, key=lambda class_id: (reference[class_id].value, class_id))
    if len(classes) > MOST_CLASSES:
        classes = [*classes[: MOST_CLASSES // 2], *classes[-MOST_CLASSES // 2 :]]
    panels = [s for s in settings.eval_sets if any((*pair, s) in gains for pair in pairs)]
    columns = min(PANELS_A_ROW, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure = new_figure(WIDTH_INCHES, rows * (0.65 + 0.155 * len(classes)) + 0.3)
    levels = chance_levels(index)
    notes = _gains_notes(budgets, comparison, pairs)
    claims = {
        (dataset, recipe): shared_seeds(
            index, dataset, comparison, recipe, settings.in_distribution
        )
        > 1
        for dataset, recipe in pairs
    }
    # All panels share one scale, so that a gain looks the same wherever it is.
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel().tolist()
    for axes, eval_set in zip(grid, panels, strict=False):
        axes.set_title(eval_set)
        axes.axvline(0.0, color=INK, lw=0.8, zorder=1)
        for offset, pair in zip(_offsets(len(pairs)), pairs, strict=True):
            place = pairs.index(pair)
            found = gains.get((*pair, eval_set), {})
            at_chance = {
                class_id
                for class_id, score in found.items()
                if both_at_chance(index, levels, comparison, (*pair, eval_set, score.metric))
            }
            _gains_panel(axes, found, classes, offset, place, at_chance, claims[pair])
    first = grid[0]
    first.set_yticks(range(len(classes)), classes)
    first.set_ylim(-0.6, len(classes) - 0.4)
    first.xaxis.set_major_formatter(_signed_percent)
    first.xaxis.set_major_locator(_round_steps())
    for position, axes in enumerate(grid[: len(panels)]):
        axes.grid(False, axis="y")
        axes.tick_params(left=False)
        axes.tick_params(labelbottom=position + columns >= len(panels))
    for axes in grid[len(panels) :]:
        hide(axes)
    label = f"top-1 accuracy of {comparison[0]} minus {comparison[1]} (percentage points)"
    figure.supxlabel("\n".join([label, *notes]), fontsize=8, color=INK)
    if len(pairs) > 1:
        handles = [
            _handle(recipe, MARKERS[i % len(MARKERS)], PALETTE[i % len(PALETTE)])
            for i, (_, recipe) in enumerate(pairs)
        ]
        figure.legend(handles=handles, loc="outside upper right", ncols=min(4, len(handles)))
    return figure


def _gains_notes(
    budgets: Budgets,
    comparison: tuple[str, str],
    pairs: Sequence[tuple[str, str]],
) -> list[str]:
    """Return what the two sides do not have equal, a line each."""
    notes = []
    for dataset, recipe in pairs:
        of_recipe = f" ({recipe})" if len(pairs) > 1 else ""
        said = sides_of(budgets, dataset, comparison, recipe).said()
        notes += [f"{one}{of_recipe}" for one in said]
    return notes


def _offsets(n: int) -> list[float]:
    """Return vertical places around a class's line, one a recipe."""
    return [0.0] if n == 1 else [0.5 * (i / (n - 1) - 0.5) for i in range(n)]


def _gains_panel(
    axes: Axes,
    gains: dict[str, Score],
    classes: Sequence[str],
    offset: float,
    place: int,
    at_chance: set[str],
    claims: bool,
) -> None:
    """Draw the gains of one recipe; ``claims`` are made of several training seeds only."""
    for row, class_id in enumerate(classes):
        if class_id not in gains:
            continue
        score = gains[class_id]
        # There is no interval where nothing was seen to vary.
        is_known = score.ci_low is not None and score.ci_high is not None
        low, high = _bounds(score) if is_known else (score.value, score.value)
        colour = NO_EVIDENCE if class_id in at_chance else PALETTE[place % len(PALETTE)]
        clear = is_known and claims and class_id not in at_chance and not low <= 0.0 <= high
        axes.plot([low, high], [row + offset] * 2, color=colour, lw=1.2, zorder=2)
        axes.plot(
            [score.value], [row + offset], MARKERS[place % len(MARKERS)], ms=4.5, mec=colour,
            mfc=colour if clear else "white", mew=1.0, zorder=3,
        )  # fmt: skip
