"""How well runs tell images of their classes from unknown ones, as a table of numbers."""

import itertools
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from capsynth import novelty, statistics
from capsynth.errors import CapsynthError
from capsynth.intervals import LEVEL
from capsynth.predictions import read_predictions
from capsynth.reporting.estimation import sources_over
from capsynth.reporting.scores import (
    EvalSetSamples,
    Replicated,
    RunName,
    Score,
    check_same_samples,
    design_of,
    in_order,
    over_seeds,
    samples_of,
    seeds_of,
    weights_of,
)
from capsynth.seeding import derive_seed
from capsynth.statistics import Floats

METRICS = tuple(f"{metric}/{score}" for score in novelty.SCORES for metric in novelty.METRICS)
# What a metric is for a score that knows nothing, whichever score: ``chance/aupr_in``.
CHANCE = "chance/"


def measure_unknown(
    inside_paths: Iterable[Path],
    unknown_paths: Iterable[Path],
    comparisons: Sequence[Sequence[str]],
    draws: int,
) -> list[Score]:
    """Return ``novelty.METRICS`` of every run and unknown set, of their means and differences.

    Intervals are 95 % intervals. A run's holds the variance of the images of both sets, drawn
    independently, each within its class or folder: the kinds of unknown things stay. A summary's
    holds that of training seeds as well. ``n`` is the number of unknown images. Differences of
    training sets are paired by images and seeds, and are no tests: they have no p value. Beside the
    summaries stands what each metric is by chance, ``chance/auroc`` and so on.

    Args:
        inside_paths: Predictions of all runs on the set in distribution.
        unknown_paths: Predictions of the same runs on the unknown sets.
        comparisons: Pairs of training sets; the second is subtracted from the first.
        draws: Bootstrap replicates.

    Raises:
        CapsynthError: If runs answered different samples or classes, a run occurs twice or lacks
            one of the sets, an unknown set is none, or a file has no energy.
    """
    inside = _read(inside_paths, unknown=False)
    unknown = _read(unknown_paths, unknown=True)
    if len(inside) != 1:
        raise CapsynthError(
            f"the runs answered {len(inside)} sets in distribution; give the predictions on one"
        )
    (inside_runs,) = inside.values()
    rows: list[Score] = []
    for runs in unknown.values():
        if set(runs) != set(inside_runs):
            run = min(set(runs) ^ set(inside_runs))
            raise CapsynthError(
                f"{run.training_set}, {run.recipe}, seed {run.seed} did not answer both the set in "
                "distribution and the unknown one; evaluate it on both"
            )
        rows += _rows_of_set(inside_runs, runs, comparisons, draws)
    return in_order(rows)


class Sizes(NamedTuple):
    """Images of the classes, and unknown ones."""

    inside: int
    outside: int


@dataclass(frozen=True, eq=False)
class Scored:
    """What is kept of one file of predictions; arrays in the order of the samples.

    Attributes:
        samples: What was answered.
        folders: Class of every sample, of unknown images what their folder is called.
        scores: Each of ``novelty.SCORES`` of every sample.
    """

    samples: EvalSetSamples
    folders: list[str]
    scores: dict[str, Floats]


Runs = dict[RunName, Scored]


def _read(paths: Iterable[Path], unknown: bool) -> dict[tuple[str, str], Runs]:
    """Return the predictions by dataset and set, then by run, in the order of the samples."""
    found: dict[tuple[str, str], Runs] = defaultdict(dict)
    for path in paths:
        predictions = read_predictions(path)
        if predictions.is_unknown != unknown:
            kind = "is of images of the classes" if unknown else "is of images of no class"
            raise CapsynthError(f"{path}: {kind}; evaluate the run again")
        samples, order = samples_of(predictions)
        runs = found[samples.dataset, samples.eval_set]
        run = RunName(predictions.training_set, predictions.recipe, predictions.seed)
        if run in runs:
            raise CapsynthError(f"{path}: {run} is given twice; give each run once")
        if runs:
            check_same_samples(path, next(iter(runs.values())).samples, samples)
        scores = {name: novelty.scores_of(predictions, name)[order] for name in novelty.SCORES}
        runs[run] = Scored(samples, predictions.sample_class_ids[order].tolist(), scores)
    return dict(sorted(found.items()))


def _rows_of_set(
    inside: Runs, unknown: Runs, comparisons: Sequence[Sequence[str]], draws: int
) -> list[Score]:
    inside_samples, other = next(iter(inside.values())).samples, next(iter(unknown.values()))
    samples = other.samples
    if inside_samples.class_ids != samples.class_ids:
        raise CapsynthError(
            f"{samples.eval_set} was answered with other classes than {inside_samples.eval_set}; "
            "evaluate the runs again"
        )
    inside_design = design_of(inside_samples)
    unknown_design = statistics.image_design(other.folders, samples.keys.tolist())
    seed = derive_seed("bootstrap", "images", samples.dataset, samples.eval_set)
    sizes = Sizes(len(inside_samples.keys), len(samples.keys))
    drawn = novelty.in_step(
        weights_of(inside_samples, inside_design, draws),
        statistics.image_weights(unknown_design, draws, seed),
    )
    everything = tuple(np.ones((1, size)) for size in sizes)
    separations = {
        run: [
            novelty.Separation.of(inside[run].scores[name], unknown[run].scores[name])
            for name in novelty.SCORES
        ]
        for run in sorted(unknown)
    }
    blocks: dict[RunName, list[Floats]] = defaultdict(list)
    for weights in itertools.chain([everything], drawn):
        for run, found in separations.items():
            blocks[run].append(np.concatenate([one.metrics(*weights) for one in found], axis=1))
    replicated = {
        run: Replicated(found[0], np.concatenate(found[1:])[None]) for run, found in blocks.items()
    }
    df = min(
        statistics.image_df(design, np.arange(size))
        for design, size in zip((inside_design, unknown_design), sizes, strict=True)
    )
    rows: list[Score] = []
    for run, result in replicated.items():
        rows += _rows(samples, run.training_set, run.recipe, run.seed, result, df, sizes)
    seeds = seeds_of(replicated)
    for (training_set, recipe), its_seeds in seeds.items():
        result = over_seeds(replicated, training_set, recipe, its_seeds)
        found_rows = _rows(samples, training_set, recipe, None, result, df, sizes)
        rows += [*found_rows, *_chance_rows(found_rows[0], sizes)]
    for one, two in comparisons:
        for recipe in sorted({recipe for _, recipe in seeds}):
            both = sorted(set(seeds.get((one, recipe), [])) & set(seeds.get((two, recipe), [])))
            if both:
                a, b = (over_seeds(replicated, name, recipe, both) for name in (one, two))
                result = Replicated(a.values - b.values, a.replicates - b.replicates)
                rows += _rows(samples, f"{one} - {two}", recipe, None, result, df, None)
    return rows


def _chance_rows(about: Score, sizes: Sizes) -> list[Score]:
    """Return what each metric is for a score that knows nothing, beside a summary."""
    return [
        replace(
            about, metric=f"{CHANCE}{metric}", value=value, ci_low=None, ci_high=None,
            sources=sources_over(about.seeds, None),
        )
        for metric, value in novelty.chance_of(*sizes).items()
    ]  # fmt: skip


def _rows(
    samples: EvalSetSamples,
    training_set: str,
    recipe: str,
    seed: int | None,
    result: Replicated,
    df: int,
    sizes: Sizes | None,
) -> list[Score]:
    """Return a row a metric; ``sizes`` are None for a difference.

    Where all scores of one set are above those of the other the bootstrap has no width: the
    interval then ends where so many images without an error would be 2.5 % likely.
    """
    found = result.estimate(np.full(len(METRICS), df))
    low, high = np.array(found.low), np.array(found.high)
    if sizes is not None:
        tail = (1.0 - LEVEL) / 2.0
        rare = 1.0 - tail ** (1.0 / min(sizes))
        perfect = novelty.least_after_perfect(*sizes, tail)
        least = np.array([perfect.get(name.split("/")[0], 1.0 - rare) for name in METRICS])
        is_perfect = found.value >= 1.0 - novelty.ROUNDING
        low = np.where(is_perfect, np.minimum(low, least), low).clip(0.0, 1.0)
        high = np.where(found.value <= 0.0, np.maximum(high, rare), high).clip(0.0, 1.0)
    low, high = low.clip(-1.0, 1.0), high.clip(-1.0, 1.0)
    varies = low < high  # not a difference of runs that separate alike in all draws
    return [
        Score(
            dataset=samples.dataset,
            training_set=training_set,
            recipe=recipe,
            seed=seed,
            eval_set=samples.eval_set,
            metric=metric,
            value=float(found.value[column]),
            ci_low=float(low[column]) if varies[column] else None,
            ci_high=float(high[column]) if varies[column] else None,
            n=len(samples.keys),
            seeds=len(result.values),
            sources=sources_over(
                len(result.values), float(low[column]) if varies[column] else None
            ),
        )
        for column, metric in enumerate(METRICS)
    ]
