"""Where the variance of accuracy comes from: images, seeds, the draw of the real sample."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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
    """Top-1 accuracy over training seeds, and generation seeds or draws of the real sample.

    What is held equal in a row has one seed or draw and no standard deviation.

    Attributes:
        dataset: Name of the dataset.
        training_set: The first of the training sets, which differ in their generation seed, or in
            their sample seed.
        recipe: Name of the recipe.
        eval_set: Name of the evaluation set.
        generation_seeds: How many generation seeds.
        sample_draws: How many draws of the real sample.
        overlap: Share of its images that a draw has in common with another, over all pairs; 0 for
            a single draw.
        training_seeds: How many runs of each training set.
        accuracy: Mean over all runs.
        ci_low: Lower bound of its 95 % interval over images and generation seeds, or draws, in
            which training seeds are nested.
        ci_high: Upper bound.
        images: Standard deviation of a run's accuracy from the draw of images, common to runs.
        runs_on_images: From images that are hard for one run.
        training: From training seeds.
        generation: From generation seeds.
        sample: From which images a share of the real ones is drawn, as between draws that have
            none in common.
    """

    dataset: str
    training_set: str
    recipe: str
    eval_set: str
    generation_seeds: int
    sample_draws: int
    overlap: float
    training_seeds: int
    accuracy: float
    ci_low: float
    ci_high: float
    images: float
    runs_on_images: float
    training: float
    generation: float | None
    sample: float | None


def measure_variance(
    paths: Sequence[Path],
    groups: Sequence[Sequence[str]],
    draws: int,
    overlaps: Mapping[tuple[str, ...], float] | None = None,
) -> list[Variance]:
    """Return one row a group of training sets, recipe and evaluation set.

    Args:
        paths: Predictions of the training sets on the evaluation sets.
        groups: Training sets that differ in the generation seed of their variants only.
        draws: Bootstrap replicates.
        overlaps: Groups of training sets that differ in the draw of the real sample only, with
            the share of its images that a draw has in common with another.

    Raises:
        CapsynthError: If the training sets of a group were not trained with the same two or more
            seeds.
    """
    rows = []
    every: list[tuple[tuple[str, ...], float | None]]
    every = [(tuple(group), None) for group in groups]
    every += (overlaps or {}).items()
    for answers in read_answers(paths).values():
        samples = answers.samples
        design = design_of(samples)
        everything = np.arange(len(samples.keys))
        top1 = Measure("top1", metrics.METRICS["top1"], everything)
        replicated = replicate(samples, answers.runs, [top1], design, draws)
        layout = proportions.layout_of(design, everything)
        for group, overlap in every:
            for recipe in sorted({run.recipe for run in answers.runs}):
                seeds = _common_seeds(group, recipe, list(answers.runs))
                found = [over_seeds(replicated, name, recipe, seeds) for name in group]
                values = np.stack([one.values for one in found])
                drawn = np.stack([one.replicates for one in found])
                names = (samples.dataset, group[0], recipe, samples.eval_set)
                accuracy = _accuracy(answers, layout, group, recipe, seeds, overlap or 0.0)
                parts = statistics.variance_components(values, drawn, overlap or 0.0)
                rows.append(_variance(names, accuracy, parts, values.shape[:2], overlap))
    return rows


def _accuracy(
    answers: Answers,
    layout: proportions.Layout,
    group: Sequence[str],
    recipe: str,
    seeds: Sequence[int],
    overlap: float,
) -> tuple[float, tuple[float, float]]:
    """Return the mean accuracy over the training sets of a group and the bounds of its interval.

    The runs of one training set are averaged: training seeds are nested in it.
    """
    correct = [
        np.mean([answers.runs[RunName(name, recipe, seed)].correct for seed in seeds], axis=0)
        for name in group
    ]
    found = proportions.spread_of_shares(layout, np.stack(correct)[:, None, layout.rows])
    factor = statistics.overlap_factor(len(group), overlap)
    between = replace(found.seeds, variance=factor * found.between)
    return share_of(intervals.estimate_of(found, between), layout.n)


def _variance(
    names: tuple[str, str, str, str],
    accuracy: tuple[float, tuple[float, float]],
    parts: statistics.VarianceComponents,
    counts: tuple[int, int],
    overlap: float | None,
) -> Variance:
    """Return one row.

    Args:
        names: Of the dataset, training set, recipe and evaluation set.
        accuracy: The mean and its bounds.
        parts: Variances by source.
        counts: Number of training sets, and of training seeds of each.
        overlap: Of the draws of the real sample; None where the sets are generation seeds.
    """
    sets, seeds = counts
    value, (low, high) = accuracy
    by_set = _deviation(parts.generation)
    return Variance(
        *names,
        generation_seeds=sets if overlap is None else 1,
        sample_draws=1 if overlap is None else sets,
        overlap=overlap or 0.0,
        training_seeds=seeds,
        accuracy=value,
        ci_low=low,
        ci_high=high,
        images=_deviation(parts.images),
        runs_on_images=_deviation(parts.runs_on_images),
        training=_deviation(parts.training),
        generation=by_set if overlap is None else None,
        sample=None if overlap is None else by_set,
    )


def _deviation(variance: statistics.Floats) -> float:
    return float(np.sqrt(variance[0]))


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
        "sample": "Draw of the real sample",
    }
    names = (("Training set", "training_set"), ("Recipe", "recipe"), ("Evaluation set", "eval_set"))
    columns = (
        *(Column(title, (name,), numeric=False) for title, name in names),
        Column("Generation seeds", ("generation_seeds",), "Number of"),
        Column("Draws of the real sample", ("sample_draws",), "Number of"),
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
            count(row.sample_draws),
            count(row.training_seeds),
            interval_cell(row.accuracy, row.ci_low, row.ci_high),
            *(interval_cell(getattr(row, name), None, None, digits=2) for name in sources),
        )
        for row in rows
    )
    note = (
        "Variance components of the top-1 accuracy of one run (analysis of variance, training "
        "seeds nested in generation seeds or in draws of the real sample, cut off at 0), as "
        "standard deviations in points. The interval of the mean is a 95 % interval over images "
        "and generation seeds, or draws. What has one seed or draw is held equal, and is neither "
        "in the row's components nor in its interval. " + _overlap_note(rows) + "Few seeds or "
        "draws show a variance only roughly."
    )
    return Table("variance", "Where the variance comes from", note, columns, cells)


def _overlap_note(rows: Sequence[Variance]) -> str:
    """Return what is said of draws that have images in common."""
    overlaps = {row.training_set: row.overlap for row in rows if row.sample_draws > 1}
    if not overlaps:
        return ""
    told = ", ".join(f"{100 * share:.3g} % ({name})" for name, share in overlaps.items())
    return (
        "The draw of the real sample is that of a share of the images that the dataset holds; two "
        f"draws have {told} of their images in common, for which the component is corrected. "
    )
