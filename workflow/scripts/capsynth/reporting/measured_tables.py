"""Tables of calibration, robustness and corruptions."""

from collections.abc import Sequence
from dataclasses import replace

from capsynth.reporting.calibration_scores import SCALED, TEMPERATURE
from capsynth.reporting.chance import MARK as CHANCE_MARK
from capsynth.reporting.chance import NOTE as CHANCE_NOTE
from capsynth.reporting.chance import ChanceLevels, chance_levels, faint
from capsynth.reporting.robustness_scores import CONTROLS, PUBLISHED, LinePoint, RobustnessSettings
from capsynth.reporting.scores import CORRUPTED_LEVEL, Score, ScoreIndex, index_scores
from capsynth.reporting.settings import ReportSettings
from capsynth.reporting.tables import (
    Cell,
    Column,
    Table,
    interval_cell,
    interval_names,
    label,
    percent,
)
from capsynth.robustness import LEAST_CONTROLS

_CALIBRATION_TITLES = {
    "ece": "ECE",
    "adaptive_ece": "Adaptive ECE",
    "classwise_ece": "Class-wise ECE",
    "nll": "NLL",
    "brier": "Brier",
}


def _names(*titles: tuple[str, str]) -> tuple[Column, ...]:
    return tuple(Column(title, (name,), numeric=False) for title, name in titles)


_RUN_COLUMNS = _names(("Training set", "training_set"), ("Recipe", "recipe"))


def _cell(
    row: Score | None, *, scale: float = 100.0, digits: int = 1, signed: bool = False
) -> Cell:
    values = (row.value, row.ci_low, row.ci_high) if row else (None, None, None)
    return interval_cell(*values, scale=scale, digits=digits, signed=signed)


def calibration_table(rows: Sequence[Score], settings: ReportSettings) -> Table:
    """Return calibration metrics: a row a training set, evaluation set and scaling."""
    index = index_scores(rows)
    temperatures = {
        name[:3]: row for name, row in index.summaries.items() if name[4] == TEMPERATURE
    }
    columns = (
        *_RUN_COLUMNS,
        *_names(("Evaluation set", "eval_set"), ("Scaling", "scaling")),
        Column("Temperature", interval_names(TEMPERATURE)),
        *(
            Column(f"{title} (%)" if _is_share(name) else title, interval_names(name))
            for name, title in _CALIBRATION_TITLES.items()
        ),
    )
    found = []
    for dataset, recipe in index.experiments:
        for training_set in settings.training_sets:
            for eval_set in settings.eval_sets:
                name = (dataset, training_set, recipe, eval_set)
                for scaling, mark in (("none", ""), ("temperature", SCALED)):
                    if (*name, f"ece{mark}") in index.summaries:
                        temperature = temperatures.get(name[:3]) if mark else None
                        cells = (
                            _cell(
                                index.summaries.get((*name, f"{metric}{mark}")),
                                scale=100.0 if _is_share(metric) else 1.0,
                                digits=1 if _is_share(metric) else 3,
                            )
                            for metric in _CALIBRATION_TITLES
                        )
                        found.append(
                            (
                                *(label(x) for x in (training_set, recipe, eval_set, scaling)),
                                _cell(temperature, scale=1.0, digits=2),
                                *cells,
                            )
                        )
    fitted = sorted({row.eval_set for row in temperatures.values()})
    after = (
        f"Scaling by a temperature: one for each run, fitted on {', '.join(fitted)}, which is used "
        "for nothing else. "
        if fitted
        else "No calibration set is configured: nothing is scaled. "
    )
    note = (
        f"Means over training seeds with 95 % intervals (images within class, and seeds). {after}"
        "ECE: expected calibration error, 15 bins of equal width; adaptive: of as many samples "
        "each; class-wise: of the probability of each class. NLL in nats, Brier from 0 to 2. "
        "Lower is better. Calibration errors are above 0 for a calibrated classifier too."
    )
    return Table("calibration", "Calibration", note, columns, tuple(found))


def _is_share(metric: str) -> bool:
    return metric.endswith("ece")


def robustness_table(
    scores: Sequence[Score],
    rows: Sequence[Score],
    points: Sequence[LinePoint],
    settings: ReportSettings,
    measured: RobustnessSettings,
) -> Table:
    """Return effective robustness: a row a training set and shifted evaluation set."""
    index, above = index_scores(scores), index_scores(rows).summaries
    levels = chance_levels(index)
    lines = {(point.dataset, point.eval_set, point.fit): point for point in points}
    fits = [fit for fit in (CONTROLS, PUBLISHED) if any(key[2] == fit for key in lines)]
    fits = fits if CONTROLS in fits else [CONTROLS, *fits]
    metrics = {CONTROLS: "effective_robustness", PUBLISHED: "effective_robustness/published"}
    columns = (
        *_RUN_COLUMNS,
        *_names(("Evaluation set", "eval_set")),
        Column("In distribution (%)", interval_names("in_distribution")),
        Column("Out of distribution (%)", interval_names("out_of_distribution")),
        *(
            column
            for fit in fits
            for column in (
                Column(
                    f"Above line of {fit} (points)",
                    (*interval_names(metrics[fit]), f"{metrics[fit]}_missing"),
                ),
                Column("Extrapolated", (f"{fit}_extrapolated",), numeric=False),
            )
        ),
    )
    found = []
    for dataset, recipe in index.experiments:
        for training_set in settings.training_sets:
            for eval_set in settings.shifted:
                name = (dataset, training_set, recipe)
                inside = index.summaries.get((*name, measured.inside(eval_set), "top1"))
                outside = index.summaries.get((*name, eval_set, "top1"))
                if inside is None or outside is None or eval_set in measured.clean.values():
                    continue
                cells: list[Cell] = []
                for fit in fits:
                    row = above.get((*name, eval_set, metrics[fit]))
                    line = lines.get((dataset, eval_set, fit))
                    why = ""
                    if row is None:
                        why = _why_not(index, levels, measured, fit, (inside, outside))
                    cells.append(_above_cell(row, why))
                    cells.append(label(_extrapolated(inside, line, row)))
                accuracies = (
                    faint(_cell(score)) if levels.reached_by(score) else _cell(score)
                    for score in (inside, outside)
                )
                found.append(
                    (*(label(x) for x in (training_set, recipe, eval_set)), *accuracies, *cells)
                )
    note = _robustness_note(points, any(cell.faint for row in found for cell in row))
    return Table("robustness", "Effective robustness", note, columns, tuple(found))


def _robustness_note(points: Sequence[LinePoint], has_chance: bool) -> str:
    controls = sorted({point.classifiers for point in points if point.fit == CONTROLS})
    number = " to ".join(str(n) for n in dict.fromkeys([*controls[:1], *controls[-1:]]))
    told = (
        f"The line is fitted to logits of {number} controls, training sets of real images only "
        "with one recipe each, clearly above chance on both sets, every one the mean of its seeds; "
        "they lie about it by construction and have no number of their own. The interval holds "
        "images, seeds and line."
        if controls
        else f"No line is fitted: that needs {LEAST_CONTROLS} controls, training sets of real "
        "images only (at as many fractions, or with several recipes), that are clearly above "
        "chance on both sets."
    )
    if any(point.fit == PUBLISHED for point in points):
        told += " Published: lines through the standard classifiers of the ImageNet testbed."
    note = (
        "Top-1 accuracy with 95 % intervals, and effective robustness: accuracy out of "
        f"distribution above what the line expects at the accuracy in distribution. {told} "
        "Extrapolated: the accuracy in distribution lies outside those the line was fitted to."
    )
    return f"{note} {CHANCE_NOTE}" if has_chance else note


def _above_cell(row: Score | None, why: str) -> Cell:
    """Return the cell of an effective robustness, or of why there is none."""
    cell = _cell(row, signed=True)
    text = why if row is None and why else cell.text
    return replace(cell, text=text, csv_values=(*cell.csv_values, why), faint=row is None)


def _why_not(
    index: ScoreIndex,
    levels: ChanceLevels,
    measured: RobustnessSettings,
    fit: str,
    accuracies: tuple[Score, Score],
) -> str:
    """Return why a training set has no effective robustness on a shifted set."""
    inside, outside = accuracies
    if fit == PUBLISHED:
        known = outside.eval_set in measured.published
        return "at chance" if known and any(map(levels.reached_by, accuracies)) else ""
    if inside.training_set in measured.controls:
        return "control"
    if any(map(levels.reached_by, accuracies)):
        return "at chance"
    usable = 0
    for dataset, recipe in index.experiments:
        for control in measured.controls:
            pair = [
                index.summaries.get((dataset, control, recipe, score.eval_set, "top1"))
                for score in accuracies
            ]
            if dataset == inside.dataset and all(pair):
                usable += not any(map(levels.reached_by, pair))
    if usable < LEAST_CONTROLS:
        return f"{usable} of {LEAST_CONTROLS} controls"
    return "controls alike"


def _extrapolated(inside: Score, line: LinePoint | None, above: Score | None) -> str:
    if line is None or above is None:
        return ""
    return "no" if line.lowest <= inside.value <= line.highest else "yes"


def corruption_levels(index: ScoreIndex, eval_set: str) -> dict[str, list[int]]:
    """Return the severities of every corruption of a set, both sorted; none of other sets."""
    levels: dict[str, set[int]] = {}
    for name in index.summaries:
        match = CORRUPTED_LEVEL.fullmatch(name[4])
        if name[3] == eval_set and match:
            levels.setdefault(match["corruption"], set()).add(int(match["severity"]))
    return {kind: sorted(levels[kind]) for kind in sorted(levels)}


def corruption_table(
    scores: Sequence[Score],
    rows: Sequence[Score],
    settings: ReportSettings,
    measured: RobustnessSettings,
) -> Table:
    """Return errors by corruption and severity, with a row for all corruptions of a set.

    The column ``mce_baseline`` says of that row what mCE is normalised by, in the CSV also why it
    is nothing.
    """
    index, means = index_scores(scores), index_scores(rows).summaries
    chance = chance_levels(index)
    by_set = {name: corruption_levels(index, name) for name in settings.eval_sets}
    severities = sorted({s for levels in by_set.values() for of in levels.values() for s in of})
    of_means = {
        "mean_error": "Mean",
        "added_error": "Added to clean",
        "mce": "mCE",
        "relative_mce": "Relative mCE",
    }
    known = {name[4] for name in means}
    shown = {metric: title for metric, title in of_means.items() if metric in known}
    columns = (
        *_RUN_COLUMNS,
        *_names(("Evaluation set", "eval_set"), ("Corruption", "corruption")),
        *(
            Column(str(severity), interval_names(f"severity{severity}"), "Severity")
            for severity in severities
        ),
        *(
            Column(title, interval_names(metric), "All severities")
            for metric, title in shown.items()
        ),
        *_names(("mCE over", "mce_baseline")),
    )
    found = []
    for dataset, recipe in index.experiments:
        for training_set in settings.training_sets:
            for eval_set, levels in by_set.items():
                name = (dataset, training_set, recipe, eval_set)
                labels = (training_set, recipe, eval_set)
                for kind in levels:
                    cells = [
                        _error_cell(
                            index.summaries.get((*name, f"error/{kind}-{severity}")), chance
                        )
                        for severity in severities
                    ]
                    mean = _error_cell(
                        _error_of(index.summaries.get((*name, f"top1/{kind}"))), chance
                    )
                    empty = [_cell(None)] * (len(shown) - 1)
                    found.append(
                        (*map(label, labels), label(kind), *cells, mean, *empty, label(""))
                    )
                if levels and (*name, "mean_error") in means:
                    cells = [_error_cell(means.get((*name, metric)), chance) for metric in shown]
                    empty = [_cell(None)] * len(severities)
                    over = _mce_baseline(measured, eval_set)
                    found.append((*map(label, labels), label("all"), *empty, *cells, over))
    baseline = _mce_note([name for name, levels in by_set.items() if levels], measured)
    note = (
        "Top-1 error in percent by corruption and severity, mean over training seeds with its 95 % "
        "interval (photographs with all their corrupted versions, and seeds). Added to clean: mean "
        f"error less the error on the same images uncorrupted, in the same draws.{baseline}"
    )
    if any(cell.faint for row in found for cell in row):
        note = f"{note} {_chance_error_note(index, chance, list(by_set))}"
    return Table("corruptions", "Errors under corruptions", note, columns, tuple(found))


def _chance_error_note(index: ScoreIndex, chance: ChanceLevels, names: Sequence[str]) -> str:
    levels = {
        name: level
        for dataset, _ in index.experiments
        for name in names
        if (level := chance.top(dataset, name)) is not None
    }
    said = ", ".join(f"{name} {percent(1.0 - level)}" for name, level in levels.items())
    return f"{CHANCE_MARK} not clearly below the error of one answer to all images ({said})."


def _error_cell(row: Score | None, levels: ChanceLevels) -> Cell:
    return faint(_cell(row)) if levels.reached_by(row) else _cell(row)


def _mce_baseline(measured: RobustnessSettings, eval_set: str) -> Cell:
    if measured.has_mce(eval_set):
        return label("AlexNet")
    reason = measured.mce_obstacles.get(eval_set, "not known to be ImageNet-C")
    return Cell("none", (f"none: {reason}",), "none")


def _mce_note(eval_sets: Sequence[str], measured: RobustnessSettings) -> str:
    """Return what mCE is, and why sets have none."""
    note = ""
    if any(map(measured.has_mce, eval_sets)):
        note += (
            " mCE: mean over corruptions of the error over AlexNet's on the published ImageNet-C, "
            "in percent; relative mCE: of what corruptions add to the clean error, where the clean "
            "images are shown as in every other table."
        )
    for name in eval_sets:
        if not measured.has_mce(name):
            reason = measured.mce_obstacles.get(name, "it is not known to be ImageNet-C")
            note += f" No mCE of {name}: {reason}; its mean error is normalised by nothing."
    return note


def _error_of(accuracy: Score | None) -> Score | None:
    """Return the error that belongs to an accuracy."""
    if accuracy is None or accuracy.ci_low is None or accuracy.ci_high is None:
        return None
    value, low, high = (1.0 - x for x in (accuracy.value, accuracy.ci_high, accuracy.ci_low))
    return replace(accuracy, metric="error", value=value, ci_low=low, ci_high=high)
