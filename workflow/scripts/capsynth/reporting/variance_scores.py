"""Where the variance of accuracy comes from: images, training seeds, generation seeds."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from capsynth import intervals, metrics, proportions, statistics
from capsynth.errors import CapsynthError
from capsynth.reporting.convergence import share_of
from capsynth.reporting.scores import (
    Answers,
    Measure,
    RunName,
    design_of,
    over_seeds,
    read_answers,
    replicate,
    seeds_of,
)
from capsynth.reporting.tables import (
    Column,
    Table,
    count,
    interval_cell,
    interval_names,
    label,
)


@dataclass(frozen=True)
class Variance:
    """Top-1 accuracy over training and generation seeds, and its standard deviations.

    Attributes:
        dataset: Name of the dataset.
        training_set: The first of the training sets, which differ in their generation seed.
        recipe: Name of the recipe.
        eval_set: Name of the evaluation set.
        generation_seeds: How many training sets.
        training_seeds: How many runs of each.
        accuracy: Mean over all runs.
        ci_low: Lower bound of its 95 % interval over images and generation seeds, in which
            training seeds are nested.
        ci_high: Upper bound.
        images: Standard deviation of a run's accuracy from the draw of images, common to runs.
        runs_on_images: From images that are hard for one run.
        training: From training seeds.
        generation: From generation seeds.
    """

    dataset: str
    training_set: str
    recipe: str
    eval_set: str
    generation_seeds: int
    training_seeds: int
    accuracy: float
    ci_low: float
    ci_high: float
    images: float
    runs_on_images: float
    training: float
    generation: float


def measure_variance(
    paths: Sequence[Path], groups: Sequence[Sequence[str]], draws: int
) -> list[Variance]:
    """Return one row a group of training sets, recipe and evaluation set.

    Args:
        paths: Predictions of the training sets on the evaluation sets.
        groups: Training sets that differ in the generation seed of their variants only.
        draws: Bootstrap replicates.

    Raises:
        CapsynthError: If the training sets of a group were not trained with the same two or more
            seeds.
    """
    rows = []
    for answers in read_answers(paths).values():
        samples = answers.samples
        design = design_of(samples)
        everything = np.arange(len(samples.keys))
        top1 = Measure("top1", metrics.METRICS["top1"], everything)
        replicated = replicate(samples, answers.runs, [top1], design, draws)
        layout = proportions.layout_of(design, everything)
        for group in groups:
            for recipe in sorted({run.recipe for run in answers.runs}):
                seeds = _common_seeds(group, recipe, list(answers.runs))
                found = [over_seeds(replicated, name, recipe, seeds) for name in group]
                values = np.stack([one.values for one in found])
                drawn = np.stack([one.replicates for one in found])
                value, bounds = _accuracy(answers, layout, group, recipe, seeds)
                parts = statistics.variance_components(values, drawn)
                rows.append(
                    Variance(
                        samples.dataset,
                        group[0],
                        recipe,
                        samples.eval_set,
                        len(group),
                        len(seeds),
                        value,
                        *bounds,
                        *(
                            float(np.sqrt(part[0]))
                            for part in (
                                parts.images,
                                parts.runs_on_images,
                                parts.training,
                                parts.generation,
                            )
                        ),
                    )
                )
    return rows


def _accuracy(
    answers: Answers,
    layout: proportions.Layout,
    group: Sequence[str],
    recipe: str,
    seeds: Sequence[int],
) -> tuple[float, tuple[float, float]]:
    """Return the mean accuracy over generation seeds and the bounds of its interval.

    The runs of one generation seed are averaged: training seeds are nested in it.
    """
    correct = [
        np.mean([answers.runs[RunName(name, recipe, seed)].correct for seed in seeds], axis=0)
        for name in group
    ]
    found = proportions.spread_of_shares(layout, np.stack(correct)[:, None, layout.rows])
    return share_of(intervals.estimate_of(found), layout.n)


def _common_seeds(group: Sequence[str], recipe: str, runs: Sequence[RunName]) -> list[int]:
    """Return the training seeds of a group, which are the same for all its training sets."""
    by_name = seeds_of(runs)
    seeds = [by_name.get((name, recipe), []) for name in group]
    if any(found != seeds[0] for found in seeds) or not seeds[0]:
        raise CapsynthError(
            f"{', '.join(group)} with {recipe} were trained with other seeds; "
            "train and evaluate all of them with the same"
        )
    return seeds[0]


def variance_table(rows: Sequence[Variance]) -> Table:
    """Return the standard deviations by source, in points."""
    sources = {
        "images": "Images",
        "runs_on_images": "Images, single runs",
        "training": "Training seeds",
        "generation": "Generation seeds",
    }
    names = (("Training set", "training_set"), ("Recipe", "recipe"), ("Evaluation set", "eval_set"))
    columns = (
        *(Column(title, (name,), numeric=False) for title, name in names),
        Column("Generation seeds", ("generation_seeds",), "Number of"),
        Column("Training seeds", ("training_seeds",), "Number of"),
        Column("Top-1 (%)", interval_names("accuracy")),
        *(
            Column(title, interval_names(name), "Standard deviation (points) from")
            for name, title in sources.items()
        ),
    )
    cells = tuple(
        (
            *(label(x) for x in (row.training_set, row.recipe, row.eval_set)),
            count(row.generation_seeds),
            count(row.training_seeds),
            interval_cell(row.accuracy, row.ci_low, row.ci_high),
            *(interval_cell(getattr(row, name), None, None, digits=2) for name in sources),
        )
        for row in rows
    )
    note = (
        "Variance components of the top-1 accuracy of one run (analysis of variance, training "
        "seeds nested in generation seeds, cut off at 0), as standard deviations in points. The "
        "interval of the mean is a 95 % interval over images and generation seeds. "
        "Few seeds show a variance only roughly."
    )
    return Table("variance", "Where the variance comes from", note, columns, cells)
