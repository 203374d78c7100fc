"""The figure of a sweep: accuracy against the value of the key that was swept."""

import csv
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from capsynth.errors import CapsynthError
from capsynth.names import check_name
from capsynth.records import csv_text
from capsynth.reporting.chance import levels_of
from capsynth.reporting.scores import Score
from capsynth.reporting.style import (
    MARKERS,
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
LINE_STYLES = ("-", "--", ":", "-.")
# All lines of a value lie within this share of the least distance of two values.
SPREAD = 0.16


@dataclass(frozen=True)
class SweepPoint:
    """Top-1 accuracy of a training set over its seeds, as a share, with its 95 % interval."""

    swept: str
    training_set: str
    recipe: str
    eval_set: str
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class SweepScores:
    """What the figure of a sweep shows.

    Attributes:
        column: Name of what was swept.
        points: In the order of the file.
        chance: Chance level of each evaluation set whose classes are known.
    """

    column: str
    points: tuple[SweepPoint, ...]
    chance: Mapping[str, float] = field(default_factory=dict)


def read_sweep_scores(path: Path) -> SweepScores:
    """Read the joined scores of a sweep.

    Raises:
        CapsynthError: If the file does not exist, has other columns or a value is no number.
    """
    if not path.exists():
        raise CapsynthError(f"{path} does not exist; call run_sweep first")
    expected = [one.name for one in fields(Score)]
    rows = csv.reader(csv_text(path))
    head = next(rows, [])
    if head[1:] != expected:
        raise CapsynthError(
            f"{path}: has columns {head}, not what was swept and {expected}; call run_sweep again"
        )
    points = []
    sizes: dict[tuple[str, str], int] = {}
    for swept, *row in rows:
        named = dict(zip(expected, row, strict=False))
        try:
            sizes[named["eval_set"], named["metric"]] = int(named["n"])
            # Rows without a seed are those over seeds; `a - b` is a comparison.
            if (named["metric"], named["seed"]) != ("top1", ""):
                continue
            if " - " in named["training_set"]:
                continue
            value, low, high = (float(named[name]) for name in ("value", "ci_low", "ci_high"))
        except (KeyError, ValueError) as error:
            raise CapsynthError(f"{path}:{rows.line_num}: {error}; call run_sweep again") from error
        names = (named["training_set"], named["recipe"], named["eval_set"])
        points.append(SweepPoint(swept, *names, value, low, high))
    levels = levels_of(("", *name, n) for name, n in sizes.items())
    chances = {name: levels.top("", name) for name in dict.fromkeys(p.eval_set for p in points)}
    known = {name: level for name, level in chances.items() if level is not None}
    return SweepScores(head[0], tuple(points), known)


def plot_sweep(
    scores: SweepScores,
    training_sets: Sequence[str] | None,
    eval_sets: Sequence[str] | None,
    paths: Sequence[Path],
) -> None:
    """Draw top-1 accuracy against the value of the key that was swept.

    One panel an evaluation set, all on one scale; one line a training set (dashed for a second
    recipe) through means over seeds, with 95 % intervals. The lines stand a little beside each
    other, so that intervals can be told apart.

    Args:
        scores: Joined scores of a sweep.
        training_sets: Lines in their order; all by default.
        eval_sets: Panels in their order; all by default.
        paths: Files to write, .png or .svg.

    Raises:
        CapsynthError: If there is nothing to draw, or a name is in no score.
    """
    if not scores.points:
        raise CapsynthError("the scores hold no top-1 accuracy over seeds; call run_sweep again")
    known_sets = list(dict.fromkeys(point.training_set for point in scores.points))
    known_evals = list(dict.fromkeys(point.eval_set for point in scores.points))
    lines = [check_name("training set", n, known_sets) for n in training_sets or known_sets]
    panels = [check_name("evaluation set", n, known_evals) for n in eval_sets or known_evals]
    with paper_style():
        save_figure(_figure(scores, lines, panels), paths)


def places(values: Sequence[str]) -> dict[str, float]:
    """Return where each value stands: at itself if all are numbers, else at its rank as given."""
    try:
        numbers = {value: float(value) for value in values}
    except ValueError:
        numbers = {}
    if numbers and all(map(math.isfinite, numbers.values())):
        return numbers
    return {value: float(index) for index, value in enumerate(dict.fromkeys(values))}


def _figure(scores: SweepScores, lines: Sequence[str], panels: Sequence[str]) -> Figure:
    at = places([point.swept for point in scores.points])
    recipes = sorted({point.recipe for point in scores.points})
    columns = min(PANELS_A_ROW, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure = new_figure(WIDTH_INCHES, 0.35 + 2.0 * rows)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel().tolist()
    for position, (axes, eval_set) in enumerate(zip(grid, panels, strict=False)):
        axes.set_title(eval_set)
        points = [point for point in scores.points if point.eval_set == eval_set]
        chance = scores.chance.get(eval_set)
        _panel(axes, points, at, lines, recipes, chance)
        draw_chance(axes, chance)
        # The axes of the panel above an empty cell carry the labels that would stand below.
        if position + columns >= len(panels):
            axes.set_xlabel(scores.column)
            axes.tick_params(labelbottom=True)
        if position % columns == 0:
            axes.set_ylabel("top-1 (%)")
    first = grid[0]
    first.set_xticks(list(at.values()), list(at))
    first.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    first.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}"))
    for axes in grid[len(panels) :]:
        hide(axes)
    handles = [_handle(name, lines.index(name), 0) for name in lines]
    if len(recipes) > 1:
        handles += [
            Line2D([], [], color="black", lw=1.2, ls=LINE_STYLES[i % len(LINE_STYLES)], label=name)
            for i, name in enumerate(recipes)
        ]
    handles += chance_handles() if scores.chance else []
    if len(grid) > len(panels):
        grid[len(panels)].legend(handles=handles, loc="center left", borderaxespad=0.0)
    else:
        figure.legend(handles=handles, loc="outside lower center", ncols=min(5, len(handles)))
    return figure


def _panel(
    axes: Axes,
    points: Sequence[SweepPoint],
    at: dict[str, float],
    lines: Sequence[str],
    recipes: Sequence[str],
    chance: float | None,
) -> None:
    sorted_places = sorted(set(at.values()))
    gaps = [b - a for a, b in itertools.pairwise(sorted_places)]
    spread = SPREAD * min(gaps, default=1.0)
    for place, training_set in enumerate(lines):
        aside = spread * (place / (len(lines) - 1) - 0.5) if len(lines) > 1 else 0.0
        for number, recipe in enumerate(recipes):
            its_points = sorted(
                (p for p in points if (p.training_set, p.recipe) == (training_set, recipe)),
                key=lambda point: at[point.swept],
            )
            if not its_points:
                continue
            colour = PALETTE[place % len(PALETTE)]
            axes.errorbar(
                [at[p.swept] + aside for p in its_points],
                [p.value for p in its_points],
                yerr=[
                    [max(0.0, p.value - p.low) for p in its_points],
                    [max(0.0, p.high - p.value) for p in its_points],
                ],
                color=colour,
                ls=LINE_STYLES[number % len(LINE_STYLES)],
                lw=1.2,
                elinewidth=1.0,
                marker=MARKERS[place % len(MARKERS)],
                ms=4.5,
                mew=0.0,
            )
            grey = [p for p in its_points if chance is not None and p.low <= chance]
            axes.scatter(
                [at[p.swept] + aside for p in grey],
                [p.value for p in grey],
                4.5**2,
                color=NO_EVIDENCE,
                marker=MARKERS[place % len(MARKERS)],
                zorder=3,
            )


def _handle(label: str, place: int, number: int) -> Line2D:
    return Line2D(
        [],
        [],
        color=PALETTE[place % len(PALETTE)],
        ls=LINE_STYLES[number],
        lw=1.2,
        marker=MARKERS[place % len(MARKERS)],
        ms=4.5,
        mew=0.0,
        label=label,
    )
