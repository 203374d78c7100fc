"""Accuracy by group, the worst group and the gaps between groups, as a table of numbers."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from capsynth import metrics, minima, statistics
from capsynth.errors import CapsynthError
from capsynth.groups import Attribute, GroupSettings, attributes_of
from capsynth.intervals import LEVEL
from capsynth.reporting.estimation import sources_over
from capsynth.reporting.scores import (
    Answers,
    EvalSetSamples,
    Measure,
    Replicated,
    RunName,
    Score,
    in_order,
    over_seeds,
    read_answers,
    replicate,
    seeds_of,
)
from capsynth.shards import read_manifest, usable

log = logging.getLogger(__name__)

GROUP = "group/"
WORST = "worst_group"
GAP = "group_gap"
ALIGNED = "aligned"
CONFLICTING = "conflicting"
ALIGNMENT_GAP = "alignment_gap"
UNGROUPED = "ungrouped"
# What guesses show: ``chance/group`` of any group, ``chance/worst_group`` and so on.
CHANCE = "chance/"


@dataclass(frozen=True, eq=False)
class Grouped:
    """The samples of an evaluation set that are in a group.

    Attributes:
        samples: They.
        rows: Where they stand among all samples.
        names: Their group, ``{class_id}/{attribute}``.
        is_aligned: Whether their group is aligned; None where nobody says.
        ungrouped: Samples that are in no group.
    """

    samples: EvalSetSamples
    rows: np.ndarray
    names: list[str]
    is_aligned: list[bool | None]
    ungrouped: int


def measure_groups(
    paths: Sequence[Path],
    sets: Mapping[str, tuple[Path, GroupSettings]],
    least_images: int,
    draws: int,
) -> list[Score]:
    """Return the scores of groups, of every run and summarised over training seeds.

    - ``group/{class_id}/{attribute}``: accuracy on a group.
    - ``worst_group``, ``group_gap``: the least accuracy of a group, and the best less it, over
      groups of at least ``least_images`` images, with the intervals of ``minima``; ``n`` is the
      images of the worst group, and of all groups that were compared.
    - ``aligned``, ``conflicting``, ``alignment_gap``: accuracy where the attribute goes with the
      class and where it does not, and their difference: means over the classes that have both,
      every class counted alike, so that no difference between classes enters.
    - ``chance/group``, ``chance/worst_group``, ``chance/aligned``, ``chance/conflicting``: what
      these are for answers that ignore the image. On a group that is an even guess among the
      classes, of the worst group what such guesses are expected to show
      (``minima.least_by_chance``), of means over classes always the same of those classes.
    - ``ungrouped``: the share of the samples that is in no group, ``n`` of them.

    Images are drawn within their group for intervals.

    Args:
        paths: Predictions on these evaluation sets, in any order.
        sets: Manifest and grouping of each evaluation set.
        least_images: Smaller groups are neither the worst nor the best.
        draws: Bootstrap replicates.

    Raises:
        CapsynthError: As ``attributes_of`` and ``read_answers`` do, or if an evaluation set has no
            grouping or runs did not answer it.
    """
    rows: list[Score] = []
    answered = read_answers(paths)
    for name in sorted(set(sets) - {eval_set for _, eval_set in answered}):
        raise CapsynthError(f"no run answered {name!r}; give its predictions")
    for (_, name), answers in answered.items():
        if name not in sets:
            raise CapsynthError(f"{name!r} has no groups; give its manifest and grouping")
        manifest, settings = sets[name]
        records = usable(read_manifest(manifest))
        grouped = _grouped(answers.samples, attributes_of(settings, records))
        if grouped.ungrouped:
            log.warning("%s: %d images are in no group", name, grouped.ungrouped)
        rows += _score(answers, grouped, least_images, draws)
    return in_order(rows)


def _grouped(samples: EvalSetSamples, attributes: Mapping[str, Attribute]) -> Grouped:
    found = [attributes.get(key) for key in samples.keys.tolist()]
    rows = np.flatnonzero([attribute is not None for attribute in found])
    kept = [attribute for attribute in found if attribute is not None]
    if not kept:
        raise CapsynthError(f"{samples.eval_set}: no image that was answered is in a group")
    targets = samples.targets[rows]
    names = [
        f"{samples.class_ids[target]}/{attribute.name}"
        for target, attribute in zip(targets, kept, strict=True)
    ]
    return Grouped(
        EvalSetSamples(
            samples.dataset,
            samples.eval_set,
            samples.class_ids,
            samples.keys[rows],
            targets,
            samples.sources[rows],
        ),
        rows,
        names,
        [attribute.is_aligned for attribute in kept],
        len(found) - len(kept),
    )


def _score(answers: Answers, grouped: Grouped, least_images: int, draws: int) -> list[Score]:
    samples = grouped.samples
    design = statistics.image_design(grouped.names, samples.sources.tolist())
    names = np.array(grouped.names)
    groups = [
        Measure(f"{GROUP}{name}", metrics.TOP1, np.flatnonzero(names == name))
        for name in sorted(set(grouped.names))
    ]
    sides = _sides(samples, grouped.is_aligned)
    measures = [*groups, *sides]
    runs = {run: scores.take(grouped.rows) for run, scores in answers.runs.items()}
    replicated = replicate(samples, runs, measures, design, draws)
    df = np.array([statistics.image_df(design, measure.rows) for measure in measures])
    images = np.array([len(np.unique(design.unit[measure.rows])) for measure in groups])
    about = _About(samples, measures, len(groups), images >= least_images, df)
    rows = []
    for run, result in replicated.items():
        rows += _rows(about, run, run.seed, result)
    for (training_set, recipe), seeds in seeds_of(replicated).items():
        result = over_seeds(replicated, training_set, recipe, seeds)
        rows += _rows(about, RunName(training_set, recipe, 0), None, result)
        share = grouped.ungrouped / len(answers.samples.keys)
        name = (RunName(training_set, recipe, 0), None, len(seeds))
        rows.append(_row(about, name, UNGROUPED, (share, None, None), grouped.ungrouped))
        classes = len(np.unique(answers.samples.targets))
        rows += _chance_rows(about, name, classes)
    return rows


def _sides(samples: EvalSetSamples, is_aligned: Sequence[bool | None]) -> list[Measure]:
    """Return the aligned and then the conflicting images of each class that has both."""
    aligned = np.array([side is True for side in is_aligned])
    conflicting = np.array([side is False for side in is_aligned])
    both = [
        target
        for target in np.unique(samples.targets)
        if (aligned & (samples.targets == target)).any()
        and (conflicting & (samples.targets == target)).any()
    ]
    return [
        Measure(name, metrics.TOP1, np.flatnonzero(side & (samples.targets == target)))
        for name, side in ((ALIGNED, aligned), (CONFLICTING, conflicting))
        for target in both
    ]


@dataclass(frozen=True, eq=False)
class _About:
    """What the rows of one evaluation set have in common.

    Attributes:
        samples: The samples.
        measures: The groups, then the aligned and the conflicting images of classes.
        groups: How many of them are groups.
        is_large: Of every group whether it has enough images to be the worst.
        df: Degrees of freedom of the images of every measure.
    """

    samples: EvalSetSamples
    measures: list[Measure]
    groups: int
    is_large: np.ndarray
    df: np.ndarray


Numbers = tuple[float, float | None, float | None]


def _row(
    about: _About, name: tuple[RunName, int | None, int], metric: str, numbers: Numbers, n: int
) -> Score:
    """Return a row; ``name`` is the run, its seed and how many seeds the row summarises."""
    run, seed, seeds = name
    value, low, high = numbers
    return Score(
        dataset=about.samples.dataset,
        training_set=run.training_set,
        recipe=run.recipe,
        seed=seed,
        eval_set=about.samples.eval_set,
        metric=metric,
        value=value,
        ci_low=low,
        ci_high=high,
        n=n,
        seeds=seeds,
        sources=sources_over(seeds, low),
    )


def _chance_rows(about: _About, name: tuple[RunName, int | None, int], classes: int) -> list[Score]:
    """Return what guesses among so many classes show, beside the summary over seeds."""
    n = [len(measure.rows) for measure in about.measures]
    large = [size for size, is_large in zip(n, about.is_large, strict=False) if is_large]
    levels = {"group": (1.0 / classes, sum(n[: about.groups]))}
    if large:
        worst = minima.least_by_chance(large, 1.0 / classes, name[2])
        levels[WORST] = (worst, sum(large))
    sides = about.measures[about.groups :]
    for side in (ALIGNED, CONFLICTING) if sides else ():
        of_side = sum(len(measure.rows) for measure in sides if measure.name == side)
        levels[side] = (2.0 / len(sides), of_side)
    return [
        _row(about, name, f"{CHANCE}{metric}", (level, None, None), size)
        for metric, (level, size) in levels.items()
    ]


def _rows(about: _About, run: RunName, seed: int | None, result: Replicated) -> list[Score]:
    """Return the rows of one run, or of the seeds of a training set."""
    n = [len(measure.rows) for measure in about.measures]
    values, drawn = result.values[:, : about.groups], result.replicates[..., : about.groups]
    df = about.df[: about.groups]
    rows = []
    name = (run, seed, len(values))
    low, high = minima.group_bounds(values, drawn, df, (1.0 - LEVEL) / 2.0)
    for place, measure in enumerate(about.measures[: about.groups]):
        numbers = (float(values[:, place].mean()), float(low[place]), float(high[place]))
        rows.append(_row(about, name, measure.name, numbers, n[place]))
    large = np.flatnonzero(about.is_large)
    if len(large):
        bounds = partial(minima.group_bounds, values[:, large], drawn[..., large], df[large])
        mean = values[:, large].mean(axis=0)
        worst = minima.worst(mean, bounds)
        numbers = (worst.value, worst.low, worst.high)
        rows.append(_row(about, name, WORST, numbers, n[large[worst.place]]))
    if len(large) > 1:
        gap = minima.gap(mean, bounds)
        of_all = sum(n[place] for place in large)
        rows.append(_row(about, name, GAP, (gap.value, gap.low, gap.high), of_all))
    return rows + _alignment_rows(about, run, seed, result)


def _alignment_rows(
    about: _About, run: RunName, seed: int | None, result: Replicated
) -> list[Score]:
    sides = range(about.groups, len(about.measures))
    if not sides:
        return []
    half = len(sides) // 2
    parts = {ALIGNED: sides[:half], CONFLICTING: sides[half:]}
    means = [
        (result.values[:, list(of)].mean(axis=1), result.replicates[..., list(of)].mean(axis=2))
        for of in parts.values()
    ]
    means.append((means[0][0] - means[1][0], means[0][1] - means[1][1]))
    joined = Replicated(
        np.stack([value for value, _ in means], axis=1),
        np.stack([drawn for _, drawn in means], axis=2),
    )
    df = [int(about.df[list(of)].sum()) for of in parts.values()]
    found = joined.estimate(np.array([*df, min(df)]))
    counts = [sum(len(about.measures[place].rows) for place in of) for of in parts.values()]
    rows = []
    name = (run, seed, len(result.values))
    for column, (metric, least, n) in enumerate(
        (
            (ALIGNED, 0.0, counts[0]),
            (CONFLICTING, 0.0, counts[1]),
            (ALIGNMENT_GAP, -1.0, sum(counts)),
        )
    ):
        low, high = found.low[[column]], found.high[[column]]
        if least == 0.0:
            value, tail = found.value[[column]], (1.0 - LEVEL) / 2.0
            low, high = minima.not_narrower(low, high, value, np.array([n]), tail)
        numbers: Numbers = (float(found.value[column]), None, None)
        if low[0] < high[0]:
            numbers = (numbers[0], max(least, float(low[0])), min(1.0, float(high[0])))
        rows.append(_row(about, name, metric, numbers, n))
    return rows
