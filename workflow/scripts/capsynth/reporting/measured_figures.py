"""Figures of calibration, corruptions, and accuracy by the number of images."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from capsynth.errors import CapsynthError
from capsynth.reporting.calibration_scores import ReliabilityBin
from capsynth.reporting.chance import MARK as CHANCE_MARK
from capsynth.reporting.chance import chance_levels
from capsynth.reporting.measured_tables import corruption_levels
from capsynth.reporting.scores import Score, index_scores
from capsynth.reporting.settings import ReportSettings
from capsynth.reporting.style import (
    CHANCE_DASHES,
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

PANELS_A_ROW = 3
_percent = FuncFormatter(lambda value, _: f"{100 * value:g}")


def _grid(panels: int, height: float, columns: int = PANELS_A_ROW) -> tuple:  # type: ignore[type-arg]
    """Return a figure of so many panels on shared axes, the panels, and those to hide."""
    columns = min(columns, panels)
    rows = math.ceil(panels / columns)
    figure = new_figure(WIDTH_INCHES, 0.4 + height * rows)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel().tolist()
    for position, axes in enumerate(grid[:panels]):
        # The panel above an empty place carries the labels that would stand below.
        axes.tick_params(labelbottom=position + columns >= panels)
    for axes in grid[panels:]:
        hide(axes)
    return figure, grid[:panels], columns


def plot_reliability(
    bins: Sequence[ReliabilityBin],
    settings: ReportSettings,
    eval_set: str,
    paths: Sequence[Path],
) -> None:
    """Draw the reliability diagrams of one evaluation set, a panel a training set and recipe.

    Accuracy against confidence by bin, before and after temperature scaling; bars are 95 %
    intervals, the area of a marker is the share of the samples. Lines are drawn where the accuracy
    is that of an even guess among the classes, and at its confidence, the least there is.

    Raises:
        CapsynthError: If no run has answered the evaluation set.
    """
    of_set = [one for one in bins if one.eval_set == eval_set]
    names = {(b.dataset, b.training_set, b.recipe) for b in of_set}
    panels = sorted(
        (name for name in names if name[1] in settings.training_sets),
        key=lambda name: (settings.training_sets.index(name[1]), name),
    )
    if not panels:
        raise CapsynthError(f"no reliability on {eval_set!r}; run measure_calibration for it")
    recipes = {recipe for _, _, recipe in panels}
    with paper_style():
        figure, grid, columns = _grid(len(panels), 2.2)
        for position, (axes, name) in enumerate(zip(grid, panels, strict=True)):
            axes.set_title(name[1] if len(recipes) == 1 else f"{name[1]}, {name[2]}")
            axes.plot([0, 1], [0, 1], ":", color=MUTED, lw=0.9, zorder=1)
            for classes in {b.classes for b in of_set if b.dataset == name[0]}:
                draw_chance(axes, 1.0 / classes)
                draw_chance(axes, 1.0 / classes, upright=True)
            for scaled in (False, True):
                mine = (name[0], name[1], name[2], scaled)
                _reliability_line(
                    axes,
                    [b for b in of_set if (b.dataset, b.training_set, b.recipe, b.scaled) == mine],
                )
            axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
            axes.xaxis.set_major_formatter(_percent)
            axes.yaxis.set_major_formatter(_percent)
            if position % columns == 0:
                axes.set_ylabel("accuracy (%)")
        figure.supxlabel(f"confidence on {eval_set} (%)", fontsize=8, color=INK)
        handles = [
            Line2D([], [], marker=MARKERS[i], ls=("-", "--")[i], color=PALETTE[i], ms=4, label=text)
            for i, text in enumerate(("as trained", "temperature scaled"))
            if any(one.scaled == bool(i) for one in of_set)
        ]
        handles.append(Line2D([], [], ls=":", color=MUTED, lw=0.9, label="calibrated"))
        handles.append(Line2D([], [], ls=CHANCE_DASHES, color=MUTED, lw=0.9, label="an even guess"))
        figure.legend(handles=handles, loc="outside upper center", ncols=4)
        save_figure(figure, paths)


def _reliability_line(axes: Axes, bins: Sequence[ReliabilityBin]) -> None:
    if not bins:
        return
    style = int(bins[0].scaled)
    colour = PALETTE[style]
    x, y = ([getattr(one, name) for one in bins] for name in ("confidence", "accuracy"))
    axes.vlines(x, [b.ci_low for b in bins], [b.ci_high for b in bins], color=colour, lw=0.8)
    axes.plot(x, y, ("-", "--")[style], color=colour, lw=1.0, zorder=2)
    sizes = [4 + 120 * one.share for one in bins]
    axes.scatter(x, y, sizes, color=colour, marker=MARKERS[style], linewidths=0, zorder=3)


def plot_corruptions(
    scores: Sequence[Score], settings: ReportSettings, eval_set: str, paths: Sequence[Path]
) -> None:
    """Draw the errors of one corruption set as heat maps, a panel a training set and recipe.

    Raises:
        CapsynthError: If the evaluation set has no corruptions.
    """
    index = index_scores(scores)
    by_kind = corruption_levels(index, eval_set)
    if not by_kind:
        raise CapsynthError(f"{eval_set!r} has no corruptions; name a set that has")
    kinds, severities = list(by_kind), sorted({s for found in by_kind.values() for s in found})
    levels = chance_levels(index)
    panels = [
        (dataset, training_set, recipe)
        for dataset, recipe in index.experiments
        for training_set in settings.training_sets
        if (dataset, training_set, recipe, eval_set, "top1") in index.summaries
    ]
    recipes = {recipe for _, _, recipe in panels}
    with paper_style():
        figure, grid, _ = _grid(len(panels), 0.5 + 0.2 * len(kinds))
        for axes, name in zip(grid, panels, strict=True):
            axes.set_title(name[1] if len(recipes) == 1 else f"{name[1]}, {name[2]}")
            found = [
                [index.summaries.get((*name, eval_set, f"error/{k}-{s}")) for s in severities]
                for k in kinds
            ]
            errors = np.array([[np.nan if s is None else s.value for s in row] for row in found])
            axes.imshow(errors, cmap="cividis", vmin=0.0, vmax=1.0, aspect="auto")
            axes.grid(False)
            axes.tick_params(length=0)
            axes.set_xticks(range(len(severities)), [str(s) for s in severities])
            axes.set_yticks(range(len(kinds)), kinds)
            for row, column in np.ndindex(*errors.shape):
                value, score = errors[row, column], found[row][column]
                if not np.isnan(value):
                    text = f"{100 * value:.0f}{CHANCE_MARK if levels.reached_by(score) else ''}"
                    axes.text(
                        column, row, text, ha="center", va="center", fontsize=6.5,
                        color=INK if value > 0.5 else "white",
                    )  # fmt: skip
        chance = [levels.top(dataset, eval_set) for dataset, _, _ in panels]
        label = "severity"
        if any(level is not None for level in chance):
            label += (
                f"    {CHANCE_MARK} not clearly below the error of one answer to all images (line)"
            )
        figure.supxlabel(label, fontsize=8, color=INK)
        bar = figure.colorbar(
            ScalarMappable(Normalize(0.0, 1.0), "cividis"), ax=grid, shrink=0.8, pad=0.01
        )
        bar.ax.yaxis.set_major_formatter(_percent)
        bar.set_label(f"top-1 error on {eval_set} (%)")
        bar.outline.set_visible(False)
        for level in chance:
            draw_chance(bar.ax, None if level is None else 1.0 - level)
        save_figure(figure, paths)


@dataclass(frozen=True)
class CurvePoint:
    """A training set on a curve.

    Attributes:
        line: Name of its line.
        training_set: Its name.
        x: Where it stands: a fraction of the real images, or a number of images.
    """

    line: str
    training_set: str
    x: float


def _apart(numbers: Sequence[float]) -> list[float]:
    """Return the numbers, ascending, without those close to one before: labels need room."""
    kept: list[float] = []
    for number in sorted(numbers):
        if not kept or number > 1.2 * kept[-1]:
            kept.append(number)
    return kept


def plot_curves(
    scores: Sequence[Score],
    settings: ReportSettings,
    points: Sequence[CurvePoint],
    x_label: str,
    logarithmic: bool,
    paths: Sequence[Path],
) -> None:
    """Draw top-1 accuracy along a quantity of images, a panel an evaluation set.

    Bars are 95 % intervals over images and training seeds; shapes are lines, and with several
    recipes every line is drawn for each.

    Raises:
        CapsynthError: If no training set of the curve has a score.
    """
    index = index_scores(scores)
    levels = chance_levels(index)
    lines = list(dict.fromkeys(point.line for point in points))
    with paper_style():
        figure, grid, columns = _grid(len(settings.eval_sets), 1.9)
        drawn = False
        for position, (axes, eval_set) in enumerate(zip(grid, settings.eval_sets, strict=True)):
            axes.set_title(eval_set)
            for (place, line), experiment in (
                (numbered, experiment)
                for numbered in enumerate(lines)
                for experiment in index.experiments
            ):
                dataset, recipe = experiment
                found = sorted(
                    (
                        point.x,
                        row.value,
                        row.ci_low or 0.0,
                        row.ci_high or 1.0,
                        levels.reached_by(row),
                    )
                    for point in points
                    if point.line == line
                    and (
                        row := index.summaries.get(
                            (dataset, point.training_set, recipe, eval_set, "top1")
                        )
                    )
                )
                if found:
                    drawn = True
                    x, y, low, high, at_chance = (list(v) for v in zip(*found, strict=True))
                    colour = PALETTE[place % len(PALETTE)]
                    colours = [NO_EVIDENCE if grey else colour for grey in at_chance]
                    marker = MARKERS[place % len(MARKERS)]
                    dashes = ("-", "--", ":", "-.")[index.experiments.index(experiment) % 4]
                    axes.vlines(x, low, high, color=colours, lw=1.0)
                    axes.plot(x, y, ls=dashes, color=colour, lw=1.0, zorder=2)
                    axes.scatter(x, y, 16, color=colours, marker=marker, zorder=3)
            for dataset in dict.fromkeys(dataset for dataset, _ in index.experiments):
                draw_chance(axes, levels.top(dataset, eval_set))
            axes.yaxis.set_major_formatter(_percent)
            if logarithmic:
                numbers = _apart([point.x for point in points])
                axes.set_xscale("log")
                axes.set_xticks(numbers, [f"{number:,.0f}" for number in numbers])
                axes.minorticks_off()
            else:
                axes.xaxis.set_major_formatter(_percent)
                axes.xaxis.set_major_locator(MaxNLocator(5))
            if position % columns == 0:
                axes.set_ylabel("top-1 accuracy (%)")
        if not drawn:
            raise CapsynthError("no training set of the curve has a score; run collect_scores")
        figure.supxlabel(x_label, fontsize=8, color=INK)
        handles = [
            Line2D(
                [], [], marker=MARKERS[i % len(MARKERS)], color=PALETTE[i % len(PALETTE)], ms=4,
                label=line,
            )
            for i, line in enumerate(lines)
        ]  # fmt: skip
        recipes = [recipe for _, recipe in index.experiments]
        handles += [
            Line2D([], [], ls=("-", "--", ":", "-.")[i % 4], color=MUTED, label=recipe)
            for i, recipe in enumerate(recipes)
            if len(recipes) > 1
        ]
        handles += chance_handles()
        figure.legend(handles=handles, loc="outside upper center", ncols=4)
        save_figure(figure, paths)
