"""Ablations: what changes when one setting of how a training set is made is another."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from capsynth.configuration import OVERRIDES
from capsynth.reporting.budgets import (
    Budgets,
    marked,
    marks_note,
    sides_cells,
    sides_columns,
    sides_of,
)
from capsynth.reporting.chance import NOTE, both_at_chance, chance_levels, faint
from capsynth.reporting.row_labels import label_columns, labels
from capsynth.reporting.scores import Score, ScoreIndex, index_scores
from capsynth.reporting.tables import (
    MISSING,
    Cell,
    Column,
    Table,
    interval_cell,
    interval_names,
    label,
    write_table,
)

# What follows from another strategy, and is no setting of its own then.
OF_STRATEGY = ("captioner", "template", "templates", "backgrounds", "on_classless")
# Settings that say how many images there are: of them an unequal number is what is asked.
OF_IMAGES = ("images", "real")
NONE = "none"


@dataclass(frozen=True)
class Ablation:
    """A training set that differs from the baseline in one setting.

    Attributes:
        training_set: Its name.
        setting: What differs.
        before: Its value in the baseline.
        after: Its value in this training set.
    """

    training_set: str
    setting: str
    before: str
    after: str


@dataclass(frozen=True)
class AblationSettings:
    """What the table of ablations shows.

    Attributes:
        baseline: Training set that the others are set against.
        ablations: The others.
        eval_sets: Evaluation sets in the order of columns.
    """

    baseline: str
    ablations: tuple[Ablation, ...]
    eval_sets: tuple[str, ...]


def settings_of(config: Mapping[str, Any], training_set: str) -> dict[str, Any]:
    """Return what a training set is made by, one value a setting.

    How many synthetic images there are is one setting, ``images``: those a real image, times the
    share that is trained on; None where images are counted by class and real ones are not.

    Args:
        config: A completed configuration.
        training_set: Name of a training set of at most one variant.

    Returns:
        The settings, empty for a training set of several variants: it has no single value of them.
    """
    mix = config["training_sets"][training_set]
    if len(mix["variants"]) > 1:
        return {}
    found: dict[str, Any] = {"real": mix["real"], "sample_seed": mix["sample_seed"]}
    for name, share in mix["variants"].items():
        found |= config["variants"][name]
        found.pop("max_fallback", None)  # a bound on what goes wrong, no way of making images
        a_class, a_caption = found.pop("images_per_class"), found.pop("images_per_caption")
        captions = config["captioners"] | config["rewriters"]
        told = captions[found["captioner"]]["num_captions"] if found["captioner"] else 1
        real = config["dataset"]["images_per_class"]
        if not found["captioner"] and a_class is None:
            found["images"] = share  # as many as real ones
        elif a_class is None:
            found["images"] = share * (a_caption or 1) * told
        else:
            found["images"] = share * a_class / real if real else None
    return found


def find_ablations(config: Mapping[str, Any], baseline: str) -> list[Ablation]:
    """Return the training sets that differ from a baseline in one setting, in their order.

    Args:
        config: A completed configuration.
        baseline: Name of a training set.
    """
    ablations = []
    of_baseline = settings_of(config, baseline)
    for name in config["training_sets"]:
        its = settings_of(config, name)
        if its.keys() != of_baseline.keys():
            continue
        differing = [key for key in its if its[key] != of_baseline[key]]
        if "strategy" in differing:
            differing = [
                key
                for key in differing
                if key not in OF_STRATEGY
                and not (key == "images" and None in (of_baseline[key], its[key]))
            ]
        if "generator" in differing:
            pairs = [(one, config["generators"][one["generator"]]) for one in (of_baseline, its)]
            differing = [
                key
                for key in differing
                if key not in OVERRIDES or any(one[key] != own[key] for one, own in pairs)
            ]
        if len(differing) == 1:
            (key,) = differing
            ablations.append(Ablation(name, key, _text(of_baseline[key]), _text(its[key])))
    return ablations


def _text(value: Any) -> str:
    """Return a value of the configuration as a reader of a table wants it."""
    if value is None or value == "" or value == []:
        return NONE
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def ablation_table(index: ScoreIndex, settings: AblationSettings, budgets: Budgets) -> Table:
    """Return the accuracy of the baseline, and the difference that each setting makes."""
    levels = chance_levels(index)
    columns = (
        Column("Setting", ("setting",), numeric=False),
        Column("From", ("before",), numeric=False),
        Column("To", ("after",), numeric=False),
        Column("Training set", ("training_set",), numeric=False),
        *label_columns(index),
        *sides_columns(),
        *(Column(name, interval_names(name)) for name in settings.eval_sets),
    )
    rows, all_sides = [], []
    for dataset, recipe in index.experiments:
        for ablation in (None, *settings.ablations):
            name = compared = settings.baseline
            names = ("baseline", "", "")
            asked = False
            if ablation is not None:
                name = ablation.training_set
                compared = f"{name} - {settings.baseline}"
                names = (ablation.setting, ablation.before, ablation.after)
                asked = ablation.setting in OF_IMAGES
            sides = sides_of(budgets, dataset, (name, settings.baseline), recipe, asked)
            cells = []
            for eval_set in settings.eval_sets:
                score = index.summaries.get((dataset, compared, recipe, eval_set, "top1"))
                pair, place = (name, settings.baseline), (dataset, recipe, eval_set, "top1")
                cell = _cell(score, is_difference=ablation is not None)
                at_chance = both_at_chance(index, levels, pair, place)
                cells.append(marked(faint(cell) if score and at_chance else cell, sides))
            if any(cell.sort is not None for cell in cells):
                all_sides.append(sides)
                rows.append(
                    (
                        *map(label, names),
                        label(name),
                        *labels(index, dataset, recipe),
                        *sides_cells(sides),
                        *cells,
                    )
                )
    seeds = {len(found) for name, found in index.runs.items() if name[1] == settings.baseline}
    note = (
        f"First row: top-1 accuracy of {settings.baseline} in percent. Other rows: the difference "
        "that one setting makes to it, in percentage points, paired by image and training seed. "
        f"95 % intervals hold {_held(seeds)}; they are not corrected for the number of rows, and "
        "nothing is bold: these are looks around, no tests. images: synthetic ones a real image. "
        "Another strategy brings its own template with it. Images, steps: of both sides, the "
        "baseline's second (one number where they are alike); equal: which of them are."
    )
    notes = (note, _faint_note(rows), marks_note(all_sides))
    told = " ".join(one for one in notes if one)
    return Table("ablations", f"Ablations of {settings.baseline}", told, columns, tuple(rows))


def _held(seeds: set[int]) -> str:
    if seeds == {1}:
        return "images only (one training seed)"
    return "the variance of images within class and that of training seeds"


def _faint_note(rows: Sequence[tuple[Cell, ...]]) -> str:
    is_faint = any(cell.faint for row in rows for cell in row)
    return f"{NOTE} Of a difference: both sides." if is_faint else ""


def _cell(score: Score | None, is_difference: bool) -> Cell:
    if score is None:
        return Cell(MISSING, ("", "", ""), None)
    return interval_cell(score.value, score.ci_low, score.ci_high, signed=is_difference)


def make_ablation_table(
    scores: Sequence[Score], settings: AblationSettings, budgets: Budgets, folder: Path
) -> None:
    """Write ``ablations`` into ``folder`` in every format."""
    write_table(ablation_table(index_scores(scores), settings, budgets), folder)
