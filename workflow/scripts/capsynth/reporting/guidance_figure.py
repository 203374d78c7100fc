"""The figure of what guidance trades: accuracy, precision and recall against its scale."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.ticker import FuncFormatter, MaxNLocator

from capsynth.errors import CapsynthError
from capsynth.reporting.chance import chance_levels
from capsynth.reporting.fidelity_rows import REAL, VARIANT, FidelityRow
from capsynth.reporting.fidelity_tables import Space
from capsynth.reporting.scores import Score, index_scores
from capsynth.reporting.style import (
    INK,
    MARKERS,
    NO_EVIDENCE,
    PALETTE,
    WIDTH_INCHES,
    chance_handles,
    draw_chance,
    new_figure,
    paper_style,
    save_figure,
)

METRICS = ("precision", "recall")


@dataclass(frozen=True)
class GuidanceSettings:
    """What the figure shows.

    Attributes:
        spaces: Feature spaces of precision and recall.
        eval_set: Evaluation set of the accuracy.
        lines: Of each line its points: ``guidance_scale``, ``variant``, and the ``training_set``
            that consists of that variant alone. Their variants differ in nothing else.
    """

    spaces: tuple[Space, ...]
    eval_set: str
    lines: tuple[list[dict[str, Any]], ...]


@dataclass(frozen=True)
class _Point:
    """A number and how far its bar reaches down and up."""

    x: float
    y: float
    down: float
    up: float


def plot_guidance(
    scores: Sequence[Score],
    rows: Sequence[FidelityRow],
    settings: GuidanceSettings,
    paths: Sequence[Path],
) -> None:
    """Draw accuracy, precision and recall against the guidance scale, one line a family.

    A row of panels of the latter two is of one feature space. Bars are 95 % intervals of accuracy,
    over images and training seeds, and standard errors of the other two. A dotted line is what the
    real images that variants are made from get.

    Args:
        scores: Rows of scores.csv.
        rows: Rows of fidelity.csv.
        settings: What is shown.
        paths: Files to write, .png or .svg.

    Raises:
        CapsynthError: If nothing is known of a point.
    """
    index = index_scores(scores)
    levels = chance_levels(index)
    recipes = sorted({recipe for _, recipe in index.experiments})
    top1 = {
        (n[1], n[2]): s for n, s in index.summaries.items() if n[3:] == (settings.eval_set, "top1")
    }
    with paper_style():
        figure = new_figure(WIDTH_INCHES, 0.6 + 2.0 * len(settings.spaces))
        grid = figure.subplots(len(settings.spaces), 1 + len(METRICS), sharex=True, squeeze=False)
        accuracy = grid[0][0]
        for left in grid[1:, 0]:
            left.remove()
        for place, line in enumerate(settings.lines):
            line = sorted(line, key=lambda point: float(point["guidance_scale"]))
            style = _style(place)
            name = " / ".join(point["variant"] for point in line)
            for recipe, dashes in zip(recipes, ("-", "--", ":", "-.") * len(recipes), strict=False):
                suffix = f", {recipe}" if len(recipes) > 1 else ""
                points = [
                    _accuracy(point, top1.get((point["training_set"], recipe))) for point in line
                ]
                _draw(accuracy, points, {**style, "ls": dashes, "label": name + suffix})
                for point, drawn in zip(line, points, strict=True):
                    if levels.reached_by(top1.get((point["training_set"], recipe))):
                        accuracy.plot(
                            [drawn.x], [drawn.y], style["marker"], ms=4.5, color=NO_EVIDENCE,
                            zorder=4,
                        )  # fmt: skip
        for dataset in dict.fromkeys(dataset for dataset, _ in index.experiments):
            draw_chance(accuracy, levels.top(dataset, settings.eval_set))
        for panels, space in zip(grid[:, 1:], settings.spaces, strict=True):
            _draw_space(panels, space, settings.lines, rows)
        accuracy.set_ylabel(f"top-1 on {settings.eval_set} (%)")
        accuracy.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}"))
        for axes in (accuracy, *grid[:, 1:].flat):
            axes.set_xlabel("guidance scale")
            axes.tick_params(labelbottom=True)
            axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
        handles, labels = accuracy.get_legend_handles_labels()
        handles += chance_handles()
        labels += [handle.get_label() for handle in chance_handles()]
        figure.legend(handles, labels, loc="outside lower center", ncols=1)
        save_figure(figure, paths)


def _style(place: int) -> dict[str, Any]:
    return {"color": PALETTE[place % len(PALETTE)], "marker": MARKERS[place % len(MARKERS)]}


def _draw_space(
    panels: Sequence[Any],
    space: Space,
    lines: Sequence[Sequence[dict[str, Any]]],
    rows: Sequence[FidelityRow],
) -> None:
    """Draw a panel of each of ``METRICS`` in one feature space."""
    its_rows = [row for row in rows if row.extractor == space.extractor and not row.class_id]
    found = {(row.name, row.metric): row for row in its_rows if row.kind == VARIANT}
    for axes, metric in zip(panels, METRICS, strict=True):
        for place, line in enumerate(lines):
            ordered = sorted(line, key=lambda point: float(point["guidance_scale"]))
            _draw(axes, [_fidelity(point, metric, found) for point in ordered], _style(place))
        for row in its_rows:
            if (row.kind, row.metric) == (REAL, metric) and row.value is not None:
                axes.axhline(row.value, color=INK, lw=0.6, ls=":")
        axes.set_ylabel(metric)
        axes.set_title(space.title)


def _accuracy(point: dict[str, Any], score: Score | None) -> _Point:
    if score is None or score.ci_low is None or score.ci_high is None:
        raise CapsynthError(
            f"{point['training_set']}: no accuracy with an interval; run collect_scores again"
        )
    y = score.value
    return _Point(
        point["guidance_scale"], y, max(0.0, y - score.ci_low), max(0.0, score.ci_high - y)
    )


def _fidelity(
    point: dict[str, Any], metric: str, rows: dict[tuple[str, str], FidelityRow]
) -> _Point | None:
    row = rows.get((point["variant"], metric))
    if row is None:
        raise CapsynthError(f"{point['variant']}: no {metric}; run measure_fidelity for it")
    if row.value is None:
        return None
    error = row.standard_error or 0.0
    return _Point(point["guidance_scale"], row.value, error, error)


def _draw(axes: Any, points: Sequence[_Point | None], style: dict[str, Any]) -> None:
    known = [point for point in points if point is not None]
    axes.errorbar(
        [point.x for point in known],
        [point.y for point in known],
        yerr=[[point.down for point in known], [point.up for point in known]],
        lw=1.2,
        elinewidth=1.0,
        ms=4.5,
        mew=0.0,
        **style,
    )
