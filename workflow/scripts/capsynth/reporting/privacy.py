"""Tables and figures about privacy: attacks on classifiers, leakage of images."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from capsynth.errors import CapsynthError
from capsynth.privacy.images import NEAR_BITS
from capsynth.privacy.membership import ATTACKS, DEFINITIONS, WITHOUT_LEAK
from capsynth.privacy.results import AttackScore, CurvePoint, Leakage
from capsynth.reporting.settings import ReportSettings
from capsynth.reporting.style import (
    MUTED,
    PALETTE,
    WIDTH_INCHES,
    hide,
    new_figure,
    paper_style,
    save_figure,
)
from capsynth.reporting.tables import (
    Cell,
    Column,
    Table,
    count,
    interval_cell,
    interval_names,
    label,
    write_table,
)

# Title of the column and name of the metric.
METRICS = {
    "AUC": "auc",
    "Calibrated accuracy": "calibrated_accuracy",
    "TPR at 1 % FPR": "tpr_at_fpr_0.01",
    "TPR at 0.1 % FPR": "tpr_at_fpr_0.001",
    "Best accuracy": "best_accuracy",
    "Best accuracy without a leak": WITHOUT_LEAK,
}
PANELS_A_ROW = 3
Dashes = Literal["-", "--", "-."]
# Of recipes; dotted is chance.
LINES: tuple[Dashes, ...] = ("-", "--", "-.")


def make_privacy_table(rows: Sequence[AttackScore], settings: ReportSettings, folder: Path) -> None:
    """Write the table ``privacy`` in every format: a row an attack on a training set and recipe."""
    write_table(privacy_table(rows, settings), folder)


def privacy_table(rows: Sequence[AttackScore], settings: ReportSettings) -> Table:
    """Return what every attack found, over training seeds.

    Raises:
        CapsynthError: If there is no attack on the configured training sets.
    """
    found: dict[tuple[str, str, str, str], dict[str, AttackScore]] = {}
    for row in rows:
        name = (row.member_definition, row.training_set, row.recipe, row.attack)
        found.setdefault(name, {})[row.metric] = row
    recipes = sorted({row.recipe for row in rows})
    names = [
        (definition, training_set, recipe, attack)
        for definition in DEFINITIONS
        for training_set in settings.training_sets
        for recipe in recipes
        for attack in ATTACKS
        if (definition, training_set, recipe, attack) in found
    ]
    if not names:
        raise CapsynthError(
            f"no attack on the training sets {', '.join(settings.training_sets)}; run "
            "collect_privacy for them"
        )
    columns = (
        Column("Members", ("member_definition",), numeric=False),
        Column("Training set", ("training_set",), numeric=False),
        Column("Recipe", ("recipe",), numeric=False),
        Column("Attack", ("attack",), numeric=False),
        *(Column(title, interval_names(metric)) for title, metric in METRICS.items()),
        Column("Members, n", ("members",)),
        Column("Non-members, n", ("nonmembers",)),
        Column("Models", ("models",)),
    )
    body = []
    for name in names:
        by_metric = found[name]
        first = next(iter(by_metric.values()))
        body.append(
            (
                *map(label, name),
                *(_rate_cell(by_metric.get(metric)) for metric in METRICS.values()),
                count(first.members),
                count(first.nonmembers),
                count(first.seeds),
            )
        )
    note = (
        "In percent, means over models with 95 % intervals over images and models. Without a "
        "leak AUC and calibrated accuracy are 50, and a TPR is its FPR. The threshold of the best "
        "accuracy is chosen on the images it is scored on: without a leak it is what stands "
        "beside it. paper: the attack of the paper's release. Where non-members are too few for a "
        "rate, only an upper bound is known. All are lower bounds of what an attacker can find: "
        "each model is asked once an image, without augmented views, and for members 'real' and "
        "'synthetic' reference models have half of the attacked model's images."
    )
    return Table("privacy", "Membership inference", note, columns, tuple(body))


def _rate_cell(row: AttackScore | None) -> Cell:
    if row is None:
        return interval_cell(None, None, None)
    return interval_cell(row.value, row.ci_low, row.ci_high)


def make_leakage_table(rows: Sequence[Leakage], folder: Path) -> None:
    """Write the table ``leakage`` in every format: a row a variant."""
    write_table(leakage_table(rows), folder)


def leakage_table(rows: Sequence[Leakage]) -> Table:
    """Return how close the images of each variant come to real ones.

    Raises:
        CapsynthError: If there is no variant.
    """
    found = {(row.variant, row.space, row.metric): row for row in rows}
    variants = sorted({row.variant for row in rows if row.metric == "exact_duplicates"})
    if not variants:
        raise CapsynthError("leakage of no variant; run measure_leakage for one")
    spaces = sorted({row.space for row in rows} - {"hash", "pixels"})
    wanted = [
        *((s, f"auc/{others}", f"AUC, others: {others}") for s in spaces for others in _OTHERS),
        *((space, *titled) for space in (*spaces, "hash") for titled in _NEAREST),
        ("pixels", "exact_duplicates", "Equal to a real one"),
        ("pixels", "repeats", "Equal to another one"),
    ]
    columns = (
        Column("Variant", ("variant",), numeric=False),
        *(
            Column(title, interval_names(f"{space}/{metric}"), space)
            for space, metric, title in wanted
        ),
        Column("n", ("n",)),
    )
    body = []
    for variant in variants:
        cells = [label(variant)]
        for space, metric, _ in wanted:
            row = found.get((variant, space, metric))
            bounds = (None, None, None) if row is None else (row.value, row.ci_low, row.ci_high)
            cells.append(interval_cell(*bounds))
        body.append((*cells, count(found[variant, "pixels", "exact_duplicates"].n)))
    note = (
        "In percent, with 95 % intervals over images. AUC: how often an image is more like its own "
        "real image than like another one, 50 without a leak; the others are any images, those of "
        "the class, or those of the class with the same prompts. Own is nearest: the nearest real "
        "image is its own. Nearer to sources: than to held-out real images. By chance: what these "
        "are without a leak. Near duplicates: nearer than different real images are to each other; "
        f"of hashes, at most {NEAR_BITS} of 64 bits differ."
    )
    return Table("leakage", "Leakage of synthetic images", note, columns, tuple(body))


_OTHERS = ("any", "class", "class+prompt")
_NEAREST = (
    ("own_is_nearest", "Own is nearest"),
    ("own_is_nearest_by_chance", "By chance"),
    ("nearer_to_sources", "Nearer to sources"),
    ("nearer_to_sources_by_chance", "By chance"),
    ("near_duplicates", "Near duplicates"),
)


def plot_roc(
    rows: Sequence[CurvePoint], settings: ReportSettings, definition: str, paths: Sequence[Path]
) -> None:
    """Draw the ROC curves of all attacks under one definition of members, on log axes.

    One panel an attack; a thin line a model, a thick one their mean TPR at each FPR; colours are
    training sets, dashes are recipes. An attack that guesses is on the diagonal.

    Args:
        rows: Points of the curves.
        settings: Names and their order.
        definition: Who the members are.
        paths: Files to write, .png or .svg.

    Raises:
        CapsynthError: If there is no such curve.
    """
    curves: dict[tuple[str, str, str], dict[int, list[tuple[float, float]]]] = {}
    for row in rows:
        if row.member_definition == definition and row.attack != "paper":
            name = (row.attack, row.training_set, row.recipe)
            curves.setdefault(name, {}).setdefault(row.model, []).append((row.fpr, row.tpr))
    used = {attack for attack, _, _ in curves}
    attacks = [attack for attack in ATTACKS if attack in used]
    if not attacks:
        raise CapsynthError(f"no curve with members {definition!r}; run collect_privacy for them")
    recipes = sorted({recipe for _, _, recipe in curves})
    training_sets = [t for t in settings.training_sets if any(t == name[1] for name in curves)]
    lowest = min(fpr for models in curves.values() for of in models.values() for fpr, _ in of)
    with paper_style():
        columns = min(PANELS_A_ROW, len(attacks))
        lines = math.ceil(len(attacks) / columns)
        figure = new_figure(WIDTH_INCHES, 0.4 + 2.45 * lines)
        grid = figure.subplots(lines, columns, squeeze=False).ravel().tolist()
        for axes, attack in zip(grid, attacks, strict=False):
            _prepare(axes, attack, lowest)
            for training_set in training_sets:
                colour = _colour(settings, training_set)
                for place, recipe in enumerate(recipes):
                    if models := curves.get((attack, training_set, recipe)):
                        _draw(axes, list(models.values()), colour, LINES[place % len(LINES)])
        for axes in grid[len(attacks) :]:
            hide(axes)
        handles = [Line2D([], [], color=_colour(settings, t), label=t) for t in training_sets]
        if len(recipes) > 1:
            handles += [
                Line2D([], [], color=MUTED, linestyle=LINES[place % len(LINES)], label=recipe)
                for place, recipe in enumerate(recipes)
            ]
        handles.append(Line2D([], [], color=MUTED, linewidth=0.8, linestyle=":", label="chance"))
        figure.legend(handles=handles, loc="outside lower center", ncols=min(6, len(handles)))
        save_figure(figure, paths)


def _colour(settings: ReportSettings, training_set: str) -> str:
    return PALETTE[settings.training_sets.index(training_set) % len(PALETTE)]


def _prepare(axes: Axes, attack: str, lowest: float) -> None:
    axes.set_title(attack)
    axes.set(xscale="log", yscale="log", xlim=(lowest, 1.0), ylim=(lowest, 1.0))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}"))
    axes.set_xlabel("FPR (%)")
    axes.set_ylabel("TPR (%)")
    axes.plot([lowest, 1.0], [lowest, 1.0], color=MUTED, linewidth=0.8, linestyle=":")


def _draw(
    axes: Axes, models: Sequence[Sequence[tuple[float, float]]], colour: str, dashes: Dashes
) -> None:
    """Draw the curves of the models that differ in their seed, and their mean."""
    # Halves have not all as many non-members: the mean is of the rates that all can tell.
    rates = sorted(set.intersection(*({fpr for fpr, _ in points} for points in models)))
    for points in models:
        x, y = zip(*sorted(points), strict=True)
        axes.plot(x, y, color=colour, linewidth=0.5, alpha=0.5, linestyle=dashes)
    known = [dict(points) for points in models]
    mean = [float(np.mean([points[fpr] for points in known])) for fpr in rates]
    axes.plot(rates, mean, color=colour, linewidth=1.5, linestyle=dashes)
